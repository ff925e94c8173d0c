//! A file that is written beside the one that it will replace.
//!
//! Invariant: it is nobody else's to read until it has its mode, and gone if it never gets its
//! name.

use super::StoreError;
use super::vault_file::parent;
use crate::sys;
use rustix::fs::{Gid, Mode, Uid};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What stands between the name of a file and the random part of its temporary name.
pub(super) const TEMP_MARK: &str = ".tmp-";
/// Random bytes in a temporary name.
pub(super) const TEMP_RANDOM: usize = 8;

/// A file being written under another name; removed if it never gets its own.
pub(super) struct Temp {
    path: PathBuf,
    file: File,
    named: bool,
}

impl Temp {
    pub(super) fn beside(target: &Path) -> Result<Self, StoreError> {
        let mut random = [0u8; TEMP_RANDOM];
        sys::random::fill(&mut random);
        let mut name = target.file_name().unwrap_or_default().to_os_string();
        name.push(TEMP_MARK);
        name.push(data_encoding::HEXLOWER.encode(&random));
        let path = parent(target).join(name);
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(StoreError::io("make", &path))?;
        Ok(Self {
            path,
            file,
            named: false,
        })
    }

    /// Gives the new file the owner of the old one, and its mode unless another is given, the owner
    /// first: changing it clears mode bits, and at no time may the file be open to more people than
    /// the old one.
    pub(super) fn take_over(&self, like: &File, mode: Option<u32>) -> Result<(), StoreError> {
        let old = like
            .metadata()
            .map_err(StoreError::io("look at", &self.path))?;
        let new = self
            .file
            .metadata()
            .map_err(StoreError::io("look at", &self.path))?;
        if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
            let (uid, gid) = (Uid::from_raw(old.uid()), Gid::from_raw(old.gid()));
            rustix::fs::fchown(self.file.as_fd(), Some(uid), Some(gid))
                .map_err(io::Error::from)
                .map_err(StoreError::io("keep the owner of", &self.path))?;
        }
        self.set_mode(mode.unwrap_or(old.mode() & 0o777))
    }

    pub(super) fn set_mode(&self, mode: u32) -> Result<(), StoreError> {
        rustix::fs::fchmod(self.file.as_fd(), Mode::from_raw_mode(mode))
            .map_err(io::Error::from)
            .map_err(StoreError::io("set the mode of", &self.path))
    }

    pub(super) fn fill(&self, bytes: &[u8]) -> Result<(), StoreError> {
        (&self.file)
            .write_all(bytes)
            .and_then(|()| self.file.sync_all())
            .map_err(StoreError::io("write", &self.path))
    }

    pub(super) fn name(
        mut self,
        rename: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        rename(&self.path).map_err(StoreError::io("put in place", &self.path))?;
        self.named = true;
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::remove_file(&self.path);
        }
    }
}
