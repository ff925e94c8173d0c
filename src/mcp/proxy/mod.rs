//! A bridge from the stdio transport to a protected server: an MCP client that knows nothing of
//! OAuth speaks with it as with a child process.
//!
//! | file | what |
//! | --- | --- |
//! | here | lines in, answers out, and the token on the way |
//! | [`message`] | what of a message matters |
//! | [`events`] | streams of server-sent events |
//! | `upstream` | the server's side of streamable HTTP (revisions 2025-03-26 to 2025-11-25) |
//!
//! Invariants: every request gets an answer, if only an error; messages that want none are passed
//! on in their order; the token goes to the server's own URL and nowhere else; nothing but messages
//! is written to the output. Keeping tokens is not here: see [`Tokens`].

pub mod events;
pub mod message;
mod upstream;

use crate::error::Failure;
use crate::oauth::challenge::Challenge;
use crate::oauth::{AccessToken, Endpoint};
use message::{Head, MAX_MESSAGE};
use std::io::{self, BufRead, Read, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use upstream::Upstream;

/// The most requests that wait for their answers at once.
pub const MAX_IN_FLIGHT: usize = 64;
/// How long answers that are on their way are waited for once the client has gone.
pub const DRAIN_LIMIT: Duration = Duration::from_secs(10);

/// Who keeps the token of the server.
pub trait Tokens: Send + Sync {
    /// A fresh access token; `None` if the server wants none. `refused` is one that the server did
    /// not take: then another is needed.
    ///
    /// # Errors
    /// `oauth.sign_in_needed` if only a person can help, or whatever else is in the way.
    fn token(&self, refused: Option<&AccessToken>) -> Result<Option<AccessToken>, Failure>;

    /// Has a person sign in, for what the server asked.
    ///
    /// # Errors
    /// Nobody did.
    fn sign_in(&self, challenge: &Challenge) -> Result<(), Failure>;
}

/// What the client on the other side reads.
struct Output(Mutex<Box<dyn Write + Send>>);

impl Output {
    /// Writes a message; false if nobody reads any more.
    fn message(&self, line: &[u8]) -> bool {
        let mut output = held(&self.0);
        let written = output
            .write_all(line)
            .and_then(|()| output.write_all(b"\n"));
        written.and_then(|()| output.flush()).is_ok()
    }
}

/// A lock whose data no panic can leave half changed.
fn held<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many requests wait for their answers.
#[derive(Default)]
struct InFlight {
    count: Mutex<usize>,
    less: Condvar,
}

impl InFlight {
    /// One more; false if there are too many.
    fn enter(&self) -> bool {
        let mut count = held(&self.count);
        let fits = *count < MAX_IN_FLIGHT;
        *count += usize::from(fits);
        fits
    }

    fn leave(&self) {
        *held(&self.count) -= 1;
        self.less.notify_all();
    }

    /// Waits until there is none, or until it is too late.
    fn drain(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let mut count = held(&self.count);
        while *count > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.less.wait_timeout(count, left);
            count = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// What all threads of a bridge share.
struct Bridge {
    upstream: Upstream,
    output: Output,
    in_flight: InFlight,
}

/// Passes messages on until the input ends.
///
/// # Errors
/// The input can't be read, or nothing can be sent to a server at all (`oauth.unavailable`).
pub fn run(
    url: &Endpoint,
    tokens: Arc<dyn Tokens>,
    input: impl BufRead,
    output: Box<dyn Write + Send>,
) -> Result<(), Failure> {
    let bridge = Arc::new(Bridge {
        upstream: Upstream::new(url, tokens)?,
        output: Output(Mutex::new(output)),
        in_flight: InFlight::default(),
    });
    let read = bridge.clone().read(input);
    bridge.in_flight.drain(DRAIN_LIMIT);
    bridge.upstream.close();
    read.map_err(|error| {
        let text = format!("the client's messages can't be read: {error}");
        Failure::new(crate::error::Code::FileIo, text)
    })
}

impl Bridge {
    fn read(self: Arc<Self>, mut input: impl BufRead) -> io::Result<()> {
        loop {
            let mut line = Vec::new();
            let limit = u64::try_from(MAX_MESSAGE).unwrap_or(u64::MAX);
            let count = input
                .by_ref()
                .take(limit + 1)
                .read_until(b'\n', &mut line)?;
            if count == 0 {
                return Ok(());
            }
            if line.len() > MAX_MESSAGE {
                let text = format!("a message is larger than {MAX_MESSAGE} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let Some(head) = Head::read(&line) else {
                let head = Head {
                    id: Some("null".to_owned()),
                    method: None,
                };
                self.answer(message::error(&head, "what came is no JSON-RPC message"));
                continue;
            };
            self.clone().pass(line, head);
        }
    }

    /// Passes a message on. Whatever wants an answer, other than the first request, gets a thread,
    /// so that what comes after it (such as its cancellation) does not wait for it.
    fn pass(self: Arc<Self>, line: Vec<u8>, head: Head) {
        if head.id.is_none() || head.is_initialize() {
            self.exchange(&line, &head);
            if head.is_initialized() {
                self.listen();
            }
            return;
        }
        if !self.in_flight.enter() {
            let why = format!("more than {MAX_IN_FLIGHT} requests wait for an answer");
            return self.answer(message::error(&head, &why));
        }
        let bridge = self.clone();
        let (kept, moved) = (head.id.clone(), head);
        let spawned = std::thread::Builder::new().spawn(move || {
            bridge.exchange(&line, &moved);
            bridge.in_flight.leave();
        });
        if spawned.is_err() {
            self.in_flight.leave();
            let head = Head {
                id: kept,
                method: None,
            };
            self.answer(message::error(&head, "the system has no thread left"));
        }
    }

    fn exchange(&self, line: &[u8], head: &Head) {
        let mut write = |message: &[u8]| self.output.message(message);
        if let Err(failure) = self.upstream.exchange(line, head, &mut write) {
            self.answer(message::error(head, &failure.message));
        }
    }

    /// Takes what the server says of itself, for as long as it does.
    fn listen(self: &Arc<Self>) {
        let bridge = self.clone();
        // Without a thread the server's own messages are missed, and answers still come.
        drop(std::thread::Builder::new().spawn(move || {
            let mut write = |message: &[u8]| bridge.output.message(message);
            bridge.upstream.listen(&mut write);
        }));
    }

    fn answer(&self, message: Option<Vec<u8>>) {
        if let Some(message) = message {
            // A client that is gone reads no answer.
            let _ = self.output.message(&message);
        }
    }
}
