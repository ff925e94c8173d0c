//! Small state files (`reseal.json`, `auth-profiles.json`): bounded reads, and atomic writes that
//! notice when somebody else changed the file since it was read.
//!
//! Invariant: a file is either the old one or the new one, whole, on the disk when a write
//! returns (but for [`Care::Whole`]). Its mode and owner stay, and a symlink to it stays a symlink.

use super::disk::{Disk, OsDisk};
use super::temp_file::{TEMP_MARK, TEMP_RANDOM, Temp};
use super::vault_file::parent;
use super::{Holder, StoreError};
use crate::secret::SecretValue;
use rustix::fs::Mode;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The largest state file in bytes: 4 MiB, the limit of a config document.
pub const MAX_STATE_FILE: usize = 4 << 20;

/// How long a write waits for another process that writes the same file.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads a file of at most `max` bytes; `None` if there is none.
///
/// # Errors
/// `file.too_large`; `file.permission` if it is not a regular file or not readable; `file.io`.
pub fn read(path: &Path, max: usize) -> Result<Option<Vec<u8>>, StoreError> {
    let mut file = match open_regular(path) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        other => other?,
    };
    read_bounded(&mut file, path, max).map(Some)
}

/// [`read`], and whether nobody but this user and root could have changed the file: neither itself
/// nor by putting another one into its folder.
///
/// # Errors
/// As [`read`]; inside, `file.permission` if others could.
#[allow(clippy::type_complexity)]
pub fn read_guarded(
    path: &Path,
    max: usize,
) -> Result<Option<(Vec<u8>, Result<(), StoreError>)>, StoreError> {
    let mut file = match open_regular(path) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        other => other?,
    };
    let bytes = read_bounded(&mut file, path, max)?;
    let real = fs::canonicalize(path).map_err(StoreError::io("find", path))?;
    let folder = parent(&real);
    let around = fs::metadata(folder).map_err(StoreError::io("look at", folder))?;
    let itself = file.metadata().map_err(StoreError::io("look at", path))?;
    let guarded = [(&itself, path), (&around, folder)]
        .into_iter()
        .find(|(metadata, _)| !is_trusted(metadata) || metadata.mode() & 0o022 != 0);
    let guarded = guarded.map_or(Ok(()), |(_, path)| {
        Err(StoreError::Unsafe {
            path: path.to_path_buf(),
            why: "can be changed by other users",
        })
    });
    Ok(Some((bytes, guarded)))
}

/// Reads a file that somebody opened, of at most `max` bytes. `path` is for messages.
///
/// # Errors
/// As [`read`].
pub fn read_opened(file: OwnedFd, path: &Path, max: usize) -> Result<Vec<u8>, StoreError> {
    let mut file = File::from(file);
    check_regular(&file, path)?;
    read_bounded(&mut file, path, max)
}

/// Opens a file for [`read_opened`] by another process.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path) -> io::Result<OwnedFd> {
    open_without_waiting(path).map(OwnedFd::from)
}

/// True if nobody but this user and root can change a file that was just read: neither itself, nor
/// by putting another one in its place, in its folder or in one between it and `below`.
pub fn is_guarded(path: &Path, below: &Path) -> bool {
    let trusted = |path: &Path| {
        let metadata = fs::metadata(path);
        metadata.is_ok_and(|metadata| is_trusted(&metadata) && metadata.mode() & 0o022 == 0)
    };
    let between = path.ancestors().skip(1);
    let mut between = between.take_while(|folder| folder.starts_with(below));
    let real = fs::canonicalize(path);
    real.is_ok_and(|real| trusted(&real) && trusted(parent(&real))) && between.all(trusted)
}

/// Reads a file that holds a secret, straight into locked memory. It must be ours or root's and
/// give nothing to others; a pipe (`/dev/fd/3`, process substitution) is taken as it comes.
///
/// # Errors
/// `file.permission` if others can read or write it; `file.too_large`; `file.io` (also if it is
/// not there: whoever names such a file means it).
pub fn read_secret(path: &Path, max: usize) -> Result<SecretValue, StoreError> {
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    let metadata = file.metadata().map_err(StoreError::io("look at", path))?;
    let refuse = |why| {
        Err(StoreError::Unsafe {
            path: path.to_path_buf(),
            why,
        })
    };
    if metadata.is_dir() {
        return refuse("is a folder");
    }
    if metadata.is_file() {
        if metadata.uid() != rustix::process::geteuid().as_raw() && metadata.uid() != 0 {
            return refuse("is owned by another user");
        }
        if metadata.mode() & 0o077 != 0 {
            return refuse("can be read or written by other users (its mode must be 0600)");
        }
    }
    SecretValue::read_from(&mut file, max)
        .map_err(StoreError::io("read", path))?
        .ok_or_else(|| StoreError::TooLarge {
            path: path.to_path_buf(),
            max: max as u64,
        })
}

