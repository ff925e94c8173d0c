//! Locks between processes: `flock` on a file that stays, found out by polling.
//!
//! Two of them: the writer lock (`X.lock`), held for one commit, and a lock for each record that is
//! being refreshed (`X.d/locks/<16 hex>`, or beside a token file), held across the network.
//!
//! Invariants: a lock dies with its holder; what is held is what stands at the path; a record's
//! lock is taken before the writer lock, never after it; waiting ends at a limit or when the caller
//! gives up, holding ends only when the holder lets go. Lock files are never renamed or removed.

use super::disk::{Disk, DiskFile, Open, OsDisk};
use super::vault_file::check_file;
use super::{Holder, StoreError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long to wait for the lock of a record that another process is refreshing: longer than a
/// refresh may take.
pub const RECORD_LOCK_TIMEOUT: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(10);

/// Names what is locked: the first 8 bytes of a record's id, or of a digest of its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LockKey(pub [u8; 8]);

/// The locks of the records of one vault.
#[derive(Clone)]
pub struct RecordLocks {
    disk: Arc<dyn Disk>,
    /// `X.d`.
    folder: PathBuf,
}

/// A record is locked while this lives.
pub struct RecordLock {
    /// Held, not used: dropping it gives the lock back.
    _file: Box<dyn DiskFile>,
}

impl RecordLocks {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf) -> Self {
        Self { disk, folder }
    }

    /// Takes the lock of a record, waiting at most `timeout`; zero tries once. `given_up` is asked
    /// while waiting, and ends it.
    ///
    /// # Errors
    /// `vault.busy` naming the holder; `vault.sealed` if the caller gave up; `file.permission` if
    /// the folder of locks is not ours; `file.io`.
    pub fn take(
        &self,
        key: LockKey,
        timeout: Duration,
        given_up: &dyn Fn() -> bool,
    ) -> Result<RecordLock, StoreError> {
        let folder = self.folder.join("locks");
        for folder in [&self.folder, &folder] {
            ensure_own_folder(&*self.disk, folder)?;
        }
        let path = folder.join(data_encoding::HEXLOWER.encode(&key.0));
        match poll_lock(&*self.disk, &path, timeout, given_up)? {
            Polled::Taken(file) => Ok(RecordLock { _file: file }),
            Polled::GivenUp => Err(StoreError::GivenUp),
            Polled::Held(holder) => Err(StoreError::RecordBusy {
                holder,
                waited: timeout,
            }),
        }
    }
}

/// Takes the lock of a token set that rests in a file of its own: `path` is the lock file, which is
/// made if it is missing.
///
/// # Errors
/// `vault.busy` naming the holder; `file.permission` if the lock file is not ours; `file.io`.
pub fn take_file_lock(path: &Path, timeout: Duration) -> Result<RecordLock, StoreError> {
    match poll_lock(&OsDisk, path, timeout, &|| false)? {
        Polled::Taken(file) => Ok(RecordLock { _file: file }),
        Polled::GivenUp => Err(StoreError::GivenUp),
        Polled::Held(holder) => Err(StoreError::RecordBusy {
            holder,
            waited: timeout,
        }),
    }
}

/// Takes the writer lock of the vault at `path`.
pub(super) fn take_writer(
    disk: &dyn Disk,
    path: &Path,
    timeout: Duration,
) -> Result<Box<dyn DiskFile>, StoreError> {
    let lock_path = super::beside(path, ".lock");
    match poll_lock(disk, &lock_path, timeout, &|| false)? {
        Polled::Taken(file) => Ok(file),
        Polled::GivenUp => Err(StoreError::GivenUp),
        Polled::Held(holder) => Err(StoreError::Busy {
            path: path.to_path_buf(),
            holder,
            waited: timeout,
        }),
    }
}

/// Makes a folder 0700 if it is missing, and checks that it is a folder of ours.
pub(super) fn ensure_own_folder(disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
    disk.ensure_folder(folder)
        .map_err(StoreError::io("make the folder", folder))?;
    let stat = disk
        .stat(folder)
        .map_err(StoreError::io("look at", folder))?;
    if !stat.is_folder() || stat.uid != rustix::process::geteuid().as_raw() {
        return Err(StoreError::Unsafe {
            path: folder.to_path_buf(),
            why: "is not a folder of ours",
        });
    }
    Ok(())
}

/// What polling for a lock ended with.
enum Polled {
    Taken(Box<dyn DiskFile>),
    Held(Holder),
    GivenUp,
}

/// Polls for a lock: the standard library has no lock with a time limit.
fn poll_lock(
    disk: &dyn Disk,
    path: &Path,
    timeout: Duration,
    given_up: &dyn Fn() -> bool,
) -> Result<Polled, StoreError> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut lock = open_lock(disk, path)?;
    loop {
        if given_up() {
            return Ok(Polled::GivenUp);
        }
        if lock.try_lock().map_err(StoreError::io("lock", path))? {
            let held = lock.stat().map_err(StoreError::io("look at", path))?;
            if disk
                .stat(path)
                .is_ok_and(|at_path| at_path.same_inode(&held))
            {
                // Only for messages, so a failure is no failure of the lock.
                let _ = lock.write_at(format!("{:>10}\n", std::process::id()).as_bytes(), 0);
                return Ok(Polled::Taken(lock));
            }
            // Somebody removed or replaced the lock file: what we hold locks nobody out.
            lock = open_lock(disk, path)?;
        }
        let waited = started.elapsed();
        if waited >= timeout {
            return Ok(Polled::Held(Holder(read_holder(&*lock))));
        }
        // Uneven steps keep waiting processes from knocking in time with each other.
        let uneven = pause.mul_f32(0.5 + (waited.subsec_nanos() % 1024) as f32 / 1024.0);
        std::thread::sleep(uneven.min(timeout - waited));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn open_lock(disk: &dyn Disk, path: &Path) -> Result<Box<dyn DiskFile>, StoreError> {
    let lock = disk
        .open(path, Open::Ensure)
        .map_err(StoreError::io("open the lock", path))?;
    let stat = lock.stat().map_err(StoreError::io("look at", path))?;
    check_file(path, &stat)?;
    Ok(lock)
}

fn read_holder(lock: &dyn DiskFile) -> Option<u32> {
    let mut text = [0u8; 10];
    lock.read_at(&mut text, 0).ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}
