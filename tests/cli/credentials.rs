//! Keyslots whose key systemd decrypts: with the real `systemd-creds`, the key of a host that is
//! only the test's, and a software TPM.

use super::world::{BIN, Ran, World, finish, mode};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// A command on a machine whose own folder of systemd, with the host's key, is `host`. Only root
/// may mount; where this fails, so does the test.
fn on(host: &str, program: &str, args: &[&str], environment: &[(&str, &str)]) -> Ran {
    fs::create_dir_all(host).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount --bind \"$0\" /var/lib/systemd && exec \"$@\"";
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .envs(environment.iter().copied())
        .args(["--mount", "sh", "-c", script, host, program])
        .args(args)
        .stdin(Stdio::null());
    finish(command, None)
}

struct Machine {
    world: World,
    host: String,
}

impl Machine {
    fn new() -> Self {
        let world = World::new();
        let host = world.beside("host");
        Self { world, host }
    }

    fn run(&self, args: &[&str]) -> Ran {
        let state = self.world.state();
        let before = ["--no-input", "--state-dir", state.to_str().unwrap()];
        on(&self.host, BIN, &[&before, args].concat(), &[])
    }

    fn add(&self, file: &str, more: &[&str]) -> Ran {
        let passphrase = self.world.passphrase();
        let add = [
            "vault",
            "slot",
            "add",
            "systemd-creds",
            "--with-key",
            "host",
        ];
        let with = ["-o", file, "--passphrase-file", &passphrase];
        self.run(&[&add[..], &with, more].concat())
    }

    fn decrypt(&self, host: &str, name: &str, file: &str) -> Ran {
        let name = format!("--name={name}");
        on(host, "systemd-creds", &[&name, "decrypt", file, "-"], &[])
    }

    /// A command as a service that got the key as its credential.
    fn as_service(&self, file: &str, args: &[&str]) -> Ran {
        let key = self.decrypt(&self.host, "reseal.key", file).ok().stdout;
        let folder = self.world.beside("credentials");
        fs::create_dir_all(&folder).unwrap();
        self.world.private_file("credentials/reseal.key", &key);
        let mut command = self.world.command(args);
        command.env("CREDENTIALS_DIRECTORY", folder);
        finish(command, None)
    }

    fn kinds(&self) -> Vec<String> {
        let list = self.world.run(&["--json", "vault", "slot", "list"]).ok();
        let list = list.json();
        let slots = list["slots"].as_array().unwrap().iter();
        let kind = |slot: &Value| slot["kind"].as_str().unwrap().to_owned();
        slots.map(kind).collect()
    }
}

#[test]
fn a_systemd_credential_opens_the_vault_on_its_machine_only() {
    let machine = Machine::new();
    machine.world.store("canary", "value");
    let file = machine.world.beside("etc/reseal.key.cred");
    let added = machine.add(&file, &["--label", "server"]).ok();
    let lines = format!("[Service]\nLoadCredentialEncrypted=reseal.key:{file}\n");
    assert_eq!(added.text(), lines);
    assert!(added.stderr.contains("Added keyslot"), "{}", added.stderr);
    assert_eq!(mode(Path::new(&file)), 0o600);
    assert_eq!(machine.kinds(), ["passphrase", "systemd"]);
    let got = machine.as_service(&file, &["secrets", "get", "-n", "canary"]);
    assert_eq!(got.ok().text(), "value");

    // Not under another name, not on another machine, and the file does not hold the key itself.
    let refused = machine.decrypt(&machine.host, "another.name", &file);
    assert_ne!(refused.code, 0);
    let refused = machine.decrypt(&machine.world.beside("elsewhere"), "reseal.key", &file);
    assert_ne!(refused.code, 0);
    let key = machine.decrypt(&machine.host, "reseal.key", &file).stdout;
    assert_eq!(key.len(), 32);
    let text = fs::read(&file).unwrap();
    let text = data_encoding::BASE64
        .decode(
            &text
                .iter()
                .copied()
                .filter(|c| *c != b'\n')
                .collect::<Vec<_>>(),
        )
        .unwrap();
    assert!(!text.windows(32).any(|part| part == key));
}

#[test]
fn a_credential_is_never_written_over_and_goes_if_no_slot_came_of_it() {
    let machine = Machine::new();
    let file = machine.world.beside("key.cred");
    machine.add(&file, &[]).ok();
    let (vault, credential) = (
        fs::read(machine.world.vault()).unwrap(),
        fs::read(&file).unwrap(),
    );
    let again = machine.add(&file, &[]).code(8);
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);
    let other = machine.world.beside("other.cred");
    let wrong = machine.world.private_file("wrong", b"wrong");
    let add = ["vault", "slot", "add", "systemd-creds", "--with-key=host"];
    let with = ["-o", &other, "--passphrase-file", &wrong];
    machine.run(&[add.as_slice(), &with].concat()).code(5);
    assert!(!Path::new(&other).exists());
    assert_eq!(fs::read(machine.world.vault()).unwrap(), vault);
    assert_eq!(fs::read(&file).unwrap(), credential);
}

