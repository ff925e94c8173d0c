//! Logins of other programs, imported on request and only read.

use super::claw::{Claw, contents, text};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::Output;

const FAR: u64 = 4_102_444_800_000;

pub fn home(claw: &Claw) -> PathBuf {
    claw.beside("home")
}

fn put(claw: &Claw, name: &str, text: &str) {
    let path = home(claw).join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub fn run(claw: &Claw, more: &[&str]) -> Output {
    let args = [&["secrets", "migrate", "--yes", "--json"], more].concat();
    claw.command(&args)
        .env("HOME", home(claw))
        .output()
        .unwrap()
}

/// Imports; the files are not changed, and a second run changes nothing.
#[track_caller]
fn import(claw: &Claw, include: &str) -> Value {
    let before = contents(&home(claw));
    let document = |output: Output| -> Value {
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_str(&text(&output.stdout)).unwrap()
    };
    let report = document(run(claw, &["--include", include]));
    let again = document(run(claw, &["--include", include]));
    assert_eq!(again["changed"], false, "{again:#}");
    assert_eq!(contents(&home(claw)), before);
    report
}

fn profiles(claw: &Claw) -> Value {
    let path = claw.own().join("agents/main/agent/auth-profiles.json");
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    file["profiles"].clone()
}

fn account(claw: &Claw, record: &str) -> Value {
    serde_json::from_str(&claw.records()[record]).unwrap()
}

/// A token whose payload says when it ends.
fn jwt() -> String {
    let payload = json!({"exp": FAR / 1000, "https://api.openai.com/profile": {"email": "me@x.y"}});
    let payload = data_encoding::BASE64URL_NOPAD.encode(payload.to_string().as_bytes());
    format!("e30.{payload}.c2ln")
}

fn codex(access: &str) -> Value {
    json!({"auth_mode": "chatgpt", "OPENAI_API_KEY": null, "last_refresh": "2026-11-01T00:00:00Z",
        "tokens": {"id_token": "e30.e30.c2ln", "access_token": access,
            "refresh_token": "refresh-of-codex", "account_id": "acct-1"}})
}

/// A login of each program, with an account among them; gives their secrets.
pub fn put_one_of_each(claw: &Claw) -> Vec<String> {
    let access = jwt();
    put(claw, ".codex/auth.json", &codex(&access).to_string());
    let claude = json!({"claudeAiOauth": {"accessToken": "access-of-claude", "expiresAt": FAR}});
    put(claw, ".claude/.credentials.json", &claude.to_string());
    let agentos = json!({"accessToken": "access-of-agentos", "refreshToken": "refresh-of-agentos",
        "expiresAt": FAR});
    put(claw, ".agentos/auth/openai.json", &agentos.to_string());
    let others = [
        "refresh-of-codex",
        "access-of-claude",
        "access-of-agentos",
        "refresh-of-agentos",
    ];
    std::iter::once(access)
        .chain(others.map(str::to_owned))
        .collect()
}

#[test]
fn an_account_of_codex_is_imported_and_its_file_is_only_read() {
    let claw = Claw::new();
    let access = jwt();
    put(&claw, ".codex/auth.json", &codex(&access).to_string());
    let report = import(&claw, "codex");
    let record = "oauth/openai-codex/codex-cli";
    let sealed = account(&claw, record);
    assert_eq!(sealed["refreshToken"], "refresh-of-codex");
    assert_eq!(sealed["details"]["expiresAt"], FAR);
    let profile = &profiles(&claw)["openai-codex:codex-cli"];
    assert_eq!(profile["oauthRef"]["id"], record);
    assert_eq!(
        (&profile["email"], &profile["accountId"]),
        (&json!("me@x.y"), &json!("acct-1"))
    );
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("two owners") && warnings.contains("auth.json"),
        "{warnings}"
    );
    let token = claw.run(&["token", "openai-codex:codex-cli"]);
    assert_eq!(
        text(&token.stdout).trim_end(),
        access,
        "{}",
        text(&token.stderr)
    );
}

