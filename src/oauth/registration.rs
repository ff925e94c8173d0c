//! Dynamic client registration (RFC 7591), for servers that know nobody beforehand.

use super::answer::Members;
use super::client::ClientAuth;
use super::endpoint::Endpoint;
use super::provider::MAX_PARAMETER;
use super::refusal::error_code;
use super::request::{HttpAnswer, HttpRequest, Method};
use super::tokens::{ClientSecret, is_token};
use crate::error::{Code, Coded};
use crate::secret::SecretValue;
use serde_json::{Value, json};

/// What a client says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Registration<'a> {
    /// The name that the person sees when agreeing.
    pub client_name: &'a str,
    /// Where the browser comes back to.
    pub redirect_uri: &'a str,
    /// The scopes that are going to be asked for.
    pub scopes: &'a [String],
    /// Say that this is a program on a person's machine (OpenID Connect Registration section 2);
    /// some servers don't know the member.
    pub says_native: bool,
}

/// The client as the server registered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The client's id.
    pub client_id: String,
    /// How it proves itself.
    pub auth: ClientAuth,
}

/// Why nothing was registered. Repeats nothing that the server sent but a known code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// The server refused (RFC 7591 section 3.2.2).
    #[error(
        "the authorization server refused to register this program (HTTP {status}{})",
        said(.code)
    )]
    Refused {
        /// The status.
        status: u16,
        /// What it named, if that is a known code.
        code: Option<&'static str>,
    },
    /// The server can't answer now.
    #[error("the authorization server can't register this program now (HTTP {0})")]
    Unavailable(u16),
    /// No client in the answer.
    #[error("the authorization server's registration has no usable {0}")]
    Answer(&'static str),
}

fn said(code: &Option<&'static str>) -> String {
    code.map_or_else(String::new, |code| format!(", {code}"))
}

impl RegistrationError {
    /// True if the server complained about what the client says of itself.
    pub fn is_about_the_client(&self) -> bool {
        matches!(
            self,
            RegistrationError::Refused {
                code: Some(INVALID_METADATA | INVALID_REDIRECT),
                ..
            }
        )
    }
}

impl Coded for RegistrationError {
    fn code(&self) -> Code {
        match self {
            RegistrationError::Refused { .. } => Code::OAuthRefused,
            RegistrationError::Unavailable(_) => Code::OAuthUnavailable,
            RegistrationError::Answer(_) => Code::OAuthInvalid,
        }
    }
}
crate::error::failure_from!(RegistrationError);

const INVALID_METADATA: &str = "invalid_client_metadata";
const INVALID_REDIRECT: &str = "invalid_redirect_uri";
/// The codes that are repeated.
const CODES: [&str; 5] = [
    INVALID_METADATA,
    INVALID_REDIRECT,
    "invalid_software_statement",
    "unapproved_software_statement",
    "access_denied",
];

