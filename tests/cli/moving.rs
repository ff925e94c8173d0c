//! `secrets plan`, `apply` and `configure`: plaintext moves into the vault.

use super::world::{World, mode};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const GATEWAY: &str = "canary-gateway-6d0f3a91c7e2";
const GROQ: &str = "canary-groq-93b0f5a8d6e2714c";
const OPENAI: &str = "canary-openai-41c7e0d9b35a6f28";
const ALL: [&str; 3] = [GATEWAY, GROQ, OPENAI];

/// Another runtime's folder with a value in every kind of file that holds copies.
fn claw(world: &World) -> PathBuf {
    let root = PathBuf::from(world.beside("claw"));
    let agent = root.join("agents/main/agent");
    fs::create_dir_all(&agent).unwrap();
    let put = |path: PathBuf, text: &str| fs::write(path, text).unwrap();
    let config = format!(
        r#"{{
  // The gateway of the office.
  "gateway": {{"auth": {{"mode": "token", "token": "{GATEWAY}"}}}},
  "models": {{"providers": {{
    "groq": {{"baseUrl": "https://x.example", "apiKey": "{GROQ}"}}, // fast
    "other": {{"baseUrl": "https://y.example", "apiKey": "${{KEPT_KEY}}"}},
  }}}},
}}
"#
    );
    put(root.join("openclaw.json"), &config);
    let bak = json!({"models": {"providers": {"groq": {"apiKey": GROQ, "n": 1}}}, "note": GROQ});
    put(root.join("openclaw.json.bak"), &bak.to_string());
    put(
        root.join("openclaw.json.last-good"),
        &format!("not JSON {GATEWAY}"),
    );
    let env = format!(
        "# keys\nexport GROQ_API_KEY=\"{GROQ}\"\nKEPT_KEY={GROQ}\nPLAIN=1\n\
         MY_TOKEN='{OPENAI}' # c\n"
    );
    put(root.join(".env"), &env);
    let profiles = json!({"version": 1, "profiles": {
        "openai:me@x.y": {"type": "api_key", "provider": "openai", "key": OPENAI, "extra": 1},
        "groq:default": {"type": "api_key", "provider": "groq", "key": GROQ}}});
    put(agent.join("auth-profiles.json"), &profiles.to_string());
    put(
        agent.join("auth-profiles.json.legacy-flat.1.bak"),
        &profiles.to_string(),
    );
    let legacy = json!({"openai": {"type": "api_key", "key": OPENAI},
        "kept": {"type": "api_key", "key": "another"}});
    put(agent.join("auth.json"), &legacy.to_string());
    let models = json!({"providers": {"groq": {"apiKey": GROQ}}});
    put(agent.join("models.json"), &models.to_string());
    root
}

fn plan_of(world: &World, root: &Path) -> String {
    let plan = world.beside("plan.json");
    let root = root.to_str().unwrap();
    let ran = world
        .run(&["secrets", "plan", "--from", root, "--out", &plan])
        .ok();
    assert_no_value(&ran.stderr);
    assert_eq!(mode(Path::new(&plan)), 0o600);
    assert_no_value(&fs::read_to_string(&plan).unwrap());
    plan
}