/// The calls that make files durable and start programs, in the order of a run.
#[test]
fn the_credential_is_durable_and_decrypted_before_the_vault_has_the_slot() {
    let machine = Machine::new();
    let (file, trace) = (
        machine.world.beside("key.cred"),
        machine.world.beside("trace"),
    );
    let passphrase = machine.world.passphrase();
    let state = machine.world.state();
    let args = [
        "-f",
        "-y",
        "-qq",
        "-o",
        &trace,
        "-e",
        "trace=execve,fsync,renameat2,rename",
        BIN,
        "--no-input",
        "--state-dir",
        state.to_str().unwrap(),
        "vault",
        "slot",
        "add",
        "systemd-creds",
        "--with-key",
        "host",
        "-o",
        &file,
        "--passphrase-file",
        &passphrase,
    ];
    on(&machine.host, "strace", &args, &[]).ok();
    let trace = fs::read_to_string(trace).unwrap();
    let place = |what: &[&str]| {
        let found = |line: &str| what.iter().all(|part| line.contains(part));
        let place = trace.lines().position(found);
        place.unwrap_or_else(|| panic!("no {what:?} in\n{trace}"))
    };
    let named = place(&["renameat2(", "key.cred\""]);
    let folder = fs::canonicalize(Path::new(&file).parent().unwrap()).unwrap();
    let flushed = place(&["fsync(", &format!("<{}>", folder.display())]);
    let decrypted = place(&["execve(", "\"decrypt\""]);
    let in_vault = place(&["rename", "vault.reseal\")"]);
    let order = [named, flushed, decrypted, in_vault];
    assert!(order.is_sorted(), "{order:?}\n{trace}");
}

/// A user of every Debian system whose group has another number, and the home of that user.
const OWNER: (u32, u32, &str) = (5, 60, "/usr/games");

fn run(program: &str, args: &[&str]) {
    let mut command = Command::new(program);
    command.args(args);
    finish(command, None).ok();
}

#[test]
fn the_owner_of_the_vault_gets_nothing_of_roots_but_the_key() {
    let machine = Machine::new();
    let world = &machine.world;
    let at = |name: &str| world.beside(name);
    let (program, trace, file) = (at("reseal"), at("trace"), at("key.cred"));
    let root = Path::new(&program).parent().unwrap();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    run("install", &["-m", "755", BIN, &program]);
    let (state, passphrase) = (at("state"), world.passphrase());
    let command = [
        &program,
        "--no-input",
        "--state-dir",
        &state,
        "vault",
        "slot",
        "add",
        "systemd-creds",
        "--with-key=host",
        "-o",
        &file,
    ];
    let environment = [
        ("ROOT_TOKEN", "canary-of-root"),
        ("CREDENTIALS_DIRECTORY", "/canary-of-root"),
        ("LANG", "C.UTF-8"),
    ];
    let add = |more: &[&str]| {
        let strace = [
            "-f",
            "-v",
            "-qq",
            "-s",
            "4096",
            "-o",
            &trace,
            "-e",
            "execve,setgid",
        ];
        let args = [&strace[..], &command, more].concat();
        on(&machine.host, "strace", &args, &environment)
    };
    // The folder's group is root's, which the owner is not in.
    let whose = format!("{}:0", OWNER.0);
    run("chown", &["-R", &whose, &state, &passphrase]);
    let refused = add(&["--passphrase-fd", "0"]).code(2);
    assert!(refused.stderr.contains("another descriptor"), "{refused:?}");
    add(&["--passphrase-file", &passphrase]).ok();
    let trace = fs::read_to_string(&trace).unwrap();
    let started = trace.lines().find(|line| line.contains("--key-on-stdin"));
    let started = started.unwrap_or_else(|| panic!("{trace}"));
    assert!(!started.contains("canary-of-root"), "{started}");
    for passed_on in ["LANG=C.UTF-8", &format!("HOME={}", OWNER.2)] {
        assert!(started.contains(passed_on), "{passed_on}: {started}");
    }
    assert!(trace.contains(&format!("setgid({})", OWNER.1)), "{trace}");
    assert!(!trace.contains("setgid(0)"), "{trace}");

    run("chown", &["-R", "123456:0", &state, &passphrase]);
    fs::remove_file(&file).unwrap();
    let refused = add(&["--passphrase-file", &passphrase]).code(5);
    assert!(
        refused.stderr.contains("is not in /etc/passwd"),
        "{refused:?}"
    );
    assert!(!Path::new(&file).exists());
    run("chown", &["-R", "0:0", &state, &passphrase]);
    assert_eq!(machine.kinds(), ["passphrase", "systemd"]);
}

