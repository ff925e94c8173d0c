//! The server's side of HTTP with server-sent events, the transport of revision 2024-11-05: one
//! stream brings everything, and messages go to an address that its first event names.
//!
//! Invariants: that address is of the server's own origin; a stream is opened only for a message
//! that wants to go, so that a server which ends its streams is in no hot loop; one that is not
//! open in time ends, whatever it brings; a stream that ended took its session along, and the next
//! one begins as the client began.

use super::events::{Event, Events, TooLarge};
use super::held;
use super::message::{Head, INITIALIZED, answered, cancelled, one_line};
use super::upstream::{Call, Sink, Upstream, broken};
use crate::error::{Code, Failure};
use crate::net::http::{Fault, IDLE_LIMIT, NetError, Streamed};
use crate::oauth::Endpoint;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the first line of a stream's answer is waited for, and from there on the address for
/// messages, whatever else comes meanwhile.
const ENDPOINT_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Sse {
    upstream: Upstream,
    url: Endpoint,
    state: Mutex<State>,
    changed: Condvar,
    /// Held while a new stream begins as the client began.
    beginning: Mutex<()>,
    /// [`ENDPOINT_LIMIT`].
    limit: Duration,
}

#[derive(Default)]
struct State {
    stream: Stream,
    /// How many streams have ended.
    ended: u64,
    /// Why the last one did.
    why: Option<Failure>,
    /// The ids of what waits for its answer.
    waiting: BTreeSet<String>,
    /// Those whose answer the client does not expect.
    silent: BTreeSet<String>,
    /// The first request, for a stream that has to begin again.
    initialize: Option<Vec<u8>>,
    /// The stream that has begun, counted by those that had ended before it.
    begun: Option<u64>,
}

#[derive(Default)]
enum Stream {
    #[default]
    Closed,
    /// Somebody waits for one.
    Wanted,
    /// Messages go to this address.
    Open(Endpoint),
}

impl Sse {
    pub(super) fn new(upstream: Upstream, url: &Endpoint) -> Self {
        Self {
            upstream,
            url: url.clone(),
            state: Mutex::default(),
            changed: Condvar::new(),
            beginning: Mutex::default(),
            limit: ENDPOINT_LIMIT,
        }
    }

    /// Sends a message; its answer comes over the stream, and is waited for.
    ///
    /// # Errors
    /// It could not be sent, or the stream ended before the answer.
    pub(super) fn exchange(&self, line: &[u8], head: &Head) -> Result<(), Failure> {
        let (endpoint, round) = self.open()?;
        if head.is_initialize() {
            let mut state = held(&self.state);
            state.initialize = Some(line.to_vec());
            state.begun = Some(round);
        } else {
            self.begin(&endpoint, round)?;
        }
        if let Some(id) = cancelled(line, head) {
            // Whoever cancels a request expects no answer to it.
            held(&self.state).waiting.remove(&id.to_string());
            self.changed.notify_all();
        }
        self.send(&endpoint, round, line, head)
    }

    /// Takes what the server says, for good: opens a stream whenever somebody wants one.
    pub(super) fn listen(&self, write: Sink<'_>) {
        loop {
            let mut state = held(&self.state);
            while !matches!(state.stream, Stream::Wanted) {
                state = self.wait(state, IDLE_LIMIT);
            }
            drop(state);
            let why = self.stream(write).err();
            let mut state = held(&self.state);
            state.stream = Stream::Closed;
            state.ended += 1;
            state.why = why;
            self.changed.notify_all();
        }
    }

    /// One stream, from its beginning to its end.
    fn stream(&self, write: Sink<'_>) -> Result<(), Failure> {
        let call = Call::get(None).within(self.limit);
        let mut answer = self.upstream.granted(&call)?;
        let until = Instant::now() + self.limit;
        let mut events = Events::new();
        let mut is_open = false;
        loop {
            let chunk = match is_open {
                true => answer.chunk()?,
                false => self.early_chunk(&mut answer, until)?,
            };
            let Some(chunk) = chunk else {
                return Ok(());
            };
            let large = |error: TooLarge| Failure::new(Code::InputTooLarge, error.to_string());
            for event in events.take(&chunk).map_err(large)? {
                match event.kind.as_str() {
                    "endpoint" if !is_open => {
                        let endpoint = self.endpoint(&event)?;
                        held(&self.state).stream = Stream::Open(endpoint);
                        self.changed.notify_all();
                        is_open = true;
                    }
                    "" | "message" => self.message(&event, write),
                    _ => {}
                }
            }
        }
    }

    /// The next bytes of a stream that is not open yet.
    fn early_chunk(
        &self,
        answer: &mut Streamed<'_>,
        until: Instant,
    ) -> Result<Option<Bytes>, Failure> {
        let left = until.saturating_duration_since(Instant::now());
        let chunk = answer.chunk_within(left);
        // Where bytes always are there, the wait for them never ends by itself.
        if left.is_zero() || matches!(chunk, Err(NetError::Lost(_, Fault::Answer(_)))) {
            let limit = self.limit.as_millis();
            let text = format!("the server named no address for messages within {limit} ms");
            return Err(Failure::new(Code::OAuthUnavailable, text));
        }
        Ok(chunk?)
    }

    /// The address that a first event names.
    fn endpoint(&self, event: &Event) -> Result<Endpoint, Failure> {
        let reference = std::str::from_utf8(&event.data).unwrap_or_default();
        let endpoint = self.url.join(reference);
        let endpoint = endpoint.map_err(|_| broken("no address for messages"))?;
        match endpoint.same_origin(&self.url) {
            true => Ok(endpoint),
            false => Err(broken("an address for messages that is not its own")),
        }
    }

