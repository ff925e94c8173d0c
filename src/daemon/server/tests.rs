mod others;

use super::*;
use crate::config::Share;
use crate::daemon::client::Client;
use crate::daemon::fake::{Fake, KEYS, Manual, PATIENCE};
use crate::daemon::frame::MAX_FRAME;
use crate::error::{Code, Failure};
use crate::runtime::service::{Answer, LockState, Outcome, Reply, Request, Service, Status};
use crate::secret::{MAX_VALUE, SecretValue};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;

const HOUR: Duration = Duration::from_secs(3600);

/// A served fake; ends when dropped.
struct Rig {
    state: tempfile::TempDir,
    fake: Arc<Fake>,
    clock: Arc<Manual>,
    thread: Option<JoinHandle<Stopped>>,
}

impl Rig {
    fn new() -> Self {
        Self::with(patient(), HOUR, Duration::ZERO)
    }

    fn with(limits: Limits, ttl: Duration, idle: Duration) -> Self {
        Self::gated(limits, ttl, idle, Gate::closed())
    }

    fn gated(limits: Limits, ttl: Duration, idle: Duration, gate: Gate) -> Self {
        let state = tempfile::tempdir().unwrap();
        let socket = state.path().join("run/daemon.sock");
        let fake = Arc::new(Fake::new(
            limits.connections,
            vec![state.path().join("config")],
        ));
        let clock = Arc::new(Manual::new());
        let mut place = Place::claim(&socket, Share::Own, Duration::ZERO).unwrap();
        let server = Server {
            backend: Arc::clone(&fake) as Arc<dyn Backend>,
            gate,
            listener: place.bind().unwrap(),
            place,
            unlock: limits_of(ttl, idle),
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            limits,
            log: Log::file(&state.path().join("run/daemon.log")).unwrap(),
            manager: Manager::default(),
            signals: None,
            opened_at: SystemTime::now(),
            sandbox: None,
        };
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || serve(server, |_| tell.send(()).unwrap()).unwrap());
        told.recv().unwrap();
        Self {
            state,
            fake,
            clock,
            thread: Some(thread),
        }
    }

    fn socket(&self) -> PathBuf {
        self.state.path().join("run/daemon.sock")
    }

    fn client(&self) -> Client {
        let us = rustix::process::geteuid().as_raw();
        Client::connect(&self.socket(), us).unwrap().unwrap()
    }

    /// A connection without manners.
    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.state.path().join("run/daemon.log")).unwrap()
    }

    /// Waits for the daemon to end by itself.
    fn ended(&mut self) -> Stopped {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.clock.advance(HOUR * 1_000);
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

/// Limits that no machine is too busy for.
fn patient() -> Limits {
    Limits {
        frame: PATIENCE,
        fresh: PATIENCE,
        kept: PATIENCE,
        drain: PATIENCE,
        ..Limits::default()
    }
}

fn limits_of(ttl: Duration, idle: Duration) -> Unlock {
    Unlock {
        ttl_ms: u64::try_from(ttl.as_millis()).unwrap(),
        idle_ms: u64::try_from(idle.as_millis()).unwrap(),
        strict: false,
        allow_degraded: false,
    }
}

fn get(client: &mut Client, name: &str) -> Result<SecretValue, Failure> {
    let name = name.parse().unwrap();
    let request = Request::Get {
        name,
        version: None,
    };
    client
        .call(request, Vec::new())
        .map(|mut answer| answer.secrets.remove(0))
}

fn put(client: &mut Client) -> Result<Answer, Failure> {
    let request = serde_json::json!({
        "op": "put", "name": "a", "kind": "static", "meta": {}, "expect": "any",
    });
    let value = SecretValue::copy_of(b"value");
    client.call(serde_json::from_value(request).unwrap(), vec![value])
}

fn status(client: &mut Client) -> Status {
    match client.call(Request::Status, Vec::new()).unwrap().reply {
        Reply::Status(status) => status,
        other => panic!("{other:?}"),
    }
}

/// What the other side says before it closes, as text.
fn rest(mut stream: &UnixStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // It closed with our bytes unread.
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn many_requests_on_one_connection() {
    let rig = Rig::new();
    let mut client = rig.client();
    assert_eq!(get(&mut client, "a").unwrap().expose(), b"value of a");
    assert_eq!(
        get(&mut client, "absent").unwrap_err().code,
        Code::RecordAbsent
    );
    assert_eq!(get(&mut client, "large").unwrap().len(), MAX_VALUE);
    let list = client.call(Request::List, Vec::new()).unwrap();
    assert!(matches!(list.reply, Reply::Records(records) if records.len() == 20_000));
    let refs: Vec<_> = (0..3_000)
        .map(|i| format!("vault:{}{i}", "long/".repeat(40)).parse().unwrap())
        .collect();
    let request = Request::Resolve { refs: refs.clone() };
    let answer = client.call(request, Vec::new()).unwrap();
    assert_eq!(answer.reply, Reply::Resolved(vec![Outcome::Ok; refs.len()]));
    let ids = answer.secrets.iter().map(|s| s.expose().to_vec());
    assert!(ids.eq(refs.iter().map(|r| r.id().as_bytes().to_vec())));
}

#[test]
fn sixty_four_clients_are_served_at_once_and_more_wait_their_turn() {
    let rig = Rig::new();
    std::thread::scope(|scope| {
        // Nobody passes the barrier before 64 requests are being answered.
        let clients: Vec<_> = (0..MAX_CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = rig.client();
                    get(&mut client, "crowd").unwrap();
                    client
                })
            })
            .collect();
        let clients: Vec<_> = clients.into_iter().map(|c| c.join().unwrap()).collect();
        // All 64 are still connected: the next one gets its turn when one leaves.
        let late = scope.spawn(|| get(&mut rig.client(), "late").unwrap());
        drop(clients);
        assert_eq!(late.join().unwrap().expose(), b"value of late");
    });
}

