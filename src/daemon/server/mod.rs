//! The serving side: one thread accepts, watches the limits and the signals; each connection has
//! a thread with a small stack, a few of which stay for those to come; one more thread reloads, one
//! reloads the grants, and one renews tokens.
//!
//! Invariants: the peer's user is checked before a byte is read; at most [`Limits::connections`]
//! are served at once, of which others than the daemon's own user never have all, more wait in the
//! backlog; no other user is served faster than at the [`PACE`]; whatever a client does or leaves
//! undone ends at a time limit and concerns its own connection only. A lock removes the socket,
//! ends the questions to a person, waits for the commits that run, wipes, frees the place, and only
//! then answers.
//!
//! Not here: what requests mean ([`Backend`]), where the socket stands (`super::place`).

mod admission;
mod connection;
mod pace;
mod renewals;
mod upkeep;

pub use admission::{MAX_OF_OTHERS, MAX_OF_STRANGERS, MAX_OF_USER};
pub use connection::{OTHERS_FRAME, STRANGERS_FRAME};
pub use pace::{BURST, PACE};
pub use upkeep::{LOOK_STEP, state_text};

use super::gate::Gate;
use super::log::Log;
use super::manager::Manager;
use super::place::Place;
use super::session::{Clock, Flag, Session};
use super::{Backend, Sandboxed, Stopped, Unlock};
use crate::error::Code;
use crate::runtime::memory::MemoryStatus;
use crate::runtime::service::DaemonStatus;
use crate::sys::signals::Signals;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Connections served at once.
pub const MAX_CONNECTIONS: usize = 64;
/// For one frame once it has started, and for the first one to start.
pub const FRAME_LIMIT: Duration = Duration::from_secs(5);
/// For the next request on a connection that has had an answer.
pub const KEPT_LIMIT: Duration = Duration::from_secs(30);
/// For answers that are on their way when the daemon locks.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Threads that stay for the next connection: starting one costs more than a quick answer.
pub const SPARE_THREADS: usize = 16;
/// The stack of a connection's thread in bytes; JSON nests at most 128 deep.
const STACK: usize = 1 << 20;
/// How long the daemon pauses accepting when the operating system has no descriptors left.
const EXHAUSTED_PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// The file system stamps times a little late; so much earlier counts as later.
const STAMP_SLACK: Duration = Duration::from_millis(10);

/// The limits of a server; [`Limits::default`] has the constants of this module.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections served at once.
    pub connections: usize,
    /// For one frame once it has started.
    pub frame: Duration,
    /// For the first request of a connection to start.
    pub fresh: Duration,
    /// For each further one.
    pub kept: Duration,
    /// For answers on their way at a lock.
    pub drain: Duration,
    /// Requests of one other user at once.
    pub burst: u32,
    /// For each further one of his.
    pub pace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS,
            frame: FRAME_LIMIT,
            fresh: FRAME_LIMIT,
            kept: KEPT_LIMIT,
            drain: DRAIN_LIMIT,
            burst: BURST,
            pace: PACE,
        }
    }
}

/// What a server is made of.
pub struct Server {
    /// What answers.
    pub backend: Arc<dyn Backend>,
    /// Who may ask for what.
    pub gate: Gate,
    /// Where clients come in.
    pub listener: UnixListener,
    /// The claim on the state folder.
    pub place: Place,
    /// How long the vault stays open.
    pub unlock: Unlock,
    /// The clock for that.
    pub clock: Arc<dyn Clock>,
    /// Limits of connections.
    pub limits: Limits,
    /// What is told.
    pub log: Log,
    /// Who is told, if anyone.
    pub manager: Manager,
    /// SIGHUP reloads; any other ends the daemon.
    pub signals: Option<Signals>,
    /// When the backend began to read its files.
    pub opened_at: SystemTime,
    /// What this process gave up.
    pub sandbox: Option<Sandboxed>,
}

