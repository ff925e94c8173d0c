//! Prompts on real pseudo-terminals, asked by a child process: this test binary again, with the
//! pseudo-terminal as its controlling terminal.

use super::editor::{Editor, Step};
use super::*;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

const ROLE: &str = "RESEAL_TEST_TTY_ROLE";
/// Names the pipe whose end ends the prompts of the role `until`.
const FIFO: &str = "RESEAL_TEST_TTY_FIFO";

/// What the child does, if this process is one.
#[test]
fn child() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    println!("\nPID {}", std::process::id());
    let shown = |answer: Result<SecretValue, PromptError>| match answer {
        Ok(value) => String::from_utf8_lossy(value.expose()).into_owned(),
        Err(error) => format!("{error:?}"),
    };
    let result = match role.as_str() {
        "hidden" => shown(read_hidden("Passphrase: ")),
        "short" => shown(
            Terminal::open()
                .and_then(|terminal| terminal.hidden("Short: ", 8, None))
                .map(Option::unwrap),
        ),
        "until" => {
            let mut fifo = OpenOptions::new();
            let fifo = fifo.read(true).custom_flags(libc::O_NONBLOCK);
            let fifo = fifo.open(std::env::var(FIFO).unwrap()).unwrap();
            let first = read_hidden_until("First: ", fifo.as_fd()).map(Option::unwrap);
            let second = read_hidden_until("Second: ", fifo.as_fd());
            format!("{}+{second:?}", shown(first))
        }
        "twice" => {
            let first = shown(read_hidden("First: "));
            format!("{first}+{}", shown(read_hidden("Second: ")))
        }
        "line" => format!("{:?}", read_line("Line: ")),
        "confirm" => format!("{:?}", confirm("Sure?", false)),
        "can_ask" => format!("{:?}", can_ask()),
        _ => "unknown role".to_owned(),
    };
    println!("\nRESULT {result}");
}

struct Pty {
    master: File,
    seen: Vec<u8>,
}

impl Pty {
    fn new() -> (Self, OwnedFd) {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(name.to_str().unwrap())
            .unwrap();
        (
            Self {
                master: master.into(),
                seen: Vec::new(),
            },
            slave.into(),
        )
    }

    fn echoes(&self) -> bool {
        tcgetattr(&self.master)
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO)
    }

    fn wait_for(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.seen).contains(text) {
            let mut chunk = [0; 1024];
            let count = self.master.read(&mut chunk).unwrap();
            self.seen.extend_from_slice(&chunk[..count]);
        }
    }

    fn type_keys(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    /// Everything that the terminal showed since the last call, up to now.
    fn take_shown(&mut self) -> String {
        loop {
            let mut ready = [PollFd::new(&self.master, PollFlags::IN)];
            let now = rustix::time::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            rustix::event::poll(&mut ready, Some(&now)).unwrap();
            if !ready[0].revents().contains(PollFlags::IN) {
                return String::from_utf8(std::mem::take(&mut self.seen)).unwrap();
            }
            let mut chunk = [0; 1024];
            let count = self.master.read(&mut chunk).unwrap();
            self.seen.extend_from_slice(&chunk[..count]);
        }
    }
}

