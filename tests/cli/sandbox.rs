//! The daemon's sandbox and its broker, with real daemons: what is given up, that all work goes on,
//! and what becomes of hostile commands.

use super::world::{Ran, World, mode};
use age::secrecy::ExposeSecret;
use age::x25519::Identity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// How long something may take that will happen.
const PATIENCE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// Writes a script beside the state folder; gives its path.
fn script(world: &World, name: &str, body: &str) -> String {
    let path = world.private_file(name, format!("#!/bin/sh\n{body}\n").as_bytes());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

fn answering(world: &World, name: &str, value: &str) -> String {
    let answer = format!("{{\"protocolVersion\":1,\"values\":{{\"a\":\"{value}\"}}}}");
    script(world, name, &format!("cat > /dev/null; echo '{answer}'"))
}

/// A config in which each command, and each file, is wanted by a provider of its own.
fn config(world: &World, commands: &[(&str, Value)], files: &[(&str, &str)]) -> Value {
    let (mut providers, mut models) = (json!({}), json!({}));
    for (alias, command) in commands {
        providers[alias] = command.clone();
        providers[alias]["source"] = "exec".into();
        models[alias] = json!({"apiKey": {"source": "exec", "provider": alias, "id": "a"}});
    }
    for (alias, path) in files {
        providers[alias] = json!({"source": "file", "path": path, "mode": "singleValue"});
        models[alias] = json!({"apiKey": {"source": "file", "provider": alias, "id": "value"}});
    }
    json!({
        "secrets": {"providers": providers},
        "models": {"providers": models},
        "daemon": {"hooks": {"onChange": {"command": script(
            world,
            "hook",
            &format!("cat > {}", world.beside("told")),
        )}}},
    })
}

fn write_config(world: &World, config: &Value) {
    fs::write(world.config(), config.to_string()).unwrap();
}

fn status(world: &World) -> Value {
    world.run(&["--json", "vault", "status"]).ok().json()
}

fn process(number: &Value) -> (Pid, OwnedFd) {
    let number = i32::try_from(number.as_u64().unwrap()).unwrap();
    let pid = Pid::from_raw(number).unwrap();
    (pid, pidfd_open(pid, PidfdFlags::empty()).unwrap())
}

#[track_caller]
fn ends(process: &OwnedFd) {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    let ended = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&PATIENCE))).unwrap();
    assert_eq!(ended, 1, "it is still there");
}

/// What a ref gives through the daemon.
fn resolved(world: &World, reference: &str) -> Ran {
    let variable = format!("A={reference}");
    let print = "printf %s \"$A\"";
    world.run(&["run", "--env", &variable, "--", "/bin/sh", "-c", print])
}

/// A FIFO that a command holds open, to learn when all its holders have ended.
struct Holders(File);

impl Holders {
    fn of(path: &str) -> Self {
        let made = Command::new("/usr/bin/mkfifo").arg(path).status().unwrap();
        assert!(made.success());
        let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let reader = File::options().read(true).custom_flags(flags).open(path);
        Self(reader.unwrap())
    }

    /// Waits for somebody who holds it to write something; gives that.
    fn text(&mut self) -> String {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&PATIENCE)).unwrap(), 1, "nobody came");
        let mut text = [0; 1024];
        let len = self.0.read(&mut text).unwrap();
        String::from_utf8(text[..len].to_vec()).unwrap()
    }

    /// True once nobody has it open for writing any more.
    fn all_end(&mut self) -> bool {
        loop {
            match self.0.read(&mut [0; 64]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
            }
            if poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&PATIENCE)).unwrap() == 0 {
                return false;
            }
        }
    }
}

fn foreground(world: &World) -> Child {
    let passphrase = world.passphrase();
    serving(
        world,
        &mut world.command(&["daemon", "--passphrase-file", &passphrase]),
    )
}

/// Starts it, and waits until it serves.
fn serving(world: &World, command: &mut Command) -> Child {
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !world.state().join("run/daemon.sock").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the daemon ended");
        std::thread::yield_now();
    }
    child
}

/// The lines of `/proc/PID/status` that tell of it.
fn is_held(pid: &Value) {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    assert_eq!(line("Seccomp:"), "2");
    assert_eq!(line("NoNewPrivs:"), "1");
}

