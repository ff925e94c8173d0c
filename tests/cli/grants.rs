//! Two users and a third: a daemon of one user, a client of another to whom something is granted,
//! and somebody to whom nothing is. Needs root, to become them.

use super::world::{BIN, PASSPHRASE, Ran};
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Whose the daemon is.
pub const OWNER: u32 = 4241;
/// To whom something is granted.
pub const CLIENT: u32 = 4242;
/// To whom nothing is.
pub const OTHER: u32 = 4243;

/// A vault and a daemon of [`OWNER`], in a folder that all can enter. The daemon ends with it.
pub struct Site {
    root: TempDir,
}

/// True if the kernel tells a daemon which process connected: Linux 6.5.
fn has_peer_pidfd() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 5)
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Site {
    /// With this section `daemon` beside the grants, and the daemon started.
    pub fn new(share: Option<&str>) -> Self {
        let root = TempDir::new().unwrap();
        let site = Self { root };
        site.folder("", 0, 0o755);
        site.folder("state", OWNER, 0o700);
        site.folder("run", OWNER, 0o755);
        site.folder("home", CLIENT, 0o755);
        // By another process: a program that a thread of this one starts meanwhile would have the
        // copy open for writing, and nobody could start that.
        let mut install = Command::new("install");
        install.args(["-m", "755", BIN]).arg(site.path("reseal"));
        run(install, "").code(0);
        site.private("passphrase", OWNER, PASSPHRASE.as_bytes());
        let passphrase = site.text("passphrase");
        let kdf = [
            "--kdf",
            "minimal",
            "--no-recovery",
            "--passphrase-file",
            &passphrase,
        ];
        site.owner(&[&["init"], &kdf[..]].concat()).code(0);
        if let Some(share) = share {
            let config = json!({
                "daemon": {"share": share, "socket": site.text("run/daemon.sock")},
                "grants": {
                    "agent": {"to": {"uid": CLIENT}, "refs": ["vault:agent/*"],
                        "verbs": ["use", "read"]},
                },
            });
            fs::write(site.path("state/reseal.json"), config.to_string()).unwrap();
        }
        site.owner(&["vault", "unlock", "--passphrase-file", &passphrase])
            .code(0);
        for name in ["agent/key", "agent/more", "other/key", "bearer/key"] {
            let value = format!("value of {name}");
            site.as_user(OWNER, &["secrets", "set", name], &[], &value)
                .code(0);
        }
        site
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.root.path().join(below)
    }

    pub fn text(&self, below: &str) -> String {
        self.path(below).to_str().unwrap().to_owned()
    }

    fn folder(&self, below: &str, uid: u32, mode: u32) {
        let path = self.path(below);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(uid), Some(uid)).unwrap();
    }

    fn private(&self, below: &str, uid: u32, bytes: &[u8]) {
        let path = self.path(below);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(uid), Some(uid)).unwrap();
    }

    /// The daemon's user, at his state folder.
    pub fn owner(&self, args: &[&str]) -> Ran {
        self.as_user(OWNER, args, &[], "")
    }

    /// Somebody else, who knows the socket and nothing more.
    pub fn client(&self, uid: u32, args: &[&str]) -> Ran {
        let owner = OWNER.to_string();
        let socket = self.text("run/daemon.sock");
        let global = ["--daemon-user", &owner, "--socket", &socket];
        self.as_user(uid, &[&global[..], args].concat(), &[], "")
    }

    fn as_user(&self, uid: u32, args: &[&str], env: &[(&str, &str)], input: &str) -> Ran {
        let mut command = self.command(uid);
        command.arg(self.path("reseal"));
        if uid == OWNER {
            command.arg("--state-dir").arg(self.path("state"));
        }
        command.arg("--no-input").args(args);
        command.envs(env.iter().copied());
        run(command, input)
    }

    pub fn command(&self, uid: u32) -> Command {
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={uid}"))
            .arg(format!("--regid={uid}"))
            .arg("--clear-groups")
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path("home"))
            .current_dir("/");
        command
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let locked = self.owner(&["vault", "lock"]);
        assert!(
            locked.code == 0 || std::thread::panicking(),
            "{}",
            locked.stderr
        );
    }
}

