//! The code flow in a browser. The listener and the person's paste race.

use super::{News, Pasted, Person, SignedIn, Wish, exchange, fail, timed_out};
use crate::error::{Code, Failure};
use crate::net::listener::ListenError;
use crate::net::{Cancel, Http, Listener, Page, Reply, Verdict, open_browser};
use crate::oauth::authorize::{Accepted, Answer, CodeFlow};
use crate::oauth::callback::SaidNo;
use crate::oauth::provider::{Provider, Redirect};
use crate::oauth::server::Server;
use crate::sys::random;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// The port in the redirect address where no port could be bound and the provider names none: a
/// browser that goes there finds nobody, and its address bar holds what is to be pasted.
const DEAF_PORT: u16 = 1;

/// Signs in at a server that is known.
pub(super) fn sign_in(
    provider: &Provider,
    server: &Server,
    http: &dyn Http,
    person: &mut dyn Person,
    wish: &Wish,
) -> Result<SignedIn, Failure> {
    let start = |redirect_uri: &str| {
        let rng = &mut random::fill;
        let flow = CodeFlow::start(provider, server, redirect_uri, &wish.with, rng)?;
        Ok(flow)
    };
    with_browser(
        &provider.redirect,
        &provider.label,
        http,
        person,
        wish,
        start,
    )
}

/// Signs in with a flow that `start` begins once the address is known that the browser comes back
/// to. `label` is what people call the provider.
///
/// # Errors
/// As [`super::sign_in`], and what `start` fails with.
pub fn with_browser(
    redirect: &Redirect,
    label: &str,
    http: &dyn Http,
    person: &mut dyn Person,
    wish: &Wish,
    start: impl FnOnce(&str) -> Result<CodeFlow, Failure>,
) -> Result<SignedIn, Failure> {
    let (listener, deaf) = listen(redirect, wish)?;
    let redirect_uri = match &listener {
        Some(listener) => listener.redirect_uri(),
        None => redirect.uri(match redirect.port {
            0 => DEAF_PORT,
            port => port,
        }),
    };
    let flow = start(&redirect_uri)?;
    let opened = wish
        .open_browser
        .then(|| open_browser(flow.url().as_str()).map_err(|error| error.to_string()));
    let browser = opened.as_ref().map(|opened| match opened {
        Ok(opened) => Ok(opened.program.as_str()),
        Err(why) => Err(why.clone()),
    });
    person.tell(News::Authorize {
        url: flow.url(),
        redirect_uri: &redirect_uri,
        browser,
        deaf: deaf.as_deref(),
    })?;
    let (answer, reply) = race(&flow, listener, person, wish.timeout)?;
    let accepted = accept(answer, label, reply)?;
    let (accepted, reply) = accepted;
    let finished = person.tell(News::Exchanging).and_then(|()| {
        let (request, awaited) = flow.redeem(accepted)?;
        exchange(http, &request, awaited)
    });
    match finished {
        Ok(account) => Ok(SignedIn {
            account,
            label: label.to_owned(),
            browser: reply,
        }),
        Err(failure) => {
            fail(reply, label, &failure.message);
            Err(failure)
        }
    }
}

/// A listener, or why there is none.
fn listen(redirect: &Redirect, wish: &Wish) -> Result<(Option<Listener>, Option<String>), Failure> {
    if wish.paste_only {
        return Ok((None, Some("pasting was asked for".to_owned())));
    }
    match Listener::bind(redirect) {
        Ok(listener) => Ok((Some(listener), None)),
        // Another program's sign-in has the port: the person can still carry the address over.
        Err(error @ ListenError::Taken { .. }) => Ok((None, Some(error.to_string()))),
        Err(error) => Err(error.into()),
    }
}

/// What the listener's thread found.
type Heard = Result<(Answer, Reply), ListenError>;

