//! A server's own description: RFC 8414 and OpenID Connect Discovery, from the issuer's name.
//!
//! Invariants: the document has to name the issuer that was asked (RFC 8414 section 3.3), else it
//! could hand our codes to somebody else; every endpoint in it keeps the rules of [`Endpoint`]. The
//! one tolerance is a slash at the end of an issuer without a path, where servers and their own
//! documents disagree in practice.

use super::answer::is_printable;
use super::endpoint::{Endpoint, EndpointError};
use super::provider::SecretIn;
use super::request::{HttpAnswer, HttpRequest};
use crate::error::{Code, Coded};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

/// The longest issuer in bytes.
pub const MAX_ISSUER: usize = 2048;
/// The largest document in bytes.
pub const MAX_METADATA: usize = 1 << 20;
/// The most entries of a list in it.
pub const MAX_LIST: usize = 256;

/// The name of an authorization server: a URL, kept exactly as it is spelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issuer {
    text: String,
    url: Endpoint,
}

impl Issuer {
    /// As spelled.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The URL.
    pub fn url(&self) -> &Endpoint {
        &self.url
    }

    /// The issuer's address followed by a path.
    pub(super) fn at(&self, path: &str) -> Option<Endpoint> {
        let base = self.text.strip_suffix('/').unwrap_or(&self.text);
        format!("{base}{path}").parse().ok()
    }

    /// True if a document that names `other` is this issuer's: the same text, or the same but for
    /// the slash of an empty path.
    pub fn is(&self, other: &str) -> bool {
        if self.text == other {
            return true;
        }
        let bare = |text: &str| text.strip_suffix('/').map(str::to_owned);
        let at_root = self.url.path() == "/";
        at_root
            && (bare(&self.text).as_deref() == Some(other)
                || bare(other).as_deref() == Some(self.text.as_str()))
    }

    /// Where the document may be, in the order of the MCP specification (2025-11-25): for an issuer
    /// with a path RFC 8414's, then OpenID's in both ways of writing it.
    fn documents(&self) -> VecDeque<Endpoint> {
        const OAUTH: &str = "/.well-known/oauth-authorization-server";
        const OPENID: &str = "/.well-known/openid-configuration";
        let path = self.url.path().trim_end_matches('/');
        let mut paths = vec![format!("{OAUTH}{path}"), format!("{OPENID}{path}")];
        if !path.is_empty() {
            paths.push(format!("{path}{OPENID}"));
        }
        paths.iter().map(|path| self.url.with_path(path)).collect()
    }
}

impl FromStr for Issuer {
    type Err = EndpointError;
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        if text.len() > MAX_ISSUER {
            return Err(EndpointError::TooLong);
        }
        let url: Endpoint = text.parse()?;
        // RFC 8414 section 2: no query, no fragment.
        if text.contains('?') {
            return Err(EndpointError::NotUrl);
        }
        Ok(Self {
            text: text.to_owned(),
            url,
        })
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What we use of a server's description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The issuer, as the document spells it: that is how its tokens and callbacks spell it, too.
    pub issuer: Issuer,
    /// `authorization_endpoint`.
    pub authorization: Option<Endpoint>,
    /// `token_endpoint`.
    pub token: Option<Endpoint>,
    /// `device_authorization_endpoint`.
    pub device: Option<Endpoint>,
    /// `revocation_endpoint`.
    pub revocation: Option<Endpoint>,
    /// `registration_endpoint` (RFC 7591).
    pub registration: Option<Endpoint>,
    /// A client id may be the address of a document (`client_id_metadata_document_supported`).
    pub takes_client_documents: bool,
    /// `scopes_supported` holds `offline_access`.
    pub offers_offline: bool,
    /// `authorization_response_iss_parameter_supported` (RFC 9207).
    pub names_itself: bool,
    /// Whether `code_challenge_methods_supported` holds S256; `None` if there is no list.
    pub pkce_s256: Option<bool>,
    /// From `token_endpoint_auth_methods_supported`: Basic where it is there, else Post.
    pub secret_in: Option<SecretIn>,
}

