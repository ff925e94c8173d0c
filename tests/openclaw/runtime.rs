//! OpenClaw in a folder of its own: its commands, and its gateway.

use crate::world::{BIN, Ran, World, finish};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// For a start of the gateway on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(180);
/// The gateway's token, which is a secret of the vault.
pub const GATEWAY_TOKEN: &str = "sk-gateway-canary-01";

/// An OpenClaw with a folder and a port of its own.
pub struct OpenClaw {
    home: PathBuf,
    modules: PathBuf,
    port: u16,
}

impl OpenClaw {
    /// Writes its config, with the block that `reseal doctor openclaw` prints and the model
    /// `acme/m`, and its one profile.
    pub fn new(world: &World, base_url: &str, profile: &Value) -> Self {
        world.store("gateway/token", GATEWAY_TOKEN);
        let doctor = ["--json", "doctor", "openclaw", "--program", &program(world)];
        let mut config = world.run(&doctor).ok().json()["config"].clone();
        config["gateway"]["auth"]["token"] =
            json!({"source": "exec", "provider": "reseal", "id": "gateway/token"});
        config["models"]["providers"]["acme"] = provider(base_url);
        config["agents"] = json!({"defaults": {"model": {"primary": "acme/m"}}});
        let openclaw = Self::at(world.beside("openclaw").into());
        openclaw.put_config(config);
        openclaw.put_profiles(&json!({"acme:default": profile}));
        openclaw.check_wiring(world);
        openclaw
    }

    /// One in this home folder, without a config if none is there.
    pub fn at(home: PathBuf) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let openclaw = Self {
            home,
            modules: modules(),
            port: free.local_addr().unwrap().port(),
        };
        let mut folders = fs::DirBuilder::new();
        let folders = folders.recursive(true).mode(0o700);
        folders.create(openclaw.agent()).unwrap();
        openclaw
    }

    /// Writes a config, to which the gateway's address and the log are added.
    pub fn put_config(&self, mut config: Value) {
        let gateway = &mut config["gateway"];
        gateway["mode"] = "local".into();
        gateway["port"] = self.port.into();
        gateway["bind"] = "loopback".into();
        gateway["auth"]["mode"] = "token".into();
        config["logging"] = json!({"file": self.state().join("gateway.log")});
        private_file(&self.config(), &config.to_string());
    }

    /// Writes the profiles of its agent.
    pub fn put_profiles(&self, profiles: &Value) {
        let store = json!({"version": 1, "profiles": profiles}).to_string();
        private_file(&self.agent().join("auth-profiles.json"), &store);
    }

    /// Has `reseal doctor openclaw` look at its config.
    #[track_caller]
    pub fn check_wiring(&self, world: &World) {
        let path = self.config();
        world
            .run(&["doctor", "openclaw", "--config", path.to_str().unwrap()])
            .ok();
    }

    /// Asks the model of a provider once, which has to answer.
    #[track_caller]
    pub fn probe(&self, provider: &str) {
        let probe = ["models", "status", "--probe", "--probe-provider", provider];
        let probe = self.run(&[&probe[..], &["--json"]].concat()).ok().json();
        assert_eq!(
            probe["auth"]["probes"]["results"][0]["status"], "ok",
            "{probe:#}"
        );
    }

    /// Its config file.
    pub fn config(&self) -> PathBuf {
        self.state().join("openclaw.json")
    }

    fn agent(&self) -> PathBuf {
        self.state().join("agents/main/agent")
    }

    /// Its state folder.
    pub fn state(&self) -> PathBuf {
        self.home.join(".openclaw")
    }

    /// The program and the script that are a command of OpenClaw.
    pub fn words(&self) -> [PathBuf; 2] {
        let node = format!("node-linux-{}/bin/node", architecture());
        [
            self.modules.join(node),
            self.modules.join("openclaw/openclaw.mjs"),
        ]
    }

    /// The environment of a command.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let [node, _] = self.words();
        let path = format!("{}:/usr/bin:/bin", node.parent().unwrap().display());
        vec![
            ("HOME", self.home.display().to_string()),
            ("PATH", path),
            ("OPENCLAW_SKIP_CHANNELS", "1".to_owned()),
            ("OPENCLAW_DISABLE_BONJOUR", "1".to_owned()),
        ]
    }

    fn command(&self, args: &[&str]) -> Command {
        let [node, script] = self.words();
        let mut command = Command::new(node);
        command
            .arg(script)
            .args(args)
            .env_clear()
            .envs(self.environment());
        command.current_dir(&self.home).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        finish(self.command(args), None)
    }

    /// Has the gateway resolve its secrets anew.
    pub fn reload(&self) -> Ran {
        let url = format!("ws://127.0.0.1:{}", self.port);
        self.run(&[
            "secrets",
            "reload",
            "--json",
            "--url",
            &url,
            "--token",
            GATEWAY_TOKEN,
        ])
    }

    /// Lets the agent ask the model, through the gateway.
    #[track_caller]
    pub fn ping(&self) {
        let ran = self
            .run(&["agent", "--agent", "main", "--message", "ping", "--json"])
            .ok();
        assert_eq!(ran.json()["result"]["payloads"][0]["text"], "pong");
    }

    /// Starts the gateway and waits until it listens.
    pub fn start_gateway(&self) -> Gateway {
        let port = self.port.to_string();
        let mut command = self.command(&["gateway", "run", "--port", &port]);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut process = command.spawn().unwrap();
        let log = Arc::new(Log::default());
        log.keep(process.stdout.take().unwrap());
        log.keep(process.stderr.take().unwrap());
        let gateway = Gateway { process, log };
        gateway.wait_for("http server listening");
        gateway
    }

    /// The files under its folder that hold one of the values.
    pub fn files_with(&self, values: &[&str]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut count = 0;
        let mut folders = vec![self.home.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    count += 1;
                    let bytes = fs::read(entry.path()).unwrap();
                    let holds = |value: &&str| {
                        bytes
                            .windows(value.len())
                            .any(|part| part == value.as_bytes())
                    };
                    found.extend(values.iter().any(holds).then(|| entry.path()));
                }
            }
        }
        assert!(count > 5, "only {count} files were looked at");
        found
    }
}

