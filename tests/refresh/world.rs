//! A state folder with an account, and the program run on it.

use super::issuer::{Issuer, access, refresh};
use crate::program::program;
use crate::scanner::{accounts, open_vault};
use reseal::oauth::{Account, ClientAuth, ClientOf, Grant};
use reseal::runtime::local::Local;
use reseal::runtime::service::{Request, Service};
use reseal::secret::SecretValue;
use reseal::store::StateDir;
use reseal::sys::clock;
use reseal::time::UnixMs;
use reseal::vault::{Expect, Meta, RecordKind};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

const RECORD: &str = "oauth/acme/me";
const KEY: [u8; 32] = [b'k'; 32];

/// A state folder with one account, whose token ended or will soon.
pub struct World {
    _folder: tempfile::TempDir,
    pub state: PathBuf,
    pub key: PathBuf,
    pub issuer: Arc<Issuer>,
}

impl World {
    /// Of a public client, whose token is so old and was valid for so long, in seconds.
    pub fn new(issuer: Arc<Issuer>, age: u64, lifetime: u64) -> Self {
        Self::of(issuer, ClientAuth::None, age, lifetime)
    }

    /// The same of a client that proves itself.
    pub fn of(issuer: Arc<Issuer>, auth: ClientAuth, age: u64, lifetime: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = Self {
            state: folder.path().join("state"),
            key: folder.path().join("key"),
            _folder: folder,
            issuer,
        };
        private(&world.key, &KEY);
        world.ok(&["init", "--no-recovery", "--key-file", &world.key_path()]);
        let agent = world.state.join("agents/main/agent");
        std::fs::create_dir_all(&agent).unwrap();
        for folder in [&agent, agent.parent().unwrap()] {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).unwrap();
        }
        let profiles = serde_json::json!({"version": 1, "profiles": {"acme:me": {
            "type": "oauth", "provider": "acme",
            "oauthRef": {"source": "vault", "provider": "default", "id": RECORD},
        }}});
        private(
            &agent.join("auth-profiles.json"),
            profiles.to_string().as_bytes(),
        );
        world.sign_in(auth, age, lifetime);
        world
    }

    pub fn key_path(&self) -> String {
        self.key.to_str().unwrap().to_owned()
    }

    /// Signs in once more, with the tokens of the first generation.
    pub fn sign_in(&self, auth: ClientAuth, age: u64, lifetime: u64) {
        let secret = |text: String| SecretValue::copy_of(text.as_bytes());
        let client = ClientOf {
            auth,
            ..ClientOf::public("acme", self.issuer.address.parse().unwrap(), "id")
        };
        let grant = Grant::bearer(
            secret(access(0)).into(),
            Some(secret(refresh(0)).into()),
            Some(Duration::from_secs(lifetime)),
        );
        let asked_at = UnixMs(clock::now().0 - age * 1000);
        let account = Account::new(client, grant, None, asked_at);
        let request = Request::Put {
            name: RECORD.parse().unwrap(),
            kind: RecordKind::OAuth,
            meta: Meta::default(),
            expect: Expect::Any,
        };
        let state = StateDir::at(&self.state);
        let config = state.config();
        let vault = open_vault(&self.state, &self.key);
        let mut local = Local::new(state, config, vault);
        local.call(request, vec![account.to_secret()]).unwrap();
    }

    /// The access token that the vault holds.
    pub fn stored(&self) -> String {
        let accounts = accounts(&self.state, &self.key);
        let [account] = accounts.as_slice() else {
            panic!("{} accounts", accounts.len());
        };
        String::from_utf8(account.access.secret().expose().to_vec()).unwrap()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command
            .args(["--no-input", "--state-dir"])
            .arg(&self.state)
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(certificates) = self.issuer.certificates() {
            command.env("SSL_CERT_FILE", certificates);
        }
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {told}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }

    /// With the key file, for a command that opens the vault by itself.
    #[track_caller]
    pub fn alone(&self, args: &[&str]) -> String {
        let all = self.with_key(args);
        self.ok(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Arguments and the key file, which stands before `--`.
    pub fn with_key(&self, args: &[&str]) -> Vec<String> {
        let split = args
            .iter()
            .position(|arg| *arg == "--")
            .unwrap_or(args.len());
        let (ours, others) = args.split_at(split);
        let key = ["--key-file", &self.key_path()];
        let all = [ours, &key, others].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    /// A daemon in the foreground.
    pub fn daemon(&self) -> Daemon<'_> {
        self.starting_daemon(|command| command).serving()
    }

    /// The same, started by a changed command, that need not serve yet.
    pub fn starting_daemon(&self, change: impl FnOnce(Command) -> Command) -> Daemon<'_> {
        let key = self.key_path();
        let mut command = change(self.command(&["daemon", "--key-file", &key]));
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        Daemon { world: self, child }
    }
}

pub struct Daemon<'a> {
    world: &'a World,
    pub child: Child,
}

impl Daemon<'_> {
    /// Waits until it serves.
    pub fn serving(mut self) -> Self {
        let mut lines = BufReader::new(self.child.stderr.take().unwrap()).lines();
        let serving = lines.any(|line| line.unwrap().contains("serving"));
        assert!(serving, "the daemon did not start");
        // Nobody reads on, and it must not block.
        std::thread::spawn(move || lines.for_each(drop));
        self
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        self.world.run(&["vault", "lock"]);
        let _ = self.child.wait();
    }
}

fn private(path: &Path, bytes: &[u8]) {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(bytes).unwrap();
}
