//! System calls of the real program fail, or kill it, one after the other (by `strace`).

use crate::calls::ASKING;
use crate::world::{World, feed, text};
use std::os::unix::process::ExitStatusExt;

/// The system calls that write, flush, rename or cut: where a crash could leave half a state.
const WRITING: [&str; 8] = [
    "pwrite64",
    "write",
    "fdatasync",
    "fsync",
    "rename",
    "renameat2",
    "ftruncate",
    "unlink",
];

/// Runs `act` under SIGKILL at the first, second, third … call of each kind until it survives, and
/// lets `check` look at the vault after each death. strace counts each kind by itself, so one run
/// for all of them would not come to those that are rare.
fn killed_at_every_call(
    world: &World,
    args: &[&str],
    input: &str,
    mut check: impl FnMut(&World, bool),
) -> usize {
    let mut points = 0;
    for call in WRITING {
        for at in 1.. {
            assert!(at < 200, "still killed after 200 calls of {call}");
            let inject = format!("inject={call}:signal=KILL:when={at}");
            let output = feed(world.traced(&["-e", &inject], args), input);
            // strace dies by the signal of its tracee.
            let killed = output.status.signal() == Some(9) || output.status.code() == Some(137);
            check(world, output.status.success());
            if !killed {
                assert!(output.status.success(), "{}", text(&output.stderr));
                break;
            }
            points += 1;
        }
    }
    eprintln!("{args:?}: killed at {points} calls");
    points
}

