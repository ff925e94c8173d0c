//! Ways to open a vault: what was given is tried against every keyslot that it fits.
//!
//! Invariants: "not this slot" tries the next one, "this slot, but broken" stops; the error lists
//! every attempt by slot, kind and outcome, never a secret. Costs are bounded before memory is
//! allocated. Not here: the slot formats themselves ([`crate::vault`]) and where the daemon keeps
//! the opened keys.
#![forbid(unsafe_code)]

pub mod age;
mod attempt;
pub mod kdf;
pub mod key_file;
pub mod keyring;
pub mod systemd_creds;

pub use attempt::{Attempt, Outcome, UnlockError, short_id};

use self::age::{AgeError, Identity, Talk};
use self::keyring::SlotEntry;
use crate::keyring::{Asking, Keyring};
use crate::secret::SecretValue;
use crate::sys::tty::{self, PromptError};
use crate::vault::slot::{self, KdfLimit, RawKeyHint, SlotKind};
use crate::vault::{Header, RootKey, Slot, SubKeys, VaultError};
use attempt::Attempts;
use key_file::KeyFileError;
use std::path::{Path, PathBuf};

/// The most passphrase slots that one passphrase is tried against.
pub const MAX_PASSPHRASE_SLOTS: usize = 4;

/// What somebody gave to open a vault with.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// A passphrase, as typed, without its line end.
    pub passphrase: Option<SecretValue>,
    /// The key (32 bytes) that some passphrase slots ask for besides the passphrase.
    pub key_file: Option<SecretValue>,
    /// Files with age identities.
    pub identities: Vec<PathBuf>,
    /// Contents of identity files that were read already, and what errors call them.
    pub identity_data: Vec<(String, SecretValue)>,
    /// Raw keys of 32 bytes.
    pub raw_keys: Vec<SecretValue>,
    /// The keyring of the system, and whether it may ask the person.
    pub keyring: Option<Asking>,
    /// A recovery code, as typed.
    pub recovery: Option<SecretValue>,
    /// Absolute paths of the age plugins that may be run.
    pub allow_plugins: Vec<PathBuf>,
    /// Raises the memory that a passphrase slot may ask for, in bytes (`--kdf-limit`).
    pub kdf_memory: Option<u64>,
    /// Never ask anything.
    pub no_input: bool,
}

impl Given {
    /// What a service finds in its credentials folder (`$CREDENTIALS_DIRECTORY`):
    /// `reseal.passphrase`, `reseal.identity`, `reseal.key`; each may be absent.
    pub fn from_credentials_dir(folder: &Path) -> Result<Given, KeyFileError> {
        let found = |name: &str, max| match key_file::read_credential(&folder.join(name), max) {
            Ok(data) => Ok(Some(data)),
            Err(KeyFileError::Absent(_)) => Ok(None),
            Err(error) => Err(error),
        };
        let mut given = Given::default();
        if let Some(data) = found("reseal.passphrase", key_file::MAX_PASSPHRASE + 2)? {
            given.passphrase = Some(data.without_line_end());
        }
        let name = "reseal.identity";
        let identity = found(name, age::MAX_IDENTITY_FILE)?;
        given
            .identity_data
            .extend(identity.map(|data| (name.to_owned(), data)));
        if let Some(data) = found("reseal.key", key_file::MAX_KEY_TEXT)? {
            let path = folder.join("reseal.key");
            let key = key_file::parse_key(&data).ok_or(KeyFileError::NotAKey(path))?;
            given.raw_keys.push(key);
        }
        Ok(given)
    }

    /// True if there is nothing to try: a key file alone opens nothing.
    pub fn is_empty(&self) -> bool {
        self.passphrase.is_none()
            && self.identities.is_empty()
            && self.identity_data.is_empty()
            && self.raw_keys.is_empty()
            && self.keyring.is_none()
            && self.recovery.is_none()
    }
}

