//! The running command: one request in, bounded output out, and an end that always comes.
//!
//! Invariants: every wait has a deadline; whatever goes wrong, the command's whole process group is
//! killed and the command is reaped. The command's exit ends the answer: what a descendant writes
//! later, or that it keeps a pipe open, does not matter. What left the group is not in reach here:
//! the daemon's broker ends that, too.

use crate::sys::arena::LockedBytes;
use crate::sys::spawn::{self, Image, Setup};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How much is read at once, in bytes.
const CHUNK: usize = 16 << 10;
/// How long a killed command may take to be gone before its reaping is left to a thread. Only a
/// process that hangs in the kernel takes any time.
const REAP_PATIENCE: Duration = Duration::from_secs(1);

/// The limits of one call.
pub(super) struct Limits<'a> {
    /// The longest time in all.
    pub timeout: Duration,
    /// The longest time without a byte on stdout or stderr.
    pub silence: Duration,
    /// The most bytes of stdout and stderr together.
    pub output: usize,
    /// Copies stderr to ours.
    pub show_stderr: bool,
    /// Whoever waits for the answer: when the other end of this socket is closed, nobody does.
    pub asker: Option<BorrowedFd<'a>>,
}

/// Why there is no output.
pub(super) enum Stop {
    /// The system refused to start it, or failed.
    System(io::Error),
    /// Over [`Limits::output`].
    TooMuch,
    /// Over [`Limits::timeout`].
    Timeout,
    /// Over [`Limits::silence`].
    Silence,
    /// Nobody waits for the answer any more.
    Abandoned,
}

impl From<Errno> for Stop {
    fn from(error: Errno) -> Self {
        Stop::System(error.into())
    }
}

/// What a command wrote on stdout.
pub struct Written {
    buffer: LockedBytes,
    len: usize,
}

impl Written {
    /// All of a block that somebody else has filled.
    pub fn whole(buffer: LockedBytes) -> Self {
        Self {
            len: buffer.len(),
            buffer,
        }
    }

    /// What stood on stdout.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.as_slice()[..self.len]
    }
}

impl std::fmt::Debug for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Written({} bytes)", self.len)
    }
}

/// What a command wrote on stdout, and how it ended.
pub(super) struct Output {
    /// What it wrote.
    pub written: Written,
    status: ExitStatus,
}

/// How a command ended.
pub(super) enum End {
    /// It exited.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
}

impl Output {
    /// How the command ended.
    pub fn end(&self) -> End {
        match self.status.code() {
            Some(code) => End::Code(code),
            None => End::Signal(self.status.signal().unwrap_or_default()),
        }
    }
}

/// Starts the command, gives it the request, collects its output until it exits.
pub(super) fn exchange(
    image: Image,
    folder: PathBuf,
    request: &[u8],
    limits: &Limits<'_>,
) -> Result<Output, Stop> {
    // The other ends close with `Setup`, inside `start`: an end of file is seen as soon as the
    // command and its descendants are gone.
    let (stdin_theirs, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stdout, stdout_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, stderr_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    for ours in [&stdin, &stdout, &stderr] {
        rustix::io::ioctl_fionbio(ours, true)?;
    }
    let stdio = [
        Stdio::from(stdin_theirs),
        Stdio::from(stdout_theirs),
        Stdio::from(stderr_theirs),
    ];
    let started = Instant::now();
    let setup = Setup {
        folder: Some(folder),
        stdio,
        session: true,
        bound: true,
    };
    let mut running = Running::new(spawn::start(image, setup).map_err(Stop::System)?)?;
    let mut pipes = Pipes {
        request,
        stdin: Some(stdin),
        stdout: Some(stdout),
        stderr: Some(stderr),
        kept: Collected::new(limits.output),
        scratch: LockedBytes::zeroed(CHUNK),
        seen: 0,
        limits,
    };
    pipes.run(&running.exit, started)?;
    let status = running.reap().map_err(Stop::System)?;
    let Collected { buffer, len, .. } = pipes.kept;
    Ok(Output {
        written: Written { buffer, len },
        status,
    })
}

/// A command that runs; dropped early, it is killed with its process group and reaped.
struct Running {
    child: Option<Child>,
    exit: OwnedFd,
}

impl Running {
    fn new(mut child: Child) -> Result<Self, Stop> {
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(exit) => Ok(Self {
                child: Some(child),
                exit,
            }),
            Err(error) => {
                kill_group(&child);
                drop(child.wait());
                Err(error.into())
            }
        }
    }

    /// Waits for a command that has exited.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        match self.child.take() {
            Some(mut child) => child.wait(),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        kill_group(&child);
        let mut fds = [PollFd::new(&self.exit, PollFlags::IN)];
        let patience = timespec(REAP_PATIENCE);
        if poll(&mut fds, Some(&patience)).is_ok_and(|count| count > 0) {
            drop(child.wait());
        } else {
            drop(std::thread::Builder::new().spawn(move || drop(child.wait())));
        }
    }
}

