//! Leaving the process that started us.

use std::io;

/// Starts a new session and goes on in a child of this process, which ends: the caller's terminal
/// and parent have no more to do with what follows, and it can't get a terminal by accident.
///
/// To be called while the process has one thread; locked memory that was used before is wiped in
/// the child.
pub fn leave_parent() -> io::Result<()> {
    rustix::process::setsid()?;
    // SAFETY: with one thread there is no lock that another thread could hold in the child.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(()),
        // SAFETY: ends this process without running anything of the child's.
        _ => unsafe { libc::_exit(0) },
    }
}
