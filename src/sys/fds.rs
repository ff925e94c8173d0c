//! Descriptors that this process was started with (`--passphrase-fd 3`, socket activation).

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

/// The largest descriptor number that is taken from the outside.
pub const MAX_FD: RawFd = 65_535;

/// Takes over a descriptor that the process was started with, and keeps it from the programs that
/// this process starts. Each number is given out once: from then on the result owns it. Call it
/// before this process opens files of its own, whose numbers would be taken for inherited ones.
///
/// # Errors
/// If no such descriptor is open, it is one of the standard streams, or was taken before.
pub fn take(number: RawFd) -> io::Result<OwnedFd> {
    static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());
    if !(3..=MAX_FD).contains(&number) {
        let text = "a descriptor to take over has a number from 3 to 65535";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // SAFETY: the call changes one flag of one descriptor, or fails if it is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if !TAKEN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(number)
    {
        let text = "the descriptor was already taken over";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
    }
    // SAFETY: the descriptor is open and was never given out here before. That nothing else in
    // this process owns it is what the caller vouches for by naming an inherited one.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lets every descriptor but the standard streams close at exec: what this process was started
/// with is not for the programs that it starts. Makes one system call.
///
/// # Errors
/// If the kernel refuses.
pub fn close_at_exec() -> io::Result<()> {
    // SAFETY: takes three numbers; sets a flag on descriptors, closes none of them now.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Closes every descriptor but the standard streams and those given: what this process was started
/// with, and copies of what another has open, which would keep it open. To be called while nothing
/// in this process owns another one.
///
/// # Errors
/// If the kernel refuses.
pub fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.unsigned_abs()).collect();
    keep.sort_unstable();
    let mut from = 3;
    for fd in keep.into_iter().filter(|fd| *fd >= 3).chain([u32::MAX]) {
        if from < fd {
            close_range(from, fd - 1)?;
        }
        from = fd.saturating_add(1);
    }
    Ok(())
}

/// Closes one descriptor that a forked child has a copy of, and that nothing in it will use.
pub fn close_copy(fd: RawFd) {
    // SAFETY: closes a number. The caller vouches that nothing in this process uses it again.
    unsafe { libc::close(fd) };
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: takes three numbers. That nothing owns what is closed is what the caller of
    // `close_all_but` vouches for.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::IntoRawFd;

    #[test]
    fn a_descriptor_is_taken_once_and_read() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"words").unwrap();
        drop(writer);
        let number = reader.into_raw_fd();
        let mut text = String::new();
        let taken = take(number).unwrap();
        assert_eq!(
            take(number).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        File::from(taken).read_to_string(&mut text).unwrap();
        assert_eq!(text, "words");
    }

    #[test]
    fn standard_streams_and_closed_descriptors_are_refused() {
        for number in [-1, 0, 1, 2, MAX_FD + 1] {
            assert_eq!(
                take(number).unwrap_err().kind(),
                io::ErrorKind::InvalidInput
            );
        }
        assert!(take(MAX_FD).is_err());
    }
}
