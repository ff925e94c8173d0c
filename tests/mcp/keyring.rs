//! `persist: keyring`: the tokens of a server in a real GNOME Keyring, as fast-agent keeps them,
//! with Python's `keyring` as the other side.

use super::client::{Client, text};
use super::server::{Home, Mcp};
use crate::idp::{Idp, Options};
use serde_json::{Value, json};

// Each user of the fixture takes what it needs.
#[allow(dead_code)]
#[path = "../../src/keyring/fixture.rs"]
pub mod fixture;

use fixture::{Desk, With};
use reseal::keyring::{Asking, Bus, Keyring};

pub fn opaque() -> Options {
    Options {
        opaque: true,
        ..Options::default()
    }
}

pub fn yaml(mcp: &Mcp) -> String {
    format!("mcp: {{servers: {{tools: {{url: {:?}}}}}}}", mcp.url())
}

/// Runs Python with `get`, `put` and `ID`, and gives what it prints.
pub fn python(desk: &Desk, mcp: &Mcp, script: &str) -> String {
    let prelude = format!(
        "import keyring, json\n\
         from keyring.backends import SecretService\n\
         keyring.set_keyring(SecretService.Keyring())\n\
         S, ID = 'fast-agent-mcp', {:?}\n\
         get = lambda user: keyring.get_password(S, user)\n\
         put = lambda user, value: keyring.set_password(S, user, value)\n\
         tokens = lambda: json.loads(get('oauth:tokens:' + ID))\n\
         client = lambda: json.loads(get('oauth:client_info:' + ID))\n",
        mcp.identity()
    );
    let output = desk
        .command("/usr/bin/python3")
        .arg("-c")
        .arg(format!("{prelude}{script}"))
        .output()
        .expect("python3 is installed (tests/run installs it)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// Makes the token look as if its life were over.
const AGE: &str = "t = tokens(); t['expires_in'] = 0\nput('oauth:tokens:' + ID, json.dumps(t))";

pub fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn tokens_go_to_the_keyring_as_fast_agent_keeps_them_and_need_no_vault() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let desk = Desk::new(With::Unlocked);
    let home = Home::bare().on_bus(desk.address());
    home.servers(&yaml(&mcp));
    let (said, _) = home.sign_in(&idp, &["auth", "login", "tools"]);
    assert!(!said.contains("tokens are kept in"), "{said}");
    let token = home.ok(&["auth", "token", "tools"]);
    assert_eq!(home.ok(&["auth", "token", &mcp.url()]), token);
    let theirs = python(
        &desk,
        &mcp,
        "t, c = tokens(), client()\n\
         print(json.dumps([t, c, get('oauth:index')]))",
    );
    let theirs = json_of(&theirs);
    assert_eq!(theirs[0]["access_token"], json!(token.trim()));
    assert_eq!(theirs[0]["scope"], json!("api"));
    assert!(theirs[0]["refresh_token"].is_string() && theirs[0]["expires_in"].is_number());
    assert_eq!(theirs[1]["issuer"], json!(idp.issuer()));
    assert!(theirs[1]["client_id"].is_string() && theirs[1]["redirect_uris"].is_array());
    assert_eq!(theirs[2], json!(format!("[{:?}]", mcp.identity())));

    let status = home.ok(&["auth", "status", "--json"]);
    let mcp_part = json_of(&status)["mcp"].clone();
    let ring = json!({"name": "SecretService Keyring", "available": true, "writable": true});
    assert_eq!(mcp_part["keyring"], ring);
    assert_eq!(mcp_part["servers"][0]["credential"], json!("ready"));
    let kept = &mcp_part["credentials"][0];
    assert_eq!(kept["resource"], json!(mcp.identity()));
    assert_eq!(kept["kept_in"], json!("keyring"));
    assert_eq!(kept["refreshable"], json!(true));
    let table = home.ok(&["auth"]);
    assert!(
        table.starts_with("keyring backend: SecretService Keyring\n"),
        "{table}"
    );
    let listed = json_of(&home.ok(&["auth", "mcp", "list", "--json"]));
    assert_eq!(listed["servers"][0]["credential"], json!("ready"));
    let shown = json_of(&home.ok(&["auth", "mcp", "show", "tools", "--json"]));
    assert_eq!(shown["persistence"], json!("keyring"));
    assert!(
        home.ok(&["auth", "mcp", "credentials"])
            .contains(&mcp.identity())
    );

    let removed = home.run(&["auth", "clear", "tools", "--yes"]);
    let said = String::from_utf8_lossy(&removed.stderr);
    assert!(said.contains("Tokens removed."), "{said}");
    assert_eq!(idp.introspect(token.trim()), json!({"active": false}));
    let left =
        "print(get('oauth:tokens:' + ID), get('oauth:client_info:' + ID), get('oauth:index'))";
    assert_eq!(python(&desk, &mcp, left), "None None []");
    let (said, code) = home.fails(&["auth", "token", "tools"]);
    assert!(said.contains("reseal auth login tools"), "{said}");
    assert_eq!(code, 9);
}

#[test]
fn a_token_that_is_over_is_renewed_and_changed_in_place() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let desk = Desk::new(With::Unlocked);
    let home = Home::bare().on_bus(desk.address());
    home.servers(&yaml(&mcp));
    home.sign_in(&idp, &["auth", "login", "tools"]);
    let first = home.ok(&["auth", "token", "tools"]);
    // As fast-agent before 0.10 leaves it: nobody says who registered the client.
    let aged = format!(
        "{AGE}\nc = client(); del c['issuer']\nput('oauth:client_info:' + ID, json.dumps(c))"
    );
    python(&desk, &mcp, &aged);
    let renewed = home.ok(&["auth", "token", "tools"]);
    assert_ne!(renewed, first);
    assert_eq!(idp.introspect(renewed.trim())["aud"], json!(mcp.url()));
    let theirs = python(
        &desk,
        &mcp,
        "print(tokens()['access_token'], client()['issuer'])",
    );
    assert_eq!(theirs, format!("{} {}", renewed.trim(), idp.issuer()));
    assert_eq!(home.ok(&["auth", "token", "tools"]), renewed);
    let events = idp.events();
    assert_eq!(
        events,
        ["granted authorization_code", "granted refresh_token"]
    );
    // The client of another issuer is taken to nobody.
    let moved = format!(
        "{AGE}\nc = client(); c['issuer'] = 'https://other.example'\n\
         put('oauth:client_info:' + ID, json.dumps(c))"
    );
    python(&desk, &mcp, &moved);
    let (said, _) = home.fails(&["auth", "token", "tools"]);
    assert!(
        said.contains("no longer names https://other.example"),
        "{said}"
    );
    assert_eq!(idp.events(), events);
}

