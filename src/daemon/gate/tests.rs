mod confirm;

use super::*;
use crate::config::{Config, Trust};
use crate::daemon::confirm::Said;
use crate::daemon::fake::{Fake, Person};
use crate::daemon::trail::{self, Trail};
use crate::grants::Policy;
use crate::runtime::service::{LockState, SnapshotState, SnapshotStatus, Status};
use crate::secret::SecretValue;
use crate::sys::peer::Peer;
use crate::vault::{Expect, Meta, RecordKind, SubKeys};
use std::path::Path;
use std::time::Instant;

const CAPABILITY: [u8; 32] = [9; 32];

/// What is granted in these tests.
fn rules() -> Rules {
    let digest = data_encoding::HEXLOWER.encode(&CAPABILITY);
    let text = serde_json::json!({"daemon": {"confirm": {"command": "/bin/ask"}}, "grants": {
        "user": {"to": {"uid": 1001}, "refs": ["vault:a/*"]},
        "reader": {"to": {"uid": 1002}, "refs": ["vault:a/*"], "verbs": ["read", "refresh"]},
        "agent": {"to": {"unit": "hermes.service"}},
        "bearer": {"to": {"capability": format!("sha256:{digest}")},
            "refs": ["vault:a/*"], "verbs": ["use", "read"]},
        "admin": {"to": {"uid": 1003}, "refs": ["vault:*"],
            "verbs": ["use", "read", "refresh", "admin"]},
        "asking": {"to": {"uid": 1004}, "refs": ["vault:*"],
            "verbs": ["use", "read", "refresh", "admin"], "confirm": true},
        "ended": {"to": {"uid": 1005}, "refs": ["vault:*"],
            "verbs": ["use", "read", "refresh", "admin"], "until": "2001-01-01"},
    }});
    Config::parse(&text.to_string(), "test", Trust::Own)
        .unwrap()
        .into()
}

fn gate_with(book: Book) -> Gate {
    Gate::new(Box::new(|| Ok(rules())), None, book).0
}

/// A gate where a person says this, if there is one.
fn gate_of(person: Option<&Arc<Person>>) -> Gate {
    let gate = gate_with(Book::none());
    match person {
        Some(person) => gate.asking(Arc::clone(person) as Arc<dyn Asker>),
        None => gate,
    }
}

fn caller(uid: u32) -> Caller {
    Caller::by_user(Peer {
        pid: 7,
        uid,
        gid: uid,
    })
}

/// Everyone who may ask, in the order of the columns of [`expected`], and what a person says.
fn everyone() -> Vec<(&'static str, Caller, Option<Said>)> {
    let unit = Some("hermes.service".to_owned());
    let own = rustix::process::geteuid().as_raw();
    let with_secret = |uid| Caller {
        proved_at: Some(Instant::now()),
        ..caller(uid)
    };
    let yes = Some(Said::Yes);
    vec![
        ("own", caller(own), None),
        ("root", caller(0), None),
        ("user", caller(1001), None),
        ("reader", caller(1002), None),
        (
            "agent",
            Caller {
                unit,
                ..caller(4242)
            },
            None,
        ),
        (
            "bearer",
            Caller {
                capability: Some(CAPABILITY),
                ..caller(4242)
            },
            None,
        ),
        ("admin", caller(1003), None),
        ("admin with a secret", with_secret(1003), None),
        ("asking where nobody is", with_secret(1004), None),
        ("confirmed", caller(1004), yes),
        ("confirmed with a secret", with_secret(1004), yes),
        ("declined", with_secret(1004), Some(Said::No)),
        ("unanswered", with_secret(1004), Some(Said::Nobody)),
        ("ended", caller(1005), yes),
        ("foreign", caller(4242), yes),
    ]
}

