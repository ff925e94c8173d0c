//! The README's first screen, as it stands there, at a terminal, in a new home folder.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

use rexpect::session::spawn_command;
use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../README.md");
const KEY: &str = "sk-readme-0123456789";
const PASSPHRASE: &str = "a passphrase for the readme";
/// For a whole command; the cost of a passphrase is calibrated on a machine that may be busy.
const PATIENCE_MS: u64 = 180_000;

/// The `sh` blocks of the README, in order.
fn blocks() -> Vec<&'static str> {
    README
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

fn at_home(home: &Path, program: &str) -> Command {
    let bin = Path::new(env!("CARGO_BIN_EXE_reseal")).parent().unwrap();
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("HOME", home)
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .env("TERM", "dumb");
    command
}

#[test]
fn six_lines_of_shell_work() {
    let home = tempfile::tempdir().unwrap();
    let lines = blocks()[1];
    assert_eq!(lines.lines().count(), 6);
    let mut bash = at_home(home.path(), "bash");
    bash.args(["-e", "-o", "pipefail", "-c", lines])
        .env("OPENAI_API_KEY", KEY);
    let mut terminal = spawn_command(bash, Some(PATIENCE_MS)).unwrap();
    let mut shown = String::new();
    for prompt in [
        "A new passphrase: ",
        "The same once more: ",
        "Passphrase of vault ",
    ] {
        shown += &terminal.exp_string(prompt).unwrap();
        terminal.send_line(PASSPHRASE).unwrap();
    }
    let proof = format!("the program got a key of {} bytes", KEY.len());
    shown += &terminal.exp_string(&proof).unwrap();
    shown += &terminal.exp_eof().unwrap();
    assert!(
        !shown.contains(PASSPHRASE) && !shown.contains(KEY),
        "a secret was shown"
    );
    let status = format!("{:?}", terminal.process().wait().unwrap());
    assert!(
        status.starts_with("Exited") && status.ends_with(", 0)"),
        "{status}: {shown}"
    );
    let profiles = home
        .path()
        .join(".reseal/agents/main/agent/auth-profiles.json");
    let profiles = std::fs::read_to_string(profiles).unwrap();
    assert!(profiles.contains("\"openai/default\"") && !profiles.contains(KEY));
}

#[test]
fn the_first_command_leaves_a_working_set_up() {
    assert!(
        blocks()[0]
            .lines()
            .any(|line| line == "cargo run --release -- quickstart")
    );
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("key");
    let mut quickstart = at_home(home.path(), "reseal");
    quickstart
        .args(["quickstart", "--sample-key", "--generate-key-file"])
        .arg(&key);
    let output = quickstart.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("It got the key"), "{said}");
    let length = at_home(home.path(), "reseal")
        .args(["run", "--", "sh", "-c", "printf %s \"${#OPENAI_API_KEY}\""])
        .output()
        .unwrap();
    assert!(
        length.stdout.len() == 2,
        "the key has a length of two digits"
    );
    let lock = at_home(home.path(), "reseal")
        .args(["vault", "lock"])
        .output()
        .unwrap();
    assert!(lock.status.success());
}