#[test]
fn a_key_of_codex_is_found_where_codex_home_says() {
    let claw = Claw::new();
    put(
        &claw,
        "elsewhere/auth.json",
        r#"{"OPENAI_API_KEY": "key-of-codex", "agent_identity": 1}"#,
    );
    let args = [
        "secrets",
        "migrate",
        "--yes",
        "--json",
        "--include",
        "codex",
    ];
    let mut command = claw.command(&args);
    let ran = command
        .env("HOME", home(&claw))
        .env("CODEX_HOME", home(&claw).join("elsewhere"));
    let ran = ran.output().unwrap();
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    assert_eq!(claw.records()["openai/codex-cli"], "key-of-codex");
    assert!(text(&ran.stdout).contains("auth.json: agent_identity"));
}

/// Its vendor keeps the sign-in for its own programs, so nothing here says how it is refreshed.
#[test]
fn claude_gives_a_token_that_ends_and_an_account_only_if_it_can_be_refreshed() {
    let claw = Claw::new();
    let login = |refresh: Value| {
        json!({"claudeAiOauth": {"accessToken": "access-of-claude", "refreshToken": refresh,
            "expiresAt": FAR, "scopes": ["user:inference"]}})
        .to_string()
    };
    put(
        &claw,
        ".claude/.credentials.json",
        &login("refresh-of-claude".into()),
    );
    let report = import(&claw, "claude");
    let left = report["left"].to_string();
    assert!(
        left.contains("anthropic:claude-cli") && left.contains("oauth.providers"),
        "{left}"
    );
    assert!(claw.records().is_empty());
    put(&claw, ".claude/.credentials.json", &login(Value::Null));
    import(&claw, "claude");
    assert_eq!(claw.records()["anthropic/claude-cli"], "access-of-claude");
    let profile = &profiles(&claw)["anthropic:claude-cli"];
    assert_eq!(
        (&profile["type"], &profile["expires"]),
        (&json!("token"), &json!(FAR))
    );
}

#[test]
fn token_files_of_agentos_are_imported_from_both_folders() {
    let claw = Claw::new();
    let file = |access: &str, refresh: Option<&str>| {
        json!({"accessToken": access, "refreshToken": refresh, "expiresAt": FAR}).to_string()
    };
    put(
        &claw,
        ".wunderland/auth/openai.json",
        &file("access-one", Some("refresh-one")),
    );
    put(
        &claw,
        ".agentos/auth/openai.json",
        &file("access-two", Some("refresh-two")),
    );
    put(&claw, ".agentos/auth/a_b.json", &file("access-three", None));
    put(&claw, ".agentos/auth/broken.json", "{");
    put(
        &claw,
        ".agentos/auth/other.json",
        r#"{"accessToken": "x", "expiresAt": "soon"}"#,
    );
    put(
        &claw,
        ".agentos/auth/x.com.json",
        &file("access-four", Some("refresh-four")),
    );
    let report = import(&claw, "agentos");
    assert_eq!(
        account(&claw, "oauth/openai/agentos")["refreshToken"],
        "refresh-one"
    );
    assert_eq!(
        account(&claw, "oauth/openai/agentos-2")["refreshToken"],
        "refresh-two"
    );
    assert_eq!(claw.records()["a_b/agentos"], "access-three");
    assert_eq!(claw.records().len(), 3);
    assert_eq!(profiles(&claw).as_object().unwrap().len(), 3);
    let left = report["left"].to_string();
    for name in ["broken.json", "other.json", "x.com.json"] {
        assert!(left.contains(name), "{name}: {left}");
    }
}

