//! A text with values in it.

use super::{Lookup, resolve_all};
use crate::error::{Code, Coded, Failure};
use crate::reference::Defaults;
use crate::reference::embedded::{self, Piece};
use crate::secret::SecretValue;
use crate::store::files;
use std::path::Path;

/// The largest filled text in bytes.
pub const MAX_FILLED: usize = 64 << 20;

/// Fills the `{{ secretref:… }}` of a template; `origin` names it in errors. Any other text, other
/// braces included, stays as it is.
///
/// # Errors
/// `template.invalid` and others of [`embedded::template`], with the line; what [`Lookup`] says of
/// refs; `input.too_large` over [`MAX_FILLED`].
pub fn inject(
    origin: &str,
    template: &SecretValue,
    defaults: &Defaults,
    lookup: &mut dyn Lookup,
) -> Result<SecretValue, Failure> {
    let fail =
        |code, problem: &dyn std::fmt::Display| Failure::new(code, format!("{origin}: {problem}"));
    let text = std::str::from_utf8(template.expose()).map_err(|error| {
        let before = &template.expose()[..error.valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        fail(
            Code::TemplateInvalid,
            &format_args!("line {line}: not UTF-8"),
        )
    })?;
    let pieces = embedded::template(text, defaults).map_err(|error| fail(error.code(), &error))?;
    let mut mentions = Vec::new();
    let mut line = 1;
    for piece in &pieces {
        match piece {
            Piece::Text(text) => line += text.bytes().filter(|byte| *byte == b'\n').count(),
            Piece::Ref(reference) => mentions.push((reference, format!("{origin}: line {line}"))),
        }
    }
    let values = resolve_all(lookup, &mentions)?;
    let parts: Vec<&[u8]> = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.as_bytes(),
            Piece::Ref(reference) => values
                .get(reference)
                .map_or(&[][..], |value| value.expose()),
        })
        .collect();
    let total = parts
        .iter()
        .map(|part| part.len())
        .fold(0, usize::saturating_add);
    if total > MAX_FILLED {
        let problem = format_args!("the filled text is larger than {MAX_FILLED} bytes");
        return Err(fail(Code::InputTooLarge, &problem));
    }
    Ok(SecretValue::build(total, |target| {
        let mut at = 0;
        for part in parts {
            target[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
    }))
}

/// Writes a filled template to a file: mode 0600 even if the file was there with another, replaced
/// in one step; a symlink is followed, not replaced.
///
/// # Errors
/// `file.permission`, `file.io`.
pub fn write_private(out: &Path, filled: &SecretValue) -> Result<(), Failure> {
    Ok(files::overwrite(out, filled.expose())?)
}
