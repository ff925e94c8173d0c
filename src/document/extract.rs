//! JSON that holds secrets: only the asked parts are taken out, straight into locked memory.
//!
//! Invariants: no tree of values is built and no string is copied but the asked ones; an error
//! names line and column, never content. Of equal keys the last one counts, as in the family.

use crate::secret::SecretValue;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;

/// Where a text stops being JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1; 0 if the line is empty.
    pub column: usize,
}

/// What a JSON text is, judged by its first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An object.
    Object,
    /// An array.
    Array,
    /// A string.
    Text,
    /// A number, a literal, or no JSON at all.
    Other,
}

/// Why a pointer gives no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Nothing stands there.
    Absent,
    /// What stands there is not a string.
    NotText,
    /// The string has half of a surrogate pair, which no UTF-8 text can hold.
    NotUnicode,
}

/// The shape of a JSON text.
pub fn shape(text: &str) -> Shape {
    match text
        .trim_start_matches([' ', '\t', '\n', '\r'])
        .as_bytes()
        .first()
    {
        Some(b'{') => Shape::Object,
        Some(b'[') => Shape::Array,
        Some(b'"') => Shape::Text,
        _ => Shape::Other,
    }
}

/// Checks that the whole text is one JSON value.
pub fn check(text: &str) -> Result<(), Place> {
    parse(text, std::marker::PhantomData::<IgnoredAny>).map(|_| ())
}

/// The wanted members of a JSON object, as JSON texts; `wanted` maps a key to its place in the
/// answer. The whole text is checked.
pub fn members<'a>(
    text: &'a str,
    wanted: &HashMap<&str, usize>,
) -> Result<Vec<Option<&'a str>>, Place> {
    parse(
        text,
        Wanted {
            keys: Some(wanted),
            indices: None,
            count: wanted.len(),
        },
    )
}

/// The strings that JSON pointers (RFC 6901) lead to, in their order. Each level is read once,
/// however many pointers go through it. The whole text is checked first.
pub fn extract(text: &str, pointers: &[&str]) -> Result<Vec<Result<SecretValue, Miss>>, Place> {
    if !matches!(shape(text), Shape::Object | Shape::Array) {
        check(text)?;
    }
    let paths: Vec<Vec<String>> = pointers.iter().map(|pointer| segments(pointer)).collect();
    let mut values: Vec<_> = paths.iter().map(|_| Err(Miss::Absent)).collect();
    let mut open = vec![(text, 0, (0..paths.len()).collect::<Vec<usize>>())];
    while let Some((part, depth, group)) = open.pop() {
        let mut next: HashMap<&str, Vec<usize>> = HashMap::new();
        for place in group {
            match paths[place].get(depth) {
                None => values[place] = unescape(part),
                Some(segment) => next.entry(segment).or_default().push(place),
            }
        }
        let (names, groups): (Vec<&str>, Vec<Vec<usize>>) = next.into_iter().unzip();
        if depth > 0 && names.is_empty() {
            continue;
        }
        let found = children(part, &names)?;
        for (child, group) in found.into_iter().zip(groups) {
            if let Some(child) = child {
                open.push((child, depth + 1, group));
            }
        }
    }
    Ok(values)
}

/// The content of a JSON string (with its quotes), in locked memory at its final size.
pub fn unescape(text: &str) -> Result<SecretValue, Miss> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    let inside = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let inside = inside.ok_or(Miss::NotText)?;
    let mut len = 0;
    decode(inside, &mut |part| len += part.len())?;
    SecretValue::try_build(len, |target| {
        let mut at = 0;
        decode(inside, &mut |part| {
            target[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        })
    })
}

/// Gives the parts of the content of a JSON string (without its quotes) for `text`.
pub fn escape(text: &str, put: &mut dyn FnMut(&[u8])) {
    let mut rest = text.as_bytes();
    while let Some(place) = rest
        .iter()
        .position(|b| *b < 0x20 || *b == b'"' || *b == b'\\')
    {
        put(&rest[..place]);
        match rest[place] {
            b'"' => put(b"\\\""),
            b'\\' => put(b"\\\\"),
            b'\n' => put(b"\\n"),
            b'\r' => put(b"\\r"),
            b'\t' => put(b"\\t"),
            0x08 => put(b"\\b"),
            0x0c => put(b"\\f"),
            control => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                put(b"\\u00");
                put(&[digit(control >> 4), digit(control & 15)]);
            }
        }
        rest = &rest[place + 1..];
    }
    put(rest);
}

