//! Files and folders that a config names: `$include` files, agents' own folders, token files.
//!
//! Invariants: an include is followed only below the include roots, as the family does; each file
//! is read once, so that a circle of includes ends.

use super::Folder;
use super::places::{Place, PlaceKind, Skipped, metadata, unreadable};
use crate::document::Document;
use crate::store::files;
use serde_json::Value;
use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

/// The most files that one config takes in.
pub const MAX_INCLUDES: usize = 256;
/// The deepest chain of includes.
pub const MAX_INCLUDE_DEPTH: usize = 10;

/// What a config names.
#[derive(Debug, Default)]
pub struct Named {
    /// Include files and token files, if they are there.
    pub places: Vec<Place>,
    /// Agents whose folder the config puts elsewhere.
    pub agent_dirs: Vec<(String, PathBuf)>,
    /// Includes that are not followed, and why.
    pub skipped: Vec<Skipped>,
}

/// Reads the config, as far as it can be read, for what it names.
pub fn named(folder: &Folder) -> Named {
    let mut walk = Walk {
        folder,
        roots: roots(folder),
        seen: HashSet::new(),
        added: HashSet::new(),
        found: Named::default(),
    };
    walk.file(&folder.config.clone(), 0);
    walk.found
}

/// The folders below which an include may lie.
pub(super) fn roots(folder: &Folder) -> Vec<PathBuf> {
    let around = folder.config.parent().map(Path::to_path_buf);
    let all = around.into_iter().chain(folder.include_roots.clone());
    all.map(|root| root.canonicalize().unwrap_or(root))
        .collect()
}

/// True for a path that leads to a place below one of the roots.
pub(super) fn is_below(path: &Path, roots: &[PathBuf]) -> bool {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    roots.iter().any(|root| real.starts_with(root))
}

/// A path as the config writes it; `..` takes the step before away, links or not, as the family
/// has it.
pub(super) fn expand(folder: &Folder, text: &str, around: &Path) -> PathBuf {
    let path = match (text.strip_prefix("~/"), folder.root.parent()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => around.join(text),
    };
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

struct Walk<'a> {
    folder: &'a Folder,
    roots: Vec<PathBuf>,
    /// Configs and includes that were read, by their real paths.
    seen: HashSet<PathBuf>,
    /// Paths that were looked for.
    added: HashSet<PathBuf>,
    found: Named,
}

impl Walk<'_> {
    /// A file that can't be read or parsed names nothing; whoever reads it for its secrets says so.
    fn file(&mut self, path: &Path, depth: usize) {
        let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if !self.seen.insert(real) {
            return;
        }
        let Ok(Some(bytes)) = files::read(path, files::MAX_STATE_FILE) else {
            return;
        };
        let Ok(document) = Document::parse_bytes(&bytes, "") else {
            return;
        };
        if depth == 0 {
            self.agents(document.value());
        }
        self.value(document.value(), path.parent().unwrap_or(path), depth);
    }

    fn value(&mut self, value: &Value, around: &Path, depth: usize) {
        match value {
            Value::Array(array) => array.iter().for_each(|v| self.value(v, around, depth)),
            Value::Object(object) => {
                for (key, value) in object {
                    match (key.as_str(), value) {
                        ("$include", Value::String(path)) => self.include(path, around, depth),
                        ("$include", Value::Array(paths)) => paths
                            .iter()
                            .filter_map(Value::as_str)
                            .for_each(|path| self.include(path, around, depth)),
                        ("tokenFile", Value::String(path)) => {
                            self.add(expand(self.folder, path, around), PlaceKind::TokenFile);
                        }
                        _ => self.value(value, around, depth),
                    }
                }
            }
            _ => {}
        }
    }

    fn include(&mut self, text: &str, around: &Path, depth: usize) {
        let path = expand(self.folder, text, around);
        let why = if !is_below(&path, &self.roots) {
            "an include outside of the config's folder and the include roots"
        } else if depth == MAX_INCLUDE_DEPTH {
            "an include at a depth over the limit of 10"
        } else if self.seen.len() > MAX_INCLUDES {
            "an include over the limit of 256"
        } else {
            match metadata(&path) {
                Ok(Some(metadata)) if metadata.is_file() => {
                    self.add(path.clone(), PlaceKind::Include);
                    return self.file(&path, depth + 1);
                }
                Ok(_) => "an include that is not there",
                Err(error) => return self.found.skipped.push(unreadable(path, &error)),
            }
        };
        self.found.skipped.push(Skipped::new(path, why));
    }

    fn add(&mut self, path: PathBuf, kind: PlaceKind) {
        if self.added.insert(path.clone()) && path.is_file() {
            self.found.places.push(Place::new(path, kind));
        }
    }

    fn agents(&mut self, config: &Value) {
        let around = self.folder.config.parent().unwrap_or(&self.folder.root);
        let mut add = |id: &str, agent: &Value| {
            if let Some(dir) = agent.get("agentDir").and_then(Value::as_str) {
                let dir = expand(self.folder, dir, around);
                self.found.agent_dirs.push((id.to_owned(), dir));
            }
        };
        let agents = config.get("agents");
        let list = agents.and_then(|a| a.get("list")).and_then(Value::as_array);
        for agent in list.into_iter().flatten() {
            let id = agent.get("id").and_then(Value::as_str);
            add(id.unwrap_or_default(), agent);
        }
        let entries = agents
            .and_then(|a| a.get("entries"))
            .and_then(Value::as_object);
        for (id, agent) in entries.into_iter().flatten() {
            add(id, agent);
        }
    }
}
