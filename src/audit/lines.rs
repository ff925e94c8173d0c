//! Text of any kind, line by line: known values and forms of keys wherever they stand, and the
//! assignments of env files, service units and shell histories.
//!
//! Invariant: a place is reported once, however many ways it was found.

use super::json::Origin;
use super::report::{Finding, FindingCode};
use super::{Audit, credential};
use crate::family::{Place, PlaceKind};
use crate::plaintext::dotenv::{self, Assignment};
use crate::plaintext::marker::{self, Marker};
use crate::plaintext::pattern;
use std::ops::Range;

/// Looks at bytes that have no structure that we know.
pub(super) fn look(audit: &mut Audit<'_>, origin: &Origin<'_>, bytes: &[u8]) {
    parts(audit, origin, bytes, std::iter::once(0..bytes.len()));
}

/// Looks at parts of the bytes; lines are counted in the whole.
pub(super) fn parts(
    audit: &mut Audit<'_>,
    origin: &Origin<'_>,
    bytes: &[u8],
    parts: impl Iterator<Item = Range<usize>>,
) {
    let mut lines = Lines::new(bytes);
    for part in parts {
        let within = &bytes[part.clone()];
        let mut end = 0;
        for stretch in stretches(within.len()) {
            if audit.is_late(origin.place) {
                return;
            }
            for hit in apart(hits(audit, within, stretch), &mut end) {
                let line = lines.at(part.start + hit.range.start);
                let message = format!("Line {line} holds {}.", hit.what());
                let mut finding = origin.finding(origin.code(hit.record.is_some()), message);
                finding.line = Some(line);
                finding.record = hit.record;
                audit.add(finding);
            }
        }
    }
}

/// How many bytes are searched between two looks at the clock.
const STRETCH: usize = 1 << 20;

/// The stretches in which so many bytes are searched.
pub(super) fn stretches(len: usize) -> impl Iterator<Item = Range<usize>> {
    let starts = (0..len).step_by(STRETCH);
    starts.map(move |start| start..len.min(start + STRETCH))
}

/// A place in bytes that holds a secret.
pub(super) struct Hit {
    pub range: Range<usize>,
    pub record: Option<String>,
    pub form: Option<&'static str>,
}

impl Hit {
    fn what(&self) -> String {
        match (&self.record, self.form) {
            (Some(record), _) => format!("a copy of the vault's {record}"),
            (None, Some(form)) => format!("what has the form of a key ({form})"),
            (None, None) => "a secret".to_owned(),
        }
    }
}

/// Known values and forms of keys that start in a stretch of the bytes; they may overlap.
pub(super) fn hits(audit: &Audit<'_>, bytes: &[u8], stretch: Range<usize>) -> Vec<Hit> {
    let known = audit.needles.starting_in(bytes, stretch.clone());
    let known = known.map(|hit| Hit {
        range: hit.range,
        record: audit.records.get(hit.value).map(ToString::to_string),
        form: None,
    });
    let forms = pattern::starting_in(bytes, stretch).map(|place| Hit {
        range: place.range,
        record: None,
        form: Some(place.name),
    });
    known.chain(forms).collect()
}

/// The hits in their order; of those that overlap the first counts. `end` is where the last one
/// of the stretch before ends.
pub(super) fn apart(mut hits: Vec<Hit>, end: &mut usize) -> Vec<Hit> {
    hits.sort_by_key(|hit| (hit.range.start, hit.record.is_none()));
    hits.retain(|hit| {
        let apart = hit.range.start >= *end;
        *end = hit.range.end.max(*end);
        apart
    });
    hits
}

/// The lines of a text, counted as far as they are asked for.
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl<'a> Lines<'a> {
    /// At the first line.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            line: 1,
        }
    }

    /// The line of a byte that does not lie before the last one asked for.
    pub fn at(&mut self, byte: usize) -> usize {
        let passed = self.bytes.get(self.at..byte).unwrap_or_default();
        self.line += passed.iter().filter(|b| **b == b'\n').count();
        self.at = self.at.max(byte);
        self.line
    }
}

