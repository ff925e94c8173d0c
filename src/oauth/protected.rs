//! A protected resource's own description: RFC 9728, in the order of the MCP specification.
//!
//! Invariant: a document is used only if the resource that it names is the server that was asked,
//! or holds it; else any server could send a person to sign in for another one's tokens.

use super::answer::is_printable;
use super::discovery::{Issuer, MAX_LIST, MAX_METADATA};
use super::endpoint::{Endpoint, MAX_URL};
use super::provider::{MAX_SCOPES, is_scope};
use super::request::{HttpAnswer, HttpRequest};
use crate::error::{Code, Coded};
use serde_json::{Map, Value};
use std::collections::VecDeque;

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What we use of a resource's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtectedResource {
    /// The resource indicator (RFC 8707) of its tokens, as the document spells it.
    pub resource: String,
    /// Who grants them; at least one.
    pub issuers: Vec<Issuer>,
    /// The scopes that it knows; `None` if it does not say.
    pub scopes: Option<Vec<String>>,
}

/// Why a description can't be used. Repeats nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    /// There is none anywhere.
    #[error("the server publishes no protected resource metadata (HTTP {0})")]
    Absent(u16),
    /// The server can't answer now.
    #[error("the server's protected resource metadata can't be read now (HTTP {0})")]
    Unavailable(u16),
    /// Not a JSON object, or over a limit.
    #[error("the server's protected resource metadata is no JSON object, or too large")]
    Form,
    /// It is about another resource.
    #[error("the server's protected resource metadata is about another resource")]
    OtherResource,
    /// It names nobody who grants tokens.
    #[error("the server's protected resource metadata names no usable authorization server")]
    NoIssuer,
}

impl Coded for ResourceError {
    fn code(&self) -> Code {
        match self {
            ResourceError::Unavailable(_) => Code::OAuthUnavailable,
            _ => Code::OAuthInvalid,
        }
    }
}
crate::error::failure_from!(ResourceError);

/// Asking a server for its description, one address after the other.
#[derive(Debug)]
pub struct ResourceDiscovery {
    server: Endpoint,
    left: VecDeque<Endpoint>,
    last: Endpoint,
}

/// What an answer leads to.
#[derive(Debug)]
pub enum ResourceStep {
    /// There it is.
    Done(ProtectedResource),
    /// Nothing there: ask the next address.
    Next(Box<ResourceDiscovery>),
}

impl ResourceDiscovery {
    /// Starts with the address that the server's challenge named, if it did.
    pub fn new(server: Endpoint, named: Option<Endpoint>) -> Self {
        let path = server.path().trim_end_matches('/');
        let mut left = VecDeque::from([server.with_path(WELL_KNOWN)]);
        if !path.is_empty() {
            left.push_front(server.with_path(&format!("{WELL_KNOWN}{path}")));
        }
        let first = left.pop_front().unwrap_or_else(|| server.clone());
        let last = match named {
            Some(named) if named != first => {
                left.push_front(first);
                named
            }
            _ => first,
        };
        Self { server, left, last }
    }

    /// The request to send now.
    pub fn request(&self) -> HttpRequest {
        HttpRequest::get(self.last.clone())
    }

    /// Takes the answer. "Not there" leads to the next address; a document that is there and wrong
    /// ends it.
    ///
    /// # Errors
    /// No address is left, the server can't answer now, or the document can't be used.
    pub fn step(mut self, answer: &HttpAnswer) -> Result<ResourceStep, ResourceError> {
        match answer.status {
            200 => Ok(ResourceStep::Done(read_resource(answer, &self.server)?)),
            status @ (408 | 429 | 500..=599) => Err(ResourceError::Unavailable(status)),
            status => {
                self.last = self.left.pop_front().ok_or(ResourceError::Absent(status))?;
                Ok(ResourceStep::Next(Box::new(self)))
            }
        }
    }
}

/// Reads the document of a server.
///
/// # Errors
/// It is not usable; see [`ResourceError`].
pub fn read_resource(
    answer: &HttpAnswer,
    server: &Endpoint,
) -> Result<ProtectedResource, ResourceError> {
    let text = answer.text().filter(|text| text.len() <= MAX_METADATA);
    let value: Value =
        serde_json::from_str(text.ok_or(ResourceError::Form)?).map_err(|_| ResourceError::Form)?;
    let Value::Object(document) = value else {
        return Err(ResourceError::Form);
    };
    let resource = document.get("resource").and_then(Value::as_str);
    let resource = resource.filter(|text| is_printable(text, MAX_URL) && holds(text, server));
    let issuers = texts(&document, "authorization_servers").unwrap_or_default();
    let issuers: Vec<Issuer> = issuers.filter_map(|text| text.parse().ok()).collect();
    if issuers.is_empty() {
        return Err(ResourceError::NoIssuer);
    }
    let scopes = texts(&document, "scopes_supported");
    let scopes = scopes.map(|all| all.filter(|one| is_scope(one)).take(MAX_SCOPES));
    Ok(ProtectedResource {
        resource: resource.ok_or(ResourceError::OtherResource)?.to_owned(),
        issuers,
        scopes: scopes.map(|scopes| scopes.map(str::to_owned).collect()),
    })
}

fn texts<'a>(document: &'a Map<String, Value>, key: &str) -> Option<Texts<'a>> {
    let list = document.get(key)?.as_array()?;
    Some(Texts(list.get(..list.len().min(MAX_LIST))?.iter()))
}

/// The strings of a list, as far as it is read.
#[derive(Default)]
struct Texts<'a>(std::slice::Iter<'a, Value>);

