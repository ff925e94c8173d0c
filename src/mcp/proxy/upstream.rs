//! The server's side: streamable HTTP with a session, a token, and what a server may ask for.

use super::events::{Events, TooLarge};
use super::limits::{Reopenings, SignIns};
use super::message::{Head, INITIALIZED, MAX_MESSAGE, agreed_revision, one_line};
use super::{Tokens, held};
use crate::error::{Code, Failure};
use crate::net::http::{NetError, Session, Stop, Streamed};
use crate::oauth::challenge::{Challenge, TokenError};
use crate::oauth::{AccessToken, Endpoint, HttpRequest, Method};
use crate::secret::SecretValue;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How often a person is asked to sign in for one message.
const MAX_SIGN_INS: usize = 2;
/// The longest session id.
const MAX_SESSION_ID: usize = 1024;
/// How long the end of a session is waited for.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// How long what wants no answer may hold up what comes after it.
const TOLD_LIMIT: Duration = Duration::from_secs(10);
const ACCEPT: &[u8] = b"application/json, text/event-stream";

/// Takes a message for the client; false if nobody reads any more.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

pub(super) struct Upstream {
    session: Session,
    url: Endpoint,
    tokens: Arc<dyn Tokens>,
    state: Mutex<State>,
    /// Held while the session is opened again, so that one of many does it.
    reopening: Mutex<()>,
    /// Held while a person signs in.
    signing_in: Mutex<SignIns>,
}

#[derive(Default)]
struct State {
    opened: Opened,
    /// The first request, for a session that has to be opened again.
    initialize: Option<Vec<u8>>,
}

/// A session with the server.
#[derive(Clone, Default)]
struct Opened {
    /// Its id, if the server gives one.
    id: Option<SecretValue>,
    /// The revision that was agreed on.
    revision: Option<String>,
}

/// A request to the server, before it has a token.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    method: Method,
    /// `None`: the server's own.
    url: Option<&'a Endpoint>,
    line: Option<&'a [u8]>,
    last_event: Option<&'a str>,
    /// Ends the waiting for its answer.
    stop: Option<&'a Stop>,
    /// For the time up to the first line of the answer.
    limit: Option<Duration>,
    stage: Stage,
}

/// What a request is to a session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It begins one.
    Begins,
    /// It completes the beginning: a session that is forgotten by then is not opened once more.
    Completes,
    /// It belongs to one.
    Within,
}

impl<'a> Call<'a> {
    pub(super) fn post(line: &'a [u8], head: &Head) -> Self {
        Self {
            method: Method::Post,
            url: None,
            line: Some(line),
            last_event: None,
            stop: None,
            limit: head.id.is_none().then_some(TOLD_LIMIT),
            stage: match head.is_initialize() {
                true => Stage::Begins,
                false => Stage::Within,
            },
        }
    }

    /// The same, until this ends it.
    pub(super) fn until(self, stop: &'a Stop) -> Self {
        Self {
            stop: Some(stop),
            ..self
        }
    }

    /// The same to another address of the server.
    pub(super) fn to(self, url: &'a Endpoint) -> Self {
        Self {
            url: Some(url),
            ..self
        }
    }

    /// The same, with a limit for the time up to the first line of the answer.
    pub(super) fn within(self, limit: Duration) -> Self {
        Self {
            limit: Some(limit),
            ..self
        }
    }

