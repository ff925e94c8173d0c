//! Known secret values, looked for in bytes all at once: as they are, and as JSON writes them.
//!
//! Invariants: the values stay in their locked memory, only hashes of their first bytes lie
//! elsewhere (an automaton of a library would be built out of the values, in ordinary memory);
//! what is found is a place and the number of a value, never the value. A value of fewer than
//! [`MIN_VALUE`] bytes is not looked for: it would be found everywhere.

use crate::document::extract;
use crate::secret::{SecretValue, json};
use std::ops::Range;

/// The shortest value in bytes that is looked for.
pub const MIN_VALUE: usize = 8;
/// The most values that are looked for at once; more are left out and counted.
pub const MAX_VALUES: usize = 16_384;

/// Slots of the table; a power of two.
const SLOTS: usize = 1 << 16;

/// Values to look for.
pub struct Needles {
    /// Each form of each value with the number of the value, in the order of their slots, and in
    /// that of their bytes within one.
    forms: Vec<(usize, SecretValue)>,
    /// Where the forms of a slot start in `forms`; one more entry than slots.
    starts: Vec<u32>,
    left_out: usize,
}

/// A place where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The number of the value, in the order in which the values were given.
    pub value: usize,
    /// Where it stands.
    pub range: Range<usize>,
}

impl Needles {
    /// Takes the values, of which the short ones and those over [`MAX_VALUES`] are left out.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a SecretValue>) -> Self {
        let mut slotted = Vec::new();
        let (mut left_out, mut taken) = (0, 0);
        for (number, value) in values.into_iter().enumerate() {
            if value.len() < MIN_VALUE || taken == MAX_VALUES {
                left_out += 1;
                continue;
            }
            taken += 1;
            for form in forms(value) {
                slotted.push((slot(form.expose()), number, form));
            }
        }
        slotted.sort_by(|(slot, number, form), (other, next, bytes)| {
            (slot, form.expose(), number).cmp(&(other, bytes.expose(), next))
        });
        // Of equal forms the first value counts.
        slotted.dedup_by(|next, first| next.2.expose() == first.2.expose());
        let mut starts = vec![0_u32; SLOTS + 1];
        for (slot, _, _) in &slotted {
            starts[slot + 1] += 1;
        }
        for i in 0..SLOTS {
            starts[i + 1] += starts[i];
        }
        Self {
            forms: slotted.into_iter().map(|(_, n, form)| (n, form)).collect(),
            starts,
            left_out,
        }
    }

    /// True if there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// How many of the values are not looked for.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The places where values stand, in their order, at most `max`. Where several values start at
    /// one byte, the longest counts; places do not overlap.
    pub fn find(&self, bytes: &[u8], max: usize) -> Vec<Hit> {
        let hits = self.starting_in(bytes, 0..bytes.len());
        hits.take(max).collect()
    }

    /// The same, of the places that start in a part of the bytes; they may end behind it. Nothing
    /// is looked at before it is asked for.
    pub fn starting_in<'a>(
        &'a self,
        bytes: &'a [u8],
        part: Range<usize>,
    ) -> impl Iterator<Item = Hit> + 'a {
        let last = (bytes.len() + 1).saturating_sub(MIN_VALUE);
        let end = if self.is_empty() {
            0
        } else {
            part.end.min(last)
        };
        let mut at = part.start;
        std::iter::from_fn(move || {
            let hit = (at..end).find_map(|at| {
                let (value, len) = self.longest(&bytes[at..])?;
                let range = at..at + len;
                Some(Hit { value, range })
            });
            at = hit.as_ref().map_or(end, |hit| hit.range.end);
            hit
        })
    }

    /// True if any value stands in the bytes.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        !self.find(bytes, 1).is_empty()
    }

    /// The longest value that the bytes start with, in a few steps however many values of a slot
    /// are alike: the last one that is not behind the bytes in their order is it, or shares with
    /// them what it could be.
    fn longest(&self, rest: &[u8]) -> Option<(usize, usize)> {
        let slot = slot(rest);
        let range = self.starts[slot] as usize..self.starts[slot + 1] as usize;
        let mut forms = &self.forms[range];
        let mut rest = rest;
        while rest.len() >= MIN_VALUE {
            let behind = forms.partition_point(|(_, form)| form.expose() <= rest);
            forms = &forms[..behind];
            let (number, form) = forms.last()?;
            let pairs = form.expose().iter().zip(rest);
            let shared = pairs.take_while(|(a, b)| a == b).count();
            if shared == form.len() {
                return Some((*number, shared));
            }
            rest = &rest[..shared];
        }
        None
    }
}

/// Shows how many values there are.
impl std::fmt::Debug for Needles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Needles({} forms)", self.forms.len())
    }
}

/// The slot of the first [`MIN_VALUE`] bytes.
fn slot(bytes: &[u8]) -> usize {
    let mut first = [0; MIN_VALUE];
    first.copy_from_slice(&bytes[..MIN_VALUE]);
    // Fibonacci hashing: the upper bits of a product are well mixed.
    let mixed = u64::from_le_bytes(first).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as usize % SLOTS
}

