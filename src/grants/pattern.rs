//! Which refs a grant is about: exact ones, and everything below a name.

use crate::reference::{Defaults, MAX_REF_TEXT, SecretRef, Source};
use std::fmt;

/// Why a pattern was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// A star stands somewhere else.
    #[error("has a * that is not the whole last part: write vault:openai/* or vault:*")]
    Star,
    /// What remains is no ref.
    #[error("is not a ref such as vault:openai/default, or one with * as its last part")]
    Ref,
}

/// A ref, or all refs below a name. There is no other wildcard.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The ref itself; for a pattern with a star, one below it.
    example: SecretRef,
    /// What the id of a ref must start with. `None`: it must be the id of `example`.
    start: Option<String>,
}

impl Pattern {
    /// Reads `source:id` or `source@provider:id`. The last part of the id, after its last `/` (or
    /// the whole id), may be `*`: that takes whatever stands there, further parts included.
    ///
    /// # Errors
    /// A star elsewhere; a text that is no ref.
    pub fn parse(text: &str, defaults: &Defaults) -> Result<Self, PatternError> {
        if text.len() > MAX_REF_TEXT {
            return Err(PatternError::Ref);
        }
        let Some(stem) = text.strip_suffix('*') else {
            if text.contains('*') {
                return Err(PatternError::Star);
            }
            let example = SecretRef::parse_text(text, defaults).map_err(|_| PatternError::Ref)?;
            return Ok(Self {
                example,
                start: None,
            });
        };
        let (_, start) = stem.split_once(':').ok_or(PatternError::Ref)?;
        if stem.contains('*') || !(start.is_empty() || start.ends_with('/')) {
            return Err(PatternError::Star);
        }
        // Every source but `file` takes a letter as the end of an id that is fine so far; an id of
        // `file` starts with a slash.
        let example = ["A", "/A"]
            .into_iter()
            .find_map(|end| SecretRef::parse_text(&format!("{stem}{end}"), defaults).ok());
        Ok(Self {
            example: example.ok_or(PatternError::Ref)?,
            start: Some(start.to_owned()),
        })
    }

    /// True if a ref is one of these. The alias of the provider counts: two aliases of one vault
    /// are two.
    pub fn takes(&self, wanted: &SecretRef) -> bool {
        if wanted.source() != self.example.source() || wanted.provider() != self.example.provider()
        {
            return false;
        }
        match &self.start {
            Some(start) => wanted.id().starts_with(start.as_str()),
            None => wanted.id() == self.example.id(),
        }
    }

    /// True for `vault:*`: every record of the state folder's own vault.
    pub fn takes_all_records(&self) -> bool {
        self.example.source() == Source::Vault
            && self.example.provider().as_str() == "default"
            && self.start.as_deref() == Some("")
    }
}

/// As [`Pattern::parse`] reads it.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(start) = &self.start else {
            return write!(f, "{}", self.example);
        };
        f.write_str(self.example.source().as_str())?;
        if self.example.provider().as_str() != "default" {
            write!(f, "@{}", self.example.provider())?;
        }
        write!(f, ":{start}*")
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}
