//! A second folder, whose places have the names of the first one's.

use super::claw::{Claw, text};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const FAR: u64 = 4_102_444_800_000;

/// A folder with a key in its config, a key in a profile, and an account.
fn fill(folder: &Path, groq: &str, openai: &str, refresh: &str) {
    let agent = folder.join("agents/main/agent");
    fs::create_dir_all(&agent).unwrap();
    let config = json!({"models": {"providers":
        {"groq": {"apiKey": groq, "baseUrl": "https://x.example"}}}});
    fs::write(folder.join("openclaw.json"), config.to_string()).unwrap();
    let profiles = json!({"version": 1, "profiles": {
        "openai:default": {"type": "api_key", "provider": "openai", "key": openai},
        "openai-codex:me": {"type": "oauth", "provider": "openai-codex", "access": "access-token",
            "refresh": refresh, "expires": FAR}}});
    fs::write(agent.join("auth-profiles.json"), profiles.to_string()).unwrap();
}

const GROQ: &str = "config/models/providers/groq/apiKey";
const ACCOUNT: &str = "oauth/openai-codex/me";

fn first() -> Claw {
    let claw = Claw::new();
    fill(
        &claw.from(),
        "groq-of-the-first",
        "openai-of-both",
        "refresh-of-the-first",
    );
    claw.migrate(&[]);
    claw
}

fn migrate(claw: &Claw, folder: &Path, more: &[&str]) -> Value {
    let folder = folder.to_str().unwrap();
    let args = [&["secrets", "migrate", folder, "--yes", "--json"], more].concat();
    let ran = claw.run(&args);
    assert!(ran.status.success(), "{}", text(&ran.stderr));
    serde_json::from_str(&text(&ran.stdout)).unwrap()
}

#[test]
fn a_second_folder_shares_equal_values_and_gets_names_of_its_own_for_others() {
    let claw = first();
    let second = claw.beside(".fased");
    fill(
        &second,
        "groq-of-the-second",
        "openai-of-both",
        "refresh-of-the-second",
    );
    migrate(&claw, &second, &[]);
    let records = claw.records();
    let names: Vec<&str> = records.keys().map(String::as_str).collect();
    let (groq, account) = (format!("{GROQ}.2"), format!("{ACCOUNT}.2"));
    assert_eq!(names, [GROQ, &groq, ACCOUNT, &account, "openai/default"]);
    assert_eq!(records[&groq], "groq-of-the-second");
    assert_eq!(migrate(&claw, &second, &[])["changed"], false);
}

#[test]
fn a_prefix_puts_a_second_folder_below_a_name() {
    let claw = first();
    let second = claw.beside(".fased");
    fill(
        &second,
        "groq-of-the-second",
        "openai-of-the-second",
        "refresh-of-the-second",
    );
    migrate(&claw, &second, &["--prefix", "work"]);
    let records = claw.records();
    let new = [GROQ, ACCOUNT, "openai/default"].map(|name| format!("work/{name}"));
    let old = [GROQ, ACCOUNT, "openai/default"].map(str::to_owned);
    let mut names = [old, new].concat();
    names.sort();
    assert_eq!(records.keys().cloned().collect::<Vec<_>>(), names);
    assert_eq!(records["work/openai/default"], "openai-of-the-second");
    let config = fs::read_to_string(second.join("openclaw.json")).unwrap();
    assert!(config.contains(&format!("work/{GROQ}")), "{config}");
    assert_eq!(
        migrate(&claw, &second, &["--prefix", "work"])["changed"],
        false
    );
}

#[test]
fn a_plan_for_taken_names_says_how_to_draw_another() {
    let claw = first();
    let (second, plan) = (claw.beside(".fased"), claw.beside("plan.json"));
    fill(
        &second,
        "groq-of-the-second",
        "openai-of-both",
        "refresh-of-the-second",
    );
    let [second, plan] = [&second, &plan].map(|path| path.to_str().unwrap());
    let draw = ["secrets", "plan", "--from", second, "--out", plan];
    let drawn = claw.without_key(&draw);
    assert!(drawn.status.success(), "{}", text(&drawn.stderr));
    let refused = claw.run(&["secrets", "apply", "--from", plan]);
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(8), "{said}");
    // The equal one is no conflict.
    assert!(
        said.contains(GROQ) && !said.contains("openai/default"),
        "{said}"
    );
    assert!(
        said.contains("`reseal secrets plan --prefix NAME`"),
        "{said}"
    );
    let drawn = claw.without_key(&[&draw[..], &["--prefix", "work"]].concat());
    assert!(drawn.status.success(), "{}", text(&drawn.stderr));
    let applied = claw.run(&["secrets", "apply", "--from", plan]);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    assert_eq!(
        claw.records()[&format!("work/{GROQ}")],
        "groq-of-the-second"
    );
}

#[test]
fn a_prefix_that_makes_a_name_too_long_leaves_the_value_and_says_so() {
    let claw = Claw::new();
    fill(
        &claw.from(),
        "groq-of-the-first",
        "openai-of-both",
        "refresh-of-the-first",
    );
    let prefix = "p".repeat(256 - "openai/default".len() - 1);
    let report = migrate(&claw, &claw.from(), &["--prefix", &prefix]);
    let records = claw.records();
    let names: Vec<&str> = records.keys().map(String::as_str).collect();
    assert_eq!(names, [format!("{prefix}/openai/default")]);
    let left = report["left"].to_string();
    assert!(left.contains("models.providers.groq.apiKey"), "{left}");
    assert!(left.contains("main: openai-codex:me"), "{left}");
}
