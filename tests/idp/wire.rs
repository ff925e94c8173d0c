//! HTTP/1.1 with one request for each connection, as much as tests need: whole messages as bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};

/// A message: its first line, headers and body, as they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub start: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    /// The values of a header, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let own = self.headers.iter();
        own.filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Replaces a header.
    pub fn set(&mut self, name: &str, value: &str) {
        self.headers
            .retain(|(own, _)| !own.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// `METHOD /path` of a request, without its query.
    pub fn route(&self) -> String {
        let mut words = self.start.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap_or("/"));
        format!("{method} {}", target.split('?').next().unwrap())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Reads a message. The body is as long as it says, or reaches to the end of an answer.
    pub fn read(stream: &mut impl Read, is_answer: bool) -> io::Result<Self> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let start = lines.next().unwrap().to_owned();
        let headers = lines.map(|line| line.split_once(':').unwrap());
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        let mut message = Self {
            start,
            headers: headers.collect(),
            body: Vec::new(),
        };
        assert_eq!(message.header("transfer-encoding"), None, "{head}");
        let len = message.header("content-length").map(str::parse);
        match len {
            Some(len) => {
                message.body = vec![0; len.unwrap()];
                stream.read_exact(&mut message.body)?;
            }
            None if is_answer => drop(stream.read_to_end(&mut message.body)?),
            None => {}
        }
        Ok(message)
    }

    /// The message as bytes, for a connection that ends with it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut whole = self.clone();
        whole.set("Connection", "close");
        if !whole.body.is_empty() || whole.start.starts_with("HTTP/") {
            whole.set("Content-Length", &whole.body.len().to_string());
        }
        let mut text = whole.start.clone() + "\r\n";
        for (name, value) in &whole.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        [text.into_bytes(), whole.body].concat()
    }
}

/// Sends a request to a port of this machine and reads the answer.
pub fn exchange(port: u16, request: &Message) -> io::Result<Message> {
    exchange_at(("127.0.0.1", port), request)
}

/// Sends a request to an address and reads the answer.
pub fn exchange_at(address: impl ToSocketAddrs, request: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&request.bytes())?;
    let answer = Message::read(&mut stream, true);
    drop(stream.shutdown(Shutdown::Both));
    answer
}

/// A request; the body is sent with its type if there is one.
pub fn request(method: &str, host: &str, target: &str, body: Option<(&str, &str)>) -> Message {
    let mut message = Message {
        start: format!("{method} {target} HTTP/1.1"),
        headers: vec![("Host".to_owned(), host.to_owned())],
        body: Vec::new(),
    };
    if let Some((kind, body)) = body {
        message.set("Content-Type", kind);
        message.body = body.as_bytes().to_vec();
    }
    message
}
