use super::*;
use crate::oauth::builtin;
use crate::oauth::fixture::{acme, openai, server};

#[test]
fn what_is_built_in_is_complete_and_within_the_limits() {
    for provider in builtin::all() {
        assert_eq!(provider.missing(), [], "{}", provider.id);
        assert!(is_provider_id(&provider.id) && !provider.flows.is_empty());
        assert!(provider.scopes.iter().all(|scope| is_scope(scope)));
        assert!(Redirect::is_path(&provider.redirect.path));
        let params = provider.extra_authorize.iter().chain(&provider.extra_token);
        assert!(params.map(|(name, _)| name).all(|name| is_extra(name)));
    }
    assert!(builtin::get("acme").is_none());
}

#[test]
fn anthropic_has_no_flow_in_a_browser() {
    let provider = builtin::get("anthropic").unwrap();
    assert!(provider.flows.iter().all(|flow| !flow.is_oauth()));
    assert!(provider.client_id.is_none() && provider.issuer.is_none());
}

#[test]
fn codex_is_as_the_codex_cli_signs_in() {
    let provider = builtin::get("openai-codex").unwrap();
    let server = server(&provider, FlowKind::Pkce);
    let at = |path: &str| format!("https://auth.openai.com{path}").parse().ok();
    assert_eq!(server.authorization, at("/oauth/authorize"));
    assert_eq!(Some(server.token), at("/oauth/token"));
    assert_eq!(server.revocation, at("/oauth/revoke"));
    assert_eq!(server.device, at("/api/accounts/deviceauth/usercode"));
    assert_eq!(provider.redirect.ports(), [1455, 1457]);
    let uri = "http://localhost:1455/auth/callback";
    assert_eq!(provider.redirect.uri(1455), uri);
    assert!(
        provider.notice.is_some(),
        "a person has to know whose client id it is"
    );
    assert!(builtin::get("openai").unwrap().notice.is_none());
}

#[test]
fn another_issuer_takes_the_endpoints_with_it() {
    let mut provider = builtin::get("openai").unwrap();
    provider.set_issuer("https://auth.openai.com".parse().unwrap());
    assert!(provider.token_endpoint.is_some());
    provider.set_issuer("https://acme.example".parse().unwrap());
    assert!(provider.token_endpoint.is_none() && provider.authorization_endpoint.is_none());
}

#[test]
fn what_is_missing_is_named_once() {
    let missing = |provider: &Provider| {
        let missing = provider.missing().into_iter();
        missing.map(|(key, _)| key).collect::<Vec<_>>()
    };
    let mut provider = Provider::empty("acme");
    assert_eq!(missing(&provider), [""; 0]);
    provider.flows = vec![FlowKind::Pkce, FlowKind::Device, FlowKind::Paste];
    let all = [
        "clientId",
        "tokenEndpoint",
        "authorizationEndpoint",
        "deviceAuthorizationEndpoint",
    ];
    assert_eq!(missing(&provider), all);
    provider.issuer = "https://acme.example".parse().ok();
    assert_eq!(missing(&provider), ["clientId"]);
    let mut provider = openai(Dialect::OpenAi);
    assert_eq!(missing(&provider), [""; 0]);
    provider.issuer = None;
    assert!(missing(&provider).contains(&"issuer"));
}

#[test]
fn flows_follow_from_the_endpoints() {
    let mut provider = acme();
    assert_eq!(provider.implied_flows(), [FlowKind::Pkce, FlowKind::Device]);
    provider.issuer = None;
    provider.authorization_endpoint = None;
    assert_eq!(provider.implied_flows(), [FlowKind::Device]);
    assert_eq!(Provider::empty("x").implied_flows(), []);
}

#[test]
fn names_that_are_refused() {
    assert!(is_provider_id("openai-codex") && is_provider_id("Z.ai_1"));
    for bad in [
        "",
        "-a",
        "a:b",
        "a b",
        "ä",
        &"a".repeat(MAX_PROVIDER_ID + 1),
    ] {
        assert!(!is_provider_id(bad), "{bad}");
    }
    assert!(is_extra("prompt") && is_extra("access_type"));
    for bad in RESERVED.iter().chain(&["", "a b", "a=b"]) {
        assert!(!is_extra(bad), "{bad}");
    }
    assert!(is_scope("https://a.example/x") && !is_scope("a b") && !is_scope("a\"b"));
    assert!(!is_scope("") && !is_scope(&"a".repeat(MAX_PARAMETER + 1)));
    assert!(Redirect::is_path("/") && Redirect::is_path("/auth/callback"));
    for bad in ["", "callback", "/a?b", "/a#b", "/a b", "/%2e"] {
        assert!(!Redirect::is_path(bad), "{bad}");
    }
    let hosts = [RedirectHost::V4, RedirectHost::V6, RedirectHost::Localhost];
    for host in hosts {
        assert_eq!(RedirectHost::parse(host.as_str()), Some(host));
    }
    assert_eq!(RedirectHost::parse("0.0.0.0"), None);
}

#[test]
fn a_secret_is_sent_as_the_server_wants_unless_told_otherwise() {
    let mut provider = acme();
    let mut server = server(&provider, FlowKind::Pkce);
    let secret = || Some(ClientSecret::from(crate::oauth::fixture::secret("s")));
    let is_post = |provider: &Provider, server: &Server| {
        matches!(
            provider.client(server, None, secret()).auth,
            ClientAuth::Post(_)
        )
    };
    assert!(!is_post(&provider, &server));
    server.secret_in = Some(SecretIn::Post);
    assert!(is_post(&provider, &server));
    provider.client_secret_in = Some(SecretIn::Basic);
    assert!(!is_post(&provider, &server));
    assert_eq!(provider.client(&server, None, None).auth, ClientAuth::None);
}
