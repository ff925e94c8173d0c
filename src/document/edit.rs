//! One edit of a document's text, over the concrete syntax tree; and the same on its value.

use super::{BOM, Document, DocumentError, Path, Segment, options};
use jsonc_parser::cst::{CstInputValue, CstNode, CstRootNode};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// The text with `value` at `path`.
pub(super) fn set(
    document: &Document,
    path: &Path,
    value: &Value,
) -> Result<Zeroizing<String>, DocumentError> {
    let (root, bom) = tree(document, path)?;
    let blocked = || DocumentError::Blocked {
        file: document.name.clone(),
        path: path.clone(),
    };
    let mut segments = path.segments();
    let Some(mut node) = root.value() else {
        return Err(blocked());
    };
    while let Some((segment, rest)) = segments.split_first() {
        if node.as_null_keyword().is_some() {
            break;
        }
        if let Some(object) = node.as_object() {
            let key = segment.as_key().ok_or_else(blocked)?;
            match object.get(key).map(|property| property.value()) {
                Some(Some(value)) => node = value,
                Some(None) => return Err(blocked()),
                None => {
                    object.append(key, nested(rest, value).ok_or_else(blocked)?);
                    return Ok(print(&root, bom));
                }
            }
        } else if let Some(array) = node.as_array() {
            let index = segment.as_index().ok_or_else(blocked)?;
            let mut elements = array.elements();
            if index == elements.len() {
                array.append(nested(rest, value).ok_or_else(blocked)?);
                return Ok(print(&root, bom));
            }
            if index > elements.len() {
                return Err(blocked());
            }
            node = elements.swap_remove(index);
        } else {
            return Err(blocked());
        }
        segments = rest;
    }
    replace(node, nested(segments, value).ok_or_else(blocked)?).ok_or_else(blocked)?;
    Ok(print(&root, bom))
}

/// The text without what stands at `path`, which exists.
pub(super) fn remove(document: &Document, path: &Path) -> Result<Zeroizing<String>, DocumentError> {
    let (root, bom) = tree(document, path)?;
    let edit = || DocumentError::Edit {
        file: document.name.clone(),
        path: path.clone(),
    };
    let (last, way) = path.segments().split_last().ok_or_else(edit)?;
    let mut node = root.value().ok_or_else(edit)?;
    for segment in way {
        node = child(&node, segment).ok_or_else(edit)?;
    }
    if let Some(object) = node.as_object() {
        last.as_key()
            .and_then(|key| object.get(key))
            .ok_or_else(edit)?
            .remove();
    } else {
        child(&node, last).ok_or_else(edit)?.remove();
    }
    Ok(print(&root, bom))
}

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

fn tree<'a>(document: &'a Document, path: &Path) -> Result<(CstRootNode, &'a str), DocumentError> {
    let text: &'a str = document.text.as_str();
    let body = text.strip_prefix(BOM).unwrap_or(text);
    let bom = &text[..text.len() - body.len()];
    let root = CstRootNode::parse(body, &options()).map_err(|_| DocumentError::Edit {
        file: document.name.clone(),
        path: path.clone(),
    })?;
    Ok((root, bom))
}

fn print(root: &CstRootNode, bom: &str) -> Zeroizing<String> {
    let body = Zeroizing::new(root.to_string());
    let mut text = Zeroizing::new(String::with_capacity(bom.len() + body.len()));
    text.push_str(bom);
    text.push_str(&body);
    text
}

fn child(node: &CstNode, segment: &Segment) -> Option<CstNode> {
    if let Some(object) = node.as_object() {
        return object.get(segment.as_key()?)?.value();
    }
    let index = segment.as_index()?;
    node.as_array()?.elements().into_iter().nth(index)
}

fn replace(node: CstNode, value: CstInputValue) -> Option<()> {
    if let Some(property) = node.parent().and_then(|parent| parent.as_object_prop()) {
        property.set_value(value);
    } else if let Some(root) = node.parent().and_then(|parent| parent.as_root()) {
        root.set_value(value);
    } else if let Some(old) = node.as_object() {
        old.replace_with(value)?;
    } else if let Some(old) = node.as_array() {
        old.replace_with(value)?;
    } else if let Some(old) = node.as_string_lit() {
        old.replace_with(value)?;
    } else if let Some(old) = node.as_number_lit() {
        old.replace_with(value)?;
    } else if let Some(old) = node.as_boolean_lit() {
        old.replace_with(value)?;
    } else {
        node.as_null_keyword()?.replace_with(value)?;
    }
    Some(())
}

/// `value` inside the objects that the rest of a path needs. There is no array to take an index.
fn nested(rest: &[Segment], value: &Value) -> Option<CstInputValue> {
    rest.iter()
        .rev()
        .try_fold(input(value), |inner, segment| match segment {
            Segment::Key(key) => Some(CstInputValue::Object(vec![(key.clone(), inner)])),
            Segment::Index(_) => None,
        })
}

fn input(value: &Value) -> CstInputValue {
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
