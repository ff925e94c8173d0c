use super::*;
use crate::error::{Code, Coded};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;

const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
const CANARY: &str = "canary-refresh-token";

/// Limits that end a test, not an exchange on a busy machine.
fn patient() -> Client {
    Client::new(&Policy::default())
}

/// A client whose time is over soon; for servers that never answer.
fn hasty() -> Client {
    Client::new(&Policy {
        total: Duration::from_millis(100),
        ..Policy::default()
    })
}

/// A server for one connection; what it returns says what it got.
fn serve<T: Send + 'static>(
    behave: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (Endpoint, JoinHandle<(T, TcpListener)>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        (behave(stream), listener)
    });
    (
        format!("http://{at}/token?q={CANARY}").parse().unwrap(),
        server,
    )
}

fn post(url: &Endpoint) -> HttpRequest {
    HttpRequest {
        method: Method::Post,
        url: url.clone(),
        content_type: Some("application/x-www-form-urlencoded"),
        authorization: Some(SecretValue::copy_of(b"Basic Y2FuYXJ5")),
        headers: Vec::new(),
        body: Some(SecretValue::copy_of(
            format!("refresh_token={CANARY}").as_bytes(),
        )),
        within: None,
        accept_json: true,
    }
}

/// Reads one request, head and body.
fn read_request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let (mut head, mut len) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0);
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            len = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

/// A server that reads the request, writes this and closes.
fn answering(text: impl Into<String>) -> (Endpoint, JoinHandle<(String, TcpListener)>) {
    let text = text.into();
    serve(move |mut stream| {
        let request = read_request(&stream);
        // The client may have hung up already.
        drop(stream.write_all(text.as_bytes()));
        request
    })
}

/// The client came once.
fn came_once(server: JoinHandle<(String, TcpListener)>) -> String {
    let (request, listener) = server.join().unwrap();
    listener.set_nonblocking(true).unwrap();
    let more = listener.accept().unwrap_err();
    assert_eq!(more.kind(), io::ErrorKind::WouldBlock, "sent twice");
    request
}

fn is_clean(error: &NetError) {
    let text = format!("{error} {error:?}");
    for leak in [CANARY, "token", "Y2FuYXJ5", "q="] {
        assert!(!text.contains(leak), "{leak} in {text}");
    }
}

fn lost(error: NetError) -> Fault {
    is_clean(&error);
    assert!(!error.nothing_sent());
    match error {
        NetError::Lost(_, fault) => fault,
        other => panic!("{other:?}"),
    }
}

