use super::*;
use crate::net::NetError;
use crate::net::http::{Fault, Peer};
use crate::oauth::provider::{Redirect, RedirectHost};
use crate::oauth::{HttpAnswer, Method};
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::thread::JoinHandle;

/// A server that gives prepared answers, and remembers what it was asked.
struct Script {
    answers: Mutex<VecDeque<Option<(u16, &'static str)>>>,
    asked: Mutex<Vec<String>>,
}

impl Script {
    fn new(answers: &[Option<(u16, &'static str)>]) -> Self {
        Self {
            answers: Mutex::new(answers.iter().copied().collect()),
            asked: Mutex::default(),
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Http for Script {
    fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        let body = request.body.as_ref().map_or(&b""[..], |body| body.expose());
        let method = match request.method {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Delete => "DELETE",
        };
        let text = format!(
            "{method} {} {}",
            request.url.path(),
            String::from_utf8_lossy(body)
        );
        self.asked.lock().unwrap().push(text);
        match self.answers.lock().unwrap().pop_front().unwrap() {
            Some((status, body)) => Ok(HttpAnswer::new(
                status,
                SecretValue::copy_of(body.as_bytes()),
            )),
            None => Err(NetError::Lost(Peer::of(&request.url), Fault::Unreachable)),
        }
    }
}

const GRANTED: Option<(u16, &str)> = Some((
    200,
    r#"{"access_token":"at","refresh_token":"rt","expires_in":3600,"token_type":"Bearer"}"#,
));

fn provider() -> Provider {
    Provider {
        label: "Acme".to_owned(),
        authorization_endpoint: "https://acme.example/authorize".parse().ok(),
        token_endpoint: "https://acme.example/token".parse().ok(),
        device_authorization_endpoint: "https://acme.example/device".parse().ok(),
        client_id: Some("cli".to_owned()),
        flows: vec![FlowKind::Pkce, FlowKind::Device],
        ..Provider::empty("acme")
    }
}

fn wish(flow: FlowKind) -> Wish {
    Wish {
        flow,
        paste_only: false,
        open_browser: false,
        timeout: Duration::from_secs(60),
        with: SignInWith::default(),
    }
}

/// What the scripted person does when the page is ready; gets state and redirect address.
type Act = dyn FnMut(&str, &str) -> Vec<String>;

/// A person whose browser visits what `act` returns, and who pastes what stands in `pastes`.
struct Scripted {
    act: Box<Act>,
    pastes: VecDeque<String>,
    state: String,
    news: Vec<String>,
    pauses: Vec<Duration>,
    visits: Option<JoinHandle<Vec<String>>>,
}

impl Scripted {
    fn new(act: impl FnMut(&str, &str) -> Vec<String> + 'static) -> Self {
        Self {
            act: Box::new(act),
            pastes: VecDeque::new(),
            state: String::new(),
            news: Vec::new(),
            pauses: Vec::new(),
            visits: None,
        }
    }

    fn pages(&mut self) -> Vec<String> {
        self.visits.take().unwrap().join().unwrap()
    }
}

fn parameter(url: &Endpoint, name: &str) -> String {
    let query = url.as_str().split_once('?').unwrap().1;
    let found = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
    found.unwrap().1.into_owned()
}

/// A browser that goes to an address and gives back the whole answer.
fn visit(address: &str) -> String {
    let rest = address.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

impl Person for Scripted {
    fn tell(&mut self, news: News<'_>) -> Result<(), Failure> {
        self.news.push(match &news {
            News::Discovering(_) => "discovering".to_owned(),
            News::Authorize { deaf, .. } => format!("authorize, deaf: {}", deaf.is_some()),
            News::Code(prompt) => format!("code {}", prompt.user_code),
            News::NotOurs(error) => format!("not ours: {error}"),
            News::Exchanging => "exchanging".to_owned(),
        });
        if let News::Authorize {
            url, redirect_uri, ..
        } = news
        {
            self.state = parameter(url, "state");
            let addresses = (self.act)(&self.state, redirect_uri);
            let visits = move || addresses.iter().map(|address| visit(address)).collect();
            self.visits = Some(std::thread::spawn(visits));
        }
        Ok(())
    }

    fn paste(&mut self, _stop: BorrowedFd<'_>) -> Result<Pasted, Failure> {
        Ok(match self.pastes.pop_front() {
            Some(text) => {
                let text = text.replace("STATE", &self.state);
                Pasted::Text(SecretValue::copy_of(text.as_bytes()))
            }
            None => Pasted::Unable,
        })
    }

    fn pause(&mut self, duration: Duration) {
        self.pauses.push(duration);
    }
}

#[track_caller]
fn refused(outcome: Result<SignedIn, Failure>) -> Failure {
    match outcome {
        Ok(_) => panic!("signed in"),
        Err(failure) => failure,
    }
}

#[test]
fn the_browser_brings_the_code_and_hears_when_it_is_stored() {
    let http = Script::new(&[GRANTED]);
    let mut person = Scripted::new(|state, redirect| {
        vec![
            format!("{redirect}?code=forged&state=other"),
            format!("{redirect}?code=c1&state={state}"),
        ]
    });
    let signed_in = sign_in(&provider(), &http, &mut person, &wish(FlowKind::Pkce)).unwrap();
    assert_eq!(signed_in.account.access.secret().expose(), b"at");
    signed_in.stored();
    let pages = person.pages();
    assert!(pages[0].starts_with("HTTP/1.1 400"), "{}", pages[0]);
    assert!(pages[1].starts_with("HTTP/1.1 200") && pages[1].contains("Acme"));
    let asked = http.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with("POST /token grant_type=authorization_code&code=c1"));
    assert_eq!(person.news, ["authorize, deaf: false", "exchanging"]);
}

#[test]
fn a_pasted_address_wins_and_the_listener_goes() {
    let http = Script::new(&[GRANTED]);
    let mut person = Scripted::new(|_, _| Vec::new());
    person.pastes = ["c1", "c1#other", "c1#STATE"].map(str::to_owned).into();
    let signed_in = sign_in(&provider(), &http, &mut person, &wish(FlowKind::Pkce)).unwrap();
    assert_eq!(signed_in.account.access.secret().expose(), b"at");
    assert_eq!(person.news.len(), 4, "{:?}", person.news);
    assert!(person.news[1].contains("the state is missing"));
    assert!(person.news[2].contains("another sign-in"));
}

#[test]
fn with_the_port_taken_only_pasting_is_left() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut provider = provider();
    provider.redirect = Redirect {
        host: RedirectHost::V4,
        port: taken.local_addr().unwrap().port(),
        ..Redirect::default()
    };
    let http = Script::new(&[GRANTED]);
    let mut person = Scripted::new(|_, _| Vec::new());
    person.pastes = ["?code=c1&state=STATE".to_owned()].into();
    sign_in(&provider, &http, &mut person, &wish(FlowKind::Pkce)).unwrap();
    assert_eq!(person.news[0], "authorize, deaf: true");
}

#[test]
fn a_no_in_the_browser_ends_it_there_and_here() {
    let http = Script::new(&[]);
    let mut person = Scripted::new(|state, redirect| {
        vec![format!("{redirect}?error=access_denied&state={state}")]
    });
    let outcome = sign_in(&provider(), &http, &mut person, &wish(FlowKind::Pkce));
    assert_eq!(refused(outcome).code, Code::OAuthDenied);
    assert!(person.pages()[0].contains("Acme"));
    assert!(http.asked().is_empty());
}

/// Sits at the prompt and never answers.
struct Silent;

impl Person for Silent {
    fn tell(&mut self, _: News<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn paste(&mut self, stop: BorrowedFd<'_>) -> Result<Pasted, Failure> {
        let mut fds = [PollFd::from_borrowed_fd(stop, PollFlags::IN)];
        poll(&mut fds, None).unwrap();
        Ok(Pasted::Stopped)
    }
}

#[test]
fn nobody_comes_in_time() {
    for paste_only in [false, true] {
        let http = Script::new(&[]);
        let mut nobody = Scripted::new(|_, _| Vec::new());
        let mut silent = Silent;
        let wish = Wish {
            timeout: Duration::from_millis(20),
            paste_only,
            ..wish(FlowKind::Pkce)
        };
        let outcome = sign_in(&provider(), &http, &mut silent, &wish);
        assert_eq!(refused(outcome).code, Code::OAuthTimeout);
        // Where nothing listens and nobody can paste, there is nothing to wait for.
        let expected = if paste_only {
            Code::OAuthCallback
        } else {
            Code::OAuthTimeout
        };
        let outcome = sign_in(&provider(), &http, &mut nobody, &wish);
        assert_eq!(refused(outcome).code, expected);
    }
}

#[test]
fn a_code_whose_answer_is_lost_is_not_sent_again() {
    let http = Script::new(&[None]);
    let mut person =
        Scripted::new(|state, redirect| vec![format!("{redirect}?code=c1&state={state}")]);
    let outcome = sign_in(&provider(), &http, &mut person, &wish(FlowKind::Pkce));
    let failure = refused(outcome);
    assert!(failure.message.contains("start again"), "{failure}");
    assert_eq!(http.asked().len(), 1);
    assert!(person.pages()[0].starts_with("HTTP/1.1 502"));
}

#[test]
fn another_device_enters_the_code_while_we_poll() {
    let started = r#"{"device_code":"d","user_code":"WDJB-MJHT","verification_uri":
        "https://acme.example/go","expires_in":600,"interval":2}"#;
    let pending = Some((400, r#"{"error":"authorization_pending"}"#));
    let slower = Some((400, r#"{"error":"slow_down"}"#));
    let http = Script::new(&[Some((200, started)), pending, slower, None, GRANTED]);
    let mut person = Scripted::new(|_, _| Vec::new());
    let signed_in = sign_in(&provider(), &http, &mut person, &wish(FlowKind::Device)).unwrap();
    assert_eq!(signed_in.account.access.secret().expose(), b"at");
    assert_eq!(person.news, ["code WDJB-MJHT"]);
    let seconds: Vec<u64> = person.pauses.iter().map(Duration::as_secs).collect();
    assert_eq!(seconds, [2, 2, 7, 14]);
}

#[test]
fn a_device_that_nobody_answers_is_given_up_in_time() {
    let started = r#"{"device_code":"d","user_code":"A","verification_uri":
        "https://acme.example/go","expires_in":600,"interval":29}"#;
    let pending = Some((400, r#"{"error":"authorization_pending"}"#));
    let http = Script::new(&[Some((200, started)), pending, pending]);
    let mut person = Scripted::new(|_, _| Vec::new());
    let outcome = sign_in(&provider(), &http, &mut person, &wish(FlowKind::Device));
    assert_eq!(refused(outcome).code, Code::OAuthTimeout);
    assert_eq!(http.asked().len(), 3, "two polls fit into 60 s");
}

/// Takes its time.
struct Slow(Script, Duration);

impl Http for Slow {
    fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        let begun = std::time::Instant::now();
        while begun.elapsed() < self.1 {
            std::thread::yield_now();
        }
        self.0.send(request)
    }
}

#[test]
fn the_time_that_a_slow_server_takes_counts() {
    let started = r#"{"device_code":"d","user_code":"A","verification_uri":
        "https://acme.example/go","expires_in":600,"interval":1}"#;
    let pending = Some((400, r#"{"error":"authorization_pending"}"#));
    let script = Script::new(&[Some((200, started)), pending]);
    let http = Slow(script, Duration::from_millis(20));
    let mut person = Scripted::new(|_, _| Vec::new());
    let wish = Wish {
        timeout: Duration::from_millis(2_010),
        ..wish(FlowKind::Device)
    };
    let outcome = sign_in(&provider(), &http, &mut person, &wish);
    assert_eq!(refused(outcome).code, Code::OAuthTimeout);
    assert_eq!(http.0.asked().len(), 2, "a second poll would come too late");
}
