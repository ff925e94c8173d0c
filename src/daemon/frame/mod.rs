//! The frames of the socket protocol: bytes in, types out. Specification: `docs/protocol.md`.
//!
//! Invariants: JSON never holds a secret, only the lengths of the attachments behind it; nothing
//! is allocated beyond a declared length, and no declared length beyond its limit is accepted;
//! an error names no byte of the input.
//!
//! Not here: reading and writing (`super::wire`).

mod split;

pub use split::{MAX_ANSWER_FRAMES, MAX_REQUEST_FRAMES, answer_frames, merge_answer};
pub use split::{merge_request, request_frames};

use super::Unlock;
use crate::error::{Code, Coded, Failure};
use crate::runtime::service::{Outcome, Reply, Request};
use crate::secret::{MAX_VALUE, SecretValue};
use serde::{Deserialize, Serialize};
use std::io;

/// The version of the protocol, in every envelope.
pub const VERSION: u32 = 1;
/// The longest frame in bytes, without its first four: one value of the largest size and 64 KiB.
pub const MAX_FRAME: usize = MAX_VALUE + (64 << 10);
/// The longest JSON part of a frame in bytes.
pub const MAX_JSON: usize = 1 << 20;
/// The most attachments in one frame.
pub const MAX_ATTACHMENTS: usize = 512;
/// The longest text of a failure in bytes; longer ones are cut.
pub const MAX_MESSAGE: usize = 16 << 10;
/// The two length fields in front of the JSON, in bytes.
pub const HEAD: usize = 8;

/// Why a frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Over [`MAX_FRAME`], [`MAX_JSON`], [`MAX_ATTACHMENTS`] or the limit of frames.
    #[error("a message is over the protocol's limits")]
    TooLarge,
    /// The lengths contradict each other.
    #[error("the lengths in a frame contradict each other")]
    Lengths,
    /// Not JSON, or not an envelope of the protocol. The place is a byte column.
    #[error(
        "the JSON of a frame is not an envelope of the protocol (line {line}, column {column})"
    )]
    Envelope {
        /// The line, from 1.
        line: usize,
        /// The byte column.
        column: usize,
    },
    /// None or more than one of the members that say what the frame is.
    #[error("a frame holds not exactly one request or one answer")]
    Body,
    /// The number of attachments does not fit the request or the reply.
    #[error("a frame holds the wrong number of values")]
    Attachments,
    /// A continued message whose parts don't fit together.
    #[error("the parts of a message don't fit together")]
    Continuation,
    /// The other side speaks another version of the protocol.
    #[error(
        "the other side speaks protocol {0}, this program {VERSION}; restart the daemon with \
         `reseal vault lock` and `reseal vault unlock`"
    )]
    Version(u32),
}

impl Coded for FrameError {
    fn code(&self) -> Code {
        match self {
            FrameError::Version(_) => Code::DaemonVersion,
            _ => Code::DaemonProtocol,
        }
    }
}
crate::error::failure_from!(FrameError);

/// What a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// A request to the opened vault.
    Request(Request),
    /// Fresh sub-keys, the one attachment, and new limits. Answer: [`Reply::Report`].
    Unlock(Unlock),
    /// What the requests that follow on this connection are to be judged by, the one attachment.
    /// Answer: [`Reply::Done`].
    Present(Present),
}

/// What a client shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Present {
    /// A capability: 43 characters of base64url. Whether it is one is said only to whom nothing
    /// else makes known; to others what they ask for then shows it.
    Capability,
    /// The passphrase of a keyslot, as typed; an error says if it opens none.
    Passphrase,
    /// The 32 bytes of a key slot; likewise.
    Key,
    /// A recovery code, as typed; likewise.
    RecoveryCode,
}

/// What the daemon answers, without the values.
pub type Told = Result<Reply, Failure>;

/// One frame ready to be sent: head and JSON, then the values.
#[derive(Debug)]
pub struct Frame {
    /// The two length fields and the JSON.
    pub text: Vec<u8>,
    /// The payload, in order.
    pub secrets: Vec<SecretValue>,
}

/// The lengths of a frame's two parts, checked against the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of JSON.
    pub json: usize,
    /// Bytes behind the JSON.
    pub payload: usize,
}

impl Head {
    /// Reads the two length fields.
    pub fn parse(bytes: [u8; HEAD]) -> Result<Self, FrameError> {
        let [a, b, c, d, e, f, g, h] = bytes;
        let frame = u32::from_le_bytes([a, b, c, d]) as usize;
        let json = u32::from_le_bytes([e, f, g, h]) as usize;
        if frame > MAX_FRAME || json > MAX_JSON {
            return Err(FrameError::TooLarge);
        }
        let payload = frame
            .checked_sub(4)
            .and_then(|rest| rest.checked_sub(json))
            .ok_or(FrameError::Lengths)?;
        Ok(Self { json, payload })
    }
}