/// One request of every kind, about a record that is granted and one that is not.
fn requests(name: &str) -> Vec<Request> {
    let name: crate::name::RecordName = name.parse().unwrap();
    let token = |min_ttl_ms, force| Request::Token {
        name: name.clone(),
        min_ttl_ms,
        force,
    };
    vec![
        Request::Status,
        Request::Get {
            name: name.clone(),
            version: None,
        },
        token(0, false),
        token(acts::MAX_USE_TTL_MS, false),
        token(acts::MAX_USE_TTL_MS + 1, false),
        token(0, true),
        Request::SignOut {
            name: name.clone(),
            local_only: true,
        },
        Request::CheckWritable,
        Request::List,
        Request::ListUnder {
            prefix: String::new(),
        },
        Request::History { name: name.clone() },
        Request::Put {
            name: name.clone(),
            kind: RecordKind::Static,
            meta: Meta::default(),
            expect: Expect::Any,
        },
        Request::Compare { name: name.clone() },
        Request::Remove {
            name: name.clone(),
            expect: Expect::Any,
        },
        Request::Rename {
            from: name.clone(),
            to: "a/new".parse().unwrap(),
        },
        Request::Restore {
            name: name.clone(),
            version: 1,
        },
        Request::Resolve {
            refs: vec![SecretRef::to_record(&name)],
        },
        Request::Report { agent: None },
        Request::Reload,
        Request::Compact { keep_history: true },
        Request::Verify,
        Request::Lock,
    ]
}

const KINDS: usize = 19;

/// Who is let through, as a word of `y` and `-` in the order of [`everyone`]: for the record that
/// the grants are about, and for another one. A new kind of request does not compile before it is
/// here.
fn expected(request: &Request) -> (usize, &'static str, &'static str) {
    // own root user reader agent bearer admin +secret; asking: nobody there, yes, yes +secret, no,
    // no answer; ended foreign
    match request {
        Request::Status => (0, "yyyyyyyyyyyyy--", "yyyyyyyyyyyyy--"),
        Request::Get { .. } => (1, "yy-y-yyy-yy----", "yy----yy-yy----"),
        Request::Token { force: true, .. } => (2, "yy-y--yy-yy----", "yy----yy-yy----"),
        Request::Token { min_ttl_ms, .. } if *min_ttl_ms > acts::MAX_USE_TTL_MS => {
            (2, "yy-y--yy-yy----", "yy----yy-yy----")
        }
        Request::Token { .. } => (2, "yyy-yyyy-yy----", "yy----yy-yy----"),
        Request::SignOut { .. } => (3, "yy-----y--y----", "yy-----y--y----"),
        Request::CheckWritable => (4, "yy-----y--y----", "yy-----y--y----"),
        Request::List => (5, "yy-y-yyy-yy----", "yy-y-yyy-yy----"),
        Request::ListUnder { .. } => (6, "yy-y-yyy-yy----", "yy-y-yyy-yy----"),
        Request::History { .. } => (7, "yy-y-yyy-yy----", "yy----yy-yy----"),
        Request::Put { .. } => (8, "yy-----y--y----", "yy-----y--y----"),
        Request::Compare { .. } => (9, "yy-y-yyy-yy----", "yy----yy-yy----"),
        Request::Remove { .. } => (10, "yy-----y--y----", "yy-----y--y----"),
        Request::Rename { .. } => (11, "yy-----y--y----", "yy-----y--y----"),
        Request::Restore { .. } => (12, "yy-----y--y----", "yy-----y--y----"),
        Request::Resolve { .. } => (13, "yyy-yyyy-yy----", "yy----yy-yy----"),
        Request::Report { .. } => (14, "yyy-yyyy-yy----", "yyy-yyyy-yy----"),
        Request::Reload => (15, "yy-----y--y----", "yy-----y--y----"),
        Request::Compact { .. } => (16, "yy-----y--y----", "yy-----y--y----"),
        Request::Verify => (17, "yy-----y--y----", "yy-----y--y----"),
        Request::Lock => (18, "yy-----y--y----", "yy-----y--y----"),
    }
}