/// Looks at an env file; a comment in it can hold a key as well.
pub(super) fn env_file(audit: &mut Audit<'_>, place: &Place, bytes: &[u8]) {
    let assignments = match dotenv::read(bytes) {
        Ok(assignments) => assignments,
        Err(error) => return audit.skip(&place.path, error.to_string()),
    };
    let origin = Origin {
        place,
        kind: place.kind,
        cell: None,
    };
    let mut rest = Vec::new();
    let mut at = 0;
    for assignment in &assignments {
        rest.push(at..assignment.content.start);
        at = assignment.content.end;
        assigned(audit, &origin, bytes, assignment);
    }
    rest.push(at..bytes.len());
    parts(audit, &origin, bytes, rest.into_iter());
}

/// Looks at one assignment.
fn assigned(audit: &mut Audit<'_>, origin: &Origin<'_>, bytes: &[u8], assignment: &Assignment) {
    let raw = &bytes[assignment.content.clone()];
    let text = String::from_utf8_lossy(raw);
    let name = &assignment.name;
    let is_live = origin.place.kind == PlaceKind::EnvFile && !origin.place.backup;
    let marker = marker::of(&text);
    if is_live && !raw.is_empty() {
        audit.refs.variable(name);
    }
    if is_live && marker == Some(Marker::Ref) {
        audit
            .refs
            .env_value(origin.place, name, assignment.line, &text);
    }
    let named = credential::is_variable(name);
    let hit = apart(hits(audit, raw, 0..raw.len()), &mut 0)
        .into_iter()
        .next();
    let secret = marker.is_none() && named && credential::looks_secret(&text);
    let code = match marker {
        Some(Marker::Redacted) if named => FindingCode::PlaceholderValue,
        _ if secret || hit.is_some() || credential::has_password(&text) => origin.code(false),
        _ => return,
    };
    let form = hit.as_ref().and_then(|hit| hit.form);
    let form = form.map_or_else(String::new, |form| format!(" ({form})"));
    let message = match code {
        FindingCode::PlaceholderValue => format!("{name} holds a runtime's placeholder."),
        _ => format!("{name} is stored as plaintext{form}."),
    };
    let mut finding = Finding {
        json_path: Some(format!("$env.{name}")),
        line: Some(assignment.line),
        ..origin.finding(code, message)
    };
    if let Some(record) = hit.and_then(|hit| hit.record) {
        finding.remedy = format!("it is in the vault as {record}; {}", finding.remedy);
        finding.record = Some(record);
    }
    audit.add(finding);
}

/// Looks at a text whose lines may assign variables: `Environment=NAME=VALUE` of a service unit,
/// `export NAME=VALUE` in a shell's history.
pub(super) fn commands(audit: &mut Audit<'_>, place: &Place, bytes: &[u8]) {
    let origin = Origin {
        place,
        kind: place.kind,
        cell: None,
    };
    let mut rest = Vec::new();
    let mut start = 0;
    for (index, line) in bytes.split_inclusive(|b| *b == b'\n').enumerate() {
        let mut is_found = false;
        for word in words(line) {
            let assignments = dotenv::read(&line[word.clone()]).unwrap_or_default();
            for mut assignment in assignments {
                let text = &line[word.clone()][assignment.content.clone()];
                let text = String::from_utf8_lossy(text);
                let named = credential::is_variable(&assignment.name);
                if named && credential::looks_secret(&text) {
                    assignment.line = index + 1;
                    assigned(audit, &origin, &line[word.clone()], &assignment);
                    is_found = true;
                }
            }
        }
        if !is_found {
            rest.push(start..start + line.len());
        }
        start += line.len();
    }
    parts(audit, &origin, bytes, rest.into_iter());
}

/// The words of a command line, and what follows `Environment=`.
fn words(line: &[u8]) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = 0;
    if let Some(rest) = line.strip_prefix(b"Environment=") {
        start = line.len() - rest.len();
    }
    let mut quote = None;
    let first = start;
    for at in first..=line.len() {
        let byte = line.get(at).copied().unwrap_or(b'\n');
        match (quote, byte) {
            (None, b'"' | b'\'') if at == start => {
                quote = Some(byte);
                start = at + 1;
            }
            (Some(open), byte) if byte == open || byte == b'\n' => {
                words.push(start..at.min(line.len()));
                quote = None;
                start = at + 1;
            }
            (None, b' ' | b'\t' | b'\r' | b'\n' | b';') => {
                if at > start {
                    words.push(start..at);
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    words
}
