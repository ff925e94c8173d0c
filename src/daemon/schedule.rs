//! When which account's token is renewed ahead of its end. No clock, no thread: both are the
//! server's.
//!
//! Invariants: at most [`MAX_RENEWALS`] run at once, [`MAX_OF_PROVIDER`] of one provider, so that
//! one that stalls leaves room for the others; two never start within [`SPACING`]; a token is due
//! at the earlier of two points, one of the wall clock and one of the clock that nobody can set,
//! so neither a suspend nor a clock that is set makes it late.

use crate::name::RecordName;
use crate::oauth::freshness::{MAX_BACKOFF, backoff, due_at};
use crate::runtime::refresh::{Due, Renewal};
use crate::time::UnixMs;
use std::collections::HashMap;
use std::time::Duration;

/// The most renewals at the same time.
pub const MAX_RENEWALS: usize = 8;
/// The most renewals of one provider's accounts at the same time.
pub const MAX_OF_PROVIDER: usize = 4;
/// Between the starts of two renewals: what piled up during a suspend is not sent all at once.
pub const SPACING: Duration = Duration::from_millis(100);
/// Before an account that was renewed is looked at again if its record has not changed.
const SETTLE: Duration = Duration::from_secs(60);

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub wall: UnixMs,
    /// The time since the system started, suspend included.
    pub boot: Duration,
}

/// When to look again: whichever comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Next {
    /// On the wall clock.
    pub wall: Option<UnixMs>,
    /// On the clock that counts suspend.
    pub boot: Option<Duration>,
}

/// Every account, and when it is due.
#[derive(Default)]
pub struct Schedule {
    accounts: HashMap<RecordName, Entry>,
    last_start: Option<Duration>,
}

struct Entry {
    account: Due,
    wall: UnixMs,
    boot: Duration,
    failures: u32,
    running: bool,
}

impl Entry {
    fn is_due(&self, now: Now) -> bool {
        !self.running && (now.wall >= self.wall || now.boot >= self.boot)
    }

    fn wait(&mut self, pause: Duration, now: Now) {
        self.wall = now.wall.plus(pause);
        self.boot = now.boot.saturating_add(pause);
    }
}

impl Schedule {
    /// Takes the accounts that there are now. `seed` gives a number for each new token: its jitter.
    pub fn update(&mut self, accounts: Vec<Due>, now: Now, seed: &mut dyn FnMut() -> u64) {
        let mut before = std::mem::take(&mut self.accounts);
        for account in accounts {
            let old = before.remove(&account.name);
            let entry = match old {
                Some(old) if old.running || old.account.version == account.version => old,
                _ => entry(account, now, seed()),
            };
            self.accounts.insert(entry.account.name.clone(), entry);
        }
        let running = before.into_iter().filter(|(_, entry)| entry.running);
        self.accounts.extend(running);
    }

    /// The accounts to renew now; they count as running until [`Schedule::finish`].
    pub fn start(&mut self, now: Now) -> Vec<Due> {
        let mut started = Vec::new();
        if self.spacing_left(now).is_some() {
            return started;
        }
        if let Some(name) = self.most_urgent(now)
            && let Some(entry) = self.accounts.get_mut(&name)
        {
            entry.running = true;
            self.last_start = Some(now.boot);
            started.push(entry.account.clone());
        }
        started
    }

    /// A renewal came to its end. True if a person should hear of it: the first failure in a row,
    /// or the need to sign in.
    pub fn finish(&mut self, name: &RecordName, renewal: &Renewal, now: Now, seed: u64) -> bool {
        let Some(entry) = self.accounts.get_mut(name) else {
            return false;
        };
        entry.running = false;
        match renewal {
            Renewal::Done => {
                entry.failures = 0;
                entry.wait(SETTLE, now);
                false
            }
            Renewal::SignIn => {
                entry.wait(MAX_BACKOFF, now);
                true
            }
            Renewal::Failed(_) => {
                entry.failures = entry.failures.saturating_add(1);
                let first = entry.failures == 1;
                entry.wait(backoff(entry.failures, None, seed), now);
                first
            }
            Renewal::Gone => {
                self.accounts.remove(name);
                false
            }
        }
    }

    /// When to look again, if nothing comes to its end before.
    pub fn next(&self, now: Now) -> Next {
        if self.running() >= MAX_RENEWALS {
            return Next::default();
        }
        let waiting: Vec<&Entry> = self.accounts.values().filter(|e| self.may_run(e)).collect();
        if waiting.iter().any(|entry| entry.is_due(now)) {
            let left = self.spacing_left(now).unwrap_or_default();
            let boot = Some(now.boot.saturating_add(left));
            return Next { wall: None, boot };
        }
        Next {
            wall: waiting.iter().map(|entry| entry.wall).min(),
            boot: waiting.iter().map(|entry| entry.boot).min(),
        }
    }

    fn running(&self) -> usize {
        self.accounts.values().filter(|entry| entry.running).count()
    }

    /// True for an account that waits for nothing but its time.
    fn may_run(&self, entry: &Entry) -> bool {
        let provider = &entry.account.provider;
        let of_provider = |other: &&Entry| other.running && other.account.provider == *provider;
        let running = self.accounts.values().filter(of_provider).count();
        !entry.running && running < MAX_OF_PROVIDER
    }

    fn most_urgent(&self, now: Now) -> Option<RecordName> {
        if self.running() >= MAX_RENEWALS {
            return None;
        }
        let due = self.accounts.values().filter(|entry| entry.is_due(now));
        let urgent = due
            .filter(|entry| self.may_run(entry))
            .min_by_key(|entry| (entry.account.expires_at, entry.account.name.clone()));
        urgent.map(|entry| entry.account.name.clone())
    }

    fn spacing_left(&self, now: Now) -> Option<Duration> {
        let next = self.last_start?.saturating_add(SPACING);
        next.checked_sub(now.boot).filter(|left| !left.is_zero())
    }
}

fn entry(account: Due, now: Now, seed: u64) -> Entry {
    let wall = due_at(account.obtained_at, account.expires_at, seed);
    // A clock that was set back since the token came would make the wait longer than it ever was.
    let whole = account.obtained_at.until(wall);
    let wait = now.wall.until(wall).min(whole);
    Entry {
        account,
        wall,
        boot: now.boot.saturating_add(wait),
        failures: 0,
        running: false,
    }
}

#[cfg(test)]
mod tests;
