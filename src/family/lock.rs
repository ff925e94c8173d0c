//! Whether the runtime whose state folder it is runs: it would write its files anew from memory,
//! and refresh tokens that are being moved.
//!
//! Known by the locks that it holds: the gateway's (a file that names its config), those of stores
//! and refreshes (files in the folder), those of newer versions'
//! databases (SQLite transactions). A lock whose process is gone says nothing; the family has
//! the same rule. Nothing here takes a lock.

use super::Folder;
use crate::error::{Code, Failure};
use crate::store::files;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// The largest lock file that is read, in bytes.
const MAX_LOCK: usize = 64 * 1024;
/// The most lock files that are looked at in one folder.
const MAX_LOCKS: usize = 4096;

/// A lock that a living process holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The lock.
    pub path: PathBuf,
    /// The process.
    pub pid: u32,
    /// What it guards.
    pub what: &'static str,
}

impl From<Held> for Failure {
    fn from(held: Held) -> Self {
        let (path, what, pid) = (held.path.display(), held.what, held.pid);
        let text = format!("process {pid} holds {what} ({path}); nothing was written");
        Failure::new(Code::FolderBusy, text)
    }
}

/// The first lock of the folder that a living process holds. `temp` are the folders in which its
/// runtime may have put the gateway's lock (`TMPDIR`, `/tmp`).
pub fn held(folder: &Folder, temp: &[PathBuf]) -> Option<Held> {
    let uid = rustix::process::geteuid().as_raw();
    let names = [folder.runtime.as_str(), "openclaw"];
    let gateway = temp.iter().flat_map(|temp| {
        let names = names.iter();
        names.flat_map(move |name| files_in(&temp.join(format!("{name}-{uid}"))))
    });
    let mut gateway = gateway.filter(|path| is_gateway_lock(path));
    if let Some(held) = gateway.find_map(|path| of_config(&path, &folder.config)) {
        return Some(held);
    }
    let refreshes = files_in(&folder.root.join("locks/oauth-refresh"));
    let refresh = refreshes.iter().find_map(|path| {
        let (pid, _) = living(path)?;
        Some(Held {
            path: path.clone(),
            pid,
            what: "the lock of a token refresh",
        })
    });
    refresh
        .or_else(|| store_lock(folder))
        .or_else(|| state_lock(folder, temp))
}

/// The databases in which newer versions hold a transaction as long as they use the state database;
/// named by the first 8 hex digits of the SHA-256 of its path.
fn state_lock(folder: &Folder, temp: &[PathBuf]) -> Option<Held> {
    let uid = rustix::process::geteuid().as_raw();
    let database = folder.root.join("state/openclaw.sqlite").canonicalize();
    let digest = Sha256::digest(database.ok()?.as_os_str().as_encoded_bytes());
    let end = format!(
        ".{}.lock.sqlite",
        data_encoding::HEXLOWER.encode(&digest[..4])
    );
    let folders = temp.iter();
    let mut files =
        folders.flat_map(|temp| files_in(&temp.join(format!("openclaw-state-locks-{uid}"))));
    files.find_map(|path| {
        let name = path.file_name()?.to_str()?;
        let file = fs::File::open(&path)
            .ok()
            .filter(|_| name.ends_with(&end))?;
        let any = rustix::process::Flock::from(rustix::process::FlockType::WriteLock);
        let lock = rustix::process::fcntl_getlk(&file, &any).ok()??;
        let pid = u32::try_from(lock.pid?.as_raw_nonzero().get()).ok()?;
        Some(Held {
            path,
            pid,
            what: "the lock of the state database",
        })
    })
}

/// `auth-profiles.json.lock` of an agent.
fn store_lock(folder: &Folder) -> Option<Held> {
    let agents = files_in(&folder.root.join("agents")).into_iter();
    let inside = agents.map(|agent| agent.join("agent"));
    let elsewhere = folder.agent_dirs.iter().map(|(_, dir)| dir.clone());
    inside.chain(elsewhere).find_map(|dir| {
        let path = dir.join("auth-profiles.json.lock");
        let (pid, _) = living(&path)?;
        Some(Held {
            path,
            pid,
            what: "the lock of the auth profiles",
        })
    })
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths.take(MAX_LOCKS).collect();
    paths.sort();
    paths
}

