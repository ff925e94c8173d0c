//! `init` and `quickstart`.

use super::world::{BIN, World, finish, mode};
use std::fs;
use std::process::{Command, Stdio};

#[test]
fn init_makes_a_private_state_folder_with_everything_in_it() {
    let world = World::new();
    assert_eq!(mode(&world.state()), 0o700);
    for file in [world.vault(), world.config(), world.profiles()] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    let config = fs::read_to_string(world.config()).unwrap();
    assert!(config.contains("// "), "the config is commented: {config}");
    let profiles: serde_json::Value =
        serde_json::from_slice(&fs::read(world.profiles()).unwrap()).unwrap();
    assert_eq!(profiles, serde_json::json!({"version": 1, "profiles": {}}));
}

#[test]
fn init_again_changes_nothing_and_says_so() {
    let world = World::new();
    let before = fs::read(world.vault()).unwrap();
    let ran = world.with_passphrase(&["init"]).ok();
    assert!(ran.stderr.contains("Nothing was changed"), "{}", ran.stderr);
    assert_eq!(fs::read(world.vault()).unwrap(), before);

    fs::remove_file(world.config()).unwrap();
    let ran = world.run(&["--json", "init"]).ok();
    let json = ran.json();
    assert_eq!(json["created"], false);
    assert_eq!(json["made"], serde_json::json!([world.config()]));
    assert!(world.config().exists());
}

#[test]
fn init_refuses_a_vault_that_is_none() {
    let world = World::empty();
    fs::create_dir(world.state()).unwrap();
    world.private_file("state/vault.reseal", b"not a vault, but not to be lost");
    world.with_passphrase(&["init"]).code(7);
    assert_eq!(
        fs::read(world.vault()).unwrap(),
        b"not a vault, but not to be lost"
    );
}

