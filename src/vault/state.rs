//! An open vault: a verified header, the sub-keys, and what the frames say.

use super::index::{Entry, Index, Record};
use super::limits::{COMPACT_BYTES, COMPACT_FRAMES};
use super::record::{Head, Intent, RecordInfo, RecordKind, ValueAt, VersionInfo};
use super::value::{self, Room};
use super::{Header, SubKeys, VaultError, VaultMeta};
use crate::crypto::derive::derive_intent_tag;
use crate::name::RecordName;
use crate::secret::SecretValue;

/// An open vault. Names and metadata are in memory, values are not.
pub struct Vault {
    pub(super) header: Header,
    pub(super) keys: SubKeys,
    pub(super) index: Index,
    pub(super) ancestor: Option<(Head, u32)>,
    /// The MACs of the committed frames, from `base_seq` on.
    pub(super) macs: Vec<[u8; 32]>,
    pub(super) valid_end: u64,
    /// Where the first transaction, the snapshot, ends; 0 before it is complete.
    pub(super) base_end: u64,
    pub(super) base_frames: u64,
    pub(super) pending: Pending,
    pub(super) scratch: Vec<u8>,
    pub(super) broken: bool,
}

/// Frames that were read and whose transaction is not complete yet.
#[derive(Default)]
pub(super) struct Pending {
    pub entries: Vec<Entry>,
    pub macs: Vec<[u8; 32]>,
    pub bytes: u64,
}

/// How full a vault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Live records.
    pub records: usize,
    /// Bytes that the live records take, roughly.
    pub live_bytes: u64,
    /// Bytes of the frames after the snapshot.
    pub delta_bytes: u64,
    /// Frames after the snapshot.
    pub delta_frames: u64,
    /// Versions in the file that a newer one or a deletion replaced, so far as they are known.
    pub superseded: usize,
    /// True if it is time for compaction by size or number.
    pub compaction_due: bool,
}

impl Vault {
    /// The header that the vault was opened with.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The sub-keys.
    pub fn keys(&self) -> &SubKeys {
        &self.keys
    }

    /// Where the newest commit stands.
    pub fn head(&self) -> Head {
        let mac = self
            .macs
            .last()
            .copied()
            .unwrap_or_else(|| self.header.mac());
        Head {
            seq: self.header.base_seq() + self.macs.len() as u64 - 1,
            mac,
        }
    }

    /// The head and the epoch of the file that this one replaced; `None` for a new vault.
    pub fn ancestor(&self) -> Option<(Head, u32)> {
        self.ancestor.filter(|(head, _)| head.seq > 0)
    }

    /// The end of the last committed frame, in bytes from the start of the file.
    pub fn valid_end(&self) -> u64 {
        self.valid_end
    }

    /// The MAC of the committed frame with this number, if the file or its ancestor still says it.
    pub fn mac_at(&self, seq: u64) -> Option<[u8; 32]> {
        if let Some(i) = seq.checked_sub(self.header.base_seq()) {
            return usize::try_from(i)
                .ok()
                .and_then(|i| self.macs.get(i))
                .copied();
        }
        self.ancestor()
            .filter(|(head, _)| head.seq == seq)
            .map(|(head, _)| head.mac)
    }

    /// The number of live records.
    pub fn len(&self) -> usize {
        self.index.records.len()
    }

    /// True if there are no records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All records, by name. A record whose name no [`RecordName`] can have (another program may
    /// write any UTF-8) is kept in the file, but not shown.
    pub fn infos(&self) -> Vec<RecordInfo> {
        let records = self.index.records.values();
        let mut infos: Vec<_> = records
            .filter_map(|record| self.index.info(record))
            .collect();
        infos.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        infos
    }

    /// The records whose names start with `prefix`, in no order. Only theirs are read.
    pub fn infos_under(&self, prefix: &str) -> Vec<RecordInfo> {
        let records = self.index.records.values();
        let under = records.filter(|record| record.name.starts_with(prefix));
        under.filter_map(|record| self.index.info(record)).collect()
    }

    /// The records of one kind, in no order.
    pub fn infos_of(&self, kind: RecordKind) -> Vec<RecordInfo> {
        let records = self.index.records.values();
        let of_kind = records.filter(|record| record.now.kind == kind);
        of_kind
            .filter_map(|record| self.index.info(record))
            .collect()
    }

    /// The record with this name.
    pub fn find(&self, name: &RecordName) -> Option<RecordInfo> {
        self.record(name).and_then(|record| self.index.info(record))
    }

    /// Every version of a record that the file still holds, oldest first; empty if there is no
    /// such record.
    pub fn history(&self, name: &RecordName) -> Vec<VersionInfo> {
        self.record(name)
            .map_or_else(Vec::new, |record| self.index.history(record))
    }

