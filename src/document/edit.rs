//! What an edit of a document is made of: its text as a tree, new values for it, and the same edit
//! on its value.

use super::{BOM, Document, Segment, options};
use jsonc_parser::cst::{CstInputValue, CstRootNode};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// Puts `value` at a path whose way is known to be free.
pub(super) fn set_value(at: &mut Value, path: &[Segment], value: Value) {
    let Some((segment, rest)) = path.split_first() else {
        *at = value;
        return;
    };
    if at.is_null() {
        *at = Value::Object(Map::new());
    }
    match at {
        Value::Object(object) => {
            if let Some(key) = segment.as_key() {
                let slot = object.entry(key.to_owned()).or_insert(Value::Null);
                set_value(slot, rest, value);
            }
        }
        Value::Array(array) => {
            if let Some(index) = segment.as_index() {
                if index == array.len() {
                    array.push(Value::Null);
                }
                if let Some(slot) = array.get_mut(index) {
                    set_value(slot, rest, value);
                }
            }
        }
        _ => {}
    }
}

/// Takes out what stands at `path`.
pub(super) fn remove_value(at: &mut Value, path: &[Segment]) {
    let Some((segment, rest)) = path.split_first() else {
        return;
    };
    match at {
        Value::Object(object) => {
            let Some(key) = segment.as_key() else { return };
            if rest.is_empty() {
                object.shift_remove(key);
            } else if let Some(inner) = object.get_mut(key) {
                remove_value(inner, rest);
            }
        }
        Value::Array(array) => {
            let Some(index) = segment.as_index().filter(|index| *index < array.len()) else {
                return;
            };
            if rest.is_empty() {
                array.remove(index);
            } else {
                remove_value(&mut array[index], rest);
            }
        }
        _ => {}
    }
}

/// The text as a tree.
pub(super) fn tree(document: &Document) -> Option<CstRootNode> {
    let body = document.text.strip_prefix(BOM).unwrap_or(&document.text);
    super::parsing(body, |body| CstRootNode::parse(body, &options())).ok()
}

/// The text of a tree that was made from a document.
pub(super) fn print(root: &CstRootNode, document: &Document) -> Zeroizing<String> {
    let body = Zeroizing::new(root.to_string());
    let bom = if document.text.starts_with(BOM) {
        BOM.len_utf8()
    } else {
        0
    };
    let mut text = Zeroizing::new(String::with_capacity(bom + body.len()));
    text.push_str(&document.text[..bom]);
    text.push_str(&body);
    text
}

/// `value` inside the objects that the rest of a path needs. There is no array to take an index.
pub(super) fn nested(rest: &[Segment], value: &Value) -> Option<CstInputValue> {
    rest.iter()
        .rev()
        .try_fold(input(value), |inner, segment| match segment {
            Segment::Key(key) => Some(CstInputValue::Object(vec![(key.to_string(), inner)])),
            Segment::Index(_) => None,
        })
}

pub(super) fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(value) => CstInputValue::Number(value.to_string()),
        Value::String(value) => CstInputValue::String(value.clone()),
        Value::Array(values) => CstInputValue::Array(values.iter().map(input).collect()),
        Value::Object(object) => CstInputValue::Object(
            object
                .iter()
                .map(|(key, value)| (key.clone(), input(value)))
                .collect(),
        ),
    }
}
