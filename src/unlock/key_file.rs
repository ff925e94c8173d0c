//! Key material from files and descriptors: bounded, and from private files only.
//!
//! Invariant: a file is opened once, and what was opened is checked: a regular file of the user's
//! or root's that nobody else may read or write. A descriptor was opened by whoever started this
//! process, so it is only bounded.

use crate::error::{Code, Coded, failure_from};
use crate::secret::SecretValue;
use crate::sys::fds;
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The longest passphrase, in bytes (vault format, keyslot kind 1).
pub const MAX_PASSPHRASE: usize = 1024;
/// The length of a raw key, in bytes.
pub const KEY_LEN: usize = 32;
/// The longest text of a recovery code, in bytes: the code with room for spaces.
pub const MAX_RECOVERY_TEXT: usize = 128;
/// The longest text of a key, in bytes: hexadecimal and a line end.
pub const MAX_KEY_TEXT: usize = 2 * KEY_LEN + 2;

/// Why key material could not be read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The operating system refused.
    #[error("read {path}")]
    Io {
        /// The file or descriptor.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// There is no such file.
    #[error("{0} does not exist")]
    Absent(PathBuf),
    /// The file fails a check.
    #[error("{path} is not private: {why}")]
    Unsafe {
        /// The file.
        path: PathBuf,
        /// Which check.
        why: &'static str,
    },
    /// There is more than is allowed.
    #[error("{path} holds more than {max} bytes")]
    TooLarge {
        /// The file or descriptor.
        path: PathBuf,
        /// The limit.
        max: usize,
    },
    /// There is nothing.
    #[error("{0} is empty")]
    Empty(PathBuf),
    /// A passphrase is not text.
    #[error("{0} holds no UTF-8 text")]
    NotText(PathBuf),
    /// A key has another form.
    #[error("{0} holds no key of 32 bytes (raw, hexadecimal or base64)")]
    NotAKey(PathBuf),
}

impl Coded for KeyFileError {
    fn code(&self) -> Code {
        match self {
            KeyFileError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Code::FilePermission
            }
            KeyFileError::Io { .. } => Code::FileIo,
            KeyFileError::Absent(_)
            | KeyFileError::Empty(_)
            | KeyFileError::NotText(_)
            | KeyFileError::NotAKey(_) => Code::InputInvalid,
            KeyFileError::Unsafe { .. } => Code::FilePermission,
            KeyFileError::TooLarge { .. } => Code::InputTooLarge,
        }
    }
}

failure_from!(KeyFileError);

/// Reads a passphrase (1 to [`MAX_PASSPHRASE`] bytes of UTF-8, one trailing line end dropped)
/// from a private file.
pub fn read_passphrase(path: &Path) -> Result<SecretValue, KeyFileError> {
    passphrase_of(read_private(path, MAX_PASSPHRASE + 2)?, path.to_owned())
}

/// Reads a passphrase from an inherited descriptor, to its end.
pub fn read_passphrase_fd(fd: i32) -> Result<SecretValue, KeyFileError> {
    passphrase_of(read_fd(fd, MAX_PASSPHRASE + 2)?, fd_path(fd))
}

/// Reads a 32-byte key from a private file: raw, hexadecimal or base64.
pub fn read_key(path: &Path) -> Result<SecretValue, KeyFileError> {
    parse_key(&read_private(path, MAX_KEY_TEXT)?).ok_or_else(|| KeyFileError::NotAKey(path.into()))
}

/// Reads a 32-byte key from an inherited descriptor.
pub fn read_key_fd(fd: i32) -> Result<SecretValue, KeyFileError> {
    parse_key(&read_fd(fd, MAX_KEY_TEXT)?).ok_or_else(|| KeyFileError::NotAKey(fd_path(fd)))
}

/// Reads a recovery code from an inherited descriptor, as it stands.
pub fn read_recovery_code_fd(fd: i32) -> Result<SecretValue, KeyFileError> {
    Ok(read_fd(fd, MAX_RECOVERY_TEXT)?.without_line_end())
}

/// Reads a private file of 1 to `max` bytes.
pub fn read_private(path: &Path, max: usize) -> Result<SecretValue, KeyFileError> {
    read_checked(path, max, &Rule::Private)
}

/// Reads a credential that systemd placed in a service's folder: root's file, whose access list
/// for the service's user shows as "the group may read".
pub fn read_credential(path: &Path, max: usize) -> Result<SecretValue, KeyFileError> {
    read_checked(path, max, &Rule::Credential)
}

