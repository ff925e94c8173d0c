//! Starting the daemon from a command: the same binary, detached, keys through a socketpair.

use super::Unlock;
use crate::error::Failure;
use crate::runtime::service::Report;
use crate::secret::SecretValue;
use std::ffi::OsString;

/// What the detached daemon is started with.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The arguments after the program's name, such as `--state-dir DIR daemon --detached`. The
    /// command they name must end in [`super::run_detached`].
    pub args: &'a [OsString],
    /// The limits and what a failed activation means.
    pub unlock: &'a Unlock,
    /// The sub-keys, `SubKeys::to_secret`.
    pub keys: &'a SecretValue,
}

/// Starts the daemon and waits until it serves; gives what its activation found. The code
/// `daemon.running` means that another one was faster: connect to it instead.
pub fn spawn_detached(spawn: &Spawn<'_>) -> Result<Report, Failure> {
    let _ = spawn;
    todo!()
}
