//! One change of a file as a person sees it.
//!
//! Invariant: nothing here holds a value; of one that stood there only its class of length is kept.

use crate::reference::SecretRef;
use std::fmt;

/// A change at one place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The place: a path, or what is found there.
    pub place: String,
    /// The line, from 1, where that is known.
    pub line: Option<usize>,
    /// What stands there.
    pub before: Shown,
    /// What shall stand there.
    pub after: Shown,
}

/// What stands at a place, as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// A value, of about this length.
    Masked(Length),
    /// A ref.
    Ref(SecretRef),
    /// Text that is no secret.
    Text(String),
}

impl Shown {
    /// A value of this many bytes.
    pub fn masked(bytes: usize) -> Self {
        Shown::Masked(Length::of(bytes))
    }
}

/// A class of lengths: enough to tell a key from a certificate, and too little to tell one key
/// from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// At most 16 bytes.
    Short,
    /// At most 64 bytes.
    Key,
    /// At most 1024 bytes.
    Token,
    /// More.
    Document,
}

impl Length {
    fn of(bytes: usize) -> Self {
        match bytes {
            0..=16 => Length::Short,
            17..=64 => Length::Key,
            65..=1024 => Length::Token,
            _ => Length::Document,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Length::Short => "at most 16 bytes",
            Length::Key => "17 to 64 bytes",
            Length::Token => "65 to 1024 bytes",
            Length::Document => "over 1024 bytes",
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shown::Nothing => f.write_str("(nothing)"),
            Shown::Masked(length) => write!(f, "(a plaintext value, {})", length.as_str()),
            Shown::Ref(reference) => fmt::Display::fmt(reference, f),
            Shown::Text(text) => f.write_str(text),
        }
    }
}
