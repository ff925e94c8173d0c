//! The controlling terminal: hidden answers, questions, width.
//!
//! Invariants: echo is off before a hidden prompt appears, and type-ahead is dropped; whatever
//! ends the prompt (an answer, an error, a panic, a signal), the terminal gets back the settings
//! that it had; an answer lives in one locked block of fixed size. Prompts use `/dev/tty`, so
//! they work while stdin and stdout are redirected; without a terminal they fail at once.

mod editor;
mod signals;

use crate::error::{Code, Coded, failure_from};
use crate::secret::SecretValue;
use crate::sys::arena::LockedBytes;
use editor::{Editor, Step};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr,
    tcgetwinsize, tcsetattr,
};
use signals::Signals;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Why a prompt gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// There is no controlling terminal.
    #[error("there is no terminal to ask on")]
    NoTerminal,
    /// The answer is over its limit.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The user ended the input (Ctrl-C, Ctrl-D).
    #[error("cancelled")]
    Cancelled,
    /// The terminal failed.
    #[error("the terminal can't be used")]
    Io(#[from] io::Error),
}

impl Coded for PromptError {
    fn code(&self) -> Code {
        match self {
            PromptError::NoTerminal => Code::NoInput,
            PromptError::Cancelled => Code::InputCancelled,
            PromptError::TooLong(_) => Code::InputTooLarge,
            PromptError::Io(_) => Code::FileIo,
        }
    }
}

failure_from!(PromptError);

/// The longest answer to a hidden prompt, in bytes.
pub const MAX_ANSWER: usize = 64 << 10;

/// The longest visible line, in bytes: what the kernel's line editor holds.
pub const MAX_LINE: usize = 4095;

/// How often a yes/no question is asked before unclear answers count as cancelling.
pub const MAX_QUESTIONS: usize = 3;

/// Asks on `/dev/tty` with echo off: echo goes off first, type-ahead is dropped, then the prompt
/// appears. Works when stdin and stdout are redirected. Backspace, Ctrl-U and Ctrl-W edit; other
/// control characters but the tab are ignored.
///
/// # Errors
/// [`PromptError::NoTerminal`] at once if there is none; [`PromptError::Cancelled`] on Ctrl-C and
/// Ctrl-D; [`PromptError::TooLong`] for more than [`MAX_ANSWER`] bytes.
pub fn read_hidden(prompt: &str) -> Result<SecretValue, PromptError> {
    let answer = Terminal::open()?.hidden(prompt, MAX_ANSWER, None)?;
    answer.ok_or(PromptError::Cancelled)
}

/// [`read_hidden`], until `stop` becomes readable; `None` if it did. The prompt's line is ended
/// either way.
///
/// # Errors
/// As [`read_hidden`].
pub fn read_hidden_until(
    prompt: &str,
    stop: BorrowedFd<'_>,
) -> Result<Option<SecretValue>, PromptError> {
    Terminal::open()?.hidden(prompt, MAX_ANSWER, Some(stop))
}

/// Asks for a line that may be seen, on `/dev/tty`; type-ahead is dropped. Ctrl-C and Ctrl-D
/// cancel.
pub fn read_line(prompt: &str) -> Result<String, PromptError> {
    Terminal::open()?.line(prompt)
}

/// Asks a yes/no question on `/dev/tty`; `default` is what an empty answer means.
pub fn confirm(question: &str, default: bool) -> Result<bool, PromptError> {
    let terminal = Terminal::open()?;
    let choice = if default { "[Y/n]" } else { "[y/N]" };
    for _ in 0..MAX_QUESTIONS {
        match terminal.line(&format!("{question} {choice} "))?.trim() {
            "" => return Ok(default),
            answer if answer.eq_ignore_ascii_case("y") => return Ok(true),
            answer if answer.eq_ignore_ascii_case("yes") => return Ok(true),
            answer if answer.eq_ignore_ascii_case("n") => return Ok(false),
            answer if answer.eq_ignore_ascii_case("no") => return Ok(false),
            _ => {}
        }
    }
    Err(PromptError::Cancelled)
}

/// Writes a line to the terminal, if there is one; returns whether there is.
pub fn show(text: &str) -> bool {
    Terminal::open().is_ok_and(|terminal| terminal.write(&printable(text), "\n").is_ok())
}

/// True if there is a controlling terminal to ask on.
pub fn can_ask() -> bool {
    Terminal::open().is_ok()
}

