//! Stanzas as they travel between us and a plugin: bounded, timed, in locked memory.
//!
//! A stanza is a line `-> TAG ARGS…` and base64 lines of 64 characters, the last one shorter
//! (<https://c2sp.org/age-plugin>).

use super::plugin::{PluginError, Where};
use crate::secret::SecretValue;
use crate::sys::arena::LockedBytes;
use data_encoding::BASE64_NOPAD;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

/// The longest line, in bytes: a command with its arguments.
pub(super) const MAX_LINE: usize = 16 << 10;
/// The largest body of one stanza, in bytes.
pub(super) const MAX_BODY: usize = 64 << 10;
/// The most bytes that a plugin may send in one conversation.
pub(super) const MAX_SENT: usize = 1 << 20;

const COLUMNS: usize = 64;
const COLUMN_BYTES: usize = COLUMNS / 4 * 3;

/// A stanza from a plugin.
pub(super) struct Incoming {
    pub(super) tag: String,
    pub(super) args: Vec<String>,
    pub(super) body: SecretValue,
}

impl Incoming {
    /// The body as text, with what is not text replaced.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.body.expose()).into_owned()
    }
}

/// A running plugin. It is killed and reaped when this is dropped.
pub(super) struct Link {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    place: Where,
    limit: Duration,
    buffer: LockedBytes,
    start: usize,
    end: usize,
    received: usize,
}

