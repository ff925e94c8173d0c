//! Writing a vault anew: compaction, another set of slots, another epoch.
//!
//! Streaming: one frame is in memory at a time. Values are copied as they are sealed, unless the
//! epoch changes; so neither compaction nor a change of slots decrypts a secret.

use super::frame::{FrameBuilder, FrameKind};
use super::header::HeaderFields;
use super::index::{Record, Version};
use super::limits::MAX_FILE;
use super::op::{self, OP_HEAD, PUT_FIXED, Put};
use super::record::{Head, Intent, ReadValue, RecordId};
use super::wire::len32;
use super::{Header, RootKey, Slot, SubKeys, Vault, VaultError, VaultMeta, value};
use crate::crypto::Random;

/// What the new file changes besides dropping what is superseded.
pub enum Rewrite<'a> {
    /// Nothing. Needs no root key: the header's MAC is made with a sub-key.
    Compact,
    /// The slots (see [`super::slot::add`] and its siblings); they wrap the same root key.
    Slots(Vec<Slot>),
    /// Everything: a new epoch.
    Rekey {
        /// The new root key.
        root: &'a RootKey,
        /// The new salt: random.
        salt: [u8; 32],
        /// The new slots, made in the context of the next epoch.
        slots: Vec<Slot>,
    },
}

/// A new file that is ready to be written.
pub struct SnapshotWriter<'a> {
    vault: &'a Vault,
    header: Header,
    keys: SubKeys,
    rekey: bool,
    meta: Box<[u8]>,
    keep_history: usize,
}

/// What was written: enough to open the new file.
pub struct Rewritten {
    /// The header of the new file.
    pub header: Header,
    /// Its sub-keys: the old ones, unless the epoch changed.
    pub keys: SubKeys,
    /// Its head.
    pub head: Head,
    /// Its length in bytes.
    pub len: u64,
}

impl Vault {
    /// Plans a new file. `meta` replaces the vault's own metadata; notes of slots that are gone
    /// are dropped. `keep_history` is the number of superseded versions to keep of each record,
    /// none of them of a kind that keeps no history.
    pub fn snapshot_writer(
        &self,
        rewrite: Rewrite<'_>,
        meta: Option<VaultMeta>,
        keep_history: usize,
    ) -> Result<SnapshotWriter<'_>, VaultError> {
        self.check_whole()?;
        let old = self.header.fields();
        let base_seq = self.head().seq + 1;
        let mut fields = HeaderFields {
            rev: old.rev + 1,
            base_seq,
            ..old
        };
        let rekey = matches!(rewrite, Rewrite::Rekey { .. });
        let (keys, slots) = match rewrite {
            Rewrite::Compact => (self.keys.clone(), self.header.slots().to_vec()),
            Rewrite::Slots(slots) => (self.keys.clone(), slots),
            Rewrite::Rekey { root, salt, slots } => {
                let epoch = old.epoch.checked_add(1);
                fields.epoch = epoch.ok_or(VaultError::Limit("number of epochs"))?;
                let keys = SubKeys::derive(root, &salt, old.vault_id, fields.epoch);
                fields.salt = salt;
                fields.key_commit = *keys.key_commit();
                (keys, slots)
            }
        };
        let meta = self.meta_for(meta, &slots)?;
        let header = Header::make(fields, &slots, &keys)?;
        Ok(SnapshotWriter {
            vault: self,
            header,
            keys,
            rekey,
            meta,
            keep_history,
        })
    }

    /// The metadata of the new file: unchanged bytes if nothing asks for a change.
    fn meta_for(&self, meta: Option<VaultMeta>, slots: &[Slot]) -> Result<Box<[u8]>, VaultError> {
        let old = self.vault_meta();
        let mut new = meta.unwrap_or_else(|| old.clone());
        new.retain_slots(slots.iter().map(|slot| &slot.id));
        if new == old {
            Ok(self.index.vault_meta.clone())
        } else {
            Ok(new.encode()?.into())
        }
    }
}

