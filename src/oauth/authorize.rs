//! Signing in with a browser: authorization code with PKCE (RFC 6749, 7636, 8252, 9207).
//!
//! The steps can't be skipped or repeated: a [`CodeFlow`] is needed to read a callback, reading one
//! is the only way to an [`Accepted`] code, and redeeming it consumes flow and code.
//!
//! ```text
//! CodeFlow::start -> url -> read_query or read_paste -> Accepted -> redeem -> AwaitedGrant::finish
//! ```

use super::callback::{Callback, CallbackError, SaidNo};
use super::discovery::Issuer;
use super::endpoint::{Endpoint, EndpointError};
use super::grant::code_request;
use super::pkce::{Challenge, Nonce, State, Verifier};
use super::provider::{FlowKind, Provider};
use super::request::HttpRequest;
use super::server::{Server, ServerError};
use super::sign_in::{AwaitedGrant, FlowError, SignInWith};
use super::tokens::AuthorizationCode;
use crate::crypto::Random;
use crate::secret::SecretValue;

/// The longest client id that a server may issue, in bytes.
const MAX_ISSUED_ID: usize = 256;

/// A sign-in that has begun: its browser page may be open.
#[derive(Debug)]
pub struct CodeFlow {
    url: Endpoint,
    redirect_uri: String,
    state: State,
    verifier: Verifier,
    issuer: Option<Issuer>,
    names_itself: bool,
    authorization: Endpoint,
    issued: Issued,
    awaited: AwaitedGrant,
}

/// What the `client_id` of a callback means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Issued {
    /// Nothing.
    Ignored,
    /// It must come, and is ours from now on.
    Awaited,
    /// It must not be another one.
    Known,
}

/// What a callback of this flow says.
#[derive(Debug)]
pub enum Answer {
    /// A code, to be redeemed.
    Accepted(Accepted),
    /// The person, or the server, said no.
    Refused(SaidNo),
}

/// A code that came back to the flow that asked for it.
#[derive(Debug)]
pub struct Accepted {
    state: State,
    code: AuthorizationCode,
    client_id: Option<String>,
}

impl CodeFlow {
    /// Begins: makes state, verifier and nonce, and the URL for the browser. `redirect_uri` is the
    /// listener's, or where a listener would be if the answer is going to be pasted.
    ///
    /// # Errors
    /// The provider does not offer the flow, or the URL would be too long.
    pub fn start(
        provider: &Provider,
        server: &Server,
        redirect_uri: &str,
        with: &SignInWith,
        rng: &mut dyn Random,
    ) -> Result<Self, FlowError> {
        if !provider.offers(FlowKind::Pkce) {
            return Err(ServerError::Flow(FlowKind::Pkce).into());
        }
        let authorization = server.authorization.clone();
        let authorization = authorization.ok_or(ServerError::Endpoint("authorization_endpoint"))?;
        let (state, verifier) = (State::make(rng), Verifier::make(rng));
        let nonce = provider.is_oidc().then(|| Nonce::make(rng));
        let mut awaited = AwaitedGrant::new(provider, server, with);
        let issued = match (&provider.dynamic_client, &with.issued_client_id) {
            (None, _) => Issued::Ignored,
            (Some(_), None) => Issued::Awaited,
            (Some(_), Some(_)) => Issued::Known,
        };
        let marks = Marks {
            redirect_uri,
            state: state.as_str(),
            challenge: verifier.challenge(),
            nonce: nonce.as_ref().map(Nonce::as_str),
        };
        let is_first = issued == Issued::Awaited;
        let client_id = &awaited.client.client_id;
        let url = request_url(&authorization, provider, client_id, &marks, with, is_first)
            .map_err(FlowError::Url)?;
        if let Some(nonce) = nonce {
            awaited.expect_nonce(nonce);
        }
        Ok(Self {
            url,
            redirect_uri: redirect_uri.to_owned(),
            state,
            verifier,
            issuer: server.issuer.clone(),
            names_itself: server.names_itself,
            authorization,
            issued,
            awaited,
        })
    }

    /// Where the browser goes.
    pub fn url(&self) -> &Endpoint {
        &self.url
    }

    /// Where it comes back to.
    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Reads the query of a request to the listener, which has checked the path.
    ///
    /// # Errors
    /// It does not belong to this flow: the wait goes on.
    pub fn read_query(&self, query: &SecretValue) -> Result<Answer, CallbackError> {
        self.check(Callback::from_query(query)?)
    }

    /// Reads what a person pasted: the whole address, its query, or `CODE#STATE`.
    ///
    /// # Errors
    /// It does not belong to this flow: the person may try again.
    pub fn read_paste(&self, pasted: &SecretValue) -> Result<Answer, CallbackError> {
        self.check(Callback::from_paste(pasted, &self.redirect_uri)?)
    }

