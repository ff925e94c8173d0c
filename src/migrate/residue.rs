//! The files that still hold a value afterwards, and the variables that stay.
//!
//! Nothing here changes anything: what these files are (sessions, logs, databases, backups of
//! others) is not understood well enough to be rewritten.

use crate::apply::{Draft, Shown};
use crate::config::target;
use crate::family::{Place, PlaceKind, Skipped};
use crate::plaintext::dotenv;
use crate::plaintext::marker;
use crate::plaintext::needles::Needles;
use crate::plan::Left;
use crate::secret::SecretValue;
use crate::store::files;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
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
    let changes = draft.changes.files.iter().chain(&draft.changes.scrubs);
    let changed: BTreeMap<_, _> = changes
        .map(|change| (&change.path, change.after.as_ref()))
        .collect();
    for place in places {
        let path = &place.path;
        let read = match changed.get(path) {
            Some(None) => continue,
            Some(Some(after)) => Ok(Some((*after).clone())),
            None => files::read(path, MAX_SEARCHED).map(|bytes| bytes.map(Zeroizing::new)),
        };
        let hits = match read {
            Ok(Some(bytes)) => needles.find(&bytes, MAX_HITS).len(),
            Ok(None) => continue,
            Err(error) => {
                let why = crate::error::Failure::from(error).message;
                skipped.push(Skipped::new(path.clone(), why));
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
                left.push(Left {
                    place: format!("{}, line {}: {name}", place.path.display(), assignment.line),
                    why: "a variable that programs read from the environment; store it with \
                          `reseal secrets set` and start them with `reseal run --env`"
                        .to_owned(),
                });
            }
        }
    }
}
