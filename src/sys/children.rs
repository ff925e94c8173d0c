//! Children of this process that run on without exec, and everything that descends from it.
//!
//! Processes are looked for in `/proc` and signalled through the folders found there: a number that
//! was given to another process meanwhile, or that another namespace counts otherwise, harms
//! nobody.

use crate::sys::arena;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Dir, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, getrlimit, pidfd_open,
    pidfd_send_signal, set_child_subreaper, setrlimit, wait, waitpid,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// How often new descendants are looked for before those found are killed: each time, those found
/// so far are stopped, so that they can't make more.
const MAX_PASSES: usize = 1000;
/// The most bytes of a `/proc/N/stat`; its longest text is the name, 64 bytes.
const MAX_STAT: usize = 1024;

/// A child that does one thing and ends.
#[derive(Debug)]
pub struct Forked {
    pid: Pid,
    exit: OwnedFd,
}

impl Forked {
    /// Readable once the child has ended.
    pub fn exit(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }

    /// The child's process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Kills the child.
    pub fn kill(&self) {
        // It may have ended already.
        let _gone = pidfd_send_signal(&self.exit, Signal::KILL);
    }

    /// As [`Forked::reap`], for at most so long; false if it still runs then.
    pub fn reap_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.exit, PollFlags::IN)], left.as_ref()) {
                Err(Errno::INTR) => {}
                Ok(0) | Err(_) => return false,
                Ok(_) => {
                    self.reap();
                    return true;
                }
            }
        }
    }

    /// Waits for the child's end, and takes it off the list of processes.
    pub fn reap(&self) {
        while let Err(Errno::INTR) = waitpid(Some(self.pid), WaitOptions::empty()) {}
    }
}

/// Goes on in this process, and runs `work` in a child that has a copy of everything, ends with the
/// code that `work` gives, and never returns.
///
/// To be called while the process has one thread and no secrets: another thread might hold a lock
/// that the child waits for, and locked memory is not there in the child.
///
/// # Errors
/// The kernel refuses, or secrets were held before.
pub fn fork(work: impl FnOnce() -> i32) -> io::Result<Forked> {
    if arena::is_mapped() {
        return Err(io::Error::other("memory for secrets is in use already"));
    }
    // SAFETY: with one thread there is no lock that another thread could hold in the child.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let work = std::panic::AssertUnwindSafe(work);
            let code = std::panic::catch_unwind(work).unwrap_or(libc::EXIT_FAILURE);
            // SAFETY: ends this process without running what the parent has registered.
            unsafe { libc::_exit(code) }
        }
        pid => {
            let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
            let exit = pidfd_open(pid, PidfdFlags::empty())?;
            Ok(Forked { pid, exit })
        }
    }
}

/// From here on descendants whose parent ends become children of this process, also those that
/// made a session of their own.
///
/// # Errors
/// The kernel refuses.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Lets this process and its descendants have at most so many processes and threads beyond those
/// that its user has now. The kernel holds root to no such limit. False if that would let it have
/// none: the kernel also counts processes of the user that other containers have, and nobody here
/// sees.
///
/// # Errors
/// `/proc` can't be read, or the kernel refuses.
pub fn limit_processes(more: u64) -> io::Result<bool> {
    if rustix::process::geteuid().is_root() {
        return Ok(true);
    }
    let used: u64 = processes()?
        .iter()
        .filter(|p| p.ours)
        .map(|p| p.threads)
        .sum();
    limit_to(used + more)
}

fn limit_to(limit: u64) -> io::Result<bool> {
    let before = getrlimit(Resource::Nproc);
    let maximum = before.maximum;
    let limit = Some(
        maximum
            .unwrap_or(u64::MAX)
            .min(limit)
            .min(before.current.unwrap_or(u64::MAX)),
    );
    setrlimit(
        Resource::Nproc,
        Rlimit {
            current: limit,
            maximum,
        },
    )?;
    match fork(|| libc::EXIT_SUCCESS) {
        Ok(probe) => {
            probe.reap();
            setrlimit(
                Resource::Nproc,
                Rlimit {
                    current: limit,
                    maximum: limit,
                },
            )?;
            Ok(true)
        }
        Err(_) => {
            setrlimit(Resource::Nproc, before)?;
            Ok(false)
        }
    }
}

/// Kills every descendant of this process that [`adopt_orphans`] keeps in reach, and takes it off
/// the list of processes. False if some are left that can't be seen.
pub fn end_descendants() -> bool {
    while let Left::Some = reap() {
        let mut held: BTreeMap<i32, OwnedFd> = BTreeMap::new();
        let mut seen = 0;
        for _ in 0..MAX_PASSES {
            let (all, fresh) = descendants(&held).unwrap_or_default();
            seen += all;
            if fresh.is_empty() {
                break;
            }
            for (pid, folder) in fresh {
                // It may have ended meanwhile.
                let _gone = pidfd_send_signal(&folder, Signal::STOP);
                held.insert(pid, folder);
            }
        }
        if seen == 0 {
            return false;
        }
        for folder in held.values() {
            let _gone = pidfd_send_signal(folder, Signal::KILL);
        }
        // The first that ends; the others, and those that had ended already, in the next round.
        let _ended = wait(WaitOptions::empty());
    }
    true
}

