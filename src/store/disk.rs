//! The few file operations that a vault needs, as a trait, so that tests can put a simulated disk
//! that loses unsynced writes in the place of the real one.
//!
//! Invariant: everything durable goes through `sync_data`, `sync_all` or `sync_folder` here; the
//! names of the methods are those of the promises, and the real disk does one call for each.

use super::StoreError;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What `stat` tells of a file, as far as the store asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Length in bytes.
    pub len: u64,
    /// When the content last changed, in nanoseconds since the Unix epoch.
    pub modified_ns: i128,
    /// Owner.
    pub uid: u32,
    /// Type and permission bits.
    pub mode: u32,
}

impl Stat {
    /// True for a regular file.
    pub fn is_file(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// True for a folder.
    pub fn is_folder(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFDIR
    }

    /// True if both are the same inode.
    pub fn same_inode(&self, other: &Stat) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }

    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            len: metadata.size(),
            modified_ns: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
            uid: metadata.uid(),
            mode: metadata.mode(),
        }
    }
}

/// How to open a file. None of them follows a symlink in the last component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading.
    Read,
    /// For reading and writing; must exist.
    Write,
    /// For reading and writing; made 0600 if missing.
    Ensure,
    /// For reading and writing; made 0600, must not exist.
    Create,
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Reads up to `buffer.len()` bytes at an offset; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes at an offset.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts (or zero-extends) the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Takes room on the disk for the first `len` bytes, so that writing them can't fail for want
    /// of it. The length stays, or becomes `len` with zeros where the system can't do otherwise.
    fn reserve(&self, len: u64) -> io::Result<()>;
    /// Returns when the content is on the disk.
    fn sync_data(&self) -> io::Result<()>;
    /// Returns when the content and the metadata are on the disk.
    fn sync_all(&self) -> io::Result<()>;
    /// What `stat` tells.
    fn stat(&self) -> io::Result<Stat>;
    /// Takes the exclusive lock of this open file if it is free; held until the file is dropped.
    fn try_lock(&self) -> io::Result<bool>;
}

/// A disk.
pub trait Disk: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>>;
    /// What `stat` tells of a path; does not follow a symlink in the last component.
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// The path with all symlinks followed.
    fn resolve(&self, path: &Path) -> io::Result<PathBuf>;
    /// Moves a file over another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Moves a file to a name that must be free.
    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder 0700; one that is there is fine.
    fn ensure_folder(&self, path: &Path) -> io::Result<()>;
    /// Names and times of last change of what lies in a folder.
    fn list(&self, folder: &Path) -> io::Result<Vec<(OsString, SystemTime)>>;
    /// Returns when the names in a folder are on the disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// The magic number of the file system that a folder lies on.
    fn fs_magic(&self, folder: &Path) -> io::Result<u64>;
}

/// The disk of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct OsDisk;

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            match FileExt::read_at(self, &mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        match fallocate(self, FallocateFlags::KEEP_SIZE, 0, len) {
            // Some file systems know no such call; zeros take the room just as well.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.write_all_at(&vec![0; usize::try_from(len).unwrap_or(0)], 0)
            }
            other => Ok(other?),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(Stat::of(&self.metadata()?))
    }

    fn try_lock(&self) -> io::Result<bool> {
        match File::try_lock(self) {
            Ok(()) => Ok(true),
            Err(fs::TryLockError::WouldBlock) => Ok(false),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        // A pipe or device at the path must not block us; it is refused after the stat.
        let common = OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = match how {
            Open::Read => OFlags::RDONLY,
            Open::Write => OFlags::RDWR,
            Open::Ensure => OFlags::RDWR | OFlags::CREATE,
            Open::Create => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        let fd = rustix::fs::open(path, common | flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Box::new(File::from(fd)))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        Ok(Stat::of(&fs::symlink_metadata(path)?))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        use rustix::io::Errno;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some file systems have no such rename; a hard link refuses to replace just as well.
            Err(Errno::INVAL | Errno::NOSYS) => {
                fs::hard_link(from, to)?;
                fs::remove_file(from)
            }
            other => Ok(other?),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn ensure_folder(&self, path: &Path) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(OsString, SystemTime)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            // A file that another process removes meanwhile is no error.
            if let Ok(modified) = entry.metadata().and_then(|m| m.modified()) {
                found.push((entry.file_name(), modified));
            }
        }
        Ok(found)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn fs_magic(&self, folder: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statfs(folder)?;
        // The kernel's magic numbers have 32 bits; some are sign-extended on the way here.
        Ok(u64::from(stat.f_type as u32))
    }
}

/// File systems whose locks or flushes other machines or programs decide, by `statfs` magic.
const NETWORK_FILE_SYSTEMS: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0x517B, "SMB"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9P"),
    (0x00C3_6400, "Ceph"),
    (0x5346_414F, "AFS"),
    (0x6B41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x564C, "NCP"),
    (0x0116_1970, "GFS2"),
    (0x7461_636F, "OCFS2"),
    (0x0BD0_0BD0, "Lustre"),
    (0x786F_4256, "a VirtualBox shared folder"),
    (0xBACB_ACBC, "a VMware shared folder"),
    (0x4750_4653, "GPFS"),
    (0xAAD7_AAEA, "PanFS"),
    (0x2003_0528, "OrangeFS"),
];

/// The name of a file system that a vault is not written on unless the user says so.
pub fn network_fs(magic: u64) -> Option<&'static str> {
    NETWORK_FILE_SYSTEMS
        .iter()
        .find(|(number, _)| *number == magic)
        .map(|(_, name)| *name)
}

/// Checks that a folder is a folder, owned by this user, without any right for others (0700).
///
/// # Errors
/// [`StoreError::Unsafe`] if not; [`StoreError::Io`] if it is not there.
pub fn folder_is_private(path: &Path) -> Result<(), StoreError> {
    let metadata = fs::metadata(path).map_err(StoreError::io("look at", path))?;
    let stat = Stat::of(&metadata);
    let refuse = |why| {
        Err(StoreError::Unsafe {
            path: path.to_path_buf(),
            why,
        })
    };
    if !stat.is_folder() {
        return refuse("is not a folder");
    }
    if stat.uid != rustix::process::geteuid().as_raw() {
        return refuse("is owned by another user");
    }
    if stat.mode & 0o077 != 0 {
        return refuse("can be entered by other users (its mode must be 0700)");
    }
    Ok(())
}