#[test]
fn what_fast_agent_left_is_found_under_both_of_its_names() {
    let mcp = Mcp::open();
    let desk = Desk::new(With::Unlocked);
    let home = Home::bare().on_bus(desk.address());
    home.servers(
        "mcp: {servers: {old: {url: 'https://H.Example:443/mcp'}, \
         ours: {url: 'https://v.example/mcp', auth: {persist: vault}}}}",
    );
    python(
        &desk,
        &mcp,
        "for name in ['https://H.Example:443', 'https://orphan.example', 'https://v.example']:\n\
         \x20 put('oauth:tokens:' + name, json.dumps({'access_token': 'of ' + name, \
         'token_type': 'Bearer', 'expires_in': 3600, 'scope': None, 'refresh_token': 'r'}))\n\
         put('oauth:index', json.dumps(['https://orphan.example']))",
    );
    assert_eq!(
        home.ok(&["auth", "token", "old"]).trim(),
        "of https://H.Example:443"
    );
    let by_url = home.ok(&["auth", "token", "https://orphan.example/sse"]);
    assert_eq!(by_url.trim(), "of https://orphan.example");
    // A config that wants the vault is taken at its word.
    home.fails(&["auth", "token", "ours"]);
    let status = json_of(&home.ok(&["auth", "status", "--json"]));
    let kept: Vec<_> = status["mcp"]["credentials"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    let resources: Vec<_> = kept
        .iter()
        .map(|kept| kept["resource"].as_str().unwrap())
        .collect();
    assert_eq!(resources, ["https://h.example", "https://orphan.example"]);
    assert_eq!(kept[1]["orphaned"], json!(true));
    let credential = |at: usize| status["mcp"]["servers"][at]["credential"].clone();
    assert_eq!(
        [credential(0), credential(1)],
        [json!("ready"), json!("missing")]
    );
    let forgotten = ["auth", "mcp", "forget", "old", "--yes", "--local-only"];
    home.ok(&forgotten);
    let gone = "print(get('oauth:tokens:https://H.Example:443'))";
    assert_eq!(python(&desk, &mcp, gone), "None");
    home.ok(&["auth", "clear", "--all", "--yes", "--local-only"]);
    assert_eq!(python(&desk, &mcp, "print(get('oauth:index'))"), "[]");
}

#[test]
fn a_server_at_the_path_of_another_servers_name_has_its_own_tokens() {
    let mcp = Mcp::open();
    let desk = Desk::new(With::Unlocked);
    let home = Home::bare().on_bus(desk.address());
    home.servers(
        "mcp: {servers: {inner: {url: 'https://h.example/mcp/sse', transport: sse}, \
         outer: {url: 'https://h.example/mcp'}}}",
    );
    python(
        &desk,
        &mcp,
        "for name in ['https://h.example', 'https://h.example/mcp', 'https://o.example/sse']:\n\
         \x20 put('oauth:tokens:' + name, json.dumps({'access_token': 'of ' + name, \
         'token_type': 'Bearer', 'expires_in': 3600, 'scope': None, 'refresh_token': 'r'}))\n\
         put('oauth:tokens:https://o.example', json.dumps({'access_token': 'other'}))\n\
         put('oauth:index', json.dumps(['https://h.example/mcp', 'https://o.example/sse']))",
    );
    let token = |target: &str| home.ok(&["auth", "token", target]).trim().to_owned();
    assert_eq!(token("inner"), "of https://h.example/mcp");
    assert_eq!(token("outer"), "of https://h.example");
    assert_eq!(token("https://h.example/mcp/mcp"), token("inner"));
    assert_eq!(token("https://h.example/mcp"), token("outer"));
    let status = json_of(&home.ok(&["auth", "status", "--json"]));
    let kept = status["mcp"]["credentials"].as_array().unwrap().clone();
    let resources: Vec<_> = kept.iter().map(|kept| kept["resource"].clone()).collect();
    let listed = [
        "https://h.example",
        "https://h.example/mcp",
        "https://o.example/sse",
    ];
    assert_eq!(json!(resources), json!(listed));
    let left = "print([get('oauth:tokens:https://' + name) is not None for name in \
                ['h.example', 'h.example/mcp', 'o.example', 'o.example/sse']])";
    home.ok(&["auth", "clear", "inner", "--yes", "--local-only"]);
    assert_eq!(python(&desk, &mcp, left), "[True, False, True, True]");
    // What no config has is found by its name in the index, and by nothing shorter.
    home.ok(&["auth", "clear", "--all", "--yes", "--local-only"]);
    assert_eq!(python(&desk, &mcp, left), "[True, False, True, False]");
}

#[test]
fn a_machine_without_a_keyring_keeps_tokens_in_the_vault_and_says_so_once() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let home = Home::new();
    home.servers(&yaml(&mcp));
    let (said, _) = home.sign_in(&idp, &["auth", "login", "tools"]);
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let sentence = "tokens are kept in the vault: there is no session bus";
    assert_eq!(flat.matches(sentence).count(), 1, "{flat}");
    let token = home.ok(&["auth", "token", "tools"]);
    // The newest tokens are in the vault, whatever a keyring holds that is there later.
    let desk = Desk::new(With::Unlocked);
    python(
        &desk,
        &mcp,
        "put('oauth:tokens:' + ID, json.dumps({'access_token': 'older'}))",
    );
    let home = home.on_bus(desk.address());
    assert_eq!(home.ok(&["auth", "token", "tools"]), token);
    // Until somebody signs in with the keyring at hand.
    home.sign_in(&idp, &["auth", "login", "tools"]);
    let newer = home.ok(&["auth", "token", "tools"]);
    assert_ne!(newer, token);
    assert_eq!(
        python(&desk, &mcp, "print(tokens()['access_token'])"),
        newer.trim()
    );
}