/// Runs `act` with an error of the system at the first, second, third … call of each kind until no
/// call is left, and lets `check` look at the vault after each, with what the program said.
fn failed_at_every_call(
    world: &World,
    args: &[&str],
    input: &str,
    mut check: impl FnMut(&World, &str, &std::process::Output),
) {
    let log = world.state.join("strace.log");
    let mut points = 0;
    for call in WRITING
        .into_iter()
        .chain(ASKING)
        .chain(["readlink", "getrandom"])
    {
        for at in 1.. {
            assert!(at < 200, "still failing after 200 calls of {call}");
            let error = if points % 2 == 0 { "EIO" } else { "ENOSPC" };
            let fault = format!("{call}:error={error}:when={at}");
            let (trace, inject) = (format!("trace={call}"), format!("inject={fault}"));
            let options = ["-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject];
            let output = feed(world.traced(&options, args), input);
            let told = text(&output.stderr);
            assert!(!told.contains("panicked"), "{fault}: {told}");
            check(world, &fault, &output);
            if !std::fs::read_to_string(&log)
                .unwrap()
                .contains("(INJECTED)")
            {
                assert!(output.status.success(), "{fault}: {told}");
                break;
            }
            points += 1;
        }
    }
    eprintln!("{args:?}: {points} calls failed");
    assert!(points > 5, "only {points} faults: is strace at work?");
}

#[test]
fn a_write_of_which_any_one_call_fails_is_whole_or_absent() {
    let world = World::new();
    assert!(world.set("other", "stays"));
    assert!(world.set("record", "old"));
    let set = ["secrets", "set", "record"];
    failed_at_every_call(&world, &set, "new", |world, fault, output| {
        let value = world.get("record").expect("the record is there");
        let stored = value == "new" || (value == "old" && !output.status.success());
        assert!(stored, "{fault}: {value}, {}", text(&output.stderr));
        assert_eq!(world.get("other").as_deref(), Some("stays"), "{fault}");
        world.verify();
        assert!(world.set("record", "old"), "{fault}: the next write works");
    });
}

#[test]
fn a_compaction_or_a_rekey_of_which_any_one_call_fails_loses_nothing() {
    for command in [["vault", "compact"], ["vault", "rekey"]] {
        let world = World::new();
        assert!(world.set("record", "one"));
        assert!(world.set("record", "two"));
        failed_at_every_call(&world, &command, "", |world, fault, _| {
            assert_eq!(world.get("record").as_deref(), Some("two"), "{fault}");
            world.verify();
            assert!(world.set("other", "later"), "{fault}: the next write works");
        });
    }
}

#[test]
fn a_write_killed_at_every_system_call_is_whole_or_absent() {
    let world = World::new();
    assert!(world.set("other", "stays"));
    assert!(world.set("record", "old"));
    let points = killed_at_every_call(
        &world,
        &["secrets", "set", "record"],
        "new",
        |world, done| {
            let value = world.get("record").expect("the record is there");
            assert!(value == "new" || (value == "old" && !done), "{value}");
            assert_eq!(world.get("other").as_deref(), Some("stays"));
            world.verify();
            assert!(world.set("record", "old"));
        },
    );
    assert!(
        points >= 2,
        "only {points} crash points: is strace at work?"
    );
}

#[test]
fn a_compaction_killed_at_every_system_call_loses_nothing() {
    let world = World::new();
    for n in 0..5 {
        assert!(world.set("record", &format!("value {n}")));
    }
    let points = killed_at_every_call(&world, &["vault", "compact"], "", |world, _| {
        assert_eq!(world.get("record").as_deref(), Some("value 4"));
        world.verify();
        assert!(world.set("other", "later"), "the next write works");
    });
    assert!(
        points >= 3,
        "only {points} crash points: is strace at work?"
    );
}

#[test]
fn a_rekey_killed_at_every_system_call_loses_nothing() {
    let world = World::new();
    assert!(world.set("record", "value"));
    let points = killed_at_every_call(&world, &["vault", "rekey"], "", |world, _| {
        assert_eq!(world.get("record").as_deref(), Some("value"));
        world.verify();
        assert!(world.set("other", "later"), "the next write works");
    });
    assert!(
        points >= 3,
        "only {points} crash points: is strace at work?"
    );
}

/// After a failed write or flush the value is either stored and acknowledged, or neither; the next
/// write works.
#[test]
fn failed_writes_and_flushes_lose_nothing() {
    let world = World::new();
    assert!(world.set("other", "stays"));
    for fault in [
        "fdatasync:error=EIO",
        "fdatasync,fsync:error=EIO",
        "pwrite64:error=ENOSPC",
        "pwrite64:error=EIO",
        "rename,renameat,renameat2:error=ENOSPC",
        "fdatasync,rename,renameat,renameat2:error=EIO",
        "ftruncate,fdatasync:error=EIO",
    ] {
        assert!(world.set("record", "old"));
        let vault = world.state.join("vault.reseal");
        let inject = format!("inject={fault}");
        let traced = world.traced(
            &["-P", vault.to_str().unwrap(), "-e", &inject],
            &["secrets", "set", "record"],
        );
        let output = feed(traced, "new");
        let value = world.get("record").expect("the record is there");
        if output.status.success() {
            assert_eq!(value, "new", "{fault}: acknowledged");
        } else {
            let error = text(&output.stderr);
            assert!(
                error.contains("vault.reseal"),
                "{fault}: the place is named: {error}"
            );
            assert!(value == "old" || value == "new", "{fault}: {value}");
        }
        assert_eq!(world.get("other").as_deref(), Some("stays"), "{fault}");
        world.verify();
    }
    assert!(world.set("record", "after"));
    assert_eq!(world.get("record").as_deref(), Some("after"));
}

/// A compaction that fails before its rename leaves the old file as it was; one whose folder can't
/// be flushed after it has put a new file in place, and says that it failed. Either file is whole.
#[test]
fn a_failed_compaction_loses_nothing() {
    let world = World::new();
    assert!(world.set("record", "one"));
    assert!(world.set("record", "two"));
    let vault = world.state.join("vault.reseal");
    for (fault, replaced) in [
        ("fsync:error=EIO:when=1", false),
        ("rename,renameat,renameat2:error=ENOSPC", false),
        ("write,pwrite64:error=ENOSPC", false),
        ("fsync:error=EIO:when=2", true),
    ] {
        let before = std::fs::read(&vault).unwrap();
        let inject = format!("inject={fault}");
        let output = world
            .traced(&["-e", &inject], &["vault", "compact"])
            .output()
            .unwrap();
        assert!(
            !output.status.success(),
            "{fault}: {}",
            text(&output.stderr)
        );
        assert_eq!(
            std::fs::read(&vault).unwrap() != before,
            replaced,
            "{fault}"
        );
        assert_eq!(world.get("record").as_deref(), Some("two"), "{fault}");
        world.verify();
    }
}
