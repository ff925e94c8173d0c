//! `reseal auth proxy` between a client on stdio and the official SDK's server.

use super::server::{Home, Mcp, query};
use crate::idp::{Idp, Options, Walker};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio};
use url::Url;

/// A client that speaks with the bridge.
struct Client {
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Client {
    fn start(home: &Home, args: &[&str]) -> Self {
        let mut command = home.command(&[&["auth", "proxy"], args].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        Self {
            stdin: process.stdin.take(),
            stdout: BufReader::new(process.stdout.take().unwrap()),
            stderr: BufReader::new(process.stderr.take().unwrap()),
            process,
        }
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut said = String::new();
            self.stderr.read_to_string(&mut said).unwrap();
            panic!("the bridge ended: {said}");
        }
        serde_json::from_str(&line).unwrap()
    }

    /// Asks for something: the notifications before the answer, and the answer.
    fn ask(&mut self, id: u32, method: &str, params: Value) -> (Vec<Value>, Value) {
        self.say(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        let mut before = Vec::new();
        loop {
            let heard = self.hear();
            if heard["id"] == json!(id) {
                return (before, heard);
            }
            before.push(heard);
        }
    }

    fn call(&mut self, id: u32, tool: &str) -> Value {
        let (_, answer) = self.ask(id, "tools/call", json!({"name": tool, "arguments": {}}));
        answer
    }

    /// Begins a session as clients do.
    fn initialize(&mut self) {
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "tests", "version": "1"}});
        let (_, answer) = self.ask(0, "initialize", hello);
        assert_eq!(
            answer["result"]["serverInfo"]["name"],
            json!("tests"),
            "{answer}"
        );
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }

    /// The page that somebody is asked to open.
    fn page(&mut self) -> Url {
        loop {
            let mut line = String::new();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "no page");
            if let Ok(url) = Url::parse(line.trim()) {
                return url;
            }
        }
    }

    /// Alice opens it and agrees.
    fn agree(&mut self, idp: &Idp) -> Url {
        let url = self.page();
        let end = idp.sign_in(url.as_str(), &query(&url, "redirect_uri").unwrap());
        let page = Walker::new("alice").get(&Url::parse(&end).unwrap());
        assert_eq!(page.status(), 200, "{}", page.text());
        url
    }

    /// Goes away: everything else that the bridge wrote.
    fn end(mut self) -> (String, String) {
        drop(self.stdin.take());
        let (mut out, mut err) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).unwrap();
        self.stderr.read_to_string(&mut err).unwrap();
        assert!(self.process.wait().unwrap().success(), "{err}");
        (out, err)
    }
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
}

fn opaque() -> Options {
    Options {
        opaque: true,
        ..Options::default()
    }
}

/// A home whose config knows the server.
fn home(mcp: &Mcp, auth: Value) -> Home {
    let home = Home::new();
    home.config(&json!({"mcp": {"servers": {"tools": {"url": mcp.url(), "auth": auth}}}}));
    home
}

#[test]
fn a_client_without_oauth_uses_a_protected_server() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let home = home(&mcp, json!({}));
    home.sign_in(&idp, &["auth", "mcp", "login", "tools"]);
    let mut client = Client::start(&home, &["tools"]);
    client.initialize();
    assert_eq!(text(&client.call(1, "hello")), "hi");
    let (before, answer) = client.ask(2, "tools/call", json!({"name": "count", "arguments": {}}));
    assert_eq!(text(&answer), "counted");
    let told: Vec<_> = before
        .iter()
        .map(|note| note["params"]["data"].clone())
        .collect();
    assert_eq!(told, [json!(1), json!(2), json!(3)]);
    let (out, _) = client.end();
    assert_eq!(out, "");
    let requests = mcp.requests();
    assert!(
        requests
            .iter()
            .any(|request| request.starts_with("DELETE ")),
        "{requests:?}"
    );
    assert_eq!(idp.events(), ["granted authorization_code"]);
}

