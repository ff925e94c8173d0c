//! What has to stay where it is, and what the report says of it.

use super::claw::{Claw, text};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs;

const PROFILES: &str = "agents/main/agent/auth-profiles.json";
const AGENT: &str = "agents/main/agent/openclaw-agent.sqlite";
const AGENT_SCHEMA: &str = "
    CREATE TABLE auth_profile_store (store_key TEXT NOT NULL PRIMARY KEY, store_json TEXT NOT NULL,
        updated_at INTEGER NOT NULL);
    CREATE TABLE auth_profile_state (state_key TEXT NOT NULL PRIMARY KEY, state_json TEXT NOT NULL,
        updated_at INTEGER NOT NULL);";

/// Puts profiles into the database of `main`.
fn put_row(claw: &Claw, store: &Value) {
    claw.put(AGENT, "");
    let connection = Connection::open(claw.from().join(AGENT)).unwrap();
    let sql = format!("PRAGMA journal_mode = WAL; {AGENT_SCHEMA}");
    connection.execute_batch(&sql).unwrap();
    let insert = "INSERT INTO auth_profile_store VALUES ('primary', ?1, 1)";
    connection.execute(insert, [store.to_string()]).unwrap();
    connection.close().unwrap();
}

/// A key in the config, and the same in two variables of the env file.
fn keyed(more: &Value) -> (Claw, String) {
    let mut claw = Claw::new();
    let key = claw.moves("config/models/providers/groq/apiKey");
    let mut config = json!({"models": {"providers":
        {"groq": {"apiKey": key, "baseUrl": "https://x.example"}}}});
    let members = more.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(members);
    claw.put("openclaw.json", &config.to_string());
    let env = format!("GROQ_API_KEY='{key}'\nOTHER_API_KEY='{key}'\n");
    claw.put(".env", &env);
    (claw, key)
}

/// `GROQ_API_KEY` stays since `file` reads it, and `OTHER_API_KEY` goes.
#[track_caller]
fn assert_kept(claw: &mut Claw, key: String, file: &str) {
    let words = format!("{file} reads it");
    let env = claw.from().join(".env");
    claw.stays.insert(key, (env.clone(), words));
    let report = claw.migrate(&[]);
    claw.check(&report);
    let env = fs::read_to_string(env).unwrap();
    assert!(
        env.contains("GROQ_API_KEY") && !env.contains("OTHER"),
        "{report:#}"
    );
    assert_eq!(claw.migrate(&[])["changed"], false);
}

#[test]
fn a_variable_that_an_include_reads_stays() {
    for text in [
        r#"{"channels": {"telegram": {"botToken": "${GROQ_API_KEY}"}}}"#,
        r#"// A comment.
        {"a": [{"b": "Bearer ${GROQ_API_KEY}"}]}"#,
        r#"{"tools": {"x": {"apiKey": {"source": "env", "provider": "default",
            "id": "GROQ_API_KEY"}}}}"#,
        r#"{"tools": {"x": {"apiKeyEnv": "GROQ_API_KEY"}}}"#,
    ] {
        let (mut claw, key) = keyed(&json!({"more": {"$include": "./more.json5"}}));
        claw.put("more.json5", text);
        assert_kept(&mut claw, key, "more.json5");
    }
}

#[test]
fn a_variable_that_a_row_reads_stays() {
    let (mut claw, key) = keyed(&json!({}));
    let store = json!({"version": 1, "profiles": {
        "groq:default": {"type": "api_key", "provider": "groq",
            "keyRef": {"source": "env", "provider": "default", "id": "GROQ_API_KEY"}}}});
    put_row(&claw, &store);
    assert_kept(&mut claw, key, "openclaw-agent.sqlite");
}

/// Nobody knows what it reads.
#[test]
fn all_variables_stay_beside_an_include_that_is_broken() {
    let (mut claw, key) = keyed(&json!({"more": {"$include": "more.json"}}));
    claw.put("more.json", "{\"a\": ");
    let env = claw.from().join(".env");
    let words = "keeps OTHER_API_KEY: ".to_owned();
    claw.stays.insert(key, (env, words));
    let report = claw.migrate(&[]);
    claw.check(&report);
    assert!(
        report["warnings"]
            .to_string()
            .contains("more.json can't be read")
    );
}

/// Nothing uses them any more, and nobody knows whether they are the only copy.
#[test]
fn tokens_beside_a_ref_are_listed() {
    let reference = json!({"source": "env", "provider": "default", "id": "SOME_TOKEN"});
    for (file, in_row) in [(PROFILES, false), (AGENT, true)] {
        let mut claw = Claw::new();
        claw.put("openclaw.json", "{}");
        let mut stays = |id: &str| claw.stays(file, &format!("main: {id}"));
        let [access, refresh] = [0, 1].map(|_| stays("openai-codex:me"));
        let key = stays("groq:default");
        let store = json!({"version": 1, "profiles": {
            "openai-codex:me": {"type": "oauth", "provider": "openai-codex", "access": access,
                "refresh": refresh, "expires": 4_102_444_800_000_u64, "oauthRef": reference},
            "groq:default": {"type": "api_key", "provider": "groq", "key": key,
                "keyRef": reference},
        }});
        match in_row {
            false => claw.put(file, &store.to_string()),
            true => put_row(&claw, &store),
        }
        let report = claw.migrate(&[]);
        claw.check(&report);
        for id in ["openai-codex:me", "groq:default"] {
            let left = report["left"].as_array().unwrap().iter();
            let place = format!("main: {id}");
            let listed = left.filter(|left| left["place"].as_str().unwrap().starts_with(&place));
            let listed: Vec<&Value> = listed.collect();
            let why = "a ref beside it is used instead; remove it if it is not the only copy";
            assert!(
                listed.iter().any(|left| left["why"] == why),
                "{id}: {report:#}"
            );
        }
        assert!(claw.records().is_empty());
    }
}

