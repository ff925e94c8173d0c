//! A real MCP server (the official TypeScript SDK's), and a state folder whose config knows it.

use crate::idp::{self, Idp, Walker};
use crate::program::program;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use tempfile::TempDir;
use url::Url;

/// The server. It ends with the test.
pub struct Mcp {
    host: &'static str,
    port: u16,
    process: Child,
    stdin: Option<ChildStdin>,
}

impl Mcp {
    /// One that wants tokens of this authorization server, which has to make opaque ones.
    pub fn behind(idp: &Idp) -> Self {
        let options = json!({"issuer": idp.issuer(), "scope": "api"});
        Self::start("server.mjs", "127.0.0.1", &options)
    }

    /// One that wants no tokens.
    pub fn open() -> Self {
        let options = json!({"issuer": null, "scope": "api"});
        Self::start("server.mjs", "127.0.0.1", &options)
    }

    /// The SDK's own demo with its own authorization server, which calls itself `localhost`.
    pub fn demo() -> Self {
        Self::start("demo.mjs", "localhost", &Value::Null)
    }

    fn start(script: &str, host: &'static str, options: &Value) -> Self {
        let modules = idp::modules();
        let mut process = Command::new(idp::node(&modules))
            .arg(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .join("tests/mcp")
                    .join(script),
            )
            .arg(&modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = process.stdin.take().unwrap();
        writeln!(stdin, "{options}").unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("ready ").map(str::parse);
        let port = port.unwrap_or_else(|| panic!("the server said {line:?}"));
        Self {
            host,
            port: port.unwrap(),
            process,
            stdin: Some(stdin),
        }
    }

    /// Where it speaks MCP.
    pub fn url(&self) -> String {
        format!("{}/mcp", self.identity())
    }

    /// Where it speaks the transport before streamable HTTP.
    pub fn old_url(&self) -> String {
        format!("{}/sse", self.identity())
    }

    /// Under which its tokens are kept.
    pub fn identity(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    /// Refuses this token from now on.
    pub fn refuse(&self, token: &str) {
        self.ask(&format!("/test/refuse?token={token}"));
    }

    /// Forgets all sessions.
    pub fn forget(&self) {
        self.ask("/test/forget");
    }

    /// What came to it: method, JSON-RPC method, digest of the token.
    pub fn requests(&self) -> Vec<String> {
        self.ask("/test/requests")
    }

    fn ask(&self, path: &str) -> Vec<String> {
        let request = idp::wire::request("GET", "127.0.0.1", path, None);
        let answer = idp::wire::exchange(self.port, &request).unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    }
}

impl Drop for Mcp {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A state folder with an unlocked vault, and beside it a project with fast-agent's config.
pub struct Home {
    folder: TempDir,
    /// The session bus of its programs.
    bus: Option<String>,
}

impl Home {
    /// Without a vault.
    pub fn bare() -> Self {
        let home = Self {
            folder: TempDir::new().unwrap(),
            bus: None,
        };
        std::fs::create_dir_all(home.project().join("deep")).unwrap();
        home
    }

    /// The file that opens its vault.
    pub fn key(&self) -> String {
        let path = self.folder.path().join("key");
        path.to_str().unwrap().to_owned()
    }

    /// Its state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The same with a session bus.
    pub fn on_bus(mut self, address: &str) -> Self {
        self.bus = Some(address.to_owned());
        self
    }

    pub fn new() -> Self {
        let home = Self::bare();
        let key = home.key();
        home.ok(&["init", "--no-recovery", "--generate-key-file", &key]);
        home.ok(&["vault", "unlock", "--key-file", &key]);
        home
    }

    pub fn project(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// Writes fast-agent's config.
    pub fn servers(&self, yaml: &str) {
        std::fs::write(self.project().join("fastagent.config.yaml"), yaml).unwrap();
    }

    /// Writes our own.
    pub fn config(&self, value: &Value) {
        std::fs::write(self.state().join("reseal.json"), value.to_string()).unwrap();
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command.env("HOME", self.folder.path());
        if let Some(bus) = &self.bus {
            command.env("DBUS_SESSION_BUS_ADDRESS", bus);
        }
        command.current_dir(self.project().join("deep"));
        command.arg("--state-dir").arg(self.state());
        command.arg("--no-input").args(args).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command that fails says, and its exit code.
    #[track_caller]
    pub fn fails(&self, args: &[&str]) -> (String, i32) {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        (said, output.status.code().unwrap())
    }

    /// Begins a sign-in: the page's address, which has to be opened.
    pub fn begin(&self, args: &[&str]) -> (Child, Url) {
        self.begin_by(|command| command, args)
    }

    /// The same by a changed command.
    pub fn begin_by(&self, change: impl FnOnce(Command) -> Command, args: &[&str]) -> (Child, Url) {
        let mut command = change(self.command(args));
        command
            .arg("--no-browser")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        match Url::parse(line.trim()) {
            Ok(url) => (child, url),
            Err(_) => {
                let output = child.wait_with_output().unwrap();
                panic!("{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }

    /// Signs in as alice with a browser: what the command said, and the page that it opened.
    #[track_caller]
    pub fn sign_in(&self, idp: &Idp, args: &[&str]) -> (String, Url) {
        let (child, url) = self.begin(args);
        let (status, output) = Self::finish(idp, child, &url);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        assert_eq!(status, 200);
        (said, url)
    }

    /// Ends a sign-in that began: the status of the last page, and what the command said.
    pub fn finish(idp: &Idp, child: Child, url: &Url) -> (u16, Output) {
        let back = query(url, "redirect_uri").unwrap();
        let end = idp.sign_in(url.as_str(), &back);
        let page = Walker::new("alice").get(&Url::parse(&end).unwrap());
        (page.status(), child.wait_with_output().unwrap())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = self.run(&["vault", "lock"]);
    }
}

/// A parameter of an address.
pub fn query(url: &Url, name: &str) -> Option<String> {
    let mut pairs = url.query_pairs();
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
