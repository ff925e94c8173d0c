//! The memory of the daemon and of commands, looked through for secrets while the vault is open,
//! when it locks, and when something goes wrong.

use super::world::{PASSPHRASE, Ran, World};
use crate::scanner::{
    AtExit, Hits, NO_NONCE, NO_SECRET_MEMORY, at_its_end, in_arena, may_look, now, refusing,
};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

/// A value in use, one that replaces it, one of a file and one of a command. Their first 8 bytes
/// differ.
const STORED: &str = "canary-stored-8d1f6a0b7c52e934";
const REPLACED: &str = "canary-replaced-41c7e0d9b35a6f28";
const FILED: &str = "canary-mounted-c3a95e17f0b8d264";
const FETCHED: &str = "canary-fetched-93b0f5a8d6e2714c";
const ALL: [&str; 5] = [STORED, REPLACED, FILED, FETCHED, PASSPHRASE];

/// A vault with two values, a file and a command that give one each, and a config that wants all.
fn populated() -> World {
    let world = World::new();
    world.store("openai/default", STORED);
    world.store("other", REPLACED);
    let file = world.private_file("filed", FILED.as_bytes());
    let answer = format!("{{\"protocolVersion\":1,\"values\":{{\"a\":\"{FETCHED}\"}}}}");
    let text = format!("#!/bin/sh\ncat > /dev/null\necho '{answer}'\n");
    let command = world.private_file("provider", text.as_bytes());
    std::fs::set_permissions(
        &command,
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    let stored =
        serde_json::json!({ "source": "vault", "provider": "default", "id": "openai/default" });
    let config = serde_json::json!({
        "secrets": { "providers": {
            "mounted": { "source": "file", "path": file, "mode": "singleValue" },
            "op": { "source": "exec", "command": command },
        } },
        "models": { "providers": {
            "openai": { "apiKey": stored },
            "filed": { "apiKey": { "source": "file", "provider": "mounted", "id": "value" } },
            "fetched": { "apiKey": { "source": "exec", "provider": "op", "id": "a" } },
        } },
    });
    std::fs::write(world.config(), config.to_string()).unwrap();
    world
}

fn daemon(world: &World, refused: &[&str]) -> Child {
    daemon_with(world, &["--passphrase-file", &world.passphrase()], refused)
}

/// Starts a daemon in the foreground, with options that open its vault, on a kernel that refuses
/// some calls.
pub fn daemon_with(world: &World, options: &[&str], refused: &[&str]) -> Child {
    let command = world.command(&[&["daemon"], options].concat());
    let mut child = refusing(refused, &command)
        .current_dir(world.beside(""))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let socket = world.state().join("run/daemon.sock");
    while !socket.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the daemon ended");
        std::thread::yield_now();
    }
    child
}

/// What a daemon that has ended said; none of it is a secret.
fn said(child: &mut Child) -> String {
    let mut said = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    assert!(ALL.iter().all(|secret| !said.contains(secret)), "{said}");
    said
}

/// What clients ask of a daemon: values out, values in, all refs anew.
fn use_daemon(world: &World) {
    assert_eq!(
        world.run(&["secrets", "get", "openai/default"]).ok().text(),
        format!("{STORED}\n")
    );
    world.run(&["secrets", "resolve"]).ok();
    world.run(&["secrets", "reload"]).ok();
    let run = [
        "run",
        "--env",
        "A=exec@op:a",
        "--",
        "/bin/sh",
        "-c",
        "exit ${#A}",
    ];
    world.run(&run).code(i32::try_from(FETCHED.len()).unwrap());
    let old = world.run(&["secrets", "get", "other"]).ok();
    assert_eq!(old.text(), format!("{REPLACED}\n"));
    world
        .piped(&["secrets", "set", "openai/default"], REPLACED.as_bytes())
        .ok();
    world.run(&["vault", "status"]).ok();
}

/// What is in use after [`use_daemon`].
const IN_USE: [&str; 3] = [REPLACED, FILED, FETCHED];

