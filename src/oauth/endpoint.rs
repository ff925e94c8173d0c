//! URLs that a request may go to: `https`, or `http` to this machine, and nothing that leaks.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use url::{Host, Url};

/// The longest URL in bytes.
pub const MAX_URL: usize = 8 * 1024;

/// An absolute `https` URL without userinfo and fragment; `http` only to a loopback address.
///
/// `Display` is for people and logs: it leaves the query out.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint(Url);

/// Why a text is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Over [`MAX_URL`].
    #[error("is longer than {MAX_URL} bytes")]
    TooLong,
    /// Not an absolute URL with a host.
    #[error("is not an absolute URL")]
    NotUrl,
    /// Neither `https` nor `http` to this machine.
    #[error("is not https (http is for loopback addresses only)")]
    Scheme,
    /// A user name or password before the host.
    #[error("holds a user name or password")]
    Userinfo,
    /// A `#fragment`.
    #[error("holds a fragment")]
    Fragment,
}

impl Endpoint {
    /// The whole URL.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The host as it stands in a URL: an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// The port, or that of the scheme.
    pub fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// The path; at least `/`.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    /// True if it leads to this machine: `localhost`, `127.0.0.0/8` or `[::1]`.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// Scheme, host and port are the same.
    pub fn same_origin(&self, other: &Endpoint) -> bool {
        self.0.origin() == other.0.origin()
    }

    /// Another path of the same origin; no query.
    pub fn with_path(&self, path: &str) -> Self {
        let mut url = self.0.clone();
        url.set_path(path);
        url.set_query(None);
        Self(url)
    }

    /// What a reference on a page of this URL means (RFC 3986 section 5).
    ///
    /// # Errors
    /// That is no endpoint.
    pub fn join(&self, reference: &str) -> Result<Self, EndpointError> {
        if reference.len() > MAX_URL {
            return Err(EndpointError::TooLong);
        }
        let url = self.0.join(reference).map_err(|_| EndpointError::NotUrl)?;
        url.as_str().parse()
    }

    /// The URL with these parameters after those that it has.
    ///
    /// # Errors
    /// [`EndpointError::TooLong`].
    pub fn with_query<'a>(
        &self,
        parameters: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, EndpointError> {
        let mut url = self.0.clone();
        url.query_pairs_mut().extend_pairs(parameters);
        if url.as_str().len() > MAX_URL {
            return Err(EndpointError::TooLong);
        }
        Ok(Self(url))
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.len() > MAX_URL {
            return Err(EndpointError::TooLong);
        }
        // The parser drops line ends and white space around; nobody means to write those.
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(EndpointError::NotUrl);
        }
        let url = Url::parse(text).map_err(|_| EndpointError::NotUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            _ => return Err(EndpointError::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EndpointError::Userinfo);
        }
        if url.fragment().is_some() {
            return Err(EndpointError::Fragment);
        }
        if url.as_str().len() > MAX_URL {
            return Err(EndpointError::TooLong);
        }
        Ok(Self(url))
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;
    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> String {
        endpoint.0.into()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0.as_str();
        f.write_str(url.split('?').next().unwrap_or(url))
    }
}

