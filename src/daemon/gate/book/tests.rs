use super::ledger::{MAX_ALLOWED, MAX_REFUSED, MAX_STRANGERS, MAX_USERS, WINDOW};
use super::*;
use crate::daemon::trail::check;
use crate::sys::peer::Peer;
use std::path::PathBuf;

struct Site {
    _root: tempfile::TempDir,
    folder: PathBuf,
    book: Book,
    now: Instant,
}

fn keys() -> SubKeys {
    let root = crate::secret::Key::build(|out| out.fill(3));
    SubKeys::derive(&root, &[1; 32], [2; 16], 1)
}

fn caller(uid: u32, pid: i32) -> Caller {
    Caller::by_user(Peer { pid, uid, gid: uid })
}

impl Site {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("audit");
        Self {
            book: Book::of(Trail::open(&folder, &keys())),
            _root: root,
            folder,
            now: Instant::now(),
        }
    }

    fn note(&self, caller: &Caller, came: Outcome, refs: Vec<String>) -> Result<(), Failure> {
        let word = match came {
            Outcome::Allowed => "ci",
            Outcome::Refused => "notGranted",
        };
        self.note_by(caller, came, word, refs)
    }

    fn note_by(
        &self,
        caller: &Caller,
        came: Outcome,
        word: &str,
        refs: Vec<String>,
    ) -> Result<(), Failure> {
        let entry = Entry::new("resolve", Some(Verb::Use), refs);
        self.book.note_at(caller, entry, came, word, self.now)
    }

    fn lines(&self) -> Vec<Line> {
        check::lines(&self.folder).unwrap()
    }

    fn of(&self, kind: Kind) -> Vec<Line> {
        let mut lines = self.lines();
        lines.retain(|line| line.event == kind);
        lines
    }

    fn bytes(&self) -> u64 {
        let files = std::fs::read_dir(&self.folder).unwrap();
        files.map(|f| f.unwrap().metadata().unwrap().len()).sum()
    }

    /// Decisions that have a line, repeats and those that were only counted.
    fn all_told(&self) -> u64 {
        let lines = self.lines();
        let decisions = lines.iter().filter(|line| line.event == Kind::Decision);
        let counted = lines
            .iter()
            .map(|line| line.times.or(line.untold).unwrap_or(0));
        decisions.count() as u64 + counted.sum::<u64>()
    }
}

#[test]
fn whoever_is_refused_fills_a_small_share_of_the_log() {
    let site = Site::new();
    let before = site.bytes();
    for request in 0..20 {
        let name = |i| format!("file:/{request}/{i}/{}", "x".repeat(1000));
        let refs = (0..3910).map(name).collect();
        site.note(&caller(1001, 7), Outcome::Refused, refs).unwrap();
    }
    let filled = site.bytes() - before;
    assert!(filled > 0 && filled <= MAX_REFUSED, "{filled}");
    let first = site.of(Kind::Decision).remove(0);
    assert_eq!((first.refs.len(), first.more), (2, Some(3908)));
    // Of another user a line is written, with as many names as a line has.
    let refs = (0..MAX_REFS + 8).map(|i| format!("vault:{i}")).collect();
    site.note(&caller(1002, 7), Outcome::Refused, refs).unwrap();
    let last = site.of(Kind::Decision).pop().unwrap();
    assert_eq!((last.refs.len(), last.more), (MAX_REFS, Some(8)));
    site.book.close();
    assert_eq!(site.all_told(), 21);
}

#[test]
fn a_grant_that_has_filled_its_share_of_the_log_is_answered_later() {
    let mut site = Site::new();
    let before = site.bytes();
    let ask = |site: &Site, i: usize| {
        let refs = vec![format!("vault:ci/{i}-{}", "x".repeat(200))];
        site.note(&caller(1001, 7), Outcome::Allowed, refs)
    };
    let asked = (0..10_000).map(|i| ask(&site, i)).take_while(Result::is_ok);
    let answered = asked.count();
    assert!(answered > 100 && site.bytes() - before <= MAX_ALLOWED);
    assert_eq!(ask(&site, answered).unwrap_err().code, Code::DaemonBusy);
    // What has a line is answered still, and so are other grants.
    ask(&site, 0).unwrap();
    let other = vec!["vault:other".to_owned()];
    let answer = site.note_by(&caller(1002, 7), Outcome::Allowed, "other", other);
    answer.unwrap();
    site.now += WINDOW;
    ask(&site, answered).unwrap();
    let untold = site.of(Kind::Untold).remove(0);
    assert_eq!(untold.grant.as_deref(), Some("ci"));
    assert_eq!(untold.untold, Some(2));
    // More names in one request than a share has.
    let refs = (0..MAX_ALLOWED).map(|i| format!("vault:{i}")).collect();
    let answer = site.note(&caller(1001, 7), Outcome::Allowed, refs);
    assert_eq!(answer.unwrap_err().code, Code::DaemonBusy);
}

#[test]
fn what_is_asked_again_is_counted_and_told_when_the_window_ends() {
    let mut site = Site::new();
    for pid in 0..100 {
        let refs = vec!["vault:ci/a".to_owned()];
        site.note(&caller(1001, pid), Outcome::Allowed, refs)
            .unwrap();
    }
    assert_eq!(site.of(Kind::Decision).len(), 1);
    assert!(site.of(Kind::Repeated).is_empty());
    site.now += WINDOW;
    site.book.turned_away_at(&caller(1003, 7), site.now);
    let decision = site.of(Kind::Decision).remove(0);
    let repeated = site.of(Kind::Repeated).remove(0);
    let told = (repeated.of, repeated.times, repeated.uid);
    assert_eq!(told, (Some(decision.seq), Some(99), Some(1001)));
    // In the next window it has a line of its own again.
    let again = |site: &Site| {
        let refs = vec!["vault:ci/a".to_owned()];
        site.note(&caller(1001, 7), Outcome::Allowed, refs).unwrap();
    };
    again(&site);
    assert_eq!(site.of(Kind::Decision).len(), 3);
    // And whenever the line before could not be written.
    site.book.failing.store(true, Ordering::Relaxed);
    again(&site);
    assert_eq!(site.of(Kind::Decision).len(), 4);
    assert!(check::check(&site.folder, &keys()).unwrap().fault.is_none());
}

#[test]
fn users_without_a_grant_share_a_small_part_of_the_log_and_all_are_counted() {
    let site = Site::new();
    let before = site.bytes();
    let mut told = 0;
    for i in 0..5000 {
        let caller = caller(100_000 + i % 3000, 7);
        told += usize::from(site.book.turned_away_at(&caller, site.now));
    }
    let lines = site.of(Kind::Decision).len();
    assert!(told > 0 && told == lines);
    assert!(site.bytes() - before <= MAX_STRANGERS);
    // They take nothing from one who is known and refused, nor do many of those from each other.
    for uid in 0..2000 {
        let refs = vec!["vault:b".to_owned()];
        site.note(&caller(uid, 7), Outcome::Refused, refs).unwrap();
    }
    let refused = site.of(Kind::Decision).len() - lines;
    assert!(refused > MAX_USERS);
    let most = MAX_STRANGERS + (MAX_USERS as u64 + 1) * MAX_REFUSED;
    assert!(site.bytes() - before <= most);
    site.book.close();
    assert_eq!(site.all_told(), 7000);
}