#[test]
fn a_drop_in_with_other_lines_stays_and_nothing_is_added() {
    let machine = Machine::new();
    let (file, drop_in) = (
        machine.world.beside("key.cred"),
        machine.world.private_file("key.conf", b"[Service]\n"),
    );
    let add = || machine.add(&file, &["--drop-in", &drop_in]);
    let refused = add().code(8);
    assert!(refused.stderr.contains("other lines"), "{refused:?}");
    assert_eq!(fs::read(&drop_in).unwrap(), b"[Service]\n");
    assert!(!Path::new(&file).exists());
    assert_eq!(machine.kinds(), ["passphrase"]);
    fs::remove_file(&drop_in).unwrap();
    add().ok();
    assert_eq!(mode(Path::new(&drop_in)), 0o644);
    fs::remove_file(&file).unwrap();
    // The same lines are no harm.
    add().ok();
}

#[test]
fn the_last_slot_that_does_not_hang_on_the_machine_stays() {
    let machine = Machine::new();
    let world = &machine.world;
    machine.add(&world.beside("key.cred"), &[]).ok();
    let list = world.run(&["--json", "vault", "slot", "list"]).ok().json();
    let first = list["slots"][0]["id"].as_str().unwrap();
    let remove = ["vault", "slot", "remove", first, "--yes"];
    let refused = world.with_passphrase(&remove).code(5);
    assert!(refused.stderr.contains("slot add recovery"), "{refused:?}");
    assert_eq!(machine.kinds(), ["passphrase", "systemd"]);
    let key = world.beside("key");
    let add = ["vault", "slot", "add", "key", &key, "--generate"];
    world.with_passphrase(&add).ok();
    let by_key = |args: &[&str]| machine.run(&[args, &["--key-file", &key]].concat()).ok();
    by_key(&remove);
    assert_eq!(machine.kinds(), ["systemd", "key"]);

    // No person can open it now, which is said when a further slot binds it to the machine.
    let other = world.beside("other.cred");
    let add = [
        "vault",
        "slot",
        "add",
        "systemd-creds",
        "--with-key=host",
        "-o",
        &other,
    ];
    let ran = by_key(&add);
    let said = "neither a recovery code nor a passphrase";
    assert!(ran.stderr.contains(said), "{ran:?}");
}

#[test]
fn a_new_root_key_keeps_the_credential_as_it_is() {
    let machine = Machine::new();
    let file = machine.world.beside("key.cred");
    machine.add(&file, &[]).ok();
    let passphrase = machine.world.passphrase();
    let rekey = ["vault", "rekey", "--passphrase-file", &passphrase];
    machine.world.run(&rekey).code(5);
    let key = machine.decrypt(&machine.host, "reseal.key", &file).stdout;
    let key = machine.world.private_file("key", &key);
    let both = ["--key-file", &key];
    machine.world.run(&[&rekey[..], &both].concat()).ok();
    assert_eq!(machine.kinds(), ["passphrase", "systemd"]);
    machine.as_service(&file, &["secrets", "list"]).ok();
}

#[test]
fn a_tpm_gives_the_key_to_this_machine_in_this_state_only() {
    let machine = Machine::new();
    machine.world.store("canary", "value");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/systemd/tpm.sh");
    let mut command = Command::new("bash");
    command.arg(script).arg(BIN).arg(machine.world.beside(""));
    let ran = finish(command, None);
    for fact in [
        "slot added",
        "opened with the TPM: value",
        "refused after a change of register 7",
        "refused by another TPM",
    ] {
        assert!(ran.text().contains(fact), "{fact}\n{ran:?}");
    }
    assert_eq!(machine.kinds(), ["passphrase", "tpm"]);
    let unit = fs::read_to_string(machine.world.beside("unit.d/key.conf")).unwrap();
    let cred = machine.world.beside("tpm.cred");
    assert_eq!(
        unit,
        format!("[Service]\nLoadCredentialEncrypted=reseal.key:{cred}\n")
    );
}

#[test]
fn a_machine_without_a_tpm_is_told_so() {
    let machine = Machine::new();
    let passphrase = machine.world.passphrase();
    let file = machine.world.beside("key.cred");
    let add = ["vault", "slot", "add", "tpm", "-o", &file];
    let ran = machine.run(&[&add[..], &["--passphrase-file", &passphrase]].concat());
    // Where the test machine has a TPM of its own, it is used.
    if Path::new("/dev/tpmrm0").exists() {
        ran.ok();
        return;
    }
    let ran = ran.code(6);
    assert!(ran.stderr.contains("no TPM2"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--with-key host"), "{}", ran.stderr);
    assert!(!Path::new(&file).exists());
    machine
        .run(&[&add[..], &["--with-key", "host"]].concat())
        .code(2);
    machine
        .run(&[&add[..], &["--tpm2-pcrs", ""]].concat())
        .code(2);
    machine
        .run(&[&add[..], &["--tpm2-pcrs", "7+24"]].concat())
        .code(2);
}
