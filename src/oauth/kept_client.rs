//! How a client registered, as fast-agent and the Python SDK of MCP keep it beside the tokens.
//!
//! Versions before 2 of that SDK do not write `issuer`: such a client is bound to nobody until
//! somebody adds one (`token_store::fast_agent::with_member`).

use super::answer::Members;
use super::client::{ClientAuth, ClientOf};
use super::discovery::Issuer;
use super::provider::MAX_PARAMETER;
use super::registration::{Registered, RegistrationError, read_registration};
use super::request::HttpAnswer;
use crate::secret::SecretValue;
use crate::secret::json::{Part, object};

/// A client that registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptClient {
    /// Its id, and how it proves itself.
    pub registered: Registered,
    /// Who registered it, if the document says so.
    pub issuer: Option<Issuer>,
}

/// Reads the document.
///
/// # Errors
/// It names no client, or one that proves itself in a way that is not known.
pub fn read_client(document: &SecretValue) -> Result<KeptClient, RegistrationError> {
    const KEYS: &[&str] = &["issuer"];
    // The members are those of the answer to a registration (RFC 7591 section 3.2.1).
    let answer = HttpAnswer::new(200, document.clone());
    let registered = read_registration(&answer)?;
    let members = answer.text().and_then(|text| Members::read(text, KEYS));
    let named = members.and_then(|members| members.text("issuer", MAX_PARAMETER));
    let issuer = named.map(|text| text.parse()).transpose();
    let issuer = issuer.map_err(|_| RegistrationError::Answer("issuer"))?;
    Ok(KeptClient { registered, issuer })
}

/// The document of a client, with every member that the SDK writes. Without `with_secret` the
/// secret stays out of it.
pub fn write_client(
    client: &ClientOf,
    redirect_uri: &str,
    scope: Option<&str>,
    with_secret: bool,
) -> SecretValue {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let redirects = format!("[{}]", quoted(redirect_uri));
    let null = Part::Json("null");
    let (method, secret) = match &client.auth {
        ClientAuth::None => ("none", None),
        ClientAuth::Basic(secret) => ("client_secret_basic", Some(secret)),
        ClientAuth::Post(secret) => ("client_secret_post", Some(secret)),
    };
    let secret = secret.filter(|_| with_secret);
    let mut parts = vec![
        ("redirect_uris", Part::Json(&redirects)),
        ("token_endpoint_auth_method", Part::Text(method)),
        (
            "grant_types",
            Part::Json(r#"["authorization_code", "refresh_token"]"#),
        ),
        ("response_types", Part::Json(r#"["code"]"#)),
        ("scope", scope.map_or(null, Part::Text)),
        ("client_name", Part::Text("Reseal")),
    ];
    let unset = [
        "client_uri",
        "logo_uri",
        "contacts",
        "tos_uri",
        "policy_uri",
        "jwks_uri",
        "jwks",
        "software_id",
        "software_version",
    ];
    parts.extend(unset.map(|name| (name, null)));
    let secret = secret.map_or(null, |secret| Part::Secret("", secret.secret()));
    parts.push(("client_id", Part::Text(&client.client_id)));
    parts.push(("client_secret", secret));
    parts.push(("client_id_issued_at", null));
    parts.push(("client_secret_expires_at", null));
    parts.push(("application_type", Part::Text("native")));
    let issuer = client.issuer.as_deref();
    parts.push(("issuer", issuer.map_or(null, Part::Text)));
    object(&parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(auth: ClientAuth) -> ClientOf {
        ClientOf {
            issuer: Some("https://as.example".to_owned()),
            auth,
            ..ClientOf::public("mcp", "https://as.example/token".parse().unwrap(), "c-1")
        }
    }

    #[test]
    fn a_client_reads_back_as_it_was_written() {
        let secret = || SecretValue::copy_of(b"s").into();
        for auth in [
            ClientAuth::None,
            ClientAuth::Basic(secret()),
            ClientAuth::Post(secret()),
        ] {
            let client = client(auth.clone());
            let document = write_client(&client, "http://127.0.0.1:3030/callback", None, true);
            let read = read_client(&document).unwrap();
            assert_eq!(read.registered.client_id, "c-1");
            assert_eq!(read.registered.auth, auth);
            assert_eq!(read.issuer.unwrap().as_str(), "https://as.example");
        }
    }

    #[test]
    fn what_versions_before_2_wrote_is_bound_to_nobody_and_nonsense_is_an_error() {
        let read = |text: &str| read_client(&SecretValue::copy_of(text.as_bytes()));
        let old = read(r#"{"client_id":"c","client_secret":"s","client_name":"fast-agent"}"#);
        let old = old.unwrap();
        assert_eq!(old.issuer, None);
        assert!(matches!(old.registered.auth, ClientAuth::Basic(_)));
        for bad in ["", "[]", "{}", r#"{"client_id":"c","issuer":"no url"}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_that_is_kept_elsewhere_stays_there() {
        let auth = ClientAuth::Basic(SecretValue::copy_of(b"canary").into());
        let document = write_client(&client(auth), "http://127.0.0.1:1/", Some("a"), false);
        let value: serde_json::Value = serde_json::from_slice(document.expose()).unwrap();
        assert_eq!(value["client_secret"], serde_json::Value::Null);
        assert!(!value.to_string().contains("canary"));
    }
}
