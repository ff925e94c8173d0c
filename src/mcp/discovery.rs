//! From an MCP server to who grants its tokens: the client's side of "Authorization" in the MCP
//! specification, revision 2026-07-28.
//!
//! Everything is asked for on behalf of the server's own address; see [`super`].

use super::servers::{McpServer, Transport};
use crate::error::{Code, Coded, Failure};
use crate::net::{Http, NetError};
use crate::oauth::challenge::Challenge;
use crate::oauth::discovery::{Discovery, DiscoveryError, DiscoveryStep};
use crate::oauth::protected::{
    ProtectedResource, ResourceDiscovery, ResourceError, ResourceStep, canonical_resource,
};
use crate::oauth::{Class, Endpoint, HttpRequest, Issuer, Metadata, Method};
use crate::secret::SecretValue;

/// The revision that this client speaks.
pub const REVISION: &str = "2025-11-25";

/// The first request of a client, which a server that wants a token refuses.
const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","#,
    r#""capabilities":{},"clientInfo":{"name":"reseal","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}}"#
);

/// What a person allows beyond the specification, for one sign-in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowed {
    /// Servers of revision 2025-03-26, which don't say who grants their tokens: their own origin
    /// counts as that.
    pub old_servers: bool,
    /// Authorization servers that don't say whether they support PKCE.
    pub unsaid_pkce: bool,
}

/// A server, and who grants its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// What the address reaches at which the server answered.
    pub class: Class,
    /// The resource indicator of the tokens.
    pub resource: String,
    /// The authorization server.
    pub metadata: Metadata,
    /// The scopes that the server wants, from its challenge or its description; `None` if it says
    /// nothing of them.
    pub scopes: Option<Vec<String>>,
}

/// Finds out who grants tokens for a server. It is asked in any case: where it answers from decides
/// how far inside it may lead. `challenge` is what it said to an earlier request, and counts.
///
/// # Errors
/// `oauth.flow_absent` if the server wants no token; `oauth.invalid` if what it says can't be used;
/// `oauth.unavailable`, `net.denied`.
pub fn discover(
    http: &dyn Http,
    server: &McpServer,
    url: &Endpoint,
    challenge: Option<Challenge>,
    allowed: Allowed,
) -> Result<Ground, Failure> {
    let (asked, class) = ask(http, url, server.transport)?;
    let asked = challenge.map_or(asked, Asked::Wants);
    let challenge = match &asked {
        Asked::Wants(challenge) => challenge.clone(),
        Asked::Nothing | Asked::Unclear => Challenge::default(),
    };
    let named = challenge.resource_metadata.clone();
    let (resource, issuer, scopes) = match describe(http, url, class, named) {
        Ok(found) => {
            let issuer = choose(server, &found)?;
            (found.resource, issuer, found.scopes)
        }
        Err(Trouble::Resource(ResourceError::Absent(_))) if asked == Asked::Nothing => {
            let text = format!("{url} answers without a token: there is nothing to sign in to");
            return Err(Failure::new(Code::OAuthFlowAbsent, text));
        }
        Err(Trouble::Resource(ResourceError::Absent(_))) if allowed.old_servers => {
            (canonical_resource(url), origin(url)?, None)
        }
        Err(Trouble::Resource(error @ ResourceError::Absent(_))) => {
            let text = format!("{error}; one of early 2025 may need --allow-old-servers");
            return Err(Failure::new(error.code(), text));
        }
        Err(trouble) => return Err(trouble.into()),
    };
    let metadata = match metadata(http, class, issuer.clone()) {
        Err(Trouble::Issuer(DiscoveryError::Absent(_))) if allowed.old_servers => defaults(&issuer),
        other => other?,
    };
    let pkce = metadata.pkce_s256.or(allowed.unsaid_pkce.then_some(true));
    match pkce {
        Some(true) => {}
        Some(false) => {
            let text = format!("{issuer} does not support PKCE with S256");
            return Err(Failure::new(Code::OAuthInvalid, text));
        }
        None => {
            let text = format!(
                "{issuer} does not say that it supports PKCE, as it has to; \
                 --allow-missing-pkce-metadata signs in all the same"
            );
            return Err(Failure::new(Code::OAuthInvalid, text));
        }
    }
    Ok(Ground {
        class,
        resource,
        metadata,
        scopes: challenge.scopes.or(scopes),
    })
}

/// What a server says to somebody without a token.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    /// A token.
    Wants(Challenge),
    /// Nothing: it answers.
    Nothing,
    /// Something else.
    Unclear,
}