/// The group's id is the command's process id, which is not given to another process before the
/// command is reaped.
fn kill_group(child: &Child) {
    // It fails only if nobody is left.
    let _gone = kill_process_group(Pid::from_child(child), Signal::KILL);
}

/// stdout so far, in locked memory that grows by factor four up to the limit.
struct Collected {
    buffer: LockedBytes,
    len: usize,
    max: usize,
}

impl Collected {
    fn new(max: usize) -> Self {
        Self {
            buffer: LockedBytes::zeroed(max.min(4096)),
            len: 0,
            max,
        }
    }

    /// Appends; the caller has checked the limit.
    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if end > self.buffer.len() {
            let capacity = self.buffer.len().saturating_mul(4).max(end).min(self.max);
            let mut larger = LockedBytes::zeroed(capacity.max(end));
            larger.as_mut_slice()[..self.len].copy_from_slice(&self.buffer.as_slice()[..self.len]);
            self.buffer = larger;
        }
        self.buffer.as_mut_slice()[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }
}

struct Pipes<'a> {
    /// What is left of the request.
    request: &'a [u8],
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    kept: Collected,
    scratch: LockedBytes,
    /// Bytes of stdout and stderr together.
    seen: usize,
    limits: &'a Limits<'a>,
}

impl Pipes<'_> {
    /// Moves bytes until the command has exited and what it wrote is read.
    fn run(&mut self, exit: &OwnedFd, started: Instant) -> Result<(), Stop> {
        let deadline = started + self.limits.timeout;
        let mut quiet_until = started + self.limits.silence;
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(Stop::Timeout);
            }
            if now >= quiet_until {
                return Err(Stop::Silence);
            }
            let exited = self.wait(exit, deadline.min(quiet_until) - now)?;
            if !exited && self.is_abandoned()? {
                return Err(Stop::Abandoned);
            }
            let before = self.seen;
            self.send()?;
            self.receive()?;
            if exited {
                return Ok(());
            }
            if self.seen > before {
                quiet_until = Instant::now() + self.limits.silence;
            }
        }
    }

    /// Waits until something can be moved, the command has exited (true), or time is up.
    fn wait(&self, exit: &OwnedFd, time: Duration) -> Result<bool, Stop> {
        let mut fds = vec![PollFd::new(exit, PollFlags::IN)];
        fds.extend(self.stdin.iter().map(|fd| PollFd::new(fd, PollFlags::OUT)));
        let ours = self.stdout.iter().chain(&self.stderr);
        fds.extend(ours.map(|fd| PollFd::new(fd, PollFlags::IN)));
        let asker = self.limits.asker.iter();
        fds.extend(asker.map(|fd| PollFd::new(fd, PollFlags::empty())));
        match poll(&mut fds, Some(&timespec(time))) {
            Ok(_) => Ok(!fds[0].revents().is_empty()),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// True once nobody waits for the answer.
    fn is_abandoned(&self) -> Result<bool, Stop> {
        let Some(asker) = &self.limits.asker else {
            return Ok(false);
        };
        let mut fds = [PollFd::new(asker, PollFlags::empty())];
        match poll(&mut fds, Some(&timespec(Duration::ZERO))) {
            Ok(count) => Ok(count > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes what the command takes of the request. A command that does not read it is fine.
    fn send(&mut self) -> Result<(), Stop> {
        while let Some(stdin) = &self.stdin {
            let sent = if self.request.is_empty() {
                Err(Errno::PIPE)
            } else {
                rustix::io::write(stdin, self.request)
            };
            match sent {
                Ok(count) => self.request = &self.request[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::PIPE) => self.stdin = None,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what is there on both pipes; closes a pipe at its end.
    fn receive(&mut self) -> Result<(), Stop> {
        while let Some(fd) = &self.stdout {
            let Some(count) = read_some(fd, &mut self.scratch)? else {
                break;
            };
            match count {
                0 => self.stdout = None,
                _ => {
                    self.count(count)?;
                    self.kept.push(&self.scratch.as_slice()[..count]);
                }
            }
        }
        while let Some(fd) = &self.stderr {
            let Some(count) = read_some(fd, &mut self.scratch)? else {
                break;
            };
            match count {
                0 => self.stderr = None,
                _ => {
                    self.count(count)?;
                    if self.limits.show_stderr {
                        // A debugging aid: that it can't be shown is no reason to fail.
                        drop(io::stderr().write_all(&self.scratch.as_slice()[..count]));
                    }
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, count: usize) -> Result<(), Stop> {
        self.seen += count;
        if self.seen > self.limits.output {
            Err(Stop::TooMuch)
        } else {
            Ok(())
        }
    }
}

/// Reads without waiting: `None` if nothing is there, zero at the end.
fn read_some(fd: &OwnedFd, buffer: &mut LockedBytes) -> Result<Option<usize>, Stop> {
    loop {
        match rustix::io::read(fd, buffer.as_mut_slice()) {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    // Longer than any limit allows is as good as for ever.
    Timespec::try_from(duration).unwrap_or(Timespec {
        tv_sec: i64::from(i32::MAX),
        tv_nsec: 0,
    })
}