/// Asks; gives whether the vault was asked, and what the caller was told.
fn ask(gate: &Gate, caller: &Caller, request: Request) -> (bool, Result<Answer, Failure>) {
    let backend = Fake::using(&["vault:a/x"]);
    let mut asked = false;
    let ends = Ends::default();
    let answer = gate.serve(
        caller,
        &backend,
        request,
        Vec::new(),
        &ends,
        |request, _| {
            asked = true;
            let reply = match &request {
                Request::Resolve { refs } => Reply::Resolved(vec![Outcome::Ok; refs.len()]),
                _ => Reply::Done,
            };
            let secrets =
                vec![SecretValue::copy_of(b"value"); crate::daemon::frame::attachments_of(&reply)];
            Ok(Answer { reply, secrets })
        },
    );
    (asked, answer)
}

#[test]
fn every_request_of_everyone_is_let_through_or_refused_as_the_table_says() {
    let mut seen = BTreeSet::new();
    for granted in [true, false] {
        for request in requests(if granted { "a/x" } else { "b/y" }) {
            let (kind, inside, outside) = expected(&request);
            seen.insert(kind);
            let row = if granted { inside } else { outside };
            assert_eq!(row.len(), everyone().len());
            for ((name, caller, says), mark) in everyone().iter().zip(row.chars()) {
                let person = says.map(|says| Arc::new(Person::who_says(says)));
                let gate = gate_of(person.as_ref());
                let (asked, answer) = ask(&gate, caller, request.clone());
                assert_eq!(asked, mark == 'y', "{name}: {request:?}");
                // A person is asked if it hangs on that, and on nothing else.
                let hangs = caller.peer.uid == 1004 && row.chars().nth(10) == Some('y');
                let hangs = hangs && (caller.proved_at.is_some() || mark == 'y') && kind != 0;
                let questions = person.map_or(0, |person| person.asked().len());
                assert_eq!(
                    questions,
                    usize::from(hangs && says.is_some()),
                    "{name}: {request:?}"
                );
                let refused = match answer {
                    Err(failure) => Some(failure.code),
                    Ok(Answer {
                        reply: Reply::Resolved(outcomes),
                        secrets,
                    }) => {
                        assert_eq!(secrets.len(), usize::from(asked));
                        outcomes.into_iter().find_map(|outcome| match outcome {
                            Outcome::Failed(failure) => Some(failure.code),
                            Outcome::Ok => None,
                        })
                    }
                    Ok(_) => None,
                };
                assert_eq!(refused.is_some(), mark == '-', "{name}: {request:?}");
                let codes = [
                    Code::GrantRefused,
                    Code::GrantExpired,
                    Code::GrantConfirm,
                    Code::GrantDeclined,
                    Code::GrantUnanswered,
                    Code::GrantSecretNeeded,
                ];
                assert!(
                    refused.is_none_or(|code| codes.contains(&code)),
                    "{name} {refused:?}"
                );
            }
        }
    }
    assert!(seen.into_iter().eq(0..KINDS));
}

#[test]
fn the_reason_is_told_and_nothing_of_the_vault() {
    let gate = gate_with(Book::none());
    let get = |name: &str| Request::Get {
        name: name.parse().unwrap(),
        version: None,
    };
    for (uid, code) in [
        (1001, Code::GrantRefused),
        (1004, Code::GrantConfirm),
        (1005, Code::GrantExpired),
    ] {
        let there = ask(&gate, &caller(uid), get("b/there")).1.unwrap_err();
        let absent = ask(&gate, &caller(uid), get("b/absent")).1.unwrap_err();
        assert_eq!(there.code, code);
        let same = absent.message.replace("b/absent", "b/there");
        assert_eq!((absent.code, same), (there.code, there.message));
    }
    let put = requests("a/x")
        .into_iter()
        .find(|r| matches!(r, Request::Put { .. }));
    let refused = ask(&gate, &caller(1003), put.unwrap()).1.unwrap_err();
    assert_eq!(refused.code, Code::GrantSecretNeeded);
}