#[test]
fn a_hundred_short_clients_all_succeed() {
    let rig = Rig::new();
    std::thread::scope(|scope| {
        for i in 0..100 {
            let rig = &rig;
            scope.spawn(move || {
                let value = get(&mut rig.client(), &format!("n{i}")).unwrap();
                assert_eq!(value.expose(), format!("value of n{i}").as_bytes());
            });
        }
    });
}

#[test]
fn a_thread_stays_for_the_next_connection() {
    let rig = Rig::new();
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut seen = std::collections::BTreeSet::new();
    // No thread of this process gets the number of an earlier one.
    while seen.insert(get(&mut rig.client(), "thread").unwrap().expose().to_vec()) {
        assert!(std::time::Instant::now() < deadline, "always a new thread");
    }
}

#[test]
fn a_slow_request_holds_up_nobody_else() {
    let rig = Rig::new();
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| get(&mut rig.client(), "slow").unwrap());
        rig.fake.wait_for("in slow");
        let putting = scope.spawn(|| put(&mut rig.client()).unwrap());
        rig.fake.wait_for("in commit");
        assert_eq!(get(&mut rig.client(), "a").unwrap().expose(), b"value of a");
        rig.fake.open_gate("slow");
        rig.fake.open_gate("commit");
        assert_eq!(slow.join().unwrap().expose(), b"slow value");
        assert!(matches!(putting.join().unwrap().reply, Reply::Committed(_)));
    });
}

#[test]
fn clients_that_stall_hold_up_nobody_and_are_dropped() {
    let rig = Rig::new();
    let silent = rig.raw();
    let half = rig.raw();
    (&half).write_all(&[40, 0, 0]).unwrap();
    let no_payload = rig.raw();
    (&no_payload).write_all(&100u32.to_le_bytes()).unwrap();
    assert_eq!(get(&mut rig.client(), "a").unwrap().expose(), b"value of a");
    drop((silent, half, no_payload));
    assert_eq!(get(&mut rig.client(), "b").unwrap().expose(), b"value of b");

    let brief = Duration::from_millis(20);
    let limits = Limits {
        fresh: brief,
        ..patient()
    };
    let rig = Rig::with(limits, HOUR, Duration::ZERO);
    assert_eq!(rest(&rig.raw()), "");
    // The limit of a frame starts with the frame, however late we are to send it.
    let limits = Limits {
        frame: brief,
        ..patient()
    };
    let rig = Rig::with(limits, HOUR, Duration::ZERO);
    let half = rig.raw();
    (&half).write_all(&[40, 0, 0]).unwrap();
    assert_eq!(rest(&half), "");
    assert!(
        rig.log().contains("took longer than 20 ms"),
        "{}",
        rig.log()
    );
}

