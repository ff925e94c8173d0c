//! What a ref can't take the place of: it stays, and is listed, however little of it would be lost.

use super::claw::{Claw, text};
use serde_json::{Value, json};
use std::fs;

const FAR: u64 = 4_102_444_800_000;
const MAIN: &str = "agents/main/agent";
const PROFILES: &str = "agents/main/agent/auth-profiles.json";
const LEGACY: &str = "agents/main/agent/auth.json";
const OAUTH: &str = "credentials/oauth.json";

fn claw() -> Claw {
    let claw = Claw::new();
    claw.put("openclaw.json", "{}");
    claw
}

fn profiles(claw: &Claw, profiles: &Value) {
    let store = json!({"version": 1, "profiles": profiles});
    claw.put(PROFILES, &store.to_string());
}

fn json_of(claw: &Claw, name: &str) -> Value {
    let text = fs::read_to_string(claw.from().join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Why a place stays.
#[track_caller]
fn why<'a>(report: &'a Value, place: &str) -> &'a str {
    let left = report["left"].as_array().unwrap();
    let mut left = left.iter().filter(|left| left["place"] == place);
    let why = left.next().unwrap_or_else(|| panic!("{place}: {report:#}"));
    assert!(left.next().is_none(), "{place} is listed twice: {report:#}");
    why["why"].as_str().unwrap()
}

#[test]
fn a_profile_with_a_second_credential_stays_whole() {
    let mut claw = claw();
    let ids = [
        "openai-codex:both",
        "openai-codex:token",
        "groq:two",
        "x:more",
        "x:object",
    ];
    let places = ids.map(|id| format!("main: {id}"));
    let mut stays = |place: usize| claw.stays(PROFILES, &places[place]);
    let values: Vec<String> = (0..10).map(|n| stays(n / 2)).collect();
    let third = stays(0);
    let entries = json!({
        ids[0]: {"type": "oauth", "provider": "openai-codex", "access": values[0],
            "refresh": values[1], "expires": FAR, "key": third},
        ids[1]: {"type": "oauth", "provider": "openai-codex", "access": values[2],
            "refresh": "refresh-of-the-second-account", "expires": FAR, "token": values[3]},
        ids[2]: {"type": "api_key", "provider": "groq", "key": values[4], "apiKey": values[5]},
        ids[3]: {"type": "api_key", "provider": "x", "key": values[6], "refresh": values[7]},
        ids[4]: {"type": "token", "provider": "x", "token": values[8],
            "key": {"inside": values[9]}},
    });
    profiles(&claw, &entries);
    let report = claw.migrate(&[]);
    for (place, field) in places
        .iter()
        .zip(["key", "token", "apiKey", "refresh", "key"])
    {
        let why = why(&report, place);
        assert!(
            why.starts_with(&format!("its `{field}` would be lost")),
            "{why}"
        );
    }
    assert_eq!(json_of(&claw, PROFILES)["profiles"], entries);
    assert!(claw.records().is_empty());
    claw.check(&report);
    assert_eq!(claw.migrate(&[])["changed"], false);
}

#[test]
fn the_same_value_in_two_fields_moves() {
    let mut claw = claw();
    let key = claw.moves("openai/default");
    let entry = json!({"type": "api_key", "provider": "openai", "key": key, "apiKey": key,
        "token": "", "refresh": null});
    profiles(&claw, &json!({"openai:default": entry}));
    let report = claw.migrate(&[]);
    claw.check(&report);
    assert_eq!(report["left"], json!([]));
}

#[test]
fn an_older_entry_with_a_second_credential_stays_whole() {
    let mut claw = claw();
    let [key, refresh] = [0, 1].map(|_| claw.stays(LEGACY, "auth.json: groq"));
    let mistral = claw.moves("mistral/default");
    let entry = json!({"type": "api_key", "key": key, "refresh": refresh});
    let auth = json!({"groq": entry, "mistral": {"type": "api_key", "key": mistral}});
    claw.put(LEGACY, &auth.to_string());
    let report = claw.migrate(&[]);
    assert_eq!(json_of(&claw, LEGACY), json!({"groq": entry}));
    let place = format!("{}: groq", claw.from().join(LEGACY).display());
    assert!(why(&report, &place).starts_with("its `refresh` would be lost"));
    claw.check(&report);
}

