//! Records as the rest of the program sees them, and the changes that it asks for.

use crate::name::RecordName;
use crate::secret::SecretValue;
use crate::time::UnixMs;
use crate::vault::meta::VaultMeta;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// What a record holds. The numbers are those of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RecordKind {
    /// A secret of no special kind.
    Static,
    /// An API key.
    ApiKey,
    /// An OAuth token set.
    OAuth,
    /// A client id and secret.
    ClientCredential,
    /// The content of a file.
    File,
    /// A key pair.
    KeyPair,
    /// 128 to 255.
    Private(u8),
}

impl RecordKind {
    /// The number of the format.
    pub fn code(self) -> u8 {
        match self {
            RecordKind::Static => 1,
            RecordKind::ApiKey => 2,
            RecordKind::OAuth => 3,
            RecordKind::ClientCredential => 4,
            RecordKind::File => 5,
            RecordKind::KeyPair => 6,
            RecordKind::Private(code) => code,
        }
    }

    /// The kind with this number; `None` for one that only a newer version can know.
    pub fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => RecordKind::Static,
            2 => RecordKind::ApiKey,
            3 => RecordKind::OAuth,
            4 => RecordKind::ClientCredential,
            5 => RecordKind::File,
            6 => RecordKind::KeyPair,
            128..=255 => RecordKind::Private(code),
            _ => return None,
        })
    }

    /// True if superseded versions are worth keeping: a rotated token is of no use to anyone but
    /// a thief.
    pub fn keeps_history(self) -> bool {
        !matches!(self, RecordKind::OAuth | RecordKind::ClientCredential)
    }
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

/// One version of a record that the file still holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    /// The version.
    pub version: u64,
    /// What it held.
    pub kind: RecordKind,
    /// The metadata of that version.
    pub meta: Meta,
    /// True for the newest.
    pub current: bool,
}

/// Where a sealed value stands in the file, and what its ciphertext is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueAt {
    /// The record.
    pub id: RecordId,
    /// The version.
    pub version: u64,
    /// The kind at that version.
    pub kind: RecordKind,
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Bytes of ciphertext.
    pub len: u32,
}

/// How a rename or a rewrite gets at the old file: fills the whole buffer with the bytes that stand
/// at [`ValueAt::offset`].
pub type ReadValue<'a, E> = dyn FnMut(&ValueAt, &mut [u8]) -> Result<(), E> + 'a;

/// The metadata of a record: a JSON object of at most 16 KiB. Unknown members are kept, and so are
/// known ones whose type is another than ours.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// When this version was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<UnixMs>,
    /// When the value stops being valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<UnixMs>,
    /// A note for people. Not secret, but sealed with the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Members that this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl<'de> Deserialize<'de> for Meta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::from_members(Map::deserialize(deserializer)?))
    }
}

impl Meta {
    /// Takes the members that we know, if they have our types; the rest stays in `other`.
    pub fn from_members(mut members: Map<String, Value>) -> Self {
        let time = |members: &mut Map<String, Value>, name: &str| {
            let at = members.get(name).and_then(Value::as_u64)?;
            members.shift_remove(name);
            Some(UnixMs(at))
        };
        let (created_at, expires_at) = (
            time(&mut members, "createdAt"),
            time(&mut members, "expiresAt"),
        );
        let note = match members.get("note") {
            Some(Value::String(text)) => Some(text.clone()),
            _ => None,
        };
        if note.is_some() {
            members.shift_remove("note");
        }
        Self {
            created_at,
            expires_at,
            note,
            other: members,
        }
    }
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
    /// Writes a record: a new one, or the next version of the one with that name. `created_at` is
    /// set to now unless it is given.
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
    /// Gives a record another name; the value is sealed again as its next version, the metadata
    /// stays as it stands.
    Rename {
        /// The old name.
        from: RecordName,
        /// The new name; must be free.
        to: RecordName,
    },
    /// Replaces the vault's own metadata.
    VaultMeta(VaultMeta),
    /// Says, before the network is touched, that a refresh of this record is about to start.
    Intent {
        /// The record.
        name: RecordName,
        /// The id of the attempt: random.
        attempt: [u8; 16],
        /// The refresh token that will be used; only a tag of it is stored.
        refresh_token: SecretValue,
        /// What must be there before.
        expect: Expect,
    },
    /// Says how an attempt ended.
    Clear {
        /// The id of the attempt.
        attempt: [u8; 16],
        /// How.
        outcome: Outcome,
    },
}

/// A refresh that was begun and whose end is not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The record.
    pub id: RecordId,
    /// The record's version when it began.
    pub base_version: u64,
    /// The id of the attempt.
    pub attempt: [u8; 16],
    /// When it began.
    pub began_at: UnixMs,
    /// `MAC(K_anc, refresh_token)[0..16]`; zeros after a rekey, which can't compute it again.
    pub tag: [u8; 16],
}

/// How an attempt ended. Readers ignore it; it is there for people who look into a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The new token set is stored in the same transaction.
    Stored,
    /// The provider refused.
    Refused,
    /// Nothing was sent.
    NotSent,
    /// Unknown at the time; settled later by a person or another login.
    Settled,
}

impl Outcome {
    pub(super) fn code(self) -> u8 {
        match self {
            Outcome::Stored => 1,
            Outcome::Refused => 2,
            Outcome::NotSent => 3,
            Outcome::Settled => 4,
        }
    }
}
