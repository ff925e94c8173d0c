//! The resident process that holds the opened vault, and the client side of its socket.
//!
//! Invariants: no byte of a request is read before the peer's user is checked; JSON never holds a
//! secret (values are attachments, read straight into locked memory); one daemon per state
//! folder, proven by a lock held for life; a lock finishes commits that run, then wipes. The
//! protocol is `docs/protocol.md`.
//!
//! Not here: what a request means ([`Backend`], implemented over the runtime) and how the vault
//! is unlocked.
#![forbid(unsafe_code)]

pub mod backend;
pub mod client;
pub mod start;

use crate::error::Failure;
use crate::runtime::service::{Answer, Report, Request, SnapshotState};
use crate::secret::SecretValue;
use crate::sys::peer::Peer;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a daemon keeps the vault open unless told otherwise.
pub const DEFAULT_TTL: Duration = Duration::from_secs(12 * 3600);
/// How long a daemon that is asked nothing keeps the vault open unless told otherwise.
pub const DEFAULT_IDLE: Duration = Duration::from_secs(15 * 60);

/// How long the vault stays open, and what a failed activation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Unlock {
    /// Milliseconds until the vault locks whatever happens; 0 = no limit.
    pub ttl_ms: u64,
    /// Milliseconds until the vault locks if nobody asks anything; 0 = no limit.
    pub idle_ms: u64,
    /// A required ref that fails stops the start.
    pub strict: bool,
    /// Start without the owners of failed refs, and say so.
    pub allow_degraded: bool,
}

/// Why a new snapshot is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGHUP.
    Signal,
    /// One of [`Backend::watched`] changed.
    Changed,
}

/// What answers requests; shared by all connections. Reads must not wait for a slow resolve or
/// a commit of another connection.
pub trait Backend: Send + Sync {
    /// Answers a request of a checked peer. [`Request::Lock`] never comes here.
    fn call(
        &self,
        peer: Peer,
        request: Request,
        secrets: Vec<SecretValue>,
    ) -> Result<Answer, Failure>;

    /// Takes fresh sub-keys of the same vault (`SubKeys::to_secret`) and activates anew. The
    /// server sets the new limits only if this succeeds.
    fn unlock(&self, peer: Peer, unlock: &Unlock, keys: &SecretValue) -> Result<Report, Failure>;

    /// Waits for the commits that run, then wipes keys and snapshot. Later calls fail as sealed.
    fn lock(&self);

    /// Builds a new snapshot; keeps the last good one on failure.
    fn reload(&self, cause: Cause) -> Result<SnapshotState, Failure>;

    /// The files whose change calls for a reload; asked again after each reload.
    fn watched(&self) -> Vec<PathBuf>;
}

/// An opened vault, ready to be served.
pub struct Opened {
    /// What answers.
    pub backend: Arc<dyn Backend>,
    /// What the activation found.
    pub report: Report,
}

/// Why a daemon ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// A client asked.
    Asked,
    /// SIGTERM, SIGINT or SIGUSR1.
    Signal,
    /// The absolute limit.
    Ttl,
    /// Nobody asked anything.
    Idle,
}

/// Runs the daemon in the foreground until it locks: tells the service manager, takes its socket
/// if it passed one. `open` runs once the state folder is claimed.
pub fn run(
    socket: &Path,
    unlock: &Unlock,
    open: impl FnOnce() -> Result<Opened, Failure>,
) -> Result<Stopped, Failure> {
    let _ = (socket, unlock, open);
    todo!()
}

/// Runs the daemon that [`start::spawn_detached`] started, until it locks. Must be called before
/// the process has other threads or secrets: it forks. `open` gets the options and the sub-keys
/// that were handed over; its failure reaches the starting process.
pub fn run_detached(
    socket: &Path,
    open: impl FnOnce(&Unlock, &SecretValue) -> Result<Opened, Failure>,
) -> Result<Stopped, Failure> {
    let _ = (socket, open);
    todo!()
}
