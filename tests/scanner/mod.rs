//! Looks through the memory of processes for secrets, as root can: as it is, and at the very end of
//! a process, when nothing of it runs any more and its memory is still there.
//!
//! The scanner is `scan.py`. What it must find, each test shows it to find.

// Each test file uses its part.
#![allow(dead_code, unused_imports)]

mod vault;

pub use vault::{accounts, open_vault, values_of};

use data_encoding::{BASE64, HEXLOWER, HEXUPPER};
use rustix::process::geteuid;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use tempfile::NamedTempFile;

/// Where secrets were found: the secret and the kind of mapping; sorted, each once.
pub type Hits = Vec<(String, String)>;

/// The secret arena, where it is no secret memory.
pub const ARENA: &str = "arena";

/// A kernel without secret memory, which root can't look into.
pub const NO_SECRET_MEMORY: &str = "memfd_secret";
/// A kernel without randomness for a nonce: sealing a value is a defect then.
pub const NO_NONCE: &str = "getrandom:1=24->EIO";

/// What stands before a secret that is no text, in hexadecimal.
pub const HEX: &str = "hex:";

/// Only root may look into a process that is not dumpable.
pub fn may_look() -> bool {
    let may = geteuid().is_root();
    if !may {
        eprintln!("not root: memory is not looked at");
    }
    may
}

/// These secrets in the arena and nowhere else.
pub fn in_arena(secrets: &[&str]) -> Hits {
    let mut hits: Hits = secrets
        .iter()
        .map(|secret| ((*secret).to_owned(), ARENA.to_owned()))
        .collect();
    hits.sort();
    hits
}

/// True if this secret was found in memory that is not locked.
pub fn is_outside(hits: &Hits, secret: &str) -> bool {
    hits.iter()
        .any(|(found, place)| found == secret && place != ARENA)
}

/// A process's memory as it is.
pub fn now(pid: u32, secrets: &[&str]) -> Hits {
    let needles = needles_in(NamedTempFile::new().unwrap(), secrets);
    let output = scanner(needles.path(), "now").arg(pid.to_string()).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    hits(&String::from_utf8(output.stdout).unwrap(), secrets)
}

/// A look at a process that goes on meanwhile, at its end.
pub struct AtExit {
    scanner: Child,
    report: BufReader<ChildStdout>,
    needles: NamedTempFile,
}

impl AtExit {
    /// From now on the process is held at its end until it was looked at.
    pub fn of(child: &Child) -> Self {
        let needles = NamedTempFile::new().unwrap();
        let mut command = scanner(needles.path(), "exit");
        command.arg(child.id().to_string()).stdin(Stdio::piped());
        let mut scanner = command.stdout(Stdio::piped()).spawn().unwrap();
        let report = BufReader::new(scanner.stdout.take().unwrap());
        let mut at_exit = Self {
            scanner,
            report,
            needles,
        };
        at_exit.hear("seized");
        at_exit
    }

    /// Waits until the process is at its end.
    pub fn wait(&mut self) {
        self.hear("held");
    }

    /// Waits for its end, looks at it, and lets it go.
    pub fn look_for(mut self, secrets: &[&str]) -> Hits {
        let _needles = needles_in(self.needles, secrets);
        // Closing it says that the needles are there.
        drop(self.scanner.stdin.take());
        let mut text = String::new();
        self.report.read_to_string(&mut text).unwrap();
        assert!(self.scanner.wait().unwrap().success());
        hits(&text, secrets)
    }

    fn hear(&mut self, word: &str) {
        let mut line = String::new();
        self.report.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), word);
    }
}

/// What a program left that was looked at when it ended.
#[derive(Debug)]
pub struct Ended {
    pub hits: Hits,
    /// The exit code; 128 and more for a signal.
    pub code: Option<i32>,
    pub stderr: String,
}

/// Runs a program to its end, and looks at it there.
pub fn at_its_end(command: &Command, stdin: &[u8], secrets: &[&str]) -> Ended {
    let needles = needles_in(NamedTempFile::new().unwrap(), secrets);
    let mut looked_at = scanner(needles.path(), "run");
    looked_at.env_clear();
    for (name, value) in command.get_envs() {
        looked_at.env(name, value.unwrap());
    }
    if let Some(folder) = command.get_current_dir() {
        looked_at.current_dir(folder);
    }
    let mut child = looked_at
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that ends early does not read.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    Ended {
        hits: hits(&report, secrets),
        code: output.status.code(),
        stderr,
    }
}

/// The same program on a kernel that answers these calls otherwise, as `failing.py` says.
pub fn refusing(calls: &[&str], command: &Command) -> Command {
    let mut wrapped = Command::new("/usr/bin/python3");
    wrapped.arg(script("failing.py")).args(calls).arg("--");
    wrapped.arg(command.get_program()).args(command.get_args());
    wrapped.env_clear();
    for (name, value) in command.get_envs() {
        wrapped.env(name, value.unwrap());
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped.stdin(Stdio::null());
    wrapped
}

/// What is looked for, in the lines that `scan.py` reads. Of a secret as it stands pieces of 8
/// bytes that begin at multiples of 8, so that each fragment of 16 holds one; of what encodes it
/// pieces of 16.
fn needles(secrets: &[&str]) -> String {
    let mut lines = String::new();
    for (index, secret) in secrets.iter().enumerate() {
        let bytes = &*match secret.strip_prefix(HEX) {
            Some(key) => HEXLOWER.decode(key.as_bytes()).unwrap(),
            None => secret.as_bytes().to_vec(),
        };
        assert!(bytes.len() >= 16, "too short to be looked for");
        let mut encoded = vec![
            HEXLOWER.encode(bytes).into_bytes(),
            HEXUPPER.encode(bytes).into_bytes(),
            secret.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ];
        // In base64 the same bytes look different at each position modulo three.
        for skipped in 0..3 {
            let whole = (bytes.len() - skipped) / 3 * 3;
            encoded.push(BASE64.encode(&bytes[skipped..skipped + whole]).into_bytes());
        }
        let pieces = encoded.iter().flat_map(|form| form.chunks_exact(16));
        for piece in bytes.chunks_exact(8).chain(pieces) {
            writeln!(lines, "{index} {}", HEXLOWER.encode(piece)).unwrap();
        }
    }
    lines
}

fn needles_in(file: NamedTempFile, secrets: &[&str]) -> NamedTempFile {
    file.as_file()
        .write_all(needles(secrets).as_bytes())
        .unwrap();
    file
}

/// Hits in the lines that `scan.py` wrote.
fn hits(report: &str, secrets: &[&str]) -> Hits {
    assert!(report.contains("scanned "), "nothing was scanned: {report}");
    let mut hits = Hits::new();
    for line in report.lines() {
        if let Some((index, place)) = line
            .strip_prefix("hit ")
            .and_then(|hit| hit.split_once(" in "))
        {
            let index: usize = index.parse().unwrap();
            hits.push((secrets[index].to_owned(), place.to_owned()));
        }
    }
    hits.sort();
    hits.dedup();
    hits
}

fn script(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join("scanner").join(name)
}

fn scanner(needles: &Path, way: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script("scan.py")).arg(needles).arg(way);
    command
}
