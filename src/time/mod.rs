//! Points in time and durations as the file formats and the command line write them.
//!
//! The clock itself is not here: `now` is an argument of everything below the purity wall.
#![forbid(unsafe_code)]

pub mod when;

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A point in time, in milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// Milliseconds from `self` to `later`, or zero if `later` is earlier.
    pub fn until(self, later: UnixMs) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }

    /// This point plus a duration; saturates.
    pub fn plus(self, duration: Duration) -> UnixMs {
        UnixMs(
            self.0
                .saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// The longest duration that the command line takes: ten years.
pub const MAX_DURATION: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Why a duration was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not a number with a unit.
    #[error("a duration is a number with a unit: 500ms, 30s, 15m, 12h, 365d")]
    Form,
    /// Over [`MAX_DURATION`].
    #[error("a duration is at most ten years")]
    TooLong,
}

/// Parses `500ms`, `30s`, `15m`, `12h`, `365d`, `2w`.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = match number.parse() {
        Ok(number) => number,
        Err(_) if digits > 0 => return Err(DurationError::TooLong),
        Err(_) => return Err(DurationError::Form),
    };
    let millis = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 7 * 86_400_000,
        _ => return Err(DurationError::Form),
    };
    let duration = number.checked_mul(millis).map(Duration::from_millis);
    duration
        .filter(|d| *d <= MAX_DURATION)
        .ok_or(DurationError::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_with_each_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration(" 15m "), Ok(Duration::from_secs(900)));
        assert_eq!(parse_duration("12h"), Ok(Duration::from_secs(43_200)));
        assert_eq!(parse_duration("365d"), Ok(Duration::from_secs(31_536_000)));
        assert_eq!(parse_duration("2w"), Ok(Duration::from_secs(1_209_600)));
    }

    #[test]
    fn durations_that_are_refused() {
        for text in ["", "5", "m", "-5m", "1.5h", "5 minutes", "5µs"] {
            assert_eq!(parse_duration(text), Err(DurationError::Form), "{text:?}");
        }
        assert_eq!(parse_duration("3650d"), Ok(MAX_DURATION));
        assert_eq!(parse_duration("3651d"), Err(DurationError::TooLong));
        assert_eq!(
            parse_duration("99999999999999999999s"),
            Err(DurationError::TooLong)
        );
        assert_eq!(
            parse_duration("18446744073709551615w"),
            Err(DurationError::TooLong)
        );
    }
}