pub fn run(mut command: Command, input: &str) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read it may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn a_granted_user_needs_nothing_but_the_socket() {
    if !is_root() {
        return;
    }
    let site = Site::new(Some("everyone"));
    let get = site
        .client(CLIENT, &["secrets", "get", "agent/key"])
        .code(0);
    assert_eq!(get.text(), "value of agent/key\n");
    let script = "printf %s \"$KEY\"";
    let env = [
        "run",
        "--env",
        "KEY=vault:agent/key",
        "--",
        "sh",
        "-c",
        script,
    ];
    assert_eq!(
        site.client(CLIENT, &env).code(0).text(),
        "value of agent/key"
    );
    let set = ["secrets", "set", "agent/token", "--from-env", "X"];
    site.as_user(OWNER, &set, &[("X", "sk-token")], "").code(0);
    let token = site
        .client(CLIENT, &["token", "--ref", "vault:agent/token"])
        .code(0);
    assert_eq!(token.text(), "sk-token\n");
    let owner = OWNER.to_string();
    let socket = site.text("run/daemon.sock");
    let global = [
        "--daemon-user",
        &owner,
        "--socket",
        &socket,
        "exec-provider",
    ];
    let request = json!({"protocolVersion": 1, "provider": "reseal",
        "ids": ["agent/key", "other/key", "other/absent"]});
    let answer = site
        .as_user(CLIENT, &global, &[], &request.to_string())
        .code(0)
        .json();
    assert_eq!(answer["values"]["agent/key"], "value of agent/key");
    // What is not granted is the same whether it is there or not.
    assert!(answer["values"].get("other/key").is_none());
    let code = |id: &str| answer["errors"][id]["code"].clone();
    assert!(code("other/key").is_string());
    assert_eq!(code("other/key"), code("other/absent"));
    let listed = site
        .client(CLIENT, &["--json", "secrets", "list"])
        .code(0)
        .json()
        .to_string();
    assert!(
        listed.contains("agent/key") && !listed.contains("other"),
        "{listed}"
    );
    let resolved = site
        .client(CLIENT, &["--json", "secrets", "resolve"])
        .code(0)
        .json();
    assert_eq!(resolved["refs"], json!([]));
    // With its home and no state folder, nothing was made there.
    assert_eq!(fs::read_dir(site.path("home")).unwrap().count(), 0);
}

#[test]
fn what_is_not_granted_is_refused_and_a_third_user_gets_nothing() {
    if !is_root() {
        return;
    }
    let site = Site::new(Some("everyone"));
    let refused = |uid: u32, args: &[&str]| {
        let ran = site.client(uid, &[&["--json"], args].concat()).code(5);
        let code = ran.json()["error"]["code"].clone();
        code.as_str().unwrap().to_owned()
    };
    let admin: [&[&str]; 7] = [
        &["secrets", "rm", "agent/key", "--yes"],
        &["secrets", "mv", "agent/key", "agent/new"],
        &["secrets", "restore", "agent/key", "--version", "1"],
        &["secrets", "reload"],
        &["vault", "compact"],
        &["vault", "verify"],
        &["vault", "lock"],
    ];
    for args in admin {
        assert_eq!(refused(CLIENT, args), "grant.refused", "{args:?}");
    }
    for name in ["other/key", "other/absent"] {
        assert_eq!(refused(CLIENT, &["secrets", "get", name]), "grant.refused");
        assert_eq!(
            refused(CLIENT, &["secrets", "history", name]),
            "grant.refused"
        );
    }
    for args in [
        &["secrets", "get", "agent/key"][..],
        &["secrets", "list"],
        &["secrets", "resolve"],
        &["run", "--env", "K=vault:agent/key", "--", "true"],
        &["vault", "lock"],
    ] {
        let ran = site.client(OTHER, args).code(5);
        assert!(ran.stdout.is_empty(), "{}", ran.text());
        assert!(
            ran.stderr.contains("nothing for user 4243"),
            "{}",
            ran.stderr
        );
    }
    // A client takes a shared socket only if it is told of one, and of no other user's daemon.
    let socket = site.text("run/daemon.sock");
    let get = ["--json", "--socket", &socket, "secrets", "get", "agent/key"];
    let code = |ran: Ran| ran.code(5).json()["error"]["code"].clone();
    assert_eq!(code(site.as_user(CLIENT, &get, &[], "")), "daemon.unsafe");
    let other = OTHER.to_string();
    let get = [&["--daemon-user", &other], &get[..]].concat();
    assert_eq!(code(site.as_user(CLIENT, &get, &[], "")), "daemon.unsafe");
    // What was granted is taken back.
    site.owner(&["grants", "remove", "agent"]).code(0);
    site.owner(&["secrets", "reload"]).code(0);
    let ran = site
        .client(CLIENT, &["secrets", "get", "agent/key"])
        .code(5);
    assert!(
        ran.stderr.contains("nothing for user 4242"),
        "{}",
        ran.stderr
    );
}

