//! Further copies of the values that move: env files, backups, generated and legacy files.
//!
//! Only whole strings and whole assignments that equal a moved value are touched, everything else
//! in a file stays. What still holds a value afterwards is said, never deleted.

use super::draft::{Draft, Moved};
use super::edit::{Edit, Shown};
use super::readers::Readers;
use super::site::{self, Site};
use super::{Content, FileChange};
use crate::config::target;
use crate::document::{Editing, Lines, MAX_DEPTH, Path as DocPath, Segment};
use crate::error::{Code, Failure};
use crate::family::{Place, PlaceKind};
use crate::plaintext::dotenv::{self, Assignment};
use crate::plaintext::needles::{MIN_VALUE, Needles};
use crate::plan;
use crate::reference::SecretRef;
use crate::reference::input::{MANAGED_MARKER, TEXT_PREFIX};
use crate::secret::SecretValue;
use crate::store::files;
use serde_json::Value;
use std::path::Path;
use zeroize::Zeroizing;

/// Adds the scrubs of these files to a draft, and to its warnings what can't be scrubbed.
///
/// # Errors
/// `file.too_large` for an env file over its limit: what it holds is not known then.
pub fn scrub(
    draft: &mut Draft,
    site: &Site,
    places: &[Place],
    options: plan::Options,
) -> Result<(), Failure> {
    if draft.moved.is_empty() {
        return Ok(());
    }
    let mut scrubber = Scrubber {
        needles: Needles::new(draft.moved.iter().map(|moved| &moved.value)),
        moved: &draft.moved,
        readers: Readers::of(draft, site, places)?,
        scrubs: Vec::new(),
        warnings: Vec::new(),
    };
    let changed = draft.changes.by_file();
    for place in places {
        match changed.get(&site::real(&place.path)) {
            Some(change) => scrubber.look_at_rewritten(change),
            None => scrubber.place(place, options)?,
        }
    }
    let Scrubber {
        scrubs, warnings, ..
    } = scrubber;
    draft.changes.scrubs.extend(scrubs);
    draft.warnings.extend(warnings);
    Ok(())
}

struct Scrubber<'a> {
    needles: Needles,
    moved: &'a [Moved],
    readers: Readers,
    scrubs: Vec<FileChange>,
    warnings: Vec<String>,
}

/// What is done with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// Lines go.
    Lines,
    /// Equal strings become refs.
    Refs,
    /// Equal strings become the marker of generated files.
    Marker,
    /// Entries with an equal key go.
    Entries,
    /// It is only looked at.
    Look,
}

