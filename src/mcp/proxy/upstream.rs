//! The server's side: streamable HTTP with a session, a token, and what a server may ask for.

use super::events::Events;
use super::message::{Head, MAX_MESSAGE, agreed_revision, one_line};
use super::{Tokens, held};
use crate::error::{Code, Failure};
use crate::net::http::{NetError, Session, Streamed};
use crate::oauth::challenge::{Challenge, TokenError};
use crate::oauth::{AccessToken, Endpoint, HttpRequest, Method};
use crate::secret::SecretValue;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a person is asked to sign in for one message.
const MAX_SIGN_INS: usize = 2;
/// The longest session id.
const MAX_SESSION_ID: usize = 1024;
/// How long the end of a session is waited for.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// The first wait before the server's stream is opened again, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// See [`FIRST_WAIT`].
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How often in a row the server's stream is opened in vain.
const MAX_REOPENINGS: u32 = 10;

const ACCEPT: &[u8] = b"application/json, text/event-stream";
const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// Takes a message for the client; false if nobody reads any more.
type Write<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

pub(super) struct Upstream {
    session: Session,
    url: Endpoint,
    tokens: Arc<dyn Tokens>,
    state: Mutex<State>,
    /// Held while the session is opened again, so that one of many does it.
    reopening: Mutex<()>,
    /// Held while a person signs in.
    signing_in: Mutex<()>,
    /// The scopes that a person was asked for in vain: nobody is asked twice.
    in_vain: Mutex<BTreeSet<Vec<String>>>,
}

#[derive(Default)]
struct State {
    /// The id of the session, if the server gives one.
    id: Option<SecretValue>,
    /// The revision that was agreed on.
    revision: Option<String>,
    /// The first request, for a session that has to be opened again.
    initialize: Option<Vec<u8>>,
}

/// What to do after an answer that is no success.
enum Next {
    Again(Option<AccessToken>),
    Fail(Failure),
}

/// What was tried for one message.
#[derive(Default)]
struct Tried {
    renewed: bool,
    reopened: bool,
    sign_ins: usize,
}

impl Upstream {
    pub(super) fn new(url: &Endpoint, tokens: Arc<dyn Tokens>) -> Result<Self, Failure> {
        Ok(Self {
            session: Session::new(url)?,
            url: url.clone(),
            tokens,
            state: Mutex::default(),
            reopening: Mutex::default(),
            signing_in: Mutex::default(),
            in_vain: Mutex::default(),
        })
    }

    /// Sends a message and hands on what comes back.
    ///
    /// # Errors
    /// No answer came; whatever came before was handed on.
    pub(super) fn exchange(
        &self,
        line: &[u8],
        head: &Head,
        write: Write<'_>,
    ) -> Result<(), Failure> {
        if head.is_initialize() {
            let mut state = held(&self.state);
            *state = State {
                initialize: Some(line.to_vec()),
                ..State::default()
            };
        }
        let mut answer = self.granted(Method::Post, Some(line), None)?;
        if head.is_initialize() {
            self.begin(&answer);
        }
        let kind = answer.header("content-type").unwrap_or_default();
        let kind = kind
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match (kind.as_str(), answer.status) {
            ("text/event-stream", _) => self.stream(&mut answer, head, write),
            (_, 202 | 204) if head.id.is_none() => Ok(()),
            ("application/json", _) => {
                let body = whole(&mut answer)?;
                if body.trim_ascii().is_empty() && head.id.is_none() {
                    return Ok(());
                }
                let line = one_line(&body).ok_or_else(|| broken("an answer that is no JSON"))?;
                self.note(head, &line);
                write(&line);
                Ok(())
            }
            _ if head.id.is_none() => Ok(()),
            _ => Err(broken("neither JSON nor a stream of events")),
        }
    }

    /// The server's own messages, until it has none.
    pub(super) fn listen(&self, write: Write<'_>) {
        let mut events = Events::new();
        let mut failures = 0;
        while failures < MAX_REOPENINGS {
            let last = events.last_id().map(str::to_owned);
            match self.granted(Method::Get, None, last.as_deref()) {
                Ok(mut answer) => {
                    failures += 1;
                    while let Ok(Some(chunk)) = answer.chunk() {
                        failures = 0;
                        let Ok(done) = events.take(&chunk) else {
                            return;
                        };
                        for event in done {
                            if let Some(line) = one_line(&event.data)
                                && !write(&line)
                            {
                                return;
                            }
                        }
                    }
                }
                // The server has no such stream, or nobody may read it.
                Err(failure) if failure.code != Code::OAuthUnavailable => return,
                Err(_) => failures += 1,
            }
            let own = FIRST_WAIT
                .saturating_mul(1 << failures.min(6))
                .min(MAX_WAIT);
            let asked = events.retry_ms().map(Duration::from_millis);
            std::thread::sleep(asked.unwrap_or(own).min(MAX_WAIT));
        }
    }

