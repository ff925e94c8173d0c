//! Paths into a document: `models.providers."a.b".apiKey`, `agents.list[0].name`.
//!
//! Invariant: what `Display` writes parses back to the same path.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The most segments of a path.
pub const MAX_SEGMENTS: usize = 128;
/// The longest path text in bytes.
pub const MAX_PATH_TEXT: usize = 8192;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// A member of an object. A number steps into an array too, as the family writes it.
    Key(Arc<str>),
    /// An element of an array, from 0.
    Index(usize),
}

impl Segment {
    /// The key, if it is one.
    pub fn as_key(&self) -> Option<&str> {
        match self {
            Segment::Key(key) => Some(key),
            Segment::Index(_) => None,
        }
    }

    /// The index into an array, also for a key that is a number.
    pub fn as_index(&self) -> Option<usize> {
        match self {
            Segment::Index(index) => Some(*index),
            Segment::Key(key) => {
                let canonical = &**key == "0" || !key.starts_with('0');
                let digits = !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit());
                if canonical && digits {
                    key.parse().ok()
                } else {
                    None
                }
            }
        }
    }
}

impl From<&str> for Segment {
    fn from(key: &str) -> Self {
        Segment::Key(key.into())
    }
}

impl From<usize> for Segment {
    fn from(index: usize) -> Self {
        Segment::Index(index)
    }
}

/// A path into a document; never empty when parsed, empty for the root.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(Vec<Segment>);

impl Path {
    /// The path of the root.
    pub fn root() -> Self {
        Self::default()
    }

    /// A path of keys, taken as they stand.
    pub fn of_keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self(keys.into_iter().map(Segment::from).collect())
    }

    /// The steps.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// This path and one more step.
    pub fn join(&self, segment: impl Into<Segment>) -> Self {
        let mut segments = Vec::with_capacity(self.0.len() + 1);
        segments.extend_from_slice(&self.0);
        segments.push(segment.into());
        Self(segments)
    }

    /// The path without its last step; `None` for the root.
    pub fn parent(&self) -> Option<Path> {
        let (_, before) = self.0.split_last()?;
        Some(Self(before.to_vec()))
    }

    /// The text form, made at once: a config has as many of them as places for secrets.
    pub fn to_text(&self) -> String {
        use fmt::Write;
        let key_len = |segment: &Segment| segment.as_key().map_or(8, str::len) + 1;
        let mut text = String::with_capacity(self.0.iter().map(key_len).sum());
        // Writing to a string does not fail.
        let _ = write!(text, "{self}");
        text
    }

    /// The last step; `None` for the root.
    pub fn last(&self) -> Option<&Segment> {
        self.0.last()
    }

    /// The first `count` steps, or all.
    pub fn prefix(&self, count: usize) -> Path {
        Self(self.0[..count.min(self.0.len())].to_vec())
    }

    pub(crate) fn push(&mut self, segment: Segment) {
        self.0.push(segment);
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }
}

impl From<Vec<Segment>> for Path {
    fn from(segments: Vec<Segment>) -> Self {
        Self(segments)
    }
}

/// A key that needs no quotes.
fn is_bare(key: &str) -> bool {
    let special = |c: char| matches!(c, '.' | '[' | ']' | '"' | '\\') || c.is_control();
    !key.is_empty() && !key.chars().any(special) && key.trim() == key
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) => {
                    f.write_str(if i > 0 { "." } else { "" })?;
                    if is_bare(key) {
                        f.write_str(key)?;
                    } else {
                        write_quoted(f, key)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn write_quoted(f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in key.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

/// Why a path was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a path is KEY.KEY[INDEX], a key with other characters in double quotes (at character {at})"
)]
pub struct PathError {
    /// Where, in characters from 1.
    pub at: usize,
}

impl crate::error::Coded for PathError {
    fn code(&self) -> crate::error::Code {
        crate::error::Code::InputInvalid
    }
}
crate::error::failure_from!(PathError);

impl FromStr for Path {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_PATH_TEXT {
            return Err(PathError { at: MAX_PATH_TEXT });
        }
        let chars: Vec<char> = text.chars().collect();
        let mut reader = Reader {
            chars: &chars,
            at: 0,
        };
        let mut segments = Vec::new();
        loop {
            segments.push(match reader.peek() {
                Some('[') if !segments.is_empty() => reader.index()?,
                Some('"') => reader.quoted()?,
                _ => reader.bare()?,
            });
            if segments.len() > MAX_SEGMENTS {
                return Err(reader.fail());
            }
            match reader.peek() {
                None => return Ok(Path(segments)),
                Some('.') => {
                    reader.at += 1;
                    if reader.peek() == Some('[') {
                        return Err(reader.fail());
                    }
                }
                Some('[') => {}
                Some(_) => return Err(reader.fail()),
            }
        }
    }
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn next(&mut self) -> Result<char, PathError> {
        let c = self.peek().ok_or_else(|| self.fail())?;
        self.at += 1;
        Ok(c)
    }

    fn fail(&self) -> PathError {
        PathError { at: self.at + 1 }
    }

    /// `[12]`
    fn index(&mut self) -> Result<Segment, PathError> {
        self.at += 1;
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let digits: String = self.chars[start..self.at].iter().collect();
        let index = digits.parse().map_err(|_| self.fail())?;
        if self.next()? == ']' {
            Ok(Segment::Index(index))
        } else {
            Err(self.fail())
        }
    }

    /// A key without quotes; a backslash takes the next character as it stands.
    fn bare(&mut self) -> Result<Segment, PathError> {
        let mut key = String::new();
        while let Some(c) = self.peek() {
            match c {
                '.' | '[' => break,
                '"' | ']' => return Err(self.fail()),
                '\\' => {
                    self.at += 1;
                    key.push(self.next()?);
                    continue;
                }
                c => key.push(c),
            }
            self.at += 1;
        }
        if key.is_empty() {
            Err(self.fail())
        } else {
            Ok(Segment::Key(key.into()))
        }
    }

    fn quoted(&mut self) -> Result<Segment, PathError> {
        self.at += 1;
        let mut key = String::new();
        loop {
            match self.next()? {
                '"' => return Ok(Segment::Key(key.into())),
                '\\' => match self.next()? {
                    'n' => key.push('\n'),
                    'u' => key.push(self.code_point()?),
                    escaped => key.push(escaped),
                },
                c => key.push(c),
            }
        }
    }

    /// `{1f600}` after `\u`.
    fn code_point(&mut self) -> Result<char, PathError> {
        if self.next()? != '{' {
            return Err(self.fail());
        }
        let mut value = 0_u32;
        loop {
            let c = self.next()?;
            if c == '}' {
                return char::from_u32(value).ok_or_else(|| self.fail());
            }
            let digit = c.to_digit(16).ok_or_else(|| self.fail())?;
            value = value
                .checked_mul(16)
                .and_then(|v| v.checked_add(digit))
                .unwrap_or(u32::MAX);
        }
    }
}
