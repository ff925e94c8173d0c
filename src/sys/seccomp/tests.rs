//! What cannot be taken back is tried in processes of its own.

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
            errno(libc::syscall(OPEN_TREE_ATTR, -1, zero, 0, zero, 0)),
            errno(libc::syscall(libc::SYS_truncate, zero, 0)),
            errno(libc::syscall(libc::SYS_fsetxattr, -1, zero, zero, 0, 0)),
            errno(libc::syscall(libc::SYS_utimensat, -1, zero, zero, 0)),
        ]
    };
    assert_eq!(outcomes, [Some(libc::EPERM); 17]);
}

/// What is refused by its arguments, and what is not.
fn refused_by_arguments() {
    let (zero, inet) = (0_usize, libc::AF_INET);
    let (fchmod, openat) = (libc::SYS_fchmod, libc::SYS_openat);
    let (make, parent) = (libc::O_CREAT, std::process::id() + 1);
    // SAFETY: no descriptor has these numbers, and nothing is at these addresses.
    let outcomes = unsafe {
        let mptcp = libc::syscall(libc::SYS_socket, inet, libc::SOCK_STREAM, 262);
        let ping = libc::syscall(libc::SYS_socket, inet, libc::SOCK_DGRAM, 1);
        let other = libc::syscall(libc::SYS_prlimit64, parent, 7, zero, zero);
        [
            (errno(mptcp), libc::EPERM),
            (errno(ping), libc::EPERM),
            (errno(other), libc::EPERM),
            (errno(libc::syscall(fchmod, -1, 0o4755)), libc::EPERM),
            (errno(libc::syscall(fchmod, -1, 0o1755)), libc::EPERM),
            (errno(libc::syscall(fchmod, -1, 0o755)), libc::EBADF),
            (
                errno(libc::syscall(libc::SYS_fchmodat, -1, zero, 0o2755)),
                libc::EPERM,
            ),
            (
                errno(libc::syscall(FCHMODAT2, -1, zero, 0o4755, 0)),
                libc::EPERM,
            ),
            (
                errno(libc::syscall(openat, -1, zero, make, 0o4755)),
                libc::EPERM,
            ),
            (
                errno(libc::syscall(openat, -1, zero, make, 0o755)),
                libc::EFAULT,
            ),
            (
                errno(libc::syscall(openat, -1, zero, 0, 0o4755)),
                libc::EFAULT,
            ),
            (
                errno(libc::syscall(libc::SYS_openat2, -1, zero, zero, 24)),
                libc::ENOSYS,
            ),
        ]
    };
    for (place, (outcome, wanted)) in outcomes.into_iter().enumerate() {
        assert_eq!(outcome, Some(wanted), "number {place}");
    }
    for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
        for family in [inet, libc::AF_INET6, libc::AF_UNIX] {
            // SAFETY: takes numbers only.
            let made = unsafe { libc::syscall(libc::SYS_socket, family, kind, 0) };
            assert!(made >= 0 || errno(made) == Some(libc::EAFNOSUPPORT));
        }
    }
}

#[test]
fn special_modes_other_protocols_and_limits_of_others_are_refused() {
    let name = "sys::seccomp::tests::\
                special_modes_other_protocols_and_limits_of_others_are_refused";
    if !in_child(name) {
        return;
    }
    enforce().unwrap();
    refused_by_arguments();
    assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_ok());
    assert!(rustix::process::getrlimit(rustix::process::Resource::Nofile).current > Some(0));
}

#[test]
fn once_settled_it_listens_nowhere_and_changes_no_file_by_its_path() {
    let name = "sys::seccomp::tests::\
                once_settled_it_listens_nowhere_and_changes_no_file_by_its_path";
    if !in_child(name) {
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let change = || std::fs::set_permissions(file.path(), plain());
    let listen = || std::net::TcpListener::bind("127.0.0.1:0").map(drop);
    enforce().unwrap();
    change().unwrap();
    listen().unwrap();
    settle().unwrap();
    let errors = [change().unwrap_err(), listen().unwrap_err()];
    assert_eq!(errors.map(|e| e.raw_os_error()), [Some(libc::EPERM); 2]);
    file.as_file().set_permissions(plain()).unwrap();
}

fn plain() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o600)
}

#[test]
fn calls_that_take_processes_over_are_refused_and_threads_still_start() {
    let name = "sys::seccomp::tests::\
                calls_that_take_processes_over_are_refused_and_threads_still_start";
    if !in_child(name) {
        return;
    }
    probe().unwrap();
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