    /// Hands on a message, and lets go on who waits for it.
    fn message(&self, event: &Event, write: Sink<'_>) {
        let Some(line) = one_line(&event.data) else {
            return;
        };
        let id = answered(&line);
        let is_silent = id
            .as_ref()
            .is_some_and(|id| held(&self.state).silent.remove(id));
        if !is_silent {
            write(&line);
        }
        if let Some(id) = id {
            held(&self.state).waiting.remove(&id);
            self.changed.notify_all();
        }
    }

    /// The address of the stream that is open, and how many ended before it; opens one.
    fn open(&self) -> Result<(Endpoint, u64), Failure> {
        let mut state = held(&self.state);
        let before = state.ended;
        loop {
            match &state.stream {
                Stream::Open(endpoint) => return Ok((endpoint.clone(), state.ended)),
                Stream::Closed if state.ended != before => return Err(ended(&state)),
                Stream::Closed => {
                    state.stream = Stream::Wanted;
                    self.changed.notify_all();
                }
                Stream::Wanted => {}
            }
            state = self.wait(state, IDLE_LIMIT);
        }
    }

    /// Begins on a new stream as the client began on the first, if that was not done.
    fn begin(&self, endpoint: &Endpoint, round: u64) -> Result<(), Failure> {
        let _turn = held(&self.beginning);
        let initialize = {
            let mut state = held(&self.state);
            let Some(initialize) = state.initialize.clone() else {
                return Ok(());
            };
            if state.begun == Some(round) {
                return Ok(());
            }
            let id = Head::read(&initialize).and_then(|head| head.key());
            state.silent.extend(id);
            initialize
        };
        let head = Head::read(&initialize).unwrap_or_default();
        self.send(endpoint, round, &initialize, &head)?;
        self.send(endpoint, round, INITIALIZED, &Head::default())?;
        held(&self.state).begun = Some(round);
        Ok(())
    }

    /// Posts a message and waits for its answer, if it wants one.
    fn send(
        &self,
        endpoint: &Endpoint,
        round: u64,
        line: &[u8],
        head: &Head,
    ) -> Result<(), Failure> {
        let id = head.key();
        held(&self.state).waiting.extend(id.clone());
        let sent = self.upstream.granted(&Call::post(line, head).to(endpoint));
        let outcome = sent.map(drop).and_then(|()| match &id {
            Some(id) => self.answer(id, round),
            None => Ok(()),
        });
        if let (Err(_), Some(id)) = (&outcome, &id) {
            let mut state = held(&self.state);
            state.waiting.remove(id);
            state.silent.remove(id);
        }
        outcome
    }

    /// Waits until nobody waits for this answer any more.
    fn answer(&self, id: &str, round: u64) -> Result<(), Failure> {
        let until = Instant::now() + IDLE_LIMIT;
        let mut state = held(&self.state);
        loop {
            if !state.waiting.contains(id) {
                return Ok(());
            }
            if state.ended != round {
                return Err(ended(&state));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(broken("no answer in time"));
            }
            state = self.wait(state, left);
        }
    }

    fn wait<'a>(&'a self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Why the last stream ended.
fn ended(state: &State) -> Failure {
    let lost = || broken("the end of its stream before the answer");
    state.why.clone().unwrap_or_else(lost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::proxy::Tokens;
    use crate::oauth::AccessToken;
    use crate::oauth::challenge::Challenge;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::mpsc::{RecvTimeoutError, channel};

    /// A server that wants no tokens.
    struct Open;

    impl Tokens for Open {
        fn token(&self, _: Option<&AccessToken>) -> Result<Option<AccessToken>, Failure> {
            Ok(None)
        }

        fn sign_in(&self, _: &Challenge) -> Result<(), Failure> {
            panic!("nobody has to sign in")
        }
    }

    /// Why a stream of a server ends that begins with this, and then says this again and again.
    fn end_of(head: &'static [u8], again: &'static [u8]) -> Failure {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/sse", listener.local_addr().unwrap());
        let (end, ended) = channel::<()>();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _request = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(head).unwrap();
            // Without a limit on the other side it ends all the same, in some other way.
            for _ in 0..2000 {
                let waited = ended.recv_timeout(Duration::from_millis(5));
                if waited != Err(RecvTimeoutError::Timeout) || stream.write_all(again).is_err() {
                    break;
                }
            }
        });
        let url: Endpoint = url.parse().unwrap();
        let sse = Sse {
            limit: Duration::from_millis(200),
            ..Sse::new(Upstream::new(&url, Arc::new(Open)).unwrap(), &url)
        };
        let failure = sse.stream(&mut |_| true).unwrap_err();
        drop((sse, end));
        server.join().unwrap();
        failure
    }

    #[test]
    fn a_stream_that_never_opens_ends() {
        const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
        let no_address = "the server named no address for messages within 200 ms";
        for again in [&b": still here\n\n"[..], b"data: {}\n\n", b""] {
            let failure = end_of(HEAD, again);
            assert_eq!(failure.message, no_address);
            assert_eq!(failure.code, Code::OAuthUnavailable);
        }
        // Nor is an answer waited for that never begins.
        let failure = end_of(b"", b"");
        assert!(failure.message.ends_with("it did not answer within 200 ms"));
    }
}
