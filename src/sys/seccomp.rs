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
//! | `socket` | unless of the families unix, inet, inet6, netlink (the resolver's) |
//! | `ioctl` | those that type at a terminal |
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
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    libc::SYS_mknodat,
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

const FAMILIES: [libc::c_int; 4] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];
/// `TIOCSTI` and `TIOCLINUX`.
const TYPING: [u32; 2] = [0x5412, 0x541C];

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

/// The filter: each refusal stands behind its comparison, so that no jump is longer than a few
/// instructions.
fn program(architecture: u32) -> Vec<libc::sock_filter> {
    let number = |call: libc::c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let refused = || fail(libc::EPERM);
    let mut filter = vec![
        load(ARCH),
        instruction(IF_EQUAL, architecture, 1, 0),
        refused(),
        load(NUMBER),
    ];
    let mut unless = |code, value, otherwise: &[libc::sock_filter]| {
        let over = u8::try_from(otherwise.len()).unwrap_or(u8::MAX);
        filter.push(instruction(code, value, 0, over));
        filter.extend(otherwise);
    };
    if cfg!(target_arch = "x86_64") {
        unless(IF_AT_LEAST, X32, &[refused()]);
    }
    for call in REFUSED {
        unless(IF_EQUAL, number(*call), &[refused()]);
    }
    unless(IF_EQUAL, number(libc::SYS_clone3), &[fail(libc::ENOSYS)]);
    let thread = libc::CLONE_THREAD.unsigned_abs();
    let clone = [
        load(ARGUMENTS),
        instruction(IF_ANY_BIT, thread, 0, 1),
        end(ALLOW),
        refused(),
    ];
    unless(IF_EQUAL, number(libc::SYS_clone), &clone);
    let mut socket = vec![load(ARGUMENTS)];
    for family in FAMILIES {
        socket.push(instruction(IF_EQUAL, family.unsigned_abs(), 0, 1));
        socket.push(end(ALLOW));
    }
    socket.push(refused());
    unless(IF_EQUAL, number(libc::SYS_socket), &socket);
    let mut ioctl = vec![load(ARGUMENTS + 8)];
    for typing in TYPING {
        ioctl.push(instruction(IF_EQUAL, typing, 0, 1));
        ioctl.push(refused());
    }
    ioctl.push(end(ALLOW));
    unless(IF_EQUAL, number(libc::SYS_ioctl), &ioctl);
    filter.push(end(ALLOW));
    filter
}

/// True if the running kernel has filters, and this program one for its architecture.
pub fn is_available() -> bool {
    const GET_ACTION_AVAIL: libc::c_uint = 2;
    let action = FAIL;
    // SAFETY: the kernel reads one number.
    let known =
        unsafe { libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAIL, 0, &raw const action) } == 0;
    known && ARCHITECTURE.is_some()
}