fn not_sent(error: NetError) -> Fault {
    is_clean(&error);
    assert!(error.nothing_sent());
    match error {
        NetError::NotSent(_, fault) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_arrives_as_it_was_made_and_its_answer_comes_back() {
    let (url, server) = answering(
        "HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nSet-Cookie: a=b\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 2\r\n\r\n{}",
    );
    let answer = patient().send(&post(&url)).unwrap();
    assert_eq!(
        (answer.status, answer.body),
        (429, SecretValue::copy_of(b"{}"))
    );
    assert_eq!(answer.retry_after, Some(Duration::from_secs(7)));
    assert_eq!(answer.date, Some(UnixMs(784_111_777_000)));
    let request = came_once(server);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<String> = head.lines().map(str::to_lowercase).collect();
    assert_eq!(lines.remove(0), format!("post /token?q={CANARY} http/1.1"));
    lines.sort_unstable();
    let length = format!("content-length: {}", body.len());
    let (agent, host) = (
        format!("user-agent: {USER_AGENT}"),
        format!("host: 127.0.0.1:{}", url.port()),
    );
    let expected = [
        "accept: application/json",
        "authorization: basic y2fuyxj5",
        &length,
        "content-type: application/x-www-form-urlencoded",
        &host,
        &agent,
    ];
    assert_eq!(lines, expected);
    assert_eq!(body, format!("refresh_token={CANARY}"));
}

#[test]
fn a_plain_get_has_no_body_and_no_credentials() {
    let (url, server) = answering(WHOLE);
    let request = HttpRequest {
        method: Method::Get,
        content_type: None,
        authorization: None,
        body: None,
        accept_json: false,
        ..post(&url)
    };
    assert_eq!(patient().send(&request).unwrap().status, 200);
    let request = came_once(server).to_lowercase();
    assert!(request.starts_with("get /token?"), "{request}");
    assert!(
        request.contains("accept: */*") && !request.contains("content-"),
        "{request}"
    );
    assert!(
        !request.contains("authorization") && !request.contains("cookie"),
        "{request}"
    );
}

#[test]
fn a_redirect_is_an_answer() {
    let target = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for status in [301, 302, 303, 307, 308] {
        let to = target.local_addr().unwrap();
        let (url, server) = answering(format!(
            "HTTP/1.1 {status} Moved\r\nLocation: http://{to}/\r\nContent-Length: 0\r\n\r\n"
        ));
        assert_eq!(patient().send(&post(&url)).unwrap().status, status);
        came_once(server);
    }
    target.set_nonblocking(true).unwrap();
    assert_eq!(
        target.accept().unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
}

#[test]
fn nobody_listening_and_no_address_are_not_sent() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url: Endpoint = format!("http://{}/token", free.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(free);
    let error = patient().send(&post(&url)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot reach 127.0.0.1:{}: the connection was refused",
            url.port()
        )
    );
    assert_eq!(not_sent(error), Fault::Refused);
    // RFC 6761: never resolves.
    let url: Endpoint = "https://name.invalid/token".parse().unwrap();
    assert_eq!(
        not_sent(patient().send(&post(&url)).unwrap_err()),
        Fault::Name
    );
}

#[test]
fn a_listener_that_never_accepts_is_not_sent_when_the_connect_limit_ends() {
    // TLS waits for the server's part of the handshake.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url: Endpoint = format!("https://{}/", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let limit = Duration::from_millis(50);
    let client = Client::new(&Policy {
        connect: limit,
        ..Policy::default()
    });
    assert_eq!(
        not_sent(client.send(&post(&url)).unwrap_err()),
        Fault::Connect(limit)
    );
}

#[test]
fn a_server_that_is_not_tls_is_not_sent() {
    let (url, server) = serve(|mut stream| {
        let mut start = [0; 3];
        stream.read_exact(&mut start).unwrap();
        drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        start
    });
    let url = url.as_str().replace("http:", "https:").parse().unwrap();
    assert_eq!(
        not_sent(patient().send(&post(&url)).unwrap_err()),
        Fault::Tls
    );
    assert_eq!(
        server.join().unwrap().0[0],
        0x16,
        "a handshake, not a request"
    );

    let (url, server) = serve(drop);
    let url = url.as_str().replace("http:", "https:").parse().unwrap();
    assert_eq!(
        not_sent(patient().send(&post(&url)).unwrap_err()),
        Fault::Tls
    );
    server.join().unwrap();
}

#[test]
fn a_connection_that_ends_after_accept_counts_as_sent() {
    // Closed at once, with a reset because the request is not read.
    let (url, server) = serve(drop);
    assert_eq!(
        lost(patient().send(&post(&url)).unwrap_err()),
        Fault::Broken
    );
    server.join().unwrap();
    // Closed in good order after the request was read.
    let (url, server) = answering("");
    assert_eq!(
        lost(patient().send(&post(&url)).unwrap_err()),
        Fault::Broken
    );
    assert!(came_once(server).contains(CANARY));
}

#[test]
fn an_answer_that_is_not_whole_or_not_http_is_lost() {
    let headers = "a: b\r\n".repeat(101);
    let long = "a".repeat(1 << 20);
    for (name, text) in [
        ("half a head", "HTTP/1.1 200 OK\r\nContent-".to_owned()),
        (
            "half a body",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}".to_owned(),
        ),
        (
            "half a chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}".to_owned(),
        ),
        ("garbage", "\u{0}\u{1}SSH-2.0-OpenSSH\r\n\r\n".to_owned()),
        ("old", "HTTP/0.9 200 OK\r\n\r\n{}".to_owned()),
        (
            "lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\n{}".to_owned(),
        ),
        ("many headers", format!("HTTP/1.1 200 OK\r\n{headers}\r\n")),
        (
            "a huge header",
            format!("HTTP/1.1 200 OK\r\na: {long}\r\n\r\n"),
        ),
    ] {
        let (url, server) = answering(text);
        assert_eq!(
            lost(patient().send(&post(&url)).unwrap_err()),
            Fault::Broken,
            "{name}"
        );
        assert!(came_once(server).contains(CANARY));
    }
}

#[test]
fn a_server_that_stalls_is_lost_when_the_total_limit_ends() {
    let starts = [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
    ];
    for start in starts {
        let (url, server) = serve(move |mut stream| {
            let request = read_request(&stream);
            stream.write_all(start.as_bytes()).unwrap();
            // Until the client gives up.
            assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
            request
        });
        let limit = hasty().policy.total;
        assert_eq!(
            lost(hasty().send(&post(&url)).unwrap_err()),
            Fault::Answer(limit)
        );
        came_once(server);
    }
}

#[test]
fn a_slow_drip_does_not_stretch_the_total_limit() {
    let (url, server) = serve(|mut stream| {
        read_request(&stream);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let (_keep, tick) = mpsc::channel::<()>();
        let mut written = 0;
        while stream.write_all(b" ").is_ok() {
            written += 1;
            let _tick = tick.recv_timeout(Duration::from_millis(1));
        }
        written
    });
    let limit = hasty().policy.total;
    assert_eq!(
        lost(hasty().send(&post(&url)).unwrap_err()),
        Fault::Answer(limit)
    );
    assert!((1..1_000_000).contains(&server.join().unwrap().0));
}

#[test]
fn a_body_has_its_limit_with_and_without_an_announced_length() {
    let client = Client::new(&Policy {
        max_body: 10_000,
        ..Policy::default()
    });
    let sized = |len: usize| {
        let body = "b".repeat(len);
        format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{body}")
    };
    let until_end = |len: usize| format!("HTTP/1.1 200 OK\r\n\r\n{}", "b".repeat(len));
    let chunked = |len: usize| {
        let body = "b".repeat(len);
        let chunk = format!("{len:x}\r\n{body}\r\n0\r\n\r\n");
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}")
    };
    for text in [&sized as &dyn Fn(usize) -> String, &until_end, &chunked] {
        let (url, server) = answering(text(10_000));
        let body = client.send(&post(&url)).unwrap().body;
        assert_eq!(body, SecretValue::copy_of(&[b'b'; 10_000]));
        came_once(server);
        let (url, server) = answering(text(10_001));
        let error = client.send(&post(&url)).unwrap_err();
        is_clean(&error);
        assert!(matches!(error, NetError::TooLarge(_, 10_000)), "{error:?}");
        assert!(!error.nothing_sent());
        came_once(server);
    }
}

