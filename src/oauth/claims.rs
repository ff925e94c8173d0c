//! What a JWT says of itself: the payload, read without checking the signature.
//!
//! The token came over TLS from the server that made it (OpenID Connect Core section 3.1.3.7 takes
//! that instead of the signature), and what is read only labels an account and times a refresh:
//! nothing is permitted because of it.

use super::answer::is_printable;
use super::tokens::MAX_TOKEN;
use crate::crypto::hash::equal;
use crate::secret::SecretValue;
use crate::time::UnixMs;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};
use std::fmt;
use zeroize::Zeroizing;

/// The longest claim that is read, in bytes.
pub const MAX_CLAIM: usize = 512;
/// The longest path of a claim, in bytes, and how many objects it may lead through.
pub const MAX_CLAIM_PATH: usize = 256;
const MAX_DEPTH: usize = 4;

/// Where OpenAI's tokens hold the address.
const OPENAI_EMAIL: &str = "https://api.openai.com/profile/email";

/// The claims of a JWT. `Debug` shows none.
#[derive(Clone, PartialEq)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// Reads the payload of a JWT (RFC 7519); `None` if the token is none. Most access tokens are
    /// opaque, so that is no error.
    pub fn peek(token: &SecretValue) -> Option<Self> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let mut parts = token.expose().split(|byte| *byte == b'.');
        let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let json = Zeroizing::new(BASE64URL_NOPAD.decode(payload).ok()?);
        match serde_json::from_slice(&json).ok()? {
            Value::Object(claims) => Some(Self(claims)),
            _ => None,
        }
    }

    /// `exp`: when the token ends.
    pub fn expires_at(&self) -> Option<UnixMs> {
        let exp = self.0.get("exp")?;
        // Seconds, possibly with a fraction (RFC 7519 section 2, NumericDate). The cast saturates.
        let millis = exp.as_f64().filter(|seconds| *seconds >= 0.0)? * 1000.0;
        Some(UnixMs(millis as u64))
    }

    /// `sub`: the account, in the issuer's words.
    pub fn subject(&self) -> Option<&str> {
        self.text("sub")
    }

    /// `email`, also where OpenAI puts it.
    pub fn email(&self) -> Option<&str> {
        self.text("email").or_else(|| self.text(OPENAI_EMAIL))
    }

    /// True if `nonce` is this one (OpenID Connect Core section 3.1.3.7); in constant time.
    pub fn has_nonce(&self, nonce: &str) -> bool {
        let found = self.0.get("nonce").and_then(Value::as_str);
        found.is_some_and(|found| equal(found.as_bytes(), nonce.as_bytes()))
    }

    /// True if `iss` is this issuer, character by character.
    pub fn is_from(&self, issuer: &str) -> bool {
        self.0.get("iss").and_then(Value::as_str) == Some(issuer)
    }

    /// True if `aud` is, or holds, this client.
    pub fn is_for(&self, client_id: &str) -> bool {
        match self.0.get("aud") {
            Some(Value::String(one)) => one == client_id,
            Some(Value::Array(all)) => all.iter().any(|one| one.as_str() == Some(client_id)),
            _ => false,
        }
    }

    /// The text of a claim. `path` is its name, or `OBJECT/NAME` for one inside an object; both may
    /// hold slashes themselves, as in `https://api.openai.com/auth/chatgpt_account_id`.
    pub fn text(&self, path: &str) -> Option<&str> {
        if path.len() > MAX_CLAIM_PATH {
            return None;
        }
        lookup(&self.0, path, MAX_DEPTH).filter(|text| is_printable(text, MAX_CLAIM))
    }
}

fn lookup<'a>(object: &'a Map<String, Value>, path: &str, depth: usize) -> Option<&'a str> {
    if let Some(text) = object.get(path).and_then(Value::as_str) {
        return Some(text);
    }
    if depth == 0 {
        return None;
    }
    path.rmatch_indices('/').find_map(|(at, _)| {
        let inner = object.get(&path[..at])?.as_object()?;
        lookup(inner, &path[at + 1..], depth - 1)
    })
}

impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Claims([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn claims(payload: &Value) -> Option<Claims> {
        let payload = BASE64URL_NOPAD.encode(payload.to_string().as_bytes());
        Claims::peek(&SecretValue::copy_of(
            format!("e30.{payload}.c2ln").as_bytes(),
        ))
    }

    #[test]
    fn claims_that_labels_need() {
        let read = claims(&json!({
            "exp": 1_795_000_000, "sub": "s", "email": "me@example.com",
            "https://api.openai.com/auth": {"chatgpt_account_id": "acc", "deep": {"a/b": "c"}},
        }))
        .unwrap();
        assert_eq!(read.expires_at(), Some(UnixMs(1_795_000_000_000)));
        assert_eq!(read.subject(), Some("s"));
        assert_eq!(read.email(), Some("me@example.com"));
        let path = "https://api.openai.com/auth/chatgpt_account_id";
        assert_eq!(read.text(path), Some("acc"));
        assert_eq!(read.text("https://api.openai.com/auth/deep/a/b"), Some("c"));
        for absent in ["https://api.openai.com/auth", "/", "", "https:", "exp"] {
            assert_eq!(read.text(absent), None, "{absent}");
        }
        assert_eq!(format!("{read:?}"), "Claims([redacted])");
    }

    #[test]
    fn openai_has_its_own_place_for_the_address() {
        let read = claims(&json!({"https://api.openai.com/profile": {"email": "me@x.y"}}));
        assert_eq!(read.unwrap().email(), Some("me@x.y"));
    }

    #[test]
    fn the_alphabet_is_that_of_urls() {
        let payload = "eyJzdWIiOiI_Pz4-w7_DvyJ9";
        assert!(payload.contains('-') && payload.contains('_'));
        let token = SecretValue::copy_of(format!("e30.{payload}.x").as_bytes());
        assert_eq!(Claims::peek(&token).unwrap().subject(), Some("??>>ÿÿ"));
    }

    #[test]
    fn what_is_no_jwt_has_no_claims() {
        for text in [
            "",
            "opaque",
            "a.b",
            "a.b.c",
            "e30.W10.x",
            "e30.e30=.x",
            "e30.e30.x.y",
        ] {
            assert!(
                Claims::peek(&SecretValue::copy_of(text.as_bytes())).is_none(),
                "{text}"
            );
        }
        assert!(
            claims(&json!({"sub": "a".repeat(MAX_CLAIM)}))
                .unwrap()
                .subject()
                .is_some()
        );
        assert!(
            claims(&json!({"sub": "a".repeat(MAX_CLAIM + 1)}))
                .unwrap()
                .subject()
                .is_none()
        );
        assert!(
            claims(&json!({"sub": "a\u{7}"}))
                .unwrap()
                .subject()
                .is_none()
        );
        assert!(claims(&json!({"x": "a".repeat(MAX_TOKEN)})).is_none());
        let token = |len: usize| {
            let token = format!("e30.e30.{}", "x".repeat(len - 8));
            Claims::peek(&SecretValue::copy_of(token.as_bytes()))
        };
        assert!(token(MAX_TOKEN).is_some() && token(MAX_TOKEN + 1).is_none());
    }

    #[test]
    fn paths_have_a_longest_and_a_depth() {
        let named = |len: usize| {
            let name = "a".repeat(len);
            claims(&json!({&name: "x"})).unwrap().text(&name).is_some()
        };
        assert!(named(MAX_CLAIM_PATH) && !named(MAX_CLAIM_PATH + 1));
        let nested = |depth: usize| {
            let payload = (0..depth).fold(json!("x"), |inner, _| json!({"a": inner}));
            let path = vec!["a"; depth].join("/");
            claims(&payload).unwrap().text(&path).is_some()
        };
        assert!(nested(1) && nested(MAX_DEPTH + 1) && !nested(MAX_DEPTH + 2));
    }

    #[test]
    fn nonce_issuer_and_audience() {
        let read = claims(&json!({"nonce": "n", "iss": "https://a/", "aud": ["x", "y"]})).unwrap();
        assert!(read.has_nonce("n") && !read.has_nonce("N") && !read.has_nonce(""));
        assert!(read.is_from("https://a/") && !read.is_from("https://a"));
        assert!(read.is_for("y") && !read.is_for("z"));
        let one = claims(&json!({"aud": "x"})).unwrap();
        assert!(one.is_for("x") && !one.is_for("") && !one.has_nonce(""));
    }

    proptest! {
        #[test]
        fn any_expiry_is_read_without_overflow(exp in any::<f64>()) {
            let read = claims(&json!({"exp": exp})).unwrap().expires_at();
            prop_assert_eq!(read.is_some(), exp.is_finite() && exp >= 0.0);
        }
    }
}
