//! The last step of every sign-in: what is checked of a grant before it becomes an account.
//!
//! Invariant: an [`Account`] of a new sign-in is made here only, after the ID token's issuer,
//! audience and nonce and the scope were checked; the flows lead here and nowhere else.

use super::callback::CallbackError;
use super::claims::Claims;
use super::client::ClientOf;
use super::discovery::Issuer;
use super::endpoint::EndpointError;
use super::grant::{Grant, read_grant, scope_holds};
use super::pkce::Nonce;
use super::provider::Provider;
use super::record::Account;
use super::refusal::Refusal;
use super::request::HttpAnswer;
use super::server::{Server, ServerError};
use super::tokens::ClientSecret;
use crate::error::{Code, Coded};
use crate::time::UnixMs;

/// What a sign-in takes beside the provider.
#[derive(Clone, Debug, Default)]
pub struct SignInWith {
    /// The client's secret, read from the provider's ref.
    pub client_secret: Option<ClientSecret>,
    /// The client id that the server issued at an earlier sign-in of this account (see
    /// [`super::provider::DynamicClient`]).
    pub issued_client_id: Option<String>,
    /// Random and constant for this installation.
    pub install_id: [u8; 16],
    /// The account to sign in, as a hint for the page.
    pub login_hint: Option<String>,
}

/// Why a sign-in failed. Repeats nothing that a server sent but a known code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// The provider or its server can't do this flow.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The server granted nothing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A callback that does not belong to the flow it was given to.
    #[error(transparent)]
    Callback(#[from] CallbackError),
    /// The request's URL is over its limit.
    #[error("the authorization request {0}")]
    Url(EndpointError),
    /// `openid` was asked for and no ID token came.
    #[error("the authorization server sent no ID token although openid was asked for")]
    NoIdToken,
    /// The ID token is not for this sign-in.
    #[error("the ID token {0}")]
    IdToken(&'static str),
    /// A scope that is needed was not granted.
    #[error("the authorization server did not grant the scope {0}, without which it is of no use")]
    Scope(String),
    /// The device flow's first answer lacks something.
    #[error("the authorization server's answer has no usable {0}")]
    Device(&'static str),
    /// The account may not use the device flow.
    #[error("the account or the server does not allow signing in with a device code")]
    DeviceDisabled,
}

impl Coded for FlowError {
    fn code(&self) -> Code {
        match self {
            FlowError::Server(error) => error.code(),
            // There is no session yet that would have to sign in again.
            FlowError::Refused(Refusal::Permanent(_)) | FlowError::Scope(_) => Code::OAuthRefused,
            FlowError::Refused(refusal) => refusal.code(),
            FlowError::Callback(_) | FlowError::IdToken(_) => Code::OAuthCallback,
            FlowError::Url(_) => Code::ConfigInvalid,
            FlowError::NoIdToken | FlowError::Device(_) => Code::OAuthInvalid,
            FlowError::DeviceDisabled => Code::OAuthFlowAbsent,
        }
    }
}
crate::error::failure_from!(FlowError);

/// A sign-in whose code is on its way to the token endpoint. Taking the answer ends it.
#[derive(Debug)]
pub struct AwaitedGrant {
    pub(super) client: ClientOf,
    issuer: Option<Issuer>,
    nonce: Option<Nonce>,
    required_scopes: Vec<String>,
    account_id_claim: Option<String>,
}

impl AwaitedGrant {
    pub(super) fn new(provider: &Provider, server: &Server, with: &SignInWith) -> Self {
        let issued = with.issued_client_id.as_deref();
        Self {
            client: provider.client(server, issued, with.client_secret.clone()),
            issuer: server.issuer.clone(),
            nonce: None,
            required_scopes: provider.required_scopes.clone(),
            account_id_claim: provider.account_id_claim.clone(),
        }
    }

    /// Also asks for an ID token with this nonce.
    pub(super) fn expect_nonce(&mut self, nonce: Nonce) {
        self.nonce = Some(nonce);
    }

    /// Takes the token endpoint's answer. `now` is the moment before the request was sent.
    ///
    /// # Errors
    /// Nothing was granted, or something else than was asked for.
    pub fn finish(self, answer: &HttpAnswer, now: UnixMs) -> Result<Account, FlowError> {
        let grant = read_grant(answer, self.client.dialect)?;
        self.check_id_token(&grant)?;
        let scope = grant.scope.as_deref().unwrap_or_default();
        let missing = self.required_scopes.iter();
        if let Some(missing) = missing.into_iter().find(|one| !scope_holds(scope, one)) {
            return Err(FlowError::Scope(missing.clone()));
        }
        Ok(Account::new(self.client, grant, self.account_id_claim, now))
    }

    /// OpenID Connect Core section 3.1.3.7, without the signature: the token came straight from the
    /// token endpoint over TLS (point 6 there).
    fn check_id_token(&self, grant: &Grant) -> Result<(), FlowError> {
        let Some(token) = &grant.id_token else {
            return match self.nonce {
                Some(_) => Err(FlowError::NoIdToken),
                None => Ok(()),
            };
        };
        let Some(claims) = Claims::peek(token.secret()) else {
            return Err(FlowError::IdToken("is not readable"));
        };
        let issuer_ok = self
            .issuer
            .as_ref()
            .is_none_or(|i| claims.is_from(i.as_str()));
        if !issuer_ok {
            return Err(FlowError::IdToken("comes from another issuer"));
        }
        if !claims.is_for(&self.client.client_id) {
            return Err(FlowError::IdToken("is for another client"));
        }
        let nonce = self.nonce.as_ref();
        if nonce.is_some_and(|nonce| !claims.has_nonce(nonce.as_str())) {
            return Err(FlowError::IdToken("belongs to another sign-in"));
        }
        Ok(())
    }
}
