//! Signals that a parent passes on to the program that it runs for someone.
//!
//! They are blocked and read from a descriptor, which tells who sent them: what the terminal sends
//! reaches the whole foreground group, so the child has it already.

use rustix::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::io;
use std::mem::MaybeUninit;

/// What is passed on. Stopping and continuing is not: the kernel's default does it for both.
const SIGNALS: [i32; 6] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// Holds the signals back from this process while it lives. Threads started meanwhile inherit the
/// block; a child of [`super::spawn::start`] does not.
pub struct Forwarded {
    descriptor: OwnedFd,
    before: libc::sigset_t,
}

impl Forwarded {
    /// Starts to hold signals back, in this thread and those that it starts from now on.
    pub fn hold() -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `sigemptyset` initialises the set that the next calls read, `pthread_sigmask`
        // the one that was in force; `signalfd` makes a descriptor that nobody else owns.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in SIGNALS {
                libc::sigaddset(set.as_mut_ptr(), signal);
            }
            let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
            let descriptor = libc::signalfd(-1, set.as_ptr(), flags);
            if descriptor < 0 {
                return Err(io::Error::last_os_error());
            }
            let descriptor = OwnedFd::from_raw_fd(descriptor);
            let refused = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), before.as_mut_ptr());
            match refused {
                0 => Ok(Self {
                    descriptor,
                    before: before.assume_init(),
                }),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }

    /// The next signal that somebody sent to this process alone.
    pub fn take(&self) -> Option<i32> {
        loop {
            let mut info = [0; size_of::<libc::signalfd_siginfo>()];
            match rustix::io::read(&self.descriptor, &mut info) {
                Ok(len) if len == info.len() => {}
                Ok(_) | Err(_) => return None,
            }
            // SAFETY: the kernel filled the whole structure, which holds only numbers.
            let info: libc::signalfd_siginfo = unsafe { std::mem::transmute(info) };
            if info.ssi_code != libc::SI_KERNEL {
                return i32::try_from(info.ssi_signo).ok();
            }
        }
    }

    /// Readable when a signal is there.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        // SAFETY: puts back the mask that the kernel gave us.
        unsafe {
            libc::pthread_sigmask(
                libc::SIG_SETMASK,
                &raw const self.before,
                std::ptr::null_mut(),
            )
        };
    }
}
