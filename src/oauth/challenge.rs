//! What a protected resource asks for: `WWW-Authenticate` (RFC 9110 section 11.6.1, RFC 6750
//! section 3, RFC 9728 section 5.1).
//!
//! Reading is lenient, since a server that writes it wrong still wants to be signed in to: what
//! can't be understood ends the reading, and what came before counts. Nothing of it is ever shown.

use super::endpoint::Endpoint;
use super::provider::{MAX_SCOPES, is_scope};
use std::iter::Peekable;
use std::str::Chars;

/// The most parameters of all challenges.
pub const MAX_PARAMETERS: usize = 64;

/// What a server says of the token that it wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Where the resource describes itself.
    pub resource_metadata: Option<Endpoint>,
    /// The scopes that the request needs.
    pub scopes: Option<Vec<String>>,
    /// What was wrong with the token.
    pub error: Option<TokenError>,
}

/// What a resource finds wrong with a token (RFC 6750 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// Expired, revoked, or not one of its own.
    Invalid,
    /// Good, but not for this.
    InsufficientScope,
    /// Something else.
    Other,
}

impl Challenge {
    /// The `Bearer` challenge among the values of `WWW-Authenticate`: the first that names the
    /// resource's metadata, else the first. `None` if there is none.
    pub fn read<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut found: Vec<Challenge> = Vec::new();
        let mut left = MAX_PARAMETERS;
        for value in values {
            Reader::new(value).bearers(&mut found, &mut left);
        }
        let named = found.iter().position(|one| one.resource_metadata.is_some());
        (!found.is_empty()).then(|| found.swap_remove(named.unwrap_or(0)))
    }

    /// The scopes that a token lacks, if that is what is wrong.
    pub fn missing_scopes(&self) -> Option<Vec<String>> {
        let lacks = self.error == Some(TokenError::InsufficientScope);
        self.scopes.clone().filter(|_| lacks)
    }

    fn take(&mut self, name: &str, value: &str) {
        match name.to_ascii_lowercase().as_str() {
            "resource_metadata" => self.resource_metadata = value.parse().ok(),
            "scope" => {
                let scopes = value.split(' ').filter(|scope| is_scope(scope));
                self.scopes = Some(scopes.take(MAX_SCOPES).map(str::to_owned).collect());
            }
            "error" => {
                self.error = Some(match value {
                    "invalid_token" => TokenError::Invalid,
                    "insufficient_scope" => TokenError::InsufficientScope,
                    _ => TokenError::Other,
                });
            }
            _ => {}
        }
    }
}

/// Reads one value of the header.
struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
}

impl<'a> Reader<'a> {
    fn new(value: &'a str) -> Self {
        Self {
            rest: value.chars().peekable(),
        }
    }

    /// Adds the `Bearer` challenges, as far as they can be read.
    fn bearers(mut self, found: &mut Vec<Challenge>, left: &mut usize) {
        let mut is_bearer = false;
        loop {
            self.skip(|c| matches!(c, ' ' | '\t' | ','));
            let word = self.word();
            if word.is_empty() {
                return;
            }
            self.skip(is_space);
            if self.rest.peek() != Some(&'=') {
                // A scheme. What follows may be one token for all of its parameters.
                is_bearer = word.eq_ignore_ascii_case("bearer");
                if is_bearer {
                    found.push(Challenge::default());
                }
                self.skip_token68();
                continue;
            }
            self.rest.next();
            self.skip(is_space);
            let Some(value) = self.value() else { return };
            let Some(one_less) = left.checked_sub(1) else {
                return;
            };
            *left = one_less;
            if let Some(challenge) = found.last_mut().filter(|_| is_bearer) {
                challenge.take(&word, &value);
            }
        }
    }

    fn skip(&mut self, which: impl Fn(char) -> bool) {
        while self.rest.next_if(|c| which(*c)).is_some() {}
    }

    /// A token (RFC 9110 section 5.6.2); empty if there is none.
    fn word(&mut self) -> String {
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        std::iter::from_fn(|| self.rest.next_if(|c| is_token(*c))).collect()
    }

    /// A token or a quoted string; `None` if it has no end.
    fn value(&mut self) -> Option<String> {
        if self.rest.next_if_eq(&'"').is_none() {
            return Some(self.word()).filter(|word| !word.is_empty());
        }
        let mut value = String::new();
        loop {
            match self.rest.next()? {
                '"' => return Some(value),
                '\\' => value.push(self.rest.next()?),
                c => value.push(c),
            }
        }
    }

