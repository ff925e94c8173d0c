//! The head of one request: read into locked memory, bounded, then judged.
//!
//! The query of a callback holds an authorization code, so the bytes never leave locked memory
//! except as a [`SecretValue`].

use super::Refused;
use crate::secret::SecretValue;
use crate::sys::arena::LockedBytes;
use std::io::{self, Read};

/// The longest request line in bytes.
pub const MAX_LINE: usize = 8 << 10;
/// The longest head in bytes: request line, headers, empty line. Browsers send the cookies that
/// other programs on the same host name have set, whatever their port.
pub const MAX_HEAD: usize = 64 << 10;
/// The most headers.
pub const MAX_HEADERS: usize = 100;
/// The names under which a browser reaches a loopback listener.
const HOSTS: &[&str] = &["127.0.0.1", "localhost", "[::1]"];

/// A head that is being read.
pub(super) struct Head {
    buffer: LockedBytes,
    len: usize,
}

/// What reading came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    Partial,
    /// The peer is gone.
    Closed,
    /// A callback: its query, without the question mark.
    Callback(SecretValue),
    /// Anything else, with the answer it gets.
    Refused(Refused),
}

impl Head {
    /// An empty head.
    pub fn new() -> Self {
        Self {
            buffer: LockedBytes::zeroed(4096),
            len: 0,
        }
    }

    /// Reads what is there without waiting. `path` is the one path that is a callback.
    pub fn read(&mut self, stream: &mut impl Read, path: &str) -> Progress {
        loop {
            if self.len == self.buffer.len() && !self.grow() {
                return Progress::Refused(Refused::TooLarge);
            }
            match stream.read(&mut self.buffer.as_mut_slice()[self.len..]) {
                Ok(0) => return Progress::Closed,
                Ok(count) => self.len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Progress::Partial;
                }
                Err(_) => return Progress::Closed,
            }
            match self.judge(path) {
                Progress::Partial => {}
                done => return done,
            }
        }
    }

    fn grow(&mut self) -> bool {
        if self.len >= MAX_HEAD {
            return false;
        }
        let mut larger = LockedBytes::zeroed((self.len * 4).min(MAX_HEAD));
        larger.as_mut_slice()[..self.len].copy_from_slice(self.buffer.as_slice());
        self.buffer = larger;
        true
    }

    fn judge(&self, path: &str) -> Progress {
        let bytes = &self.buffer.as_slice()[..self.len];
        let line = bytes.iter().position(|byte| *byte == b'\n');
        if line.unwrap_or(bytes.len()) > MAX_LINE {
            return Progress::Refused(Refused::TooLarge);
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Progress::Partial,
            Err(httparse::Error::TooManyHeaders) => return Progress::Refused(Refused::TooLarge),
            Err(_) => return Progress::Refused(Refused::Malformed),
        }
        // A page that made a name of its own lead here (DNS rebinding) gets nothing.
        if !host_is_ours(request.headers) {
            return Progress::Refused(Refused::Malformed);
        }
        let target = request.path.unwrap_or_default();
        let (asked, query) = target.split_once('?').unwrap_or((target, ""));
        if asked != path {
            return Progress::Refused(Refused::OtherPath);
        }
        if request.method != Some("GET") {
            return Progress::Refused(Refused::Method);
        }
        Progress::Callback(SecretValue::copy_of(query.as_bytes()))
    }
}

