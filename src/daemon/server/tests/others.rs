//! Others than the daemon's own user: how many connections, and how long their frames.

use super::*;
use crate::config::{Config, Trust};
use crate::daemon::gate::Book;
use std::process::Child;

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

/// A rig that others reach, where user 4242 has a grant and everybody may turn out to have one.
fn shared() -> Rig {
    let digest = "0".repeat(64);
    shared_with(serde_json::json!({"grants": {
        "user": {"to": {"uid": 4242}},
        "bearer": {"to": {"capability": format!("sha256:{digest}")}},
    }}))
}

/// A rig that others reach, with these grants.
fn shared_with(grants: serde_json::Value) -> Rig {
    let load = move || Ok(Config::parse(&grants.to_string(), "c", Trust::Own)?.grants);
    let gate = Gate::new(Box::new(load), None, Book::none()).0;
    let rig = Rig::gated(patient(), HOUR, Duration::ZERO, gate);
    for (path, mode) in [("", 0o755), ("run", 0o755), ("run/daemon.sock", 0o666)] {
        let open = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(rig.state.path().join(path), open).unwrap();
    }
    rig
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
    std::fs::set_permissions(
        rig.state.path().join("run"),
        std::fs::Permissions::from_mode(0o700),
    )
    .unwrap();
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
    let rig = shared_with(serde_json::json!({"grants": {"user": {"to": {"uid": 4242}}}}));
    for uid in [4243, 4244] {
        let told = last_of(uid, &rig, 20);
        assert!(told.contains("daemon.peer"), "{told}");
    }
    let log = std::fs::read_to_string(rig.state.path().join("run/daemon.log")).unwrap();
    assert_eq!(log.matches("refused process").count(), 2, "{log}");
}
