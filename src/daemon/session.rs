//! How long the vault stays open: an absolute limit and an idle one, on a clock that counts
//! suspend.
//!
//! Not here: what happens when a limit passes (`super::server`).

use super::{Stopped, Unlock};
use rustix::event::EventfdFlags;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A clock that can wake a `poll`.
pub trait Clock: Send + Sync {
    /// The time since some fixed point; counts suspend.
    fn now(&self) -> Duration;
    /// Makes the descriptor readable once the time comes; `None` = never.
    fn arm(&self, at: Option<Duration>) -> io::Result<()>;
    /// The descriptor to poll.
    fn fd(&self) -> BorrowedFd<'_>;
}

/// `CLOCK_BOOTTIME` and a timer on it: a machine that wakes from suspend past a limit locks at
/// once.
#[derive(Debug)]
pub struct Boottime(OwnedFd);

impl Boottime {
    /// Opens the timer.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Boottime, flags)?;
        Ok(Self(timer))
    }
}

impl Clock for Boottime {
    fn now(&self) -> Duration {
        crate::sys::clock::boottime()
    }

    fn arm(&self, at: Option<Duration>) -> io::Result<()> {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // A value of zero disarms, so the earliest point is one nanosecond. Setting the timer
        // also clears an expiry that was not read.
        let it_value = at.map_or(zero, |at| {
            super::wire::timespec(at.max(Duration::from_nanos(1)))
        });
        let value = Itimerspec {
            it_interval: zero,
            it_value,
        };
        rustix::time::timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &value)?;
        Ok(())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The limits of an unlocked vault, and how near they are.
#[derive(Debug)]
pub struct Session(Mutex<State>);

#[derive(Debug)]
struct State {
    /// When the vault locks whatever happens.
    deadline: Option<Duration>,
    /// How long it stays open without a request.
    idle: Option<Duration>,
    /// When the last request came or was answered.
    last: Duration,
    /// Requests that are being answered; the vault is not idle meanwhile.
    running: usize,
}

impl Session {
    /// A session that starts now.
    pub fn new(unlock: &Unlock, now: Duration) -> Self {
        let session = Self(Mutex::new(State {
            deadline: None,
            idle: None,
            last: now,
            running: 0,
        }));
        session.renew(unlock, now);
        session
    }

    /// New limits from now on.
    pub fn renew(&self, unlock: &Unlock, now: Duration) {
        let limit = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        let mut state = self.state();
        state.deadline = limit(unlock.ttl_ms).and_then(|ttl| now.checked_add(ttl));
        state.idle = limit(unlock.idle_ms);
        state.last = now;
    }

    /// A request came.
    pub fn begin(&self, now: Duration) {
        let mut state = self.state();
        state.running += 1;
        state.last = now;
    }

    /// It was answered.
    pub fn end(&self, now: Duration) {
        let mut state = self.state();
        state.running = state.running.saturating_sub(1);
        state.last = now;
    }

    /// The limit that has passed, if one has.
    pub fn expired(&self, now: Duration) -> Option<Stopped> {
        let state = self.state();
        if state.deadline.is_some_and(|at| now >= at) {
            return Some(Stopped::Ttl);
        }
        let idle = state.idle_at(now).is_some_and(|at| now >= at);
        idle.then_some(Stopped::Idle)
    }

    /// When to look again.
    pub fn next(&self, now: Duration) -> Option<Duration> {
        let state = self.state();
        match (state.deadline, state.idle_at(now)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Milliseconds until the absolute and the idle limit.
    pub fn remaining(&self, now: Duration) -> (Option<u64>, Option<u64>) {
        let state = self.state();
        let left =
            |at: Duration| u64::try_from(at.saturating_sub(now).as_millis()).unwrap_or(u64::MAX);
        (state.deadline.map(left), state.idle_at(now).map(left))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the numbers whole; the limits must go on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn idle_at(&self, now: Duration) -> Option<Duration> {
        let since = if self.running > 0 { now } else { self.last };
        self.idle.and_then(|idle| since.checked_add(idle))
    }
}

/// A flag that `poll` can wait for.
#[derive(Debug)]
pub struct Flag(OwnedFd);

impl Flag {
    /// A lowered flag.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(rustix::event::eventfd(0, flags)?))
    }

    /// Makes the descriptor readable until [`Flag::lower`].
    pub fn raise(&self) {
        // Fails only if the counter is full, that is, if the flag is up.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Makes the descriptor unreadable again; true if it was up.
    pub fn lower(&self) -> bool {
        let mut count = [0; 8];
        rustix::io::read(&self.0, &mut count[..]).is_ok()
    }

    /// The descriptor to poll.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests;
