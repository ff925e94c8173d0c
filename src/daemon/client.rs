//! The client side of the socket: one connection, one request at a time, blocking.
//!
//! Invariant: nothing is sent before the server's user is checked. One round trip a request, and
//! few system calls: this is on the way of every `secrets get`.

use super::frame::{Ask, Present, request_frames};
use super::place;
use super::server::FRAME_LIMIT;
use super::wire::{Waited, Wire, WireError};
use super::{Unlock, frame::FrameError};
use crate::config::Share;
use crate::error::{Code, Failure};
use crate::runtime::service::{Answer, Reply, Report, Request, Service};
use crate::secret::SecretValue;
use crate::sys::peer;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For an answer that the daemon has at hand.
pub const QUICK_LIMIT: Duration = Duration::from_secs(30);
/// For an answer that may wait for exec sources, an authorization server, other processes, a whole
/// vault or a person: their own limits are shorter.
pub const SLOW_LIMIT: Duration = Duration::from_secs(600);

/// Which daemon a client wants to speak with, and what it shows there.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The user whom the daemon must run as; root may too.
    pub uid: u32,
    /// Whether its socket may be one that others can reach.
    pub share: Share,
    /// The capability to show before the first request, as text.
    pub capability: Option<SecretValue>,
}

impl Expected {
    /// A daemon of this user, for this user alone.
    pub fn own(uid: u32) -> Self {
        Self {
            uid,
            share: Share::Own,
            capability: None,
        }
    }
}

/// A connection to a running daemon.
#[derive(Debug)]
pub struct Client {
    wire: Wire,
    socket: PathBuf,
    expected: Expected,
    /// The daemon closes connections on which nothing was asked for a while.
    used: bool,
}

impl Client {
    /// Connects; `None` if no daemon runs. `expected_uid` is the owner of the state folder: the
    /// socket's folder must be private to that user, and the daemon must run as that user or as
    /// root (a service manager's socket is root's).
    pub fn connect(socket: &Path, expected_uid: u32) -> Result<Option<Self>, Failure> {
        Self::connect_to(socket, Expected::own(expected_uid))
    }

    /// Connects to the daemon that is expected; `None` if none runs.
    pub fn connect_to(socket: &Path, expected: Expected) -> Result<Option<Self>, Failure> {
        let Some(wire) = open(socket, &expected)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            wire,
            socket: socket.to_owned(),
            expected,
            used: false,
        }))
    }

    /// Gives a running daemon fresh sub-keys (`SubKeys::to_secret`) and new limits.
    pub fn unlock(&mut self, unlock: &Unlock, keys: &SecretValue) -> Result<Report, Failure> {
        let answer = self.ask(Ask::Unlock(*unlock), std::slice::from_ref(keys))?;
        report_of(answer)
    }

    /// Shows something of this client, for the requests that follow.
    pub fn present(&mut self, what: Present, secret: &SecretValue) -> Result<(), Failure> {
        self.ask(Ask::Present(what), std::slice::from_ref(secret))
            .map(|_| ())
    }

    fn ask(&mut self, ask: Ask, secrets: &[SecretValue]) -> Result<Answer, Failure> {
        // Others than its own user, a daemon may let wait for a person.
        let limit = match self.expected.uid == rustix::process::geteuid().as_raw() {
            true => limit_of(&ask),
            false => SLOW_LIMIT,
        };
        let frames = request_frames(ask, secrets)?;
        let mut outcome = exchange(&mut self.wire, &frames, limit);
        // A kept connection that was closed before this request was looked at: ask anew.
        if self.used
            && matches!(outcome, Err(WireError::Closed))
            && let Some(wire) = open(&self.socket, &self.expected)?
        {
            self.wire = wire;
            outcome = exchange(&mut self.wire, &frames, limit);
        }
        self.used = true;
        outcome.map_err(|error| {
            let failure = Failure::from(error);
            Failure::new(failure.code, format!("the daemon: {}", failure.message))
        })?
    }
}

impl Service for Client {
    fn call(&mut self, request: Request, secrets: Vec<SecretValue>) -> Result<Answer, Failure> {
        self.ask(Ask::Request(request), &secrets)
    }
}

/// The activation report in the answer to an unlock.
pub(super) fn report_of(answer: Answer) -> Result<Report, Failure> {
    match answer.reply {
        Reply::Report(report) => Ok(report),
        _ => Err(FrameError::Body.into()),
    }
}

fn open(socket: &Path, expected: &Expected) -> Result<Option<Wire>, Failure> {
    let owner = expected.uid;
    let Some(stream) = place::connect(socket, owner, expected.share)? else {
        return Ok(None);
    };
    let unavailable =
        |error: std::io::Error| Failure::new(Code::DaemonUnavailable, error.to_string());
    let peer = peer::of(&stream).map_err(unavailable)?;
    if peer.uid != owner && peer.uid != 0 {
        let what = format!("{} is served by user {}", socket.display(), peer.uid);
        return Err(Failure::new(Code::DaemonPeer, what));
    }
    let mut wire = Wire::new(stream, FRAME_LIMIT).map_err(unavailable)?;
    if let Some(capability) = &expected.capability {
        let ask = Ask::Present(Present::Capability);
        let frames = request_frames(ask, std::slice::from_ref(capability))?;
        exchange(&mut wire, &frames, QUICK_LIMIT)??;
    }
    Ok(Some(wire))
}

fn exchange(
    wire: &mut Wire,
    frames: &[super::frame::Frame],
    limit: Duration,
) -> Result<Result<Answer, Failure>, WireError> {
    let written = wire.write(frames);
    // A daemon that refuses says why before it closes; that is worth more than our own error.
    if let Err(error) = written {
        return match wire.read_answer() {
            Ok(Err(failure)) => Ok(Err(failure)),
            _ => Err(error),
        };
    }
    match wire.wait(limit, None)? {
        Waited::Ready => wire.read_answer(),
        Waited::Interrupted | Waited::TimedOut => Err(WireError::Timeout(limit)),
    }
}

fn limit_of(ask: &Ask) -> Duration {
    match ask {
        Ask::Unlock(_) => SLOW_LIMIT,
        Ask::Present(_) => SLOW_LIMIT,
        Ask::Request(request) => match request {
            Request::Status
            | Request::List
            | Request::ListUnder { .. }
            | Request::History { .. } => QUICK_LIMIT,
            Request::Get { .. }
            | Request::Token { .. }
            | Request::SignOut { .. }
            | Request::CheckWritable
            | Request::Put { .. }
            | Request::Compare { .. }
            | Request::Remove { .. }
            | Request::Rename { .. }
            | Request::Restore { .. }
            | Request::Resolve { .. }
            | Request::Report { .. }
            | Request::Reload
            | Request::Compact { .. }
            | Request::Verify
            | Request::Lock => SLOW_LIMIT,
        },
    }
}
