//! Where the daemon stands: its private folder, its socket, and the lock that makes it the only
//! one.
//!
//! Invariants: the lock file is held for life and never removed, so that a socket file is stale
//! exactly when the lock is free; a live daemon's socket is never unlinked by another; the socket
//! has its mode before it has its name: 0600, unless it is shared; nobody but the daemon's user and
//! root can put anything into its folder, shared or not.

use crate::config::Share;
use crate::error::{Code, Coded};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt::Timeout};
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a new daemon waits for one that is locking to finish its commits.
pub const CLAIM_LIMIT: Duration = Duration::from_secs(10);
/// How often it looks.
const CLAIM_STEP: Duration = Duration::from_millis(5);
/// Connections that wait to be accepted.
pub const BACKLOG: i32 = 1024;
/// How long a client waits for room in the backlog.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The longest path that fits a socket address, in bytes.
const MAX_ADDRESS: usize = 107;

const LOCK: &str = "daemon.lock";
const NEW_SOCKET: &str = "daemon.sock.new";

/// Why there is no place for a daemon, or no way to it.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The folder is a symlink, someone else's, or open to others.
    #[error("the folder {0} must be a real folder of the vault's owner with mode 0700")]
    Unsafe(PathBuf),
    /// The folder of a shared socket is a symlink, someone else's, or can be changed by others.
    #[error(
        "the folder {0} must be a real folder of the daemon's user or root that nobody else can \
         change (mode 0755 or 0750)"
    )]
    UnsafeShared(PathBuf),
    /// The path has no folder or no name.
    #[error("{0} is not the path of a socket")]
    Path(PathBuf),
    /// Another daemon holds the lock.
    #[error("another daemon (process {pid}) holds {path}")]
    Running {
        /// What the lock file says; 0 if nothing.
        pid: u32,
        /// The lock file.
        path: PathBuf,
    },
    /// The backlog stayed full.
    #[error("the daemon at {0} takes no more connections now")]
    Busy(PathBuf),
    /// The operating system refused.
    #[error("{what} {}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What came of it.
        #[source]
        source: io::Error,
    },
}

impl Coded for PlaceError {
    fn code(&self) -> Code {
        match self {
            PlaceError::Unsafe(_) | PlaceError::UnsafeShared(_) => Code::DaemonUnsafe,
            PlaceError::Path(_) => Code::InputInvalid,
            PlaceError::Running { .. } => Code::DaemonRunning,
            PlaceError::Busy(_) => Code::DaemonBusy,
            PlaceError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Code::FilePermission
            }
            PlaceError::Io { .. } => Code::DaemonUnavailable,
        }
    }
}
crate::error::failure_from!(PlaceError);

/// Connects to a daemon's socket in a folder that only `owner` (or root) can change, and enter
/// unless it is shared; `None` if nobody listens there.
pub fn connect(socket: &Path, owner: u32, share: Share) -> Result<Option<UnixStream>, PlaceError> {
    let (folder, name) = split(socket)?;
    let stat = match rustix::fs::lstat(folder) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        other => other.map_err(failed("look at", folder))?,
    };
    // Before a daemon first ran, systemd's socket stands in a folder that root made, 0755: root
    // could replace what is in any folder, and everybody else is kept out by the socket itself.
    let of_root = stat.st_uid == 0 && owner != 0;
    let around = if of_root { Share::Everyone } else { share };
    check_folder(&stat, owner, around, folder)?;
    let stream = socket_fd()?;
    rustix::net::sockopt::set_socket_timeout(&stream, Timeout::Send, Some(CONNECT_LIMIT))
        .map_err(failed("set limits of", socket))?;
    let outcome = with_address(socket, folder, name, |address| {
        rustix::net::connect(&stream, address)
    })?;
    match outcome {
        Ok(()) => Ok(Some(stream.into())),
        Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
        Err(Errno::AGAIN | Errno::TIMEDOUT) => Err(PlaceError::Busy(socket.to_owned())),
        Err(error) => Err(failed("connect to", socket)(error)),
    }
}

/// A state folder that this process serves alone.
#[derive(Debug)]
pub struct Place {
    socket: PathBuf,
    share: Share,
    folder: OwnedFd,
    lock: Option<File>,
    /// Device and inode of the socket that this process made.
    bound: Option<(u64, u64)>,
}