/// A running gateway; it ends with the test.
pub struct Gateway {
    process: Child,
    log: Arc<Log>,
}

impl Gateway {
    /// Waits until this stands in its log.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let held = self.log.text.lock().unwrap();
        let absent = |log: &mut String| !log.contains(text);
        let (log, waited) = self
            .log
            .grew
            .wait_timeout_while(held, PATIENCE, absent)
            .unwrap();
        assert!(!waited.timed_out(), "{text} is not in the log:\n{log}");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(group) = rustix::process::Pid::from_raw(self.process.id().cast_signed()) {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.process.wait();
    }
}

#[derive(Default)]
struct Log {
    text: Mutex<String>,
    grew: Condvar,
}

impl Log {
    fn keep(self: &Arc<Self>, stream: impl std::io::Read + Send + 'static) {
        let log = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                log.text.lock().unwrap().push_str(&(line + "\n"));
                log.grew.notify_all();
            }
        });
    }
}

/// The program as OpenClaw takes it: nobody else can write it.
pub fn program(world: &World) -> String {
    let program = world.beside("reseal");
    fs::copy(BIN, &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

/// A provider of the model `m`, for a config.
pub fn provider(base_url: &str) -> Value {
    json!({"baseUrl": base_url, "api": "openai-completions",
        "models": [{"id": "m", "name": "m", "contextWindow": 32000, "maxTokens": 100}]})
}

/// Writes a file that only its owner can read.
pub fn private_file(path: &Path, text: &str) {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.unwrap().write_all(text.as_bytes()).unwrap();
}

/// The folder with its packages, installed if they are not there.
fn modules() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openclaw");
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut install = Command::new(tests.join("oauth/install"));
    let status = install.arg(&folder).arg(tests.join("openclaw")).status();
    assert!(status.unwrap().success(), "OpenClaw can't be installed");
    folder.join("node_modules")
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "x64",
    }
}
