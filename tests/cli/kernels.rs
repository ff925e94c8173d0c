//! Daemons on kernels that hold them less than ours does: they work, keep what is to be had, and
//! say what is not. Only such a kernel is not real here; the daemon and its filters are.

use super::world::{Ran, World, finish};
use crate::scanner::refusing;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// Calls, as `failing.py` takes them.
type Calls = &'static [&'static str];

const NO_LANDLOCK: Calls = &["landlock_create_ruleset->ENOSYS"];
const LANDLOCK_IS_OFF: Calls = &["landlock_create_ruleset->EOPNOTSUPP"];
const LANDLOCK_IS_REFUSED: Calls = &["landlock_create_ruleset->EPERM"];
/// Knows files only, and no more of the attributes than that.
const LANDLOCK_3: Calls = &[
    "landlock_create_ruleset:2=1->3",
    "landlock_create_ruleset:1>8->E2BIG",
];
const NO_SECCOMP: Calls = &["seccomp->ENOSYS"];
/// The call is there, and says that it knows the actions of filters.
const NO_FILTERS: Calls = &["seccomp:0=1->EINVAL"];
const FILTERS_ARE_REFUSED: Calls = &["seccomp->EPERM"];
const NEITHER: Calls = &["landlock_create_ruleset->ENOSYS", "seccomp:0=1->EINVAL"];

/// What a daemon on such a kernel says of itself.
struct Says {
    /// At the start of its log.
    log: &'static str,
    /// In its status: what differs.
    status: Value,
    /// How many filters hold it: two of its own.
    filters: u32,
    /// What `doctor` notes, and what it says helps.
    notes: Vec<(String, &'static str)>,
}

const FILES: &str = ": a daemon that was taken over could open every file of yours";
const PROGRAMS: &str = ": a daemon that was taken over could start programs";
const NEWER: &str = "use a kernel from 5.13 on, with landlock in its lsm= list";
const FILTERS: &str = "use a kernel with CONFIG_SECCOMP_FILTER";

fn with_a_command() -> World {
    let world = World::new();
    let script = "#!/bin/sh\ncat > /dev/null\n\
                  echo '{\"protocolVersion\":1,\"values\":{\"a\":\"fetched\"}}'\n";
    let command = world.private_file("command", script.as_bytes());
    fs::set_permissions(&command, fs::Permissions::from_mode(0o700)).unwrap();
    let config = json!({
        "secrets": {"providers": {"op": {"source": "exec", "command": command}}},
        "models": {"providers": {
            "m": {"apiKey": {"source": "exec", "provider": "op", "id": "a"}},
        }},
    });
    fs::write(world.config(), config.to_string()).unwrap();
    world
}

fn on(calls: Calls, world: &World, args: &[&str]) -> Ran {
    finish(refusing(calls, &world.command(args)), None)
}

fn unlock(calls: Calls, world: &World) -> Ran {
    let passphrase = world.passphrase();
    on(
        calls,
        world,
        &["vault", "unlock", "--passphrase-file", &passphrase],
    )
}

/// The number of filters that a process has beside that of the kernel that is played.
fn filters_of(pid: &Value) -> u32 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    assert_eq!(line("NoNewPrivs:").unwrap().trim(), "1");
    let filters: u32 = line("Seccomp_filters:").unwrap().trim().parse().unwrap();
    filters - 1
}

/// What `doctor` notes of the sandbox.
fn notes(doctor: &Ran) -> Vec<(String, String)> {
    let doctor = doctor.json();
    let findings = doctor["findings"].as_array().unwrap();
    let noted = |finding: &&Value| finding["check"] == "sandbox" && finding["severity"] == "note";
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    findings
        .iter()
        .filter(noted)
        .map(|note| (text(&note["message"]), text(&note["remedy"])))
        .collect()
}

fn check(calls: Calls, says: &Says) {
    let world = with_a_command();
    let expected: Vec<(String, String)> = says
        .notes
        .iter()
        .map(|(message, remedy)| (message.clone(), (*remedy).to_owned()))
        .collect();
    assert_eq!(notes(&on(calls, &world, &["--json", "doctor"])), expected);
    unlock(calls, &world).ok();
    let log = fs::read_to_string(world.state().join("run/daemon.log")).unwrap();
    assert!(log.contains(says.log), "{log}");
    let status = world.run(&["--json", "vault", "status"]).ok().json();
    let sandbox = &status["daemon"]["sandbox"];
    for (name, value) in says.status.as_object().unwrap() {
        assert_eq!(&sandbox[name], value, "{name}: {sandbox}");
    }
    assert_eq!(filters_of(&status["daemon"]["pid"]), says.filters);
    assert_eq!(notes(&world.run(&["--json", "doctor"])), expected);
    // It works.
    world.store("k", "v");
    assert_eq!(world.value("k"), "v");
    let print = ["run", "--env", "A=exec@op:a", "--", "/bin/sh", "-c"];
    let ran = world.run(&[&print[..], &["printf %s \"$A\""]].concat());
    assert_eq!(ran.ok().text(), "fetched");
    world.run(&["vault", "lock"]).ok();
}

