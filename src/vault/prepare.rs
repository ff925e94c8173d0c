//! Changes to bytes: one transaction, checked against what is there, sealed, not yet durable.
//!
//! The work depends on the changes only, not on the size of the vault.

use super::frame::{FrameBuilder, FrameKind};
use super::index::{Entry, Version, count_is_allowed};
use super::limits::{MAX_FILE, MAX_FRAMES, MAX_INTENTS, MAX_META};
use super::op::{self, OP_HEAD, PUT_FIXED, Put};
use super::record::{Change, Expect, Head, Intent, ReadValue, RecordId, RecordKind, ValueAt};
use super::state::Pending;
use super::wire::len32;
use super::{Meta, Vault, VaultError, value};
use crate::crypto::derive::derive_intent_tag;
use crate::crypto::{Random, make_bytes};
use crate::name::RecordName;
use crate::secret::{MAX_VALUE, SecretValue};
use crate::time::UnixMs;
use std::collections::HashMap;
use std::sync::Arc;

/// A transaction that is ready to be appended.
pub struct Prepared {
    /// The frames.
    pub bytes: Vec<u8>,
    /// Where they belong: the end of the vault's last commit, in bytes from the file's start.
    pub offset: u64,
    /// The head that they were built on.
    pub builds_on: Head,
    /// The head once they are durable.
    pub head: Head,
    entries: Vec<Entry>,
    macs: Vec<[u8; 32]>,
}

/// Where the value of a record is to be found while changes are being prepared.
#[derive(Clone, Copy)]
enum Source {
    File(ValueAt),
    Change(usize),
}

/// A record as the changes so far leave it.
#[derive(Clone)]
struct Current {
    version: u64,
    kind: RecordKind,
    meta: Box<[u8]>,
    source: Source,
}

struct Draft<'a> {
    vault: &'a Vault,
    changes: &'a [Change],
    now: UnixMs,
    names: HashMap<Arc<str>, Option<RecordId>>,
    records: HashMap<RecordId, Current>,
    live: usize,
    intents: Vec<[u8; 16]>,
    frames: FrameBuilder,
    /// The first entry of the frame that is open: its values' places are not known yet.
    open_from: usize,
    out: Prepared,
}

impl Vault {
    /// Prepares one transaction. `read` is asked for the ciphertext of a value when a rename has
    /// to seal it again: it fills the whole buffer with the bytes at `ValueAt::offset`.
    ///
    /// Each change sees what those before it did. Fails, with nothing changed, if an expectation
    /// does not hold or a limit would be passed.
    pub fn prepare<E: From<VaultError>>(
        &self,
        changes: &[Change],
        now: UnixMs,
        rng: &mut dyn Random,
        read: &mut ReadValue<'_, E>,
    ) -> Result<Prepared, E> {
        self.check_whole()?;
        let mut draft = Draft::new(self, changes, now);
        for (i, change) in changes.iter().enumerate() {
            draft.change(i, change, rng, read)?;
        }
        Ok(draft.finish(rng)?)
    }

    /// Makes a prepared transaction part of the state, once it is durable.
    pub fn apply(&mut self, prepared: Prepared) -> Result<(), VaultError> {
        self.check_whole()?;
        if prepared.builds_on != self.head() {
            return Err(VaultError::Stale);
        }
        let bytes = prepared.bytes.len() as u64;
        self.pending = Pending {
            entries: prepared.entries,
            macs: prepared.macs,
            bytes,
        };
        self.commit_pending()
    }
}

impl<'a> Draft<'a> {
    fn new(vault: &'a Vault, changes: &'a [Change], now: UnixMs) -> Self {
        let head = vault.head();
        Self {
            vault,
            changes,
            now,
            names: HashMap::new(),
            records: HashMap::new(),
            live: vault.len(),
            intents: vault
                .open_intents()
                .iter()
                .map(|open| open.attempt)
                .collect(),
            frames: FrameBuilder::new(&vault.keys, FrameKind::Delta, head.seq + 1, head.mac),
            open_from: 0,
            out: Prepared {
                bytes: Vec::new(),
                offset: vault.valid_end,
                builds_on: head,
                head,
                entries: Vec::new(),
                macs: Vec::new(),
            },
        }
    }

