//! `daemon install`: the files, what is never written over, and what systemd says of them.

use super::world::{Ran, World, finish};
use serde_json::{Value, json};
use std::fs;
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
    let next = json(&["--share", "everyone"]).ok().json();
    let next = next["next"].to_string();
    for verb in ["stop", "start"] {
        let command = format!("systemctl {verb} reseal.socket reseal.service");
        assert!(next.contains(&command), "{next}");
    }
    assert_eq!(actions(json(&[])), ["updated", "updated"]);

    let edited = text.replace("RestartSec=1", "RestartSec=9");
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
