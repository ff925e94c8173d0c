use super::*;
use serde_json::json;

fn listed_in_yaml(text: &str) -> Result<Listed, Failure> {
    let variable = |name: &str| (name == "HOST").then(|| "h.example".to_owned());
    from_yaml(text, "fastagent.config.yaml", Some(&variable))
}

fn listed_in_config(value: &Value) -> Result<Listed, Failure> {
    let document = Document::parse(&value.to_string(), "reseal.json").unwrap();
    from_config(&document, &Defaults::default(), Trust::Own)
}

/// All servers, or why one of them can't be used.
fn good(listed: Listed) -> Result<Vec<McpServer>, Failure> {
    let bad = listed.bad.into_iter().next();
    bad.map_or(Ok(listed.servers), |(_, failure)| Err(failure))
}

fn yaml(text: &str) -> Result<Vec<McpServer>, Failure> {
    listed_in_yaml(text).and_then(good)
}

fn config(value: &Value) -> Result<Vec<McpServer>, Failure> {
    listed_in_config(value).and_then(good)
}

fn only(servers: Result<Vec<McpServer>, Failure>) -> McpServer {
    let mut servers = servers.unwrap();
    assert_eq!(servers.len(), 1);
    servers.remove(0)
}

#[test]
fn a_server_with_everything_reads_the_same_from_both() {
    let from_yaml = only(yaml(
        r#"
default_model: sonnet # a comment
anthropic: {api_key: sk-not-read}
mcp:
  servers:
    linear:
      transport: sse
      url: https://${HOST}/sse?team=${TEAM:core}&x=${NOBODY}
      headers: {X-Key: not-read}
      auth:
        oauth: false
        persist: memory
        redirect_port: 8080
        redirect_path: /back
        scope: "a b"
        client_id: me
        client_issuer: https://i.example
        client_metadata_url: https://c.example/client.json
        forward: huggingface
"#,
    ));
    let from_config = only(config(&json!({"mcp": {"servers": {"linear": {
        "transport": "sse",
        "url": "https://h.example/sse?team=core&x=${NOBODY}",
        "auth": {"oauth": false, "persist": "memory", "redirectPort": 8080,
            "redirectPath": "/back", "scope": ["a", "b"], "clientId": "me",
            "clientIssuer": "https://i.example",
            "clientMetadataUrl": "https://c.example/client.json"},
    }}}})));
    assert_eq!(from_yaml, from_config);
    let expected = McpServer {
        name: "linear".to_owned(),
        transport: Transport::Sse,
        url: "https://h.example/sse?team=core&x=${NOBODY}".parse().ok(),
        legacy: Identity::of("https://h.example/sse"),
        oauth: false,
        persist: Persist::Memory,
        redirect: Redirect {
            host: RedirectHost::V4,
            port: 8080,
            fallback_ports: vec![3030, 3031, 3032, 0],
            path: "/back".to_owned(),
        },
        scopes: vec!["a".to_owned(), "b".to_owned()],
        client_id: Some("me".to_owned()),
        client_secret: None,
        client_issuer: "https://i.example".parse().ok(),
        client_metadata_url: "https://c.example/client.json".parse().ok(),
    };
    assert_eq!(from_yaml, expected);
}

#[test]
fn what_is_left_out_has_the_defaults_of_its_file() {
    let bare = only(yaml(
        "mcp:\n  servers:\n    a:\n      url: https://a.example/mcp\n",
    ));
    let url = "https://a.example/mcp".parse().unwrap();
    let expected = McpServer {
        name: "a".to_owned(),
        ..McpServer::at(&url, Transport::Http, Persist::Keyring)
    };
    assert_eq!(bare, expected);
    assert_eq!(bare.redirect.ports(), PORTS);
    let ours = only(config(
        &json!({"mcp": {"servers": {"a": {"url": "https://a.example/mcp",
        "auth": {"clientSecretRef": {"source": "env", "provider": "default", "id": "S"},
            "clientIssuer": "https://i.example"}}}}}),
    ));
    assert_eq!(ours.persist, Persist::Vault);
    assert_eq!(ours.client_issuer, "https://i.example".parse().ok());
    assert!(ours.client_secret.is_some());
}

#[test]
fn child_processes_have_no_address() {
    let servers = yaml(
        "mcp:\n  servers:\n    a: {command: npx, args: [x]}\n    b: {transport: stdio, \
         command: uvx}\n    c:\n",
    );
    for server in servers.unwrap() {
        assert_eq!((server.transport, server.url), (Transport::Stdio, None));
    }
}

#[test]
fn a_file_without_servers_is_no_error() {
    for text in [
        "",
        "# nothing\n",
        "mcp:\n",
        "mcp: {}\n",
        "mcp:\n  servers:\n",
        "a: [1]\n",
    ] {
        assert_eq!(yaml(text), Ok(Vec::new()), "{text:?}");
    }
    assert_eq!(config(&json!({"mcp": {}})), Ok(Vec::new()));
}

