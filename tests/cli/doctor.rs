//! `doctor`: each finding with the remedy that mends it, and no finding that is not there.

use super::world::{Ran, World};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The findings of a check that are not `ok`.
fn findings(ran: &Ran, check: &str) -> Vec<Value> {
    let json = ran.json();
    let all = json["findings"].as_array().unwrap();
    let bad = all
        .iter()
        .filter(|f| f["check"] == check && f["severity"] != "ok" && f["severity"] != "note");
    bad.cloned().collect()
}

#[track_caller]
fn finding(ran: &Ran, check: &str) -> Value {
    let found = findings(ran, check);
    assert_eq!(found.len(), 1, "{check}: {}", ran.text());
    found[0].clone()
}

#[track_caller]
fn contains(value: &Value, part: &str) {
    let text = value.as_str().unwrap();
    assert!(text.contains(part), "{part} is not in {text}");
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn remedies_mend_what_is_wrong() {
    for world in World::both() {
        fs::write(world.config(), "{\"vault\": ").unwrap();
        let ran = world.run(&["--json", "doctor"]).code(1);
        contains(&finding(&ran, "config")["message"], "reseal.json");
        assert!(findings(&ran, "vault").is_empty(), "{}", ran.text());
        assert!(findings(&ran, "daemon").is_empty(), "{}", ran.text());
        assert!(!ran.text().contains("restore a backup"), "{}", ran.text());
        fs::write(world.config(), "{}").unwrap();

        chmod(&world.vault(), 0o644);
        let ran = world.run(&["--json", "doctor"]).code(1);
        let remedy = format!("chmod 600 {}", world.vault().display());
        assert_eq!(finding(&ran, "vault")["remedy"], remedy);
        chmod(&world.vault(), 0o600);
        world.run(&["doctor"]).ok();
    }
}

#[test]
fn a_state_folder_that_is_not_there_is_the_first_finding() {
    let world = World::empty();
    let ran = world.run(&["--json", "doctor"]).code(1);
    let json = ran.json();
    assert_eq!(json["findings"][0]["check"], "state folder");
    contains(&json["findings"][0]["message"], "does not exist");
    assert!(!ran.text().contains("is valid"), "{}", ran.text());
    let absent = world.beside("absent.json");
    let world = World::new();
    let ran = world
        .run(&["--json", "--config", &absent, "doctor"])
        .code(1);
    contains(&finding(&ran, "config")["message"], "absent.json");
}

#[test]
fn an_older_vault_is_found_while_it_is_locked_too() {
    let world = World::new();
    world.store("a", "1");
    let old = fs::read(world.vault()).unwrap();
    world.store("a", "2");
    world.run(&["doctor"]).ok();
    let new = fs::read(world.vault()).unwrap();
    fs::write(world.vault(), &old).unwrap();
    let ran = world.run(&["--json", "doctor"]).code(1);
    contains(&finding(&ran, "rollback")["message"], "has seen");
    // The same file with another last commit: its frame has another MAC.
    let mut forked = new.clone();
    *forked.last_mut().unwrap() ^= 1;
    fs::write(world.vault(), &forked).unwrap();
    let ran = world.run(&["--json", "doctor"]).code(1);
    finding(&ran, "rollback");
    fs::write(world.vault(), &new).unwrap();
    world.run(&["doctor"]).ok();
    world.with_passphrase(&["vault", "compact"]).ok();
    world.run(&["doctor"]).ok();
}

#[test]
fn what_the_daemon_knows_is_told() {
    let world = World::unlocked();
    let ran = world.run(&["--json", "doctor"]).ok();
    assert!(findings(&ran, "refs").is_empty(), "{}", ran.text());
    let target = ["secrets", "set", "openai:default", "--ref", "vault:gone"];
    world.run(&target).ok();
    world.run(&["secrets", "reload"]).code(3);
    let ran = world.run(&["--json", "doctor"]).code(1);
    let dead = finding(&ran, "refs");
    contains(&dead["message"], "openai:default");
    assert_eq!(dead["remedy"], "reseal secrets set gone");
    let snapshot = finding(&ran, "snapshot");
    let message = snapshot["message"].as_str().unwrap();
    assert!(
        message.starts_with("degraded") || message.starts_with("failed"),
        "{message}"
    );
    world.store("gone", "sk-1");
    world.run(&["secrets", "reload"]).ok();
    world.run(&["doctor"]).ok();
}

#[test]
fn plaintext_is_found_by_its_path_and_never_shown() {
    let world = World::new();
    let text = r#"{"models":{"providers":{"x":{"apiKey":"sk-plain-1"}}}}"#;
    fs::write(world.config(), text).unwrap();
    let text = r#"{"version":1,"profiles":{"openai:old":{"type":"api_key",
        "provider":"openai","key":"sk-plain-2"}}}"#;
    fs::write(world.profiles(), text).unwrap();
    let ran = world.run(&["--json", "doctor"]).ok();
    let found = findings(&ran, "plaintext");
    assert_eq!(found.len(), 2, "{}", ran.text());
    contains(&found[0]["message"], "models.providers.x.apiKey");
    contains(&found[1]["message"], "openai:old");
    assert!(!ran.text().contains("sk-plain"), "{}", ran.text());
}