/// Why a description can't be used. Names our own words and the issuer that was asked, never what
/// the document says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// None of the addresses has one.
    #[error("the issuer publishes no metadata (HTTP {0})")]
    Absent(u16),
    /// The server can't answer now.
    #[error("the issuer's metadata can't be read now (HTTP {0})")]
    Unavailable(u16),
    /// Not a JSON object, or over a limit.
    #[error("the issuer's metadata is no JSON object, or too large")]
    Form,
    /// It names another issuer.
    #[error("the issuer's metadata names another issuer")]
    OtherIssuer,
    /// A member is not what it must be.
    #[error("{0} in the issuer's metadata {1}")]
    Endpoint(&'static str, EndpointError),
    /// A member is of another type.
    #[error("{0} in the issuer's metadata has the wrong type, or too many entries")]
    Member(&'static str),
}

impl Coded for DiscoveryError {
    fn code(&self) -> Code {
        match self {
            DiscoveryError::Unavailable(_) => Code::OAuthUnavailable,
            DiscoveryError::Absent(_)
            | DiscoveryError::Form
            | DiscoveryError::OtherIssuer
            | DiscoveryError::Endpoint(..)
            | DiscoveryError::Member(_) => Code::OAuthInvalid,
        }
    }
}
crate::error::failure_from!(DiscoveryError);

/// Asking an issuer for its description, one address after the other.
#[derive(Debug)]
pub struct Discovery {
    issuer: Issuer,
    left: VecDeque<Endpoint>,
    last: Endpoint,
}

/// What an answer leads to.
#[derive(Debug)]
pub enum DiscoveryStep {
    /// There it is.
    Done(Box<Metadata>),
    /// Nothing there: ask the next address.
    Next(Box<Discovery>),
}

impl Discovery {
    /// Starts with the first address.
    pub fn new(issuer: Issuer) -> Self {
        let mut left = issuer.documents();
        let last = left.pop_front().unwrap_or_else(|| issuer.url.clone());
        Self { issuer, left, last }
    }

    /// The request to send now.
    pub fn request(&self) -> HttpRequest {
        HttpRequest::get(self.last.clone())
    }

    /// Takes the answer. "Not there" (404 and other 4xx) leads to the next address; a document that
    /// is there and wrong ends it.
    ///
    /// # Errors
    /// No address is left, the server can't answer now, or the document can't be used.
    pub fn step(mut self, answer: &HttpAnswer) -> Result<DiscoveryStep, DiscoveryError> {
        match answer.status {
            200 => {
                let metadata = read_metadata(answer, &self.issuer)?;
                Ok(DiscoveryStep::Done(Box::new(metadata)))
            }
            status @ (408 | 429 | 500..=599) => Err(DiscoveryError::Unavailable(status)),
            status => {
                self.last = self
                    .left
                    .pop_front()
                    .ok_or(DiscoveryError::Absent(status))?;
                Ok(DiscoveryStep::Next(Box::new(self)))
            }
        }
    }
}

/// Reads the document of an issuer.
///
/// # Errors
/// It is not usable; see [`DiscoveryError`].
pub fn read_metadata(answer: &HttpAnswer, issuer: &Issuer) -> Result<Metadata, DiscoveryError> {
    let text = answer.text().filter(|text| text.len() <= MAX_METADATA);
    let value: Value = serde_json::from_str(text.ok_or(DiscoveryError::Form)?)
        .map_err(|_| DiscoveryError::Form)?;
    let Value::Object(document) = value else {
        return Err(DiscoveryError::Form);
    };
    let named = document.get("issuer").and_then(Value::as_str);
    let named = named.filter(|named| is_printable(named, MAX_ISSUER) && issuer.is(named));
    let named = named.ok_or(DiscoveryError::OtherIssuer)?;
    let methods = list(&document, "token_endpoint_auth_methods_supported")?;
    // Some servers list more scopes than anybody reads; that is no reason to refuse them.
    let scopes = list(&document, "scopes_supported").unwrap_or_default();
    let challenges = list(&document, "code_challenge_methods_supported")?;
    Ok(Metadata {
        issuer: named.parse().map_err(|_| DiscoveryError::OtherIssuer)?,
        authorization: endpoint(&document, "authorization_endpoint")?,
        token: endpoint(&document, "token_endpoint")?,
        device: endpoint(&document, "device_authorization_endpoint")?,
        revocation: endpoint(&document, "revocation_endpoint")?,
        registration: endpoint(&document, "registration_endpoint")?,
        takes_client_documents: flag(&document, "client_id_metadata_document_supported")?,
        offers_offline: scopes.is_some_and(|scopes| scopes.contains(&"offline_access")),
        names_itself: flag(&document, "authorization_response_iss_parameter_supported")?,
        pkce_s256: challenges.map(|methods| methods.contains(&"S256")),
        secret_in: methods.and_then(|methods| {
            if methods.contains(&"client_secret_basic") {
                Some(SecretIn::Basic)
            } else if methods.contains(&"client_secret_post") {
                Some(SecretIn::Post)
            } else {
                None
            }
        }),
    })
}

/// A member; `null` counts as nothing.
fn member<'a>(document: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    document.get(key).filter(|value| !value.is_null())
}

fn endpoint(
    document: &Map<String, Value>,
    key: &'static str,
) -> Result<Option<Endpoint>, DiscoveryError> {
    let Some(value) = member(document, key) else {
        return Ok(None);
    };
    let text = value.as_str().ok_or(DiscoveryError::Member(key))?;
    let endpoint = text
        .parse()
        .map_err(|error| DiscoveryError::Endpoint(key, error))?;
    Ok(Some(endpoint))
}

fn list<'a>(
    document: &'a Map<String, Value>,
    key: &'static str,
) -> Result<Option<Vec<&'a str>>, DiscoveryError> {
    let Some(value) = member(document, key) else {
        return Ok(None);
    };
    let entries = value.as_array().filter(|list| list.len() <= MAX_LIST);
    let entries = entries.ok_or(DiscoveryError::Member(key))?;
    Ok(Some(entries.iter().filter_map(Value::as_str).collect()))
}

fn flag(document: &Map<String, Value>, key: &'static str) -> Result<bool, DiscoveryError> {
    match member(document, key) {
        None => Ok(false),
        Some(value) => value.as_bool().ok_or(DiscoveryError::Member(key)),
    }
}

#[cfg(test)]
mod tests;
