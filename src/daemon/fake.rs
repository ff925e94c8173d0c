//! For tests: a backend that remembers what it was asked, a person who says what is wanted, and a
//! clock that is set by hand.

use super::confirm::{Asker, Ends, Question, Said};
use super::session::{Clock, Flag};
use super::{Backend, Cause, Reloaded, Unlock};
use crate::error::{Code, Failure};
use crate::name::AgentId;
use crate::reference::SecretRef;
use crate::runtime::service::{
    Answer, Committed, LockState, Outcome, Reply, Report, Request, SnapshotState, SnapshotStatus,
    Status,
};
use crate::secret::{MAX_VALUE, SecretValue};
use crate::sys::peer::Peer;
use crate::vault::{Meta, RecordInfo, RecordKind};
use rustix::fd::BorrowedFd;
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Condvar, Mutex};
use std::time::Duration;

/// Fails a test that would wait for ever.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The sub-keys that the fake takes.
pub const KEYS: &[u8] = b"the sub-keys of the test";

pub struct Fake {
    seen: Mutex<Seen>,
    changed: Condvar,
    committing: Mutex<()>,
    pub crowd: Barrier,
    pub watched: Vec<PathBuf>,
    used: HashSet<SecretRef>,
    /// Reloads wait for the gate `reload`.
    pub slow_reload: AtomicBool,
}

#[derive(Default)]
struct Seen {
    events: Vec<String>,
    open_gates: Vec<&'static str>,
}

impl Fake {
    pub fn new(crowd: usize, watched: Vec<PathBuf>) -> Self {
        Self {
            seen: Mutex::default(),
            changed: Condvar::new(),
            committing: Mutex::default(),
            crowd: Barrier::new(crowd),
            watched,
            used: HashSet::new(),
            slow_reload: AtomicBool::new(false),
        }
    }

    /// One in whose config these refs are in use.
    pub fn using(refs: &[&str]) -> Self {
        let used = refs.iter().map(|text| text.parse().unwrap()).collect();
        Self {
            used,
            ..Self::new(1, Vec::new())
        }
    }

    pub fn note(&self, event: impl Into<String>) {
        self.seen.lock().unwrap().events.push(event.into());
        self.changed.notify_all();
    }

    pub fn events(&self) -> Vec<String> {
        self.seen.lock().unwrap().events.clone()
    }

    /// Waits until something has happened.
    pub fn wait_for(&self, event: &str) {
        self.wait(event, |seen| seen.events.iter().any(|e| e == event));
    }

    pub fn open_gate(&self, gate: &'static str) {
        self.seen.lock().unwrap().open_gates.push(gate);
        self.changed.notify_all();
    }

    fn pass_gate(&self, gate: &str) {
        self.wait(gate, |seen| seen.open_gates.contains(&gate));
    }

    fn wait(&self, what: &str, done: impl Fn(&Seen) -> bool) {
        let seen = self.seen.lock().unwrap();
        let (_seen, waited) = self
            .changed
            .wait_timeout_while(seen, PATIENCE, |seen| !done(seen))
            .unwrap();
        assert!(!waited.timed_out(), "{what} never happened");
    }

    fn get(&self, name: &str) -> Result<SecretValue, Failure> {
        match name {
            "slow" => {
                self.note("in slow");
                self.pass_gate("slow");
                Ok(SecretValue::copy_of(b"slow value"))
            }
            "crowd" => {
                self.crowd.wait();
                Ok(SecretValue::copy_of(b"crowd value"))
            }
            "thread" => {
                let id = format!("{:?}", std::thread::current().id());
                Ok(SecretValue::copy_of(id.as_bytes()))
            }
            "large" => Ok(SecretValue::build(MAX_VALUE, |bytes| bytes.fill(b'v'))),
            "absent" => Err(Failure::new(Code::RecordAbsent, "no record absent")),
            name => Ok(SecretValue::copy_of(format!("value of {name}").as_bytes())),
        }
    }
}

pub fn info(name: &str) -> RecordInfo {
    RecordInfo {
        name: name.parse().unwrap(),
        kind: RecordKind::Static,
        version: 1,
        meta: Meta::default(),
    }
}

pub fn snapshot(refs: u64) -> SnapshotStatus {
    SnapshotStatus {
        state: SnapshotState::Active,
        generation: Some(1),
        refs,
        places: refs,
        since: None,
        failures: Vec::new(),
    }
}

pub fn report(refs: u64) -> Report {
    Report {
        snapshot: snapshot(refs),
        refs: Vec::new(),
    }
}