impl SnapshotWriter<'_> {
    /// Writes the new file. `read` fills its buffer with the old file's bytes at
    /// `ValueAt::offset`; `out` takes the new file's bytes in order.
    pub fn write<E: From<VaultError>>(
        self,
        rng: &mut dyn Random,
        read: &mut ReadValue<'_, E>,
        out: &mut dyn FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Rewritten, E> {
        out(self.header.bytes())?;
        let base_seq = self.header.base_seq();
        let frames =
            FrameBuilder::new(&self.keys, FrameKind::Snapshot, base_seq, self.header.mac());
        let len = self.header.bytes().len() as u64;
        let head = Head {
            seq: base_seq - 1,
            mac: self.header.mac(),
        };
        let mut sink = Sink {
            frames,
            buffer: Vec::new(),
            out,
            head,
            len,
        };
        let old_head = self.vault.head();
        let index = &mut sink.frames.index;
        op::write_ancestor(
            index,
            old_head.seq,
            &old_head.mac,
            self.vault.header.epoch(),
        );
        if !self.meta.is_empty() {
            op::write_vault(index, &self.meta);
        }
        for (id, record) in self.records_in_file_order() {
            for version in kept_versions(record, self.keep_history) {
                self.write_version(&mut sink, id, record, version, rng, read)?;
            }
        }
        for intent in &self.vault.index.intents {
            sink.make_room(OP_HEAD + 64, 0, rng)?;
            let tag = if self.rekey { [0; 16] } else { intent.tag };
            op::write_intent(&mut sink.frames.index, &Intent { tag, ..*intent });
        }
        sink.close(true, rng)?;
        let (head, len) = (sink.head, sink.len);
        Ok(Rewritten {
            header: self.header,
            keys: self.keys,
            head,
            len,
        })
    }

    fn records_in_file_order(&self) -> Vec<(RecordId, &Record)> {
        let records = self.vault.index.records.iter();
        let mut records: Vec<_> = records.map(|(id, record)| (*id, record)).collect();
        records.sort_unstable_by_key(|(id, record)| (record.now.offset, *id));
        records
    }

    fn write_version<E: From<VaultError>>(
        &self,
        sink: &mut Sink<'_, E>,
        id: RecordId,
        record: &Record,
        version: &Version,
        rng: &mut dyn Random,
        read: &mut ReadValue<'_, E>,
    ) -> Result<(), E> {
        let at = version.at(id);
        let blob_len = usize::try_from(at.len).unwrap_or(0);
        let op_len = OP_HEAD + PUT_FIXED + record.name.len() + version.meta.len();
        sink.make_room(op_len, blob_len, rng)?;
        let values = &mut sink.frames.values;
        let start = values.len();
        if self.rekey {
            let mut blob = vec![0; blob_len];
            read(&at, &mut blob)?;
            let opened = self.vault.open_value(&at, &blob)?;
            value::seal(&self.keys, (&id, at.version, at.kind), &opened, rng, values);
        } else {
            values.resize(start + blob_len, 0);
            read(&at, &mut values[start..])?;
        }
        let value_len = u32::from_le_bytes(len32(values.len() - start));
        let value_at = u32::from_le_bytes(len32(start));
        let (name, meta) = (&*record.name, &*version.meta);
        let (version, kind) = (at.version, at.kind);
        let put = Put {
            id,
            version,
            kind,
            name,
            meta,
            value_at,
            value_len,
        };
        op::write_put(&mut sink.frames.index, &put);
        Ok(())
    }
}

/// The versions of a record that go into the new file, oldest first, the newest last.
fn kept_versions(record: &Record, keep: usize) -> impl Iterator<Item = &Version> {
    let keep = if record.now.kind.keeps_history() {
        keep
    } else {
        0
    };
    let worth = record
        .older
        .iter()
        .filter(|version| version.kind.keeps_history());
    let skipped = worth.clone().count().saturating_sub(keep);
    worth.skip(skipped).chain([&record.now])
}

/// Frames on their way out.
pub(super) struct Sink<'a, E> {
    pub frames: FrameBuilder,
    pub buffer: Vec<u8>,
    pub out: &'a mut dyn FnMut(&[u8]) -> Result<(), E>,
    pub head: Head,
    pub len: u64,
}

impl<E: From<VaultError>> Sink<'_, E> {
    fn make_room(&mut self, index: usize, values: usize, rng: &mut dyn Random) -> Result<(), E> {
        if self.frames.is_full(index, values) {
            self.close(false, rng)
        } else {
            Ok(())
        }
    }

    pub(super) fn close(&mut self, commit: bool, rng: &mut dyn Random) -> Result<(), E> {
        self.buffer.clear();
        let closed = self.frames.close(commit, rng, &mut self.buffer);
        self.head = Head {
            seq: self.head.seq + 1,
            mac: closed.mac,
        };
        self.len += self.buffer.len() as u64;
        if self.len > MAX_FILE {
            return Err(VaultError::Limit("a file of 4 GiB").into());
        }
        (self.out)(&self.buffer)
    }
}