fn works_under_its_sandbox(world: &World, told: &mut Holders) {
    let status = status(world);
    let daemon = &status["daemon"];
    is_held(&daemon["pid"]);
    assert_eq!(daemon["sandbox"]["seccomp"], true);
    assert!(
        daemon["sandbox"]["landlock"].as_u64() >= Some(1),
        "{status}"
    );
    assert_eq!(resolved(world, "exec@one:a").ok().text(), "first");
    assert_eq!(
        resolved(world, "file@filed:value").ok().text(),
        "from a file"
    );

    // What the config names later works as well; so does the hook, which hears of it.
    let second = answering(world, "second", "later");
    let other = world.private_file("other-file", b"another file");
    let first = json!({"command": world.beside("first")});
    let commands = [("one", first), ("two", json!({"command": second}))];
    let mut config = config(
        world,
        &commands,
        &[("filed", &world.beside("file")), ("later", &other)],
    );
    let vault_ref = json!({"source": "vault", "provider": "default", "id": "k"});
    config["models"]["providers"]["stored"] = json!({ "apiKey": vault_ref });
    world.store("k", "v1");
    write_config(world, &config);
    let report = world.run(&["--json", "secrets", "reload"]).ok().json();
    assert_eq!(report["snapshot"]["state"], "active", "{report}");
    assert_eq!(resolved(world, "exec@two:a").ok().text(), "later");
    assert_eq!(
        resolved(world, "file@later:value").ok().text(),
        "another file"
    );
    world.store("k", "v2");
    let event = told.text();
    assert!(
        event.starts_with("{\"event\":\"changed\",\"refs\":["),
        "{event}"
    );

    world.run(&["vault", "compact"]).ok();
    world.with_passphrase(&["vault", "rekey"]).ok();
    world.store("k", "v3");
    assert_eq!(world.value("k"), "v3");
    world.run(&["vault", "verify"]).ok();
}

/// A world with a command and a file that are wanted, and where the change hook is heard.
fn started() -> (World, Holders) {
    let world = World::new();
    let told = Holders::of(&world.beside("told"));
    let first = answering(&world, "first", "first");
    let file = world.private_file("file", b"from a file");
    let commands = [("one", json!({ "command": first }))];
    write_config(&world, &config(&world, &commands, &[("filed", &file)]));
    (world, told)
}