/// Exactly one `Host`, and it names this machine's loopback; the port may differ, as through a
/// forwarded port.
fn host_is_ours(headers: &[httparse::Header<'_>]) -> bool {
    let mut hosts = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("host"));
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(host) = std::str::from_utf8(host.value) else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    HOSTS.iter().any(|ours| name.eq_ignore_ascii_case(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Progress {
        Head::new().read(&mut text.as_bytes(), "/callback")
    }

    fn head(line: &str) -> String {
        format!("{line}\r\nHost: 127.0.0.1:1455\r\n\r\n")
    }

    fn query(text: &str) -> Progress {
        Progress::Callback(SecretValue::copy_of(text.as_bytes()))
    }

    #[test]
    fn a_get_of_the_exact_path_is_a_callback() {
        let read = |line: &str| read(&head(line));
        assert_eq!(
            read("GET /callback?code=1&state=2 HTTP/1.1"),
            query("code=1&state=2")
        );
        assert_eq!(read("GET /callback HTTP/1.1"), query(""));
        for other in [
            "/",
            "/callback/",
            "/Callback?code=1",
            "/favicon.ico",
            "/%63allback",
        ] {
            let line = format!("GET {other} HTTP/1.1");
            assert_eq!(
                read(&line),
                Progress::Refused(Refused::OtherPath),
                "{other}"
            );
        }
        for method in ["POST", "HEAD", "OPTIONS", "get"] {
            let line = format!("{method} /callback?code=1 HTTP/1.1");
            assert_eq!(read(&line), Progress::Refused(Refused::Method), "{method}");
        }
    }

    #[test]
    fn a_host_that_is_not_loopback_or_not_single_is_refused() {
        let with = |hosts: &str| read(&format!("GET /callback?a HTTP/1.1\r\n{hosts}\r\n"));
        for good in [
            "127.0.0.1",
            "localhost:9",
            "LOCALHOST",
            "[::1]:1455",
            "[::1]",
        ] {
            assert_eq!(with(&format!("Host: {good}\r\n")), query("a"), "{good}");
        }
        for bad in [
            "evil.example:1455",
            "localhost.evil.example",
            "127.0.0.1:x",
            "",
            "::1",
        ] {
            let got = with(&format!("Host: {bad}\r\n"));
            assert_eq!(got, Progress::Refused(Refused::Malformed), "{bad}");
        }
        let twice = with("Host: localhost\r\nhost: localhost\r\n");
        assert_eq!(twice, Progress::Refused(Refused::Malformed));
        assert_eq!(with(""), Progress::Refused(Refused::Malformed));
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for text in [
            "\u{16}\u{3}\u{1}tls",
            "GET\r\n\r\n",
            "GET /callback\r\n\r\n",
        ] {
            assert_eq!(read(text), Progress::Refused(Refused::Malformed), "{text}");
        }
    }

    #[test]
    fn every_size_has_its_limit() {
        let fits = MAX_LINE - "GET /callback? HTTP/1.1\r".len();
        let line = |len: usize| format!("GET /callback?{} HTTP/1.1", "a".repeat(len));
        assert_eq!(read(&head(&line(fits))), query(&"a".repeat(fits)));
        let too_large = Progress::Refused(Refused::TooLarge);
        assert_eq!(read(&head(&line(fits + 1))), too_large);
        assert_eq!(read(&"G".repeat(MAX_LINE + 1)), too_large);

        let many = |count: usize| {
            let others = "a: b\r\n".repeat(count - 1);
            read(&format!(
                "GET /callback HTTP/1.1\r\nHost: localhost\r\n{others}\r\n"
            ))
        };
        assert_eq!(many(MAX_HEADERS), query(""));
        assert_eq!(many(MAX_HEADERS + 1), too_large);

        let start = "GET /callback HTTP/1.1\r\nHost: localhost\r\na: ";
        let long = |len: usize| {
            let filler = "b".repeat(len - start.len() - 4);
            read(&format!("{start}{filler}\r\n\r\n"))
        };
        assert_eq!(long(MAX_HEAD), query(""));
        assert_eq!(long(MAX_HEAD + 1), too_large);
    }

    #[test]
    fn a_head_in_single_bytes_is_the_same_head() {
        struct Bytes<'a>(&'a [u8], bool);
        impl Read for Bytes<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let count = self.0.len().min(1);
                buffer[..count].copy_from_slice(&self.0[..count]);
                self.0 = &self.0[count..];
                Ok(count)
            }
        }
        let text = head("GET /callback?code=1 HTTP/1.1");
        let (mut bytes, mut head, mut rounds) = (Bytes(text.as_bytes(), false), Head::new(), 0);
        let end = loop {
            match head.read(&mut bytes, "/callback") {
                Progress::Partial => rounds += 1,
                end => break end,
            }
        };
        assert_eq!((end, rounds), (query("code=1"), text.len()));
        assert_eq!(head.read(&mut bytes, "/callback"), Progress::Partial);
        assert_eq!(Head::new().read(&mut bytes, "/callback"), Progress::Closed);
    }
}
