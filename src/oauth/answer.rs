//! Reading a JSON answer member by member: secrets straight into locked memory, the rest bounded.

use crate::document::extract::{members, unescape};
use crate::secret::SecretValue;
use crate::time::MAX_DURATION;
use std::collections::HashMap;
use std::time::Duration;

/// Members of a JSON object, as JSON texts.
pub(super) struct Members<'a> {
    keys: &'static [&'static str],
    found: Vec<Option<&'a str>>,
}

impl<'a> Members<'a> {
    /// Reads the members that `keys` names; `None` if the text is not one JSON object.
    pub(super) fn read(text: &'a str, keys: &'static [&'static str]) -> Option<Self> {
        let wanted: HashMap<&str, usize> = keys.iter().enumerate().map(|(i, k)| (*k, i)).collect();
        let found = members(text, &wanted).ok()?;
        Some(Self { keys, found })
    }

    /// The JSON text of a member; `null` counts as nothing. `key` is one of those read.
    pub(super) fn raw(&self, key: &str) -> Option<&'a str> {
        let place = self.keys.iter().position(|known| *known == key)?;
        self.found[place].filter(|raw| raw.trim() != "null")
    }

    /// A string that is secret.
    pub(super) fn secret(&self, key: &str) -> Option<SecretValue> {
        unescape(self.raw(key)?).ok()
    }

    /// A string of 1 to `max` printable bytes.
    pub(super) fn text(&self, key: &str, max: usize) -> Option<String> {
        let text: String = serde_json::from_str(self.raw(key)?).ok()?;
        is_printable(&text, max).then_some(text)
    }

    /// A number of seconds, as a number or a string of one (OpenAI sends strings); at most
    /// [`MAX_DURATION`].
    pub(super) fn seconds(&self, key: &str) -> Option<Duration> {
        let raw = self.raw(key)?.trim_matches(['"', ' ', '\t', '\n', '\r']);
        let seconds: f64 = raw.parse().ok()?;
        let fits = seconds.is_finite() && seconds >= 0.0;
        fits.then(|| Duration::from_secs_f64(seconds.min(MAX_DURATION.as_secs_f64())))
    }
}

/// True for 1 to `max` bytes without control characters.
pub(super) fn is_printable(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[&str] = &["a", "b"];

    #[test]
    fn seconds_are_numbers_or_strings_of_them_and_bounded() {
        let seconds = |raw: &str| {
            let text = format!(r#"{{"a":{raw}}}"#);
            Members::read(&text, KEYS).unwrap().seconds("a")
        };
        assert_eq!(seconds("3600"), Some(Duration::from_secs(3600)));
        assert_eq!(seconds("\"5\""), Some(Duration::from_secs(5)));
        assert_eq!(seconds("1.5"), Some(Duration::from_millis(1500)));
        assert_eq!(seconds("1e300"), Some(MAX_DURATION));
        for bad in [
            "-1", "null", "\"\"", "\"soon\"", "{}", "\"NaN\"", "\"inf\"", "true",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_objects_are_read_and_the_last_of_equal_keys_counts() {
        for bad in ["", "[]", "1", "\"a\"", "{", "{\"a\":1} x", "<html>"] {
            assert!(Members::read(bad, KEYS).is_none(), "{bad}");
        }
        let twice = Members::read(r#"{"a":"x","a":"y","b":null}"#, KEYS).unwrap();
        assert_eq!(twice.text("a", 9).as_deref(), Some("y"));
        assert_eq!(twice.text("b", 9), None);
    }

    #[test]
    fn texts_are_printable_and_bounded() {
        let text = Members::read(r#"{"a":"12345","b":"1\u0007"}"#, KEYS).unwrap();
        assert_eq!(text.text("a", 5).as_deref(), Some("12345"));
        assert_eq!(text.text("a", 4), None);
        assert_eq!(text.text("b", 9), None);
    }
}
