//! A vault file in memory, and what the tests below do to it.

mod anchors;
mod aside;
mod asking;
mod bounds;
mod model;
mod operations;
mod reading;
mod slots;
mod tampering;
mod vectors;

use super::slot::{RawKeyHint, SlotContext};
use super::*;
use crate::crypto::hash::sha256;
use crate::crypto::{Random, make_bytes};
use crate::name::RecordName;
use crate::secret::SecretValue;
use crate::time::UnixMs;
use std::collections::BTreeMap;

/// Randomness that a test can repeat: SHA-256 of a seed and a counter.
pub(super) struct Seeded {
    seed: String,
    blocks: u64,
}

impl Seeded {
    fn new(seed: impl Into<String>) -> Self {
        Self {
            seed: seed.into(),
            blocks: 0,
        }
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        make_bytes(self)
    }

    fn root(&mut self) -> RootKey {
        RootKey::build(|out| self.fill(out))
    }
}

impl Random for Seeded {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(32) {
            let block = sha256(&[self.seed.as_bytes(), &self.blocks.to_le_bytes()]);
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.blocks += 1;
        }
    }
}

/// A vault file in memory with one raw-key slot, and the vault that has it open.
struct World {
    bytes: Vec<u8>,
    vault: Vault,
    root: RootKey,
    rng: Seeded,
    now: UnixMs,
}

fn raw_key() -> SecretValue {
    SecretValue::copy_of(&[0x42; 32])
}

fn name(text: &str) -> RecordName {
    text.parse().unwrap()
}

fn put(text: &str, value: &[u8]) -> Change {
    Change::Put {
        name: name(text),
        kind: RecordKind::ApiKey,
        meta: Meta::default(),
        value: SecretValue::copy_of(value),
        expect: Expect::Any,
    }
}

fn delete(text: &str) -> Change {
    Change::Delete {
        name: name(text),
        expect: Expect::Any,
    }
}

fn rename(from: &str, to: &str) -> Change {
    Change::Rename {
        from: name(from),
        to: name(to),
    }
}

fn open_header(bytes: &[u8]) -> Result<Header, VaultError> {
    let first = bytes.first_chunk::<16>().ok_or(VaultError::NotAVault)?;
    let len = Header::peek_len(first)?;
    Header::parse(
        bytes
            .get(..len)
            .ok_or(VaultError::Corrupt("header length"))?,
    )
}

fn open(bytes: &[u8], root: &RootKey) -> Result<Vault, VaultError> {
    let header = open_header(bytes)?;
    let keys = header.verify(root)?;
    Replay::read_all(header, keys, bytes)
}

/// What a reader can learn from a vault: every record with its version and value.
fn contents(vault: &Vault, bytes: &[u8]) -> BTreeMap<String, (u64, Vec<u8>)> {
    let read = |info: &RecordInfo| {
        let at = vault.locate(&info.name, None).unwrap();
        let value = vault.open_value(&at, blob(bytes, &at)).unwrap();
        (info.version, value.expose().to_vec())
    };
    vault
        .infos()
        .iter()
        .map(|info| (info.name.to_string(), read(info)))
        .collect()
}

fn blob<'a>(bytes: &'a [u8], at: &ValueAt) -> &'a [u8] {
    let start = at.offset as usize;
    &bytes[start..start + at.len as usize]
}

impl World {
    fn new(seed: &'static str) -> Self {
        let mut rng = Seeded::new(seed);
        let (vault_id, salt, root) = (rng.bytes(), rng.bytes(), rng.root());
        let context = SlotContext { vault_id, epoch: 1 };
        let slot = NewSlot::Raw {
            secret: raw_key(),
            hint: RawKeyHint::File,
        };
        let slots = vec![slot.wrap(&context, &root, &mut rng).unwrap()];
        Self::with_slots(rng, vault_id, salt, root, slots)
    }

