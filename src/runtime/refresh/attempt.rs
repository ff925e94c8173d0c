//! Steps 3 and 4: the intent, and the one request.

use super::backoff::LOST_PAUSE;
use super::flights::{Landed, Sending};
use super::held::{Held, sign_in_needed};
use super::{MAX_SENDS, Runtime};
use crate::error::{Code, Failure};
use crate::oauth::{Account, RefreshToken, Refusal, SignInReason, read_grant, refresh_request};
use crate::store::{LockKey, SpoolRoom};
use crate::sys::defer::Deferred;
use crate::sys::{clock, random};
use crate::time::UnixMs;
use crate::vault::{Change, Expect, Intent, Outcome, RecordId};
use std::time::Duration;

/// A refresh token that is being sent, and everything that its answer needs.
pub(super) struct Attempt<'a> {
    pub id: RecordId,
    /// The account as it stood; its refresh token is the one that is sent.
    pub account: Account,
    pub refresh: RefreshToken,
    pub intent: Intent,
    /// The version of the record that the intent was made for.
    pub version: u64,
    /// How often the token had been sent before, without an answer.
    pub sent_before: usize,
    pub key: LockKey,
    pub room: SpoolRoom,
    /// When the request left.
    pub asked_at: UnixMs,
    _sending: Sending<'a>,
    _deferred: Option<Deferred>,
}

/// What an answer means for the token that was sent.
enum Answered {
    /// Its successor.
    Granted(Box<Account>),
    /// The server refused; the token is as good as before, or refused for good.
    Refused(Refusal),
    /// Nothing was sent.
    NotSent(Failure),
    /// Nobody knows.
    Lost(Failure),
}

impl Runtime {
    /// Refreshes an account whose lock is held.
    pub(super) fn attempt(&self, now: Held, key: LockKey) -> Landed {
        let refresh = now.refresh_token()?.clone();
        let sent = now.unanswered.len();
        if sent >= MAX_SENDS || (sent > 0 && !now.account.owned) {
            return Err(self.give_up(&now, SignInReason::Lost));
        }
        let name = now.name().clone();
        let mut attempt = self.begin(now, refresh, key)?;
        let mut answered = self.send(&attempt);
        // Who the client is was asked before the token was looked at, so it is unused.
        if matches!(answered, Answered::Refused(Refusal::ClientInvalid))
            && let Some(client) = self.client_now(&attempt.account)
        {
            self.end(&attempt, Outcome::Refused);
            drop(attempt);
            let mut now = self.held_account(&name)?;
            now.account.client = client;
            let refresh = now.refresh_token()?.clone();
            attempt = self.begin(now, refresh, key)?;
            answered = self.send(&attempt);
        }
        match answered {
            Answered::Granted(account) => self.keep(attempt, &name, *account),
            Answered::Refused(refusal) => Err(self.refused(&attempt, &name, refusal)),
            Answered::NotSent(failure) => {
                self.end(&attempt, Outcome::NotSent);
                Err(self.remember(&attempt, named(&name, &failure), None, Duration::ZERO))
            }
            Answered::Lost(failure) => Err(self.lost(&attempt, &name, &failure)),
        }
    }

    /// Step 3: what can fail, fails here, with the token unsent.
    fn begin(
        &self,
        now: Held,
        refresh: RefreshToken,
        key: LockKey,
    ) -> Result<Attempt<'_>, Failure> {
        let spool = self.with_vault(|vault| Ok(vault.spool()))?;
        let room = spool.reserve(key)?;
        let sending = self.refreshing.flights.begin_sending()?;
        let deferred = self.refreshing.defer_signals.then(Deferred::begin);
        let mut attempt = [0; 16];
        random::fill(&mut attempt);
        let change = Change::Intent {
            name: now.name().clone(),
            attempt,
            refresh_token: refresh.secret().clone(),
            expect: Expect::Version(now.record.version),
        };
        let intent = self.with_vault(|vault| {
            vault.commit(vec![change])?;
            let open = vault.vault().intents_of(now.name()).into_iter();
            open.rev()
                .find(|open| open.attempt == attempt)
                .ok_or_else(|| Failure::new(Code::Bug, "an intent that was stored is gone"))
        })?;
        Ok(Attempt {
            id: now.id,
            refresh,
            intent,
            version: now.record.version,
            sent_before: now.unanswered.len(),
            key,
            room,
            asked_at: clock::now(),
            account: now.account,
            _sending: sending,
            _deferred: deferred,
        })
    }

    /// Step 4.
    fn send(&self, attempt: &Attempt<'_>) -> Answered {
        let client = &attempt.account.client;
        let request = refresh_request(client, &attempt.refresh);
        let answer = match self.refreshing.http.send(&request) {
            Ok(answer) => answer,
            Err(error) if error.nothing_sent() => return Answered::NotSent(error.into()),
            Err(error) => return Answered::Lost(error.into()),
        };
        match read_grant(&answer, client.dialect) {
            Ok(grant) => {
                let account = attempt.account.renewed(grant, attempt.asked_at);
                Answered::Granted(Box::new(account))
            }
            // It was granted, and what was granted can't be read.
            Err(refusal @ Refusal::Invalid(_)) if answer.is_success() => {
                Answered::Lost(refusal.into())
            }
            Err(refusal) => Answered::Refused(refusal),
        }
    }

    fn refused(
        &self,
        attempt: &Attempt<'_>,
        name: &crate::name::RecordName,
        refusal: Refusal,
    ) -> Failure {
        let retry_after = match refusal {
            Refusal::Permanent(reason) => {
                // After a lost answer the refusal says only what was to be feared.
                let reason = match attempt.sent_before {
                    0 => SignInReason::Refused(reason),
                    _ => SignInReason::Lost,
                };
                self.mark(attempt, reason);
                return sign_in_needed(name, reason);
            }
            Refusal::Transient { retry_after, .. } => retry_after,
            Refusal::SlowDown(interval) => interval,
            _ => None,
        };
        self.end(attempt, Outcome::Refused);
        let failure = named(name, &refusal.into());
        self.remember(attempt, failure, retry_after, Duration::ZERO)
    }

    /// The answer is lost. The intent stays open and says so to whoever comes next.
    fn lost(
        &self,
        attempt: &Attempt<'_>,
        name: &crate::name::RecordName,
        why: &Failure,
    ) -> Failure {
        if attempt.sent_before + 1 >= MAX_SENDS || !attempt.account.owned {
            self.mark(attempt, SignInReason::Lost);
            return sign_in_needed(name, SignInReason::Lost);
        }
        let text = format!(
            "{name}: a refresh was sent and its answer was lost ({}); the token is tried once more",
            why.message
        );
        let failure = Failure::new(Code::OAuthUnavailable, text);
        self.remember(attempt, failure, None, LOST_PAUSE)
    }

    /// Notes a failure that may pass.
    fn remember(
        &self,
        attempt: &Attempt<'_>,
        failure: Failure,
        retry_after: Option<Duration>,
        pause: Duration,
    ) -> Failure {
        let mut seed = [0; 8];
        random::fill(&mut seed);
        let now = (clock::boottime(), u64::from_le_bytes(seed));
        let record = (attempt.id, attempt.version);
        let backoffs = &self.refreshing.backoffs;
        backoffs.failed(record, &failure, (retry_after, pause), now);
        failure
    }
}

/// A failure with the name of the record in front.
fn named(name: &crate::name::RecordName, failure: &Failure) -> Failure {
    Failure::new(failure.code, format!("{name}: {}", failure.message))
}
