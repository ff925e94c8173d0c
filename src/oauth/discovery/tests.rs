use super::*;
use crate::oauth::fixture::{acme, answer};
use crate::oauth::provider::{FlowKind, Provider};
use crate::oauth::server::{Endpoints, ServerError};
use serde_json::json;

fn issuer(text: &str) -> Issuer {
    text.parse().unwrap()
}

fn read(document: &Value) -> Result<Metadata, DiscoveryError> {
    read_metadata(
        &answer(200, &document.to_string()),
        &issuer("https://a.example"),
    )
}

#[test]
fn where_the_document_may_be() {
    let urls = |text: &str| {
        let urls = issuer(text).documents().into_iter();
        urls.map(|url| url.as_str().to_owned()).collect::<Vec<_>>()
    };
    let bare = [
        "https://a.example/.well-known/oauth-authorization-server",
        "https://a.example/.well-known/openid-configuration",
    ];
    assert_eq!(urls("https://a.example"), bare);
    assert_eq!(urls("https://a.example/"), bare);
    let with_path = [
        "https://a.example/.well-known/oauth-authorization-server/t/1",
        "https://a.example/.well-known/openid-configuration/t/1",
        "https://a.example/t/1/.well-known/openid-configuration",
    ];
    assert_eq!(urls("https://a.example/t/1"), with_path);
    assert_eq!(urls("https://a.example/t/1/"), with_path);
}

#[test]
fn an_issuer_is_itself_but_for_the_slash_of_the_root() {
    let root = issuer("https://a.example");
    assert!(root.is("https://a.example") && root.is("https://a.example/"));
    assert!(issuer("https://a.example/").is("https://a.example"));
    let others = [
        "https://A.example",
        "https://a.example//",
        "https://a.example:443",
    ];
    for other in others
        .into_iter()
        .chain(["http://a.example", "https://a.example/x", ""])
    {
        assert!(!root.is(other), "{other}");
    }
    let deep = issuer("https://a.example/t");
    assert!(deep.is("https://a.example/t") && !deep.is("https://a.example/t/"));
    assert!(!issuer("https://a.example/t/").is("https://a.example/t"));
}

#[test]
fn what_is_no_issuer() {
    let no = |text: &str| text.parse::<Issuer>().unwrap_err();
    assert_eq!(no("https://a.example/?x"), EndpointError::NotUrl);
    assert_eq!(no("http://a.example"), EndpointError::Scheme);
    assert_eq!(no("https://a.example/#x"), EndpointError::Fragment);
    let long = |len: usize| format!("https://a/{}", "b".repeat(len - 10));
    assert!(long(MAX_ISSUER).parse::<Issuer>().is_ok());
    assert_eq!(no(&long(MAX_ISSUER + 1)), EndpointError::TooLong);
}

