//! Where fast-agent's config is: in the folder one works in, or in one above it.
//!
//! A file that others can write to does not count unless a person names it: it says where people
//! sign in.

use super::servers::{Listed, MAX_YAML, Variable, from_yaml};
use crate::error::{Code, Failure};
use crate::source::path::{PathProblem, check_mode, check_owner};
use crate::store::files;
use std::path::{Path, PathBuf};

/// What fast-agent calls its config.
pub const CONFIG: &str = "fastagent.config.yaml";
/// How many folders upwards are looked into.
pub const MAX_PARENTS: usize = 64;

/// What is found on the way up.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// The nearest config that counts.
    pub path: Option<PathBuf>,
    /// Those before it that don't, each a file or its folder, and why.
    pub skipped: Vec<(PathBuf, PathProblem)>,
}

/// The config nearest above `folder`, itself included, that nobody but us or root can change.
pub fn find(folder: &Path) -> Found {
    let mut found = Found::default();
    for folder in folder.ancestors().take(MAX_PARENTS) {
        let path = folder.join(CONFIG);
        if !path.is_file() {
            continue;
        }
        match check(folder, &path) {
            Ok(()) => {
                found.path = Some(path);
                break;
            }
            Err(skipped) => found.skipped.push(skipped),
        }
    }
    found
}

/// The file, its folder and, where a link leads elsewhere, the folder there.
fn check(folder: &Path, path: &Path) -> Result<(), (PathBuf, PathProblem)> {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for place in [folder, real.parent().unwrap_or(folder), path] {
        let stat = rustix::fs::stat(place).map_err(PathProblem::of_open);
        let checked = stat.and_then(|stat| {
            check_owner(&stat, &[0])?;
            check_mode(&stat, 0o022)
        });
        checked.map_err(|problem| (place.to_owned(), problem))?;
    }
    Ok(())
}

/// Reads the servers of a config.
///
/// # Errors
/// `config.absent` if there is no file, `config.invalid`, `file.*`.
pub fn read(path: &Path, variable: Option<Variable<'_>>) -> Result<Listed, Failure> {
    let name = path.display().to_string();
    let absent = || Failure::new(Code::ConfigAbsent, format!("there is no config at {name}"));
    let bytes = files::read(path, MAX_YAML)?.ok_or_else(absent)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        let why = format!("{name} is not UTF-8");
        Failure::new(Code::ConfigInvalid, why)
    })?;
    from_yaml(text, &name, variable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use tempfile::TempDir;

    fn mode(path: &Path, mode: u32) {
        set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_found_config_that_others_can_write_is_skipped() {
        let top = TempDir::new().unwrap();
        let inner = top.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        let (far, near) = (top.path().join(CONFIG), inner.join(CONFIG));
        for (folder, file) in [(top.path(), &far), (inner.as_path(), &near)] {
            write(file, "").unwrap();
            mode(folder, 0o755);
            mode(file, 0o644);
        }
        assert_eq!(find(&inner).path, Some(near.clone()));
        let skipped = |place: &Path, bits| {
            let found = find(&inner);
            assert_eq!(found.path, Some(far.clone()));
            let problem = PathProblem::TooOpen { mode: bits };
            assert_eq!(found.skipped, [(place.to_owned(), problem)]);
        };
        for (place, bits, before) in [
            (&near, 0o664, 0o644),
            (&near, 0o646, 0o644),
            (&inner, 0o775, 0o755),
            (&inner, 0o1777, 0o755),
        ] {
            mode(place, bits);
            skipped(place, bits);
            mode(place, before);
        }
        // A link into a folder of everybody's.
        let shared = top.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        write(shared.join("real"), "").unwrap();
        mode(&shared, 0o777);
        std::fs::remove_file(&near).unwrap();
        symlink(shared.join("real"), &near).unwrap();
        skipped(&shared.canonicalize().unwrap(), 0o777);
    }
}
