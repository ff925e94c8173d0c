use super::super::{Config, ConfigError, MAX_OAUTH_PROVIDERS, Trust};
use super::*;
use crate::oauth::Issuer;
use serde_json::{Map, Value, json};

fn config(entries: &Value, trust: Trust) -> Result<Config, Vec<String>> {
    let text = json!({"oauth": {"providers": entries}}).to_string();
    Config::parse(&text, "reseal.json", trust).map_err(|errors| {
        let shown = errors.all().iter().map(|error| match error {
            ConfigError::Value { path, problem, .. } => {
                let path = path.to_string();
                let place = path
                    .trim_start_matches("oauth.providers")
                    .trim_start_matches('.');
                format!("{place}: {problem}")
            }
            other => other.to_string(),
        });
        shown.collect()
    })
}

fn read(id: &str, entry: Value) -> Provider {
    let config = config(&json!({id: entry}), Trust::Own).unwrap();
    config.oauth_provider(id).unwrap()
}

fn errors(entry: Value) -> Vec<String> {
    config(&json!({"acme": entry}), Trust::Own).unwrap_err()
}

#[test]
fn every_key_is_read() {
    let provider = read(
        "acme",
        json!({
            "label": "Acme", "issuer": "https://acme.example/t",
            "authorizationEndpoint": "https://acme.example/a",
            "tokenEndpoint": "https://acme.example/k",
            "deviceAuthorizationEndpoint": "https://acme.example/d",
            "revocationEndpoint": "https://acme.example/r",
            "clientId": "id", "clientSecretIn": "post",
            "clientSecretRef": {"source": "vault", "provider": "default", "id": "acme/secret"},
            "dynamicClient": {"firstParams": {"a": "b"}, "installIdParam": "host"},
            "flows": ["device", "pkce"], "dialect": "agentos-legacy",
            "tokenFormat": "json", "revocationFormat": "json",
            "scopes": ["openid"], "requiredScopes": ["x"],
            "resource": "https://api.example", "audience": "aud",
            "redirect": {"host": "localhost", "port": 7, "fallbackPorts": [8], "path": "/cb"},
            "extraAuthorizeParams": {"prompt": "consent"},
            "extraTokenParams": {"resource": "https://b.example"},
            "accountIdClaim": "ns/id", "profileIdFrom": "sub", "env": ["ACME_API_KEY"],
            "refreshMarginMs": 5,
        }),
    );
    let at = |path: &str| format!("https://acme.example{path}").parse().ok();
    let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let expected = Provider {
        label: "Acme".to_owned(),
        issuer: "https://acme.example/t".parse().ok(),
        authorization_endpoint: at("/a"),
        token_endpoint: at("/k"),
        device_authorization_endpoint: at("/d"),
        revocation_endpoint: at("/r"),
        client_id: Some("id".to_owned()),
        client_secret: Some("vault:acme/secret".parse().unwrap()),
        client_secret_in: Some(SecretIn::Post),
        dynamic_client: Some(DynamicClient {
            first_params: pair("a", "b"),
            install_id_param: Some("host".to_owned()),
        }),
        flows: vec![FlowKind::Device, FlowKind::Pkce],
        dialect: Dialect::AgentosLegacy,
        token_format: TokenFormat::Json,
        revocation_format: TokenFormat::Json,
        scopes: vec!["openid".to_owned()],
        required_scopes: vec!["x".to_owned()],
        resource: Some("https://api.example".to_owned()),
        audience: Some("aud".to_owned()),
        redirect: Redirect {
            host: RedirectHost::Localhost,
            port: 7,
            fallback_ports: vec![8],
            path: "/cb".to_owned(),
        },
        extra_authorize: pair("prompt", "consent"),
        extra_token: pair("resource", "https://b.example"),
        account_id_claim: Some("ns/id".to_owned()),
        profile_id_from: ProfileIdFrom::Subject,
        refresh_margin: Some(Duration::from_millis(5)),
        ..Provider::empty("acme")
    };
    assert_eq!(provider, expected);
}

#[test]
fn an_issuer_and_a_client_id_are_enough() {
    let provider = read(
        "acme",
        json!({"issuer": "https://acme.example", "clientId": "id"}),
    );
    assert_eq!(provider.flows, [FlowKind::Pkce, FlowKind::Device]);
    // The variables alone say nothing about signing in.
    let variables = read("acme", json!({"env": ["ACME_API_KEY"]}));
    assert_eq!(variables, Provider::empty("acme"));
}

