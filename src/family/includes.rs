//! A config with the files that it takes in (`$include`), as the family puts them together.
//!
//! A path or a list of paths stands for an object: the files are laid over each other in their
//! order, then the other members of the object over them; objects are merged, lists are joined, of
//! anything else the later counts.
//!
//! Invariants: what [`super::named`] does not follow is not read here either; circles, depth,
//! number and size have an end; what is left out is said.

use super::Folder;
use super::named::{MAX_INCLUDE_DEPTH, MAX_INCLUDES, expand, is_below, roots};
use crate::document::Document;
use crate::store::files;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The most bytes of all files that a config takes in, one that it takes in twice counted twice.
pub const MAX_INCLUDED: usize = 16 << 20;

/// A config and what it takes in.
#[derive(Debug, PartialEq, Eq)]
pub struct Merged {
    /// All of it.
    pub value: Value,
    /// True if a file that it names is missing from it.
    pub is_partial: bool,
}

/// Puts a folder's config together.
pub fn merged(folder: &Folder, config: &Value) -> Merged {
    let mut merge = Merge {
        folder,
        roots: roots(folder),
        chain: vec![real(&folder.config)],
        files: 0,
        bytes: 0,
        is_partial: false,
    };
    let around = folder.config.parent().unwrap_or(&folder.root);
    let value = merge.value(config, around);
    Merged {
        value,
        is_partial: merge.is_partial,
    }
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

struct Merge<'a> {
    folder: &'a Folder,
    roots: Vec<PathBuf>,
    /// The files that led here.
    chain: Vec<PathBuf>,
    files: usize,
    bytes: usize,
    is_partial: bool,
}

impl Merge<'_> {
    fn value(&mut self, value: &Value, around: &Path) -> Value {
        match value {
            Value::Array(array) => array.iter().map(|v| self.value(v, around)).collect(),
            Value::Object(object) => self.object(object, around),
            other => other.clone(),
        }
    }

    fn object(&mut self, object: &Map<String, Value>, around: &Path) -> Value {
        let own = object.iter().filter(|(key, _)| *key != "$include");
        let own: Map<String, Value> = own
            .map(|(key, value)| (key.clone(), self.value(value, around)))
            .collect();
        let paths = match object.get("$include") {
            None => return Value::Object(own),
            Some(Value::Array(paths)) => paths.iter().collect(),
            Some(path) => vec![path],
        };
        let mut all = Value::Null;
        for path in paths {
            let included = path.as_str().and_then(|path| self.include(path, around));
            self.is_partial |= included.is_none();
            lay_over(&mut all, included.unwrap_or(Value::Null));
        }
        if !own.is_empty() || all.is_null() {
            lay_over(&mut all, Value::Object(own));
        }
        all
    }

    /// The content of a file, with what it takes in itself.
    fn include(&mut self, text: &str, around: &Path) -> Option<Value> {
        let path = expand(self.folder, text, around);
        let name = real(&path);
        self.files += 1;
        let fits = is_below(&path, &self.roots)
            && self.chain.len() <= MAX_INCLUDE_DEPTH
            && self.files <= MAX_INCLUDES
            && !self.chain.contains(&name);
        if !fits {
            return None;
        }
        let bytes = files::read(&path, files::MAX_STATE_FILE).ok()??;
        self.bytes += bytes.len();
        if self.bytes > MAX_INCLUDED {
            return None;
        }
        let document = Document::parse_bytes(&bytes, "").ok()?;
        self.chain.push(name);
        let value = self.value(document.value(), path.parent().unwrap_or(&path));
        self.chain.pop();
        Some(value)
    }
}

/// Lays a value over another.
fn lay_over(below: &mut Value, over: Value) {
    match (below, over) {
        (_, Value::Null) => {}
        (Value::Object(below), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(below.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(below), Value::Array(over)) => below.extend(over),
        (below, over) => *below = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tempfile::TempDir;

    /// The config `openclaw.json` of these files, put together.
    fn merged_of(files: &[(&str, Value)]) -> Merged {
        let home = TempDir::new().unwrap();
        let root = home.path().join(".openclaw");
        for (name, value) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, value.to_string()).unwrap();
        }
        let folder = Folder::find(Some(&root), &|_| None).unwrap();
        merged(&folder, &files[0].1)
    }

    #[test]
    fn files_are_laid_over_each_other_and_the_object_over_them() {
        let config = json!({
            "a": {"$include": "a.json"},
            "b": {"$include": ["a.json", "sub/b.json"], "own": 1, "list": [3]},
        });
        let merged = merged_of(&[
            ("openclaw.json", config),
            (
                "a.json",
                json!({"own": 0, "list": [1], "deep": {"x": 1, "y": 1}}),
            ),
            (
                "sub/b.json",
                json!({"deep": {"$include": "c.json"}, "list": [2]}),
            ),
            ("sub/c.json", json!({"y": 2})),
        ]);
        let a = json!({"own": 0, "list": [1], "deep": {"x": 1, "y": 1}});
        let b = json!({"own": 1, "list": [1, 2, 3], "deep": {"x": 1, "y": 2}});
        assert_eq!(merged.value, json!({"a": a, "b": b}));
        assert!(!merged.is_partial);
    }

    #[test]
    fn what_is_left_out_is_said() {
        for include in [
            json!("absent.json"),
            json!("../../outside.json"),
            json!("openclaw.json"),
            json!("self.json"),
            json!("broken.json"),
            json!(7),
        ] {
            let merged = merged_of(&[
                ("openclaw.json", json!({"$include": include, "own": 1})),
                ("self.json", json!({"$include": "self.json"})),
                ("broken.json", json!("a text")),
            ]);
            // A text is no object, but it is laid over with the rest all the same.
            assert_eq!(merged.value, json!({"own": 1}), "{include}");
            assert_eq!(merged.is_partial, include != "broken.json", "{include}");
        }
    }

    #[test]
    fn one_file_too_many_and_one_byte_too_many_end_it() {
        let list = |len: usize| json!({"$include": vec!["a.json"; len]});
        let file = ("a.json", json!({}));
        let at = |len| merged_of(&[("openclaw.json", list(len)), file.clone()]).is_partial;
        assert!(!at(MAX_INCLUDES) && at(MAX_INCLUDES + 1));
        let file = ("a.json", json!("x".repeat((1 << 20) - 2)));
        let at = |len| merged_of(&[("openclaw.json", list(len)), file.clone()]).is_partial;
        assert!(!at(16) && at(17));
        // A chain of as many files as it may have, and one more.
        let next = |i: usize| json!({"$include": format!("{i}.json")});
        let at = |len: usize| {
            let names: Vec<String> = (1..=len).map(|i| format!("{i}.json")).collect();
            let mut files = vec![("openclaw.json", next(1))];
            files.extend(names.iter().enumerate().map(|(i, name)| {
                let last = i + 1 == len;
                (name.as_str(), if last { json!({}) } else { next(i + 2) })
            }));
            merged_of(&files).is_partial
        };
        assert!(!at(MAX_INCLUDE_DEPTH) && at(MAX_INCLUDE_DEPTH + 1));
    }
}
