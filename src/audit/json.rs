//! JSON of any kind: every string and every key, judged by where it stands, by what its field is
//! called, and by what it looks like.
//!
//! Invariant: a string is reported at most once, under the code that says most.

use super::report::{Finding, FindingCode};
use super::{Audit, credential};
use crate::config::target;
use crate::document::{Path, Segment};
use crate::family::{Place, PlaceKind};
use crate::plaintext::marker::{self, Marker};
use crate::plaintext::pattern;
use crate::reference::input::resembles_ref;
use serde_json::{Map, Value};

/// Where a JSON text stands: a file, or a cell of a database.
pub(super) struct Origin<'a> {
    pub place: &'a Place,
    /// What its content is.
    pub kind: PlaceKind,
    /// The table and the row.
    pub cell: Option<(&'a str, &'a str)>,
}

impl Origin<'_> {
    /// True if a runtime reads credentials from here.
    fn is_live(&self) -> bool {
        !matches!(
            self.kind,
            PlaceKind::Session | PlaceKind::Other | PlaceKind::AuthState | PlaceKind::History
        )
    }

    /// The code of a secret here.
    pub fn code(&self, vault: bool) -> FindingCode {
        match self.kind {
            _ if self.place.backup => FindingCode::BackupPlaintext,
            PlaceKind::LegacyAuth | PlaceKind::LegacyOAuth => FindingCode::LegacyResidue,
            _ if self.is_live() => FindingCode::PlaintextFound,
            _ if vault => FindingCode::VaultCopy,
            _ => FindingCode::KeyFound,
        }
    }

    /// A finding here.
    pub fn finding(&self, code: FindingCode, message: impl Into<String>) -> Finding {
        Finding {
            table: self.cell.map(|(table, _)| table.to_owned()),
            row: self.cell.map(|(_, row)| row.to_owned()),
            ..Finding::new(code, &self.place.path, message)
        }
    }
}

/// Looks at a whole value.
pub(super) fn look(audit: &mut Audit<'_>, origin: &Origin<'_>, value: &Value) {
    let mut walk = Walk {
        audit,
        origin,
        path: Path::root(),
    };
    walk.value(value, None);
}

struct Walk<'w, 'a> {
    audit: &'w mut Audit<'a>,
    origin: &'w Origin<'w>,
    path: Path,
}