impl Scrubber<'_> {
    fn place(&mut self, place: &Place, options: plan::Options) -> Result<(), Failure> {
        let how = match (place.kind, place.backup) {
            (PlaceKind::EnvFile, _) if options.scrub_env => How::Lines,
            (PlaceKind::Config | PlaceKind::AuthProfiles, true) => How::Refs,
            (PlaceKind::LegacyAuth, true) => How::Refs,
            (PlaceKind::Models | PlaceKind::Catalog, _) => How::Marker,
            (PlaceKind::LegacyAuth, false) if options.scrub_legacy => How::Entries,
            (PlaceKind::EnvFile | PlaceKind::LegacyAuth | PlaceKind::Include, _)
            | (PlaceKind::Config | PlaceKind::AuthProfiles, false) => How::Look,
            _ => return Ok(()),
        };
        let path = &place.path;
        let bytes = match site::read(path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(()),
            Err(failure) if how == How::Lines && failure.code == Code::FileTooLarge => {
                return Err(failure);
            }
            Err(failure) => {
                let text = format!("not looked at for copies: {}", failure.message);
                self.warnings.push(text);
                return Ok(());
            }
        };
        let scrubbed = match how {
            How::Lines => self.lines(path, &bytes)?,
            How::Refs | How::Marker | How::Entries => self.document(path, &bytes, how),
            How::Look => None,
        };
        match scrubbed {
            Some((after, edits)) => self.take(path, bytes, after, edits),
            None => self.look_at(path, &bytes, ""),
        }
        Ok(())
    }

    /// Notes a change, or why it can't be made.
    fn take(&mut self, path: &Path, before: Content, after: Content, edits: Vec<Edit>) {
        if let Err(error) = files::check_replaceable(path) {
            let why = Failure::from(error).message;
            return self.look_at(path, &before, &format!(": {why}"));
        }
        self.look_at(path, &after, "");
        self.scrubs.push(FileChange {
            path: path.to_path_buf(),
            before: Some(before),
            after: Some(after),
            edits,
        });
    }

    fn look_at_rewritten(&mut self, change: &FileChange) {
        if let Some(after) = &change.after {
            self.look_at(&change.path, after, "");
        }
    }

    /// Warns of a file that holds a value afterwards.
    fn look_at(&mut self, path: &Path, bytes: &[u8], why: &str) {
        if let Some(hit) = self.needles.find(bytes, 1).first() {
            let line = bytes[..hit.range.start]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1;
            let reference = &self.moved[hit.value].reference;
            let path = path.display();
            self.warnings.push(format!(
                "{path} still holds the value of {reference} (line {line}){why}"
            ));
        }
    }

    /// The moved value that a text is. A short one counts only where a secret is known to belong.
    fn find(&self, text: &[u8], at: Option<&plan::Place>, known_place: bool) -> Option<&Moved> {
        let text = text.trim_ascii();
        if text.len() < MIN_VALUE && !known_place {
            return None;
        }
        let mut same_length = self
            .moved
            .iter()
            .filter(|m| m.value.len() == text.len())
            .peekable();
        same_length.peek()?;
        let value = SecretValue::copy_of(text);
        let equal: Vec<&Moved> = same_length.filter(|moved| moved.value == value).collect();
        let here = equal.iter().find(|moved| Some(&moved.place) == at);
        here.or(equal.first()).copied()
    }

    fn lines(
        &mut self,
        path: &Path,
        bytes: &[u8],
    ) -> Result<Option<(Content, Vec<Edit>)>, Failure> {
        let named = |error: dotenv::DotenvError| {
            let failure = Failure::from(error);
            Failure::new(
                failure.code,
                format!("{}: {}", path.display(), failure.message),
            )
        };
        let assignments = dotenv::read(bytes).map_err(named)?;
        let mut edits = Vec::new();
        let mut kept = Vec::new();
        let mut gone = |assignment: &Assignment| {
            let text = &bytes[assignment.content.clone()];
            let value = assignment.value(bytes);
            let known = target::is_sensitive_name(&assignment.name);
            let known = known || is_key_name(&assignment.name);
            if text.is_empty() || self.find_value(&value, known).is_none() {
                return false;
            }
            if let Some(why) = self.readers.need(&assignment.name) {
                kept.push((assignment.name.clone(), why));
                return false;
            }
            edits.push(Edit {
                place: assignment.name.clone(),
                line: Some(assignment.line),
                before: Shown::masked(value.len()),
                after: Shown::Nothing,
            });
            true
        };
        let after = Zeroizing::new(dotenv::without(bytes, &assignments, &mut gone));
        for (name, why) in kept {
            let text = format!("{} keeps {name}: {why}", path.display());
            self.warnings.push(text);
        }
        Ok((!edits.is_empty()).then_some((after, edits)))
    }

    fn find_value(&self, value: &SecretValue, known_place: bool) -> Option<&Moved> {
        if value.len() < MIN_VALUE && !known_place {
            return None;
        }
        self.moved.iter().find(|moved| moved.value == *value)
    }

    /// The document with every equal string replaced; `None` if there is none, or it can't be read.
    fn document(&self, path: &Path, bytes: &[u8], how: How) -> Option<(Content, Vec<Edit>)> {
        let document = site::parse(path, bytes).ok()?;
        let mut found = Vec::new();
        self.equal_strings(document.value(), &mut DocPath::root(), &mut found, 0);
        if found.is_empty() {
            return None;
        }
        let lines = Lines::of(&document);
        let mut document = Editing::of(document);
        let mut edits = Vec::new();
        // From the last one to the first: what is taken out moves nothing that is still to come.
        for (at, reference, len) in found.into_iter().rev() {
            let line = lines.get(&at);
            let after = match self.replace(&mut document, &at, &reference, how) {
                Some(after) => after,
                // It stays with its entry, and the warning says where.
                None if how == How::Entries => continue,
                None => return None,
            };
            edits.push(Edit {
                place: at.to_string(),
                line,
                before: Shown::masked(len),
                after,
            });
        }
        edits.reverse();
        let after = document.document().ok()?;
        let after = Zeroizing::new(after.text().as_bytes().to_vec());
        (!edits.is_empty()).then_some((after, edits))
    }

    /// True for an entry that holds moved values, and else only what says what they are.
    fn is_bare(&self, entry: &Value) -> bool {
        let is_moved = |value: &Value| {
            let text = value.as_str().map(str::as_bytes);
            text.is_some_and(|text| self.find(text, None, true).is_some())
        };
        let mut members = entry.as_object().into_iter().flatten();
        members.all(|(member, value)| match member.as_str() {
            "key" | "token" => is_moved(value),
            other => ["type", "mode", "provider", "email", "displayName"].contains(&other),
        })
    }

    fn equal_strings(
        &self,
        value: &Value,
        at: &mut DocPath,
        found: &mut Vec<(DocPath, SecretRef, usize)>,
        depth: usize,
    ) {
        let mut inner = |segment: Segment, value: &Value| {
            let mut next = at.join(segment);
            if depth < MAX_DEPTH {
                self.equal_strings(value, &mut next, found, depth + 1);
            }
        };
        match value {
            Value::Object(object) => {
                for (key, value) in object {
                    inner(key.as_str().into(), value);
                }
            }
            Value::Array(array) => {
                for (index, value) in array.iter().enumerate() {
                    inner(index.into(), value);
                }
            }
            Value::String(text) => {
                let known = target::find(at.segments()).is_some() || is_profile_field(at);
                let place = plan::Place::Config(at.clone());
                if let Some(moved) = self.find(text.as_bytes(), Some(&place), known) {
                    found.push((at.clone(), moved.reference.clone(), moved.value.len()));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Replaces one string; `None` if the document does not let it.
    fn replace(
        &self,
        document: &mut Editing,
        at: &DocPath,
        reference: &SecretRef,
        how: How,
    ) -> Option<Shown> {
        let shown = Shown::Ref(reference.clone());
        match how {
            How::Marker => {
                document.set(at, MANAGED_MARKER.into()).ok()?;
                Some(Shown::Text(MANAGED_MARKER.to_owned()))
            }
            // Whole entries of a static key; whatever else an entry holds is not understood here.
            How::Entries => {
                let entry = at.parent()?;
                if at.segments().len() != 2 || !self.is_bare(document.get(&entry)?) {
                    return None;
                }
                document.remove(&entry).ok()?;
                Some(Shown::Text("(the entry goes)".to_owned()))
            }
            How::Refs if is_profile_field(at) => {
                let field = at.last()?.as_key()?;
                let sibling = if field == "token" {
                    "tokenRef"
                } else {
                    "keyRef"
                };
                let sibling = at.parent()?.join(sibling);
                document.set(&sibling, reference.to_json()).ok()?;
                document.remove(at).ok()?;
                Some(shown)
            }
            How::Refs if target::find(at.segments()).is_some() => {
                document.set(at, reference.to_json()).ok()?;
                Some(shown)
            }
            How::Refs | How::Lines | How::Look => {
                let text = format!("{TEXT_PREFIX}{reference}");
                document.set(at, text.into()).ok()?;
                Some(shown)
            }
        }
    }
}

/// `profiles.<id>.key`, `.apiKey` or `.token`.
fn is_profile_field(at: &DocPath) -> bool {
    let keys: Vec<&str> = at.segments().iter().filter_map(Segment::as_key).collect();
    matches!(keys.as_slice(), ["profiles", _, "key" | "apiKey" | "token"])
}

/// A variable whose name ends as the family's keys do.
fn is_key_name(name: &str) -> bool {
    name.ends_with("_KEY") || name.ends_with("_KEYS")
}
