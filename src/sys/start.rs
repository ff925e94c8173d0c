//! Where the program begins: at the C library's `main`, not at the standard library's.
//!
//! The latter asks for the map of the whole process, to tell an overflow of the main thread's
//! stack from another fault: a seventh of the time of a program that does nothing. What else it
//! does is done here. An overflow ends the process at the guard page as before, without a message.

use rustix::event::{PollFd, PollFlags, poll};
use std::os::fd::BorrowedFd;
use std::panic::catch_unwind;

/// Makes `$main`, a `fn() -> u8`, the program's `main`.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        // Elsewhere the standard library needs its own start to know the command line, and a test
        // program has a `main` already.
        #[cfg(not(all(target_os = "linux", target_env = "gnu", not(test))))]
        fn main() {
            $crate::sys::start::run($main)
        }

        // SAFETY: the C library calls what has this name and type, once, when it is ready.
        #[cfg(all(target_os = "linux", target_env = "gnu", not(test)))]
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main() -> core::ffi::c_int {
            $crate::sys::start::run($main)
        }
    };
}

/// The exit status if `main` panics, as with the standard library's start.
const PANICKED: u8 = 101;

/// Runs `main` and ends the process with the status that it returns, or [`PANICKED`].
pub fn run(main: fn() -> u8) -> ! {
    open_standard_streams();
    // SAFETY: no handler is set: a write to a pipe that nobody reads is an error then, not the end.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let status = catch_unwind(main).unwrap_or(PANICKED);
    std::process::exit(i32::from(status))
}

/// Whether this is the thread that the process began with.
#[must_use]
pub fn on_main_thread() -> bool {
    rustix::thread::gettid() == rustix::process::getpid()
}

/// A program that was started without one of its three streams would otherwise give that number to
/// the first file that it opens, and write messages into a vault.
fn open_standard_streams() {
    // SAFETY: the numbers are only looked at, by a call that tells which of them are closed.
    let streams = [0, 1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) });
    let mut looked_at = streams
        .each_ref()
        .map(|fd| PollFd::new(fd, PollFlags::empty()));
    let polled = poll(&mut looked_at, Some(&rustix::event::Timespec::default()));
    let closed = looked_at
        .iter()
        .filter(|fd| fd.revents().contains(PollFlags::NVAL));
    if polled.is_err() {
        std::process::abort();
    }
    for _ in closed {
        // The lowest free number is taken, so that they are filled in turn.
        // SAFETY: the path ends with a zero, and the descriptor belongs to nobody: it stays open.
        if unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } < 0 {
            std::process::abort();
        }
    }
}