/// A key of 32 bytes from its raw, hexadecimal or base64 form; the length says which.
pub fn parse_key(data: &SecretValue) -> Option<SecretValue> {
    if data.len() == KEY_LEN {
        return Some(data.clone());
    }
    let text = data.without_line_end();
    let encoding = match text.len() {
        64 => HEXLOWER_PERMISSIVE,
        44 => BASE64,
        _ => return None,
    };
    // Base64 asks for room for its padding too.
    let room = encoding.decode_len(text.len()).ok()?;
    let mut len = 0;
    let key = SecretValue::try_build(room, |out| {
        len = encoding.decode_mut(text.expose(), out).map_err(|_| ())?;
        Ok::<(), ()>(())
    });
    key.ok()
        .filter(|_| len == KEY_LEN)
        .map(|key| key.slice(0..KEY_LEN))
}

/// Checks a passphrase's length and form; `None` if it is not acceptable.
pub fn check_passphrase(value: &SecretValue) -> bool {
    (1..=MAX_PASSPHRASE).contains(&value.len()) && std::str::from_utf8(value.expose()).is_ok()
}

fn passphrase_of(data: SecretValue, path: PathBuf) -> Result<SecretValue, KeyFileError> {
    let value = data.without_line_end();
    if value.is_empty() {
        Err(KeyFileError::Empty(path))
    } else if value.len() > MAX_PASSPHRASE {
        Err(KeyFileError::TooLarge {
            path,
            max: MAX_PASSPHRASE,
        })
    } else if !check_passphrase(&value) {
        Err(KeyFileError::NotText(path))
    } else {
        Ok(value)
    }
}

enum Rule {
    Private,
    Credential,
}

fn read_checked(path: &Path, max: usize, rule: &Rule) -> Result<SecretValue, KeyFileError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => KeyFileError::Absent(path.to_owned()),
        _ => KeyFileError::Io {
            path: path.to_owned(),
            source,
        },
    };
    check_and_read(open(path).map_err(failed)?.into(), path, max, rule)
}

/// Opens a file for [`read_opened`].
///
/// # Errors
/// The system refuses.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    // Without blocking, so that a named pipe is refused and not waited for.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(nonblock);
    options.open(path).map(OwnedFd::from)
}

/// As [`read_private`], of a file that somebody else has opened with [`open`].
pub fn read_opened(file: OwnedFd, path: &Path, max: usize) -> Result<SecretValue, KeyFileError> {
    check_and_read(file.into(), path, max, &Rule::Private)
}

fn check_and_read(
    mut file: File,
    path: &Path,
    max: usize,
    rule: &Rule,
) -> Result<SecretValue, KeyFileError> {
    let failed = |source: io::Error| KeyFileError::Io {
        path: path.to_owned(),
        source,
    };
    let facts = file.metadata().map_err(failed)?;
    let us = rustix::process::geteuid().as_raw();
    let why = match (facts.is_file(), facts.uid(), facts.mode() & 0o077, rule) {
        (false, ..) => Some("it is not a regular file"),
        (_, owner, ..) if owner != 0 && owner != us => Some("it belongs to another user"),
        (_, _, 0, _) => None,
        (_, 0, 0o040, Rule::Credential) => None,
        _ => Some("others have access to it (make it mode 0600)"),
    };
    if let Some(why) = why {
        return Err(KeyFileError::Unsafe {
            path: path.to_owned(),
            why,
        });
    }
    read_bounded(&mut file, max, path.to_owned())
}

fn read_fd(fd: i32, max: usize) -> Result<SecretValue, KeyFileError> {
    let path = fd_path(fd);
    let owned = fds::take(fd).map_err(|source| KeyFileError::Io {
        path: path.clone(),
        source,
    })?;
    read_bounded(&mut File::from(owned), max, path)
}

fn fd_path(fd: i32) -> PathBuf {
    PathBuf::from(format!("file descriptor {fd}"))
}

fn read_bounded(file: &mut File, max: usize, path: PathBuf) -> Result<SecretValue, KeyFileError> {
    match SecretValue::read_from(file, max) {
        Ok(Some(data)) if data.is_empty() => Err(KeyFileError::Empty(path)),
        Ok(Some(data)) => Ok(data),
        Ok(None) => Err(KeyFileError::TooLarge { path, max }),
        Err(source) => Err(KeyFileError::Io { path, source }),
    }
}

#[cfg(test)]
mod tests;