#[test]
fn an_unlocked_daemon_holds_values_in_locked_memory_only() {
    if !may_look() {
        return;
    }
    let world = populated();
    let mut child = daemon(&world, &[NO_SECRET_MEMORY]);
    use_daemon(&world);
    // What is in use is found: the search works. What was asked for once is not there any more.
    assert_eq!(now(child.id(), &ALL), in_arena(&IN_USE));
    world.run(&["vault", "lock"]).ok();
    assert!(child.wait().unwrap().success());
}

#[test]
fn values_of_commands_and_files_leave_nothing_in_the_broker() {
    if !may_look() {
        return;
    }
    let world = populated();
    let mut child = daemon(&world, &[NO_SECRET_MEMORY]);
    use_daemon(&world);
    let status = world.run(&["--json", "vault", "status"]).ok().json();
    let broker = status["daemon"]["sandbox"]["broker"].as_u64().unwrap();
    let broker = u32::try_from(broker).unwrap();
    assert_eq!(now(broker, &ALL), Hits::new());
    world.run(&["vault", "lock"]).ok();
    assert!(child.wait().unwrap().success());
}

#[test]
fn root_finds_nothing_in_an_unlocked_daemon_with_secret_memory() {
    if !may_look() {
        return;
    }
    let world = populated();
    let mut child = daemon(&world, &[]);
    use_daemon(&world);
    assert_eq!(now(child.id(), &ALL), Hits::new());
    world.run(&["vault", "lock"]).ok();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_daemon_that_locks_leaves_nothing_in_its_memory() {
    if !may_look() {
        return;
    }
    // It may be over before the command has shown what there is.
    let limit = |world: &World, option: &str| {
        world.with_passphrase(&["vault", "unlock", option, "1s"]);
    };
    type End<'a> = &'a dyn Fn(&World, &Child);
    let ways: [(&str, End); 4] = [
        ("a client asked for it", &|world, _| {
            world.run(&["vault", "lock"]).ok();
        }),
        ("a signal asked for it", &|_, child| {
            kill_process(Pid::from_child(child), Signal::TERM).unwrap();
        }),
        ("the time limit passed", &|world, _| limit(world, "--ttl")),
        ("the idle limit passed", &|world, _| limit(world, "--idle")),
    ];
    for (reason, end) in ways {
        let world = populated();
        let mut child = daemon(&world, &[NO_SECRET_MEMORY]);
        use_daemon(&world);
        assert_eq!(now(child.id(), &ALL), in_arena(&IN_USE), "{reason}");
        let at_exit = AtExit::of(&child);
        end(&world, &child);
        assert_eq!(at_exit.look_for(&ALL), Hits::new(), "{reason}");
        assert!(child.wait().unwrap().success());
        let said = said(&mut child);
        assert!(said.contains(&format!("locking: {reason}")), "{said}");
    }
}

/// True if a program that aborts leaves a core file here.
fn cores_are_written() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -S -c unlimited; kill -ABRT $$"]);
    let status = command.current_dir(folder.path()).status().unwrap();
    status.core_dumped()
}

#[test]
fn a_daemon_that_is_aborted_leaves_no_core_and_values_in_locked_memory_only() {
    if !may_look() {
        return;
    }
    if !cores_are_written() {
        eprintln!("no program leaves a core here");
    }
    for (refused, held) in [(&[][..], &[][..]), (&[NO_SECRET_MEMORY], &IN_USE)] {
        let world = populated();
        let mut child = daemon(&world, refused);
        use_daemon(&world);
        let at_exit = AtExit::of(&child);
        kill_process(Pid::from_child(&child), Signal::ABORT).unwrap();
        assert_eq!(at_exit.look_for(&ALL), in_arena(held), "{refused:?}");
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
        assert!(!status.core_dumped());
        said(&mut child);
    }
}

/// The client of a daemon that did not answer, or a command that panicked.
#[track_caller]
fn shows_nothing(stderr: &str, expected: &str) {
    assert!(stderr.contains(expected), "{stderr}");
    assert!(
        ALL.iter().all(|secret| !stderr.contains(secret)),
        "{stderr}"
    );
}

