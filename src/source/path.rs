//! What a provider's file or command must be before it is read or run.
//!
//! Invariant: every check looks at an opened file, never at a name twice. Parent folders are not
//! checked, as in the family.

use crate::error::{Code, Coded};
use rustix::fs::{FileType, Stat};
use std::path::PathBuf;

/// A path of the config that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("secrets.providers.{alias}.{option} {problem}: {}", path.display())]
pub struct PathError {
    /// The alias of the provider.
    pub alias: String,
    /// `path` or `command`.
    pub option: &'static str,
    /// The path.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: PathProblem,
}

/// What is wrong with a provider's path. The texts are the family's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// Not absolute.
    #[error("must be an absolute path")]
    Relative,
    /// `~`, and the caller has no home.
    #[error("starts with ~, but there is no home folder")]
    NoHome,
    /// Nothing is there.
    #[error("is not readable (no such file)")]
    Missing,
    /// The system refused to open or read it.
    #[error("is not readable ({0})")]
    Unreadable(String),
    /// A folder, device, FIFO or socket.
    #[error("must be a file")]
    NotRegular,
    /// A symbolic link.
    #[error("must not be a symlink")]
    Symlink,
    /// It has a second name.
    #[error("must not be hardlinked")]
    Hardlink,
    /// Group or others may write it, or read it where that is refused.
    #[error("permissions are too open (mode {mode:04o})")]
    TooOpen {
        /// The permission bits.
        mode: u32,
    },
    /// It belongs to someone else.
    #[error("must be owned by the current user (uid={expected}), but its owner is uid={owner}")]
    ForeignOwner {
        /// Our effective user id.
        expected: u32,
        /// The owner.
        owner: u32,
    },
    /// Not inside any of `trustedDirs`.
    #[error("is outside trustedDirs")]
    Untrusted,
}

impl Coded for PathError {
    fn code(&self) -> Code {
        match self.problem {
            PathProblem::Relative | PathProblem::NoHome => Code::ConfigInvalid,
            PathProblem::Missing => Code::RefAbsent,
            PathProblem::Unreadable(_) => Code::SourceUnavailable,
            PathProblem::NotRegular
            | PathProblem::Symlink
            | PathProblem::Hardlink
            | PathProblem::TooOpen { .. }
            | PathProblem::ForeignOwner { .. }
            | PathProblem::Untrusted => Code::SourceUnsafe,
        }
    }
}

impl PathProblem {
    /// What an errno of `open` with `O_NOFOLLOW` means.
    pub fn of_open(error: rustix::io::Errno) -> Self {
        match error {
            rustix::io::Errno::LOOP => PathProblem::Symlink,
            rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR => PathProblem::Missing,
            // A device without a driver, or a socket.
            rustix::io::Errno::NXIO | rustix::io::Errno::NODEV => PathProblem::NotRegular,
            other => PathProblem::Unreadable(crate::source::plain(&other.into())),
        }
    }
}

/// A regular file; a descriptor opened with `O_PATH` may be a symlink itself.
pub fn check_regular(stat: &Stat) -> Result<(), PathProblem> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Symlink => Err(PathProblem::Symlink),
        _ => Err(PathProblem::NotRegular),
    }
}

/// None of the permission bits in `refused` is set.
pub fn check_mode(stat: &Stat, refused: u32) -> Result<(), PathProblem> {
    let mode = stat.st_mode & 0o7777;
    if mode & refused == 0 {
        Ok(())
    } else {
        Err(PathProblem::TooOpen { mode })
    }
}

/// The owner is the effective user of this process, or one of `also`.
pub fn check_owner(stat: &Stat, also: &[u32]) -> Result<(), PathProblem> {
    let expected = rustix::process::geteuid().as_raw();
    let owner = stat.st_uid;
    if owner == expected || also.contains(&owner) {
        Ok(())
    } else {
        Err(PathProblem::ForeignOwner { expected, owner })
    }
}
