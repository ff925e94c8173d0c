//! Which snapshot is current, and the state that people are told.
//!
//! ```text
//! sealed ─published▶ active ─failed▶ degraded ─published▶ active (recovered)
//! sealed ─failed▶ failed ─published▶ active (recovered);   any ─sealed▶ sealed
//! ```

use super::{RefFailure, Snapshot};
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How the snapshot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// The vault is locked: there is no snapshot.
    Sealed,
    /// The current snapshot has every required value.
    Active,
    /// The last reload failed and the last good snapshot serves, or a start went on without a
    /// required value.
    Degraded,
    /// No snapshot could be built since the vault was opened.
    Failed,
}

/// A change of state; each is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// The first snapshot serves.
    Activated,
    /// Entered [`State::Degraded`].
    Degraded,
    /// Left [`State::Degraded`] or [`State::Failed`] for [`State::Active`].
    Recovered,
    /// Entered [`State::Failed`].
    Failed,
    /// The vault was locked.
    Sealed,
}

/// The current snapshot and its state.
#[derive(Clone, Debug)]
pub struct Machine {
    state: State,
    since: UnixMs,
    snapshot: Option<Arc<Snapshot>>,
    failures: Vec<RefFailure>,
}

impl Machine {
    /// Sealed.
    pub fn new(now: UnixMs) -> Self {
        Self {
            state: State::Sealed,
            since: now,
            snapshot: None,
            failures: Vec::new(),
        }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// When the state was entered.
    pub fn since(&self) -> UnixMs {
        self.since
    }

    /// The snapshot that serves; a reader holds it for one request.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// What failed last: why the state is not [`State::Active`], or what an active snapshot does
    /// without.
    pub fn failures(&self) -> &[RefFailure] {
        &self.failures
    }

    /// A new snapshot takes over.
    pub fn published(&mut self, snapshot: Snapshot, now: UnixMs) -> Option<Event> {
        let next = if snapshot.lacks_required() {
            State::Degraded
        } else {
            State::Active
        };
        let event = match (self.state, next) {
            (before, next) if before == next => None,
            (State::Sealed, State::Active) => Some(Event::Activated),
            (_, State::Active) => Some(Event::Recovered),
            (_, _) => Some(Event::Degraded),
        };
        self.failures = snapshot.failures().to_vec();
        self.snapshot = Some(Arc::new(snapshot));
        self.enter(next, now);
        event
    }

    /// No new snapshot could be built; the last good one, if there is one, stays whole.
    pub fn failed(&mut self, failures: Vec<RefFailure>, now: UnixMs) -> Option<Event> {
        self.failures = failures;
        let (next, event) = match self.state {
            State::Sealed => (State::Failed, Some(Event::Failed)),
            State::Failed => (State::Failed, None),
            State::Active => (State::Degraded, Some(Event::Degraded)),
            State::Degraded => (State::Degraded, None),
        };
        self.enter(next, now);
        event
    }

    /// The vault was locked: the snapshot goes, its values with the last reader that holds it.
    pub fn sealed(&mut self, now: UnixMs) -> Option<Event> {
        let event = (self.state != State::Sealed).then_some(Event::Sealed);
        self.snapshot = None;
        self.failures = Vec::new();
        self.enter(State::Sealed, now);
        event
    }

    fn enter(&mut self, next: State, now: UnixMs) {
        if self.state != next {
            self.since = now;
        }
        self.state = next;
    }
}