#[test]
fn of_many_refs_those_that_are_granted_are_resolved() {
    let gate = gate_with(Book::none());
    let refs: Vec<SecretRef> = [
        "vault:b/1",
        "vault:a/1",
        "env:HOME",
        "vault:a/2",
        "vault@x:a/3",
    ]
    .map(|text| text.parse().unwrap())
    .into();
    let (_, answer) = ask(&gate, &caller(1001), Request::Resolve { refs });
    let answer = answer.unwrap();
    let Reply::Resolved(outcomes) = answer.reply else {
        panic!("{:?}", answer.reply);
    };
    let ok: Vec<bool> = outcomes
        .iter()
        .map(|outcome| *outcome == Outcome::Ok)
        .collect();
    assert_eq!(ok, [false, true, false, true, false]);
    assert_eq!(answer.secrets.len(), 2);
}

#[test]
fn an_answer_is_cut_to_what_is_granted() {
    let gate = gate_with(Book::none());
    let backend = Fake::using(&[]);
    let serve = |uid, request, reply: Reply| {
        let act = |_, _| Ok(Answer::plain(reply));
        gate.serve(
            &caller(uid),
            &backend,
            request,
            Vec::new(),
            &Ends::default(),
            act,
        )
        .unwrap()
        .reply
    };
    let records = ["a/1", "b/1", "a/2"]
        .map(crate::daemon::fake::info)
        .to_vec();
    let Reply::Records(left) = serve(1002, Request::List, Reply::Records(records)) else {
        panic!();
    };
    let names: Vec<&str> = left.iter().map(|record| record.name.as_str()).collect();
    assert_eq!(names, ["a/1", "a/2"]);
    let status = Status {
        state: LockState::Unlocked,
        vault: None,
        daemon: None,
        snapshot: crate::daemon::fake::snapshot(5),
    };
    let Reply::Status(status) = serve(1001, Request::Status, Reply::Status(status)) else {
        panic!();
    };
    let bare = SnapshotStatus {
        state: SnapshotState::Active,
        generation: None,
        refs: 0,
        places: 0,
        since: None,
        failures: Vec::new(),
    };
    assert_eq!(status.snapshot, bare);
}

#[test]
fn grants_that_can_not_be_read_any_more_are_none() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let broken = Arc::new(AtomicBool::new(false));
    let look = Arc::clone(&broken);
    let load: Load = Box::new(move || match look.load(Ordering::Relaxed) {
        false => Ok(rules()),
        true => Err(Failure::new(Code::ConfigInvalid, "broken")),
    });
    let (gate, failure) = Gate::new(load, None, Book::none());
    assert!(failure.is_none() && gate.may_admit(4242));
    assert_eq!(gate.standing(&caller(1001)), Standing::Known);
    assert_eq!(gate.standing(&caller(4242)), Standing::Stranger);
    broken.store(true, Ordering::Relaxed);
    assert_eq!(gate.reload().unwrap().code, Code::ConfigInvalid);
    assert!(!gate.may_admit(1001) && gate.is_own(0));
    assert_eq!(gate.standing(&caller(1001)), Standing::Nobody);
}

fn keys() -> SubKeys {
    let root = crate::secret::Key::build(|out| out.fill(3));
    SubKeys::derive(&root, &[1; 32], [2; 16], 1)
}

fn lines(folder: &Path) -> Vec<trail::Line> {
    trail::check::lines(folder).unwrap()
}

