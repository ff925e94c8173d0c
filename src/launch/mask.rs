//! Replaces values in a stream of bytes by `[redacted]`.
//!
//! Invariants: a value is found wherever the reads cut it; at each place the longest one counts; a
//! byte is held back only while it may be the beginning of a value. A help against accidents, not a
//! wall: a program that holds a value can write it in a form that is not looked for.
//!
//! Not looked for: values under [`MIN_MASKED`] bytes (they would hit common words), and parts of a
//! value, such as single lines of it.

use crate::document::extract as json;
use crate::secret::SecretValue;
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL, BASE64URL_NOPAD, Encoding};
use data_encoding::{HEXLOWER, HEXUPPER};
use std::collections::HashMap;
use zeroize::{Zeroize, Zeroizing};

/// The shortest value that is masked, in bytes.
pub const MIN_MASKED: usize = 8;
/// What stands in place of a value.
pub const REDACTED: &[u8] = b"[redacted]";

/// How much is looked through at once, in bytes.
const CHUNK: usize = 16 << 10;

/// What is looked for: each value raw, escaped for JSON, in base64 (also inside a longer text, at
/// each of its three positions), in hex, and percent-encoded.
pub struct Patterns {
    all: Vec<SecretValue>,
    /// Patterns by a hash of their first [`MIN_MASKED`] bytes: short, so that the table itself
    /// says next to nothing.
    by_start: HashMap<u16, Vec<usize>>,
    longest: usize,
}

impl Patterns {
    /// The patterns of these values; values under [`MIN_MASKED`] bytes are left out.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a SecretValue>) -> Self {
        let mut all = Vec::new();
        for value in values.into_iter().filter(|value| value.len() >= MIN_MASKED) {
            let mut forms = vec![value.clone()];
            for form in encoded(value.expose()) {
                if form.len() >= MIN_MASKED && !forms.contains(&form) {
                    forms.push(form);
                }
            }
            all.append(&mut forms);
        }
        let mut by_start: HashMap<u16, Vec<usize>> = HashMap::new();
        for (place, pattern) in all.iter().enumerate() {
            by_start
                .entry(start_hash(pattern.expose()))
                .or_default()
                .push(place);
        }
        let longest = all.iter().map(SecretValue::len).max().unwrap_or(0);
        Self {
            all,
            by_start,
            longest,
        }
    }
}

/// Takes values out of one stream.
pub struct Masker<'p> {
    patterns: &'p Patterns,
    /// What may be the beginning of a value, then what was just read. Never grows.
    buffer: Zeroizing<Vec<u8>>,
    len: usize,
}

/// What to do at one place of the stream.
enum Step {
    /// Nothing starts here.
    Pass,
    /// A value of this length starts here.
    Redact(usize),
    /// More must be read to know.
    Wait,
}

impl<'p> Masker<'p> {
    /// A masker at the beginning of a stream.
    pub fn new(patterns: &'p Patterns) -> Self {
        let buffer = Zeroizing::new(vec![0; CHUNK + patterns.longest]);
        Self {
            patterns,
            buffer,
            len: 0,
        }
    }

    /// Takes bytes in and gives on what is settled.
    pub fn feed(&mut self, input: &[u8], give: &mut dyn FnMut(&[u8])) {
        for part in input.chunks(CHUNK) {
            self.buffer[self.len..self.len + part.len()].copy_from_slice(part);
            self.len += part.len();
            self.settle(false, give);
        }
    }

    /// Gives on what was held back, at the end of the stream.
    pub fn finish(&mut self, give: &mut dyn FnMut(&[u8])) {
        self.settle(true, give);
    }

    fn settle(&mut self, end: bool, give: &mut dyn FnMut(&[u8])) {
        let (mut at, mut given) = (0, 0);
        while at < self.len {
            match self.step(&self.buffer[at..self.len], end) {
                Step::Pass => at += 1,
                Step::Wait => break,
                Step::Redact(len) => {
                    give(&self.buffer[given..at]);
                    give(REDACTED);
                    at += len;
                    given = at;
                }
            }
        }
        if given < at {
            give(&self.buffer[given..at]);
        }
        self.buffer.copy_within(at..self.len, 0);
        self.len -= at;
        let free = self.len;
        self.buffer[free..].zeroize();
    }

