//! Signing in to an MCP server: a client there, a browser, and an account for the server.

use super::discovery::{Allowed, Ground, discover};
use super::servers::McpServer;
use crate::error::{Code, Failure};
use crate::net::Http;
use crate::oauth::challenge::Challenge;
use crate::oauth::client::ClientAuth;
use crate::oauth::provider::{FlowKind, MAX_SCOPES, Provider, SecretIn};
use crate::oauth::registration::{
    Registered, Registration, RegistrationError, read_registration, registration_request,
};
use crate::oauth::sign_in::SignInWith;
use crate::oauth::{Class, ClientSecret, CodeFlow, Endpoint, Issuer, NamedBy};
use crate::sign_in::{Person, SignedIn, Wish, with_browser};
use crate::sys::random;

/// The id of the provider in the accounts of MCP servers.
pub const PROVIDER: &str = "mcp";
/// How this program names itself to whoever registers it, and so to the person who agrees.
const CLIENT_NAME: &str = "Reseal";
/// The scope that asks for a refresh token (OpenID Connect Core section 11).
const OFFLINE: &str = "offline_access";

/// What a sign-in takes beside the server.
#[derive(Clone, Debug, Default)]
pub struct With {
    /// What the server said to a request of this process; without it the server is asked.
    pub challenge: Option<Challenge>,
    /// What the account has that is there: it is asked for again with what is new.
    pub held: Held,
    /// The secret of a client that was registered beforehand.
    pub client_secret: Option<ClientSecret>,
    /// What the person allows beyond the specification.
    pub allowed: Allowed,
}

/// The scopes of an account.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// Who granted them. Nobody else is asked for them: scopes mean what their issuer says.
    pub issuer: Option<String>,
    /// The scopes.
    pub scopes: Vec<String>,
}

impl Held {
    /// Those of an account with this issuer and this scope.
    pub fn of(issuer: Option<String>, scope: Option<&str>) -> Self {
        let scopes = scope.unwrap_or_default().split_whitespace();
        Self {
            issuer,
            scopes: scopes.map(str::to_owned).collect(),
        }
    }

    /// Those to ask this issuer for.
    fn granted_by(self, issuer: &Issuer) -> Vec<String> {
        let is_same = self.issuer.is_some_and(|granter| issuer.is(&granter));
        if is_same { self.scopes } else { Vec::new() }
    }
}

/// Signs in to a server.
///
/// # Errors
/// `usage` for a server without an address or without OAuth; those of [`discover`] and
/// [`crate::sign_in::sign_in`]; `oauth.refused` if no client could be registered.
pub fn sign_in(
    server: &McpServer,
    http: &dyn Http,
    person: &mut dyn Person,
    wish: &Wish,
    with: With,
) -> Result<SignedIn, Failure> {
    let usage = |why: &str| Failure::new(Code::Usage, format!("{}: {why}", server.name));
    let url = server.url.as_ref();
    let url = url.ok_or_else(|| usage("STDIO servers do not support OAuth"))?;
    if !server.oauth {
        return Err(usage("its config says oauth: false"));
    }
    let more = with.challenge.as_ref().and_then(Challenge::missing_scopes);
    let ground = discover(http, server, url, with.challenge, with.allowed)?;
    let mut held = with.held.granted_by(&ground.metadata.issuer);
    held.extend(more.unwrap_or_default());
    let mut provider = provider(server, url, &ground, &held);
    let asked = provider.scopes.join(" ");
    let registration = client(server, &ground)?;
    let start = |redirect_uri: &str| {
        let mut secret = with.client_secret;
        match registration {
            Client::Known(id) => provider.client_id = Some(id),
            Client::Register(place) => {
                let known = register(http, &place, ground.class, &provider, redirect_uri)?;
                provider.client_id = Some(known.client_id);
                (provider.client_secret_in, secret) = match known.auth {
                    ClientAuth::None => (None, None),
                    ClientAuth::Basic(secret) => (Some(SecretIn::Basic), Some(secret)),
                    ClientAuth::Post(secret) => (Some(SecretIn::Post), Some(secret)),
                };
            }
        }
        let with = SignInWith {
            client_secret: secret,
            ..SignInWith::default()
        };
        let server = provider.server(FlowKind::Pkce, ground.metadata)?;
        let rng = &mut random::fill;
        Ok(CodeFlow::start(
            &provider,
            &server,
            redirect_uri,
            &with,
            rng,
        )?)
    };
    let mut signed_in = with_browser(&server.redirect, &server.label(), http, person, wish, start)?;
    // What is granted is what was asked for, where the server says nothing else (RFC 6749 section
    // 5.1); the next step up needs to know it.
    let granted = &mut signed_in.account.scope;
    if granted.is_none() && !asked.is_empty() {
        *granted = Some(asked);
    }
    Ok(signed_in)
}