impl Place {
    /// Makes the folder if need be, and takes the lock. Waits for a daemon that is ending, not
    /// for one that serves.
    pub fn claim(socket: &Path, share: Share, limit: Duration) -> Result<Self, PlaceError> {
        let (path, _) = split(socket)?;
        make_folder(socket, share)?;
        let folder = open_folder(path)?;
        let stat = rustix::fs::fstat(&folder).map_err(failed("look at", path))?;
        let us = rustix::process::geteuid().as_raw();
        if stat.st_uid != us {
            return Err(unsafe_folder(share, path));
        }
        check_folder(&stat, us, share, path)?;
        let lock = take_lock(&folder, path, socket, (us, share), limit)?;
        Ok(Self {
            socket: socket.to_owned(),
            share,
            folder,
            lock: Some(lock),
            bound: None,
        })
    }

    /// Listens at the socket's path, replacing a stale file there.
    pub fn bind(&mut self) -> Result<UnixListener, PlaceError> {
        let (path, name) = split(&self.socket)?;
        let listener = socket_fd()?;
        // The file that `bind` makes takes its mode from the socket.
        rustix::fs::fchmod(&listener, Mode::RUSR | Mode::WUSR)
            .map_err(failed("set the mode of", &self.socket))?;
        match rustix::fs::unlinkat(&self.folder, NEW_SOCKET, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed("remove the stale", &path.join(NEW_SOCKET))(error)),
        }
        let new = path.join(NEW_SOCKET);
        with_address(&new, path, OsStr::new(NEW_SOCKET), |address| {
            rustix::net::bind(&listener, address)
        })?
        .map_err(failed("bind", &new))?;
        rustix::net::listen(&listener, BACKLOG).map_err(failed("listen at", &new))?;
        self.open_to_others(&new)?;
        let stat = rustix::fs::statat(&self.folder, NEW_SOCKET, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("look at", &new))?;
        rustix::fs::renameat(&self.folder, NEW_SOCKET, &self.folder, name)
            .map_err(failed("rename to", &self.socket))?;
        self.bound = Some((stat.st_dev, stat.st_ino));
        Ok(listener.into())
    }

    /// Gives a shared socket the group of its folder, and the mode that lets others in. What `bind`
    /// made has no more than the process's umask allows. Nobody else can change the folder.
    fn open_to_others(&self, new: &Path) -> Result<(), PlaceError> {
        let mode = match self.share {
            Share::Own => return Ok(()),
            Share::Group => 0o660,
            Share::Everyone => 0o666,
        };
        let folder = rustix::fs::fstat(&self.folder).map_err(failed("look at", new))?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let made = rustix::fs::statat(&self.folder, NEW_SOCKET, flags);
        let made = made.map_err(failed("look at", new))?;
        // The installed units take the call away, and give the folder the daemon's own group.
        if made.st_gid != folder.st_gid {
            let group = Some(rustix::fs::Gid::from_raw(folder.st_gid));
            rustix::fs::chownat(&self.folder, NEW_SOCKET, None, group, flags)
                .map_err(failed("set the group of", new))?;
        }
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::chmodat(&self.folder, NEW_SOCKET, mode, AtFlags::empty())
            .map_err(failed("set the mode of", new))
    }

    /// Removes the socket file, if it is still the one that this process made.
    pub fn unlink(&mut self) {
        let Ok((_, name)) = split(&self.socket) else {
            return;
        };
        let Some(bound) = self.bound.take() else {
            return;
        };
        let now = rustix::fs::statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW);
        if now.is_ok_and(|stat| (stat.st_dev, stat.st_ino) == bound) {
            let _ = rustix::fs::unlinkat(&self.folder, name, AtFlags::empty());
        }
    }

    /// Lets another daemon take the place.
    pub fn release(&mut self) {
        self.unlink();
        self.lock = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.release();
    }
}

fn take_lock(
    folder: &OwnedFd,
    path: &Path,
    socket: &Path,
    (us, share): (u32, Share),
    limit: Duration,
) -> Result<File, PlaceError> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let lock_path = path.join(LOCK);
    let lock = rustix::fs::openat(folder, LOCK, flags, mode)
        .map(File::from)
        .map_err(failed("open", &lock_path))?;
    let deadline = Instant::now() + limit;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => {
                return Err(PlaceError::Io {
                    what: "lock",
                    path: lock_path,
                    source: error,
                });
            }
            Err(TryLockError::WouldBlock) => {}
        }
        // One that still listens is not about to end.
        if Instant::now() >= deadline || connect(socket, us, share)?.is_some() {
            return Err(PlaceError::Running {
                pid: holder(&lock),
                path: lock_path,
            });
        }
        std::thread::sleep(CLAIM_STEP);
    }
    write_holder(&lock).map_err(|source| PlaceError::Io {
        what: "write",
        path: lock_path,
        source,
    })?;
    Ok(lock)
}

