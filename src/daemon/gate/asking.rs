//! When a person is asked, and what an answer means for the requests that follow.
//!
//! Invariants: one question at a time for a user, and one by a grant, whoever has it; after
//! anything but a yes nobody is asked for them for a while, each time for twice as long, so that
//! no one can wear a person down; a yes counts for the request that it was about, and if the config
//! says so, for a while for the same process that wants the same again. No lock is held while a
//! person thinks.

use super::proof::Whose;
use super::refusal::Why;
use crate::config::Confirm;
use crate::daemon::caller::Caller;
use crate::daemon::confirm::{self, About, Asker, Ends, Question, Said};
use crate::daemon::trail::{Answer, Answered};
use crate::grants::{Digest, Verb};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most questions that are open at the same time.
pub const MAX_OPEN: usize = 4;
/// How long nobody is asked again after the first time that there was no yes.
pub const FIRST_QUIET: Duration = Duration::from_secs(60);
/// The longest such time.
pub const LONGEST_QUIET: Duration = Duration::from_secs(3600);
/// The most users and grants for which nobody is asked for a while; nobody is for more.
pub const MAX_QUIET: usize = 1024;
/// The most questions whose yes is kept; of further ones it counts once.
pub const MAX_KEPT: usize = 256;

/// What somebody wants to have, and only a person can let him.
pub(super) struct Wanted<'a> {
    pub caller: &'a Caller,
    pub op: &'static str,
    pub verb: Verb,
    pub about: About,
    /// The grants that ask for it.
    pub grants: BTreeSet<String>,
}

/// What came of it.
pub(super) struct Asked<'a> {
    pub outcome: Result<(), Why>,
    /// What the log says of the person's part, if anyone was asked.
    pub answered: Option<Answered>,
    /// Until it is in the log, the question counts as open.
    _turn: Option<Turn<'a>>,
}

impl Asked<'_> {
    fn no(why: Why) -> Self {
        Self {
            outcome: Err(why),
            answered: None,
            _turn: None,
        }
    }
}

/// All questions of one daemon.
#[derive(Default)]
pub(super) struct Questions {
    asker: Option<Arc<dyn Asker>>,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    /// The number of the last question.
    last: u64,
    /// How often the grants have changed.
    config: u64,
    open: Vec<(u64, Vec<Whose>)>,
    quiet: BTreeMap<Whose, Quiet>,
    kept: Vec<Kept>,
}

impl State {
    /// Why nobody is asked for one of these now, and for how long.
    fn quiet_for(&self, whose: &[Whose], now: Instant) -> Option<Why> {
        let quiet = whose.iter().filter_map(|whose| self.quiet.get(whose));
        let longest = quiet.max_by_key(|quiet| quiet.until)?;
        (now < longest.until).then(|| Why::Quiet {
            declined: longest.declined,
            left: longest.until - now,
        })
    }
}

/// For whom nobody is asked.
#[derive(Clone, Copy)]
struct Quiet {
    until: Instant,
    step: Duration,
    declined: bool,
}

/// A yes that counts again.
struct Kept {
    number: u64,
    until: Instant,
    process: Process,
    op: &'static str,
    verb: Verb,
    grants: BTreeSet<String>,
    refs: BTreeSet<String>,
}

/// One process, and all that it was known by.
#[derive(Clone, PartialEq, Eq)]
struct Process {
    uid: u32,
    pid: i32,
    started: u64,
    unit: Option<String>,
    capability: Option<Digest>,
}

impl Process {
    /// `None` where the kernel does not tell one process from a later one of the same number.
    fn of(caller: &Caller) -> Option<Self> {
        Some(Self {
            uid: caller.peer.uid,
            pid: caller.peer.pid,
            started: caller.started?,
            unit: caller.unit.clone(),
            capability: caller.capability,
        })
    }
}

impl Questions {
    /// With somebody who puts them.
    pub fn by(asker: Arc<dyn Asker>) -> Self {
        Self {
            asker: Some(asker),
            ..Self::default()
        }
    }

