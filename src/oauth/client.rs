//! Who asks an authorization server: the client, its endpoints, and how it proves itself.

use super::address::Class;
use super::endpoint::Endpoint;
use super::request::{HttpRequest, Parameter, basic};
use super::tokens::ClientSecret;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// How a client proves itself at the token and revocation endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A public client: it only names itself.
    None,
    /// HTTP Basic (`client_secret_basic`).
    Basic(ClientSecret),
    /// In the body (`client_secret_post`).
    Post(ClientSecret),
}

/// How a body is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenFormat {
    /// `application/x-www-form-urlencoded`, as RFC 6749 and RFC 7009 have it.
    #[default]
    Form,
    /// A JSON object.
    Json,
}

impl TokenFormat {
    /// Every format.
    pub const ALL: [TokenFormat; 2] = [TokenFormat::Form, TokenFormat::Json];

    /// As written in a config.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenFormat::Form => "form",
            TokenFormat::Json => "json",
        }
    }
}

/// How far a server's device flow and its errors are from the standard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// RFC 6749 and RFC 8628.
    #[default]
    Rfc8628,
    /// OpenAI: device authorization at `/api/accounts/deviceauth/…`; any 401 is for good.
    #[serde(rename = "openai")]
    OpenAi,
    /// OpenAI's earlier paths, `/deviceauth/…`, as AgentOS used them.
    AgentosLegacy,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Dialect; 3] = [Dialect::Rfc8628, Dialect::OpenAi, Dialect::AgentosLegacy];

    /// As written in a config.
    pub fn as_str(self) -> &'static str {
        match self {
            Dialect::Rfc8628 => "rfc8628",
            Dialect::OpenAi => "openai",
            Dialect::AgentosLegacy => "agentos-legacy",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everything that a refresh needs, as the record keeps it: it works after a restart, and after the
/// config changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOf {
    /// The id of the provider.
    pub provider: String,
    /// The issuer, exactly as it names itself.
    pub issuer: Option<String>,
    /// Where tokens are granted.
    pub token_endpoint: Endpoint,
    /// Where tokens are revoked.
    pub revocation_endpoint: Option<Endpoint>,
    /// The client's id.
    pub client_id: String,
    /// How it proves itself.
    pub auth: ClientAuth,
    /// How requests to the token endpoint are encoded.
    pub format: TokenFormat,
    /// How requests to the revocation endpoint are encoded.
    pub revocation_format: TokenFormat,
    /// The resource indicator (RFC 8707), sent with every token request.
    pub resource: Option<String>,
    /// The server that named the endpoints, if no person did.
    pub named_by: Option<NamedBy>,
    /// More parameters of every token request.
    pub extra: Vec<(String, String)>,
    /// The server's dialect.
    pub dialect: Dialect,
    /// How long before its end a token is renewed, where the provider sets it.
    pub refresh_margin: Option<Duration>,
}

/// A server that a person configured, and that named who grants its tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedBy {
    /// Its URL.
    pub url: Endpoint,
    /// What the address reaches at which it answered; see [`HttpRequest::within`].
    pub class: Class,
}

impl ClientOf {
    /// A public client of a server that follows the standards and says nothing more of itself.
    pub fn public(provider: &str, token_endpoint: Endpoint, client_id: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            issuer: None,
            token_endpoint,
            revocation_endpoint: None,
            client_id: client_id.to_owned(),
            auth: ClientAuth::None,
            format: TokenFormat::default(),
            revocation_format: TokenFormat::default(),
            resource: None,
            named_by: None,
            extra: Vec::new(),
            dialect: Dialect::default(),
            refresh_margin: None,
        }
    }

    /// A request to the token endpoint: these parameters, and what every one of this client has.
    pub(super) fn token_request(&self, own: &[(&str, Parameter<'_>)]) -> HttpRequest {
        let mut parameters = own.to_vec();
        if let Some(resource) = &self.resource {
            parameters.push(("resource", Parameter::Text(resource)));
        }
        for (name, value) in &self.extra {
            parameters.push((name, Parameter::Text(value)));
        }
        self.authenticated(self.token_endpoint.clone(), self.format, parameters)
    }

    /// A request with the client's proof.
    pub(super) fn authenticated<'a>(
        &'a self,
        url: Endpoint,
        format: TokenFormat,
        mut parameters: Vec<(&'a str, Parameter<'a>)>,
    ) -> HttpRequest {
        if !matches!(self.auth, ClientAuth::Basic(_)) {
            parameters.push(("client_id", Parameter::Text(&self.client_id)));
        }
        if let ClientAuth::Post(secret) = &self.auth {
            parameters.push(("client_secret", Parameter::Secret(secret.secret())));
        }
        let mut request = match format {
            TokenFormat::Form => HttpRequest::form(url, &parameters),
            TokenFormat::Json => HttpRequest::json(url, &parameters),
        };
        if let ClientAuth::Basic(secret) = &self.auth {
            request.authorization = Some(basic(&self.client_id, secret.secret()));
        }
        request.within = self.named_by.as_ref().map(|server| server.class);
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretValue;

    #[test]
    fn formats_and_dialects_have_one_word_in_configs_and_records() {
        assert_eq!(TokenFormat::ALL.map(TokenFormat::as_str), ["form", "json"]);
        let words = ["rfc8628", "openai", "agentos-legacy"];
        assert_eq!(Dialect::ALL.map(Dialect::as_str), words);
        for format in TokenFormat::ALL {
            let json = serde_json::to_value(format).unwrap();
            assert_eq!(json, format.as_str());
        }
        for dialect in Dialect::ALL {
            let json = serde_json::to_value(dialect).unwrap();
            assert_eq!(json, dialect.as_str());
            assert_eq!(dialect.to_string(), dialect.as_str());
        }
    }

    #[test]
    fn a_client_names_itself_where_its_way_of_proving_itself_wants_it() {
        let secret = || ClientSecret::from(SecretValue::copy_of(b"s"));
        let request = |auth, format| {
            let mut client = ClientOf::public("p", "https://a.example/t".parse().unwrap(), "c");
            client.auth = auth;
            client.format = format;
            client.resource = Some("r".to_owned());
            client.extra = vec![("x".to_owned(), "y".to_owned())];
            let request = client.token_request(&[("grant_type", Parameter::Text("g"))]);
            let body = request.body.unwrap();
            let body = String::from_utf8(body.expose().to_vec()).unwrap();
            let header = request.authorization.map(|value| value.expose().to_vec());
            (body, header)
        };
        let form = TokenFormat::Form;
        let (body, header) = request(ClientAuth::None, form);
        assert_eq!(body, "grant_type=g&resource=r&x=y&client_id=c");
        assert_eq!(header, None);
        let (body, header) = request(ClientAuth::Post(secret()), form);
        assert_eq!(
            body,
            "grant_type=g&resource=r&x=y&client_id=c&client_secret=s"
        );
        assert_eq!(header, None);
        let (body, header) = request(ClientAuth::Basic(secret()), form);
        assert_eq!(body, "grant_type=g&resource=r&x=y");
        // RFC 7617, of `c:s`.
        assert_eq!(header.as_deref(), Some(b"Basic Yzpz".as_slice()));
        let (body, _) = request(ClientAuth::None, TokenFormat::Json);
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        let expected = serde_json::json!({
            "grant_type": "g", "resource": "r", "x": "y", "client_id": "c",
        });
        assert_eq!(body, expected);
    }
}
