//! Writing a vault file: only under the writer lock, only over the state that the caller saw.
//!
//! Invariants: [`Writer::append`] and [`Writer::replace`] return `Ok` only when the bytes are on
//! the disk. After a failed write or flush of an inode nothing is appended to that inode again by
//! this process: what the page cache then holds may differ from the disk. The lock file is never
//! renamed or removed.

use super::disk::{Disk, DiskFile, Open};
use super::lock::{ensure_own_folder, take_writer};
use super::vault_file::{Seen, check_file, parent};
use super::{MAX_VAULT, StoreError, beside};
use crate::sys;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// How many copies of cut tails are kept beside a vault; the oldest go first.
pub const MAX_TAILS: usize = 8;

/// The most bytes of one tail that are copied before it is cut; more than one frame can have.
pub const MAX_TAIL_COPY: u64 = 72 << 20;

/// A temporary file older than this was left by a process that died.
pub const STALE_TEMP: Duration = Duration::from_secs(3600);

/// How many bytes of a rewrite are gathered before they are written.
const REWRITE_BUFFER: usize = 256 << 10;

/// What all writers of one handle remember of the file's inodes; 0 stands for none.
#[derive(Default)]
pub(super) struct Inodes {
    /// The inode whose name in the folder is known to be on the disk.
    linked: AtomicU64,
    /// The inode that a write or flush failed on.
    poisoned: AtomicU64,
}

/// The right to write a vault file: exists while the writer lock is held.
pub struct Writer {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    inodes: Arc<Inodes>,
    file: Box<dyn DiskFile>,
    /// Held, not used: dropping it gives the lock back.
    _lock: Box<dyn DiskFile>,
}

impl Writer {
    pub(super) fn lock(
        disk: Arc<dyn Disk>,
        path: &Path,
        timeout: Duration,
        inodes: Arc<Inodes>,
    ) -> Result<Self, StoreError> {
        let lock = take_writer(&*disk, path, timeout)?;
        let file = disk
            .open(path, Open::Write)
            .map_err(|source| match source.kind() {
                io::ErrorKind::NotFound => StoreError::VaultAbsent(path.to_path_buf()),
                _ => StoreError::io("open for writing", path)(source),
            })?;
        Ok(Self {
            disk,
            path: path.to_path_buf(),
            inodes,
            file,
            _lock: lock,
        })
    }

    /// The state of the file now; while this writer lives, only it changes the file.
    ///
    /// # Errors
    /// `file.permission` if the file is no longer private; `file.io`.
    pub fn seen(&self) -> Result<Seen, StoreError> {
        let stat = self
            .file
            .stat()
            .map_err(StoreError::io("look at", &self.path))?;
        check_file(&self.path, &stat)?;
        Ok(Seen::of(&stat))
    }

    /// True if a write or flush of the file failed earlier in this process: it can only be
    /// replaced.
    ///
    /// # Errors
    /// As [`Writer::seen`].
    pub fn is_poisoned(&self) -> Result<bool, StoreError> {
        Ok(self.inodes.poisoned.load(Ordering::Acquire) == self.seen()?.ino())
    }

