//! Opening the vault for a daemon in the foreground: in a process of its own, which may ask a
//! person, run an age plugin and read any file, and hands over the sub-keys.
//!
//! Invariants: the daemon never holds a passphrase, an identity or the root key; nothing is asked
//! before the daemon has its place; the opener ends with the daemon, and before it while it has the
//! terminal: whoever started the daemon finds the terminal as it was.

use super::Unlock;
use super::frame::{Ask, MAX_FRAME, answer_frames, request_frames};
use super::wire::{Waited, Wire, WireError};
use crate::error::{Code, Failure};
use crate::runtime::service::{Answer, Reply};
use crate::secret::SecretValue;
use crate::sys::children::{self, Forked};
use crate::sys::tty::Lent;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// For the hand-over itself.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(30);
/// How long a person may take to answer: a day.
const PATIENCE: Duration = Duration::from_secs(86_400);
/// For an opener that is not needed any more to put the terminal back, and to end.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// What the daemon says when it has its place.
const GO: u8 = b'g';

/// A process that waits to open the vault.
#[derive(Debug)]
pub struct Opener {
    stream: UnixStream,
    process: Forked,
}

impl Opener {
    /// Starts it: `open` runs there once [`Opener::keys`] is called, and gives the sub-keys. Must
    /// be called before the process has other threads or secrets: it forks.
    ///
    /// # Errors
    /// `daemon.unavailable` if there is no process to be had.
    pub fn start(open: impl FnOnce() -> Result<SecretValue, Failure>) -> Result<Self, Failure> {
        let started = UnixStream::pair().and_then(|(ours, theirs)| {
            let raw = ours.as_raw_fd();
            let process = children::fork(|| match work(theirs, raw, open) {
                Ok(()) => libc::EXIT_SUCCESS,
                Err(_) => libc::EXIT_FAILURE,
            })?;
            Ok(Self {
                stream: ours,
                process,
            })
        });
        started.map_err(|error| {
            let text = format!("the process that opens the vault: {error}");
            Failure::new(Code::DaemonUnavailable, text)
        })
    }

    /// What it has open, for whoever closes all other descriptors.
    pub fn descriptors(&self) -> [RawFd; 2] {
        [self.stream.as_raw_fd(), self.process.exit().as_raw_fd()]
    }

    /// Lets it open the vault, and waits for the sub-keys.
    ///
    /// # Errors
    /// Why the vault did not open; `daemon.unavailable` if the process ended without a word.
    pub fn keys(mut self) -> Result<SecretValue, Failure> {
        let lent = Lent::begin().map_err(|error| {
            let text = format!("the process that opens the vault: {error}");
            Failure::new(Code::DaemonUnavailable, text)
        })?;
        let outcome = self.stream.write_all(&[GO]).map_err(WireError::Io);
        let outcome = outcome.and_then(|()| receive(&mut self.stream, lent.came()));
        // That ends it, also where it waits for a person still; a signal to it the sandbox refuses.
        drop(self.stream);
        self.process.reap_within(LEAVE_LIMIT);
        drop(lent);
        outcome.map_err(|error| match error {
            WireError::Closed | WireError::Torn | WireError::Io(_) => {
                let text = "the process that opens the vault ended without a word";
                Failure::new(Code::DaemonUnavailable, text)
            }
            other => other.into(),
        })?
    }
}

/// Waits for the keys, or why there are none, until `stop` becomes readable.
fn receive(
    stream: &mut UnixStream,
    stop: BorrowedFd<'_>,
) -> Result<Result<SecretValue, Failure>, WireError> {
    let mut wire = Wire::new(stream.try_clone().map_err(WireError::Io)?, HAND_OVER_LIMIT)
        .map_err(WireError::Io)?;
    match wire.wait(PATIENCE, Some(stop))? {
        Waited::Ready => {}
        Waited::Interrupted => return Err(WireError::Closed),
        Waited::TimedOut => return Err(WireError::Timeout(PATIENCE)),
    }
    if let Err(failure) = wire.read_answer()? {
        return Ok(Err(failure));
    }
    match wire.read_request(MAX_FRAME)? {
        (Ask::Unlock(_), mut secrets) if secrets.len() == 1 => Ok(Ok(secrets.remove(0))),
        _ => Err(WireError::Closed),
    }
}

/// Ends this process, in the way that puts the terminal back, once the other end is closed.
fn end_with(stream: UnixStream) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("end".to_owned());
    let watching = thread.spawn(move || {
        let mut fds = [PollFd::new(&stream, PollFlags::empty())];
        while poll(&mut fds, None).is_err() {}
        let us = rustix::process::getpid();
        // It fails for nobody.
        let _sent = rustix::process::kill_process(us, Signal::TERM);
    })?;
    drop(watching);
    Ok(())
}

/// The opener itself.
fn work(
    mut stream: UnixStream,
    other_end: RawFd,
    open: impl FnOnce() -> Result<SecretValue, Failure>,
) -> Result<(), WireError> {
    // The terminal's settings are put back on this signal, unlike on a killing one.
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
    // Our copy of the daemon's end must go, or its death would not be noticed.
    crate::sys::fds::close_copy(other_end);
    let mut go = [0];
    stream.read_exact(&mut go).map_err(WireError::Io)?;
    end_with(stream.try_clone().map_err(WireError::Io)?).map_err(WireError::Io)?;
    let opened = open();
    let mut wire = Wire::new(stream, HAND_OVER_LIMIT).map_err(WireError::Io)?;
    let told = opened.as_ref().map(|_| Answer::plain(Reply::Done));
    wire.write(&answer_frames(told.map_err(Clone::clone))?)?;
    if let Ok(keys) = opened {
        let unlock = Unlock {
            ttl_ms: 0,
            idle_ms: 0,
            strict: false,
            allow_degraded: false,
        };
        wire.write(&request_frames(Ask::Unlock(unlock), &[keys])?)?;
    }
    Ok(())
}
