//! What was tried on the way to an opened vault, and why nothing opened.

use super::age::AgeError;
use super::key_file::KeyFileError;
use super::keyring::EntryError;
use crate::error::{Code, Coded, failure_from};
use crate::sys::tty::PromptError;
use crate::vault::slot::{RawKeyHint, SlotKind};
use crate::vault::{Slot, VaultError};
use std::fmt;

/// One slot that something was tried on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The first four bytes of the slot's id, in hexadecimal.
    pub slot: String,
    /// What kind of slot it is.
    pub kind: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an attempt that did not open the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was given is not for this slot.
    NotThis,
    /// The slot asks for more memory or time than is allowed; the text says how much.
    Cost(String),
    /// The slot wants a key file besides the passphrase.
    NeedsKeyFile,
    /// There were too many slots of its kind before it.
    NotTried,
    /// The identity's plugin is not allowed, unsafe, or failed; the text says which.
    Plugin(String),
    /// The keyring does not give the slot's key.
    Keyring(EntryError),
}

impl Attempt {
    /// What went wrong with the keyring, if it was that.
    fn keyring_code(&self) -> Option<Code> {
        match &self.outcome {
            Outcome::Keyring(error) => Some(error.code()),
            _ => None,
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attempt {
            slot,
            kind,
            outcome,
        } = self;
        write!(f, "slot {slot} ({kind}): ")?;
        match outcome {
            Outcome::NotThis => f.write_str("does not open"),
            Outcome::Cost(text) => f.write_str(text),
            Outcome::NeedsKeyFile => f.write_str("needs its key file too"),
            Outcome::NotTried => f.write_str("not tried, there are too many of its kind"),
            Outcome::Plugin(text) => f.write_str(text),
            Outcome::Keyring(error) => write!(f, "{error}"),
        }
    }
}

/// Why a vault did not open.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// Nothing was given, and nothing could be asked; the text lists the kinds of slots.
    #[error("the vault is locked and nothing was given to open it with (its keyslots: {0})")]
    Sealed(String),
    /// Nothing that was given opens a slot.
    #[error("{}", listed(.0))]
    NoMatch(Vec<Attempt>),
    /// A slot that is meant fails.
    #[error("slot {slot} fails{}", before(attempts))]
    Broken {
        /// What was tried before.
        attempts: Vec<Attempt>,
        /// The first four bytes of the slot's id, in hexadecimal.
        slot: String,
        /// Why.
        source: VaultError,
    },
    /// A passphrase or recovery code has a form that no slot takes.
    #[error("what was given can't be used")]
    Input(#[source] VaultError),
    /// An identity can't be used.
    #[error(transparent)]
    Identity(#[from] AgeError),
    /// Key material can't be read.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The prompt failed.
    #[error("no passphrase was entered")]
    Prompt(#[source] PromptError),
}

impl Coded for UnlockError {
    fn code(&self) -> Code {
        match self {
            UnlockError::Sealed(_) => Code::VaultSealed,
            UnlockError::NoMatch(attempts) => {
                let any = |of: fn(&Outcome) -> bool| attempts.iter().any(|a| of(&a.outcome));
                if let Some(code) = attempts.iter().find_map(Attempt::keyring_code) {
                    code
                } else if any(|outcome| matches!(outcome, Outcome::Plugin(_))) {
                    Code::SlotPlugin
                } else if any(|outcome| matches!(outcome, Outcome::Cost(_))) {
                    Code::SlotKdfLimit
                } else if !attempts.is_empty() && attempts.iter().all(|a| a.kind == PASSPHRASE) {
                    Code::SlotWrongPassphrase
                } else {
                    Code::SlotNoMatch
                }
            }
            UnlockError::Broken { source, .. } | UnlockError::Input(source) => source.code(),
            UnlockError::Identity(error) => error.code(),
            UnlockError::KeyFile(error) => error.code(),
            UnlockError::Prompt(error) => error.code(),
        }
    }
}

failure_from!(UnlockError);

const PASSPHRASE: &str = "passphrase";

/// The first four bytes of a slot's id, in hexadecimal: what people see of it.
pub fn short_id(id: &[u8; 16]) -> String {
    data_encoding::HEXLOWER.encode(&id[..4])
}

/// The name of a kind of slot.
fn kind_name(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::Passphrase { .. } => PASSPHRASE,
        SlotKind::Age => "age",
        SlotKind::RawKey {
            hint: RawKeyHint::RecoveryCode,
        } => "recovery code",
        SlotKind::RawKey {
            hint: RawKeyHint::Keyring,
        } => "keyring",
        SlotKind::RawKey {
            hint: RawKeyHint::SystemdCredential,
        } => "systemd credential",
        SlotKind::RawKey {
            hint: RawKeyHint::Tpm,
        } => "TPM credential",
        SlotKind::RawKey { .. } => "raw key",
        SlotKind::Shamir => "shares",
        SlotKind::Unknown(_) => "unknown",
    }
}

/// The kinds of these slots, each once, in order.
pub(super) fn kinds(slots: &[Slot]) -> String {
    let mut names: Vec<&str> = slots.iter().map(|slot| kind_name(slot.kind)).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// The attempts of one opening. A slot that several things were tried on counts once for each
/// different outcome.
#[derive(Default)]
pub(super) struct Attempts(Vec<Attempt>);

impl Attempts {
    pub(super) fn add(&mut self, slot: &Slot, outcome: Outcome) {
        let attempt = Attempt {
            slot: short_id(&slot.id),
            kind: kind_name(slot.kind),
            outcome,
        };
        if !self.0.contains(&attempt) {
            self.0.push(attempt);
        }
    }

    pub(super) fn list(self) -> Vec<Attempt> {
        self.0
    }
}

fn listed(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return "no keyslot takes what was given".to_owned();
    }
    let list: Vec<String> = attempts.iter().map(Attempt::to_string).collect();
    let is_wrong = |a: &Attempt| a.kind == PASSPHRASE && a.outcome == Outcome::NotThis;
    if attempts.iter().all(is_wrong) {
        return format!("wrong passphrase ({})", list.join("; "));
    }
    format!("nothing that was given opens it: {}", list.join("; "))
}

fn before(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return String::new();
    }
    let list: Vec<String> = attempts.iter().map(Attempt::to_string).collect();
    format!(" (tried before: {})", list.join("; "))
}
