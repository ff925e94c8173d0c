//! Providers as data: who grants tokens, how people sign in there, and what the answers mean.
//!
//! Invariant: a provider that exists is complete for each of its flows. What a config gives is read
//! by `config`, which names the place of each error; what is built in stands in [`super::builtin`].

use super::client::{ClientAuth, ClientOf, Dialect, NamedBy, TokenFormat};
use super::discovery::Issuer;
use super::endpoint::Endpoint;
use super::server::Server;
use super::tokens::ClientSecret;
use crate::reference::SecretRef;
use std::fmt;
use std::time::Duration;

/// The most scopes of a provider, and of those that a grant must hold.
pub const MAX_SCOPES: usize = 64;
/// The most extra parameters of each kind.
pub const MAX_EXTRA: usize = 32;
/// The longest name or value of a parameter, scope or id, in bytes.
pub const MAX_PARAMETER: usize = 1024;
/// The most ports to fall back on.
pub const MAX_FALLBACK_PORTS: usize = 8;
/// The longest id of a provider.
pub const MAX_PROVIDER_ID: usize = 64;
/// The longest `refreshMarginMs`: a day.
pub const MAX_REFRESH_MARGIN: Duration = Duration::from_secs(86_400);

/// A way of getting a credential from a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowKind {
    /// Authorization code with PKCE in a browser.
    Pkce,
    /// A code that is entered on another device.
    Device,
    /// A token that a person pastes; never renewed.
    Paste,
    /// Anthropic's `claude setup-token`, pasted and checked for its form.
    SetupToken,
    /// An API key that a person pastes.
    ApiKey,
}

impl FlowKind {
    /// Every flow.
    pub const ALL: [FlowKind; 5] = [
        FlowKind::Pkce,
        FlowKind::Device,
        FlowKind::Paste,
        FlowKind::SetupToken,
        FlowKind::ApiKey,
    ];

    /// As written in a config.
    pub fn as_str(self) -> &'static str {
        match self {
            FlowKind::Pkce => "pkce",
            FlowKind::Device => "device",
            FlowKind::Paste => "paste",
            FlowKind::SetupToken => "setup-token",
            FlowKind::ApiKey => "api-key",
        }
    }

    /// The flow with this text.
    pub fn parse(text: &str) -> Option<Self> {
        FlowKind::ALL.into_iter().find(|flow| flow.as_str() == text)
    }

    /// True if the flow talks to an authorization server.
    pub fn is_oauth(self) -> bool {
        matches!(self, FlowKind::Pkce | FlowKind::Device)
    }
}

impl fmt::Display for FlowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The host of a redirect address; loopback only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectHost {
    /// `127.0.0.1` (RFC 8252 section 7.3).
    V4,
    /// `[::1]`.
    V6,
    /// `localhost`, for servers that registered it.
    Localhost,
}

impl RedirectHost {
    /// As it stands in the address.
    pub fn as_str(self) -> &'static str {
        match self {
            RedirectHost::V4 => "127.0.0.1",
            RedirectHost::V6 => "[::1]",
            RedirectHost::Localhost => "localhost",
        }
    }

    /// The host with this text; an IPv6 address also without brackets.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "127.0.0.1" => Some(RedirectHost::V4),
            "[::1]" | "::1" => Some(RedirectHost::V6),
            "localhost" => Some(RedirectHost::Localhost),
            _ => None,
        }
    }
}

/// Where the browser comes back to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The host.
    pub host: RedirectHost,
    /// The port; 0 for any free one.
    pub port: u16,
    /// Ports to try if that one is taken.
    pub fallback_ports: Vec<u16>,
    /// The path; starts with a slash.
    pub path: String,
}

impl Default for Redirect {
    fn default() -> Self {
        Self {
            host: RedirectHost::V4,
            port: 0,
            fallback_ports: Vec::new(),
            path: "/callback".to_owned(),
        }
    }
}

impl Redirect {
    /// The ports in the order in which they are tried.
    pub fn ports(&self) -> Vec<u16> {
        let mut ports = vec![self.port];
        ports.extend(&self.fallback_ports);
        ports
    }

    /// The address with the port that was bound.
    pub fn uri(&self, port: u16) -> String {
        format!("http://{}:{port}{}", self.host.as_str(), self.path)
    }

    /// True for what may be the path.
    pub fn is_path(text: &str) -> bool {
        let bytes_ok = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"/-._~".contains(&b));
        text.starts_with('/') && bytes_ok && text.len() <= 256
    }
}

/// Where the name of a new profile comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProfileIdFrom {
    /// The address; `default` if there is none.
    Email,
    /// `sub`; `default` if there is none.
    Subject,
    /// Always `default`.
    #[default]
    Default,
}

