//! The files that still hold a value afterwards, and the variables that stay.
//!
//! Nothing here changes anything: what these files are (sessions, logs, databases, backups of
//! others) is not understood well enough to be rewritten.

use crate::apply::{Content, Draft, RowChange, Shown, site};
use crate::config::target;
use crate::error::Failure;
use crate::family::sqlite::{Cell, Image};
use crate::family::{Place, PlaceKind, Skipped};
use crate::plaintext::dotenv;
use crate::plaintext::marker;
use crate::plaintext::needles::Needles;
use crate::plan::Left;
use crate::secret::SecretValue;
use crate::store::files;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The largest file that is searched, in bytes: 64 MiB.
pub const MAX_SEARCHED: usize = 64 << 20;

/// A file that holds a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residue {
    /// The file.
    pub path: PathBuf,
    /// What it is, or what it is a copy of.
    pub kind: PlaceKind,
    /// True for a copy.
    pub backup: bool,
    /// How many values stand in it, at most [`MAX_HITS`].
    pub hits: usize,
}

/// The most values that are counted in one file.
pub const MAX_HITS: usize = 1000;

/// Searches every file, as it will be.
pub(super) fn find(
    draft: &Draft,
    kept: &[SecretValue],
    places: &[Place],
) -> (Vec<Residue>, Vec<Skipped>) {
    let moved = draft.moved.iter().map(|moved| &moved.value);
    let needles = Needles::new(moved.chain(kept));
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    if needles.is_empty() {
        return (found, skipped);
    }
    let changed = draft.changes.by_file();
    for place in places {
        let path = &place.path;
        if is_beside(draft, path) {
            continue;
        }
        let row = draft
            .changes
            .rows
            .iter()
            .find(|row| row.change.path == *path);
        let read = match changed.get(&site::real(path)) {
            _ if row.is_some() => row.map(rest_of).transpose(),
            Some(change) => Ok(change.after.clone()),
            None => match files::read(path, MAX_SEARCHED) {
                Ok(bytes) => Ok(bytes.map(Zeroizing::new)),
                Err(error) => Err(Failure::from(error)),
            },
        };
        let hits = match read {
            Ok(Some(bytes)) => needles.find(&bytes, MAX_HITS).len(),
            Ok(None) => continue,
            Err(failure) => {
                skipped.push(Skipped::new(path.clone(), failure.message));
                continue;
            }
        };
        if hits > 0 {
            found.push(Residue {
                path: path.clone(),
                kind: place.kind,
                backup: place.backup,
                hits,
            });
        }
    }
    (found, skipped)
}

/// True for the log of a database that is emptied.
fn is_beside(draft: &Draft, path: &Path) -> bool {
    draft.changes.rows.iter().any(|row| {
        ["-wal", "-shm"].iter().any(|end| {
            let mut beside = row.change.path.clone().into_os_string();
            beside.push(end);
            path.as_os_str() == beside
        })
    })
}

/// What a database will hold: the row as it will be, and every other cell.
fn rest_of(row: &RowChange) -> Result<Content, Failure> {
    let mut rest = row.change.after.clone().unwrap_or_default();
    let image = Image::read(&row.change.path)?;
    // Counted first: a text that grows would leave copies in memory.
    let is_other = |cell: &Cell<'_>| !row.table.is_at(cell.table, cell.row, cell.column);
    let mut len = rest.len();
    image.cells(&mut |cell| {
        len += if is_other(cell) {
            cell.bytes.len() + 1
        } else {
            0
        }
    })?;
    let mut all = Zeroizing::new(Vec::with_capacity(len));
    all.append(&mut rest);
    image.cells(&mut |cell| {
        if is_other(cell) {
            all.push(0);
            all.extend_from_slice(cell.bytes);
        }
    })?;
    Ok(all)
}

/// Variables of env files that look like secrets and stay: their program reads them itself.
pub(super) fn env_lines(
    draft: &Draft,
    places: &[Place],
    left: &mut Vec<Left>,
    kept: &mut Vec<SecretValue>,
) {
    let changes = draft.changes.files.iter();
    let gone: BTreeSet<(&PathBuf, &str)> = changes
        .flat_map(|change| {
            let edits = change.edits.iter();
            let gone = edits.filter(|edit| edit.after == Shown::Nothing);
            gone.map(|edit| (&change.path, edit.place.as_str()))
        })
        .collect();
    for place in places.iter().filter(|p| p.kind == PlaceKind::EnvFile) {
        let Ok(Some(bytes)) = files::read(&place.path, files::MAX_STATE_FILE) else {
            continue;
        };
        let bytes = Zeroizing::new(bytes);
        let Ok(assignments) = dotenv::read(&bytes) else {
            continue;
        };
        for assignment in assignments {
            let name = &assignment.name;
            let text = std::str::from_utf8(&bytes[assignment.content.clone()]).unwrap_or("");
            let secret = target::is_sensitive_name(name) || name.ends_with("_KEY");
            let stays = !gone.contains(&(&place.path, name.as_str()));
            if secret && stays && marker::of(text).is_none() {
                kept.push(assignment.value(&bytes));
                let at = format!("{}, line {}: {name}", place.path.display(), assignment.line);
                let why = "a variable that programs read from the environment; store it with \
                           `reseal secrets set` and start them with `reseal run --env`";
                left.push(Left::new(at, why));
            }
        }
    }
}