fn role_command(wrapper: &[&str], role: &str) -> Command {
    let mut command = Command::new(wrapper[0]);
    command
        .args(&wrapper[1..])
        .arg(std::env::current_exe().unwrap())
        .args([
            "sys::tty::tests::child",
            "--exact",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

struct Prompting {
    pty: Pty,
    // Kept open so that the terminal's settings outlive the child.
    _slave: OwnedFd,
    child: Child,
    lines: BufReader<ChildStdout>,
    pid: Pid,
}

impl Prompting {
    fn start(role: &str) -> Self {
        Self::start_with(Pty::new(), &["setsid", "--ctty"], role)
    }

    fn start_with(terminal: (Pty, OwnedFd), wrapper: &[&str], role: &str) -> Self {
        Self::start_command(terminal, role_command(wrapper, role))
    }

    fn start_command((pty, slave): (Pty, OwnedFd), mut command: Command) -> Self {
        command.stdin(slave.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let pid = line_after(&mut lines, "PID ").parse().unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        Self {
            pty,
            _slave: slave,
            child,
            lines,
            pid,
        }
    }

    /// The answer that the child got, when it has ended; the terminal must echo again.
    fn result(&mut self) -> String {
        let result = line_after(&mut self.lines, "RESULT ");
        assert!(self.child.wait().unwrap().success());
        assert!(self.pty.echoes());
        result
    }

    fn end(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Prompting {
    fn drop(&mut self) {
        // Only after a failed assertion is it still there.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line_after(lines: &mut impl BufRead, start: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(
            lines.read_line(&mut line).unwrap() > 0,
            "the child ended without {start:?}"
        );
        if let Some(rest) = line.trim_end().strip_prefix(start) {
            return rest.to_owned();
        }
    }
}

#[test]
fn echo_is_off_when_the_prompt_appears_and_the_answer_is_never_shown() {
    let mut prompting = Prompting::start("hidden");
    prompting.pty.wait_for("Passphrase: ");
    assert!(!prompting.pty.echoes());
    prompting.pty.type_keys(b"hunter2 \xc3\xa4\n");
    assert_eq!(prompting.result(), "hunter2 ä");
    let shown = prompting.pty.take_shown();
    assert!(!shown.contains("hunter"), "{shown:?}");
    assert!(shown.ends_with("Passphrase: \r\n"), "{shown:?}");
}

#[test]
fn a_prompt_ends_when_something_else_is_faster_and_gives_the_terminal_back() {
    let place = tempfile::tempdir().unwrap();
    let fifo = place.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let mut command = role_command(&["setsid", "--ctty"], "until");
    command.env(FIFO, &fifo);
    let mut prompting = Prompting::start_command(Pty::new(), command);
    prompting.pty.wait_for("First: ");
    prompting.pty.type_keys(b"one\n");
    prompting.pty.wait_for("Second: ");
    prompting.pty.type_keys(b"half");
    // Fails instead of waiting if nobody reads.
    let mut end = OpenOptions::new();
    let end = end.write(true).custom_flags(libc::O_NONBLOCK).open(&fifo);
    drop(end);
    assert_eq!(prompting.result(), "one+Ok(None)");
    let shown = prompting.pty.take_shown();
    assert!(shown.ends_with("Second: \r\n"), "{shown:?}");
}

#[test]
fn type_ahead_is_dropped() {
    let (mut pty, slave) = Pty::new();
    pty.type_keys(b"early\n");
    let mut prompting = Prompting::start_with((pty, slave), &["setsid", "--ctty"], "hidden");
    prompting.pty.wait_for("Passphrase: ");
    prompting.pty.take_shown();
    prompting.pty.type_keys(b"late\n");
    assert_eq!(prompting.result(), "late");
    assert!(!prompting.pty.take_shown().contains("early"));
}

#[test]
fn the_rest_of_a_paste_is_dropped_too() {
    let mut prompting = Prompting::start("twice");
    prompting.pty.wait_for("First: ");
    prompting.pty.type_keys(b"one\nspilled\n");
    prompting.pty.wait_for("Second: ");
    prompting.pty.type_keys(b"two\n");
    assert_eq!(prompting.result(), "one+two");
    assert!(!prompting.pty.take_shown().contains("spilled"));
}

#[test]
fn control_c_and_control_d_cancel() {
    for key in [b"secret\x03", b"secret\x04"] {
        let mut prompting = Prompting::start("hidden");
        prompting.pty.wait_for("Passphrase: ");
        prompting.pty.type_keys(key);
        assert_eq!(prompting.result(), "Cancelled");
        assert!(!prompting.pty.take_shown().contains("secret"));
    }
}

#[test]
fn an_answer_over_the_limit_is_refused_and_not_spilled() {
    for (keys, result) in [
        (&b"12345678\n"[..], "12345678"),
        (b"123456789\n", "TooLong(8)"),
    ] {
        let mut prompting = Prompting::start("short");
        prompting.pty.wait_for("Short: ");
        prompting.pty.type_keys(keys);
        assert_eq!(prompting.result(), result);
    }
}

#[test]
fn without_a_terminal_it_fails_at_once() {
    for (role, result) in [
        ("hidden", "NoTerminal"),
        ("confirm", "Err(NoTerminal)"),
        ("can_ask", "false"),
    ] {
        let output = role_command(&["setsid", "--wait"], role)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("RESULT {result}\n")), "{text}");
    }
}

#[test]
fn a_signal_restores_the_terminal_and_then_has_its_effect() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        let mut prompting = Prompting::start("hidden");
        prompting.pty.wait_for("Passphrase: ");
        assert!(!prompting.pty.echoes());
        kill_process(prompting.pid, signal).unwrap();
        assert_eq!(prompting.end().signal(), Some(signal.as_raw()));
        assert!(prompting.pty.echoes());
    }
}

/// A shell with job control runs the prompt, sees it stop, and continues it when told to.
fn stop_and_continue(stop: impl FnOnce(&mut Prompting)) {
    let script =
        "set -m; \"$0\" \"$@\"; echo STOPPED >/dev/tty; read -r go </dev/tty; fg >/dev/null";
    let mut prompting = Prompting::start_with(
        Pty::new(),
        &["setsid", "--ctty", "bash", "--norc", "-ic", script],
        "hidden",
    );
    prompting.pty.wait_for("Passphrase: ");
    prompting.pty.type_keys(b"forgotten");
    stop(&mut prompting);
    prompting.pty.wait_for("STOPPED");
    assert!(prompting.pty.echoes());
    assert!(!prompting.pty.take_shown().contains("forgotten"));
    prompting.pty.type_keys(b"go\n");
    prompting.pty.wait_for("Passphrase: ");
    assert!(!prompting.pty.echoes());
    prompting.pty.type_keys(b"answer\n");
    assert_eq!(prompting.result(), "answer");
    assert!(!prompting.pty.take_shown().contains("answer"));
}

#[test]
fn stopping_restores_the_terminal_and_continuing_asks_again() {
    stop_and_continue(|prompting| kill_process(prompting.pid, Signal::TSTP).unwrap());
}

#[test]
fn the_suspend_key_stops_the_job() {
    stop_and_continue(|prompting| prompting.pty.type_keys(b"\x1a"));
}

#[test]
fn lines_and_questions_are_visible() {
    let mut prompting = Prompting::start("line");
    prompting.pty.wait_for("Line: ");
    prompting.pty.type_keys(b"seen\n");
    assert_eq!(prompting.result(), "Ok(\"seen\")");
    assert!(prompting.pty.take_shown().contains("seen"));

    for (keys, result) in [
        (&b"y\n"[..], "Ok(true)"),
        (b"YES\n", "Ok(true)"),
        (b"n\n", "Ok(false)"),
        (b"\n", "Ok(false)"),
        (b"\x04", "Err(Cancelled)"),
    ] {
        let mut prompting = Prompting::start("confirm");
        prompting.pty.wait_for("Sure? [y/N] ");
        prompting.pty.type_keys(keys);
        assert_eq!(prompting.result(), result);
    }
}

fn edited(keys: &[u8], max: usize) -> Option<Vec<u8>> {
    let mut editor = Editor::new(max);
    let steps: Vec<Step> = keys.iter().map(|key| editor.push(*key)).collect();
    assert!(steps.iter().all(|step| *step == Step::More));
    assert_eq!(editor.push(b'\n'), Step::Line);
    editor.answer().map(|answer| answer.expose().to_vec())
}

#[test]
fn editing_keys() {
    assert_eq!(edited(b"abx\x7fc", 8).unwrap(), b"abc");
    assert_eq!(edited("aä\u{8}b".as_bytes(), 8).unwrap(), b"ab");
    assert_eq!(edited("€\u{7f}\u{7f}".as_bytes(), 8).unwrap(), b"");
    assert_eq!(edited(b"gone\x15kept", 8).unwrap(), b"kept");
    assert_eq!(edited(b"two words \x17w", 16).unwrap(), b"two w");
    assert_eq!(
        edited(b"\x1b[200~paste\x1b[201~\x1bOA", 16).unwrap(),
        b"paste"
    );
    assert_eq!(edited(b"tab\tstays\x07", 16).unwrap(), b"tab\tstays");
    assert_eq!(edited(b"12345678", 8).unwrap(), b"12345678");
    assert_eq!(edited(b"123456789", 8), None);
    assert_eq!(edited(b"123456789\x15again", 8).unwrap(), b"again");
}

#[test]
fn printable_text_keeps_no_control_characters() {
    assert_eq!(printable("a\x1b[2Jb\r\nc\u{9b}"), "a?[2Jb?\nc?");
}