#[test]
fn given_keys_override_what_is_built_in() {
    let built_in = builtin::get("openai-codex").unwrap();
    let variables = read("openai-codex", json!({"env": ["X"]}));
    assert_eq!(variables, built_in);
    let port = read(
        "OpenAI-Codex",
        json!({"redirect": {"port": 1500}, "scopes": ["openid"]}),
    );
    assert_eq!(port.redirect.ports(), [1500]);
    assert_eq!(port.redirect.path, built_in.redirect.path);
    assert_eq!((port.scopes.len(), port.notice), (1, built_in.notice));
    let elsewhere = read("openai", json!({"issuer": "https://acme.example"}));
    assert_eq!(elsewhere.token_endpoint, None, "it was the old issuer's");
    assert!(elsewhere.dynamic_client.is_some());
    let own = read("openai", json!({"clientId": "mine"}));
    assert_eq!(
        own.dynamic_client, None,
        "an id of one's own is used as it is"
    );
    assert!(own.token_endpoint.is_some());
}

#[test]
fn providers_are_found_and_listed() {
    let entries = json!({"acme": {"issuer": "https://acme.example", "clientId": "id"}});
    let config = config(&entries, Trust::Own).unwrap();
    let all = config.all_oauth_providers();
    let ids: Vec<&str> = all.iter().map(|provider| provider.id.as_str()).collect();
    assert_eq!(ids, ["acme", "anthropic", "openai", "openai-codex"]);
    assert!(config.oauth_provider("ACME").is_some());
    assert!(config.oauth_provider("openai").is_some());
    assert!(config.oauth_provider("other").is_none());
}

#[test]
fn errors_name_the_key() {
    let known = "is not a known key; known are label, issuer";
    let found = errors(json!({"tokenEndpoit": "x"}));
    assert!(
        found[0].starts_with(&format!("acme.tokenEndpoit: {known}")),
        "{found:?}"
    );
    let one = |key: &str, value: Value| {
        let mut entry = Map::new();
        entry.insert(key.to_owned(), value);
        let found = errors(entry.into());
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    };
    let https = "acme.tokenEndpoint: is not https (http is for loopback addresses only)";
    assert_eq!(one("tokenEndpoint", json!("http://acme.example/t")), https);
    let user = one("issuer", json!("https://u:p@acme.example"));
    assert_eq!(user, "acme.issuer: holds a user name or password");
    let secret = one("clientSecret", json!("canary"));
    assert_eq!(
        secret,
        "acme.clientSecret: would be plaintext; use clientSecretRef"
    );
    let plain = one("clientSecretRef", json!("canary"));
    assert!(plain.starts_with("acme.clientSecretRef: is not a SecretRef"));
    assert!(!plain.contains("canary"));
    let flow = one("flows", json!(["paste", "implicit"]));
    let flows = "acme.flows[1]: is not one of pkce, device, paste, setup-token, api-key";
    assert_eq!(flow.lines().last(), Some(flows));
    let dialect = one("dialect", json!("x"));
    assert_eq!(
        dialect,
        "acme.dialect: is none of rfc8628, openai, agentos-legacy"
    );
    let state = one("extraAuthorizeParams", json!({"state": "x"}));
    assert_eq!(
        state,
        "acme.extraAuthorizeParams.state: is not a parameter that can be added"
    );
    for (key, value) in [
        ("redirect", json!({"host": "0.0.0.0"})),
        ("redirect", json!({"port": 65_536})),
        ("redirect", json!({"fallbackPorts": [70_000]})),
        ("redirect", json!({"path": "callback"})),
        ("redirect", json!({"scheme": "https"})),
        ("scopes", json!(["a b"])),
        ("resource", json!("acme")),
        ("refreshMarginMs", json!(0)),
        ("profileIdFrom", json!("name")),
        ("dynamicClient", json!({"installIdParam": "client_id"})),
        ("env", json!("ACME_API_KEY")),
    ] {
        assert!(one(key, value).starts_with(&format!("acme.{key}")));
    }
}

#[test]
fn a_flow_that_lacks_something_says_what() {
    let found = errors(json!({"flows": ["pkce"], "tokenEndpoint": "https://acme.example/t"}));
    let lacks = |key| format!("acme.{key}: is missing; the flow pkce needs it");
    assert_eq!(found, [lacks("clientId"), lacks("authorizationEndpoint")]);
}

