//! Tokens refreshed by the program itself, as a user and a daemon do it, against an authorization
//! server on loopback that rotates them and stalls when it is told to.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

use reseal::credentials::Credentials;
use reseal::error::Code;
use reseal::name::AgentId;
use reseal::oauth::{Account, ClientOf, Grant};
use reseal::runtime::local::Local;
use reseal::runtime::open_vault::{OpenOptions, OpenVault};
use reseal::runtime::service::{Request, Service};
use reseal::secret::SecretValue;
use reseal::store::{Options, StateDir, VaultFile};
use reseal::sys::clock;
use reseal::time::UnixMs;
use reseal::vault::slot::open_raw;
use reseal::vault::{Expect, Header, Meta, RecordKind};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const RESEAL: &str = env!("CARGO_BIN_EXE_reseal");
const RECORD: &str = "oauth/acme/me";
const KEY: [u8; 32] = [b'k'; 32];
/// Fails a test that would wait for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// The authorization server: `refresh-N` gives `access-N+1` and `refresh-N+1`, once.
struct Issuer {
    address: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    generation: u64,
    /// Requests that came.
    came: usize,
    stalled: bool,
    /// Seconds that an access token lives.
    lifetime: u64,
}

impl Issuer {
    fn start(lifetime: u64) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let state = State {
            lifetime,
            ..State::default()
        };
        let issuer = Arc::new(Self {
            address: format!("http://{}/token", listener.local_addr().unwrap()),
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let server = Arc::clone(&issuer);
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let server = Arc::clone(&server);
                std::thread::spawn(move || server.answer(stream.unwrap()));
            }
        });
        issuer
    }

    fn stall(&self, yes: bool) {
        self.state.lock().unwrap().stalled = yes;
        self.changed.notify_all();
    }

    /// Waits until so many requests have come.
    fn wait_for(&self, count: usize) {
        let state = self.state.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.came < count);
        assert!(
            !waited.unwrap().1.timed_out(),
            "fewer than {count} requests"
        );
    }

    fn came(&self) -> usize {
        self.state.lock().unwrap().came
    }

    fn answer(&self, mut stream: TcpStream) {
        let Some(body) = read_request(&mut stream) else {
            return;
        };
        let mut state = self.state.lock().unwrap();
        state.came += 1;
        self.changed.notify_all();
        let stalled = |state: &mut State| state.stalled;
        let waited = self.changed.wait_timeout_while(state, PATIENCE, stalled);
        state = waited.unwrap().0;
        let expected = format!("refresh_token=refresh-{}", state.generation);
        let (status, body) = if body.split('&').any(|pair| pair == expected) {
            state.generation += 1;
            let (n, lifetime) = (state.generation, state.lifetime);
            let granted = serde_json::json!({
                "access_token": format!("access-{n}"), "refresh_token": format!("refresh-{n}"),
                "expires_in": lifetime, "token_type": "Bearer",
            });
            ("200 OK", granted.to_string())
        } else {
            ("400 Bad Request", r#"{"error":"invalid_grant"}"#.to_owned())
        };
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
    }
}

fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}

/// A state folder with one account, whose token ended or will soon.
struct World {
    _folder: tempfile::TempDir,
    state: PathBuf,
    key: PathBuf,
    issuer: Arc<Issuer>,
}

impl World {
    fn new(issuer: Arc<Issuer>, age: u64, lifetime: u64) -> Self {
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
        world.sign_in(age, lifetime);
        world
    }

    fn key_path(&self) -> String {
        self.key.to_str().unwrap().to_owned()
    }

