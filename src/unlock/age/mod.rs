//! age files: to recipients, with identities, with a passphrase, through plugins.
//!
//! Invariants: everything is bounded before it is spent: file, header, payload, scrypt's work, a
//! plugin's time and talk. A file that no identity fits is told apart from one that is damaged.
//! A plugin runs only by the absolute path that the user allowed. Not here: what the payload
//! means (a keyslot's root key, an export).

mod identity;
mod plugin;
mod recipient;
mod stanza;

pub use identity::{
    Identity, MAX_IDENTITIES, MAX_IDENTITY_FILE, load_identity_data, load_identity_file,
    parse_identities,
};
pub use plugin::{PluginError, TIME_LIMIT};
pub use recipient::{MAX_RECIPIENT, Recipient, parse_recipient};

use super::kdf;
use super::key_file::KeyFileError;
use crate::error::{Code, Coded, failure_from};
use crate::secret::SecretValue;
use crate::sys::tty::{self, PromptError};
use ::age::armor::ArmoredReader;
use ::age::secrecy::SecretString;
use ::age::{DecryptError, Decryptor, EncryptError, Encryptor, scrypt};
use std::borrow::Cow;
use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;

/// The largest payload of an export or import, in bytes.
pub const MAX_EXPORT: usize = 64 << 20;
/// The largest age file in a keyslot, in bytes.
pub const MAX_SLOT_FILE: usize = 16_384;
/// The largest header (everything before the payload) of an age file, in bytes.
pub const MAX_HEADER: usize = 64 << 10;
/// The most recipients of one file.
pub const MAX_RECIPIENTS: usize = 64;
/// The longest passphrase of an age file, in bytes.
pub const MAX_PASSPHRASE: usize = 1024;
/// scrypt's work factor in files that we write: 256 MiB, as the `age` program does.
pub const WORK_FACTOR: u8 = 18;
/// The largest work factor that we spend on a file: 1 GiB, and half of the available memory.
pub const MAX_WORK_FACTOR: u8 = 20;

/// What an armored file may be longer than its binary form: a third, line ends, markers.
const ARMOR_FACTOR: usize = 2;
/// What the payload's encryption adds: a nonce, and 16 bytes for every 64 KiB.
const PAYLOAD_OVERHEAD: usize = 4096;