impl ProfileIdFrom {
    /// Every source.
    pub const ALL: [ProfileIdFrom; 3] = [
        ProfileIdFrom::Email,
        ProfileIdFrom::Subject,
        ProfileIdFrom::Default,
    ];

    /// As written in a config.
    pub fn as_str(self) -> &'static str {
        match self {
            ProfileIdFrom::Email => "email",
            ProfileIdFrom::Subject => "sub",
            ProfileIdFrom::Default => "default",
        }
    }
}

/// How a confidential client sends its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretIn {
    /// `client_secret_basic`.
    Basic,
    /// `client_secret_post`.
    Post,
}

impl SecretIn {
    /// Both ways.
    pub const ALL: [SecretIn; 2] = [SecretIn::Basic, SecretIn::Post];

    /// As written in a config.
    pub fn as_str(self) -> &'static str {
        match self {
            SecretIn::Basic => "basic",
            SecretIn::Post => "post",
        }
    }
}

/// A provider whose server gives each installation a client id of its own, in the callback of the
/// first sign-in. Until then `clientId` stands in for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DynamicClient {
    /// More parameters of the first authorization request.
    pub first_params: Vec<(String, String)>,
    /// The parameter that gets `urn:uuid:` and the id of this installation.
    pub install_id_param: Option<String>,
}

/// A provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The id, as in `oauth.providers.<id>` and before the colon of a profile id.
    pub id: String,
    /// What people call it.
    pub label: String,
    /// The issuer; where an endpoint is not given, its metadata names it.
    pub issuer: Option<Issuer>,
    /// Where the browser is sent.
    pub authorization_endpoint: Option<Endpoint>,
    /// Where tokens are granted.
    pub token_endpoint: Option<Endpoint>,
    /// Where the device flow starts.
    pub device_authorization_endpoint: Option<Endpoint>,
    /// Where tokens are revoked.
    pub revocation_endpoint: Option<Endpoint>,
    /// The client's id.
    pub client_id: Option<String>,
    /// Where the client's secret is.
    pub client_secret: Option<SecretRef>,
    /// How it is sent; `None`: as the server's metadata says, else Basic.
    pub client_secret_in: Option<SecretIn>,
    /// Set if the server issues the client id.
    pub dynamic_client: Option<DynamicClient>,
    /// The flows that may be used, the preferred one first.
    pub flows: Vec<FlowKind>,
    /// The dialect.
    pub dialect: Dialect,
    /// The encoding of token requests.
    pub token_format: TokenFormat,
    /// The encoding of revocations.
    pub revocation_format: TokenFormat,
    /// The scopes that are asked for.
    pub scopes: Vec<String>,
    /// Scopes without which a grant is of no use.
    pub required_scopes: Vec<String>,
    /// The resource indicator (RFC 8707) of every request.
    pub resource: Option<String>,
    /// The server that named the endpoints, if no person did.
    pub named_by: Option<NamedBy>,
    /// `audience` of the authorization and token requests, for servers that go by it.
    pub audience: Option<String>,
    /// Where the browser comes back to.
    pub redirect: Redirect,
    /// More parameters of the authorization request.
    pub extra_authorize: Vec<(String, String)>,
    /// More parameters of token requests.
    pub extra_token: Vec<(String, String)>,
    /// The claim that holds the account's id.
    pub account_id_claim: Option<String>,
    /// Where the name of a new profile comes from.
    pub profile_id_from: ProfileIdFrom,
    /// How long before its end a token is renewed.
    pub refresh_margin: Option<Duration>,
    /// What a person has to know and agree to before the first sign-in.
    pub notice: Option<&'static str>,
}

