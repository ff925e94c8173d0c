//! System calls that a process gives up for good, by a filter in the kernel (`seccomp(2)`).
//!
//! A list of what is refused, not of what is allowed: libraries may need calls tomorrow that they
//! do not make today. What is refused is what takes a process over (another, or this one by
//! another program), what gives a new view of the machine, and large doors into the kernel that
//! nobody here uses. Refused calls fail with `EPERM`, so that whoever made one can say so; `clone3`
//! with `ENOSYS`, because its flags lie in memory, where a filter can't look, and libraries then
//! make the older call.
//!
//! | call | refused |
//! | --- | --- |
//! | those in [`REFUSED`] | always |
//! | `clone` | unless it makes a thread |
//! | `socket` | unless unix, netlink (the resolver's), or TCP or UDP over inet or inet6 |
//! | `ioctl` | those that type at a terminal, or set a file's attributes |
//! | what sets a file's mode, or makes a file | with set-user-id, set-group-id or sticky |
//! | `prlimit64` | for another process |
//! | `openat2` | always, as `clone3` |
//! | those in [`SETTLED`] | once [`settle`] was called |
//! | by the numbers of another architecture (32 bits, x32) | always |

use std::io;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<u32> = Some(0xC000_003E);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<u32> = Some(0xC000_00B7);
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: Option<u32> = Some(0xC000_00F3);
#[cfg(not(any(
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv64"
)))]
const ARCHITECTURE: Option<u32> = None;

/// Calls by the x32 convention of x86-64 have this bit in their number.
const X32: u32 = 0x4000_0000;

/// The calls that are refused whatever their arguments.
const REFUSED: &[libc::c_long] = &[
    // Other programs, other processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
    // Doors into the kernel.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    // Another view of the machine.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    libc::SYS_mknodat,
    // Files, past what Landlock knows: it asks nobody who changes what is told of a file, and
    // before its version 3 nobody who empties one by its path.
    libc::SYS_truncate,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    REMOVEXATTRAT,
    FILE_SETATTR,
    libc::SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    // The machine itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

// Calls that came after the C libraries' headers; the numbers are the same on all architectures.
const FCHMODAT2: libc::c_long = 452;
const SETXATTRAT: libc::c_long = 463;
const REMOVEXATTRAT: libc::c_long = 466;
const OPEN_TREE_ATTR: libc::c_long = 467;
const FILE_SETATTR: libc::c_long = 469;

/// What only making the own socket needs: a port to be listened at, other modes and owners of files
/// that a path names.
const SETTLED: &[libc::c_long] = &[
    libc::SYS_listen,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    libc::SYS_fchownat,
];

/// The calls that set a mode, and which argument it is.
const MODES: &[(libc::c_long, u32)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, 1),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, 1),
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (FCHMODAT2, 2),
];
/// The calls that may make a file, and which argument the flags are; the mode is the next.
const OPENS: &[(libc::c_long, u32)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1),
    (libc::SYS_openat, 2),
];
/// Set-user-id, set-group-id, sticky.
const SPECIAL: u32 = 0o7000;
/// The flags without which the mode of [`OPENS`] says nothing.
const MAKES: u32 = (libc::O_CREAT | (libc::O_TMPFILE & !libc::O_DIRECTORY)).unsigned_abs();

/// Families whose protocols are all let through.
const WHOLE_FAMILIES: [libc::c_int; 2] = [libc::AF_UNIX, libc::AF_NETLINK];
/// Protocols of inet and inet6: the one that goes with the type, TCP, UDP.
const PROTOCOLS: [libc::c_int; 3] = [0, libc::IPPROTO_TCP, libc::IPPROTO_UDP];
/// `TIOCSTI`, `TIOCLINUX`, `FS_IOC_SETFLAGS`, `FS_IOC_FSSETXATTR`.
const REQUESTS: [u32; 4] = [0x5412, 0x541C, 0x4008_6602, 0x401C_5820];

// Where `struct seccomp_data` has its members; the lower half of an argument is what counts for
// numbers of 32 bits, and all architectures above have it first.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_AT_LEAST: u16 = 0x35;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7FFF_0000;
const FAIL: u32 = 0x0005_0000;

fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn load(offset: u32) -> libc::sock_filter {
    instruction(LOAD, offset, 0, 0)
}

fn end(with: u32) -> libc::sock_filter {
    instruction(RETURN, with, 0, 0)
}

fn fail(errno: i32) -> libc::sock_filter {
    end(FAIL | errno.unsigned_abs())
}

fn refused() -> libc::sock_filter {
    fail(libc::EPERM)
}

fn argument(index: u32) -> libc::sock_filter {
    load(ARGUMENTS + 8 * index)
}

/// A filter in the making: each refusal stands behind its comparison, so that no jump is longer
/// than a few instructions.
struct Filter(Vec<libc::sock_filter>);

impl Filter {
    fn new(architecture: u32) -> Self {
        let mut filter = Self(vec![
            load(ARCH),
            instruction(IF_EQUAL, architecture, 1, 0),
            refused(),
            load(NUMBER),
        ]);
        if cfg!(target_arch = "x86_64") {
            filter.add(IF_AT_LEAST, X32, &[refused()]);
        }
        filter
    }

    fn add(&mut self, code: u16, value: u32, then: &[libc::sock_filter]) {
        let over = u8::try_from(then.len()).unwrap_or(u8::MAX);
        self.0.push(instruction(code, value, 0, over));
        self.0.extend(then);
    }

    /// What happens to a call; it has to end with a decision.
    fn call(&mut self, number: libc::c_long, then: &[libc::sock_filter]) {
        self.add(IF_EQUAL, u32::try_from(number).unwrap_or(u32::MAX), then);
    }

