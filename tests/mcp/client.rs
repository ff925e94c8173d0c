//! A client of `reseal auth proxy` that knows nothing of OAuth.

use super::server::{Home, query};
use crate::idp::{Idp, Walker};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio};
use url::Url;

/// A client that speaks with the bridge.
pub struct Client {
    process: Child,
    pub stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

impl Client {
    pub fn start(home: &Home, args: &[&str]) -> Self {
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

    pub fn say(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    pub fn hear(&mut self) -> Value {
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
    pub fn ask(&mut self, id: u32, method: &str, params: Value) -> (Vec<Value>, Value) {
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

    pub fn call(&mut self, id: u32, tool: &str) -> Value {
        let (_, answer) = self.ask(id, "tools/call", json!({"name": tool, "arguments": {}}));
        answer
    }

    /// Begins a session as clients do, with the tests' own server.
    pub fn initialize(&mut self) {
        self.initialize_with("tests");
    }

    /// Begins a session with a server that calls itself this.
    pub fn initialize_with(&mut self, name: &str) {
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}},
            "clientInfo": {"name": "tests", "version": "1"}});
        let (_, answer) = self.ask(0, "initialize", hello);
        assert_eq!(
            answer["result"]["serverInfo"]["name"],
            json!(name),
            "{answer}"
        );
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }

    /// Begins a session with a server that somebody has to sign in to first.
    pub fn begin(&mut self) {
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "tests", "version": "1"}});
        self.say(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}));
    }

    /// Takes the answer to that.
    pub fn begun(&mut self) {
        assert_eq!(self.hear()["id"], json!(0));
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }

    /// The page that somebody is asked to open.
    pub fn page(&mut self) -> Url {
        loop {
            let mut line = String::new();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "no page");
            match Url::parse(line.trim()) {
                Ok(url) if url.scheme().starts_with("http") => return url,
                _ => {}
            }
        }
    }

    /// Alice opens it and agrees.
    pub fn agree(&mut self, idp: &Idp) -> Url {
        let url = self.page();
        let end = idp.sign_in(url.as_str(), &query(&url, "redirect_uri").unwrap());
        let page = Walker::new("alice").get(&Url::parse(&end).unwrap());
        assert_eq!(page.status(), 200, "{}", page.text());
        url
    }

    /// Goes away: everything else that the bridge wrote.
    pub fn end(mut self) -> (String, String) {
        drop(self.stdin.take());
        let (mut out, mut err) = (String::new(), String::new());
        self.stdout.read_to_string(&mut out).unwrap();
        self.stderr.read_to_string(&mut err).unwrap();
        assert!(self.process.wait().unwrap().success(), "{err}");
        (out, err)
    }
}

pub fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("{answer}"))
}
