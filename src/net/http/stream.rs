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
use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// How long a server may say nothing in the middle of an answer, or before it: an hour.
pub const IDLE_LIMIT: Duration = Duration::from_secs(3600);

/// How long a connection that nobody uses is kept: less than most servers do.
const KEEP_LIMIT: Duration = Duration::from_secs(3);

/// Ends the waiting for an answer, from another thread. What waits then fails as if the connection
/// had broken, and so does all that begins later.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Stopping>);

#[derive(Debug, Default)]
struct Stopping {
    stopped: AtomicBool,
    notify: Notify,
}

impl Stop {
    /// Ends it, for good.
    pub fn stop(&self) {
        self.0.stopped.store(true, Ordering::SeqCst);
        self.0.notify.notify_one();
    }

    /// True once it was ended.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.load(Ordering::SeqCst)
    }

    /// What comes of this, or `None` once it was ended. For one waiting at a time.
    async fn or<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let (mut work, mut stopped) = (pin!(work), pin!(self.0.notify.notified()));
        poll_fn(|context| {
            if stopped.as_mut().poll(context).is_ready() || self.is_stopped() {
                return Poll::Ready(None);
            }
            work.as_mut().poll(context).map(Some)
        })
        .await
    }
}

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
    /// time up to the answer's first line; `None`: [`IDLE_LIMIT`]. `stop` ends the waiting for the
    /// answer and its parts.
    ///
    /// # Errors
    /// No answer began.
    pub fn send(
        &self,
        request: &HttpRequest,
        body: Option<Vec<u8>>,
        limit: Option<Duration>,
        stop: &Stop,
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
            .block_on(async { tokio::time::timeout(limit, stop.or(sending.send())).await });
        let lost = |fault| NetError::Lost(self.peer.clone(), fault);
        let response = sent.map_err(|_| lost(Fault::Answer(limit)))?;
        let response = response.ok_or_else(|| lost(Fault::Broken))?;
        let response =
            response.map_err(|error| fault::of_sending(self.peer.clone(), &error, &self.policy))?;
        Ok(Streamed {
            session: self,
            stop: stop.clone(),
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
    stop: Stop,
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
        self.chunk_within(IDLE_LIMIT)
    }

    /// The same, with a limit of its own.
    ///
    /// # Errors
    /// The connection ended early, or nothing came in time.
    pub fn chunk_within(&mut self, limit: Duration) -> Result<Option<Bytes>, NetError> {
        let lost = |fault| NetError::Lost(self.session.peer.clone(), fault);
        let (response, stop) = (&mut self.response, &self.stop);
        let chunk = self
            .session
            .runtime
            .block_on(async { tokio::time::timeout(limit, stop.or(response.chunk())).await });
        let chunk = chunk.map_err(|_| lost(Fault::Answer(limit)))?;
        let chunk = chunk.ok_or_else(|| lost(Fault::Broken))?;
        chunk.map_err(|error| match error.is_timeout() {
            true => lost(Fault::Answer(IDLE_LIMIT)),
            false => lost(Fault::Broken),
        })
    }
}
