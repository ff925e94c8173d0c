//! Server-sent events (WHATWG HTML, section 9.2.6), as they come in pieces.
//!
//! Invariant: an event is at most [`MAX_EVENT`] bytes; what is over it ends the stream.

/// The largest event in bytes: 16 MiB.
pub const MAX_EVENT: usize = 16 << 20;

/// An event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its type; empty for `message`.
    pub kind: String,
    /// Its data, the lines joined by line feeds.
    pub data: Vec<u8>,
}

/// An event over [`MAX_EVENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the server is larger than {MAX_EVENT} bytes")]
pub struct TooLarge;

/// Takes pieces of a stream, gives events.
#[derive(Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
    /// The last byte was a carriage return: a line feed belongs to it.
    after_return: bool,
    is_started: bool,
    id: Option<String>,
    last_id: Option<String>,
    retry_ms: Option<u64>,
}

impl Events {
    /// Nothing so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same for a stream that goes on where another one ended: what had no end is forgotten.
    #[must_use]
    pub fn resumed(self) -> Self {
        Self {
            id: self.last_id.clone(),
            last_id: self.last_id,
            retry_ms: self.retry_ms,
            ..Self::default()
        }
    }

    /// The id of the last event that had one, to go on from.
    pub fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// How long to wait before coming back, if the server said.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Takes the next bytes and gives what is complete.
    ///
    /// # Errors
    /// [`TooLarge`].
    pub fn take(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLarge> {
        let mut done = Vec::new();
        for &byte in bytes {
            let is_second = self.after_return && byte == b'\n';
            self.after_return = byte == b'\r';
            match byte {
                b'\n' if is_second => {}
                b'\r' | b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    self.end_line(&line, &mut done)?;
                }
                _ => {
                    if self.line.len() >= MAX_EVENT {
                        return Err(TooLarge);
                    }
                    self.line.push(byte);
                }
            }
        }
        Ok(done)
    }

    fn end_line(&mut self, line: &[u8], done: &mut Vec<Event>) -> Result<(), TooLarge> {
        const BOM: &[u8] = "\u{feff}".as_bytes();
        let line = match std::mem::replace(&mut self.is_started, true) {
            true => line,
            false => line.strip_prefix(BOM).unwrap_or(line),
        };
        if line.is_empty() {
            // An event counts once it is whole, and so does its id.
            self.last_id.clone_from(&self.id);
            let event = std::mem::take(&mut self.event);
            if std::mem::take(&mut self.has_data) {
                done.push(event);
            }
            return Ok(());
        }
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        let text = || std::str::from_utf8(value).ok();
        match name {
            b"data" => {
                if self.has_data {
                    self.event.data.push(b'\n');
                }
                if self.event.data.len() + value.len() > MAX_EVENT {
                    return Err(TooLarge);
                }
                self.event.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => self.event.kind = text().unwrap_or_default().to_owned(),
            b"id" if !value.contains(&0) && value.len() <= 1024 => {
                self.id = text().map(str::to_owned);
            }
            b"retry" => self.retry_ms = text().and_then(|text| text.parse().ok()),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let mut events = Events::new();
        let taken = pieces.iter().flat_map(|piece| events.take(piece).unwrap());
        let shown = |event: Event| (event.kind, String::from_utf8(event.data).unwrap());
        taken.map(shown).collect()
    }

    fn message(data: &str) -> (String, String) {
        (String::new(), data.to_owned())
    }

    #[test]
    fn events_of_every_form() {
        let stream =
            b"\xef\xbb\xbfdata: a\ndata:b\ndata\n\n: a comment\nevent: endpoint\ndata: /x\r\n\r\n\
            event: empty\n\nid: 7\nretry: 1500\ndata: {}\r\rdata: cut";
        let expected = [
            message("a\nb\n"),
            ("endpoint".to_owned(), "/x".to_owned()),
            message("{}"),
        ];
        assert_eq!(all(&[stream]), expected);
        let mut events = Events::new();
        events.take(stream).unwrap();
        assert_eq!(
            (events.last_id(), events.retry_ms()),
            (Some("7"), Some(1500))
        );
    }

    #[test]
    fn an_event_that_was_cut_off_is_asked_for_again() {
        let mut events = Events::new();
        events
            .take(b"id: 1\ndata: a\n\nid: 2\ndata: b\nda")
            .unwrap();
        assert_eq!(events.last_id(), Some("1"));
        let mut events = events.resumed();
        assert_eq!(events.last_id(), Some("1"));
        let again = events.take(b"id: 2\ndata: b\n\ndata: c\n\n").unwrap();
        let data: Vec<&[u8]> = again.iter().map(|event| event.data.as_slice()).collect();
        assert_eq!(
            (data, events.last_id()),
            (vec![b"b".as_slice(), b"c"], Some("2"))
        );
    }

    #[test]
    fn an_event_has_a_limit() {
        let line = |len: usize| [b"data:".as_slice(), &vec![b'x'; len - 5], b"\n\n"].concat();
        assert_eq!(Events::new().take(&line(MAX_EVENT)).unwrap().len(), 1);
        assert_eq!(Events::new().take(&line(MAX_EVENT + 1)), Err(TooLarge));
        let half = [b"data:".as_slice(), &vec![b'x'; MAX_EVENT / 2], b"\n"].concat();
        let mut events = Events::new();
        events.take(&half).unwrap();
        assert_eq!(events.take(&half), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_a_stream_is_cut(
            text in "(data: ?[a-z]{0,4}|event:x|id:1|:|[a-z]{1,3})?(\r\n|\r|\n){0,2}{0,12}",
            at in 0usize..60,
        ) {
            let bytes = text.as_bytes();
            let at = at.min(bytes.len());
            prop_assert_eq!(all(&[bytes]), all(&[&bytes[..at], &bytes[at..]]));
        }
    }
}
