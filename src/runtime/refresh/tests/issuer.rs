//! An authorization server in memory: rotation, reuse detection, a script of faults.

use crate::net::http::{Fault, Peer};
use crate::net::{Http, NetError};
use crate::oauth::{HttpAnswer, HttpRequest};
use crate::secret::SecretValue;
use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Fails a test that would wait for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the server treats one request. Without a script it grants.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// As a server does.
    Grant,
    /// The connection was not made.
    NotSent,
    /// The request gets lost: the server knows nothing of it.
    LoseRequest,
    /// The server rotates, and its answer gets lost.
    LoseAnswer,
    /// The server rotates and answers with something else.
    Garble(&'static str),
    /// An error of the server; it has done nothing.
    Status(u16, &'static str),
    /// 429 with `Retry-After`.
    Wait(Duration),
    /// Grants once [`Issuer::release`] is called.
    Stall,
    /// Grants without a refresh token: the old one stays good.
    Keep,
}

/// The server.
pub struct Issuer {
    state: Mutex<State>,
    changed: Condvar,
    /// Seconds that an access token lives.
    pub lifetime: u64,
}

#[derive(Default)]
struct State {
    script: VecDeque<Step>,
    sessions: HashMap<String, Session>,
    sent: Vec<String>,
    waiting: usize,
    released: usize,
}

/// The tokens `NAME-0`, `NAME-1` … of one sign-in.
#[derive(Clone, Copy, Default)]
struct Session {
    generation: u64,
    /// Reuse was detected, or somebody revoked.
    dead: bool,
}

/// The session of [`super::world::account`].
const SESSION: &str = "refresh";

impl State {
    fn session(&mut self, name: &str) -> &mut Session {
        self.sessions.entry(name.to_owned()).or_default()
    }
}

impl Issuer {
    pub fn new(script: impl IntoIterator<Item = Step>) -> Self {
        let state = State {
            script: script.into_iter().collect(),
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            lifetime: 3600,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn script(&self, steps: impl IntoIterator<Item = Step>) {
        self.state().script.extend(steps);
    }

    /// Drops the steps that nobody came for.
    pub fn forget_script(&self) {
        self.state().script.clear();
    }

    /// Every refresh token that was sent, in order, whether it arrived or not.
    pub fn sent(&self) -> Vec<String> {
        self.state().sent.clone()
    }

    /// How many tokens it has rotated.
    pub fn generation(&self) -> u64 {
        self.state().session(SESSION).generation
    }

    /// Ends the session at the server.
    pub fn revoke(&self) {
        self.state().session(SESSION).dead = true;
    }

    /// A new session: the refresh token `refresh-N`.
    pub fn sign_in(&self) -> u64 {
        let mut state = self.state();
        let session = state.session(SESSION);
        session.dead = false;
        session.generation += 1;
        session.generation
    }

    /// Waits until this many requests are stalled.
    pub fn wait_for_stalled(&self, count: usize) {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), PATIENCE, |state| state.waiting < count);
        assert!(!waited.unwrap().1.timed_out(), "nothing was sent");
    }

    /// Lets one stalled request go on.
    pub fn release(&self) {
        self.state().released += 1;
        self.changed.notify_all();
    }

    /// What a server without faults answers.
    pub fn grant(&self, refresh_token: &str, rotate: bool) -> (u16, String) {
        let mut state = self.state();
        let access = format!("access-{}", state.sent.len());
        let (name, number) = refresh_token.rsplit_once('-').unwrap();
        let session = state.session(name);
        if session.dead || number != session.generation.to_string() {
            // A token that was used before ends the whole family (RFC 9700 section 4.14.2).
            session.dead = true;
            return (400, r#"{"error":"invalid_grant"}"#.to_owned());
        }
        let mut granted = serde_json::json!({
            "token_type": "Bearer", "expires_in": self.lifetime,
        });
        if rotate {
            session.generation += 1;
            granted["refresh_token"] = format!("{name}-{}", session.generation).into();
        }
        granted["access_token"] = access.into();
        (200, granted.to_string())
    }

    fn stall(&self) {
        let mut state = self.state();
        state.waiting += 1;
        let mine = state.waiting;
        self.changed.notify_all();
        let waited = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.released < mine);
        assert!(!waited.unwrap().1.timed_out(), "nobody released it");
    }
}

/// The refresh token in a form.
pub fn token_in(body: &[u8]) -> String {
    let mut pairs = url::form_urlencoded::parse(body);
    let found = pairs.find(|(name, _)| name == "refresh_token");
    found.expect("a refresh token is sent").1.into_owned()
}

fn answer(status: u16, body: &str, retry_after: Option<Duration>) -> HttpAnswer {
    HttpAnswer {
        retry_after,
        ..HttpAnswer::new(status, SecretValue::copy_of(body.as_bytes()))
    }
}

impl Http for Issuer {
    fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        let token = token_in(request.body.as_ref().unwrap().expose());
        let step = {
            let mut state = self.state();
            let step = state.script.pop_front().unwrap_or(Step::Grant);
            if step != Step::NotSent {
                state.sent.push(token.clone());
            }
            step
        };
        let granted = |rotate| {
            let (status, body) = self.grant(&token, rotate);
            Ok(answer(status, &body, None))
        };
        match step {
            Step::Grant => granted(true),
            Step::Keep => granted(false),
            Step::NotSent => Err(NetError::NotSent(Peer::of(&request.url), Fault::Refused)),
            Step::LoseRequest => Err(NetError::Lost(Peer::of(&request.url), Fault::Connection)),
            Step::LoseAnswer => {
                self.grant(&token, true);
                Err(NetError::Lost(Peer::of(&request.url), Fault::Connection))
            }
            Step::Garble(body) => {
                self.grant(&token, true);
                Ok(answer(200, body, None))
            }
            Step::Status(status, body) => Ok(answer(status, body, None)),
            Step::Wait(time) => Ok(answer(429, "", Some(time))),
            Step::Stall => {
                self.stall();
                granted(true)
            }
        }
    }
}

impl Issuer {
    /// Takes over what another one knows.
    pub fn continue_as(&self, other: &Issuer) {
        let other = other.state();
        let (sessions, sent) = (other.sessions.clone(), other.sent.clone());
        drop(other);
        let mut state = self.state();
        (state.sessions, state.sent) = (sessions, sent);
    }
}
