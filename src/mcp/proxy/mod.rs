//! A bridge from the stdio transport to a protected server: an MCP client that knows nothing of
//! OAuth speaks with it as with a child process.
//!
//! | file | what |
//! | --- | --- |
//! | here | lines in, answers out, and the token on the way |
//! | [`message`] | what of a message matters |
//! | [`events`] | streams of server-sent events |
//! | `upstream` | the server's side of streamable HTTP (revisions 2025-03-26 to 2025-11-25) |
//! | `sse` | the server's side of the transport before it (revision 2024-11-05) |
//! | `limits` | how often a server may have something done once more |
//!
//! Invariants: every request gets an answer, if only an error; messages that want none are passed
//! on in their order; the token goes to the server's own origin and nowhere else; nothing but
//! messages is written to the output. Keeping tokens is not here: see [`Tokens`].

pub mod events;
mod limits;
pub mod message;
mod sse;
mod upstream;

use crate::error::{Code, Failure};
use crate::mcp::Transport;
use crate::net::http::Stop;
use crate::oauth::challenge::Challenge;
use crate::oauth::{AccessToken, Endpoint};
use message::{Head, MAX_MESSAGE};
use serde_json::Value;
use sse::Sse;
use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use upstream::{Sink, Upstream};

/// The most requests that are on their way at once, and the most messages that want no answer.
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

/// A message on its way: its id if it wants an answer, and what ends the waiting for that.
#[derive(Clone)]
struct OnItsWay {
    id: Option<Value>,
    stop: Stop,
}

/// The messages that are on their way.
#[derive(Default)]
struct InFlight {
    messages: Mutex<BTreeMap<u64, OnItsWay>>,
    next: AtomicU64,
    less: Condvar,
}

impl InFlight {
    /// One more; `None` if it is a request, and there are too many. What wants no answer, and so
    /// can't be told that there are too many, waits: those before it go one by one, each in
    /// bounded time.
    fn enter(&self, id: Option<Value>) -> Option<(u64, Stop)> {
        let mut messages = held(&self.messages);
        while !has_room(&messages, id.is_some()) {
            if id.is_some() {
                return None;
            }
            let waited = self.less.wait(messages);
            messages = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let stop = Stop::default();
        let message = OnItsWay {
            id,
            stop: stop.clone(),
        };
        messages.insert(ticket, message);
        Some((ticket, stop))
    }

    /// Ends the waiting for the answer to this request, if somebody waits for it.
    fn cancel(&self, id: &Value) {
        held(&self.messages).retain(|_, message| {
            let ends = message.id.as_ref() == Some(id);
            if ends {
                message.stop.stop();
            }
            !ends
        });
        self.less.notify_all();
    }

    /// True unless it was cancelled, or is too late.
    fn is_waited_for(&self, ticket: u64) -> bool {
        held(&self.messages).contains_key(&ticket)
    }

    fn leave(&self, ticket: u64) {
        held(&self.messages).remove(&ticket);
        self.less.notify_all();
    }

    /// Waits until there is none, or until it is too late: the ids of those that are left.
    fn drain(&self, limit: Duration) -> Vec<Value> {
        let until = Instant::now() + limit;
        let mut messages = held(&self.messages);
        while !messages.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.less.wait_timeout(messages, left);
            messages = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::take(&mut *messages)
            .into_values()
            .filter_map(|message| message.id)
            .collect()
    }
}

/// True if there is room for one more request, or for one more that wants no answer.
fn has_room(messages: &BTreeMap<u64, OnItsWay>, is_request: bool) -> bool {
    let same = |message: &&OnItsWay| message.id.is_some() == is_request;
    messages.values().filter(same).count() < MAX_IN_FLIGHT
}

/// The server, by its transport.
enum Server {
    Http(Box<Upstream>),
    Sse(Box<Sse>),
}

impl Server {
    fn exchange(&self, passing: &Passing, write: Sink<'_>) -> Result<(), Failure> {
        let (line, head) = (&passing.line, &passing.head);
        match self {
            Server::Http(upstream) => upstream.exchange(line, head, &passing.stop, write),
            Server::Sse(sse) => sse.exchange(line, head),
        }
    }

    fn listen(&self, write: Sink<'_>) {
        match self {
            Server::Http(upstream) => upstream.listen(write),
            Server::Sse(sse) => sse.listen(write),
        }
    }

