//! Who is at the other end of a unix socket (stub: owner "sys").

use std::io;
use std::os::unix::net::UnixStream;

/// The peer of a connected unix socket, as the kernel saw it at connect time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// The peer of a connected socket (`SO_PEERCRED`).
pub fn of(_stream: &UnixStream) -> io::Result<Peer> {
    todo!()
}
