//! Landlock: gives up, for good, what this thread and those that it starts may reach
//! (<https://docs.kernel.org/userspace-api/landlock.html>).
//!
//! Three system calls, used directly: what a kernel lacks has to be told, not only left out. The
//! kernel checks a path when a file is opened: descriptors that are open stay as they are. Which
//! places are needed is not decided here.

use rustix::fs::{FileType, Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

/// What may be done below a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read files, list folders.
    Read,
    /// That, and make, write, rename and remove files; make folders and sockets. No links, no
    /// devices, nothing that can be executed.
    Change,
}

/// A file, or a folder with all that is below it, and what may be done there.
pub type Place = (PathBuf, Access);

const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SOCK: u64 = 1 << 9;
const TRUNCATE: u64 = 1 << 14;

/// What a rule on a file, not a folder, may grant.
const OF_A_FILE: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE;
const READ: u64 = READ_FILE | READ_DIR;
const CHANGE: u64 = READ | WRITE_FILE | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | TRUNCATE;

/// The first version that refuses to listen on TCP ports.
pub const ABI_OF_PORTS: u32 = 4;
/// The first version that keeps signals and abstract sockets inside.
pub const ABI_OF_SCOPES: u32 = 6;

const BIND_TCP: u64 = 1;
const SCOPE_ABSTRACT: u64 = 1;
const SCOPE_SIGNAL: u64 = 1 << 1;

const VERSION_FLAG: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;

/// `struct landlock_ruleset_attr`; kernels that know less of it take a shorter one.
#[repr(C)]
#[derive(Default)]
struct Ruleset {
    files: u64,
    network: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    allowed: u64,
    parent: i32,
}

/// The version of Landlock in the running kernel.
///
/// # Errors
/// `ENOSYS` from a kernel that was built without it, `EOPNOTSUPP` from one that was started without
/// it, anything else from what surrounds this process, such as the filter of a container.
pub fn abi() -> io::Result<u32> {
    // SAFETY: with this flag the kernel reads no attribute and answers with a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<Ruleset>(),
            0_usize,
            VERSION_FLAG,
        )
    };
    match u32::try_from(version) {
        Ok(0) => Err(io::ErrorKind::Unsupported.into()),
        Ok(version) => Ok(version),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// From here on this thread, and every thread that it starts, reaches files only as `places` say,
/// listens on no TCP port, and reaches processes outside neither by signals nor, unless
/// `abstract_sockets`, by abstract sockets, as far as a kernel with version `abi` of Landlock knows
/// how to refuse. A place that is not there, or that the kernel takes no rule about (a pipe), is
/// left out: that is less, not more.
///
/// # Errors
/// The kernel refuses it; nothing has changed then.
pub fn enforce(abi: u32, places: &[Place], abstract_sockets: bool) -> io::Result<()> {
    let handled = handled(abi);
    let mut attributes = Ruleset {
        files: handled,
        ..Ruleset::default()
    };
    let mut size = size_of::<u64>();
    if abi >= ABI_OF_PORTS {
        attributes.network = BIND_TCP;
        size = 2 * size_of::<u64>();
    }
    if abi >= ABI_OF_SCOPES {
        let sockets = if abstract_sockets { 0 } else { SCOPE_ABSTRACT };
        attributes.scoped = SCOPE_SIGNAL | sockets;
        size = size_of::<Ruleset>();
    }
    // SAFETY: the kernel reads `size` bytes, at most those of the struct, and gives a descriptor.
    let made = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attributes,
            size,
            0_u32,
        )
    };
    let ruleset = match i32::try_from(made) {
        // SAFETY: the kernel just gave this descriptor to us alone.
        Ok(fd) if fd >= 0 => unsafe { OwnedFd::from_raw_fd(fd) },
        _ => return Err(io::Error::last_os_error()),
    };
    for place in places {
        let _left_out = add(&ruleset, place, handled);
    }
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: takes two numbers.
    let enforced =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) };
    match enforced {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Every kind of access to files that this version can refuse.
fn handled(abi: u32) -> u64 {
    let kinds = match abi {
        1 => 13,
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    (1 << kinds) - 1
}

fn add(ruleset: &OwnedFd, (path, access): &Place, handled: u64) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(parent) = rustix::fs::open(path, flags, Mode::empty()) else {
        return Ok(());
    };
    let wanted = match access {
        Access::Read => READ,
        Access::Change => CHANGE,
    };
    let stat = rustix::fs::fstat(&parent)?;
    let possible = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => handled,
        _ => handled & OF_A_FILE,
    };
    let rule = PathBeneath {
        allowed: wanted & possible,
        parent: parent.as_raw_fd(),
    };
    // SAFETY: the kernel reads the struct, which lives on; both descriptors are open.
    let added = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            RULE_PATH_BENEATH,
            &raw const rule,
            0_u32,
        )
    };
    match added {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
