//! Points in time as people write and read them, in UTC.

use super::{DurationError, UnixMs, parse_duration};
use crate::error::{Code, Coded, failure_from};
use std::time::Duration;

/// Why a point in time was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// Neither a duration nor a date.
    #[error("it is neither a duration (90d, 12h) nor a date (2027-01-31, 2027-01-31T12:00:00Z)")]
    Form,
    /// A duration of more than ten years.
    #[error("a duration is at most ten years")]
    TooLong,
    /// A date with a month, day or time that there is not.
    #[error("there is no such date")]
    NoSuchDate,
    /// Not later than now.
    #[error("it is in the past")]
    Past,
}

impl Coded for WhenError {
    fn code(&self) -> Code {
        Code::InputInvalid
    }
}
failure_from!(WhenError);

/// Parses a duration from now, or an RFC 3339 date with or without a time.
///
/// # Errors
/// Also if the point is not later than `now`.
pub fn parse(text: &str, now: UnixMs) -> Result<UnixMs, WhenError> {
    let text = text.trim();
    let at = match parse_duration(text) {
        Ok(duration) => now.plus(duration),
        Err(DurationError::TooLong) => return Err(WhenError::TooLong),
        Err(DurationError::Form) => parse_date(text)?,
    };
    if at <= now {
        Err(WhenError::Past)
    } else {
        Ok(at)
    }
}

/// Parses an RFC 3339 date with or without a time.
///
/// # Errors
/// If it is none, or there is no such date.
pub fn parse_date(text: &str) -> Result<UnixMs, WhenError> {
    let bytes = text.as_bytes();
    if bytes.len() < 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return Err(WhenError::Form);
    }
    let (year, month, day) = (
        number(bytes, 0, 4)?,
        number(bytes, 5, 2)?,
        number(bytes, 8, 2)?,
    );
    if !(1970..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || day < 1
        || day > days_in_month(year, month)
    {
        return Err(WhenError::NoSuchDate);
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + parse_time(&bytes[10..])?;
    u64::try_from(seconds)
        .map(|seconds| UnixMs(seconds * 1000))
        .map_err(|_| WhenError::NoSuchDate)
}

/// Seconds since the day's start in UTC of `THH:MM:SS[.f…](Z|±HH:MM)`, or of nothing.
fn parse_time(bytes: &[u8]) -> Result<i64, WhenError> {
    if bytes.is_empty() {
        return Ok(0);
    }
    let separators = bytes.len() >= 10 && matches!(bytes[0], b'T' | b't' | b' ');
    if !separators || bytes[3] != b':' || bytes[6] != b':' {
        return Err(WhenError::Form);
    }
    let (hour, minute, second) = (
        number(bytes, 1, 2)?,
        number(bytes, 4, 2)?,
        number(bytes, 7, 2)?,
    );
    if hour > 23 || minute > 59 || second > 59 {
        return Err(WhenError::NoSuchDate);
    }
    let mut rest = &bytes[9..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let digits = fraction
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if digits == 0 {
            return Err(WhenError::Form);
        }
        rest = &fraction[digits..];
    }
    let offset = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let seconds = number(rest, 1, 2)? * 3600 + number(rest, 4, 2)? * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return Err(WhenError::Form),
    };
    Ok(hour * 3600 + minute * 60 + second - offset)
}

fn number(bytes: &[u8], start: usize, len: usize) -> Result<i64, WhenError> {
    bytes[start..start + len]
        .iter()
        .try_fold(0, |number, byte| match byte {
            b'0'..=b'9' => Ok(number * 10 + i64::from(byte - b'0')),
            _ => Err(WhenError::Form),
        })
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01; Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days - era * 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// `2026-11-22`.
pub fn date(at: UnixMs) -> String {
    let (year, month, day) = civil_from_days(days_of(at));
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2026-11-22 10:02 UTC`.
pub fn date_and_time(at: UnixMs) -> String {
    let minutes = at.0 / 60_000 % 1440;
    format!("{} {:02}:{:02} UTC", date(at), minutes / 60, minutes % 60)
}

/// `2026-11-22T10:02:03.000Z`, as JSON of the family writes it.
pub fn rfc3339(at: UnixMs) -> String {
    let ms = at.0 % 86_400_000;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!(
        "{}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        date(at),
        ms % 1000
    )
}

fn days_of(at: UnixMs) -> i64 {
    i64::try_from(at.0 / 86_400_000).unwrap_or(i64::MAX / 2)
}

/// `2 h 5 min`, `14 min`, `30 s`: the two largest units.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, size) in units {
        let count = rest / size;
        rest %= size;
        if count > 0 && parts.len() < 2 {
            parts.push(format!("{count} {unit}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() {
        "0 s".to_owned()
    } else {
        parts.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_700_000_000_000);

    #[test]
    fn dates_and_durations() {
        assert_eq!(parse("1h", NOW), Ok(UnixMs(NOW.0 + 3_600_000)));
        // Figures from `date -u -d … +%s`.
        assert_eq!(parse("2027-01-31", NOW), Ok(UnixMs(1_801_353_600_000)));
        assert_eq!(
            parse("2028-02-29T12:34:56Z", NOW),
            Ok(UnixMs(1_835_440_496_000))
        );
        assert_eq!(
            parse("2028-02-29T14:34:56.789+02:00", NOW),
            Ok(UnixMs(1_835_440_496_000))
        );
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "",
            "tomorrow",
            "2027/01/31",
            "2027-01-31T12:00",
            "2027-1-31",
            "12:00:00",
        ] {
            assert_eq!(parse(text, NOW), Err(WhenError::Form), "{text}");
        }
        for text in [
            "2027-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-01-31T24:00:00Z",
        ] {
            assert_eq!(parse(text, NOW), Err(WhenError::NoSuchDate), "{text}");
        }
        assert_eq!(parse("2020-01-01", NOW), Err(WhenError::Past));
        assert_eq!(parse("0s", NOW), Err(WhenError::Past));
        assert_eq!(parse("3651d", NOW), Err(WhenError::TooLong));
    }

    #[test]
    fn every_day_reads_back() {
        for day in (0..80 * 366).step_by(13) {
            let at = UnixMs(day * 86_400_000);
            assert_eq!(parse_date(&date(at)), Ok(at), "{}", date(at));
        }
        assert_eq!(
            rfc3339(UnixMs(1_835_440_496_789)),
            "2028-02-29T12:34:56.789Z"
        );
        assert_eq!(
            date_and_time(UnixMs(1_835_440_496_789)),
            "2028-02-29 12:34 UTC"
        );
    }

    #[test]
    fn spans_have_two_units() {
        let text = |seconds| span(Duration::from_secs(seconds));
        assert_eq!(text(0), "0 s");
        assert_eq!(text(59), "59 s");
        assert_eq!(text(3600), "1 h");
        assert_eq!(text(7503), "2 h 5 min");
        assert_eq!(text(86_401), "1 d");
    }
}
