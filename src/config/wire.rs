//! Reading one JSON object field by field, gathering every error with its place.

use super::ConfigError;
use crate::document::{Document, Path, Segment};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::path::PathBuf;

/// The most errors that one config reports; more say nothing new.
pub const MAX_ERRORS: usize = 100;
/// The longest text of a setting in bytes.
pub const MAX_TEXT: usize = 4096;

/// Every error found so far.
pub(super) struct Errors<'d> {
    document: &'d Document,
    found: RefCell<Vec<ConfigError>>,
}

impl<'d> Errors<'d> {
    pub(super) fn new(document: &'d Document) -> Self {
        Self {
            document,
            found: RefCell::new(Vec::new()),
        }
    }

    pub(super) fn add(&self, path: &Path, problem: impl Into<String>) {
        let mut found = self.found.borrow_mut();
        if found.len() < MAX_ERRORS {
            let line = self.line(path);
            found.push(ConfigError::Value {
                file: self.document.name().to_owned(),
                line,
                path: path.clone(),
                problem: problem.into(),
            });
        }
    }

    /// The line of what stands at a path; of the object in which it is missing if nothing does.
    fn line(&self, path: &Path) -> usize {
        let above = std::iter::successors(Some(path.clone()), Path::parent);
        let mut places = above.filter_map(|path| self.document.position(&path));
        places.next().map_or(1, |position| position.line)
    }

    pub(super) fn into_found(self) -> Vec<ConfigError> {
        self.found.into_inner()
    }
}

/// One object of the config.
pub(super) struct Fields<'a> {
    errors: &'a Errors<'a>,
    object: &'a Map<String, Value>,
    path: Path,
}

impl<'a> Fields<'a> {
    /// The object at `path`; `None`, with an error, if something else stands there.
    pub(super) fn new(errors: &'a Errors<'a>, value: &'a Value, path: Path) -> Option<Self> {
        match value.as_object() {
            Some(object) => Some(Self {
                errors,
                object,
                path,
            }),
            None => {
                errors.add(&path, "is not an object");
                None
            }
        }
    }

    /// Refuses every key but these.
    pub(super) fn only(&self, known: &[&str]) {
        for key in self
            .object
            .keys()
            .filter(|key| !known.contains(&key.as_str()))
        {
            let path = self.path.join(Segment::Key(key.as_str().into()));
            self.errors.add(
                &path,
                format!("is not a known key; known are {}", known.join(", ")),
            );
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn fail(&self, key: &str, problem: impl Into<String>) {
        self.errors.add(&self.path.join(key), problem);
    }

    pub(super) fn errors(&self) -> &'a Errors<'a> {
        self.errors
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.object.iter()
    }

    pub(super) fn object(&self, key: &str) -> Option<Fields<'a>> {
        Fields::new(self.errors, self.object.get(key)?, self.path.join(key))
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        let value = self.object.get(key)?;
        if !value.is_boolean() {
            self.fail(key, "is not true or false");
        }
        value.as_bool()
    }

    /// A whole number from `min` to `max`.
    pub(super) fn number(&self, key: &str, min: u64, max: u64) -> Option<u64> {
        let number = self
            .object
            .get(key)?
            .as_u64()
            .filter(|n| (min..=max).contains(n));
        if number.is_none() {
            self.fail(key, format!("is not a whole number from {min} to {max}"));
        }
        number
    }

    /// A string of 1 to [`MAX_TEXT`] bytes without control characters.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        let value = self.object.get(key)?;
        let text = value.as_str().filter(|text| {
            !text.is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
        });
        if text.is_none() {
            self.fail(
                key,
                format!("is not a string of 1 to {MAX_TEXT} printable bytes"),
            );
        }
        text
    }

    /// A list of at most `max` strings that `fits` takes; `rule` says what it takes.
    pub(super) fn texts(
        &self,
        key: &str,
        max: usize,
        rule: &str,
        fits: impl Fn(&str) -> bool,
    ) -> Option<Vec<String>> {
        let value = self.object.get(key)?;
        let Some(list) = value.as_array().filter(|list| list.len() <= max) else {
            self.fail(key, format!("is not a list of at most {max} strings"));
            return None;
        };
        let mut texts = Vec::with_capacity(list.len());
        for (index, item) in list.iter().enumerate() {
            match item.as_str().filter(|text| fits(text)) {
                Some(text) => texts.push(text.to_owned()),
                None => self
                    .errors
                    .add(&self.path.join(key).join(index), format!("is not {rule}")),
            }
        }
        Some(texts)
    }

    /// A list of at most `max` absolute paths.
    pub(super) fn absolute_paths(&self, key: &str, max: usize) -> Option<Vec<PathBuf>> {
        let texts = self.texts(key, max, "an absolute path", is_absolute)?;
        Some(texts.into_iter().map(PathBuf::from).collect())
    }
}

pub(super) fn is_absolute(text: &str) -> bool {
    text.starts_with('/') && text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
}