fn segments(pointer: &str) -> Vec<String> {
    let unescaped = |segment: &str| segment.replace("~1", "/").replace("~0", "~");
    pointer.split('/').skip(1).map(unescaped).collect()
}

/// The named children of an object, or the numbered ones of an array.
fn children<'a>(text: &'a str, names: &[&str]) -> Result<Vec<Option<&'a str>>, Place> {
    match shape(text) {
        Shape::Object => {
            let wanted = names
                .iter()
                .enumerate()
                .map(|(place, name)| (*name, place))
                .collect();
            members(text, &wanted)
        }
        Shape::Array => {
            let place = |(place, name): (usize, &&str)| Some((array_index(name)?, place));
            let wanted = names.iter().enumerate().filter_map(place).collect();
            parse(
                text,
                Wanted {
                    keys: None,
                    indices: Some(&wanted),
                    count: names.len(),
                },
            )
        }
        Shape::Text | Shape::Other => Ok(vec![None; names.len()]),
    }
}

/// An array index of RFC 6901: digits without a leading zero.
fn array_index(segment: &str) -> Option<usize> {
    let plain = segment == "0" || !segment.starts_with(['0', '+']);
    if plain { segment.parse().ok() } else { None }
}

fn parse<'de, S: DeserializeSeed<'de>>(text: &'de str, seed: S) -> Result<S::Value, Place> {
    let place = |error: serde_json::Error| Place {
        line: error.line(),
        column: error.column(),
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut deserializer).map_err(place)?;
    deserializer.end().map_err(place)?;
    Ok(value)
}

/// Collects some members of an object, or some elements of an array, as raw JSON.
struct Wanted<'w> {
    keys: Option<&'w HashMap<&'w str, usize>>,
    indices: Option<&'w HashMap<usize, usize>>,
    count: usize,
}

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Vec<Option<&'de str>>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        if self.keys.is_some() {
            from.deserialize_map(self)
        } else {
            from.deserialize_seq(self)
        }
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Vec<Option<&'de str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.count];
        while let Some(place) = map.next_key_seed(Key(self.keys))? {
            match place {
                Some(place) => found[place] = Some(map.next_value::<&RawValue>()?.get()),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.count];
        let mut index = 0;
        while let Some(element) = seq.next_element::<&RawValue>()? {
            if let Some(place) = self.indices.and_then(|indices| indices.get(&index)) {
                found[*place] = Some(element.get());
            }
            index += 1;
        }
        Ok(found)
    }
}

/// A key of an object: its place, if it is wanted.
struct Key<'w>(Option<&'w HashMap<&'w str, usize>>);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.and_then(|wanted| wanted.get(key)).copied())
    }
}

/// Gives the parts of a string without its escapes. The parser has checked their form.
fn decode(inside: &str, put: &mut dyn FnMut(&[u8])) -> Result<(), Miss> {
    let mut rest = inside;
    while let Some((plain, escaped)) = rest.split_once('\\') {
        put(plain.as_bytes());
        let kind = *escaped.as_bytes().first().ok_or(Miss::NotText)?;
        let mut used = 1;
        match kind {
            b'"' | b'\\' | b'/' => put(&[kind]),
            b'b' => put(b"\x08"),
            b'f' => put(b"\x0c"),
            b'n' => put(b"\n"),
            b'r' => put(b"\r"),
            b't' => put(b"\t"),
            b'u' => {
                let (decoded, len) = unicode_escape(escaped)?;
                put(decoded.encode_utf8(&mut [0; 4]).as_bytes());
                used = len;
            }
            _ => return Err(Miss::NotText),
        }
        rest = &escaped[used..];
    }
    put(rest.as_bytes());
    Ok(())
}