#[test]
fn without_a_keyring_and_a_vault_nobody_is_sent_to_a_browser() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let desk = Desk::new(With::NoCollection);
    let home = Home::bare().on_bus(desk.address());
    home.servers(&yaml(&mcp));
    let (said, code) = home.fails(&["auth", "login", "tools", "--no-browser"]);
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("there is nowhere to keep the tokens: the keyring has no default"),
        "{flat}"
    );
    assert!(flat.contains("reseal init"), "{flat}");
    assert_eq!(code, 1);
    let status = json_of(&home.ok(&["auth", "status", "--json"]));
    let ring = &status["mcp"]["keyring"];
    assert_eq!(ring["writable"], json!(false));
    let table = home.ok(&["auth", "status"]);
    assert!(
        table.starts_with("keyring backend: not available\n"),
        "{table}"
    );
    // The bridge, which lives as long as its client, keeps them itself.
    let mut client = Client::start(&home, &["tools", "--no-browser"]);
    client.begin();
    client.agree(&idp);
    client.begun();
    assert_eq!(text(&client.call(1, "hello")), "hi");
    let (_, said) = client.end();
    assert!(!said.contains("in the vault"), "{said}");
}

#[test]
fn the_bridge_sends_nobody_to_a_browser_for_a_keyring_that_is_locked() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let mut desk = Desk::new(With::Unlocked);
    for home in [Home::bare(), Home::new()] {
        let home = home.on_bus(desk.address());
        home.servers(&yaml(&mcp));
        home.sign_in(&idp, &["auth", "login", "tools"]);
        desk.lock();
        let mut client = Client::start(&home, &["tools", "--no-browser", "--timeout", "5s"]);
        let (_, answer) = client.ask(1, "initialize", json!({}));
        let why = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(why.contains("the keyring is locked"), "{answer}");
        assert!(why.contains("reseal auth login tools"), "{why}");
        // Nobody signed in anew: what was there all the time is found.
        desk.restart_keyring();
        client.initialize();
        assert_eq!(text(&client.call(2, "hello")), "hi");
        let (_, said) = client.end();
        assert!(!said.lines().any(|line| line.starts_with("http")), "{said}");
    }
}

