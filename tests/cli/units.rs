//! `daemon install`: the files, what is never written over, and what systemd says of them.

use super::world::{Ran, World, finish};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program that exists on every machine, for units that are only looked at.
const PROGRAM: &str = "/usr/bin/true";

fn install(world: &World, more: &[&str]) -> Ran {
    let prefix = world.beside("root");
    let args = ["daemon", "install", "--prefix", &prefix];
    let mut command = world.command(&[&args[..], more].concat());
    if !more.contains(&"--program") {
        command.args(["--program", PROGRAM]);
    }
    command.env("HOME", world.beside("home"));
    finish(command, None)
}

fn unit(world: &World, name: &str) -> PathBuf {
    PathBuf::from(world.beside("root/etc/systemd/system")).join(name)
}

fn actions(ran: Ran) -> Vec<String> {
    let json = ran.ok().json();
    let action = |unit: &Value| unit["action"].as_str().unwrap().to_owned();
    json["units"]
        .as_array()
        .unwrap()
        .iter()
        .map(action)
        .collect()
}

#[test]
fn units_are_written_once_and_an_edited_one_stays() {
    let world = World::empty();
    let json = |more: &[&str]| {
        install(
            &world,
            &[&["--json", "--system", "--with-socket"], more].concat(),
        )
    };
    let dry = json(&["--dry-run"]);
    assert_eq!(actions(dry), ["written", "written"]);
    assert!(!unit(&world, "reseal.service").exists());
    assert_eq!(actions(json(&[])), ["written", "written"]);
    let service = unit(&world, "reseal.service");
    let text = fs::read_to_string(&service).unwrap();
    assert_eq!(super::world::mode(&service), 0o644);
    assert_eq!(super::world::mode(service.parent().unwrap()), 0o755);
    assert_eq!(actions(json(&[])), ["unchanged", "unchanged"]);

    // A credential in its usual place is found, and changes the unit that nobody edited.
    assert!(!text.contains("LoadCredential"), "{text}");
    fs::create_dir_all(world.beside("root/etc/reseal")).unwrap();
    world.private_file("root/etc/reseal/reseal.key.cred", b"x");
    assert_eq!(actions(json(&[])), ["updated", "unchanged"]);
    let text = fs::read_to_string(&service).unwrap();
    let line = "\nLoadCredentialEncrypted=reseal.key:/etc/reseal/reseal.key.cred\n";
    assert!(text.contains(line), "{text}");
    assert_eq!(
        actions(json(&["--share", "everyone"])),
        ["updated", "updated"]
    );
    assert_eq!(actions(json(&["--share", "own"])), ["updated", "updated"]);

    let edited = text.replace("RestartSec=5", "RestartSec=9");
    fs::write(&service, &edited).unwrap();
    let refused = json(&[]).code(8);
    assert!(refused.stderr.contains("was edited"), "{}", refused.stderr);
    assert_eq!(fs::read_to_string(&service).unwrap(), edited);
    assert_eq!(actions(json(&["--dry-run"])), ["edited", "unchanged"]);
    assert_eq!(actions(json(&["--force"])), ["replaced", "unchanged"]);
    assert_eq!(fs::read_to_string(&service).unwrap(), text);
}

#[test]
fn a_unit_names_only_what_it_can_see_and_the_commands_that_come_next() {
    let world = World::empty();
    let ran = install(&world, &["--system", "--program", "/home/me/reseal"]).code(2);
    assert!(ran.stderr.contains("does not see /home"), "{}", ran.stderr);
    install(&world, &["--system", "--program", "/opt/a b/reseal"]).code(2);
    install(&world, &["--system", "--user"]).code(2);
    install(&world, &["--system", "--credential", "a b"]).code(2);
    // The daemon's own options stand alone.
    world.run(&["daemon", "--idle", "5m", "install"]).code(2);
    let ran = install(&world, &["--system"]).ok();
    for next in [
        "useradd -r",
        "init",
        "daemon-reload",
        "enable --now reseal.service",
    ] {
        assert!(ran.stderr.contains(next), "{next}: {}", ran.stderr);
    }
    assert!(ran.stderr.contains("no credential"), "{}", ran.stderr);
    let key = world.private_file("key", b"x");
    install(&world, &["--system", "--key-file", &key]).ok();
    let text = fs::read_to_string(unit(&world, "reseal.service")).unwrap();
    assert!(
        text.contains(&format!("\nLoadCredential=reseal.key:{key}\n")),
        "{text}"
    );
}

/// The commands that are told.
fn next(ran: Ran) -> Vec<String> {
    let json = ran.ok().json();
    let next = json["next"].as_array().unwrap().iter();
    next.map(|line| line.as_str().unwrap().to_owned()).collect()
}

