//! The concrete syntax tree of a document that is edited, with a table of the members of each
//! object that was stepped into: a step costs the same whatever else an object holds.

use super::Segment;
use super::edit::{input, nested};
use jsonc_parser::cst::{CstInputValue, CstNode, CstObjectProp};
use serde_json::Value;
use std::collections::HashMap;

/// A value in the tree.
pub(super) struct Node {
    cst: CstNode,
    inner: Option<Inner>,
}

/// What a value holds.
enum Inner {
    Members(HashMap<String, Node>),
    Elements(Vec<Node>),
    Nothing,
}

impl Node {
    /// A value that was not stepped into yet.
    pub(super) fn of(cst: CstNode) -> Self {
        Self { cst, inner: None }
    }

    fn of_property(property: &CstObjectProp) -> Option<(String, Self)> {
        let name = property.name()?.decoded_value().ok()?;
        Some((name, Self::of(property.value()?)))
    }

    fn inner(&mut self) -> &mut Inner {
        self.inner.get_or_insert_with(|| {
            if let Some(object) = self.cst.as_object() {
                let properties = object.properties();
                Inner::Members(properties.iter().filter_map(Self::of_property).collect())
            } else if let Some(array) = self.cst.as_array() {
                Inner::Elements(array.elements().into_iter().map(Self::of).collect())
            } else {
                Inner::Nothing
            }
        })
    }

    /// Puts `value` at a path below; `None` if something else than an object or array is in the
    /// way.
    pub(super) fn set(&mut self, path: &[Segment], value: &Value) -> Option<()> {
        let Some((segment, rest)) = path.split_first() else {
            return self.replace(input(value));
        };
        if self.cst.as_null_keyword().is_some() {
            return self.replace(nested(path, value)?);
        }
        let cst = self.cst.clone();
        match self.inner() {
            Inner::Members(members) => {
                let key = segment.as_key()?;
                if let Some(member) = members.get_mut(key) {
                    return member.set(rest, value);
                }
                let new = cst.as_object()?.append(key, nested(rest, value)?);
                members.extend(Self::of_property(&new));
            }
            Inner::Elements(elements) => {
                let index = segment.as_index()?;
                if index != elements.len() {
                    return elements.get_mut(index)?.set(rest, value);
                }
                let new = cst.as_array()?.append(nested(rest, value)?);
                elements.push(Self::of(new));
            }
            Inner::Nothing => return None,
        }
        Some(())
    }

    /// Takes out what stands at a path below; `None` if nothing does.
    pub(super) fn remove(&mut self, path: &[Segment]) -> Option<()> {
        let (segment, rest) = path.split_first()?;
        match self.inner() {
            Inner::Members(members) => {
                let key = segment.as_key()?;
                if !rest.is_empty() {
                    return members.get_mut(key)?.remove(rest);
                }
                let gone = members.remove(key)?;
                gone.cst.parent()?.as_object_prop()?.remove();
            }
            Inner::Elements(elements) => {
                let index = segment.as_index().filter(|index| *index < elements.len())?;
                if !rest.is_empty() {
                    return elements[index].remove(rest);
                }
                elements.remove(index).cst.remove();
            }
            Inner::Nothing => return None,
        }
        Some(())
    }

    fn replace(&mut self, value: CstInputValue) -> Option<()> {
        let parent = self.cst.parent()?;
        let new = if let Some(property) = parent.as_object_prop() {
            property.set_value(value);
            property.value()
        } else if let Some(root) = parent.as_root() {
            root.set_value(value);
            root.value()
        } else if let Some(old) = self.cst.as_object() {
            old.replace_with(value)
        } else if let Some(old) = self.cst.as_array() {
            old.replace_with(value)
        } else if let Some(old) = self.cst.as_string_lit() {
            old.replace_with(value)
        } else if let Some(old) = self.cst.as_number_lit() {
            old.replace_with(value)
        } else if let Some(old) = self.cst.as_boolean_lit() {
            old.replace_with(value)
        } else {
            self.cst.as_null_keyword()?.replace_with(value)
        };
        *self = Self::of(new?);
        Some(())
    }
}