/// From here on no thread of this process makes a call that the module names.
///
/// # Errors
/// The kernel has no such filters, refuses this one, or a thread has another one of its own;
/// nothing has changed then.
pub fn enforce() -> io::Result<()> {
    let architecture = ARCHITECTURE.ok_or(io::ErrorKind::Unsupported)?;
    let mut filter = program(architecture);
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
mod tests {
    use super::*;
    use crate::sys::spawn::{Environment, Image, Program, replace};
    use std::path::Path;
    use std::process::Command;

    const ROLE: &str = "RESEAL_TEST_SECCOMP";

    /// What cannot be taken back happens in a process of its own: this program, started again.
    fn in_child(test: &str) -> bool {
        if std::env::var_os(ROLE).is_some() {
            return true;
        }
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(ROLE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}{said}"
        );
        false
    }

    fn errno(outcome: libc::c_long) -> Option<i32> {
        (outcome < 0).then(|| io::Error::last_os_error().raw_os_error().unwrap())
    }

    fn refused() {
        let zero = 0_usize;
        // SAFETY: each call is refused before the kernel looks at its arguments, which are
        // valid for none of them (but for `clone`, which would make a child without a use).
        let outcomes = unsafe {
            [
                errno(libc::syscall(
                    libc::SYS_ptrace,
                    libc::PTRACE_ATTACH,
                    -1,
                    zero,
                    zero,
                )),
                errno(libc::syscall(
                    libc::SYS_process_vm_readv,
                    -1,
                    zero,
                    zero,
                    zero,
                    zero,
                    0,
                )),
                errno(libc::syscall(libc::SYS_pidfd_getfd, -1, -1, 0)),
                errno(libc::syscall(libc::SYS_bpf, -1, zero, 0)),
                errno(libc::syscall(libc::SYS_io_uring_setup, 0, zero)),
                errno(libc::syscall(libc::SYS_userfaultfd, -1)),
                errno(libc::syscall(libc::SYS_mount, zero, zero, zero, 0, zero)),
                errno(libc::syscall(libc::SYS_unshare, 0)),
                errno(libc::syscall(libc::SYS_keyctl, -1, 0, 0, 0, 0)),
                errno(libc::syscall(
                    libc::SYS_socket,
                    libc::AF_ALG,
                    libc::SOCK_SEQPACKET,
                    0,
                )),
                errno(libc::syscall(libc::SYS_ioctl, -1, 0x5412, zero)),
                errno(libc::syscall(
                    libc::SYS_clone,
                    libc::SIGCHLD,
                    zero,
                    zero,
                    zero,
                    zero,
                )),
                errno(libc::syscall(libc::SYS_execve, zero, zero, zero)),
            ]
        };
        assert_eq!(outcomes, [Some(libc::EPERM); 13]);
    }

    #[test]
    fn calls_that_take_processes_over_are_refused_and_threads_still_start() {
        let name = "sys::seccomp::tests::\
                    calls_that_take_processes_over_are_refused_and_threads_still_start";
        if !in_child(name) {
            return;
        }
        assert!(is_available());
        // In a thread that was there before, in the one that gives them up, in one after.
        let (go, wait) = std::sync::mpsc::channel();
        let before = std::thread::spawn(move || wait.recv().map(|()| refused()));
        enforce().unwrap();
        go.send(()).unwrap();
        before.join().unwrap().unwrap();
        refused();
        std::thread::spawn(refused).join().unwrap();
        // SAFETY: no descriptor has this number.
        let unknown = errno(unsafe { libc::syscall(libc::SYS_ioctl, -1, 0x5413, 0_usize) });
        assert_eq!(
            unknown,
            Some(libc::EBADF),
            "other requests reach the kernel"
        );
        let environment = Environment::new(&[]).unwrap();
        let program = Program::at(Path::new("/bin/true")).unwrap();
        let image = Image::new(program, &["true".into()], environment).unwrap();
        assert_eq!(replace(&image).raw_os_error(), Some(libc::EPERM));
        let spawned = Command::new("/bin/true").spawn().map(drop);
        assert_eq!(spawned.unwrap_err().raw_os_error(), Some(libc::EPERM));
    }

    #[test]
    fn memory_that_was_written_is_never_executed() {
        if !in_child("sys::seccomp::tests::memory_that_was_written_is_never_executed") {
            return;
        }
        if !knows_write_xor_execute() {
            return;
        }
        let gain = || {
            let (read, write, run) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            // SAFETY: a new mapping at an address of the kernel's choice, which nothing uses.
            unsafe {
                let page = libc::mmap(std::ptr::null_mut(), 4096, read | write, flags, -1, 0);
                assert_ne!(page, libc::MAP_FAILED);
                libc::mprotect(page, 4096, read | run)
            }
        };
        assert_eq!(gain(), 0);
        write_xor_execute().unwrap();
        assert_eq!(gain(), -1);
    }

    #[test]
    fn numbers_of_another_architecture_are_refused() {
        let filter = program(1);
        // The first comparison ends in a refusal unless the architecture is the one.
        assert_eq!(
            (filter[1].code, filter[1].k, filter[1].jt, filter[1].jf),
            (IF_EQUAL, 1, 1, 0)
        );
        assert_eq!(filter[2].k, FAIL | libc::EPERM.unsigned_abs());
        let x32 = filter.iter().any(|i| (i.code, i.k) == (IF_AT_LEAST, X32));
        assert_eq!(x32, cfg!(target_arch = "x86_64"));
    }
}