#[track_caller]
fn assert_no_value(text: &str) {
    for value in ALL {
        assert!(!text.contains(value), "{text}");
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

fn json_of(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&read(path)).unwrap()
}

/// The files of a folder with what they hold.
fn tree(root: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.clone(), read(path)));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn another_runtimes_folder_moves_into_the_vault_with_every_copy() {
    for world in World::both() {
        let root = claw(&world);
        let plan = plan_of(&world, &root);
        let before = tree(&root);
        let dry = ["--json", "secrets", "apply", "--from", &plan, "--dry-run"];
        let ran = world.with_passphrase(&dry).ok();
        assert_no_value(ran.text());
        assert_no_value(&ran.stderr);
        assert_eq!(ran.json()["mode"], "dry-run");
        assert_eq!(tree(&root), before, "a dry run writes nothing");

        let ran = world
            .with_passphrase(&["--json", "secrets", "apply", "--from", &plan])
            .ok();
        assert_no_value(ran.text());
        assert_no_value(&ran.stderr);
        let document = ran.json();
        assert_eq!(document["mode"], "write");
        assert_eq!(document["changed"], true);
        assert_eq!(document["refsChecked"], 4);
        assert_eq!(
            document["checks"],
            json!({"resolvability": true, "resolvabilityComplete": true})
        );
        assert_eq!(document["records"]["stored"].as_array().unwrap().len(), 4);
        assert_eq!(document["changedFiles"].as_array().unwrap().len(), 7);
        let warnings = document["warnings"].to_string();
        assert!(
            warnings.contains("last-good still holds") && warnings.contains("KEPT_KEY"),
            "{warnings}"
        );
        check_claw(&root);
        assert_eq!(world.value("config/gateway/auth/token"), GATEWAY);
        assert_eq!(world.value("openai/me#40x.y"), OPENAI);

        // Once more: nothing is left to do.
        let after = tree(&root);
        let ran = world
            .with_passphrase(&["secrets", "apply", "--from", &plan])
            .ok();
        assert!(ran.stderr.contains("nothing left to do"), "{}", ran.stderr);
        assert_eq!(tree(&root), after);
    }
}

fn check_claw(root: &Path) {
    let config = read(root.join("openclaw.json"));
    assert_no_value(&config);
    assert!(config.contains("// The gateway of the office.") && config.contains("// fast"));
    assert!(config.contains("${KEPT_KEY}") && config.contains("\"exec-provider\""));
    let bak = json_of(root.join("openclaw.json.bak"));
    let groq = &bak["models"]["providers"]["groq"];
    assert_eq!(groq["apiKey"]["id"], "config/models/providers/groq/apiKey");
    assert_eq!(groq["n"], 1);
    assert_eq!(
        bak["note"],
        "secretref:exec@reseal:config/models/providers/groq/apiKey"
    );
    assert_eq!(
        read(root.join(".env")),
        format!("# keys\nKEPT_KEY={GROQ}\nPLAIN=1\n")
    );
    let agent = root.join("agents/main/agent");
    for name in ["auth-profiles.json", "auth-profiles.json.legacy-flat.1.bak"] {
        assert_no_value(&read(agent.join(name)));
        let profile = &json_of(agent.join(name))["profiles"]["openai:me@x.y"];
        assert_eq!(profile["keyRef"]["id"], "openai/me#40x.y", "{name}");
        assert_eq!(profile["extra"], 1);
    }
    let legacy = json_of(agent.join("auth.json"));
    assert_eq!(
        legacy,
        json!({"kept": {"type": "api_key", "key": "another"}})
    );
    let models = json_of(agent.join("models.json"));
    assert_eq!(models["providers"]["groq"]["apiKey"], "secretref-managed");
}

#[test]
fn our_own_folder_gets_vault_refs() {
    let world = World::new();
    let text = r#"{"models": {"providers": {"groq": {"apiKey": "canary-groq-93b0f5a8d6e2714c"}}}}"#;
    fs::write(world.config(), text).unwrap();
    let plan = world.run(&["secrets", "plan"]).ok();
    let path = world.private_file("plan.json", &plan.stdout);
    let ran = world
        .with_passphrase(&["secrets", "apply", "--from", &path, "--dry-run"])
        .ok();
    assert!(
        ran.text()
            .contains("-  (a plaintext value, 17 to 64 bytes)"),
        "{}",
        ran.text()
    );
    assert!(
        ran.text()
            .contains("+  vault:config/models/providers/groq/apiKey")
    );
    assert_eq!(read(world.config()), text);
    world
        .with_passphrase(&["secrets", "apply", "--from", &path])
        .ok();
    assert_no_value(&read(world.config()));
    let ran = world.with_passphrase(&["secrets", "resolve"]).ok();
    assert!(
        ran.text()
            .contains("vault:config/models/providers/groq/apiKey")
    );
}