/// Writes a file if it still holds `before` (`None`: if it is still absent). A new file is 0600.
///
/// All programs that write through here exclude each other by a lock on the file that is being
/// replaced; against others, the content is compared just before.
///
/// # Errors
/// `config.conflict` if it holds something else; `vault.busy` if another process keeps writing it;
/// `file.too_large` over [`MAX_STATE_FILE`]; `file.permission`; `file.io`.
pub fn write(path: &Path, before: Option<&[u8]>, after: &[u8]) -> Result<(), StoreError> {
    write_with(path, before, after, Care::Durable)
}

/// [`write()`] of a secret.
///
/// # Errors
/// As [`write()`].
pub fn write_secret(
    path: &Path,
    before: Option<&[u8]>,
    value: &SecretValue,
) -> Result<(), StoreError> {
    write(path, before, value.expose())
}

/// What a power cut may do to a write that has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// Nothing.
    Durable,
    /// Bring back the older file, whole; saves a wait for the disk.
    Whole,
}

/// [`write()`], with as much care as is asked for.
///
/// # Errors
/// As [`write()`].
pub fn write_with(
    path: &Path,
    before: Option<&[u8]>,
    after: &[u8],
    care: Care,
) -> Result<(), StoreError> {
    if after.len() > MAX_STATE_FILE {
        let max = MAX_STATE_FILE as u64;
        return Err(StoreError::TooLarge {
            path: path.to_path_buf(),
            max,
        });
    }
    write_mode(path, before, None, after, care)
}

/// [`write()`] of a file that everybody may read, 0644 from before it has its name.
///
/// # Errors
/// As [`write()`].
pub fn write_public(path: &Path, before: Option<&[u8]>, after: &[u8]) -> Result<(), StoreError> {
    write_mode(path, before, Some(PUBLIC), after, Care::Durable)
}

fn write_mode(
    path: &Path,
    before: Option<&[u8]>,
    mode: Option<u32>,
    after: &[u8],
    care: Care,
) -> Result<(), StoreError> {
    match before {
        None => write_new(path, mode, after, care),
        Some(before) => {
            let target = follow(path)?;
            let old = lock_unchanged(&target, before)?;
            replace(&target, &old, mode, after, care)
        }
    }
}

/// Removes a file if it still holds `before`. False if it is a symlink, which stays: whoever made
/// it wants the file to be where it leads.
///
/// # Errors
/// As [`write()`].
pub fn remove(path: &Path, before: &[u8]) -> Result<bool, StoreError> {
    let link = fs::symlink_metadata(path).map_err(StoreError::io("find", path))?;
    if link.is_symlink() {
        return Ok(false);
    }
    let _held = lock_unchanged(path, before)?;
    fs::remove_file(path).map_err(StoreError::io("remove", path))?;
    sync_parent(path)?;
    Ok(true)
}

/// Looks whether [`write()`] could replace a file, or make one that is not there, without writing:
/// so that work that needs several files can be refused before it starts.
///
/// # Errors
/// `file.permission` naming the file: it is not regular, is read-only, is owned by a user whom a
/// new file could not be given to, or its folder takes no new file; `file.io`.
pub fn check_replaceable(path: &Path) -> Result<(), StoreError> {
    let refuse = |path: &Path, why| {
        let path = path.to_path_buf();
        Err(StoreError::Unsafe { path, why })
    };
    let target = match follow(path) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            path.to_path_buf()
        }
        other => {
            let target = other?;
            let old = open_regular(&target)?;
            let metadata = old.metadata().map_err(StoreError::io("look at", &target))?;
            let me = rustix::process::geteuid();
            if metadata.mode() & 0o222 == 0 {
                return refuse(path, "is read-only (its mode has no write bit)");
            }
            if metadata.uid() != me.as_raw() && !me.is_root() {
                return refuse(path, "is owned by another user, who would lose it");
            }
            if !me.is_root() && !may_give_to_group(&target, metadata.gid())? {
                return refuse(path, "belongs to a group that a new file can't be given to");
            }
            target
        }
    };
    let folder = parent(&target);
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(folder, access)
        .map_err(io::Error::from)
        .map_err(StoreError::io("make a file in", folder))
}