/// An opened vault's keys, and how they were got.
#[derive(Debug)]
pub struct Unlocked {
    /// The root key; the header is verified with it.
    pub root: RootKey,
    /// The id of the slot that opened.
    pub slot: [u8; 16],
    /// True if the slot proves that its maker knew the secret; a public-key slot proves nothing.
    pub authenticated: bool,
    /// What the user should hear of.
    pub notices: Vec<Notice>,
}

/// Something that worked, and may not work elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The passphrase has characters that another keyboard or system may encode differently.
    PassphraseNotAscii,
}

impl Notice {
    /// The notice as a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Notice::PassphraseNotAscii => {
                "The passphrase has characters outside ASCII: another keyboard or system may \
                 send other bytes for them."
            }
        }
    }
}

/// A new passphrase of fewer characters is warned about.
pub const SHORT_PASSPHRASE: usize = 8;

/// True if a passphrase has fewer than [`SHORT_PASSPHRASE`] characters.
pub fn is_short(passphrase: &SecretValue) -> bool {
    let is_start = |byte: &&u8| *byte & 0xc0 != 0x80;
    passphrase.expose().iter().filter(is_start).count() < SHORT_PASSPHRASE
}

/// The notice that a passphrase deserves, for `init` and `slot add` too.
pub fn passphrase_notice(passphrase: &SecretValue) -> Option<Notice> {
    (!passphrase.expose().is_ascii()).then_some(Notice::PassphraseNotAscii)
}

/// Opens a vault's header with what was given, or with a passphrase that is asked for if nothing
/// was given. What costs least is tried first: raw keys, the recovery code, the keyring, age
/// identities, the passphrase.
///
/// # Errors
/// [`UnlockError::Sealed`] if nothing was given and nothing may be asked;
/// [`UnlockError::NoMatch`] if nothing fits, with every attempt; [`UnlockError::Broken`] as soon
/// as a slot that is meant fails.
pub fn open(
    header: &Header,
    given: &Given,
    prompt: &mut dyn FnMut(&str) -> Result<SecretValue, PromptError>,
) -> Result<Unlocked, UnlockError> {
    let mut asking = Prompts {
        prompt,
        no_input: given.no_input,
    };
    let mut opening = Opening {
        header,
        given,
        attempts: Attempts::default(),
    };
    if given.is_empty() {
        return opening.ask(&mut asking);
    }
    let mut found = opening.raw_keys()?;
    if found.is_none() {
        found = opening.keyring()?;
    }
    if found.is_none() {
        found = opening.identities(&mut asking)?;
    }
    if let (None, Some(passphrase)) = (&found, &given.passphrase) {
        found = opening.passphrase(passphrase)?;
    }
    opening.finish(found)
}

/// Asks through the caller's prompt and the terminal, or not at all.
struct Prompts<'a> {
    prompt: &'a mut dyn FnMut(&str) -> Result<SecretValue, PromptError>,
    no_input: bool,
}

impl Prompts<'_> {
    fn ask<T>(
        &mut self,
        ask: impl FnOnce(&mut Self) -> Result<T, PromptError>,
    ) -> Result<T, PromptError> {
        if self.no_input {
            Err(PromptError::NoTerminal)
        } else {
            ask(self)
        }
    }
}

impl Talk for Prompts<'_> {
    fn message(&mut self, text: &str) {
        age::OnTerminal.message(text);
    }

    fn secret(&mut self, prompt: &str) -> Result<SecretValue, PromptError> {
        self.ask(|this| (this.prompt)(&format!("{prompt}: ")))
    }

    fn line(&mut self, prompt: &str) -> Result<String, PromptError> {
        self.ask(|_| age::OnTerminal.line(prompt))
    }

    fn decide(&mut self, message: &str, yes: &str, no: Option<&str>) -> Result<bool, PromptError> {
        self.ask(|_| age::OnTerminal.decide(message, yes, no))
    }
}

struct Opening<'a> {
    header: &'a Header,
    given: &'a Given,
    attempts: Attempts,
}