/// Waits for the first valid answer: from the browser, or from the person.
fn race(
    flow: &CodeFlow,
    listener: Option<Listener>,
    person: &mut dyn Person,
    timeout: Duration,
) -> Result<(Answer, Option<Reply>), Failure> {
    let system = |error: std::io::Error| {
        let text = format!("waiting for the browser: {error}");
        Failure::new(Code::OAuthUnavailable, text)
    };
    // Our end becomes readable when the waiting thread ends, and with it the other end.
    let (stop, end) = UnixStream::pair().map_err(system)?;
    let (heard, hear) = channel::<Heard>();
    let (pasted, was_pasted) = channel::<()>();
    let is_deaf = listener.is_none();
    std::thread::scope(|scope| {
        let canceller = listener.as_ref().map(Listener::canceller);
        let until = Instant::now() + timeout;
        let waiting = std::thread::Builder::new().name("sign-in".to_owned());
        let waiting = waiting.spawn_scoped(scope, move || {
            let outcome = match listener {
                Some(listener) => listener.wait(until, |query| match flow.read_query(query) {
                    Ok(answer) => Verdict::Take(answer),
                    Err(_) => Verdict::Keep,
                }),
                None => Err(wait_for_paste(&was_pasted, until)),
            };
            let _nobody_left = heard.send(outcome);
            drop(end);
        });
        waiting.map_err(system)?;
        let answer = ask(flow, person, (&stop, &hear), is_deaf, timeout);
        // Whatever ended the race, the other runner has to stop before this function returns.
        give_up(canceller, &pasted);
        answer
    })
}

fn give_up(listener: Option<Cancel>, pasted: &Sender<()>) {
    if let Some(listener) = listener {
        listener.cancel();
    }
    let _ended_by_itself = pasted.send(());
}

/// Without a listener there is only the time limit to wait for.
fn wait_for_paste(was_pasted: &Receiver<()>, until: Instant) -> ListenError {
    let left = until.saturating_duration_since(Instant::now());
    match was_pasted.recv_timeout(left) {
        Err(RecvTimeoutError::Timeout) => ListenError::Timeout,
        Ok(()) | Err(RecvTimeoutError::Disconnected) => ListenError::Cancelled,
    }
}

/// Asks the person until something valid is pasted or the other runner is there.
fn ask(
    flow: &CodeFlow,
    person: &mut dyn Person,
    (stop, hear): (&UnixStream, &Receiver<Heard>),
    is_deaf: bool,
    timeout: Duration,
) -> Result<(Answer, Option<Reply>), Failure> {
    loop {
        match person.paste(stop.as_fd())? {
            Pasted::Text(text) => match flow.read_paste(&text) {
                Ok(answer) => return Ok((answer, None)),
                Err(error) => person.tell(News::NotOurs(&error))?,
            },
            Pasted::Stopped => break,
            Pasted::Unable if is_deaf => {
                let text = "nothing listens for the browser, and nobody can paste the address here";
                return Err(Failure::new(Code::OAuthCallback, text));
            }
            Pasted::Unable => break,
        }
    }
    match hear.recv() {
        Ok(Ok((answer, reply))) => Ok((answer, Some(reply))),
        Ok(Err(ListenError::Timeout)) => Err(timed_out(timeout)),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::new(Code::Bug, "the listener ended without a word")),
    }
}

/// The code of an answer; an answer that says no is told to the browser too.
fn accept(
    answer: Answer,
    label: &str,
    reply: Option<Reply>,
) -> Result<(Accepted, Option<Reply>), Failure> {
    let said_no = match answer {
        Answer::Accepted(accepted) => return Ok((accepted, reply)),
        Answer::Refused(said_no) => said_no,
    };
    if let Some(reply) = reply {
        reply.send(&Page::Denied { provider: label });
    }
    Err(refused(&said_no))
}

fn refused(said_no: &SaidNo) -> Failure {
    let code = if said_no.denied {
        Code::OAuthDenied
    } else {
        Code::OAuthRefused
    };
    let mut text = match said_no.code {
        Some(code) => format!("the authorization server said {code}"),
        None => "the authorization server said no".to_owned(),
    };
    if let Some(description) = &said_no.description {
        text.push_str(&format!(" (\"{description}\")"));
    }
    Failure::new(code, text)
}