#[test]
fn a_sign_in_to_a_keyring_at_hand_needs_no_vault_to_be_open() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let desk = Desk::new(With::Unlocked);
    let home = Home::new().on_bus(desk.address());
    home.servers(&yaml(&mcp));
    home.ok(&["vault", "lock"]);
    let mut client = Client::start(&home, &["tools", "--no-sign-in"]);
    let (_, answer) = client.ask(0, "initialize", json!({}));
    let why = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(why.contains("wants somebody to sign in"), "{answer}");
    client.end();
    let mut client = Client::start(&home, &["tools", "--no-browser"]);
    client.begin();
    client.agree(&idp);
    client.begun();
    assert_eq!(text(&client.call(1, "hello")), "hi");
    client.end();
    let token = home.ok(&["auth", "token", "tools"]);
    assert_eq!(
        python(&desk, &mcp, "print(tokens()['access_token'])"),
        token.trim()
    );
}

#[test]
fn the_bridge_renews_what_is_in_the_keyring() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let desk = Desk::new(With::Unlocked);
    let home = Home::bare().on_bus(desk.address());
    home.servers(&yaml(&mcp));
    home.sign_in(&idp, &["auth", "login", "tools"]);
    let mut client = Client::start(&home, &["tools", "--no-sign-in"]);
    client.initialize();
    let token = home.ok(&["auth", "token", "tools"]);
    mcp.refuse(token.trim());
    assert_eq!(text(&client.call(1, "hello")), "hi");
    client.end();
    let renewed = python(&desk, &mcp, "print(tokens()['access_token'])");
    assert_ne!(renewed, token.trim());
    assert_eq!(home.ok(&["auth", "token", "tools"]).trim(), renewed);
}

#[test]
fn a_sign_in_by_url_goes_where_the_url_is_looked_up() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let desk = Desk::new(With::Unlocked);
    let home = Home::new().on_bus(desk.address());
    // fast-agent left something; no config knows the server.
    let older = "put('oauth:tokens:' + ID, json.dumps({'access_token': 'older'}))";
    python(&desk, &mcp, older);
    assert_eq!(home.ok(&["auth", "token", &mcp.url()]).trim(), "older");
    home.sign_in(&idp, &["auth", "login", &mcp.url()]);
    let token = home.ok(&["auth", "token", &mcp.url()]);
    assert_eq!(
        python(&desk, &mcp, "print(tokens()['access_token'])"),
        token.trim()
    );
    assert_eq!(idp.introspect(token.trim())["active"], json!(true));
}

#[test]
fn a_fresh_token_of_the_keyring_needs_no_vault_for_the_clients_secret() {
    let mcp = Mcp::open();
    let desk = Desk::new(With::Unlocked);
    let home = Home::new().on_bus(desk.address());
    home.config(
        &json!({"mcp": {"servers": {"tools": {"url": mcp.url(), "auth": {
        "persist": "keyring", "clientId": "c", "clientIssuer": "https://i.example",
        "clientSecretRef": {"source": "vault", "provider": "default", "id": "client"}}}}}}),
    );
    python(
        &desk,
        &mcp,
        "put('oauth:tokens:' + ID, json.dumps({'access_token': 'fresh'}))",
    );
    home.ok(&["vault", "lock"]);
    assert_eq!(home.ok(&["auth", "token", "tools"]).trim(), "fresh");
}