#[test]
fn whoever_has_the_capability_gets_what_it_opens() {
    if !is_root() {
        return;
    }
    let site = Site::new(Some("everyone"));
    let file = site.text("state/bearer");
    let add = ["grants", "add", "bearer", "--capability-file", &file];
    let more = ["--ref", "vault:bearer/*", "--verb", "read"];
    site.owner(&[&add[..], &more].concat()).code(0);
    let config = fs::read_to_string(site.path("state/reseal.json")).unwrap();
    let capability = fs::read(&file).unwrap();
    assert!(config.contains("sha256:"));
    assert!(!config.contains(std::str::from_utf8(&capability).unwrap().trim()));
    site.owner(&["secrets", "reload"]).code(0);
    site.private("mine", OTHER, &capability);
    let mine = site.text("mine");
    let (owner, socket) = (OWNER.to_string(), site.text("run/daemon.sock"));
    let get = |name: &str, file: &str| {
        let args = [
            "--daemon-user",
            &owner,
            "--socket",
            &socket,
            "secrets",
            "get",
            name,
        ];
        site.as_user(OTHER, &args, &[("RESEAL_CAPABILITY_FILE", file)], "")
    };
    assert_eq!(
        get("bearer/key", &mine).code(0).text(),
        "value of bearer/key\n"
    );
    assert!(
        get("agent/key", &mine)
            .code(5)
            .stderr
            .contains("no grant lets user 4243 read")
    );
    // Another one of the same form opens nothing.
    site.private("wrong", OTHER, "A".repeat(43).as_bytes());
    let wrong = get("bearer/key", &site.text("wrong")).code(5);
    assert!(
        wrong.stderr.contains("nothing for user 4243"),
        "{}",
        wrong.stderr
    );
    fs::set_permissions(&mine, fs::Permissions::from_mode(0o644)).unwrap();
    get("bearer/key", &mine).code(5);
}

#[test]
fn a_granted_administrator_needs_a_keyslots_secret() {
    if !is_root() {
        return;
    }
    let site = Site::new(Some("everyone"));
    let client = CLIENT.to_string();
    let add = [
        "grants",
        "add",
        "admin",
        "--uid",
        &client,
        "--ref",
        "vault:agent/*",
    ];
    site.owner(&[&add[..], &["--verb", "admin"]].concat())
        .code(0);
    site.owner(&["secrets", "reload"]).code(0);
    site.private("right", CLIENT, PASSPHRASE.as_bytes());
    site.private("wrong", CLIENT, b"another passphrase");
    let (right, wrong) = (site.text("right"), site.text("wrong"));
    let code = |ran: Ran| ran.code(5).json()["error"]["code"].clone();
    let remove = ["--json", "secrets", "rm", "agent/more", "--yes"];
    assert_eq!(code(site.client(CLIENT, &remove)), "grant.secret_needed");
    let with = |name: &str, file: &str| {
        let args = [
            "--json",
            "secrets",
            "rm",
            name,
            "--yes",
            "--passphrase-file",
            file,
        ];
        site.client(CLIENT, &args)
    };
    assert_eq!(code(with("agent/more", &wrong)), "slot.no_match");
    assert_eq!(code(with("other/key", &right)), "grant.refused");
    with("agent/more", &right).code(0);
    site.owner(&["secrets", "get", "agent/more"]).code(3);
    // Nobody else may try secrets.
    assert_eq!(code(site.client(OTHER, &remove)), "daemon.peer");
}

/// The lines of others than the daemon's user: who, what, and what came of it.
fn of_others(lines: &[Value]) -> Vec<Value> {
    lines
        .iter()
        .filter(|line| line["event"] == "decision" && line["uid"] != OWNER)
        .map(|line| {
            assert!(line["pid"].as_i64().unwrap() > 1 && line["time"].is_string());
            // One that was turned away at the door was not looked at any closer.
            let looked_at = line["op"] != "connect" && has_peer_pidfd();
            assert_eq!(line["started"].is_u64(), looked_at, "{line}");
            json!([
                line["uid"],
                line["op"],
                line["refs"],
                line["outcome"],
                line["grant"]
            ])
        })
        .collect()
}

#[test]
fn the_log_says_who_got_what_and_shows_that_it_was_changed() {
    if !is_root() {
        return;
    }
    let site = Site::new(Some("everyone"));
    site.client(CLIENT, &["secrets", "get", "agent/key"])
        .code(0);
    site.client(CLIENT, &["secrets", "get", "other/key"])
        .code(5);
    site.client(OTHER, &["secrets", "get", "agent/key"]).code(5);
    let shown = site
        .owner(&["--json", "vault", "audit", "show"])
        .code(0)
        .json();
    let lines = shown["lines"].as_array().unwrap();
    let decisions = of_others(lines);
    let expected = [
        json!([CLIENT, "get", ["vault:agent/key"], "allowed", "agent"]),
        json!([CLIENT, "get", ["vault:other/key"], "refused", null]),
        json!([OTHER, "connect", null, "refused", null]),
    ];
    assert_eq!(decisions, expected);
    let own = lines
        .iter()
        .filter(|line| line["uid"] == OWNER && line["op"] == "put");
    assert_eq!(own.count(), 4);
    let passphrase = site.text("passphrase");
    let verify = ["vault", "audit", "verify", "--passphrase-file", &passphrase];
    let whole = site.owner(&verify).code(0);
    assert!(
        whole.text().starts_with("The log is whole: "),
        "{}",
        whole.text()
    );
    let all = fs::read_dir(site.path("state/audit")).unwrap();
    let file = all
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    let file = file.unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains("value of"));
    let line = 1 + text
        .lines()
        .position(|line| line.contains("other/key"))
        .unwrap();
    fs::write(&file, text.replace("vault:other/key", "vault:agent/key")).unwrap();
    let broken = site.owner(&[&["--json"], &verify[..]].concat()).code(7);
    let error = &broken.json()["error"];
    assert_eq!(error["code"], "audit.broken");
    assert!(
        error["message"].as_str().unwrap().contains("line "),
        "{error}"
    );
    assert!(line > 1);
}