    /// Asks a person, unless one has said yes to the same process a while ago, or nobody is to be
    /// asked now.
    pub fn ask(&self, wanted: &Wanted<'_>, how: Option<&Confirm>, ends: &Ends<'_>) -> Asked<'_> {
        let Some((asker, how)) = self.asker.as_ref().zip(how) else {
            return Asked::no(Why::NobodyToAsk);
        };
        if let Some(number) = self.kept(wanted, Instant::now()) {
            return Asked {
                outcome: Ok(()),
                answered: Some(Answered::new(Answer::Kept, number)),
                _turn: None,
            };
        }
        let keep = keep_for(wanted, how);
        let question = question(wanted, keep);
        let whose = [Whose::User(wanted.caller.peer.uid)].into_iter();
        let whose: Vec<Whose> = whose
            .chain(wanted.grants.iter().cloned().map(Whose::Grant))
            .collect();
        // In this order: in the quiet whoever asks again and again costs little, and what can't be
        // asked takes nobody's turn.
        if let Some(why) = self.state().quiet_for(&whose, Instant::now()) {
            return Asked::no(why);
        }
        if confirm::text(&question).is_none() {
            return Asked::no(Why::TooMuch);
        }
        let turn = match self.begin(whose, Instant::now()) {
            Ok(turn) => turn,
            Err(why) => return Asked::no(why),
        };
        let said = asker.confirm(&question, how.timeout, ends);
        let now = Instant::now();
        turn.close(said, now);
        if said == Said::Yes {
            self.keep(wanted, &turn, now, keep);
        }
        let (outcome, answer) = match said {
            Said::Yes => (Ok(()), Answer::Confirmed),
            Said::No => (Err(Why::Declined), Answer::Declined),
            Said::Nobody | Said::Left => (Err(Why::Unanswered), Answer::Unanswered),
            Said::Locked => (Err(Why::Locked), Answer::Unanswered),
            Said::Busy => (Err(Why::Asking), Answer::Unanswered),
        };
        Asked {
            outcome,
            answered: Some(Answered::new(answer, turn.number)),
            _turn: Some(turn),
        }
    }

    /// Forgets what was answered: it was about grants that are no more.
    pub fn forget(&self) {
        let mut state = self.state();
        state.config += 1;
        state.kept.clear();
        state.quiet.clear();
    }

    /// Waits until no question is open any more.
    pub fn wait_for_none(&self, limit: Duration) {
        let state = self.state();
        let open = |state: &mut State| !state.open.is_empty();
        let waited = self.ended.wait_timeout_while(state, limit, open);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    fn begin(&self, whose: Vec<Whose>, now: Instant) -> Result<Turn<'_>, Why> {
        let mut state = self.state();
        // How often there was no yes is remembered for a while after the quiet.
        state
            .quiet
            .retain(|_, quiet| now < quiet.until + LONGEST_QUIET);
        if let Some(why) = state.quiet_for(&whose, now) {
            return Err(why);
        }
        let shared = |(_, open): &(u64, Vec<Whose>)| open.iter().any(|one| whose.contains(one));
        let waiting: usize = state.open.iter().map(|(_, open)| open.len()).sum();
        let full = state.quiet.len() + waiting + whose.len() > MAX_QUIET;
        if full || state.open.len() >= MAX_OPEN || state.open.iter().any(shared) {
            return Err(Why::Asking);
        }
        state.last += 1;
        let number = state.last;
        state.open.push((number, whose.clone()));
        Ok(Turn {
            questions: self,
            number,
            whose,
            config: state.config,
        })
    }

    fn kept(&self, wanted: &Wanted<'_>, now: Instant) -> Option<u64> {
        let process = Process::of(wanted.caller)?;
        let refs = refs_of(&wanted.about);
        let mut state = self.state();
        state.kept.retain(|kept| now < kept.until);
        let same = |kept: &&Kept| {
            kept.process == process
                && (kept.op, kept.verb) == (wanted.op, wanted.verb)
                && kept.grants.is_superset(&wanted.grants)
                && kept.refs.is_superset(&refs)
        };
        state.kept.iter().find(same).map(|kept| kept.number)
    }

    fn keep(&self, wanted: &Wanted<'_>, turn: &Turn<'_>, now: Instant, keep: Duration) {
        let mut state = self.state();
        if let Some(process) = Process::of(wanted.caller).filter(|_| !keep.is_zero())
            && state.kept.len() < MAX_KEPT
            && state.config == turn.config
        {
            state.kept.push(Kept {
                number: turn.number,
                until: now + keep,
                process,
                op: wanted.op,
                verb: wanted.verb,
                grants: wanted.grants.clone(),
                refs: refs_of(&wanted.about),
            });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is whole by itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open question.
struct Turn<'a> {
    questions: &'a Questions,
    number: u64,
    whose: Vec<Whose>,
    /// [`State::config`] when it began.
    config: u64,
}

impl Turn<'_> {
    fn close(&self, said: Said, now: Instant) {
        let mut state = self.questions.state();
        for whose in &self.whose {
            match said {
                Said::Yes => drop(state.quiet.remove(whose)),
                // Nobody will be asked any more; or nobody saw the question.
                Said::Locked | Said::Busy => {}
                Said::No | Said::Nobody | Said::Left => {
                    let before = state.quiet.get(whose).map(|quiet| quiet.step * 2);
                    let step = before.map_or(FIRST_QUIET, |step| step.min(LONGEST_QUIET));
                    let quiet = Quiet {
                        until: now + step,
                        step,
                        declined: said == Said::No,
                    };
                    state.quiet.insert(whose.clone(), quiet);
                }
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.questions.state();
        state.open.retain(|(number, _)| *number != self.number);
        drop(state);
        self.questions.ended.notify_all();
    }
}

/// For how long a yes would be kept: not where one process can't be told from another, and not for
/// what changes the vault, of which each time is another.
fn keep_for(wanted: &Wanted<'_>, how: &Confirm) -> Duration {
    match Process::of(wanted.caller) {
        Some(_) if wanted.verb != Verb::Admin => how.keep,
        _ => Duration::ZERO,
    }
}

fn question(wanted: &Wanted<'_>, keep: Duration) -> Question {
    let caller = wanted.caller;
    Question {
        uid: caller.peer.uid,
        pid: caller.peer.pid,
        unit: caller.unit.clone(),
        op: wanted.op.to_owned(),
        verb: wanted.verb.as_str().to_owned(),
        about: wanted.about.clone(),
        grants: wanted.grants.iter().cloned().collect(),
        keep_ms: u64::try_from(keep.as_millis()).unwrap_or(u64::MAX),
    }
}

fn refs_of(about: &About) -> BTreeSet<String> {
    match about {
        About::Refs(refs) => refs.iter().cloned().collect(),
        // The operation says it.
        About::Granted | About::All => BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests;
