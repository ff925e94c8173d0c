//! Others than the daemon's own user: how many connections, and how long their frames.

use super::*;
use crate::config::{Config, Trust};
use crate::daemon::fake::report;
use crate::daemon::frame::{Ask, Present, request_frames};
use crate::daemon::gate::{Book, load};
use std::process::Child;
use std::sync::atomic::Ordering;

/// Connects so often, says `x`, and what the last connection is told; keeps the others to the end.
const HOLD: &str = "import socket,sys\n\
    held=[]\n\
    for i in range(int(sys.argv[2])):\n s=socket.socket(socket.AF_UNIX)\n \
    s.connect(sys.argv[1])\n held.append(s)\n\
    if sys.argv[3]=='read':\n b=b''\n while True:\n  d=held[-1].recv(4096)\n  \
    if not d: break\n  b+=d\n sys.stdout.buffer.write(b)\n\
    print('x',flush=True)\nsys.stdin.read()\n";

/// Announces a frame with so many bytes of JSON, and prints what comes back.
const ANNOUNCE: &str = "import socket,struct,sys\n\
    s=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\nn=int(sys.argv[2])\n\
    s.sendall(struct.pack('<II',4+n,n))\ns.shutdown(socket.SHUT_WR)\nb=b''\n\
    while True:\n d=s.recv(4096)\n if not d: break\n b+=d\nsys.stdout.buffer.write(b)\n";

/// Says what it reads, then repeats what it hears until the other side has no more to say.
const RELAY: &str = "import socket,sys\n\
    s=socket.socket(socket.AF_UNIX)\ns.connect(sys.argv[1])\n\
    try:\n s.sendall(sys.stdin.buffer.read())\n \
    while True:\n  d=s.recv(4096)\n  if not d: break\n  \
    sys.stdout.buffer.write(d)\n  sys.stdout.flush()\n\
    except ConnectionError: pass\n";

/// What a user is told who asks all this at once, until the daemon closes the connection.
fn told(uid: u32, rig: &Rig, asks: &[(Ask, &[u8])]) -> String {
    let child = asking(uid, rig, asks);
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
}

/// A user who asks all this at once.
fn asking(uid: u32, rig: &Rig, asks: &[(Ask, &[u8])]) -> Child {
    let mut child = python(uid, RELAY, rig, &[]);
    let mut input = child.stdin.take().unwrap();
    for (ask, secret) in asks {
        let secrets: Vec<SecretValue> = match ask {
            Ask::Request(_) => Vec::new(),
            _ => vec![SecretValue::copy_of(secret)],
        };
        for frame in request_frames(ask.clone(), &secrets).unwrap() {
            input.write_all(&frame.text).unwrap();
            for secret in &frame.secrets {
                input.write_all(secret.expose()).unwrap();
            }
        }
    }
    // Not a request: the daemon says so, and closes.
    input.write_all(b"no more of it").unwrap();
    child
}

/// A rig that others reach, where user 4242 has a grant and everybody may turn out to have one.
fn shared() -> Rig {
    shared_idle(Duration::ZERO)
}

fn shared_idle(idle: Duration) -> Rig {
    let digest = "0".repeat(64);
    shared_with(
        serde_json::json!({"grants": {
            "user": {"to": {"uid": 4242}},
            "a": {"to": {"uid": 5000}},
            "b": {"to": {"uid": 5001}},
            "c": {"to": {"uid": 5002}},
            "bearer": {"to": {"capability": format!("sha256:{digest}")}},
        }}),
        idle,
    )
}

/// A rig that others reach, with these grants.
fn shared_with(grants: serde_json::Value, idle: Duration) -> Rig {
    shared_within(patient(), grants, idle)
}

fn shared_within(limits: Limits, grants: serde_json::Value, idle: Duration) -> Rig {
    let load = move || Ok(Config::parse(&grants.to_string(), "c", Trust::Own)?.into());
    let gate = Gate::new(Box::new(load), None, Book::none()).0;
    let rig = Rig::gated(limits, HOUR, idle, gate);
    for (path, mode) in [("", 0o755), ("run", 0o755), ("run/daemon.sock", 0o666)] {
        let open = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(rig.state.path().join(path), open).unwrap();
    }
    rig
}

