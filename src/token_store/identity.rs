//! Under which name fast-agent keeps the tokens of an MCP server: the base of its URL.
//!
//! Two rules, that of version 0.10 and that of the versions before. What is kept under the older
//! name is still read; what is written goes under the newer one.

/// The names of a server, the one to write under first; the other only if it differs. `server` is
/// the URL of its endpoint, or whatever else it is known by.
pub fn identities(server: &str) -> Vec<String> {
    let Some(url) = Parts::of(server) else {
        return vec![server.to_owned()];
    };
    let (canonical, older) = (url.base(&url.canonical_host()), url.base(url.authority));
    if canonical == older {
        vec![canonical]
    } else {
        vec![canonical, older]
    }
}

/// What [`identities`] gives this name for: the way to a server's entries if only their name is
/// known. A name that was itself taken for a URL would be cut again, and be another server's.
pub fn server_of(name: &str) -> String {
    match Parts::of(name) {
        Some(_) => format!("{name}/mcp"),
        None => name.to_owned(),
    }
}

/// A URL cut as Python's `urlparse` does it.
struct Parts<'a> {
    scheme: String,
    authority: &'a str,
    path: &'a str,
}

impl<'a> Parts<'a> {
    /// `None` if it is no URL with a host.
    fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let path = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
        let host = authority.rsplit('@').next().unwrap_or_default();
        let is_url = scheme.chars().all(|c| c.is_ascii_alphanumeric()) && !host.is_empty();
        is_url.then(|| Self {
            scheme: scheme.to_ascii_lowercase(),
            authority,
            path: without_parameters(path),
        })
    }

    /// The authority as version 0.10 writes it: the host in small letters, no port that the scheme
    /// implies.
    fn canonical_host(&self) -> String {
        let (user, host) = match self.authority.rsplit_once('@') {
            Some((user, host)) => (format!("{user}@"), host),
            None => (String::new(), self.authority),
        };
        let (name, port) = match host.rsplit_once(':') {
            // A colon inside brackets belongs to the address.
            Some((name, port)) if !port.contains(']') => (name, port),
            _ => (host, ""),
        };
        let name = name.to_lowercase();
        match (self.scheme.as_str(), port) {
            ("http", "80") | ("https", "443") | (_, "") => format!("{user}{name}"),
            _ => format!("{user}{name}:{port}"),
        }
    }

    fn base(&self, authority: &str) -> String {
        let path = self.path.trim_end_matches('/');
        let path = ["/mcp", "/sse"]
            .iter()
            .find_map(|suffix| path.strip_suffix(suffix))
            .unwrap_or(path);
        let base = format!("{}://{authority}{path}", self.scheme);
        base.strip_suffix('/').map(str::to_owned).unwrap_or(base)
    }
}

/// A path without what follows `;` in its last segment.
fn without_parameters(path: &str) -> &str {
    let last = path.rfind('/').unwrap_or(0);
    let end = path[last..].find(';').map_or(path.len(), |at| last + at);
    &path[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// URLs with what fast-agent 0.10.40 gives for them, by the newer rule and by the older.
    const OF_FAST_AGENT: &[(&str, &str, &str)] = &[
        ("https://h", "https://h", "https://h"),
        ("https://h/", "https://h", "https://h"),
        ("https://h/mcp", "https://h", "https://h"),
        ("https://h/mcp//", "https://h", "https://h"),
        ("https://h/api/mcp", "https://h/api", "https://h/api"),
        ("https://h/api/mcp?x=1#f", "https://h/api", "https://h/api"),
        ("https://h/a/sse", "https://h/a", "https://h/a"),
        ("https://h/mcp/sse", "https://h/mcp", "https://h/mcp"),
        (
            "https://H.Example:443/MCP",
            "https://h.example/MCP",
            "https://H.Example:443/MCP",
        ),
        (
            "HTTP://Example:80/mcp",
            "http://example",
            "http://Example:80",
        ),
        (
            "http://127.0.0.1:9944/mcp",
            "http://127.0.0.1:9944",
            "http://127.0.0.1:9944",
        ),
        ("https://u:p@H/mcp", "https://u:p@h", "https://u:p@H"),
        (
            "https://[::1]:443/mcp",
            "https://[::1]",
            "https://[::1]:443",
        ),
        ("https://h/mcp;v=1", "https://h", "https://h"),
        ("https://h/xmcp", "https://h/xmcp", "https://h/xmcp"),
        ("https://h:8443", "https://h:8443", "https://h:8443"),
        ("http://h//", "http://h", "http://h"),
        ("https://h/a;b/c", "https://h/a;b/c", "https://h/a;b/c"),
        ("not a url", "not a url", "not a url"),
        ("name", "name", "name"),
        ("http://h?x", "http://h", "http://h"),
        ("https://h:/mcp", "https://h", "https://h:"),
    ];

    #[test]
    fn both_rules_give_what_fast_agent_gives() {
        for (url, newer, older) in OF_FAST_AGENT {
            let mut expected = vec![(*newer).to_owned()];
            expected.extend((newer != older).then(|| (*older).to_owned()));
            assert_eq!(identities(url), expected, "{url}");
        }
    }

    #[test]
    fn a_name_that_is_known_is_not_cut_again() {
        for (_, newer, older) in OF_FAST_AGENT {
            for name in [newer, older] {
                let names = identities(&server_of(name));
                assert_eq!(names.last().map(String::as_str), Some(*name));
                assert_eq!(names[0], *newer);
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_name_and_a_name_is_its_own(text in "[a-zA-Z:/@;?#.\\[\\]0-9ä]{1,40}") {
            for url in [text.clone(), format!("https://h/{text}")] {
                let names = identities(&url);
                prop_assert!(!names.is_empty() && names.iter().all(|name| !name.is_empty()));
            }
        }
    }
}
