use super::*;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// Long enough for a busy machine; no test waits for it.
const LONG: Duration = Duration::from_secs(60);

fn at(host: RedirectHost, ports: &[u16], path: &str) -> Redirect {
    Redirect {
        host,
        port: ports[0],
        fallback_ports: ports[1..].to_vec(),
        path: path.to_owned(),
    }
}

fn listener() -> Listener {
    Listener::bind(&Redirect::default()).unwrap()
}

fn limited(limits: Limits) -> Listener {
    Listener::bind_with(&Redirect::default(), limits).unwrap()
}

fn connect(port: u16) -> TcpStream {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap()
}

/// The whole answer to a request.
fn fetch(port: u16, target: &str) -> String {
    let mut stream = connect(port);
    let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn good(query: &SecretValue) -> Verdict<SecretValue> {
    if query.expose().windows(7).any(|part| part == b"state=s") {
        Verdict::Take(query.clone())
    } else {
        Verdict::Keep
    }
}

type Waited = Result<(SecretValue, Reply), ListenError>;

fn wait(listener: Listener) -> JoinHandle<Waited> {
    std::thread::spawn(move || listener.wait(Instant::now() + LONG, good))
}

#[test]
fn one_valid_answer_ends_the_flow_and_the_page_comes_after() {
    let listener = listener();
    let port = listener.port();
    assert_eq!(
        listener.redirect_uri(),
        format!("http://127.0.0.1:{port}/callback")
    );
    let browser = std::thread::spawn(move || fetch(port, "/callback?code=c&state=s"));
    let (query, reply) = wait(listener).join().unwrap().unwrap();
    assert_eq!(query, SecretValue::copy_of(b"code=c&state=s"));
    // The browser still waits, and nobody else gets in.
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    reply.send(&Page::SignedIn {
        provider: "acme",
        account: None,
    });
    let got = browser.join().unwrap();
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
    assert!(got.contains("You are signed in"), "{got}");
    let (head, body) = got.split_once("\r\n\r\n").unwrap();
    for header in [
        "Connection: close",
        "Cache-Control: no-store",
        "Referrer-Policy: no-referrer",
        "X-Content-Type-Options: nosniff",
        "X-Frame-Options: DENY",
        &format!(
            "Content-Security-Policy: {}",
            crate::net::page::content_policy()
        ),
        &format!("Content-Length: {}", body.len()),
    ] {
        assert!(head.contains(&format!("\r\n{header}")), "{header}: {head}");
    }
    assert!(!got.contains("code=c"), "{got}");
}

#[test]
fn a_reply_that_is_dropped_points_to_the_terminal() {
    let listener = listener();
    let port = listener.port();
    let browser = std::thread::spawn(move || fetch(port, "/callback?code=c&state=s"));
    drop(wait(listener).join().unwrap().unwrap());
    assert!(browser.join().unwrap().contains("Look at your terminal"));
}

#[test]
fn what_fails_the_check_gets_an_error_page_and_the_wait_goes_on() {
    let listener = listener();
    let port = listener.port();
    let waiting = wait(listener);
    let wrong = fetch(port, "/callback?code=c&state=wrong");
    assert!(wrong.starts_with("HTTP/1.1 400 "), "{wrong}");
    assert!(wrong.contains("not the answer Reseal waits for"), "{wrong}");
    assert!(
        !wrong.contains("wrong"),
        "nothing of the query is shown: {wrong}"
    );
    assert!(fetch(port, "/favicon.ico").starts_with("HTTP/1.1 404 "));
    assert!(fetch(port, "/").starts_with("HTTP/1.1 404 "));
    let mut post = connect(port);
    post.write_all(b"POST /callback?state=s HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let post = answer(post);
    assert!(
        post.starts_with("HTTP/1.1 405 ") && post.contains("\r\nAllow: GET\r\n"),
        "{post}"
    );
    let mut other = connect(port);
    other
        .write_all(b"GET /callback?state=s HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        .unwrap();
    assert!(answer(other).starts_with("HTTP/1.1 400 "));
    let mut long = connect(port);
    long.write_all(&vec![b'a'; MAX_LINE + 1]).unwrap();
    assert!(answer(long).starts_with("HTTP/1.1 431 "));

    let browser = std::thread::spawn(move || fetch(port, "/callback?state=s"));
    drop(waiting.join().unwrap().unwrap());
    assert!(browser.join().unwrap().starts_with("HTTP/1.1 200 "));
}

#[test]
fn clients_that_send_nothing_do_not_keep_the_browser_out() {
    let listener = listener();
    let port = listener.port();
    // More than are served at once; each is half a request.
    let idle: Vec<TcpStream> = (0..3 * MAX_AT_ONCE)
        .map(|_| {
            let mut stream = connect(port);
            stream.write_all(b"GET /callback?code=").unwrap();
            stream
        })
        .collect();
    let waiting = wait(listener);
    let browser = std::thread::spawn(move || fetch(port, "/callback?state=s"));
    drop(waiting.join().unwrap().unwrap());
    assert!(browser.join().unwrap().starts_with("HTTP/1.1 200 "));
    drop(idle);
}

#[test]
fn a_newcomer_takes_the_place_of_the_oldest() {
    let limits = Limits {
        at_once: 2,
        ..Limits::default()
    };
    let listener = limited(limits);
    let port = listener.port();
    let waiting = wait(listener);
    let (oldest, mut second, _third) = (connect(port), connect(port), connect(port));
    // Ends only because the listener gave it up.
    assert_eq!(answer(oldest), "");
    second
        .write_all(b"GET /callback?state=s HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    drop(waiting.join().unwrap().unwrap());
    assert!(answer(second).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_client_is_given_up_at_its_own_limit() {
    let limits = Limits {
        request: Duration::from_millis(1),
        ..Limits::default()
    };
    let listener = limited(limits);
    let port = listener.port();
    let cancel = listener.canceller();
    let waiting = wait(listener);
    let mut slow = connect(port);
    slow.write_all(b"GET /callback").unwrap();
    assert_eq!(answer(slow), "");
    cancel.cancel();
    assert!(matches!(
        waiting.join().unwrap(),
        Err(ListenError::Cancelled)
    ));
}

#[test]
fn one_connection_over_the_limit_of_a_flow_ends_it() {
    let flow = |connections: usize| {
        let limits = Limits {
            in_all: 3,
            ..Limits::default()
        };
        let listener = limited(limits);
        let port = listener.port();
        let waiting = wait(listener);
        for _ in 0..connections - 1 {
            assert!(fetch(port, "/other").starts_with("HTTP/1.1 404 "));
        }
        // A browser whose connection is refused gets nothing.
        let mut last = connect(port);
        let request = b"GET /callback?state=s HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let sent = last.write_all(request);
        let outcome = waiting.join().unwrap();
        drop(sent);
        outcome.map(drop)
    };
    assert!(flow(3).is_ok());
    assert!(matches!(flow(4), Err(ListenError::Flooded)));
}

#[test]
fn the_deadline_and_a_cancel_end_the_wait() {
    let outcome = listener().wait(Instant::now(), good);
    assert!(matches!(outcome, Err(ListenError::Timeout)));
    let soon = Instant::now() + Duration::from_millis(5);
    assert!(matches!(
        listener().wait(soon, good),
        Err(ListenError::Timeout)
    ));

    let early = listener();
    early.canceller().cancel();
    let outcome = early.wait(Instant::now() + LONG, good);
    assert!(matches!(outcome, Err(ListenError::Cancelled)));

    let listener = listener();
    let (port, cancel) = (listener.port(), listener.canceller());
    let waiting = wait(listener);
    assert!(fetch(port, "/").starts_with("HTTP/1.1 404 "));
    cancel.cancel();
    assert!(matches!(
        waiting.join().unwrap(),
        Err(ListenError::Cancelled)
    ));
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
}

fn has_v6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[test]
fn localhost_is_both_addresses_on_one_port() {
    let listener = Listener::bind(&at(RedirectHost::Localhost, &[0], "/auth/callback")).unwrap();
    let port = listener.port();
    assert_eq!(
        listener.redirect_uri(),
        format!("http://localhost:{port}/auth/callback")
    );
    assert_eq!(listener.sockets.len(), if has_v6() { 2 } else { 1 });
    let waiting = wait(listener);
    assert!(fetch(port, "/callback?state=s").starts_with("HTTP/1.1 404 "));
    let last = if has_v6() {
        IpAddr::V6(Ipv6Addr::LOCALHOST)
    } else {
        Ipv4Addr::LOCALHOST.into()
    };
    let mut stream = TcpStream::connect((last, port)).unwrap();
    let request = format!("GET /auth/callback?state=s HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    drop(waiting.join().unwrap().unwrap());
    assert!(answer(stream).starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_taken_port_falls_back_and_half_a_port_is_taken() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let fallback = Listener::bind(&at(RedirectHost::V4, &[port, 0], "/callback")).unwrap();
    assert_ne!(fallback.port(), port);
    let none = Listener::bind(&at(RedirectHost::V4, &[port], "/callback")).unwrap_err();
    let text = none.to_string();
    assert_eq!(text, format!("no port of 127.0.0.1 is free: {port}"));
    assert_eq!(none.code(), Code::OAuthUnavailable);

    if has_v6() {
        // Somebody else would get the answers that a browser sends to the other address.
        let half = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let port = half.local_addr().unwrap().port();
        let refused = Listener::bind(&at(RedirectHost::Localhost, &[port], "/callback"));
        assert!(matches!(refused, Err(ListenError::Taken { .. })));
        let v6 = Listener::bind(&at(RedirectHost::V6, &[0], "/c")).unwrap();
        assert_eq!(v6.redirect_uri(), format!("http://[::1]:{}/c", v6.port()));
    }
}

#[test]
fn a_browser_that_went_away_is_no_error() {
    let listener = listener();
    let port = listener.port();
    let (told, tell) = mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let outcome = listener
            .wait(Instant::now() + LONG, good)
            .map(|(_, reply)| reply);
        tell.recv().unwrap();
        outcome.unwrap().send(&Page::SeeTerminal);
    });
    let mut stream = connect(port);
    stream
        .write_all(b"GET /callback?state=s HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    drop(stream);
    told.send(()).unwrap();
    waiting.join().unwrap();
}
