//! The memory of the daemon and of commands, looked through for secrets as root can: as it is, and
//! at the very end of the process, when its memory is still there. The scanner is
//! `memory/scan.py`; what it must find, it is shown to find.

use super::world::{BIN, PASSPHRASE, World};
use data_encoding::{BASE64, HEXLOWER, HEXUPPER};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, Stdio};

/// A value in use, one that replaces it, one of a file and one of a command.
const STORED: &str = "canary-stored-8d1f6a0b7c52e934";
const REPLACED: &str = "canary-replaced-41c7e0d9b35a6f28";
const FILED: &str = "canary-filed-c3a95e17f0b8d264";
const FETCHED: &str = "canary-fetched-93b0f5a8d6e2714c";
const ALL: [&str; 5] = [STORED, REPLACED, FILED, FETCHED, PASSPHRASE];

/// Only root may look into a process that is not dumpable.
fn may_look() -> bool {
    let may = geteuid().is_root();
    if !may {
        eprintln!("not root: memory is not looked at");
    }
    may
}

/// What is looked for, in the lines that `scan.py` reads. Every 16 bytes of a secret hold 8 that
/// begin at a multiple of 8, so that a fragment of 16 is found too.
fn needles() -> String {
    let mut lines = String::new();
    for (index, secret) in ALL.iter().enumerate() {
        let bytes = secret.as_bytes();
        let mut forms: Vec<Vec<u8>> = bytes.chunks_exact(8).map(<[u8]>::to_vec).collect();
        forms.push(HEXLOWER.encode(bytes).into_bytes());
        forms.push(HEXUPPER.encode(bytes).into_bytes());
        forms.push(secret.encode_utf16().flat_map(u16::to_le_bytes).collect());
        for skipped in 0..3 {
            let whole = (bytes.len() - skipped) / 3 * 3;
            forms.push(BASE64.encode(&bytes[skipped..skipped + whole]).into_bytes());
        }
        for form in forms {
            lines += &format!("{index} {}\n", HEXLOWER.encode(&form));
        }
    }
    lines
}

/// Where a secret was found: its index in [`ALL`], and the kind of mapping.
type Hits = Vec<(usize, String)>;

/// Hits in the lines that `scan.py` wrote, each once.
fn hits(report: &str) -> Hits {
    assert!(report.contains("scanned "), "nothing was scanned: {report}");
    let mut hits = Hits::new();
    for line in report.lines() {
        if let Some((index, place)) = line
            .strip_prefix("hit ")
            .and_then(|hit| hit.split_once(" in "))
        {
            hits.push((index.parse().unwrap(), place.to_owned()));
        }
    }
    hits.sort();
    hits.dedup();
    hits
}

