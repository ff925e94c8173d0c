//! The thread that renews tokens ahead of their end, and the short-lived ones that it starts.
//!
//! It sleeps on two timers, one for each clock of the [`Schedule`]; the one of the wall clock also
//! fires when somebody sets that clock. A renewal that runs when the daemon locks is waited for by
//! the backend's lock.

use super::Shared;
use crate::daemon::schedule::{Next, Now, Schedule};
use crate::daemon::session::{Boottime, Clock, Flag};
use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::runtime::refresh::{Due, Renewal};
use crate::sys::{clock, random};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Ends of renewals that the thread has not looked at yet.
type Ended = Arc<Mutex<Vec<(RecordName, Renewal)>>>;

/// Asks for a look at the accounts, and tells of ended renewals.
pub struct Wake(Flag);

impl Wake {
    pub fn new() -> io::Result<Self> {
        Ok(Self(Flag::new()?))
    }

    /// The vault may hold other accounts now.
    pub fn raise(&self) {
        self.0.raise();
    }
}

/// Starts the thread.
pub fn start(shared: &Arc<Shared>) -> io::Result<()> {
    let timers = Timers {
        boot: Boottime::new()?,
        wall: timerfd_create(
            TimerfdClockId::Realtime,
            TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK,
        )?,
    };
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name("renewals".to_owned())
        .spawn(move || keep_renewing(&shared, &timers))?;
    Ok(())
}

fn keep_renewing(shared: &Arc<Shared>, timers: &Timers) {
    let mut schedule = Schedule::default();
    let ended = Ended::default();
    loop {
        let done = std::mem::take(&mut *ended.lock().unwrap_or_else(PoisonError::into_inner));
        for (name, renewal) in done {
            tell(shared, &mut schedule, &name, &renewal);
        }
        schedule.update(shared.backend.renewable(), now(), &mut seed);
        for due in schedule.start(now()) {
            renew(shared, &ended, due);
        }
        if !timers.wait(shared, schedule.next(now())) {
            return;
        }
    }
}

fn now() -> Now {
    Now {
        wall: clock::now(),
        boot: clock::boottime(),
    }
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    random::fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Renews one account in a thread of its own: a slow issuer delays nobody else.
fn renew(shared: &Arc<Shared>, ended: &Ended, due: Due) {
    let (worker, results, name) = (Arc::clone(shared), Arc::clone(ended), due.name.clone());
    let thread = std::thread::Builder::new().name("renewal".to_owned());
    let spawned = thread.spawn(move || {
        let renewal = worker.backend.renew(&due.name, due.version);
        finish(&worker, &results, due.name, renewal);
    });
    if let Err(error) = spawned {
        let failure = Failure::new(Code::DaemonBusy, error.to_string());
        finish(shared, ended, name, Renewal::Failed(failure));
    }
}

fn finish(shared: &Shared, ended: &Ended, name: RecordName, renewal: Renewal) {
    let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
    ended.push((name, renewal));
    shared.renewals.raise();
}

/// Says what a person should know: never whose account it is.
fn tell(shared: &Shared, schedule: &mut Schedule, name: &RecordName, renewal: &Renewal) {
    let news = schedule.finish(name, renewal, now(), seed());
    match renewal {
        Renewal::Done => shared.look.at_once(),
        Renewal::SignIn if news => {
            shared
                .log
                .line(format_args!("an account has to sign in again"));
            if let Err(failure) = shared.backend.tell_sign_in(name) {
                let code = failure.code.as_str();
                shared
                    .log
                    .line(format_args!("the change hook failed: {code}"));
            }
        }
        Renewal::Failed(failure) if news => {
            let code = failure.code.as_str();
            shared.log.line(format_args!(
                "a token can't be renewed at the moment: {code}"
            ));
        }
        Renewal::SignIn | Renewal::Failed(_) | Renewal::Gone => {}
    }
}

/// One timer for each clock.
struct Timers {
    boot: Boottime,
    wall: OwnedFd,
}

impl Timers {
    /// Waits until it is time, the wall clock is set, or something is to be looked at; false once
    /// the daemon locks.
    fn wait(&self, shared: &Shared, next: Next) -> bool {
        if self.arm(next).is_err() {
            return false;
        }
        let stopping = shared.stopping.fd();
        let (wake, boot) = (shared.renewals.0.fd(), self.boot.fd());
        let mut fds = [
            PollFd::new(&stopping, PollFlags::IN),
            PollFd::new(&wake, PollFlags::IN),
            PollFd::new(&boot, PollFlags::IN),
            PollFd::new(&self.wall, PollFlags::IN),
        ];
        loop {
            match poll(&mut fds, None) {
                Err(Errno::INTR) => {}
                Err(_) => return false,
                Ok(_) => break,
            }
        }
        shared.renewals.0.lower();
        fds[0].revents().is_empty()
    }

    fn arm(&self, next: Next) -> io::Result<()> {
        self.boot.arm(next.boot)?;
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let it_value = next.wall.map_or(zero, |wall| Timespec {
            tv_sec: i64::try_from(wall.0 / 1000).unwrap_or(i64::MAX),
            // At least one: zero would disarm.
            tv_nsec: i64::try_from(wall.0 % 1000 * 1_000_000).unwrap_or(0).max(1),
        });
        let value = Itimerspec {
            it_interval: zero,
            it_value,
        };
        let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
        // Setting it again also clears an expiry, and a clock that was set, that were not read.
        match timerfd_settime(&self.wall, flags, &value) {
            Ok(_) | Err(Errno::CANCELED) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