/// True if standard input is a terminal.
pub fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// True if standard output is a terminal.
pub fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// True if standard error is a terminal.
pub fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// The width in columns of the terminal behind standard output, or else standard error.
pub fn width() -> Option<usize> {
    let columns = |size: rustix::termios::Winsize| (size.ws_col > 0).then_some(size.ws_col.into());
    (tcgetwinsize(io::stdout()).ok().and_then(columns))
        .or_else(|| tcgetwinsize(io::stderr()).ok().and_then(columns))
}

/// Makes text safe for a terminal: control characters but the line end become `?`.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\n' { '?' } else { c })
        .collect()
}

/// Holds back what would end this process while another one has the terminal for it. Whatever came
/// is raised again when this is dropped.
pub struct Lent {
    signals: Signals,
    _one: MutexGuard<'static, ()>,
}

impl Lent {
    /// Lends the terminal.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn begin() -> io::Result<Self> {
        let one = ONE_PROMPT.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Self {
            signals: Signals::catch_ends()?,
            _one: one,
        })
    }

    /// Readable once something has come.
    pub fn came(&self) -> BorrowedFd<'_> {
        self.signals.wake()
    }
}

/// Only one prompt at a time: the terminal's settings and the signal handlers are the process's.
static ONE_PROMPT: Mutex<()> = Mutex::new(());

/// An open terminal.
pub(crate) struct Terminal {
    device: File,
}

impl Terminal {
    /// Opens the controlling terminal.
    pub(crate) fn open() -> Result<Self, PromptError> {
        let flags = rustix::fs::OFlags::NOCTTY.bits() as i32;
        match OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open("/dev/tty")
        {
            Ok(device) => Ok(Self { device }),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NXIO | Errno::NOENT | Errno::NODEV | Errno::ACCESS) => {
                    Err(PromptError::NoTerminal)
                }
                _ => Err(PromptError::Io(error)),
            },
        }
    }

    /// Asks with echo off, for at most `max` bytes; `None` if `stop` became readable first.
    pub(crate) fn hidden(
        &self,
        prompt: &str,
        max: usize,
        stop: Option<BorrowedFd<'_>>,
    ) -> Result<Option<SecretValue>, PromptError> {
        let _one = ONE_PROMPT.lock().unwrap_or_else(PoisonError::into_inner);
        let mut editor = Editor::new(max);
        loop {
            // Declared in this order so that the terminal is restored before the handlers are.
            let signals = Signals::catch()?;
            let quiet = Quiet::start(&self.device)?;
            self.write(&printable(prompt), "")?;
            let end = self.edit(&signals, stop, &mut editor);
            // Ends the line whatever happened: echo is off, so nothing else did.
            let newline = self.write("", "\n");
            drop(quiet);
            drop(signals);
            match end? {
                End::Line => {
                    newline?;
                    return editor.answer().ok_or(PromptError::TooLong(max)).map(Some);
                }
                End::Stopped => return Ok(None),
                End::Cancelled => return Err(PromptError::Cancelled),
                End::Suspend => signals::stop_group(),
                End::Signal(signal) => {
                    signals::raise(signal);
                    if !signals::is_stop(signal) {
                        // The process has a handler of its own and lives on.
                        return Err(PromptError::Cancelled);
                    }
                }
            }
            // Stopped and continued: what was typed so far is gone, ask again.
            editor.clear();
        }
    }

    fn edit(
        &self,
        signals: &Signals,
        stop: Option<BorrowedFd<'_>>,
        editor: &mut Editor,
    ) -> Result<End, PromptError> {
        let mut chunk = LockedBytes::zeroed(256);
        loop {
            let ready = self.wait(signals, stop)?;
            if let Some(signal) = signals.next() {
                return Ok(End::Signal(signal));
            }
            if ready.stop {
                return Ok(End::Stopped);
            }
            if !ready.keys {
                continue;
            }
            let count = match rustix::io::read(&self.device, chunk.as_mut_slice()) {
                Ok(0) | Err(Errno::IO) => return Ok(End::Cancelled),
                Ok(count) => count,
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Err(error) => return Err(PromptError::Io(error.into())),
            };
            for byte in &chunk.as_slice()[..count] {
                match editor.push(*byte) {
                    Step::More => {}
                    Step::Line => return Ok(End::Line),
                    Step::Cancelled => return Ok(End::Cancelled),
                    Step::Suspend => return Ok(End::Suspend),
                }
            }
        }
    }

    /// Waits for keys, a signal or `stop`.
    fn wait(&self, signals: &Signals, stop: Option<BorrowedFd<'_>>) -> Result<Ready, PromptError> {
        let mut waiting = vec![
            PollFd::new(&self.device, PollFlags::IN),
            PollFd::from_borrowed_fd(signals.wake(), PollFlags::IN),
        ];
        waiting.extend(stop.map(|stop| PollFd::from_borrowed_fd(stop, PollFlags::IN)));
        match rustix::event::poll(&mut waiting, None) {
            Ok(_) => Ok(Ready {
                keys: !waiting[0].revents().is_empty(),
                stop: waiting.get(2).is_some_and(|fd| !fd.revents().is_empty()),
            }),
            Err(Errno::INTR) => Ok(Ready::default()),
            Err(error) => Err(PromptError::Io(error.into())),
        }
    }

    /// Asks for a visible line, edited by the kernel.
    pub(crate) fn line(&self, prompt: &str) -> Result<String, PromptError> {
        let _one = ONE_PROMPT.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let signals = Signals::catch()?;
            tcflush(&self.device, QueueSelector::IFlush).map_err(io::Error::from)?;
            self.write(&printable(prompt), "")?;
            let end = self.read_visible(&signals);
            drop(signals);
            match end? {
                Visible::Line(line) => return Ok(line),
                Visible::Cancelled => {
                    // The line that the answer did not end.
                    self.write("", "\n")?;
                    return Err(PromptError::Cancelled);
                }
                Visible::Signal(signal) => {
                    signals::raise(signal);
                    if !signals::is_stop(signal) {
                        // The process has a handler of its own and lives on.
                        return Err(PromptError::Cancelled);
                    }
                }
            }
        }
    }

    fn read_visible(&self, signals: &Signals) -> Result<Visible, PromptError> {
        let mut bytes = vec![0; MAX_LINE + 1];
        let mut len = 0;
        while len < bytes.len() {
            let ready = self.wait(signals, None)?;
            match signals.next() {
                // The terminal's interrupt key; nothing else sends it to one that asks.
                Some(libc::SIGINT) => return Ok(Visible::Cancelled),
                Some(signal) => return Ok(Visible::Signal(signal)),
                None => {}
            }
            if !ready.keys {
                continue;
            }
            match rustix::io::read(&self.device, &mut bytes[len..]) {
                Ok(0) | Err(Errno::IO) => return Ok(Visible::Cancelled),
                Ok(count) => len += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(PromptError::Io(error.into())),
            }
            if let Some(end) = bytes[..len].iter().position(|byte| *byte == b'\n') {
                bytes.truncate(end);
                return String::from_utf8(bytes)
                    .map(Visible::Line)
                    .map_err(|_| PromptError::Io(io::ErrorKind::InvalidData.into()));
            }
        }
        Err(PromptError::TooLong(MAX_LINE))
    }

    fn write(&self, text: &str, end: &str) -> Result<(), PromptError> {
        let mut device = &self.device;
        device.write_all(text.as_bytes())?;
        device.write_all(end.as_bytes())?;
        Ok(())
    }
}

