//! The loopback listener of a sign-in: one flow, from before the browser opens to one valid answer.
//!
//! Invariants: it listens on loopback only; nothing that a client sends or leaves unsent holds up
//! another client; an answer that fails the caller's check gets an error page and the wait goes
//! on; after one valid answer nothing listens any more. Every wait ends at the deadline or when
//! [`Cancel::cancel`] is called.
//!
//! Sources: RFC 8252 (section 7.3, 8.3), RFC 9700 (section 4.2.4).
//!
//! Not here: what makes an answer valid (`oauth`), what the pages say ([`super::page`]).

mod head;
mod reply;

pub use head::{MAX_HEAD, MAX_HEADERS, MAX_LINE};
pub use reply::Reply;

use super::page::Page;
use crate::error::{Code, Coded};
use crate::oauth::{Redirect, RedirectHost};
use crate::secret::SecretValue;
use head::{Head, Progress};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections that are read at once. One more takes the place of the oldest.
pub const MAX_AT_ONCE: usize = 16;
/// Connections of one flow. A browser makes a handful.
pub const MAX_IN_ALL: usize = 1000;
/// For a request to arrive, from the connection on.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Tries to find a port that is free on both loopback addresses.
const EPHEMERAL_TRIES: usize = 20;

/// The addresses of a host. A browser takes either of `localhost`, so both are ours or the port is
/// not.
fn addresses(host: RedirectHost) -> &'static [IpAddr] {
    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
    match host {
        RedirectHost::V4 => &[V4],
        RedirectHost::V6 => &[V6],
        RedirectHost::Localhost => &[V4, V6],
    }
}

/// Why there is no listener, or no answer.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// None of the ports is free.
    #[error("no port of {} is free: {}", .host.as_str(), listed(.ports))]
    Taken {
        /// The host of the redirect address.
        host: RedirectHost,
        /// The ports that were tried.
        ports: Vec<u16>,
    },
    /// The deadline passed.
    #[error("nothing valid came back from the browser in time")]
    Timeout,
    /// [`Cancel::cancel`] was called.
    #[error("waiting for the browser was cancelled")]
    Cancelled,
    /// More than [`MAX_IN_ALL`] connections.
    #[error("more than {MAX_IN_ALL} connections came in without a valid answer from the browser")]
    Flooded,
    /// The operating system refused.
    #[error("cannot listen on the loopback address: {0}")]
    System(io::Error),
}

impl Coded for ListenError {
    fn code(&self) -> Code {
        match self {
            ListenError::Taken { .. } | ListenError::System(_) => Code::OAuthUnavailable,
            ListenError::Timeout => Code::OAuthTimeout,
            ListenError::Cancelled => Code::InputCancelled,
            ListenError::Flooded => Code::OAuthCallback,
        }
    }
}

crate::error::failure_from!(ListenError);

impl From<Errno> for ListenError {
    fn from(error: Errno) -> Self {
        ListenError::System(error.into())
    }
}

fn listed(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}

/// What the caller says of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<T> {
    /// It belongs to this flow (also if it says no): the wait is over.
    Take(T),
    /// It fails its checks: the browser gets an error page, the wait goes on.
    Keep,
}

/// Why a request is no callback, and what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    OtherPath,
    Method,
    Malformed,
    TooLarge,
}

/// Ends a wait from another thread.
#[derive(Clone, Debug)]
pub struct Cancel(Arc<OwnedFd>);

impl Cancel {
    /// Ends the wait, now or as soon as it begins.
    pub fn cancel(&self) {
        // It fails only if the counter is full, and then the wait has been told.
        let _told = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// The limits of a listener; [`Limits::default`] has the constants of this module.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that are read at once.
    pub at_once: usize,
    /// Connections of one flow.
    pub in_all: usize,
    /// For a request to arrive.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            at_once: MAX_AT_ONCE,
            in_all: MAX_IN_ALL,
            request: REQUEST_LIMIT,
        }
    }
}

/// Listens for the answer of a browser.
#[derive(Debug)]
pub struct Listener {
    sockets: Vec<TcpListener>,
    redirect: Redirect,
    port: u16,
    limits: Limits,
    cancel: Cancel,
}

impl Listener {
    /// Binds the first port of the redirect address that is free.
    pub fn bind(redirect: &Redirect) -> Result<Self, ListenError> {
        Self::bind_with(redirect, Limits::default())
    }

    /// Like [`Listener::bind`], with other limits.
    pub fn bind_with(redirect: &Redirect, limits: Limits) -> Result<Self, ListenError> {
        let mut sockets = None;
        for port in redirect.ports() {
            sockets = bind_port(redirect.host, port).map_err(ListenError::System)?;
            if sockets.is_some() {
                break;
            }
        }
        let sockets = sockets.ok_or_else(|| ListenError::Taken {
            host: redirect.host,
            ports: redirect.ports(),
        })?;
        let local = sockets.first().map(TcpListener::local_addr).transpose();
        let port = local
            .map_err(ListenError::System)?
            .map_or(0, |at| at.port());
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            sockets,
            redirect: redirect.clone(),
            port,
            limits,
            cancel: Cancel(Arc::new(eventfd(0, flags)?)),
        })
    }

    /// The port that was bound.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The redirect address, exactly as the browser must come back to it.
    pub fn redirect_uri(&self) -> String {
        self.redirect.uri(self.port)
    }

    /// A handle that ends the wait.
    pub fn canceller(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Waits until `check` takes the query of a callback. The query comes as it was sent, without
    /// the question mark. The browser waits for the [`Reply`], so that its page can tell how the
    /// sign-in ended; nothing listens any more by then.
    pub fn wait<T>(
        self,
        until: Instant,
        mut check: impl FnMut(&SecretValue) -> Verdict<T>,
    ) -> Result<(T, Reply), ListenError> {
        let mut flow = Flow {
            listener: &self,
            connections: Vec::new(),
            accepted: 0,
        };
        loop {
            let ready = flow.poll(until)?;
            if let Some(taken) = flow.read(&ready, &mut check) {
                return Ok(taken);
            }
            flow.accept()?;
            // What was sent together with the connection is there by now.
            let all = vec![true; flow.connections.len()];
            if let Some(taken) = flow.read(&all, &mut check) {
                return Ok(taken);
            }
        }
    }
}

