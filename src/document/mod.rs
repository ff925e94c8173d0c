//! JSON with comments, edited in place.
//!
//! [`Document::parse`] reads JSON, JSON with comments and trailing commas, and the JSON5 spellings
//! that the family's own reader takes. [`Document::set`] and [`Document::remove`] change one place;
//! comments, order, indentation and every other value stay as they are, byte for byte outside the
//! object or array that is edited. [`Editing`] makes many such changes at the cost of one.
//!
//! Invariants: an edit is read back and compared with what it should give before it counts; errors
//! name file, line, column and byte and never quote the file, which may hold plaintext secrets; no
//! key stands twice in one object, so what one reader sees is what every reader sees. Nothing here
//! knows what a document means, and nothing here touches a file.
#![forbid(unsafe_code)]

mod edit;
mod editing;
pub mod extract;
mod lines;
mod path;
mod plain;
mod tree;

pub use editing::Editing;
pub use lines::Lines;
pub use path::{MAX_PATH_TEXT, MAX_SEGMENTS, Path, PathError, Segment};

use crate::error::{Code, Coded};
use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::errors::{ParseError, ParseErrorKind};
use jsonc_parser::{CollectOptions, CommentCollectionStrategy, ParseOptions, parse_to_ast};
use serde_json::{Map, Number, Value};
use std::fmt;
use zeroize::Zeroizing;

/// The largest document in bytes.
pub const MAX_DOCUMENT: usize = 4 << 20;
/// The deepest nesting of objects and arrays.
pub const MAX_DEPTH: usize = 128;

const BOM: char = '\u{feff}';

/// A parsed text that can be edited in place.
#[derive(Clone)]
pub struct Document {
    name: String,
    text: Zeroizing<String>,
    value: Value,
}

/// Where something stands in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The byte, from 0.
    pub byte: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "line {}, column {} (byte {})",
            self.line, self.column, self.byte
        )
    }
}

impl Document {
    /// Parses a text; `name` is what errors call the file.
    ///
    /// # Errors
    /// Syntax errors with their place; [`MAX_DOCUMENT`] and [`MAX_DEPTH`] exceeded.
    pub fn parse(text: &str, name: &str) -> Result<Self, DocumentError> {
        Self::parse_up_to(text, name, MAX_DOCUMENT)
    }

    /// [`Document::parse`] for what may be larger than a config: at most `max` bytes. An edit still
    /// has to end within [`MAX_DOCUMENT`].
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn parse_up_to(text: &str, name: &str, max: usize) -> Result<Self, DocumentError> {
        if text.len() > max {
            return Err(DocumentError::TooLarge {
                file: name.to_owned(),
                max,
            });
        }
        let value = read(text, name)?;
        Ok(Self {
            name: name.to_owned(),
            text: Zeroizing::new(text.to_owned()),
            value,
        })
    }

    /// Parses bytes, which have to be UTF-8.
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn parse_bytes(bytes: &[u8], name: &str) -> Result<Self, DocumentError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text, name),
            Err(error) => {
                let byte = error.valid_up_to();
                let before = String::from_utf8_lossy(&bytes[..byte]);
                let place = position(&before, byte);
                let problem = "not UTF-8".to_owned();
                Err(DocumentError::Syntax {
                    file: name.to_owned(),
                    place,
                    problem,
                })
            }
        }
    }

    /// A document that holds an empty object.
    pub fn empty(name: &str) -> Self {
        let text = Zeroizing::new("{}\n".to_owned());
        Self {
            name: name.to_owned(),
            text,
            value: Value::Object(Map::new()),
        }
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text, with every edit.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole value.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value at a path.
    pub fn get(&self, path: &Path) -> Option<&Value> {
        path.segments()
            .iter()
            .try_fold(&self.value, |value, segment| step(value, segment))
    }

    /// Where the value at a path stands.
    pub fn position(&self, path: &Path) -> Option<Position> {
        let text = self.text.strip_prefix(BOM).unwrap_or(&self.text);
        let parsed = parsing(text, |text| parse_to_ast(text, &collect(), &options()));
        let root = parsed.ok()?.value?;
        let found = path
            .segments()
            .iter()
            .try_fold(&root, |node, segment| match node {
                ast::Value::Object(object) => {
                    let key = segment.as_key()?;
                    let property = object.properties.iter().find(|p| p.name.as_str() == key)?;
                    Some(&property.value)
                }
                ast::Value::Array(array) => array.elements.get(segment.as_index()?),
                _ => None,
            })?;
        let byte = found.range().start + (self.text.len() - text.len());
        Some(position(&self.text, byte))
    }

    /// Puts a value at a path, in place of what is there or as a new last member; objects on the
    /// way are made. An array grows only by its next element.
    ///
    /// # Errors
    /// [`DocumentError::Blocked`] if something else than an object or array stands in the way.
    pub fn set(&mut self, path: &Path, value: Value) -> Result<(), DocumentError> {
        let mut editing = Editing::of(self.clone());
        editing.set(path, value)?;
        *self = editing.document()?;
        Ok(())
    }

    /// Takes the member or element at a path out; false if there is none.
    ///
    /// # Errors
    /// None that a valid document can cause, but [`DocumentError::Edit`] if the result is not what
    /// it should be.
    pub fn remove(&mut self, path: &Path) -> Result<bool, DocumentError> {
        let mut editing = Editing::of(self.clone());
        let removed = editing.remove(path)?;
        *self = editing.document()?;
        Ok(removed)
    }
}

