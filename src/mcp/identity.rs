//! Which servers share their tokens: those with one base URL, as fast-agent has it.
//!
//! The rules themselves are in [`crate::token_store::identity`]; here is the record that holds the
//! tokens. New ones always rest under the newer rule.

use crate::name::{NameError, RecordName};
use crate::token_store::identity::{identities, server_of};
use std::fmt;

/// A base URL under which tokens are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(String);

impl Identity {
    /// The identity of a URL by the later rule.
    pub fn of(url: &str) -> Self {
        Self(identities(url).into_iter().next().unwrap_or_default())
    }

    /// The identity of a URL by the earlier rule, which keeps the spelling of the host.
    pub fn legacy(url: &str) -> Self {
        Self(identities(url).pop().unwrap_or_default())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a token store of fast-agent's finds the entries by: a URL, which it applies the rules
    /// to itself. The identity would be cut a second time.
    pub fn key(&self) -> String {
        server_of(&self.0)
    }

    /// What a person gives to mean this identity: itself, unless the rules would cut it.
    pub fn target(&self) -> String {
        match identities(&self.0).contains(&self.0) {
            true => self.0.clone(),
            false => self.key(),
        }
    }

    /// The record that holds the tokens: `mcp/SCHEME/REST`.
    ///
    /// # Errors
    /// `name.invalid` if that is longer than a name may be.
    pub fn record(&self) -> Result<RecordName, NameError> {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("", &self.0));
        RecordName::for_mcp(scheme, rest)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_those_of_the_token_store() {
        for url in ["HTTPS://H.Example:443/API/mcp", "https://h.example/mcp//"] {
            let both = identities(url);
            assert_eq!(Identity::of(url).as_str(), both[0]);
            assert_eq!(Identity::legacy(url).as_str(), both[both.len() - 1]);
        }
        assert_eq!(
            Identity::of("https://h.example/mcp//").as_str(),
            "https://h.example"
        );
    }

    #[test]
    fn what_stands_for_an_identity_is_not_cut_again() {
        for (url, key, target) in [
            ("https://h/mcp", "https://h/mcp", "https://h"),
            (
                "https://h/mcp/sse",
                "https://h/mcp/mcp",
                "https://h/mcp/mcp",
            ),
            ("https://h/a/mcp", "https://h/a/mcp", "https://h/a"),
        ] {
            let identity = Identity::of(url);
            assert_eq!((&*identity.key(), &*identity.target()), (key, target));
            assert_eq!(Identity::of(target), identity);
        }
    }

    #[test]
    fn each_identity_has_a_record_of_its_own() {
        let record = |url: &str| Identity::of(url).record().map(String::from);
        let https = record("https://h.example/api/mcp").unwrap();
        assert_eq!(https, "mcp/https/h.example#2fapi");
        let http = record("http://127.0.0.1:9955/mcp").unwrap();
        assert_eq!(http, "mcp/http/127.0.0.1#3a9955");
        let long = |len: usize| record(&format!("https://{}", "h".repeat(len)));
        assert!(long(256 - "mcp/https/".len()).is_ok());
        assert_eq!(long(257 - "mcp/https/".len()), Err(NameError::Record));
    }
}