#[test]
fn retry_after_is_seconds_or_a_date_and_bounded() {
    let read = |pairs: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        retry_after(&headers, date_of(&headers, &header::DATE))
    };
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(
        read(&[("retry-after", "120")]),
        Some(Duration::from_secs(120))
    );
    let later = ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT");
    assert_eq!(read(&[date, later]), Some(Duration::from_secs(60)));
    assert_eq!(
        read(&[("retry-after", "99999999999999999999")]),
        Some(MAX_DURATION)
    );
    let past = ("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT");
    assert_eq!(read(&[date, past]), Some(Duration::ZERO));
    for bad in ["", "-1", "soon", "1.5", "+3"] {
        assert_eq!(read(&[("retry-after", bad)]), None, "{bad}");
    }
    assert_eq!(read(&[]), None);
}

#[test]
fn a_credential_that_no_header_can_carry_is_not_sent() {
    let request = HttpRequest {
        authorization: Some(SecretValue::copy_of(b"Basic a\r\nX: y")),
        ..post(&"http://127.0.0.1:1/".parse().unwrap())
    };
    assert_eq!(
        not_sent(patient().send(&request).unwrap_err()),
        Fault::Header
    );
}

#[test]
fn further_headers_are_sent() {
    let (url, server) = answering(WHOLE);
    let request = HttpRequest {
        headers: vec![("x-api-key", SecretValue::copy_of(CANARY.as_bytes()))],
        ..HttpRequest::get(url)
    };
    assert_eq!(patient().send(&request).unwrap().status, 200);
    let request = came_once(server);
    assert!(
        request.contains(&format!("x-api-key: {CANARY}\r\n")),
        "{request}"
    );
}

