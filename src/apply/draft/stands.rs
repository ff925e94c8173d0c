//! What stands at a place of a config now.

use crate::apply::edit::Shown;
use crate::config::{Config, Path};
use crate::document::Editing;
use crate::reference::{SecretInput, SecretRef};
use crate::secret::SecretValue;
use zeroize::Zeroizing;

/// What is shown of a ref in an older spelling, which is a text of the file.
pub(super) const OLDER: &str = "(the same ref in an older spelling)";

/// What stands at a place now.
pub(super) enum Stands {
    /// A value, which moves.
    Value(SecretValue),
    /// The ref already.
    Done,
    /// The ref already, in an older spelling.
    Respelled,
    /// Nothing, or another ref.
    Free(Shown),
}

/// Where the ref of a place goes: beside it for a service account, else into it.
pub(super) fn ref_field(path: &Path) -> Path {
    match (path.last().and_then(|s| s.as_key()), path.parent()) {
        (Some("serviceAccount"), Some(parent)) => parent.join("serviceAccountRef"),
        _ => path.clone(),
    }
}

pub(super) fn stands_at(
    document: &Editing,
    path: &Path,
    field: &Path,
    reference: &SecretRef,
    config: &Config,
) -> Result<Stands, String> {
    let there = |path| {
        document
            .get(path)
            .map(|value| SecretInput::parse(value, &config.defaults))
    };
    let is_done = |input: &SecretInput| match input {
        SecretInput::Ref {
            reference: there,
            older,
        } => there == reference && !older,
        SecretInput::Plaintext | SecretInput::Managed | SecretInput::Empty => false,
    };
    let other = match there(field) {
        Some(Ok(input)) if field != path && is_done(&input) && document.get(path).is_none() => {
            return Ok(Stands::Done);
        }
        Some(Ok(SecretInput::Ref { reference, .. })) => Shown::Ref(reference),
        _ => Shown::Nothing,
    };
    let Some(value) = document.get(path) else {
        return Ok(Stands::Free(other));
    };
    match there(path) {
        Some(Ok(SecretInput::Plaintext)) => {
            let text = value.as_str().unwrap_or_default().trim();
            Ok(Stands::Value(SecretValue::copy_of(text.as_bytes())))
        }
        Some(Ok(input)) if field == path && is_done(&input) => Ok(Stands::Done),
        Some(Ok(input)) if field == path && input.reference() == Some(reference) => {
            Ok(Stands::Respelled)
        }
        Some(Ok(_)) | None => Ok(Stands::Free(other)),
        // A service account may be an object by itself.
        Some(Err(_)) if field != path && value.is_object() => {
            let text = Zeroizing::new(value.to_string());
            Ok(Stands::Value(SecretValue::copy_of(text.as_bytes())))
        }
        Some(Err(error)) => Err(format!("what stands there can't be moved: {error}")),
    }
}
