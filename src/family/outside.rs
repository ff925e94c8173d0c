//! Places outside of the state folder that are looked at on request: what shells remember, and the
//! units of service managers.

use super::places::{Found, Place, PlaceKind, Skipped};
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
pub fn history(home: &Path) -> Vec<Place> {
    let paths = HISTORIES.iter().map(|name| home.join(name));
    let files = paths.filter(|path| path.is_file());
    files
        .map(|path| Place::new(path, PlaceKind::History))
        .collect()
}

/// The service units of a home, their drop-ins and the copies beside them.
pub fn units(home: &Path) -> Found {
    let mut found = Vec::new();
    for folder in UNIT_FOLDERS {
        add(&home.join(folder), true, &mut found);
    }
    found.sort();
    let left_out = found.split_off(found.len().min(MAX_UNITS));
    let skipped = |path| Skipped::new(path, "a unit over the limit of 4,096");
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
        skipped: left_out.into_iter().map(skipped).collect(),
    }
}

fn add(folder: &Path, drop_ins: bool, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_file() {
            found.push(path);
        } else if drop_ins && path.extension().is_some_and(|end| end == "d") {
            add(&path, false, found);
        }
    }
}
