//! Locks in a folder of its own.

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

impl World {
    fn check(&self) -> Result<(), LockError> {
        check_free(&self.folder, std::slice::from_ref(&self.tmp))
    }

    /// The lock of a gateway of this config, under a user's number.
    fn gateway(&self, uid: u32) -> PathBuf {
        self.tmp
            .join(format!("openclaw-{uid}/gateway.0badcafe.lock"))
    }

    /// What such a lock says; it is held by this process.
    fn lock(&self) -> Value {
        json!({"pid": std::process::id(), "createdAt": "x", "configPath": self.folder.config})
    }
}

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[track_caller]
fn assert_held(checked: Result<(), LockError>, at: &Path) {
    match &checked {
        Err(LockError::Held { path, pid, .. }) => {
            assert_eq!((path.as_path(), *pid), (at, Some(std::process::id())));
        }
        other => panic!("{other:?}"),
    }
    let failure = Failure::from(checked.unwrap_err());
    assert_eq!(failure.code.kind().exit_code(), 8);
    assert!(
        failure.message.contains(&at.display().to_string()),
        "{failure}"
    );
}

#[test]
fn a_gateway_that_runs_is_found_by_its_config_and_a_dead_one_is_not() {
    let world = world();
    let path = world.gateway(own());
    assert_eq!(world.check(), Ok(()));
    let pid = std::process::id();
    let ticks = started(pid).unwrap().ticks;
    let lock = |pid: u32, ticks: u64, config: &Path| {
        json!({"pid": pid, "createdAt": "x", "configPath": config,
            "startTime": ticks})
    };
    let config = &world.folder.config;
    write(&path, &lock(pid, ticks, config));
    assert_held(world.check(), &path);
    write(&path, &lock(pid, ticks + 1, config));
    assert_eq!(world.check(), Ok(()), "another process");
    write(&path, &lock(pid, ticks, Path::new("/elsewhere.json")));
    assert_eq!(world.check(), Ok(()), "another config");
    write(&path, &lock(i32::MAX as u32, ticks, config));
    assert_eq!(world.check(), Ok(()), "a dead one");
    fs::write(&path, "").unwrap();
    assert_eq!(world.check(), Ok(()), "an empty one");
}

#[test]
fn the_locks_of_a_store_and_of_a_refresh_count() {
    let world = world();
    let elsewhere = world.tmp.join("coder");
    let config = json!({"agents": {"list": [{"id": "coder", "agentDir": elsewhere}]}});
    fs::write(&world.folder.config, config.to_string()).unwrap();
    for path in [
        world
            .folder
            .root
            .join("agents/main/agent/auth-profiles.json.lock"),
        world.folder.root.join("locks/oauth-refresh/sha256-00.lock"),
        elsewhere.join("auth-profiles.json.lock"),
    ] {
        write(&path, &world.lock());
        assert_held(world.check(), &path);
        fs::remove_file(&path).unwrap();
    }
    assert_eq!(world.check(), Ok(()));
}

/// Its number is in the name of the folder of locks. Giving a file away needs root, as whom this
/// runs in containers.
#[test]
fn the_gateway_of_the_folders_owner_is_found() {
    let world = world();
    let other = 54_321;
    let owner = match std::os::unix::fs::chown(&world.folder.root, Some(other), None) {
        Ok(()) => other,
        Err(_) => own(),
    };
    let path = world.gateway(owner);
    write(&path, &world.lock());
    assert_held(world.check(), &path);
    fs::remove_file(&path).unwrap();
    let path = world.gateway(own());
    write(&path, &world.lock());
    assert_held(world.check(), &path);
    fs::remove_file(&path).unwrap();
    write(&world.gateway(0), &world.lock());
    assert_held(world.check(), &world.gateway(0));
    fs::remove_file(world.gateway(0)).unwrap();
    write(&world.gateway(other + 1), &world.lock());
    assert_eq!(world.check(), Ok(()), "the folder of somebody else");
}

#[test]
fn other_files_do_not_push_a_lock_aside_and_too_many_locks_stop() {
    let world = world();
    let path = world
        .tmp
        .join(format!("openclaw-{}/gateway.ffffffff.lock", own()));
    write(&path, &world.lock());
    let dir = path.parent().unwrap();
    for n in 0..=MAX_LOCKS {
        fs::write(dir.join(format!("a{n}.log")), "").unwrap();
    }
    assert_held(world.check(), &path);
    fs::remove_file(&path).unwrap();
    let named = |n: usize| dir.join(format!("gateway.{n:08x}.lock"));
    (0..MAX_LOCKS).for_each(|n| fs::write(named(n), "").unwrap());
    assert_eq!(world.check(), Ok(()), "as many as are looked at");
    fs::write(named(MAX_LOCKS), "").unwrap();
    assert_eq!(world.check(), Err(LockError::Many(dir.to_path_buf())));
}

#[test]
fn a_lock_over_its_limit_or_unreadable_stops() {
    let world = world();
    let path = world.gateway(own());
    let mut text = world.lock().to_string();
    text.push_str(&" ".repeat(MAX_LOCK - text.len()));
    write(&path, &Value::Null);
    fs::write(&path, &text).unwrap();
    assert_held(world.check(), &path);
    text.push(' ');
    fs::write(&path, &text).unwrap();
    let is_unread = |checked: Result<(), LockError>, at: &Path| match checked {
        Err(LockError::Unread { path, .. }) => assert_eq!(path, at),
        other => panic!("{other:?}"),
    };
    is_unread(world.check(), &path);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    is_unread(world.check(), &path);
}