    fn step(&self, rest: &[u8], end: bool) -> Step {
        if rest.len() < MIN_MASKED {
            let may_grow = |pattern: &SecretValue| pattern.expose().starts_with(rest);
            return match !end && self.patterns.all.iter().any(may_grow) {
                true => Step::Wait,
                false => Step::Pass,
            };
        }
        let Some(candidates) = self.patterns.by_start.get(&start_hash(rest)) else {
            return Step::Pass;
        };
        let mut longest = 0;
        for place in candidates {
            let pattern = self.patterns.all[*place].expose();
            if rest.starts_with(pattern) {
                longest = longest.max(pattern.len());
            } else if !end && pattern.starts_with(rest) {
                return Step::Wait;
            }
        }
        if longest > 0 {
            Step::Redact(longest)
        } else {
            Step::Pass
        }
    }
}

/// A 16-bit hash of the first [`MIN_MASKED`] bytes.
fn start_hash(bytes: &[u8]) -> u16 {
    let mut start = [0; MIN_MASKED];
    start.copy_from_slice(&bytes[..MIN_MASKED]);
    let mixed = u64::from_le_bytes(start).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    start.zeroize();
    (mixed >> 48) as u16
}

/// The encoded forms of a value. Some may be equal.
fn encoded(value: &[u8]) -> Vec<SecretValue> {
    let mut forms = Vec::new();
    for encoding in [&BASE64, &BASE64URL, &HEXLOWER, &HEXUPPER] {
        forms.push(encode(encoding, value));
    }
    for encoding in [&BASE64_NOPAD, &BASE64URL_NOPAD] {
        forms.extend((0..3).map(|shift| base64_inside(encoding, value, shift)));
    }
    if let Ok(text) = std::str::from_utf8(value) {
        forms.push(collect(|put| json::escape(text, put)));
    }
    // RFC 3986, JavaScript's encodeURIComponent, and HTML forms.
    forms.push(collect(|put| percent(value, b"-._~", false, put)));
    forms.push(collect(|put| percent(value, b"-._~!'()*", false, put)));
    forms.push(collect(|put| percent(value, b"*-._", true, put)));
    forms
}

fn encode(encoding: &Encoding, value: &[u8]) -> SecretValue {
    SecretValue::build(encoding.encode_len(value.len()), |target| {
        encoding.encode_mut(value, target);
    })
}

/// The characters that a value certainly gives inside a longer base64 text, when `shift` bytes
/// stand before it in its group of three.
fn base64_inside(encoding: &Encoding, value: &[u8], shift: usize) -> SecretValue {
    let mut shifted = Zeroizing::new(vec![0; shift + value.len()]);
    shifted[shift..].copy_from_slice(value);
    let whole = encode(encoding, &shifted);
    // A character holds six bits: leave out those that share bits with what stands around.
    whole.slice((shift * 8).div_ceil(6)..shifted.len() * 8 / 6)
}