impl Link {
    /// Takes over a child whose stdin and stdout are pipes; `limit` is how long it may take for
    /// each of its answers.
    pub(super) fn new(
        mut child: Child,
        place: Where,
        limit: Duration,
    ) -> Result<Self, PluginError> {
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(place.broke("it was started without pipes"));
        };
        let buffer = LockedBytes::zeroed(MAX_LINE);
        let link = Self {
            child,
            input,
            output,
            place,
            limit,
            buffer,
            start: 0,
            end: 0,
            received: 0,
        };
        // A plugin that does not read must not hold us up.
        rustix::io::ioctl_fionbio(&link.input, true)
            .map_err(|error| link.place.io(error.into()))?;
        Ok(link)
    }

    /// The number of the plugin's process.
    #[cfg(test)]
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends one stanza.
    pub(super) fn send(
        &mut self,
        tag: &str,
        args: &[&[u8]],
        body: &[u8],
    ) -> Result<(), PluginError> {
        let bytes = encode(tag, args, body);
        let mut rest = bytes.as_slice();
        let until = Instant::now() + self.limit;
        while !rest.is_empty() {
            match rustix::io::write(&self.input, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.wait(self.input.as_fd(), PollFlags::OUT, until)?;
                }
                Err(Errno::PIPE) => return Err(self.place.broke("it ended too early")),
                Err(error) => return Err(self.place.io(error.into())),
            }
        }
        Ok(())
    }

    /// Receives one stanza.
    pub(super) fn receive(&mut self) -> Result<Incoming, PluginError> {
        let until = Instant::now() + self.limit;
        let (tag, args) = {
            let line = self.line(until)?;
            let text = std::str::from_utf8(line)
                .ok()
                .and_then(|text| text.strip_prefix("-> "));
            let mut words = text.unwrap_or_default().split(' ').map(str::to_owned);
            let tag = words.next().unwrap_or_default();
            (tag, words.collect::<Vec<_>>())
        };
        if tag.is_empty() || args.iter().any(String::is_empty) {
            return Err(self.place.broke("it sent a malformed command"));
        }
        let body = self.body(until)?;
        Ok(Incoming { tag, args, body })
    }

    fn body(&mut self, until: Instant) -> Result<SecretValue, PluginError> {
        let mut body = LockedBytes::zeroed(COLUMN_BYTES);
        let mut len = 0;
        loop {
            let mut part = LockedBytes::zeroed(COLUMN_BYTES);
            let (columns, count) = {
                let line = self.line(until)?;
                let count = match BASE64_NOPAD.decode_len(line.len()) {
                    Ok(count) if line.len() <= COLUMNS => BASE64_NOPAD
                        .decode_mut(line, &mut part.as_mut_slice()[..count])
                        .ok(),
                    _ => None,
                };
                (line.len(), count)
            };
            let count = count.ok_or_else(|| self.place.broke("it sent a malformed body"))?;
            if len + count > MAX_BODY {
                return Err(self.place.broke("it sent a body of more than 64 KiB"));
            }
            if len + count > body.len() {
                let mut larger = LockedBytes::zeroed(body.len() * 4);
                larger.as_mut_slice()[..len].copy_from_slice(&body.as_slice()[..len]);
                body = larger;
            }
            body.as_mut_slice()[len..len + count].copy_from_slice(&part.as_slice()[..count]);
            len += count;
            if columns < COLUMNS {
                return Ok(SecretValue::copy_of(&body.as_slice()[..len]));
            }
        }
    }

    /// The next line, without its end.
    fn line(&mut self, until: Instant) -> Result<&[u8], PluginError> {
        let mut searched = self.start;
        loop {
            let unread = &self.buffer.as_slice()[searched..self.end];
            if let Some(found) = unread.iter().position(|byte| *byte == b'\n') {
                let line = self.start..searched + found;
                self.start = line.end + 1;
                return Ok(&self.buffer.as_slice()[line]);
            }
            if self.start > 0 {
                self.buffer
                    .as_mut_slice()
                    .copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            searched = self.end;
            if self.end == self.buffer.len() {
                return Err(self.place.broke("it sent a line of more than 16 KiB"));
            }
            self.wait(self.output.as_fd(), PollFlags::IN, until)?;
            match rustix::io::read(&self.output, &mut self.buffer.as_mut_slice()[self.end..]) {
                Ok(0) => return Err(self.place.broke("it ended too early")),
                Ok(count) => {
                    self.end += count;
                    self.received += count;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.place.io(error.into())),
            }
            if self.received > MAX_SENT {
                return Err(self.place.broke("it sent more than 1 MiB"));
            }
        }
    }

    fn wait(
        &self,
        fd: BorrowedFd<'_>,
        flags: PollFlags,
        until: Instant,
    ) -> Result<(), PluginError> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, flags)], Some(&timeout)) {
                Ok(0) => return Err(self.place.late(self.limit)),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(self.place.io(error.into())),
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // A plugin has nothing to do after the conversation; one that ended already can't be
        // killed, and is reaped all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A stanza as bytes, made in place.
fn encode(tag: &str, args: &[&[u8]], body: &[u8]) -> LockedBytes {
    let head = 3 + tag.len() + args.iter().map(|arg| 1 + arg.len()).sum::<usize>() + 1;
    let full = body.len() / COLUMN_BYTES;
    let rest = BASE64_NOPAD.encode_len(body.len() % COLUMN_BYTES);
    let mut bytes = LockedBytes::zeroed(head + full * (COLUMNS + 1) + rest + 1);
    let mut at = 0;
    let mut put = |part: &[u8]| {
        bytes.as_mut_slice()[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    };
    put(b"-> ");
    put(tag.as_bytes());
    for arg in args {
        put(b" ");
        put(arg);
    }
    put(b"\n");
    let mut line = LockedBytes::zeroed(COLUMNS);
    let mut put_line = |chunk: &[u8]| {
        let line = &mut line.as_mut_slice()[..BASE64_NOPAD.encode_len(chunk.len())];
        BASE64_NOPAD.encode_mut(chunk, line);
        put(line);
        put(b"\n");
    };
    let (chunks, last) = body.as_chunks::<COLUMN_BYTES>();
    chunks.iter().for_each(|chunk| put_line(chunk));
    put_line(last);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stanza_ends_with_a_short_line() {
        let text = |body: &[u8]| {
            String::from_utf8(encode("tag", &[b"a", b"b"], body).as_slice().to_vec()).unwrap()
        };
        assert_eq!(text(b""), "-> tag a b\n\n");
        assert_eq!(text(b"abc"), "-> tag a b\nYWJj\n");
        let full = "QUFB".repeat(16);
        assert_eq!(text(&[b'A'; 48]), format!("-> tag a b\n{full}\n\n"));
        assert_eq!(text(&[b'A'; 49]), format!("-> tag a b\n{full}\nQQ\n"));
    }
}