#[test]
fn who_never_signed_in_is_asked_to_and_a_restart_asks_nobody() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let home = home(&mcp, json!({}));
    let mut client = Client::start(&home, &["tools", "--no-browser"]);
    client.say(
        &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {},
        "clientInfo": {"name": "tests", "version": "1"}}}),
    );
    client.agree(&idp);
    assert_eq!(
        client.hear()["result"]["serverInfo"]["name"],
        json!("tests")
    );
    client.end();
    let mut again = Client::start(&home, &["tools", "--no-sign-in"]);
    again.initialize();
    assert_eq!(text(&again.call(1, "hello")), "hi");
    again.end();
    assert_eq!(idp.events(), ["granted authorization_code"]);
}

#[test]
fn a_token_that_is_refused_is_renewed_and_the_request_sent_again() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let home = home(&mcp, json!({}));
    home.sign_in(&idp, &["auth", "mcp", "login", "tools"]);
    let mut client = Client::start(&home, &["tools", "--no-sign-in"]);
    client.initialize();
    let token = home.ok(&["auth", "token", "tools"]);
    mcp.refuse(token.trim());
    assert_eq!(text(&client.call(1, "hello")), "hi");
    client.end();
    assert_ne!(home.ok(&["auth", "token", "tools"]), token);
    assert!(idp.events().contains(&"granted refresh_token".to_owned()));
}

#[test]
fn a_session_that_the_server_forgot_is_opened_again() {
    let mcp = Mcp::open();
    let home = home(&mcp, json!({"oauth": false}));
    let mut client = Client::start(&home, &["tools"]);
    client.initialize();
    mcp.forget();
    assert_eq!(text(&client.call(1, "hello")), "hi");
    client.end();
    let begun = mcp.requests();
    let begun = begun
        .iter()
        .filter(|request| request.as_str() == "POST initialize");
    assert_eq!(begun.count(), 2);
}

#[test]
fn a_scope_that_is_missing_is_asked_for_beside_those_that_are_held() {
    for persist in ["vault", "memory"] {
        let idp = Idp::start_with(&opaque());
        let mcp = Mcp::behind(&idp);
        let home = home(&mcp, json!({"persist": persist}));
        let mut client = Client::start(&home, &["tools", "--no-browser"]);
        client.say(
            &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "tests", "version": "1"}}}),
        );
        let first = client.agree(&idp);
        assert_eq!(
            query(&first, "scope").as_deref(),
            Some("api offline_access")
        );
        client.hear();
        client.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        assert_eq!(text(&client.call(1, "hello")), "hi");
        client.say(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call",
            "params": {"name": "write", "arguments": {}}}));
        let second = client.agree(&idp);
        let scope = query(&second, "scope").unwrap();
        for wanted in ["api", "api:write", "offline_access"] {
            assert!(
                scope.split(' ').any(|one| one == wanted),
                "{persist}: {scope}"
            );
        }
        assert_eq!(text(&client.hear()), "written");
        client.end();
        let kept = home.run(&["auth", "token", "tools"]).status.success();
        assert_eq!(kept, persist == "vault");
    }
}

#[test]
fn every_request_gets_an_answer_and_the_output_holds_nothing_else() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let home = home(&mcp, json!({}));
    let mut client = Client::start(&home, &["tools", "--no-sign-in"]);
    let (_, answer) = client.ask(7, "initialize", json!({}));
    let why = answer["error"]["message"].as_str().unwrap();
    assert!(why.contains("reseal auth login tools"), "{why}");
    writeln!(client.stdin.as_mut().unwrap(), "no JSON\n").unwrap();
    let answer = client.hear();
    assert_eq!(answer["id"], Value::Null);
    assert_eq!(
        answer["error"]["message"],
        json!("what came is no JSON-RPC message")
    );
    let (out, err) = client.end();
    assert_eq!((out.as_str(), err.as_str()), ("", ""));
}

#[test]
fn a_server_that_wants_no_token_gets_none() {
    let mcp = Mcp::open();
    let home = home(&mcp, json!({"oauth": false}));
    let mut client = Client::start(&home, &["tools"]);
    client.initialize();
    assert_eq!(text(&client.call(1, "hello")), "hi");
    client.end();
    let requests = mcp.requests();
    assert!(
        requests.contains(&"POST tools/call".to_owned()),
        "{requests:?}"
    );
}
