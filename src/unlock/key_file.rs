//! Key material from files and descriptors: bounded, and from private files only.

use crate::error::{Code, Coded, failure_from};
use crate::secret::SecretValue;
use std::path::{Path, PathBuf};

/// Why key material could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The operating system refused.
    #[error("read {path}")]
    Io {
        /// The file or descriptor.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
}

impl Coded for KeyFileError {
    fn code(&self) -> Code {
        Code::FileIo
    }
}

failure_from!(KeyFileError);

/// Reads a passphrase (1 to 1024 bytes, one trailing line end dropped) from a private file.
pub fn read_passphrase(_path: &Path) -> Result<SecretValue, KeyFileError> {
    todo!()
}

/// Reads a passphrase from an inherited descriptor, to its end.
pub fn read_passphrase_fd(_fd: i32) -> Result<SecretValue, KeyFileError> {
    todo!()
}

/// Reads a 32-byte key from a private file: raw, hexadecimal or base64.
pub fn read_key(_path: &Path) -> Result<SecretValue, KeyFileError> {
    todo!()
}

/// Reads a 32-byte key from an inherited descriptor.
pub fn read_key_fd(_fd: i32) -> Result<SecretValue, KeyFileError> {
    todo!()
}

/// Reads a recovery code from an inherited descriptor, as it stands.
pub fn read_recovery_code_fd(_fd: i32) -> Result<SecretValue, KeyFileError> {
    todo!()
}