    fn sign_in(&self, age: u64, lifetime: u64) {
        let secret = |text: &str| SecretValue::copy_of(text.as_bytes());
        let client = ClientOf::public("acme", self.issuer.address.parse().unwrap(), "id");
        let grant = Grant::bearer(
            secret("access-0").into(),
            Some(secret("refresh-0").into()),
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
        let mut local = Local::new(state, config, self.open());
        local.call(request, vec![account.to_secret()]).unwrap();
    }

    fn open(&self) -> OpenVault {
        let state = StateDir::at(&self.state);
        let file = VaultFile::open(&state.vault(), Options::default()).unwrap();
        let header = Header::parse(&file.read_header().unwrap()).unwrap();
        let key = SecretValue::copy_of(&KEY);
        let slots = header.slots().iter();
        let root = slots
            .filter_map(|slot| open_raw(&header, slot, &key).unwrap())
            .next();
        let keys = header.verify(&root.unwrap()).unwrap();
        let options = OpenOptions {
            authenticated: true,
            ..OpenOptions::default()
        };
        OpenVault::open(file, header, keys, &state.anchors(), &options).unwrap()
    }

    /// The access token that the vault holds.
    fn stored(&self) -> String {
        let (_, value) = self.open().get(&RECORD.parse().unwrap(), None).unwrap();
        let account = Account::from_secret(&value).unwrap();
        String::from_utf8(account.access.secret().expose().to_vec()).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(RESEAL);
        command
            .args(["--no-input", "--state-dir"])
            .arg(&self.state)
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
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
    fn alone(&self, args: &[&str]) -> String {
        let key = self.key_path();
        let split = args
            .iter()
            .position(|arg| *arg == "--")
            .unwrap_or(args.len());
        let mut all = args[..split].to_vec();
        all.extend(["--key-file", &key]);
        all.extend(&args[split..]);
        self.ok(&all)
    }

    fn daemon(&self) -> Daemon<'_> {
        let key = self.key_path();
        let child = self
            .command(&["daemon", "--key-file", &key])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut daemon = Daemon { world: self, child };
        let mut lines = BufReader::new(daemon.child.stderr.take().unwrap()).lines();
        let serving = lines.any(|line| line.unwrap().contains("serving"));
        assert!(serving, "the daemon did not start");
        // Nobody reads on, and it must not block.
        std::thread::spawn(move || lines.for_each(drop));
        daemon
    }
}

struct Daemon<'a> {
    world: &'a World,
    child: Child,
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

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn every_command_that_takes_a_credential_gives_a_fresh_one() {
    let reference = "vault:oauth/acme/me";
    let env = format!("TOKEN={reference}");
    let commands: [&[&str]; 4] = [
        &["token", "acme:me"],
        &["token", "--provider", "acme"],
        &["secrets", "get", reference],
        &["run", "--env", &env, "--", "sh", "-c", "echo $TOKEN"],
    ];
    for command in commands {
        let world = World::new(Issuer::start(3600), 7200, 3600);
        assert_eq!(world.alone(command), "access-1", "{command:?}");
        assert_eq!(world.alone(command), "access-1", "{command:?}");
        assert_eq!(world.issuer.came(), 1, "{command:?}");
        let daemon = world.daemon();
        assert_eq!(world.ok(command), "access-1", "{command:?}");
        drop(daemon);
        assert_eq!(world.issuer.came(), 1, "{command:?}");
    }
}

#[test]
fn a_token_says_when_it_ends_and_is_refreshed_if_less_than_asked_is_left() {
    let world = World::new(Issuer::start(3600), 1800, 3600);
    let token = |min: &str| {
        let json = world.alone(&["--json", "token", "acme:me", "--min-ttl", min]);
        serde_json::from_str::<serde_json::Value>(&json).unwrap()
    };
    let before = clock::now().0;
    let half = token("20m");
    assert_eq!(half["token"], "access-0");
    assert_eq!(half["headers"]["Authorization"], "Bearer access-0");
    let ends = half["expiresAt"].as_u64().unwrap();
    assert!(
        ends > before + 1_700_000 && ends <= before + 1_800_000,
        "{ends}"
    );
    let full = token("40m");
    assert_eq!(full["token"], "access-1");
    assert!(full["expiresAt"].as_u64().unwrap() > before + 3_500_000);
    assert_eq!(
        (&full["profileId"], &full["type"]),
        (&"acme:me".into(), &"oauth".into())
    );
}

#[test]
fn an_account_that_has_to_sign_in_ends_with_code_nine_and_asks_nobody_twice() {
    let world = World::new(Issuer::start(3600), 7200, 3600);
    // Somebody used the token elsewhere.
    world.issuer.state.lock().unwrap().generation = 5;
    let key = world.key_path();
    for _ in 0..2 {
        let output = world.run(&["token", "acme:me", "--key-file", &key]);
        assert_eq!(output.status.code(), Some(9));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.contains("sign in again") && told.contains("invalid_grant"),
            "{told}"
        );
        assert!(
            output.stdout.is_empty() && !told.contains("refresh-0"),
            "{told}"
        );
    }
    assert_eq!(world.issuer.came(), 1);
}

