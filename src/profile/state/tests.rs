use super::*;
use crate::profile::cooldown::{Era, FailureReason};
use crate::reference::Defaults;
use serde_json::json;

const NOW: UnixMs = UnixMs(1_800_000_000_000);

fn id(text: &str) -> ProfileId {
    text.parse().unwrap()
}

fn store(usage: &Value) -> Store {
    let text = json!({"profiles": {}, "usageStats": usage}).to_string();
    Store::parse(&text, "f", &Defaults::default()).unwrap()
}

fn entry(state: &State, name: &str) -> Value {
    let root: Value = serde_json::from_str(state.text()).unwrap();
    root["usageStats"][name].clone()
}

fn fail(state: &mut State, provider: &str, name: &str, reason: FailureReason) {
    let report = FailureReport {
        reason,
        model: Some("m"),
        retry_after: None,
        era: Era::B,
    };
    let rules = Cooldowns::default();
    state
        .record_failure(provider, &id(name), &report, &rules, NOW)
        .unwrap();
}

#[test]
fn a_failure_is_written_in_the_family_s_words() {
    let mut state = State::empty("s", &store(&json!({}))).unwrap();
    fail(&mut state, "P", "p:a", FailureReason::RateLimit);
    let expected = json!({
        "errorCount": 1, "failureCounts": {"rate_limit": 1}, "lastFailureAt": NOW.0,
        "cooldownUntil": NOW.0 + 30_000, "cooldownReason": "rate_limit", "cooldownModel": "m",
    });
    assert_eq!(entry(&state, "p:a"), expected);
    fail(&mut state, "P", "p:a", FailureReason::Billing);
    let entry_now = entry(&state, "p:a");
    assert_eq!(entry_now["disabledUntil"], NOW.0 + 5 * 3_600_000);
    assert_eq!(entry_now["disabledReason"], "billing");
    assert_eq!(entry_now["errorCount"], 2);
    fail(
        &mut state,
        "OpenRouter",
        "openrouter:a",
        FailureReason::Auth,
    );
    assert_eq!(entry(&state, "openrouter:a"), Value::Null);

    state.record_success("P", &id("p:a"), NOW).unwrap();
    assert_eq!(entry(&state, "p:a"), json!({"lastUsed": NOW.0}));
    assert_eq!(state.last_good("p"), Some(&id("p:a")));
}

#[test]
fn what_era_a_knew_of_a_profile_is_kept_when_it_moves_over() {
    let usage = json!({"lastUsed": 7, "errorCount": 2, "blockedUntil": NOW.0 + 1,
        "blockedReason": "subscription_limit", "blockedSource": "wham", "blockedModel": "m"});
    let store = store(&json!({"p:a": usage}));
    let mut state = State::empty("s", &store).unwrap();
    let mut expected = usage.clone();
    expected["lastUsed"] = NOW.0.into();
    state.record_use(&id("p:a"), NOW).unwrap();
    assert_eq!(entry(&state, "p:a"), expected);
    // Its counters go on.
    fail(&mut state, "p", "p:a", FailureReason::Auth);
    assert_eq!(entry(&state, "p:a")["errorCount"], 3);
    assert_eq!(entry(&state, "p:a")["blockedSource"], "wham");
}

#[test]
fn an_edit_leaves_the_rest_of_the_file_as_it_is() {
    let text = r#"{
  // kept
  "usageStats": {"p:a": {"later": [1], "errorCount": 0, "lastUsed": 5}, "p:b": {"lastUsed": 1}},
  "future": true
}"#;
    let mut state = State::parse(text, "s", &store(&json!({}))).unwrap();
    state.record_use(&id("p:a"), UnixMs(5)).unwrap();
    assert_eq!(state.text(), text);
    state.record_use(&id("p:a"), UnixMs(6)).unwrap();
    let expected = text.replace("\"lastUsed\": 5", "\"lastUsed\": 6");
    assert_eq!(state.text(), expected);
    let odd = r#"{"usageStats": {"p:a": {"errorCount": 2.0, "lastUsed": 5}}}"#;
    let mut state = State::parse(odd, "s", &store(&json!({}))).unwrap();
    state.record_use(&id("p:a"), UnixMs(6)).unwrap();
    assert_eq!(state.text(), odd.replace(": 5", ": 6"));
    let shapes = r#"{"usageStats": {"p:a": 5}}"#;
    let mut state = State::parse(shapes, "s", &store(&json!({}))).unwrap();
    assert!(state.record_use(&id("p:a"), NOW).is_err());
    assert_eq!(state.text(), shapes, "a failed edit changes nothing");
}

#[test]
fn a_new_credential_is_not_held_to_the_failures_of_the_old_one() {
    let mut state = State::empty("s", &store(&json!({}))).unwrap();
    state.record_use(&id("p:a"), NOW).unwrap();
    fail(&mut state, "p", "p:a", FailureReason::AuthPermanent);
    fail(&mut state, "p", "p:b", FailureReason::AuthPermanent);
    state.record_new_credential(&id("p:a")).unwrap();
    assert_eq!(entry(&state, "p:a"), json!({"lastUsed": NOW.0}));
    assert_ne!(entry(&state, "p:b")["disabledUntil"], Value::Null);
}

#[test]
fn stores_and_states_know_what_errors_call_their_files() {
    let store = Store::parse(r#"{"profiles": {}}"#, "f.json", &Defaults::default()).unwrap();
    assert_eq!(store.name(), "f.json");
    assert_eq!(State::empty("s.json", &store).unwrap().name(), "s.json");
}
