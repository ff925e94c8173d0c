//! One variable of a program's environment, and what its value is made of.

use crate::error::{Code, Coded, Failure};
use crate::reference::embedded::{self, EnvPiece};
use crate::reference::{Defaults, SecretRef};
use crate::secret::SecretValue;

/// One variable of the program's environment: a name, and text with refs in it.
#[derive(Debug)]
pub struct Binding {
    name: String,
    pieces: Vec<EnvPiece>,
}

impl Binding {
    /// A variable that is one ref.
    ///
    /// # Errors
    /// `input.invalid` if `name` is no name of a variable.
    pub fn of(name: &str, reference: SecretRef) -> Result<Self, Failure> {
        let first_ok = name
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !first_ok || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            let text = "a variable's name has letters, digits and _, and starts with no digit";
            return Err(Failure::new(Code::InputInvalid, text));
        }
        Ok(Self {
            name: name.to_owned(),
            pieces: vec![EnvPiece::Ref(reference)],
        })
    }

    /// Parses `NAME=REF`, the argument of `--env`; `secretref:` before REF is allowed.
    ///
    /// # Errors
    /// `input.invalid`, `ref.invalid`. What stood behind the `=` is not repeated, as it may be a
    /// value.
    pub fn parse(text: &str, defaults: &Defaults) -> Result<Self, Failure> {
        let (name, reference) = text
            .split_once('=')
            .ok_or_else(|| Failure::new(Code::InputInvalid, "--env takes NAME=REF"))?;
        let reference = reference.strip_prefix("secretref:").unwrap_or(reference);
        let reference = SecretRef::parse_text(reference, defaults)
            .map_err(|error| Failure::new(error.code(), format!("--env {name}: {error}")))?;
        Self::of(name, reference)
    }

    /// Parses the lines of an env file; `origin` names it in errors.
    ///
    /// # Errors
    /// `template.invalid` and others of [`embedded::env_file`], with the line.
    pub fn from_env_file(
        origin: &str,
        bytes: SecretValue,
        defaults: &Defaults,
    ) -> Result<Vec<Self>, Failure> {
        let text = std::str::from_utf8(bytes.expose()).map_err(|error| {
            let line = 1 + bytes.expose()[..error.valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            Failure::new(
                Code::TemplateInvalid,
                format!("{origin}: line {line}: not UTF-8"),
            )
        })?;
        let entries = embedded::env_file(text, defaults)
            .map_err(|error| Failure::new(error.code(), format!("{origin}: {error}")))?;
        let binding = |entry: embedded::EnvEntry| Self {
            name: entry.name,
            pieces: entry.value,
        };
        Ok(entries.into_iter().map(binding).collect())
    }

    /// The name of the variable.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The refs in it.
    pub fn refs(&self) -> impl Iterator<Item = &SecretRef> {
        self.pieces().iter().filter_map(|piece| match piece {
            EnvPiece::Ref(reference) => Some(reference),
            EnvPiece::Text(_) => None,
        })
    }

    pub(super) fn pieces(&self) -> &[EnvPiece] {
        &self.pieces
    }
}
