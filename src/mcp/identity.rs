//! Which servers share their tokens: those with one base URL, as fast-agent has it.
//!
//! Two rules are about. The earlier one (to 0.8) cuts the URL and changes nothing else; the later
//! one (from 0.10) also spells scheme, host and port in one way. Entries of the earlier one are
//! found, new ones get the later name.

use crate::name::{NameError, RecordName};
use std::fmt;

/// A base URL under which tokens are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(String);

impl Identity {
    /// The identity of a URL by the later rule.
    pub fn of(url: &str) -> Self {
        let legacy = Self::legacy(url);
        let Some((scheme, rest)) = legacy.0.split_once("://") else {
            return legacy;
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (userinfo, host) = match authority.rsplit_once('@') {
            Some((userinfo, host)) => (format!("{userinfo}@"), host),
            None => (String::new(), authority),
        };
        let host = host.to_ascii_lowercase();
        let default = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => ":",
        };
        let host = host.strip_suffix(default).unwrap_or(&host);
        Self(format!("{scheme}://{userinfo}{host}{path}"))
    }

    /// The identity of a URL by the earlier rule: no query, no fragment, no `;parameters`, one
    /// slash less at the end, then one `/mcp` or `/sse` less.
    pub fn legacy(url: &str) -> Self {
        let url = url.split('#').next().unwrap_or_default();
        let url = url.split('?').next().unwrap_or_default();
        let Some((scheme, rest)) = url.split_once("://") else {
            return Self(url.to_owned());
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        // Parameters are those of the last segment.
        let last = path.rfind('/').map_or(0, |slash| slash + 1);
        let end = path[last..].find(';').map_or(path.len(), |at| last + at);
        let path = &path[..end];
        let path = path.strip_suffix('/').unwrap_or(path);
        let bare = path.strip_suffix("/mcp");
        let bare = bare.or_else(|| path.strip_suffix("/sse")).unwrap_or(path);
        let bare = bare.strip_suffix('/').unwrap_or(bare);
        Self(format!(
            "{}://{authority}{bare}",
            scheme.to_ascii_lowercase()
        ))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
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
    fn the_earlier_rule() {
        for (url, identity) in [
            ("https://h.example/mcp", "https://h.example"),
            ("https://h.example/mcp/", "https://h.example"),
            ("https://h.example/sse", "https://h.example"),
            ("https://h.example", "https://h.example"),
            ("https://h.example/", "https://h.example"),
            ("https://h.example/api/mcp?key=1#x", "https://h.example/api"),
            ("https://h.example/api/mcp/mcp", "https://h.example/api/mcp"),
            ("https://h.example/v1;p/mcp;q", "https://h.example/v1;p"),
            ("https://h.example/mymcp", "https://h.example/mymcp"),
            ("HTTPS://H.example:443/mcp", "https://H.example:443"),
            ("http://127.0.0.1:9955/mcp", "http://127.0.0.1:9955"),
        ] {
            assert_eq!(Identity::legacy(url).as_str(), identity, "{url}");
        }
    }

    #[test]
    fn the_later_rule_spells_the_host_in_one_way() {
        for (url, identity) in [
            ("HTTPS://H.Example:443/API/mcp", "https://h.example/API"),
            ("http://h.example:80/", "http://h.example"),
            ("http://h.example:443/", "http://h.example:443"),
            ("https://[2001:DB8::1]:443/mcp", "https://[2001:db8::1]"),
            ("https://Me:P@H.example/mcp", "https://Me:P@h.example"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(Identity::of(url).as_str(), identity, "{url}");
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
