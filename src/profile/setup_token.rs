//! Anthropic's setup tokens: what `claude setup-token` prints, pasted by a person.

use crate::error::{Code, Coded};
use crate::name::{NameError, ProfileId};
use std::ops::Range;
use std::time::Duration;

/// How every setup token starts.
pub const PREFIX: &str = "sk-ant-oat01-";
/// The shortest setup token in bytes, without white space around it.
pub const MIN_LEN: usize = 80;
/// The longest.
pub const MAX_LEN: usize = 4096;
/// How long a setup token is valid from its issue.
pub const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long before its end a person is warned.
pub const WARN_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Checks a pasted setup token; gives the range of it without the white space around it.
///
/// # Errors
/// What a person has to know to paste the right thing.
pub fn check(pasted: &[u8]) -> Result<Range<usize>, SetupTokenError> {
    let start = pasted
        .iter()
        .take_while(|b| b.is_ascii_whitespace())
        .count();
    let token = pasted.trim_ascii();
    if token.is_empty() {
        return Err(SetupTokenError::Empty);
    }
    if !token.starts_with(PREFIX.as_bytes()) {
        return Err(SetupTokenError::Prefix);
    }
    if token.len() < MIN_LEN {
        return Err(SetupTokenError::Short);
    }
    if token.len() > MAX_LEN || !token.iter().all(u8::is_ascii_graphic) {
        return Err(SetupTokenError::Characters);
    }
    Ok(start..start + token.len())
}

/// The id of the profile for a pasted token: `provider:name`, the name in the form of
/// [`normal_name`]; `default_name` if nothing is left of it.
///
/// # Errors
/// The provider can't be part of a profile id.
pub fn profile_id(
    provider: &str,
    name: Option<&str>,
    default_name: &str,
) -> Result<ProfileId, NameError> {
    let name = name.map(normal_name).filter(|name| !name.is_empty());
    let name = name.as_deref().unwrap_or(default_name);
    format!("{}:{name}", super::normal_provider(provider)).parse()
}

/// A name as it stands in a profile id: lower-case, every run of other characters than
/// `a-z 0-9 . _` as one `-`, none at the ends.
pub fn normal_name(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for c in name.trim().to_lowercase().chars() {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') {
            normal.push(c);
        } else if !normal.ends_with('-') {
            normal.push('-');
        }
    }
    normal.trim_matches('-').to_owned()
}

/// Why a pasted text is no setup token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetupTokenError {
    /// Nothing.
    #[error("a setup token is required")]
    Empty,
    /// Something else.
    #[error("expected a token that starts with {PREFIX}")]
    Prefix,
    /// A part of one.
    #[error("the token looks too short; paste the full setup token")]
    Short,
    /// White space or other characters inside, or far too long.
    #[error("the token holds characters that no token has, or is too long")]
    Characters,
}

impl Coded for SetupTokenError {
    fn code(&self) -> Code {
        Code::InputInvalid
    }
}
crate::error::failure_from!(SetupTokenError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_token_is_valid_for_a_year_and_warned_of_for_thirty_days() {
        assert_eq!(LIFETIME.as_secs(), 31_536_000);
        assert_eq!(WARN_BEFORE.as_secs(), 2_592_000);
    }
}
