//! The token files of AgentOS: their names and their content, bytes in and bytes out.
//!
//! Invariants: what is read is what AgentOS reads (its `FileTokenStore`), or stricter; what is
//! written it reads. Members of ours stand beside its own, which ignores and drops them. No error
//! holds a part of a file. No file is opened here.

use crate::document::extract::{Miss, members, unescape};
use crate::oauth::tokens::is_token;
use crate::oauth::{RefreshToken, TokenSet};
use crate::secret::SecretValue;
use crate::secret::json::{Part, object};
use crate::time::UnixMs;
use std::collections::{BTreeMap, HashMap};

/// The largest token file in bytes.
pub const MAX_TOKEN_FILE: usize = 512 * 1024;
/// The longest provider id in bytes: with what is put behind it, it is the name of a file.
pub const MAX_PROVIDER_ID: usize = 128;
/// The most members of `metadata` that are kept.
pub const MAX_METADATA: usize = 64;
/// The last point in time that JavaScript knows (ECMA-262, 21.4.1.1). AgentOS wants a number for
/// the end of a token, so this stands for an end that is not known.
const NO_END: u64 = 8_640_000_000_000_000;

/// What a token file holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The tokens.
    pub tokens: TokenSet,
    /// Whose they are, if the file says so: AgentOS does not write it.
    pub provider_id: Option<String>,
}

/// Why a file is no token file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Over [`MAX_TOKEN_FILE`].
    #[error("it is larger than {MAX_TOKEN_FILE} bytes")]
    TooLarge,
    /// Not UTF-8, not JSON, or not an object.
    #[error("it is not a JSON object")]
    NotJson,
    /// `accessToken` is missing or not a token.
    #[error("its accessToken is missing or can't be a token")]
    AccessToken,
    /// `expiresAt` is missing or not a number.
    #[error("its expiresAt is missing or not a number")]
    ExpiresAt,
}

/// What AgentOS makes of a provider id for the name of its file: `_` for each UTF-16 unit that is
/// none of `a-z`, `A-Z`, `0-9`, `_` and `-`. Two ids can have one name.
pub fn sanitized(provider_id: &str) -> String {
    let mut name = String::with_capacity(provider_id.len());
    for c in provider_id.chars() {
        if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
            name.push(c);
        } else {
            (0..c.len_utf16()).for_each(|_| name.push('_'));
        }
    }
    name
}

/// Reads a token file. `written_at` is when the file was last written: it stands in for the time at
/// which the token was obtained, which AgentOS does not keep.
///
/// # Errors
/// It holds no tokens that could be used.
pub fn parse(bytes: &[u8], written_at: UnixMs) -> Result<Entry, Unusable> {
    const KEYS: [&str; 7] = [
        "accessToken",
        "refreshToken",
        "expiresAt",
        "idToken",
        "metadata",
        "obtainedAt",
        "providerId",
    ];
    if bytes.len() > MAX_TOKEN_FILE {
        return Err(Unusable::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Unusable::NotJson)?;
    let wanted: HashMap<&str, usize> = KEYS.into_iter().zip(0..).collect();
    let found = members(text, &wanted).map_err(|_| Unusable::NotJson)?;
    let token = |place: usize| -> Option<SecretValue> {
        let value: Result<_, Miss> = unescape(found[place]?);
        value.ok().filter(is_token)
    };
    let number = |place: usize| found[place].and_then(milliseconds);
    let access = token(0).ok_or(Unusable::AccessToken)?;
    let expires_at = number(2).ok_or(Unusable::ExpiresAt)?;
    Ok(Entry {
        tokens: TokenSet {
            access: access.into(),
            refresh: token(1).map(RefreshToken::from),
            id_token: token(3).map(Into::into),
            obtained_at: number(5).unwrap_or(written_at),
            expires_at: (expires_at.0 < NO_END).then_some(expires_at),
            metadata: found[4].map(metadata).unwrap_or_default(),
        },
        provider_id: found[6].and_then(|raw| serde_json::from_str(raw).ok()),
    })
}

/// The content of a token file, in locked memory; `None` if it would be over [`MAX_TOKEN_FILE`], or
/// would not [parse].
pub fn write(provider_id: &str, tokens: &TokenSet) -> Option<SecretValue> {
    let secrets = [
        ("accessToken", Some(tokens.access.secret())),
        ("refreshToken", tokens.refresh.as_ref().map(|t| t.secret())),
        ("idToken", tokens.id_token.as_ref().map(|t| t.secret())),
    ];
    let secrets = secrets.map(|(name, value)| Some((name, value?)));
    if !secrets.iter().flatten().all(|(_, value)| is_token(value)) {
        return None;
    }
    let expires_at = tokens.expires_at.map_or(NO_END, |end| end.0.min(NO_END));
    let (expires_at, obtained_at) = (expires_at.to_string(), tokens.obtained_at.0.to_string());
    // Serialising strings can't fail.
    let metadata = serde_json::to_string_pretty(&tokens.metadata).unwrap_or_default();
    let mut parts = Vec::with_capacity(7);
    let secret = |(name, value)| (name, Part::Secret("", value));
    parts.extend(secrets.into_iter().flatten().map(secret));
    parts.push(("expiresAt", Part::Json(&expires_at)));
    if !tokens.metadata.is_empty() {
        parts.push(("metadata", Part::Json(&metadata)));
    }
    parts.push(("obtainedAt", Part::Json(&obtained_at)));
    parts.push(("providerId", Part::Text(provider_id)));
    let fits = tokens.metadata.len() <= MAX_METADATA;
    let document = object(&parts);
    (fits && document.len() <= MAX_TOKEN_FILE).then_some(document)
}

/// A number of milliseconds as JavaScript may write it; what lies before 1970 is 1970.
fn milliseconds(raw: &str) -> Option<UnixMs> {
    let raw = raw.trim_matches([' ', '\t', '\n', '\r']);
    let number: serde_json::Number = serde_json::from_str(raw).ok()?;
    let whole = number.as_u64();
    // `as` saturates: what no u64 holds is the nearest one.
    whole.or_else(|| Some(number.as_f64()? as u64)).map(UnixMs)
}

/// The texts among the members of `metadata`.
fn metadata(raw: &str) -> BTreeMap<String, String> {
    let members: BTreeMap<String, serde_json::Value> =
        serde_json::from_str(raw).unwrap_or_default();
    let text = |(name, value)| match value {
        serde_json::Value::String(text) => Some((name, text)),
        _ => None,
    };
    let texts = members.into_iter().filter_map(text);
    texts.take(MAX_METADATA).collect()
}

#[cfg(test)]
mod tests;
