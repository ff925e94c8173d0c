//! A fresh access token, refreshed if it must be: the one place that sends a refresh token.
//!
//! **A rotating refresh token is sent at most once, and its successor is durable before anyone uses
//! it.** Six steps, across all processes:
//!
//! 1. the record's lock ([`crate::store::RecordLocks`]); inside a process one refresh for each
//!    record ([`flights`]), and everybody else waits for its outcome;
//! 2. read the vault again: who waited for the lock takes what the winner stored;
//! 3. room on the disk for the answer, then an *intent*, durable before anything is sent;
//! 4. send, once; what was sent runs to its end, whoever goes away ([`attempt`]);
//! 5. the answer into the vault, with the end of the intent, in one commit ([`keep`]);
//! 6. publish, let go.
//!
//! An open intent says that a token was sent and that nobody knows what came of it. The next holder
//! sends that token once more ([`MAX_SENDS`]), because some servers allow it, and asks for a new
//! sign-in if it is refused.
//!
//! Invariants: neither the vault's mutex nor the writer lock is held while anything is sent; the
//! lock of a record comes before the writer lock; a failure of one account is its own.

mod attempt;
mod backoff;
mod client;
mod flights;
mod held;
mod keep;
mod network;
mod renewal;
mod sign_out;
#[cfg(test)]
mod tests;

pub use network::Network;
pub use renewal::{Due, Renewal};

use self::backoff::Backoffs;
use self::flights::{Flights, Joined, Landed};
use self::held::Held;
use self::keep::{PutBy, Unsaved};
use super::local::{Runtime, held as locked};
use super::open_vault::OpenVault;
use super::service::TokenInfo;
use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::net::Http;
use crate::oauth::AccessToken;
use crate::secret::SecretValue;
use crate::store::{LockKey, RECORD_LOCK_TIMEOUT, RecordLock};
use crate::sys::clock;
use crate::vault::{Change, Meta, Outcome, RecordId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often one refresh token may be sent without an answer: the first time, and once more by
/// whoever finds that the answer was lost.
pub const MAX_SENDS: usize = 2;
/// How long a lock waits for a refresh that is under way: longer than a request may take, and its
/// storing.
pub const STOP_LIMIT: Duration = Duration::from_secs(45);
/// How often a refresh starts over because somebody changed the record meanwhile.
const MAX_ROUNDS: usize = 4;

/// An access token and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The token.
    pub access: AccessToken,
    /// Whose it is and how long it is valid.
    pub info: TokenInfo,
}

/// How long an access token must be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// Whatever the record holds, without the network: for a snapshot that is kept up to date.
    Any,
    /// Not ended yet.
    Alive,
    /// The provider's margin and this much; nine tenths of its lifetime count as enough.
    Fresh(Duration),
}

/// What is wanted of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// How long the token must be valid.
    pub ttl: Ttl,
    /// A new token, whatever the old one is good for: the provider's API refused it.
    pub force: bool,
}

impl Want {
    /// A token that can be given out.
    pub const FRESH: Want = Want {
        ttl: Ttl::Fresh(Duration::ZERO),
        force: false,
    };
    /// A token that has not ended.
    pub const ALIVE: Want = Want {
        ttl: Ttl::Alive,
        force: false,
    };
    /// What the record holds.
    pub const ANY: Want = Want {
        ttl: Ttl::Any,
        force: false,
    };
}

/// What a runtime needs to refresh.
pub(super) struct Refreshing {
    http: Arc<dyn Http>,
    /// Signals that would end the process wait until an answer is stored.
    defer_signals: bool,
    flights: Flights,
    backoffs: Backoffs,
    /// Answers that neither the vault nor the spool took.
    unsaved: Mutex<HashMap<RecordId, Unsaved>>,
}

impl Refreshing {
    pub(super) fn new(http: Arc<dyn Http>) -> Self {
        Self {
            http,
            defer_signals: false,
            flights: Flights::default(),
            backoffs: Backoffs::default(),
            unsaved: Mutex::default(),
        }
    }

    pub(super) fn set_http(&mut self, http: Arc<dyn Http>) {
        self.http = http;
    }

    pub(super) fn defer_signals(&mut self) {
        self.defer_signals = true;
    }

    /// Lets refreshes begin again after a lock.
    pub(super) fn resume(&self) {
        self.flights.resume();
    }
}

/// The metadata of a record that holds a fresh sign-in.
///
/// # Errors
/// `input.invalid` if the value is no account.
pub(super) fn meta_of_value(
    name: &RecordName,
    meta: &Meta,
    value: &SecretValue,
) -> Result<Meta, Failure> {
    let account = held::account_of(name, value)
        .map_err(|failure| Failure::new(Code::InputInvalid, failure.message))?;
    Ok(held::meta_of(meta, &account, None))
}

/// The ends of all attempts to refresh a record that gets a new sign-in.
pub(super) fn settled(vault: &OpenVault, name: &RecordName) -> Vec<Change> {
    keep::ends(vault, name, |_| Outcome::Settled)
}

