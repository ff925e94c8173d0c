//! Answers to a browser: a page, headers that keep it to itself, and an end of the connection.

use super::Refused;
use crate::net::page::{self, Page};
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// For the browser to take a page.
const WRITE_LIMIT: Duration = Duration::from_secs(5);

/// The browser that brought a valid answer and waits for its page. Dropped without one, it is told
/// to look at the terminal.
#[derive(Debug)]
pub struct Reply(Option<TcpStream>);

impl Reply {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Some(stream))
    }

    /// Sends the page and ends the connection. A browser that has gone away is no error: the
    /// sign-in does not depend on it.
    pub fn send(mut self, page: &Page<'_>) {
        self.finish(page);
    }

    fn finish(&mut self, page: &Page<'_>) {
        if let Some(stream) = self.0.take() {
            let body = page.html();
            write(stream, page.status(), "text/html; charset=utf-8", &body);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.finish(&Page::SeeTerminal);
    }
}

/// A short answer to what is no callback.
pub(super) fn refuse(stream: TcpStream, refused: Refused) {
    let (status, text) = match refused {
        Refused::OtherPath => ("404 Not Found", "Nothing here.\n"),
        Refused::Method => ("405 Method Not Allowed", "GET only.\n"),
        Refused::Malformed => ("400 Bad Request", "Not understood.\n"),
        Refused::TooLarge => ("431 Request Header Fields Too Large", "Too large.\n"),
    };
    write(stream, status, "text/plain; charset=utf-8", text);
}

fn write(mut stream: TcpStream, status: &str, kind: &str, body: &str) {
    let allow = if status.starts_with("405") {
        "Allow: GET\r\n"
    } else {
        ""
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\n\
         Content-Type: {kind}\r\n\
         Content-Length: {}\r\n\
         Connection: close\r\n\
         {allow}\
         Cache-Control: no-store\r\n\
         Referrer-Policy: no-referrer\r\n\
         X-Content-Type-Options: nosniff\r\n\
         X-Frame-Options: DENY\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\n\
         Content-Security-Policy: {}\r\n\
         \r\n\
         {body}",
        body.len(),
        page::content_policy(),
    );
    // An answer fits the empty buffer of a fresh socket, so that in practice nothing waits here;
    // a client that went away concerns only itself.
    let sent = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_write_timeout(Some(WRITE_LIMIT)))
        .and_then(|()| stream.write_all(answer.as_bytes()));
    drop(sent.and_then(|()| stream.shutdown(Shutdown::Write)));
}