/// Lets in nobody else any more: the daemon's own user trusts no other folder.
fn shut(rig: &Rig) {
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(rig.state.path().join("run"), private).unwrap();
}

fn python(uid: u32, script: &str, rig: &Rig, args: &[&str]) -> Child {
    Command::new("setpriv")
        .args([format!("--reuid={uid}"), format!("--regid={uid}")])
        .args(["--clear-groups", "/usr/bin/python3", "-c", script])
        .arg(rig.socket())
        .args(args)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Holds so many connections until it is waited for.
fn hold(uid: u32, rig: &Rig, count: usize) -> Child {
    let mut child = python(uid, HOLD, rig, &[&count.to_string(), "no"]);
    let mut said = [0];
    let out = child.stdout.as_mut().unwrap();
    out.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"x");
    child
}

/// What the last of so many connections is told.
fn last_of(uid: u32, rig: &Rig, count: usize) -> String {
    let child = python(uid, HOLD, rig, &[&count.to_string(), "read"]);
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
}

#[test]
fn others_never_have_all_connections() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let rig = shared();
    let told = last_of(4242, &rig, MAX_OF_USER + 1);
    assert!(told.contains("daemon.busy"), "{told}");
    let users = MAX_OF_OTHERS / MAX_OF_USER;
    let holders: Vec<Child> = (5000..)
        .take(users)
        .map(|uid| hold(uid, &rig, MAX_OF_USER))
        .collect();
    let told = last_of(4242, &rig, 1);
    assert!(told.contains("daemon.busy"), "{told}");
    shut(&rig);
    assert!(get(&mut rig.client(), "a").is_ok());
    for holder in holders {
        holder.wait_with_output().unwrap();
    }
}

#[test]
fn frames_of_others_are_short_and_those_of_strangers_shorter() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let rig = shared();
    let announce = |uid: u32, len: usize| {
        let child = python(uid, ANNOUNCE, &rig, &[&len.to_string()]);
        String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
    };
    for (uid, limit) in [(4242, OTHERS_FRAME), (4243, STRANGERS_FRAME)] {
        let refused = announce(uid, limit + 1);
        assert!(refused.contains("over the protocol's limits"), "{refused}");
        // Up to the limit the rest of the frame is waited for.
        assert_eq!(announce(uid, limit), "");
    }
}

#[test]
fn who_is_turned_away_again_and_again_does_not_fill_the_log() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let rig = shared_with(
        serde_json::json!({"grants": {"user": {"to": {"uid": 4242}}}}),
        Duration::ZERO,
    );
    for uid in [4243, 4244] {
        let told = last_of(uid, &rig, 20);
        assert!(told.contains("daemon.peer"), "{told}");
    }
    let log = std::fs::read_to_string(rig.state.path().join("run/daemon.log")).unwrap();
    assert_eq!(log.matches("refused process").count(), 2, "{log}");
}

#[test]
fn strangers_have_a_few_connections_and_one_try() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let rig = shared();
    let holder = hold(6000, &rig, MAX_OF_STRANGERS);
    for uid in [6000, 6001] {
        let told = last_of(uid, &rig, 1);
        assert!(told.contains("daemon.busy"), "{told}");
    }
    let status = (Ask::Request(Request::Status), &b""[..]);
    assert!(told(4242, &rig, std::slice::from_ref(&status)).contains("unlocked"));
    holder.wait_with_output().unwrap();

    let wrong = (Ask::Present(Present::Capability), &[b'A'; 43][..]);
    let told = told(6000, &rig, &[wrong.clone(), wrong, status]);
    assert_eq!(told.matches("daemon.peer").count(), 1, "{told}");
    assert!(
        !told.contains("done") && !told.contains("daemon.protocol"),
        "{told}"
    );
}