#[test]
fn an_error_names_the_place_and_quotes_nothing() {
    let no = |text: &str| {
        let failure = yaml(text).unwrap_err();
        assert_eq!(failure.code, Code::ConfigInvalid);
        assert!(!failure.message.contains("canary"), "{failure}");
        failure.message
    };
    let one = |body: &str| no(&format!("mcp:\n  servers:\n    a:\n{body}"));
    let syntax = no("mcp:\n  servers: {a: \"canary\n");
    assert!(
        syntax.starts_with("fastagent.config.yaml, line "),
        "{syntax}"
    );
    let typed = one("      url: [canary]\n");
    let place = "fastagent.config.yaml, line 4, column 12: mcp.servers.a: a member is of";
    assert!(typed.starts_with(place), "{typed}");
    for (body, place) in [
        ("      url: http://canary.example/\n", ".url: is not https"),
        ("      transport: http\n", ".url: is missing"),
        ("      transport: canary\n", ".transport: "),
        (
            "      url: https://a.example\n      auth: {persist: canary}\n",
            ".auth.persist: ",
        ),
        (
            "      url: https://a.example\n      auth: {redirect_path: canary}\n",
            ".auth.redirect_path: ",
        ),
        (
            "      url: https://a.example\n      auth: {scope: \"canary\\u0001\"}\n",
            ".auth.scope: ",
        ),
        (
            "      url: https://a.example\n      auth: {client_id: ''}\n",
            ".auth.client_id: ",
        ),
        (
            "      url: https://a.example\n      auth:\n        client_metadata_url: \
             'https://canary.example'\n",
            ".auth.client_metadata_url: needs a path",
        ),
        (
            "      url: https://a.example\n      auth: {client_issuer: canary}\n",
            ".auth.client_issuer: ",
        ),
        (
            "      url: https://a.example\n      auth: {client_secret_ref: canary}\n",
            ".auth.client_secret_ref: ",
        ),
        (
            "      url: https://a.example\n      auth: {client_id: canary}\n",
            ".auth.client_issuer: is missing",
        ),
    ] {
        let said = one(body);
        let expected = format!("fastagent.config.yaml: mcp.servers.a{place}");
        assert!(said.starts_with(&expected), "{said}");
    }
}

#[test]
fn an_error_of_our_own_config_names_the_place() {
    let named = json!({"mcp": {"servers": {"a": {"url": "https://a.example",
        "auth": {"clientSecretRef": "env:CANARY"}}}}});
    let document = Document::parse(&named.to_string(), "reseal.json").unwrap();
    let of_project = from_config(&document, &Defaults::default(), Trust::Project);
    let of_project = of_project.and_then(good).unwrap_err();
    assert!(
        of_project.message.contains("only in your own reseal.json"),
        "{of_project}"
    );
    let ours = config(&json!({"mcp": {"servers": {"a\n": {"url": 7}}}})).unwrap_err();
    let expected = "reseal.json: mcp.servers.a\\n: a member is of the wrong type";
    assert_eq!(ours.message, expected);
    let list = config(&json!({"mcp": {"servers": ["canary"]}})).unwrap_err();
    assert_eq!(list.message, "reseal.json: mcp.servers is not an object");
}

#[test]
fn files_servers_names_and_scopes_have_a_limit() {
    let filler = |len: usize| yaml(&format!("#{}", "x".repeat(len - 1)));
    assert_eq!(filler(MAX_YAML), Ok(Vec::new()));
    assert_eq!(filler(MAX_YAML + 1).unwrap_err().code, Code::InputTooLarge);
    let servers = |count: usize| {
        let all: serde_json::Map<_, _> = (0..count).map(|i| (i.to_string(), json!({}))).collect();
        config(&json!({"mcp": {"servers": all}})).map(|servers| servers.len())
    };
    assert_eq!(servers(MAX_SERVERS), Ok(MAX_SERVERS));
    assert_eq!(
        servers(MAX_SERVERS + 1).unwrap_err().code,
        Code::ConfigInvalid
    );
    let name = |len: usize| config(&json!({"mcp": {"servers": {"n".repeat(len): {}}}}));
    assert!(name(MAX_SERVER_NAME).is_ok() && name(MAX_SERVER_NAME + 1).is_err());
    let scopes = |count: usize| {
        let scope = vec!["s"; count];
        let url = "https://a.example";
        config(&json!({"mcp": {"servers": {"a": {"url": url, "auth": {"scope": scope}}}}}))
    };
    assert!(scopes(MAX_SCOPES).is_ok() && scopes(MAX_SCOPES + 1).is_err());
    let id = |len: usize| {
        let (url, id) = ("https://a.example", "i".repeat(len));
        config(&json!({"mcp": {"servers": {"a": {"url": url, "auth":
            {"clientId": id, "clientIssuer": "https://i.example"}}}}}))
    };
    assert!(id(MAX_PARAMETER).is_ok() && id(MAX_PARAMETER + 1).is_err());
    // Aliases that unfold to a million members.
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, inner) in [("b", "a"), ("c", "b"), ("d", "c"), ("e", "d"), ("f", "e")] {
        let ten = vec![format!("*{inner}"); 10].join(",");
        bomb.push_str(&format!("{name}: &{name} [{ten}]\n"));
    }
    bomb.push_str("mcp: {servers: *f}\n");
    assert!(yaml(&bomb).is_err());
}