    pub(super) fn get(last_event: Option<&'a str>) -> Self {
        Self {
            method: Method::Get,
            url: None,
            line: None,
            last_event,
            stop: None,
            limit: None,
            stage: Stage::Within,
        }
    }
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
        })
    }

    /// Sends a message and hands on what comes back, up to its answer.
    ///
    /// # Errors
    /// No answer came; whatever came before was handed on.
    pub(super) fn exchange(
        &self,
        line: &[u8],
        head: &Head,
        stop: &Stop,
        write: Sink<'_>,
    ) -> Result<(), Failure> {
        let answer = self.granted(&Call::post(line, head).until(stop))?;
        let id = session_id(&answer);
        self.take(answer, head, stop, &mut |message| {
            if head.is_initialize() && head.is_answered_by(message) {
                // Before the client can send what comes next.
                *held(&self.state) = State {
                    opened: Opened {
                        id: id.clone(),
                        revision: agreed_revision(message),
                    },
                    initialize: Some(line.to_vec()),
                };
            }
            write(message)
        })
    }

    /// Hands on the messages of an answer.
    fn take<'a>(
        &'a self,
        mut answer: Streamed<'a>,
        head: &Head,
        stop: &Stop,
        write: Sink<'_>,
    ) -> Result<(), Failure> {
        let kind = answer.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        let kind = kind.trim().to_ascii_lowercase();
        match kind.as_str() {
            _ if head.id.is_none() => Ok(()),
            "text/event-stream" => self.stream(answer, head, stop, write),
            "application/json" => {
                let body = whole(&mut answer)?;
                let line = one_line(&body).ok_or_else(|| broken("an answer that is no JSON"))?;
                write(&line);
                Ok(())
            }
            _ => Err(broken("neither JSON nor a stream of events")),
        }
    }

    /// Hands on the events of an answer up to the one that answers. A stream that the server ends
    /// before is gone on with, if its events have ids.
    fn stream<'a>(
        &'a self,
        mut answer: Streamed<'a>,
        head: &Head,
        stop: &Stop,
        write: Sink<'_>,
    ) -> Result<(), Failure> {
        let mut events = Events::new();
        let mut reopenings = Reopenings::default();
        loop {
            let mut ended = Ok(());
            loop {
                let chunk = match answer.chunk() {
                    Ok(Some(chunk)) => chunk,
                    Ok(None) => break,
                    Err(error) => {
                        ended = Err(error);
                        break;
                    }
                };
                let done = events.take(&chunk);
                let large = |error: TooLarge| Failure::new(Code::InputTooLarge, error.to_string());
                for event in done.map_err(large)? {
                    let Some(line) = one_line(&event.data) else {
                        continue;
                    };
                    reopenings.begin_anew();
                    write(&line);
                    if head.is_answered_by(&line) {
                        return Ok(());
                    }
                }
            }
            let wait = reopenings.wait(events.retry_ms());
            let last = events.last_id().filter(|_| !stop.is_stopped());
            let (Some(_), Some(wait)) = (last, wait) else {
                ended?;
                return Err(broken("a stream that ended before the answer"));
            };
            std::thread::sleep(wait);
            events = events.resumed();
            answer = self.granted(&Call::get(events.last_id()).until(stop))?;
        }
    }

    /// The server's own messages, until it has none.
    pub(super) fn listen(&self, write: Sink<'_>) {
        let mut events = Events::new();
        let mut reopenings = Reopenings::default();
        loop {
            match self.granted(&Call::get(events.last_id())) {
                Ok(mut answer) => {
                    while let Ok(Some(chunk)) = answer.chunk() {
                        let Ok(done) = events.take(&chunk) else {
                            return;
                        };
                        for event in done {
                            let Some(line) = one_line(&event.data) else {
                                continue;
                            };
                            reopenings.begin_anew();
                            if !write(&line) {
                                return;
                            }
                        }
                    }
                }
                // The server has no such stream, or nobody may read it.
                Err(failure) if failure.code != Code::OAuthUnavailable => return,
                Err(_) => {}
            }
            let Some(wait) = reopenings.wait(events.retry_ms()) else {
                return;
            };
            std::thread::sleep(wait);
            events = events.resumed();
        }
    }

    /// Ends the session, if there is one.
    pub(super) fn close(&self) {
        let opened = self.opened();
        if opened.id.is_none() {
            return;
        }
        if let Ok(token) = self.tokens.token(None) {
            let call = Call {
                method: Method::Delete,
                limit: Some(CLOSE_LIMIT),
                ..Call::get(None)
            };
            // Servers forget sessions by themselves, too.
            let _ = self.send(&call, &opened, token.as_ref());
        }
    }

    fn opened(&self) -> Opened {
        held(&self.state).opened.clone()
    }

    /// Sends with a token, and does what the server asks for until it takes the request.
    pub(super) fn granted(&self, call: &Call<'_>) -> Result<Streamed<'_>, Failure> {
        let mut tried = Tried::default();
        let mut token = match self.tokens.token(None) {
            Err(failure) if failure.code == Code::OAuthSignIn => {
                tried.sign_ins += 1;
                self.sign_in(&Challenge::default(), None)?
            }
            other => other?,
        };
        loop {
            let opened = match call.stage {
                Stage::Begins => Opened::default(),
                Stage::Completes | Stage::Within => self.opened(),
            };
            let reopens = call.stage == Stage::Within && !tried.reopened;
            let answer = self.send(call, &opened, token.as_ref())?;
            match answer.status {
                200..=299 => return Ok(answer),
                404 if opened.id.is_some() && reopens => {
                    tried.reopened = true;
                    drop(answer);
                    self.reopen(opened.id.as_ref())?;
                }
                _ => token = self.next(&answer, token.as_ref(), &mut tried)?,
            }
        }
    }

    /// The token for another try, after an answer that is no success.
    fn next(
        &self,
        answer: &Streamed<'_>,
        token: Option<&AccessToken>,
        tried: &mut Tried,
    ) -> Result<Option<AccessToken>, Failure> {
        let challenge = Challenge::read(answer.challenges.iter().map(String::as_str));
        let challenge = challenge.unwrap_or_default();
        let lacks_scope = challenge.error == Some(TokenError::InsufficientScope);
        if answer.status == 401 && !tried.renewed && token.is_some() {
            tried.renewed = true;
            match self.tokens.token(token) {
                Err(failure) if failure.code == Code::OAuthSignIn => {}
                other => return other,
            }
        }
        let wants_person = answer.status == 401 || (answer.status == 403 && lacks_scope);
        if wants_person && tried.sign_ins < MAX_SIGN_INS {
            tried.sign_ins += 1;
            return self.sign_in(&challenge, token);
        }
        let text = format!("the server answered with HTTP {}", answer.status);
        let code = match answer.status {
            408 | 429 | 500..=599 => Code::OAuthUnavailable,
            _ => Code::OAuthRefused,
        };
        Err(Failure::new(code, text))
    }

    /// Has a person sign in, unless somebody just did; gives the token from then on.
    fn sign_in(
        &self,
        challenge: &Challenge,
        refused: Option<&AccessToken>,
    ) -> Result<Option<AccessToken>, Failure> {
        let mut earlier = held(&self.signing_in);
        if let Ok(token) = self.tokens.token(None)
            && token.as_ref() != refused
        {
            return Ok(token);
        }
        let wanted = challenge.scopes.clone().unwrap_or_default();
        let for_more = challenge.error == Some(TokenError::InsufficientScope);
        earlier.begin(&wanted, for_more)?;
        let signed_in = self.tokens.sign_in(challenge);
        let declined = signed_in
            .as_ref()
            .is_err_and(|failure| failure.code == Code::OAuthDenied);
        // A server that wants the same scopes again did not grant them; who said no means it.
        if for_more || declined {
            earlier.was_in_vain(wanted);
        }
        signed_in?;
        let token = self.tokens.token(None)?;
        earlier.was_granted();
        Ok(token)
    }

    /// One request, as the transport has it.
    fn send(
        &self,
        call: &Call<'_>,
        opened: &Opened,
        token: Option<&AccessToken>,
    ) -> Result<Streamed<'_>, NetError> {
        let text = |text: &[u8]| SecretValue::copy_of(text);
        let mut request = HttpRequest {
            method: call.method,
            content_type: call.line.map(|_| "application/json"),
            accept_json: false,
            authorization: token.map(AccessToken::bearer),
            ..HttpRequest::get(call.url.unwrap_or(&self.url).clone())
        };
        let accept: &[u8] = match call.method {
            Method::Get => b"text/event-stream",
            Method::Post | Method::Delete => ACCEPT,
        };
        request.headers.push(("accept", text(accept)));
        if let Some(id) = &opened.id {
            request.headers.push(("mcp-session-id", id.clone()));
        }
        if let Some(revision) = &opened.revision {
            let revision = text(revision.as_bytes());
            request.headers.push(("mcp-protocol-version", revision));
        }
        if let Some(id) = call.last_event {
            request.headers.push(("last-event-id", text(id.as_bytes())));
        }
        let body = call.line.map(<[u8]>::to_vec);
        let stop = call.stop.cloned().unwrap_or_default();
        self.session.send(&request, body, call.limit, &stop)
    }

    /// Opens a session again that the server has forgotten, as the client opened it. Until that is
    /// done the forgotten one stands, so that whoever uses it meanwhile comes here too, and waits.
    fn reopen(&self, forgotten: Option<&SecretValue>) -> Result<(), Failure> {
        let _turn = held(&self.reopening);
        let initialize = {
            let state = held(&self.state);
            if state.opened.id.as_ref() != forgotten {
                return Ok(());
            }
            state.initialize.clone()
        };
        let lost = || Failure::new(Code::OAuthRefused, "the server has forgotten the session");
        let initialize = initialize.ok_or_else(lost)?;
        let head = Head::read(&initialize).ok_or_else(lost)?;
        let answer = self.granted(&Call::post(&initialize, &head))?;
        let id = session_id(&answer);
        let mut revision = None;
        self.take(answer, &head, &Stop::default(), &mut |message| {
            if head.is_answered_by(message) {
                revision = agreed_revision(message);
            }
            true
        })?;
        held(&self.state).opened = Opened { id, revision };
        let told = Call {
            stage: Stage::Completes,
            ..Call::post(INITIALIZED, &Head::default())
        };
        self.granted(&told)?;
        Ok(())
    }
}

/// The id of the session that an answer begins.
fn session_id(answer: &Streamed<'_>) -> Option<SecretValue> {
    let id = answer
        .header("mcp-session-id")
        .filter(|id| is_session_id(id))?;
    Some(SecretValue::copy_of(id.as_bytes()))
}

fn is_session_id(id: &str) -> bool {
    (1..=MAX_SESSION_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
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

pub(super) fn broken(what: &str) -> Failure {
    Failure::new(Code::OAuthInvalid, format!("the server sent {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_are_printable_and_bounded() {
        assert!(is_session_id(&"x".repeat(MAX_SESSION_ID)));
        for no in [
            String::new(),
            "x".repeat(MAX_SESSION_ID + 1),
            "a b".to_owned(),
        ] {
            assert!(!is_session_id(&no));
        }
    }
}
