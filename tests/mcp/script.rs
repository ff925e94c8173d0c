//! A server that does what real ones do not.

use super::server::Home;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A server made of a function from a request to what is written back; the connection stays open
/// until the server ends.
pub struct Script {
    port: u16,
}

impl Script {
    /// `closes`: it closes each connection after its answer, without having said so.
    /// What it answers nothing to stays without an answer.
    pub fn start(closes: bool, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (answer, kept) = (answer.clone(), stream.try_clone().unwrap());
                open.push(kept);
                std::thread::spawn(move || {
                    while let Some(request) = read_request(&mut stream) {
                        stream.write_all(answer(&request).as_bytes()).unwrap();
                        if closes {
                            stream.shutdown(std::net::Shutdown::Both).unwrap();
                            return;
                        }
                    }
                });
            }
        });
        Self { port }
    }

    /// A state folder whose config knows it.
    pub fn home(&self) -> Home {
        self.home_with("http")
    }

    /// The same, with another transport.
    pub fn home_with(&self, transport: &str) -> Home {
        let url = format!("http://127.0.0.1:{}/mcp", self.port);
        let home = Home::new();
        let auth = json!({"oauth": false});
        home.config(&json!({"mcp": {"servers": {"tools": {
            "transport": transport, "url": url, "auth": auth}}}}));
        home
    }
}

/// A request with its body; `None` at the end of the connection.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut reader = BufReader::new(stream);
    let (mut text, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        text.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    text.push_str(&String::from_utf8(body).unwrap());
    Some(text)
}

/// The answer to the request in this text.
pub fn result(request: &str) -> Value {
    let body = request.split("\r\n\r\n").nth(1).unwrap();
    let id = serde_json::from_str::<Value>(body).unwrap()["id"].clone();
    json!({"jsonrpc": "2.0", "id": id, "result": {"protocolVersion": "2025-06-18"}})
}
