//! Room on the disk for one sealed answer, kept before the answer is asked for.
//!
//! A provider that has rotated a refresh token does not give the new one twice. If the vault can't
//! take it (a full disk, a failing flush), it is put by here, sealed, until the vault can.
//!
//! Invariants: the bytes are ciphertext; one file for each lock key, touched only while that
//! record's lock is held, so that nothing piles up; an empty file, or none, holds nothing.

use super::disk::{Disk, DiskFile, Open};
use super::lock::{LockKey, ensure_own_folder};
use super::vault_file::check_file;
use super::{StoreError, vault_file};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many bytes are kept free for an answer: many times what any provider sends.
pub const SPOOL_ROOM: u64 = 64 << 10;
/// The most bytes that are read of a spool: one value of the largest size, sealed.
pub const MAX_SPOOL: u64 = 2 << 20;

/// The answers that are put by for one vault, `X.d/spool-<16 hex>`.
#[derive(Clone)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

/// Room for one answer. Dropped, it gives the room back, unless an answer was put there.
pub struct SpoolRoom {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    used: bool,
}

impl Spool {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf) -> Self {
        Self { disk, folder }
    }

    fn path(&self, key: LockKey) -> PathBuf {
        let key = data_encoding::HEXLOWER.encode(&key.0);
        self.folder.join(format!("spool-{key}"))
    }

    /// Takes [`SPOOL_ROOM`] bytes of the disk. What the file held is lost: read it before.
    ///
    /// # Errors
    /// `file.permission`; `file.io` if the disk is full.
    pub fn reserve(&self, key: LockKey) -> Result<SpoolRoom, StoreError> {
        ensure_own_folder(&*self.disk, &self.folder)?;
        let path = self.path(key);
        let open = self.disk.open(&path, Open::Ensure);
        let file = open.map_err(StoreError::io("open", &path))?;
        check_file(
            &path,
            &file.stat().map_err(StoreError::io("look at", &path))?,
        )?;
        let room = SpoolRoom {
            disk: Arc::clone(&self.disk),
            path,
            file,
            used: false,
        };
        let taken = room
            .file
            .set_len(0)
            .and_then(|()| room.file.reserve(SPOOL_ROOM));
        taken.map_err(StoreError::io("reserve room in", &room.path))?;
        Ok(room)
    }

    /// What was put by under this key, if anything was.
    ///
    /// # Errors
    /// `file.permission`, `file.too_large`, `file.io`.
    pub fn read(&self, key: LockKey) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(key);
        let file = match self.disk.open(&path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(StoreError::io("open", &path))?,
        };
        let stat = file.stat().map_err(StoreError::io("look at", &path))?;
        check_file(&path, &stat)?;
        if stat.len > MAX_SPOOL {
            let max = MAX_SPOOL;
            return Err(StoreError::TooLarge { path, max });
        }
        let mut bytes = vec![0; usize::try_from(stat.len).unwrap_or(0)];
        let read = file
            .read_at(&mut bytes, 0)
            .map_err(StoreError::io("read", &path))?;
        bytes.truncate(read);
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }

    /// Everything that is put by, in no order.
    ///
    /// # Errors
    /// As [`Spool::read`].
    pub fn read_all(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut found = Vec::new();
        for (name, _) in self.disk.list(&self.folder).unwrap_or_default() {
            let hex = name.as_encoded_bytes().strip_prefix(b"spool-");
            let key = hex.and_then(|hex| data_encoding::HEXLOWER.decode(hex).ok());
            if let Some(key) = key.and_then(|key| key.try_into().ok()) {
                found.extend(self.read(LockKey(key))?);
            }
        }
        Ok(found)
    }

    /// Forgets what was put by under this key.
    pub fn forget(&self, key: LockKey) {
        // An answer that the vault holds by now does no harm here.
        let _ = self.disk.remove(&self.path(key));
    }
}

impl SpoolRoom {
    /// Puts an answer by. When this returns `Ok` it is on the disk, under its name.
    ///
    /// # Errors
    /// `file.io`.
    pub fn put(&mut self, sealed: &[u8]) -> Result<(), StoreError> {
        // From here on the file may hold the only copy of an answer.
        self.used = true;
        let written = self
            .file
            .write_at(sealed, 0)
            .and_then(|()| self.file.sync_all());
        written.map_err(StoreError::io("write", &self.path))?;
        let folder = vault_file::parent(&self.path);
        sync_with_parents(&*self.disk, folder)
    }
}

/// Makes the name of a file in `X.d` durable, and that of `X.d`, which may be new.
fn sync_with_parents(disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
    for folder in [folder, vault_file::parent(folder)] {
        disk.sync_folder(folder)
            .map_err(StoreError::io("flush the folder", folder))?;
    }
    Ok(())
}

impl Drop for SpoolRoom {
    fn drop(&mut self) {
        if !self.used {
            let _ = self.disk.remove(&self.path);
        }
    }
}