/// Runs an encoder twice: for the length, then into locked memory.
fn collect(encoder: impl Fn(&mut dyn FnMut(&[u8]))) -> SecretValue {
    let mut len = 0;
    encoder(&mut |part| len += part.len());
    SecretValue::build(len, |target| {
        let mut at = 0;
        encoder(&mut |part| {
            target[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        });
    })
}

fn percent(value: &[u8], kept: &[u8], plus: bool, put: &mut dyn FnMut(&[u8])) {
    for byte in value {
        match byte {
            b' ' if plus => put(b"+"),
            _ if byte.is_ascii_alphanumeric() || kept.contains(byte) => put(&[*byte]),
            _ => {
                let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)];
                put(&[b'%', digit(byte >> 4), digit(byte & 15)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn masked(secrets: &[&[u8]], chunks: &[&[u8]]) -> Vec<u8> {
        let values: Vec<_> = secrets
            .iter()
            .map(|secret| SecretValue::copy_of(secret))
            .collect();
        let patterns = Patterns::new(&values);
        let mut masker = Masker::new(&patterns);
        let mut out = Vec::new();
        for chunk in chunks {
            masker.feed(chunk, &mut |part| out.extend_from_slice(part));
        }
        masker.finish(&mut |part| out.extend_from_slice(part));
        out
    }

    fn shown(secrets: &[&str], text: &str) -> String {
        let secrets: Vec<_> = secrets.iter().map(|secret| secret.as_bytes()).collect();
        String::from_utf8(masked(&secrets, &[text.as_bytes()])).unwrap()
    }

    #[test]
    fn values_are_replaced_and_short_ones_are_not() {
        assert_eq!(
            shown(&["password1"], "a password1password1 b"),
            "a [redacted][redacted] b"
        );
        assert_eq!(shown(&["12345678"], "x12345678"), "x[redacted]");
        assert_eq!(shown(&["1234567"], "x1234567"), "x1234567");
        assert_eq!(shown(&["password1"], "password"), "password");
        assert_eq!(shown(&[], "text"), "text");
    }

    #[test]
    fn of_two_values_at_one_place_the_longer_counts() {
        let secrets = ["password", "password-long"];
        assert_eq!(
            shown(&secrets, "password-long password-x"),
            "[redacted] [redacted]-x"
        );
        assert_eq!(shown(&secrets, "password-lon"), "[redacted]-lon");
    }

    #[test]
    fn encoded_forms_are_replaced() {
        let secret = "pa ss/word\"+~*\u{e4}?>";
        for form in [
            BASE64.encode(secret.as_bytes()),
            BASE64URL.encode(secret.as_bytes()),
            HEXLOWER.encode(secret.as_bytes()),
            HEXUPPER.encode(secret.as_bytes()),
            serde_json::to_string(secret).unwrap()[1..]
                .strip_suffix('"')
                .unwrap()
                .to_owned(),
            "pa%20ss%2Fword%22%2B~%2A%C3%A4%3F%3E".to_owned(),
            "pa%20ss%2Fword%22%2B~*%C3%A4%3F%3E".to_owned(),
            "pa+ss%2Fword%22%2B%7E*%C3%A4%3F%3E".to_owned(),
        ] {
            assert_eq!(
                shown(&[secret], &format!("<{form}>")),
                "<[redacted]>",
                "{form}"
            );
        }
    }

    #[test]
    fn base64_is_found_inside_a_longer_text_at_every_position() {
        let secret = "s3cr3t-value-\u{ff}\u{3ff}";
        for before in ["", "u", "us", "user:"] {
            for encoding in [BASE64, BASE64URL] {
                let text = encoding.encode(format!("{before}{secret}:after").as_bytes());
                let shown = shown(&[secret], &text);
                assert!(shown.contains("[redacted]"), "{before} {shown}");
                let left = shown.replace("[redacted]", "").len();
                assert!(
                    left <= (before.len() + ":after".len()) * 4 / 3 + 6,
                    "{shown}"
                );
            }
        }
    }

    #[test]
    fn a_value_larger_than_a_chunk_is_found() {
        let secret: Vec<u8> = (0..CHUNK * 3).map(|i| (i * 7 % 251) as u8).collect();
        let text = [b"<", secret.as_slice(), b">"].concat();
        assert_eq!(masked(&[&secret], &[&text]), b"<[redacted]>");
    }

    #[test]
    fn only_what_may_become_a_value_is_held_back() {
        let values = [SecretValue::copy_of(b"password")];
        let patterns = Patterns::new(&values);
        let mut masker = Masker::new(&patterns);
        let mut fed = |text: &[u8]| {
            let mut out = Vec::new();
            masker.feed(text, &mut |part| out.extend_from_slice(part));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(fed(b"Name? "), "Name? ");
        assert_eq!(fed(b"a pass"), "a ");
        assert_eq!(fed(b"port "), "passport ");
    }

    proptest! {
        #[test]
        fn cuts_between_reads_change_nothing(
            text in "[ab]{0,60}", cuts in proptest::collection::vec(0usize..60, 0..6),
            secrets in proptest::collection::vec("[ab]{8,10}", 0..4),
        ) {
            let secrets: Vec<&[u8]> = secrets.iter().map(|secret| secret.as_bytes()).collect();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut chunks = Vec::new();
            let mut from = 0;
            for cut in cuts {
                chunks.push(&text.as_bytes()[from..cut]);
                from = cut;
            }
            chunks.push(&text.as_bytes()[from..]);
            let whole = masked(&secrets, &[text.as_bytes()]);
            prop_assert_eq!(&masked(&secrets, &chunks), &whole);
            let whole = String::from_utf8(whole).unwrap();
            for secret in secrets {
                prop_assert!(!whole.contains(std::str::from_utf8(secret).unwrap()));
            }
        }
    }
}
