//! Every place of a config where a secret belongs: the known targets, and every ref object wherever
//! it stands.

use super::{surface, target};
use crate::document::{Path, Segment};
use crate::reference::input::resembles_ref;
use crate::reference::{Defaults, RefError, SecretInput, SecretRef, Source};
use serde_json::{Map, Value};

/// Whether a place is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activity {
    /// In use: its ref is resolved, and required unless optional.
    Active,
    /// Not in use: its ref is reported, never resolved. Says why.
    Inactive(String),
}

impl Activity {
    /// True if the place is in use.
    pub fn is_active(&self) -> bool {
        *self == Activity::Active
    }
}

/// A place where a secret belongs, and what stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The path of the field.
    pub path: Path,
    /// What stands there: a ref, or plaintext (which is not kept), or why neither.
    pub input: Result<SecretInput, RefError>,
    /// Whether the place is in use.
    pub activity: Activity,
    /// `"optional": true` stands beside the field.
    pub optional: bool,
}

impl Input {
    /// What it belongs to, such as `models.providers.openai`.
    pub fn owner(&self) -> Path {
        self.path.prefix(target::owner_len(self.path.segments()))
    }

    /// The ref, if one stands there.
    pub fn reference(&self) -> Option<&SecretRef> {
        self.input.as_ref().ok().and_then(SecretInput::reference)
    }

    /// True if plaintext stands there.
    pub fn is_plaintext(&self) -> bool {
        self.input == Ok(SecretInput::Plaintext)
    }
}

/// Walks the whole config.
pub(super) fn collect(root: &Value, defaults: &Defaults) -> Vec<Input> {
    let mut walk = Walk {
        root,
        defaults,
        path: Path::root(),
        found: Vec::new(),
    };
    if let Some(object) = root.as_object() {
        for (key, value) in object {
            // Provider definitions hold no refs, and their literal `env` is no target.
            if key != "secrets" {
                walk.enter(key.as_str().into(), value, object, None);
            }
        }
    }
    walk.found
}

struct Walk<'a> {
    root: &'a Value,
    defaults: &'a Defaults,
    path: Path,
    found: Vec<Input>,
}

impl Walk<'_> {
    fn enter(
        &mut self,
        segment: Segment,
        value: &Value,
        parent: &Map<String, Value>,
        disabled: Option<&str>,
    ) {
        self.path.push(segment);
        if !self.take(value, parent, disabled) {
            self.descend(value, parent, disabled);
        }
        self.path.pop();
    }

    fn descend(&mut self, value: &Value, parent: &Map<String, Value>, disabled: Option<&str>) {
        match value {
            Value::Object(object) => {
                let here = is_off(object).then(|| format!("{} is disabled", self.path));
                let disabled = disabled.or(here.as_deref());
                for (key, value) in object {
                    self.enter(key.as_str().into(), value, object, disabled);
                }
            }
            Value::Array(array) => {
                for (index, value) in array.iter().enumerate() {
                    self.enter(index.into(), value, parent, disabled);
                }
            }
            _ => {}
        }
    }

    /// Notes what stands here, if it is a place for a secret; true if there is no need to go on.
    fn take(&mut self, value: &Value, parent: &Map<String, Value>, disabled: Option<&str>) -> bool {
        let input = match target::find(self.path.segments()) {
            Some(target) => match SecretInput::parse(value, self.defaults) {
                Ok(SecretInput::Empty | SecretInput::Managed) => return true,
                Ok(SecretInput::Plaintext) if target.by_name && !self.is_sensitive() => {
                    return true;
                }
                // A service account is an object by itself.
                Err(_) if self.is_service_account() && !resembles_ref(value) => {
                    Ok(SecretInput::Plaintext)
                }
                parsed => parsed,
            },
            None if is_whole_ref(value) => SecretInput::parse(value, self.defaults),
            None => return false,
        };
        let reason = disabled.map(str::to_owned);
        let reason = reason.or_else(|| surface::inactive(self.root, &self.path));
        self.found.push(Input {
            path: self.path.clone(),
            input,
            activity: reason.map_or(Activity::Active, Activity::Inactive),
            optional: parent.get("optional") == Some(&Value::Bool(true)),
        });
        true
    }

    fn is_sensitive(&self) -> bool {
        self.path
            .last()
            .and_then(Segment::as_key)
            .is_some_and(target::is_sensitive_name)
    }

    fn is_service_account(&self) -> bool {
        self.path.last().and_then(Segment::as_key) == Some("serviceAccount")
    }
}

/// `"enabled": false`, or the `"disabled": true` of MCP servers.
fn is_off(object: &Map<String, Value>) -> bool {
    object.get("enabled") == Some(&Value::Bool(false))
        || object.get("disabled") == Some(&Value::Bool(true))
}

/// Exactly the three keys, with a source that there is: a ref wherever it stands.
fn is_whole_ref(value: &Value) -> bool {
    let Some(object) = value.as_object() else {
        return false;
    };
    let source = object.get("source").and_then(Value::as_str);
    object.len() == 3
        && source.is_some_and(|source| source.parse::<Source>().is_ok())
        && ["provider", "id"]
            .iter()
            .all(|key| object.get(*key).is_some_and(Value::is_string))
}

#[cfg(test)]
mod tests;
