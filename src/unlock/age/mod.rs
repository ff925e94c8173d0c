//! age files: to recipients, with identities, with a passphrase, through plugins.

use crate::error::{Code, Coded, failure_from};
use crate::secret::SecretValue;
use std::path::{Path, PathBuf};

/// The largest payload of an export or import, in bytes.
pub const MAX_EXPORT: usize = 64 << 20;
/// The largest age file in a keyslot, in bytes.
pub const MAX_SLOT_FILE: usize = 16_384;

/// Why age could not encrypt or decrypt.
#[derive(Debug, thiserror::Error)]
pub enum AgeError {
    /// A recipient is not understood.
    #[error("the age recipient is not understood")]
    Recipient,
}

impl Coded for AgeError {
    fn code(&self) -> Code {
        Code::SlotIdentity
    }
}

failure_from!(AgeError);

/// Somebody that a file can be encrypted to.
#[derive(Clone, Debug)]
pub struct Recipient {}

/// Something that opens age files.
#[derive(Clone, Debug)]
pub struct Identity {}

/// Parses a recipient as it stands on a command line.
pub fn parse_recipient(_text: &str) -> Result<Recipient, AgeError> {
    todo!()
}

/// Loads an identity file; `prompt` is asked if it is encrypted with a passphrase.
pub fn load_identity_file(
    _path: &Path,
    _prompt: &mut dyn FnMut(&str) -> Result<SecretValue, crate::sys::tty::PromptError>,
) -> Result<Vec<Identity>, AgeError> {
    todo!()
}

/// Encrypts to recipients, as a binary age file.
pub fn encrypt_to(
    _recipients: &[Recipient],
    _plaintext: &SecretValue,
    _allow: &[PathBuf],
) -> Result<Vec<u8>, AgeError> {
    todo!()
}

/// Encrypts with a passphrase, as a binary age file.
pub fn encrypt_with_passphrase(
    _passphrase: &SecretValue,
    _plaintext: &SecretValue,
) -> Result<Vec<u8>, AgeError> {
    todo!()
}

/// Decrypts a binary or armored age file; its payload has at most `max` bytes.
pub fn decrypt(
    _file: &[u8],
    _identities: &[Identity],
    _allow: &[PathBuf],
    _max: usize,
) -> Result<SecretValue, AgeError> {
    todo!()
}

/// Decrypts an age file that was made with a passphrase.
pub fn decrypt_with_passphrase(
    _file: &[u8],
    _passphrase: &SecretValue,
    _max: usize,
) -> Result<SecretValue, AgeError> {
    todo!()
}