/// Milliseconds that the vault stays open, of the next answer that somebody hears.
fn next_ttl(child: &mut Child) -> u64 {
    let out = child.stdout.as_mut().unwrap();
    let mut len = [0; 4];
    out.read_exact(&mut len).unwrap();
    let mut frame = vec![0; u32::from_le_bytes(len) as usize];
    out.read_exact(&mut frame).unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&frame[4..]).unwrap();
    let ttl = answer.pointer("/ok/data/daemon/ttlRemainingMs");
    ttl.unwrap_or_else(|| panic!("{answer}")).as_u64().unwrap()
}

#[test]
fn whoever_asks_without_end_waits_for_his_turn_and_nobody_else_does() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    // The connection counts too.
    let limits = Limits {
        burst: 3,
        pace: Duration::from_millis(10),
        ..patient()
    };
    let grants = serde_json::json!({"grants": {
        "a": {"to": {"uid": 4242}}, "b": {"to": {"uid": 5000}}, "c": {"to": {"uid": 5001}},
    }});
    let rig = shared_within(limits, grants, Duration::ZERO);
    let status = (Ask::Request(Request::Status), &b""[..]);
    let mut eager = asking(
        4242,
        &rig,
        &[status.clone(), status.clone(), status.clone()],
    );
    assert_eq!([next_ttl(&mut eager), next_ttl(&mut eager)], [3_600_000; 2]);
    assert!(told(5000, &rig, &[status]).contains("unlocked"));
    let refused = last_of(5001, &rig, 4);
    assert!(
        refused.contains("daemon.busy") && refused.contains("asks too often"),
        "{refused}"
    );
    shut(&rig);
    let mut own = rig.client();
    for _ in 0..10 {
        assert!(get(&mut own, "a").is_ok());
    }
    // By the daemon's clock no time has passed until now.
    rig.clock.advance(HOUR / 2);
    assert_eq!(next_ttl(&mut eager), 1_800_000);
    eager.wait_with_output().unwrap();
}

#[test]
fn others_get_the_published_report() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let rig = shared();
    let ask = Ask::Request(Request::Report { agent: None });
    let told = told(4242, &rig, &[(ask.clone(), b"")]);
    assert!(told.contains("\"report\""), "{told}");
    assert!(rig.fake.events().contains(&"published".to_owned()));
    shut(&rig);
    let mut own = rig.client();
    let before = rig.fake.events();
    let answer = own
        .call(Request::Report { agent: None }, Vec::new())
        .unwrap();
    assert_ne!(answer.reply, Reply::Report(report(3)));
    assert_eq!(rig.fake.events(), before);
}

#[test]
fn what_is_refused_does_not_keep_the_vault_open() {
    if rustix::process::geteuid().as_raw() != 0 {
        return;
    }
    let rig = shared_idle(HOUR);
    rig.clock.advance(HOUR / 2);
    let shown = (Ask::Present(Present::Passphrase), &b"a passphrase"[..]);
    let get = Request::Get {
        name: "a".parse().unwrap(),
        version: None,
    };
    let told = told(4242, &rig, &[shown, (Ask::Request(get), b"")]);
    assert_eq!(told.matches("grant.refused").count(), 2, "{told}");
    shut(&rig);
    let left = status(&mut rig.client()).daemon.unwrap().idle_remaining_ms;
    assert_eq!(left, Some(1_800_000));
}

#[test]
fn grants_are_read_anew_while_a_slow_source_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let grants = folder.path().join("reseal.json");
    std::fs::write(&grants, r#"{"grants": {"a": {"to": {"uid": 4242}}}}"#).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let read = load::from_config(grants.clone());
    let load = move || {
        let rules = read()?;
        let _ = tell.send(rules.policy.grants.len());
        Ok(rules)
    };
    let gate = Gate::new(Box::new(load), Some(grants.clone()), Book::none()).0;
    let rig = Rig::gated(patient(), HOUR, Duration::ZERO, gate);
    rig.fake.slow_reload.store(true, Ordering::Relaxed);
    std::fs::write(rig.state.path().join("config"), "changed").unwrap();
    rig.fake.wait_for("in reload");
    std::fs::write(&grants, "{}").unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&0) {
        let count = told.recv_timeout(PATIENCE);
        if count.is_err() {
            rig.fake.open_gate("reload");
        }
        seen.push(count.unwrap());
    }
    rig.fake.open_gate("reload");
}