const DEFECT: &str = "this is a defect of reseal";

#[test]
fn a_command_that_panics_shows_nothing_and_holds_its_value_in_locked_memory_only() {
    if !may_look() {
        return;
    }
    let world = populated();
    let passphrase = world.passphrase();
    let arguments = [
        "secrets",
        "set",
        "openai/default",
        "--passphrase-file",
        &passphrase,
    ];
    let command = world.command(&arguments);
    // Where the arena is no secret memory, what the command was about to seal is found in it.
    for (refused, held) in [
        (&[NO_NONCE][..], &[][..]),
        (&[NO_NONCE, NO_SECRET_MEMORY], &[FETCHED]),
    ] {
        let ended = at_its_end(&refusing(refused, &command), FETCHED.as_bytes(), &ALL);
        assert_eq!(ended.code, Some(70), "{}", ended.stderr);
        shows_nothing(&ended.stderr, DEFECT);
        assert_eq!(ended.hits, in_arena(held), "{refused:?}");
    }
    assert_eq!(world.value("openai/default"), STORED);
}

#[test]
fn a_daemon_that_panics_over_a_request_goes_on_and_leaves_nothing() {
    if !may_look() {
        return;
    }
    let world = populated();
    let mut child = daemon(&world, &[NO_NONCE, NO_SECRET_MEMORY]);
    let set = ["secrets", "set", "openai/default"];
    let Ran { code, stderr, .. } = world.piped(&set, REPLACED.as_bytes());
    assert_ne!(code, 0);
    shows_nothing(&stderr, "error: ");
    assert_eq!(world.value("openai/default"), STORED);
    // The value that was to be stored is gone; those in use are where they were.
    assert_eq!(now(child.id(), &ALL), in_arena(&[STORED, FILED, FETCHED]));
    let at_exit = AtExit::of(&child);
    world.run(&["vault", "lock"]).ok();
    assert_eq!(at_exit.look_for(&ALL), Hits::new());
    assert!(child.wait().unwrap().success());
    assert!(said(&mut child).contains(DEFECT));
}

/// What a command that works leaves at its end, in the arena too.
#[track_caller]
fn left_by(world: &World, stdin: &str, arguments: &[&str]) -> Hits {
    let command = refusing(&[NO_SECRET_MEMORY], &world.command(arguments));
    let ended = at_its_end(&command, stdin.as_bytes(), &ALL);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    ended.hits
}

#[test]
fn commands_leave_nothing_in_their_memory() {
    if !may_look() {
        return;
    }
    let world = populated();
    let passphrase = world.passphrase();
    let export = world.beside("export");
    let identity = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let open = ["--passphrase-file", &passphrase];
    let asked = "protocol=https\nhost=git.example\n";
    let answered = format!("{asked}username=me\npassword={FETCHED}\n\n");
    let logged_in =
        format!("{{\"ServerURL\":\"r.example\",\"Username\":\"me\",\"Secret\":\"{FILED}\"}}");
    let in_process: [(&str, &[&str]); 8] = [
        ("", &["secrets", "get", "openai/default"]),
        (REPLACED, &["secrets", "set", "openai/default"]),
        ("", &["secrets", "resolve"]),
        (&answered, &["helper", "git", "store"]),
        (asked, &["helper", "git", "get"]),
        (&logged_in, &["helper", "docker", "store"]),
        ("", &["secrets", "mv", "other", "another"]),
        (
            "",
            &["vault", "export", "--recipient", identity, "-o", &export],
        ),
    ];
    for (stdin, arguments) in in_process {
        let found = left_by(&world, stdin, &[arguments, &open].concat());
        assert_eq!(found, Hits::new(), "{arguments:?} without a daemon");
    }
    world.unlock();
    for (stdin, arguments) in &in_process[..6] {
        let found = left_by(&world, stdin, arguments);
        assert_eq!(found, Hits::new(), "{arguments:?} with a daemon");
    }
}