#[test]
fn the_library_gives_the_token_of_a_profile_from_the_daemon() {
    let world = World::new(Issuer::start(3600), 7200, 3600);
    let state = StateDir::at(&world.state);
    let (agent, id) = (AgentId::main(), "acme:me".parse().unwrap());
    let of_profile = || Credentials::of_profile(&state, &agent, &id);
    let token = |credentials: &Credentials| {
        let token = credentials.access_token();
        token.map(|token| String::from_utf8(token.secret().expose().to_vec()).unwrap())
    };
    let credentials = of_profile().unwrap();
    assert_eq!(token(&credentials).unwrap_err().code, Code::VaultSealed);
    let daemon = world.daemon();
    assert_eq!(token(&credentials).unwrap(), "access-1");
    // An alias of another vault is not an alias of ours.
    let provider = serde_json::json!({"source": "vault", "path": "/nowhere/other.reseal"});
    let config = serde_json::json!({"secrets": {"defaults": {"vault": "team"},
        "providers": {"team": provider}}});
    std::fs::write(state.config(), config.to_string()).unwrap();
    let profiles = world.state.join("agents/main/agent/auth-profiles.json");
    let text = std::fs::read_to_string(&profiles).unwrap();
    let elsewhere = text.replace(r#""provider":"default""#, r#""provider":"team""#);
    assert_ne!(elsewhere, text);
    std::fs::write(&profiles, elsewhere).unwrap();
    assert!(token(&of_profile().unwrap()).is_err());
    drop(daemon);
}

/// The answer comes after the signal, and is stored all the same.
#[test]
fn a_signal_ends_a_command_only_after_the_answer_is_stored() {
    use rustix::process::Signal;
    for (which, number) in [
        (Signal::TERM, libc::SIGTERM),
        (Signal::INT, libc::SIGINT),
        (Signal::HUP, libc::SIGHUP),
    ] {
        let world = World::new(Issuer::start(3600), 7200, 3600);
        world.issuer.stall(true);
        let key = world.key_path();
        let child = world
            .command(&["token", "acme:me", "--key-file", &key])
            .spawn()
            .unwrap();
        world.issuer.wait_for(1);
        signal(&child, which);
        world.issuer.stall(false);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(number));
        assert_eq!(world.stored(), "access-1");
        assert_eq!(world.alone(&["token", "acme:me"]), "access-1");
        assert_eq!(world.issuer.came(), 1);
    }
}

#[test]
fn a_daemon_that_is_stopped_waits_for_the_answer_and_stores_it() {
    let world = World::new(Issuer::start(3600), 1800, 3600);
    let mut daemon = world.daemon();
    world.issuer.stall(true);
    let asking = world
        .command(&["token", "acme:me", "--min-ttl", "50m"])
        .spawn()
        .unwrap();
    world.issuer.wait_for(1);
    signal(&daemon.child, rustix::process::Signal::TERM);
    // The caller goes away as well.
    signal(&asking, rustix::process::Signal::KILL);
    asking.wait_with_output().unwrap();
    world.issuer.stall(false);
    assert!(daemon.child.wait().unwrap().success());
    assert_eq!(world.stored(), "access-1");
    drop(daemon);
    assert_eq!(world.issuer.came(), 1);
}

#[test]
fn a_daemon_renews_ahead_of_the_end_and_again_and_again() {
    let world = World::new(Issuer::start(2), 0, 2);
    let daemon = world.daemon();
    // Nobody asks.
    world.issuer.wait_for(3);
    let token = world.ok(&["token", "acme:me"]);
    assert!(token.starts_with("access-"), "{token}");
    drop(daemon);
    // Each token was sent once: a second time would have been refused.
    let state = world.issuer.state.lock().unwrap();
    assert_eq!(state.generation, state.came as u64);
}