#[test]
fn a_client_without_its_issuer_is_refused() {
    let secret = json!({"source": "env", "provider": "default", "id": "S"});
    for auth in [
        json!({"clientId": "me"}),
        json!({"clientSecretRef": secret}),
        json!({"clientId": "me", "clientSecretRef": secret}),
    ] {
        let server = json!({"url": "https://a.example", "auth": auth});
        let failure = config(&json!({"mcp": {"servers": {"a": server}}})).unwrap_err();
        assert_eq!(failure.code, Code::ConfigInvalid);
        let place = "reseal.json: mcp.servers.a.auth.client_issuer: is missing";
        assert!(failure.message.starts_with(place), "{failure}");
    }
}

#[test]
fn a_file_that_nobody_named_gets_no_variables() {
    let text = "mcp: {servers: {a: {url: 'https://h/${HOME:x}'}, b: {url: 'https://b.example'}, \
                c: {command: x, transport: stdio, url: '${HOME}'}}}";
    let listed = from_yaml(text, "f", None).unwrap();
    let names: Vec<&str> = listed.servers.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["b", "c"]);
    let [(name, failure)] = listed.bad.as_slice() else {
        panic!("{:?}", listed.bad);
    };
    assert_eq!(name, "a");
    let expected = "f: mcp.servers.a.url: named variables are filled only with -c FILE";
    assert_eq!(failure.message, expected);
}

#[test]
fn a_bad_server_leaves_the_others_alone() {
    let listed = listed_in_config(&json!({"mcp": {"servers": {
        "a": {"url": 7}, "b": {"url": "http://192.168.1.5"}, "c": {"url": "https://c.example"},
    }}}));
    let listed = listed.unwrap();
    let bad: BTreeMap<_, _> = listed.bad.into_iter().collect();
    assert_eq!(bad.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert!(bad["b"].message.contains("mcp.servers.b.url: is not https"));
    assert_eq!(listed.servers.len(), 1);
    assert_eq!(listed.servers[0].name, "c");
}

#[test]
fn a_server_of_the_wrong_type_in_a_yaml_leaves_the_others_alone() {
    let text = "mcp:\n  servers:\n    a: {url: 'https://a.example'}\n    b: [canary]\n    \
                c:\n      url: 'https://c.example'\n      auth:\n        redirect_port: canary\n\
                \x20   d: {url: 'https://d.example'}\nmore: [1]\n";
    let listed = listed_in_yaml(text).unwrap();
    let names: Vec<&str> = listed.servers.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a", "d"]);
    let said: Vec<String> = listed.bad.into_iter().map(|(_, f)| f.message).collect();
    let expected = |place: &str, name: &str| {
        format!(
            "fastagent.config.yaml, line {place}: mcp.servers.{name}: a member is of the wrong \
             type"
        )
    };
    assert_eq!(
        said,
        [expected("4, column 8", "b"), expected("8, column 24", "c")]
    );
    // What is wrong anywhere else concerns the file.
    for whole in ["mcp: [1]\n", "mcp: {servers: [canary]}\n", "[mcp]\n"] {
        let failure = listed_in_yaml(whole).unwrap_err();
        assert!(
            failure.message.contains("not readable as YAML"),
            "{failure}"
        );
    }
    let cut = format!("{text}x: [");
    assert!(listed_in_yaml(&cut).is_err());
    let many = |count: usize| {
        let servers = (0..count).map(|i| format!("    s{i}: 7\n"));
        let text = format!("mcp:\n  servers:\n{}", servers.collect::<String>());
        listed_in_yaml(&text).map(|listed| listed.bad.len())
    };
    assert_eq!(many(MAX_MISTYPED), Ok(MAX_MISTYPED));
    assert!(many(MAX_MISTYPED + 1).is_err());
}

#[test]
fn a_label_says_where_the_tokens_go() {
    let url: Endpoint = "https://evil.example/mcp?key=S".parse().unwrap();
    let bare = McpServer::at(&url, Transport::Http, Persist::Vault);
    assert_eq!(bare.label(), "https://evil.example");
    let name = "GitHub".to_owned();
    let named = McpServer { name, ..bare };
    assert_eq!(named.label(), "GitHub (https://evil.example)");
}