    /// Ends the session. The older transport's ends with its stream.
    fn close(&self) {
        if let Server::Http(upstream) = self {
            upstream.close();
        }
    }
}

/// What all threads of a bridge share.
struct Bridge {
    server: Server,
    output: Output,
    in_flight: InFlight,
    /// Somebody takes what the server says of itself.
    listens: AtomicBool,
}

/// A message on its way.
struct Passing {
    line: Vec<u8>,
    head: Head,
    ticket: u64,
    stop: Stop,
}

/// Passes messages on until the input ends, and then answers what nobody answered in time.
///
/// # Errors
/// The input can't be read, or nothing can be sent to a server at all (`oauth.unavailable`).
pub fn run(
    url: &Endpoint,
    transport: Transport,
    tokens: Arc<dyn Tokens>,
    input: impl BufRead,
    output: Box<dyn Write + Send>,
) -> Result<(), Failure> {
    let upstream = Upstream::new(url, tokens)?;
    let bridge = Arc::new(Bridge {
        server: match transport {
            Transport::Sse => Server::Sse(Box::new(Sse::new(upstream, url))),
            Transport::Http | Transport::Stdio => Server::Http(Box::new(upstream)),
        },
        output: Output(Mutex::new(output)),
        in_flight: InFlight::default(),
        listens: AtomicBool::new(false),
    });
    if transport == Transport::Sse {
        // Answers, too, come from there.
        bridge.listen();
    }
    let (sender, receiver) = channel();
    let dispatcher = bridge.clone();
    let dispatching = std::thread::Builder::new().spawn(move || dispatcher.dispatch(&receiver));
    dispatching.map_err(|error| Failure::new(Code::FileIo, format!("no thread: {error}")))?;
    let read = bridge.read(input, &sender);
    for id in bridge.in_flight.drain(DRAIN_LIMIT) {
        bridge.output.message(&message::error(
            &id,
            "the client went away before the answer",
        ));
    }
    bridge.server.close();
    read.map_err(|error| {
        let text = format!("the client's messages can't be read: {error}");
        Failure::new(Code::FileIo, text)
    })
}

impl Bridge {
    /// Reads messages, whatever the server does meanwhile, so that the client's end is seen.
    fn read(&self, mut input: impl BufRead, sender: &Sender<Passing>) -> io::Result<()> {
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
                let why = "what came is no JSON-RPC message (batches are not passed on)";
                self.output.message(&message::error(&Value::Null, why));
                continue;
            };
            let Some((ticket, stop)) = self.in_flight.enter(head.id.clone()) else {
                if let Some(id) = &head.id {
                    let why = format!("more than {MAX_IN_FLIGHT} requests are on their way");
                    self.output.message(&message::error(id, &why));
                }
                continue;
            };
            let passing = Passing {
                line,
                head,
                ticket,
                stop,
            };
            // The dispatcher ends after this thread, not before.
            if sender.send(passing).is_err() {
                return Ok(());
            }
        }
    }

    /// Sends messages in their order. Whatever wants an answer, other than the first request, gets
    /// a thread, so that what comes after it (such as its cancellation) does not wait for it.
    fn dispatch(self: &Arc<Self>, messages: &Receiver<Passing>) {
        for passing in messages {
            let head = &passing.head;
            if head.id.is_none() || head.is_initialize() {
                self.exchange(&passing);
                if head.is_initialized() {
                    self.listen();
                }
                continue;
            }
            let (bridge, id, ticket) = (self.clone(), head.id.clone(), passing.ticket);
            let spawned = std::thread::Builder::new().spawn(move || bridge.exchange(&passing));
            if spawned.is_err() {
                let id = id.unwrap_or_default();
                self.output
                    .message(&message::error(&id, "the system has no thread left"));
                self.in_flight.leave(ticket);
            }
        }
    }

    fn exchange(&self, passing: &Passing) {
        if let Some(id) = message::cancelled(&passing.line, &passing.head) {
            self.in_flight.cancel(&id);
        }
        let mut write = |message: &[u8]| self.output.message(message);
        let outcome = self.server.exchange(passing, &mut write);
        if let (Err(failure), Some(id)) = (outcome, &passing.head.id)
            && self.in_flight.is_waited_for(passing.ticket)
        {
            self.output.message(&message::error(id, &failure.message));
        }
        self.in_flight.leave(passing.ticket);
    }

    /// Takes what the server says of itself, for as long as it does.
    fn listen(self: &Arc<Self>) {
        if self.listens.swap(true, Ordering::Relaxed) {
            return;
        }
        let bridge = self.clone();
        // Without a thread the server's own messages are missed, and answers still come.
        drop(std::thread::Builder::new().spawn(move || {
            let mut write = |message: &[u8]| bridge.output.message(message);
            bridge.server.listen(&mut write);
            bridge.listens.store(false, Ordering::Relaxed);
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_on_their_way_have_a_limit_and_an_end() {
        let in_flight = InFlight::default();
        let enter = |id: Option<Value>| in_flight.enter(id);
        let tickets: Vec<u64> = (0..MAX_IN_FLIGHT)
            .map(|i| enter(Some(json!(i))).unwrap().0)
            .collect();
        assert!(enter(Some(json!("more"))).is_none());
        let told: Vec<u64> = (0..MAX_IN_FLIGHT).map(|_| enter(None).unwrap().0).collect();
        // One past it waits for room, and is not lost.
        assert!(!has_room(&held(&in_flight.messages), false));
        std::thread::scope(|scope| {
            let one_more = scope.spawn(|| in_flight.enter(None));
            in_flight.leave(told[0]);
            assert!(one_more.join().unwrap().is_some());
        });
        assert!(!has_room(&held(&in_flight.messages), false));
        in_flight.cancel(&json!(1));
        assert!(!in_flight.is_waited_for(tickets[1]));
        for ticket in &tickets[2..] {
            assert!(in_flight.is_waited_for(*ticket));
            in_flight.leave(*ticket);
        }
        // What wants no answer gets none.
        let (limit, start) = (Duration::from_millis(1), Instant::now());
        assert_eq!(in_flight.drain(limit), [json!(0)]);
        assert!(start.elapsed() >= limit);
        assert!(in_flight.drain(DRAIN_LIMIT).is_empty());
    }
}
