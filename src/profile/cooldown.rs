//! What a failure does to a profile: how long it cools down, or is disabled.
//!
//! The numbers and rules are those of the OpenClaw family (`Era`). Invariants: a failure never
//! moves the end of a window that is open; a later failure of a series never waits for less than an
//! earlier one; no window that is opened here is longer than [`MAX_WINDOW`] or what the config
//! says. Files and the clock are not here.

use super::usage::{Usage, never_cools};
use crate::time::UnixMs;
use std::collections::BTreeMap;
use std::time::Duration;

/// The longest time that a `Retry-After` counts for: 24 hours.
pub const MAX_RETRY_AFTER: Duration = hours(24);
/// The longest window that the config can ask for: 365 days.
pub const MAX_WINDOW: Duration = hours(365 * 24);
/// No configured window starts shorter than this.
const LEAST_BASE: Duration = Duration::from_secs(60);
/// How often a window doubles at most.
const MAX_DOUBLINGS: u32 = 10;

const fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

/// Why a profile failed, by the family's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureReason {
    /// The credential was refused; it may work later.
    Auth,
    /// The credential was refused for good.
    AuthPermanent,
    /// The request was malformed.
    Format,
    /// The provider is overloaded.
    Overloaded,
    /// Too many requests.
    RateLimit,
    /// The account has no money or quota left.
    Billing,
    /// No answer in time.
    Timeout,
    /// The account has no such model.
    ModelNotFound,
    /// The session has expired.
    SessionExpired,
    /// The answer was empty.
    EmptyResponse,
    /// The provider gave no reason.
    NoErrorDetails,
    /// The reason fits no other.
    Unclassified,
    /// Nobody knows.
    Unknown,
}

impl FailureReason {
    /// Every reason.
    pub const ALL: [FailureReason; 13] = [
        FailureReason::Auth,
        FailureReason::AuthPermanent,
        FailureReason::Format,
        FailureReason::Overloaded,
        FailureReason::RateLimit,
        FailureReason::Billing,
        FailureReason::Timeout,
        FailureReason::ModelNotFound,
        FailureReason::SessionExpired,
        FailureReason::EmptyResponse,
        FailureReason::NoErrorDetails,
        FailureReason::Unclassified,
        FailureReason::Unknown,
    ];

    /// The name in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureReason::Auth => "auth",
            FailureReason::AuthPermanent => "auth_permanent",
            FailureReason::Format => "format",
            FailureReason::Overloaded => "overloaded",
            FailureReason::RateLimit => "rate_limit",
            FailureReason::Billing => "billing",
            FailureReason::Timeout => "timeout",
            FailureReason::ModelNotFound => "model_not_found",
            FailureReason::SessionExpired => "session_expired",
            FailureReason::EmptyResponse => "empty_response",
            FailureReason::NoErrorDetails => "no_error_details",
            FailureReason::Unclassified => "unclassified",
            FailureReason::Unknown => "unknown",
        }
    }

    /// True if a failure with a model says nothing about the account's other models.
    const fn holds_for_one_model(self) -> bool {
        matches!(self, FailureReason::RateLimit | FailureReason::Timeout)
    }
}

/// Which releases of the family the cooldowns follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Era {
    /// 2026.2 to 2026.4: 1, 5, 25 and 60 minutes.
    A,
    /// From 2026.4 on: 30 seconds, 1 minute and 5 minutes.
    #[default]
    B,
}

/// `auth.cooldowns` of the config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cooldowns {
    /// `billingBackoffHours`: the first disabled window after `billing`.
    pub billing: Duration,
    /// `billingBackoffHoursByProvider`; the key in the form of [`super::normal_provider`].
    pub billing_by_provider: BTreeMap<String, Duration>,
    /// `billingMaxHours`.
    pub billing_max: Duration,
    /// `authPermanentBackoffMinutes`: the first disabled window after `auth_permanent`.
    pub auth_permanent: Duration,
    /// `authPermanentMaxMinutes`.
    pub auth_permanent_max: Duration,
    /// `failureWindowHours`: after this long without a failure the counters start again.
    pub failure_window: Duration,
}

impl Default for Cooldowns {
    fn default() -> Self {
        Self {
            billing: hours(5),
            billing_by_provider: BTreeMap::new(),
            billing_max: hours(24),
            auth_permanent: Duration::from_secs(10 * 60),
            auth_permanent_max: hours(1),
            failure_window: hours(24),
        }
    }
}

/// A failure, as a runtime reports it.
#[derive(Clone, Copy, Debug)]
pub struct FailureReport<'a> {
    /// Why.
    pub reason: FailureReason,
    /// The model that was asked for.
    pub model: Option<&'a str>,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    /// The numbers to go by.
    pub era: Era,
}

