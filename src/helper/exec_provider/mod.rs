//! The exec protocol, version 1, as its server: one request on stdin, one answer on stdout.
//!
//! An id is the name of a record. An id that is a profile id (`openai:default`) and no record's
//! name stands for the record that holds the profile's secret
//! ([`crate::name::RecordName::for_profile`]). Ids of other forms are errors of their own.
//!
//! Invariants: nothing secret is ever written but the one answer on stdout, built in locked memory
//! at its final size and written at once; a message says what is wrong, never a value.

use crate::document::extract as json;
use crate::error::{Code, Failure, Kind};
use crate::launch::Lookup;
use crate::name::{ProfileId, RecordName};
use crate::reference::SecretRef;
use crate::secret::SecretValue;
use serde::Deserialize;
use std::io::{Read, Write};

/// The largest request in bytes: the largest batch that the family can be configured to send.
pub const MAX_REQUEST: usize = 5 << 20;
/// The most ids of one request, likewise.
pub const MAX_IDS: usize = 4096;
/// The largest answer in bytes: the family's limit of 1 MiB for stdout and stderr together, less
/// what a warning on stderr may take.
pub const MAX_ANSWER: usize = (1 << 20) - (4 << 10);

/// Reads one request, resolves its ids in one round trip, writes one answer. Ids that fail are
/// errors inside the answer.
///
/// # Errors
/// `input.invalid`, `input.too_large`: the request is not understood. What [`Lookup`] says if
/// nothing could be asked, or if every id failed because the vault is sealed or corrupt. In these
/// cases nothing was written.
pub fn serve(
    input: &mut dyn Read,
    output: &mut dyn Write,
    lookup: &mut dyn Lookup,
) -> Result<(), Failure> {
    let ids = read_request(input)?;
    let answers = resolve(&ids, lookup)?;
    let answer = lay_out(&ids, &answers);
    let answer = answer.ok_or_else(|| {
        let text = format!("the answer would be larger than {MAX_ANSWER} bytes");
        Failure::new(Code::InputTooLarge, text)
    })?;
    let written = output
        .write_all(answer.expose())
        .and_then(|()| output.flush());
    match written {
        // A caller that went away asked for nothing more.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(
            Code::FileIo,
            format!("the answer can't be written: {error}"),
        )),
        _ => Ok(()),
    }
}

/// The ids of a request, in order, each once.
fn read_request(input: &mut dyn Read) -> Result<Vec<String>, Failure> {
    let mut input = input;
    let bytes = SecretValue::read_from(&mut input, MAX_REQUEST)
        .map_err(|error| {
            Failure::new(
                Code::InputInvalid,
                format!("the request can't be read: {error}"),
            )
        })?
        .ok_or_else(|| {
            let text = format!("the request is larger than {MAX_REQUEST} bytes");
            Failure::new(Code::InputTooLarge, text)
        })?;
    parse_request(bytes.expose())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    protocol_version: serde_json::Number,
    ids: Vec<String>,
}

/// The ids of a request, in order, each once.
///
/// # Errors
/// `input.invalid` with the place if it is no request of version 1, `input.too_large` over
/// [`MAX_IDS`].
pub fn parse_request(bytes: &[u8]) -> Result<Vec<String>, Failure> {
    let invalid = |text: String| Failure::new(Code::InputInvalid, text);
    // The library's text may repeat what stood there.
    let request: Request = serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        invalid(format!(
            "the request is not {{\"protocolVersion\":1,\"ids\":[…]}}: line {line}, column {column}"
        ))
    })?;
    if request.protocol_version.as_f64() != Some(1.0) {
        return Err(invalid("the request's protocolVersion must be 1".into()));
    }
    if request.ids.len() > MAX_IDS {
        let text = format!("the request has more than {MAX_IDS} ids");
        return Err(Failure::new(Code::InputTooLarge, text));
    }
    let mut seen = std::collections::HashSet::new();
    let mut ids = request.ids;
    ids.retain(|id| seen.insert(id.clone()));
    Ok(ids)
}

/// Why an id has no value, in the words of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal {
    code: &'static str,
    message: &'static str,
}

const INVALID_ID: Refusal = Refusal {
    code: "INVALID_ID",
    message: "not the name of a record or a profile",
};
const NOT_TEXT: Refusal = Refusal {
    code: "NOT_TEXT",
    message: "the value is not UTF-8 and can't stand in JSON",
};
const TOO_LARGE: Refusal = Refusal {
    code: "TOO_LARGE",
    message: "the answer has no room for the value",
};

fn refusal(failure: &Failure) -> Refusal {
    match failure.kind() {
        Kind::Absent => Refusal {
            code: "NOT_FOUND",
            message: "no such record",
        },
        Kind::Sealed => Refusal {
            code: "SEALED",
            message: "the vault is locked",
        },
        Kind::Denied => Refusal {
            code: "DENIED",
            message: "the record may not be read",
        },
        Kind::Corrupt => Refusal {
            code: "CORRUPT",
            message: "the record fails its checks",
        },
        Kind::SignIn => Refusal {
            code: "SIGN_IN",
            message: "the profile must log in again",
        },
        Kind::Unavailable | Kind::Stale => Refusal {
            code: "UNAVAILABLE",
            message: "the record can't be read now",
        },
        Kind::Invalid | Kind::NotStarted | Kind::NoProgram | Kind::Cancelled | Kind::Bug => {
            Refusal {
                code: "FAILED",
                message: "the record can't be read",
            }
        }
    }
}

