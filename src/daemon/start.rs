//! Starting the daemon from a command: the same binary, detached, keys through a socketpair.
//!
//! Invariants: the sub-keys reach the daemon through an unnamed socket only, never through argv,
//! the environment or a file; the starting process learns whether the daemon serves, or why not.

use super::client::report_of;
use super::frame::{Ask, MAX_FRAME, answer_frames, request_frames};
use super::wire::{Waited, Wire, WireError};
use super::{Unlock, frame::FrameError};
use crate::error::{Code, Coded, Failure};
use crate::runtime::service::{Answer, Reply, Report};
use crate::secret::SecretValue;
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a daemon may take until it serves; its sources have shorter limits of their own.
pub const START_LIMIT: Duration = Duration::from_secs(300);
/// For the hand-over itself.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(30);

/// Why a daemon did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program can't be executed again.
    #[error("the daemon could not be started")]
    Spawn(#[source] io::Error),
    /// It ended without a word.
    #[error("the daemon ended before it was ready (daemon.log may say why)")]
    Ended(#[source] WireError),
    /// It takes too long.
    #[error("the daemon is not ready after {} s", START_LIMIT.as_secs())]
    Slow,
    /// Standard input is not the socket of a starting process.
    #[error("this form of the command is for `vault unlock` only; use `reseal daemon`")]
    NotHandedOver(#[source] io::Error),
}

impl Coded for StartError {
    fn code(&self) -> Code {
        match self {
            StartError::NotHandedOver(_) => Code::Usage,
            _ => Code::DaemonUnavailable,
        }
    }
}
crate::error::failure_from!(StartError);

/// What the detached daemon is started with.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The arguments after the program's name, such as `--state-dir DIR daemon --detached`, with
    /// absolute paths: the daemon works in `/`. The command they name must end in
    /// [`super::run_detached`].
    pub args: &'a [OsString],
    /// The limits and what a failed activation means.
    pub unlock: &'a Unlock,
    /// The sub-keys, `SubKeys::to_secret`.
    pub keys: &'a SecretValue,
}

/// Starts the daemon and waits until it serves; gives what its activation found. The code
/// `daemon.running` means that another one was faster: connect to it instead.
pub fn spawn_detached(spawn: &Spawn<'_>) -> Result<Report, Failure> {
    // A lock or a pipe of the caller's that the daemon kept would make others wait for its end.
    crate::sys::fds::close_at_exec().map_err(StartError::Spawn)?;
    let (ours, theirs) = UnixStream::pair().map_err(StartError::Spawn)?;
    let mut wire = Wire::new(ours, HAND_OVER_LIMIT).map_err(StartError::Spawn)?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("reseal")
        .args(spawn.args)
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut first = command.spawn().map_err(StartError::Spawn)?;
    // Our copy of its end must go, or its death would not be noticed.
    drop(command);
    let frames = request_frames(Ask::Unlock(*spawn.unlock), std::slice::from_ref(spawn.keys))?;
    let outcome = wire
        .write(&frames)
        .and_then(|()| wire.wait(START_LIMIT, None))
        .and_then(|waited| match waited {
            Waited::Ready => wire.read_answer().map(Some),
            Waited::Interrupted | Waited::TimedOut => Ok(None),
        });
    if !matches!(outcome, Ok(Some(Ok(_)))) {
        // Still the first process if it got stuck before it left us; otherwise it has ended.
        let _ = first.kill();
    }
    // It ends as soon as the daemon has left it; what is left behind is nobody's zombie.
    first.wait().map_err(StartError::Spawn)?;
    match outcome.map_err(StartError::Ended)? {
        Some(answer) => report_of(answer?),
        None => Err(StartError::Slow.into()),
    }
}

/// The daemon's end of the hand-over: what it was given, and the duty to answer.
#[derive(Debug)]
pub struct Handover {
    wire: Wire,
    /// The limits and what a failed activation means.
    pub unlock: Unlock,
    /// The sub-keys.
    pub keys: SecretValue,
}

impl Handover {
    /// Leaves the process that started us, runs `prepare`, and takes what is handed over on
    /// standard input. Must be called before the process has other threads or secrets.
    pub fn receive<T>(prepare: impl FnOnce() -> T) -> Result<(Self, T), Failure> {
        let input = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)
            .map_err(|error| StartError::NotHandedOver(error.into()))?;
        rustix::net::sockopt::socket_peercred(&input)
            .map_err(|error| StartError::NotHandedOver(error.into()))?;
        crate::sys::detach::leave_parent().map_err(StartError::Spawn)?;
        let null = rustix::fs::openat(CWD, "/dev/null", OFlags::RDWR, Mode::empty());
        null.and_then(rustix::stdio::dup2_stdin)
            .map_err(|error| StartError::Spawn(error.into()))?;
        let mut wire = Wire::new(UnixStream::from(input), HAND_OVER_LIMIT)
            .map_err(StartError::NotHandedOver)?;
        let prepared = prepare();
        match wire.read_request(MAX_FRAME)? {
            (Ask::Unlock(unlock), mut secrets) if secrets.len() == 1 => {
                let handover = Self {
                    wire,
                    unlock,
                    keys: secrets.remove(0),
                };
                Ok((handover, prepared))
            }
            _ => Err(FrameError::Body.into()),
        }
    }

    /// Tells the starting process how it went. If that one has gone, the daemon serves all the
    /// same.
    pub fn answer(&mut self, outcome: Result<Report, Failure>) {
        let answer = outcome.map(|report| Answer::plain(Reply::Report(report)));
        if let Ok(frames) = answer_frames(answer) {
            let _ = self.wire.write(&frames);
        }
    }
}
