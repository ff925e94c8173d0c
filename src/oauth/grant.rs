//! What a token endpoint grants, and the requests that renew and revoke it.
//!
//! A refresh token that rotates is gone once the server has answered, so an answer is read
//! leniently: whatever else is odd in it, a good access token and its successor are kept.

use super::answer::{Members, is_printable};
use super::client::{ClientOf, Dialect, TokenFormat};
use super::pkce::Verifier;
use super::refusal::{Refusal, has_error};
use super::request::{HttpAnswer, HttpRequest, Parameter};
use super::tokens::{AccessToken, AuthorizationCode, IdToken, RefreshToken, is_token};
use crate::secret::SecretValue;
use std::time::Duration;

/// The longest `scope` that is kept, in bytes; a longer one counts as none.
pub const MAX_SCOPE: usize = 4096;
/// The longest `token_type`.
const MAX_TOKEN_TYPE: usize = 64;

/// What a token endpoint granted (RFC 6749 section 5.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The access token.
    pub access: AccessToken,
    /// The new refresh token; `None`: the old one stays.
    pub refresh: Option<RefreshToken>,
    /// The ID token.
    pub id_token: Option<IdToken>,
    /// How long the access token is valid from now.
    pub expires_in: Option<Duration>,
    /// The scope; `None`: as it was asked for.
    pub scope: Option<String>,
    /// `Bearer`, unless the server says otherwise.
    pub token_type: String,
}

impl Grant {
    /// A bearer token of the scope that was asked for, without an ID token.
    pub fn bearer(
        access: AccessToken,
        refresh: Option<RefreshToken>,
        expires_in: Option<Duration>,
    ) -> Self {
        Self {
            access,
            refresh,
            id_token: None,
            expires_in,
            scope: None,
            token_type: "Bearer".to_owned(),
        }
    }
}

const KEYS: &[&str] = &[
    "access_token",
    "refresh_token",
    "id_token",
    "expires_in",
    "scope",
    "token_type",
];

/// A refresh (RFC 6749 section 6).
pub fn refresh_request(client: &ClientOf, token: &RefreshToken) -> HttpRequest {
    client.token_request(&[
        ("grant_type", Parameter::Text("refresh_token")),
        ("refresh_token", Parameter::Secret(token.secret())),
    ])
}

/// The redemption of a code (RFC 6749 section 4.1.3, RFC 7636 section 4.5). The verifier is given
/// away: there is no second redemption. Only AgentOS's legacy device flow may have none.
pub fn code_request(
    client: &ClientOf,
    code: &AuthorizationCode,
    redirect_uri: &str,
    verifier: Option<Verifier>,
) -> HttpRequest {
    let mut parameters = vec![
        ("grant_type", Parameter::Text("authorization_code")),
        ("code", Parameter::Secret(code.secret())),
        ("redirect_uri", Parameter::Text(redirect_uri)),
    ];
    if let Some(verifier) = &verifier {
        parameters.push(("code_verifier", Parameter::Secret(verifier.secret())));
    }
    client.token_request(&parameters)
}

/// Reads what a token endpoint answered.
///
/// # Errors
/// Why nothing was granted.
pub fn read_grant(answer: &HttpAnswer, dialect: Dialect) -> Result<Grant, Refusal> {
    let text = answer.text();
    let members = text.filter(|_| answer.is_success());
    let Some(members) = members.and_then(|text| Members::read(text, KEYS)) else {
        return Err(if answer.is_success() {
            Refusal::Invalid("something other than a JSON object")
        } else {
            Refusal::of(answer, dialect)
        });
    };
    let token = |key| members.secret(key).filter(is_token);
    let Some(access) = token("access_token") else {
        // GitHub reports errors with status 200.
        return Err(if text.is_some_and(has_error) {
            Refusal::of(answer, dialect)
        } else {
            Refusal::Invalid("no access token")
        });
    };
    Ok(Grant {
        access: access.into(),
        refresh: token("refresh_token").map(RefreshToken::from),
        id_token: token("id_token").map(IdToken::from),
        expires_in: members.seconds("expires_in"),
        scope: members.text("scope", MAX_SCOPE),
        token_type: members
            .text("token_type", MAX_TOKEN_TYPE)
            .unwrap_or_else(|| "Bearer".to_owned()),
    })
}

