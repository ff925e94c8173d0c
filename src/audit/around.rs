//! What surrounds a file with secrets: who can read it, and does git track it.
//!
//! Invariant: git's index is read here, not by git: a repository can be made to run commands.

use super::report::{Finding, FindingCode};
use super::{Audit, git_index};
use crate::family::Place;
use crate::store::files;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The largest index of git that is read, in bytes.
const MAX_INDEX: usize = 64 << 20;

/// Looks at a file in which a secret was found.
pub(super) fn file(audit: &mut Audit<'_>, place: &Place) {
    if let Ok(metadata) = fs::metadata(&place.path) {
        let open = metadata.mode() & 0o077;
        if open != 0 {
            let who = if open & 0o007 != 0 {
                "every user"
            } else {
                "its group"
            };
            let mode = metadata.mode() & 0o777;
            let message = format!("The file with secrets is open to {who} (mode {mode:04o}).");
            audit.add(Finding::new(
                FindingCode::PermissionsLoose,
                &place.path,
                message,
            ));
        }
    }
    if is_tracked(&place.path) {
        let message = "The file with secrets is tracked by git.";
        audit.add(Finding::new(FindingCode::GitTracked, &place.path, message));
    }
}

/// Looks at the state folder itself.
pub(super) fn root(audit: &mut Audit<'_>) {
    let root = &audit.order.folder.root;
    let mode = fs::metadata(root).map_or(0, |metadata| metadata.mode() & 0o777);
    if mode & 0o022 != 0 {
        let message = format!("Others can put files into the state folder (mode {mode:04o}).");
        let mut finding = Finding::new(FindingCode::PermissionsLoose, root, message);
        finding.remedy = "chmod 700 the folder".to_owned();
        audit.add(finding);
    }
}

/// True if the work tree around a file has it in its index.
fn is_tracked(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    path.ancestors().skip(1).any(|tree| {
        let name = path.strip_prefix(tree).unwrap_or(&path).as_os_str();
        index(tree).is_some_and(|index| git_index::has_entry(&index, name.as_bytes()))
    })
}

/// The index of the work tree at a folder, if it is one.
fn index(tree: &Path) -> Option<Vec<u8>> {
    let git = tree.join(".git");
    let folder = if git.is_dir() {
        git
    } else {
        // A linked work tree or a submodule: the file says where.
        let text = files::read(&git, 4_096).ok()??;
        let text = String::from_utf8(text).ok()?;
        tree.join(text.strip_prefix("gitdir:")?.trim())
    };
    files::read(&folder.join("index"), MAX_INDEX).ok()?
}