impl Backend for Fake {
    fn call(
        &self,
        _: Peer,
        request: Request,
        secrets: Vec<SecretValue>,
    ) -> Result<Answer, Failure> {
        match request {
            Request::Status => Ok(Answer::plain(Reply::Status(Status {
                state: LockState::Locked,
                vault: None,
                daemon: None,
                snapshot: snapshot(0),
            }))),
            Request::Get { name, .. } => Ok(Answer {
                secrets: vec![self.get(name.as_str())?],
                reply: Reply::Value(info(name.as_str())),
            }),
            Request::List => Ok(Answer::plain(Reply::Records(
                (0..20_000).map(|i| info(&format!("record/{i}"))).collect(),
            ))),
            Request::Resolve { refs } => Ok(Answer {
                reply: Reply::Resolved(vec![Outcome::Ok; refs.len()]),
                secrets: refs
                    .iter()
                    .map(|r| SecretValue::copy_of(r.id().as_bytes()))
                    .collect(),
            }),
            Request::Put { name, .. } => {
                let _commit = self.committing.lock().unwrap();
                self.note("in commit");
                self.pass_gate("commit");
                self.note(format!("committed {} bytes", secrets[0].len()));
                Ok(Answer::plain(Reply::Committed(Committed {
                    generation: 2,
                    name: Some(name),
                    version: Some(1),
                })))
            }
            _ => Ok(Answer::plain(Reply::Done)),
        }
    }

    fn unlock(&self, _: Peer, _: &Unlock, keys: &SecretValue) -> Result<Report, Failure> {
        if keys.expose() != KEYS {
            return Err(Failure::new(Code::SlotNoMatch, "these are not the keys"));
        }
        self.note("unlocked");
        Ok(report(7))
    }

    fn lock(&self) {
        self.note("locking");
        let _commit = self.committing.lock().unwrap();
        self.note("locked");
    }

    fn reload(&self, cause: Cause) -> Reloaded {
        self.note(format!("reload {cause:?}"));
        if self.slow_reload.load(Ordering::Relaxed) {
            self.note("in reload");
            self.pass_gate("reload");
        }
        Reloaded {
            state: Ok(SnapshotState::Degraded),
            events: Vec::new(),
            hook: None,
        }
    }

    fn published(&self, _: Option<&AgentId>) -> Result<Report, Failure> {
        self.note("published");
        Ok(report(3))
    }

    fn in_use(&self, _: &AgentId) -> HashSet<SecretRef> {
        self.used.clone()
    }

    fn watched(&self) -> Vec<PathBuf> {
        self.note("watched");
        self.watched.clone()
    }
}

/// A person who always says the same, at once.
pub struct Person {
    says: Said,
    asked: Mutex<Vec<Question>>,
    /// Happens while the person thinks.
    meanwhile: Box<dyn Fn() + Send + Sync>,
}

impl Person {
    pub fn who_says(says: Said) -> Self {
        Self::while_thinking(says, || ())
    }

    pub fn while_thinking(says: Said, meanwhile: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            says,
            asked: Mutex::default(),
            meanwhile: Box::new(meanwhile),
        }
    }

    /// All that this person was asked.
    pub fn asked(&self) -> Vec<Question> {
        self.asked.lock().unwrap().clone()
    }
}

impl Asker for Person {
    fn confirm(&self, question: &Question, _: Duration, _: &Ends<'_>) -> Said {
        self.asked.lock().unwrap().push(question.clone());
        (self.meanwhile)();
        self.says
    }
}

/// A clock that stands still until it is set.
pub struct Manual {
    time: Mutex<(Duration, Option<Duration>)>,
    flag: Flag,
}

impl Manual {
    pub fn new() -> Self {
        Self {
            time: Mutex::new((Duration::from_secs(1_000), None)),
            flag: Flag::new().unwrap(),
        }
    }

    pub fn advance(&self, by: Duration) {
        let mut time = self.time.lock().unwrap();
        time.0 += by;
        self.show(*time);
    }

    fn show(&self, (now, armed): (Duration, Option<Duration>)) {
        if armed.is_some_and(|at| at <= now) {
            self.flag.raise();
        } else {
            self.flag.lower();
        }
    }
}

impl Clock for Manual {
    fn now(&self) -> Duration {
        self.time.lock().unwrap().0
    }

    fn arm(&self, at: Option<Duration>) -> io::Result<()> {
        let mut time = self.time.lock().unwrap();
        time.1 = at;
        self.show(*time);
        Ok(())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.flag.fd()
    }
}
