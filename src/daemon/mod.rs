//! The resident process that holds the opened vault, and the client side of its socket.
//!
//! Invariants: no byte of a request is read before the peer's user is checked, nothing of the vault
//! is touched before the request is judged; JSON never holds a secret (values are attachments,
//! read straight into locked memory); one daemon per state folder, proven by a lock held for life;
//! a lock finishes commits that run, then wipes. The protocol is `docs/protocol.md`, what others
//! than the daemon's own user may ask is `docs/grants.md`.
//!
//! Not here: what a request means ([`Backend`], implemented over the runtime) and how the vault
//! is unlocked.
#![forbid(unsafe_code)]

pub mod backend;
pub mod broker;
pub mod caller;
pub mod capability;
pub mod client;
pub mod confirm;
#[cfg(test)]
mod fake;
pub mod frame;
pub mod gate;
pub mod log;
pub mod manager;
pub mod opener;
pub mod place;
pub mod sandbox;
pub mod schedule;
pub mod server;
pub mod session;
pub mod start;
pub mod trail;
pub mod watch;
pub mod wire;

use self::gate::Gate;
use self::log::Log;
use self::manager::Manager;
use self::place::{CLAIM_LIMIT, Place};
use self::server::{Limits, Server};
use self::session::Boottime;
use self::start::Handover;
use crate::config::Share;
use crate::error::{Code, Failure};
use crate::name::{AgentId, RecordName};
use crate::reference::SecretRef;
use crate::runtime::refresh::{Due, Renewal};
use crate::runtime::service::{Answer, Report, Request, SandboxStatus, SnapshotState};
use crate::secret::SecretValue;
use crate::snapshot::Event;
use crate::sys::peer::Peer;
use crate::sys::signals::Signals;
use crate::sys::users;
use crate::unlock::Given;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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

/// What a reload did.
#[derive(Clone, Debug)]
pub struct Reloaded {
    /// The state of the snapshot, or why no build could be tried.
    pub state: Result<SnapshotState, Failure>,
    /// The changes of state since the last reload, each once.
    pub events: Vec<Event>,
    /// Why the change hook failed, if a value changed and the hook failed.
    pub hook: Option<Failure>,
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
    fn reload(&self, cause: Cause) -> Reloaded;

    /// The files whose change calls for a reload; asked again after each reload.
    fn watched(&self) -> Vec<PathBuf>;

    /// [`Request::Report`] from what the last activation found: asks no source.
    fn published(&self, agent: Option<&AgentId>) -> Result<Report, Failure>;

    /// The refs that are in use in the config and in the profiles of an agent, as far as others
    /// can't change these.
    fn in_use(&self, _agent: &AgentId) -> HashSet<SecretRef> {
        HashSet::new()
    }

    /// Opens a keyslot with what was given, and forgets the key.
    fn prove(&self, _given: &Given) -> Result<(), Failure> {
        Err(Failure::new(Code::SlotNoMatch, "there are no keyslots"))
    }

    /// The accounts whose tokens are to be renewed ahead of their end; none if the vault can't be
    /// read.
    fn renewable(&self) -> Vec<Due> {
        Vec::new()
    }

    /// Renews the token of an account, unless its record has moved on from this version.
    fn renew(&self, _name: &RecordName, _version: u64) -> Renewal {
        Renewal::Gone
    }

    /// Tells the change hook that an account has to sign in again.
    fn tell_sign_in(&self, _name: &RecordName) -> Result<(), Failure> {
        Ok(())
    }
}

/// An opened vault, ready to be served.
pub struct Opened {
    /// What answers.
    pub backend: Arc<dyn Backend>,
    /// What the activation found.
    pub report: Report,
    /// Who may ask for what.
    pub gate: Gate,
    /// What this process gave up before it had the keys, if it did.
    pub sandbox: Option<Sandboxed>,
}

/// Where a daemon is reached, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// The path of its socket.
    pub socket: &'a Path,
    /// Who can connect to it.
    pub share: Share,
}

/// What a daemon gave up, and the process that does some of it in its place.
pub struct Sandboxed {
    /// What was given up.
    pub given_up: SandboxStatus,
    /// Who starts commands and opens files.
    pub broker: Arc<broker::Client>,
}

impl Sandboxed {
    /// As it stands now.
    pub fn status(&self) -> SandboxStatus {
        SandboxStatus {
            broker: self.broker.is_alive().then(|| self.broker.pid()),
            ..self.given_up.clone()
        }
    }
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

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stopped::Asked => "a client asked for it",
            Stopped::Signal => "a signal asked for it",
            Stopped::Ttl => "the time limit passed",
            Stopped::Idle => "the idle limit passed",
        })
    }
}