#[test]
fn options_of_the_installed_units_are_not_taken_away_without_a_word() {
    let world = World::empty();
    let key = world.private_file("key", b"x");
    let system = |more: &[&str]| install(&world, &[&["--json", "--system"], more].concat());
    let all = ["--with-socket", "--share", "everyone", "--key-file", &key];
    system(&all).ok();
    let units = ["reseal.service", "reseal.socket"].map(|name| unit(&world, name));
    let texts = || {
        units
            .each_ref()
            .map(|path| fs::read_to_string(path).unwrap())
    };
    let before = texts();

    let refused = system(&[]).code(8);
    let again = format!("--share everyone --key-file {key}");
    assert!(refused.text().contains(&again), "{refused:?}");
    assert!(
        refused.text().contains("--system --with-socket"),
        "{refused:?}"
    );
    // Unnamed, the program is this one, which a unit may see or not, wherever the tests are run.
    let args = ["--json", "daemon", "install", "--system", "--prefix"];
    let other = world.run(&[&args[..], &[&world.beside("root")], &all].concat());
    let seen = !other.text().contains("it does not see");
    let other = other.code(if seen { 8 } else { 2 });
    let program = format!("--program {PROGRAM}");
    assert_eq!(other.text().contains(&program), seen);
    assert_eq!(texts(), before);

    // The socket that is there stays in step, named or not.
    assert_eq!(actions(system(&all[1..])), ["unchanged", "unchanged"]);
    let group = ["--share", "group", "--key-file", &key];
    assert_eq!(actions(system(&group)), ["updated", "updated"]);
    let [service, socket] = texts();
    assert!(
        service.contains("\nRuntimeDirectoryMode=0750\n"),
        "{service}"
    );
    assert!(socket.contains("\nSocketMode=0660\n"), "{socket}");
    assert_eq!(actions(system(&["--force"])), ["updated", "updated"]);
    let [service, socket] = texts();
    assert!(
        service.contains("\nRuntimeDirectoryMode=0700\n"),
        "{service}"
    );
    assert!(socket.contains("\nSocketMode=0600\n"), "{socket}");
}

#[test]
fn what_changes_a_running_service_is_told_with_its_stop_and_all_options() {
    let world = World::empty();
    let stop = |socket: &str| format!("systemctl stop {socket}reseal.service");
    let start = |socket: &str| format!("systemctl enable --now {socket}reseal.service");
    let system = |more: &[&str]| next(install(&world, &[&["--json", "--system"], more].concat()));
    let first = system(&["--share", "everyone"]);
    assert!(first.contains(&start("")), "{first:?}");
    assert!(!first.contains(&stop("")), "{first:?}");
    let again = format!(
        "reseal daemon install --system --share everyone --program {PROGRAM} --prefix {}",
        world.beside("root")
    );
    assert!(
        first.iter().any(|line| same_words(line, &again)),
        "{first:?}"
    );
    let ends_with_restart = |next: &[String]| {
        let last = [stop("reseal.socket "), start("reseal.socket ")];
        assert!(next.ends_with(&last), "{next:?}");
    };
    ends_with_restart(&system(&["--share", "everyone", "--with-socket"]));
    let service = unit(&world, "reseal.service");
    fs::write(&service, "[Service]\n").unwrap();
    ends_with_restart(&system(&["--share", "everyone", "--force"]));
    let same = system(&["--share", "everyone"]);
    assert!(!same.contains(&stop("reseal.socket ")), "{same:?}");
}

fn same_words(one: &str, other: &str) -> bool {
    let words = |text: &str| {
        let mut words: Vec<_> = text.split(' ').map(str::to_owned).collect();
        words.sort();
        words
    };
    words(one) == words(other)
}

#[test]
fn a_key_that_others_can_read_is_warned_of() {
    let world = World::empty();
    let key = world.private_file("key", b"x");
    let args = ["--user", "--key-file", &key];
    let ran = install(&world, &args).ok();
    assert!(!ran.stderr.contains("others"), "{}", ran.stderr);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    let ran = install(&world, &args).ok();
    assert!(ran.stderr.contains("others can read it"), "{}", ran.stderr);
}

/// Restarted at its own pace the service never meets the limit of systemd, after which it would be
/// down for good; started by a client through the socket again and again, it does.
#[test]
fn a_daemon_that_fails_for_a_while_is_tried_again_without_an_end() {
    let world = World::empty();
    install(&world, &["--system"]).ok();
    let text = fs::read_to_string(unit(&world, "reseal.service")).unwrap();
    let line = |key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key));
        found.unwrap_or_else(|| panic!("no {key} in {text}"))
    };
    let number = |key: &str| line(key).parse::<u32>().unwrap();
    let (pace, burst) = (number("RestartSec="), number("StartLimitBurst="));
    let interval = number("StartLimitIntervalSec=");
    assert!(interval > 0 && pace * (burst - 1) > interval, "{text}");
    assert_eq!(line("After="), "network-online.target");
    assert_eq!(line("Wants="), "network-online.target");
    // A wrong option or config, sealed, denied, corrupt: not what time mends.
    assert_eq!(line("RestartPreventExitStatus="), "2 4 5 7");
}

