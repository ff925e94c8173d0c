//! Starting commands and opening files through somebody else, for a process that gave it up.

use super::exec::Written;
use crate::config::{ExecProvider, FileProvider, Hook};
use crate::error::Failure;
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// Somebody who starts the commands, and opens the files, that the config names.
///
/// What it goes by is its own reading of the config: a provider is passed for its limits only.
pub trait Outside: Send + Sync {
    /// One run of the command of the exec provider with this alias; gives what it wrote.
    ///
    /// # Errors
    /// As [`super::exec::run_once`], or nobody answers in time.
    fn exec(&self, alias: &str, ids: &[&str], provider: &ExecProvider) -> Result<Written, Refused>;

    /// Runs the change hook, with the message on its stdin.
    ///
    /// # Errors
    /// As [`super::exec::notify`], or nobody answers in time.
    fn hook(&self, message: &[u8], hook: &Hook) -> Result<(), Refused>;

    /// Opens the file of the file provider with this alias.
    ///
    /// # Errors
    /// The system refused, or nobody answers in time.
    fn open(&self, alias: &str, provider: &FileProvider) -> Result<OwnedFd, Unopened>;

    /// Opens the identity file of the vault provider with this alias.
    ///
    /// # Errors
    /// As [`Outside::open`].
    fn open_identity(&self, alias: &str) -> Result<OwnedFd, Unopened>;

    /// Opens the config.
    ///
    /// # Errors
    /// As [`Outside::open`].
    fn open_config(&self) -> Result<OwnedFd, Unopened>;
}

/// Why a command gave nothing, as it is told across processes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct Refused {
    /// What happened.
    pub failure: Failure,
    /// The same call may succeed a moment later.
    pub may_pass: bool,
}

/// Why a file could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// The system refused.
    System(Errno),
    /// Nobody tried.
    Refused(Failure),
}
