//! The quick way to read a document that is plain JSON, as most large ones are.
//!
//! Invariant: what is read here, the full reader reads too, and as the same value; everything else
//! (comments, JSON5, any error) is left to it. It alone knows places.

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// The value of a text; `None` if it is not plain JSON or breaks a rule of documents.
pub(super) fn read(text: &str) -> Option<Value> {
    // Its own limit of depth is a little under that of documents.
    let mut from = serde_json::Deserializer::from_str(text);
    let value = Plain.deserialize(&mut from).ok()?;
    from.end().ok()?;
    Some(value)
}

/// Any value, in which no key stands twice in one object.
struct Plain;

impl<'de> DeserializeSeed<'de> for Plain {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Plain {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not finite"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(Plain)? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(Plain)?;
            if object.insert(key, value).is_some() {
                return Err(de::Error::custom("a key that stands twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::super::read_with_places;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn agrees(text: &str) -> bool {
        match read(text) {
            Some(value) => read_with_places(text, "test.json").as_ref() == Ok(&value),
            None => true,
        }
    }

    #[test]
    fn plain_json_is_read_here() {
        let text = " {\"a\": [1, -2, 18446744073709551615, 0.5, 1E-7, \"\\ud83d\\ude00\\n\"],\r\n\
                    \t\"b\": null, \"\": {\"c\": true}} ";
        let expected = json!({
            "a": [1, -2, u64::MAX, 0.5, 1e-7, "😀\n"], "b": null, "": {"c": true},
        });
        assert_eq!(read(text), Some(expected));
        assert!(agrees(text));
    }

    #[test]
    fn the_rest_is_left_to_the_full_reader() {
        let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
        for text in [
            "{\"a\": 1, \"a\": 1}",
            "{\"a\": {\"b\": 1, \"\\u0062\": 1}}",
            "{} // c",
            "{\"a\": 1,}",
            "{a: 1}",
            "1e999",
            "{} {}",
            "\"\\ud83d\"",
            "",
            &deep,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert!(agrees(&deep[1..deep.len() - 1]));
    }

    proptest! {
        #[test]
        fn both_readers_agree_on_strings(text in any::<String>()) {
            let text = json!({ &text: text }).to_string();
            prop_assert!(read(&text).is_some() && agrees(&text));
        }

        #[test]
        fn both_readers_agree_on_numbers(bits in any::<u64>(), text in "-?[0-9.eE+-]{1,24}") {
            prop_assert!(agrees(&text), "{}", text);
            let text = json!(f64::from_bits(bits)).to_string();
            prop_assert!(read(&text).is_some() && agrees(&text), "{}", text);
        }

        #[test]
        fn both_readers_agree_on_any_text(
            text in "[\\[\\]{}\",:\\\\/*ufn0-9a\\-+. \n\t\r\u{b}\u{a0}]{0,24}",
            inside in "([,:]|\"a\"|\"b\\\\\\\\u0061\"|[\\[\\]{}]|-0|1.5|true|null| ){0,12}",
        ) {
            prop_assert!(agrees(&text), "{}", text);
            prop_assert!(agrees(&inside), "{}", inside);
            let object = format!("{{{inside}}}");
            prop_assert!(agrees(&object), "{}", object);
        }
    }
}
