//! The program is killed, or fails, at every writing system call: no value is lost, and running it
//! again comes to the same end.

use super::claw::{Claw, contents, text};
use super::eras::era_b;
use super::{first_use, logins};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

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
const KILL: &str = "signal=KILL";
const FULL_DISK: &str = "error=ENOSPC";

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

fn keep(claw: &Claw) {
    copy(&claw.from(), &claw.beside("fresh-from"));
    copy(&claw.own(), &claw.beside("fresh-own"));
}

fn start_anew(claw: &Claw) {
    copy(&claw.beside("fresh-from"), &claw.from());
    copy(&claw.beside("fresh-own"), &claw.own());
}

/// Runs `command` from the start that was kept, under a fault at the first, second, third … call of
/// each kind until one is not met; `look` sees how each run ended, and where it was hit. Gives the
/// number of faults that were met.
fn at_every_call(
    claw: &Claw,
    fault: &str,
    command: impl Fn(&[&str]) -> Command,
    mut look: impl FnMut(&Output, &str),
) -> usize {
    let log = claw.beside("calls");
    let mut met = 0;
    for call in WRITING {
        for at in (1..).filter(|at| *at <= EACH || at % 9 == 0) {
            start_anew(claw);
            let inject = format!("inject={call}:{fault}:when={at}");
            let trace = format!("trace={call}");
            let options = ["-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject];
            let output = command(&options).output().unwrap();
            look(&output, &format!("{fault} at {call} {at}"));
            let calls = text(&fs::read(&log).unwrap());
            if !calls.contains("INJECTED") && !calls.contains("killed by SIGKILL") {
                assert!(output.status.success(), "{}", text(&output.stderr));
                break;
            }
            assert!(fault != KILL || !output.status.success());
            met += 1;
        }
    }
    met
}

#[test]
fn a_migration_killed_at_every_system_call_loses_nothing() {
    let claw = era_b();
    keep(&claw);
    // What a whole run reports. A later one knows the values of records, not those of accounts.
    let whole = claw.migrate(&[]);
    claw.check(&whole);
    let end = contents(&claw.from());
    let args = claw.migrate_args();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let command = |options: &[&str]| claw.traced(options, &args);
    let met = at_every_call(&claw, KILL, command, |_, when| {
        claw.migrate(&[]);
        assert_eq!(contents(&claw.from()), end, "{when}: another end");
        let report = claw.migrate(&["--dry-run"]);
        assert_eq!(report["changed"], false, "{when}: {report:#}");
        claw.check(&whole);
    });
    assert!(met > 40, "only {met} crash points: is strace at work?");
}

/// The files of this program's own folder but those of the vault, and the vault's records.
type End = (BTreeMap<PathBuf, String>, BTreeMap<String, String>);

fn end(claw: &Claw) -> End {
    let mut files = contents(&claw.own());
    files.retain(|path, _| {
        !path.ends_with("vault.reseal") && !path.starts_with(claw.own().join("anchors"))
    });
    let files = files.into_iter().map(|(path, bytes)| {
        // It names the process that held it.
        let is_lock = path.extension().is_some_and(|ending| ending == "lock");
        let held = text(&bytes);
        (path, if is_lock { String::new() } else { held })
    });
    (files.collect(), claw.records())
}

/// No value in what was said, nor in a file that nobody reads.
#[track_caller]
fn check_hidden(claw: &Claw, output: &Output, values: &[&str], when: &str) {
    let has = |bytes: &[u8]| {
        let mut values = values.iter().map(|value| value.as_bytes());
        values.any(|value| bytes.windows(value.len()).any(|part| part == value))
    };
    assert!(!has(&output.stderr), "{when}: {}", text(&output.stderr));
    for (path, bytes) in contents(&claw.own()) {
        let may = path.ends_with("credentials/oauth.json");
        assert!(may || !has(&bytes), "{when}: {}", path.display());
    }
}

/// An import of logins under a fault everywhere. Gives the number of faults that were met.
fn logins_under(fault: &str) -> usize {
    let claw = Claw::new();
    let values = logins::put_one_of_each(&claw);
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    keep(&claw);
    let home = contents(&logins::home(&claw));
    let run = || logins::run(&claw, &["--include", "codex,claude,agentos"]);
    let whole = run();
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let whole = end(&claw);
    assert_eq!(whole.1.len(), 3);
    let args = ["secrets", "migrate", "--yes", "--json"];
    let args = [&args[..], &["--include", "codex,claude,agentos"]].concat();
    let command = |options: &[&str]| {
        let mut command = claw.traced(options, &args);
        command.env("HOME", logins::home(&claw));
        command
    };
    at_every_call(&claw, fault, command, |output, when| {
        check_hidden(&claw, output, &values, when);
        assert_eq!(contents(&logins::home(&claw)), home, "{when}");
        let again = run();
        assert!(again.status.success(), "{when}: {}", text(&again.stderr));
        assert_eq!(end(&claw), whole, "{when}: another end");
        let report: Value = serde_json::from_slice(&run().stdout).unwrap();
        assert_eq!(report["changed"], false, "{when}: {report:#}");
        assert_eq!(contents(&logins::home(&claw)), home, "{when}");
    })
}

#[test]
fn an_import_of_logins_killed_at_every_system_call_comes_to_the_same_end() {
    let met = logins_under(KILL);
    assert!(met > 15, "only {met} crash points: is strace at work?");
}

#[test]
fn an_import_of_logins_on_a_full_disk_comes_to_the_same_end() {
    let met = logins_under(FULL_DISK);
    assert!(met > 15, "only {met} faults: is strace at work?");
}

/// The first use of accounts of an older program under a fault everywhere; with one that stays, the
/// file is rewritten, else it goes. Gives the number of faults that were met.
fn first_use_under(fault: &str, with_one_that_stays: bool) -> usize {
    let claw = Claw::new();
    let values = first_use::put_two(&claw, with_one_that_stays);
    let path = claw.own().join("credentials/oauth.json");
    keep(&claw);
    let args = ["token", first_use::ID];
    let run = || {
        let ran = claw.run(&args);
        assert!(ran.status.success(), "{}", text(&ran.stderr));
        assert_eq!(text(&ran.stdout).trim_end(), values[0]);
    };
    run();
    let whole = end(&claw);
    assert_eq!(whole.1.len(), 2);
    assert_eq!(path.exists(), with_one_that_stays);
    let command = |options: &[&str]| claw.traced(options, &args);
    at_every_call(&claw, fault, command, |output, when| {
        check_hidden(&claw, output, &values, when);
        let file = fs::read_to_string(&path).unwrap_or_default();
        let records: Vec<String> = claw.records().into_values().collect();
        for value in values {
            let is_there = file.contains(value) || records.iter().any(|held| held.contains(value));
            assert!(is_there, "{when}: {value} is lost");
        }
        run();
        assert_eq!(end(&claw), whole, "{when}: another end");
    })
}

#[test]
fn a_first_use_killed_at_every_system_call_loses_no_account() {
    for with_one_that_stays in [true, false] {
        let met = first_use_under(KILL, with_one_that_stays);
        assert!(met > 15, "only {met} crash points: is strace at work?");
    }
}

#[test]
fn a_first_use_on_a_full_disk_loses_no_account() {
    for with_one_that_stays in [true, false] {
        let met = first_use_under(FULL_DISK, with_one_that_stays);
        assert!(met > 15, "only {met} faults: is strace at work?");
    }
}