/// What a wait ended with.
#[derive(Clone, Copy, Default)]
struct Ready {
    keys: bool,
    stop: bool,
}

/// How one round of asking for a visible line ended.
enum Visible {
    Line(String),
    Cancelled,
    Signal(libc::c_int),
}

/// How one round of editing ended.
enum End {
    Line,
    Stopped,
    Cancelled,
    Suspend,
    Signal(libc::c_int),
}

/// The terminal with echo, line editing and signal keys off, until it is dropped.
struct Quiet<'a> {
    device: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn start(device: &'a File) -> io::Result<Self> {
        let before = retry(|| tcgetattr(device.as_fd()))?;
        let mut quiet = before.clone();
        quiet.local_modes -= LocalModes::ECHO
            | LocalModes::ECHONL
            | LocalModes::ICANON
            | LocalModes::ISIG
            | LocalModes::IEXTEN;
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        let guard = Self { device, before };
        retry(|| tcsetattr(device.as_fd(), OptionalActions::Flush, &quiet))?;
        // tcsetattr succeeds if it could do any part of what was asked.
        if retry(|| tcgetattr(device.as_fd()))?
            .local_modes
            .contains(LocalModes::ECHO)
        {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(guard)
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Flushes too: the second line of a pasted secret must not become a shell command. There
        // is nothing left to do if it fails: the terminal is gone.
        let _ = retry(|| tcsetattr(self.device.as_fd(), OptionalActions::Flush, &self.before));
    }
}

fn retry<T>(call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    Ok(rustix::io::retry_on_intr(call)?)
}

#[cfg(test)]
mod tests;
