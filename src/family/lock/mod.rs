//! Whether the runtime whose state folder it is runs: it would write its files anew from memory,
//! and refresh tokens that are being moved.
//!
//! Known by the locks that it holds: the gateway's (a file that names its config), those of stores
//! and refreshes (files in the folder), those of newer versions' databases (SQLite transactions).
//! Locks outside of the folder lie under a user's number: this process's, that of the folder's
//! owner, and root's. A lock whose process is gone says nothing; the family has the same rule. One
//! that can't be read, or is one of too many, stops whoever asks: nobody knows then. Nothing here
//! takes a lock.

use super::{Folder, named};
use crate::error::{Code, Coded, Failure};
use crate::store::files;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The largest lock file that is read, in bytes.
const MAX_LOCK: usize = 64 * 1024;
/// The most locks that are looked at in one folder.
const MAX_LOCKS: usize = 4096;

/// Why nobody may write to the folder now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// A living process holds a lock.
    #[error("{} holds {what} ({}); stop it first", process(.pid), .path.display())]
    Held {
        /// The lock.
        path: PathBuf,
        /// The process; `None` if the system does not tell.
        pid: Option<u32>,
        /// What it guards.
        what: &'static str,
    },
    /// A lock, or the folder of locks, that can't be read.
    #[error(
        "{} can't be read ({why}), so it is not known whether the other runtime runs; remove it \
         if you know that it does not",
        .path.display()
    )]
    Unread {
        /// The lock or the folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// More locks than are looked at.
    #[error("{} holds more than {MAX_LOCKS} locks or agents", .0.display())]
    Many(PathBuf),
}

fn process(pid: &Option<u32>) -> String {
    pid.map_or("another process".to_owned(), |pid| format!("process {pid}"))
}

impl Coded for LockError {
    fn code(&self) -> Code {
        Code::FolderBusy
    }
}
crate::error::failure_from!(LockError);

fn unread(path: &Path, why: impl ToString) -> LockError {
    LockError::Unread {
        path: path.to_path_buf(),
        why: why.to_string(),
    }
}

/// Refuses a folder whose runtime runs. `temp` are the folders in which its runtime may have put
/// the locks that lie outside (`TMPDIR`, `/tmp`).
///
/// # Errors
/// [`LockError`], `folder.busy` as a failure.
pub fn check_free(folder: &Folder, temp: &[PathBuf]) -> Result<(), LockError> {
    for (dir, uid) in outside(folder, temp, &[folder.runtime.as_str(), "openclaw"]) {
        let is_lock = |name: &str| name.starts_with("gateway.") && name.ends_with(".lock");
        for path in files_of(&dir, uid, &owners(folder), &is_lock)? {
            if let Some((pid, lock)) = living(&path)?
                && is_of_config(&path, &lock, &folder.config)
            {
                return Err(held(path, Some(pid), "the lock of the gateway"));
            }
        }
    }
    let is_lock = |name: &str| name.ends_with(".lock");
    for path in files_in(&folder.root.join("locks/oauth-refresh"), &is_lock)? {
        if let Some((pid, _)) = living(&path)? {
            return Err(held(path, Some(pid), "the lock of a token refresh"));
        }
    }
    store_lock(folder)?;
    state_lock(folder, temp)
}

fn held(path: PathBuf, pid: Option<u32>, what: &'static str) -> LockError {
    LockError::Held { path, pid, what }
}

/// The users whose process may hold the locks: ours, and the owners of the folder and its config.
fn owners(folder: &Folder) -> BTreeSet<u32> {
    let paths = [&folder.root, &folder.config];
    let owners = paths.into_iter().filter_map(|path| fs::metadata(path).ok());
    let own = rustix::process::geteuid().as_raw();
    owners.map(|owner| owner.uid()).chain([own]).collect()
}

/// The folders `NAME-UID` in the temporary folders.
fn outside(folder: &Folder, temp: &[PathBuf], names: &[&str]) -> BTreeSet<(PathBuf, u32)> {
    let root = 0;
    let mut found = BTreeSet::new();
    for uid in owners(folder).into_iter().chain([root]) {
        for (temp, name) in temp.iter().flat_map(|t| names.iter().map(move |n| (t, n))) {
            found.insert((temp.join(format!("{name}-{uid}")), uid));
        }
    }
    found
}

