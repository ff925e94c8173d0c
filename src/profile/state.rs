//! `auth-state.json`: stored order, last good profile, usage. No secrets.
//!
//! Era A keeps the same tables inside `auth-profiles.json`; both are read and merged, and this file
//! wins per provider and per profile. Edits go to this file only.

use super::cooldown::{Cooldowns, FailureReport, after_failure};
use super::{ProfileError, Store, Usage, normal_provider};
use crate::document::{Document, Path};
use crate::name::ProfileId;
use crate::time::UnixMs;
use serde_json::Value;
use std::collections::BTreeMap;

/// The most profiles that a stored order may hold; more are an error on writing, cut on reading.
pub const MAX_ORDER: usize = 1024;

const NEW_FILE: &str = "{\n  \"version\": 1\n}\n";

/// The state of one agent's profiles.
#[derive(Clone, Debug)]
pub struct State {
    document: Document,
    tables: Tables,
    /// What era A's tables in the store say, below this file.
    inherited: Tables,
}

#[derive(Clone, Debug, Default)]
struct Tables {
    order: BTreeMap<String, Vec<ProfileId>>,
    last_good: BTreeMap<String, ProfileId>,
    usage: BTreeMap<ProfileId, Usage>,
}

impl Tables {
    /// Reads the three tables; an entry of a wrong type counts as absent, and stays in the file.
    fn read(root: &Value) -> Self {
        let table = |key: &str| {
            root.get(key)
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
        };
        let order = table("order").filter_map(|(provider, ids)| {
            let ids = ids.as_array()?.iter().take(MAX_ORDER);
            let ids: Vec<_> = ids.filter_map(|id| id.as_str()?.parse().ok()).collect();
            Some((normal_provider(provider), ids))
        });
        let last_good = table("lastGood").filter_map(|(provider, id)| {
            Some((normal_provider(provider), id.as_str()?.parse().ok()?))
        });
        let usage = table("usageStats")
            .filter_map(|(id, usage)| Some((id.parse().ok()?, Usage::read(usage))));
        Self {
            order: order.collect(),
            last_good: last_good.collect(),
            usage: usage.collect(),
        }
    }
}

impl State {
    /// The state when there is no file, in the form of a new one.
    ///
    /// # Errors
    /// None; the type is that of [`State::parse`].
    pub fn empty(name: &str, store: &Store) -> Result<Self, ProfileError> {
        Self::parse(NEW_FILE, name, store)
    }

    /// Reads a file's text; `name` is what errors call it, `store` may hold era A's tables.
    ///
    /// # Errors
    /// Not JSON, with the place; not an object.
    pub fn parse(text: &str, name: &str, store: &Store) -> Result<Self, ProfileError> {
        let document = Document::parse(text, name)?;
        if !document.value().is_object() {
            let file = name.to_owned();
            return Err(ProfileError::Shape {
                file,
                problem: "is not an object",
            });
        }
        let tables = Tables::read(document.value());
        Ok(Self {
            document,
            tables,
            inherited: Tables::read(store.root()),
        })
    }

    /// The text of the file, with every edit.
    pub fn text(&self) -> &str {
        self.document.text()
    }

    /// What errors call the file.
    pub fn name(&self) -> &str {
        self.document.name()
    }

    /// True if the file would say nothing: it need not be there.
    pub fn is_empty(&self) -> bool {
        let says_something = |(key, value): (&String, &Value)| {
            key != "version" && value.as_object().is_none_or(|table| !table.is_empty())
        };
        !self
            .document
            .value()
            .as_object()
            .into_iter()
            .flatten()
            .any(says_something)
    }

    /// The stored order of a provider. An empty one counts as none.
    pub fn order(&self, provider: &str) -> Option<&[ProfileId]> {
        let provider = normal_provider(provider);
        let order = self.tables.order.get(&provider);
        let order = order.or_else(|| self.inherited.order.get(&provider))?;
        (!order.is_empty()).then_some(order.as_slice())
    }

    /// The profile of a provider that worked last.
    pub fn last_good(&self, provider: &str) -> Option<&ProfileId> {
        let provider = normal_provider(provider);
        self.tables
            .last_good
            .get(&provider)
            .or_else(|| self.inherited.last_good.get(&provider))
    }

    /// How a profile has fared.
    pub fn usage(&self, id: &ProfileId) -> Option<&Usage> {
        self.tables
            .usage
            .get(id)
            .or_else(|| self.inherited.usage.get(id))
    }

