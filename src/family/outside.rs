//! Places outside of the state folder that are looked at on request: what shells remember, and the
//! units of service managers.
//!
//! Invariant: what is there and can't be read is in the list of what was skipped.

use super::places::{Found, Place, PlaceKind, Skipped, is_absent, metadata, unreadable};
use std::fs;
use std::path::{Path, PathBuf};

/// The most units of one home.
pub const MAX_UNITS: usize = 4_096;

/// Files in which shells and interpreters keep what was typed, below a home.
const HISTORIES: &[&str] = &[
    ".bash_history",
    ".zsh_history",
    ".zhistory",
    ".sh_history",
    ".ksh_history",
    ".local/share/fish/fish_history",
    ".python_history",
    ".node_repl_history",
];

/// Folders of service units, below a home.
const UNIT_FOLDERS: &[&str] = &[
    ".config/systemd/user",
    ".local/share/systemd/user",
    ".config/environment.d",
    "Library/LaunchAgents",
];

/// The shell histories of a home.
pub fn history(home: &Path) -> Found {
    let mut found = Found::default();
    for name in HISTORIES {
        let path = home.join(name);
        match metadata(&path) {
            Ok(Some(metadata)) if metadata.is_file() => {
                found.places.push(Place::new(path, PlaceKind::History));
            }
            Ok(_) => {}
            Err(error) => found.skipped.push(unreadable(path, &error)),
        }
    }
    found
}

/// The service units of a home, their drop-ins and the copies beside them.
pub fn units(home: &Path) -> Found {
    let mut units = Units::default();
    for folder in UNIT_FOLDERS {
        units.add(home.join(folder), true);
    }
    let mut found = units.paths;
    found.sort();
    let left_out = found.split_off(found.len().min(MAX_UNITS));
    let over = |path| Skipped::new(path, "a unit over the limit of 4,096");
    units.skipped.extend(left_out.into_iter().map(over));
    let place = |path: PathBuf| {
        let name = path.to_string_lossy();
        let backup = name.ends_with(".bak") || name.contains(".bak.") || name.ends_with('~');
        Place {
            backup,
            ..Place::new(path, PlaceKind::Unit)
        }
    };
    Found {
        places: found.into_iter().map(place).collect(),
        skipped: units.skipped,
    }
}

#[derive(Default)]
struct Units {
    paths: Vec<PathBuf>,
    skipped: Vec<Skipped>,
}

impl Units {
    fn add(&mut self, folder: PathBuf, drop_ins: bool) {
        let entries = match fs::read_dir(&folder).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
            Ok(entries) => entries,
            Err(error) => {
                if !is_absent(&error) {
                    self.skipped.push(unreadable(folder, &error));
                }
                return;
            }
        };
        for path in entries.iter().map(fs::DirEntry::path) {
            match metadata(&path) {
                Ok(Some(metadata)) if metadata.is_file() => self.paths.push(path),
                Ok(Some(metadata)) if metadata.is_dir() => {
                    if drop_ins && path.extension().is_some_and(|end| end == "d") {
                        self.add(path, false);
                    }
                }
                Ok(_) => {}
                Err(error) => self.skipped.push(unreadable(path, &error)),
            }
        }
    }
}
