//! Why a vault can't be read or changed.

use crate::crypto::passphrase::StretchError;
use crate::error::{Code, Coded};

/// Why a vault can't be opened, read or changed. The text names the place, never a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The first bytes are not those of a vault.
    #[error("the file is not a Reseal vault")]
    NotAVault,
    /// A rule of the format does not hold.
    #[error("the vault file is damaged: {0}")]
    Corrupt(&'static str),
    /// A part that a later version of the format brought.
    #[error("the vault file needs a newer version of this program: {0}")]
    Newer(&'static str),
    /// A change would go over a limit.
    #[error("the vault would go over a limit: {0}")]
    Limit(&'static str),
    /// The file is older than the anchor.
    #[error(
        "the vault file is an older one: it stands at generation {found}, this machine has seen \
         generation {seen}"
    )]
    Rollback {
        /// What the file has: a frame's number.
        found: u64,
        /// What the anchor has.
        seen: u64,
    },
    /// The file has an older epoch than the anchor.
    #[error(
        "the vault file is an older one: it has the key of epoch {found}, this machine has seen \
         that of epoch {seen}"
    )]
    EpochRollback {
        /// What the file has.
        found: u32,
        /// What the anchor has.
        seen: u32,
    },
    /// The file and the anchor have different histories.
    #[error(
        "the vault file and this machine's anchor differ at {0} (two machines wrote to copies \
         of one vault, or a backup was restored and changed)"
    )]
    Fork(u64),
    /// A public-key slot opened a vault that is not pinned.
    #[error(
        "the vault was opened by a public key, which does not say who made it, and its \
         fingerprint {0} is not the one that this machine trusts"
    )]
    Untrusted(String),
    /// Someone else changed the record or the vault.
    #[error("the record {0} was changed by someone else")]
    Conflict(String),
    /// A prepared change is not based on the vault's head.
    #[error("the vault was changed by someone else")]
    Stale,
    /// No such record.
    #[error("there is no record {0}")]
    RecordAbsent(String),
    /// The record has no such version.
    #[error("the record {0} has no version {1} any more")]
    VersionAbsent(String, u64),
    /// A record of that name exists.
    #[error("a record {0} already exists")]
    RecordExists(String),
    /// No such intent.
    #[error("there is no open attempt of that id")]
    IntentAbsent,
    /// A slot's cost is over the bounds.
    #[error("the keyslot asks for {mib} MiB of memory, {t} passes and {p} lanes; {rule}")]
    KdfLimit {
        /// Memory in MiB.
        mib: u32,
        /// Passes.
        t: u32,
        /// Lanes.
        p: u32,
        /// The rule that this breaks.
        rule: &'static str,
    },
    /// Argon2id could not run.
    #[error("the passphrase could not be turned into a key")]
    Stretch(#[source] StretchError),
    /// A passphrase of 0 or over 1,024 bytes.
    #[error("a passphrase has 1 to 1,024 bytes")]
    Passphrase,
    /// A raw key or key file of another size.
    #[error("a raw key or key file has 32 bytes")]
    RawKey,
    /// The key file is missing, or given for a slot that takes none.
    #[error("the passphrase slot needs a key file")]
    KeyFile,
    /// Not a recovery code.
    #[error("the recovery code is not complete or has a typing error")]
    RecoveryCode,
    /// The slot is of another kind than the operation.
    #[error("the keyslot is of another kind")]
    SlotKind,
    /// No such slot.
    #[error("there is no such keyslot")]
    SlotAbsent,
    /// The last usable slot.
    #[error("the last usable keyslot can't be removed")]
    SlotLast,
    /// Too many slots.
    #[error("the vault has no room for another keyslot: {0}")]
    SlotLimit(&'static str),
    /// A defect of this program.
    #[error("a rule between the modules is broken: {0}")]
    Bug(&'static str),
}

impl Coded for VaultError {
    fn code(&self) -> Code {
        match self {
            VaultError::NotAVault | VaultError::Corrupt(_) => Code::VaultCorrupt,
            VaultError::Newer(_) => Code::VaultNewer,
            VaultError::Limit(_) => Code::VaultLimit,
            VaultError::Rollback { .. } | VaultError::EpochRollback { .. } => Code::VaultRollback,
            VaultError::Fork(_) => Code::VaultFork,
            VaultError::Untrusted(_) => Code::VaultUntrusted,
            VaultError::Conflict(_) | VaultError::Stale | VaultError::IntentAbsent => {
                Code::VaultConflict
            }
            VaultError::RecordAbsent(_) => Code::RecordAbsent,
            VaultError::VersionAbsent(..) => Code::RecordVersionAbsent,
            VaultError::RecordExists(_) => Code::RecordExists,
            VaultError::KdfLimit { .. } | VaultError::Stretch(_) => Code::SlotKdfLimit,
            VaultError::Passphrase
            | VaultError::RawKey
            | VaultError::KeyFile
            | VaultError::RecoveryCode => Code::InputInvalid,
            VaultError::SlotKind | VaultError::Bug(_) => Code::Bug,
            VaultError::SlotAbsent => Code::SlotAbsent,
            VaultError::SlotLast => Code::SlotLast,
            VaultError::SlotLimit(_) => Code::SlotLimit,
        }
    }
}
crate::error::failure_from!(VaultError);
