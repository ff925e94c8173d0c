//! The authorization server.

use rcgen::CertifiedKey;
use reseal::crypto::hash::sha256;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use tempfile::TempDir;

/// Fails a test that would wait for ever.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The access token of a generation.
pub fn access(generation: u64) -> String {
    token("access", generation)
}

/// Its refresh token.
pub fn refresh(generation: u64) -> String {
    token("refresh", generation)
}

/// No part of it stands anywhere else.
fn token(kind: &str, generation: u64) -> String {
    let hash = sha256(&[kind.as_bytes(), &generation.to_le_bytes()]);
    data_encoding::HEXLOWER.encode(&hash)
}

/// A server: the refresh token of a generation gives both tokens of the next one, once. It leaves
/// connections open, as most do.
pub struct Issuer {
    /// Where tokens are.
    pub address: String,
    tls: Option<Tls>,
    state: Mutex<State>,
    changed: Condvar,
}

/// What its certificate is, and where clients find it.
struct Tls {
    config: Arc<ServerConfig>,
    folder: TempDir,
}

#[derive(Default)]
pub struct State {
    pub generation: u64,
    /// Requests that came.
    pub came: usize,
    stalled: bool,
    /// Of each answer half comes, and the rest when this ends.
    halved: bool,
    /// Seconds that an access token lives.
    lifetime: u64,
}

impl Issuer {
    /// Forgets every token, and grants from the first generation again.
    pub fn begin_anew(&self) {
        let mut state = self.state();
        (state.generation, state.came) = (0, 0);
    }

    /// One without TLS.
    pub fn start(lifetime: u64) -> Arc<Self> {
        Self::serve(lifetime, None)
    }

    /// One that is reached by TLS.
    pub fn start_tls(lifetime: u64) -> Arc<Self> {
        let names = vec!["localhost".to_owned()];
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        Self::serve(lifetime, Some(Tls { config, folder }))
    }

    fn serve(lifetime: u64, tls: Option<Tls>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            lifetime,
            ..State::default()
        };
        let issuer = Arc::new(Self {
            address: match tls {
                Some(_) => format!("https://localhost:{port}/token"),
                None => format!("http://127.0.0.1:{port}/token"),
            },
            tls,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let server = Arc::clone(&issuer);
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (server, stream) = (Arc::clone(&server), stream.unwrap());
                std::thread::spawn(move || match &server.tls {
                    Some(tls) => {
                        let tls = ServerConnection::new(Arc::clone(&tls.config)).unwrap();
                        server.converse(StreamOwned::new(tls, stream));
                    }
                    None => server.converse(stream),
                });
            }
        });
        issuer
    }

    /// The file with the certificate to trust.
    pub fn certificates(&self) -> Option<PathBuf> {
        let tls = self.tls.as_ref()?;
        Some(tls.folder.path().join("ca.pem"))
    }

    /// What it knows.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Answers later, or at once again.
    pub fn stall(&self, yes: bool) {
        self.state().stalled = yes;
        self.changed.notify_all();
    }

    /// Answers by halves, or sends the rest.
    pub fn halve(&self, yes: bool) {
        self.state().halved = yes;
        self.changed.notify_all();
    }

    /// Waits until so many requests have come.
    pub fn wait_for(&self, count: usize) {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), PATIENCE, |state| state.came < count);
        assert!(
            !waited.unwrap().1.timed_out(),
            "fewer than {count} requests"
        );
    }

    pub fn came(&self) -> usize {
        self.state().came
    }

    fn converse(&self, stream: impl Read + Write) {
        let mut stream = BufReader::new(stream);
        while let Some(body) = read_request(&mut stream) {
            // A client that went away is none of its business.
            if self.answer(&body, stream.get_mut()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, body: &str, stream: &mut impl Write) -> io::Result<()> {
        self.state().came += 1;
        self.changed.notify_all();
        let mut state = self.wait_while(|state| state.stalled);
        let expected = format!("refresh_token={}", refresh(state.generation));
        let (status, body) = if body.split('&').any(|pair| pair == expected) {
            state.generation += 1;
            let (n, lifetime) = (state.generation, state.lifetime);
            let granted = serde_json::json!({
                "access_token": access(n), "refresh_token": refresh(n),
                "expires_in": lifetime, "token_type": "Bearer",
            });
            ("200 OK", granted.to_string())
        } else {
            ("400 Bad Request", r#"{"error":"invalid_grant"}"#.to_owned())
        };
        drop(state);
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let (half, rest) = body.split_at(body.len() / 2);
        stream.write_all(format!("{head}{half}").as_bytes())?;
        stream.flush()?;
        drop(self.wait_while(|state| state.halved));
        stream.write_all(rest.as_bytes())?;
        stream.flush()
    }

    fn wait_while(&self, condition: impl Fn(&mut State) -> bool) -> MutexGuard<'_, State> {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), PATIENCE, condition);
        waited.unwrap().0
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}