/// A token that is to be revoked.
#[derive(Clone, Copy, Debug)]
pub enum Revoked<'a> {
    /// The refresh token; the access tokens from it go with it, as far as the server can.
    Refresh(&'a RefreshToken),
    /// An access token alone.
    Access(&'a AccessToken),
}

/// A revocation (RFC 7009 section 2.1), or OpenAI's JSON form of it; `None` if the server has no
/// place for it.
pub fn revoke_request(client: &ClientOf, token: Revoked<'_>) -> Option<HttpRequest> {
    let url = client.revocation_endpoint.clone()?;
    let (value, hint): (&SecretValue, _) = match token {
        Revoked::Refresh(token) => (token.secret(), "refresh_token"),
        Revoked::Access(token) => (token.secret(), "access_token"),
    };
    let parameters = vec![
        ("token", Parameter::Secret(value)),
        ("token_type_hint", Parameter::Text(hint)),
    ];
    // OpenAI takes an access token only without a client id.
    let nameless =
        matches!(token, Revoked::Access(_)) && client.revocation_format == TokenFormat::Json;
    Some(if nameless {
        HttpRequest::json(url, &parameters)
    } else {
        client.authenticated(url, client.revocation_format, parameters)
    })
}

/// Reads what a revocation endpoint answered: any success will do, also for a token that the server
/// did not know (RFC 7009 section 2.2).
///
/// # Errors
/// Why nothing was revoked.
pub fn read_revocation(answer: &HttpAnswer, dialect: Dialect) -> Result<(), Refusal> {
    if answer.is_success() {
        Ok(())
    } else {
        Err(Refusal::of(answer, dialect))
    }
}

/// Whether a scope as a server writes it (RFC 6749 section 3.3) holds one.
pub fn scope_holds(scope: &str, one: &str) -> bool {
    is_printable(one, MAX_SCOPE) && scope.split(' ').any(|held| held == one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::client::ClientAuth;
    use crate::oauth::tokens::{ClientSecret, MAX_TOKEN};
    use crate::time::MAX_DURATION;
    use proptest::prelude::*;

    pub(crate) fn client() -> ClientOf {
        let token_endpoint = "https://acme.example/token".parse().unwrap();
        ClientOf {
            issuer: Some("https://acme.example".to_owned()),
            revocation_endpoint: Some("https://acme.example/revoke".parse().unwrap()),
            ..ClientOf::public("acme", token_endpoint, "my client")
        }
    }

    fn secret<T: From<SecretValue>>(text: &str) -> T {
        SecretValue::copy_of(text.as_bytes()).into()
    }

    fn body(request: &HttpRequest) -> String {
        let body = request.body.as_ref().unwrap().expose().to_vec();
        String::from_utf8(body).unwrap()
    }

    fn answer(status: u16, body: &str) -> HttpAnswer {
        HttpAnswer::new(status, SecretValue::copy_of(body.as_bytes()))
    }

    fn grant(body: &str) -> Result<Grant, Refusal> {
        read_grant(&answer(200, body), Dialect::Rfc8628)
    }

    #[test]
    fn a_refresh_names_token_client_resource_and_extras() {
        let mut client = client();
        client.resource = Some("https://api.example/v1".to_owned());
        client.extra = vec![("audience".to_owned(), "x".to_owned())];
        let request = refresh_request(&client, &secret("r/1"));
        assert_eq!(request.url, client.token_endpoint);
        assert_eq!(
            body(&request),
            "grant_type=refresh_token&refresh_token=r%2F1&resource=https%3A%2F%2Fapi.example%2Fv1\
             &audience=x&client_id=my+client"
        );
        assert!(request.authorization.is_none());
        client.format = TokenFormat::Json;
        let request = refresh_request(&client, &secret("r"));
        assert_eq!(request.content_type, Some("application/json"));
        assert_eq!(
            body(&request),
            concat!(
                r#"{"grant_type":"refresh_token","refresh_token":"r","#,
                r#""resource":"https://api.example/v1","audience":"x","client_id":"my client"}"#
            )
        );
    }

    #[test]
    fn a_client_proves_itself_in_one_place_only() {
        let mut client = client();
        client.auth = ClientAuth::Basic(secret::<ClientSecret>("s"));
        let request = refresh_request(&client, &secret("r"));
        assert_eq!(body(&request), "grant_type=refresh_token&refresh_token=r");
        assert!(request.authorization.is_some());
        client.auth = ClientAuth::Post(secret::<ClientSecret>("s&"));
        let request = refresh_request(&client, &secret("r"));
        let expected =
            "grant_type=refresh_token&refresh_token=r&client_id=my+client&client_secret=s%26";
        assert_eq!(body(&request), expected);
        assert!(request.authorization.is_none());
    }

    #[test]
    fn revocation_in_both_forms() {
        let (refresh, access) = (secret("r"), secret("a"));
        let mut client = client();
        let request = revoke_request(&client, Revoked::Refresh(&refresh)).unwrap();
        let expected = "token=r&token_type_hint=refresh_token&client_id=my+client";
        assert_eq!(body(&request), expected);
        client.revocation_format = TokenFormat::Json;
        let request = revoke_request(&client, Revoked::Refresh(&refresh)).unwrap();
        let expected = r#"{"token":"r","token_type_hint":"refresh_token","client_id":"my client"}"#;
        assert_eq!(body(&request), expected);
        let request = revoke_request(&client, Revoked::Access(&access)).unwrap();
        let expected = r#"{"token":"a","token_type_hint":"access_token"}"#;
        assert_eq!(body(&request), expected);
        client.revocation_endpoint = None;
        assert!(revoke_request(&client, Revoked::Access(&access)).is_none());
        assert_eq!(read_revocation(&answer(200, ""), Dialect::Rfc8628), Ok(()));
        let refused = read_revocation(&answer(503, ""), Dialect::Rfc8628);
        assert!(matches!(refused, Err(Refusal::Transient { .. })));
    }

    #[test]
    fn a_whole_grant() {
        let read = grant(
            r#"{"access_token":"a","token_type":"bearer","expires_in":3600,
                "refresh_token":"r","scope":"x y","id_token":"i","other":[1]}"#,
        );
        let expected = Grant {
            access: secret("a"),
            refresh: Some(secret("r")),
            id_token: Some(secret("i")),
            expires_in: Some(Duration::from_secs(3600)),
            scope: Some("x y".to_owned()),
            token_type: "bearer".to_owned(),
        };
        assert_eq!(read, Ok(expected));
    }

    #[test]
    fn nothing_odd_beside_it_loses_a_token() {
        let odd = r#"{"access_token":"a","refresh_token":"r","expires_in":"soon","scope":7,
                      "token_type":null,"id_token":{}}"#;
        let read = grant(odd).unwrap();
        assert_eq!(
            (read.access, read.refresh),
            (secret("a"), Some(secret("r")))
        );
        assert_eq!(
            (read.expires_in, read.scope, read.id_token),
            (None, None, None)
        );
        assert_eq!(read.token_type, "Bearer");
        let far = grant(r#"{"access_token":"a","expires_in":1e18}"#).unwrap();
        assert_eq!(far.expires_in, Some(MAX_DURATION));
    }

    #[test]
    fn what_grants_nothing() {
        let invalid = |body: &str| match grant(body) {
            Err(Refusal::Invalid(what)) => what,
            other => panic!("{body}: {other:?}"),
        };
        assert_eq!(invalid("<html>"), "something other than a JSON object");
        assert_eq!(invalid("[]"), "something other than a JSON object");
        assert_eq!(invalid("{}"), "no access token");
        assert_eq!(invalid(r#"{"access_token":7}"#), "no access token");
        assert_eq!(invalid(r#"{"access_token":"a\r\nb"}"#), "no access token");
        let long = |len| format!(r#"{{"access_token":"{}"}}"#, "a".repeat(len));
        assert!(grant(&long(MAX_TOKEN)).is_ok());
        assert_eq!(invalid(&long(MAX_TOKEN + 1)), "no access token");
        let github = grant(r#"{"error":"authorization_pending"}"#);
        assert_eq!(github, Err(Refusal::Pending));
        let refused = read_grant(&answer(400, r#"{"access_token":"a"}"#), Dialect::Rfc8628);
        let expected = Refusal::Other {
            status: 400,
            code: None,
        };
        assert_eq!(refused, Err(expected));
    }

    #[test]
    fn a_scope_is_held_whole() {
        assert!(scope_holds("openid a.b", "a.b"));
        assert!(!scope_holds("openid a.b.c", "a.b") && !scope_holds("", ""));
    }

    proptest! {
        #[test]
        fn no_answer_panics_and_no_error_repeats_it(
            status in 100u16..600, body in "[a-z0-9\"{}:,_\\[\\] ]{0,60}",
        ) {
            let read = read_grant(&answer(status, &format!("{body}canary")), Dialect::OpenAi);
            if let Err(refusal) = read {
                let shown = format!("{refusal} {refusal:?}");
                prop_assert!(!shown.contains("canary"));
            }
        }
    }
}