    /// Skips a token68 (RFC 9110 section 11.2), if that is what stands here up to the next comma.
    fn skip_token68(&mut self) {
        let mut ahead = self.rest.clone();
        while ahead
            .next_if(|c| c.is_ascii_alphanumeric() || "-._~+/".contains(*c))
            .is_some()
        {}
        while ahead.next_if_eq(&'=').is_some() {}
        while ahead.next_if(|c| is_space(*c)).is_some() {}
        if matches!(ahead.peek(), None | Some(',')) {
            self.rest = ahead;
        }
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(value: &str) -> Challenge {
        Challenge::read([value]).unwrap()
    }

    fn metadata(challenge: &Challenge) -> Option<&str> {
        let metadata = challenge.resource_metadata.as_ref();
        metadata.map(Endpoint::as_str)
    }

    #[test]
    fn every_parameter_in_either_form() {
        let read = one(
            "Bearer realm=\"a, b\", error=\"insufficient_scope\", scope=\"mcp:read mcp:write\", \
             error_description=\"say \\\"please\\\"\", \
             resource_metadata=\"https://a.example/m?x=1\"",
        );
        let expected = Challenge {
            resource_metadata: "https://a.example/m?x=1".parse().ok(),
            scopes: Some(vec!["mcp:read".to_owned(), "mcp:write".to_owned()]),
            error: Some(TokenError::InsufficientScope),
        };
        assert_eq!(read, expected);
        assert_eq!(
            one("bearer ERROR = invalid_token").error,
            Some(TokenError::Invalid)
        );
        assert_eq!(one("Bearer error=other").error, Some(TokenError::Other));
        assert_eq!(one("Bearer"), Challenge::default());
    }

    #[test]
    fn the_bearer_challenge_among_several() {
        let several = "Negotiate YWJj==, Basic realm=\"Bearer scope=x\", \
                       Bearer resource_metadata=\"https://a.example/1\", \
                       Digest resource_metadata=\"https://a.example/2\"";
        assert_eq!(metadata(&one(several)), Some("https://a.example/1"));
        let headers = [
            "Basic",
            "Bearer",
            "Bearer resource_metadata=\"https://a.example/3\"",
        ];
        let read = Challenge::read(headers).unwrap();
        assert_eq!(metadata(&read), Some("https://a.example/3"));
        assert_eq!(Challenge::read(["Basic realm=\"x\"", ""]), None);
    }

    #[test]
    fn scopes_are_missing_only_where_the_server_says_so() {
        let lacks = |value: &str| one(value).missing_scopes();
        let scopes = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(
            lacks("Bearer error=insufficient_scope, scope=\"a b\""),
            scopes
        );
        assert_eq!(lacks("Bearer error=invalid_token, scope=\"a b\""), None);
        assert_eq!(lacks("Bearer scope=\"a b\""), None);
        assert_eq!(lacks("Bearer error=insufficient_scope"), None);
    }

    #[test]
    fn what_is_broken_ends_the_reading_and_the_rest_counts() {
        let cut = one("Bearer scope=\"a\", resource_metadata=\"https://a.example/m");
        assert_eq!(cut.scopes, Some(vec!["a".to_owned()]));
        assert_eq!(cut.resource_metadata, None);
        assert_eq!(one("Bearer scope=a \u{e4} error=invalid_token").error, None);
        let inside = one("Bearer resource_metadata=\"http://10.0.0.1/m\"");
        assert_eq!(inside.resource_metadata, None, "not https");
    }

    #[test]
    fn parameters_and_scopes_have_a_limit() {
        let filler = |count: usize| "x=y, ".repeat(count);
        let last = |count| format!("Bearer {}error=invalid_token", filler(count));
        assert!(one(&last(MAX_PARAMETERS - 1)).error.is_some());
        assert!(one(&last(MAX_PARAMETERS)).error.is_none());
        let scopes = vec!["s"; MAX_SCOPES + 1].join(" ");
        let read = one(&format!("Bearer scope=\"{scopes}\""));
        assert_eq!(read.scopes.unwrap().len(), MAX_SCOPES);
    }

    proptest! {
        #[test]
        fn nothing_panics(
            values in prop::collection::vec("[a-zB =\",\\\\]{0,40}|\\PC{0,20}", 0..4),
        ) {
            let _read = Challenge::read(values.iter().map(String::as_str));
        }
    }
}