/// The databases in which newer versions hold a transaction as long as they use the state database;
/// named by the first 8 hex digits of the SHA-256 of its path.
fn state_lock(folder: &Folder, temp: &[PathBuf]) -> Result<(), LockError> {
    let database = folder.root.join("state/openclaw.sqlite").canonicalize();
    let Ok(database) = database else {
        return Ok(());
    };
    let end = format!(".{}.lock.sqlite", short_digest(&database));
    let is_lock = |name: &str| name.ends_with(&end);
    for (dir, uid) in outside(folder, temp, &["openclaw-state-locks"]) {
        for path in files_of(&dir, uid, &owners(folder), &is_lock)? {
            let file = match fs::File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(unread(&path, error.kind())),
            };
            let any = rustix::process::Flock::from(rustix::process::FlockType::WriteLock);
            let lock = rustix::process::fcntl_getlk(&file, &any);
            if let Some(lock) = lock.map_err(|error| unread(&path, error))? {
                let pid = lock.pid.map(|pid| pid.as_raw_nonzero().get());
                let pid = pid.and_then(|pid| u32::try_from(pid).ok());
                return Err(held(path, pid, "the lock of the state database"));
            }
        }
    }
    Ok(())
}

/// `auth-profiles.json.lock` of an agent.
fn store_lock(folder: &Folder) -> Result<(), LockError> {
    let agents = files_in(&folder.root.join("agents"), &|_| true)?;
    let inside = agents.into_iter().map(|agent| agent.join("agent"));
    let named = named::named(folder).agent_dirs;
    let elsewhere = folder.agent_dirs.iter().chain(&named);
    for dir in inside.chain(elsewhere.map(|(_, dir)| dir.clone())) {
        let path = dir.join("auth-profiles.json.lock");
        if let Some((pid, _)) = living(&path)? {
            return Err(held(path, Some(pid), "the lock of the auth profiles"));
        }
    }
    Ok(())
}

/// Whether a name is looked at.
type Choice<'a> = &'a dyn Fn(&str) -> bool;

/// The chosen files of a folder of locks. One of root's, which others can't look into, does not
/// stop those who have nothing to do with root.
fn files_of(
    dir: &Path,
    uid: u32,
    owners: &BTreeSet<u32>,
    chosen: Choice<'_>,
) -> Result<Vec<PathBuf>, LockError> {
    match files_in(dir, chosen) {
        Err(LockError::Unread { .. }) if !owners.contains(&uid) => Ok(Vec::new()),
        other => other,
    }
}

fn files_in(folder: &Path, chosen: Choice<'_>) -> Result<Vec<PathBuf>, LockError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => return Ok(Vec::new()),
            kind => return Err(unread(folder, kind)),
        },
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unread(folder, error.kind()))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if !name.is_some_and(chosen) {
            continue;
        }
        if paths.len() == MAX_LOCKS {
            return Err(LockError::Many(folder.to_path_buf()));
        }
        paths.push(path);
    }
    paths.sort();
    Ok(paths)
}

/// True if it is the lock of a gateway with this config: by the path that the lock names, or by the
/// hash in its own name.
fn is_of_config(path: &Path, lock: &Value, config: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let named = lock["configPath"].as_str().map(Path::new);
    let is_named = named.is_some_and(|named| real(named) == real(config));
    let is_hashed = [config.to_path_buf(), real(config)].iter().any(|config| {
        let name = format!("gateway.{}.lock", short_digest(config));
        path.file_name().is_some_and(|own| own == name.as_str())
    });
    is_named || is_hashed
}

/// The first 8 hex digits of the SHA-256 of a path.
fn short_digest(path: &Path) -> String {
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    data_encoding::HEXLOWER.encode(&digest[..4])
}

/// What a lock file says, and its process, if that lives. The start time tells a process from
/// another one that got its number later.
///
/// # Errors
/// If it is there and can't be read, or is over its limit.
fn living(path: &Path) -> Result<Option<(u32, Value)>, LockError> {
    let read = files::read(path, MAX_LOCK);
    let bytes = read.map_err(|error| unread(path, Failure::from(error).message))?;
    Ok(bytes.and_then(|bytes| holder(&bytes)))
}

fn holder(bytes: &[u8]) -> Option<(u32, Value)> {
    let lock: Value = serde_json::from_slice(bytes).ok()?;
    let pid = u32::try_from(lock["pid"].as_u64()?).ok()?;
    let raw = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
    match rustix::process::test_kill_process(raw) {
        Ok(()) | Err(rustix::io::Errno::PERM) => {}
        Err(_) => return None,
    }
    let noted = ["startTime", "starttime"].iter();
    let noted = noted.filter_map(|key| lock[*key].as_u64()).next();
    let now = started(pid);
    let is_other = matches!((noted, &now), (Some(noted), Some(now)) if noted != now.ticks);
    let is_dead = now.is_some_and(|now| now.zombie);
    (!is_other && !is_dead).then_some((pid, lock))
}

/// What `/proc/<pid>/stat` says; `None` where there is no such file.
struct Started {
    /// Field 22.
    ticks: u64,
    zombie: bool,
}

fn started(pid: u32) -> Option<Started> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program, in parentheses, may hold anything.
    let rest = stat.get(stat.rfind(')')? + 1..)?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    Some(Started {
        zombie: *fields.first()? == "Z",
        ticks: fields.get(19)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests;
