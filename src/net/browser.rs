//! Opens the person's browser: a program by name and arguments, never a shell.
//!
//! Invariants: only `http` and `https` addresses; the program gets no input and its output goes
//! nowhere; waiting for it is bounded. Over SSH and without a display nothing is started: the
//! browser would be on the wrong machine, and the caller shows the address instead.

use crate::error::{Code, Coded};
use crate::sys::spawn::{self, Environment, Image, Program, Setup};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use url::Url;

/// How long a program may take to say that it can't: `xdg-open` without a browser exits at once.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// Commands of `$BROWSER` that are tried.
const MAX_COMMANDS: usize = 8;
/// What opens an address on the desktops of Linux, under WSL and on macOS.
const OPENERS: &[&[&str]] = &[
    &["xdg-open"],
    &["gio", "open"],
    &["wslview"],
    &["x-www-browser"],
    &["open"],
];

/// A browser was asked to open the address. Whether it shows it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The name of the program.
    pub program: String,
}

/// Why no browser was asked. The address is to be shown instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrowserError {
    /// Not an `http` or `https` address.
    #[error("only http and https addresses can be opened")]
    Address,
    /// The session comes from another machine.
    #[error("this session comes over SSH, and the browser is on another machine")]
    Ssh,
    /// There is no display, and `$BROWSER` names no program either.
    #[error("there is no display (DISPLAY, WAYLAND_DISPLAY) and BROWSER is not set")]
    NoDisplay,
    /// No program opened it.
    #[error("no program was found that opens it (xdg-open, or one that BROWSER names)")]
    NoProgram,
}

impl Coded for BrowserError {
    fn code(&self) -> Code {
        match self {
            BrowserError::Address => Code::OAuthInvalid,
            _ => Code::ExecAbsent,
        }
    }
}

crate::error::failure_from!(BrowserError);

/// Opens the address in the person's browser. Returns within a second for each program that says
/// it can't, and doesn't wait for one that goes on running.
///
/// `$BROWSER` comes first: commands with a colon between them, in which `%s` stands for the address
/// (added at the end if it is missing) and `%%` for a percent sign; words end at spaces.
pub fn open_browser(address: &str) -> Result<Opened, BrowserError> {
    let variables: Vec<_> = std::env::vars_os().collect();
    open_with(address, &Variables(&variables))
}

struct Variables<'a>(&'a [(OsString, OsString)]);

impl Variables<'_> {
    /// The value of a variable that is set and not empty.
    fn get(&self, name: &str) -> Option<&OsStr> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found
            .map(|(_, value)| value.as_os_str())
            .filter(|value| !value.is_empty())
    }
}

fn open_with(address: &str, variables: &Variables<'_>) -> Result<Opened, BrowserError> {
    let url = Url::parse(address).map_err(|_| BrowserError::Address)?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(BrowserError::Address);
    }
    let is_set = |names: &[&str]| names.iter().any(|name| variables.get(name).is_some());
    if is_set(&["SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"]) {
        return Err(BrowserError::Ssh);
    }
    let chosen = variables
        .get("BROWSER")
        .map(|value| value.to_string_lossy());
    // macOS has a display without a variable that says so.
    let shows = cfg!(target_os = "macos") || is_set(&["DISPLAY", "WAYLAND_DISPLAY"]);
    if !shows && chosen.is_none() {
        return Err(BrowserError::NoDisplay);
    }
    let chosen = chosen.unwrap_or_default();
    let mut commands: Vec<Vec<String>> = chosen
        .split(':')
        .map(|command| words(command, url.as_str()))
        .filter(|words| !words.is_empty())
        .take(MAX_COMMANDS)
        .collect();
    if shows {
        commands.extend(OPENERS.iter().map(|words| {
            let words = words.iter().copied().chain([url.as_str()]);
            words.map(str::to_owned).collect()
        }));
    }
    let opened = commands.iter().find(|words| run(words, variables));
    opened.map_or(Err(BrowserError::NoProgram), |words| {
        Ok(Opened {
            program: words[0].clone(),
        })
    })
}

/// The words of one command of `$BROWSER`, with the address put in.
fn words(command: &str, address: &str) -> Vec<String> {
    let mut found = false;
    let mut words: Vec<String> = command
        .split_ascii_whitespace()
        .map(|word| {
            let mut parts = word.split("%%").map(|part| {
                found |= part.contains("%s");
                part.replace("%s", address)
            });
            let first = parts.next().unwrap_or_default();
            parts.fold(first, |word, part| word + "%" + &part)
        })
        .collect();
    if !found && !words.is_empty() {
        words.push(address.to_owned());
    }
    words
}

/// Starts the program; true if it runs on, or has ended well.
fn run(words: &[String], variables: &Variables<'_>) -> bool {
    let started = find(&words[0], variables).and_then(|file| start(&file, words, variables).ok());
    started.is_some_and(accepted)
}

/// The program's file: itself if its name has a slash, else the first in a folder of `PATH` that
/// may be executed.
fn find(name: &str, variables: &Variables<'_>) -> Option<PathBuf> {
    let fits = |file: &PathBuf| {
        file.is_file() && accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(fits);
    }
    let path = variables.get("PATH").unwrap_or(OsStr::new("/usr/bin:/bin"));
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(name)).find(fits)
}

fn start(file: &Path, words: &[String], variables: &Variables<'_>) -> io::Result<Child> {
    let inherited: Vec<_> = variables
        .0
        .iter()
        .map(|(name, value)| (name.as_bytes(), vec![value.as_bytes()]))
        .collect();
    // What was inherited fits, or this process would not have it.
    let environment = Environment::new(&inherited).map_err(|_| io::ErrorKind::InvalidInput)?;
    let args: Vec<OsString> = words.iter().map(OsString::from).collect();
    let image = Image::new(Program::at(file)?, &args, environment)?;
    let setup = Setup {
        folder: None,
        stdio: [Stdio::null(), Stdio::null(), Stdio::null()],
        session: true,
        bound: false,
    };
    spawn::start(image, setup)
}

