//! What of a JSON-RPC message matters on its way: whether it wants an answer, and which it is.
//!
//! A message is passed on as it came; only its head is read.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::fmt::Write as _;

/// The largest message in bytes: 16 MiB.
pub const MAX_MESSAGE: usize = 16 << 20;

/// The code of an error that this program answers with (JSON-RPC 2.0 section 5.1, reserved for
/// implementations).
const ERROR: i32 = -32_000;

/// The head of a message.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its id as JSON, if it wants an answer.
    pub id: Option<String>,
    /// Its method; `None`: it is an answer itself.
    pub method: Option<String>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<String>,
}

impl Head {
    /// Reads the head; `None` if it is no message. A batch (revision 2025-03-26) counts as a
    /// message that wants an answer of which nobody knows the id.
    pub fn read(message: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?.trim();
        if text.starts_with('[') {
            let _batch: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            return Some(Self {
                id: Some("null".to_owned()),
                method: Some("batch".to_owned()),
            });
        }
        let wire: Wire<'_> = serde_json::from_str(text).ok()?;
        let is_request = wire.method.is_some();
        let id = wire.id.map(RawValue::get).filter(|_| is_request);
        Some(Self {
            id: id.filter(|id| is_id(id)).map(str::to_owned),
            method: wire.method,
        })
    }

    /// True for the first request of a session.
    pub fn is_initialize(&self) -> bool {
        self.id.is_some() && self.method.as_deref() == Some("initialize")
    }

    /// True once a client has taken the server's first answer.
    pub fn is_initialized(&self) -> bool {
        self.method.as_deref() == Some("notifications/initialized")
    }
}

/// A string or a number, which is what an id can be.
fn is_id(raw: &str) -> bool {
    raw.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit())
}

/// The answer to a message that could not be passed on; `None` if it wants none.
pub fn error(head: &Head, why: &str) -> Option<Vec<u8>> {
    let id = head.id.as_deref()?;
    let why = serde_json::to_string(why).ok()?;
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = write!(
        text,
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{ERROR},"message":{why}}}}}"#
    );
    Some(text.into_bytes())
}

/// The message as one line, as the stdio transport wants it; `None` if it is no JSON. A line end
/// between tokens becomes a space; inside a string JSON has none.
pub fn one_line(message: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(message).ok()?;
    let _json: &RawValue = serde_json::from_str(text).ok()?;
    let flat = |byte: u8| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            byte
        }
    };
    Some(text.trim().bytes().map(flat).collect())
}

/// The revision that the answer to `initialize` agrees on.
pub fn agreed_revision(answer: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        result: Agreed,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Agreed {
        protocol_version: String,
    }
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let version = answer.result.protocol_version;
    let fits = version.len() <= 64 && version.bytes().all(|b| b.is_ascii_graphic());
    fits.then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn head(message: &str) -> Head {
        Head::read(message.as_bytes()).unwrap()
    }

    #[test]
    fn requests_notifications_answers_and_batches() {
        let request =
            head(r#" {"jsonrpc":"2.0","id":"a\"1","method":"initialize","params":{"id":9}}"#);
        assert_eq!(request.id.as_deref(), Some(r#""a\"1""#));
        assert!(request.is_initialize() && !request.is_initialized());
        let number = head(r#"{"id":-7,"method":"tools/list"}"#);
        assert_eq!(number.id.as_deref(), Some("-7"));
        let told = head(r#"{"method":"notifications/initialized"}"#);
        assert!(told.id.is_none() && told.is_initialized());
        assert!(!head(r#"{"method":"initialize"}"#).is_initialize());
        let answer = head(r#"{"id":1,"result":{}}"#);
        assert_eq!(answer, Head::default());
        assert_eq!(head(r#"{"id":null,"method":"x"}"#).id, None);
        assert_eq!(
            head(r#"[{"id":1,"method":"x"}]"#).id.as_deref(),
            Some("null")
        );
        for no in ["", "7", "{", "\"x\"", "[1", "\u{1}"] {
            assert_eq!(Head::read(no.as_bytes()), None, "{no:?}");
        }
        assert_eq!(Head::read(b"{\"method\":\"\xff\"}"), None);
    }

    #[test]
    fn an_error_answers_the_request_and_nothing_else() {
        let request = head(r#"{"id":"x","method":"y"}"#);
        let answer: Value =
            serde_json::from_slice(&error(&request, "no\n\"way\"").unwrap()).unwrap();
        let expected = json!({"jsonrpc": "2.0", "id": "x",
            "error": {"code": -32000, "message": "no\n\"way\""}});
        assert_eq!(answer, expected);
        assert_eq!(error(&head(r#"{"method":"y"}"#), "no"), None);
    }

    #[test]
    fn a_message_is_one_line_and_says_the_same() {
        let pretty = b"\n{\r\n  \"a\": \"b\\nc\"\n}\n";
        let line = one_line(pretty).unwrap();
        assert!(!line.contains(&b'\n') && !line.contains(&b'\r'));
        let value: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value, json!({"a": "b\nc"}));
        assert_eq!(one_line(b"<html>"), None);
    }

    #[test]
    fn the_revision_that_was_agreed() {
        let of = |version: &str| {
            agreed_revision(format!(r#"{{"result":{{"protocolVersion":"{version}"}}}}"#).as_bytes())
        };
        assert_eq!(of("2025-06-18").as_deref(), Some("2025-06-18"));
        assert_eq!(of(&"v".repeat(64)).map(|v| v.len()), Some(64));
        assert_eq!(of(&"v".repeat(65)), None);
        assert_eq!(of("a\\r\\nb"), None);
        assert_eq!(agreed_revision(b"{\"error\":{}}"), None);
    }
}
