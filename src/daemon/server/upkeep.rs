//! The threads that reload: one everything, on SIGHUP and when a watched file changed; one the
//! grants alone, so that one that was taken back does not count until a slow source has answered.

use super::Shared;
use crate::daemon::Cause;
use crate::daemon::session::Flag;
use crate::daemon::watch::Watch;
use crate::runtime::service::SnapshotState;
use crate::snapshot::Event;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// How often requests make the daemon look at the watched files, where the system does not tell
/// of changes.
pub const LOOK_STEP: Duration = Duration::from_secs(1);

/// Asks for a look at the watched files.
pub struct Look {
    needed: AtomicBool,
    last: Mutex<Option<Instant>>,
    flag: Flag,
}

impl Look {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            needed: AtomicBool::new(false),
            last: Mutex::new(None),
            flag: Flag::new()?,
        })
    }

    /// Something of ours changed.
    pub fn at_once(&self) {
        self.flag.raise();
    }

    /// A request came; a change that is found now counts for the next one.
    pub fn ask(&self) {
        if !self.needed.load(Ordering::Relaxed) {
            return;
        }
        // Whoever holds the lock is asking already.
        if let Ok(mut last) = self.last.try_lock() {
            let now = Instant::now();
            if last.is_none_or(|last| now.duration_since(last) >= LOOK_STEP) {
                *last = Some(now);
                self.flag.raise();
            }
        }
    }
}

/// Starts the thread. Changes since `since` count, so that none is lost between the reading of a
/// file and the watching of it.
pub fn start(shared: &Arc<Shared>, since: SystemTime) -> io::Result<()> {
    let mut watch = Watch::new();
    watch.set(watched(shared));
    shared
        .look
        .needed
        .store(watch.fd().is_none(), Ordering::Relaxed);
    let since = since
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let since = i128::try_from(since).unwrap_or(i128::MAX);
    let missed = watch.changed_since(since);
    start_grants(shared, since)?;
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("upkeep".to_owned())
        .spawn(move || {
            if missed {
                reload(&shared, &mut watch, Cause::Changed);
            }
            keep_up(&shared, &mut watch);
        })?;
    Ok(())
}

/// Starts the thread of the grants, where the system tells of changes. Elsewhere they are reloaded
/// with the rest.
fn start_grants(shared: &Arc<Shared>, since: i128) -> io::Result<()> {
    let Some(file) = shared.gate.watched() else {
        return Ok(());
    };
    let mut watch = Watch::new();
    watch.set(vec![file.clone()]);
    if watch.fd().is_none() {
        return Ok(());
    }
    let missed = watch.changed_since(since);
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("grants".to_owned());
    thread.spawn(move || {
        if missed {
            shared.reload_grants();
        }
        while wait(&[Some(shared.stopping.fd()), watch.fd()]) {
            if watch.drain() {
                watch.settle(shared.stopping.fd());
                shared.reload_grants();
                // What the file's name leads to may be another one now.
                watch.set(vec![file.clone()]);
            }
        }
    })?;
    Ok(())
}

fn keep_up(shared: &Shared, watch: &mut Watch) {
    loop {
        let stopping = shared.stopping.fd();
        if !wait(&[
            Some(stopping),
            Some(shared.reload.fd()),
            Some(shared.look.flag.fd()),
            watch.fd(),
        ]) {
            return;
        }
        let cause = if shared.reload.lower() {
            Some(Cause::Signal)
        } else if watch.drain() {
            watch.settle(stopping);
            Some(Cause::Changed)
        } else if shared.look.flag.lower() && watch.look() {
            Some(Cause::Changed)
        } else {
            None
        };
        if let Some(cause) = cause {
            reload(shared, watch, cause);
        }
    }
}

/// Waits until one is readable; false if it is the first, or if waiting fails.
fn wait(fds: &[Option<BorrowedFd<'_>>]) -> bool {
    let mut fds: Vec<_> = fds
        .iter()
        .flatten()
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .collect();
    loop {
        match poll(&mut fds, None) {
            Ok(_) => return fds.first().is_some_and(|fd| fd.revents().is_empty()),
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

fn reload(shared: &Shared, watch: &mut Watch, cause: Cause) {
    let cause_text = match cause {
        Cause::Signal => "on a signal",
        Cause::Changed => "after a change",
    };
    // First, so that whoever waits for the new snapshot is judged by the new grants.
    shared.reload_grants();
    let reloaded = shared.backend.reload(cause);
    for event in reloaded.events {
        shared
            .log
            .line(format_args!("secrets {}", event_text(event)));
    }
    if let Some(failure) = reloaded.hook {
        let code = failure.code.as_str();
        shared
            .log
            .line(format_args!("the change hook failed: {code}"));
    }
    match reloaded.state {
        Ok(state) => {
            let state = state_text(state);
            shared
                .log
                .line(format_args!("reloaded {cause_text}: snapshot {state}"));
            shared
                .manager
                .notify(&format!("STATUS=unlocked, snapshot {state}"));
        }
        Err(failure) => {
            // The text may name records and files, which the log does not.
            let code = failure.code.as_str();
            shared
                .log
                .line(format_args!("reload {cause_text} failed: {code}"));
            shared
                .manager
                .notify(&format!("STATUS=unlocked, reload failed: {code}"));
        }
    }
    watch.set(watched(shared));
    shared.renewals.raise();
}

/// What the backend reads, and the file of the grants.
fn watched(shared: &Shared) -> Vec<PathBuf> {
    let mut files = shared.backend.watched();
    files.extend(shared.gate.watched().filter(|file| !files.contains(file)));
    files
}

/// A change of state as the log tells it, once.
fn event_text(event: Event) -> &'static str {
    match event {
        Event::Activated => "activated",
        Event::Degraded => "degraded: the last good values serve",
        Event::Recovered => "recovered",
        Event::Failed => "failed: there are no values to serve",
        Event::Sealed => "sealed",
    }
}

/// The state as people read it.
pub fn state_text(state: SnapshotState) -> &'static str {
    match state {
        SnapshotState::Sealed => "sealed",
        SnapshotState::Active => "active",
        SnapshotState::Degraded => "degraded",
        SnapshotState::Failed => "failed",
    }
}