#[test]
fn a_daemon_on_a_kernel_without_landlock_works_keeps_seccomp_and_says_so() {
    for (calls, log, lack, message, remedy) in [
        (
            NO_LANDLOCK,
            "sandbox: no Landlock in this kernel, seccomp, ",
            "notBuilt",
            format!("no Landlock{FILES}"),
            NEWER,
        ),
        (
            LANDLOCK_IS_OFF,
            "sandbox: no Landlock (off in this kernel), seccomp, ",
            "off",
            format!("no Landlock (off in this kernel){FILES}"),
            "add landlock to lsm= on the kernel's command line",
        ),
        (
            LANDLOCK_IS_REFUSED,
            "sandbox: no Landlock (refused by what surrounds this process), seccomp, ",
            "refused",
            format!("no Landlock (refused by what surrounds the daemon){FILES}"),
            "let it make the calls landlock_*: see its container",
        ),
    ] {
        let says = Says {
            log,
            status: json!({"landlock": null, "landlockLack": lack, "seccomp": true}),
            filters: 2,
            notes: vec![(message, remedy)],
        };
        check(calls, &says);
    }
}

#[test]
fn a_daemon_on_an_older_landlock_asks_for_what_that_knows_and_says_what_it_lacks() {
    let says = Says {
        log: "sandbox: Landlock version 3, seccomp, ",
        status: json!({"landlock": 3, "landlockLack": null, "seccomp": true}),
        filters: 2,
        notes: vec![(
            "Landlock version 3 refuses no ports, and keeps no signals inside".to_owned(),
            "use a kernel from 6.12 on",
        )],
    };
    check(LANDLOCK_3, &says);
}

#[test]
fn a_daemon_on_a_kernel_without_filters_of_system_calls_works_keeps_landlock_and_says_so() {
    for (calls, log, lack, message, remedy) in [
        (
            NO_SECCOMP,
            ", no seccomp in this kernel, ",
            "notBuilt",
            format!("no filter of system calls{PROGRAMS}"),
            FILTERS,
        ),
        (
            NO_FILTERS,
            ", no seccomp in this kernel, ",
            "notBuilt",
            format!("no filter of system calls{PROGRAMS}"),
            FILTERS,
        ),
        (
            FILTERS_ARE_REFUSED,
            ", no seccomp (refused by what surrounds this process), ",
            "refused",
            format!("no filter of system calls (refused by what surrounds the daemon){PROGRAMS}"),
            "let it make the call seccomp: see its container",
        ),
    ] {
        let says = Says {
            log,
            status: json!({"landlockLack": null, "seccomp": false, "seccompLack": lack}),
            filters: 0,
            notes: vec![(message, remedy)],
        };
        check(calls, &says);
    }
}

#[test]
fn a_daemon_on_a_kernel_that_holds_nothing_works_and_says_so() {
    let says = Says {
        log: "sandbox: no Landlock in this kernel, no seccomp in this kernel, ",
        status: json!({"landlock": null, "seccomp": false}),
        filters: 0,
        notes: vec![
            (format!("no Landlock{FILES}"), NEWER),
            (format!("no filter of system calls{PROGRAMS}"), FILTERS),
        ],
    };
    check(NEITHER, &says);
}

/// From outside it would look as if it were held.
#[test]
fn a_kernel_that_has_a_sandbox_and_refuses_it_gets_no_daemon() {
    let world = World::new();
    for (calls, what) in [
        (&["landlock_restrict_self->EPERM"][..], "Landlock"),
        // A question about nothing is answered, a filter is not.
        (&["seccomp:2!=0->EACCES"], "filters of system calls"),
    ] {
        let said = unlock(calls, &world).code(6).stderr;
        let reason = format!("the kernel has {what}, but refuses it");
        assert!(said.contains(&reason), "{said}");
        assert!(!world.state().join("run/daemon.sock").exists());
    }
}
