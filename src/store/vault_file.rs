//! The vault file as readers see it: no lock, one open descriptor, changes noticed by `stat`.

use super::disk::{Disk, DiskFile, Open, OsDisk, Stat, network_fs};
use super::writer::{self, Inodes, Writer};
use super::{Frames, MAX_VAULT, RecordLocks, Spool, StoreError, beside};
use crate::vault::Header;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a writer waits for the writer lock unless told otherwise.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// How a vault file is opened.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Write even where locks and flushes can't be relied on.
    pub allow_network_fs: bool,
    /// How long to wait for the writer lock.
    pub lock_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_network_fs: false,
            lock_timeout: LOCK_TIMEOUT,
        }
    }
}

/// The state of the file that a reader or writer has taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    dev: u64,
    ino: u64,
    /// Length in bytes.
    pub len: u64,
    /// A tail cut and a frame appended may give the same length again; the time tells.
    modified_ns: i128,
}

impl Seen {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.dev,
            ino: stat.ino,
            len: stat.len,
            modified_ns: stat.modified_ns,
        }
    }

    pub(super) fn ino(&self) -> u64 {
        self.ino
    }

    /// True if both are states of the same inode: one may be the continuation of the other.
    pub fn same_file(&self, other: &Seen) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }
}

/// A vault file, open for reading.
pub struct VaultFile {
    pub(super) disk: Arc<dyn Disk>,
    /// The file itself: where a symlink pointed when it was opened.
    pub(super) path: PathBuf,
    pub(super) options: Options,
    file: Box<dyn DiskFile>,
    /// The state when this descriptor was opened or last looked at.
    opened: Seen,
    inodes: Arc<Inodes>,
}

impl VaultFile {
    /// Opens the vault at a path. A symlink is followed once, here; what it points at then is the
    /// vault from now on, and is what a rewrite replaces.
    ///
    /// # Errors
    /// `vault.absent`; `file.permission` if the file is not 0600 and ours, or its folder lets
    /// others write; `file.too_large`; `file.io`.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        Self::open_on(Arc::new(OsDisk), path, options)
    }

    /// [`VaultFile::open`] on another disk than the operating system's.
    ///
    /// # Errors
    /// As [`VaultFile::open`].
    pub fn open_on(disk: Arc<dyn Disk>, path: &Path, options: Options) -> Result<Self, StoreError> {
        let target = disk.resolve(path).map_err(absent_or("find", path))?;
        if target != path {
            check_folder(&*disk, parent(path))?;
        }
        check_folder(&*disk, parent(&target))?;
        let (file, opened) = open_checked(&*disk, &target)?;
        Ok(Self {
            disk,
            path: target,
            options,
            file,
            opened,
            inodes: Arc::default(),
        })
    }

    /// The path of the file itself, symlinks followed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The state of the file that this descriptor reads, as of the last look at it.
    pub fn seen(&self) -> Seen {
        self.opened
    }

    /// The header, all of it and nothing more, not verified.
    ///
    /// # Errors
    /// `vault.corrupt` if the file is too short for one or claims an impossible length.
    pub fn read_header(&self) -> Result<Vec<u8>, StoreError> {
        let refuse = |why| StoreError::NotAVault {
            path: self.path.clone(),
            why,
        };
        let mut first = [0u8; 16];
        if self.read_some(&mut first, 0)? < first.len() {
            return Err(refuse("it is shorter than a header"));
        }
        let len = Header::peek_len(&first).map_err(|source| StoreError::Header {
            path: self.path.clone(),
            source,
        })?;
        let mut header = vec![0u8; len];
        if self.read_some(&mut header, 0)? < header.len() {
            return Err(refuse("it ends inside its header"));
        }
        Ok(header)
    }

    /// Reads frames from an offset to the length that [`VaultFile::seen`] tells.
    pub fn frames_from(&self, offset: u64) -> Frames<'_> {
        Frames::new(&*self.file, &self.path, offset, self.opened.len)
    }

    /// Fills a buffer from an offset.
    ///
    /// # Errors
    /// `vault.corrupt` if the file ends before; `file.io`.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), StoreError> {
        if self.read_some(buffer, offset)? < buffer.len() {
            let why = "it ends inside a value";
            return Err(StoreError::NotAVault {
                path: self.path.clone(),
                why,
            });
        }
        Ok(())
    }

    fn read_some(&self, buffer: &mut [u8], offset: u64) -> Result<usize, StoreError> {
        self.file
            .read_at(buffer, offset)
            .map_err(StoreError::io("read", &self.path))
    }

    /// Looks at the path: `None` if the file there is in the state of `seen`, else its state now.
    /// One `stat`, no lock.
    ///
    /// # Errors
    /// `vault.absent` if it is gone; `file.io`.
    pub fn changed(&self, seen: &Seen) -> Result<Option<Seen>, StoreError> {
        let stat = self
            .disk
            .stat(&self.path)
            .map_err(absent_or("look at", &self.path))?;
        let now = Seen::of(&stat);
        Ok((now != *seen).then_some(now))
    }

    /// Takes a state of the same inode as the one to read up to.
    pub fn advance(&mut self, now: Seen) {
        debug_assert!(now.same_file(&self.opened), "another inode needs reopen()");
        self.opened = now;
    }

    /// Opens what is at the path now: another inode after a rewrite. On an error, this handle
    /// goes on reading the old one.
    ///
    /// # Errors
    /// As [`VaultFile::open`].
    pub fn reopen(&mut self) -> Result<(), StoreError> {
        *self = self.open_again()?;
        Ok(())
    }

    /// A second handle on what is at the path now.
    ///
    /// # Errors
    /// As [`VaultFile::open`].
    pub fn open_again(&self) -> Result<Self, StoreError> {
        let (file, opened) = open_checked(&*self.disk, &self.path)?;
        Ok(Self {
            disk: self.disk.clone(),
            path: self.path.clone(),
            options: self.options,
            file,
            opened,
            inodes: self.inodes.clone(),
        })
    }

    /// Returns when everything that this handle can read is on the disk.
    ///
    /// # Errors
    /// `file.io`.
    pub fn settle(&self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(StoreError::io("flush", &self.path))
    }

    /// Takes the writer lock, waiting as long as the options say.
    ///
    /// # Errors
    /// `vault.busy` naming the holder; `vault.network_fs`; `file.permission`; `file.io`.
    pub fn lock_writer(&self) -> Result<Writer, StoreError> {
        self.lock_within(self.options.lock_timeout)
    }

    /// Takes the writer lock, waiting at most `timeout`; zero tries once.
    ///
    /// # Errors
    /// As [`VaultFile::lock_writer`].
    pub fn lock_within(&self, timeout: Duration) -> Result<Writer, StoreError> {
        check_local(&*self.disk, &self.path, &self.options)?;
        Writer::lock(self.disk.clone(), &self.path, timeout, self.inodes.clone())
    }
}

