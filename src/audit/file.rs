//! One file of each kind: how it is read, and who looks at it.
//!
//! Invariant: a file that can't be read as what it is, is a finding where a runtime reads it; its
//! bytes are looked at all the same.

use super::json::{self, Origin};
use super::lines::{self, Lines};
use super::report::{Finding, FindingCode};
use super::{Audit, MAX_FILE, database};
use crate::document::{Document, DocumentError};
use crate::family::sqlite::MAX_DATABASE;
use crate::family::{Place, PlaceKind};
use crate::plaintext::dotenv::MAX_ENV_FILE;
use crate::store::files;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::ops::Range;

/// Looks at a file.
pub(super) fn look(audit: &mut Audit<'_>, place: &Place) {
    if place.kind == PlaceKind::DatabaseSide && database::is_seen(audit, &place.path) {
        return scanned(audit, place);
    }
    let max = limit(place.kind);
    let size = match std::fs::metadata(&place.path) {
        Ok(metadata) => metadata.len(),
        // It went away while we looked.
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => {
            return audit.skip(&place.path, format!("can't be read: {}", error.kind()));
        }
    };
    if size > max as u64 {
        let why = format!("{size} bytes, over the limit of {max} for such a file");
        return audit.skip(&place.path, why);
    }
    if !audit.take(place, size) {
        return;
    }
    if place.kind.is_database() && database::look(audit, place) {
        return;
    }
    let bytes = match files::read(&place.path, max) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return,
        Err(error) => return audit.failed(place, &error.into()),
    };
    scanned(audit, place);
    match place.kind {
        PlaceKind::EnvFile => lines::env_file(audit, place, &bytes),
        PlaceKind::History | PlaceKind::Unit => lines::commands(audit, place, &bytes),
        PlaceKind::TokenFile => token_file(audit, place, &bytes),
        PlaceKind::DatabaseSide => database::side(audit, place, &bytes),
        _ if is_json(place) => document(audit, place, &bytes),
        _ => lines::look(audit, &origin(place), &bytes),
    }
}

/// The largest file of a kind that is looked at, in bytes.
fn limit(kind: PlaceKind) -> usize {
    match kind {
        PlaceKind::EnvFile => MAX_ENV_FILE,
        PlaceKind::DatabaseSide => MAX_DATABASE,
        kind if kind.is_database() => MAX_DATABASE,
        _ => MAX_FILE,
    }
}

/// Notes that a file was looked at.
pub(super) fn scanned(audit: &mut Audit<'_>, place: &Place) {
    let name = audit.safe_path(&place.path.display().to_string());
    audit.report.files_scanned.push(name);
}

fn origin(place: &Place) -> Origin<'_> {
    Origin {
        place,
        kind: place.kind,
        cell: None,
    }
}

/// True for the kinds that are JSON by their name and place.
fn is_json(place: &Place) -> bool {
    match place.kind {
        PlaceKind::Config
        | PlaceKind::Include
        | PlaceKind::AuthProfiles
        | PlaceKind::AuthState
        | PlaceKind::LegacyAuth
        | PlaceKind::LegacyOAuth
        | PlaceKind::Models
        | PlaceKind::Catalog => true,
        PlaceKind::Session | PlaceKind::AgentDatabase | PlaceKind::SharedDatabase => false,
        _ => {
            let name = place.path.file_name().unwrap_or_default();
            let name = name.to_string_lossy();
            name.ends_with(".json") || name.ends_with(".json5") || name.contains(".json.")
        }
    }
}

/// True where a runtime stops, or starts without its credentials, if it can't read the file.
fn is_needed(place: &Place) -> bool {
    let kinds = [
        PlaceKind::Config,
        PlaceKind::Include,
        PlaceKind::AuthProfiles,
        PlaceKind::LegacyAuth,
        PlaceKind::LegacyOAuth,
        PlaceKind::Models,
    ];
    kinds.contains(&place.kind) && !place.backup
}