enum Left {
    Some,
    Nobody,
}

/// Takes all that have ended off the list.
fn reap() -> Left {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return Left::Some,
            Err(_) => return Left::Nobody,
        }
    }
}

/// A line of `/proc`.
struct Process {
    pid: i32,
    parent: i32,
    threads: u64,
    ended: bool,
    ours: bool,
    folder: OwnedFd,
}

/// How many descendants there are, and those that are not known yet and have not ended.
fn descendants(known: &BTreeMap<i32, OwnedFd>) -> io::Result<(usize, Vec<(i32, OwnedFd)>)> {
    let all = processes()?;
    let mut family = BTreeSet::from([own_number()?]);
    // Parents need not stand before their children.
    loop {
        let before = family.len();
        family.extend(
            all.iter()
                .filter(|p| family.contains(&p.parent))
                .map(|p| p.pid)
                .collect::<Vec<_>>(),
        );
        if family.len() == before {
            break;
        }
    }
    let own = own_number()?;
    let all = all
        .into_iter()
        .filter(|p| p.pid != own && family.contains(&p.pid));
    let all: Vec<Process> = all.collect();
    let count = all.len();
    let fresh = |p: &Process| !p.ended && !known.contains_key(&p.pid);
    let fresh = all.into_iter().filter(fresh).map(|p| (p.pid, p.folder));
    Ok((count, fresh.collect()))
}

/// Our number as `/proc` counts.
fn own_number() -> io::Result<i32> {
    let link = std::fs::read_link("/proc/self")?;
    let number = link.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn processes() -> io::Result<Vec<Process>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = rustix::fs::openat(CWD, "/proc", flags, Mode::empty())?;
    let us = rustix::process::getuid().as_raw();
    let mut found = Vec::new();
    for entry in Dir::read_from(&proc)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().ok().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ends meanwhile is none.
        let Ok(folder) = rustix::fs::openat(&proc, name, flags, Mode::empty()) else {
            continue;
        };
        let Some((ended, parent, threads)) = stat_of(&folder) else {
            continue;
        };
        let ours = rustix::fs::fstat(&folder).is_ok_and(|stat| stat.st_uid == us);
        found.push(Process {
            pid,
            parent,
            threads,
            ended,
            ours,
            folder,
        });
    }
    Ok(found)
}

/// Whether a process has ended, its parent, and the number of its threads (`proc_pid_stat(5)`).
fn stat_of(folder: &OwnedFd) -> Option<(bool, i32, u64)> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, "stat", flags, Mode::empty()).ok()?;
    let mut text = [0; MAX_STAT];
    let len = rustix::io::read(&file, &mut text[..]).ok()?;
    parse_stat(&text[..len])
}

fn parse_stat(text: &[u8]) -> Option<(bool, i32, u64)> {
    // The name stands in brackets and may hold anything, brackets too.
    let after = text.iter().rposition(|byte| *byte == b')')? + 1;
    let mut fields = std::str::from_utf8(&text[after..]).ok()?.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    // Field 20, of which 4 were taken.
    let threads = fields.nth(15)?.parse().ok()?;
    Some((ended, parent, threads))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_pass_for_the_fields_behind_it() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 7 0 0";
        let stat = |name: &str, state: &str| {
            parse_stat(format!("12 ({name}) {state} 34 {rest}").as_bytes())
        };
        assert_eq!(stat("sh", "S"), Some((false, 34, 7)));
        assert_eq!(stat("a) Z 1 (b", "R"), Some((false, 34, 7)));
        assert_eq!(stat("sh", "Z"), Some((true, 34, 7)));
        assert_eq!(parse_stat(b"12 (sh"), None);
        assert_eq!(parse_stat(b"12 (sh) S 34"), None);
    }

    #[test]
    fn a_limit_that_lets_no_process_start_is_taken_back() {
        const ROLE: &str = "RESEAL_TEST_LIMIT";
        if std::env::var_os(ROLE).is_none() {
            let name = "sys::children::tests::a_limit_that_lets_no_process_start_is_taken_back";
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", name, "--nocapture", "--test-threads=1"])
                .env(ROLE, "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && text.contains("1 passed"),
                "{text}"
            );
            return;
        }
        if rustix::process::geteuid().is_root() {
            let user = rustix::process::Uid::from_raw(65_534);
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        }
        let before = getrlimit(Resource::Nproc);
        // As where the kernel counts more than can be seen.
        assert!(!limit_to(0).unwrap());
        assert_eq!(getrlimit(Resource::Nproc), before);
        fork(|| libc::EXIT_SUCCESS).unwrap().reap();
        assert!(limit_to(100_000).unwrap());
        assert!(getrlimit(Resource::Nproc).maximum <= Some(100_000));
    }

    #[test]
    fn this_process_is_found_with_its_parent() {
        let own = own_number().unwrap();
        let all = processes().unwrap();
        let us = all.iter().find(|p| p.pid == own).unwrap();
        assert!(us.threads >= 1 && us.parent > 0 && !us.ended);
    }
}