#[test]
fn counts_are_bounded() {
    let scopes = |count| json!({"scopes": vec!["s"; count]});
    read("acme", scopes(MAX_SCOPES));
    assert_eq!(errors(scopes(MAX_SCOPES + 1)).len(), 1);
    let extra = |count: usize| {
        let pairs = (0..count).map(|i| (format!("p{i}"), json!("v")));
        json!({"extraTokenParams": pairs.collect::<Map<String, Value>>()})
    };
    read("acme", extra(MAX_EXTRA));
    assert_eq!(errors(extra(MAX_EXTRA + 1)).len(), 1);
    let ports = |count| json!({"redirect": {"fallbackPorts": vec![1; count]}});
    read("acme", ports(MAX_FALLBACK_PORTS));
    assert_eq!(errors(ports(MAX_FALLBACK_PORTS + 1)).len(), 1);
    let claim = |len| json!({"accountIdClaim": "c".repeat(len)});
    read("acme", claim(MAX_CLAIM_PATH));
    assert_eq!(errors(claim(MAX_CLAIM_PATH + 1)).len(), 1);
    let id = |len| json!({"clientId": "c".repeat(len)});
    read("acme", id(MAX_PARAMETER));
    assert_eq!(errors(id(MAX_PARAMETER + 1)).len(), 1);
    let margin = u64::try_from(MAX_REFRESH_MARGIN.as_millis()).unwrap();
    read("acme", json!({"refreshMarginMs": margin}));
    assert_eq!(errors(json!({"refreshMarginMs": margin + 1})).len(), 1);
    let many = |count: usize| {
        let entries = (0..count).map(|i| (format!("p{i}"), json!({})));
        Value::from(entries.collect::<Map<String, Value>>())
    };
    assert!(config(&many(MAX_OAUTH_PROVIDERS), Trust::Own).is_ok());
    let errors = config(&many(MAX_OAUTH_PROVIDERS + 1), Trust::Own).unwrap_err();
    assert_eq!(errors, [": has more than 256 providers"]);
    let ids = config(&json!({"a:b": {}, "Acme": {}, "acme": {}}), Trust::Own).unwrap_err();
    assert_eq!(ids.len(), 2, "{ids:?}");
}

#[test]
fn a_project_moves_no_endpoint() {
    let variables = json!({"openai-codex": {"env": ["X"]}});
    let config_of_project = config(&variables, Trust::Project).unwrap();
    let provider = config_of_project.oauth_provider("openai-codex");
    assert_eq!(provider, builtin::get("openai-codex"));
    for key in KEYS.iter().filter(|key| **key != "env") {
        let entries = json!({"openai-codex": {*key: "https://evil.example"}});
        let found = config(&entries, Trust::Project).unwrap_err();
        let expected = format!("openai-codex.{key}: is not allowed in a project's config");
        assert_eq!(found, [expected]);
    }
}

/// The JSON blocks of `docs/oauth.md`.
fn blocks() -> Vec<&'static str> {
    let page = include_str!("../../../docs/oauth.md");
    let after = page.split("```json5\n").skip(1);
    after.filter_map(|rest| rest.split("```").next()).collect()
}

#[test]
fn the_provider_of_the_page_is_a_dozen_lines_and_works() {
    let block = blocks()[0];
    assert!(block.lines().count() <= 14, "{block}");
    let config = Config::parse(block, "docs/oauth.md", Trust::Own).unwrap();
    let provider = config.oauth_provider("acme").unwrap();
    let issuer: Issuer = "https://login.acme.example".parse().unwrap();
    assert_eq!(provider.issuer, Some(issuer));
    assert!(provider.offers(FlowKind::Pkce) && provider.offers(FlowKind::Device));
    assert_eq!(provider.missing(), []);
    let variables = config.env_names("acme").map(<[String]>::to_vec);
    assert_eq!(variables, Some(vec!["ACME_API_KEY".to_owned()]));
}

#[test]
fn every_block_of_the_page_is_a_valid_config() {
    assert!(blocks().len() >= 3);
    for block in blocks() {
        Config::parse(block, "docs/oauth.md", Trust::Own).unwrap();
    }
}

#[test]
fn the_page_names_every_key_flow_and_built_in_provider() {
    let page = include_str!("../../../docs/oauth.md");
    let flows = FlowKind::ALL.map(FlowKind::as_str);
    let built_in = builtin::all();
    let ids = built_in.iter().map(|provider| provider.id.as_str());
    for name in KEYS.iter().copied().chain(flows).chain(ids) {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}