#[test]
fn a_connection_kept_too_long_is_opened_anew() {
    let limits = Limits {
        kept: Duration::ZERO,
        ..patient()
    };
    let rig = Rig::with(limits, HOUR, Duration::ZERO);
    let mut client = rig.client();
    for _ in 0..20 {
        get(&mut client, "a").unwrap();
    }
}

#[test]
fn garbage_is_refused_and_never_logged() {
    let rig = Rig::new();
    let frame = |text: &str| {
        let json = u32::try_from(text.len()).unwrap();
        [
            &(json + 4).to_le_bytes()[..],
            &json.to_le_bytes(),
            text.as_bytes(),
        ]
        .concat()
    };
    let over = [
        u32::try_from(MAX_FRAME + 1).unwrap().to_le_bytes(),
        2u32.to_le_bytes(),
    ]
    .concat();
    for (bytes, code) in [
        (b"GET /canary HTTP/1.1\r\n\r\n".to_vec(), "daemon.protocol"),
        (over, "daemon.protocol"),
        (frame("{\"canary\":1}"), "daemon.protocol"),
        (
            frame("{\"v\":1,\"request\":{\"op\":\"canary\"}}"),
            "daemon.protocol",
        ),
        (frame("{\"v\":2,\"ask\":\"canary\"}"), "daemon.version"),
    ] {
        let stream = rig.raw();
        (&stream).write_all(&bytes).unwrap();
        let answer = rest(&stream);
        assert!(answer.contains(code), "{answer}");
        assert!(!answer.contains("canary"), "{answer}");
    }
    assert_eq!(get(&mut rig.client(), "a").unwrap().expose(), b"value of a");
    let log = rig.log();
    assert!(log.contains("ended") && !log.contains("canary"), "{log}");
}

#[test]
fn a_client_that_leaves_early_harms_nobody() {
    let rig = Rig::new();
    for bytes in [&b""[..], &[1, 2, 3], &[12, 0, 0, 0, 8, 0, 0, 0, b'{']] {
        let stream = rig.raw();
        (&stream).write_all(bytes).unwrap();
    }
    let json = br#"{"v":1,"request":{"op":"get","name":"large","version":null}}"#;
    let len = u32::try_from(json.len()).unwrap();
    for read_some in [false, true] {
        let stream = rig.raw();
        let bytes = [&(len + 4).to_le_bytes()[..], &len.to_le_bytes(), json].concat();
        (&stream).write_all(&bytes).unwrap();
        if read_some {
            (&stream).read_exact(&mut [0; 100]).unwrap();
        }
    }
    assert_eq!(get(&mut rig.client(), "large").unwrap().len(), MAX_VALUE);
}

#[test]
fn another_user_is_refused_before_anything_is_read() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let rig = Rig::new();
    // The checks of the file system are taken away, so that the daemon's own is all there is.
    for (path, mode) in [("", 0o755), ("run", 0o755), ("run/daemon.sock", 0o666)] {
        let open = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(rig.state.path().join(path), open).unwrap();
    }
    let script = "import socket,sys\n\
        s=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\nb=b''\n\
        while True:\n d=s.recv(4096)\n if not d: break\n b+=d\n\
        sys.stdout.buffer.write(b)\n";
    let output = Command::new("setpriv")
        .args(["--reuid=4242", "--regid=4242", "--clear-groups"])
        .args(["/usr/bin/python3", "-c", script])
        .arg(rig.socket())
        .current_dir("/")
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("daemon.peer"), "{said}");
    assert!(rig.log().contains("of user 4242"));
    std::fs::set_permissions(
        rig.state.path().join("run"),
        std::fs::Permissions::from_mode(0o700),
    )
    .unwrap();
    assert!(get(&mut rig.client(), "a").is_ok());
}

