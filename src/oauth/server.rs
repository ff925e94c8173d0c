//! An authorization server with its endpoints known: given, implied by a dialect, or discovered.

use super::client::Dialect;
use super::discovery::{Discovery, Issuer, Metadata};
use super::endpoint::Endpoint;
use super::provider::{FlowKind, Provider, SecretIn};
use crate::error::{Code, Coded};

/// A server that can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// The issuer, as its metadata spells it.
    pub issuer: Option<Issuer>,
    /// Where the browser is sent.
    pub authorization: Option<Endpoint>,
    /// Where tokens are granted.
    pub token: Endpoint,
    /// Where the device flow starts.
    pub device: Option<Endpoint>,
    /// Where tokens are revoked.
    pub revocation: Option<Endpoint>,
    /// The server promised to name itself in callbacks (RFC 9207).
    pub names_itself: bool,
    /// How it wants a client's secret, if it says.
    pub secret_in: Option<SecretIn>,
}

/// Where the endpoints of a provider come from.
#[derive(Debug)]
pub enum Endpoints {
    /// They are known.
    Known(Box<Server>),
    /// The issuer has to be asked first.
    Discover(Box<Discovery>),
}

/// Why a server can't be used for a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// The provider does not have the flow.
    #[error("the provider does not offer {0}")]
    Flow(FlowKind),
    /// Its metadata has no such endpoint.
    #[error("the authorization server's metadata has no {0}")]
    Endpoint(&'static str),
    /// Its metadata says that it lacks PKCE with S256.
    #[error("the authorization server does not support PKCE with S256")]
    Pkce,
    /// The metadata could not be read.
    #[error(transparent)]
    Discovery(#[from] super::discovery::DiscoveryError),
}

impl Coded for ServerError {
    fn code(&self) -> Code {
        match self {
            ServerError::Flow(_) => Code::OAuthFlowAbsent,
            ServerError::Endpoint(_) | ServerError::Pkce => Code::OAuthInvalid,
            ServerError::Discovery(error) => error.code(),
        }
    }
}
crate::error::failure_from!(ServerError);

impl Provider {
    /// Where the endpoints for a flow come from. Given ones win; OpenAI's dialects imply theirs;
    /// what is missing then is in the issuer's metadata.
    ///
    /// # Errors
    /// The provider does not offer the flow.
    pub fn endpoints(&self, flow: FlowKind) -> Result<Endpoints, ServerError> {
        if !self.offers(flow) || !flow.is_oauth() {
            return Err(ServerError::Flow(flow));
        }
        match (self.known_server(), &self.issuer) {
            (Some(server), _) if server.start(flow).is_some() => {
                Ok(Endpoints::Known(Box::new(server)))
            }
            (_, Some(issuer)) => {
                let discovery = Discovery::new(issuer.clone());
                Ok(Endpoints::Discover(Box::new(discovery)))
            }
            (None, None) => Err(ServerError::Endpoint("token_endpoint")),
            (Some(_), None) => Err(ServerError::Endpoint(start_name(flow))),
        }
    }

    /// The server as far as it is known without asking it; `None` if its token endpoint is not.
    /// That one is enough for a refresh, a flow may need more.
    pub fn known_server(&self) -> Option<Server> {
        let implied = |path: &str| match (&self.issuer, self.dialect) {
            (Some(issuer), Dialect::OpenAi | Dialect::AgentosLegacy) => issuer.at(path),
            _ => None,
        };
        let or = |given: &Option<Endpoint>, path| given.clone().or_else(|| implied(path));
        let device = match self.dialect {
            Dialect::AgentosLegacy => "/deviceauth/usercode",
            Dialect::OpenAi | Dialect::Rfc8628 => "/api/accounts/deviceauth/usercode",
        };
        Some(Server {
            issuer: self.issuer.clone(),
            authorization: or(&self.authorization_endpoint, "/oauth/authorize"),
            token: or(&self.token_endpoint, "/oauth/token")?,
            device: or(&self.device_authorization_endpoint, device),
            revocation: or(&self.revocation_endpoint, "/oauth/revoke"),
            names_itself: false,
            secret_in: None,
        })
    }

    /// The server for a flow, once its metadata is there.
    ///
    /// # Errors
    /// An endpoint is neither given nor in the metadata, or the server lacks PKCE.
    pub fn server(&self, flow: FlowKind, metadata: Metadata) -> Result<Server, ServerError> {
        if flow == FlowKind::Pkce && metadata.pkce_s256 == Some(false) {
            return Err(ServerError::Pkce);
        }
        let token = self.token_endpoint.clone().or(metadata.token);
        let server = Server {
            issuer: Some(metadata.issuer),
            authorization: self
                .authorization_endpoint
                .clone()
                .or(metadata.authorization),
            token: token.ok_or(ServerError::Endpoint("token_endpoint"))?,
            device: self
                .device_authorization_endpoint
                .clone()
                .or(metadata.device),
            revocation: self.revocation_endpoint.clone().or(metadata.revocation),
            names_itself: metadata.names_itself,
            secret_in: metadata.secret_in,
        };
        if server.start(flow).is_none() {
            return Err(ServerError::Endpoint(start_name(flow)));
        }
        Ok(server)
    }
}

impl Server {
    /// Where a flow starts.
    fn start(&self, flow: FlowKind) -> Option<&Endpoint> {
        match flow {
            FlowKind::Device => self.device.as_ref(),
            _ => self.authorization.as_ref(),
        }
    }
}

fn start_name(flow: FlowKind) -> &'static str {
    match flow {
        FlowKind::Device => "device_authorization_endpoint",
        _ => "authorization_endpoint",
    }
}
