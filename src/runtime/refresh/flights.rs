//! One refresh at a time for each record of this process: who comes later waits for its outcome.
//!
//! Invariants: a flight that was begun always lands, also if its thread panics; once
//! [`Flights::stop`] was called nothing more is sent, and it returns when what was sent is stored.

use super::Token;
use crate::error::{Code, Failure};
use crate::name::RecordName;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a flight ends with.
pub(super) type Landed = Result<Token, Failure>;

/// The refreshes that run.
#[derive(Default)]
pub(super) struct Flights {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    running: HashMap<RecordName, Arc<Mutex<Option<Landed>>>>,
    /// Refreshes between their intent and their end.
    sending: usize,
    stopping: bool,
}

/// What a caller becomes.
pub(super) enum Joined<'a> {
    /// The one who refreshes.
    Leader(Flight<'a>),
    /// One who waited for the leader.
    Follower(Landed),
}

/// A refresh that this caller leads.
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    name: RecordName,
    outcome: Arc<Mutex<Option<Landed>>>,
}

/// A token is on its way: the vault stays open until this is dropped.
pub(super) struct Sending<'a>(&'a Flights);

impl Flights {
    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is complete by itself, also if a thread panics later.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leads the refresh of a record, or waits for the one that runs.
    pub fn join(&self, name: &RecordName) -> Joined<'_> {
        let mut state = self.state();
        let Some(running) = state.running.get(name).cloned() else {
            let outcome = Arc::default();
            state.running.insert(name.clone(), Arc::clone(&outcome));
            return Joined::Leader(Flight {
                flights: self,
                name: name.clone(),
                outcome,
            });
        };
        loop {
            if let Some(landed) = held(&running).clone() {
                return Joined::Follower(landed);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says that a token is about to be sent.
    ///
    /// # Errors
    /// `vault.sealed` if the vault is being locked.
    pub fn begin_sending(&self) -> Result<Sending<'_>, Failure> {
        let mut state = self.state();
        if state.stopping {
            return Err(Failure::new(Code::VaultSealed, "the vault is being locked"));
        }
        state.sending += 1;
        Ok(Sending(self))
    }

    /// True if nothing more is to be begun.
    pub fn is_stopping(&self) -> bool {
        self.state().stopping
    }

    /// Lets nothing more be sent, and waits until what was sent is stored, at most `limit`.
    pub fn stop(&self, limit: Duration) {
        let mut state = self.state();
        state.stopping = true;
        let waited = self
            .changed
            .wait_timeout_while(state, limit, |state| state.sending > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Lets tokens be sent again.
    pub fn resume(&self) {
        self.state().stopping = false;
    }
}

impl Flight<'_> {
    /// Ends the flight: this is what those who wait are told too.
    pub fn land(self, outcome: &Landed) {
        *held(&self.outcome) = Some(outcome.clone());
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let panicked = || {
            Err(Failure::new(
                Code::Bug,
                "a refresh ended without an outcome",
            ))
        };
        held(&self.outcome).get_or_insert_with(panicked);
        self.flights.state().running.remove(&self.name);
        self.flights.changed.notify_all();
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.state().sending -= 1;
        self.0.changed.notify_all();
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::AccessToken;
    use crate::runtime::service::TokenInfo;
    use crate::secret::SecretValue;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn name(text: &str) -> RecordName {
        text.parse().unwrap()
    }

    fn token(text: &str) -> Token {
        Token {
            access: AccessToken::from(SecretValue::copy_of(text.as_bytes())),
            info: TokenInfo {
                name: name("a"),
                expires_at: None,
                account_id: None,
                email: None,
                token_type: "Bearer".to_owned(),
            },
        }
    }

    #[test]
    fn one_leads_and_all_others_get_its_outcome() {
        const CALLERS: usize = 16;
        let (flights, started) = (Flights::default(), Barrier::new(CALLERS));
        let leaders = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    started.wait();
                    match flights.join(&name("a")) {
                        Joined::Leader(flight) => {
                            leaders.fetch_add(1, Ordering::SeqCst);
                            // Another record is not held up.
                            assert!(matches!(flights.join(&name("b")), Joined::Leader(_)));
                            flight.land(&Ok(token("new")));
                        }
                        Joined::Follower(landed) => assert_eq!(landed, Ok(token("new"))),
                    }
                });
            }
        });
        // Whoever comes after a landing leads a flight of its own.
        assert!((1..=CALLERS).contains(&leaders.load(Ordering::SeqCst)));
        assert!(matches!(flights.join(&name("a")), Joined::Leader(_)));
    }

    #[test]
    fn a_leader_that_panics_leaves_nobody_waiting() {
        let flights = Flights::default();
        let Joined::Leader(flight) = flights.join(&name("a")) else {
            panic!("nobody else leads");
        };
        std::thread::scope(|scope| {
            let follower = scope.spawn(|| flights.join(&name("a")));
            drop(flight);
            // It waited, or it came too late and leads.
            match follower.join().unwrap() {
                Joined::Follower(landed) => assert_eq!(landed.unwrap_err().code, Code::Bug),
                Joined::Leader(_) => {}
            }
        });
    }

    #[test]
    fn stopping_waits_for_what_was_sent_and_lets_nothing_more_be_sent() {
        let flights = Flights::default();
        let sending = flights.begin_sending().unwrap();
        flights.stop(Duration::ZERO);
        assert!(flights.is_stopping());
        assert_eq!(
            flights.begin_sending().err().unwrap().code,
            Code::VaultSealed
        );
        std::thread::scope(|scope| {
            let stopping = scope.spawn(|| flights.stop(Duration::from_secs(600)));
            drop(sending);
            stopping.join().unwrap();
        });
        flights.resume();
        flights.begin_sending().unwrap();
    }
}