/// Shows the name and the size only.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Document({}, {} bytes)", self.name, self.text.len())
    }
}

fn step<'a>(value: &'a Value, segment: &Segment) -> Option<&'a Value> {
    match value {
        Value::Object(object) => object.get(segment.as_key()?),
        Value::Array(array) => array.get(segment.as_index()?),
        _ => None,
    }
}

fn options() -> ParseOptions {
    ParseOptions {
        allow_missing_commas: false,
        ..ParseOptions::default()
    }
}

fn collect() -> CollectOptions {
    CollectOptions {
        comments: CommentCollectionStrategy::Off,
        tokens: false,
    }
}

/// Has a text parsed. Every parser is called through this, so that a test can count what it costs.
fn parsing<'a, T>(text: &'a str, parse: impl FnOnce(&'a str) -> T) -> T {
    #[cfg(test)]
    cost::add(text.len());
    parse(text)
}

/// The bytes that were parsed on this thread.
#[cfg(test)]
pub(crate) mod cost {
    use std::cell::Cell;

    thread_local!(static PARSED: Cell<usize> = const { Cell::new(0) });

    pub(super) fn add(bytes: usize) {
        PARSED.set(PARSED.get() + bytes);
    }

    /// What `work` has parsed, in bytes.
    pub(crate) fn of(work: impl FnOnce()) -> usize {
        let before = PARSED.get();
        work();
        PARSED.get() - before
    }
}

/// Parses the text into a value.
fn read(full: &str, name: &str) -> Result<Value, DocumentError> {
    match parsing(full.strip_prefix(BOM).unwrap_or(full), plain::read) {
        Some(value) => Ok(value),
        None => read_with_places(full, name),
    }
}

/// [`read`], for every text that is accepted, and with the place of an error.
fn read_with_places(full: &str, name: &str) -> Result<Value, DocumentError> {
    let text = full.strip_prefix(BOM).unwrap_or(full);
    let reader = Reader {
        full,
        base: full.len() - text.len(),
        name,
    };
    let parsed = parsing(text, |text| parse_to_ast(text, &collect(), &options()));
    let parsed = parsed.map_err(|e| reader.syntax(&e))?;
    match parsed.value {
        Some(value) => reader.value(value, 0),
        None => Err(reader.fail(text.len(), "there is no JSON value")),
    }
}

struct Reader<'a> {
    full: &'a str,
    base: usize,
    name: &'a str,
}

