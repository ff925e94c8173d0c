//! SQLite databases: the cells of every table, and what lies in the file without being in a table
//! any more (free pages, the `-wal`).
//!
//! Invariant: what a table still holds is not called deleted, wherever else in the file it stands.
//! A deleted secret that is cut by the end of a page is not seen; one that SQLite wrote over is
//! gone.

use super::json::{self, Origin};
use super::report::FindingCode;
use super::{Audit, credential, file, lines};
use crate::document::Document;
use crate::family::sqlite::{Cell, Image};
use crate::family::{Place, PlaceKind};
use crate::plaintext::needles::Needles;
use crate::secret::SecretValue;
use serde_json::Value;
use std::ops::Range;
use std::path::Path;

/// The most fields that a search in raw bytes gives.
pub(super) const MAX_FIELDS: usize = 4_096;

/// Looks at a database and its `-wal`.
pub(super) fn look(audit: &mut Audit<'_>, place: &Place) {
    let image = match Image::read(&place.path) {
        Ok(image) => image,
        Err(error) => return audit.failed(place, &error.into()),
    };
    file::scanned(audit, place);
    let mut remains: Vec<SecretValue> = Vec::new();
    let mut areas: Vec<(usize, &str)> = Vec::new();
    for (area, bytes) in [("the file", image.main()), ("the -wal", image.wal())] {
        for range in raw(audit, bytes) {
            remains.push(SecretValue::copy_of(&bytes[range]));
            areas.push((areas.len(), area));
        }
    }
    let looked_for = Needles::new(&remains);
    let mut live = vec![false; remains.len()];
    let outcome = image.cells(&mut |cell| {
        for hit in looked_for.find(cell.bytes, usize::MAX) {
            live[hit.value] = true;
        }
        look_at_cell(audit, place, cell);
    });
    if let Err(error) = outcome {
        audit.failed(place, &error.into());
    }
    // Of equal values only one is found in a cell.
    let is_live = |value: &SecretValue| {
        let same = |(other, live): (&SecretValue, &bool)| *live && other == value;
        remains.iter().zip(&live).any(same)
    };
    for area in ["the file", "the -wal"] {
        let here = areas.iter().filter(|(_, name)| *name == area);
        let gone = here.filter(|(i, _)| !is_live(&remains[*i])).count();
        if gone > 0 {
            tell_remains(audit, place, area, gone);
        }
    }
}

fn tell_remains(audit: &mut Audit<'_>, place: &Place, area: &str, count: usize) {
    let (them, number) = match count {
        1 => ("it", "one credential".to_owned()),
        count => ("them", format!("{count} credentials")),
    };
    let message = format!("No table holds {them} any more, but {area} still has {number}.");
    let origin = Origin {
        place,
        kind: place.kind,
        cell: None,
    };
    let mut finding = origin.finding(FindingCode::StorePlaintextResidue, message);
    finding.table = None;
    audit.add(finding);
}

/// Places in raw bytes that hold a secret: known values, forms of keys, fields by their names.
fn raw(audit: &Audit<'_>, bytes: &[u8]) -> Vec<Range<usize>> {
    let hits = lines::hits(audit, bytes).into_iter().map(|hit| hit.range);
    let mut all: Vec<Range<usize>> = hits.chain(fields(bytes)).collect();
    all.sort_by_key(|range| range.start);
    let mut end = 0;
    all.retain(|range| {
        let apart = range.start >= end;
        end = end.max(range.end);
        apart
    });
    all
}

fn look_at_cell(audit: &mut Audit<'_>, place: &Place, cell: &Cell<'_>) {
    let is_store = cell.table == "auth_profile_store"
        || (cell.row == "state_key=authProfiles.store" && cell.column == "value_json");
    let kind = if is_store {
        PlaceKind::AuthProfiles
    } else {
        place.kind
    };
    let origin = Origin {
        place,
        kind,
        cell: Some((cell.table, cell.row)),
    };
    let text = std::str::from_utf8(cell.bytes).unwrap_or_default();
    let parsed = text.trim_start().starts_with(['{', '[']).then(|| {
        // Not a document of ours: a cell is as deep as the library reads.
        serde_json::from_str::<Value>(text)
    });
    match parsed {
        Some(Ok(value)) => {
            json::look(audit, &origin, &value);
            if is_store {
                note_store(audit, place, text);
            }
        }
        _ if credential::is_field(cell.column) => {
            let mut object = serde_json::Map::new();
            object.insert(cell.column.to_owned(), text.into());
            json::look(audit, &origin, &Value::Object(object));
        }
        _ => lines::look(audit, &origin, cell.bytes),
    }
}

/// The refs of a store of profiles that lies in a cell.
fn note_store(audit: &mut Audit<'_>, place: &Place, text: &str) {
    let store = Place {
        kind: PlaceKind::AuthProfiles,
        ..place.clone()
    };
    if let Ok(document) = Document::parse(text, &place.path.display().to_string()) {
        audit.note_refs(&store, &document);
    }
}

/// True if the file beside a database is looked at with it.
pub(super) fn is_beside(path: &Path) -> bool {
    let name = path.to_string_lossy();
    let database = name
        .strip_suffix("-wal")
        .or_else(|| name.strip_suffix("-shm"));
    database.is_some_and(|database| Path::new(database).is_file())
}

/// Names that, in quotes and before a colon, say that a string is a credential.
const NAMES: &[&str] = &[
    "key",
    "apiKey",
    "token",
    "access",
    "refresh",
    "idToken",
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "clientSecret",
    "botToken",
    "password",
    "secret",
    "privateKeyPem",
];

/// The shortest value of such a field that counts, in bytes.
const LEAST: usize = 8;

/// The values of fields that hold credentials by their names, in bytes of any kind.
pub(super) fn fields(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(open) = bytes[at..].iter().position(|b| *b == b'"') {
        let name_start = at + open + 1;
        at = name_start;
        let Some(name) = NAMES.iter().find(|name| {
            let rest = bytes[name_start..].strip_prefix(name.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"\""))
        }) else {
            continue;
        };
        let blank = |i: &usize| bytes.get(*i).is_some_and(u8::is_ascii_whitespace);
        let mut next = name_start + name.len() + 1;
        next = (next..).find(|i| !blank(i)).unwrap_or(next);
        if bytes.get(next) != Some(&b':') {
            continue;
        }
        next = (next + 1..).find(|i| !blank(i)).unwrap_or(next);
        if bytes.get(next) != Some(&b'"') {
            continue;
        }
        let start = next + 1;
        let inside = &bytes[start..];
        let len = inside
            .iter()
            .position(|b| *b == b'"' || !(0x20..0x7f).contains(b));
        let end = start + len.unwrap_or(inside.len());
        let text = std::str::from_utf8(&bytes[start..end]).unwrap_or_default();
        if text.len() >= LEAST && credential::looks_secret(text) {
            found.push(start..end);
        }
        at = end;
        if found.len() == MAX_FIELDS {
            break;
        }
    }
    found
}