#[test]
fn the_recovery_code_is_shown_once_and_opens_the_vault() {
    let world = World::empty();
    let passphrase = world.passphrase();
    let args = [
        "--json",
        "init",
        "--kdf",
        "minimal",
        "--passphrase-file",
        &passphrase,
    ];
    let code = world.run(&args).ok().json()["recoveryCode"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(code.len(), 44, "eight groups and a checksum, with hyphens");

    let script = format!(
        "exec {BIN} \"$@\" 9<{}",
        world.private_file("code", code.as_bytes())
    );
    let mut command = Command::new("sh");
    command
        .args(["-c", &script, "sh", "--state-dir"])
        .arg(world.state());
    command.args(["--no-input", "secrets", "list", "--recovery-code-fd", "9"]);
    finish(command, None).ok();

    let again = world.run(&["--json", "init"]).ok();
    assert!(again.json().get("recoveryCode").is_none());
}

#[test]
fn without_json_the_recovery_code_goes_to_stderr_only() {
    let world = World::empty();
    let ran = world.with_passphrase(&["init", "--kdf", "minimal"]).ok();
    assert_eq!(ran.text(), "");
    assert!(ran.stderr.contains("Recovery code"), "{}", ran.stderr);
}

#[test]
fn a_generated_key_file_opens_the_vault_and_is_never_written_over() {
    let world = World::empty();
    let key = world.beside("key");
    let args = ["init", "--no-recovery", "--generate-key-file", &key];
    world.run(&args).ok();
    assert_eq!(mode(key.as_ref()), 0o600);
    world.run(&["secrets", "list", "--key-file", &key]).ok();
    let before = fs::read(&key).unwrap();
    fs::remove_file(world.vault()).unwrap();
    world.run(&args).code(8);
    assert_eq!(fs::read(&key).unwrap(), before);
    assert!(
        !world.vault().exists(),
        "nothing is made before everything was checked"
    );
}

#[test]
fn a_credential_of_the_service_manager_opens_a_new_vault_and_an_old_one() {
    let world = World::empty();
    let folder = world.beside("credentials");
    fs::create_dir(&folder).unwrap();
    world.private_file("credentials/reseal.passphrase", b"from the manager\n");
    for args in [&["init", "--kdf", "minimal"][..], &["secrets", "list"]] {
        let mut command = world.command(args);
        command.env("CREDENTIALS_DIRECTORY", &folder);
        finish(command, None).ok();
    }
}

#[test]
fn without_a_terminal_and_with_nothing_given_init_says_why_it_can_not_go_on() {
    let mut world = World::empty();
    let ran = world.run(&["init"]).code(4);
    assert!(ran.stderr.contains("--no-input"), "{}", ran.stderr);
    world.global.clear();
    // A session of its own has no controlling terminal.
    let inner = world.command(&["init"]);
    let mut command = Command::new("setsid");
    command
        .arg("-w")
        .arg(inner.get_program())
        .args(inner.get_args())
        .stdin(Stdio::null());
    let ran = finish(command, None).code(4);
    assert!(ran.stderr.contains("no terminal"), "{}", ran.stderr);
    assert!(!world.vault().exists());
}

#[test]
fn quickstart_leaves_a_working_set_up() {
    let world = World::empty();
    let passphrase = world.passphrase();
    let args = [
        "quickstart",
        "--sample-key",
        "--kdf",
        "minimal",
        "--passphrase-file",
        &passphrase,
    ];
    let ran = world.run(&args).ok();
    assert!(ran.stderr.contains("It got the key"), "{}", ran.stderr);
    assert!(
        ran.text().contains("\"keyRef\""),
        "the profile file is shown: {}",
        ran.text()
    );
    assert!(
        ran.text().contains("unlocked"),
        "the status is shown: {}",
        ran.text()
    );
    let all = format!("{}{}", ran.text(), ran.stderr);
    let script = "test ${#OPENAI_API_KEY} -gt 20 && printf %s \"$OPENAI_API_KEY\"";
    let key = world.run(&["run", "--", "sh", "-c", script]).ok();
    assert!(!all.contains(key.text()), "the key itself is never shown");

    // Once more: what is there stays, another key does not take its place.
    let again = world.run(&args).ok();
    assert!(
        again.stderr.contains("is there already"),
        "{}",
        again.stderr
    );
    let same = world.run(&["run", "--", "sh", "-c", script]).ok();
    assert_eq!(same.text(), key.text());
}

#[test]
fn quickstart_takes_a_piped_key_and_reports_as_json() {
    let world = World::empty();
    let key = world.beside("key");
    let args = [
        "--json",
        "quickstart",
        "--no-recovery",
        "--generate-key-file",
        &key,
    ];
    let ran = world.piped(&args, b"sk-piped\n").ok();
    let json = ran.json();
    assert_eq!(json["received"]["bytes"], 8);
    // printf %s sk-piped | sha256sum
    assert_eq!(json["received"]["sha256Prefix"], "ebd5de46dd26");
    assert_eq!(json["status"]["state"], "unlocked");

    // Again, with another key and nothing that opens the vault: the daemon has it open.
    let args = ["--json", "quickstart"];
    let json = world.piped(&args, b"sk-rotated\n").ok().json();
    assert_eq!(json["received"]["bytes"], 10);
    assert_eq!(world.value("openai/default"), "sk-rotated");
    let old = ["secrets", "get", "openai/default", "--version", "1"];
    assert_eq!(world.run(&old).ok().text(), "sk-piped\n");
}

#[test]
fn quickstart_shows_the_recovery_code_once_where_the_docs_say() {
    for json in [true, false] {
        let world = World::empty();
        let key = world.beside("key");
        let args = ["quickstart", "--sample-key", "--generate-key-file", &key];
        let args = if json {
            [&["--json"], &args[..]].concat()
        } else {
            args.to_vec()
        };
        let ran = world.run(&args).ok();
        assert_eq!(ran.stderr.contains("Recovery code"), !json);
        if json {
            assert_eq!(ran.json()["recoveryCode"].as_str().unwrap().len(), 44);
        }
    }
}

/// Each library costs every start of every command: that of mathematics was a fourth of
/// `secrets get`.
#[test]
fn the_program_loads_the_c_library_and_no_other() {
    let output = Command::new("readelf").arg("-d").arg(BIN).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let needed = said.lines().filter(|line| line.contains("(NEEDED)"));
    let needed: Vec<&str> = needed
        .filter_map(|line| line.split(['[', ']']).nth(1))
        .collect();
    assert!(needed.contains(&"libc.so.6"), "{said}");
    for library in needed {
        // One is the loader itself.
        let known = library == "libc.so.6";
        assert!(known || library.starts_with("ld-linux"), "{library}");
    }
}

/// Its place would go to the next file that is opened: a vault, say, for messages to be written to.
#[test]
fn a_stream_that_is_closed_is_taken_by_nothing_else() {
    let world = World::new();
    let state = world.state();
    for (closed, number) in [("<&-", 0), ("<&- 2>&-", 2), ("2>&-", 2)] {
        let run = format!("{BIN} --state-dir {} run --env A=env:PATH", state.display());
        let line = format!("exec {run} -- readlink /proc/self/fd/{number} {closed}");
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        assert_eq!(output.stdout, b"/dev/null\n", "{line}");
    }
}
