//! Ways to open a vault: what was given is tried against every keyslot that it fits.
//!
//! Invariants: "not this slot" tries the next one, "this slot, but broken" stops; the error lists
//! every attempt by slot, kind and outcome, never a secret. Costs are bounded before memory is
//! allocated. Not here: the slot formats themselves ([`crate::vault`]) and where the daemon keeps
//! the opened keys.
#![forbid(unsafe_code)]

pub mod age;
pub mod kdf;
pub mod key_file;

use crate::error::{Code, Coded, failure_from};
use crate::secret::SecretValue;
use crate::sys::tty::PromptError;
use crate::vault::RootKey;
use std::path::PathBuf;

/// What somebody gave to open a vault with.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// A passphrase, as typed, without its line end.
    pub passphrase: Option<SecretValue>,
    /// The key (32 bytes) that some passphrase slots ask for besides the passphrase.
    pub key_file: Option<SecretValue>,
    /// Files with age identities.
    pub identities: Vec<PathBuf>,
    /// Raw keys of 32 bytes.
    pub raw_keys: Vec<SecretValue>,
    /// A recovery code, as typed.
    pub recovery: Option<SecretValue>,
    /// Absolute paths of the age plugins that may be run.
    pub allow_plugins: Vec<PathBuf>,
    /// Raises the memory that a passphrase slot may ask for, in bytes (`--kdf-limit`).
    pub kdf_memory: Option<u64>,
    /// Never ask anything.
    pub no_input: bool,
}

/// An opened vault's root key, and how it was opened.
#[derive(Debug)]
pub struct Unlocked {
    /// The root key.
    pub root: RootKey,
    /// The id of the slot that opened.
    pub slot: [u8; 16],
    /// True if the slot proves that its maker knew the secret; a public-key slot proves nothing.
    pub authenticated: bool,
}

/// Why a vault did not open.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// Nothing was given, and nothing could be asked.
    #[error("nothing was given to open it with")]
    Sealed,
    /// The prompt failed.
    #[error("ask for the passphrase")]
    Prompt(#[from] PromptError),
}

impl Coded for UnlockError {
    fn code(&self) -> Code {
        match self {
            UnlockError::Sealed => Code::VaultSealed,
            UnlockError::Prompt(_) => Code::NoInput,
        }
    }
}

failure_from!(UnlockError);