    fn with_slots(
        mut rng: Seeded,
        vault_id: [u8; 16],
        salt: [u8; 32],
        root: RootKey,
        slots: Vec<Slot>,
    ) -> Self {
        let meta = VaultMeta::default();
        let new = NewVault {
            vault_id,
            salt,
            root: &root,
            slots,
            meta,
        };
        let created = create(new, &mut rng).unwrap();
        let vault = Replay::read_all(created.header, created.keys, &created.bytes).unwrap();
        Self {
            bytes: created.bytes,
            vault,
            root,
            rng,
            now: UnixMs(1_790_000_000_000),
        }
    }

    fn prepare(&mut self, changes: &[Change]) -> Result<Prepared, VaultError> {
        let bytes = &self.bytes;
        let mut read = |at: &ValueAt, out: &mut [u8]| -> Result<(), VaultError> {
            out.copy_from_slice(blob(bytes, at));
            Ok(())
        };
        self.vault
            .prepare(changes, self.now, &mut self.rng, &mut read)
    }

    fn commit(&mut self, changes: Vec<Change>) -> Result<(), VaultError> {
        self.now.0 += 1_000;
        let prepared = self.prepare(&changes)?;
        assert_eq!(prepared.offset as usize, self.bytes.len());
        self.bytes.extend(&prepared.bytes);
        let head = prepared.head;
        self.vault.apply(prepared)?;
        assert_eq!(
            (self.vault.head(), self.vault.valid_end()),
            (head, self.bytes.len() as u64)
        );
        Ok(())
    }

    fn rewrite(&mut self, rewrite: Rewrite<'_>, keep: usize) -> Result<(), VaultError> {
        self.rewrite_with(rewrite, None, keep)
    }

    fn rewrite_with(
        &mut self,
        rewrite: Rewrite<'_>,
        meta: Option<VaultMeta>,
        keep: usize,
    ) -> Result<(), VaultError> {
        let writer = self.vault.snapshot_writer(rewrite, meta, keep)?;
        let (old, mut new) = (&self.bytes, Vec::new());
        let mut read = |at: &ValueAt, out: &mut [u8]| -> Result<(), VaultError> {
            out.copy_from_slice(blob(old, at));
            Ok(())
        };
        let mut out = |bytes: &[u8]| -> Result<(), VaultError> {
            new.extend_from_slice(bytes);
            Ok(())
        };
        let written = writer.write(&mut self.rng, &mut read, &mut out)?;
        assert_eq!(written.len, new.len() as u64);
        self.vault = Replay::read_all(written.header, written.keys, &new)?;
        assert_eq!(self.vault.head(), written.head);
        self.bytes = new;
        Ok(())
    }

    fn rekey(&mut self, slots: Vec<NewSlot>, keep: usize) -> Result<(), VaultError> {
        let context = SlotContext::of(self.vault.header()).next_epoch()?;
        let (root, salt) = (self.rng.root(), self.rng.bytes());
        let wrap = |slot: NewSlot| slot.wrap(&context, &root, &mut self.rng);
        let slots = slots.into_iter().map(wrap).collect::<Result<Vec<_>, _>>()?;
        self.rewrite(
            Rewrite::Rekey {
                root: &root,
                salt,
                slots,
            },
            keep,
        )?;
        self.root = root;
        Ok(())
    }

    fn contents(&self) -> BTreeMap<String, (u64, Vec<u8>)> {
        contents(&self.vault, &self.bytes)
    }

    /// Opens the file anew; the two must agree in all that can be asked.
    fn reopen(&self) -> Vault {
        let again = open(&self.bytes, &self.root).unwrap();
        assert_eq!(again.head(), self.vault.head());
        assert_eq!(again.valid_end(), self.vault.valid_end());
        assert_eq!(again.infos(), self.vault.infos());
        assert_eq!(again.values(), self.vault.values());
        assert_eq!(again.open_intents(), self.vault.open_intents());
        assert_eq!(again.vault_meta(), self.vault.vault_meta());
        assert_eq!(again.usage(), self.vault.usage());
        assert_eq!(contents(&again, &self.bytes), self.contents());
        again
    }
}
