//! Failures that may pass: remembered for each account, so that an issuer in trouble is left alone.
//!
//! In memory only: a command reports and ends, the daemon lives as long as it matters.

use crate::error::Failure;
use crate::oauth::freshness;
use crate::vault::RecordId;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The least wait after an answer that was lost: the one more time that the token may be sent
/// should find a server that has recovered.
pub const LOST_PAUSE: Duration = Duration::from_secs(60);

/// What is remembered of one account.
struct Backoff {
    /// The version of the record that failed: another one starts anew.
    version: u64,
    failures: u32,
    /// On the clock that counts suspend.
    until: Duration,
    failure: Failure,
}

/// What is remembered of all accounts.
#[derive(Default)]
pub(super) struct Backoffs(Mutex<HashMap<RecordId, Backoff>>);

impl Backoffs {
    fn all(&self) -> MutexGuard<'_, HashMap<RecordId, Backoff>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The failure that is still to be waited out.
    pub fn current(&self, id: &RecordId, version: u64, now: Duration) -> Option<Failure> {
        let all = self.all();
        let backoff = all.get(id).filter(|backoff| backoff.version == version)?;
        let left = backoff
            .until
            .checked_sub(now)
            .filter(|left| !left.is_zero())?;
        let text = format!(
            "{}; tried again in {} s at the earliest",
            backoff.failure.message,
            left.as_secs() + 1
        );
        Some(Failure::new(backoff.failure.code, text))
    }

    /// One more failure; waits at least `pause`.
    pub fn failed(
        &self,
        (id, version): (RecordId, u64),
        failure: &Failure,
        (retry_after, pause): (Option<Duration>, Duration),
        (now, seed): (Duration, u64),
    ) {
        let mut all = self.all();
        let before = all.get(&id).filter(|backoff| backoff.version == version);
        let failures = before.map_or(1, |backoff| backoff.failures.saturating_add(1));
        let wait = freshness::backoff(failures, retry_after, seed).max(pause);
        let backoff = Backoff {
            version,
            failures,
            until: now.saturating_add(wait),
            failure: failure.clone(),
        };
        all.insert(id, backoff);
    }

    /// It works again.
    pub fn forget(&self, id: &RecordId) {
        self.all().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    const ID: RecordId = RecordId([1; 16]);
    const NOW: Duration = Duration::from_secs(1000);

    #[test]
    fn a_failure_is_waited_out_and_no_longer() {
        let backoffs = Backoffs::default();
        let failure = Failure::new(Code::OAuthUnavailable, "503");
        let asked = Duration::from_secs(60);
        backoffs.failed((ID, 7), &failure, (Some(asked), Duration::ZERO), (NOW, 3));
        let soon = NOW + Duration::from_secs(59);
        let current = backoffs.current(&ID, 7, soon).unwrap();
        assert_eq!(current.code, Code::OAuthUnavailable);
        assert!(current.message.starts_with("503; tried again in "));
        assert_eq!(backoffs.current(&ID, 7, NOW + 2 * asked), None);
        // A new sign-in is a new version, and another account another record.
        assert_eq!(backoffs.current(&ID, 8, soon), None);
        assert_eq!(backoffs.current(&RecordId([2; 16]), 7, soon), None);
        backoffs.forget(&ID);
        assert_eq!(backoffs.current(&ID, 7, soon), None);
    }

    #[test]
    fn each_failure_waits_longer() {
        let backoffs = Backoffs::default();
        let failure = Failure::new(Code::OAuthUnavailable, "503");
        let mut last = Duration::ZERO;
        for _ in 0..5 {
            backoffs.failed((ID, 7), &failure, (None, Duration::ZERO), (NOW, 3));
            let until = backoffs.all()[&ID].until;
            assert!(until > last);
            last = until;
        }
        let pause = Duration::from_secs(9000);
        backoffs.failed((ID, 7), &failure, (None, pause), (NOW, 3));
        assert_eq!(backoffs.all()[&ID].until, NOW + pause);
    }
}