    /// Appends bytes to the file, which must still be in the state `expected`: one write, one
    /// flush. When this returns `Ok` they are on the disk.
    ///
    /// # Errors
    /// `vault.conflict` if the file is in another state (nothing was written); `vault.limit`;
    /// `vault.poisoned` if the write or the flush failed: the file was cut back to what it was, if
    /// that worked, and this handle appends to it no more.
    pub fn append(&mut self, expected: &Seen, bytes: &[u8]) -> Result<Seen, StoreError> {
        let now = self.expect(expected)?;
        if self.is_poisoned()? {
            let source = io::Error::other("an earlier write failed");
            return Err(self.poisoned("append to", source));
        }
        if now.len + bytes.len() as u64 > MAX_VAULT {
            return Err(StoreError::VaultTooLarge(self.path.clone()));
        }
        // A writer that was killed between its rename and its flush of the folder has left a file
        // whose name a power cut may take back, together with what is appended to it.
        if self.inodes.linked.load(Ordering::Acquire) != now.ino() {
            self.sync_folder(parent(&self.path))?;
            self.inodes.linked.store(now.ino(), Ordering::Release);
        }
        let written = self
            .file
            .write_at(bytes, now.len)
            .and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Best effort: what can't be cut is a tail, or an unacknowledged commit.
            let _ = self
                .file
                .set_len(now.len)
                .and_then(|()| self.file.sync_all());
            self.inodes.poisoned.store(now.ino(), Ordering::Release);
            return Err(self.poisoned("append to", source));
        }
        self.seen()
    }

    /// Cuts everything after `valid_end`, keeping a copy as `X.d/tail-<unix ms>`.
    ///
    /// # Errors
    /// `vault.conflict` if the file is not in the state `expected`; `file.io`, `file.permission`
    /// if the copy can't be made (then nothing is cut); `vault.poisoned` if the cut failed.
    pub fn truncate_tail(&mut self, expected: &Seen, valid_end: u64) -> Result<Seen, StoreError> {
        let now = self.expect(expected)?;
        self.save_tail(valid_end, now.len.min(valid_end + MAX_TAIL_COPY))?;
        let cut = self
            .file
            .set_len(valid_end)
            .and_then(|()| self.file.sync_all());
        if let Err(source) = cut {
            self.inodes.poisoned.store(now.ino(), Ordering::Release);
            return Err(self.poisoned("cut the tail of", source));
        }
        self.seen()
    }

    /// Puts a new file in the place of the vault, which must still be in the state `expected`:
    /// all readers see either the old one or the new one, whole. When this returns `Ok` the new
    /// one is on the disk and this writer writes to it.
    ///
    /// # Errors
    /// Those of `fill`; `vault.conflict` if the file is in another state; `vault.limit`;
    /// `file.io`; `vault.poisoned` if the new file stands but the folder could not be flushed.
    pub fn replace<E: From<StoreError>>(
        &mut self,
        expected: &Seen,
        fill: impl FnOnce(&mut Rewrite) -> Result<(), E>,
    ) -> Result<Seen, E> {
        self.expect(expected)?;
        self.remove_stale_temps();
        let mut rewrite = Rewrite::start(self.disk.clone(), &self.path)?;
        fill(&mut rewrite)?;
        rewrite.flush()?;
        self.expect(expected)?;
        let temp = rewrite.temp.clone();
        let file = rewrite.finish(|| self.disk.rename(&temp, &self.path))?;
        self.file = file;
        let now = self.seen()?;
        if let Err(error) = self.sync_folder(parent(&self.path)) {
            self.inodes.poisoned.store(now.ino(), Ordering::Release);
            return Err(error.into());
        }
        self.inodes.linked.store(now.ino(), Ordering::Release);
        self.inodes.poisoned.store(0, Ordering::Release);
        Ok(now)
    }

    /// Checks that the path and the descriptor are still the same file in the state `expected`.
    fn expect(&self, expected: &Seen) -> Result<Seen, StoreError> {
        let at_path = self
            .disk
            .stat(&self.path)
            .map_err(StoreError::io("look at", &self.path))?;
        let now = self.seen()?;
        if now != *expected || Seen::of(&at_path) != now {
            return Err(StoreError::VaultChanged(self.path.clone()));
        }
        Ok(now)
    }

    fn poisoned(&self, act: &'static str, source: io::Error) -> StoreError {
        StoreError::Poisoned {
            act,
            path: self.path.clone(),
            source,
        }
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), StoreError> {
        self.disk
            .sync_folder(folder)
            .map_err(StoreError::io("flush the folder", folder))
    }

    fn save_tail(&self, from: u64, to: u64) -> Result<(), StoreError> {
        let folder = beside(&self.path, ".d");
        ensure_own_folder(&*self.disk, &folder)?;
        self.remove_oldest_tails(&folder);
        let (copy, path) = self.new_tail(&folder)?;
        let mut chunk = vec![0; REWRITE_BUFFER];
        let mut at = from;
        while at < to {
            let want = chunk
                .len()
                .min(usize::try_from(to - at).unwrap_or(usize::MAX));
            let count = self
                .file
                .read_at(&mut chunk[..want], at)
                .map_err(StoreError::io("read", &self.path))?;
            if count == 0 {
                break;
            }
            copy.write_at(&chunk[..count], at - from)
                .map_err(StoreError::io("write", &path))?;
            at += count as u64;
        }
        copy.sync_all().map_err(StoreError::io("flush", &path))
    }

    fn new_tail(&self, folder: &Path) -> Result<(Box<dyn DiskFile>, PathBuf), StoreError> {
        let mut time = sys::clock::now().0;
        loop {
            let path = folder.join(format!("tail-{time:014}"));
            match self.disk.open(&path, Open::Create) {
                // Two tails within one millisecond, or a clock that was set back.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => time += 1,
                Err(error) => return Err(StoreError::io("make", &path)(error)),
                Ok(file) => return Ok((file, path)),
            }
        }
    }

    /// Makes room for one more tail. Failing to is no reason not to repair the vault.
    fn remove_oldest_tails(&self, folder: &Path) {
        let Ok(mut entries) = self.disk.list(folder) else {
            return;
        };
        entries.retain(|(name, _)| name.as_encoded_bytes().starts_with(b"tail-"));
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let excess = (entries.len() + 1).saturating_sub(MAX_TAILS);
        for (name, _) in entries.into_iter().take(excess) {
            let _ = self.disk.remove(&folder.join(name));
        }
    }

    /// Removes what rewrites that died have left. Failing to does no harm.
    fn remove_stale_temps(&self) {
        let Some(name) = self.path.file_name() else {
            return;
        };
        let mut prefix = name.to_os_string();
        prefix.push(".tmp-");
        let folder = parent(&self.path);
        let now = SystemTime::now();
        for (name, modified) in self.disk.list(folder).unwrap_or_default() {
            let Some(rest) = strip_prefix(&name, &prefix) else {
                continue;
            };
            let ours = rest.len() == 16 && rest.iter().all(u8::is_ascii_hexdigit);
            let age = now.duration_since(modified).unwrap_or_default();
            if ours && age > STALE_TEMP {
                let _ = self.disk.remove(&folder.join(&name));
            }
        }
    }
}

