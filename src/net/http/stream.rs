//! Many requests to one server over connections that stay open, with answers read as they come.
//!
//! For a program that speaks with a server for hours; what authorization servers are asked goes
//! through [`super::Client`]. Blocks; many threads may send and read at once. A thread of its own
//! sees meanwhile that a server closed a connection, so that it is not used again.

use super::{Fault, NetError, Peer, Policy};
use super::{builder, challenges, fault, headers, lent, method};
use crate::oauth::endpoint::Endpoint;
use crate::oauth::request::HttpRequest;
use bytes::Bytes;
use reqwest::Response;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// How long a server may say nothing in the middle of an answer, or before it: an hour.
pub const IDLE_LIMIT: Duration = Duration::from_secs(3600);

/// How long a connection that nobody uses is kept: less than most servers do.
const KEEP_LIMIT: Duration = Duration::from_secs(3);

/// A server that is spoken with for long.
pub struct Session {
    runtime: Arc<Runtime>,
    /// The thread that looks after idle connections ends when this closes.
    _end: UnixStream,
    client: reqwest::Client,
    peer: Peer,
    policy: Policy,
}

impl Session {
    /// A session with the server of this URL, and with no other. Nothing is opened yet.
    ///
    /// # Errors
    /// [`NetError::NotSent`] if the system has no certificates, or refuses what a runtime needs.
    pub fn new(server: &Endpoint) -> Result<Self, NetError> {
        // Whoever uses the library may have chosen a provider already.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let peer = Peer::of(server);
        let not_sent = |fault| NetError::NotSent(peer.clone(), fault);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|_| not_sent(Fault::System))?;
        let policy = Policy {
            total: IDLE_LIMIT,
            ..Policy::default()
        };
        let client = builder(server, &policy, None)
            .read_timeout(IDLE_LIMIT)
            .pool_idle_timeout(KEEP_LIMIT)
            .build();
        let client = client.map_err(|_| not_sent(Fault::Store))?;
        let runtime = Arc::new(runtime);
        let end = look_after(&runtime).map_err(|_| not_sent(Fault::System))?;
        Ok(Self {
            runtime,
            _end: end,
            client,
            peer,
            policy,
        })
    }

    /// Sends a request once; its answer is read from what comes back. `body` takes the place of the
    /// request's own where it is no secret, and too large for locked memory. `limit` is for the
    /// time up to the answer's first line; `None`: [`IDLE_LIMIT`].
    ///
    /// # Errors
    /// No answer began.
    pub fn send(
        &self,
        request: &HttpRequest,
        body: Option<Vec<u8>>,
        limit: Option<Duration>,
    ) -> Result<Streamed<'_>, NetError> {
        let not_sent = |fault| NetError::NotSent(self.peer.clone(), fault);
        let mut sending = self
            .client
            .request(method(request), request.url.as_str())
            .headers(headers(request).ok_or_else(|| not_sent(Fault::Header))?);
        if let Some(body) = body {
            sending = sending.body(body);
        } else if let Some(body) = &request.body {
            sending = sending.body(lent(body));
        }
        let limit = limit.unwrap_or(IDLE_LIMIT);
        let sent = self
            .runtime
            .block_on(async { tokio::time::timeout(limit, sending.send()).await });
        let late = |_| NetError::Lost(self.peer.clone(), Fault::Answer(limit));
        let response = sent.map_err(late)?;
        let response =
            response.map_err(|error| fault::of_sending(self.peer.clone(), &error, &self.policy))?;
        Ok(Streamed {
            session: self,
            status: response.status().as_u16(),
            challenges: challenges(response.headers()),
            response,
        })
    }
}

/// Drives the runtime while nobody waits for an answer, until what is returned is dropped.
fn look_after(runtime: &Arc<Runtime>) -> io::Result<UnixStream> {
    let (end, theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    let runtime = runtime.clone();
    std::thread::Builder::new().spawn(move || {
        runtime.block_on(async {
            // It becomes readable at its end, and never before.
            if let Ok(theirs) = tokio::net::UnixStream::from_std(theirs) {
                let _ended = theirs.readable().await;
            }
        });
    })?;
    Ok(end)
}

/// An answer that is still coming.
pub struct Streamed<'a> {
    session: &'a Session,
    /// The status.
    pub status: u16,
    /// Each `WWW-Authenticate`, up to [`super::MAX_CHALLENGES`] bytes.
    pub challenges: Vec<String>,
    response: Response,
}

impl Streamed<'_> {
    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The next bytes of the body; `None` at its end.
    ///
    /// # Errors
    /// The connection ended early, or nothing came for [`IDLE_LIMIT`].
    pub fn chunk(&mut self) -> Result<Option<Bytes>, NetError> {
        let chunk = self.session.runtime.block_on(self.response.chunk());
        chunk.map_err(|error| {
            let fault = match error.is_timeout() {
                true => Fault::Answer(IDLE_LIMIT),
                false => Fault::Broken,
            };
            NetError::Lost(self.session.peer.clone(), fault)
        })
    }
}