    /// Where the value of a record stands: the newest, or that of a version.
    pub fn locate(&self, name: &RecordName, version: Option<u64>) -> Option<ValueAt> {
        let (id, record) = self.index.by_name(name.as_str())?;
        let Some(version) = version.filter(|version| *version != record.now.number) else {
            return Some(record.now.at(id));
        };
        record
            .older
            .iter()
            .find(|older| older.number == version)
            .map(|older| older.at(id))
    }

    /// Where the newest value of the record with this name stands.
    pub fn newest(&self, name: &str) -> Option<ValueAt> {
        let (id, record) = self.index.by_name(name)?;
        Some(record.now.at(id))
    }

    /// Every value in the file that belongs to a live record, superseded versions included, in
    /// file order.
    pub fn values(&self) -> Vec<ValueAt> {
        let all = self.index.records.iter().flat_map(|(id, record)| {
            record
                .older
                .iter()
                .chain([&record.now])
                .map(|version| version.at(*id))
        });
        let mut all: Vec<_> = all.collect();
        all.sort_unstable_by_key(|at| at.offset);
        all
    }

    /// Opens a value; `blob` is what stands in the file at `at`.
    pub fn open_value(&self, at: &ValueAt, blob: &[u8]) -> Result<SecretValue, VaultError> {
        self.open_value_in(&mut Room::default(), at, blob)
    }

    /// [`Vault::open_value`] for many values one after the other, in one room.
    pub fn open_value_in(
        &self,
        room: &mut Room,
        at: &ValueAt,
        blob: &[u8],
    ) -> Result<SecretValue, VaultError> {
        value::open(&self.keys, at, blob, room)
    }

    /// The vault's own metadata.
    pub fn vault_meta(&self) -> VaultMeta {
        VaultMeta::parse(&self.index.vault_meta).unwrap_or_default()
    }

    /// The attempts whose end is not recorded.
    pub fn open_intents(&self) -> &[Intent] {
        &self.index.intents
    }

    /// The attempts on a record whose end is not recorded.
    pub fn intents_of(&self, name: &RecordName) -> Vec<Intent> {
        let id = self.index.id_of(name.as_str());
        let open = self.index.intents.iter();
        open.filter(|intent| Some(intent.id) == id)
            .copied()
            .collect()
    }

    /// True if an attempt may have used this refresh token. After a rekey nobody can tell.
    pub fn may_have_sent(&self, intent: &Intent, refresh_token: &SecretValue) -> bool {
        let tag = derive_intent_tag(self.keys.anchor(), refresh_token);
        intent.tag == tag || intent.tag == [0; 16]
    }

    /// The identity of the record with this name.
    pub fn id_of(&self, name: &RecordName) -> Option<super::RecordId> {
        self.index.id_of(name.as_str())
    }

    /// The name of the record with this id, if it is one that can be shown.
    pub fn name_of(&self, id: &super::RecordId) -> Option<RecordName> {
        self.index
            .records
            .get(id)
            .and_then(|record| record.name.parse().ok())
    }

    /// How full the vault is, and whether compaction is due.
    pub fn usage(&self) -> Usage {
        let delta_bytes = self.valid_end - self.base_end;
        let delta_frames = self.macs.len() as u64 - self.base_frames;
        let live_bytes = self.index.live_bytes;
        let by_size = delta_bytes >= COMPACT_BYTES.max(live_bytes / 2);
        Usage {
            records: self.len(),
            live_bytes,
            delta_bytes,
            delta_frames,
            superseded: self.index.superseded,
            compaction_due: by_size || delta_frames >= COMPACT_FRAMES,
        }
    }

    fn record(&self, name: &RecordName) -> Option<&Record> {
        self.index.by_name(name.as_str()).map(|(_, record)| record)
    }

    /// Refuses to go on after an error in the middle of a transaction.
    pub(super) fn check_whole(&self) -> Result<(), VaultError> {
        if self.broken {
            Err(VaultError::Corrupt("a frame that was read before"))
        } else {
            Ok(())
        }
    }

    /// Makes the pending transaction part of the state.
    pub(super) fn commit_pending(&mut self) -> Result<(), VaultError> {
        let pending = std::mem::take(&mut self.pending);
        let is_snapshot = self.base_end == 0;
        self.broken = true;
        self.index.apply(pending.entries, is_snapshot)?;
        self.broken = false;
        self.macs.extend(pending.macs);
        self.valid_end += pending.bytes;
        if is_snapshot {
            self.base_end = self.valid_end;
            self.base_frames = self.macs.len() as u64;
        }
        Ok(())
    }
}