fn document(audit: &mut Audit<'_>, place: &Place, bytes: &[u8]) {
    let name = place.path.display().to_string();
    match Document::parse_bytes(bytes, &name) {
        Ok(document) => {
            if place.kind == PlaceKind::Credentials && document.value().get("noiseKey").is_some() {
                return session_material(audit, place);
            }
            json::look(audit, &origin(place), document.value());
            lines::parts(audit, &origin(place), bytes, comments(bytes).into_iter());
            audit.note_refs(place, &document);
        }
        Err(error) => {
            if is_needed(place) {
                unreadable(audit, place, &error);
            }
            lines::look(audit, &origin(place), bytes);
            named_fields(audit, place, bytes);
        }
    }
}

fn unreadable(audit: &mut Audit<'_>, place: &Place, error: &DocumentError) {
    let mut finding = Finding::new(FindingCode::RefUnresolved, &place.path, "");
    finding.json_path = Some("<root>".to_owned());
    finding.remedy = "correct the file, or put a backup of it in its place".to_owned();
    finding.message = match error {
        DocumentError::Syntax {
            place: at, problem, ..
        } => {
            finding.line = Some(at.line);
            finding.column = Some(at.column);
            let (line, column) = (at.line, at.column);
            format!("Not valid JSON at line {line}, column {column}: {problem}.")
        }
        error => format!("Not read: {error}."),
    };
    audit.add(finding);
}

/// The keys of a chat session: many fields, of which every one belongs to the secret.
fn session_material(audit: &mut Audit<'_>, place: &Place) {
    let what = "The file holds the keys of a channel's session, which no ref can stand for.";
    let mut finding = Finding::new(origin(place).code(false), &place.path, what);
    finding.json_path = Some("<root>".to_owned());
    finding.remedy = "keep the file private (0600) and out of backups".to_owned();
    audit.add(finding);
}

fn token_file(audit: &mut Audit<'_>, place: &Place, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if crate::plaintext::marker::of(&text).is_none() {
        let what = "The file holds a token in plaintext, named by the config.";
        let finding = Finding::new(origin(place).code(false), &place.path, what);
        audit.add(finding);
    }
}

/// Fields of a text that is meant as JSON and can't be read: names and values by their quotes.
fn named_fields(audit: &mut Audit<'_>, place: &Place, bytes: &[u8]) {
    let file = audit.safe_path(&place.path.display().to_string());
    let here = audit.report.findings.iter().filter(|f| f.file == file);
    let mut known: BTreeSet<usize> = here.filter_map(|finding| finding.line).collect();
    let mut lines = Lines::new(bytes);
    for stretch in lines::stretches(bytes.len()) {
        if audit.is_late(place) {
            return;
        }
        for field in database::fields(bytes, stretch) {
            let line = lines.at(field.start);
            if known.insert(line) {
                let code = origin(place).code(false);
                let what = format!("Line {line} holds a credential by the name of its field.");
                let mut finding = Finding::new(code, &place.path, what);
                finding.line = Some(line);
                audit.add(finding);
            }
        }
    }
}

/// The comments of a JSON text with comments.
fn comments(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    let ends = |from: usize, end: &[u8]| {
        let rest = &bytes[from..];
        rest.windows(end.len())
            .position(|window| window == end)
            .map_or(bytes.len(), |i| from + i + end.len())
    };
    while at < bytes.len() {
        let next = match &bytes[at..] {
            [b'/', b'/', ..] => ends(at, b"\n"),
            [b'/', b'*', ..] => ends(at + 2, b"*/"),
            [quote @ (b'"' | b'\''), ..] => {
                at = string_end(bytes, at + 1, *quote);
                continue;
            }
            _ => {
                at += 1;
                continue;
            }
        };
        found.push(at..next);
        at = next;
    }
    found
}

fn string_end(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_may_be_as_large_as_its_database() {
        for kind in [PlaceKind::Database, PlaceKind::DatabaseSide] {
            assert_eq!(limit(kind), MAX_DATABASE);
        }
        assert_eq!(limit(PlaceKind::Session), MAX_FILE);
    }

    #[test]
    fn comments_are_told_from_strings() {
        let text = "{ // one\n \"a//\\\"b\": '/* no */', /* two\n */ \"c\": 1 // end";
        let found: Vec<&str> = comments(text.as_bytes())
            .into_iter()
            .map(|range| &text[range])
            .collect();
        assert_eq!(found, ["// one\n", "/* two\n */", "// end"]);
    }
}