/// The JSON part of one frame.
#[derive(Debug, PartialEq)]
pub struct Part<T> {
    /// What it says.
    pub body: T,
    /// The length of each attachment in bytes; their sum is the payload's.
    pub lens: Vec<usize>,
    /// The message goes on in the next frame.
    pub more: bool,
}

/// Reads the JSON of a request frame whose payload has this length.
pub fn parse_request(json: &[u8], payload: usize) -> Result<Part<Ask>, FrameError> {
    let envelope = Envelope::parse(json, payload)?;
    let body = match envelope.body {
        (Some(request), None, None, None, None) => Ask::Request(request),
        (None, Some(unlock), None, None, None) => Ask::Unlock(unlock),
        (None, None, Some(present), None, None) => Ask::Present(present),
        _ => return Err(FrameError::Body),
    };
    let expected = match &body {
        Ask::Request(Request::Put { .. } | Request::Compare { .. }) => 1,
        Ask::Unlock(_) | Ask::Present(_) => 1,
        Ask::Request(_) => 0,
    };
    envelope.part.finish(body, expected)
}

/// Reads the JSON of an answer frame whose payload has this length.
pub fn parse_answer(json: &[u8], payload: usize) -> Result<Part<Told>, FrameError> {
    let envelope = Envelope::parse(json, payload)?;
    let body = match envelope.body {
        (None, None, None, Some(reply), None) => Ok(reply),
        (None, None, None, None, Some(error)) => Err(error.into()),
        _ => return Err(FrameError::Body),
    };
    let expected = body.as_ref().map_or(0, attachments_of);
    envelope.part.finish(body, expected)
}

/// How many values go with a reply.
pub fn attachments_of(reply: &Reply) -> usize {
    match reply {
        Reply::Value(_) | Reply::Token(_) => 1,
        Reply::Resolved(outcomes) => outcomes.iter().filter(|o| **o == Outcome::Ok).count(),
        _ => 0,
    }
}

/// Reads bytes as a stream of frames the way both sides would, and asserts that what is accepted
/// is carried unchanged by the encoder. Gives the number of frames. For fuzzing.
///
/// # Panics
/// If an accepted frame does not survive being written and read again.
pub fn exercise(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
        let Ok(head) = Head::parse(*head) else { break };
        let Some((json, rest)) = rest.split_at_checked(head.json) else {
            break;
        };
        let Some((payload, rest)) = rest.split_at_checked(head.payload) else {
            break;
        };
        if let Ok(part) = parse_request(json, payload.len()) {
            let frame = encode_ask(&part.body, &cut(payload, &part.lens), part.more);
            let again = frame.map(|f| parse_request(&f.text[HEAD..], payload.len()));
            // A form with more escapes may be longer than what was read.
            assert!(again == Err(FrameError::TooLarge) || again == Ok(Ok(part)));
        }
        if let Ok(part) = parse_answer(json, payload.len()) {
            let frame = encode_told(&part.body, &cut(payload, &part.lens), part.more);
            let again = frame.map(|f| parse_answer(&f.text[HEAD..], payload.len()));
            assert!(again == Err(FrameError::TooLarge) || again == Ok(Ok(part)));
        }
        bytes = rest;
        count += 1;
    }
    count
}

fn cut(mut payload: &[u8], lens: &[usize]) -> Vec<SecretValue> {
    let mut values = Vec::with_capacity(lens.len());
    for len in lens {
        let (value, rest) = payload.split_at(*len);
        values.push(SecretValue::copy_of(value));
        payload = rest;
    }
    values
}

/// Writes one request frame.
pub(super) fn encode_ask(
    ask: &Ask,
    secrets: &[SecretValue],
    more: bool,
) -> Result<Frame, FrameError> {
    let (request, unlock, present) = match ask {
        Ask::Request(request) => (Some(request), None, None),
        Ask::Unlock(unlock) => (None, Some(unlock), None),
        Ask::Present(present) => (None, None, Some(present)),
    };
    encode((request, unlock, present, None, None), secrets, more)
}

/// Writes one answer frame.
pub(super) fn encode_told(
    told: &Told,
    secrets: &[SecretValue],
    more: bool,
) -> Result<Frame, FrameError> {
    match told {
        Ok(reply) => encode((None, None, None, Some(reply), None), secrets, more),
        Err(failure) => {
            let wire = WireFailure::from(failure);
            encode((None, None, None, None, Some(&wire)), secrets, more)
        }
    }
}

type Outgoing<'a> = (
    Option<&'a Request>,
    Option<&'a Unlock>,
    Option<&'a Present>,
    Option<&'a Reply>,
    Option<&'a WireFailure>,
);