impl Walk<'_, '_> {
    fn value(&mut self, value: &Value, parent: Option<&Map<String, Value>>) {
        match value {
            Value::String(text) => self.text(text, parent),
            Value::Array(array) => {
                for (index, value) in array.iter().enumerate() {
                    self.path.push(Segment::Index(index));
                    self.value(value, parent);
                    self.path.pop();
                }
            }
            Value::Object(object) if resembles_ref(value) => self.reference(object),
            Value::Object(object) => {
                for (key, value) in object {
                    self.key(key);
                    self.path.push(Segment::Key(key.as_str().into()));
                    self.value(value, Some(object));
                    self.path.pop();
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A ref has no place in a generated file: the runtime takes only markers there.
    fn reference(&mut self, object: &Map<String, Value>) {
        if self.origin.kind == PlaceKind::Models && !self.origin.place.backup {
            let mut finding = self.origin.finding(
                FindingCode::RefUnresolved,
                format!("{} is a ref, which a generated file can't hold.", self.path),
            );
            finding.json_path = Some(self.path.to_string());
            self.audit.add(finding);
        }
        for (key, value) in object {
            if !matches!(key.as_str(), "source" | "provider" | "id") {
                self.path.push(Segment::Key(key.as_str().into()));
                self.value(value, Some(object));
                self.path.pop();
            }
        }
    }

    /// A secret can be a key too.
    fn key(&mut self, key: &str) {
        let record = self.audit.record_of(key.as_bytes()).cloned();
        let form = pattern::find(key.as_bytes()).next();
        let form = form.map(|place| place.name);
        if record.is_none() && form.is_none() {
            return;
        }
        let what = form.unwrap_or("copy of a secret of the vault");
        let at = self.shown();
        let message = format!("A key of the object {at} is a secret: {what}.");
        let mut finding = self
            .origin
            .finding(self.origin.code(record.is_some()), message);
        finding.json_path = Some(at);
        finding.record = record.map(|name| name.to_string());
        self.audit.add(finding);
    }

    fn shown(&self) -> String {
        if self.path.segments().is_empty() {
            "<root>".to_owned()
        } else {
            self.path.to_string()
        }
    }

    fn text(&mut self, text: &str, parent: Option<&Map<String, Value>>) {
        let exact = self.is_exact(parent);
        let named = exact || self.is_named();
        let marker = marker::of(text);
        if marker == Some(Marker::Redacted) && named {
            let message = format!("{} holds a runtime's placeholder, no secret.", self.path);
            return self.add(FindingCode::PlaceholderValue, message, None, parent);
        }
        let record = self
            .audit
            .record_of(text.as_bytes())
            .map(ToString::to_string);
        let form = pattern::find(text.as_bytes()).next();
        let form = form.map(|place| place.name);
        let by_name = marker.is_none() && (exact || (named && credential::looks_secret(text)));
        let by_address = credential::has_password(text);
        if !by_name && record.is_none() && form.is_none() && !by_address {
            return;
        }
        let oauth = self.field().is_some_and(credential::is_oauth_field);
        let is_store = self.origin.kind == PlaceKind::AuthProfiles && by_name;
        let code = match self.origin.code(record.is_some()) {
            FindingCode::PlaintextFound if is_store && oauth => FindingCode::LegacyResidue,
            code => code,
        };
        let at = self.shown();
        let what = match (form, by_address) {
            (Some(form), _) => format!(" ({form})"),
            (None, true) => " (an address with a password)".to_owned(),
            (None, false) => String::new(),
        };
        let message = format!("{at} is stored as plaintext{what}.");
        self.add(code, message, record, parent);
    }

    fn add(
        &mut self,
        code: FindingCode,
        message: String,
        record: Option<String>,
        parent: Option<&Map<String, Value>>,
    ) {
        let mut finding = self.origin.finding(code, message);
        finding.json_path = Some(self.shown());
        let segments = self.path.segments();
        let key = |i: usize| segments.get(i).and_then(Segment::as_key);
        let text = |name: &str| {
            let value = parent.and_then(|parent| parent.get(name));
            value.and_then(Value::as_str).map(str::to_owned)
        };
        match self.origin.kind {
            PlaceKind::AuthProfiles => {
                let id = segments.len().checked_sub(2).and_then(key);
                finding.profile_id = id.map(|id| self.audit.safe(id));
                finding.provider = text("provider").map(|provider| self.audit.safe(&provider));
            }
            PlaceKind::LegacyAuth | PlaceKind::LegacyOAuth => {
                finding.provider = key(0).map(|provider| self.audit.safe(provider));
            }
            PlaceKind::Config if key(0) == Some("models") && key(1) == Some("providers") => {
                finding.provider = key(2).map(|provider| self.audit.safe(provider));
            }
            _ => {}
        }
        if let Some(record) = &record {
            finding.remedy = format!("it is in the vault as {record}; {}", finding.remedy);
        }
        finding.record = record;
        self.audit.add(finding);
    }

    /// The innermost key.
    fn field(&self) -> Option<&str> {
        self.path
            .segments()
            .iter()
            .rev()
            .find_map(|segment| match segment {
                Segment::Key(key) => Some(&**key),
                Segment::Index(_) => None,
            })
    }

    /// True where anything that is no marker is a secret.
    fn is_exact(&self, parent: Option<&Map<String, Value>>) -> bool {
        let segments = self.path.segments();
        let field = self.path.last().and_then(Segment::as_key);
        match self.origin.kind {
            PlaceKind::Config => target::find(segments).is_some_and(|found| {
                !found.by_name || field.is_some_and(target::is_sensitive_name)
            }),
            PlaceKind::AuthProfiles | PlaceKind::LegacyAuth | PlaceKind::LegacyOAuth => {
                let is_entry = parent.is_some_and(|p| p.get("source").is_none());
                is_entry && segments.len() >= 2 && field.is_some_and(credential::is_store_field)
            }
            PlaceKind::Models | PlaceKind::Catalog => field == Some("apiKey"),
            PlaceKind::TokenFile => true,
            _ => false,
        }
    }

    /// True if the field is called like one that holds a credential.
    fn is_named(&self) -> bool {
        let Some(field) = self.field() else {
            return false;
        };
        let around = self.path.segments().iter().rev().nth(1);
        let in_table = around
            .and_then(Segment::as_key)
            .is_some_and(|around| matches!(around, "env" | "vars" | "headers"));
        credential::is_field(field)
            || (in_table && (credential::is_variable(field) || target::is_sensitive_name(field)))
            || (crate::reference::is_env_name(field) && credential::is_variable(field))
    }
}