#[test]
fn a_daemon_of_another_user_is_refused_by_the_client() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    // Root may serve for anyone: it could replace the daemon anyway.
    let rig = Rig::new();
    assert!(Client::connect(&rig.socket(), 4242).unwrap().is_some());
    let state = tempfile::tempdir().unwrap();
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(state.path(), private).unwrap();
    std::os::unix::fs::chown(state.path(), Some(4242), None).unwrap();
    let socket = state.path().join("daemon.sock");
    let script = "import socket,sys\n\
        s=socket.socket(socket.AF_UNIX)\ns.bind(sys.argv[1])\ns.listen()\n\
        print('x',flush=True)\nsys.stdin.read()\n";
    let mut server = Command::new("setpriv")
        .args(["--reuid=4242", "--regid=4242", "--clear-groups"])
        .args(["/usr/bin/python3", "-c", script])
        .arg(&socket)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    server.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    assert!(Client::connect(&socket, 4242).unwrap().is_some());
    std::os::unix::fs::chown(state.path(), Some(4243), None).unwrap();
    let refused = Client::connect(&socket, 4243).unwrap_err();
    assert_eq!(refused.code, Code::DaemonPeer);
    drop(server.stdin.take());
    server.wait().unwrap();
}

#[test]
fn the_absolute_limit_locks() {
    let mut rig = Rig::with(patient(), HOUR, Duration::ZERO);
    let mut client = rig.client();
    rig.clock.advance(HOUR - Duration::from_millis(5));
    let daemon = status(&mut client).daemon.unwrap();
    assert_eq!(daemon.ttl_remaining_ms, Some(5));
    assert_eq!(daemon.idle_remaining_ms, None);
    assert_eq!(daemon.pid, std::process::id());
    rig.clock.advance(Duration::from_millis(5));
    assert_eq!(rig.ended(), Stopped::Ttl);
    assert!(rig.fake.events().contains(&"locked".to_owned()));
    assert!(!rig.socket().exists());
    assert_eq!(
        get(&mut client, "a").unwrap_err().code,
        Code::DaemonUnavailable
    );
}

#[test]
fn the_idle_limit_locks_when_nothing_but_the_status_is_asked() {
    let minute = Duration::from_secs(60);
    let mut rig = Rig::with(patient(), HOUR, minute);
    let mut client = rig.client();
    rig.clock.advance(minute / 2);
    get(&mut client, "a").unwrap();
    rig.clock.advance(minute / 2);
    let now = status(&mut client);
    assert_eq!(now.state, LockState::Unlocked);
    assert_eq!(now.daemon.unwrap().idle_remaining_ms, Some(30_000));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| get(&mut rig.client(), "slow").unwrap());
        rig.fake.wait_for("in slow");
        rig.clock.advance(minute * 2);
        assert_eq!(
            status(&mut client).daemon.unwrap().idle_remaining_ms,
            Some(60_000)
        );
        rig.fake.open_gate("slow");
        slow.join().unwrap();
    });
    rig.clock.advance(minute);
    assert_eq!(rig.ended(), Stopped::Idle);
}

#[test]
fn unlocking_again_sets_new_limits_if_the_keys_are_right() {
    let mut rig = Rig::with(patient(), HOUR, Duration::ZERO);
    let mut client = rig.client();
    let wrong = SecretValue::copy_of(b"other keys");
    let refused = client
        .unlock(&limits_of(HOUR * 9, HOUR), &wrong)
        .unwrap_err();
    assert_eq!(refused.code, Code::SlotNoMatch);
    let daemon = status(&mut client).daemon.unwrap();
    assert_eq!(
        (daemon.ttl_remaining_ms, daemon.idle_remaining_ms),
        (Some(3_600_000), None)
    );
    let minute = Duration::from_secs(60);
    let keys = SecretValue::copy_of(KEYS);
    let report = client
        .unlock(&limits_of(minute, Duration::ZERO), &keys)
        .unwrap();
    assert_eq!(report.snapshot.refs, 7);
    let daemon = status(&mut client).daemon.unwrap();
    assert_eq!(daemon.ttl_remaining_ms, Some(60_000));
    rig.clock.advance(minute);
    assert_eq!(rig.ended(), Stopped::Ttl);
}

