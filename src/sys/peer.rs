//! Who is at the other end of a unix socket.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The peer of a connected unix socket, as the kernel saw it at connect time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id: zero if the peer lives in a pid namespace that this process can't see.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// The peer of a connected socket (`SO_PEERCRED`).
///
/// # Errors
/// If the socket is not a connected unix socket, or the kernel names no user for the peer.
pub fn of(stream: &UnixStream) -> io::Result<Peer> {
    let mut found = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open; the kernel writes at most `len` bytes, the size of `found`,
    // whose every bit pattern is valid.
    let got = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut len,
        )
    };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    // An unconnected socket reads as all ones: nobody's credentials, never to be taken for
    // somebody's.
    if found.uid == u32::MAX {
        return Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "the socket has no peer",
        ));
    }
    Ok(Peer {
        pid: found.pid,
        uid: found.uid,
        gid: found.gid,
    })
}

/// `SO_PEERPIDFD` of Linux 6.5, which the C library has no name for yet.
const SO_PEERPIDFD: libc::c_int = 77;

/// A descriptor of the process that connected: it never comes to mean another process, as a number
/// does once that one has ended.
///
/// # Errors
/// If the kernel is older than Linux 6.5, or the process has ended.
pub fn process_of(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut found: libc::c_int = -1;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open; the kernel writes at most `len` bytes, the size of `found`.
    let got = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut found).cast(),
            &raw mut len,
        )
    };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    if found < 0 {
        return Err(io::ErrorKind::NotFound.into());
    }
    // SAFETY: the kernel made this descriptor, closed at exec, for this call; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(found) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_of_the_process_says_its_number() {
        let (one, _other) = UnixStream::pair().unwrap();
        match process_of(&one) {
            Ok(process) => {
                let info = format!("/proc/self/fdinfo/{}", process.as_raw_fd());
                let info = std::fs::read_to_string(info).unwrap();
                let line = format!("Pid:\t{}\n", std::process::id());
                assert!(info.contains(&line), "{info}");
            }
            // Before Linux 6.5.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT)),
        }
    }

    #[test]
    fn the_other_end_of_a_pair_is_this_process() {
        let (one, other) = UnixStream::pair().unwrap();
        let expected = Peer {
            pid: i32::try_from(std::process::id()).unwrap(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        assert_eq!(of(&one).unwrap(), expected);
        assert_eq!(of(&other).unwrap(), expected);
    }

    #[test]
    fn a_peer_that_is_gone_keeps_its_identity() {
        let (one, other) = UnixStream::pair().unwrap();
        drop(other);
        assert_eq!(of(&one).unwrap().uid, rustix::process::geteuid().as_raw());
    }

    #[test]
    fn a_socket_without_a_peer_is_an_error() {
        use rustix::net::{AddressFamily, SocketType, socket};
        let alone = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        assert!(of(&UnixStream::from(alone)).is_err());
    }
}
