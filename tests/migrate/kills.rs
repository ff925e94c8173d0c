//! The program is killed at every writing system call: no value is lost, and running it again comes
//! to the same end.

use super::claw::{Claw, contents, text};
use super::eras::era_b;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Counted each by itself: `strace` has one counter for each kind of call.
const WRITING: [&str; 9] = [
    "pwrite64",
    "write",
    "fdatasync",
    "fsync",
    "rename",
    "renameat",
    "renameat2",
    "ftruncate",
    "unlink",
];
/// Each kind of call is a place of its own up to here; of the rest every ninth.
const EACH: usize = 8;

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

fn start_anew(claw: &Claw) {
    copy(&claw.beside("fresh-from"), &claw.from());
    copy(&claw.beside("fresh-own"), &claw.own());
}

#[test]
fn a_migration_killed_at_every_system_call_loses_nothing() {
    let claw = era_b();
    copy(&claw.from(), &claw.beside("fresh-from"));
    copy(&claw.own(), &claw.beside("fresh-own"));
    // What a whole run reports. A later one knows the values of records, not those of accounts.
    let whole = claw.migrate(&[]);
    claw.check(&whole);
    let end = contents(&claw.from());
    let log = claw.beside("calls");
    let args = claw.migrate_args();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut met = 0;
    for call in WRITING {
        for at in (1..).filter(|at| *at <= EACH || at % 9 == 0) {
            start_anew(&claw);
            let inject = format!("inject={call}:signal=KILL:when={at}");
            let trace = format!("trace={call}");
            let options = ["-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject];
            let output = claw.traced(&options, &args).output().unwrap();
            let killed = !output.status.success();
            claw.migrate(&[]);
            let when = format!("killed at {call} {at}");
            assert_eq!(contents(&claw.from()), end, "{when}: another end");
            let report = claw.migrate(&["--dry-run"]);
            assert_eq!(report["changed"], false, "{when}: {report:#}");
            claw.check(&whole);
            if !killed {
                assert!(!text(&fs::read(&log).unwrap()).contains("INJECTED"));
                break;
            }
            met += 1;
        }
    }
    assert!(met > 40, "only {met} crash points: is strace at work?");
}
