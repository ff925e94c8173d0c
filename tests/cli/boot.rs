//! The installed units under a real systemd, booted in namespaces of its own: an encrypted
//! credential opens the vault, the hardened daemon serves, is killed, and is stopped in the middle
//! of a refresh.

use super::world::BIN;
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
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

const KEY: [u8; 32] = [b'k'; 32];
const SCRIPTS: [&str; 4] = ["boot.sh", "inside.sh", "issuer.py", "runner.service"];

/// What was seen inside, and everything that was said.
struct Boot {
    seen: Vec<String>,
    log: String,
}

impl Boot {
    #[track_caller]
    fn saw(&self, fact: &str) {
        let Boot { seen, log } = self;
        let found = seen.iter().any(|line| line == fact);
        assert!(found, "not seen: {fact}\nseen: {seen:#?}\n{log}");
    }

    /// What follows this text in the line that starts with it.
    #[track_caller]
    fn value(&self, start: &str) -> &str {
        let found = self.seen.iter().find_map(|line| line.strip_prefix(start));
        found.unwrap_or_else(|| panic!("not seen: {start}\n{:#?}\n{}", self.seen, self.log))
    }
}

/// One boot for all tests.
fn boot() -> &'static Boot {
    static BOOT: OnceLock<Boot> = OnceLock::new();
    BOOT.get_or_init(|| {
        let work = tempfile::tempdir().unwrap();
        let path = work.path();
        // Other users look into it from inside.
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd");
        for name in SCRIPTS {
            fs::copy(scripts.join(name), path.join(name)).unwrap();
        }
        make_vault(&path.join("state"), &path.join("key"));
        let output = Command::new("bash")
            .arg(path.join("boot.sh"))
            .args([Path::new(BIN), path])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |name| fs::read_to_string(path.join(name)).unwrap_or_default();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Boot {
            seen: text("seen").lines().map(str::to_owned).collect(),
            log: format!("{}\n{said}", text("log")),
        }
    })
}

/// A vault with a value, and with an account whose token has half of its hour left.
fn make_vault(state: &Path, key: &Path) {
    fs::write(key, KEY).unwrap();
    fs::set_permissions(key, Permissions::from_mode(0o600)).unwrap();
    let run = |args: &[&str], stdin: &[u8]| {
        let mut command = Command::new(BIN);
        command.env_clear().arg("--state-dir").arg(state).args(args);
        command.arg("--key-file").arg(key);
        super::world::finish(command, Some(stdin)).ok();
    };
    run(&["init", "--no-recovery"], b"");
    run(&["secrets", "set", "canary"], b"value-for-the-client");
    let profiles = serde_json::json!({"version": 1, "profiles": {"acme:me": {
        "type": "oauth", "provider": "acme",
        "oauthRef": {"source": "vault", "provider": "default", "id": "oauth/acme/me"},
    }}});
    let path = state.join("agents/main/agent/auth-profiles.json");
    fs::write(path, profiles.to_string()).unwrap();
    sign_in(&StateDir::at(state));
}

fn sign_in(state: &StateDir) {
    let secret = |text: &str| SecretValue::copy_of(text.as_bytes());
    let server = "http://127.0.0.1:8099/token".parse().unwrap();
    let grant = Grant::bearer(
        secret("access-0").into(),
        Some(secret("refresh-0").into()),
        Some(Duration::from_secs(3600)),
    );
    let asked_at = UnixMs(clock::now().0 - 1_800_000);
    let account = Account::new(
        ClientOf::public("acme", server, "id"),
        grant,
        None,
        asked_at,
    );
    let request = Request::Put {
        name: "oauth/acme/me".parse().unwrap(),
        kind: RecordKind::OAuth,
        meta: Meta::default(),
        expect: Expect::Any,
    };
    let file = VaultFile::open(&state.vault(), Options::default()).unwrap();
    let header = Header::parse(&file.read_header().unwrap()).unwrap();
    let key = SecretValue::copy_of(&KEY);
    let mut slots = header.slots().iter();
    let root = slots.find_map(|slot| open_raw(&header, slot, &key).unwrap());
    let keys = header.verify(&root.unwrap()).unwrap();
    let options = OpenOptions {
        authenticated: true,
        ..OpenOptions::default()
    };
    let vault = OpenVault::open(file, header, keys, &state.anchors(), &options).unwrap();
    let mut local = Local::new(state.clone(), state.config(), vault);
    local.call(request, vec![account.to_secret()]).unwrap();
}

