//! SQLite databases: the cells of every table, and what lies in the file without being in a table
//! any more (free pages, the `-wal`).
//!
//! Invariant: what a table still holds is not called deleted, wherever else in the file it stands.
//! A deleted secret that is cut by the end of a page is not seen; one that SQLite wrote over is
//! gone.

use super::json::{self, Origin};
use super::lines::Hit;
use super::report::FindingCode;
use super::{Audit, credential, file, lines};
use crate::document::Document;
use crate::family::sqlite::records::Pieces;
use crate::family::sqlite::{self, Cell, Image, SqliteError};
use crate::family::{Place, PlaceKind};
use crate::plaintext::needles::{MAX_VALUES, Needles};
use crate::secret::SecretValue;
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::ops::{ControlFlow, Range};
use std::path::Path;

/// Looks at a database and its `-wal`. False if it is none, so that it is a file like any other.
pub(super) fn look(audit: &mut Audit<'_>, place: &Place) -> bool {
    match Image::read(&place.path) {
        Ok(image) => {
            file::scanned(audit, place);
            audit.logs.insert(image.log().to_path_buf());
            content(audit, place, &image);
        }
        Err(SqliteError::Other(path)) => {
            // A runtime has nothing else under these names, and one that can encrypt its databases
            // may write any bytes.
            let is_one = place.kind != PlaceKind::Database || is_sqlite_name(&path);
            if is_one && !is_text(&path) {
                audit.failed(place, &SqliteError::Other(path).into());
            }
            return false;
        }
        Err(error) => audit.failed(place, &error.into()),
    }
    true
}

fn is_sqlite_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().contains(".sqlite")
}

/// How much of a file says whether it is text, in bytes.
const MAX_START: usize = 4_096;

/// True if a file starts with text: no byte of it is one that text does not have.
fn is_text(path: &Path) -> bool {
    let mut start = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_START as u64).read_to_end(&mut start));
    let is_odd = |b: &u8| *b == 0x7f || (*b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r' | 0x1b));
    let is_utf8 = match std::str::from_utf8(&start) {
        Ok(_) => true,
        // The last character may be cut.
        Err(error) => error.error_len().is_none(),
    };
    read.is_ok() && is_utf8 && !start.iter().any(is_odd)
}

fn content(audit: &mut Audit<'_>, place: &Place, image: &Image) {
    let mut remains = Remains::default();
    let areas = [("the file", image.main()), ("the -wal", image.wal())];
    for (area, (_, bytes)) in areas.iter().enumerate() {
        let pieces = Pieces::new(bytes, image.usable());
        remains.search(audit, place, (area, bytes), pieces);
    }
    let looked_for = Needles::new(&remains.values);
    let mut live = vec![false; remains.values.len()];
    let outcome = image.cells_while(&mut |cell| {
        if audit.is_late(place) {
            return ControlFlow::Break(());
        }
        for hit in looked_for.starting_in(cell.bytes, 0..cell.bytes.len()) {
            live[hit.value] = true;
        }
        look_at_cell(audit, place, cell);
        ControlFlow::Continue(())
    });
    if let Err(error) = outcome {
        audit.failed(place, &error.into());
    }
    if remains.left_out {
        let why = format!(
            "over {MAX_VALUES} different values that look like secrets; of the others it is not \
             known whether they were deleted"
        );
        audit.skip(&place.path, why);
    }
    remains.spread(&mut live);
    // Without all cells nothing is known of what they no longer hold.
    if audit.is_late(place) {
        return;
    }
    for (area, (name, _)) in areas.iter().enumerate() {
        let places = remains.places.iter().zip(&live);
        let gone = places.filter(|(_, live)| !**live);
        match gone.map(|(places, _)| places[area]).sum() {
            0 => {}
            gone => tell_remains(audit, place, name, gone),
        }
    }
}

/// What has the look of a secret in the raw bytes of a database.
#[derive(Default)]
struct Remains<'b> {
    /// The number of each value; equal ones have one.
    numbers: HashMap<&'b [u8], usize>,
    values: Vec<SecretValue>,
    /// In how many places of each area a value stands.
    places: Vec<[usize; 2]>,
    /// More values than can be looked for in the cells.
    left_out: bool,
}

