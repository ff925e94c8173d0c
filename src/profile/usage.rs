//! How a profile has fared: one entry of `usageStats`, and the windows in which it may not be used.
//!
//! The arithmetic that opens windows is in [`super::cooldown`].

use super::entry::whole;
use crate::time::UnixMs;
use serde_json::Value;
use std::collections::BTreeMap;

/// How a profile has fared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// `lastUsed`.
    pub last_used: Option<UnixMs>,
    /// `errorCount`: failures since the counters last started.
    pub error_count: u64,
    /// `failureCounts`: the same by reason, counters above zero.
    pub failure_counts: BTreeMap<String, u64>,
    /// `lastFailureAt`.
    pub last_failure_at: Option<UnixMs>,
    /// `cooldownUntil`.
    pub cooldown_until: Option<UnixMs>,
    /// `cooldownReason`.
    pub cooldown_reason: Option<String>,
    /// `cooldownModel`: the only model that a `rate_limit` or `timeout` cooldown holds for.
    pub cooldown_model: Option<String>,
    /// `disabledUntil`.
    pub disabled_until: Option<UnixMs>,
    /// `disabledReason`.
    pub disabled_reason: Option<String>,
    /// `blockedUntil`: set by runtimes that ask a provider for its own limits, never by us.
    pub blocked_until: Option<UnixMs>,
    /// `blockedReason`.
    pub blocked_reason: Option<String>,
    /// `blockedSource`.
    pub blocked_source: Option<String>,
    /// `blockedModel`.
    pub blocked_model: Option<String>,
}

/// Providers whose profiles never cool down: they spread requests over many vendors themselves.
const NEVER_COOLS: [&str; 2] = ["openrouter", "kilocode"];

/// True if a provider's profiles never cool down.
pub fn never_cools(provider: &str) -> bool {
    NEVER_COOLS.contains(&provider)
}

impl Usage {
    /// Until when the profile is unusable for a model, if that is later than `now`: the latest of
    /// the blocked, cooldown and disabled windows. A cooldown that is scoped to another model does
    /// not count; without a model every window counts.
    pub fn unusable_until(
        &self,
        provider: &str,
        model: Option<&str>,
        now: UnixMs,
    ) -> Option<UnixMs> {
        if never_cools(provider) {
            return None;
        }
        let scoped = matches!(
            self.cooldown_reason.as_deref(),
            Some("rate_limit" | "timeout")
        );
        let bypassed = match (&self.cooldown_model, model) {
            (Some(cooled), Some(model)) => scoped && cooled != model,
            _ => false,
        };
        let cooldown = self.cooldown_until.filter(|_| !bypassed);
        let until = cooldown.max(self.disabled_until).max(self.blocked_until);
        until.filter(|until| *until > now)
    }

    /// True if a disabled window is open, not only a cooldown.
    pub fn is_disabled(&self, now: UnixMs) -> bool {
        self.disabled_until.is_some_and(|until| until > now)
    }

    /// Reads what stands in a file; what is not understood is left out.
    pub fn read(value: &Value) -> Self {
        let time = |key: &str| {
            value
                .get(key)
                .and_then(whole)
                .filter(|ms| *ms > 0)
                .map(UnixMs)
        };
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let counts = value.get("failureCounts").and_then(Value::as_object);
        let counts = counts.into_iter().flatten().filter_map(|(reason, count)| {
            whole(count)
                .filter(|count| *count > 0)
                .map(|count| (reason.clone(), count))
        });
        Self {
            last_used: time("lastUsed"),
            error_count: value.get("errorCount").and_then(whole).unwrap_or(0),
            failure_counts: counts.collect(),
            last_failure_at: time("lastFailureAt"),
            cooldown_until: time("cooldownUntil"),
            cooldown_reason: text("cooldownReason"),
            cooldown_model: text("cooldownModel"),
            disabled_until: time("disabledUntil"),
            disabled_reason: text("disabledReason"),
            blocked_until: time("blockedUntil"),
            blocked_reason: text("blockedReason"),
            blocked_source: text("blockedSource"),
            blocked_model: text("blockedModel"),
        }
    }

    /// Every member as it stands in a file; `None` where there is nothing to say.
    pub fn members(&self) -> [(&'static str, Option<Value>); 13] {
        let time = |at: Option<UnixMs>| at.map(|at| Value::from(at.0));
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let count = (self.error_count > 0).then(|| self.error_count.into());
        let counts = self.failure_counts.iter();
        let counts: serde_json::Map<_, _> = counts
            .map(|(reason, count)| (reason.clone(), Value::from(*count)))
            .collect();
        [
            ("lastUsed", time(self.last_used)),
            ("errorCount", count),
            ("failureCounts", (!counts.is_empty()).then(|| counts.into())),
            ("lastFailureAt", time(self.last_failure_at)),
            ("cooldownUntil", time(self.cooldown_until)),
            ("cooldownReason", text(&self.cooldown_reason)),
            ("cooldownModel", text(&self.cooldown_model)),
            ("disabledUntil", time(self.disabled_until)),
            ("disabledReason", text(&self.disabled_reason)),
            ("blockedUntil", time(self.blocked_until)),
            ("blockedReason", text(&self.blocked_reason)),
            ("blockedSource", text(&self.blocked_source)),
            ("blockedModel", text(&self.blocked_model)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_profile_is_disabled_until_the_window_ends_and_a_cooldown_does_not_disable() {
        let usage = Usage::read(&json!({"disabledUntil": 20, "cooldownUntil": 30}));
        assert!(usage.is_disabled(UnixMs(19)));
        assert!(!usage.is_disabled(UnixMs(20)) && !usage.is_disabled(UnixMs(21)));
        assert!(!Usage::default().is_disabled(UnixMs(0)));
    }

    #[test]
    fn a_time_of_zero_or_a_counter_of_zero_says_nothing() {
        let zeros = json!({"lastUsed": 0, "errorCount": 0, "failureCounts": {"auth": 0, "x": 1}});
        let usage = Usage::read(&zeros);
        assert_eq!((usage.last_used, usage.error_count), (None, 0));
        assert_eq!(usage.failure_counts, [("x".to_owned(), 1)].into());
    }
}
