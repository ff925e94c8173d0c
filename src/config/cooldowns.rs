//! `auth.cooldowns`: how long a profile that failed is left alone.

use super::wire::Fields;
use crate::profile::cooldown::MAX_WINDOW;
use crate::profile::{Cooldowns, normal_provider};
use std::time::Duration;

const HOUR: f64 = 3600.0;
const MINUTE: f64 = 60.0;

/// Reads the section; unknown keys belong to the runtime that wrote them.
pub(super) fn read(fields: &Fields<'_>) -> Cooldowns {
    let defaults = Cooldowns::default();
    let hours = |key: &str, default| duration(fields, key, HOUR).unwrap_or(default);
    let minutes = |key: &str, default| duration(fields, key, MINUTE).unwrap_or(default);
    let by_provider = fields.object("billingBackoffHoursByProvider");
    let by_provider = by_provider.iter().flat_map(|providers| {
        providers.entries().filter_map(|(provider, _)| {
            Some((
                normal_provider(provider),
                duration(providers, provider, HOUR)?,
            ))
        })
    });
    Cooldowns {
        billing: hours("billingBackoffHours", defaults.billing),
        billing_by_provider: by_provider.collect(),
        billing_max: hours("billingMaxHours", defaults.billing_max),
        auth_permanent: minutes("authPermanentBackoffMinutes", defaults.auth_permanent),
        auth_permanent_max: minutes("authPermanentMaxMinutes", defaults.auth_permanent_max),
        failure_window: hours("failureWindowHours", defaults.failure_window),
    }
}

/// A number of units above zero, fractions allowed, of at most [`MAX_WINDOW`].
fn duration(fields: &Fields<'_>, key: &str, unit: f64) -> Option<Duration> {
    let seconds = fields.value(key)?.as_f64().map(|number| number * unit);
    let duration = seconds
        .filter(|seconds| *seconds > 0.0 && *seconds <= MAX_WINDOW.as_secs_f64())
        .map(Duration::from_secs_f64);
    if duration.is_none() {
        let most = MAX_WINDOW.as_secs_f64() / unit;
        fields.fail(key, format!("is not a number above 0, at most {most}"));
    }
    duration
}