#[test]
fn localhost_is_this_machine_on_either_address() {
    for at in ["127.0.0.1:0", "[::1]:0"] {
        // A machine may have no IPv6.
        let Ok(listener) = TcpListener::bind(at) else {
            assert_eq!(at, "[::1]:0");
            continue;
        };
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&stream);
            stream.write_all(WHOLE.as_bytes()).unwrap();
        });
        let url = format!("http://localhost:{port}/").parse().unwrap();
        assert_eq!(patient().send(&post(&url)).unwrap().status, 200);
        server.join().unwrap();
    }
}

#[test]
fn the_guard_lets_out_and_to_its_own_class_only() {
    let within = |class, url: &Endpoint| patient().send(&post(url).within(class));
    let denied = |url: &str| {
        let error = within(Class::Public, &url.parse().unwrap()).unwrap_err();
        assert!(error.nothing_sent());
        assert_eq!(error.code(), Code::NetDenied);
        match error {
            NetError::Denied(denied) => denied.class,
            other => panic!("{other:?}"),
        }
    };
    // By its literal address, and by a look-up.
    assert_eq!(denied("http://127.0.0.1:1/token"), Class::Loopback);
    assert_eq!(denied("http://localhost:1/token"), Class::Loopback);
    assert_eq!(denied("https://[::ffff:10.0.0.1]/"), Class::Private);
    assert_eq!(denied("https://169.254.169.254/latest"), Class::Metadata);
    assert_eq!(denied("https://[fe80::1]/"), Class::LinkLocal);

    let (url, server) = answering(WHOLE);
    let answer = within(Class::Loopback, &url).unwrap();
    assert_eq!((answer.status, answer.from), (200, Some(Class::Loopback)));
    came_once(server);
    let further_in = within(Class::Private, &url).unwrap_err();
    assert_eq!(further_in.code(), Code::NetDenied);
}

#[test]
fn many_requests_at_once_do_not_wait_for_a_stalled_one() {
    let (stalled, server) = serve(|stream| {
        read_request(&stream);
        stream
    });
    let slow = std::thread::spawn(move || patient().send(&post(&stalled)));
    let (held, _listener) = server.join().unwrap();
    let (url, other) = answering(WHOLE);
    assert_eq!(patient().send(&post(&url)).unwrap().status, 200);
    came_once(other);
    drop(held);
    assert_eq!(lost(slow.join().unwrap().unwrap_err()), Fault::Broken);
}

#[test]
fn the_next_part_of_an_answer_has_its_limit_and_can_be_given_up() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab";
    let (url, server) = serve(move |mut stream| {
        read_request(&stream);
        stream.write_all(head.as_bytes()).unwrap();
        stream
    });
    let session = Session::new(&url).unwrap();
    let stop = Stop::default();
    let request = HttpRequest::get(url);
    let mut answer = session.send(&request, None, None, &stop).unwrap();
    assert_eq!(answer.chunk().unwrap().as_deref(), Some(&b"ab"[..]));
    let limit = Duration::from_millis(10);
    let late = lost(answer.chunk_within(limit).unwrap_err());
    assert_eq!(late, Fault::Answer(limit));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| answer.chunk().unwrap_err());
        stop.stop();
        assert_eq!(lost(waiting.join().unwrap()), Fault::Broken);
    });
    let refused = session.send(&request, None, None, &stop).err();
    assert_eq!(lost(refused.unwrap()), Fault::Broken);
    drop(server.join().unwrap());
}