/// One round trip for all ids; the answers are in their order.
fn resolve(
    ids: &[String],
    lookup: &mut dyn Lookup,
) -> Result<Vec<Result<SecretValue, Refusal>>, Failure> {
    let mut refs = Vec::with_capacity(ids.len());
    let mut places = Vec::with_capacity(ids.len());
    for id in ids {
        let start = refs.len();
        refs.extend(candidates(id));
        places.push(start..refs.len());
    }
    let answers = if refs.is_empty() {
        Vec::new()
    } else {
        lookup.resolve(&refs)?
    };
    if answers.len() != refs.len() {
        return Err(Failure::new(
            Code::Bug,
            "a lookup gave another number of answers than refs",
        ));
    }
    // When nothing can be answered, the exit code says so.
    let hopeless = |answer: &Result<SecretValue, Failure>| {
        answer
            .as_ref()
            .is_err_and(|f| matches!(f.kind(), Kind::Sealed | Kind::Corrupt))
    };
    if !answers.is_empty()
        && answers.iter().all(hopeless)
        && let Some(Err(failure)) = answers.first()
    {
        return Err(failure.clone());
    }
    let answer = |range: std::ops::Range<usize>| {
        let found = &answers[range];
        let absent = |answer: &&Result<SecretValue, Failure>| {
            answer
                .as_ref()
                .is_err_and(|failure| failure.kind() == Kind::Absent)
        };
        match found
            .iter()
            .find(|answer| !absent(answer))
            .or(found.first())
        {
            None => Err(INVALID_ID),
            Some(Err(failure)) => Err(refusal(failure)),
            Some(Ok(value)) => match std::str::from_utf8(value.expose()) {
                Ok(_) => Ok(value.clone()),
                Err(_) => Err(NOT_TEXT),
            },
        }
    };
    Ok(places.into_iter().map(answer).collect())
}

/// The records that an id may mean, the likelier first.
fn candidates(id: &str) -> Vec<SecretRef> {
    let named = id.parse::<RecordName>().ok();
    let profile = id.parse::<ProfileId>().ok();
    let of_profile = profile.and_then(|profile| RecordName::for_profile(&profile).ok());
    named
        .into_iter()
        .chain(of_profile)
        .map(|name| SecretRef::to_record(&name))
        .collect()
}

/// Lays out the answer in locked memory. A value that has no room becomes an error;
/// `None` if not even the errors have room.
fn lay_out(ids: &[String], answers: &[Result<SecretValue, Refusal>]) -> Option<SecretValue> {
    let error_of = |answer: &Result<SecretValue, Refusal>| match answer {
        Ok(_) => TOO_LARGE,
        Err(refusal) => *refusal,
    };
    // Every id as an error is the least; then values take the room that is left, in order.
    let mut total = HEAD.len() + MIDDLE.len() + TAIL.len();
    for (id, answer) in ids.iter().zip(answers) {
        total += measure(|put| error_entry(id, error_of(answer), put)) + 1;
    }
    if total > MAX_ANSWER {
        return None;
    }
    let mut given = Vec::with_capacity(ids.len());
    for (id, answer) in ids.iter().zip(answers) {
        let least = measure(|put| error_entry(id, error_of(answer), put));
        let more = answer
            .as_ref()
            .ok()
            .map(|value| measure(|put| value_entry(id, value, put)));
        let fits = more.filter(|more| total - least + more <= MAX_ANSWER);
        total = fits.map_or(total, |more| total - least + more);
        given.push(fits.is_some());
    }
    let write = |put: &mut dyn FnMut(&[u8])| {
        let all = || ids.iter().zip(answers).zip(&given);
        put(HEAD);
        let mut comma: &[u8] = b"";
        for ((id, answer), given) in all() {
            if let (Ok(value), true) = (answer, given) {
                put(comma);
                value_entry(id, value, put);
                comma = b",";
            }
        }
        put(MIDDLE);
        comma = b"";
        for ((id, answer), _) in all().filter(|(_, given)| !**given) {
            put(comma);
            error_entry(id, error_of(answer), put);
            comma = b",";
        }
        put(TAIL);
    };
    Some(SecretValue::build(measure(write), |target| {
        let mut at = 0;
        write(&mut |part| {
            target[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        });
    }))
}

const HEAD: &[u8] = br#"{"protocolVersion":1,"values":{"#;
const MIDDLE: &[u8] = br#"},"errors":{"#;
const TAIL: &[u8] = b"}}";

fn measure(write: impl Fn(&mut dyn FnMut(&[u8]))) -> usize {
    let mut len = 0;
    write(&mut |part| len += part.len());
    len
}

fn string(text: &str, put: &mut dyn FnMut(&[u8])) {
    put(b"\"");
    json::escape(text, put);
    put(b"\"");
}

fn value_entry(id: &str, value: &SecretValue, put: &mut dyn FnMut(&[u8])) {
    string(id, put);
    put(b":");
    // Checked when it was taken in.
    string(std::str::from_utf8(value.expose()).unwrap_or_default(), put);
}

fn error_entry(id: &str, refusal: Refusal, put: &mut dyn FnMut(&[u8])) {
    string(id, put);
    put(b":{\"code\":");
    string(refusal.code, put);
    put(b",\"message\":");
    string(refusal.message, put);
    put(b"}");
}

#[cfg(test)]
mod tests;
