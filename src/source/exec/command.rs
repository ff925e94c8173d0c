//! Is the command fit to be run: every check on the opened file, which is the file that runs.

use super::ExecError;
use crate::config::ExecProvider;
use crate::source::path::{self, PathError, PathProblem};
use crate::source::plain;
use rustix::fs::{Mode, OFlags};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A command that passed its checks.
pub(super) struct Opened {
    /// The file, opened with `O_PATH`.
    pub file: OwnedFd,
    /// Its path: the argument 0, and where scripts are opened again.
    pub path: PathBuf,
}

/// Opens and checks. Trusted is what belongs to us or to root and only its owner may write: root
/// could replace this program, too. (The family's newest version refuses root's files.)
pub(super) fn open(alias: &str, provider: &ExecProvider) -> Result<Opened, ExecError> {
    let refused = |problem| {
        let path = provider.command.clone();
        ExecError::Path(PathError {
            alias: alias.to_owned(),
            option: "command",
            path,
            problem,
        })
    };
    checked(provider).map_err(refused)
}

fn checked(provider: &ExecProvider) -> Result<Opened, PathProblem> {
    if !provider.command.is_absolute() {
        return Err(PathProblem::Relative);
    }
    let path = match provider.allow_symlink_command {
        true => real(&provider.command)?,
        false => provider.command.clone(),
    };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(PathProblem::of_open)?;
    let stat =
        rustix::fs::fstat(&file).map_err(|error| PathProblem::Unreadable(plain(&error.into())))?;
    path::check_regular(&stat)?;
    if !provider.trusted_dirs.is_empty() {
        check_trusted(&file, &provider.trusted_dirs)?;
    }
    if !provider.allow_insecure_path {
        path::check_mode(&stat, 0o022)?;
        path::check_owner(&stat, &[ROOT])?;
    }
    Ok(Opened { file, path })
}

const ROOT: u32 = 0;

fn real(path: &Path) -> Result<PathBuf, PathProblem> {
    std::fs::canonicalize(path).map_err(|error| match error.raw_os_error() {
        Some(raw) => PathProblem::of_open(rustix::io::Errno::from_raw_os_error(raw)),
        None => PathProblem::Unreadable(plain(&error)),
    })
}

/// Asks the kernel where the opened file lies: a `..` or a symlink in the name can't mislead.
fn check_trusted(file: &OwnedFd, dirs: &[PathBuf]) -> Result<(), PathProblem> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let place = std::fs::read_link(link).map_err(|error| PathProblem::Unreadable(plain(&error)))?;
    let inside = |dir: &PathBuf| {
        dir.is_absolute() && std::fs::canonicalize(dir).is_ok_and(|dir| place.starts_with(dir))
    };
    if dirs.iter().any(inside) {
        Ok(())
    } else {
        Err(PathProblem::Untrusted)
    }
}
