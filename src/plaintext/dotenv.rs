//! The lines of an env file, each with its place, so that lines can be taken out and every other
//! byte stays.
//!
//! Invariants: any bytes are read, a line that is no assignment is passed over, as the family's own
//! reader does; no type here holds a value, only where it stands. What a ref in a value means is
//! the matter of [`crate::reference::embedded`].

use crate::error::{Code, Coded};
use crate::secret::SecretValue;
use std::ops::Range;

/// The largest env file in bytes.
pub const MAX_ENV_FILE: usize = 4 << 20;
/// The most assignments of an env file.
pub const MAX_ASSIGNMENTS: usize = 65_536;
/// The longest name of a variable in bytes.
pub const MAX_NAME: usize = 256;

/// One assignment of an env file. Holds places, not the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The variable.
    pub name: String,
    /// The line it starts on, from 1.
    pub line: usize,
    /// The bytes of all its lines, with the last line end.
    pub whole: Range<usize>,
    /// The bytes between the quotes, or of the bare value without blanks around it.
    pub content: Range<usize>,
    /// How the value is written.
    pub quote: Quote,
}

/// How a value of an env file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quote {
    /// Without quotes, to the end of the line or to a comment.
    Bare,
    /// In `'` or a backtick: as it stands.
    Literal,
    /// In `"`: a backslash and `n`, `r`, `t`, `"`, `\` or `$` is an escape.
    Double,
}

/// Why an env file is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DotenvError {
    /// Over [`MAX_ENV_FILE`].
    #[error("larger than {MAX_ENV_FILE} bytes, the limit of an env file")]
    TooLarge,
    /// Over [`MAX_ASSIGNMENTS`].
    #[error("line {0}: more than {MAX_ASSIGNMENTS} assignments, the limit of an env file")]
    TooMany(usize),
}

impl Coded for DotenvError {
    fn code(&self) -> Code {
        Code::FileTooLarge
    }
}
crate::error::failure_from!(DotenvError);

impl Assignment {
    /// The value, as a program that reads the file gets it. `bytes` are those that were read.
    ///
    /// # Panics
    /// If `bytes` are shorter than those that were read.
    pub fn value(&self, bytes: &[u8]) -> SecretValue {
        let raw = &bytes[self.content.clone()];
        if self.quote != Quote::Double {
            return SecretValue::copy_of(raw);
        }
        let mut len = 0;
        unescape(raw, &mut |_| len += 1);
        SecretValue::build(len, |target| {
            let mut slots = target.iter_mut();
            unescape(raw, &mut |byte| {
                if let Some(slot) = slots.next() {
                    *slot = byte;
                }
            });
        })
    }
}

/// The assignments of an env file, in their order.
///
/// # Errors
/// The two limits, nothing else.
pub fn read(bytes: &[u8]) -> Result<Vec<Assignment>, DotenvError> {
    if bytes.len() > MAX_ENV_FILE {
        return Err(DotenvError::TooLarge);
    }
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    if bytes.starts_with(b"\xef\xbb\xbf") {
        at = 3;
    }
    while at < bytes.len() {
        let end = line_end(bytes, at);
        let next = match assignment(bytes, at, end, line) {
            Some(_) if found.len() == MAX_ASSIGNMENTS => return Err(DotenvError::TooMany(line)),
            Some(assignment) => {
                let next = assignment.whole.end;
                found.push(assignment);
                next
            }
            None => end,
        };
        line += bytes[at..next].iter().filter(|b| **b == b'\n').count();
        at = next;
    }
    Ok(found)
}

/// The file without the assignments for which `drop` is true; every other byte stays.
pub fn without(
    bytes: &[u8],
    assignments: &[Assignment],
    mut drop: impl FnMut(&Assignment) -> bool,
) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut at = 0;
    for assignment in assignments.iter().filter(|assignment| drop(assignment)) {
        kept.extend_from_slice(&bytes[at..assignment.whole.start]);
        at = assignment.whole.end;
    }
    kept.extend_from_slice(&bytes[at..]);
    kept
}

/// The end of the line that starts at `at`, behind its line end.
fn line_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    rest.iter()
        .position(|b| *b == b'\n')
        .map_or(bytes.len(), |i| at + i + 1)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn skip_blanks(bytes: &[u8], mut at: usize, end: usize) -> usize {
    while at < end && is_blank(bytes[at]) {
        at += 1;
    }
    at
}

/// The assignment that starts on the line from `start` to `end`, if one does.
fn assignment(bytes: &[u8], start: usize, end: usize, line: usize) -> Option<Assignment> {
    let mut at = skip_blanks(bytes, start, end);
    if let Some(rest) = bytes[at..end].strip_prefix(b"export")
        && rest.first().is_some_and(|b| is_blank(*b))
    {
        at = skip_blanks(bytes, at + 6, end);
    }
    let name_start = at;
    while at < end && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
        at += 1;
    }
    let name = &bytes[name_start..at];
    let is_name = name.first().is_some_and(|b| !b.is_ascii_digit()) && name.len() <= MAX_NAME;
    at = skip_blanks(bytes, at, end);
    if !is_name || at == end || bytes[at] != b'=' {
        return None;
    }
    at = skip_blanks(bytes, at + 1, end);
    let (content, quote, whole_end) = value(bytes, at, end);
    Some(Assignment {
        name: String::from_utf8_lossy(name).into_owned(),
        line,
        whole: start..whole_end,
        content,
        quote,
    })
}

