//! What this machine remembers of the vaults that it has seen, outside of their files.
//!
//! An anchor is written without a flush: losing the newest one to a power cut weakens the
//! detection of a rollback by one step; an anchor ahead of its vault would be a false alarm, so
//! it is always written after the vault is on the disk.

use super::StoreError;
use super::disk::{Disk, Open, OsDisk};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest anchor that is read, in bytes; version 1 has 152.
pub const MAX_ANCHOR: usize = 4096;

/// The folder of anchors of one installation.
#[derive(Clone)]
pub struct Anchors {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

impl Anchors {
    /// The anchors in a folder, which is made when the first one is written.
    pub fn at(folder: &Path) -> Self {
        Self::on(Arc::new(OsDisk), folder)
    }

    /// [`Anchors::at`] on another disk than the operating system's.
    pub fn on(disk: Arc<dyn Disk>, folder: &Path) -> Self {
        Self {
            disk,
            folder: folder.to_path_buf(),
        }
    }

    /// Where the anchor of a vault lies.
    pub fn path(&self, vault_id: &[u8; 16]) -> PathBuf {
        self.folder.join(data_encoding::HEXLOWER.encode(vault_id))
    }

    /// The anchor of a vault, if there is one; not verified.
    ///
    /// # Errors
    /// `file.io`, `file.permission`, `file.too_large`.
    pub fn read(&self, vault_id: &[u8; 16]) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(vault_id);
        let file = match self.disk.open(&path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(StoreError::io("open", &path))?,
        };
        let mut bytes = vec![0; MAX_ANCHOR + 1];
        let len = file
            .read_at(&mut bytes, 0)
            .map_err(StoreError::io("read", &path))?;
        if len > MAX_ANCHOR {
            return Err(StoreError::TooLarge {
                path,
                max: MAX_ANCHOR as u64,
            });
        }
        bytes.truncate(len);
        Ok(Some(bytes))
    }

    /// Writes the anchor of a vault: whole or not at all, not flushed. Call it under the writer
    /// lock of the vault, where that can be had: then anchors never go backwards.
    ///
    /// # Errors
    /// `file.io`, `file.permission`.
    pub fn write(&self, vault_id: &[u8; 16], bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.path(vault_id);
        // One name, so that a process that dies here leaves nothing that piles up. Two readers
        // without the lock may share it: both write the same few bytes in one piece.
        let temp = path.with_extension("tmp");
        let file = match self.disk.open(&temp, Open::Ensure) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.disk
                    .ensure_folder(&self.folder)
                    .map_err(StoreError::io("make the folder", &self.folder))?;
                self.disk.open(&temp, Open::Ensure)
            }
            other => other,
        }
        .map_err(StoreError::io("make", &temp))?;
        file.write_at(bytes, 0)
            .and_then(|()| file.set_len(bytes.len() as u64))
            .and_then(|()| self.disk.rename(&temp, &path))
            .map_err(StoreError::io("write", &path))
    }

    /// Forgets a vault: the next open is the first one.
    ///
    /// # Errors
    /// `file.io`, `file.permission`.
    pub fn forget(&self, vault_id: &[u8; 16]) -> Result<(), StoreError> {
        let path = self.path(vault_id);
        match self.disk.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(StoreError::io("remove", &path)),
        }
    }
}