/// A new vault file being written beside the old one. Dropped unfinished, it leaves nothing.
pub struct Rewrite {
    disk: Arc<dyn Disk>,
    temp: PathBuf,
    file: Option<Box<dyn DiskFile>>,
    pending: Vec<u8>,
    written: u64,
}

impl Rewrite {
    fn start(disk: Arc<dyn Disk>, path: &Path) -> Result<Self, StoreError> {
        let mut random = [0u8; 8];
        sys::random::fill(&mut random);
        let suffix = format!(".tmp-{}", data_encoding::HEXLOWER.encode(&random));
        let temp = beside(path, &suffix);
        let file = disk
            .open(&temp, Open::Create)
            .map_err(StoreError::io("make", &temp))?;
        Ok(Self {
            disk,
            temp,
            file: Some(file),
            pending: Vec::new(),
            written: 0,
        })
    }

    /// Appends bytes to the new file.
    ///
    /// # Errors
    /// `vault.limit` over [`MAX_VAULT`]; `file.io`.
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if self.len() + bytes.len() as u64 > MAX_VAULT {
            return Err(StoreError::VaultTooLarge(self.temp.clone()));
        }
        if self.pending.len() + bytes.len() > REWRITE_BUFFER {
            self.write_pending()?;
        }
        if bytes.len() > REWRITE_BUFFER {
            return self.write(bytes);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// How many bytes the new file has so far.
    pub fn len(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// True if nothing was put yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn write_pending(&mut self) -> Result<(), StoreError> {
        let mut pending = std::mem::take(&mut self.pending);
        self.write(&pending)?;
        pending.clear();
        self.pending = pending;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if let Some(file) = &self.file {
            file.write_at(bytes, self.written)
                .map_err(StoreError::io("write", &self.temp))?;
            self.written += bytes.len() as u64;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.write_pending()?;
        match &self.file {
            Some(file) => file.sync_all().map_err(StoreError::io("flush", &self.temp)),
            None => Ok(()),
        }
    }

    /// Gives the file its name. On an error the temporary file is removed.
    fn finish(
        mut self,
        name: impl FnOnce() -> io::Result<()>,
    ) -> Result<Box<dyn DiskFile>, StoreError> {
        name().map_err(StoreError::io("put in place", &self.temp))?;
        self.file
            .take()
            .ok_or_else(|| StoreError::VaultChanged(self.temp.clone()))
    }
}

impl Drop for Rewrite {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = self.disk.remove(&self.temp);
        }
    }
}

/// Makes a new file with these bytes at a path where nothing stands.
pub(super) fn create(disk: Arc<dyn Disk>, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let exists = || StoreError::VaultExists(path.to_path_buf());
    if disk.stat(path).is_ok() {
        return Err(exists());
    }
    let mut rewrite = Rewrite::start(disk.clone(), path)?;
    rewrite.put(bytes)?;
    rewrite.flush()?;
    let temp = rewrite.temp.clone();
    let mut taken = false;
    let named = rewrite.finish(|| {
        disk.rename_new(&temp, path)
            .inspect_err(|error| taken = error.kind() == io::ErrorKind::AlreadyExists)
    });
    named.map_err(|error| if taken { exists() } else { error })?;
    let folder = parent(path);
    disk.sync_folder(folder)
        .map_err(StoreError::io("flush the folder", folder))
}

fn strip_prefix<'n>(name: &'n OsString, prefix: &OsString) -> Option<&'n [u8]> {
    name.as_encoded_bytes()
        .strip_prefix(prefix.as_encoded_bytes())
}
