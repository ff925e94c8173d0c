//! Signals that a parent passes on to the program that it runs for someone.
//!
//! Caught by a handler, which counts for every thread of this process and ends at the exec of the
//! program. What the terminal sends reaches the whole foreground group, so the program has it
//! already: the handler sees who sent a signal and drops those.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

/// What is passed on. Stopping and continuing is not: the kernel's default does it for both.
const SIGNALS: [i32; 6] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

/// The pipe between the handler and the reader. It is never closed: a handler may run at any time.
static PIPE: OnceLock<(OwnedFd, OwnedFd)> = OnceLock::new();

/// Catches the signals while it lives. One at a time in a process.
pub struct Forwarded {
    reader: &'static OwnedFd,
    before: Vec<(i32, libc::sigaction)>,
}

impl Forwarded {
    /// Starts to catch. A signal that is ignored (`nohup`) stays so, for the program as well.
    pub fn catch() -> io::Result<Self> {
        let (reader, _) = match PIPE.get() {
            Some(pipe) => pipe,
            None => {
                let pipe = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
                PIPE.get_or_init(|| pipe)
            }
        };
        let mut caught = Self {
            reader,
            before: Vec::with_capacity(SIGNALS.len()),
        };
        for signal in SIGNALS {
            let mut before = MaybeUninit::<libc::sigaction>::uninit();
            // SAFETY: with a null action the call only fills in the one in force.
            let before = unsafe {
                if libc::sigaction(signal, std::ptr::null(), before.as_mut_ptr()) != 0 {
                    return Err(io::Error::last_os_error());
                }
                before.assume_init()
            };
            if before.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            // SAFETY: all zero is a valid action with an empty mask; the handler has the form that
            // `SA_SIGINFO` asks for and makes only async-signal-safe calls.
            let refused = unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_signal
                    as extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void)
                    as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
                libc::sigaction(signal, &raw const action, std::ptr::null_mut()) != 0
            };
            if refused {
                return Err(io::Error::last_os_error());
            }
            caught.before.push((signal, before));
        }
        Ok(caught)
    }

    /// The next signal that somebody sent to this process alone.
    pub fn take(&self) -> Option<i32> {
        let mut signal = [0];
        match rustix::io::read(self.reader, &mut signal) {
            Ok(1) => Some(i32::from(signal[0])),
            _ => None,
        }
    }

    /// Readable when a signal is there.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // SAFETY: puts back the action that the kernel gave us.
            unsafe { libc::sigaction(*signal, before, std::ptr::null_mut()) };
        }
    }
}

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid structure. `write` and the thread's errno are
    // async-signal-safe; the buffer is one live byte. A full pipe already wakes the reader.
    unsafe {
        if (*info).si_code == libc::SI_KERNEL {
            return;
        }
        if let (Some((_, writer)), Ok(byte)) = (PIPE.get(), u8::try_from(signal)) {
            let errno = *libc::__errno_location();
            libc::write(writer.as_raw_fd(), (&raw const byte).cast(), 1);
            *libc::__errno_location() = errno;
        }
    }
}
