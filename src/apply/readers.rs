//! The variables of env files that something in the folder still reads.
//!
//! What can't be read may read every variable: then none is taken away. Generated files
//! (`models.json`, `catalog.json`) do not count: their runtime writes them anew from the others.

use super::draft::Draft;
use super::row::{self, Table};
use super::site::{self, Site};
use super::{Content, FileChange};
use crate::document::Document;
use crate::error::Failure;
use crate::family::{Place, PlaceKind};
use crate::reference::input::{is_env_name, resembles_ref};
use crate::reference::{Defaults, SecretInput, Source};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Who reads which variable, once a draft is carried out.
pub(super) struct Readers {
    names: BTreeMap<String, PathBuf>,
    unread: Option<PathBuf>,
}

impl Readers {
    /// Looks into the config and what it includes, profiles of files and rows, and older files.
    ///
    /// # Errors
    /// `config.invalid`, `profiles.invalid`, `file.*` for the config and the agents' profiles.
    pub(super) fn of(draft: &Draft, site: &Site, places: &[Place]) -> Result<Self, Failure> {
        let mut readers = Self {
            names: BTreeMap::new(),
            unread: None,
        };
        let changed = draft.changes.by_file();
        let mut paths = vec![site.config.clone()];
        for agent in site.agents()? {
            paths.push(site.profiles(&agent));
        }
        for path in paths {
            if let Some(document) = file_of(&changed, &path)? {
                readers.value(document.value(), &path);
            }
        }
        for place in places.iter().filter(|place| !place.backup) {
            let document = match place.kind {
                PlaceKind::Include
                | PlaceKind::AuthProfiles
                | PlaceKind::LegacyAuth
                | PlaceKind::LegacyOAuth => file_of(&changed, &place.path),
                PlaceKind::AgentDatabase => row_of(draft, &place.path, Table::Agent),
                PlaceKind::SharedDatabase => row_of(draft, &place.path, Table::Shared),
                _ => continue,
            };
            match document {
                Ok(Some(document)) => readers.value(document.value(), &place.path),
                Ok(None) => {}
                Err(_) => readers.unread = Some(place.path.clone()),
            }
        }
        Ok(readers)
    }

    /// Why the variable has to stay; `None` if nothing reads it.
    pub(super) fn need(&self, name: &str) -> Option<String> {
        let by = self.names.get(name);
        let by = by.map(|path| format!("a ref or a text in {} reads it", path.display()));
        let unread = self.unread.as_ref();
        by.or_else(|| unread.map(|path| format!("{} can't be read, and may", path.display())))
    }

    fn value(&mut self, value: &Value, path: &Path) {
        match value {
            Value::String(text) => self.text(text, path),
            Value::Array(values) => values.iter().for_each(|value| self.value(value, path)),
            Value::Object(object) => {
                if resembles_ref(value) && value["source"] == Source::Env.as_str() {
                    let id = value["id"].as_str().unwrap_or_default();
                    self.add(id, path);
                }
                object.values().for_each(|value| self.value(value, path));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A ref as a text, `${NAME}` anywhere in it, or a name alone, as members that name a variable
    /// have it.
    fn text(&mut self, text: &str, path: &Path) {
        let input = SecretInput::parse_text(text, &Defaults::default());
        let reference = input.as_ref().ok().and_then(SecretInput::reference);
        if let Some(reference) = reference.filter(|r| r.source() == Source::Env) {
            self.add(reference.id(), path);
        }
        for part in text.split("${").skip(1) {
            if let Some((name, _)) = part.split_once('}') {
                self.add(name, path);
            }
        }
        if is_env_name(text) {
            self.add(text, path);
        }
    }

    fn add(&mut self, name: &str, path: &Path) {
        let is_new = !self.names.contains_key(name);
        if is_new && !name.is_empty() {
            self.names.insert(name.to_owned(), path.to_path_buf());
        }
    }
}

/// The files that change, by their real path.
type Changed<'a> = BTreeMap<PathBuf, &'a FileChange>;

/// What a file holds once the draft is carried out; `None` if it is not there then.
fn file_of(changed: &Changed<'_>, path: &Path) -> Result<Option<Document>, Failure> {
    let bytes = match changed.get(&site::real(path)) {
        Some(FileChange { after, .. }) => after.clone(),
        None => site::read(path)?,
    };
    parsed(path, bytes)
}

fn row_of(draft: &Draft, path: &Path, table: Table) -> Result<Option<Document>, Failure> {
    let mut rows = draft.changes.rows.iter();
    let text = match rows.find(|row| row.change.path == path && row.table == table) {
        Some(row) => row.change.after.clone(),
        None => row::read(path, table)?.map(|row| row.text),
    };
    parsed(path, text)
}

fn parsed(path: &Path, bytes: Option<Content>) -> Result<Option<Document>, Failure> {
    bytes.map(|bytes| site::parse(path, &bytes)).transpose()
}