impl<'a> Opening<'a> {
    /// Nothing was given: asks for the passphrase, if there is a slot that takes one.
    fn ask(mut self, asking: &mut Prompts<'_>) -> Result<Unlocked, UnlockError> {
        if self
            .slots(|kind| matches!(kind, SlotKind::Passphrase { .. }))
            .is_empty()
        {
            return Err(UnlockError::Sealed(attempt::kinds(self.header.slots())));
        }
        let text = format!("Passphrase of vault {}", vault_name(self.header));
        let passphrase = asking.secret(&text).map_err(|error| match error {
            PromptError::NoTerminal => UnlockError::Sealed(attempt::kinds(self.header.slots())),
            error => UnlockError::Prompt(error),
        })?;
        let found = self.passphrase(&passphrase)?;
        self.finish(found)
    }

    fn slots(&self, wanted: impl Fn(SlotKind) -> bool) -> Vec<&'a Slot> {
        self.header
            .slots()
            .iter()
            .filter(|slot| wanted(slot.kind))
            .collect()
    }

    fn raw_keys(&mut self) -> Result<Option<Unlocked>, UnlockError> {
        let recovery = match &self.given.recovery {
            Some(text) => Some(slot::recovery::parse(text).map_err(UnlockError::Input)?),
            None => None,
        };
        let is_recovery = |kind| {
            kind == SlotKind::RawKey {
                hint: RawKeyHint::RecoveryCode,
            }
        };
        let is_raw = |kind| matches!(kind, SlotKind::RawKey { .. }) && !is_recovery(kind);
        for key in &self.given.raw_keys {
            for slot in self.slots(is_raw) {
                if let Some(found) = self.settle(slot, slot::open_raw(self.header, slot, key))? {
                    return Ok(Some(found));
                }
            }
        }
        if let Some(code) = &recovery {
            for slot in self.slots(is_recovery) {
                if let Some(found) = self.settle(slot, slot::open_raw(self.header, slot, code))? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// The slots whose key lies in the keyring.
    fn keyring(&mut self) -> Result<Option<Unlocked>, UnlockError> {
        let Some(asking) = self.given.keyring else {
            return Ok(None);
        };
        let keyring = Keyring::of_session(asking);
        for slot in self.slots(is_in_keyring) {
            let key = SlotEntry::of(&self.header.vault_id(), &slot.id).read(&keyring);
            let key = match key {
                Ok(key) => key,
                Err(error) => {
                    self.attempts.add(slot, Outcome::Keyring(error));
                    continue;
                }
            };
            if let Some(found) = self.settle(slot, slot::open_raw(self.header, slot, &key))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn identities(&mut self, asking: &mut Prompts<'_>) -> Result<Option<Unlocked>, UnlockError> {
        let identities = self.load_identities(asking)?;
        if identities.is_empty() {
            return Ok(None);
        }
        let allow = &self.given.allow_plugins;
        for slot in self.slots(|kind| kind == SlotKind::Age) {
            let file = slot::age_payload(self.header, slot);
            let opened = if file.len() > age::MAX_SLOT_FILE {
                Err(AgeError::TooLarge(age::MAX_SLOT_FILE))
            } else {
                let max = slot::AGE_PLAINTEXT_LEN;
                age::decrypt_talking(file, &identities, allow, max, asking)
            };
            let root = match opened {
                Ok(plaintext) => {
                    slot::root_from_age_plaintext(self.header, slot, &plaintext).map(Some)
                }
                Err(AgeError::NoMatch | AgeError::NeedsPassphrase) => Ok(None),
                // Another slot may open without the plugin; the error names what it said.
                Err(AgeError::Plugin(fault)) => {
                    self.attempts.add(slot, Outcome::Plugin(fault.to_string()));
                    continue;
                }
                Err(_) => Err(VaultError::Corrupt("the age file of a keyslot is damaged")),
            };
            if let Some(found) = self.settle(slot, root)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn load_identities(&self, asking: &mut Prompts<'_>) -> Result<Vec<Identity>, UnlockError> {
        let no_input = self.given.no_input;
        let mut prompt = |text: &str| match no_input {
            true => Err(PromptError::NoTerminal),
            false => (asking.prompt)(text),
        };
        let mut identities = Vec::new();
        for path in &self.given.identities {
            identities.extend(age::load_identity_file(path, &mut prompt)?);
        }
        for (place, data) in &self.given.identity_data {
            identities.extend(age::load_identity_data(data, place, &mut prompt)?);
        }
        Ok(identities)
    }

    fn passphrase(&mut self, passphrase: &SecretValue) -> Result<Option<Unlocked>, UnlockError> {
        if !key_file::check_passphrase(passphrase) {
            return Err(UnlockError::Input(VaultError::Passphrase));
        }
        let limit = kdf::limit(self.given.kdf_memory);
        let slots = self.slots(|kind| matches!(kind, SlotKind::Passphrase { .. }));
        for (number, slot) in slots.into_iter().enumerate() {
            if number == MAX_PASSPHRASE_SLOTS {
                self.attempts.add(slot, Outcome::NotTried);
                break;
            }
            if let Some(mut found) = self.passphrase_slot(slot, passphrase, &limit)? {
                found.notices.extend(passphrase_notice(passphrase));
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn passphrase_slot(
        &mut self,
        slot: &Slot,
        passphrase: &SecretValue,
        limit: &KdfLimit,
    ) -> Result<Option<Unlocked>, UnlockError> {
        let key_file = self.given.key_file.as_ref();
        match slot::open_passphrase(self.header, slot, passphrase, key_file, limit) {
            // Whether the slot is meant can't be known without paying for it.
            Err(error @ (VaultError::KdfLimit { .. } | VaultError::Stretch(_))) => {
                self.attempts.add(slot, Outcome::Cost(error.to_string()));
                Ok(None)
            }
            Err(VaultError::KeyFile) if key_file.is_none() => {
                self.attempts.add(slot, Outcome::NeedsKeyFile);
                Ok(None)
            }
            outcome => self.settle(slot, outcome),
        }
    }

    /// Turns a slot's outcome into an opened vault, the next attempt, or the end.
    fn settle(
        &mut self,
        slot: &Slot,
        outcome: Result<Option<RootKey>, VaultError>,
    ) -> Result<Option<Unlocked>, UnlockError> {
        let verified = |root: RootKey| self.header.verify(&root).map(|_: SubKeys| root);
        let root = match outcome.and_then(|root| root.map(verified).transpose()) {
            Ok(Some(root)) => root,
            Ok(None) => {
                self.attempts.add(slot, Outcome::NotThis);
                return Ok(None);
            }
            Err(source) => {
                let attempts = std::mem::take(&mut self.attempts).list();
                return Err(UnlockError::Broken {
                    attempts,
                    slot: short_id(&slot.id),
                    source,
                });
            }
        };
        let authenticated = slot.authenticates();
        Ok(Some(Unlocked {
            root,
            slot: slot.id,
            authenticated,
            notices: Vec::new(),
        }))
    }

    fn finish(self, found: Option<Unlocked>) -> Result<Unlocked, UnlockError> {
        found.ok_or_else(|| UnlockError::NoMatch(self.attempts.list()))
    }
}

/// True for a slot whose key lies in the keyring of the system.
pub fn is_in_keyring(kind: SlotKind) -> bool {
    let hint = RawKeyHint::Keyring;
    kind == SlotKind::RawKey { hint }
}

/// The first group of the fingerprint: enough to tell one's vaults apart in a prompt.
fn vault_name(header: &Header) -> String {
    header
        .fingerprint()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric())
        .collect()
}

/// Asks on the terminal, for callers of [`open`] that have no prompt of their own.
pub fn terminal_prompt(text: &str) -> Result<SecretValue, PromptError> {
    tty::read_hidden(text)
}

#[cfg(test)]
mod tests;
