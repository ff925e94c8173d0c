//! Signals as bytes in a pipe, so that a `poll` loop sees them in its own time.
//!
//! Handlers, unlike a blocked mask, don't reach the programs that this process starts.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::pipe::PipeFlags;
use std::io;
use std::sync::atomic::{AtomicI32, Ordering};

/// The write end, for the handler; -1 before the first [`Signals::install`].
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Signals that arrived and were not looked at yet.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Installs the handler for these signals. A later call takes the signals over from an
    /// earlier one; the write end of the pipe stays open for the life of the process.
    pub fn install(signals: &[i32]) -> io::Result<Self> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        PIPE.store(write.as_raw_fd(), Ordering::SeqCst);
        // The handler may run at any later time.
        std::mem::forget(write);
        for signal in signals {
            // SAFETY: the action is fully initialised (all zero is a valid one: empty mask), and
            // the handler calls only async-signal-safe functions.
            let result = unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_signal as extern "C" fn(i32) as usize;
                action.sa_flags = libc::SA_RESTART;
                libc::sigaction(*signal, &raw const action, std::ptr::null_mut())
            };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(Self(read))
    }

    /// The next signal, if one has arrived.
    pub fn take(&self) -> Option<i32> {
        let mut byte = [0];
        match rustix::io::read(&self.0, &mut byte[..]) {
            Ok(1) => Some(i32::from(byte[0])),
            _ => None,
        }
    }

    /// Readable when a signal has arrived.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

extern "C" fn on_signal(signal: i32) {
    let byte = u8::try_from(signal).unwrap_or(0);
    // SAFETY: `write` and the thread's errno are async-signal-safe; the buffer is one live byte.
    // A full pipe already holds signals that wake the reader.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(PIPE.load(Ordering::SeqCst), (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    #[test]
    fn a_signal_becomes_readable_and_is_taken_once() {
        // A signal that nothing else in the tests uses.
        let signals = Signals::install(&[libc::SIGURG]).unwrap();
        assert_eq!(signals.take(), None);
        let us = rustix::process::getpid();
        rustix::process::kill_process(us, rustix::process::Signal::URG).unwrap();
        poll(&mut [PollFd::new(&signals.0, PollFlags::IN)], None).unwrap();
        assert_eq!(signals.take(), Some(libc::SIGURG));
        assert_eq!(signals.take(), None);
    }
}
