//! The vault file, format version 1: bytes in, types out. No I/O (stub: owner "vault").
//!
//! Specification: `docs/vault-format.md`.
#![forbid(unsafe_code)]

use crate::crypto::Random;
use crate::name::RecordName;
use crate::secret::{Key, Purpose, SecretValue};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};

/// The root key of an epoch.
pub enum Root {}
impl Purpose for Root {
    const NAME: &'static str = "root";
}
/// The root key (RK) of one epoch, 32 random bytes. Only slot and rekey operations need it.
pub type RootKey = Key<Root>;

/// What a record holds. The numbers are those of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub enum RecordKind {
    Static,
    ApiKey,
    OAuth,
    ClientCredential,
    File,
    KeyPair,
    /// 128 to 255.
    Private(u8),
}

/// A record's identity, random, constant over renames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId(pub [u8; 16]);

/// Where the newest commit stands: what the anchor remembers and compare-and-swap compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Sequence number of the last committed frame.
    pub seq: u64,
    /// MAC of that frame.
    pub mac: [u8; 32],
}

/// Everything about one record but its value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordInfo {
    /// The name.
    pub name: RecordName,
    /// What it holds.
    pub kind: RecordKind,
    /// 1 for a new record, +1 at every change.
    pub version: u64,
    /// The metadata: our members, and unknown ones kept.
    pub meta: Meta,
}

/// The metadata of a record: a JSON object of at most 16 KiB; unknown members are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// When this version was written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_at: Option<UnixMs>,
    /// When the value stops being valid.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at: Option<UnixMs>,
    /// A note for people. Not secret, but sealed with the index.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
    /// Members that this version does not know.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

/// What a change expects of the record that it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Expect {
    /// Whatever is there.
    Any,
    /// There is no such record.
    Absent,
    /// The record stands at this version.
    Version(u64),
}

/// One change to the vault; a commit is a list of them, all or nothing.
pub enum Change {
    /// Writes a record: a new one, or the next version of the one with that name.
    Put {
        /// The name.
        name: RecordName,
        /// What it holds.
        kind: RecordKind,
        /// The metadata.
        meta: Meta,
        /// The value.
        value: SecretValue,
        /// What must be there before.
        expect: Expect,
    },
    /// Removes a record.
    Delete {
        /// The name.
        name: RecordName,
        /// What must be there before.
        expect: Expect,
    },
    /// Gives a record another name; the value is sealed again as its next version.
    Rename {
        /// The old name.
        from: RecordName,
        /// The new name; must be free.
        to: RecordName,
    },
}

#[allow(unused)]
type Unused<'a> = &'a mut dyn Random;
