//! Whole daemons: this test program, started again as one.

use super::client::Client;
use super::fake::{Fake, KEYS, PATIENCE, report};
use super::start::{Spawn, spawn_detached};
use super::*;
use crate::runtime::service::{Reply, Service, Status};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal};
use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

const UNLOCK: Unlock = Unlock {
    ttl_ms: 600_000,
    idle_ms: 0,
    strict: true,
    allow_degraded: false,
};

fn opened() -> Opened {
    Opened {
        backend: Arc::new(Fake::new(1, Vec::new())),
        report: report(3),
        gate: Gate::closed(),
        sandbox: None,
    }
}

fn site(socket: &str) -> Site<'_> {
    Site {
        socket: Path::new(socket),
        share: Share::Own,
    }
}

/// What makes this program a daemon when it is started again: further arguments are filters to
/// the test harness, and match nothing.
fn child_args(how: &str, socket: &Path) -> Vec<OsString> {
    let mut role = OsString::from(format!("{how}="));
    role.push(socket);
    let mut args: Vec<OsString> = ["--exact", "daemon::tests::child", "--nocapture"]
        .map(OsString::from)
        .to_vec();
    args.push(role);
    args
}

/// The process id, the parent's and the session's, all as `/proc` numbers them.
fn numbers() -> [String; 3] {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (own, rest) = stat.rsplit_once(") ").unwrap();
    let own = own.split(' ').next().unwrap().to_owned();
    let mut rest = rest.split(' ').map(str::to_owned);
    // The state comes first; between parent and session is the process group.
    let parent = rest.nth(1).unwrap();
    [own, parent, rest.nth(1).unwrap()]
}

/// What is wrong with a detached daemon, as it sees itself: the tests may run in a namespace of
/// processes that the mounted `/proc` numbers otherwise.
fn wrong_with_us(old_session: &str) -> Result<(), Failure> {
    let [own, _, session] = numbers();
    let mut wrong = Vec::new();
    if session == old_session || session == own {
        wrong.push(format!("session {session} of process {own}"));
    }
    let of = |what: &str| Path::new("/proc/self").join(what);
    for (what, target) in [
        ("cwd", "/"),
        ("fd/0", "/dev/null"),
        ("fd/1", "/dev/null"),
        ("fd/2", "/dev/null"),
    ] {
        let found = std::fs::read_link(of(what)).unwrap();
        if found != Path::new(target) {
            wrong.push(format!("{what} is {}", found.display()));
        }
    }
    // The keys are in none of the places that others can read.
    for place in ["cmdline", "environ"] {
        let bytes = std::fs::read(of(place)).unwrap();
        if bytes.windows(KEYS.len()).any(|window| window == KEYS) {
            wrong.push(format!("the keys are in {place}"));
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(Code::DaemonUnsafe, wrong.join("; "))),
    }
}

/// Not a test by itself: the daemon of the tests below.
#[test]
fn child() {
    let role = std::env::args().next_back().unwrap_or_default();
    let [_, _, session] = numbers();
    let outcome = if let Some(socket) = role.strip_prefix("foreground=") {
        run(site(socket), &UNLOCK, || Ok(opened()))
    } else if let Some(socket) = role.strip_prefix("detached=") {
        run_detached(
            site(socket),
            || Ok(()),
            |(), unlock, keys| {
                assert_eq!(*unlock, UNLOCK);
                if keys.expose() == KEYS {
                    wrong_with_us(&session)?;
                    Ok(opened())
                } else {
                    Err(Failure::new(Code::SlotNoMatch, "these are not the keys"))
                }
            },
        )
    } else {
        return;
    };
    std::process::exit(match outcome {
        Ok(Stopped::Asked) => 10,
        Ok(Stopped::Signal) => 11,
        other => {
            // No panic: the harness would wait for a thread that the detached process has not.
            eprintln!("{other:?}");
            1
        }
    });
}

fn socket_in(state: &tempfile::TempDir) -> PathBuf {
    state.path().join("run/daemon.sock")
}

fn client(socket: &Path) -> Client {
    let us = geteuid().as_raw();
    Client::connect(socket, us).unwrap().unwrap()
}

fn status(client: &mut Client) -> Status {
    match client.call(Request::Status, Vec::new()).unwrap().reply {
        Reply::Status(status) => status,
        other => panic!("{other:?}"),
    }
}

fn next(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let len = manager.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..len].to_vec()).unwrap()
}

/// What a service manager sees of a whole life: start, reload on SIGHUP, end on SIGTERM.
fn live_and_die(mut daemon: std::process::Child, manager: &UnixDatagram, socket: &Path) {
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(next(manager), "STATUS=opening the vault");
    assert_eq!(next(manager), "READY=1\nSTATUS=unlocked, snapshot active");
    let of_daemon = status(&mut client(socket)).daemon.unwrap();
    assert_eq!(of_daemon.pid, daemon.id());
    let pid = Pid::from_child(&daemon);
    rustix::process::kill_process(pid, Signal::HUP).unwrap();
    assert_eq!(next(manager), "STATUS=unlocked, snapshot degraded");
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(next(manager), "STOPPING=1\nSTATUS=locking");
    assert_eq!(daemon.wait().unwrap().code(), Some(11));
}

