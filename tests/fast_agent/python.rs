//! The official Python SDK of MCP: its client behind our bridge, and its server before us.

use crate::idp::{Idp, Options};
use crate::mcp::client::{Client, text};
use crate::mcp::server::{Home, Mcp};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

/// The folder with fast-agent and its Python, installed if they are not there.
pub fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fast_agent");
    let status = Command::new(script("install")).arg(&folder).status();
    assert!(status.unwrap().success(), "fast-agent can't be installed");
    folder.join("venv/bin")
}

fn script(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fast_agent");
    tests.join(name)
}

pub fn opaque() -> Options {
    Options {
        opaque: true,
        ..Options::default()
    }
}

#[test]
fn the_python_sdks_client_uses_a_protected_server_through_the_bridge() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let home = Home::new();
    home.config(&json!({"mcp": {"servers": {"tools": {"url": mcp.url()}}}}));
    home.sign_in(&idp, &["auth", "mcp", "login", "tools"]);
    let bridge = home.command(&["auth", "proxy", "tools", "--no-sign-in"]);
    let mut client = Command::new(installed().join("python"));
    client.arg(script("client.py")).arg(bridge.get_program());
    client.args(bridge.get_args()).current_dir(home.project());
    let output = client.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let heard = String::from_utf8(output.stdout).unwrap();
    assert_eq!(heard, "count hang hello write\nhi\n");
}

/// The SDK's server. It ends with the test.
struct Server {
    url: String,
    process: Child,
    stdin: Option<ChildStdin>,
}

impl Server {
    fn behind(idp: &Idp, transport: &str) -> Self {
        let mut command = Command::new(installed().join("python"));
        command.arg(script("server.py")).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut stdin = process.stdin.take().unwrap();
        let options = json!({"issuer": idp.issuer(), "transport": transport});
        writeln!(stdin, "{options}").unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("ready ").map(str::to_owned);
        let port = port.unwrap_or_else(|| panic!("the server said {line:?}"));
        let path = if transport == "sse" { "sse" } else { "mcp" };
        Self {
            url: format!("http://127.0.0.1:{port}/{path}"),
            process,
            stdin: Some(stdin),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn the_python_sdks_server_is_signed_in_to_and_used_by_both_transports() {
    for transport in ["http", "sse"] {
        let idp = Idp::start_with(&opaque());
        let server = Server::behind(&idp, transport);
        let home = Home::new();
        home.config(&json!({"mcp": {"servers": {"tools": {
            "transport": transport, "url": server.url}}}}));
        home.sign_in(&idp, &["auth", "mcp", "login", "tools"]);
        let mut client = Client::start(&home, &["tools", "--no-sign-in"]);
        client.initialize();
        assert_eq!(text(&client.call(1, "hello")), "hi", "{transport}");
        assert_eq!(client.end().0, "");
    }
}