    /// Stores the order of a provider; an empty one clears it.
    ///
    /// # Errors
    /// More than [`MAX_ORDER`] ids; a table of another shape in the way.
    pub fn set_order(&mut self, provider: &str, ids: &[ProfileId]) -> Result<(), ProfileError> {
        if ids.len() > MAX_ORDER {
            let file = self.name().to_owned();
            return Err(ProfileError::Shape {
                file,
                problem: "an order holds at most 1024 ids",
            });
        }
        let provider = normal_provider(provider);
        let at = Path::of_keys(["order", &self.key("order", &provider)]);
        // An empty list hides the order that era A's table has.
        if ids.is_empty() && !self.inherited.order.contains_key(&provider) {
            self.edit(|document| document.remove(&at).map(|_| ()))
        } else {
            let ids = ids.iter().map(|id| Value::from(id.as_str())).collect();
            self.edit(|document| document.set(&at, Value::Array(ids)))
        }
    }

    /// Notes that a profile worked: it is the last good one of its provider, and used `now`. The
    /// counters and windows of failures are cleared.
    ///
    /// # Errors
    /// A table of another shape in the way.
    pub fn record_success(
        &mut self,
        provider: &str,
        id: &ProfileId,
        now: UnixMs,
    ) -> Result<(), ProfileError> {
        let provider = normal_provider(provider);
        let good = Path::of_keys(["lastGood", &self.key("lastGood", &provider)]);
        let usage = Usage {
            last_used: Some(now),
            ..Usage::default()
        };
        self.edit(|document| document.set(&good, id.as_str().into()))?;
        self.write_usage(id, &usage)
    }

    /// Notes that a profile failed, as [`after_failure`] says.
    ///
    /// # Errors
    /// A table of another shape in the way.
    pub fn record_failure(
        &mut self,
        provider: &str,
        id: &ProfileId,
        report: &FailureReport<'_>,
        rules: &Cooldowns,
        now: UnixMs,
    ) -> Result<(), ProfileError> {
        let provider = normal_provider(provider);
        let before = self.usage(id).cloned().unwrap_or_default();
        self.write_usage(id, &after_failure(&before, &provider, report, rules, now))
    }

    /// Notes that a profile has a new credential, which did not fail yet: the counters and windows
    /// of failures are cleared.
    ///
    /// # Errors
    /// A table of another shape in the way.
    pub fn record_new_credential(&mut self, id: &ProfileId) -> Result<(), ProfileError> {
        let last_used = self.usage(id).and_then(|usage| usage.last_used);
        self.write_usage(
            id,
            &Usage {
                last_used,
                ..Usage::default()
            },
        )
    }

    /// Notes that a profile was handed out `now`, so that others of its type come before it.
    ///
    /// # Errors
    /// A table of another shape in the way.
    pub fn record_use(&mut self, id: &ProfileId, now: UnixMs) -> Result<(), ProfileError> {
        let before = self.usage(id).cloned().unwrap_or_default();
        let last_used = Some(now);
        self.write_usage(
            id,
            &Usage {
                last_used,
                ..before
            },
        )
    }

    /// Writes what differs from this file's own entry; members that we don't know stay.
    fn write_usage(&mut self, id: &ProfileId, usage: &Usage) -> Result<(), ProfileError> {
        let at = Path::of_keys(["usageStats", id.as_str()]);
        let own = self.tables.usage.get(id).cloned().unwrap_or_default();
        let (own, new) = (own.members(), usage.members());
        self.edit(|document| {
            for ((name, old), (_, new)) in own.into_iter().zip(new) {
                match new {
                    None if old.is_none() => {}
                    None => drop(document.remove(&at.join(name))?),
                    Some(value) if old.as_ref() == Some(&value) => {}
                    Some(value) => document.set(&at.join(name), value)?,
                }
            }
            Ok(())
        })
    }

    /// The key as it stands in a table of providers, else the normal form.
    fn key(&self, table: &str, provider: &str) -> String {
        let table = self.document.value().get(table).and_then(Value::as_object);
        let mut keys = table.into_iter().flat_map(|table| table.keys());
        let found = keys.find(|key| normal_provider(key) == provider);
        found.cloned().unwrap_or_else(|| provider.to_owned())
    }

    fn edit(
        &mut self,
        change: impl FnOnce(&mut Document) -> Result<(), crate::document::DocumentError>,
    ) -> Result<(), ProfileError> {
        let mut document = self.document.clone();
        change(&mut document)?;
        self.tables = Tables::read(document.value());
        self.document = document;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
