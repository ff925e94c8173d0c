//! A state folder of its own for each test, and the program run on it.

#[path = "../scanner/program.rs"]
mod program;

use program::program;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The program that cargo built.
pub const BIN: &str = env!("CARGO_BIN_EXE_reseal");
/// The passphrase of every test vault.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// A state folder, and a folder beside it for other files. Whatever daemon a test starts ends with
/// it.
pub struct World {
    root: TempDir,
    /// Options before every command.
    pub global: Vec<String>,
}

/// What a run of the program left.
#[derive(Debug)]
pub struct Ran {
    /// The exit code.
    pub code: i32,
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it said.
    pub stderr: String,
}

impl Ran {
    /// Stdout as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Stdout as a JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {:?}\n{}", self.text(), self.stderr))
    }

    /// Checks the exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "stdout: {:?}\nstderr: {}",
            self.text(),
            self.stderr
        );
        self
    }

    /// Checks that it worked.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }
}

impl World {
    /// A world without a vault.
    pub fn empty() -> Self {
        let root = TempDir::new().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let world = Self {
            root,
            global: vec!["--no-input".to_owned()],
        };
        world.private_file("passphrase", PASSPHRASE.as_bytes());
        world
    }

    /// A world with a vault that the passphrase opens.
    pub fn new() -> Self {
        let world = Self::empty();
        let passphrase = world.passphrase();
        world
            .run(&[
                "init",
                "--kdf",
                "minimal",
                "--no-recovery",
                "--passphrase-file",
                &passphrase,
            ])
            .ok();
        world
    }

    /// A world whose vault is open in a daemon.
    pub fn unlocked() -> Self {
        let world = Self::new();
        world.unlock();
        world
    }

    /// With a daemon and without one: every command has to give the same.
    pub fn both() -> [Self; 2] {
        [Self::new(), Self::unlocked()]
    }

    /// Starts the daemon.
    #[track_caller]
    pub fn unlock(&self) -> Ran {
        self.with_passphrase(&["vault", "unlock"]).ok()
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    /// The vault file.
    pub fn vault(&self) -> PathBuf {
        self.state().join("vault.reseal")
    }

    /// The profiles of the agent main.
    pub fn profiles(&self) -> PathBuf {
        self.state().join("agents/main/agent/auth-profiles.json")
    }

    /// The config.
    pub fn config(&self) -> PathBuf {
        self.state().join("reseal.json")
    }

    /// A path beside the state folder.
    pub fn beside(&self, name: &str) -> String {
        self.root.path().join(name).to_str().unwrap().to_owned()
    }

    /// The file with the passphrase.
    pub fn passphrase(&self) -> String {
        self.beside("passphrase")
    }

    /// Writes a file beside the state folder, mode 0600; gives its path.
    pub fn private_file(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.beside(name);
        let mut options = fs::OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        options.open(&path).unwrap().write_all(bytes).unwrap();
        path
    }

    /// The program, ready to run in an environment with nothing of the test's own in it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TERM", "xterm");
        command
            .arg("--state-dir")
            .arg(self.state())
            .args(&self.global)
            .args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Runs the program.
    pub fn run(&self, args: &[&str]) -> Ran {
        finish(self.command(args), None)
    }

    /// Runs the program with bytes on stdin.
    pub fn piped(&self, args: &[&str], stdin: &[u8]) -> Ran {
        finish(self.command(args), Some(stdin))
    }

    /// Runs the program with the passphrase at hand, for when no daemon runs.
    pub fn with_passphrase(&self, args: &[&str]) -> Ran {
        self.run(&self.and_passphrase(args))
    }

    /// [`World::piped`] with the passphrase at hand.
    pub fn piped_with_passphrase(&self, args: &[&str], stdin: &[u8]) -> Ran {
        self.piped(&self.and_passphrase(args), stdin)
    }

    fn and_passphrase<'a>(&self, args: &[&'a str]) -> Vec<&'a str> {
        // Before `--`, where options of the program end.
        let at = args
            .iter()
            .position(|arg| *arg == "--")
            .unwrap_or(args.len());
        let passphrase: &'static str = Box::leak(self.passphrase().into_boxed_str());
        let mut all = args[..at].to_vec();
        all.extend(["--passphrase-file", passphrase]);
        all.extend(&args[at..]);
        all
    }

    /// Stores a value.
    #[track_caller]
    pub fn store(&self, name: &str, value: &str) {
        self.piped_with_passphrase(&["secrets", "set", name], value.as_bytes())
            .ok();
    }

    /// The value of a record.
    #[track_caller]
    pub fn value(&self, name: &str) -> String {
        let ran = self.with_passphrase(&["secrets", "get", "-n", name]).ok();
        ran.text().to_owned()
    }
}

/// Runs a command to its end.
pub fn finish(mut command: Command, stdin: Option<&[u8]>) -> Ran {
    if stdin.is_some() {
        command.stdin(Stdio::piped());
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    if let (Some(bytes), Some(mut pipe)) = (stdin, child.stdin.take()) {
        // A program that refuses before it reads closes the pipe.
        let _ = pipe.write_all(bytes);
    }
    let output = child.wait_with_output().unwrap();
    let code = output.status.code().unwrap_or(-1);
    let stderr = String::from_utf8(output.stderr).unwrap();
    Ran {
        code,
        stdout: output.stdout,
        stderr,
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.state().join("run/daemon.sock").exists() {
            let _ = self.run(&["vault", "lock"]);
        }
    }
}

/// The permission bits of a file or folder.
pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
