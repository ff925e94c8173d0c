//! A state folder in a temporary place, opened by a key file, and the program run on it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program under test.
pub const RESEAL: &str = env!("CARGO_BIN_EXE_reseal");

/// A vault that a key file opens, and no daemon.
pub struct World {
    pub state: PathBuf,
    pub key: PathBuf,
    _folder: tempfile::TempDir,
}

impl World {
    /// A new vault in a temporary folder.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        Self::at(state, folder)
    }

    /// A new vault whose state folder is `state`; the key file lies in `folder`.
    pub fn at(state: PathBuf, folder: tempfile::TempDir) -> Self {
        let key = folder.path().join("key");
        let world = Self {
            state,
            key,
            _folder: folder,
        };
        write_private(&world.key, &[b'k'; 32]);
        let init = world.command(&["init", "--no-recovery"]).output().unwrap();
        assert!(init.status.success(), "init: {}", text(&init.stderr));
        world
    }

    /// A command with the state folder and the key file given.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(RESEAL);
        self.add_to(&mut command, args);
        command
    }

    /// The same command under `strace` with these options.
    pub fn traced(&self, options: &[&str], args: &[&str]) -> Command {
        let mut command = Command::new("strace");
        command
            .args(["-qq", "-f", "-o", "/dev/null"])
            .args(options)
            .arg(RESEAL);
        self.add_to(&mut command, args);
        command
    }

    /// A command with the state folder alone, for what a daemon answers.
    pub fn without_key(&self, args: &[&str]) -> Command {
        let mut command = Command::new(RESEAL);
        self.add_folder_to(&mut command, args);
        command
    }

    fn add_to(&self, command: &mut Command, args: &[&str]) {
        self.add_folder_to(command, args);
        command.arg("--key-file").arg(&self.key);
    }

    fn add_folder_to(&self, command: &mut Command, args: &[&str]) {
        command
            .arg("--state-dir")
            .arg(&self.state)
            .arg("--no-input")
            .args(args);
        command.env_clear().stdin(Stdio::null());
    }

    /// Stores a value; true if the program said that it is stored.
    pub fn set(&self, name: &str, value: &str) -> bool {
        feed(self.command(&["secrets", "set", name]), value)
            .status
            .success()
    }

    /// The value of a record.
    pub fn get(&self, name: &str) -> Option<String> {
        let output = self.command(&["secrets", "get", name]).output().unwrap();
        if !output.status.success() {
            // A test that fails shows it.
            eprintln!("get {name}: {}", text(&output.stderr));
            return None;
        }
        Some(text(&output.stdout).trim_end().to_owned())
    }

    /// The version of each record, by name.
    pub fn versions(&self) -> std::collections::BTreeMap<String, u64> {
        let output = self
            .command(&["secrets", "list", "--json"])
            .output()
            .unwrap();
        assert!(output.status.success(), "list: {}", text(&output.stderr));
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let records = list["records"].as_array().unwrap().iter();
        records
            .map(|r| {
                (
                    r["name"].as_str().unwrap().to_owned(),
                    r["version"].as_u64().unwrap(),
                )
            })
            .collect()
    }

    /// Checks every byte of the vault.
    pub fn verify(&self) {
        let output = self.command(&["vault", "verify"]).output().unwrap();
        assert!(output.status.success(), "verify: {}", text(&output.stderr));
    }
}

/// Runs a command with this text on its stdin.
pub fn feed(mut command: Command, input: &str) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A killed child has closed its end: that is part of the test.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Writes a file that only we can read.
pub fn write_private(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(bytes).unwrap();
}

/// Output as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// True when the long form of the tests is asked for (`tests/run --storm`).
pub fn storm() -> bool {
    std::env::var_os("RESEAL_STORM").is_some()
}