    fn change<E: From<VaultError>>(
        &mut self,
        i: usize,
        change: &Change,
        rng: &mut dyn Random,
        read: &mut ReadValue<'_, E>,
    ) -> Result<(), E> {
        match change {
            Change::Put {
                name,
                kind,
                meta,
                value,
                expect,
            } => {
                let old = self.expect(name, *expect)?;
                let meta = encode_meta(meta, self.now)?;
                let current = Current {
                    version: 0,
                    kind: *kind,
                    meta,
                    source: Source::Change(i),
                };
                Ok(self.put(name, old, current, value, rng)?)
            }
            Change::Delete { name, expect } => Ok(self.delete(name, *expect, rng)?),
            Change::Rename { from, to } => self.rename(from, to, rng, read),
            Change::VaultMeta(meta) => {
                let json = meta.encode()?;
                self.make_room(OP_HEAD + json.len(), 0, rng);
                op::write_vault(&mut self.frames.index, &json);
                self.out.entries.push(Entry::Vault(json.into()));
                Ok(())
            }
            Change::Intent {
                name,
                attempt,
                refresh_token,
                expect,
            } => Ok(self.intent(name, attempt, refresh_token, *expect, rng)?),
            Change::Clear { attempt, outcome } => {
                let at = self.intents.iter().position(|open| open == attempt);
                self.intents
                    .swap_remove(at.ok_or(VaultError::IntentAbsent)?);
                self.make_room(OP_HEAD + 17, 0, rng);
                op::write_clear(&mut self.frames.index, attempt, outcome.code());
                self.out.entries.push(Entry::Clear { attempt: *attempt });
                Ok(())
            }
        }
    }

    fn find(&self, name: &RecordName) -> Option<(RecordId, Current)> {
        let id = match self.names.get(name.as_str()) {
            Some(known) => (*known)?,
            None => self.vault.index.id_of(name.as_str())?,
        };
        if let Some(current) = self.records.get(&id) {
            return Some((id, current.clone()));
        }
        let now = &self.vault.index.records.get(&id)?.now;
        let source = Source::File(now.at(id));
        let (version, kind, meta) = (now.number, now.kind, now.meta.clone());
        Some((
            id,
            Current {
                version,
                kind,
                meta,
                source,
            },
        ))
    }

    fn expect(
        &self,
        name: &RecordName,
        expect: Expect,
    ) -> Result<Option<(RecordId, Current)>, VaultError> {
        let found = self.find(name);
        match (expect, found.as_ref().map(|(_, current)| current.version)) {
            (Expect::Any, _) | (Expect::Absent, None) => Ok(found),
            (Expect::Absent, Some(_)) => Err(VaultError::RecordExists(name.to_string())),
            (Expect::Version(wanted), Some(version)) if wanted == version => Ok(found),
            (Expect::Version(_), _) => Err(VaultError::Conflict(name.to_string())),
        }
    }

    /// Writes the next version of a record, or a new record.
    fn put(
        &mut self,
        name: &RecordName,
        old: Option<(RecordId, Current)>,
        mut current: Current,
        value: &SecretValue,
        rng: &mut dyn Random,
    ) -> Result<(), VaultError> {
        if value.len() > MAX_VALUE {
            return Err(VaultError::Limit("a value of 1 MiB"));
        }
        let id = self.next_version(old, &mut current, rng)?;
        let Current { version, kind, .. } = current;
        let op_len = OP_HEAD + PUT_FIXED + name.as_str().len() + current.meta.len();
        self.make_room(op_len, value::blob_len(value.len()), rng);
        let value_at = self.frames.values.len();
        value::seal(
            &self.vault.keys,
            (&id, version, kind),
            value,
            rng,
            &mut self.frames.values,
        );
        let value_len = self.frames.values.len() - value_at;
        let (value_at, value_len) = (
            u32::from_le_bytes(len32(value_at)),
            u32::from_le_bytes(len32(value_len)),
        );
        let meta = &current.meta;
        let put = Put {
            id,
            version,
            kind,
            name: name.as_str(),
            meta,
            value_at,
            value_len,
        };
        op::write_put(&mut self.frames.index, &put);
        let name: Arc<str> = name.as_str().into();
        let offset = u64::from(value_at);
        let entry = Version {
            number: version,
            offset,
            len: value_len,
            kind,
            meta: meta.clone(),
        };
        self.out.entries.push(Entry::Put {
            id,
            name: name.clone(),
            version: entry,
        });
        self.names.insert(name, Some(id));
        self.records.insert(id, current);
        Ok(())
    }

    /// Sets the version that follows the old one, or the first of a new record.
    fn next_version(
        &mut self,
        old: Option<(RecordId, Current)>,
        current: &mut Current,
        rng: &mut dyn Random,
    ) -> Result<RecordId, VaultError> {
        if let Some((id, old)) = old {
            current.version = old
                .version
                .checked_add(1)
                .ok_or(VaultError::Limit("versions"))?;
            return Ok(id);
        }
        self.live += 1;
        if !count_is_allowed(self.live) {
            return Err(VaultError::Limit("1,000,000 records"));
        }
        current.version = 1;
        Ok(RecordId(make_bytes(rng)))
    }

