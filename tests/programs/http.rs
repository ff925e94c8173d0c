//! A small HTTP server on the loopback, for the programs under test: each request goes to a
//! closure, and all of them are kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The largest body that is read.
const MAX_BODY: usize = 16 << 20;

/// What a client asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path with its query.
    pub target: String,
    headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// A header by its name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let header = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        header.map(|(_, value)| value.as_str())
    }
}

/// What a client gets.
pub struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Response {
    /// A body of this type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            status,
            headers: Vec::new(),
            body,
        }
        .header("content-type", content_type)
    }

    /// One more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What a CGI program wrote.
    pub fn from_cgi(output: &[u8]) -> Self {
        let end = output
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
            .unwrap();
        let mut response = Self {
            status: 200,
            headers: Vec::new(),
            body: output[end + 4..].to_vec(),
        };
        for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
            let (name, value) = line.split_once(": ").unwrap();
            match name {
                "Status" => response.status = value[..3].parse().unwrap(),
                _ => response = response.header(name, value),
            }
        }
        response
    }
}

/// A running server. It ends with the process.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Starts it on a free port.
    pub fn start(answer: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (keeper, answer) = (Arc::clone(&seen), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (keeper, answer) = (Arc::clone(&keeper), Arc::clone(&answer));
                thread::spawn(move || {
                    // A client may go away; only what it asked matters.
                    let _ = serve(stream.unwrap(), &keeper, answer.as_ref());
                });
            }
        });
        Self { address, seen }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked so far; it is forgotten here.
    pub fn take_seen(&self) -> Vec<Request> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn serve(
    stream: TcpStream,
    keeper: &Mutex<Vec<Request>>,
    answer: &(dyn Fn(&Request) -> Response + Send + Sync),
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    while let Some(request) = read(&mut reader, &mut stream)? {
        keeper.lock().unwrap().push(request.clone());
        let response = answer(&request);
        write!(stream, "HTTP/1.1 {} X\r\n", response.status)?;
        for (name, value) in &response.headers {
            write!(stream, "{name}: {value}\r\n")?;
        }
        let len = response.body.len();
        write!(stream, "content-length: {len}\r\n\r\n")?;
        if request.method != "HEAD" {
            stream.write_all(&response.body)?;
        }
        stream.flush()?;
    }
    Ok(())
}

fn read(reader: &mut impl BufRead, stream: &mut impl Write) -> std::io::Result<Option<Request>> {
    let first = line(reader)?;
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let line = line(reader)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        let header = (name.to_owned(), value.trim().to_owned());
        request.headers.push(header);
    }
    if request.header("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if request.header("transfer-encoding").is_some() {
        loop {
            let len = usize::from_str_radix(&line(reader)?, 16).unwrap_or(0);
            take(reader, len, &mut request.body)?;
            line(reader)?;
            if len == 0 {
                break;
            }
        }
    } else {
        let len = request
            .header("content-length")
            .map_or(0, |len| len.parse().unwrap());
        take(reader, len, &mut request.body)?;
    }
    Ok(Some(request))
}

fn line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    reader.take(64 << 10).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn take(reader: &mut impl Read, len: usize, body: &mut Vec<u8>) -> std::io::Result<()> {
    assert!(body.len() + len <= MAX_BODY, "a request of {len} bytes");
    let start = body.len();
    body.resize(start + len, 0);
    reader.read_exact(&mut body[start..])
}
