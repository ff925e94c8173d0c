use super::code;
use crate::error::Code;
use crate::store::simulated::{Act, Fault, SimulatedDisk};
use crate::store::{LockKey, Options, SPOOL_ROOM, VaultFile, create, create_on};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const KEY: LockKey = LockKey([0xA5; 8]);
const OTHER: LockKey = LockKey([1; 8]);
const AT_ONCE: Duration = Duration::ZERO;
const PATIENT: Duration = Duration::from_secs(60);

fn never() -> bool {
    false
}

fn vault() -> (TempDir, PathBuf, VaultFile) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v");
    let file = create(&path, Options::default(), b"start").unwrap();
    (folder, path, file)
}

#[test]
fn one_holder_at_a_time_named_to_those_who_wait_too_long() {
    let (folder, _, file) = vault();
    let locks = file.record_locks();
    let held = locks.take(KEY, AT_ONCE, &never).unwrap();
    // Another record's lock, and the writer lock, are free all the while.
    locks.take(OTHER, AT_ONCE, &never).unwrap();
    file.lock_within(AT_ONCE).unwrap();
    let busy = locks.take(KEY, AT_ONCE, &never).err().unwrap();
    assert!(
        busy.to_string()
            .contains(&format!("process {}", std::process::id()))
    );
    assert_eq!(code(busy), Code::VaultBusy);
    drop(held);
    locks.take(KEY, AT_ONCE, &never).unwrap();

    let locks = folder.path().join("v.d/locks");
    let lock = locks.join("a5a5a5a5a5a5a5a5");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&locks), mode(&lock)), (0o700, 0o600));
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
    let refused = file
        .record_locks()
        .take(KEY, AT_ONCE, &never)
        .err()
        .unwrap();
    assert_eq!(code(refused), Code::FilePermission);
}

#[test]
fn waiting_for_a_lock_ends_when_the_caller_gives_up() {
    let (_folder, _, file) = vault();
    let locks = file.record_locks();
    let _held = locks.take(KEY, AT_ONCE, &never).unwrap();
    let gone = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let asked = || gone.load(Ordering::Acquire);
            file.record_locks()
                .take(KEY, PATIENT, &asked)
                .err()
                .map(code)
        });
        gone.store(true, Ordering::Release);
        assert_eq!(waiting.join().unwrap(), Some(Code::VaultSealed));
    });
}

/// What is locked must be what stands at the path: others open the path.
#[test]
fn a_lock_file_that_was_replaced_locks_nobody_out() {
    let (folder, _, file) = vault();
    let locks = file.record_locks();
    let first = locks.take(KEY, AT_ONCE, &never).unwrap();
    let path = folder.path().join("v.d/locks/a5a5a5a5a5a5a5a5");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| file.record_locks().take(KEY, PATIENT, &never).map(|_| ()));
        fs::remove_file(&path).unwrap();
        drop(first);
        waiting.join().unwrap().unwrap();
    });
    assert!(path.exists());
}

#[test]
fn room_is_taken_before_and_given_back_after_unless_an_answer_is_there() {
    let (folder, _, file) = vault();
    let path = folder.path().join("v.d/spool-a5a5a5a5a5a5a5a5");
    let spool = file.spool();
    assert_eq!(spool.read(KEY).unwrap(), None);
    let room = spool.reserve(KEY).unwrap();
    let blocks = fs::metadata(&path).unwrap().blocks();
    assert!(blocks * 512 >= SPOOL_ROOM, "{blocks} blocks");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(spool.read(KEY).unwrap(), None);
    drop(room);
    assert!(!path.exists());

    let mut room = spool.reserve(KEY).unwrap();
    room.put(b"sealed").unwrap();
    drop(room);
    assert_eq!(spool.read(KEY).unwrap().as_deref(), Some(&b"sealed"[..]));
    assert_eq!(spool.read(OTHER).unwrap(), None);
    spool.forget(KEY);
    assert_eq!(spool.read(KEY).unwrap(), None);
}

#[test]
fn a_full_disk_is_found_out_before_and_an_answer_that_is_put_by_survives_a_power_cut() {
    let disk = SimulatedDisk::with_folder(Path::new("/f"));
    let path = Path::new("/f/v");
    let file = create_on(Arc::new(disk.clone()), path, Options::default(), b"start").unwrap();
    let full = |act| Fault {
        act,
        skip: 0,
        times: 1,
        error: ErrorKind::StorageFull,
    };
    disk.fail(full(Act::Reserve));
    assert_eq!(code(file.spool().reserve(KEY).err().unwrap()), Code::FileIo);
    let mut room = file.spool().reserve(KEY).unwrap();
    room.put(b"sealed").unwrap();
    let after = disk.after_crash(disk.journal_len(), || false);
    let after = VaultFile::open_on(Arc::new(after), path, Options::default()).unwrap();
    let put_by = after.spool().read(KEY).unwrap();
    assert_eq!(put_by.as_deref(), Some(&b"sealed"[..]));
}