/// Why age could not encrypt or decrypt.
#[derive(Debug, thiserror::Error)]
pub enum AgeError {
    /// A recipient is not understood.
    #[error("the age recipient is not understood: {0}")]
    Recipient(&'static str),
    /// An identity is not understood.
    #[error("line {line} of {place} is no age identity: {why}")]
    Identity {
        /// The file.
        place: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An identity file holds none, or too many.
    #[error("{place} holds {why}")]
    IdentityFile {
        /// The file.
        place: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is nobody to encrypt to, or there are too many.
    #[error("a file is encrypted to 1 to {MAX_RECIPIENTS} recipients")]
    RecipientCount,
    /// The recipients can't share one file.
    #[error("these recipients can't be used together (only post-quantum ones mix with their like)")]
    Mixed,
    /// A plugin is not allowed, unsafe, or failed.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The file is not an age file, or damaged.
    #[error("the age file is damaged or not an age file: {0}")]
    Damaged(&'static str),
    /// No identity fits the file.
    #[error("no identity fits the age file")]
    NoMatch,
    /// The passphrase is wrong.
    #[error("the passphrase does not open the age file")]
    WrongPassphrase,
    /// The file is opened by a passphrase, not by identities.
    #[error("the age file is encrypted with a passphrase")]
    NeedsPassphrase,
    /// The file is opened by identities, not by a passphrase.
    #[error("the age file is not encrypted with a passphrase")]
    NeedsIdentity,
    /// A passphrase has a length or form that is not allowed.
    #[error("a passphrase for age is UTF-8 text of 1 to {MAX_PASSPHRASE} bytes")]
    Passphrase,
    /// scrypt would cost too much.
    #[error("the age file asks for scrypt work factor {asked}; allowed are {allowed}")]
    Work {
        /// What the file asks for: 2 to this power, in KiB of memory.
        asked: u8,
        /// The most that is allowed.
        allowed: u8,
    },
    /// The payload is over its limit.
    #[error("the payload of the age file is larger than {0} bytes")]
    TooLarge(usize),
    /// An identity file could not be read.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The passphrase of an identity file could not be asked.
    #[error("ask for the passphrase of {place}")]
    Prompt {
        /// The file.
        place: String,
        /// Why not.
        source: PromptError,
    },
    /// Writing into memory failed.
    #[error("encrypt the age file")]
    Write(#[source] io::Error),
}

impl Coded for AgeError {
    fn code(&self) -> Code {
        match self {
            AgeError::Recipient(_)
            | AgeError::Identity { .. }
            | AgeError::IdentityFile { .. }
            | AgeError::RecipientCount
            | AgeError::Mixed => Code::SlotIdentity,
            AgeError::Plugin(error) => error.code(),
            AgeError::Damaged(_)
            | AgeError::NeedsPassphrase
            | AgeError::NeedsIdentity
            | AgeError::Passphrase => Code::InputInvalid,
            AgeError::NoMatch => Code::SlotNoMatch,
            AgeError::WrongPassphrase => Code::SlotWrongPassphrase,
            AgeError::Work { .. } => Code::SlotKdfLimit,
            AgeError::TooLarge(_) => Code::InputTooLarge,
            AgeError::KeyFile(error) => error.code(),
            AgeError::Prompt { source, .. } => source.code(),
            AgeError::Write(_) => Code::Bug,
        }
    }
}

failure_from!(AgeError);

/// How identities and plugins ask and tell.
pub trait Talk {
    /// Shows a message.
    fn message(&mut self, text: &str);
    /// Asks for a secret.
    fn secret(&mut self, prompt: &str) -> Result<SecretValue, PromptError>;
    /// Asks for something that may be seen.
    fn line(&mut self, prompt: &str) -> Result<String, PromptError>;
    /// Asks for a decision: true for `yes`, false for `no`.
    fn decide(&mut self, message: &str, yes: &str, no: Option<&str>) -> Result<bool, PromptError>;
}

/// Talks on the terminal.
#[derive(Debug)]
pub struct OnTerminal;

impl Talk for OnTerminal {
    fn message(&mut self, text: &str) {
        tty::show(text);
    }

    fn secret(&mut self, prompt: &str) -> Result<SecretValue, PromptError> {
        tty::read_hidden(&format!("{prompt}: "))
    }

    fn line(&mut self, prompt: &str) -> Result<String, PromptError> {
        tty::read_line(&format!("{prompt}: "))
    }

    fn decide(&mut self, message: &str, yes: &str, no: Option<&str>) -> Result<bool, PromptError> {
        let otherwise = no.map(|no| format!(", no: {no}")).unwrap_or_default();
        tty::confirm(&format!("{message} (yes: {yes}{otherwise})"), false)
    }
}

/// Encrypts to recipients, as a binary age file; plugins of `allow` may be run, and talk on the
/// terminal.
pub fn encrypt_to(
    recipients: &[Recipient],
    plaintext: &SecretValue,
    allow: &[PathBuf],
) -> Result<Vec<u8>, AgeError> {
    encrypt_talking(recipients, plaintext, allow, &mut OnTerminal)
}

/// Like [`encrypt_to`], with plugins that talk to `talk`.
pub fn encrypt_talking(
    recipients: &[Recipient],
    plaintext: &SecretValue,
    allow: &[PathBuf],
    talk: &mut dyn Talk,
) -> Result<Vec<u8>, AgeError> {
    if recipients.is_empty() || recipients.len() > MAX_RECIPIENTS {
        return Err(AgeError::RecipientCount);
    }
    let session = Session::new(allow, talk);
    let wrappers = recipient::wrappers(recipients, &session);
    let encryptor = Encryptor::with_recipients(wrappers.iter().map(|wrapper| &**wrapper));
    let encryptor = encryptor.map_err(|error| {
        session
            .take_fault()
            .map(AgeError::Plugin)
            .unwrap_or(match error {
                EncryptError::Io(source) => AgeError::Write(source),
                _ => AgeError::Mixed,
            })
    })?;
    write_payload(encryptor, plaintext)
}

/// Encrypts with a passphrase, as a binary age file that the `age` program opens.
pub fn encrypt_with_passphrase(
    passphrase: &SecretValue,
    plaintext: &SecretValue,
) -> Result<Vec<u8>, AgeError> {
    let mut recipient = scrypt::Recipient::new(age_passphrase(passphrase)?);
    recipient.set_work_factor(WORK_FACTOR);
    let encryptor = Encryptor::with_recipients(std::iter::once(&recipient as _));
    write_payload(encryptor.map_err(|_| AgeError::Mixed)?, plaintext)
}

fn write_payload(encryptor: Encryptor, plaintext: &SecretValue) -> Result<Vec<u8>, AgeError> {
    let mut file = Vec::with_capacity(plaintext.len() + plaintext.len() / 4096 + PAYLOAD_OVERHEAD);
    let mut writer = encryptor.wrap_output(&mut file).map_err(AgeError::Write)?;
    writer
        .write_all(plaintext.expose())
        .map_err(AgeError::Write)?;
    writer.finish().map_err(AgeError::Write)?;
    Ok(file)
}

/// Decrypts a binary or armored age file; its payload has at most `max` bytes. Plugins of `allow`
/// may be run, and talk on the terminal.
///
/// # Errors
/// [`AgeError::NoMatch`] if no identity fits. If one could not be tried because its plugin is not
/// allowed or failed, and no other fits, the plugin's error.
pub fn decrypt(
    file: &[u8],
    identities: &[Identity],
    allow: &[PathBuf],
    max: usize,
) -> Result<SecretValue, AgeError> {
    decrypt_talking(file, identities, allow, max, &mut OnTerminal)
}

/// Like [`decrypt`], with plugins that talk to `talk`.
pub fn decrypt_talking(
    file: &[u8],
    identities: &[Identity],
    allow: &[PathBuf],
    max: usize,
    talk: &mut dyn Talk,
) -> Result<SecretValue, AgeError> {
    let binary = binary_form(file, max)?;
    let decryptor = open_header(&binary)?;
    if decryptor.is_scrypt() {
        return Err(AgeError::NeedsPassphrase);
    }
    let session = Session::new(allow, talk);
    let all = identity::Set::new(identities, &session);
    match decryptor.decrypt(std::iter::once(&all as _)) {
        Ok(reader) => read_payload(reader, max),
        Err(DecryptError::NoMatchingKeys) => Err(session
            .take_fault()
            .map_or(AgeError::NoMatch, AgeError::Plugin)),
        Err(error) => Err(session
            .take_fault()
            .map_or(damaged(&error), AgeError::Plugin)),
    }
}

/// Decrypts a binary or armored age file that was made with a passphrase.
pub fn decrypt_with_passphrase(
    file: &[u8],
    passphrase: &SecretValue,
    max: usize,
) -> Result<SecretValue, AgeError> {
    let binary = binary_form(file, max)?;
    let decryptor = open_header(&binary)?;
    if !decryptor.is_scrypt() {
        return Err(AgeError::NeedsIdentity);
    }
    let mut identity = scrypt::Identity::new(age_passphrase(passphrase)?);
    let allowed = allowed_work(kdf::available_kib());
    identity.set_max_work_factor(allowed);
    match decryptor.decrypt(std::iter::once(&identity as _)) {
        Ok(reader) => read_payload(reader, max),
        Err(DecryptError::ExcessiveWork { required, .. }) => Err(AgeError::Work {
            asked: required,
            allowed,
        }),
        Err(DecryptError::DecryptionFailed) => Err(AgeError::WrongPassphrase),
        Err(error) => Err(damaged(&error)),
    }
}

/// True if these bytes are an age file that a passphrase opens.
pub fn needs_passphrase(file: &[u8]) -> bool {
    binary_form(file, MAX_EXPORT)
        .is_ok_and(|binary| open_header(&binary).is_ok_and(|decryptor| decryptor.is_scrypt()))
}

/// The work factor whose memory (2 to its power, in KiB) is at most half of what is available.
fn allowed_work(available_kib: Option<u64>) -> u8 {
    let half = available_kib.map_or(u64::MAX, |kib| kib / 2).max(1);
    // The logarithm of 64 bits fits a byte.
    MAX_WORK_FACTOR.min(half.ilog2() as u8)
}

fn age_passphrase(passphrase: &SecretValue) -> Result<SecretString, AgeError> {
    if passphrase.is_empty() || passphrase.len() > MAX_PASSPHRASE {
        return Err(AgeError::Passphrase);
    }
    let text = std::str::from_utf8(passphrase.expose()).map_err(|_| AgeError::Passphrase)?;
    // A boxed string of exactly this size, which the type wipes.
    Ok(SecretString::new(Box::<str>::from(text)))
}

/// The file without armor, if it has any, within the size that its payload's limit allows.
fn binary_form(file: &[u8], max: usize) -> Result<Cow<'_, [u8]>, AgeError> {
    let limit = max + max / 1024 + MAX_HEADER + PAYLOAD_OVERHEAD;
    if file.starts_with(b"age-encryption.org/") {
        return if file.len() > limit {
            Err(AgeError::TooLarge(max))
        } else {
            Ok(file.into())
        };
    }
    if file.len() > ARMOR_FACTOR * limit {
        return Err(AgeError::TooLarge(max));
    }
    if file.is_empty() {
        return Err(AgeError::Damaged("it is empty"));
    }
    let mut binary = Vec::with_capacity(file.len());
    // Whitespace around the armor is allowed, inside it is not.
    ArmoredReader::new(file.trim_ascii())
        .read_to_end(&mut binary)
        .map_err(|_| AgeError::Damaged("the armor is malformed"))?;
    Ok(binary.into())
}

fn open_header(binary: &[u8]) -> Result<Decryptor<&[u8]>, AgeError> {
    let head = &binary[..binary.len().min(MAX_HEADER)];
    let Some(end) = head.windows(4).position(|part| part == b"\n---") else {
        return Err(AgeError::Damaged(
            "the header has no end, or is over 64 KiB",
        ));
    };
    let decryptor = Decryptor::new_buffered(binary).map_err(|error| damaged(&error))?;
    if ends_stanzas(&head[..end]) {
        Ok(decryptor)
    } else {
        Err(AgeError::Damaged("the header is malformed"))
    }
}

/// True if each stanza ends with a line shorter than 64 characters, as the format demands; the
/// age crate lets that line be left out, as its first versions wrote it.
fn ends_stanzas(head: &[u8]) -> bool {
    let mut ended = true;
    for line in head.split(|byte| *byte == b'\n').skip(1) {
        let starts = line.starts_with(b"-> ");
        if starts && !ended {
            return false;
        }
        ended = !starts && line.len() < 64;
    }
    ended
}

fn read_payload(mut reader: impl Read, max: usize) -> Result<SecretValue, AgeError> {
    match SecretValue::read_from(&mut reader, max) {
        Ok(Some(payload)) => Ok(payload),
        Ok(None) => Err(AgeError::TooLarge(max)),
        Err(_) => Err(AgeError::Damaged("the payload is cut short or changed")),
    }
}

fn damaged(error: &DecryptError) -> AgeError {
    AgeError::Damaged(match error {
        DecryptError::UnknownFormat => "its version is not known",
        DecryptError::InvalidMac => "the header was changed",
        DecryptError::Io(_) => "it is cut short",
        DecryptError::NoMatchingKeys => return AgeError::NoMatch,
        _ => "the header is malformed",
    })
}

/// What the plugins of one operation share: which may run, whom they talk to, what went wrong.
struct Session<'a> {
    allow: &'a [PathBuf],
    talk: RefCell<&'a mut dyn Talk>,
    fault: RefCell<Option<PluginError>>,
}

impl<'a> Session<'a> {
    fn new(allow: &'a [PathBuf], talk: &'a mut dyn Talk) -> Rc<Self> {
        Rc::new(Self {
            allow,
            talk: RefCell::new(talk),
            fault: RefCell::new(None),
        })
    }

    /// Remembers the first thing that went wrong.
    fn set_fault(&self, fault: PluginError) {
        self.fault.borrow_mut().get_or_insert(fault);
    }

    fn take_fault(&self) -> Option<PluginError> {
        self.fault.borrow_mut().take()
    }
}

#[cfg(test)]
mod tests;