impl Runtime {
    /// An access token of an OAuth record, refreshed if it is not what is wanted. A token that is
    /// less than wanted but valid is given while it can't be refreshed, unless the caller forces.
    ///
    /// # Errors
    /// `record.absent`; `ref.invalid` if the record holds no account; `oauth.sign_in_needed`, from
    /// then on without the network, until somebody signs in; `oauth.unavailable` and other `oauth`
    /// codes; `vault.busy` if another process refreshes for longer than a minute; `vault.*`.
    pub fn token(&self, name: &RecordName, want: &Want) -> Result<Token, Failure> {
        let seen = self.held_account(name)?;
        let unsaved = locked(&self.refreshing.unsaved).contains_key(&seen.id);
        if !unsaved && let Some(outcome) = self.at_hand(&seen, want) {
            return outcome;
        }
        let outcome = match self.refreshing.flights.join(name) {
            Joined::Follower(landed) => landed,
            Joined::Leader(flight) => {
                let landed = self.refresh_account(&seen, want);
                flight.land(&landed);
                landed
            }
        };
        outcome.or_else(|failure| {
            let serves = !want.force && seen.may_serve(want.ttl, clock::now());
            if serves && failure.code != Code::VaultSealed {
                return Ok(seen.token());
            }
            Err(failure)
        })
    }

    /// [`Runtime::token`], if it takes no refresh.
    pub(super) fn token_at_hand(&self, name: &RecordName, want: &Want) -> Option<Landed> {
        let seen = match self.held_account(name) {
            Ok(seen) => seen,
            Err(failure) => return Some(Err(failure)),
        };
        let unsaved = locked(&self.refreshing.unsaved).contains_key(&seen.id);
        (!unsaved).then(|| self.at_hand(&seen, want)).flatten()
    }

    /// Begins no further refresh, and waits for those that run, at most [`STOP_LIMIT`].
    pub(super) fn stop_refreshing(&self) {
        self.refreshing.flights.stop(STOP_LIMIT);
        self.save_what_is_unsaved();
    }

    /// What is answered without a refresh: also a failure that is remembered.
    fn at_hand(&self, seen: &Held, want: &Want) -> Option<Landed> {
        let now = clock::now();
        if let Some(outcome) = seen.at_hand(want, now) {
            return Some(outcome);
        }
        let backoff = &self.refreshing.backoffs;
        let failure = backoff.current(&seen.id, seen.record.version, clock::boottime())?;
        if !want.force && seen.may_serve(want.ttl, now) {
            return Some(Ok(seen.token()));
        }
        Some(Err(failure))
    }

    /// The record as the vault has it now.
    fn held_account(&self, name: &RecordName) -> Result<Held, Failure> {
        self.with_vault(|vault| {
            vault.catch_up()?;
            Held::read(vault, name)
        })
    }

    /// Steps 1 and 2; then the rest under the record's lock.
    fn refresh_account(&self, seen: &Held, want: &Want) -> Landed {
        let mut key = seen.lock_key();
        let mut lock = self.lock_account(key)?;
        for _ in 0..MAX_ROUNDS {
            let now = self.held_account(seen.name())?;
            if now.lock_key() != key {
                // Another account stands there now, or it is known by now whose it is. Never two
                // locks at a time: two processes could wait for each other.
                key = now.lock_key();
                drop(lock);
                lock = self.lock_account(key)?;
                continue;
            }
            if let Some(outcome) = self.adopt(seen, &now, key, want)? {
                return Ok(outcome);
            }
            match self.attempt(now, key) {
                // Somebody changed the record between the reading and the intent.
                Err(failure) if failure.code == Code::VaultConflict => {}
                landed => return landed,
            }
        }
        let text = format!("{}: it keeps changing while it is refreshed", seen.name());
        Err(Failure::new(Code::VaultConflict, text))
    }

    fn lock_account(&self, key: LockKey) -> Result<RecordLock, Failure> {
        let locks = self.with_vault(|vault| Ok(vault.record_locks()))?;
        let stopping = || self.refreshing.flights.is_stopping();
        Ok(locks.take(key, RECORD_LOCK_TIMEOUT, &stopping)?)
    }

    /// Takes what is there already: an answer that was put by, or what a winner stored.
    fn adopt(
        &self,
        seen: &Held,
        now: &Held,
        key: LockKey,
        want: &Want,
    ) -> Result<Option<Token>, Failure> {
        let put_by = match self.adopt_put_by(now, key)? {
            PutBy::Nothing => None,
            PutBy::Stored(held) => Some(held),
            PutBy::Waits(account, failure) => {
                let waiting = Held {
                    account: *account,
                    ..now.clone()
                };
                let suits = waiting.suits(want.ttl, clock::now());
                return if suits {
                    Ok(Some(waiting.token()))
                } else {
                    Err(failure)
                };
            }
        };
        let newer = put_by.as_deref().unwrap_or(now);
        if newer.record.version == seen.record.version {
            return self.at_hand(newer, want).transpose();
        }
        let known = !seen.account.identity.is_unknown();
        if known && !seen.account.identity_matches(&newer.account) {
            let text = format!("{}: another account signed in meanwhile", seen.name());
            return Err(Failure::new(Code::VaultConflict, text));
        }
        // Whoever forced wanted another token than the one that it saw, and this is one.
        let want = Want {
            force: false,
            ..*want
        };
        let other = seen.account.access != newer.account.access;
        let suits = other && newer.suits(want.ttl, clock::now());
        Ok(suits.then(|| newer.token()))
    }
}
