//! The network client in the environments it meets: certificates of the system, proxies, and a
//! server in TLS that is not what it should be.
//!
//! Certificates and proxies come from the environment, so each test runs itself again as a child
//! that has the environment set, makes one request and prints its outcome.

// A test that can't go on has failed.
#![allow(clippy::unwrap_used)]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use reseal::net::http::{Client, Fault, Http, NetError, Policy};
use reseal::oauth::endpoint::Endpoint;
use reseal::oauth::request::{HttpRequest, Method};
use reseal::secret::SecretValue;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;

const URL: &str = "RESEAL_TEST_NET";

/// In the child: one request to the URL of the environment.
#[test]
fn child() {
    let Ok(url) = std::env::var(URL) else { return };
    let request = HttpRequest {
        method: Method::Post,
        url: url.parse::<Endpoint>().unwrap(),
        content_type: Some("application/json"),
        authorization: None,
        headers: Vec::new(),
        body: Some(SecretValue::copy_of(b"canary")),
        within: None,
        accept_json: true,
    };
    let outcome = match Client::new(&Policy::default()).send(&request) {
        Ok(answer) => format!("status {}", answer.status),
        Err(NetError::NotSent(_, fault)) => format!("not sent: {fault:?}"),
        Err(NetError::Lost(_, fault)) => format!("lost: {fault:?}"),
        Err(other) => format!("{other:?}"),
    };
    println!("outcome: {outcome}");
}

/// What the child says.
fn send(url: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture"])
        .env(URL, url);
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    command
        .env_remove("SSL_CERT_FILE")
        .env_remove("SSL_CERT_DIR");
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found = text.lines().find_map(|line| line.split_once("outcome: "));
    found.unwrap_or_else(|| panic!("{text}")).1.to_owned()
}

/// A certificate authority of its own, in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> String {
        self.folder
            .path()
            .join("ca.pem")
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// A server's side of TLS with a certificate for this name.
    fn server(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

/// Serves one connection in TLS; returns what it got of the request after the handshake.
fn serve_tls(config: Arc<ServerConfig>) -> (u16, JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        answer_tls(stream, config)
    });
    (port, server)
}

fn answer_tls(stream: TcpStream, config: Arc<ServerConfig>) -> String {
    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let mut got = Vec::new();
    let mut byte = [0];
    while !got.ends_with(b"canary") && tls.read(&mut byte).is_ok_and(|count| count == 1) {
        got.push(byte[0]);
    }
    if got.ends_with(b"canary") {
        tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            .unwrap();
        tls.conn.send_close_notify();
        drop(tls.flush());
    }
    String::from_utf8(got).unwrap()
}

#[test]
fn the_certificates_of_the_system_decide() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let namesake = Authority::new("ours");
    let good = || ours.server("localhost", |_| ());
    let try_with = |config, authority: &Authority| {
        let (port, server) = serve_tls(config);
        let url = format!("https://localhost:{port}/token");
        let outcome = send(&url, &[("SSL_CERT_FILE", &authority.file())]);
        (outcome, server.join().unwrap())
    };
    let (outcome, got) = try_with(good(), &ours);
    assert_eq!(outcome, "status 200");
    assert!(got.starts_with("POST /token HTTP/1.1\r\n"), "{got}");

    let expired = ours.server("localhost", |params| {
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    let elsewhere = ours.server("elsewhere.example", |_| ());
    for (config, authority, fault) in [
        (good(), &other, Fault::Issuer),
        (good(), &namesake, Fault::Issuer),
        (expired, &ours, Fault::Expired),
        (elsewhere, &ours, Fault::OtherHost),
    ] {
        let (outcome, got) = try_with(config, authority);
        assert_eq!(outcome, format!("not sent: {fault:?}"));
        assert_eq!(got, "", "no byte of the request left");
    }
}

#[test]
fn without_any_certificate_authority_nothing_is_sent() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let path = empty.path().to_str().unwrap();
    let outcome = send("https://localhost:1/token", &[("SSL_CERT_FILE", path)]);
    assert_eq!(outcome, format!("not sent: {:?}", Fault::Store));
    // Plain HTTP to this machine needs none.
    let outcome = send("http://localhost:1/token", &[("SSL_CERT_FILE", path)]);
    assert_eq!(outcome, format!("not sent: {:?}", Fault::Refused));
}

/// A proxy for one connection: reads the head, answers this, and goes on with `then`.
fn proxy<T: Send + 'static>(
    answer: &'static str,
    then: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (String, JoinHandle<(String, T)>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = String::new();
        let mut reader = BufReader::new(&stream);
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut head).unwrap(), 0);
        }
        assert!(reader.buffer().is_empty());
        stream.write_all(answer.as_bytes()).unwrap();
        (head, then(stream))
    });
    (url, thread)
}

#[test]
fn the_proxy_of_the_environment_is_used_and_sees_no_request() {
    let ours = Authority::new("ours");
    let config = ours.server("idp.example", |_| ());
    let established = "HTTP/1.1 200 Connection established\r\n\r\n";
    let (url, proxy) = proxy(established, |stream| answer_tls(stream, config));
    let environment = [
        ("HTTPS_PROXY", url.as_str()),
        ("SSL_CERT_FILE", &ours.file()),
    ];
    assert_eq!(
        send("https://idp.example/token", &environment),
        "status 200"
    );
    let (head, inside) = proxy.join().unwrap();
    assert!(
        head.starts_with("CONNECT idp.example:443 HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(
        !head.contains("canary") && !head.contains("/token"),
        "{head}"
    );
    assert!(inside.starts_with("POST /token "), "{inside}");
}

#[test]
fn a_proxy_that_refuses_means_not_sent() {
    for answer in [
        "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        "garbage\r\n\r\n",
        "",
    ] {
        let (url, proxy) = proxy(answer, drop);
        let outcome = send("https://idp.example/token", &[("ALL_PROXY", &url)]);
        assert!(outcome.starts_with("not sent: "), "{answer:?}: {outcome}");
        assert!(proxy.join().unwrap().0.starts_with("CONNECT "));
    }
}

#[test]
fn a_request_to_this_machine_goes_through_no_proxy() {
    let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let everything = [
        ("http_proxy", url.as_str()),
        ("HTTP_PROXY", &url),
        ("HTTPS_PROXY", &url),
        ("ALL_PROXY", &url),
    ];
    let refused = format!("not sent: {:?}", Fault::Refused);
    assert_eq!(send("http://localhost:1/token", &everything), refused);
    assert_eq!(send("https://127.0.0.1:1/token", &everything), refused);
    proxy.set_nonblocking(true).unwrap();
    let nobody = proxy.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
}
