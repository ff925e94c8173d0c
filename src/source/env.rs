//! The environment of the process that asked.

use crate::error::{Code, Coded};
use crate::secret::{MAX_VALUE, SecretValue};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use zeroize::Zeroizing;

/// Resolves one `env` ref. `allowlist`: `None` allows every name.
pub fn resolve(
    name: &str,
    allowlist: Option<&[String]>,
    lookup: &dyn Fn(&str) -> Option<OsString>,
) -> Result<SecretValue, EnvError> {
    let named = || name.to_owned();
    if allowlist.is_some_and(|allowed| !allowed.iter().any(|entry| entry == name)) {
        return Err(EnvError::NotAllowed(named()));
    }
    let value = lookup(name).ok_or_else(|| EnvError::Unset(named()))?;
    let value = Zeroizing::new(value.into_vec());
    match value.len() {
        0 => Err(EnvError::Empty(named())),
        1..=MAX_VALUE => Ok(SecretValue::copy_of(&value)),
        _ => Err(EnvError::TooLarge(named())),
    }
}

/// Why an `env` ref gives no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvError {
    /// There is no such variable.
    #[error("environment variable {0} is not set")]
    Unset(String),
    /// The variable is empty.
    #[error("environment variable {0} is empty")]
    Empty(String),
    /// The provider's allow-list does not have it.
    #[error("environment variable {0} is not on the provider's allowlist")]
    NotAllowed(String),
    /// Over [`MAX_VALUE`].
    #[error("environment variable {0} is larger than {MAX_VALUE} bytes")]
    TooLarge(String),
}

impl Coded for EnvError {
    fn code(&self) -> Code {
        match self {
            EnvError::Unset(_) => Code::RefAbsent,
            EnvError::Empty(_) => Code::RefEmpty,
            EnvError::NotAllowed(_) => Code::RefDenied,
            EnvError::TooLarge(_) => Code::SourceTooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<OsString> {
        match name {
            "FULL" => Some("value".into()),
            "EMPTY" => Some(OsString::new()),
            "BYTES" => Some(OsString::from_vec(vec![0xff, 0xfe])),
            "LARGEST" => Some(OsString::from_vec(vec![b'x'; MAX_VALUE])),
            "LARGER" => Some(OsString::from_vec(vec![b'x'; MAX_VALUE + 1])),
            _ => None,
        }
    }

    #[test]
    fn unset_empty_and_not_allowed_are_three_errors() {
        let only_full = ["FULL".to_owned()];
        let code = |name, allowlist| resolve(name, allowlist, &lookup).unwrap_err().code();
        assert_eq!(code("MISSING", None), Code::RefAbsent);
        assert_eq!(code("EMPTY", None), Code::RefEmpty);
        assert_eq!(code("FULL", Some(&[][..])), Code::RefDenied);
        assert_eq!(code("MISSING", Some(&only_full[..])), Code::RefDenied);
        assert_eq!(code("LARGER", None), Code::SourceTooLarge);
    }

    #[test]
    fn values_come_byte_for_byte() {
        let only_full = ["FULL".to_owned()];
        let value = |name, allowlist| resolve(name, allowlist, &lookup).unwrap();
        assert_eq!(value("FULL", Some(&only_full[..])).expose(), b"value");
        assert_eq!(value("BYTES", None).expose(), [0xff, 0xfe]);
        assert_eq!(value("LARGEST", None).len(), MAX_VALUE);
    }
}