/// A plan with one target in our own config.
fn one_target(world: &World, reference: Value, more: Value) -> String {
    let mut plan = json!({"version": 1, "protocolVersion": 1, "targets": [
        {"type": "models.providers.apiKey", "path": "models.providers.groq.apiKey",
         "ref": reference}]});
    plan.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    world.private_file("one.json", plan.to_string().as_bytes())
}

#[test]
fn a_ref_elsewhere_has_to_give_what_stands_there() {
    let world = World::new();
    let text = format!(r#"{{"models": {{"providers": {{"groq": {{"apiKey": "{GROQ}"}}}}}}}}"#);
    fs::write(world.config(), &text).unwrap();
    let plan = one_target(
        &world,
        json!({"source": "env", "provider": "default", "id": "K"}),
        json!({}),
    );
    let passphrase = world.passphrase();
    let run = |value: Option<&str>| {
        let args = [
            "secrets",
            "apply",
            "--from",
            &plan,
            "--passphrase-file",
            &passphrase,
        ];
        let mut command = world.command(&args);
        if let Some(value) = value {
            command.env("K", value);
        }
        super::world::finish(command, None)
    };
    let ran = run(None).code(6);
    assert!(
        ran.stderr.contains("models.providers.groq.apiKey"),
        "{}",
        ran.stderr
    );
    let ran = run(Some("another")).code(6);
    assert!(ran.stderr.contains("would be lost"), "{}", ran.stderr);
    assert_eq!(read(world.config()), text);
    run(Some(GROQ)).ok();
    assert_no_value(&read(world.config()));
}

#[test]
fn commands_of_others_run_only_if_allowed() {
    let world = World::new();
    fs::write(world.config(), "{}").unwrap();
    let script = world.beside("provider");
    let answer = r#"{"protocolVersion":1,"values":{"a":"v"}}"#;
    fs::write(
        &script,
        format!(
            "#!/bin/sh\ntouch {}\necho '{answer}'\n",
            world.beside("ran")
        ),
    )
    .unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let plan = one_target(
        &world,
        json!({"source": "exec", "provider": "mine", "id": "a"}),
        json!({"providerUpserts": {"mine": {"source": "exec", "command": script}}}),
    );
    let apply = ["secrets", "apply", "--from", &plan];
    let ran = world.with_passphrase(&apply).code(2);
    assert!(
        ran.stderr.contains("Re-run with --allow-exec."),
        "{}",
        ran.stderr
    );
    let dry = ["--json", "secrets", "apply", "--from", &plan, "--dry-run"];
    let ran = world.with_passphrase(&dry).ok();
    assert_eq!(ran.json()["skippedExecRefs"], 1);
    assert_eq!(ran.json()["checks"]["resolvabilityComplete"], false);
    assert!(!Path::new(&world.beside("ran")).exists());
    world
        .with_passphrase(&["secrets", "apply", "--from", &plan, "--allow-exec"])
        .ok();
    assert!(Path::new(&world.beside("ran")).exists());
}

#[test]
fn bad_input_is_named_by_its_place_and_nothing_is_written() {
    let world = World::new();
    let root = claw(&world);
    let plan = plan_of(&world, &root);
    let apply = ["secrets", "apply", "--from", &plan];
    let before = tree(&root);
    // An env file of 2 GiB takes no memory and no time.
    let env = fs::OpenOptions::new()
        .write(true)
        .open(root.join(".env"))
        .unwrap();
    let len = env.metadata().unwrap().len();
    env.set_len(2 << 30).unwrap();
    let ran = world.with_passphrase(&apply).code(2);
    assert!(
        ran.stderr.contains(".env") && ran.stderr.contains("4194304 bytes"),
        "{}",
        ran.stderr
    );
    env.set_len(len).unwrap();
    let config = root.join("openclaw.json");
    for (text, place) in [
        (
            "{\n \"a\": oops}".to_owned(),
            "openclaw.json: line 2, column 7",
        ),
        ("[".repeat(10_000), "openclaw.json: line 1"),
    ] {
        fs::write(&config, text).unwrap();
        let ran = world.with_passphrase(&apply).code(2);
        assert!(ran.stderr.contains(place), "{}", ran.stderr);
    }
    fs::write(
        &config,
        &before.iter().find(|(path, _)| *path == config).unwrap().1,
    )
    .unwrap();
    let bad = world.private_file("bad.json", b"{\"version\": 1,\n\"targets\": [}");
    let ran = world
        .with_passphrase(&["secrets", "apply", "--from", &bad])
        .code(2);
    assert!(
        ran.stderr.contains("bad.json: line 2, column"),
        "{}",
        ran.stderr
    );
    world
        .with_passphrase(&["secrets", "apply", "--from", "/no/such/plan"])
        .code(2);
    world.store("openai/me#40x.y", "another");
    let dry = [&apply[..], &["--dry-run"]].concat();
    for args in [&dry[..], &apply[..]] {
        let ran = world.with_passphrase(args).code(8);
        assert!(
            ran.stderr.contains("--prefix NAME") && ran.stderr.contains("change `id` in it"),
            "{}",
            ran.stderr
        );
    }
    let ran = world.with_passphrase(&apply).code(8);
    assert!(ran.stderr.contains("openai/me#40x.y"), "{}", ran.stderr);
    assert_eq!(tree(&root), before);
}

/// A backup that can't be replaced is said, and stops nothing.
#[test]
fn a_read_only_backup_is_named() {
    let world = World::new();
    let root = claw(&world);
    let plan = plan_of(&world, &root);
    let bak = root.join("openclaw.json.bak");
    fs::set_permissions(&bak, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let ran = world
        .with_passphrase(&["secrets", "apply", "--from", &plan])
        .ok();
    let text = ran.stderr.replace("\n  ", " ");
    assert!(text.contains("openclaw.json.bak still holds"), "{text}");
    assert!(text.contains("is read-only"), "{text}");
    assert!(read(bak).contains(GROQ));
}

/// Files of another user are named before anything is written: the program runs as `nobody`, which
/// only root can have it do.
#[test]
fn a_foreign_owner_is_named_before_anything_is_written() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can make files of another user");
        return;
    }
    const NOBODY: u32 = 65_534;
    let world = World::new();
    let root = claw(&world);
    let plan = plan_of(&world, &root);
    let program = world.beside("reseal");
    fs::copy(super::world::BIN, &program).unwrap();
    let status = std::process::Command::new("chown")
        .args(["-R", "65534:65534"])
        .arg(Path::new(&world.beside("")))
        .status();
    assert!(status.unwrap().success());
    let run = || {
        let mut command = std::process::Command::new("setpriv");
        let ids = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        command
            .args(ids)
            .arg(&program)
            .args(["--no-input", "--state-dir"]);
        command
            .arg(world.state())
            .args(["secrets", "apply", "--allow-exec", "--from", &plan]);
        command.args(["--passphrase-file", &world.passphrase()]);
        super::world::finish(command, None)
    };
    let profiles = root.join("agents/main/agent/auth-profiles.json");
    let config = read(root.join("openclaw.json"));
    for (owner, group, why) in [
        (0, NOBODY, "is owned by another user"),
        (NOBODY, 0, "belongs to a group"),
    ] {
        std::os::unix::fs::chown(&profiles, Some(owner), Some(group)).unwrap();
        let ran = run().code(5);
        let expected = format!("auth-profiles.json {why}");
        assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
        assert_eq!(read(root.join("openclaw.json")), config);
        assert!(!ran.stderr.contains("went into the vault"));
    }
}

#[test]
fn configure_needs_a_terminal() {
    let world = World::new();
    let ran = world.run(&["secrets", "configure"]).code(4);
    assert!(
        ran.stderr.contains("--no-input was given"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("secrets plan"), "{}", ran.stderr);
    let mut world = World::new();
    world.global.clear();
    let mut command = std::process::Command::new("setsid");
    command
        .arg("--wait")
        .arg(super::world::BIN)
        .arg("--state-dir")
        .arg(world.state());
    command
        .args(["secrets", "configure"])
        .stdin(std::process::Stdio::null());
    let ran = super::world::finish(command, None).code(4);
    assert!(
        ran.stderr.contains("no terminal to ask on"),
        "{}",
        ran.stderr
    );
}