/// Serves until the vault locks. `ready` is called once everything is in place; it gets the
/// service manager to tell.
pub fn serve(server: Server, ready: impl FnOnce(&Manager)) -> io::Result<Stopped> {
    let Server {
        listener,
        mut place,
        signals,
        ..
    } = server;
    listener.set_nonblocking(true)?;
    let now = server.clock.now();
    let shared = Arc::new(Shared {
        backend: server.backend,
        gate: server.gate,
        session: Session::new(&server.unlock, now),
        clock: server.clock,
        pace: pace::Pace::new(server.limits.pace, server.limits.burst),
        limits: server.limits,
        log: server.log,
        manager: server.manager,
        state: Mutex::new(State::default()),
        changed: Condvar::new(),
        admitted: Condvar::new(),
        wake: Flag::new()?,
        stopping: Flag::new()?,
        reload: Flag::new()?,
        look: upkeep::Look::new()?,
        renewals: renewals::Wake::new()?,
        sandbox: server.sandbox,
    });
    let since = server.opened_at.checked_sub(STAMP_SLACK);
    upkeep::start(&shared, since.unwrap_or(SystemTime::UNIX_EPOCH))?;
    renewals::start(&shared)?;
    shared
        .log
        .line(format_args!("serving, process {}", std::process::id()));
    if let Some(sandbox) = &shared.sandbox {
        let text = super::sandbox::text(&sandbox.status());
        shared.log.line(format_args!("sandbox: {text}"));
    }
    if let Some((text, _)) = MemoryStatus::here().warning() {
        shared.log.line(format_args!("{text}"));
    }
    // A daemon in the background has nowhere else to say it.
    if let Some(code) = shared.gate.unread() {
        shared.nothing_is_granted(code);
    }
    ready(&shared.manager);
    let outcome = accept_until_stopped(&shared, &listener, signals.as_ref());
    match &outcome {
        Ok(reason) => shared.log.line(format_args!("locking: {reason}")),
        Err(error) => shared
            .log
            .line(format_args!("locking: waiting failed: {error}")),
    }
    shared.manager.notify("STOPPING=1\nSTATUS=locking");
    place.unlink();
    drop(listener);
    shared.stopping.raise();
    shared.backend.lock();
    shared.gate.wait_for_answers(shared.limits.drain);
    shared.gate.book().close();
    place.release();
    shared.finish();
    outcome
}

/// What all threads share.
struct Shared {
    backend: Arc<dyn Backend>,
    gate: Gate,
    session: Session,
    clock: Arc<dyn Clock>,
    pace: pace::Pace,
    limits: Limits,
    log: Log,
    manager: Manager,
    state: Mutex<State>,
    changed: Condvar,
    /// Tells spare threads of a connection, or of the end.
    admitted: Condvar,
    /// Makes the accepting thread look at the state again.
    wake: Flag,
    /// Up for good once the daemon locks.
    stopping: Flag,
    /// Asks for a reload.
    reload: Flag,
    /// Asks for a look at the watched files, where the system does not tell of changes.
    look: upkeep::Look,
    /// Asks for a look at the accounts.
    renewals: renewals::Wake,
    sandbox: Option<Sandboxed>,
}