/// The process id in a lock file is for people; the lock itself is what counts.
fn write_holder(mut lock: &File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.write_all(format!("{}\n", std::process::id()).as_bytes())
}

fn holder(lock: &File) -> u32 {
    use std::os::unix::fs::FileExt;
    let mut text = [0; 16];
    let len = lock.read_at(&mut text, 0).unwrap_or(0);
    let text = std::str::from_utf8(&text[..len]).unwrap_or("");
    text.trim().parse().unwrap_or(0)
}

fn check_folder(stat: &Stat, owner: u32, share: Share, path: &Path) -> Result<(), PlaceError> {
    let real = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    // Root can replace anything of anyone's, so a folder of root's is as safe as the owner's.
    let ours = stat.st_uid == owner || stat.st_uid == 0;
    let forbidden = match share {
        Share::Own => 0o077,
        // To go through is for the group only.
        Share::Group => 0o027,
        Share::Everyone => 0o022,
    };
    if real && ours && stat.st_mode & forbidden == 0 {
        Ok(())
    } else {
        Err(unsafe_folder(share, path))
    }
}

fn unsafe_folder(share: Share, path: &Path) -> PlaceError {
    match share {
        Share::Own => PlaceError::Unsafe(path.to_owned()),
        Share::Group | Share::Everyone => PlaceError::UnsafeShared(path.to_owned()),
    }
}

/// Makes the folder of a socket, as open as the socket is shared; one that is there stays as it is.
///
/// # Errors
/// [`PlaceError::Io`] if it can't be made.
pub fn make_folder(socket: &Path, share: Share) -> Result<(), PlaceError> {
    let (path, _) = split(socket)?;
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) if share == Share::Own => Ok(()),
        Ok(()) => {
            let mode = Mode::from_raw_mode(folder_mode(share));
            rustix::fs::fchmod(&open_folder(path)?, mode).map_err(failed("set the mode of", path))
        }
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(failed("make", path)(error)),
    }
}

fn open_folder(path: &Path) -> Result<OwnedFd, PlaceError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::LOOP | Errno::NOTDIR) => Err(PlaceError::Unsafe(path.to_owned())),
        other => other.map_err(failed("open", path)),
    }
}

/// The mode of the folder of a shared socket that is made here.
fn folder_mode(share: Share) -> u32 {
    match share {
        Share::Own => 0o700,
        Share::Group => 0o750,
        Share::Everyone => 0o755,
    }
}

fn split(socket: &Path) -> Result<(&Path, &OsStr), PlaceError> {
    let folder = socket.parent().filter(|p| !p.as_os_str().is_empty());
    folder
        .zip(socket.file_name())
        .ok_or_else(|| PlaceError::Path(socket.to_owned()))
}

fn socket_fd() -> Result<OwnedFd, PlaceError> {
    rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(failed("open a socket for", Path::new("the daemon")))
}

/// Calls with the address of a socket file. A path too long for an address is reached through
/// the open folder.
fn with_address<T>(
    path: &Path,
    folder: &Path,
    name: &OsStr,
    act: impl FnOnce(&SocketAddrUnix) -> T,
) -> Result<T, PlaceError> {
    if path.as_os_str().len() <= MAX_ADDRESS {
        let address = SocketAddrUnix::new(path).map_err(failed("address", path))?;
        return Ok(act(&address));
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open =
        rustix::fs::openat(CWD, folder, flags, Mode::empty()).map_err(failed("open", folder))?;
    let mut short = format!("/proc/self/fd/{}/", open.as_raw_fd()).into_bytes();
    short.extend_from_slice(name.as_bytes());
    let address = SocketAddrUnix::new(short.as_slice()).map_err(failed("address", path))?;
    Ok(act(&address))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(Errno) -> PlaceError {
    let path = path.to_owned();
    move |error| PlaceError::Io {
        what,
        path,
        source: error.into(),
    }
}

#[cfg(test)]
mod tests;