/// The character of `uXXXX`, or of `uXXXX\uXXXX` for a surrogate pair, and how many bytes it took.
fn unicode_escape(text: &str) -> Result<(char, usize), Miss> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 4).ok_or(Miss::NotText)?;
        u32::from_str_radix(digits, 16).map_err(|_| Miss::NotText)
    };
    let first = unit(1)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 5));
    }
    let is_pair = (0xd800..0xdc00).contains(&first) && text.get(5..7) == Some("\\u");
    let second = if is_pair {
        unit(7)?
    } else {
        return Err(Miss::NotUnicode);
    };
    if !(0xdc00..0xe000).contains(&second) {
        return Err(Miss::NotUnicode);
    }
    let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    char::from_u32(code)
        .map(|character| (character, 11))
        .ok_or(Miss::NotUnicode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str, pointers: &[&str]) -> Vec<Result<Vec<u8>, Miss>> {
        let values = extract(text, pointers).unwrap();
        values
            .into_iter()
            .map(|value| value.map(|value| value.expose().to_vec()))
            .collect()
    }

    #[test]
    fn pointers_lead_through_objects_arrays_and_escaped_keys() {
        let text = r#" {"a":{"b/c":"1","d~e":["2",{"f":"3"}]},"":"4","a\u0062":"5","n":7} "#;
        let pointers = [
            "/a/b~1c",
            "/a/d~0e/0",
            "/a/d~0e/1/f",
            "/",
            "/ab",
            "/a",
            "/n",
            "/x",
            "/a/d~0e/00",
        ];
        let found = at(text, &pointers);
        let texts: Vec<_> = found[..5]
            .iter()
            .map(|value| value.clone().unwrap())
            .collect();
        assert_eq!(texts, [b"1", b"2", b"3", b"4", b"5"]);
        assert_eq!(found[5..7], [Err(Miss::NotText), Err(Miss::NotText)]);
        assert_eq!(found[7..], [Err(Miss::Absent), Err(Miss::Absent)]);
    }

    #[test]
    fn one_pointer_may_be_the_beginning_of_another_and_the_last_of_equal_keys_counts() {
        let found = at(r#"{"a":"x","a":{"b":"y"},"a":{"b":"z"}}"#, &["/a", "/a/b"]);
        assert_eq!(found, [Err(Miss::NotText), Ok(b"z".to_vec())]);
    }

    #[test]
    fn a_tilde_and_a_one_is_not_a_slash() {
        assert_eq!(at(r#"{"~1":"x"}"#, &["/~01"]), [Ok(b"x".to_vec())]);
    }

    #[test]
    fn broken_json_is_named_by_its_place_even_behind_the_wanted_part() {
        let place = |text| extract(text, &["/a"]).unwrap_err();
        assert_eq!(
            place("{\"a\":\"x\",\n \"b\" 1}"),
            Place { line: 2, column: 6 }
        );
        assert_eq!(place("{\"a\":\"x\"} y").line, 1);
        assert_eq!(place("{\"a\":\"x\"").line, 1);
        assert_eq!(place("[1,").line, 1);
        assert_eq!(place("").line, 1);
    }

    #[test]
    fn escapes() {
        let text = |raw: &str| unescape(raw).map(|value| value.expose().to_vec());
        assert_eq!(
            text(r#""a\"\\\/\b\f\n\r\t""#),
            Ok(b"a\"\\/\x08\x0c\n\r\t".to_vec())
        );
        assert_eq!(text(r#""\u00e4\ud83d\ude00é""#), Ok("ä😀é".into()));
        assert_eq!(text(r#""\ud83d""#), Err(Miss::NotUnicode));
        assert_eq!(text(r#""\ud83d\u0041""#), Err(Miss::NotUnicode));
        assert_eq!(text(r#""\ude00""#), Err(Miss::NotUnicode));
        assert_eq!(text("1"), Err(Miss::NotText));
    }

    #[test]
    fn depth_does_not_exhaust_the_stack() {
        let deep = format!(
            "{{\"a\":{}\"x\"{}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(at(&deep, &["/a/0/0"]), [Err(Miss::NotText)]);
    }

    proptest! {
        #[test]
        fn unescape_and_escape_agree_with_the_library(text in any::<String>()) {
            let raw = serde_json::to_string(&text).unwrap();
            let value = unescape(&raw).unwrap();
            prop_assert_eq!(value.expose(), text.as_bytes());
            let mut escaped = b"\"".to_vec();
            escape(&text, &mut |part| escaped.extend_from_slice(part));
            escaped.push(b'"');
            prop_assert_eq!(escaped, raw.into_bytes());
        }

        #[test]
        fn extract_takes_any_text(text in "[\\[\\]{}\",:\\\\u0-9a-f ]{0,40}") {
            let accepted = extract(&text, &["/a", "/a/0"]).is_ok();
            let valid = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            // Only keys that we decode and the library skips may differ: halves of pairs.
            prop_assert!(accepted == valid || (valid && text.contains("\\u")), "{}", text);
        }
    }
}