impl Provider {
    /// A provider of which only the id is known.
    pub fn empty(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            label: id.to_owned(),
            issuer: None,
            authorization_endpoint: None,
            token_endpoint: None,
            device_authorization_endpoint: None,
            revocation_endpoint: None,
            client_id: None,
            client_secret: None,
            client_secret_in: None,
            dynamic_client: None,
            flows: Vec::new(),
            dialect: Dialect::Rfc8628,
            token_format: TokenFormat::Form,
            revocation_format: TokenFormat::Form,
            scopes: Vec::new(),
            required_scopes: Vec::new(),
            resource: None,
            named_by: None,
            audience: None,
            redirect: Redirect::default(),
            extra_authorize: Vec::new(),
            extra_token: Vec::new(),
            account_id_claim: None,
            profile_id_from: ProfileIdFrom::Default,
            refresh_margin: None,
            notice: None,
        }
    }

    /// Sets another issuer. The endpoints go: they were those of the old one.
    pub fn set_issuer(&mut self, issuer: Issuer) {
        if self.issuer.as_ref() == Some(&issuer) {
            return;
        }
        self.issuer = Some(issuer);
        self.authorization_endpoint = None;
        self.token_endpoint = None;
        self.device_authorization_endpoint = None;
        self.revocation_endpoint = None;
    }

    /// The flows that follow from what is known, for a provider that names none.
    pub fn implied_flows(&self) -> Vec<FlowKind> {
        let knows = |endpoint: &Option<Endpoint>| self.issuer.is_some() || endpoint.is_some();
        let mut flows = Vec::new();
        if knows(&self.authorization_endpoint) {
            flows.push(FlowKind::Pkce);
        }
        if knows(&self.device_authorization_endpoint) {
            flows.push(FlowKind::Device);
        }
        flows
    }

    /// What is missing for the flows: the key of the config, and why it is needed.
    pub fn missing(&self) -> Vec<(&'static str, String)> {
        let mut missing = Vec::new();
        let mut need = |there: bool, key, flow: FlowKind| {
            if !there && missing.iter().all(|(known, _)| *known != key) {
                missing.push((key, format!("is missing; the flow {flow} needs it")));
            }
        };
        let known = self.issuer.is_some();
        for flow in self.flows.iter().copied().filter(|flow| flow.is_oauth()) {
            need(self.client_id.is_some(), "clientId", flow);
            need(
                known || self.token_endpoint.is_some(),
                "tokenEndpoint",
                flow,
            );
            if flow == FlowKind::Pkce {
                let there = known || self.authorization_endpoint.is_some();
                need(there, "authorizationEndpoint", flow);
            } else if self.dialect == Dialect::Rfc8628 {
                let there = known || self.device_authorization_endpoint.is_some();
                need(there, "deviceAuthorizationEndpoint", flow);
            } else {
                // The page where the code is entered is the issuer's.
                need(known, "issuer", flow);
            }
        }
        missing
    }

    /// True if the flow may be used.
    pub fn offers(&self, flow: FlowKind) -> bool {
        self.flows.contains(&flow)
    }

    /// True if an ID token with a nonce is asked for.
    pub fn is_oidc(&self) -> bool {
        self.scopes.iter().any(|scope| scope == "openid")
    }

    /// The client, as a record keeps it. `issued` is the client id that the server issued earlier
    /// (see [`DynamicClient`]).
    pub fn client(
        &self,
        server: &Server,
        issued: Option<&str>,
        secret: Option<ClientSecret>,
    ) -> ClientOf {
        let in_body = self.client_secret_in.or(server.secret_in) == Some(SecretIn::Post);
        let mut extra = self.extra_token.clone();
        if let Some(audience) = &self.audience {
            extra.push(("audience".to_owned(), audience.clone()));
        }
        let own = self.client_id.clone().unwrap_or_default();
        ClientOf {
            provider: self.id.clone(),
            issuer: server.issuer.as_ref().map(|i| i.as_str().to_owned()),
            token_endpoint: server.token.clone(),
            revocation_endpoint: server.revocation.clone(),
            client_id: issued.map_or(own, str::to_owned),
            auth: match secret {
                None => ClientAuth::None,
                Some(secret) if in_body => ClientAuth::Post(secret),
                Some(secret) => ClientAuth::Basic(secret),
            },
            format: self.token_format,
            revocation_format: self.revocation_format,
            resource: self.resource.clone(),
            named_by: self.named_by.clone(),
            extra,
            dialect: self.dialect,
            refresh_margin: self.refresh_margin,
        }
    }
}

/// True for what may be the id of a provider: letters, digits and `. _ -`, the first a letter or
/// digit.
pub fn is_provider_id(text: &str) -> bool {
    let first_ok = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    let rest_ok = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    first_ok && rest_ok && text.len() <= MAX_PROVIDER_ID
}

/// True for a scope (RFC 6749 section 3.3).
pub fn is_scope(text: &str) -> bool {
    let byte_ok = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    (1..=MAX_PARAMETER).contains(&text.len()) && text.bytes().all(byte_ok)
}

/// Parameters that the flows set themselves: an extra one of that name could undo a check.
pub const RESERVED: &[&str] = &[
    "assertion",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_challenge",
    "code_challenge_method",
    "code_verifier",
    "device_code",
    "grant_type",
    "id_token_hint",
    "nonce",
    "password",
    "redirect_uri",
    "refresh_token",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
    "token",
    "username",
];

/// True for the name of an extra parameter.
pub fn is_extra(name: &str) -> bool {
    let bytes_ok = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    (1..=128).contains(&name.len()) && bytes_ok && !RESERVED.contains(&name)
}

#[cfg(test)]
mod tests;
