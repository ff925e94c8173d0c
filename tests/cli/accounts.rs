//! `agents` and `models auth`.

use super::world::{World, mode};

#[test]
fn agents_are_added_listed_and_removed() {
    let world = World::new();
    world.run(&["agents", "add", "second"]).ok();
    world.run(&["agents", "add", "second"]).code(8);
    world.run(&["agents", "add", "No Such"]).code(2);
    assert_eq!(mode(&world.state().join("agents/second/agent")), 0o700);
    let json = world.run(&["--json", "agents", "list"]).ok().json();
    let ids: Vec<_> = json["agents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["id"].clone())
        .collect();
    assert_eq!(ids, ["main", "second"]);

    world.run(&["agents", "remove", "second"]).code(4);
    let foreign = world.state().join("agents/second/sessions");
    std::fs::create_dir(&foreign).unwrap();
    let ran = world.run(&["agents", "remove", "second", "--yes"]).ok();
    assert!(ran.stderr.contains("stays"), "{}", ran.stderr);
    assert!(
        foreign.exists(),
        "another program's files are not ours to remove"
    );
    world.run(&["agents", "remove", "second", "--yes"]).code(3);
    world.run(&["agents", "remove", "main", "--yes"]).code(2);
}

#[test]
fn pasted_credentials_become_records_with_profiles() {
    for world in World::both() {
        let key = ["models", "auth", "paste-api-key", "--provider", "openai"];
        let ran = world.piped_with_passphrase(&key, b"  sk-pasted \n").ok();
        assert_eq!(ran.text(), "vault:openai/manual\n");
        assert_eq!(world.value("openai/manual"), "sk-pasted");
        let token = [
            "models",
            "auth",
            "paste-token",
            "--provider",
            "groq",
            "--expires-in",
            "12h",
        ];
        world.piped_with_passphrase(&token, b"gsk").ok();
        let json = world.run(&["--json", "models", "auth", "list"]).ok().json();
        assert_eq!(json["agentId"], "main");
        let profiles = json["profiles"].as_array().unwrap();
        assert_eq!(profiles[0]["id"], "openai:manual");
        assert_eq!(profiles[0]["type"], "api_key");
        assert_eq!(profiles[1]["type"], "token");
        assert!(profiles[1]["expiresAt"].as_str().unwrap().ends_with('Z'));
        let text = world.run(&["models", "auth", "list"]).ok();
        assert!(!text.text().contains("sk-pasted") && !text.text().contains("gsk\n"));
        assert_eq!(
            world.with_passphrase(&["token", "groq:manual"]).ok().text(),
            "gsk\n"
        );
    }
}

#[test]
fn setup_tokens_are_checked_for_their_form() {
    let world = World::new();
    let good = format!("sk-ant-oat01-{}", "x".repeat(90));
    let args = ["models", "auth", "setup-token", "--provider", "anthropic"];
    world.piped_with_passphrase(&args, good.as_bytes()).ok();
    assert_eq!(world.value("anthropic/manual"), good);
    let named = [&args[..], &["--name", "Work Laptop"]].concat();
    let ran = world.piped_with_passphrase(&named, good.as_bytes()).ok();
    assert_eq!(ran.text(), "vault:anthropic/work-laptop\n");
    for bad in ["sk-ant-api03-xxxxxxxxxxxx", "sk-ant-oat01-short", ""] {
        world.piped_with_passphrase(&args, bad.as_bytes()).code(2);
    }
    let other = ["models", "auth", "setup-token", "--provider", "openai"];
    world.piped_with_passphrase(&other, good.as_bytes()).code(2);
    // What Claude Code reads, and never the variable of API keys.
    let script = "echo ${#CLAUDE_CODE_OAUTH_TOKEN} ${#ANTHROPIC_API_KEY}";
    let ran = world.with_passphrase(&[
        "run",
        "--profile",
        "anthropic:manual",
        "--",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(ran.ok().text(), format!("{} 0\n", good.len()));
}

#[test]
fn keys_that_can_not_be_keys_are_refused() {
    let world = World::new();
    let args = ["models", "auth", "paste-api-key", "--provider", "openai"];
    for bad in [
        &b"two words"[..],
        b"line\nbreak",
        "schl\u{fc}ssel".as_bytes(),
        b"  ",
    ] {
        world.piped_with_passphrase(&args, bad).code(2);
    }
    let other = [&args[..], &["--profile-id", "groq:x"]].concat();
    world.piped_with_passphrase(&other, b"sk").code(2);
    let json = world.run(&["--json", "models", "auth", "list"]).ok().json();
    assert_eq!(json["profiles"], serde_json::json!([]));
}