#[test]
fn root_makes_the_credential_and_the_owner_of_the_vault_adds_the_slot() {
    let boot = boot();
    boot.saw("slot added");
    boot.saw("credential root 600");
    boot.saw("files of others: 0");
    boot.saw("wrong key: exit 5, credential none");
}

#[test]
fn a_hardened_daemon_starts_from_an_encrypted_credential_and_serves() {
    let boot = boot();
    boot.saw("units installed");
    boot.saw("started: active, unlocked, snapshot active");
    let user = boot.value("user: ");
    boot.saw(&format!("process: Uid: {user} {user} {user} {user}"));
    boot.saw("process: CapEff: 0000000000000000");
    boot.saw("process: NoNewPrivs: 1");
    boot.saw("process: Seccomp: 2");
    boot.saw("client got: value-for-the-client");
    // The unit takes none of the memory away that the kernel has for secrets.
    let (command, daemon) = (
        boot.value("secret memory of a command: "),
        boot.value("secret memory of the daemon: "),
    );
    assert_eq!(command != "0", daemon != "0", "{command} {daemon}");
}

#[test]
fn a_daemon_shares_its_own_socket_and_gets_systemds_with_the_commands_that_are_told() {
    let boot = boot();
    boot.saw("service installed");
    boot.saw("without systemd's socket: active, got value-for-the-client");
    boot.saw("commands that come next: exit 0, socket active");
}

#[test]
fn a_user_and_a_service_with_a_grant_are_served_by_the_system_daemon() {
    let boot = boot();
    boot.saw("granted user got: value-for-the-client");
    boot.saw("granted user by name: exit 5, got ''");
    // Needs to see other users' processes, which the unit lets it.
    boot.saw("granted unit got: value-for-the-client");
    boot.saw("user of the unit elsewhere: exit 5, got ''");
}

#[test]
fn another_user_gets_nothing_from_the_system_daemon() {
    boot().saw("another user: exit 5, got ''");
}

#[test]
fn a_daemon_that_is_killed_starts_again_and_clients_wait_for_it() {
    let boot = boot();
    boot.saw("client after a kill got: value-for-the-client");
    boot.saw("restarts: 1, another process: yes");
}

#[test]
fn a_daemon_that_systemd_stops_stores_the_token_that_is_on_its_way() {
    let boot = boot();
    boot.saw("stopped: success, exit 0");
    boot.saw("stored: access-1");
    boot.saw("asked: 1");
    boot.saw("end");
}

#[test]
fn the_system_daemon_starts_with_a_key_in_the_tpm_and_not_without() {
    let boot = boot();
    boot.saw("slot of the TPM added");
    boot.saw("opened with the TPM: active, got value-for-the-client");
    // What systemd(5) calls EXIT_CREDENTIALS.
    boot.saw("after a change of register 7: activating, exit 243");
}

#[test]
fn a_persons_own_daemon_runs_under_the_manager_of_their_services() {
    let boot = boot();
    boot.saw("user's units: exit 0, socket active");
    boot.saw("user's daemon: got of-my-own");
    let lea = boot.value("lea: ");
    boot.saw(&format!("user's process: Uid: {lea} {lea} {lea} {lea}"));
    boot.saw("user's client after a kill: of-my-own");
    boot.saw("user's daemon starts with the manager: got of-my-own");
    boot.saw("user's daemon stopped: success");
}