/// The key was compared with that of its profile; the rest was not.
#[test]
fn an_older_entry_stays_if_its_profile_has_less() {
    for (more, member) in [
        (
            json!({"refresh": "canary-of-another-credential"}),
            "refresh",
        ),
        (
            json!({"baseUrl": "https://user:canary-of-a-url@x.example"}),
            "baseUrl",
        ),
        (
            json!({"headers": {"x-api-key": "canary-of-a-header"}}),
            "headers",
        ),
    ] {
        let claw = claw();
        let key = "key-that-is-in-both-places";
        let entry = json!({"type": "api_key", "provider": "groq", "key": key});
        profiles(&claw, &json!({"groq:default": entry}));
        let mut older = json!({"type": "api_key", "key": key});
        let members = more.as_object().unwrap().clone();
        older.as_object_mut().unwrap().extend(members);
        claw.put(LEGACY, &json!({"groq": older}).to_string());
        let report = claw.migrate(&[]);
        assert_eq!(claw.records()["groq/default"], key);
        assert_eq!(json_of(&claw, LEGACY)["groq"], older, "{member}");
        let place = format!("{}: groq", claw.from().join(LEGACY).display());
        let why = why(&report, &place);
        assert!(why.contains(&format!("but not its `{member}`")), "{why}");
        assert_eq!(claw.migrate(&[])["changed"], false);
    }
}

/// A run that was killed between the profiles and the older file has moved them already.
#[test]
fn an_older_entry_goes_if_its_profile_has_all_of_it() {
    let mut claw = claw();
    let key = claw.moves("groq/default");
    let entry = json!({"type": "api_key", "provider": "groq", "key": key,
        "baseUrl": "https://x.example"});
    profiles(&claw, &json!({"groq:default": entry}));
    let older = json!({"key": key, "baseUrl": "https://x.example", "email": "me@x.example"});
    claw.put(LEGACY, &json!({"groq": older}).to_string());
    let report = claw.migrate(&[]);
    assert!(!claw.from().join(LEGACY).exists());
    claw.check(&report);
}

#[test]
fn an_older_file_behind_a_link_holds_nothing_afterwards() {
    let mut claw = claw();
    let key = claw.moves("groq/default");
    let real = claw.beside("dotfiles.json");
    let auth = json!({"groq": {"type": "api_key", "key": key}}).to_string();
    claw.put("dotfiles.json", &auth);
    fs::rename(claw.from().join("dotfiles.json"), &real).unwrap();
    fs::create_dir_all(claw.from().join(MAIN)).unwrap();
    let link = claw.from().join(LEGACY);
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let report = claw.migrate(&[]);
    claw.check(&report);
    assert_eq!(fs::read_to_string(&real).unwrap(), "{}\n");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(claw.migrate(&[])["changed"], false);
}

/// The access token that an agent got last tells nothing of whose account it is.
#[test]
fn an_account_is_known_by_its_refresh_token() {
    let mut claw = claw();
    let record = "oauth/openai-codex/default";
    let refresh = claw.moves(&format!("{record} refreshToken"));
    let first = claw.moves(&format!("{record} accessToken"));
    let account = |access: &str| {
        json!({"type": "oauth", "provider": "openai-codex", "access": access,
            "refresh": refresh, "expires": FAR})
    };
    profiles(&claw, &json!({"openai-codex:default": account(&first)}));
    let of_coder = json!({"version": 1, "profiles": {
        "openai-codex:work": account("access-token-of-another-agent"),
        "openai-codex:default": account("access-token-of-another-time")}});
    let coder = "agents/coder/agent/auth-profiles.json";
    claw.put(coder, &of_coder.to_string());
    let older = json!({"openai-codex": account("access-token-of-an-older-file")});
    claw.put(OAUTH, &older.to_string());
    let report = claw.migrate(&[]);
    claw.check(&report);
    assert_eq!(claw.records().len(), 1, "{:?}", claw.records().keys());
    for id in ["openai-codex:work", "openai-codex:default"] {
        let reference = &json_of(&claw, coder)["profiles"][id]["tokenRef"];
        assert_eq!(reference["id"], record, "{id}");
    }
    assert!(!claw.from().join(OAUTH).exists());
    assert_eq!(report["left"], json!([]));
    let token = claw.run(&["token", "openai-codex:default"]);
    assert_eq!(text(&token.stdout).trim_end(), first);
}
