//! What has to stay where it is, and what the report says of it.

use super::claw::Claw;
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