fn script(name: &str) -> String {
    format!("{}/tests/cli/memory/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn scanner(world: &World, way: &str) -> Command {
    let needles = world.private_file("needles", needles().as_bytes());
    let mut command = Command::new("/usr/bin/python3");
    command.args([&script("scan.py"), &needles, way]);
    command
}

/// A process's memory as it is.
fn scan(world: &World, pid: u32) -> Hits {
    let output = scanner(world, "now").arg(pid.to_string()).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    hits(&String::from_utf8(output.stdout).unwrap())
}

/// A scan at the end of a process that goes on meanwhile.
struct AtExit {
    scanner: Child,
    report: BufReader<ChildStdout>,
}

impl AtExit {
    fn of(world: &World, child: &Child) -> Self {
        let mut command = scanner(world, "exit");
        command.arg(child.id().to_string()).stdout(Stdio::piped());
        let mut scanner = command.spawn().unwrap();
        let mut report = BufReader::new(scanner.stdout.take().unwrap());
        let mut line = String::new();
        report.read_line(&mut line).unwrap();
        assert_eq!(line, "seized\n");
        Self { scanner, report }
    }

    fn hits(mut self) -> Hits {
        let mut text = String::new();
        self.report.read_to_string(&mut text).unwrap();
        assert!(self.scanner.wait().unwrap().success());
        hits(&text)
    }
}

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

/// Starts a daemon in the foreground, on a kernel with or without secret memory.
fn daemon(world: &World, secret_memory: bool, options: &[&str]) -> Child {
    let passphrase = world.passphrase();
    let arguments = [&["daemon", "--passphrase-file", &passphrase], options].concat();
    let plain = world.command(&arguments);
    let mut command = if secret_memory {
        plain
    } else {
        let mut wrapped = Command::new("/usr/bin/python3");
        wrapped.arg(script("without_memfd_secret.py")).arg(BIN);
        wrapped.args(plain.get_args());
        wrapped
    };
    let mut child = command
        .current_dir(world.beside(""))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let socket = world.state().join("run/daemon.sock");
    while !socket.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the daemon ended");
        std::thread::yield_now();
    }
    child
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

#[test]
fn an_unlocked_daemon_holds_values_in_locked_memory_only() {
    if !may_look() {
        return;
    }
    let world = populated();
    let mut child = daemon(&world, false, &[]);
    use_daemon(&world);
    let found = scan(&world, child.id());
    // What is in use is found: the search works. What was asked for once is not there any more.
    let expected = [REPLACED, FILED, FETCHED].map(|secret| {
        let index = ALL.iter().position(|known| *known == secret).unwrap();
        (index, "arena".to_owned())
    });
    assert_eq!(found, expected);
    world.run(&["vault", "lock"]).ok();
    assert!(child.wait().unwrap().success());
}

#[test]
fn values_of_commands_and_files_leave_nothing_in_the_broker() {
    if !may_look() {
        return;
    }
    let world = populated();
    let mut child = daemon(&world, false, &[]);
    use_daemon(&world);
    let status = world.run(&["--json", "vault", "status"]).ok().json();
    let broker = status["daemon"]["sandbox"]["broker"].as_u64().unwrap();
    assert_eq!(scan(&world, u32::try_from(broker).unwrap()), Hits::new());
    world.run(&["vault", "lock"]).ok();
    assert!(child.wait().unwrap().success());
}

#[test]
fn root_finds_nothing_in_an_unlocked_daemon_with_secret_memory() {
    if !may_look() {
        return;
    }
    let world = populated();
    let mut child = daemon(&world, true, &[]);
    use_daemon(&world);
    assert_eq!(scan(&world, child.id()), Hits::new());
    world.run(&["vault", "lock"]).ok();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_daemon_that_locks_leaves_nothing_in_its_memory() {
    if !may_look() {
        return;
    }
    type End = fn(&World, &Child);
    let ways: [(&[&str], End); 3] = [
        (&[], |world, _| {
            use_daemon(world);
            world.run(&["vault", "lock"]).ok();
        }),
        (&[], |world, child| {
            use_daemon(world);
            kill_process(Pid::from_child(child), Signal::TERM).unwrap();
        }),
        // It has resolved all refs at its start.
        (&["--idle", "1s"], |_, _| {}),
    ];
    for (options, end) in ways {
        let world = populated();
        let mut child = daemon(&world, false, options);
        let at_exit = AtExit::of(&world, &child);
        end(&world, &child);
        assert_eq!(at_exit.hits(), Hits::new(), "{options:?}");
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_daemon_that_is_aborted_writes_no_core() {
    let world = populated();
    let mut child = daemon(&world, true, &[]);
    use_daemon(&world);
    kill_process(Pid::from_child(&child), Signal::ABORT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped());
}

/// A command, looked at when it ends.
#[track_caller]
fn at_its_end(world: &World, stdin: &str, arguments: &[&str]) -> Hits {
    let plain = world.command(arguments);
    let mut child = scanner(world, "run")
        .arg(BIN)
        .args(plain.get_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stdin.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    hits(&String::from_utf8(output.stdout).unwrap())
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
        let found = at_its_end(&world, stdin, &[arguments, &open].concat());
        assert_eq!(found, Hits::new(), "{arguments:?} without a daemon");
    }
    world.unlock();
    for (stdin, arguments) in &in_process[..6] {
        let found = at_its_end(&world, stdin, arguments);
        assert_eq!(found, Hits::new(), "{arguments:?} with a daemon");
    }
}