#[derive(Default)]
struct State {
    /// Connections that are being served.
    active: usize,
    /// Those of them that are not the daemon's own user's, by user.
    of_others: BTreeMap<u32, usize>,
    /// Those of them of whom no grant is known yet.
    of_strangers: usize,
    /// Threads without a connection.
    spare: usize,
    /// Connections for them; never more than there are of them.
    waiting: VecDeque<admission::Waiting>,
    /// The accepting thread waits for one of them to end.
    full: bool,
    stop: Option<Stopped>,
    /// Keys are wiped and the place is free.
    locked: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change of the state is complete by itself, also if a thread panics later.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self, reason: Stopped) {
        self.state().stop.get_or_insert(reason);
        self.wake.raise();
    }

    /// Waits until the pace of a user has room for one more request; false if the daemon locks.
    fn keep_pace(&self, uid: u32) -> Result<bool, Errno> {
        if self.gate.is_own(uid) {
            return Ok(true);
        }
        let due = self.pace.request(uid, self.clock.now());
        loop {
            let left = due.saturating_sub(self.clock.now());
            if left.is_zero() {
                return Ok(true);
            }
            let stopping = self.stopping.fd();
            let mut fds = [PollFd::new(&stopping, PollFlags::IN)];
            match poll(&mut fds, Some(&super::wire::timespec(left))) {
                Ok(0) | Err(Errno::INTR) => {}
                Ok(_) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    fn wait_locked(&self) {
        let state = self.state();
        let waited = self.changed.wait_while(state, |state| !state.locked);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets those who asked for the lock answer, and waits a while for all connections to end.
    fn finish(&self) {
        let mut state = self.state();
        state.locked = true;
        self.changed.notify_all();
        self.admitted.notify_all();
        let waited = self
            .changed
            .wait_timeout_while(state, self.limits.drain, |state| state.active > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn reload_grants(&self) {
        if let Some(failure) = self.gate.reload() {
            self.nothing_is_granted(failure.code);
        }
    }

    /// Why is for the config's owner alone: the log has no names.
    fn nothing_is_granted(&self, code: Code) {
        let code = code.as_str();
        self.log.line(format_args!(
            "the grants can't be read, nothing is granted: {code} (`reseal grants list` says why)"
        ));
    }

    fn status(&self) -> DaemonStatus {
        let (ttl_remaining_ms, idle_remaining_ms) = self.session.remaining(self.clock.now());
        DaemonStatus {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ttl_remaining_ms,
            idle_remaining_ms,
            sandbox: self.sandbox.as_ref().map(|held| Box::new(held.status())),
            memory: Some(MemoryStatus::here()),
        }
    }
}

fn accept_until_stopped(
    shared: &Arc<Shared>,
    listener: &UnixListener,
    signals: Option<&Signals>,
) -> io::Result<Stopped> {
    let mut exhausted = false;
    let mut armed = None;
    loop {
        let now = shared.clock.now();
        let full = {
            let mut state = shared.state();
            state.full = state.active >= shared.limits.connections;
            if let Some(reason) = state.stop.or_else(|| shared.session.expired(now)) {
                // What a connection asks for from here on is too late.
                state.stop = Some(reason);
                return Ok(reason);
            }
            state.full
        };
        // Each request moves the idle limit away: a timer that comes early costs less than to set
        // it anew each time.
        let next = shared.session.next(now);
        let fired = armed.is_some_and(|armed| armed <= now);
        if fired || next.is_some_and(|next| armed.is_none_or(|armed| next < armed)) {
            shared.clock.arm(next)?;
            armed = next;
        }
        let (wake, timer) = (shared.wake.fd(), shared.clock.fd());
        let signal_fd = signals.map(Signals::fd);
        let mut fds = vec![
            PollFd::new(&wake, PollFlags::IN),
            PollFd::new(&timer, PollFlags::IN),
        ];
        fds.extend(signal_fd.as_ref().map(|fd| PollFd::new(fd, PollFlags::IN)));
        if !full && !exhausted {
            fds.push(PollFd::new(listener, PollFlags::IN));
        }
        match poll(&mut fds, exhausted.then_some(&EXHAUSTED_PAUSE)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        shared.wake.lower();
        while let Some(signal) = signals.and_then(Signals::take) {
            if signal == libc::SIGHUP {
                shared.reload.raise();
            } else {
                shared.stop(Stopped::Signal);
            }
        }
        exhausted = !full && accept_some(shared, listener);
    }
}

/// Accepts while there is room and somebody waits; true if the system has no room.
fn accept_some(shared: &Arc<Shared>, listener: &UnixListener) -> bool {
    while shared.state().active < shared.limits.connections {
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(fd) => admission::admit(shared, fd.into()),
            Err(Errno::INTR | Errno::CONNABORTED) => {}
            Err(Errno::AGAIN) => return false,
            Err(error) => {
                shared.log.line(format_args!("accepting failed: {error}"));
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests;