#[test]
fn a_whole_document() {
    let read = read(&json!({
        "issuer": "https://a.example/",
        "authorization_endpoint": "https://a.example/auth",
        "token_endpoint": "https://b.example/token",
        "device_authorization_endpoint": "https://a.example/device",
        "revocation_endpoint": null,
        "authorization_response_iss_parameter_supported": true,
        "code_challenge_methods_supported": ["plain", "S256"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
        "scopes_supported": ["openid", "offline_access"],
        "registration_endpoint": "https://a.example/register",
        "client_id_metadata_document_supported": true,
    }));
    let expected = Metadata {
        issuer: issuer("https://a.example/"),
        authorization: "https://a.example/auth".parse().ok(),
        token: "https://b.example/token".parse().ok(),
        device: "https://a.example/device".parse().ok(),
        revocation: None,
        registration: "https://a.example/register".parse().ok(),
        takes_client_documents: true,
        offers_offline: true,
        names_itself: true,
        pkce_s256: Some(true),
        secret_in: Some(SecretIn::Post),
    };
    assert_eq!(read, Ok(expected));
}

#[test]
fn a_server_says_what_it_can_or_can_not() {
    let with = |value: Value| {
        read(&json!({
            "issuer": "https://a.example",
            "authorization_response_iss_parameter_supported": value,
            "client_id_metadata_document_supported": value,
        }))
    };
    let says = |value: Value| {
        let read = with(value).unwrap();
        assert_eq!(read.issuer.to_string(), "https://a.example");
        (read.names_itself, read.takes_client_documents)
    };
    assert_eq!(says(json!(true)), (true, true));
    assert_eq!(says(json!(false)), (false, false));
    assert_eq!(says(Value::Null), (false, false));
    assert!(matches!(
        with(json!("true")),
        Err(DiscoveryError::Member(_))
    ));
}

#[test]
fn what_is_not_usable() {
    let no = |document: Value| read(&document).unwrap_err();
    assert_eq!(no(json!([])), DiscoveryError::Form);
    assert_eq!(no(json!({})), DiscoveryError::OtherIssuer);
    let evil = json!({"issuer": "https://evil.example"});
    assert_eq!(no(evil), DiscoveryError::OtherIssuer);
    let with = |key: &str, value: Value| json!({"issuer": "https://a.example", key: value});
    let http = no(with("token_endpoint", json!("http://a.example/token")));
    let scheme = DiscoveryError::Endpoint("token_endpoint", EndpointError::Scheme);
    assert_eq!(http, scheme);
    let number = no(with("token_endpoint", json!(7)));
    assert_eq!(number, DiscoveryError::Member("token_endpoint"));
    let key = "code_challenge_methods_supported";
    assert!(read(&with(key, vec!["S256"; MAX_LIST].into())).is_ok());
    let long = no(with(key, vec!["S256"; MAX_LIST + 1].into()));
    assert_eq!(long, DiscoveryError::Member(key));
    let pad = |len: usize| {
        let head = r#"{"issuer":"https://a.example"}"#;
        answer(200, &format!("{head}{}", " ".repeat(len - head.len())))
    };
    let ours = issuer("https://a.example");
    assert!(read_metadata(&pad(MAX_METADATA), &ours).is_ok());
    let large = read_metadata(&pad(MAX_METADATA + 1), &ours);
    assert_eq!(large, Err(DiscoveryError::Form));
}

#[test]
fn addresses_are_asked_in_turn() {
    let discovery = Discovery::new(issuer("https://a.example"));
    assert!(
        discovery
            .request()
            .url
            .path()
            .ends_with("oauth-authorization-server")
    );
    let Ok(DiscoveryStep::Next(next)) = discovery.step(&answer(404, "")) else {
        panic!("the next address is asked");
    };
    assert!(next.request().url.path().ends_with("openid-configuration"));
    let end = next.step(&answer(403, "")).map(|_| ()).unwrap_err();
    assert_eq!(end, DiscoveryError::Absent(403));
    let again = || Discovery::new(issuer("https://a.example"));
    let later = again().step(&answer(503, "")).map(|_| ()).unwrap_err();
    assert_eq!(later, DiscoveryError::Unavailable(503));
    // A wrong document is not passed over for another.
    let wrong = again().step(&answer(200, "{}")).map(|_| ()).unwrap_err();
    assert_eq!(wrong, DiscoveryError::OtherIssuer);
    let right = again().step(&answer(200, r#"{"issuer":"https://a.example"}"#));
    assert!(matches!(right, Ok(DiscoveryStep::Done(_))));
}

fn metadata() -> Metadata {
    Metadata {
        issuer: issuer("https://acme.example/"),
        authorization: "https://acme.example/m/auth".parse().ok(),
        token: "https://acme.example/m/token".parse().ok(),
        device: None,
        revocation: "https://acme.example/m/revoke".parse().ok(),
        registration: None,
        takes_client_documents: false,
        offers_offline: false,
        names_itself: true,
        pkce_s256: None,
        secret_in: None,
    }
}

#[test]
fn given_endpoints_win_over_discovered_ones() {
    let issuer_alone = Provider {
        authorization_endpoint: None,
        token_endpoint: None,
        device_authorization_endpoint: None,
        ..acme()
    };
    let discovers = issuer_alone.endpoints(FlowKind::Pkce).unwrap();
    assert!(matches!(discovers, Endpoints::Discover(_)));
    let server = issuer_alone.server(FlowKind::Pkce, metadata()).unwrap();
    assert_eq!(server.token.path(), "/m/token");
    // Tokens spell the issuer as the document does.
    assert_eq!(server.issuer.unwrap().as_str(), "https://acme.example/");
    assert!(server.names_itself && server.revocation.is_some());
    let one_given = Provider {
        authorization_endpoint: None,
        ..acme()
    };
    let discovers = one_given.endpoints(FlowKind::Pkce).unwrap();
    assert!(matches!(discovers, Endpoints::Discover(_)));
    let server = one_given.server(FlowKind::Pkce, metadata()).unwrap();
    assert_eq!(server.token.path(), "/token");
    assert_eq!(server.authorization.unwrap().path(), "/m/auth");
    let known = acme().endpoints(FlowKind::Pkce).unwrap();
    assert!(matches!(known, Endpoints::Known(_)));
}

#[test]
fn a_server_that_lacks_something() {
    let mut provider = acme();
    provider.device_authorization_endpoint = None;
    let device = provider.server(FlowKind::Device, metadata()).unwrap_err();
    assert_eq!(
        device,
        ServerError::Endpoint("device_authorization_endpoint")
    );
    let plain = Metadata {
        pkce_s256: Some(false),
        ..metadata()
    };
    let pkce = provider.server(FlowKind::Pkce, plain).unwrap_err();
    assert_eq!(pkce, ServerError::Pkce);
    provider.flows = vec![FlowKind::ApiKey];
    for flow in [FlowKind::Pkce, FlowKind::ApiKey] {
        let none = provider.endpoints(flow).map(|_| ()).unwrap_err();
        assert_eq!(none, ServerError::Flow(flow));
    }
}
