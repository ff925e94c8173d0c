//! Ciphertext in, ciphertext out: the vault file, the anchors, and the small state files.
//!
//! Invariants: nothing here sees a key; a vault file is written only through a [`Writer`], which
//! exists only while the writer lock is held, and only over the state that the caller says it saw;
//! what was acknowledged is on the disk. Readers take no lock.
//!
//! Deliberately not here: what the bytes mean ([`crate::vault`]), and when to write them
//! ([`crate::runtime`]).
#![forbid(unsafe_code)]

pub mod anchors;
pub mod disk;
pub mod files;
mod frames;
mod lock;
#[cfg(test)]
pub(crate) mod simulated;
mod spool;
pub mod state_dir;
mod temp_file;
mod vault_file;
mod writer;

pub use frames::Frames;
pub use lock::{LockKey, RECORD_LOCK_TIMEOUT, RecordLock, RecordLocks, take_file_lock};
pub use spool::{SPOOL_ROOM, Spool, SpoolRoom};
pub use state_dir::StateDir;
pub use vault_file::{Options, Seen, VaultFile, create, create_on};
pub use writer::{Rewrite, Writer};

use crate::error::{Code, Coded, failure_from};
use crate::vault::VaultError;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest vault file in bytes: 4 GiB.
pub const MAX_VAULT: u64 = crate::vault::limits::MAX_FILE;

/// Why the store refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no vault at the path.
    #[error("there is no vault at {}", .0.display())]
    VaultAbsent(PathBuf),
    /// A vault, or something else, stands where a new one was to be made.
    #[error("{} already exists", .0.display())]
    VaultExists(PathBuf),
    /// The file is not what its place says it is.
    #[error("{} is not a vault: {why}", .path.display())]
    NotAVault {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The first bytes are not those of a vault that this version reads.
    #[error("can't read the header of {}", .path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: VaultError,
    },
    /// The file is not in the state that the caller saw.
    #[error("{} changed while it was being written", .0.display())]
    VaultChanged(PathBuf),
    /// The writer lock was not free in time.
    #[error("{} is locked by {holder} for more than {waited:?}", .path.display())]
    Busy {
        /// The vault or file.
        path: PathBuf,
        /// The process that says it holds the lock.
        holder: Holder,
        /// How long this process waited.
        waited: Duration,
    },
    /// The lock of a record was not free in time.
    #[error("the account is being refreshed by {holder} for more than {waited:?}")]
    RecordBusy {
        /// The process that says it holds the lock.
        holder: Holder,
        /// How long this process waited.
        waited: Duration,
    },
    /// The caller gave up waiting for a lock: the vault is being locked.
    #[error("the vault is being locked")]
    GivenUp,
    /// A write or flush failed; the bytes may or may not be on the disk.
    #[error("{act} {} failed; the handle is poisoned", .path.display())]
    Poisoned {
        /// What was being done.
        act: &'static str,
        /// The vault file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The vault lies on a network or user-space file system.
    #[error("{} lies on {kind}, where locks and flushes can't be relied on", .path.display())]
    NetworkFs {
        /// The folder.
        path: PathBuf,
        /// The name of the file system.
        kind: &'static str,
    },
    /// A vault would grow over [`MAX_VAULT`].
    #[error("{} would be larger than {MAX_VAULT} bytes", .0.display())]
    VaultTooLarge(PathBuf),
    /// A file is larger than its reader allows.
    #[error("{} is larger than {max} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        max: u64,
    },
    /// A file or folder is not private, not ours, or not of the right sort.
    #[error("{} {why}", .path.display())]
    Unsafe {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, as the end of a sentence that starts with the path.
        why: &'static str,
    },
    /// A state file changed since it was read.
    #[error("{} changed since it was read; nothing was written", .0.display())]
    Conflict(PathBuf),
    /// The operating system refused.
    #[error("can't {act} {}", .path.display())]
    Io {
        /// What was being done.
        act: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl StoreError {
    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { act, path, source }
    }
}

impl Coded for StoreError {
    fn code(&self) -> Code {
        match self {
            Self::VaultAbsent(_) => Code::VaultAbsent,
            Self::VaultExists(_) => Code::VaultExists,
            Self::NotAVault { .. } => Code::VaultCorrupt,
            Self::Header { source, .. } => source.code(),
            Self::VaultChanged(_) => Code::VaultConflict,
            Self::Busy { .. } | Self::RecordBusy { .. } => Code::VaultBusy,
            Self::GivenUp => Code::VaultSealed,
            Self::Poisoned { .. } => Code::VaultPoisoned,
            Self::NetworkFs { .. } => Code::VaultNetworkFs,
            Self::VaultTooLarge(_) => Code::VaultLimit,
            Self::TooLarge { .. } => Code::FileTooLarge,
            Self::Unsafe { .. } => Code::FilePermission,
            Self::Conflict(_) => Code::ConfigConflict,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Code::FilePermission
                }
                _ => Code::FileIo,
            },
        }
    }
}
failure_from!(StoreError);

/// Who holds a lock, as far as the lock file tells; only for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(pub Option<u32>);

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}

/// The path of something that lies beside the vault and is named after it.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
