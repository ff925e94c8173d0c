//! Refs inside larger texts: `{{ secretref:… }}` in templates, `NAME=secretref:…` in env files.
//!
//! Invariants: the text around the refs comes out byte for byte; an error names line and column and
//! never repeats the text. A `secretref:` that is not understood is an error, never passed on.

use super::input::{TEXT_PREFIX, older_spelling};
use super::{Defaults, RefError, SecretRef};
use crate::error::{Code, Coded};

/// The largest template or env file in bytes.
pub const MAX_TEXT: usize = 4 << 20;
/// The most refs in one template or env file.
pub const MAX_EMBEDDED_REFS: usize = 4096;
/// The most entries of an env file.
pub const MAX_ENV_ENTRIES: usize = 4096;

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// One piece of a text with refs in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text that stays as it is.
    Text(&'a str),
    /// A ref that its value takes the place of.
    Ref(SecretRef),
}

/// Cuts a template into text and refs. Only `{{ secretref:… }}` is ours; any other braces stay.
pub fn template<'a>(text: &'a str, defaults: &Defaults) -> Result<Vec<Piece<'a>>, TextError> {
    if text.len() > MAX_TEXT {
        return Err(TextError::at(text, 0, Problem::TooLarge));
    }
    pieces(text, 0, text, defaults)
}

/// One entry of an env file.
#[derive(Clone, PartialEq, Eq)]
pub struct EnvEntry {
    /// The name of the variable.
    pub name: String,
    /// The value, in pieces.
    pub value: Vec<EnvPiece>,
    /// The line it stands on, from 1.
    pub line: usize,
}

/// One piece of the value of an env file's entry.
#[derive(Clone, PartialEq, Eq)]
pub enum EnvPiece {
    /// Text that stays as it is. `Debug` does not show it: it may be plaintext.
    Text(String),
    /// A ref that its value takes the place of.
    Ref(SecretRef),
}

impl std::fmt::Debug for EnvEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvEntry")
            .field("name", &self.name)
            .field("value", &self.value)
            .field("line", &self.line)
            .finish()
    }
}

impl std::fmt::Debug for EnvPiece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EnvPiece::Text(text) => write!(f, "Text({} bytes)", text.len()),
            EnvPiece::Ref(reference) => write!(f, "Ref({reference})"),
        }
    }
}