fn is_gateway_lock(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with("gateway.") && name.ends_with(".lock"))
}

/// A living gateway's lock, if it is that of this config: by the path that the lock names, or by
/// the hash in its own name.
fn of_config(path: &Path, config: &Path) -> Option<Held> {
    let (pid, lock) = living(path)?;
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let named = lock["configPath"].as_str().map(Path::new);
    let is_named = named.is_some_and(|named| real(named) == real(config));
    let is_hashed = [config.to_path_buf(), real(config)].iter().any(|config| {
        let digest = Sha256::digest(config.as_os_str().as_encoded_bytes());
        let name = format!(
            "gateway.{}.lock",
            data_encoding::HEXLOWER.encode(&digest[..4])
        );
        path.file_name().is_some_and(|own| own == name.as_str())
    });
    (is_named || is_hashed).then(|| Held {
        path: path.to_path_buf(),
        pid,
        what: "the lock of the gateway",
    })
}

/// What a lock file says, and its process, if that lives. The start time tells a process from
/// another one that got its number later.
fn living(path: &Path) -> Option<(u32, Value)> {
    let bytes = files::read(path, MAX_LOCK).ok()??;
    let lock: Value = serde_json::from_slice(&bytes).ok()?;
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
mod tests {
    use super::*;
    use serde_json::json;

    struct World {
        _temp: tempfile::TempDir,
        folder: Folder,
        tmp: PathBuf,
    }

    fn world() -> World {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join(".openclaw");
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("openclaw.json"), "{}").unwrap();
        let folder = Folder::find(Some(&root), &|_| None).unwrap();
        let tmp = temp.path().join("tmp");
        World {
            _temp: temp,
            folder,
            tmp,
        }
    }

    fn write(path: &Path, lock: &Value) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, lock.to_string()).unwrap();
    }

    #[test]
    fn a_gateway_that_runs_is_found_by_its_config_and_a_dead_one_is_not() {
        let world = world();
        let uid = rustix::process::geteuid().as_raw();
        let path = world
            .tmp
            .join(format!("openclaw-{uid}/gateway.0badcafe.lock"));
        let temp = [world.tmp.clone()];
        assert_eq!(held(&world.folder, &temp), None);
        let pid = std::process::id();
        let ticks = started(pid).unwrap().ticks;
        let lock = |pid: u32, ticks: u64, config: &Path| {
            json!({"pid": pid, "createdAt": "x", "configPath": config,
                "startTime": ticks})
        };
        let config = &world.folder.config;
        write(&path, &lock(pid, ticks, config));
        let found = held(&world.folder, &temp).unwrap();
        assert_eq!((found.pid, &found.path), (pid, &path));
        assert_eq!(Failure::from(found).code.kind().exit_code(), 8);
        write(&path, &lock(pid, ticks + 1, config));
        assert_eq!(held(&world.folder, &temp), None, "another process");
        write(&path, &lock(pid, ticks, Path::new("/elsewhere.json")));
        assert_eq!(held(&world.folder, &temp), None, "another config");
        write(&path, &lock(i32::MAX as u32, ticks, config));
        assert_eq!(held(&world.folder, &temp), None, "a dead one");
        fs::write(&path, "").unwrap();
        assert_eq!(held(&world.folder, &temp), None, "an empty one");
    }

    #[test]
    fn the_locks_of_a_store_and_of_a_refresh_count() {
        let world = world();
        let lock = json!({"pid": std::process::id()});
        for name in [
            "agents/main/agent/auth-profiles.json.lock",
            "locks/oauth-refresh/sha256-00.lock",
        ] {
            let path = world.folder.root.join(name);
            write(&path, &lock);
            assert_eq!(held(&world.folder, &[]).unwrap().path, path);
            fs::remove_file(&path).unwrap();
        }
        assert_eq!(held(&world.folder, &[]), None);
    }
}