fn encode(
    (request, unlock, present, ok, error): Outgoing<'_>,
    secrets: &[SecretValue],
    more: bool,
) -> Result<Frame, FrameError> {
    if secrets.len() > MAX_ATTACHMENTS || secrets.iter().any(|s| s.len() > MAX_VALUE) {
        return Err(FrameError::TooLarge);
    }
    let payload: usize = secrets.iter().map(SecretValue::len).sum();
    let room = (MAX_FRAME - 4)
        .checked_sub(payload)
        .ok_or(FrameError::TooLarge)?;
    let envelope = OutgoingEnvelope {
        v: VERSION,
        request,
        unlock,
        present,
        ok,
        error,
        secrets: secrets.iter().map(|s| length(s.len())).collect(),
        more,
    };
    let mut text = Bounded {
        bytes: vec![0; HEAD],
        limit: HEAD + room.min(MAX_JSON),
    };
    serde_json::to_writer(&mut text, &envelope).map_err(|_| FrameError::TooLarge)?;
    let mut text = text.bytes;
    let json = text.len() - HEAD;
    text[..4].copy_from_slice(&length(4 + json + payload).to_le_bytes());
    text[4..HEAD].copy_from_slice(&length(json).to_le_bytes());
    Ok(Frame {
        text,
        secrets: secrets.to_vec(),
    })
}

/// A length that the limits keep far below 4 GiB.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A writer that fails instead of growing past its limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Serialize)]
struct OutgoingEnvelope<'a> {
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a Request>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unlock: Option<&'a Unlock>,
    #[serde(skip_serializing_if = "Option::is_none")]
    present: Option<&'a Present>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ok: Option<&'a Reply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a WireFailure>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    more: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IncomingEnvelope {
    v: u32,
    request: Option<Request>,
    unlock: Option<Unlock>,
    present: Option<Present>,
    ok: Option<Reply>,
    error: Option<WireFailure>,
    #[serde(default)]
    secrets: Vec<u32>,
    #[serde(default)]
    more: bool,
}

/// All that is read of an envelope of another version.
#[derive(Deserialize)]
struct OnlyVersion {
    v: u32,
}

type Incoming = (
    Option<Request>,
    Option<Unlock>,
    Option<Present>,
    Option<Reply>,
    Option<WireFailure>,
);

struct Envelope {
    body: Incoming,
    part: Part<()>,
}

impl Envelope {
    fn parse(json: &[u8], payload: usize) -> Result<Self, FrameError> {
        let incoming: IncomingEnvelope = serde_json::from_slice(json).map_err(|error| {
            match serde_json::from_slice::<OnlyVersion>(json) {
                Ok(OnlyVersion { v }) if v != VERSION => FrameError::Version(v),
                // The parser's own text would quote the input.
                _ => FrameError::Envelope {
                    line: error.line(),
                    column: error.column(),
                },
            }
        })?;
        if incoming.v != VERSION {
            return Err(FrameError::Version(incoming.v));
        }
        if incoming.secrets.len() > MAX_ATTACHMENTS {
            return Err(FrameError::TooLarge);
        }
        let lens: Vec<usize> = incoming.secrets.iter().map(|len| *len as usize).collect();
        if lens.iter().any(|len| *len > MAX_VALUE) {
            return Err(FrameError::TooLarge);
        }
        if lens.iter().sum::<usize>() != payload {
            return Err(FrameError::Lengths);
        }
        Ok(Self {
            body: (
                incoming.request,
                incoming.unlock,
                incoming.present,
                incoming.ok,
                incoming.error,
            ),
            part: Part {
                body: (),
                lens,
                more: incoming.more,
            },
        })
    }
}

impl Part<()> {
    fn finish<T>(self, body: T, attachments: usize) -> Result<Part<T>, FrameError> {
        if self.lens.len() != attachments {
            return Err(FrameError::Attachments);
        }
        Ok(Part {
            body,
            lens: self.lens,
            more: self.more,
        })
    }
}

/// A failure whose code may be one that this program does not know yet.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFailure {
    code: String,
    message: String,
}

impl From<&Failure> for WireFailure {
    fn from(failure: &Failure) -> Self {
        let mut end = failure.message.len().min(MAX_MESSAGE);
        while !failure.message.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            code: failure.code.as_str().to_owned(),
            message: failure.message[..end].to_owned(),
        }
    }
}

impl From<WireFailure> for Failure {
    fn from(wire: WireFailure) -> Self {
        let known = Code::ALL.iter().find(|code| code.as_str() == wire.code);
        match known {
            Some(code) => Failure::new(*code, wire.message),
            None => Failure::new(
                Code::DaemonVersion,
                "the daemon is newer than this program and reports a failure unknown to it",
            ),
        }
    }
}

#[cfg(test)]
mod tests;
