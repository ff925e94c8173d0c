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
    let origin = format!("tools ({}) is a server of ", mcp.identity());
    assert!(said.contains(&origin), "{said}");
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
    let (backend, status) = status.split_once('\n').unwrap();
    assert_eq!(backend, "keyring backend: not available");
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

const BAD: &str = "mcp:\n  servers:\n    good: {url: 'https://g.example/mcp'}\n    \
                   lan: {url: 'http://192.168.1.5'}\n    \
                   leak: {url: 'https://e.example/${PATH}'}\n    \
                   mem: {url: 'https://m.example/mcp', auth: {persist: memory}}\n";

/// What was said, without its folds.
fn flat(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn folder_mode(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_server_that_can_not_be_used_stops_only_who_means_it() {
    let home = Home::new();
    home.servers(BAD);
    let status = home.run(&["auth", "status"]);
    assert!(status.status.success());
    let warned = flat(&String::from_utf8_lossy(&status.stderr));
    assert!(
        warned.contains("mcp.servers.lan.url: is not https"),
        "{warned}"
    );
    assert!(
        warned.contains("named variables are filled only with -c FILE"),
        "{warned}"
    );
    assert!(String::from_utf8_lossy(&status.stdout).contains("https://g.example"));
    let (said, _) = home.fails(&["auth", "token", "good"]);
    assert!(
        said.contains("nobody signed in to https://g.example"),
        "{said}"
    );
    assert!(!said.contains("lan"), "{said}");
    for args in [
        &["auth", "token", "lan"][..],
        &["auth", "login", "lan"],
        &["auth", "status", "lan"],
        &["auth", "clear", "lan", "--yes"],
        &["auth", "mcp", "show", "leak"],
    ] {
        let (said, code) = home.fails(args);
        let said = flat(&said);
        assert!(
            said.contains("failed to read the servers"),
            "{args:?}: {said}"
        );
        assert_eq!(code, 2, "{args:?}");
    }

    // Named with -c the variable is filled; a file that is none is then an error, else a warning.
    let named = home.project().join("fastagent.config.yaml");
    let named = named.to_str().unwrap();
    let shown = home.ok(&["auth", "mcp", "show", "leak", "-c", named, "--json"]);
    assert!(shown.contains("https://e.example/"), "{shown}");
    home.servers("mcp: {");
    home.fails(&["auth", "status", "-c", named]);
    let status = home.run(&["auth", "status"]);
    assert!(status.status.success());
    assert!(flat(&String::from_utf8_lossy(&status.stderr)).contains("not readable as YAML"));
}

#[test]
fn a_config_that_others_can_write_counts_only_by_name() {
    let home = Home::new();
    home.servers(BAD);
    folder_mode(&home.project(), 0o777);
    let status = home.run(&["auth", "status"]);
    let said = flat(&String::from_utf8_lossy(&status.stderr));
    assert!(said.contains("is not read, unless -c names it"), "{said}");
    assert!(!String::from_utf8_lossy(&status.stdout).contains("g.example"));
    let named = home.project().join("fastagent.config.yaml");
    let status = home.ok(&["auth", "status", "-c", named.to_str().unwrap()]);
    assert!(status.contains("https://g.example"), "{status}");
}

#[test]
fn no_secret_of_a_url_is_repeated() {
    let home = Home::new();
    home.servers("mcp:\n  servers:\n    q: {url: 'https://q.example/mcp?CANARY&key=CANARY'}\n");
    for command in ["token", "clear", "status", "login"] {
        let (said, _) = home.fails(&[
            "auth",
            command,
            "https://me:CANARY@h.example/mcp?key=CANARY",
        ]);
        assert!(said.contains("holds a user name or password"), "{said}");
        assert!(!said.contains("CANARY"), "{said}");
    }
    let (said, code) = home.fails(&["auth", "token", "https://h.example/api/mcp?key=CANARY"]);
    assert!(
        said.contains("reseal auth login https://h.example/api"),
        "{said}"
    );
    assert!(!said.contains("CANARY"), "{said}");
    assert_eq!(code, 9);
    let status = home.ok(&["auth", "status", "--json"]);
    assert!(
        status.contains("?%5BREDACTED%5D&key=%5BREDACTED%5D"),
        "{status}"
    );
    assert!(!status.contains("CANARY"), "{status}");
}

#[test]
fn removals_say_what_they_mean_and_refuse_as_fast_agent_does() {
    let home = Home::new();
    home.servers(BAD);
    let (said, code) = home.fails(&["auth", "mcp", "forget", "good"]);
    assert_eq!(said, "Non-interactive credential removal requires --yes.\n");
    assert_eq!(code, 2);
    let (said, code) = home.fails(&["auth", "clear", "nobody", "--yes"]);
    assert_eq!(said, "Server 'nobody' not found in config\n");
    assert_eq!(code, 1);
    let (said, _) = home.fails(&["auth", "token", "mem"]);
    let said = flat(&said);
    assert!(said.contains("persist: memory"), "{said}");
    assert!(
        said.contains("reseal auth proxy mem") && !said.contains("auth login"),
        "{said}"
    );
}