impl<'a> Iterator for Texts<'a> {
    type Item = &'a str;
    fn next(&mut self) -> Option<&'a str> {
        self.0.find_map(Value::as_str)
    }
}

/// True if a resource is this server, or a part of its origin that holds it.
fn holds(resource: &str, server: &Endpoint) -> bool {
    let Ok(resource) = resource.parse::<Endpoint>() else {
        return false;
    };
    let (outer, inner) = (
        resource.path().trim_end_matches('/'),
        server.path().trim_end_matches('/'),
    );
    let rest = inner.strip_prefix(outer);
    resource.same_origin(server)
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The resource indicator of a server that does not name one (RFC 8707 section 2): without query
/// and without the slash at the end.
pub fn canonical_resource(server: &Endpoint) -> String {
    let path = server.path().trim_end_matches('/');
    let bare = server.with_path(path);
    bare.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::fixture::answer;
    use serde_json::json;

    fn at(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    fn read(document: &Value) -> Result<ProtectedResource, ResourceError> {
        let answer = answer(200, &document.to_string());
        read_resource(&answer, &at("https://a.example/v1/mcp?key=x"))
    }

    #[test]
    fn where_the_document_may_be() {
        let urls = |server: &str, named: Option<&str>| {
            let mut discovery = ResourceDiscovery::new(at(server), named.map(at));
            let mut urls = Vec::new();
            loop {
                urls.push(discovery.request().url.as_str().to_owned());
                match discovery.step(&answer(404, "")) {
                    Ok(ResourceStep::Next(next)) => discovery = *next,
                    other => {
                        assert!(matches!(other, Err(ResourceError::Absent(404))));
                        return urls;
                    }
                }
            }
        };
        let deep = "https://a.example/.well-known/oauth-protected-resource/v1/mcp";
        let root = "https://a.example/.well-known/oauth-protected-resource";
        assert_eq!(urls("https://a.example/v1/mcp/?q", None), [deep, root]);
        assert_eq!(urls("https://a.example/", None), [root]);
        let named = "https://b.example/metadata";
        let all = urls("https://a.example/v1/mcp", Some(named));
        assert_eq!(all, [named, deep, root]);
        assert_eq!(urls("https://a.example/v1/mcp", Some(deep)), [deep, root]);
    }

    #[test]
    fn a_whole_document() {
        let document = json!({
            "resource": "https://A.example:443/v1",
            "authorization_servers":
                ["https://i.example", 7, "http://i.example", "https://j.example/t"],
            "scopes_supported": ["a", "b c", "d"],
        });
        let expected = ProtectedResource {
            resource: "https://A.example:443/v1".to_owned(),
            issuers: ["https://i.example", "https://j.example/t"]
                .map(|i| i.parse().unwrap())
                .into(),
            scopes: Some(vec!["a".to_owned(), "d".to_owned()]),
        };
        assert_eq!(read(&document), Ok(expected));
    }

    #[test]
    fn a_document_about_another_resource_is_not_used() {
        let about = |resource: &str| {
            let issuers = ["https://i.example"];
            let document = json!({"resource": resource, "authorization_servers": issuers});
            read(&document).map(|found| found.resource)
        };
        for good in [
            "https://a.example",
            "https://a.example/",
            "https://a.example/v1/mcp",
            "https://a.example/v1/mcp/",
        ] {
            assert_eq!(about(good).as_deref(), Ok(good));
        }
        for bad in [
            "https://b.example/v1/mcp",
            "https://a.example/v1/mcp/more",
            "https://a.example/v1/mc",
            "https://a.example/v",
            "https://a.example:8443/v1/mcp",
            "http://a.example/v1/mcp",
            "",
        ] {
            assert_eq!(about(bad), Err(ResourceError::OtherResource), "{bad}");
        }
    }

    #[test]
    fn what_is_no_document() {
        assert_eq!(read(&json!([])), Err(ResourceError::Form));
        let nobody = json!({"resource": "https://a.example", "authorization_servers": []});
        assert_eq!(read(&nobody), Err(ResourceError::NoIssuer));
        let filler = |len: usize| {
            let text = format!("{}{}", nobody, " ".repeat(len - nobody.to_string().len()));
            read_resource(&answer(200, &text), &at("https://a.example"))
        };
        assert_eq!(filler(MAX_METADATA), Err(ResourceError::NoIssuer));
        assert_eq!(filler(MAX_METADATA + 1), Err(ResourceError::Form));
        let one = |count: usize| {
            let mut issuers = vec!["x"; count];
            issuers.push("https://i.example");
            read(&json!({"resource": "https://a.example", "authorization_servers": issuers}))
        };
        assert!(one(MAX_LIST - 1).is_ok());
        assert_eq!(one(MAX_LIST), Err(ResourceError::NoIssuer));
        let busy = ResourceDiscovery::new(at("https://a.example"), None);
        let outcome = busy.step(&answer(503, ""));
        assert!(matches!(outcome, Err(ResourceError::Unavailable(503))));
        // Only that may be better later.
        let codes = [
            (ResourceError::Unavailable(503), Code::OAuthUnavailable),
            (ResourceError::Form, Code::OAuthInvalid),
            (ResourceError::OtherResource, Code::OAuthInvalid),
            (ResourceError::NoIssuer, Code::OAuthInvalid),
        ];
        for (error, code) in codes {
            assert_eq!(error.code(), code, "{error}");
        }
    }

    #[test]
    fn the_indicator_of_a_server_that_names_none() {
        let canonical = |text: &str| canonical_resource(&at(text));
        assert_eq!(canonical("HTTPS://A.example:443/"), "https://a.example");
        assert_eq!(
            canonical("https://a.example/v1/mcp/?k=1"),
            "https://a.example/v1/mcp"
        );
    }
}