/// As `Display`: a query may hold what is nobody's business.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_anywhere_and_http_to_this_machine() {
        for good in [
            "https://auth.example.com/token",
            "https://auth.example.com/token?tenant=1",
            "http://localhost:1455/auth/callback",
            "http://127.0.0.1:9944/token",
            "http://127.8.8.8/",
            "http://[::1]:9944/token",
        ] {
            let endpoint: Endpoint = good.parse().unwrap();
            assert_eq!(endpoint.as_str(), good);
        }
    }

    #[test]
    fn what_is_refused_and_why() {
        let refused = |text: &str| text.parse::<Endpoint>().unwrap_err();
        for text in [
            "http://auth.example.com/",
            "http://localhost.example.com/",
            "http://localhost./",
            "http://[::ffff:127.0.0.1]/",
            "http://0.0.0.0/",
            "ftp://127.0.0.1/",
            "javascript:alert(1)",
            "file:///etc/passwd",
        ] {
            assert_eq!(refused(text), EndpointError::Scheme, "{text}");
        }
        for text in [
            "",
            "/token",
            "https://",
            "https:// a",
            "https://a/\n",
            " https://a/",
        ] {
            assert_eq!(refused(text), EndpointError::NotUrl, "{text:?}");
        }
        assert_eq!(refused("https://me@a/"), EndpointError::Userinfo);
        assert_eq!(refused("https://:p@a/"), EndpointError::Userinfo);
        assert_eq!(refused("https://a/#b"), EndpointError::Fragment);
        let long = |len: usize| format!("https://a/{}", "b".repeat(len - 10));
        assert!(long(MAX_URL).parse::<Endpoint>().is_ok());
        assert_eq!(refused(&long(MAX_URL + 1)), EndpointError::TooLong);
    }

    #[test]
    fn where_an_endpoint_leads() {
        for (text, host, port, here) in [
            (
                "https://auth.example.com/token",
                "auth.example.com",
                443,
                false,
            ),
            (
                "https://auth.example.com:8443",
                "auth.example.com",
                8443,
                false,
            ),
            ("https://localhost.example", "localhost.example", 443, false),
            ("http://localhost", "localhost", 80, true),
            ("http://127.0.0.1:9944/", "127.0.0.1", 9944, true),
            ("https://128.0.0.1/", "128.0.0.1", 443, false),
            ("http://[::1]:9/", "[::1]", 9, true),
            ("https://[::2]/", "[::2]", 443, false),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            let leads = (endpoint.host(), endpoint.port(), endpoint.is_loopback());
            assert_eq!(leads, (host, port, here), "{text}");
        }
    }

    #[test]
    fn people_see_no_query() {
        let endpoint: Endpoint = "https://a.example/b?state=canary".parse().unwrap();
        assert_eq!(endpoint.to_string(), "https://a.example/b");
        assert_eq!(format!("{endpoint:?}"), "Endpoint(https://a.example/b)");
    }

    #[test]
    fn parameters_are_added_and_bounded() {
        let endpoint: Endpoint = "https://a.example/b?x=1".parse().unwrap();
        let more = endpoint.with_query([("y", "a b&c")].into_iter()).unwrap();
        assert_eq!(more.as_str(), "https://a.example/b?x=1&y=a+b%26c");
        let long = "b".repeat(MAX_URL);
        let refused = endpoint.with_query([("y", long.as_str())].into_iter());
        assert_eq!(refused, Err(EndpointError::TooLong));
        let rest = MAX_URL - "https://a.example/b?x=1&y=".len();
        let with = |len: usize| endpoint.with_query([("y", &long[..len])].into_iter());
        assert_eq!(with(rest).unwrap().as_str().len(), MAX_URL);
        assert_eq!(with(rest + 1), Err(EndpointError::TooLong));
    }

    #[test]
    fn references_are_resolved_and_checked() {
        let base: Endpoint = "https://a.example/b/sse?x".parse().unwrap();
        let to = |reference: &str| base.join(reference).map(String::from);
        let own = |path: &str| Ok(format!("https://a.example{path}"));
        assert_eq!(to("/messages?id=1"), own("/messages?id=1"));
        assert_eq!(to("messages"), own("/b/messages"));
        assert_eq!(to("//o.example/"), Ok("https://o.example/".to_owned()));
        assert_eq!(to("http://a.example/"), Err(EndpointError::Scheme));
        assert_eq!(to("https://["), Err(EndpointError::NotUrl));
        let long = |len: usize| to(&"b".repeat(len));
        let base = "https://a.example/b/".len();
        assert!(long(MAX_URL - base).is_ok());
        assert_eq!(long(MAX_URL - base + 1), Err(EndpointError::TooLong));
        // As it is written, also where it means something shorter.
        let dots = |len: usize| to(&format!("{}x", "./".repeat(len / 2))[..len]);
        assert_eq!(dots(MAX_URL), own("/b/"));
        assert_eq!(dots(MAX_URL + 1), Err(EndpointError::TooLong));
    }

    #[test]
    fn origins() {
        let at = |text: &str| text.parse::<Endpoint>().unwrap();
        assert!(at("https://a/x").same_origin(&at("https://a:443/y?z")));
        assert!(!at("https://a/x").same_origin(&at("https://b/x")));
        assert!(!at("https://a/x").same_origin(&at("https://a:8443/x")));
        assert_eq!(at("https://a/x?q").with_path("/y").as_str(), "https://a/y");
    }
}