    fn done(mut self) -> Vec<libc::sock_filter> {
        self.0.push(end(ALLOW));
        self.0
    }
}

/// Lets through what the list has, and nothing else, of the number that was loaded.
fn one_of(list: &[libc::c_int]) -> Vec<libc::sock_filter> {
    let mut then = Vec::new();
    for one in list {
        then.push(instruction(IF_EQUAL, one.unsigned_abs(), 0, 1));
        then.push(end(ALLOW));
    }
    then.push(refused());
    then
}

fn socket() -> Vec<libc::sock_filter> {
    let mut then = vec![argument(0)];
    let inet = |family: libc::c_int, over| instruction(IF_EQUAL, family.unsigned_abs(), over, 0);
    let others = one_of(&WHOLE_FAMILIES);
    let over = u8::try_from(others.len()).unwrap_or(u8::MAX);
    then.push(inet(libc::AF_INET, over + 1));
    then.push(inet(libc::AF_INET6, over));
    then.extend(others);
    then.push(argument(2));
    then.extend(one_of(&PROTOCOLS));
    then
}

/// Refuses modes with a bit of [`SPECIAL`].
fn plain_mode(index: u32) -> [libc::sock_filter; 4] {
    [
        argument(index),
        instruction(IF_ANY_BIT, SPECIAL, 0, 1),
        refused(),
        end(ALLOW),
    ]
}

fn program(architecture: u32) -> Vec<libc::sock_filter> {
    let mut filter = Filter::new(architecture);
    for call in REFUSED {
        filter.call(*call, &[refused()]);
    }
    filter.call(libc::SYS_clone3, &[fail(libc::ENOSYS)]);
    filter.call(libc::SYS_openat2, &[fail(libc::ENOSYS)]);
    let thread = libc::CLONE_THREAD.unsigned_abs();
    let clone = [
        argument(0),
        instruction(IF_ANY_BIT, thread, 0, 1),
        end(ALLOW),
        refused(),
    ];
    filter.call(libc::SYS_clone, &clone);
    filter.call(libc::SYS_socket, &socket());
    let mut ioctl = vec![argument(1)];
    for request in REQUESTS {
        ioctl.push(instruction(IF_EQUAL, request, 0, 1));
        ioctl.push(refused());
    }
    ioctl.push(end(ALLOW));
    filter.call(libc::SYS_ioctl, &ioctl);
    // No process number means oneself.
    let mut limits = vec![argument(0)];
    limits.extend(one_of(&[0]));
    filter.call(libc::SYS_prlimit64, &limits);
    for (call, mode) in MODES {
        filter.call(*call, &plain_mode(*mode));
    }
    for (call, flags) in OPENS {
        let mode = plain_mode(flags + 1);
        let mut open = vec![argument(*flags), instruction(IF_ANY_BIT, MAKES, 0, 3)];
        open.extend(mode);
        filter.call(*call, &open);
    }
    filter.done()
}

fn settled(architecture: u32) -> Vec<libc::sock_filter> {
    let mut filter = Filter::new(architecture);
    for call in SETTLED {
        filter.call(*call, &[refused()]);
    }
    filter.done()
}

/// Whether the running kernel takes filters for all threads, and this program has one for its
/// architecture.
///
/// # Errors
/// `ENOSYS` or `EINVAL` from a kernel that was built without them, anything else from what
/// surrounds this process, such as the filter of a container.
pub fn probe() -> io::Result<()> {
    ARCHITECTURE.ok_or(io::ErrorKind::Unsupported)?;
    // Which actions a kernel knows it says also when it takes no filter at all.
    let none = std::ptr::null::<libc::sock_fprog>();
    // SAFETY: the kernel finds no program there, and says so if it knows what it would be for.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            none,
        )
    };
    match (outcome, io::Error::last_os_error()) {
        (-1, error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(()),
        (-1, error) => Err(error),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// From here on no thread of this process makes a call that the module names.
///
/// # Errors
/// The kernel has no such filters, refuses this one, or a thread has another one of its own;
/// nothing has changed then.
pub fn enforce() -> io::Result<()> {
    add(program(ARCHITECTURE.ok_or(io::ErrorKind::Unsupported)?))
}

/// From here on no thread of this process listens for connections, or changes the mode or the owner
/// of a file by its path either.
///
/// # Errors
/// As [`enforce`].
pub fn settle() -> io::Result<()> {
    add(settled(ARCHITECTURE.ok_or(io::ErrorKind::Unsupported)?))
}

fn add(mut filter: Vec<libc::sock_filter>) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: the kernel copies the program, which lives on until the call returns.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const program,
        )
    };
    match outcome {
        0 => Ok(()),
        // A thread that can't take the filter over.
        1.. => Err(io::ErrorKind::ResourceBusy.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// True if the running kernel knows [`write_xor_execute`].
pub fn knows_write_xor_execute() -> bool {
    // SAFETY: takes numbers only, and changes nothing.
    unsafe { libc::prctl(libc::PR_GET_MDWE, 0_u64, 0_u64, 0_u64, 0_u64) >= 0 }
}

/// From here on no memory of this process becomes executable that was written, nor the other way
/// round (`PR_SET_MDWE`). Every program that this process starts inherits it.
///
/// # Errors
/// Kernels before 6.3 don't know it.
pub fn write_xor_execute() -> io::Result<()> {
    const REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    // SAFETY: takes numbers only.
    let outcome = unsafe { libc::prctl(libc::PR_SET_MDWE, REFUSE_EXEC_GAIN, 0_u64, 0_u64, 0_u64) };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests;