/// The provider that the server's authorization server is.
fn provider(server: &McpServer, url: &Endpoint, ground: &Ground, held: &[String]) -> Provider {
    let scopes = scopes(server, ground, held);
    let mut provider = Provider::empty(PROVIDER);
    provider.label = server.label();
    provider.issuer = Some(ground.metadata.issuer.clone());
    provider.flows = vec![FlowKind::Pkce];
    if scopes.iter().any(|scope| scope == OFFLINE) {
        // OpenID Connect Core section 11: without it the scope may be ignored.
        let consent = ("prompt".to_owned(), "consent".to_owned());
        provider.extra_authorize.push(consent);
    }
    provider.scopes = scopes;
    provider.resource = Some(ground.resource.clone());
    provider.named_by = Some(NamedBy {
        url: url.clone(),
        class: ground.class,
    });
    provider.redirect = server.redirect.clone();
    provider
}

/// The scopes to ask for: those of the config, else those that the server wants; always those that
/// the account has, and the one for a refresh token where it is offered.
fn scopes(server: &McpServer, ground: &Ground, held: &[String]) -> Vec<String> {
    let wanted = match server.scopes.as_slice() {
        [] => ground.scopes.as_deref().unwrap_or_default(),
        configured => configured,
    };
    let offline = ground.metadata.offers_offline.then(|| OFFLINE.to_owned());
    // A server that says nothing of scopes decides by itself; one scope alone would narrow that.
    let offline = offline.filter(|_| !wanted.is_empty() || !held.is_empty());
    let mut scopes: Vec<String> = Vec::new();
    for scope in held.iter().chain(wanted).cloned().chain(offline) {
        if !scopes.contains(&scope) && scopes.len() < MAX_SCOPES {
            scopes.push(scope);
        }
    }
    scopes
}

/// How to be a client of an authorization server.
enum Client {
    /// By a client id that it knows, or a document that it reads.
    Known(String),
    /// By registering there first.
    Register(Endpoint),
}

/// In the order of the specification: registered beforehand, a document, registration.
fn client(server: &McpServer, ground: &Ground) -> Result<Client, Failure> {
    if let Some(id) = &server.client_id {
        return Ok(Client::Known(id.clone()));
    }
    if let Some(document) = &server.client_metadata_url
        && ground.metadata.takes_client_documents
    {
        return Ok(Client::Known(document.as_str().to_owned()));
    }
    match &ground.metadata.registration {
        Some(place) => Ok(Client::Register(place.clone())),
        None => {
            let text = format!(
                "{} registers no clients by itself: register one there, with the redirect address \
                 {}, and put its id into auth.clientId and the issuer into auth.clientIssuer of \
                 the server",
                ground.metadata.issuer,
                server.redirect.uri(server.redirect.port)
            );
            Err(Failure::new(Code::OAuthFlowAbsent, text))
        }
    }
}

/// Registers this program; once more without `application_type` if the server does not know that.
fn register(
    http: &dyn Http,
    place: &Endpoint,
    class: Class,
    provider: &Provider,
    redirect_uri: &str,
) -> Result<Registered, Failure> {
    let once = |says_native| -> Result<Result<Registered, RegistrationError>, Failure> {
        let registration = Registration {
            client_name: CLIENT_NAME,
            redirect_uri,
            scopes: &provider.scopes,
            says_native,
        };
        let request = registration_request(place.clone(), &registration).within(class);
        Ok(read_registration(&http.send(&request)?))
    };
    match once(true)? {
        Err(error) if error.is_about_the_client() => Ok(once(false)??),
        outcome => Ok(outcome?),
    }
}
