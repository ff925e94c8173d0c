//! The broker: a small process that starts commands, asks a person and opens files for the daemon,
//! which gave up doing so itself.
//!
//! ```text
//! daemon (keys, sealed off) --a socket for each job--> broker (no keys)
//!                                                        |- runner: one job, then it ends
//!                                                        |    |- the command of an exec provider
//! ```
//!
//! Invariants: it is forked before a key exists, and holds none; it runs only the commands, and
//! opens only the files, that the config names by its own reading of it, so that a daemon that was
//! taken over chooses among those (a daemon whose config lies in a folder that it may write chooses
//! more: `THREAT_MODEL.md`); a value passes through a runner, which ends after it. Every answer has
//! a time limit on the daemon's side, whatever happens here. Ids, the hook's message and questions
//! have their form, and keep the config's limits, or are refused.
//!
//! A job's socket carries `length ‖ JSON` there and `lengths ‖ JSON ‖ what the command wrote` back,
//! so that no secret stands in JSON. Both ends are the same binary: there is no version.
//!
//! Not here: how a command is run ([`crate::source::exec`]).

mod client;
mod server;

pub use client::Client;

use crate::daemon::confirm::Question;
use crate::daemon::gate::asking::MAX_OPEN as MAX_QUESTIONS;
use crate::error::{Code, Failure};
use crate::store::StateDir;
use crate::sys::children::{self, Forked};
use crate::sys::fds::close_all_but;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// Commands that run at the same time; more are refused.
pub const MAX_JOBS: usize = 64;
/// Files that are being opened at the same time; more are refused.
pub const MAX_OPENS: usize = 32;
/// The largest request in bytes: the refs of one run of a provider, at most 5 MiB as it gets them.
pub const MAX_REQUEST: usize = 8 << 20;
/// Processes and threads that one run of a command may have beyond what its user has anyway.
pub const MAX_PROCESSES: u64 = 1024;
/// How much longer than a job's own limit the daemon waits: what it left has to be ended.
pub const GRACE: Duration = Duration::from_secs(10);
/// How long opening the config may take.
pub const CONFIG_LIMIT: Duration = Duration::from_secs(10);
/// The most bytes of JSON in an answer.
const MAX_TOLD: usize = 64 << 10;

/// What the broker goes by.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The state folder, which says whose config it is.
    pub state: StateDir,
    /// The config file; it need not exist.
    pub config: PathBuf,
}

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "camelCase", deny_unknown_fields)]
enum Job {
    /// One run of an exec provider's command. Answer: [`Told::Done`] and what it wrote.
    Exec { alias: String, ids: Vec<String> },
    /// The change hook. Answer: [`Told::Done`].
    Hook { message: String },
    /// A question to a person. Answer: [`Told::Done`] for yes, [`Told::Declined`] for no.
    Confirm { question: Question },
    /// The file of a file provider. Answer: [`Told::Done`] and a descriptor.
    Open { alias: String },
    /// The identity file of a vault provider. Answer: as for a file.
    Identity { alias: String },
    /// The config. Answer: [`Told::Done`] and a descriptor.
    Config,
}

/// What sort of job it is, which is said before the job itself. Each sort has places of its own: a
/// file system that hangs keeps no command from running, nor does a person who thinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Command,
    Question,
    Open,
}

impl Sort {
    const ALL: [Sort; 3] = [Sort::Command, Sort::Question, Sort::Open];

    const fn byte(self) -> u8 {
        match self {
            Sort::Command => b'c',
            Sort::Question => b'q',
            Sort::Open => b'o',
        }
    }

    fn of(byte: u8) -> Option<Self> {
        Sort::ALL.into_iter().find(|sort| sort.byte() == byte)
    }

    /// How many there may be at the same time, and what they are called.
    const fn places(self) -> (usize, &'static str) {
        match self {
            Sort::Command => (MAX_JOBS, "commands"),
            // One that was answered may still be ending what its program has started.
            Sort::Question => (2 * MAX_QUESTIONS, "answers of persons"),
            Sort::Open => (MAX_OPENS, "files"),
        }
    }
}

impl Job {
    fn sort(&self) -> Sort {
        match self {
            Job::Exec { .. } | Job::Hook { .. } => Sort::Command,
            Job::Confirm { .. } => Sort::Question,
            Job::Open { .. } | Job::Identity { .. } | Job::Config => Sort::Open,
        }
    }
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Told {
    Done,
    Declined,
    /// There is no place for a question: nobody saw it.
    Busy,
    Failed {
        code: Code,
        message: String,
        may_pass: bool,
    },
    /// The number of a system error.
    System(i32),
}

impl Told {
    fn failed(failure: Failure, may_pass: bool) -> Self {
        let Failure { code, message } = failure;
        Told::Failed {
            code,
            message,
            may_pass,
        }
    }
}

/// Starts the broker. Must be called before the process has other threads or secrets: it forks.
///
/// # Errors
/// `daemon.unavailable` if there is no process to be had.
pub fn start(surroundings: Surroundings) -> Result<Client, Failure> {
    let started = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(io::Error::from)
    .and_then(|(ours, theirs)| {
        let forked = fork(theirs, surroundings)?;
        Client::new(ours, forked)
    });
    started.map_err(|error| {
        let text = format!("the process that runs commands: {error}");
        Failure::new(Code::DaemonUnavailable, text)
    })
}

fn fork(control: OwnedFd, surroundings: Surroundings) -> io::Result<Forked> {
    children::fork(|| match leave_daemon(&control) {
        Ok(()) => {
            server::serve(&control, surroundings);
            libc::EXIT_SUCCESS
        }
        Err(_) => libc::EXIT_FAILURE,
    })
}

/// Keeps nothing of the daemon's but the socket: neither its terminal, whose signals are meant for
/// the daemon, nor a descriptor that somebody waits for the end of.
fn leave_daemon(control: &OwnedFd) -> io::Result<()> {
    // It fails for the leader of a process group, which a child just forked is not.
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    rustix::thread::set_name(c"reseal-broker")?;
    let null = rustix::fs::openat(CWD, "/dev/null", OFlags::RDWR, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    // Closed below, with all others.
    std::mem::forget(null);
    close_all_but(&[control.as_raw_fd()])
}

#[cfg(test)]
mod tests;