#[test]
fn nothing_is_read_unasked_and_one_account_gets_one_record() {
    let claw = Claw::new();
    let access = jwt();
    put(&claw, ".codex/auth.json", &codex(&access).to_string());
    let store = json!({"version": 1, "profiles": {"openai-codex:default": {"type": "oauth",
        "provider": "openai-codex", "access": access, "refresh": "refresh-of-codex",
        "expires": FAR}}});
    put(&claw, ".openclaw/openclaw.json", "{}");
    put(
        &claw,
        ".openclaw/agents/main/agent/auth-profiles.json",
        &store.to_string(),
    );
    let ran = run(&claw, &[]);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    let record = "oauth/openai-codex/default";
    assert_eq!(claw.records().keys().collect::<Vec<_>>(), [record]);
    assert!(profiles(&claw).get("openai-codex:codex-cli").is_none());
    import(&claw, "codex");
    assert_eq!(claw.records().keys().collect::<Vec<_>>(), [record]);
    assert_eq!(
        profiles(&claw)["openai-codex:codex-cli"]["oauthRef"]["id"],
        record
    );
}

#[test]
fn a_login_that_is_not_there_or_broken_is_named_and_nothing_is_written() {
    let claw = Claw::new();
    let before = contents(&claw.own());
    for include in ["codex", "claude", "agentos"] {
        let ran = run(&claw, &["--include", include]);
        let said = text(&ran.stderr);
        assert_eq!(ran.status.code(), Some(3), "{said}");
        assert!(said.contains("there is no login of"), "{said}");
    }
    put(&claw, ".codex/auth.json", "{\n\"tokens\": ");
    let ran = run(&claw, &["--include", "codex"]);
    let said = text(&ran.stderr);
    assert!(!ran.status.success());
    assert!(
        said.contains("auth.json") && said.contains("line 2"),
        "{said}"
    );
    assert_eq!(contents(&claw.own()), before);
}

/// A login that changed under a profile of ours: which of the two is meant is for a person to say.
#[test]
fn another_login_under_a_name_that_is_taken_stays() {
    let claw = Claw::new();
    put(&claw, ".codex/auth.json", &codex(&jwt()).to_string());
    import(&claw, "codex");
    let mut other = codex(&jwt());
    other["tokens"]["refresh_token"] = "refresh-of-another-day".into();
    put(&claw, ".codex/auth.json", &other.to_string());
    let report = import(&claw, "codex");
    let left = report["left"].to_string();
    assert!(
        left.contains("models auth logout openai-codex:codex-cli"),
        "{left}"
    );
    assert_eq!(claw.records().len(), 1);
}

#[test]
fn api_keys_of_fast_agent_are_imported_and_its_files_are_only_read() {
    let claw = Claw::new();
    let config = "default_model: sonnet\nopenai: {api_key: older-key-of-openai-5f1c}\n\
                  groq: {api_key: '<your-api-key-here>'}\n";
    let secrets = "openai:\n  api_key: newer-key-of-openai-93ab\n\
                   anthropic:\n  api_key: key-of-anthropic-c7e2\n";
    put(&claw, "fastagent.config.yaml", config);
    put(&claw, "fastagent.secrets.yaml", secrets);
    let before = contents(&home(&claw));
    let run = |more: &[&str]| -> Value {
        let args = [
            "secrets",
            "migrate",
            "--yes",
            "--json",
            "--include",
            "fast-agent",
        ];
        let mut command = claw.command(&[&args, more].concat());
        let output = command
            .env("HOME", home(&claw))
            .current_dir(home(&claw))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_str(&text(&output.stdout)).unwrap()
    };
    let report = run(&[]);
    assert_eq!(run(&[])["changed"], false);
    assert_eq!(contents(&home(&claw)), before);
    let profiles = profiles(&claw);
    for (provider, key) in [
        ("openai", "newer-key-of-openai-93ab"),
        ("anthropic", "key-of-anthropic-c7e2"),
    ] {
        let profile = &profiles[format!("{provider}:fast-agent")];
        let record = profile["keyRef"]["id"].as_str().unwrap();
        assert_eq!(claw.records()[record], key);
    }
    assert_eq!(profiles.as_object().unwrap().len(), 2, "a hint is no key");
    // What stays in plaintext is told, without its value.
    let report = report.to_string();
    for place in [
        "fastagent.secrets.yaml: anthropic.api_key",
        "fastagent.config.yaml: openai.api_key",
    ] {
        assert!(report.contains(place), "{report}");
    }
    assert!(!report.contains("key-of-"), "{report}");
}