/// How a profile stands after a failure. A profile of a provider that never cools down stays as it
/// is.
pub fn after_failure(
    before: &Usage,
    provider: &str,
    report: &FailureReport<'_>,
    rules: &Cooldowns,
    now: UnixMs,
) -> Usage {
    if never_cools(provider) {
        return before.clone();
    }
    let mut after = settled(before, now);
    let quiet = after.last_failure_at.map(|last| last.until(now));
    if quiet.is_some_and(|quiet| quiet > rules.failure_window) {
        restart_counters(&mut after);
    }
    let reason = report.reason.as_str();
    after.error_count = after.error_count.saturating_add(1);
    let of_reason = after.failure_counts.entry(reason.to_owned()).or_insert(0);
    *of_reason = of_reason.saturating_add(1);
    let of_reason = *of_reason;
    after.last_failure_at = Some(now);

    let wait = match disabled_for(report.reason, provider, of_reason, rules) {
        Some(wait) => wait,
        None => cooldown_for(report.era, after.error_count),
    };
    let asked = report.retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
    let until = now.plus(wait.max(asked));
    if is_disabling(report.reason) {
        after.disabled_until = after.disabled_until.or(Some(until));
        after.disabled_reason = Some(reason.to_owned());
    } else {
        let was_open = after.cooldown_until.is_some();
        after.cooldown_until = after.cooldown_until.or(Some(until));
        after.cooldown_reason = Some(reason.to_owned());
        let model = report.model.filter(|_| report.reason.holds_for_one_model());
        after.cooldown_model = match (was_open, model) {
            (false, model) => model.map(str::to_owned),
            // A failure of another model, or of none, widens an open window to all of them.
            (true, Some(model)) => after.cooldown_model.filter(|open| open == model),
            (true, None) => None,
        };
    }
    after
}

/// The same without the windows that have passed; once none is left of them, the counters start
/// again (the circuit breaker closes).
pub fn settled(before: &Usage, now: UnixMs) -> Usage {
    let mut after = before.clone();
    let has_passed = |until: Option<UnixMs>| until.is_some_and(|until| until <= now);
    let mut passed = false;
    if has_passed(after.cooldown_until) {
        passed = true;
        after.cooldown_until = None;
        after.cooldown_reason = None;
        after.cooldown_model = None;
    }
    if has_passed(after.disabled_until) {
        passed = true;
        after.disabled_until = None;
        after.disabled_reason = None;
    }
    if has_passed(after.blocked_until) {
        passed = true;
        after.blocked_until = None;
        after.blocked_reason = None;
        after.blocked_source = None;
        after.blocked_model = None;
    }
    let open = [
        after.cooldown_until,
        after.disabled_until,
        after.blocked_until,
    ];
    if passed && open.iter().all(Option::is_none) {
        restart_counters(&mut after);
    }
    after
}

fn restart_counters(usage: &mut Usage) {
    usage.error_count = 0;
    usage.failure_counts.clear();
}

const fn is_disabling(reason: FailureReason) -> bool {
    matches!(
        reason,
        FailureReason::Billing | FailureReason::AuthPermanent
    )
}

/// How long the `n`th failure of a series (from 1) makes a profile cool down.
pub fn cooldown_for(era: Era, n: u64) -> Duration {
    let seconds = match (era, n) {
        (Era::A, 0 | 1) => 60,
        (Era::A, 2) => 5 * 60,
        (Era::A, 3) => 25 * 60,
        (Era::A, _) => 60 * 60,
        (Era::B, 0 | 1) => 30,
        (Era::B, 2) => 60,
        (Era::B, _) => 5 * 60,
    };
    Duration::from_secs(seconds)
}

/// How long the `n`th failure of a series for this reason (from 1) disables a profile; `None` if
/// the reason disables none.
pub fn disabled_for(
    reason: FailureReason,
    provider: &str,
    n: u64,
    rules: &Cooldowns,
) -> Option<Duration> {
    let (base, max) = match reason {
        FailureReason::Billing => {
            let own = rules.billing_by_provider.get(provider).copied();
            (own.unwrap_or(rules.billing), rules.billing_max)
        }
        FailureReason::AuthPermanent => (rules.auth_permanent, rules.auth_permanent_max),
        _ => return None,
    };
    let base = base.max(LEAST_BASE);
    let doublings = u32::try_from(n.saturating_sub(1)).unwrap_or(u32::MAX);
    let wait = base.saturating_mul(1 << doublings.min(MAX_DOUBLINGS));
    Some(wait.min(max.max(base)))
}

#[cfg(test)]
mod tests;