/// Plaintext that equals no value which moved is found by looking, and only a folder in which
/// nothing was found is said to have none.
#[test]
fn the_end_says_what_still_stands_in_plaintext() {
    let (mut claw, _) = keyed(&json!({"more": {"$include": "more.json"}}));
    let clean = ["No other plaintext was found", "and no plaintext was found"];
    let is_said_clean = |said: &str| clean.iter().any(|words| said.contains(words));
    let mut stays = |file: &str| claw.stays(file, "plaintext");
    let [included, token, noise] = [
        "more.json",
        "credentials/copilot.json",
        "credentials/whatsapp/default/creds.json",
    ]
    .map(|file| (file, stays(file)));
    let channels = json!({"channels": {"telegram": {"botToken": included.1}}});
    claw.put(included.0, &channels.to_string());
    claw.put(
        token.0,
        &json!({"token": token.1, "expiresAt": 1}).to_string(),
    );
    claw.put(
        noise.0,
        &json!({"noiseKey": {"private": noise.1}}).to_string(),
    );
    let files = [included.0, token.0, noise.0].map(|file| claw.from().join(file));
    let args = claw.migrate_args();
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args.retain(|arg| *arg != "--json");
    let advice = format!("`reseal secrets audit --from {}`", claw.from().display());

    let planned = claw.run(&[args.clone(), vec!["--dry-run"]].concat());
    let said = text(&planned.stderr) + &text(&planned.stdout);
    assert!(said.contains(&advice) && !is_said_clean(&said), "{said}");
    for _ in ["the move", "when nothing is left to move"] {
        let moved = claw.run(&args);
        let said = text(&moved.stderr) + &text(&moved.stdout);
        for file in &files {
            let line = format!("{} holds 1 secret in plaintext", file.display());
            assert!(said.contains(&line), "{said}");
        }
        assert!(said.contains(&advice) && !is_said_clean(&said), "{said}");
        for canary in [&included.1, &token.1, &noise.1] {
            assert!(!said.contains(canary.as_str()));
        }
    }
    let report = claw.migrate(&[]);
    claw.check(&report);
    let plain = report["plaintext"].as_array().unwrap().iter();
    let mut plain = plain
        .map(|plain| plain["path"].as_str().unwrap())
        .collect::<Vec<_>>();
    plain.sort_unstable();
    let mut files = files.map(|file| file.to_str().unwrap().to_owned());
    files.sort_unstable();
    assert_eq!(plain, files, "{report:#}");
}

#[test]
fn a_folder_in_which_nothing_was_found_is_said_to_have_none() {
    let (claw, _) = keyed(&json!({}));
    let args = claw.migrate_args();
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args.retain(|arg| *arg != "--json");
    let moved = claw.run(&args);
    let said = text(&moved.stderr);
    assert!(
        said.contains("No other plaintext was found in its files."),
        "{said}"
    );
    assert!(!said.contains("secrets audit"), "{said}");
    let again = text(&claw.run(&args).stderr);
    assert!(
        again.contains("nothing left to move, and no plaintext was found"),
        "{again}"
    );
}

/// What the report says of an account that stays is enough to move it.
#[test]
fn an_account_moves_once_its_provider_is_described_as_the_report_says() {
    let claw = Claw::new();
    let account = json!({"type": "oauth", "provider": "acme", "access": "access-of-acme",
        "refresh": "refresh-of-acme", "expires": 4_102_444_800_000_u64});
    let store = json!({"version": 1, "profiles": {"acme:me": account}});
    claw.put("openclaw.json", "{}");
    claw.put(PROFILES, &store.to_string());
    let left = claw.migrate(&[])["left"].to_string();
    let advice = "describe acme in oauth.providers of reseal.json (tokenEndpoint, clientId)";
    assert!(left.contains(advice), "{left}");
    let provider = json!({"tokenEndpoint": "https://acme.example/token", "clientId": "public"});
    let config = json!({"oauth": {"providers": {"acme": provider}}});
    fs::write(claw.own().join("reseal.json"), config.to_string()).unwrap();
    let report = claw.migrate(&[]);
    assert_eq!(report["left"], json!([]), "{report:#}");
    let sealed: Value = serde_json::from_str(&claw.records()["oauth/acme/me"]).unwrap();
    assert_eq!(sealed["refreshToken"], "refresh-of-acme");
    assert_eq!(
        sealed["details"]["tokenEndpoint"],
        "https://acme.example/token"
    );
    let token = claw.run(&["token", "acme:me"]);
    assert_eq!(
        text(&token.stdout).trim_end(),
        "access-of-acme",
        "{}",
        text(&token.stderr)
    );
}
