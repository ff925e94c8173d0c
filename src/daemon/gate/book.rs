//! Decisions on their way into the log.
//!
//! Refusals of one user that come faster than people read are counted, not repeated: whoever is
//! refused must not be able to drive older lines out of a bounded log.

use super::acts::Needs;
use crate::daemon::caller::Caller;
use crate::daemon::trail::{Kind, Line, MAX_REFS, Outcome, Trail, TrailError};
use crate::error::{Code, Failure};
use crate::grants::Verb;
use crate::vault::SubKeys;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most refusals of one user that get a line of their own in [`TOLD_STEP`].
pub const MAX_TOLD: u32 = 16;
/// How long refusals are counted together.
pub const TOLD_STEP: Duration = Duration::from_secs(10);
/// The most users whose refusals are counted apart.
const MAX_USERS: usize = 1024;

/// What somebody asked for, as the log has it.
pub(super) struct Entry {
    pub op: &'static str,
    pub verb: Option<Verb>,
    pub refs: Vec<String>,
}

/// The log, if there is one, and what was not told.
#[derive(Debug)]
pub struct Book {
    state: Mutex<State>,
    /// The log could not be written.
    failing: AtomicBool,
    /// And that was said.
    said: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    trail: Option<Result<Trail, Failure>>,
    refusals: BTreeMap<u32, Told>,
}

#[derive(Debug)]
struct Told {
    since: Instant,
    lines: u32,
    untold: u64,
}

impl Book {
    /// No log is kept: for a daemon of tests.
    pub fn none() -> Self {
        Self::with(None)
    }

    /// A log. With one that could not be opened, others than the daemon's own user are refused.
    pub fn of(trail: Result<Trail, TrailError>) -> Self {
        Self::with(Some(trail.map_err(Failure::from)))
    }

    fn with(trail: Option<Result<Trail, Failure>>) -> Self {
        let state = State {
            trail,
            refusals: BTreeMap::new(),
        };
        Self {
            state: Mutex::new(state),
            failing: AtomicBool::new(false),
            said: AtomicBool::new(false),
        }
    }

    /// Notes what the daemon's own user or root asks. They hold the key, so a log that can't be
    /// written does not stop them.
    pub(super) fn own(&self, caller: &Caller, op: &'static str, needs: &Needs) {
        let entry = Entry {
            op,
            verb: needs.verb(),
            refs: needs.refs().iter().map(ToString::to_string).collect(),
        };
        let _ = self.write(caller, entry, Outcome::Allowed, None, None);
    }

    /// Notes what somebody else asks, and what came of it: by which grant, or why not.
    ///
    /// # Errors
    /// `audit.unavailable` if it can't be written.
    pub(super) fn note(
        &self,
        caller: &Caller,
        entry: Entry,
        outcome: Outcome,
        word: &str,
    ) -> Result<(), Failure> {
        let untold = match outcome {
            Outcome::Allowed => None,
            Outcome::Refused => match self.tell(caller.peer.uid, Instant::now()) {
                None => return Ok(()),
                Some(untold) => Some(untold).filter(|untold| *untold > 0),
            },
        };
        self.write(caller, entry, outcome, Some(word), untold)
    }

    /// Notes that somebody was refused who asked nothing yet.
    pub fn turned_away(&self, caller: &Caller) {
        let entry = Entry {
            op: "connect",
            verb: None,
            refs: Vec::new(),
        };
        // Refused he is anyway.
        let _ = self.note(caller, entry, Outcome::Refused, "notGranted");
    }

    /// Goes on with fresh keys; why it can't.
    pub fn rearm(&self, keys: &SubKeys) -> Option<Failure> {
        let mut state = self.state();
        let trail = state.trail.as_mut()?.as_mut().ok()?;
        trail.rearm(keys).err().map(Failure::from)
    }

    /// Notes that the daemon ends.
    pub fn close(&self) {
        if let Some(Ok(mut trail)) = self.state().trail.take() {
            // Whoever reads the log sees the missing line.
            let _ = trail.stop();
        }
    }

    /// Why the log can't be written, once each time that it stops working.
    pub fn news(&self) -> Option<&'static str> {
        let new = self.failing.load(Ordering::Relaxed) && !self.said.swap(true, Ordering::Relaxed);
        new.then_some("the log of decisions can't be written: others are refused")
    }

    /// Whether a refusal gets a line, and how many before it got none.
    fn tell(&self, uid: u32, now: Instant) -> Option<u64> {
        let mut state = self.state();
        if state.refusals.len() >= MAX_USERS && !state.refusals.contains_key(&uid) {
            let recent = |told: &Told| now.duration_since(told.since) < TOLD_STEP;
            state.refusals.retain(|_, told| recent(told));
            if state.refusals.len() >= MAX_USERS {
                return None;
            }
        }
        let told = state.refusals.entry(uid).or_insert(Told {
            since: now,
            lines: 0,
            untold: 0,
        });
        if now.duration_since(told.since) >= TOLD_STEP {
            (told.since, told.lines) = (now, 0);
        }
        if told.lines >= MAX_TOLD {
            told.untold += 1;
            return None;
        }
        told.lines += 1;
        Some(std::mem::take(&mut told.untold))
    }

    fn write(
        &self,
        caller: &Caller,
        entry: Entry,
        outcome: Outcome,
        word: Option<&str>,
        untold: Option<u64>,
    ) -> Result<(), Failure> {
        let mut state = self.state();
        let trail = match state.trail.as_mut() {
            None => return Ok(()),
            Some(Ok(trail)) => trail,
            Some(Err(failure)) => {
                let why = failure.message.clone();
                return Err(self.failed(&why));
            }
        };
        let (grant, why) = match outcome {
            Outcome::Allowed => (word, None),
            Outcome::Refused => (None, word),
        };
        let mut line = Line {
            uid: Some(caller.peer.uid),
            pid: Some(caller.peer.pid),
            started: caller.started,
            unit: caller.unit.clone(),
            op: Some(entry.op.to_owned()),
            verb: entry.verb.map(|verb| verb.as_str().to_owned()),
            outcome: Some(outcome),
            grant: grant.map(str::to_owned),
            why: why.map(str::to_owned),
            untold,
            ..Line::of(Kind::Decision)
        };
        let mut refs = entry.refs.into_iter();
        loop {
            line.refs = refs.by_ref().take(MAX_REFS).collect();
            let rest = refs.len();
            let written = trail.note(line.clone()).map_err(Failure::from);
            written.map_err(|failure| self.failed(&failure.message))?;
            if rest == 0 {
                self.failing.store(false, Ordering::Relaxed);
                self.said.store(false, Ordering::Relaxed);
                return Ok(());
            }
        }
    }

    fn failed(&self, why: &str) -> Failure {
        self.failing.store(true, Ordering::Relaxed);
        Failure::new(Code::AuditUnavailable, why)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A line is written whole or cut off again before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