#[test]
fn in_the_foreground_a_service_manager_is_told() {
    let state = tempfile::tempdir().unwrap();
    let socket = socket_in(&state);
    let name = format!("reseal-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    let daemon = Command::new("/proc/self/exe")
        .args(child_args("foreground", &socket))
        .env("NOTIFY_SOCKET", format!("@{name}"))
        // Meant for some other process.
        .env("LISTEN_PID", "1")
        .env("LISTEN_FDS", "1")
        .spawn()
        .unwrap();
    live_and_die(daemon, &manager, &socket);
    assert!(!socket.exists());
}

#[test]
fn a_passed_socket_is_served_and_left_in_place() {
    let state = tempfile::tempdir().unwrap();
    let socket = socket_in(&state);
    let script = "import os,socket,sys\n\
        p=sys.argv[1]\nos.mkdir(os.path.dirname(p),0o700)\n\
        s=socket.socket(socket.AF_UNIX)\ns.bind(p)\ns.listen()\n\
        os.dup2(s.fileno(),3)\nos.set_inheritable(3,True)\n\
        os.environ.update(LISTEN_PID=str(os.getpid()),LISTEN_FDS='1')\n\
        os.execv(sys.argv[2],sys.argv[2:])\n";
    let path = state.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let daemon = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .arg(&socket)
        .arg(std::env::current_exe().unwrap())
        .args(child_args("foreground", &socket))
        .env("NOTIFY_SOCKET", &path)
        .spawn()
        .unwrap();
    live_and_die(daemon, &manager, &socket);
    assert!(socket.exists());
}

#[test]
fn a_manager_that_asks_for_the_impossible() {
    use super::manager::{listener_from, passed_listener};
    let env = |count: &'static str| {
        move |name: &str| match name {
            "LISTEN_PID" => Some(OsString::from(std::process::id().to_string())),
            "LISTEN_FDS" => Some(OsString::from(count)),
            "NOTIFY_SOCKET" => Some(OsString::from("relative")),
            _ => None,
        }
    };
    assert!(passed_listener(env("0")).unwrap().is_none());
    for count in ["2", "x", "-1"] {
        assert!(passed_listener(env(count)).is_err());
    }
    assert!(Manager::from_env(env("1")).is_err());
    let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(listener_from(stream.into()).is_err());
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(listener_from(tcp.into()).is_err());
    assert!(listener_from(UnixDatagram::unbound().unwrap().into()).is_err());
}

fn spawn(args: &[OsString], keys: &[u8]) -> Result<Report, Failure> {
    spawn_detached(&Spawn {
        args,
        unlock: &UNLOCK,
        keys: &SecretValue::copy_of(keys),
    })
}

#[test]
fn a_detached_daemon_gets_its_keys_and_leaves_its_parent() {
    let state = tempfile::tempdir().unwrap();
    let socket = socket_in(&state);
    let args = child_args("detached", &socket);
    assert_eq!(spawn(&args, KEYS).unwrap(), report(3));
    let mut first = client(&socket);
    let pid = status(&mut first).daemon.unwrap().pid;
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // The process that left us and made the session is gone and leaves no zombie. (Who adopts the
    // daemon depends on the machine: it may be us.)
    let session = rustix::process::getsid(Some(pid)).unwrap();
    assert_ne!(session, pid);
    let leader = rustix::process::test_kill_process(session);
    assert_eq!(leader, Err(Errno::SRCH));
    assert_eq!(spawn(&args, KEYS).unwrap_err().code, Code::DaemonRunning);
    let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
    first.call(Request::Lock, Vec::new()).unwrap();
    let mut ended = [PollFd::new(&ended, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut ended, None)).unwrap();
    assert!(!socket.exists());
    let log = std::fs::read_to_string(socket.with_extension("log")).unwrap();
    assert!(
        log.contains("serving") && log.contains("a client asked for it"),
        "{log}"
    );
}

#[test]
fn a_detached_daemon_that_fails_says_why() {
    let state = tempfile::tempdir().unwrap();
    let socket = socket_in(&state);
    let failure = spawn(&child_args("detached", &socket), b"other keys").unwrap_err();
    assert_eq!(failure.code, Code::SlotNoMatch);
    assert_eq!(failure.message, "these are not the keys");
    assert!(!socket.exists());
    let silent = spawn(&[OsString::from("--list")], KEYS).unwrap_err();
    assert_eq!(silent.code, Code::DaemonUnavailable);
    assert!(
        silent.message.contains("ended before it was ready"),
        "{silent}"
    );
}

#[test]
fn a_daemon_of_the_user_that_stands_for_everybody_is_not_shared() {
    let nobody = users::overflow_uid();
    let set = std::fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap();
    assert_eq!(set.trim(), nobody.to_string());
    let refused = check_user(true, nobody, nobody).unwrap_err();
    assert_eq!(refused.code, Code::DaemonUnsafe);
    assert!(check_user(false, nobody, nobody).is_ok());
    assert!(check_user(true, 4242, nobody).is_ok() && check_user(true, 0, nobody).is_ok());
}
