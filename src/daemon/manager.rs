//! The service manager's side of things: readiness messages and a passed socket, as systemd
//! defines them (`sd_notify(3)`, `sd_listen_fds(3)`).

use crate::error::{Code, Coded};
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, sockopt,
};
use std::ffi::OsString;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;

/// The first descriptor that a service manager passes.
const FIRST_PASSED: RawFd = 3;

/// Why the service manager's wishes can't be met.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// More than one descriptor, or not a number.
    #[error("LISTEN_FDS must be 1: one listening unix stream socket with Accept=no")]
    Count,
    /// Descriptor 3 is something else.
    #[error("descriptor 3 is not a listening unix stream socket (Accept=no)")]
    NotListening,
    /// Descriptor 3 can't be used.
    #[error("descriptor 3 can't be used")]
    Descriptor(#[source] io::Error),
    /// Not a socket address.
    #[error("NOTIFY_SOCKET is not the address of a unix socket")]
    NotifyAddress,
}

impl Coded for ManagerError {
    fn code(&self) -> Code {
        Code::InputInvalid
    }
}
crate::error::failure_from!(ManagerError);

/// A service manager, or none.
#[derive(Debug, Default)]
pub struct Manager {
    notify: Option<(OwnedFd, SocketAddrUnix)>,
}

impl Manager {
    /// Reads `NOTIFY_SOCKET`.
    pub fn from_env(env: impl Fn(&str) -> Option<OsString>) -> Result<Self, ManagerError> {
        let Some(name) = env("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Self::default());
        };
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            path if path.starts_with(b"/") => SocketAddrUnix::new(path),
            _ => return Err(ManagerError::NotifyAddress),
        };
        let address = address.map_err(|_| ManagerError::NotifyAddress)?;
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)
            .map_err(|_| ManagerError::NotifyAddress)?;
        Ok(Self {
            notify: Some((socket, address)),
        })
    }

    /// Tells the manager, such as `READY=1`. A manager that does not listen is no reason to fail.
    pub fn notify(&self, message: &str) {
        if let Some((socket, address)) = &self.notify {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let _ = sendto(socket, message.as_bytes(), flags, address);
        }
    }
}

/// The listening socket that the manager passed to this process, if it passed one. To be called
/// once.
pub fn passed_listener(
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<UnixListener>, ManagerError> {
    let number = |name| env(name).and_then(|text| text.to_str()?.parse::<u32>().ok());
    if !is_meant_for_us(&env) {
        return Ok(None);
    }
    match number("LISTEN_FDS") {
        Some(0) => Ok(None),
        Some(1) => {
            let fd = crate::sys::fds::take(FIRST_PASSED).map_err(ManagerError::Descriptor)?;
            listener_from(fd).map(Some)
        }
        _ => Err(ManagerError::Count),
    }
}

/// The number of the descriptor that [`passed_listener`] takes, if one was passed.
pub fn passed_descriptor(env: impl Fn(&str) -> Option<OsString>) -> Option<RawFd> {
    is_meant_for_us(&env).then_some(FIRST_PASSED)
}

/// Variables meant for another process, such as our parent, are none of ours.
fn is_meant_for_us(env: &impl Fn(&str) -> Option<OsString>) -> bool {
    let pid = env("LISTEN_PID").and_then(|text| text.to_str()?.parse::<u32>().ok());
    pid == Some(std::process::id()) && env("LISTEN_FDS").is_some()
}

/// Checks that a descriptor is a listening unix stream socket.
pub fn listener_from(fd: OwnedFd) -> Result<UnixListener, ManagerError> {
    let unix = sockopt::socket_domain(&fd).is_ok_and(|d| d == AddressFamily::UNIX);
    let stream = sockopt::socket_type(&fd).is_ok_and(|t| t == SocketType::STREAM);
    let listening = sockopt::socket_acceptconn(&fd).unwrap_or(false);
    if unix && stream && listening {
        Ok(fd.into())
    } else {
        Err(ManagerError::NotListening)
    }
}