/// All addresses of the host on one port; `None` if one of them is taken.
fn bind_port(host: RedirectHost, port: u16) -> io::Result<Option<Vec<TcpListener>>> {
    let tries = if port == 0 { EPHEMERAL_TRIES } else { 1 };
    for _ in 0..tries {
        let mut sockets: Vec<TcpListener> = Vec::new();
        let mut taken = false;
        for address in addresses(host) {
            let same = sockets.first().map(TcpListener::local_addr).transpose()?;
            let port = same.map_or(port, |first| first.port());
            match TcpListener::bind(SocketAddr::new(*address, port)) {
                Ok(socket) => {
                    socket.set_nonblocking(true)?;
                    sockets.push(socket);
                }
                // A machine without IPv6: the browser has only the other address, too.
                Err(error) if is_absent(&error) && !sockets.is_empty() => {}
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken = true,
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => taken = true,
                Err(error) => return Err(error),
            }
        }
        if !taken {
            return Ok(Some(sockets));
        }
    }
    Ok(None)
}

fn is_absent(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT))
}

struct Connection {
    stream: TcpStream,
    head: Head,
    until: Instant,
}

struct Flow<'a> {
    listener: &'a Listener,
    /// Oldest first.
    connections: Vec<Connection>,
    accepted: usize,
}

impl Flow<'_> {
    /// Waits until something happens; says which connections have something to read. Drops those
    /// whose time is up.
    fn poll(&mut self, until: Instant) -> Result<Vec<bool>, ListenError> {
        let now = Instant::now();
        self.connections.retain(|connection| connection.until > now);
        if now >= until {
            return Err(ListenError::Timeout);
        }
        let ends = self.connections.iter().map(|connection| connection.until);
        let wake = ends.fold(until, Instant::min);
        let cancel = &*self.listener.cancel.0;
        let mut fds = vec![PollFd::new(cancel, PollFlags::IN)];
        let streams = self.connections.iter().map(|connection| &connection.stream);
        fds.extend(streams.map(|stream| PollFd::new(stream, PollFlags::IN)));
        let sockets = self.listener.sockets.iter();
        fds.extend(sockets.map(|socket| PollFd::new(socket, PollFlags::IN)));
        // Longer than any limit allows is as good as for ever.
        let time = Timespec::try_from(wake - now).ok();
        match poll(&mut fds, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if !fds[0].revents().is_empty() {
            return Err(ListenError::Cancelled);
        }
        let streams = &fds[1..=self.connections.len()];
        Ok(streams.iter().map(|fd| !fd.revents().is_empty()).collect())
    }

    /// Reads the connections that are ready.
    fn read<T>(
        &mut self,
        ready: &[bool],
        check: &mut impl FnMut(&SecretValue) -> Verdict<T>,
    ) -> Option<(T, Reply)> {
        let mut left = Vec::with_capacity(self.connections.len());
        let mut taken = None;
        for (index, mut connection) in self.connections.drain(..).enumerate() {
            if taken.is_some() || !ready.get(index).copied().unwrap_or_default() {
                left.push(connection);
                continue;
            }
            let path = &self.listener.redirect.path;
            match connection.head.read(&mut connection.stream, path) {
                Progress::Partial => left.push(connection),
                Progress::Closed => {}
                Progress::Refused(refused) => reply::refuse(connection.stream, refused),
                Progress::Callback(query) => match check(&query) {
                    Verdict::Take(value) => taken = Some((value, Reply::new(connection.stream))),
                    Verdict::Keep => Reply::new(connection.stream).send(&Page::Mismatch),
                },
            }
        }
        self.connections = left;
        taken
    }

    /// Accepts who waits, so many at most that each newcomer is read at least once. A newcomer
    /// takes the place of the oldest: a client that sends nothing can't keep the browser out.
    fn accept(&mut self) -> Result<(), ListenError> {
        let limits = &self.listener.limits;
        let mut newcomers = 0;
        for socket in &self.listener.sockets {
            while newcomers < limits.at_once {
                let stream = match socket.accept() {
                    Ok((stream, _)) => stream,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if is_passing(&error) => continue,
                    Err(error) => return Err(ListenError::System(error)),
                };
                newcomers += 1;
                self.accepted += 1;
                if self.accepted > limits.in_all {
                    return Err(ListenError::Flooded);
                }
                if stream.set_nonblocking(true).is_err() {
                    continue;
                }
                if self.connections.len() >= limits.at_once {
                    self.connections.remove(0);
                }
                self.connections.push(Connection {
                    stream,
                    head: Head::new(),
                    until: Instant::now() + limits.request,
                });
            }
        }
        Ok(())
    }
}

fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted};
    matches!(error.kind(), ConnectionAborted | Interrupted)
}

#[cfg(test)]
mod tests;