/// The request.
pub fn registration_request(url: Endpoint, registration: &Registration<'_>) -> HttpRequest {
    let mut client = json!({
        "client_name": registration.client_name,
        "redirect_uris": [registration.redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    });
    if registration.says_native {
        client["application_type"] = Value::from("native");
    }
    if !registration.scopes.is_empty() {
        client["scope"] = Value::from(registration.scopes.join(" "));
    }
    HttpRequest {
        method: Method::Post,
        content_type: Some("application/json"),
        body: Some(SecretValue::copy_of(client.to_string().as_bytes())),
        ..HttpRequest::get(url)
    }
}

const KEYS: &[&str] = &[
    "client_id",
    "client_secret",
    "client_secret_expires_at",
    "token_endpoint_auth_method",
];

/// Reads the answer. A secret that the server gives although none was asked for is taken, and sent
/// as the server says.
///
/// # Errors
/// Nothing was registered, or the client has to prove itself in a way that is not known.
pub fn read_registration(answer: &HttpAnswer) -> Result<Registered, RegistrationError> {
    match answer.status {
        200 | 201 => {}
        status @ (408 | 429 | 500..=599) => return Err(RegistrationError::Unavailable(status)),
        status => {
            let sent = answer.text().and_then(error_code);
            let known = |code: &&str| sent.as_deref() == Some(*code);
            let code = CODES.into_iter().find(known);
            return Err(RegistrationError::Refused { status, code });
        }
    }
    let members = answer.text().and_then(|text| Members::read(text, KEYS));
    let members = members.ok_or(RegistrationError::Answer("JSON object"))?;
    let client_id = members.text("client_id", MAX_PARAMETER);
    let client_id = client_id.ok_or(RegistrationError::Answer("client_id"))?;
    let secret = members.secret("client_secret").filter(is_token);
    let secret = secret.map(ClientSecret::from);
    let method = members.text("token_endpoint_auth_method", MAX_PARAMETER);
    let auth = match (secret, method.as_deref()) {
        (_, Some("none")) | (None, None) => ClientAuth::None,
        (Some(secret), Some("client_secret_post")) => ClientAuth::Post(secret),
        // The default of RFC 7591 section 2.
        (Some(secret), Some("client_secret_basic") | None) => ClientAuth::Basic(secret),
        (None, Some("client_secret_post" | "client_secret_basic")) => {
            return Err(RegistrationError::Answer("client_secret"));
        }
        (_, Some(_)) => return Err(RegistrationError::Answer("token_endpoint_auth_method")),
    };
    Ok(Registered { client_id, auth })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::fixture::answer;

    fn secret(text: &str) -> ClientSecret {
        SecretValue::copy_of(text.as_bytes()).into()
    }

    #[test]
    fn what_a_client_says_of_itself() {
        let scopes = ["a".to_owned(), "b".to_owned()];
        let mut registration = Registration {
            client_name: "Reseal",
            redirect_uri: "http://127.0.0.1:3030/callback",
            scopes: &scopes,
            says_native: true,
        };
        let body = |registration: &Registration<'_>| -> Value {
            let url = "https://a.example/register".parse().unwrap();
            let request = registration_request(url, registration);
            assert_eq!(request.method, Method::Post);
            assert_eq!(request.content_type, Some("application/json"));
            serde_json::from_slice(request.body.unwrap().expose()).unwrap()
        };
        let mut expected = json!({
            "client_name": "Reseal",
            "redirect_uris": ["http://127.0.0.1:3030/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "native",
            "scope": "a b",
        });
        assert_eq!(body(&registration), expected);
        registration.scopes = &[];
        registration.says_native = false;
        let expected = expected.as_object_mut().unwrap();
        expected.remove("scope");
        expected.remove("application_type");
        assert_eq!(body(&registration), Value::from(expected.clone()));
    }

    #[test]
    fn a_client_of_each_kind() {
        let read = |body: &str| read_registration(&answer(201, body)).map(|client| client.auth);
        assert_eq!(read(r#"{"client_id":"c"}"#), Ok(ClientAuth::None));
        let public = r#"{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"none"}"#;
        assert_eq!(read(public), Ok(ClientAuth::None));
        let unsaid = r#"{"client_id":"c","client_secret":"s","client_secret_expires_at":0}"#;
        assert_eq!(read(unsaid), Ok(ClientAuth::Basic(secret("s"))));
        let post = r#"{"client_id":"c","client_secret":"s",
                       "token_endpoint_auth_method":"client_secret_post"}"#;
        assert_eq!(read(post), Ok(ClientAuth::Post(secret("s"))));
        let jwt = r#"{"client_id":"c","token_endpoint_auth_method":"private_key_jwt"}"#;
        let unknown = RegistrationError::Answer("token_endpoint_auth_method");
        assert_eq!(read(jwt), Err(unknown));
        let bare = r#"{"client_id":"c","token_endpoint_auth_method":"client_secret_basic"}"#;
        assert_eq!(read(bare), Err(RegistrationError::Answer("client_secret")));
    }

    #[test]
    fn what_registers_nothing_repeats_nothing() {
        let read = |status, body: &str| read_registration(&answer(status, body)).unwrap_err();
        let refused = read(
            400,
            r#"{"error":"invalid_redirect_uri","error_description":"canary"}"#,
        );
        assert!(refused.is_about_the_client());
        assert_eq!(
            refused.to_string(),
            "the authorization server refused to register this program (HTTP 400, \
             invalid_redirect_uri)"
        );
        let odd = read(403, r#"{"error":"canary"}"#);
        assert_eq!(
            odd,
            RegistrationError::Refused {
                status: 403,
                code: None
            }
        );
        assert!(!odd.is_about_the_client() && !odd.to_string().contains("canary"));
        assert_eq!(read(503, ""), RegistrationError::Unavailable(503));
        assert_eq!(read(201, "[]"), RegistrationError::Answer("JSON object"));
        assert_eq!(read(201, "{}"), RegistrationError::Answer("client_id"));
        let id = |len: usize| format!(r#"{{"client_id":"{}"}}"#, "c".repeat(len));
        assert!(read_registration(&answer(201, &id(MAX_PARAMETER))).is_ok());
        let long = read(201, &id(MAX_PARAMETER + 1));
        assert_eq!(long, RegistrationError::Answer("client_id"));
    }

    #[test]
    fn each_failure_has_its_code_and_says_whether_the_client_is_meant() {
        let read = |status, body: &str| read_registration(&answer(status, body)).unwrap_err();
        for status in [408, 429, 500, 599] {
            let unavailable = read(status, r#"{"error":"invalid_redirect_uri"}"#);
            assert_eq!(unavailable, RegistrationError::Unavailable(status));
            assert_eq!(unavailable.code(), Code::OAuthUnavailable);
        }
        for status in [202, 302, 407, 409, 428, 430, 499, 600] {
            let refused = read(status, "");
            assert_eq!(refused, RegistrationError::Refused { status, code: None });
            assert_eq!(refused.code(), Code::OAuthRefused);
        }
        for code in CODES {
            let refused = read(400, &format!(r#"{{"error":"{code}"}}"#));
            let about = [INVALID_METADATA, INVALID_REDIRECT].contains(&code);
            assert_eq!(refused.is_about_the_client(), about, "{code}");
            assert!(
                refused
                    .to_string()
                    .ends_with(&format!("(HTTP 400, {code})"))
            );
        }
        assert_eq!(read(200, "[]").code(), Code::OAuthInvalid);
    }
}