/// Waits a moment for a program that says it can't, and leaves one that runs on to a thread.
fn accepted(mut child: Child) -> bool {
    let running = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).is_ok_and(|exit| {
        let mut fds = [PollFd::new(&exit, PollFlags::IN)];
        poll(&mut fds, Some(&PATIENCE)).is_ok_and(|ended| ended == 0)
    });
    if !running && let Ok(Some(status)) = child.try_wait() {
        return status.success();
    }
    // A thread that can't be started leaves a zombie until this process ends, no more.
    let reaper = std::thread::Builder::new().name("browser".to_owned());
    drop(reaper.spawn(move || drop(child.wait())));
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const ADDRESS: &str = "https://idp.example/authorize?a=1&b=%20$(id)";

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.into(), value.into()))
            .collect()
    }

    fn open(pairs: &[(&str, &str)]) -> Result<Opened, BrowserError> {
        open_with(ADDRESS, &Variables(&variables(pairs)))
    }

    /// A program that writes its arguments, one a line, and whether it has a terminal or input.
    fn program(folder: &Path, name: &str, rest: &str) -> String {
        let path = folder.join(name);
        let out = folder.join(format!("{name}.out"));
        let text = format!(
            "#!/bin/sh\nfor a in \"$@\"; do echo \"$a\"; done >'{0}.new'\ncat >>'{0}.new'\n\
             mv '{0}.new' '{0}'\n{rest}\n",
            out.display()
        );
        // Written by another process: see the tests of `sys::spawn`.
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "cat >\"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn got(folder: &Path, name: &str) -> Option<String> {
        fs::read_to_string(folder.join(format!("{name}.out"))).ok()
    }

    #[test]
    fn browser_is_honoured_with_the_address_as_one_argument() {
        let place = tempfile::tempdir().unwrap();
        let one = program(place.path(), "one", "");
        let opened = open(&[("BROWSER", &one)]).unwrap();
        assert_eq!(opened.program, one);
        assert_eq!(got(place.path(), "one").unwrap(), format!("{ADDRESS}\n"));

        let two = program(place.path(), "two", "");
        open(&[("BROWSER", &format!("{two} --new 100%% go=%s"))]).unwrap();
        let expected = format!("--new\n100%\ngo={ADDRESS}\n");
        assert_eq!(got(place.path(), "two").unwrap(), expected);
    }

    #[test]
    fn one_that_fails_hands_over_to_the_next() {
        let place = tempfile::tempdir().unwrap();
        let bad = program(place.path(), "bad", "exit 3");
        let good = program(place.path(), "good", "");
        let list = format!("{}/absent::{bad}:{good}", place.path().display());
        assert_eq!(open(&[("BROWSER", &list)]).unwrap().program, good);
        assert!(got(place.path(), "bad").is_some());
        let list = format!("{bad}:{bad}");
        assert_eq!(open(&[("BROWSER", &list)]), Err(BrowserError::NoProgram));
    }

    #[test]
    fn a_program_that_runs_on_is_not_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let gate = place.path().join("gate");
        rustix::fs::mkfifoat(CWD, &gate, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        let rest = format!("read line <'{}'", gate.display());
        let stays = program(place.path(), "stays", &rest);
        assert_eq!(open(&[("BROWSER", &stays)]).unwrap().program, stays);
        // It was still there: it opens its end of the pipe, or this would wait for ever.
        fs::write(&gate, "go\n").unwrap();
    }

    #[test]
    fn without_browser_the_opener_of_the_desktop_is_looked_up_in_path() {
        let place = tempfile::tempdir().unwrap();
        program(place.path(), "gio", "");
        let path = format!("relative:{}:/usr/bin:/bin", place.path().display());
        // A machine with a desktop has an `xdg-open` of its own, which must not run here.
        let path = if Path::new("/usr/bin/xdg-open").exists() {
            program(place.path(), "xdg-open", "exit 3");
            path
        } else {
            path
        };
        let opened = open(&[("DISPLAY", ":0"), ("PATH", &path)]).unwrap();
        assert_eq!(opened.program, "gio");
        assert_eq!(
            got(place.path(), "gio").unwrap(),
            format!("open\n{ADDRESS}\n")
        );
    }

    #[test]
    fn nothing_is_opened_over_ssh_without_a_display_or_for_another_scheme() {
        let place = tempfile::tempdir().unwrap();
        let browser = program(place.path(), "browser", "");
        for name in ["SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"] {
            let ssh = [
                (name, "x"),
                ("BROWSER", browser.as_str()),
                ("DISPLAY", ":0"),
            ];
            assert_eq!(open(&ssh), Err(BrowserError::Ssh), "{name}");
        }
        assert_eq!(open(&[("PATH", "/usr/bin")]), Err(BrowserError::NoDisplay));
        let empty = place.path().to_str().unwrap();
        let nothing = [("WAYLAND_DISPLAY", "w"), ("PATH", empty)];
        assert_eq!(open(&nothing), Err(BrowserError::NoProgram));
        for address in [
            "file:///etc/passwd",
            "javascript:alert(1)",
            "--help",
            "",
            "ftp://a/",
        ] {
            let variables = variables(&[("BROWSER", &browser)]);
            let outcome = open_with(address, &Variables(&variables));
            assert_eq!(outcome, Err(BrowserError::Address), "{address}");
        }
        assert_eq!(got(place.path(), "browser"), None);
    }
}