/// True if a new file beside `path` has this group, or can be given to it.
fn may_give_to_group(path: &Path, group: u32) -> Result<bool, StoreError> {
    let folder = parent(path);
    let around = fs::metadata(folder).map_err(StoreError::io("look at", folder))?;
    let inherited = around.mode() & libc::S_ISGID != 0 && around.gid() == group;
    let ours = rustix::process::getgroups()
        .map_err(io::Error::from)
        .map_err(StoreError::io("look at the groups for", path))?;
    let own = rustix::process::getegid().as_raw() == group;
    Ok(inherited || own || ours.iter().any(|gid| gid.as_raw() == group))
}

/// Removes what a write of this file left behind that was killed: the file under its temporary
/// name. `now` is what the file holds; nothing happens while another process writes it.
///
/// # Errors
/// `file.io` if one is there and can't be removed.
pub fn clear_leftovers(path: &Path, now: &[u8]) -> Result<(), StoreError> {
    let target = follow(path)?;
    // Whoever writes the file holds this lock before the temporary file is made.
    let _held = match lock_unchanged(&target, now) {
        Err(StoreError::Conflict(_) | StoreError::Busy { .. }) => return Ok(()),
        other => other?,
    };
    let mut prefix = target.file_name().unwrap_or_default().to_os_string();
    prefix.push(TEMP_MARK);
    let folder = parent(&target);
    let entries = fs::read_dir(folder).map_err(StoreError::io("list", folder))?;
    for entry in entries {
        let entry = entry.map_err(StoreError::io("list", folder))?;
        let name = entry.file_name();
        let rest = name
            .as_encoded_bytes()
            .strip_prefix(prefix.as_encoded_bytes());
        let is_ours = rest.is_some_and(|rest| {
            rest.len() == 2 * TEMP_RANDOM && rest.iter().all(u8::is_ascii_hexdigit)
        });
        if is_ours {
            let path = entry.path();
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Takes a file of ours away from others, if they can read or write it.
///
/// # Errors
/// `file.permission`; `file.io`.
pub fn make_private(path: &Path) -> Result<(), StoreError> {
    let file = open_regular(path)?;
    let metadata = file.metadata().map_err(StoreError::io("look at", path))?;
    let is_ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if !is_ours || metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(PRIVATE))
        .map_err(io::Error::from)
        .map_err(StoreError::io("make private", path))
}

/// Writes a file whatever was there, 0600 afterwards: for output that nobody edits. A file of
/// another user keeps its owner.
///
/// # Errors
/// `file.permission`, also for a file of another user where others can put files: whoever waits
/// there for what is written must not get it; `file.io`.
pub fn overwrite(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let target = match follow(path) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return match write_new(path, None, bytes, Care::Durable) {
                // Somebody made it meanwhile.
                Err(StoreError::Conflict(_)) => overwrite_old(&follow(path)?, bytes),
                other => other,
            };
        }
        other => other?,
    };
    overwrite_old(&target, bytes)
}

fn overwrite_old(target: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let old = open_regular(target)?;
    let folder = parent(target);
    let metadata = old.metadata().map_err(StoreError::io("look at", target))?;
    let around = fs::metadata(folder).map_err(StoreError::io("look at", folder))?;
    if !is_trusted(&metadata) && around.mode() & 0o022 != 0 {
        return Err(StoreError::Unsafe {
            path: target.to_path_buf(),
            why: "is owned by another user, in a folder where others can make files",
        });
    }
    replace(target, &old, Some(PRIVATE), bytes, Care::Durable)
}

const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

/// Ours or root's.
fn is_trusted(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw() || metadata.uid() == 0
}

fn open_regular(path: &Path) -> Result<File, StoreError> {
    let file = open_without_waiting(path).map_err(StoreError::io("open", path))?;
    check_regular(&file, path)?;
    Ok(file)
}

