//! What of a JSON-RPC message matters on its way: whether it wants an answer, and which it is.
//!
//! A message is passed on as it came; only its head is read.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The largest message in bytes: 16 MiB.
pub const MAX_MESSAGE: usize = 16 << 20;

/// What a client says once it has taken the server's first answer.
pub const INITIALIZED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The code of an error that this program answers with (JSON-RPC 2.0 section 5.1, reserved for
/// implementations).
const ERROR: i32 = -32_000;

/// The head of a message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// Its id, if it wants an answer: a string or a number.
    pub id: Option<Value>,
    /// Its method; `None`: it is an answer itself.
    pub method: Option<String>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    method: Option<String>,
}

impl Head {
    /// Reads the head; `None` if it is no message. Batches are none: only revision 2025-03-26 had
    /// them.
    pub fn read(message: &[u8]) -> Option<Self> {
        let wire: Wire = serde_json::from_slice(message).ok()?;
        let is_object = message.trim_ascii_start().starts_with(b"{");
        let is_request = wire.method.is_some();
        let id = wire.id.filter(|id| is_request && is_id(id));
        is_object.then_some(Self {
            id,
            method: wire.method,
        })
    }

    /// True if this message answers that request.
    pub fn is_answered_by(&self, message: &[u8]) -> bool {
        let wire: Result<Wire, _> = serde_json::from_slice(message);
        wire.is_ok_and(|wire| wire.method.is_none() && wire.id.is_some() && wire.id == self.id)
    }

    /// The id as a key; `None` if it wants no answer.
    pub fn key(&self) -> Option<String> {
        self.id.as_ref().map(Value::to_string)
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
fn is_id(id: &Value) -> bool {
    id.is_string() || id.is_number()
}

/// The key of the request that a message answers.
pub fn answered(message: &[u8]) -> Option<String> {
    let wire: Wire = serde_json::from_slice(message).ok()?;
    let id = wire.id.filter(|_| wire.method.is_none())?;
    Some(id.to_string())
}

/// The id of the request that a message with this head cancels.
pub fn cancelled(message: &[u8], head: &Head) -> Option<Value> {
    #[derive(Deserialize)]
    struct Cancels {
        params: Named,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        request_id: Value,
    }
    if head.method.as_deref() != Some("notifications/cancelled") {
        return None;
    }
    let cancels: Cancels = serde_json::from_slice(message).ok()?;
    Some(cancels.params.request_id)
}

/// The answer to a request with this id that could not be passed on; `null`: to what had none.
pub fn error(id: &Value, why: &str) -> Vec<u8> {
    let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": ERROR, "message": why}});
    error.to_string().into_bytes()
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

    fn head(message: &str) -> Head {
        Head::read(message.as_bytes()).unwrap()
    }

    #[test]
    fn requests_notifications_and_answers() {
        let request =
            head(r#" {"jsonrpc":"2.0","id":"a\"1","method":"initialize","params":{"id":9}}"#);
        assert_eq!(request.id, Some(json!("a\"1")));
        assert!(request.is_initialize() && !request.is_initialized());
        assert_eq!(
            head(r#"{"id":-7,"method":"tools/list"}"#).id,
            Some(json!(-7))
        );
        let told = head(r#"{"method":"notifications/initialized"}"#);
        assert!(told.id.is_none() && told.is_initialized());
        assert!(!head(r#"{"method":"initialize"}"#).is_initialize());
        assert_eq!(head(r#"{"id":1,"result":{}}"#), Head::default());
        assert_eq!(head(r#"{"id":null,"method":"x"}"#).id, None);
        let batch = r#"[{"id":1,"method":"x"}]"#;
        for no in [
            "",
            "7",
            "{",
            "\"x\"",
            "[1",
            "[]",
            "[1,\"x\"]",
            "\u{1}",
            batch,
        ] {
            assert_eq!(Head::read(no.as_bytes()), None, "{no:?}");
        }
        assert_eq!(Head::read(b"{\"method\":\"\xff\"}"), None);
    }

    #[test]
    fn an_answer_is_known_however_its_id_is_spelled() {
        let request = head(r#"{"id":"\u00e9","method":"x"}"#);
        assert!(request.is_answered_by("{\"result\":{},\"id\":\"\u{e9}\"}".as_bytes()));
        for no in [
            r#"{"id":"e","result":{}}"#,
            r#"{"id":"\u00e9","method":"y"}"#,
            "{}",
            "7",
        ] {
            assert!(!request.is_answered_by(no.as_bytes()), "{no}");
        }
        let told = head(r#"{"method":"x"}"#);
        assert!(!told.is_answered_by(b"{\"id\":null,\"result\":{}}"));
    }

    #[test]
    fn a_request_has_one_key_wherever_it_is_named() {
        let request = head(r#"{"id":"\u00e9","method":"x"}"#);
        let key = request.key();
        assert!(key.is_some());
        assert_eq!(answered("{\"id\":\"\u{e9}\",\"error\":{}}".as_bytes()), key);
        assert_eq!(answered(br#"{"id":"\u00e9","method":"y"}"#), None);
        let cancels = |text: &str| cancelled(text.as_bytes(), &head(text));
        let method = "notifications/cancelled";
        let told = format!(r#"{{"method":"{method}","params":{{"requestId":"\u00e9"}}}}"#);
        assert_eq!(cancels(&told), request.id);
        for no in [
            r#"{"method":"notifications/cancelled"}"#,
            r#"{"method":"x","params":{"requestId":1}}"#,
        ] {
            assert_eq!(cancels(no), None);
        }
    }

    #[test]
    fn an_error_answers_the_request() {
        let answer: Value = serde_json::from_slice(&error(&json!("x"), "no\n\"way\"")).unwrap();
        let expected = json!({"jsonrpc": "2.0", "id": "x",
            "error": {"code": -32000, "message": "no\n\"way\""}});
        assert_eq!(answer, expected);
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
