//! The records in memory: names, versions, metadata as sealed in the index, places of values.
//!
//! Metadata stays as its bytes and is parsed when asked for; a record takes some 300 bytes besides
//! its name and metadata.

use super::limits::{MAX_INTENTS, MAX_RECORDS};
use super::record::{Intent, RecordId, RecordInfo, RecordKind, ValueAt, VersionInfo};
use super::{Meta, VaultError};
use crate::name::RecordName;
use std::collections::HashMap;
use std::sync::Arc;

/// A change to the index that a frame brought, in owned form.
#[derive(Debug)]
pub(super) enum Entry {
    Put {
        id: RecordId,
        name: Arc<str>,
        version: Version,
    },
    Delete {
        id: RecordId,
        version: u64,
    },
    Vault(Box<[u8]>),
    Intent(Intent),
    Clear {
        attempt: [u8; 16],
    },
}

/// One version of a record.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub number: u64,
    pub offset: u64,
    pub len: u32,
    pub kind: RecordKind,
    pub meta: Box<[u8]>,
}

/// One live record.
#[derive(Debug)]
pub(super) struct Record {
    pub name: Arc<str>,
    pub now: Version,
    pub older: Vec<Version>,
}

/// Everything that the frames say.
#[derive(Default)]
pub(super) struct Index {
    pub records: HashMap<RecordId, Record>,
    names: HashMap<Arc<str>, RecordId>,
    pub intents: Vec<Intent>,
    pub vault_meta: Box<[u8]>,
    /// Bytes that a compacted file would need for the records, roughly.
    pub live_bytes: u64,
    /// Superseded versions in the file.
    pub superseded: usize,
}

impl Version {
    fn footprint(&self, name: &str) -> u64 {
        u64::from(self.len) + self.meta.len() as u64 + name.len() as u64 + 45
    }

    pub(super) fn at(&self, id: RecordId) -> ValueAt {
        let Version {
            number,
            offset,
            len,
            kind,
            ..
        } = *self;
        ValueAt {
            id,
            version: number,
            kind,
            offset,
            len,
        }
    }

    /// The metadata. Its form was checked when the frame was read.
    pub(super) fn meta(&self) -> Meta {
        serde_json::from_slice(&self.meta).unwrap_or_default()
    }
}

impl Index {
    pub(super) fn id_of(&self, name: &str) -> Option<RecordId> {
        self.names.get(name).copied()
    }

    pub(super) fn by_name(&self, name: &str) -> Option<(RecordId, &Record)> {
        let id = self.id_of(name)?;
        self.records.get(&id).map(|record| (id, record))
    }

    pub(super) fn info(&self, record: &Record) -> Option<RecordInfo> {
        let name: RecordName = record.name.parse().ok()?;
        let Version {
            kind,
            number: version,
            ..
        } = record.now;
        Some(RecordInfo {
            name,
            kind,
            version,
            meta: record.now.meta(),
        })
    }

    pub(super) fn history(&self, record: &Record) -> Vec<VersionInfo> {
        let info = |version: &Version, current| VersionInfo {
            version: version.number,
            kind: version.kind,
            meta: version.meta(),
            current,
        };
        let older = record.older.iter().map(|version| info(version, false));
        older.chain([info(&record.now, true)]).collect()
    }

    /// Applies one transaction. On an error the index is of no use any more.
    pub(super) fn apply(&mut self, entries: Vec<Entry>, snapshot: bool) -> Result<(), VaultError> {
        let mut touched = Vec::with_capacity(entries.len());
        for entry in entries {
            match entry {
                Entry::Put { id, name, version } => {
                    self.put(id, name, version, snapshot)?;
                    touched.push(id);
                }
                Entry::Delete { id, version } => self.delete(id, version)?,
                Entry::Vault(json) => self.vault_meta = json,
                Entry::Intent(intent) => self.begin(intent)?,
                Entry::Clear { attempt } => self.intents.retain(|open| open.attempt != attempt),
            }
        }
        if !count_is_allowed(self.records.len()) {
            return Err(VaultError::Corrupt("more than 1,000,000 records"));
        }
        for id in touched {
            let Some(record) = self.records.get(&id) else {
                continue;
            };
            if self
                .names
                .insert(record.name.clone(), id)
                .is_some_and(|other| other != id)
            {
                return Err(VaultError::Corrupt("two records with one name"));
            }
        }
        Ok(())
    }

    fn put(
        &mut self,
        id: RecordId,
        name: Arc<str>,
        version: Version,
        snapshot: bool,
    ) -> Result<(), VaultError> {
        self.live_bytes += version.footprint(&name);
        let Some(record) = self.records.get_mut(&id) else {
            if version.number == 0 || (!snapshot && version.number != 1) {
                return Err(VaultError::Corrupt("first version of a record"));
            }
            self.records.insert(
                id,
                Record {
                    name,
                    now: version,
                    older: Vec::new(),
                },
            );
            return Ok(());
        };
        let in_order = if snapshot {
            version.number > record.now.number
        } else {
            Some(version.number) == record.now.number.checked_add(1)
        };
        if !in_order {
            return Err(VaultError::Corrupt("order of a record's versions"));
        }
        self.live_bytes -= record.now.footprint(&record.name);
        self.superseded += 1;
        if record.name != name {
            remove_name(&mut self.names, &record.name, id);
            record.name = name;
        }
        record
            .older
            .push(std::mem::replace(&mut record.now, version));
        Ok(())
    }

    fn delete(&mut self, id: RecordId, version: u64) -> Result<(), VaultError> {
        let Some(record) = self.records.remove(&id) else {
            return Err(VaultError::Corrupt("a deleted record that is not there"));
        };
        if Some(version) != record.now.number.checked_add(1) {
            return Err(VaultError::Corrupt("order of a record's versions"));
        }
        remove_name(&mut self.names, &record.name, id);
        self.live_bytes -= record.now.footprint(&record.name);
        self.superseded += 1;
        self.intents.retain(|open| open.id != id);
        Ok(())
    }

    fn begin(&mut self, intent: Intent) -> Result<(), VaultError> {
        let known = self.records.get(&intent.id);
        if known.is_none_or(|record| record.now.number < intent.base_version) {
            return Err(VaultError::Corrupt(
                "an attempt on a record that is not there",
            ));
        }
        let taken = self
            .intents
            .iter()
            .any(|open| open.attempt == intent.attempt);
        if taken || self.intents.len() >= MAX_INTENTS {
            return Err(VaultError::Corrupt("open attempts"));
        }
        self.intents.push(intent);
        Ok(())
    }
}

/// True if a vault may have this many live records.
pub(super) const fn count_is_allowed(records: usize) -> bool {
    records <= MAX_RECORDS
}

/// Frees a name, unless another record of the same transaction is not yet entered under it: names
/// are entered only at a transaction's end, so that two records can exchange theirs.
fn remove_name(names: &mut HashMap<Arc<str>, RecordId>, name: &Arc<str>, id: RecordId) {
    if names.get(name) == Some(&id) {
        names.remove(name);
    }
}