    /// Ends the session, if there is one.
    pub(super) fn close(&self) {
        if held(&self.state).id.is_none() {
            return;
        }
        if let Ok(token) = self.tokens.token(None) {
            // Servers forget sessions by themselves, too.
            let _ = self.send(
                Method::Delete,
                None,
                None,
                token.as_ref(),
                Some(CLOSE_LIMIT),
            );
        }
    }

    /// Sends with a token, and does what the server asks for until it takes the request.
    fn granted(
        &self,
        method: Method,
        line: Option<&[u8]>,
        last_event: Option<&str>,
    ) -> Result<Streamed<'_>, Failure> {
        let mut tried = Tried::default();
        let mut token = match self.tokens.token(None) {
            Err(failure) if failure.code == Code::OAuthSignIn => {
                tried.sign_ins += 1;
                self.sign_in(&Challenge::default(), None)?
            }
            other => other?,
        };
        loop {
            let session = held(&self.state).id.clone();
            let answer = self.send(method, line, last_event, token.as_ref(), None)?;
            if (200..300).contains(&answer.status) {
                return Ok(answer);
            }
            let next = self.next(&answer, token.as_ref(), session.as_ref(), &mut tried);
            match next {
                Next::Again(with) => token = with,
                Next::Fail(failure) => return Err(failure),
            }
        }
    }

    fn next(
        &self,
        answer: &Streamed<'_>,
        token: Option<&AccessToken>,
        session: Option<&SecretValue>,
        tried: &mut Tried,
    ) -> Next {
        let challenge = Challenge::read(answer.challenges.iter().map(String::as_str));
        let challenge = challenge.unwrap_or_default();
        let lacks_scope = challenge.error == Some(TokenError::InsufficientScope);
        let outcome = match answer.status {
            401 if !tried.renewed && token.is_some() => {
                tried.renewed = true;
                match self.tokens.token(token) {
                    Err(failure) if failure.code == Code::OAuthSignIn => {
                        tried.sign_ins += 1;
                        self.sign_in(&challenge, token)
                    }
                    other => other,
                }
            }
            401 if tried.sign_ins < MAX_SIGN_INS => {
                tried.sign_ins += 1;
                self.sign_in(&challenge, token)
            }
            403 if lacks_scope && tried.sign_ins < MAX_SIGN_INS => {
                tried.sign_ins += 1;
                self.sign_in(&challenge, token)
            }
            404 if session.is_some() && !tried.reopened => {
                tried.reopened = true;
                self.reopen(session, token).map(|()| token.cloned())
            }
            status => {
                let text = format!("the server answered with HTTP {status}");
                let code = match status {
                    408 | 429 | 500..=599 => Code::OAuthUnavailable,
                    _ => Code::OAuthRefused,
                };
                Err(Failure::new(code, text))
            }
        };
        outcome.map_or_else(Next::Fail, Next::Again)
    }

    /// Has a person sign in, unless somebody just did; gives the token from then on.
    fn sign_in(
        &self,
        challenge: &Challenge,
        refused: Option<&AccessToken>,
    ) -> Result<Option<AccessToken>, Failure> {
        let _turn = held(&self.signing_in);
        if let Ok(token) = self.tokens.token(None)
            && token.as_ref() != refused
        {
            return Ok(token);
        }
        let wanted = challenge.scopes.clone().unwrap_or_default();
        let for_more = challenge.error == Some(TokenError::InsufficientScope);
        if held(&self.in_vain).contains(&wanted) {
            let text = "the server wants more than was granted, and the person was asked before";
            return Err(Failure::new(Code::OAuthSignIn, text));
        }
        let signed_in = self.tokens.sign_in(challenge);
        // A server that wants the same scopes again did not grant them; who said no means it. Where
        // nobody may be asked, somebody may still sign in elsewhere.
        let declined = signed_in
            .as_ref()
            .is_err_and(|failure| failure.code != Code::OAuthSignIn);
        if for_more || declined {
            held(&self.in_vain).insert(wanted);
        }
        signed_in.and_then(|()| self.tokens.token(None))
    }

    /// One request, as the transport has it.
    fn send(
        &self,
        method: Method,
        line: Option<&[u8]>,
        last_event: Option<&str>,
        token: Option<&AccessToken>,
        limit: Option<Duration>,
    ) -> Result<Streamed<'_>, NetError> {
        let text = |text: &[u8]| SecretValue::copy_of(text);
        let mut request = HttpRequest {
            method,
            content_type: line.map(|_| "application/json"),
            accept_json: false,
            authorization: token.map(AccessToken::bearer),
            ..HttpRequest::get(self.url.clone())
        };
        let accept: &[u8] = match method {
            Method::Get => b"text/event-stream",
            Method::Post | Method::Delete => ACCEPT,
        };
        request.headers.push(("accept", text(accept)));
        let state = held(&self.state);
        if let Some(id) = &state.id {
            request.headers.push(("mcp-session-id", id.clone()));
        }
        if let Some(revision) = &state.revision {
            let revision = text(revision.as_bytes());
            request.headers.push(("mcp-protocol-version", revision));
        }
        drop(state);
        if let Some(id) = last_event {
            request.headers.push(("last-event-id", text(id.as_bytes())));
        }
        self.session.send(&request, line.map(<[u8]>::to_vec), limit)
    }

    /// Keeps the id of a session that began.
    fn begin(&self, answer: &Streamed<'_>) {
        let id = answer.header("mcp-session-id");
        let fits = |id: &&str| {
            (1..=MAX_SESSION_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
        };
        let id = id
            .filter(fits)
            .map(|id| SecretValue::copy_of(id.as_bytes()));
        held(&self.state).id = id;
    }

    /// Keeps the revision that the answer to the first request agrees on.
    fn note(&self, head: &Head, answer: &[u8]) {
        if head.is_initialize()
            && let Some(revision) = agreed_revision(answer)
        {
            held(&self.state).revision = Some(revision);
        }
    }

    /// Opens a session again that the server has forgotten, as the client opened it.
    fn reopen(
        &self,
        forgotten: Option<&SecretValue>,
        token: Option<&AccessToken>,
    ) -> Result<(), Failure> {
        let _turn = held(&self.reopening);
        let initialize = {
            let mut state = held(&self.state);
            if state.id.as_ref() != forgotten {
                return Ok(());
            }
            state.id = None;
            state.revision = None;
            state.initialize.clone()
        };
        let lost = || Failure::new(Code::OAuthRefused, "the server has forgotten the session");
        let initialize = initialize.ok_or_else(lost)?;
        let mut answer = self.send(Method::Post, Some(&initialize), None, token, None)?;
        if !(200..300).contains(&answer.status) {
            return Err(lost());
        }
        self.begin(&answer);
        let head = Head::read(&initialize).unwrap_or_default();
        let kind = answer.header("content-type").unwrap_or_default();
        if kind.starts_with("text/event-stream") {
            self.stream(&mut answer, &head, &mut |_| true)?;
        } else {
            let body = whole(&mut answer)?;
            self.note(&head, &body);
        }
        drop(answer);
        self.send(Method::Post, Some(INITIALIZED), None, token, None)?;
        Ok(())
    }

    /// Hands on the events of an answer, up to the one that answers.
    fn stream(
        &self,
        answer: &mut Streamed<'_>,
        head: &Head,
        write: Write<'_>,
    ) -> Result<(), Failure> {
        let mut events = Events::new();
        let mut answered = head.id.is_none();
        while let Some(chunk) = answer.chunk()? {
            let done = events.take(&chunk);
            let done =
                done.map_err(|error| Failure::new(Code::InputTooLarge, error.to_string()))?;
            for event in done {
                let Some(line) = one_line(&event.data) else {
                    continue;
                };
                if answers(&line, head) {
                    answered = true;
                    self.note(head, &line);
                }
                write(&line);
            }
        }
        match answered {
            true => Ok(()),
            false => Err(broken("a stream that ended before the answer")),
        }
    }
}

/// True for the answer to this request.
fn answers(line: &[u8], head: &Head) -> bool {
    #[derive(serde::Deserialize)]
    struct Wire<'a> {
        #[serde(borrow)]
        id: &'a serde_json::value::RawValue,
        method: Option<serde::de::IgnoredAny>,
    }
    let wire: Result<Wire<'_>, _> = serde_json::from_slice(line);
    wire.is_ok_and(|wire| wire.method.is_none() && Some(wire.id.get()) == head.id.as_deref())
}

/// The body of an answer, up to [`MAX_MESSAGE`].
fn whole(answer: &mut Streamed<'_>) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk()? {
        if body.len() + chunk.len() > MAX_MESSAGE {
            let text = format!("an answer of the server is larger than {MAX_MESSAGE} bytes");
            return Err(Failure::new(Code::InputTooLarge, text));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn broken(what: &str) -> Failure {
    Failure::new(Code::OAuthInvalid, format!("the server sent {what}"))
}