impl Reader<'_> {
    fn value(&self, node: ast::Value<'_>, depth: usize) -> Result<Value, DocumentError> {
        if depth > MAX_DEPTH {
            return Err(self.fail(node.range().start, "nested too deeply"));
        }
        Ok(match node {
            ast::Value::NullKeyword(_) => Value::Null,
            ast::Value::BooleanLit(node) => Value::Bool(node.value),
            ast::Value::StringLit(node) => Value::String(node.value.into_owned()),
            ast::Value::NumberLit(node) => Value::Number(
                number(node.value)
                    .ok_or_else(|| self.fail(node.range.start, "a number that JSON can't hold"))?,
            ),
            ast::Value::Array(node) => Value::Array(
                node.elements
                    .into_iter()
                    .map(|element| self.value(element, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            ast::Value::Object(node) => {
                let mut object = Map::with_capacity(node.properties.len());
                for property in node.properties {
                    let start = property.range.start;
                    let value = self.value(property.value, depth + 1)?;
                    if object.insert(property.name.into_string(), value).is_some() {
                        return Err(self.fail(start, "a key that stands twice in its object"));
                    }
                }
                Value::Object(object)
            }
        })
    }

    fn fail(&self, byte: usize, problem: &str) -> DocumentError {
        let place = position(self.full, self.base + byte);
        DocumentError::Syntax {
            file: self.name.to_owned(),
            place,
            problem: problem.to_owned(),
        }
    }

    fn syntax(&self, error: &ParseError) -> DocumentError {
        use ParseErrorKind as P;
        let end = self.full.len() - self.base;
        match error.kind() {
            P::UnterminatedObject | P::UnterminatedArray => {
                self.fail(end, "the file ends inside an object or array")
            }
            P::UnterminatedCommentBlock => self.fail(end, "the file ends inside a comment"),
            P::ExpectedObjectValue if error.range().start >= end => {
                self.fail(end, "the file ends where a value is expected")
            }
            P::NestingDepthExceeded => self.fail(error.range().start, "nested too deeply"),
            // This kind can repeat a part of the text; all others are fixed sentences.
            P::String(_) => self.fail(error.range().start, "a string that is not ended or valid"),
            kind => self.fail(error.range().start, &kind.to_string().to_lowercase()),
        }
    }
}

/// Decimal, hexadecimal, with a sign, with a bare point: as JSON5 has it. Not infinite, not NaN.
fn number(text: &str) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if let Some(hex) = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        let value = u64::from_str_radix(hex, 16).ok()?;
        return if negative {
            i64::try_from(value).ok().map(|value| Number::from(-value))
        } else {
            Some(Number::from(value))
        };
    }
    let mut plain = String::with_capacity(text.len() + 2);
    plain.push_str(if negative { "-" } else { "" });
    plain.push_str(if digits.starts_with('.') { "0" } else { "" });
    match digits.find(['e', 'E']) {
        _ if digits.ends_with('.') => {
            plain.push_str(digits);
            plain.push('0');
        }
        Some(at) if digits[..at].ends_with('.') => {
            plain.push_str(&digits[..at]);
            plain.push('0');
            plain.push_str(&digits[at..]);
        }
        _ => plain.push_str(digits),
    }
    plain.parse().ok()
}

fn position(text: &str, byte: usize) -> Position {
    let mut end = byte.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = &text[..end];
    let line_start = before.rfind('\n').map_or(0, |i| i + 1);
    Position {
        line: before.bytes().filter(|b| *b == b'\n').count() + 1,
        column: before[line_start..].chars().filter(|c| *c != BOM).count() + 1,
        byte,
    }
}

/// Why a document could not be read or edited. Quotes nothing of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not the JSON that is accepted.
    #[error("{file}: {place}: {problem}")]
    Syntax {
        /// The file.
        file: String,
        /// Where in it.
        place: Position,
        /// What is wrong there.
        problem: String,
    },
    /// Over its limit, [`MAX_DOCUMENT`] for most.
    #[error("{file}: larger than {max} bytes")]
    TooLarge {
        /// The file.
        file: String,
        /// The limit in bytes.
        max: usize,
    },
    /// Something that is neither an object nor an array, or an array without that element.
    #[error("{file}: {path} can't be set: what stands above it has no such place")]
    Blocked {
        /// The file.
        file: String,
        /// The path that was to be set.
        path: Path,
    },
    /// The edited text did not read back as it should.
    #[error("{file}: editing {path} did not give the expected result; nothing was changed")]
    Edit {
        /// The file.
        file: String,
        /// The path that was edited.
        path: Path,
    },
}

impl Coded for DocumentError {
    fn code(&self) -> Code {
        match self {
            DocumentError::Syntax { .. } | DocumentError::Blocked { .. } => Code::ConfigInvalid,
            DocumentError::TooLarge { .. } => Code::FileTooLarge,
            DocumentError::Edit { .. } => Code::Bug,
        }
    }
}
crate::error::failure_from!(DocumentError);

#[cfg(test)]
mod tests;
