//! The files under check, and a view of Rust sources that tells code from text.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The tracked (and not ignored) text files of the project by path from its root.
pub struct Tree {
    files: BTreeMap<String, String>,
    top_level: Vec<String>,
}

/// Where a rule is broken: a path, a line (0 for the whole file), and what is wrong.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offence {
    pub path: String,
    pub line: usize,
    pub what: String,
}

impl Offence {
    pub fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl Tree {
    /// The project as it stands.
    pub fn load() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let listed = listed_by_git(root).unwrap_or_else(|| walked(root, Path::new("")));
        let mut files = BTreeMap::new();
        let mut top_level = Vec::new();
        for path in listed {
            let first = path.split('/').next().unwrap_or_default().to_owned();
            if !top_level.contains(&first) {
                top_level.push(first);
            }
            // Binary files (test vectors) are nobody's prose or code.
            if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
                files.insert(path, text);
            }
        }
        Self { files, top_level }
    }

    /// A made-up project, to see a rule fire.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let top = |path: &str| path.split('/').next().unwrap_or_default().to_owned();
        Self {
            files: files
                .iter()
                .map(|(p, t)| ((*p).to_owned(), (*t).to_owned()))
                .collect(),
            top_level: files.iter().map(|(path, _)| top(path)).collect(),
        }
    }

    pub fn top_level(&self) -> &[String] {
        &self.top_level
    }

    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    pub fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.files.contains_key(path) || self.files.keys().any(|p| p.starts_with(&folder))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Every Rust source whose path starts with `prefix`.
    pub fn rust(&self, prefix: &str) -> Vec<Rust> {
        let chosen = |path: &&String| path.starts_with(prefix) && path.ends_with(".rs");
        let declared = self.test_only_files();
        self.files
            .keys()
            .filter(chosen)
            .map(|path| {
                let all_test = !path.starts_with("src/")
                    || path.ends_with("/tests.rs")
                    || path.contains("/tests/")
                    || declared
                        .iter()
                        .any(|d| path == &format!("{d}.rs") || path.starts_with(&format!("{d}/")));
                Rust::new(path, &self.files[path], all_test)
            })
            .collect()
    }

    /// Stems of files that are modules of test builds only (`#[cfg(test)] mod model;`).
    fn test_only_files(&self) -> Vec<String> {
        let mut stems = Vec::new();
        for (path, text) in self.iter().filter(|(path, _)| path.ends_with(".rs")) {
            let folder = path
                .strip_suffix("/mod.rs")
                .unwrap_or(path.trim_end_matches(".rs"));
            let mut after_cfg = false;
            for line in text.lines().map(str::trim) {
                if let Some(name) = line.strip_suffix(';').and_then(module_name)
                    && after_cfg
                {
                    stems.push(format!("{folder}/{name}"));
                }
                after_cfg = line == "#[cfg(test)]" || (after_cfg && line.starts_with("#["));
            }
        }
        stems
    }
}

fn module_name(declaration: &str) -> Option<&str> {
    let rest = declaration
        .strip_prefix("pub(crate) ")
        .or(declaration.strip_prefix("pub "));
    rest.unwrap_or(declaration).strip_prefix("mod ")
}

fn listed_by_git(root: &Path) -> Option<Vec<String>> {
    let listing = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .ok()?;
    let text = String::from_utf8(listing.stdout).ok()?;
    let paths: Vec<String> = text
        .split('\0')
        .filter(|path| !path.is_empty() && root.join(path).is_file())
        .map(str::to_owned)
        .collect();
    (listing.status.success() && !paths.is_empty()).then_some(paths)
}

fn walked(root: &Path, under: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(root.join(under))
        .expect("the project is readable")
        .flatten()
    {
        let path = under.join(entry.file_name());
        let name = path.to_string_lossy().into_owned();
        let built = [
            "target",
            ".git",
            "fuzz/target",
            "fuzz/artifacts",
            "fuzz/coverage",
        ];
        if entry.path().is_dir() && !built.contains(&name.as_str()) {
            paths.extend(walked(root, &path));
        } else if entry.path().is_file() {
            paths.push(name);
        }
    }
    paths
}

/// One Rust source: the text, and the same with comments and the inside of literals blanked.
pub struct Rust {
    pub path: String,
    pub text: String,
    /// As long as `text`, line for line.
    pub code: String,
    /// For each line, whether it belongs to test builds only.
    pub is_test: Vec<bool>,
}

impl Rust {
    fn new(path: &str, text: &str, all_test: bool) -> Self {
        let code = super::lexer::blank(text);
        let is_test = if all_test {
            vec![true; text.lines().count() + 1]
        } else {
            super::lexer::test_lines(&code)
        };
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            is_test,
        }
    }

    /// The top-level module that the file belongs to; empty for `lib.rs` and `main.rs`.
    pub fn module(&self) -> &str {
        let inner = self.path.strip_prefix("src/").unwrap_or_default();
        let first = inner.split('/').next().unwrap_or_default();
        match first.trim_end_matches(".rs") {
            "lib" | "main" => "",
            name => name,
        }
    }

    /// The lines of code, numbered from 1, that are not for tests only.
    pub fn shipped_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code_lines()
            .filter(|(number, _)| !self.is_test[number - 1])
    }

    /// The lines of code, numbered from 1.
    pub fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }

    /// Every path (`a::b::c`) in code that is not for tests only, with its line; `use` trees are
    /// spelled out.
    pub fn shipped_paths(&self) -> Vec<(usize, Vec<String>)> {
        let mut paths = super::lexer::paths(&self.code);
        paths.retain(|(line, _)| !self.is_test[line - 1]);
        paths
    }
}
