//! The providers that a plan deletes and puts.

use super::{Work, edit};
use crate::apply::edit::Shown;
use crate::config::Path;
use crate::document::Document;
use crate::error::{Code, Failure};

impl Work<'_> {
    /// First the deletes, then the upserts.
    pub(super) fn providers(&mut self, document: &mut Document) -> Result<(), Failure> {
        let at = |alias: &str| Path::of_keys(["secrets", "providers", alias]);
        for alias in &self.plan.deletes {
            let path = at(alias.as_str());
            let line = self.line(&path);
            if document.remove(&path)? {
                let before = Shown::Text("(the provider)".to_owned());
                self.edits.push(edit(&path, line, before, Shown::Nothing));
            }
        }
        for upsert in &self.plan.upserts {
            if !self.site.own {
                check_family(upsert.alias.as_str(), &upsert.definition)?;
            }
            let path = at(upsert.alias.as_str());
            if document.get(&path) == Some(&upsert.definition) {
                continue;
            }
            let line = self.line(&path);
            let before = match line {
                Some(_) => Shown::Text("(another definition)".to_owned()),
                None => Shown::Nothing,
            };
            let after = Shown::Text(shown_definition(&upsert.definition));
            document.set(&path, upsert.definition.clone())?;
            self.edits.push(edit(&path, line, before, after));
        }
        Ok(())
    }
}

/// Options of ours that make another runtime's config invalid.
fn check_family(alias: &str, definition: &serde_json::Value) -> Result<(), Failure> {
    let refuse = |what: &str| {
        let text = format!("providerUpserts.{alias}: another runtime does not know {what}");
        Err(Failure::new(Code::PlanInvalid, text))
    };
    if definition["source"] == "vault" {
        return refuse("the source vault");
    }
    for key in ["retries", "cacheTtlMs"] {
        if definition.get(key).is_some() {
            return refuse(key);
        }
    }
    Ok(())
}

/// A definition as it may be shown: without the literal values of its `env`.
fn shown_definition(definition: &serde_json::Value) -> String {
    let mut shown = definition.clone();
    if let Some(env) = shown.get_mut("env").and_then(|env| env.as_object_mut()) {
        for value in env.values_mut() {
            *value = "(a value)".into();
        }
    }
    shown.to_string()
}