impl VaultFile {
    /// The locks of the vault's records.
    pub fn record_locks(&self) -> RecordLocks {
        RecordLocks::new(self.disk.clone(), beside(&self.path, ".d"))
    }

    /// Where the answers that the vault can't take at the moment are put by.
    pub fn spool(&self) -> Spool {
        Spool::new(self.disk.clone(), beside(&self.path, ".d"))
    }
}

/// Makes a new vault file from its bytes: all of it is on the disk when this returns.
///
/// # Errors
/// `vault.exists` if anything, even a dangling symlink, stands at the path; else as
/// [`VaultFile::open`] and [`VaultFile::lock_writer`].
pub fn create(path: &Path, options: Options, bytes: &[u8]) -> Result<VaultFile, StoreError> {
    create_on(Arc::new(OsDisk), path, options, bytes)
}

/// [`create`] on another disk than the operating system's.
///
/// # Errors
/// As [`create`].
pub fn create_on(
    disk: Arc<dyn Disk>,
    path: &Path,
    options: Options,
    bytes: &[u8],
) -> Result<VaultFile, StoreError> {
    let name = path.file_name().ok_or_else(|| StoreError::Unsafe {
        path: path.to_path_buf(),
        why: "is not the path of a file",
    })?;
    let folder = disk
        .resolve(parent(path))
        .map_err(StoreError::io("find", parent(path)))?;
    check_folder(&*disk, &folder)?;
    let target = folder.join(name);
    check_local(&*disk, &target, &options)?;
    writer::create(disk.clone(), &target, bytes)?;
    VaultFile::open_on(disk, &target, options)
}

/// The folder that a path lies in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn absent_or(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| match source.kind() {
        io::ErrorKind::NotFound => StoreError::VaultAbsent(path),
        _ => StoreError::Io { act, path, source },
    }
}

fn open_checked(disk: &dyn Disk, path: &Path) -> Result<(Box<dyn DiskFile>, Seen), StoreError> {
    let file = disk
        .open(path, Open::Read)
        .map_err(absent_or("open", path))?;
    let stat = file.stat().map_err(StoreError::io("look at", path))?;
    check_file(path, &stat)?;
    Ok((file, Seen::of(&stat)))
}

/// Checks that a vault file is a regular file, ours, private, and not over the limit.
pub(super) fn check_file(path: &Path, stat: &Stat) -> Result<(), StoreError> {
    let refuse = |why| {
        Err(StoreError::Unsafe {
            path: path.to_path_buf(),
            why,
        })
    };
    if !stat.is_file() {
        return refuse("is not a regular file");
    }
    if stat.uid != rustix::process::geteuid().as_raw() {
        return refuse("is owned by another user");
    }
    if stat.mode & 0o077 != 0 {
        return refuse("can be read or written by other users (its mode must be 0600)");
    }
    if stat.len > MAX_VAULT {
        return Err(StoreError::TooLarge {
            path: path.to_path_buf(),
            max: MAX_VAULT,
        });
    }
    Ok(())
}

/// Checks that nobody else can put another file in the place of the vault.
fn check_folder(disk: &dyn Disk, folder: &Path) -> Result<(), StoreError> {
    let folder = &disk
        .resolve(folder)
        .map_err(StoreError::io("find", folder))?;
    let stat = disk
        .stat(folder)
        .map_err(StoreError::io("look at", folder))?;
    let refuse = |why| {
        Err(StoreError::Unsafe {
            path: folder.clone(),
            why,
        })
    };
    let ours = stat.uid == rustix::process::geteuid().as_raw();
    if !ours && stat.uid != 0 {
        return refuse("is owned by another user");
    }
    let sticky = stat.mode & libc::S_ISVTX != 0;
    if stat.mode & 0o022 != 0 && !(sticky && ours) {
        return refuse("can be written by other users");
    }
    Ok(())
}

fn check_local(disk: &dyn Disk, path: &Path, options: &Options) -> Result<(), StoreError> {
    if options.allow_network_fs {
        return Ok(());
    }
    let folder = parent(path);
    let magic = disk
        .fs_magic(folder)
        .map_err(StoreError::io("look at the disk of", folder))?;
    match network_fs(magic) {
        Some(kind) => Err(StoreError::NetworkFs {
            path: folder.to_path_buf(),
            kind,
        }),
        None => Ok(()),
    }
}