/// What one user can do to another's daemon: prints what worked.
const ATTEMPTS: &str = r#"
import ctypes, json, os, signal, socket, sys
state, pid, address = sys.argv[1], int(sys.argv[2]), sys.argv[3]
worked = []
def attempt(name, act):
    try:
        act()
        worked.append(name)
    except OSError:
        pass
def ptrace(request):
    if ctypes.CDLL(None, use_errno=True).ptrace(request, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
for path in json.load(sys.stdin):
    attempt("read " + path, lambda: os.close(os.open(path, os.O_RDONLY)))
    attempt("write " + path, lambda: os.close(os.open(path, os.O_WRONLY)))
attempt("list", lambda: os.listdir(state))
attempt("make", lambda: os.close(os.open(state + "/new", os.O_CREAT | os.O_WRONLY)))
attempt("connect", lambda: socket.socket(socket.AF_UNIX).connect(address))
for name in ["mem", "environ", "maps", "auxv", "io"]:
    attempt(name, lambda: open(f"/proc/{pid}/{name}", "rb").read(1))
attempt("fd", lambda: os.listdir(f"/proc/{pid}/fd"))
for name in ["cwd", "exe", "root"]:
    attempt(name, lambda: os.readlink(f"/proc/{pid}/{name}"))
attempt("attach", lambda: ptrace(16))
attempt("seize", lambda: ptrace(0x4206))
for number in [0, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL]:
    attempt(f"signal {number}", lambda: os.kill(pid, number))
print(json.dumps(worked))
"#;

fn all_files(folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_files(&path, files);
        } else {
            files.push(path.to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn another_user_gets_nothing_from_files_socket_and_process() {
    if !is_root() {
        return;
    }
    let site = Site::new(None);
    let status = site.owner(&["--json", "vault", "status"]).code(0).json();
    let pid = status["daemon"]["pid"].to_string();
    let state = site.path("state");
    let mut files = Vec::new();
    all_files(&state, &mut files);
    for name in [
        "vault.reseal",
        "reseal.json",
        "daemon.sock",
        "daemon.lock",
        "daemon.log",
        "head",
    ] {
        assert!(
            files.iter().any(|file| file.ends_with(name)),
            "{name}: {files:?}"
        );
    }
    let worked = |uid: u32, files: &[String]| -> Vec<String> {
        let mut command = site.command(uid);
        command.args(["/usr/bin/python3", "-c", ATTEMPTS]);
        command
            .arg(&state)
            .arg(&pid)
            .arg(state.join("run/daemon.sock"));
        let ran = run(command, &json!(files).to_string()).code(0);
        serde_json::from_value(ran.json()).unwrap()
    };
    assert_eq!(worked(OTHER, &files), Vec::<String>::new());
    // What the attempts could do if it were allowed: the daemon's user reads and connects, and not
    // even he looks into the process.
    let vault = vec![site.text("state/vault.reseal")];
    let mut own = worked_harmless(&site, &pid, &vault);
    own.retain(|name| !name.starts_with("write"));
    assert_eq!(own, [&format!("read {}", vault[0]), "list", "connect"]);
}

/// The attempts of the daemon's own user, without those that would end it.
fn worked_harmless(site: &Site, pid: &str, files: &[String]) -> Vec<String> {
    let harmless: String = ATTEMPTS
        .lines()
        .filter(|line| !line.contains("os.kill") && !line.contains("signal.SIGHUP"))
        .filter(|line| !line.contains("\"make\""))
        .map(|line| format!("{line}\n"))
        .collect();
    let state = site.path("state");
    let mut command = site.command(OWNER);
    command.args(["/usr/bin/python3", "-c", &harmless]);
    command
        .arg(&state)
        .arg(pid)
        .arg(state.join("run/daemon.sock"));
    let ran = run(command, &json!(files).to_string()).code(0);
    serde_json::from_value(ran.json()).unwrap()
}
