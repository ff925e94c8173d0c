//! JSON that holds secrets, written straight into locked memory of its exact size.

use super::SecretValue;
use data_encoding::BASE64;

/// One value of a document.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    /// Text that is no secret.
    Text(&'a str),
    /// A value that is UTF-8, as a JSON string after a plain prefix (which may be empty).
    Secret(&'a str, &'a SecretValue),
    /// A value as a JSON string in base64.
    Base64(&'a SecretValue),
    /// JSON that holds no secret, as it stands.
    Json(&'a str),
    /// An object.
    Object(&'a [(&'a str, Part<'a>)]),
}

/// Builds a document in two passes: one that counts, one that writes.
pub fn build(emit: impl Fn(&mut dyn FnMut(&[u8]))) -> SecretValue {
    let mut len = 0usize;
    emit(&mut |bytes| len += bytes.len());
    SecretValue::build(len, |target| {
        let mut at = 0;
        emit(&mut |bytes| {
            target[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        });
    })
}

/// An object as a document of its own, with two spaces of indent.
pub fn object(members: &[(&str, Part<'_>)]) -> SecretValue {
    build(|sink| write_indented(members, 1, sink))
}

impl Part<'_> {
    /// Writes the value's JSON to `sink`.
    pub fn write(&self, sink: &mut dyn FnMut(&[u8])) {
        match self {
            Part::Text(text) => {
                sink(b"\"");
                write_escaped(text.as_bytes(), sink);
                sink(b"\"");
            }
            Part::Secret(prefix, value) => {
                sink(b"\"");
                write_escaped(prefix.as_bytes(), sink);
                write_escaped(value.expose(), sink);
                sink(b"\"");
            }
            Part::Base64(value) => {
                sink(b"\"");
                write_base64(value.expose(), sink);
                sink(b"\"");
            }
            Part::Json(text) => sink(text.as_bytes()),
            Part::Object(members) => write_object(members, sink),
        }
    }
}

/// A value as the member `value`, or as `valueBase64` if it is no UTF-8.
pub fn member_of(value: &SecretValue) -> (&'static str, Part<'_>) {
    if std::str::from_utf8(value.expose()).is_ok() {
        ("value", Part::Secret("", value))
    } else {
        ("valueBase64", Part::Base64(value))
    }
}

/// Writes an object to `sink`.
pub fn write_object(members: &[(&str, Part<'_>)], sink: &mut dyn FnMut(&[u8])) {
    sink(b"{");
    for (i, (name, part)) in members.iter().enumerate() {
        if i > 0 {
            sink(b",");
        }
        Part::Text(name).write(sink);
        sink(b":");
        part.write(sink);
    }
    sink(b"}");
}

fn write_indented(members: &[(&str, Part<'_>)], depth: usize, sink: &mut dyn FnMut(&[u8])) {
    let line = |depth: usize, sink: &mut dyn FnMut(&[u8])| {
        sink(b"\n");
        (0..depth).for_each(|_| sink(b"  "));
    };
    sink(b"{");
    for (i, (name, part)) in members.iter().enumerate() {
        if i > 0 {
            sink(b",");
        }
        line(depth, sink);
        Part::Text(name).write(sink);
        sink(b": ");
        match part {
            Part::Object(inner) => write_indented(inner, depth + 1, sink),
            // A line end in JSON is layout: those inside strings are escaped.
            Part::Json(text) => {
                for (i, piece) in text.split('\n').enumerate() {
                    if i > 0 {
                        line(depth, sink);
                    }
                    sink(piece.as_bytes());
                }
            }
            part => part.write(sink),
        }
    }
    line(depth - 1, sink);
    sink(b"}");
}

fn write_escaped(text: &[u8], sink: &mut dyn FnMut(&[u8])) {
    let mut start = 0;
    for (i, byte) in text.iter().enumerate() {
        let control;
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f | 0x7f => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                control = [b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)];
                &control
            }
            _ => continue,
        };
        sink(&text[start..i]);
        sink(escape);
        start = i + 1;
    }
    sink(&text[start..]);
}

fn write_base64(bytes: &[u8], sink: &mut dyn FnMut(&[u8])) {
    // Whole groups of three bytes, so that only the last piece is padded.
    for piece in bytes.chunks(48) {
        let mut encoded = [0u8; 64];
        let len = BASE64.encode_len(piece.len());
        BASE64.encode_mut(piece, &mut encoded[..len]);
        sink(&encoded[..len]);
        zeroize::Zeroize::zeroize(&mut encoded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_object_is_laid_out_like_any_other_document() {
        let token = SecretValue::copy_of(b"t");
        let inner = serde_json::json!({"list": [1], "text": "a\nb"});
        let pretty = serde_json::to_string_pretty(&inner).unwrap();
        let document = object(&[
            ("json", Part::Json(&pretty)),
            (
                "object",
                Part::Object(&[("token", Part::Secret("", &token))]),
            ),
        ]);
        let same = serde_json::json!({"json": inner, "object": {"token": "t"}});
        let same = serde_json::to_string_pretty(&same).unwrap();
        assert_eq!(document.expose(), same.as_bytes());
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            text in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let value = SecretValue::copy_of(text.as_bytes());
            let raw = SecretValue::copy_of(&bytes);
            let document = object(&[
                ("text", Part::Text(&text)),
                ("inner", Part::Object(&[
                    ("prefixed", Part::Secret("Bearer ", &value)),
                    ("bytes", Part::Base64(&raw)),
                    ("json", Part::Json("[1,null]")),
                ])),
            ]);
            let value: serde_json::Value = serde_json::from_slice(document.expose()).unwrap();
            prop_assert_eq!(value, serde_json::json!({
                "text": text,
                "inner": {
                    "prefixed": format!("Bearer {text}"),
                    "bytes": BASE64.encode(&bytes),
                    "json": [1, null],
                },
            }));
        }
    }
}
