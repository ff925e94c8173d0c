//! `secrets migrate --include fast-agent`: entries of a real GNOME Keyring move into the vault, and
//! nothing is lost of what others renew meanwhile.

use super::client::Client;
use super::keyring::fixture::{Desk, With};
use super::keyring::{json_of, opaque, python, yaml};
use super::server::{Home, Mcp};
use crate::idp::Idp;
use reseal::secret::SecretValue;
use reseal::token_store::fast_agent::Layout;
use reseal::token_store::{Keyring as Store, TokenStore};
use serde_json::{Value, json};
use std::process::{Child, Stdio};

/// What fast-agent 0.8 and 0.9 leave beside the tokens of servers.
const OTHERS: &str = "def other(service, user, value): keyring.set_password(service, user, value)\n\
    text = json.dumps({'access_token': 'c' * 1200, 'refresh_token': 'rc', 'expires_at': 4e9})\n\
    C, K = 'fast-agent-codex', 'oauth:tokens:openai-codex'\n\
    parts = [text[i:i + 512] for i in range(0, len(text), 512)]\n\
    for i, part in enumerate(parts): other(C, f'{K}:chunk:{i}', part)\n\
    other(C, K + ':meta', json.dumps({'version': 1, 'parts': len(parts), 'size': len(text)}))\n\
    other(C, 'oauth:index', json.dumps(['openai-codex']))\n\
    other('fast-agent-provider-auth', 'xai', json.dumps({'type': 'oauth', 'access_token': 'x', \
    'refresh_token': 'rx', 'expires_at': 4e9, 'token_type': 'Bearer', 'scope': None}))\n\
    down = json.dumps({'access_token': 'u', 'refresh_token': 'r'})\n\
    put('oauth:tokens:http://127.0.0.1:1', down)\n\
    put('oauth:index', json.dumps([ID, 'http://127.0.0.1:1']))";

/// How many entries fast-agent has in each of its services.
const COUNT: &str = "box = SecretService.Keyring().get_preferred_collection()\n\
    print([len(list(box.search_items({'service': s}))) for s in \
    ['fast-agent-mcp', 'fast-agent-codex', 'fast-agent-provider-auth']])";

const MIGRATE: [&str; 5] = ["secrets", "migrate", "--include", "fast-agent", "--json"];

#[test]
fn a_keyring_of_fast_agent_moves_into_the_vault_and_its_entries_go() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let desk = Desk::new(With::Unlocked);
    let home = Home::new().on_bus(desk.address());
    home.servers(&yaml(&mcp));
    home.sign_in(&idp, &["auth", "login", "tools"]);
    let token = home.ok(&["auth", "token", "tools"]);
    python(&desk, &mcp, OTHERS);
    let before = python(&desk, &mcp, COUNT);
    let planned = json_of(&home.ok(&[&MIGRATE[..], &["--dry-run"]].concat()));
    assert_eq!(
        planned["keyring"].as_array().unwrap().len(),
        2,
        "{planned:#}"
    );
    assert_eq!(python(&desk, &mcp, COUNT), before);

    let report = json_of(&home.ok(&[&MIGRATE[..], &["--yes"]].concat()));
    let stored = report["records"]["stored"].to_string();
    assert!(stored.contains("mcp/http/127.0.0.1#3a"), "{stored}");
    assert!(stored.contains("oauth/openai-codex/fast-agent"), "{stored}");
    let removed = |report: &Value| {
        let entries = report["keyring"].as_array().unwrap().clone();
        entries
            .iter()
            .filter(|entry| entry["removed"] == json!(true))
            .count()
    };
    assert_eq!(removed(&report), 2, "{report:#}");
    // What can't be moved stays, and is named: no server answers, nobody knows who renews it.
    let left = report["left"].to_string();
    assert!(left.contains("fast-agent-provider-auth/xai"), "{left}");
    assert!(left.contains("oauth:tokens:http://127.0.0.1:1"), "{left}");
    let gone =
        "print(get('oauth:tokens:' + ID), get('oauth:client_info:' + ID), get('oauth:index'))";
    assert_eq!(
        python(&desk, &mcp, gone),
        "None None [\"http://127.0.0.1:1\"]"
    );
    assert_eq!(python(&desk, &mcp, COUNT), "[2, 1, 1]");

    // The same tokens, from the vault, ready to be renewed there.
    assert_eq!(home.ok(&["auth", "token", "tools"]), token);
    let codex = home.ok(&["token", "openai-codex:fast-agent"]);
    assert_eq!(codex.trim(), "c".repeat(1200));
    let status = json_of(&home.ok(&["auth", "status", "--json"]));
    assert_eq!(status["mcp"]["servers"][0]["credential"], json!("ready"));
    let again = json_of(&home.ok(&[&MIGRATE[..], &["--yes"]].concat()));
    assert_eq!(again["changed"], json!(false), "{again:#}");

    // The bridge wants the vault opened, and no sign-in to a keyring that is empty by now.
    home.ok(&["vault", "lock"]);
    let mut client = Client::start(&home, &["tools", "--no-sign-in"]);
    let (_, answer) = client.ask(0, "initialize", json!({}));
    let why = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(
        why.contains("is locked") && !why.contains("keyring"),
        "{answer}"
    );
    client.end();
}