    /// State first, then the issuer, and only then what it says.
    fn check(&self, callback: Callback) -> Result<Answer, CallbackError> {
        if !self.state.is(&callback.state) {
            return Err(CallbackError::OtherState);
        }
        if !self.is_expected_issuer(callback.iss.as_deref()) {
            return Err(CallbackError::OtherIssuer);
        }
        if let Some(mut error) = callback.error {
            // What a server says is shown, and it knows our state.
            let shows_state = |text: &String| text.contains(self.state.as_str());
            error.description = error.description.filter(|text| !shows_state(text));
            return Ok(Answer::Refused(error));
        }
        let code = callback.code.ok_or(CallbackError::Empty)?;
        let ours = self.awaited.client.client_id.as_str();
        let client_id = match (self.issued, callback.client_id) {
            (Issued::Ignored, _) | (Issued::Known, None) => None,
            (Issued::Known, Some(id)) if id == ours => None,
            (Issued::Awaited, Some(id)) if id != ours && is_issued_id(&id) => Some(id),
            (Issued::Known | Issued::Awaited, _) => return Err(CallbackError::ClientId),
        };
        Ok(Answer::Accepted(Accepted {
            state: self.state.clone(),
            code,
            client_id,
        }))
    }

    /// RFC 9207 section 2.4: what is there must be the issuer, character by character, and it must
    /// be there if the server promised it. Without a known issuer, the origin of the page that we
    /// opened stands for it.
    fn is_expected_issuer(&self, iss: Option<&str>) -> bool {
        match (iss, &self.issuer) {
            (None, _) => !self.names_itself,
            (Some(iss), Some(issuer)) => iss == issuer.as_str(),
            (Some(iss), None) => iss
                .parse::<Endpoint>()
                .is_ok_and(|iss| iss.same_origin(&self.authorization)),
        }
    }

    /// Redeems the code: the request to send, once, and who takes the answer.
    ///
    /// # Errors
    /// The code came back to another flow.
    pub fn redeem(self, accepted: Accepted) -> Result<(HttpRequest, AwaitedGrant), FlowError> {
        if !self.state.is(accepted.state.as_str()) {
            return Err(CallbackError::OtherState.into());
        }
        let mut awaited = self.awaited;
        if let Some(id) = accepted.client_id {
            awaited.client.client_id = id;
        }
        let request = code_request(
            &awaited.client,
            &accepted.code,
            &self.redirect_uri,
            Some(self.verifier),
        );
        Ok((request, awaited))
    }
}

/// What of a request is new in each flow.
struct Marks<'a> {
    redirect_uri: &'a str,
    state: &'a str,
    challenge: Challenge,
    nonce: Option<&'a str>,
}

/// The address of the authorization request (RFC 6749 section 4.1.1).
fn request_url(
    authorization: &Endpoint,
    provider: &Provider,
    client_id: &str,
    marks: &Marks<'_>,
    with: &SignInWith,
    is_first: bool,
) -> Result<Endpoint, EndpointError> {
    let scope = provider.scopes.join(" ");
    let install_id = install_urn(with.install_id);
    let mut parameters = vec![
        ("response_type", Some("code")),
        ("client_id", Some(client_id)),
        ("redirect_uri", Some(marks.redirect_uri)),
        ("scope", Some(scope.as_str()).filter(|s| !s.is_empty())),
        ("state", Some(marks.state)),
        ("code_challenge", Some(marks.challenge.as_str())),
        ("code_challenge_method", Some("S256")),
        ("nonce", marks.nonce),
        ("resource", provider.resource.as_deref()),
        ("audience", provider.audience.as_deref()),
        ("login_hint", with.login_hint.as_deref()),
    ];
    let mut more: Vec<&(String, String)> = provider.extra_authorize.iter().collect();
    if let Some(dynamic) = &provider.dynamic_client {
        if is_first {
            more.extend(&dynamic.first_params);
        }
        if let Some(name) = &dynamic.install_id_param {
            parameters.push((name, Some(&install_id)));
        }
    }
    parameters.extend(more.iter().map(|(n, v)| (n.as_str(), Some(v.as_str()))));
    let given = parameters.into_iter();
    authorization.with_query(given.filter_map(|(name, value)| Some((name, value?))))
}

fn is_issued_id(id: &str) -> bool {
    (1..=MAX_ISSUED_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

/// The id of an installation as a URN (RFC 9562, version 8: ours to fill).
fn install_urn(mut id: [u8; 16]) -> String {
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    let hex = data_encoding::HEXLOWER.encode(&id);
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    );
    format!("urn:uuid:{a}-{b}-{c}-{d}-{e}")
}

#[cfg(test)]
mod tests;
