//! What stands at a place where a secret belongs: a ref, plaintext, a marker, or nothing.
//!
//! Invariant: plaintext is recognised, never kept: no variant and no error holds it.

use super::{Defaults, RefError, SecretRef, Source};
use serde_json::Value;

/// The longest environment name in bytes.
pub const MAX_ENV_NAME: usize = 128;
/// What is written before a ref's text form inside a larger text.
pub const TEXT_PREFIX: &str = "secretref:";
/// The marker in generated files that says "a ref lives in the config"; never a secret.
pub const MANAGED_MARKER: &str = "secretref-managed";
/// What a runtime shows in place of a secret; as a value it is a mistake.
pub const REDACTED_MARKER: &str = "__OPENCLAW_REDACTED__";

/// True if `text` is a name that an `env` ref may have: `^[A-Z][A-Z0-9_]{0,127}$`.
pub fn is_env_name(text: &str) -> bool {
    let first_ok = text.as_bytes().first().is_some_and(u8::is_ascii_uppercase);
    let rest_ok = text
        .bytes()
        .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    first_ok && rest_ok && text.len() <= MAX_ENV_NAME
}

/// What stands at a place where a secret belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretInput {
    /// A ref.
    Ref {
        /// The ref.
        reference: SecretRef,
        /// True if it is written otherwise than as an object with all three keys.
        older: bool,
    },
    /// A value stands there itself. It is not kept.
    Plaintext,
    /// The marker of a generated file.
    Managed,
    /// An empty or blank string, or `null`.
    Empty,
}

impl SecretInput {
    /// Reads what stands at a place where a secret belongs.
    pub fn parse(value: &Value, defaults: &Defaults) -> Result<Self, RefError> {
        match value {
            Value::Null => Ok(SecretInput::Empty),
            Value::String(text) => Self::parse_text(text, defaults),
            Value::Object(object) => {
                let reference = SecretRef::from_json(value, defaults)?;
                Ok(SecretInput::Ref {
                    reference,
                    older: !object.contains_key("provider"),
                })
            }
            Value::Bool(_) | Value::Number(_) | Value::Array(_) => Err(RefError::NotObject),
        }
    }

    /// Reads a string at such a place: an older spelling, [`TEXT_PREFIX`] and a ref, a marker, or
    /// plaintext. A string that only resembles a ref is plaintext, as the family takes it.
    pub fn parse_text(text: &str, defaults: &Defaults) -> Result<Self, RefError> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix(TEXT_PREFIX) {
            let reference = SecretRef::parse_text(rest, defaults)?;
            return Ok(SecretInput::Ref {
                reference,
                older: true,
            });
        }
        if let Some(reference) = older_spelling(text, defaults) {
            return Ok(SecretInput::Ref {
                reference,
                older: true,
            });
        }
        match text {
            "" => Ok(SecretInput::Empty),
            MANAGED_MARKER => Ok(SecretInput::Managed),
            REDACTED_MARKER => Err(RefError::Redacted),
            _ => Ok(SecretInput::Plaintext),
        }
    }

    /// The ref, if one stands there.
    pub fn reference(&self) -> Option<&SecretRef> {
        match self {
            SecretInput::Ref { reference, .. } => Some(reference),
            SecretInput::Plaintext | SecretInput::Managed | SecretInput::Empty => None,
        }
    }
}

/// True if `value` is meant as a ref: an object with `source` and `id`, whatever else it holds.
pub fn resembles_ref(value: &Value) -> bool {
    value.as_object().is_some_and(|object| {
        object.get("source").is_some_and(Value::is_string) && object.contains_key("id")
    })
}

/// The env ref that an older spelling of the family stands for: `${NAME}`, `$NAME`,
/// `secretref-env:NAME`, `__env__:NAME`, each as the whole (trimmed) string.
pub fn older_spelling(text: &str, defaults: &Defaults) -> Option<SecretRef> {
    let text = text.trim();
    let name = text
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
        .or_else(|| text.strip_prefix('$'))
        .or_else(|| text.strip_prefix("secretref-env:"))
        .or_else(|| text.strip_prefix("__env__:"))?;
    SecretRef::new(Source::Env, defaults.alias(Source::Env).clone(), name).ok()
}