impl<'b> Remains<'b> {
    /// Places in raw bytes that hold a secret: known values, forms of keys, fields by their names.
    /// None reaches over the border of a column.
    fn search(
        &mut self,
        audit: &mut Audit<'_>,
        place: &Place,
        (area, bytes): (usize, &'b [u8]),
        mut pieces: Pieces<'_>,
    ) {
        let mut end = 0;
        for stretch in lines::stretches(bytes.len()) {
            if audit.is_late(place) {
                return;
            }
            let mut at = stretch.start;
            while at < stretch.end {
                let piece = pieces.at(at);
                let within = &bytes[piece.clone()];
                let part = at - piece.start..piece.end.min(stretch.end) - piece.start;
                at = piece.start + part.end;
                let mut found = lines::hits(audit, within, part.clone());
                found.extend(fields(within, part).map(|range| Hit {
                    range,
                    record: None,
                    form: None,
                }));
                let mut end_here = usize::saturating_sub(end, piece.start);
                for hit in lines::apart(found, &mut end_here) {
                    self.note(area, &within[hit.range]);
                }
                end = piece.start + end_here;
            }
        }
    }

    fn note(&mut self, area: usize, value: &'b [u8]) {
        let next = self.values.len();
        let number = match self.numbers.get(value) {
            Some(number) => *number,
            None if next == MAX_VALUES => return self.left_out = true,
            None => {
                self.values.push(SecretValue::copy_of(value));
                self.places.push([0; 2]);
                self.numbers.insert(value, next);
                next
            }
        };
        self.places[number][area] += 1;
    }

    /// Takes for live what is the start of a live value, cut by the end of a page, and what starts
    /// with one, since it was read over the border of a column that is no longer known.
    fn spread(&self, live: &mut [bool]) {
        let all = self.numbers.iter();
        let mut values: Vec<&[u8]> = all.filter(|(_, n)| live[**n]).map(|(v, _)| *v).collect();
        values.sort_unstable();
        for (value, number) in &self.numbers {
            if live[*number] {
                continue;
            }
            let next = values.partition_point(|live| live <= value);
            let is_cut = values.get(next).is_some_and(|v| v.starts_with(value));
            live[*number] = is_cut || starts_with_any(value, &values[..next]);
        }
    }
}

/// True if one of the values, which are in order, is the start of the text.
fn starts_with_any(mut text: &[u8], values: &[&[u8]]) -> bool {
    let mut values = values;
    loop {
        let behind = values.partition_point(|value| *value <= text);
        values = &values[..behind];
        let Some(last) = values.last() else {
            return false;
        };
        let shared = last.iter().zip(text).take_while(|(a, b)| a == b).count();
        if shared == last.len() {
            return true;
        }
        text = &text[..shared];
    }
}

fn tell_remains(audit: &mut Audit<'_>, place: &Place, area: &str, count: usize) {
    let them = if count == 1 { "it" } else { "them" };
    let number = credentials(count);
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

/// True if a `-wal` was looked at with its database.
pub(super) fn is_seen(audit: &Audit<'_>, path: &Path) -> bool {
    let real = path.canonicalize();
    real.is_ok_and(|real| audit.logs.contains(&real))
}

/// Looks at a file beside a database that is not there, or was not looked at.
pub(super) fn side(audit: &mut Audit<'_>, place: &Place, bytes: &[u8]) {
    let mut remains = Remains::default();
    let usable = sqlite::wal::page_size(bytes).unwrap_or(DEFAULT_PAGE);
    remains.search(audit, place, (0, bytes), Pieces::new(bytes, usable));
    let count: usize = remains.places.iter().map(|places| places[0]).sum();
    if count > 0 {
        let what = credentials(count);
        let message = format!("The file beside a database holds {what}, in rows or deleted.");
        let origin = Origin {
            place,
            kind: place.kind,
            cell: None,
        };
        audit.add(origin.finding(FindingCode::StorePlaintextResidue, message));
    }
}

/// The size of a page where nothing says it, in bytes.
const DEFAULT_PAGE: usize = 4_096;

fn credentials(count: usize) -> String {
    match count {
        1 => "one credential".to_owned(),
        count => format!("{count} credentials"),
    }
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

/// The values of fields that hold credentials by their names, in bytes of any kind, of the fields
/// whose names start in a stretch of them. Nothing is looked at before it is asked for.
pub(super) fn fields(bytes: &[u8], stretch: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let (mut at, end) = (stretch.start, stretch.end.min(bytes.len()));
    std::iter::from_fn(move || {
        while at < end {
            let quote = at + bytes[at..end].iter().position(|b| *b == b'"')?;
            at = quote + 1;
            if let Some(value) = value_of(bytes, at) {
                at = value.end;
                let text = std::str::from_utf8(&bytes[value.clone()]).unwrap_or_default();
                if text.len() >= LEAST && credential::looks_secret(text) {
                    return Some(value);
                }
            }
        }
        None
    })
}

/// The string that follows a name of a credential's field, and a colon.
fn value_of(bytes: &[u8], name: usize) -> Option<Range<usize>> {
    let after = |at: usize, sign: &[u8]| {
        let rest = bytes[at..].trim_ascii_start();
        let rest = rest.strip_prefix(sign)?;
        Some(bytes.len() - rest.len())
    };
    let rest = &bytes[name..];
    let is_name = |name: &&&str| {
        let rest = rest.strip_prefix(name.as_bytes());
        rest.is_some_and(|rest| rest.starts_with(b"\""))
    };
    let len = NAMES.iter().find(is_name)?.len();
    let start = after(after(name + len + 1, b":")?, b"\"")?;
    let ends = |b: &u8| *b == b'"' || !(0x20..0x7f).contains(b);
    let len = bytes[start..].iter().position(ends);
    Some(start..len.map_or(bytes.len(), |len| start + len))
}