#[test]
fn every_decision_is_in_the_log_and_repeated_refusals_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit");
    let gate = gate_with(Book::of(Trail::open(&audit, &keys())));
    let get = |name: &str| Request::Get {
        name: name.parse().unwrap(),
        version: None,
    };
    assert!(ask(&gate, &caller(0), get("a/own")).0);
    assert!(ask(&gate, &caller(0), Request::Status).0);
    assert!(ask(&gate, &caller(1002), get("a/granted")).0);
    for _ in 0..48 {
        assert!(!ask(&gate, &caller(1001), get("b/refused")).0);
    }
    let refs = ["vault:a/1", "vault:b/1"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    assert!(ask(&gate, &caller(1001), Request::Resolve { refs }).0);
    gate.book().close();
    let told: Vec<(u32, Vec<String>, trail::Outcome, Option<String>)> = lines(&audit)
        .into_iter()
        .filter(|line| line.event == trail::Kind::Decision)
        .map(|line| {
            (
                line.uid.unwrap(),
                line.refs,
                line.outcome.unwrap(),
                line.grant.or(line.why),
            )
        })
        .collect();
    let some = |text: &str| Some(text.to_owned());
    let refs = |text: &str| vec![text.to_owned()];
    assert_eq!(
        told[0],
        (0, refs("vault:a/own"), trail::Outcome::Allowed, None)
    );
    let granted = (
        1002,
        refs("vault:a/granted"),
        trail::Outcome::Allowed,
        some("reader"),
    );
    assert_eq!(told[1], granted);
    let refused = (
        1001,
        refs("vault:b/refused"),
        trail::Outcome::Refused,
        some("notGranted"),
    );
    let repeated = told[2..].iter().filter(|line| **line == refused).count();
    assert_eq!(repeated, 1);
    let times: Vec<u64> = lines(&audit).iter().filter_map(|line| line.times).collect();
    assert_eq!(times, [47]);
    let last = (
        1001,
        refs("vault:a/1"),
        trail::Outcome::Allowed,
        some("user"),
    );
    assert_eq!(told.last(), Some(&last));
    assert!(
        trail::check::check(&audit, &keys())
            .unwrap()
            .fault
            .is_none()
    );
}

#[test]
fn with_a_log_that_can_not_be_written_others_are_refused_and_the_owner_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit");
    std::fs::write(&file, "in the way").unwrap();
    let gate = gate_with(Book::of(Trail::open(&file, &keys())));
    let get = || Request::Get {
        name: "a/x".parse().unwrap(),
        version: None,
    };
    let (asked, answer) = ask(&gate, &caller(1002), get());
    assert!(!asked);
    assert_eq!(answer.unwrap_err().code, Code::AuditUnavailable);
    assert!(gate.book().news().is_some() && gate.book().news().is_none());
    assert!(ask(&gate, &caller(0), get()).0);
}

#[test]
fn what_is_shown_and_who_gives_keys_or_finds_no_room_is_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit");
    let gate = gate_with(Book::of(Trail::open(&audit, &keys())));
    let (text, digest) = capability::make();
    let bearer = crate::grants::Grant {
        to: crate::grants::Holder::Capability(digest),
        ..rules().policy.grants[0].clone()
    };
    *gate.rules.write().unwrap() = Arc::new(Rules {
        policy: Policy {
            grants: vec![bearer],
        },
        confirm: None,
    });
    let mut stranger = caller(4242);
    let wrong = SecretValue::copy_of("A".repeat(43).as_bytes());
    gate.take(&mut stranger, &[wrong]).unwrap();
    assert_eq!(gate.standing(&stranger), Standing::Stranger);
    gate.take(&mut stranger, &[text]).unwrap();
    assert_eq!(gate.standing(&stranger), Standing::Known);
    let refused = gate.may_unlock(&stranger).unwrap_err();
    assert_eq!(refused.code, Code::GrantRefused);
    gate.may_unlock(&caller(0)).unwrap();
    gate.no_room(&caller(4242));
    gate.book().close();
    let lines = lines(&audit);
    let decisions = lines
        .iter()
        .filter(|line| line.event == trail::Kind::Decision);
    let told: Vec<String> = decisions
        .map(|line| {
            let word = line.grant.as_ref().or(line.why.as_ref());
            let op = line.op.as_deref().unwrap();
            format!(
                "{} {op} {:?} {word:?}",
                line.uid.unwrap(),
                line.outcome.unwrap()
            )
        })
        .collect();
    let expected = [
        "4242 present Refused Some(\"notGranted\")",
        "4242 present Allowed Some(\"user\")",
        "4242 unlock Refused Some(\"notGranted\")",
        "0 unlock Allowed None",
        "4242 connect Refused Some(\"busy\")",
    ];
    assert_eq!(told, expected);
}
