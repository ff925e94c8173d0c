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
    assert_eq!(provider.revocation_format, TokenFormat::Json);
    let sent = |name: &str| {
        let mut sent = provider.extra_authorize.iter();
        sent.find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(sent("id_token_add_organizations"), Some("true"));
    assert_eq!(sent("codex_cli_simplified_flow"), Some("true"));
    assert_eq!(sent("originator"), Some("reseal"));
}

#[test]
fn a_sign_in_at_openai_asks_who_it_is_and_for_a_refresh_token() {
    let own = ["resource.invoke", "chatgpt.tokens.use.direct"];
    for (id, more) in [("openai", own.as_slice()), ("openai-codex", &[])] {
        let provider = builtin::get(id).unwrap();
        let who = ["openid", "profile", "email", "offline_access"];
        assert_eq!(provider.scopes, [who.as_slice(), more].concat(), "{id}");
        assert_eq!(provider.redirect.path, "/auth/callback", "{id}");
        let account = "https://api.openai.com/auth/chatgpt_account_id";
        assert_eq!(provider.account_id_claim.as_deref(), Some(account), "{id}");
        assert_eq!(provider.profile_id_from, ProfileIdFrom::Email, "{id}");
    }
    let provider = builtin::get("openai").unwrap();
    assert_eq!(provider.required_scopes, ["chatgpt.tokens.use.direct"]);
}

#[test]
fn people_see_the_names_of_vendors() {
    let labels = builtin::all().into_iter().map(|provider| provider.label);
    let known = ["Anthropic", "OpenAI (Sign in with ChatGPT)", "OpenAI Codex"];
    assert_eq!(labels.collect::<Vec<_>>(), known);
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

#[test]
fn each_thing_has_the_word_that_a_config_has_for_it() {
    let flows = FlowKind::ALL.map(FlowKind::as_str);
    assert_eq!(flows, ["pkce", "device", "paste", "setup-token", "api-key"]);
    for flow in FlowKind::ALL {
        assert_eq!(FlowKind::parse(flow.as_str()), Some(flow));
        assert_eq!(flow.to_string(), flow.as_str());
        let oauth = [FlowKind::Pkce, FlowKind::Device].contains(&flow);
        assert_eq!(flow.is_oauth(), oauth, "{flow}");
    }
    assert_eq!(FlowKind::parse("PKCE"), None);
    let names = ProfileIdFrom::ALL.map(ProfileIdFrom::as_str);
    assert_eq!(names, ["email", "sub", "default"]);
    assert_eq!(SecretIn::ALL.map(SecretIn::as_str), ["basic", "post"]);
    assert_eq!(RedirectHost::parse("::1"), Some(RedirectHost::V6));
    let uri = |host| {
        let redirect = Redirect {
            host,
            ..Redirect::default()
        };
        redirect.uri(7)
    };
    assert_eq!(uri(RedirectHost::V4), "http://127.0.0.1:7/callback");
    assert_eq!(uri(RedirectHost::V6), "http://[::1]:7/callback");
    assert_eq!(uri(RedirectHost::Localhost), "http://localhost:7/callback");
    assert_eq!(Redirect::default().ports(), [0]);
}

#[test]
fn names_and_paths_have_a_longest() {
    let long = |len: usize| "a".repeat(len);
    assert!(is_provider_id(&long(MAX_PROVIDER_ID)));
    assert!(is_extra(&long(128)) && !is_extra(&long(129)));
    assert!(is_scope(&long(MAX_PARAMETER)));
    let path = |len: usize| Redirect::is_path(&format!("/{}", long(len - 1)));
    assert!(path(256) && !path(257));
    for (byte, is) in [
        (' ', false),
        ('!', true),
        ('#', true),
        ('[', true),
        ('\\', false),
    ] {
        assert_eq!(is_scope(&byte.to_string()), is, "{byte}");
    }
    assert!(is_scope("]") && is_scope("~") && !is_scope("\x7f"));
}

#[test]
fn another_issuer_takes_every_endpoint_with_it() {
    let mut provider = Provider::empty("acme");
    let endpoint = |path: &str| format!("https://a.example{path}").parse().ok();
    provider.authorization_endpoint = endpoint("/a");
    provider.token_endpoint = endpoint("/t");
    provider.device_authorization_endpoint = endpoint("/d");
    provider.revocation_endpoint = endpoint("/r");
    provider.set_issuer("https://b.example".parse().unwrap());
    assert_eq!(
        provider,
        Provider {
            issuer: "https://b.example".parse().ok(),
            ..Provider::empty("acme")
        }
    );
}

#[test]
fn a_client_is_what_provider_and_server_say_together() {
    let mut provider = acme();
    provider.audience = Some("api".to_owned());
    provider.extra_token = vec![("x".to_owned(), "y".to_owned())];
    provider.resource = Some("https://r.example".to_owned());
    provider.token_format = TokenFormat::Json;
    provider.revocation_format = TokenFormat::Json;
    provider.refresh_margin = Some(Duration::from_secs(9));
    provider.dialect = Dialect::OpenAi;
    let server = server(&provider, FlowKind::Pkce);
    let client = provider.client(&server, None, None);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = ClientOf {
        issuer: server.issuer.as_ref().map(|i| i.as_str().to_owned()),
        revocation_endpoint: server.revocation.clone(),
        format: TokenFormat::Json,
        revocation_format: TokenFormat::Json,
        resource: Some("https://r.example".to_owned()),
        extra: vec![pair("x", "y"), pair("audience", "api")],
        dialect: Dialect::OpenAi,
        refresh_margin: Some(Duration::from_secs(9)),
        ..ClientOf::public(
            &provider.id,
            server.token.clone(),
            provider.client_id.as_deref().unwrap(),
        )
    };
    assert_eq!(client, expected);
    let issued = provider.client(&server, Some("issued"), None);
    assert_eq!(issued.client_id, "issued");
    let oidc = provider.scopes.contains(&"openid".to_owned());
    assert_eq!(provider.is_oidc(), oidc);
    provider.scopes = vec!["openid".to_owned()];
    assert!(provider.is_oidc());
    provider.scopes = vec!["email".to_owned()];
    assert!(!provider.is_oidc());
}