/// Asks the server itself. One that answers without end, or from behind a proxy, counts as standing
/// on the internet.
fn ask(http: &dyn Http, url: &Endpoint, transport: Transport) -> Result<(Asked, Class), Failure> {
    let answer = match http.send(&initialize(url)) {
        Err(NetError::Lost(..) | NetError::TooLarge(..)) => {
            return Ok((Asked::Unclear, Class::Public));
        }
        other => other?,
    };
    let asked = match answer.status {
        401 | 403 => {
            let challenges = answer.challenges.iter().map(String::as_str);
            Asked::Wants(Challenge::read(challenges).unwrap_or_default())
        }
        200..=299 if transport == Transport::Http => Asked::Nothing,
        _ => Asked::Unclear,
    };
    Ok((asked, answer.from.unwrap_or(Class::Public)))
}

/// The first request of an MCP client (streamable HTTP, revision 2025-11-25).
fn initialize(url: &Endpoint) -> HttpRequest {
    HttpRequest {
        method: Method::Post,
        content_type: Some("application/json"),
        headers: vec![(
            "accept",
            SecretValue::copy_of(b"application/json, text/event-stream"),
        )],
        body: Some(SecretValue::copy_of(INITIALIZE.as_bytes())),
        accept_json: false,
        ..HttpRequest::get(url.clone())
    }
}

/// Why a document could not be read.
enum Trouble {
    Resource(ResourceError),
    Issuer(DiscoveryError),
    Net(NetError),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Resource(error) => error.into(),
            Trouble::Issuer(error) => error.into(),
            Trouble::Net(error) => error.into(),
        }
    }
}

/// Asks the server for its description.
fn describe(
    http: &dyn Http,
    url: &Endpoint,
    class: Class,
    named: Option<Endpoint>,
) -> Result<ProtectedResource, Trouble> {
    let mut discovery = ResourceDiscovery::new(url.clone(), named);
    loop {
        let answer = http.send(&discovery.request().within(class));
        match discovery
            .step(&answer.map_err(Trouble::Net)?)
            .map_err(Trouble::Resource)?
        {
            ResourceStep::Done(found) => return Ok(found),
            ResourceStep::Next(next) => discovery = *next,
        }
    }
}

/// Asks an issuer for its description.
fn metadata(http: &dyn Http, class: Class, issuer: Issuer) -> Result<Metadata, Trouble> {
    let mut discovery = Discovery::new(issuer);
    loop {
        let answer = http.send(&discovery.request().within(class));
        match discovery
            .step(&answer.map_err(Trouble::Net)?)
            .map_err(Trouble::Issuer)?
        {
            DiscoveryStep::Done(metadata) => return Ok(*metadata),
            DiscoveryStep::Next(next) => discovery = *next,
        }
    }
}

/// The one who grants tokens: the first that the server names; for a client that was registered
/// beforehand the one that registered it, and nobody else.
fn choose(server: &McpServer, found: &ProtectedResource) -> Result<Issuer, Failure> {
    let Some(known) = &server.client_issuer else {
        // There is one at least: `ProtectedResource` says so.
        let first = found.issuers.first().cloned();
        return first.ok_or_else(|| ResourceError::NoIssuer.into());
    };
    let found = found
        .issuers
        .iter()
        .find(|issuer| known.is(issuer.as_str()));
    found.cloned().ok_or_else(|| {
        let text = format!(
            "the server no longer names {known}, which registered its client: sign in again; a \
             client of the config has to be registered with the new authorization server, and its \
             clientId and clientIssuer changed"
        );
        Failure::new(Code::OAuthInvalid, text)
    })
}

/// The issuer of a server of revision 2025-03-26: its own origin.
fn origin(url: &Endpoint) -> Result<Issuer, Failure> {
    let text = url.with_path("/");
    let issuer = text.as_str().trim_end_matches('/').parse();
    issuer.map_err(|error| Failure::new(Code::OAuthInvalid, format!("the server's origin {error}")))
}

/// The endpoints of such a server where it publishes no metadata.
fn defaults(issuer: &Issuer) -> Metadata {
    let at = |path| Some(issuer.url().with_path(path));
    Metadata {
        issuer: issuer.clone(),
        authorization: at("/authorize"),
        token: at("/token"),
        device: None,
        revocation: None,
        registration: at("/register"),
        takes_client_documents: false,
        offers_offline: false,
        names_itself: false,
        // The revision requires it.
        pkce_s256: Some(true),
        secret_in: None,
    }
}

#[cfg(test)]
mod tests;