#[test]
fn an_entry_goes_only_if_the_vault_holds_what_it_held() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let desk = Desk::new(With::Unlocked);
    let home = Home::new();
    home.servers(&yaml(&mcp));
    // Another account of the server is in the vault: without a keyring it went there.
    home.sign_in(&idp, &["auth", "login", "tools"]);
    let home = home.on_bus(desk.address());
    home.sign_in(&idp, &["auth", "login", "tools"]);
    let before = python(&desk, &mcp, "print(get('oauth:tokens:' + ID))");
    let report = json_of(&home.ok(&[&MIGRATE[..], &["--yes"]].concat()));
    assert_eq!(report["keyring"], json!([]));
    let left = report["left"].to_string();
    assert!(
        left.contains("already") && left.contains("oauth:tokens:"),
        "{left}"
    );
    // A vault that can't be written takes nothing, and nothing goes.
    home.ok(&["vault", "lock"]);
    home.fails(&[&MIGRATE[..], &["--yes"]].concat());
    assert_eq!(
        python(&desk, &mcp, "print(get('oauth:tokens:' + ID))"),
        before
    );
}

/// Renews the tokens of an entry as another program does.
fn renew(store: &Store, id: &str) {
    let mut tokens = store.load(id).unwrap().unwrap();
    tokens.access = SecretValue::copy_of(b"newer").into();
    tokens.refresh = Some(SecretValue::copy_of(b"newer-refresh").into());
    store.save(id, &tokens).unwrap();
}

/// Starts a program whose output is read when it ends.
fn spawn(home: &Home, args: &[&str]) -> Child {
    let mut command = home.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn an_entry_that_is_renewed_before_it_moves_stops_the_move() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let desk = Desk::new(With::Unlocked);
    let home = Home::new().on_bus(desk.address());
    home.servers(&yaml(&mcp));
    home.sign_in(&idp, &["auth", "login", "tools"]);
    let store = Store::new(desk.keyring(), Layout::Mcp, home.state().join("tokens"));
    let guard = store.refresh_guard(&mcp.url()).unwrap();
    let before = mcp.requests().len();
    let mut child = spawn(&home, &[&MIGRATE[..], &["--yes"]].concat());
    // It has read the entry once it asks the server.
    while mcp.requests().len() == before {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    }
    renew(&store, &mcp.url());
    drop(guard);
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("was renewed or removed since"), "{said}");
    assert!(said.contains("nothing was written"), "{said}");
    assert_eq!(
        python(&desk, &mcp, "print(tokens()['access_token'])"),
        "newer"
    );
    let report = json_of(&home.ok(&[&MIGRATE[..], &["--yes"]].concat()));
    let entry = &report["keyring"][0];
    assert_eq!(entry["removed"], json!(true), "{report:#}");
    let place = format!("keyring: fast-agent-mcp/oauth:tokens:{}", mcp.identity());
    assert_eq!(entry["place"], json!(place));
    assert_eq!(home.ok(&["auth", "token", "tools"]).trim(), "newer");
}

#[test]
fn what_fast_agent_renews_at_the_last_moment_leaves_no_older_tokens_in_the_vault() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let desk = Desk::new(With::Unlocked);
    let home = Home::new().on_bus(desk.address());
    home.servers(&yaml(&mcp));
    home.sign_in(&idp, &["auth", "login", "tools"]);
    python(&desk, &mcp, OTHERS);
    let agent = home.state().join("agents/main/agent");
    let profiles = agent.join("auth-profiles.json");
    std::fs::create_dir_all(&agent).unwrap();
    std::fs::write(&profiles, r#"{"version": 1, "profiles": {}}"#).unwrap();
    // The profiles are written after the vault and before an entry goes.
    let gate = std::fs::File::open(&profiles).unwrap();
    gate.lock().unwrap();
    let mut child = spawn(&home, &[&MIGRATE[..], &["--yes"]].concat());
    let records = || home.ok(&["secrets", "list"]);
    while !records().contains("mcp/http") {
        assert!(child.try_wait().unwrap().is_none());
    }
    let folder = tempfile::TempDir::new().unwrap();
    for (layout, id) in [
        (Layout::Mcp, mcp.url()),
        (Layout::Codex, "openai-codex".to_owned()),
    ] {
        renew(&Store::new(desk.keyring(), layout, folder.path()), &id);
    }
    drop(gate);
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    let report = json_of(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(report["keyring"][0]["removed"], json!(false), "{report:#}");
    assert_eq!(report["keyring"][1]["removed"], json!(false), "{report:#}");
    let older = records();
    assert!(
        !older.contains("mcp/http") && !older.contains("codex"),
        "{older}"
    );
    let report = json_of(&home.ok(&[&MIGRATE[..], &["--yes"]].concat()));
    assert_eq!(report["keyring"][0]["removed"], json!(true), "{report:#}");
    assert_eq!(report["keyring"][1]["removed"], json!(true), "{report:#}");
    assert_eq!(home.ok(&["auth", "token", "tools"]).trim(), "newer");
    let codex = home.ok(&["token", "openai-codex:fast-agent"]);
    assert_eq!(codex.trim(), "newer");
}
