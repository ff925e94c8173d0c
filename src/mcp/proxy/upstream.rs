//! The server's side: streamable HTTP with a session, a token, and what a server may ask for.

use super::events::{Events, TooLarge};
use super::message::{Head, MAX_MESSAGE, agreed_revision, one_line};
use super::{Tokens, held};
use crate::error::{Code, Failure};
use crate::net::http::{NetError, Session, Streamed};
use crate::oauth::challenge::{Challenge, TokenError};
use crate::oauth::{AccessToken, Endpoint, HttpRequest, Method};
use crate::secret::SecretValue;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often a person is asked to sign in for one message.
const MAX_SIGN_INS: usize = 2;
/// How often a person is asked within [`A_WHILE`].
const MAX_SIGN_INS_A_WHILE: usize = 5;
/// See [`MAX_SIGN_INS_A_WHILE`].
const A_WHILE: Duration = Duration::from_secs(600);
/// A server that refuses tokens so soon after somebody signed in would refuse the next one too.
const JUST_NOW: Duration = Duration::from_secs(60);
/// The longest session id.
const MAX_SESSION_ID: usize = 1024;
/// How long the end of a session is waited for.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// How long what wants no answer may hold up what comes after it.
const TOLD_LIMIT: Duration = Duration::from_secs(10);
/// The first wait before a stream is opened again, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// See [`FIRST_WAIT`].
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How often in a row a stream is opened again in vain.
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

/// What is known of earlier sign-ins.
#[derive(Default)]
struct SignIns {
    /// The latest.
    at: VecDeque<Instant>,
    /// When the last one gave a token.
    granted: Option<Instant>,
    /// The scopes that a person was asked for and that did not come: nobody is asked twice.
    in_vain: BTreeSet<Vec<String>>,
}

/// A request to the server, before it has a token.
#[derive(Clone, Copy)]
struct Call<'a> {
    method: Method,
    line: Option<&'a [u8]>,
    last_event: Option<&'a str>,
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
    fn post(line: &'a [u8], head: &Head) -> Self {
        Self {
            method: Method::Post,
            line: Some(line),
            last_event: None,
            limit: head.id.is_none().then_some(TOLD_LIMIT),
            stage: match head.is_initialize() {
                true => Stage::Begins,
                false => Stage::Within,
            },
        }
    }

    fn get(last_event: Option<&'a str>) -> Self {
        Self {
            method: Method::Get,
            line: None,
            last_event,
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
        write: Write<'_>,
    ) -> Result<(), Failure> {
        let answer = self.granted(&Call::post(line, head))?;
        let id = session_id(&answer);
        self.take(answer, head, &mut |message| {
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
        write: Write<'_>,
    ) -> Result<(), Failure> {
        let kind = answer.header("content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        let kind = kind.trim().to_ascii_lowercase();
        match kind.as_str() {
            _ if head.id.is_none() => Ok(()),
            "text/event-stream" => self.stream(answer, head, write),
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
        write: Write<'_>,
    ) -> Result<(), Failure> {
        let mut events = Events::new();
        let mut failures = 0;
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
                    failures = 0;
                    write(&line);
                    if head.is_answered_by(&line) {
                        return Ok(());
                    }
                }
            }
            failures += 1;
            if events.last_id().is_none() || failures > MAX_REOPENINGS {
                ended?;
                return Err(broken("a stream that ended before the answer"));
            }
            std::thread::sleep(wait(&events, 0));
            events = events.resumed();
            answer = self.granted(&Call::get(events.last_id()))?;
        }
    }

    /// The server's own messages, until it has none.
    pub(super) fn listen(&self, write: Write<'_>) {
        let mut events = Events::new();
        let mut failures = 0;
        while failures < MAX_REOPENINGS {
            failures += 1;
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
                            failures = 0;
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
            std::thread::sleep(wait(&events, failures));
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
    fn granted(&self, call: &Call<'_>) -> Result<Streamed<'_>, Failure> {
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
        earlier.check(&wanted, for_more)?;
        earlier.at.push_back(Instant::now());
        let signed_in = self.tokens.sign_in(challenge);
        let declined = signed_in
            .as_ref()
            .is_err_and(|failure| failure.code == Code::OAuthDenied);
        // A server that wants the same scopes again did not grant them; who said no means it.
        if for_more || declined {
            earlier.in_vain.insert(wanted);
        }
        signed_in?;
        let token = self.tokens.token(None)?;
        earlier.granted = Some(Instant::now());
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
            ..HttpRequest::get(self.url.clone())
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
        self.session
            .send(&request, call.line.map(<[u8]>::to_vec), call.limit)
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
        self.take(answer, &head, &mut |message| {
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

impl SignIns {
    /// Refuses to ask a person for what can't help.
    fn check(&mut self, wanted: &Vec<String>, for_more: bool) -> Result<(), Failure> {
        let refuse = |text: &str| Err(Failure::new(Code::OAuthSignIn, text));
        let useless = self.granted.is_some_and(|at| at.elapsed() < JUST_NOW);
        if useless && !for_more {
            return refuse("the server refuses the token that somebody just signed in for");
        }
        if self.in_vain.contains(wanted) {
            return refuse("a person was asked for this before, and it did not come");
        }
        while self.at.front().is_some_and(|at| at.elapsed() > A_WHILE) {
            self.at.pop_front();
        }
        if self.at.len() >= MAX_SIGN_INS_A_WHILE {
            return refuse("the server asks for sign-ins again and again; try later");
        }
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

/// How long to wait before a stream is opened again: what the server asks for, within bounds.
fn wait(events: &Events, failures: u32) -> Duration {
    let own = FIRST_WAIT.saturating_mul(1 << failures.min(6));
    let asked = events.retry_ms().map(Duration::from_millis);
    asked.unwrap_or(own).clamp(FIRST_WAIT, MAX_WAIT)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_not_asked_for_what_can_not_help() {
        let mut earlier = SignIns::default();
        let (one, none) = (vec!["a".to_owned()], Vec::new());
        assert!(earlier.check(&none, false).is_ok());
        earlier.in_vain.insert(one.clone());
        assert!(earlier.check(&one, true).is_err());
        assert!(earlier.check(&none, false).is_ok());
        earlier.granted = Some(Instant::now());
        assert!(earlier.check(&none, false).is_err());
        assert!(earlier.check(&none, true).is_ok(), "more scopes may help");
        earlier.granted = None;
        for _ in 0..MAX_SIGN_INS_A_WHILE {
            assert!(earlier.check(&none, false).is_ok());
            earlier.at.push_back(Instant::now());
        }
        assert!(earlier.check(&none, false).is_err());
    }

    #[test]
    fn a_server_has_no_say_in_a_hot_loop() {
        let retry = |ms: &str| {
            let mut events = Events::new();
            events.take(format!("retry: {ms}\n\n").as_bytes()).unwrap();
            wait(&events, 0)
        };
        assert_eq!(retry("0"), FIRST_WAIT);
        assert_eq!(retry("2500"), Duration::from_millis(2500));
        assert_eq!(retry("3600000"), MAX_WAIT);
        assert_eq!(wait(&Events::new(), 99), MAX_WAIT);
    }

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