/// Runs the daemon in the foreground until it locks: tells the service manager, takes its socket
/// if it passed one. `open` runs once the state folder is claimed.
pub fn run(
    site: Site<'_>,
    unlock: &Unlock,
    open: impl FnOnce() -> Result<Opened, Failure>,
) -> Result<Stopped, Failure> {
    let env = |name: &str| std::env::var_os(name);
    let manager = Manager::from_env(env)?;
    let passed = manager::passed_listener(env)?;
    let reached = site.share != Share::Own || passed.is_some();
    check_user(reached, geteuid().as_raw(), users::overflow_uid())?;
    let mut place = Place::claim(site.socket, site.share, CLAIM_LIMIT)?;
    let log = Log::stderr();
    manager.notify("STATUS=opening the vault");
    let opened_at = SystemTime::now();
    let opened = open()?;
    let listener = match passed {
        Some(listener) => listener,
        None => place.bind()?,
    };
    settle(opened.sandbox.as_ref())?;
    let server = Server {
        backend: opened.backend,
        gate: opened.gate,
        listener,
        place,
        unlock: *unlock,
        clock: Arc::new(Boottime::new().map_err(system)?),
        limits: Limits::default(),
        log,
        manager,
        signals: Some(install_signals()?),
        opened_at,
        sandbox: opened.sandbox,
    };
    let state = server::state_text(opened.report.snapshot.state);
    let ready = format!("READY=1\nSTATUS=unlocked, snapshot {state}");
    server::serve(server, |manager| manager.notify(&ready)).map_err(system)
}

/// Runs the daemon that [`start::spawn_detached`] started, until it locks. Must be called before
/// the process has other threads or secrets: it forks. `prepare` runs in the process that stays,
/// before it has the keys; `open` gets what that gave, the options, and the sub-keys that were
/// handed over. The failure of either reaches the starting process.
pub fn run_detached<T>(
    site: Site<'_>,
    prepare: impl FnOnce() -> Result<T, Failure>,
    open: impl FnOnce(T, &Unlock, &SecretValue) -> Result<Opened, Failure>,
) -> Result<Stopped, Failure> {
    let (mut handover, prepared) = Handover::receive(prepare)?;
    let outcome = prepared.and_then(|prepared| {
        prepare_detached(site, &handover, |unlock, keys| open(prepared, unlock, keys))
    });
    match outcome {
        Ok((server, report)) => {
            server::serve(server, |_| {
                handover.answer(Ok(report));
                // From here on nobody waits for this process, and the keys are the backend's.
                drop(handover);
            })
            .map_err(system)
        }
        Err(failure) => {
            handover.answer(Err(failure.clone()));
            Err(failure)
        }
    }
}

fn prepare_detached(
    site: Site<'_>,
    handover: &Handover,
    open: impl FnOnce(&Unlock, &SecretValue) -> Result<Opened, Failure>,
) -> Result<(Server, Report), Failure> {
    let reached = site.share != Share::Own;
    check_user(reached, geteuid().as_raw(), users::overflow_uid())?;
    let mut place = Place::claim(site.socket, site.share, CLAIM_LIMIT)?;
    let log = site.socket.with_extension("log");
    let log = Log::file(&log).map_err(|error| {
        let text = format!("the daemon's log {}: {error}", log.display());
        Failure::new(Code::DaemonUnavailable, text)
    })?;
    let opened_at = SystemTime::now();
    let opened = open(&handover.unlock, &handover.keys)?;
    let listener = place.bind()?;
    settle(opened.sandbox.as_ref())?;
    let server = Server {
        backend: opened.backend,
        gate: opened.gate,
        listener,
        place,
        unlock: handover.unlock,
        clock: Arc::new(Boottime::new().map_err(system)?),
        limits: Limits::default(),
        log,
        manager: Manager::default(),
        signals: Some(install_signals()?),
        opened_at,
        sandbox: opened.sandbox,
    };
    Ok((server, opened.report))
}

/// Refuses to let others reach a daemon whose own user the kernel names for everybody whom the user
/// namespace does not know: it could not tell them from its own user.
fn check_user(reached: bool, us: u32, nobody: u32) -> Result<(), Failure> {
    if !reached || us != nobody {
        return Ok(());
    }
    let text = format!(
        "user {us} stands for everybody whom a user namespace does not know, so a daemon of it can \
         not be shared: run it as a user of its own"
    );
    Err(Failure::new(Code::DaemonUnsafe, text))
}

/// Gives up what making the socket needed.
fn settle(sandboxed: Option<&Sandboxed>) -> Result<(), Failure> {
    sandboxed.map_or(Ok(()), |sandboxed| sandbox::settle(&sandboxed.given_up))
}

/// Installed once the vault is open: until then there is nothing to finish, and a signal may end
/// the process as it always does.
fn install_signals() -> Result<Signals, Failure> {
    let signals = [libc::SIGHUP, libc::SIGTERM, libc::SIGINT, libc::SIGUSR1];
    Signals::install(&signals).map_err(system)
}

fn system(error: io::Error) -> Failure {
    Failure::new(Code::DaemonUnavailable, format!("the daemon: {error}"))
}

#[cfg(test)]
mod tests;
