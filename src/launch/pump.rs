//! A program as a child, with its output masked on the way.
//!
//! Invariants: stdin is the program's own; what it writes comes out in order per stream; its end
//! ends us, even if a descendant keeps a pipe open; what is sent to us is sent on to it.

use super::mask::{Masker, Patterns};
use crate::sys::arena::LockedBytes;
use crate::sys::forward::Forwarded;
use crate::sys::spawn::{self, Image, Setup};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread;

/// How much is read at once, in bytes.
const CHUNK: usize = 16 << 10;
/// The most bytes of one stream that are moved after the program's end: what a pipe can hold. More
/// comes from a descendant.
const MAX_LEFT: usize = 1 << 20;

/// Runs the program to its end. Returns the exit code to pass on: its own, or 128 plus the number
/// of the signal that ended it.
///
/// # Errors
/// If it can't be started.
pub(super) fn run(image: Image, patterns: &Patterns) -> io::Result<u8> {
    let (stdout, stdout_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    let (stderr, stderr_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
    for ours in [&stdout, &stderr] {
        rustix::io::ioctl_fionbio(ours, true)?;
    }
    // Before the start: no signal is lost in between.
    let signals = Forwarded::catch()?;
    let stdio = [
        Stdio::inherit(),
        Stdio::from(stdout_theirs),
        Stdio::from(stderr_theirs),
    ];
    let mut child = spawn::start(
        image,
        Setup {
            folder: None,
            stdio,
            session: false,
            bound: false,
        },
    )?;
    let exit = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
        Ok(exit) => exit,
        Err(error) => {
            drop((child.kill(), child.wait()));
            return Err(error.into());
        }
    };
    thread::scope(|scope| {
        let exit = exit.as_fd();
        let out = scope.spawn(move || pump(stdout, exit, rustix::stdio::stdout(), patterns));
        let err = scope.spawn(move || pump(stderr, exit, rustix::stdio::stderr(), patterns));
        forward(&signals, exit);
        // The program is gone: what is sent now is for us, also while a reader of ours stalls.
        drop(signals);
        drop((out.join(), err.join()));
    });
    let status = child.wait()?;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX))
}

/// Passes signals on until the program has ended.
fn forward(signals: &Forwarded, exit: BorrowedFd<'_>) {
    loop {
        let mut fds = [
            PollFd::from_borrowed_fd(exit, PollFlags::IN),
            PollFd::from_borrowed_fd(signals.descriptor(), PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let ended = !fds[0].revents().is_empty();
        while let Some(signal) = signals.take().and_then(Signal::from_named_raw) {
            // It fails only if the program has just ended.
            let _gone = pidfd_send_signal(exit, signal);
        }
        if ended {
            return;
        }
    }
}

/// Moves one stream until its end, or until the program has ended and what it wrote is through.
fn pump(from: OwnedFd, exit: BorrowedFd<'_>, to: BorrowedFd<'_>, patterns: &Patterns) {
    let mut masker = Masker::new(patterns);
    let mut buffer = LockedBytes::zeroed(CHUNK);
    let (mut open, mut left) = (true, 0);
    while open {
        let mut fds = [
            PollFd::new(&from, PollFlags::IN),
            PollFd::from_borrowed_fd(exit, PollFlags::IN),
        ];
        let ended = match poll(&mut fds, None) {
            Ok(_) => !fds[1].revents().is_empty(),
            Err(Errno::INTR) => false,
            Err(_) => true,
        };
        // Looked at first: whatever the program wrote before its end is in the pipe by now.
        let mut broken = false;
        loop {
            match rustix::io::read(&from, buffer.as_mut_slice()) {
                Ok(0) => open = false,
                Ok(count) => {
                    let input = &buffer.as_slice()[..count];
                    masker.feed(input, &mut |part| broken |= write_all(to, part).is_err());
                    if broken {
                        // Nobody reads on: the program learns it as if it wrote there itself.
                        return;
                    }
                    left += if ended { count } else { 0 };
                    if left < MAX_LEFT {
                        continue;
                    }
                    open = false;
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => open &= !ended,
                Err(_) => open = false,
            }
            break;
        }
    }
    masker.finish(&mut |part| {
        // Nobody may be there to read it.
        let _broken = write_all(to, part);
    });
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // The descriptor is shared with others; one of them may have made it so.
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