/// What one of systemd's programs says of units; panics unless it is content.
fn analyze(args: &[&str], units: &[PathBuf]) -> String {
    let output = Command::new("systemd-analyze")
        .args(args)
        .args(units)
        // The manager of a user wants one, and writes nothing there.
        .env("XDG_RUNTIME_DIR", "/run")
        .stdin(Stdio::null())
        .output()
        .expect("systemd is installed");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{args:?}: {said}");
    said
}

#[test]
fn systemd_finds_little_to_fear_in_the_units_and_nothing_wrong() {
    let world = World::empty();
    install(&world, &["--system", "--with-socket"]).ok();
    let units = ["reseal.service", "reseal.socket"].map(|name| unit(&world, name));
    assert_eq!(analyze(&["verify", "--man=no"], &units), "");
    // The threshold is ten times the exposure: 1.5.
    let security = ["security", "--offline=yes", "--no-pager", "--threshold=15"];
    analyze(&security, &units[..1]);

    install(&world, &["--user", "--with-socket"]).ok();
    let home = PathBuf::from(world.beside("root"));
    let folder = PathBuf::from(world.beside("home"));
    let folder = home.join(folder.strip_prefix("/").unwrap());
    let units = ["reseal.service", "reseal.socket"]
        .map(|name| folder.join(".config/systemd/user").join(name));
    assert_eq!(analyze(&["verify", "--user", "--man=no"], &units), "");
    // A user's manager can't take the machine away from the daemon; what it can, it does.
    let text = fs::read_to_string(&units[0]).unwrap();
    for line in [
        "NoNewPrivileges=yes",
        "MemoryDenyWriteExecute=yes",
        "LimitCORE=0",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

/// The flags of `docker run` in a script, and the variables that it sets.
fn asked_of_docker() -> (String, Vec<(String, String)>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy/run.sh");
    let text = fs::read_to_string(path).unwrap();
    let variable = |line: &str| {
        let (name, value) = line.trim().strip_prefix("--env ")?.split_once('=')?;
        Some((name.to_owned(), value.trim_end_matches(" \\").to_owned()))
    };
    let variables = text.lines().filter_map(variable).collect();
    (text, variables)
}

#[test]
fn the_manifest_asks_for_what_docker_was_asked_for() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/deploy/kubernetes.yaml");
    let text = fs::read_to_string(path).unwrap();
    let manifest: Value = serde_saphyr::from_str(&text).unwrap();
    let (docker, variables) = asked_of_docker();
    let pod = &manifest["spec"]["template"]["spec"];
    assert_eq!(manifest["spec"]["replicas"], 1);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let security = &pod["securityContext"];
    assert!(docker.contains("--user 1000:1000"));
    for id in ["runAsUser", "runAsGroup", "fsGroup"] {
        assert_eq!(security[id], 1000, "{id}");
    }
    assert_eq!(security["runAsNonRoot"], true);
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    let containers = pod["containers"].as_array().unwrap();
    let init = pod["initContainers"].as_array().unwrap();
    let flags = [
        "--read-only",
        "--cap-drop ALL",
        "--security-opt no-new-privileges",
    ];
    assert!(flags.iter().all(|flag| docker.contains(flag)));
    for container in containers.iter().chain(init) {
        let security = &container["securityContext"];
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(container["command"][0], "/usr/bin/reseal");
    }
    // Who has the key has the same variables and places as in Docker.
    for container in [&containers[0], &init[0]] {
        let of = |(name, value): &(String, String)| json!({"name": name, "value": value});
        let expected: Vec<Value> = variables.iter().map(of).collect();
        assert_eq!(container["env"], Value::from(expected));
        for place in ["/vault", "/run/reseal", "/run/secrets/reseal"] {
            let mounts = container["volumeMounts"].as_array().unwrap();
            assert!(
                mounts.iter().any(|mount| mount["mountPath"] == place),
                "{place}"
            );
            let docker_has = [format!("dst={place}"), format!("--tmpfs {place}:")];
            assert!(
                docker_has.iter().any(|text| docker.contains(text)),
                "{place}"
            );
        }
    }
    // The program beside it has neither key nor vault.
    let agent = containers[1]["volumeMounts"].as_array().unwrap();
    assert_eq!(agent.len(), 1);
    assert_eq!(agent[0]["name"], "run");
    let key = pod["volumes"].as_array().unwrap();
    let key = key.iter().find(|volume| volume["name"] == "key").unwrap();
    assert_eq!(key["secret"]["defaultMode"], 0o400);
}