/// Reads an env file: `NAME=value` or `export NAME=value` per line, `#` comments, values bare, in
/// single quotes (as they stand) or in double quotes (`\n \r \t \" \\ \$` are escapes). A value
/// that is `secretref:REF` or an older spelling is a ref; `{{ secretref:REF }}` may stand anywhere
/// in one.
pub fn env_file(text: &str, defaults: &Defaults) -> Result<Vec<EnvEntry>, TextError> {
    if text.len() > MAX_TEXT {
        return Err(TextError::at(text, 0, Problem::TooLarge));
    }
    let mut entries: Vec<EnvEntry> = Vec::new();
    let mut refs = 0;
    let mut offset = 0;
    for (index, full_line) in text.split_inclusive('\n').enumerate() {
        let start = offset;
        offset += full_line.len();
        let line = full_line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |problem| TextError::at(text, start, problem);
        let entry = env_line(line, index + 1, defaults).map_err(fail)?;
        refs += entry
            .value
            .iter()
            .filter(|piece| matches!(piece, EnvPiece::Ref(_)))
            .count();
        if refs > MAX_EMBEDDED_REFS || entries.len() == MAX_ENV_ENTRIES {
            return Err(fail(Problem::TooMany));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn env_line(line: &str, number: usize, defaults: &Defaults) -> Result<EnvEntry, Problem> {
    let (head, raw) = line.split_once('=').ok_or(Problem::NoAssignment)?;
    let head = head.trim();
    let name = head
        .strip_prefix("export")
        .filter(|rest| rest.starts_with([' ', '\t']));
    let name = name.unwrap_or(head).trim();
    if !is_variable(name) {
        return Err(Problem::Name);
    }
    let (value, literal) = unquote(raw.trim())?;
    let whole = value.trim();
    let value = if literal {
        vec![EnvPiece::Text(value)]
    } else if let Some(rest) = whole.strip_prefix(TEXT_PREFIX) {
        vec![EnvPiece::Ref(
            SecretRef::parse_text(rest.trim(), defaults).map_err(Problem::Ref)?,
        )]
    } else if let Some(reference) = older_spelling(whole, defaults) {
        vec![EnvPiece::Ref(reference)]
    } else {
        let pieces = pieces(&value, 0, &value, defaults).map_err(|error| error.problem)?;
        pieces.iter().map(owned).collect::<Result<Vec<_>, _>>()?
    };
    Ok(EnvEntry {
        name: name.to_owned(),
        value,
        line: number,
    })
}

/// A `secretref:` outside braces has no end that could be known, so it is refused.
fn owned(piece: &Piece<'_>) -> Result<EnvPiece, Problem> {
    match piece {
        Piece::Text(text) if text.contains(TEXT_PREFIX) => Err(Problem::Bare),
        Piece::Text(text) => Ok(EnvPiece::Text((*text).to_owned())),
        Piece::Ref(reference) => Ok(EnvPiece::Ref(reference.clone())),
    }
}

/// A name that the environment can hold: letters, digits and `_`, not starting with a digit.
fn is_variable(name: &str) -> bool {
    let first_ok = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    first_ok && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Takes the quotes off a value; true if it stood in single quotes and is to be taken literally.
fn unquote(raw: &str) -> Result<(String, bool), Problem> {
    let mut chars = raw.chars();
    match chars.next() {
        Some('\'') => {
            let (inside, after) = raw[1..].split_once('\'').ok_or(Problem::Quote)?;
            only_comment(after)?;
            Ok((inside.to_owned(), true))
        }
        Some('"') => double_quoted(&raw[1..]).map(|value| (value, false)),
        _ => {
            // A comment after a bare value starts with a space before the `#`.
            let end = raw
                .match_indices('#')
                .find(|(i, _)| *i == 0 || raw[..*i].ends_with([' ', '\t']));
            Ok((
                raw[..end.map_or(raw.len(), |(i, _)| i)]
                    .trim_end()
                    .to_owned(),
                false,
            ))
        }
    }
}

fn double_quoted(inside: &str) -> Result<String, Problem> {
    let mut value = String::with_capacity(inside.len());
    let mut chars = inside.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => {
                only_comment(&inside[i + 1..])?;
                return Ok(value);
            }
            '\\' => match chars.next().ok_or(Problem::Quote)?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                escaped @ ('"' | '\\' | '$') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    Err(Problem::Quote)
}

fn only_comment(after: &str) -> Result<(), Problem> {
    let after = after.trim_start();
    if after.is_empty() || after.starts_with('#') {
        Ok(())
    } else {
        Err(Problem::Quote)
    }
}

/// `base` is where `text` starts in `whole`, for the place in errors.
fn pieces<'a>(
    text: &'a str,
    base: usize,
    whole: &str,
    defaults: &Defaults,
) -> Result<Vec<Piece<'a>>, TextError> {
    let mut found = Vec::new();
    let (mut kept, mut at, mut refs) = (0, 0, 0);
    while let Some(open) = text[at..].find(OPEN).map(|i| at + i) {
        let inside = open + OPEN.len();
        let body = text[inside..].trim_start_matches([' ', '\t']);
        let Some(body) = body.strip_prefix(TEXT_PREFIX) else {
            // One byte on, so that `{{{ secretref:` is found too.
            at = open + 1;
            continue;
        };
        let fail = |problem| TextError::at(whole, base + open, problem);
        let end = body.find(CLOSE).ok_or_else(|| fail(Problem::Unclosed))?;
        let form = &body[..end];
        if form.contains(['\n', '\r']) {
            return Err(fail(Problem::Unclosed));
        }
        let reference = SecretRef::parse_text(form.trim(), defaults);
        refs += 1;
        if refs > MAX_EMBEDDED_REFS {
            return Err(fail(Problem::TooMany));
        }
        if kept < open {
            found.push(Piece::Text(&text[kept..open]));
        }
        found.push(Piece::Ref(
            reference.map_err(|error| fail(Problem::Ref(error)))?,
        ));
        kept = text.len() - body.len() + end + CLOSE.len();
        at = kept;
    }
    if kept < text.len() {
        found.push(Piece::Text(&text[kept..]));
    }
    Ok(found)
}

/// What is wrong with a template or env file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The ref is not one.
    #[error("{0}")]
    Ref(RefError),
    /// No `}}` on the same line.
    #[error("{{{{ secretref: has no }}}} on its line")]
    Unclosed,
    /// `secretref:` in the middle of a value, without braces.
    #[error("a ref inside a value is written {{{{ secretref:REF }}}}")]
    Bare,
    /// A line that is no assignment.
    #[error("a line of an env file is NAME=VALUE")]
    NoAssignment,
    /// The name is none.
    #[error("a variable's name has letters, digits and _, and starts with no digit")]
    Name,
    /// A quote is not closed on its line, or something follows it.
    #[error("a quoted value ends with its quote, on the same line")]
    Quote,
    /// Over [`MAX_EMBEDDED_REFS`] or [`MAX_ENV_ENTRIES`].
    #[error("more than {MAX_EMBEDDED_REFS} refs or {MAX_ENV_ENTRIES} entries")]
    TooMany,
    /// Over [`MAX_TEXT`].
    #[error("larger than {MAX_TEXT} bytes")]
    TooLarge,
}

/// Where and what is wrong in a template or env file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct TextError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: Problem,
}

impl TextError {
    fn at(text: &str, offset: usize, problem: Problem) -> Self {
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        Self {
            line,
            column: before[line_start..].chars().count() + 1,
            problem,
        }
    }
}

impl Coded for TextError {
    fn code(&self) -> Code {
        match &self.problem {
            Problem::Ref(error) => error.code(),
            Problem::TooLarge => Code::FileTooLarge,
            Problem::TooMany => Code::RefLimit,
            _ => Code::TemplateInvalid,
        }
    }
}
crate::error::failure_from!(TextError);
