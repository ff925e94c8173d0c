//! Signals while a prompt has changed the terminal: caught, so that it can be restored first.

use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

/// Those that end or stop a process from outside.
const CAUGHT: [libc::c_int; 5] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGTSTP,
];

/// The descriptor that the handler writes to; -1 while no prompt is open.
static WAKE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_signal(signal: libc::c_int) {
    let wake = WAKE.load(Ordering::SeqCst);
    // SAFETY: write(2) and errno are safe to use in a handler; the buffer is one live byte; the
    // descriptor, if it was closed meanwhile, makes write fail, which changes nothing.
    unsafe {
        let errno = *libc::__errno_location();
        let byte = signal as u8;
        libc::write(wake, (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// Catches signals until it is dropped; one that arrived and was not taken by [`Signals::next`]
/// is then raised again. At most one value may exist at a time: the prompt's lock sees to it.
pub(super) struct Signals {
    read: OwnedFd,
    _write: OwnedFd,
    before: Vec<(libc::c_int, libc::sigaction)>,
}

impl Signals {
    /// Starts catching. Signals that the process ignores stay ignored.
    pub(super) fn catch() -> io::Result<Self> {
        Self::catch_those(&CAUGHT)
    }

    /// As [`Signals::catch`], but for what stops the process until it is continued.
    pub(super) fn catch_ends() -> io::Result<Self> {
        let ends: Vec<_> = CAUGHT
            .into_iter()
            .filter(|signal| !is_stop(*signal))
            .collect();
        Self::catch_those(&ends)
    }

    fn catch_those(caught: &[libc::c_int]) -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        WAKE.store(write.as_raw_fd(), Ordering::SeqCst);
        let mut signals = Self {
            read,
            _write: write,
            before: Vec::with_capacity(CAUGHT.len()),
        };
        for signal in caught.iter().copied() {
            let before = current(signal)?;
            if before.sa_sigaction != libc::SIG_IGN {
                let mut ours = before;
                ours.sa_sigaction = on_signal as *const () as usize;
                ours.sa_flags = libc::SA_RESTART;
                set(signal, &ours)?;
                signals.before.push((signal, before));
            }
        }
        Ok(signals)
    }

    /// Readable when a signal has arrived.
    pub(super) fn wake(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// The next signal that arrived.
    pub(super) fn next(&self) -> Option<libc::c_int> {
        let mut byte = [0];
        match rustix::io::read(&self.read, &mut byte) {
            Ok(1) => Some(byte[0].into()),
            _ => None,
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // The handler was replaced a moment ago, so it can be put back.
            let _ = set(*signal, before);
        }
        WAKE.store(-1, Ordering::SeqCst);
        while let Some(signal) = self.next() {
            raise(signal);
        }
    }
}

/// Sends a signal to this thread, with whatever effect it has on the process.
pub(super) fn raise(signal: libc::c_int) {
    // SAFETY: raise(3) takes any number and has no memory effects of its own.
    unsafe {
        libc::raise(signal);
    }
}

/// Stops the whole job, as the terminal's suspend key would.
pub(super) fn stop_group() {
    // SAFETY: kill(2) has no memory effects; 0 means the process group of the caller.
    unsafe {
        libc::kill(0, libc::SIGTSTP);
    }
}

/// True for the signal that stops a process until it is continued.
pub(super) fn is_stop(signal: libc::c_int) -> bool {
    signal == libc::SIGTSTP
}

fn current(signal: libc::c_int) -> io::Result<libc::sigaction> {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only queries; the old one is written to `action`, which is valid
    // in its zeroed state too.
    unsafe {
        if libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(action.assume_init())
    }
}

fn set(signal: libc::c_int, action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: `action` is either ours, whose handler is async-signal-safe, or one that the
    // process had installed before.
    unsafe {
        if libc::sigaction(signal, action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