    fn delete(
        &mut self,
        name: &RecordName,
        expect: Expect,
        rng: &mut dyn Random,
    ) -> Result<(), VaultError> {
        let found = self.expect(name, expect)?;
        let (id, current) = found.ok_or_else(|| VaultError::RecordAbsent(name.to_string()))?;
        let version = current
            .version
            .checked_add(1)
            .ok_or(VaultError::Limit("versions"))?;
        self.make_room(OP_HEAD + 24, 0, rng);
        op::write_delete(&mut self.frames.index, &id, version);
        self.out.entries.push(Entry::Delete { id, version });
        self.live -= 1;
        self.names.insert(name.as_str().into(), None);
        self.records.remove(&id);
        Ok(())
    }

    fn rename<E: From<VaultError>>(
        &mut self,
        from: &RecordName,
        to: &RecordName,
        rng: &mut dyn Random,
        read: &mut ReadValue<'_, E>,
    ) -> Result<(), E> {
        let found = self.find(from);
        let (id, current) = found.ok_or_else(|| VaultError::RecordAbsent(from.to_string()))?;
        if self.find(to).is_some() {
            return Err(VaultError::RecordExists(to.to_string()).into());
        }
        let value = match current.source {
            Source::File(at) => {
                let mut blob = vec![0; usize::try_from(at.len).unwrap_or(0)];
                read(&at, &mut blob)?;
                self.vault.open_value(&at, &blob)?
            }
            Source::Change(i) => match &self.changes[i] {
                Change::Put { value, .. } => value.clone(),
                _ => return Err(VaultError::Bug("a value that no change brought").into()),
            },
        };
        let moved = current.clone();
        self.names.insert(from.as_str().into(), None);
        Ok(self.put(to, Some((id, current)), moved, &value, rng)?)
    }

    fn intent(
        &mut self,
        name: &RecordName,
        attempt: &[u8; 16],
        refresh_token: &SecretValue,
        expect: Expect,
        rng: &mut dyn Random,
    ) -> Result<(), VaultError> {
        let found = self.expect(name, expect)?;
        let (id, current) = found.ok_or_else(|| VaultError::RecordAbsent(name.to_string()))?;
        if self.intents.contains(attempt) {
            return Err(VaultError::Bug("the id of an attempt is random"));
        }
        if self.intents.len() >= MAX_INTENTS {
            return Err(VaultError::Limit("4,096 open attempts"));
        }
        let intent = Intent {
            id,
            base_version: current.version,
            attempt: *attempt,
            began_at: self.now,
            tag: derive_intent_tag(self.vault.keys.anchor(), refresh_token),
        };
        self.make_room(OP_HEAD + 64, 0, rng);
        op::write_intent(&mut self.frames.index, &intent);
        self.out.entries.push(Entry::Intent(intent));
        self.intents.push(*attempt);
        Ok(())
    }

    fn make_room(&mut self, index: usize, values: usize, rng: &mut dyn Random) {
        if self.frames.is_full(index, values) {
            self.close(false, rng);
        }
    }

    fn close(&mut self, commit: bool, rng: &mut dyn Random) {
        let start = self.out.offset + self.out.bytes.len() as u64;
        let closed = self.frames.close(commit, rng, &mut self.out.bytes);
        for entry in &mut self.out.entries[self.open_from..] {
            if let Entry::Put { version, .. } = entry {
                version.offset += start + closed.values_at as u64;
            }
        }
        self.open_from = self.out.entries.len();
        self.out.macs.push(closed.mac);
        self.out.head = Head {
            seq: self.out.head.seq + 1,
            mac: closed.mac,
        };
    }

    fn finish(mut self, rng: &mut dyn Random) -> Result<Prepared, VaultError> {
        if self.changes.is_empty() {
            return Err(VaultError::Bug("a commit has at least one change"));
        }
        self.close(true, rng);
        if self.out.head.seq - self.vault.header.base_seq() >= MAX_FRAMES {
            return Err(VaultError::Limit("65,536 frames"));
        }
        if self.out.offset + self.out.bytes.len() as u64 > MAX_FILE {
            return Err(VaultError::Limit("a file of 4 GiB"));
        }
        Ok(self.out)
    }
}

fn encode_meta(meta: &Meta, now: UnixMs) -> Result<Box<[u8]>, VaultError> {
    let encode =
        |meta: &Meta| serde_json::to_vec(meta).map_err(|_| VaultError::Bug("metadata is not JSON"));
    let json = match meta.created_at {
        Some(_) => encode(meta)?,
        None => encode(&Meta {
            created_at: Some(now),
            ..meta.clone()
        })?,
    };
    if json.len() > MAX_META {
        return Err(VaultError::Limit("metadata of 16 KiB"));
    }
    Ok(json.into())
}
