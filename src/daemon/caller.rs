//! Who is at the other end of a connection: the user, and as far as it can be told without a race,
//! the systemd unit.
//!
//! Invariant: what is read under the number of a process counts only if the process that connected
//! still lived afterwards, so that the number was never somebody else's meanwhile.

use crate::grants::{Digest, Identity, unit};
use crate::sys::peer::{self, Peer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long a keyslot's secret that was shown counts.
pub const FRESH: Duration = Duration::from_secs(60);
/// The most of a file under `/proc` that is read, in bytes.
const MAX_PROC: usize = unit::MAX_CGROUP;
/// What such a file mostly fits into, in bytes: the kernel makes its text anew at each read.
const USUAL_PROC: usize = 1024;

/// The other end of a connection, and what it has shown on it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// As of `SO_PEERCRED`.
    pub peer: Peer,
    /// The unit of the system, if the kernel tells it.
    pub unit: Option<String>,
    /// When the process started, in clock ticks since the start of the system: with the number it
    /// names one process for good.
    pub started: Option<u64>,
    /// The digest of the capability that it has shown.
    pub capability: Option<Digest>,
    /// When it has shown a keyslot's secret.
    pub proved_at: Option<Instant>,
}

impl Caller {
    /// Looks at a connected socket.
    pub fn of(stream: &UnixStream, peer: Peer) -> Self {
        let process = peer::process_of(stream).ok();
        let found = process.and_then(|process| Found::of(&process));
        let (unit, started) = found.map_or((None, None), |found| (found.unit, found.started));
        Self {
            peer,
            unit,
            started,
            capability: None,
            proved_at: None,
        }
    }

    /// Somebody of whom only the user counts: he is refused.
    pub fn by_user(peer: Peer) -> Self {
        Self {
            peer,
            unit: None,
            started: None,
            capability: None,
            proved_at: None,
        }
    }

    /// What grants are matched with.
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            uid: self.peer.uid,
            unit: self.unit.as_deref(),
            capability: self.capability.as_ref(),
            fresh: self.proved_at.is_some_and(|at| at.elapsed() < FRESH),
        }
    }
}

/// What `/proc` says of a process.
struct Found {
    unit: Option<String>,
    started: Option<u64>,
}

impl Found {
    fn of(process: &OwnedFd) -> Option<Self> {
        // Its number where this /proc was mounted, which need not be that of `SO_PEERCRED`.
        let info = read(&format!("/proc/self/fdinfo/{}", process.as_raw_fd()))?;
        let line = info.lines().find_map(|line| line.strip_prefix("Pid:"))?;
        // 0 and -1: of another pid namespace, and ended.
        let pid: u32 = line.trim().parse().ok().filter(|pid| *pid > 0)?;
        let cgroup = read(&format!("/proc/{pid}/cgroup"));
        let stat = read(&format!("/proc/{pid}/stat"));
        lives(process).then(|| Self {
            unit: cgroup.and_then(|text| unit::of_cgroup(&text).map(str::to_owned)),
            started: stat.and_then(|text| started(&text)),
        })
    }
}

/// True if a process has not ended: its descriptor becomes readable when it does. Needs no right to
/// send it signals.
fn lives(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&now)) == Ok(0)
}

/// The start of a process from its `stat` (`proc(5)`, field 22). The name in field 2 may hold
/// anything, also a closing bracket.
fn started(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// A file under `/proc`: the kernel gives its text in one piece, so that less than was asked for is
/// all of it.
fn read(path: &str) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let (mut text, mut len) = (vec![0; USUAL_PROC], 0);
    loop {
        len += file.read(&mut text[len..]).ok()?;
        if len < text.len() || len == MAX_PROC {
            break;
        }
        text.resize(MAX_PROC, 0);
    }
    text.truncate(len);
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{WaitId, WaitIdOptions};
    use std::process::{Command, Stdio};

    #[test]
    fn the_start_stands_behind_a_name_that_may_hold_anything() {
        let fields: Vec<String> = (3..30).map(|field| field.to_string()).collect();
        let stat = format!("7 (a) b (c) {}", fields.join(" "));
        assert_eq!(started(&stat), Some(22));
        assert_eq!(started("7 a b"), None);
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        assert!(started(&own).is_some_and(|ticks| ticks > 0));
    }

    #[test]
    fn a_text_that_is_longer_than_usual_is_read_to_its_end() {
        let status = read("/proc/self/status").unwrap();
        assert!(status.len() > USUAL_PROC, "{}", status.len());
        let last = status.lines().next_back().unwrap_or_default();
        assert!(last.starts_with("nonvoluntary_ctxt_switches:"), "{last}");
        assert_eq!(read("/proc/self/no-such-file"), None);
    }

    #[test]
    fn a_process_that_ended_has_no_unit_whoever_has_its_number_now() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let own = Caller::of(&ours, peer::of(&ours).unwrap());
        assert_eq!(own.peer.pid, i32::try_from(std::process::id()).unwrap());
        let socket = tempfile::tempdir().unwrap();
        let socket = socket.path().join("socket");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let script = "import socket,sys\ns=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])";
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", script])
            .arg(&socket)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().unwrap();
        let peer = peer::of(&stream).unwrap();
        assert_eq!(peer.pid, i32::try_from(child.id()).unwrap());
        // It has ended, and keeps its number and its folder in /proc until it is waited for.
        let id = rustix::process::Pid::from_raw(peer.pid).unwrap();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(id), options).unwrap();
        assert!(read(&format!("/proc/{}/stat", peer.pid)).is_some());
        let ended = Caller::of(&stream, peer);
        assert_eq!((ended.unit, ended.started), (None, None));
        child.wait().unwrap();
        let gone = Caller::of(&stream, peer);
        assert_eq!((gone.unit, gone.started), (None, None));
        drop(theirs);
    }
}
