//! Decisions on their way into the log.
//!
//! Whoever may ask, or is refused, must not be able to drive older lines out of a bounded log: what
//! others than the daemon's own user do is charged to an account, and repeats are counted
//! ([`ledger`]).

mod ledger;

use self::ledger::{Digest, Ledger, Payer, Place};
use super::acts::Needs;
use crate::crypto::hash::sha256;
use crate::daemon::caller::Caller;
use crate::daemon::trail::{Answered, Kind, Line, MAX_REFS, Outcome, Trail, TrailError};
use crate::error::{Code, Failure};
use crate::grants::Verb;
use crate::vault::SubKeys;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The most bytes of refs that the line about a refusal names; the rest is counted.
pub const MAX_REFUSED_REFS: usize = 2 << 10;

/// What somebody asked for, as the log has it.
pub(super) struct Entry {
    pub op: &'static str,
    pub verb: Option<Verb>,
    pub refs: Vec<String>,
    /// A person's part in it.
    pub answered: Option<Answered>,
}

impl Entry {
    /// Something that no person was asked about.
    pub fn new(op: &'static str, verb: Option<Verb>, refs: Vec<String>) -> Self {
        Self {
            op,
            verb,
            refs,
            answered: None,
        }
    }

    /// Something that names no refs.
    pub fn about(op: &'static str, verb: Option<Verb>) -> Self {
        Self::new(op, verb, Vec::new())
    }
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
    ledger: Ledger,
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
            ledger: Ledger::default(),
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
        let refs = needs.refs().iter().map(ToString::to_string).collect();
        let entry = Entry::new(op, needs.verb(), refs);
        let lines = lines_of(caller, entry, Outcome::Allowed, None);
        let mut state = self.state();
        self.settle(&mut state, Some(Instant::now()));
        let _ = self.write(&mut state, lines);
    }

    /// Notes what somebody else asks, and what came of it: by which grant, or why not.
    ///
    /// # Errors
    /// `audit.unavailable` if it can't be written; `daemon.busy` if the grant has filled its share
    /// of the log for now.
    pub(super) fn note(
        &self,
        caller: &Caller,
        entry: Entry,
        outcome: Outcome,
        word: &str,
    ) -> Result<(), Failure> {
        self.note_at(caller, entry, outcome, word, Instant::now())
    }

    fn note_at(
        &self,
        caller: &Caller,
        entry: Entry,
        outcome: Outcome,
        word: &str,
        now: Instant,
    ) -> Result<(), Failure> {
        let mut state = self.state();
        let payer = match outcome {
            Outcome::Allowed => Payer::Grant(word.to_owned()),
            Outcome::Refused => state.ledger.refused(caller.peer.uid),
        };
        let lines = lines_of(caller, entry, outcome, Some(word));
        let placed = self.tell(&mut state, &payer, lines, now)?;
        if placed == Place::NoRoom && outcome == Outcome::Allowed {
            let text = "its log has no room for more different requests of one grant; \
                        ask again in ten minutes";
            return Err(Failure::new(Code::DaemonBusy, text));
        }
        Ok(())
    }

    /// Notes that somebody was refused who asked nothing yet; whether that is worth telling
    /// elsewhere, too.
    pub fn turned_away(&self, caller: &Caller) -> bool {
        self.turned_away_at(caller, Instant::now())
    }

    fn turned_away_at(&self, caller: &Caller, now: Instant) -> bool {
        let entry = Entry::about("connect", None);
        let lines = lines_of(caller, entry, Outcome::Refused, Some("notGranted"));
        let told = self.tell(&mut self.state(), &Payer::Strangers, lines, now);
        // Refused he is anyway.
        told.map_or(true, |place| place == Place::Line)
    }

    /// Goes on with fresh keys; why it can't.
    pub fn rearm(&self, keys: &SubKeys) -> Option<Failure> {
        let mut state = self.state();
        let trail = state.trail.as_mut()?.as_mut().ok()?;
        trail.rearm(keys).err().map(Failure::from)
    }

    /// Notes that the daemon ends.
    pub fn close(&self) {
        let mut state = self.state();
        self.settle(&mut state, None);
        if let Some(Ok(mut trail)) = state.trail.take() {
            // Whoever reads the log sees the missing line.
            let _ = trail.stop();
        }
    }

    /// Why the log can't be written, once each time that it stops working.
    pub fn news(&self) -> Option<&'static str> {
        let new = self.failing.load(Ordering::Relaxed) && !self.said.swap(true, Ordering::Relaxed);
        new.then_some("the log of decisions can't be written: others are refused")
    }

    /// Gives a decision its lines, or counts it.
    fn tell(
        &self,
        state: &mut State,
        payer: &Payer,
        lines: Vec<Line>,
        now: Instant,
    ) -> Result<Place, Failure> {
        self.settle(state, Some(now));
        let bytes = lines.iter().map(Line::size).sum();
        let what = digest_of(&lines);
        let first = lines.first();
        let allowed = first.is_some_and(|line| line.outcome == Some(Outcome::Allowed));
        let uid = first.and_then(|line| line.uid);
        // What is answered while the log can't be written must try to be.
        let may_repeat = !allowed || !self.failing.load(Ordering::Relaxed);
        let ledger = &mut state.ledger;
        let place = ledger.place(payer, &what, bytes, may_repeat, now);
        if place != Place::Line {
            return Ok(place);
        }
        match self.write(state, lines) {
            Ok(seq) => state.ledger.told(payer, what, uid, seq),
            Err(failure) => {
                // A refusal is paid for anyway: it may be told elsewhere.
                if allowed {
                    state.ledger.give_back(payer, bytes);
                }
                return Err(failure);
            }
        }
        Ok(place)
    }

    /// Writes what was counted in the windows that are over, or in all.
    fn settle(&self, state: &mut State, now: Option<Instant>) {
        state.ledger.end(now);
        let State { trail, ledger } = state;
        let Some(Ok(trail)) = trail else {
            return ledger.due().clear();
        };
        while let Some(line) = ledger.due().front() {
            if let Err(error) = trail.note(line.clone()) {
                self.failed(&Failure::from(error).message);
                return;
            }
            ledger.due().pop_front();
        }
    }

    /// Writes lines; gives the number of the first.
    fn write(&self, state: &mut State, lines: Vec<Line>) -> Result<u64, Failure> {
        let trail = match state.trail.as_mut() {
            None => return Ok(0),
            Some(Ok(trail)) => trail,
            Some(Err(failure)) => {
                let why = failure.message.clone();
                return Err(self.failed(&why));
            }
        };
        let mut first = None;
        for line in lines {
            let written = trail.note(line).map_err(Failure::from);
            let seq = written.map_err(|failure| self.failed(&failure.message))?;
            first.get_or_insert(seq);
        }
        self.failing.store(false, Ordering::Relaxed);
        self.said.store(false, Ordering::Relaxed);
        Ok(first.unwrap_or(0))
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

/// The lines about one decision. Of refs that were refused the first few are named.
fn lines_of(caller: &Caller, entry: Entry, outcome: Outcome, word: Option<&str>) -> Vec<Line> {
    let mut refs = entry.refs;
    let (grant, why) = match outcome {
        Outcome::Allowed => (word, None),
        Outcome::Refused => (None, word),
    };
    let more = match outcome {
        Outcome::Allowed => 0,
        Outcome::Refused => {
            let all = refs.len();
            refs.truncate(fitting(&refs));
            all - refs.len()
        }
    };
    let line = Line {
        uid: Some(caller.peer.uid),
        pid: Some(caller.peer.pid),
        started: caller.started,
        unit: caller.unit.clone(),
        op: Some(entry.op.to_owned()),
        verb: entry.verb.map(|verb| verb.as_str().to_owned()),
        outcome: Some(outcome),
        grant: grant.map(str::to_owned),
        why: why.map(str::to_owned),
        answer: entry.answered.map(|answered| answered.answer),
        question: entry.answered.map(|answered| answered.question),
        more: Some(more as u64).filter(|more| *more > 0),
        ..Line::of(Kind::Decision)
    };
    if refs.is_empty() {
        return vec![line];
    }
    let page = |refs: &[String]| Line {
        refs: refs.to_vec(),
        ..line.clone()
    };
    refs.chunks(MAX_REFS).map(page).collect()
}

/// How many refs a line about a refusal names.
fn fitting(refs: &[String]) -> usize {
    let mut bytes = 0;
    let fits = |name: &&String| {
        bytes += name.len();
        bytes <= MAX_REFUSED_REFS
    };
    refs.iter().take(MAX_REFS).take_while(fits).count()
}

/// What the lines are about; not which process of the user asked.
fn digest_of(lines: &[Line]) -> Digest {
    let texts: Vec<Vec<u8>> = lines
        .iter()
        .map(|line| {
            let line = Line {
                pid: None,
                started: None,
                ..line.clone()
            };
            line.to_json()
        })
        .collect();
    let parts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    sha256(&parts)
}

#[cfg(test)]
mod tests;