#[test]
fn a_lock_finishes_the_commit_that_runs_and_frees_the_place_before_it_answers() {
    let mut rig = Rig::new();
    std::thread::scope(|scope| {
        let putting = scope.spawn(|| put(&mut rig.client()).unwrap());
        rig.fake.wait_for("in commit");
        let locking = scope.spawn(|| {
            let answer = rig.client().call(Request::Lock, Vec::new()).unwrap();
            assert_eq!(answer.reply, Reply::Done);
            assert!(!rig.socket().exists());
            Place::claim(&rig.socket(), Share::Own, Duration::ZERO).unwrap();
        });
        rig.fake.wait_for("locking");
        assert!(!rig.fake.events().contains(&"locked".to_owned()));
        rig.fake.open_gate("commit");
        assert!(matches!(putting.join().unwrap().reply, Reply::Committed(_)));
        locking.join().unwrap();
    });
    assert_eq!(rig.ended(), Stopped::Asked);
    let events = rig.fake.events();
    let at = |event: &str| events.iter().position(|e| e == event).unwrap();
    assert!(at("committed 5 bytes") < at("locked"), "{events:?}");
}

#[test]
fn a_changed_file_reloads() {
    let rig = Rig::new();
    rig.fake.wait_for("watched");
    std::fs::write(rig.state.path().join("config"), "{}").unwrap();
    rig.fake.wait_for("reload Changed");
}

#[test]
fn a_client_without_a_daemon_is_told_so() {
    let state = tempfile::tempdir().unwrap();
    let us = rustix::process::geteuid().as_raw();
    let socket = state.path().join("run/daemon.sock");
    assert!(Client::connect(&socket, us).unwrap().is_none());
}

#[test]
fn the_client_in_the_specification_works() {
    let rig = Rig::new();
    let text = include_str!("../../../docs/protocol.md");
    let script = text.split("```python\n").nth(1).unwrap();
    let script = script.split("```").next().unwrap();
    let ask = |name: &str| {
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-c", script]).arg(rig.socket()).arg(name);
        python.output().unwrap()
    };
    assert_eq!(ask("a").stdout, b"value of a");
    assert_eq!(ask("large").stdout.len(), MAX_VALUE);
    let refused = ask("absent");
    assert_eq!(refused.stderr, b"no record absent\n");
    assert!(!refused.status.success());
}

#[test]
fn the_specification_states_the_limits() {
    let text = include_str!("../../../docs/protocol.md").replace(' ', "");
    use crate::daemon::frame::{
        MAX_ANSWER_FRAMES, MAX_ATTACHMENTS, MAX_JSON, MAX_MESSAGE, MAX_REQUEST_FRAMES,
    };
    use crate::runtime::service::MAX_RESOLVE_REFS;
    for (name, value) in [
        ("MAX_FRAME", MAX_FRAME),
        ("MAX_JSON", MAX_JSON),
        ("MAX_VALUE", MAX_VALUE),
        ("MAX_ATTACHMENTS", MAX_ATTACHMENTS),
        ("MAX_MESSAGE", MAX_MESSAGE),
        ("MAX_REQUEST_FRAMES", MAX_REQUEST_FRAMES),
        ("MAX_RESOLVE_REFS", MAX_RESOLVE_REFS),
        ("MAX_ANSWER_FRAMES", MAX_ANSWER_FRAMES),
        ("OTHERS_FRAME", OTHERS_FRAME),
        ("STRANGERS_FRAME", STRANGERS_FRAME),
        ("MAX_OF_OTHERS", MAX_OF_OTHERS),
        ("MAX_OF_USER", MAX_OF_USER),
        ("MAX_OF_STRANGERS", MAX_OF_STRANGERS),
        ("BURST", BURST as usize),
        ("PACE", PACE.as_millis() as usize),
    ] {
        assert!(text.contains(&format!("(`{name}`)|{value}")), "{name}");
    }
}