#[test]
fn a_daemon_in_the_foreground_works_under_its_sandbox() {
    let (world, mut told) = started();
    let mut child = foreground(&world);
    works_under_its_sandbox(&world, &mut told);
    world.run(&["vault", "lock"]).ok();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_detached_daemon_works_under_its_sandbox_and_its_broker_ends_with_it() {
    let (world, mut told) = started();
    world.unlock();
    works_under_its_sandbox(&world, &mut told);
    let (_, broker) = process(&status(&world)["daemon"]["sandbox"]["broker"]);
    let log = fs::read_to_string(world.state().join("run/daemon.log")).unwrap();
    assert!(log.contains("sandbox: Landlock version "), "{log}");
    let doctor = world.run(&["--json", "doctor"]).ok().json();
    let findings = doctor["findings"].as_array().unwrap();
    let sandbox = findings
        .iter()
        .find(|f| f["check"] == "sandbox" && f["severity"] == "ok");
    let message = sandbox.unwrap()["message"].as_str().unwrap();
    assert!(message.starts_with("the daemon is held by "), "{message}");
    world.run(&["vault", "lock"]).ok();
    ends(&broker);
}

#[test]
fn a_config_outside_the_state_folder_is_read_again_under_the_sandbox() {
    let mut world = World::new();
    let path = world.beside("elsewhere.json");
    world.global.extend(["--config".to_owned(), path.clone()]);
    let first = answering(&world, "first", "first");
    let commands = [("one", json!({ "command": first }))];
    fs::write(&path, config(&world, &commands, &[]).to_string()).unwrap();
    world.unlock();
    assert_eq!(resolved(&world, "exec@one:a").ok().text(), "first");
    let second = answering(&world, "second", "second");
    let commands = [("one", json!({ "command": second }))];
    // As editors do it: another file under the same name.
    let new = world.private_file("new", config(&world, &commands, &[]).to_string().as_bytes());
    fs::rename(new, &path).unwrap();
    world.run(&["secrets", "reload"]).ok();
    assert_eq!(resolved(&world, "exec@one:a").ok().text(), "second");
}

#[test]
fn a_daemon_in_the_foreground_takes_paths_from_where_it_is_started() {
    let mut world = World::new();
    let folder = world.beside("");
    world
        .global
        .extend(["--config".to_owned(), "elsewhere.json".to_owned()]);
    let first = answering(&world, "first", "first");
    let commands = [("one", json!({ "command": first }))];
    let path = world.beside("elsewhere.json");
    fs::write(&path, config(&world, &commands, &[]).to_string()).unwrap();
    let passphrase = world.passphrase();
    let mut command = world.command(&["daemon", "--passphrase-file", &passphrase]);
    let mut child = serving(&world, command.current_dir(folder));
    world.global.clear();
    assert_eq!(resolved(&world, "exec@one:a").ok().text(), "first");
    world.run(&["vault", "lock"]).ok();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_daemon_whose_vault_lies_among_other_things_says_what_it_reaches() {
    let world = World::new();
    let vault = world.state().join("vault.reseal");
    let home = world.beside("");
    let elsewhere = world.beside("own.reseal");
    fs::rename(&vault, &elsewhere).unwrap();
    write_config(&world, &json!({"vault": {"path": elsewhere}}));
    let passphrase = world.passphrase();
    let mut command = world.command(&["daemon", "--passphrase-file", &passphrase]);
    let mut child = serving(&world, command.env("HOME", &home));
    let reached = &status(&world)["daemon"]["sandbox"]["wide"];
    assert!(home.starts_with(reached[0].as_str().unwrap()), "{reached}");
    let doctor = world.run(&["--json", "doctor"]).json();
    let findings = doctor["findings"].as_array().unwrap();
    let of_sandbox = |f: &&Value| f["check"] == "sandbox" && f["severity"] == "warning";
    let message = findings.iter().find(of_sandbox).unwrap()["message"].as_str();
    assert!(
        message.unwrap().contains("could reach all that is in "),
        "{message:?}"
    );
    world.run(&["vault", "lock"]).ok();
    assert!(child.wait().unwrap().success());
}

#[test]
fn without_its_broker_a_daemon_goes_on_and_says_what_it_can_not_do() {
    let (world, _told) = started();
    world.unlock();
    world.store("k", "v1");
    let (pid, broker) = process(&status(&world)["daemon"]["sandbox"]["broker"]);
    kill_process(pid, Signal::KILL).unwrap();
    ends(&broker);
    let report = world.run(&["--json", "secrets", "reload"]).json();
    assert_eq!(report["snapshot"]["state"], "degraded");
    let failures = report["snapshot"]["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 2, "{report}");
    for failure in failures {
        let text = failure["failure"]["message"].as_str().unwrap();
        assert!(
            text.ends_with("has ended: lock the vault and unlock it again"),
            "{text}"
        );
    }
    // The last good values serve.
    assert_eq!(resolved(&world, "exec@one:a").ok().text(), "first");
    assert_eq!(world.value("k"), "v1");
    world.store("k", "v2");
    assert!(status(&world)["daemon"]["sandbox"]["broker"].is_null());
    let doctor = world.run(&["--json", "doctor"]).code(1).json();
    let findings = doctor["findings"].as_array().unwrap();
    let ended = findings
        .iter()
        .find(|f| f["check"] == "sandbox" && f["severity"] == "error");
    assert_eq!(
        ended.unwrap()["remedy"],
        "reseal vault lock, then unlock again"
    );
    world.run(&["vault", "lock"]).ok();
    world.unlock();
    assert_eq!(resolved(&world, "exec@one:a").ok().text(), "first");
}

/// A daemon with a command that has to end; what is still to be heard of its descendants.
fn hostile(body: &str, more: &Value) -> (World, Holders) {
    let world = World::new();
    let fifo = world.beside("fifo");
    // A descendant in a session of its own, whose parent has ended, deaf to polite signals.
    let deaf = format!(
        "trap '' TERM INT HUP; exec 9> {fifo}; echo $$ >&9; : > ready; exec /bin/sleep 600"
    );
    let hidden = script(&world, "hidden", &deaf);
    let body = body.replace("HIDDEN", &format!("(setsid /bin/sh {hidden} &)"));
    let mut provider = json!({"command": script(&world, "hostile", &body)});
    for (option, value) in more.as_object().unwrap() {
        provider[option] = value.clone();
    }
    let holders = Holders::of(&fifo);
    write_config(&world, &config(&world, &[("bad", provider)], &[]));
    (world, holders)
}

#[test]
fn whatever_a_command_that_is_late_has_started_ends_in_whatever_session_it_hides() {
    let body = "trap '' TERM INT HUP; HIDDEN; while :; do /bin/sleep 600; done";
    let (world, mut holders) = hostile(body, &json!({"timeoutMs": 3000}));
    world.unlock();
    holders.text();
    assert!(holders.all_end(), "a descendant is still alive");
    let said = resolved(&world, "exec@bad:a").code(6).stderr;
    assert!(said.contains("timed out after 3000ms"), "{said}");
}

#[test]
fn whatever_a_command_that_writes_without_end_has_started_ends() {
    let body = "HIDDEN; while [ ! -e ready ]; do :; done; exec /usr/bin/yes";
    let (world, mut holders) = hostile(body, &json!({"maxOutputBytes": 1000}));
    world.unlock();
    holders.text();
    assert!(holders.all_end(), "a descendant is still alive");
    let said = resolved(&world, "exec@bad:a").stderr;
    assert!(said.contains("exceeded maxOutputBytes (1000)"), "{said}");
}

#[test]
fn what_a_command_leaves_behind_on_success_is_left_alone() {
    let answer = r#"{"protocolVersion":1,"values":{"a":"good"}}"#;
    let (world, mut holders) = hostile(&format!("HIDDEN; echo '{answer}'"), &json!({}));
    world.unlock();
    let pid = holders.text().trim().parse().unwrap();
    assert_eq!(resolved(&world, "exec@bad:a").ok().text(), "good");
    // It fails if nobody is there.
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_daemon_that_is_killed_takes_its_broker_and_running_commands_along() {
    let body = "HIDDEN; exec /bin/sleep 600";
    let (world, mut holders) = hostile(body, &json!({"timeoutMs": 100_000}));
    let passphrase = world.passphrase();
    let mut command = world.command(&["daemon", "--passphrase-file", &passphrase]);
    // It waits for the command before it serves.
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    holders.text();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(holders.all_end(), "a descendant is still alive");
}

/// The detached daemon goes into its sandbox before it has its place.
#[test]
fn a_detached_daemon_makes_the_folder_of_its_socket_as_open_as_it_is_shared() {
    for (share, folder_mode, socket_mode) in [
        ("own", 0o700, 0o600),
        ("group", 0o750, 0o660),
        ("everyone", 0o755, 0o666),
    ] {
        let world = World::new();
        let socket = PathBuf::from(world.beside("shared/daemon.sock"));
        let config = json!({"daemon": {"socket": socket, "share": share}});
        fs::write(world.config(), config.to_string()).unwrap();
        world.unlock();
        assert_eq!(mode(socket.parent().unwrap()), folder_mode, "{share}");
        assert_eq!(mode(&socket), socket_mode, "{share}");
    }
}

/// Its content is another file's by then: what was allowed by its old one would not open it.
#[test]
fn an_identity_that_was_replaced_opens_its_vault_at_the_next_reload() {
    let world = World::new();
    let other = World::new();
    other.store("shared", "from the other vault");
    let (right, wrong) = (Identity::generate(), Identity::generate());
    let recipient = right.to_public().to_string();
    other
        .with_passphrase(&["vault", "slot", "add", "recipient", &recipient])
        .ok();
    let text = |key: &Identity| key.to_string().expose_secret().to_owned();
    let identity = world.private_file("identity", text(&right).as_bytes());
    // It is somebody's whose fingerprint was checked.
    write_config(&world, &json!({"vault": {"path": other.vault()}}));
    let fingerprint = world.run(&["vault", "fingerprint"]).ok();
    let fingerprint = fingerprint.text().trim();
    world
        .run(&["vault", "trust", fingerprint, "--identity", &identity])
        .ok();
    fs::write(&identity, text(&wrong)).unwrap();
    let config = json!({
        "secrets": {"providers": {"team": {
            "source": "vault", "path": other.vault(), "identity": identity,
        }}},
        "models": {"providers": {"m": {
            "apiKey": {"source": "vault", "provider": "team", "id": "shared"},
        }}},
    });
    write_config(&world, &config);
    world.unlock();
    resolved(&world, "vault@team:shared").code(5);
    let new = world.private_file("new", text(&right).as_bytes());
    fs::rename(new, &identity).unwrap();
    let report = world.run(&["--json", "secrets", "reload"]).ok().json();
    assert_eq!(report["snapshot"]["state"], "active", "{report}");
    let value = resolved(&world, "vault@team:shared").ok();
    assert_eq!(value.text(), "from the other vault");
}
