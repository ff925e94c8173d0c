//! What surrounds a file with secrets: who can read it, and does git track it.
//!
//! Invariant: git's index is read here, not by git: a repository can be made to run commands.

use super::report::{Finding, FindingCode};
use super::{Audit, git_index};
use crate::family::Place;
use crate::store::files;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The largest index of git that is read, in bytes.
const MAX_INDEX: usize = 64 << 20;

/// Looks at a file in which a secret was found.
pub(super) fn file(audit: &mut Audit<'_>, place: &Place) {
    match fs::metadata(&place.path) {
        Ok(metadata) => mode(audit, place, metadata.mode() & 0o777),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            let why = format!("its mode can't be read: {}", error.kind());
            audit.skip(&place.path, why);
        }
    }
    match is_tracked(&place.path) {
        Ok(false) => {}
        Ok(true) => {
            let message = "The file with secrets is tracked by git.";
            audit.add(Finding::new(FindingCode::GitTracked, &place.path, message));
        }
        Err(why) => {
            let why = format!("not known whether git tracks it: {why}");
            audit.skip(&place.path, why);
        }
    }
}

fn mode(audit: &mut Audit<'_>, place: &Place, mode: u32) {
    let who = match (mode & 0o007, mode & 0o070) {
        (0, 0) => return,
        (0, _) => "its group",
        _ => "every user",
    };
    let message = format!("The file with secrets is open to {who} (mode {mode:04o}).");
    let code = FindingCode::PermissionsLoose;
    audit.add(Finding::new(code, &place.path, message));
}

/// Looks at the state folder itself.
pub(super) fn root(audit: &mut Audit<'_>) {
    let root = &audit.order.folder.root;
    let mode = match fs::metadata(root) {
        Ok(metadata) => metadata.mode() & 0o777,
        Err(error) => {
            let why = format!("its mode can't be read: {}", error.kind());
            return audit.skip(root, why);
        }
    };
    if mode & 0o022 != 0 {
        let message = format!("Others can put files into the state folder (mode {mode:04o}).");
        let mut finding = Finding::new(FindingCode::PermissionsLoose, root, message);
        finding.remedy = "chmod 700 the folder".to_owned();
        audit.add(finding);
    }
}

/// True if the work tree around a file has it in its index.
///
/// # Errors
/// Why that can't be known.
fn is_tracked(path: &Path) -> Result<bool, String> {
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error.kind().to_string()),
    };
    for tree in path.ancestors().skip(1) {
        let name = path.strip_prefix(tree).unwrap_or(&path).as_os_str();
        let Some(index) = index(tree)? else {
            continue;
        };
        let answer = git_index::has_entry(&index, name.as_bytes());
        if answer.map_err(|why| why.to_string())? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The index of the work tree at a folder, if it is one that has an index.
fn index(tree: &Path) -> Result<Option<Vec<u8>>, String> {
    let git = tree.join(".git");
    let metadata = match fs::metadata(&git) {
        Ok(metadata) => metadata,
        Err(error) => {
            return match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
                kind => Err(format!("{} can't be read: {kind}", git.display())),
            };
        }
    };
    let folder = if metadata.is_dir() {
        git
    } else {
        // A linked work tree or a submodule: the file says where.
        let text = files::read(&git, 4_096).map_err(|error| error.to_string())?;
        let text = String::from_utf8(text.unwrap_or_default()).unwrap_or_default();
        let folder = text.strip_prefix("gitdir:").map(|to| tree.join(to.trim()));
        let is_there = |folder: &PathBuf| folder.is_dir();
        let nowhere = || format!("{} names no folder", git.display());
        folder.filter(is_there).ok_or_else(nowhere)?
    };
    files::read(&folder.join("index"), MAX_INDEX).map_err(|error| error.to_string())
}
