//! A real authorization server (oidc-provider) for a test, behind a proxy that can misbehave.
//!
//! ```ignore
//! let idp = Idp::start();
//! let callback = idp.sign_in(flow.url().as_str(), &listener.redirect_uri());
//! idp.proxy.plan("POST /token", Fault::Lose);
//! assert_eq!(idp.events(), ["granted authorization_code"]);
//! ```
//!
//! Each has its own process and ends with the test, also if the test is killed.

// Each test file uses its part.
#![allow(dead_code, unused_imports)]

pub mod proxy;
pub mod walker;
pub mod wire;

pub use proxy::{CALLBACK, Fault, Gate, Proxy};
pub use walker::{Consent, Walker};

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// The secret of the clients `basic` and `post`.
pub const CLIENT_SECRET: &str = "a secret: 100% + more";
/// Where codes are redeemed and tokens renewed.
pub const TOKEN: &str = "POST /token";

/// How the server behaves. [`Options::default`]: tokens of an hour as JWTs, rotation.
pub struct Options {
    /// Lifetime of access tokens in seconds.
    pub access_token_ttl: u32,
    /// Lifetime of refresh tokens in seconds.
    pub refresh_token_ttl: u32,
    /// Access tokens are opaque, not JWTs.
    pub opaque: bool,
    /// Each refresh gives a new refresh token.
    pub rotate: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            access_token_ttl: 3600,
            refresh_token_ttl: 86_400,
            opaque: false,
            rotate: true,
        }
    }
}

/// The server. Its clients: `public`, `basic` and `post` (with [`CLIENT_SECRET`]), all with the
/// redirect addresses `http://127.0.0.1:*/callback`, `http://[::1]:*/callback` and
/// `http://localhost:*/auth/callback`; `resource` with the secret `resource` may introspect.
pub struct Idp {
    /// What stands in front of it; all addresses of the server lead there.
    pub proxy: Proxy,
    port: u16,
    process: Child,
    /// The server ends when this closes.
    stdin: Option<ChildStdin>,
}

impl Idp {
    /// Starts one.
    pub fn start() -> Self {
        Self::start_with(&Options::default())
    }

    /// Starts one that behaves like this, and waits until it is ready.
    pub fn start_with(options: &Options) -> Self {
        let modules = modules();
        let proxy = Proxy::start();
        let mut process = Command::new(node(&modules))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oauth/server.mjs"))
            .arg(&modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = process.stdin.take().unwrap();
        let options = json!({
            "issuer": format!("http://127.0.0.1:{}", proxy.port()),
            "accessTokenTtl": options.access_token_ttl,
            "refreshTokenTtl": options.refresh_token_ttl,
            "accessTokenFormat": if options.opaque { "opaque" } else { "jwt" },
            "rotate": options.rotate,
        });
        writeln!(stdin, "{options}").unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("ready ").map(str::parse);
        let port = port
            .unwrap_or_else(|| panic!("the server said {line:?}"))
            .unwrap();
        proxy.lead_to(port);
        Self {
            proxy,
            port,
            process,
            stdin: Some(stdin),
        }
    }

    /// Its name, and where it is reached.
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy.port())
    }

    /// What it granted, refused and revoked so far, in order: `granted refresh_token`,
    /// `refused refresh_token invalid_grant`, `revoked`.
    pub fn events(&self) -> Vec<String> {
        let request = wire::request("GET", "127.0.0.1", "/test/events", None);
        let answer = wire::exchange(self.port, &request).unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Walks the login pages as a person called `alice` who agrees: the address that the browser
    /// would open at the end.
    pub fn sign_in(&self, address: &str, redirect_uri: &str) -> String {
        Walker::new("alice").sign_in(address, redirect_uri, Consent::Give)
    }

    /// What the server says of an access token: `{"active": false}` or its data. Only for servers
    /// with opaque tokens.
    pub fn introspect(&self, token: &str) -> Value {
        let pairs = [
            ("token", token),
            ("client_id", "resource"),
            ("client_secret", "resource"),
        ];
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        let body = body.extend_pairs(pairs).finish();
        let form = ("application/x-www-form-urlencoded", body.as_str());
        let host = format!("127.0.0.1:{}", self.proxy.port());
        let request = wire::request("POST", &host, "/token/introspection", Some(form));
        let answer = wire::exchange(self.port, &request).unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    }
}

impl Drop for Idp {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The folder with the server's packages, installed if they are not there.
pub fn modules() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oauth");
    let install = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oauth/install");
    let status = Command::new(install).arg(&folder).status().unwrap();
    assert!(status.success(), "tests/oauth/install failed");
    folder.join("node_modules")
}

/// The Node among them.
pub fn node(modules: &Path) -> PathBuf {
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "x64",
    };
    modules.join(format!("node-linux-{architecture}/bin/node"))
}