/// The value from `at`: a quoted one may go over several lines. A quote that is never closed, or
/// that something else follows, is a part of a bare value, as the family takes it.
fn value(bytes: &[u8], at: usize, end: usize) -> (Range<usize>, Quote, usize) {
    let opening = bytes.get(at).copied().filter(|_| at < end);
    if let Some(quote @ (b'"' | b'\'' | b'`')) = opening
        && let Some(close) = closing(bytes, at + 1, quote)
    {
        let last = line_end(bytes, close + 1);
        let after = skip_blanks(bytes, close + 1, last);
        if after == last || matches!(bytes[after], b'\n' | b'\r' | b'#') {
            let kind = if quote == b'"' {
                Quote::Double
            } else {
                Quote::Literal
            };
            return (at + 1..close, kind, last);
        }
    }
    // A comment after a bare value starts with a blank before the `#`.
    let comment = (at..end).find(|i| bytes[*i] == b'#' && (*i == at || is_blank(bytes[i - 1])));
    let mut stop = comment.unwrap_or(end);
    while stop > at && bytes[stop - 1].is_ascii_whitespace() {
        stop -= 1;
    }
    (at..stop, Quote::Bare, end)
}

fn closing(bytes: &[u8], from: usize, quote: u8) -> Option<usize> {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 2,
            byte if byte == quote => return Some(at),
            _ => at += 1,
        }
    }
    None
}

fn unescape(raw: &[u8], put: &mut dyn FnMut(u8)) {
    let mut at = 0;
    while at < raw.len() {
        let escaped = raw.get(at + 1).filter(|_| raw[at] == b'\\');
        let plain = match escaped {
            Some(b'n') => Some(b'\n'),
            Some(b'r') => Some(b'\r'),
            Some(b't') => Some(b'\t'),
            Some(c @ (b'"' | b'\\' | b'$')) => Some(*c),
            Some(_) | None => None,
        };
        put(plain.unwrap_or(raw[at]));
        at += if plain.is_some() { 2 } else { 1 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Vec<(String, usize, String)> {
        let bytes = text.as_bytes();
        let value = |a: &Assignment| String::from_utf8(a.value(bytes).expose().to_vec()).unwrap();
        let found = read(bytes).unwrap();
        found
            .iter()
            .map(|a| (a.name.clone(), a.line, value(a)))
            .collect()
    }

    #[test]
    fn values_are_read_as_programs_read_them() {
        let text = "\u{feff}# c\nA=1\n export  B = two words # c\r\nC='a#b'\nD=\"x\\ny\\\"\"\n\
                    no assignment\n1X=2\nE=\nF=a#b\nG='open\nH=`t`\n";
        let expected = [
            ("A", 2, "1"),
            ("B", 3, "two words"),
            ("C", 4, "a#b"),
            ("D", 5, "x\ny\""),
            ("E", 8, ""),
            ("F", 9, "a#b"),
            ("G", 10, "'open"),
            ("H", 11, "t"),
        ];
        let expected: Vec<_> = expected
            .iter()
            .map(|(n, l, v)| ((*n).to_owned(), *l, (*v).to_owned()))
            .collect();
        assert_eq!(shown(text), expected);
    }

    #[test]
    fn a_quoted_value_may_go_over_lines() {
        let text = "A=1\nKEY=\"-----BEGIN\nx\n-----END\" # c\nB=2";
        let found = shown(text);
        assert_eq!(found[1].2, "-----BEGIN\nx\n-----END");
        assert_eq!(found[2], ("B".to_owned(), 5, "2".to_owned()));
        let bytes = text.as_bytes();
        let kept = without(bytes, &read(bytes).unwrap(), |a| a.name == "KEY");
        assert_eq!(kept, b"A=1\nB=2");
    }

    #[test]
    fn the_limits_hold() {
        let full = vec![b'#'; MAX_ENV_FILE];
        assert_eq!(read(&full), Ok(vec![]));
        assert_eq!(
            read(&[full, vec![b'\n']].concat()),
            Err(DotenvError::TooLarge)
        );
        let many = "A=\n".repeat(MAX_ASSIGNMENTS);
        assert_eq!(read(many.as_bytes()).unwrap().len(), MAX_ASSIGNMENTS);
        let more = many + "A=\n";
        let line = MAX_ASSIGNMENTS + 1;
        assert_eq!(read(more.as_bytes()), Err(DotenvError::TooMany(line)));
    }

    proptest! {
        #[test]
        fn lines_taken_out_leave_every_other_byte(
            text in "([A-C]|=|\"|'|`|\\\\|#| |\n|\r\n|export |é){0,60}", odd in any::<bool>(),
        ) {
            let bytes = text.as_bytes();
            let found = read(bytes).unwrap();
            let mut at = 0;
            for a in &found {
                prop_assert!(at <= a.whole.start && a.whole.end <= bytes.len());
                prop_assert!(a.whole.start <= a.content.start && a.content.end <= a.whole.end);
                at = a.whole.end;
            }
            let mut count = 0;
            let kept = without(bytes, &found, |_| { count += 1; (count % 2 == 1) == odd });
            let gone: usize = found.iter().enumerate()
                .filter(|(i, _)| (i % 2 == 0) == odd).map(|(_, a)| a.whole.len()).sum();
            prop_assert_eq!(kept.len() + gone, bytes.len());
            prop_assert_eq!(without(bytes, &found, |_| false), bytes);
        }
    }
}