/// The value as it is and, where they differ, as the inside of a JSON string: as most programs
/// write it, and with everything outside ASCII escaped.
fn forms(value: &SecretValue) -> Vec<SecretValue> {
    let mut forms = vec![value.clone()];
    if let Ok(text) = std::str::from_utf8(value.expose()) {
        forms.push(json::build(|put| extract::escape(text, put)));
        forms.push(json::build(|put| escape_ascii(text, put)));
        forms.dedup();
    }
    forms
}

fn escape_ascii(text: &str, put: &mut dyn FnMut(&[u8])) {
    for c in text.chars() {
        if c.is_ascii() {
            extract::escape(c.encode_utf8(&mut [0; 4]), put);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let digit = |shift: u16| b"0123456789abcdef"[usize::from(*unit >> shift & 15)];
            put(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn needles(values: &[&str]) -> Needles {
        let values: Vec<_> = values
            .iter()
            .map(|v| SecretValue::copy_of(v.as_bytes()))
            .collect();
        Needles::new(&values)
    }

    #[test]
    fn every_form_is_found_and_short_values_are_not_looked_for() {
        let values = ["line one\n\"two\"", "pässwörd-long", "short", "12345678"];
        let needles = needles(&values);
        assert_eq!(needles.left_out(), 1);
        let json = serde_json::to_string(&[values[0], values[1]]).unwrap();
        let python = r#"{"v": "p\u00e4ssw\u00f6rd-long"}"#;
        let text = format!("{}|{}|{json}|{python}|short|12345678", values[0], values[1]);
        let found: Vec<_> = needles
            .find(text.as_bytes(), 100)
            .iter()
            .map(|h| h.value)
            .collect();
        assert_eq!(found, [0, 1, 0, 1, 1, 3]);
        assert_eq!(needles.find(text.as_bytes(), 2).len(), 2);
        assert!(!needles.is_in(b"1234567") && needles.is_in(b"012345678"));
    }

    #[test]
    fn the_longest_value_at_a_place_counts() {
        let needles = needles(&["abcdefgh", "abcdefghij"]);
        let hits = needles.find(b"xabcdefghijabcdefgh", 9);
        assert_eq!((hits[0].value, hits[0].range.clone()), (1, 1..11));
        assert_eq!((hits[1].value, hits[1].range.clone()), (0, 11..19));
    }

    #[test]
    fn one_value_too_many_is_left_out_and_counted() {
        let values: Vec<_> = (0..=MAX_VALUES)
            .map(|i| SecretValue::copy_of(format!("value-{i:08}").as_bytes()))
            .collect();
        let needles = Needles::new(&values);
        assert_eq!(needles.left_out(), 1);
        let last = format!("value-{:08}", MAX_VALUES - 1);
        assert!(needles.is_in(last.as_bytes()));
        assert!(!needles.is_in(format!("value-{MAX_VALUES:08}").as_bytes()));
    }

    /// All values share their first bytes: a search that tries each of them at each place takes
    /// 2^28 steps here.
    #[test]
    fn values_that_are_alike_are_found_by_their_order() {
        let text = |i: usize| format!("sk-proj-{i:08}");
        let values: Vec<_> = (0..MAX_VALUES)
            .map(|i| SecretValue::copy_of(text(i).as_bytes()))
            .collect();
        let needles = Needles::new(&values);
        let all: String = (0..MAX_VALUES).rev().map(text).collect();
        let found = needles.find(all.as_bytes(), usize::MAX);
        assert!(found.iter().map(|hit| hit.value).eq((0..MAX_VALUES).rev()));
    }

    proptest! {
        #[test]
        fn the_longest_value_is_found_at_every_place(
            values in proptest::collection::vec("[ab]{8,12}", 1..9),
            text in "[ab]{0,40}",
        ) {
            let refs: Vec<&str> = values.iter().map(String::as_str).collect();
            let (needles, bytes) = (needles(&refs), text.as_bytes());
            for at in 0..bytes.len() {
                let fits = values.iter().filter(|v| text[at..].starts_with(v.as_str()));
                let longest = fits.map(|value| value.len()).max();
                let hit = needles.starting_in(bytes, at..at + 1).next();
                prop_assert_eq!(hit.map(|hit| hit.range.len()), longest);
            }
        }

        #[test]
        fn nothing_is_missed(
            values in proptest::collection::vec("[ab\"\n]{8,10}", 1..6),
            text in "[ab\"\n]{0,60}",
        ) {
            let refs: Vec<&str> = values.iter().map(String::as_str).collect();
            let needles = needles(&refs);
            let raw = refs.iter().any(|v| text.contains(v));
            prop_assert!(!raw || needles.is_in(text.as_bytes()));
            for hit in needles.find(text.as_bytes(), 100) {
                let found = &text[hit.range.clone()];
                let escaped = serde_json::to_string(&values[hit.value]).unwrap();
                let inside = &escaped[1..escaped.len() - 1];
                prop_assert!(found == values[hit.value] || found == inside);
            }
        }
    }
}
