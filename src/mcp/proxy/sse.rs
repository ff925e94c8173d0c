//! The server's side of HTTP with server-sent events, the transport of revision 2024-11-05: one
//! stream brings everything, and messages go to an address that its first event names.
//!
//! Invariants: that address is of the server's own origin; a stream is opened only for a message
//! that wants to go, so that a server which ends its streams is in no hot loop; a stream that ended
//! took its session along, and the next one begins as the client began.

use super::events::{Event, Events, TooLarge};
use super::held;
use super::message::{Head, INITIALIZED, answered, cancelled, one_line};
use super::upstream::{Call, Sink, Upstream, broken};
use crate::error::{Code, Failure};
use crate::net::http::{IDLE_LIMIT, Streamed};
use crate::oauth::Endpoint;
use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long the first event of a stream is waited for.
const ENDPOINT_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Sse {
    upstream: Upstream,
    url: Endpoint,
    state: Mutex<State>,
    changed: Condvar,
    /// Held while a new stream begins as the client began.
    beginning: Mutex<()>,
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
        let mut answer = self.upstream.granted(&Call::get(None))?;
        let mut events = Events::new();
        let mut is_open = false;
        while let Some(chunk) = chunk(&mut answer, is_open)? {
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
        Ok(())
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

/// The next bytes of a stream; the first event has to come sooner.
fn chunk(answer: &mut Streamed<'_>, is_open: bool) -> Result<Option<bytes::Bytes>, Failure> {
    let limit = if is_open { IDLE_LIMIT } else { ENDPOINT_LIMIT };
    Ok(answer.chunk_within(limit)?)
}

/// Why the last stream ended.
fn ended(state: &State) -> Failure {
    let lost = || broken("the end of its stream before the answer");
    state.why.clone().unwrap_or_else(lost)
}
