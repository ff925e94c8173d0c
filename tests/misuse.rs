//! The program used wrongly, or beside other programs that do as they like: no secret is repeated,
//! nothing is lost, nobody is kept waiting.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const BIN: &str = env!("CARGO_BIN_EXE_reseal");
const CANARY: &str = "sk-canary-5d1c0f7e";

/// A state folder with a vault.
struct World(TempDir);

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let world = Self(folder);
        private(&world.passphrase(), "passphrase of a test");
        let init = ["init", "--kdf", "minimal", "--no-recovery"];
        world.ok(&[&init[..], &world.given()].concat());
        world
    }

    fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn config(&self) -> PathBuf {
        self.state().join("reseal.json")
    }

    fn passphrase(&self) -> PathBuf {
        self.0.path().join("passphrase")
    }

    fn given(&self) -> [&str; 2] {
        // The name is the same in each world, which the program runs in.
        ["--passphrase-file", "passphrase"]
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BIN);
        command
            .args(["--state-dir", "state", "--no-input"])
            .args(args)
            .current_dir(self.0.path())
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn store(&self, name: &str, value: &str) {
        let args = [&["secrets", "set", name][..], &self.given()].concat();
        let mut child = self
            .command(&args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(value.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.run(&["vault", "lock"]));
    }
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_secret_given_as_an_argument_is_not_repeated() {
    let world = World::new();
    for args in [
        &["secrets", "set", "openai/default", CANARY][..],
        &["--json", "secrets", "set", "openai/default", CANARY],
        &["secrets", "get", "openai/default", CANARY],
        &["vault", "lock", CANARY],
    ] {
        let output = world.run(args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(!said.contains(CANARY), "{said}");
        assert!(said.contains("a secret is never an argument"), "{said}");
    }
}

#[test]
fn a_wrong_command_line_is_one_document_and_moves_no_cursor() {
    let world = World::new();
    let output = world.run(&["--json", "secrets", "get"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["error"]["code"], "usage");
    assert_eq!(output.status.code(), Some(2));
    for args in [
        &["\x1b[2Jx"][..],
        &["secrets", "get", "x", "--version", "\x1b[2J"],
    ] {
        let output = world.run(args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert!(!output.stderr.contains(&0x1b), "{output:?}");
    }
}

#[test]
fn a_daemon_keeps_no_lock_and_no_pipe_of_its_caller() {
    let world = World::new();
    // A shell's redirections survive exec. Done in a process of its own: those of this one would
    // reach what other tests start meanwhile.
    let script = r#"exec 9>lock; flock 9; exec "$0" "$@""#;
    let unlocked = Command::new("/bin/sh")
        .args(["-c", script, BIN, "--state-dir", "state"])
        .args(["vault", "unlock"])
        .args(world.given())
        .current_dir(world.0.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(unlocked.status.success(), "{unlocked:?}");
    // The lock goes with its last holder; the daemon must not be one.
    let lock = File::open(world.0.path().join("lock")).unwrap();
    lock.try_lock().unwrap();
    let status = world.ok(&["--json", "vault", "status"]);
    assert!(status.contains("\"unlocked\""), "{status}");
}

#[test]
fn a_config_that_could_not_be_read_afterwards_is_not_written() {
    let world = World::new();
    let before = fs::read_to_string(world.config()).unwrap();
    for target in [
        "daemon.ttl",
        "vault.path",
        "secrets.providers.x.command",
        "auth.order.openai",
    ] {
        let output = world.run(&["secrets", "set", target, "--ref", "vault:a"]);
        assert_eq!(output.status.code(), Some(2), "{target}: {output:?}");
        assert_eq!(fs::read_to_string(world.config()).unwrap(), before);
    }
    world.ok(&[
        "secrets",
        "set",
        "models.providers.a.apiKey",
        "--ref",
        "vault:a",
    ]);
    assert_ne!(fs::read_to_string(world.config()).unwrap(), before);
}

#[test]
fn another_config_is_resolved_the_same_with_a_daemon() {
    let world = World::new();
    world.store("there", CANARY);
    private(
        &world.0.path().join("other.json"),
        r#"{"models": {"providers": {
            "a": {"apiKey": {"source": "vault", "provider": "default", "id": "there"}},
            "b": {"apiKey": {"source": "vault", "provider": "default", "id": "nowhere"}}}}}"#,
    );
    let args = ["--json", "--config", "other.json", "secrets", "resolve"];
    let refs = |output: &Output| {
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), report["refs"].clone())
    };
    let alone = world.run(&[&args[..], &world.given()].concat());
    world.ok(&[&["vault", "unlock"][..], &world.given()].concat());
    let asked = world.run(&args);
    assert_eq!(refs(&alone), refs(&asked));
    assert_eq!(refs(&asked).0, Some(3));
    assert_eq!(refs(&asked).1.as_array().unwrap().len(), 2);
    assert!(!String::from_utf8_lossy(&asked.stdout).contains(CANARY));
}

#[test]
fn a_quickstart_shows_its_own_profile_only() {
    let world = World::new();
    let profiles = world.state().join("agents/main/agent/auth-profiles.json");
    let plain = format!(
        r#"{{"version": 1, "profiles": {{"anthropic:default": // mine
            {{"type": "api_key", "provider": "anthropic", "key": "{CANARY}"}}}}}}"#
    );
    private(&profiles, &plain);
    for format in [&[][..], &["--json"]] {
        let args = [format, &["quickstart", "--sample-key"], &world.given()].concat();
        // Its proof runs programs of the system.
        let output = world.command(&args).env("PATH", "/usr/bin:/bin").output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("\"keyRef\""), "{said}");
        assert!(!said.contains(CANARY), "{said}");
    }
    assert!(fs::read_to_string(&profiles).unwrap().contains(CANARY));
}
