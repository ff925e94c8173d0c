//! `credentials/oauth.json` in this program's own folder, imported when accounts are first used.

use super::claw::{Claw, text};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

const FAR: u64 = 4_102_444_800_000;

fn account(access: &str, refresh: &str) -> Value {
    json!({"access": access, "refresh": refresh, "expires": FAR, "projectId": "p-1"})
}

fn put(claw: &Claw, accounts: &Value) -> PathBuf {
    let path = claw.own().join("credentials/oauth.json");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, accounts.to_string()).unwrap();
    path
}

fn profiles(claw: &Claw) -> Value {
    let path = claw.own().join("agents/main/agent/auth-profiles.json");
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    file["profiles"].clone()
}

pub const ID: &str = "openai-codex:default";
const RECORD: &str = "oauth/openai-codex/default";

/// Two accounts, and maybe one that can't be moved; gives the secrets of the two, that of [`ID`]
/// that is asked for first.
pub fn put_two(claw: &Claw, with_one_that_stays: bool) -> [&'static str; 4] {
    let values = ["access-one", "refresh-one", "access-two", "refresh-two"];
    let [access, refresh, access_two, refresh_two] = values;
    let mut accounts = json!({"openai-codex": account(access, refresh),
        "openai": account(access_two, refresh_two)});
    if with_one_that_stays {
        accounts["nobody"] = account("access-three", "refresh-three");
    }
    put(claw, &accounts);
    values
}

#[test]
fn accounts_of_an_older_program_are_imported_at_their_first_use() {
    for first in ["token", "run"] {
        let claw = Claw::new();
        let path = put(
            &claw,
            &json!({"openai-codex": account("access-one", "refresh-one")}),
        );
        // Commands that use no account leave it alone.
        let got = claw.run(&["secrets", "get", "absent"]);
        assert_eq!(got.status.code(), Some(3), "{}", text(&got.stderr));
        let status = claw.without_key(&["models", "status"]);
        let said = text(&status.stderr);
        assert!(
            said.contains("holds accounts in plaintext, which are not used"),
            "{said}"
        );
        assert!(path.exists());

        let key = claw.beside("key");
        let open = ["--key-file", key.to_str().unwrap()];
        let rest = match first {
            "token" => &[ID][..],
            _ => &["--profile", ID, "--", "true"],
        };
        let used = claw.without_key(&[&[first], &open[..], rest].concat());
        let said = text(&used.stderr);
        assert!(said.contains(&format!("Moved the account {ID}")), "{said}");
        if first == "token" {
            assert_eq!(text(&used.stdout).trim_end(), "access-one");
        }
        assert!(!path.exists());
        let entry = &profiles(&claw)[ID];
        assert_eq!(entry["oauthRef"]["id"], RECORD);
        assert_eq!(
            (&entry["projectId"], entry.get("refresh")),
            (&json!("p-1"), None)
        );
        let sealed: Value = serde_json::from_str(&claw.records()[RECORD]).unwrap();
        assert_eq!(sealed["refreshToken"], "refresh-one");
        let again = claw.run(&["token", ID]);
        assert!(again.status.success() && text(&again.stderr).is_empty());
    }
}

#[test]
fn what_can_not_be_imported_stays_and_is_told() {
    let claw = Claw::new();
    let both = {
        let mut both = account("access-two", "refresh-two");
        both["key"] = "a-key-of-its-own".into();
        both
    };
    let unknown = account("access-three", "refresh-three");
    let path = put(
        &claw,
        &json!({"openai-codex": account("access-one", "refresh-one"), "nobody": unknown,
            "openai": both, "word": 1}),
    );
    let used = claw.run(&["token", ID]);
    assert_eq!(text(&used.stdout).trim_end(), "access-one");
    let said = text(&used.stderr);
    for words in [
        "nobody stays in plaintext",
        "openai stays in plaintext",
        "word stays",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let left: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(left, json!({"nobody": unknown, "openai": both, "word": 1}));
    assert_eq!(claw.records().len(), 1);

    // Another account under an id that is taken.
    put(
        &claw,
        &json!({"openai-codex": account("access-four", "refresh-four")}),
    );
    let used = claw.run(&["token", ID]);
    assert_eq!(text(&used.stdout).trim_end(), "access-one");
    assert!(text(&used.stderr).contains("is there and holds another credential"));
    assert!(fs::read_to_string(&path).unwrap().contains("refresh-four"));

    // The same account, left by a run that was killed before the file went.
    put(
        &claw,
        &json!({"openai-codex": account("access-one", "refresh-one")}),
    );
    assert!(claw.run(&["token", ID]).status.success());
    assert!(!path.exists());
    assert_eq!(claw.records().len(), 1);
}

#[test]
fn a_broken_file_is_named_and_stops_no_other_account() {
    let claw = Claw::new();
    put(
        &claw,
        &json!({"openai-codex": account("access-one", "refresh-one")}),
    );
    assert!(claw.run(&["token", ID]).status.success());
    let path = claw.own().join("credentials/oauth.json");
    fs::write(&path, "{\n\"openai\": ").unwrap();
    let used = claw.run(&["token", ID]);
    assert_eq!(text(&used.stdout).trim_end(), "access-one");
    let said = text(&used.stderr);
    assert!(
        said.contains("oauth.json") && said.contains("line 2"),
        "{said}"
    );
    assert!(path.exists());
}
