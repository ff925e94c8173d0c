//! `reseal auth` with fast-agent's config: sign in, list, hand tokens out, sign out.

use super::server::{Home, Mcp, query};
use crate::idp::{Idp, Options};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn opaque() -> Options {
    Options {
        opaque: true,
        ..Options::default()
    }
}

fn yaml(mcp: &Mcp) -> String {
    let (url, base) = (mcp.url(), mcp.identity());
    [
        "mcp:".to_owned(),
        "  servers:".to_owned(),
        format!("    tools: {{url: {url:?}}}"),
        format!(
            "    same: {{transport: sse, url: {:?}}}",
            format!("{base}/sse")
        ),
        "    local: {command: npx}".to_owned(),
        "    mem: {url: 'https://m.example/mcp', auth: {persist: memory}}".to_owned(),
        "    off: {url: 'https://o.example/mcp', auth: {oauth: false}}".to_owned(),
    ]
    .join("\n")
}

#[test]
fn a_server_is_signed_in_to_and_its_tokens_are_shared_until_they_are_cleared() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let home = Home::new();
    home.servers(&yaml(&mcp));

    let (said, url) = home.sign_in(&idp, &["auth", "login", "tools"]);
    let expected = format!(
        "Authenticated. Tokens stored for identity: {}",
        mcp.identity()
    );
    assert!(said.contains(&expected), "{said}");
    assert_eq!(query(&url, "resource"), Some(mcp.url()));
    assert_eq!(
        query(&url, "code_challenge_method").as_deref(),
        Some("S256")
    );
    assert_eq!(query(&url, "scope").as_deref(), Some("api offline_access"));
    assert_eq!(query(&url, "prompt").as_deref(), Some("consent"));

    // By name, by the name of another server with the same base, and by URL.
    let token = home.ok(&["auth", "token", "tools"]);
    let held = idp.introspect(token.trim());
    assert_eq!(held["aud"], json!(mcp.url()));
    assert_eq!(home.ok(&["auth", "token", "same"]), token);
    assert_eq!(home.ok(&["auth", "token", &mcp.identity()]), token);
    let whole: Value =
        serde_json::from_str(&home.ok(&["auth", "token", "tools", "--json"])).unwrap();
    assert_eq!(whole["identity"], json!(mcp.identity()));
    assert_eq!(
        whole["headers"]["Authorization"],
        json!(format!("Bearer {}", token.trim()))
    );

    let status = home.ok(&["auth"]);
    assert!(
        status.contains("tools") && !status.contains("not available"),
        "{status}"
    );
    assert!(!status.contains("local"), "{status}");
    let all: Value = serde_json::from_str(&home.ok(&["auth", "status", "--json"])).unwrap();
    let credential = |name: &str| {
        let servers = all["mcp"]["servers"].as_array().unwrap();
        let found = servers.iter().find(|server| server["name"] == json!(name));
        found.unwrap()["credential"].clone()
    };
    assert_eq!(credential("tools"), json!("ready"));
    assert_eq!(credential("same"), json!("ready"));
    assert_eq!(credential("mem"), json!("memory"));
    assert_eq!(credential("off"), json!("not_applicable"));
    let kept = &all["mcp"]["credentials"][0];
    assert_eq!(kept["resource"], json!(mcp.identity()));
    assert_eq!(kept["configured_servers"], json!(["same", "tools"]));

    // A removal revokes.
    let removed = home.run(&["auth", "clear", "tools", "--yes"]);
    assert!(String::from_utf8_lossy(&removed.stderr).contains("Tokens removed."));
    assert_eq!(idp.introspect(token.trim()), json!({"active": false}));
    let none = home.run(&["auth", "clear", "tools", "--yes"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("No tokens found or nothing removed."));
    let (said, code) = home.fails(&["auth", "token", "tools"]);
    assert!(said.contains("reseal auth login tools"), "{said}");
    assert_eq!(code, 9);
}

#[test]
fn what_can_not_be_signed_in_to_is_told_with_exit_code_1() {
    let mcp = Mcp::open();
    let home = Home::new();
    home.servers(&yaml(&mcp));
    for (args, said) in [
        (&["auth", "login"][..], "Give the name of a server"),
        (
            &["auth", "login", "nobody"],
            "Server 'nobody' not found in config",
        ),
        (
            &["auth", "login", "local"],
            "STDIO servers do not support OAuth",
        ),
        (
            &["auth", "login", "mem"],
            "Login failed: mem: its config says persist: memory",
        ),
        (
            &["auth", "login", "off"],
            "Login failed: off: its config says oauth: false",
        ),
        (
            &["auth", "login", "tools"],
            "answers without a token: there is nothing to sign in to",
        ),
        (
            &["auth", "clear"],
            "Provide --identity, a server name, or use --all",
        ),
    ] {
        let (stderr, code) = home.fails(args);
        let flat = stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(flat.contains(said), "{args:?}: {flat}");
        assert_eq!(code, 1, "{args:?}");
    }
    let (stderr, _) = home.fails(&["auth", "clear", "tools"]);
    assert!(stderr.contains("give --yes to answer yes"), "{stderr}");
}

#[test]
fn a_registered_client_renews_its_tokens_without_a_browser() {
    let idp = Idp::start_with(&Options {
        access_token_ttl: 3,
        ..opaque()
    });
    let mcp = Mcp::behind(&idp);
    let home = Home::new();
    let endpoint = ["auth", "mcp", "login", "--endpoint", &mcp.url()];
    home.sign_in(&idp, &endpoint);
    let first = home.ok(&["auth", "token", &mcp.url()]);
    let until = Instant::now() + Duration::from_secs(60);
    let renewed = loop {
        let now = home.ok(&["auth", "token", &mcp.url()]);
        if now != first {
            break now;
        }
        assert!(Instant::now() < until, "it was never renewed");
    };
    assert_eq!(idp.introspect(renewed.trim())["aud"], json!(mcp.url()));
    let events = idp.events();
    assert_eq!(
        events[..2],
        ["granted authorization_code", "granted refresh_token"]
    );
}