fn open_without_waiting(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

fn check_regular(file: &File, path: &Path) -> Result<(), StoreError> {
    let metadata = file.metadata().map_err(StoreError::io("look at", path))?;
    if !metadata.is_file() {
        let why = "is not a regular file";
        return Err(StoreError::Unsafe {
            path: path.to_path_buf(),
            why,
        });
    }
    Ok(())
}

fn read_bounded(file: &mut File, path: &Path, max: usize) -> Result<Vec<u8>, StoreError> {
    let limit = max as u64 + 1;
    // The size is a hint: a file that grows meanwhile is read to its end all the same.
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    if size > max as u64 {
        return Err(StoreError::TooLarge {
            path: path.to_path_buf(),
            max: max as u64,
        });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size.min(limit)).unwrap_or(0) + 1);
    Read::by_ref(file)
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(StoreError::io("read", path))?;
    if bytes.len() > max {
        return Err(StoreError::TooLarge {
            path: path.to_path_buf(),
            max: max as u64,
        });
    }
    Ok(bytes)
}

/// Where a path leads. A symlink of another user leads nowhere: it could make us write over any
/// file of ours. (The kernel has such a rule for folders like `/tmp`, not switched on everywhere.)
fn follow(path: &Path) -> Result<PathBuf, StoreError> {
    let link = fs::symlink_metadata(path).map_err(StoreError::io("find", path))?;
    if link.is_symlink() && !is_trusted(&link) {
        return Err(StoreError::Unsafe {
            path: path.to_path_buf(),
            why: "is a symlink of another user",
        });
    }
    fs::canonicalize(path).map_err(StoreError::io("find", path))
}

/// Locks the file at a path once it is sure that it is the one at the path and holds `before`.
fn lock_unchanged(path: &Path, before: &[u8]) -> Result<File, StoreError> {
    let conflict = || StoreError::Conflict(path.to_path_buf());
    let mut file = match open_regular(path) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(conflict());
        }
        other => other?,
    };
    let started = Instant::now();
    while !file
        .try_lock()
        .map(|()| true)
        .or_else(|error| match error {
            fs::TryLockError::WouldBlock => Ok(false),
            fs::TryLockError::Error(error) => Err(StoreError::io("lock", path)(error)),
        })?
    {
        if started.elapsed() >= WRITE_TIMEOUT {
            let (path, waited) = (path.to_path_buf(), WRITE_TIMEOUT);
            return Err(StoreError::Busy {
                path,
                holder: Holder(None),
                waited,
            });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let held = file.metadata().map_err(StoreError::io("look at", path))?;
    let at_path = fs::symlink_metadata(path).map_err(|_| conflict())?;
    if (held.dev(), held.ino()) != (at_path.dev(), at_path.ino()) {
        return Err(conflict());
    }
    match read_bounded(&mut file, path, MAX_STATE_FILE) {
        Ok(now) if now == before => Ok(file),
        Ok(_) | Err(StoreError::TooLarge { .. }) => Err(conflict()),
        Err(error) => Err(error),
    }
}

fn write_new(path: &Path, mode: Option<u32>, bytes: &[u8], care: Care) -> Result<(), StoreError> {
    let conflict = || StoreError::Conflict(path.to_path_buf());
    if fs::symlink_metadata(path).is_ok() {
        return Err(conflict());
    }
    let temp = Temp::beside(path)?;
    if let Some(mode) = mode {
        temp.set_mode(mode)?;
    }
    temp.fill(bytes)?;
    let mut taken = false;
    temp.name(|temp| {
        OsDisk
            .rename_new(temp, path)
            .inspect_err(|error| taken = error.kind() == io::ErrorKind::AlreadyExists)
    })
    .map_err(|error| if taken { conflict() } else { error })?;
    settle(path, care)
}

fn replace(
    path: &Path,
    old: &File,
    mode: Option<u32>,
    bytes: &[u8],
    care: Care,
) -> Result<(), StoreError> {
    let temp = Temp::beside(path)?;
    temp.take_over(old, mode)?;
    temp.fill(bytes)?;
    temp.name(|temp| fs::rename(temp, path))?;
    settle(path, care)
}

/// Sees to it that a new name is on the disk, if that matters.
fn settle(path: &Path, care: Care) -> Result<(), StoreError> {
    match care {
        Care::Durable => sync_parent(path),
        Care::Whole => Ok(()),
    }
}

fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let folder = parent(path);
    OsDisk
        .sync_folder(folder)
        .map_err(StoreError::io("flush the folder", folder))
}
