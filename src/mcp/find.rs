//! Where fast-agent's config is: in its home, in the folder one works in (0.8), or in one above it
//! (before 0.8).
//!
//! A file that others can write to does not count unless a person names it: it says where people
//! sign in.

use super::servers::{Listed, MAX_YAML, Variable, from_yaml};
use crate::error::{Code, Failure};
use crate::source::path::{PathProblem, check_mode, check_owner};
use crate::store::files;
use std::iter;
use std::path::{Path, PathBuf};

/// What fast-agent calls its config: from 0.8 on any of these, before it the last.
pub const CONFIGS: [&str; 3] = [
    "fast-agent.yaml",
    "fast-agent.config.yaml",
    "fastagent.config.yaml",
];
/// The folder that is fast-agent's home in a project, from 0.8 on.
pub const HOME: &str = ".fast-agent";
/// How many folders upwards are looked into.
pub const MAX_PARENTS: usize = 64;

/// What is found on the way up.
#[derive(Debug, Default, PartialEq)]
pub struct Found {
    /// The nearest config that counts.
    pub path: Option<PathBuf>,
    /// The places before it that don't count, each a file or its folder, and why.
    pub skipped: Vec<(PathBuf, Skipped)>,
}

/// Why a config does not count.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Skipped {
    /// Others could have written it.
    #[error("{0}")]
    Place(#[from] PathProblem),
    /// There is another one beside it, so that fast-agent reads neither.
    #[error("holds more than one config of fast-agent")]
    Several,
}

/// The config in fast-agent's home, else the nearest above `folder`, itself included, that nobody
/// but us or root can change. Without a `home` that is [`HOME`] in `folder`.
pub fn find(home: Option<&Path>, folder: &Path) -> Found {
    let home = home.map_or_else(|| folder.join(HOME), Path::to_owned);
    let parents = folder.ancestors().take(MAX_PARENTS);
    let mut found = Found::default();
    for folder in iter::once(home.as_path()).chain(parents) {
        let paths = CONFIGS.map(|name| folder.join(name));
        let mut paths = paths.into_iter().filter(|path| path.is_file());
        let Some(path) = paths.next() else { continue };
        if paths.next().is_some() {
            found.skipped.push((folder.to_owned(), Skipped::Several));
            continue;
        }
        match check(folder, &path) {
            Ok(()) => {
                found.path = Some(path);
                break;
            }
            Err((place, problem)) => found.skipped.push((place, problem.into())),
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

    /// Makes a config that counts.
    fn put(folder: &Path, name: &str) -> PathBuf {
        std::fs::create_dir_all(folder).unwrap();
        let path = folder.join(name);
        write(&path, "").unwrap();
        mode(folder, 0o755);
        mode(&path, 0o644);
        path
    }

    #[test]
    fn the_home_comes_first_then_the_nearest_folder_with_one_config() {
        let top = TempDir::new().unwrap();
        let inner = top.path().join("inner");
        let [preferred, middle, legacy] = CONFIGS;
        let far = put(top.path(), legacy);
        let near = put(&inner, middle);
        let path = |home: Option<&Path>| find(home, &inner).path;
        assert_eq!(path(None), Some(near.clone()));
        let own = put(&inner.join(HOME), preferred);
        assert_eq!(path(None), Some(own));
        let elsewhere = top.path().join("elsewhere");
        assert_eq!(path(Some(&elsewhere)), Some(near));
        let named = put(&elsewhere, legacy);
        assert_eq!(path(Some(&elsewhere)), Some(named));
        // fast-agent reads neither of two.
        let outer = top.path().join("outer");
        put(&outer, legacy);
        put(&outer, preferred);
        let found = find(None, &outer);
        assert_eq!(found.path, Some(far));
        assert_eq!(found.skipped, [(outer, Skipped::Several)]);
    }

    #[test]
    fn so_many_folders_upwards_are_looked_into_and_no_more() {
        let top = TempDir::new().unwrap();
        let config = put(top.path(), CONFIGS[2]);
        let down = |count: usize| top.path().join(["d"].repeat(count).join("/"));
        assert_eq!(find(None, &down(MAX_PARENTS - 1)).path, Some(config));
        assert_eq!(find(None, &down(MAX_PARENTS)).path, None);
    }

    #[test]
    fn a_found_config_that_others_can_write_is_skipped() {
        let top = TempDir::new().unwrap();
        let inner = top.path().join("inner");
        let far = put(top.path(), CONFIGS[2]);
        let near = put(&inner, CONFIGS[2]);
        assert_eq!(find(None, &inner).path, Some(near.clone()));
        let skipped = |place: &Path, bits| {
            let found = find(None, &inner);
            assert_eq!(found.path, Some(far.clone()));
            let problem = PathProblem::TooOpen { mode: bits };
            assert_eq!(found.skipped, [(place.to_owned(), problem.into())]);
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
