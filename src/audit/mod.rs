//! Finds plaintext secrets and dead refs in a state folder, ours or another runtime's.
//!
//! | what | where |
//! | --- | --- |
//! | [`Finding`], [`Report`]: the stable form of what is found | [`report`] |
//! | what one file of each kind holds | `file`, `json`, `lines`, `database` |
//! | names and values that say that something is a credential | `credential` |
//! | refs: do they resolve | `refs` |
//! | who can read a file, does git track it | `around`, [`git_index`] |
//!
//! Invariants: no finding holds a value or a part of one, whatever the names in a file are; what is
//! not looked at is in `skipped`, and nothing is called clean then; nothing is written; every size,
//! count and time has a named maximum.
#![forbid(unsafe_code)]

mod around;
mod credential;
mod database;
mod file;
pub mod git_index;
mod json;
mod lines;
mod refs;
pub mod report;

pub use report::{Finding, FindingCode, Report, Severity, Skipped, Status};

use crate::error::Failure;
use crate::family::{self, Folder, Place, PlaceKind};
use crate::name::RecordName;
use crate::plaintext::needles::Needles;
use crate::secret::SecretValue;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The largest file that is looked at, in bytes; databases have a limit of their own
/// ([`family::sqlite::MAX_DATABASE`]).
pub const MAX_FILE: usize = 64 << 20;
/// The most bytes of all files together.
pub const MAX_TOTAL: u64 = 8 << 30;
/// The most findings of a report.
pub const MAX_FINDINGS: usize = 10_000;
/// The most findings of one file; how many more there are is in what was skipped.
pub const MAX_FINDINGS_OF_FILE: usize = 200;
/// The most things of which a report says that they were skipped; how many more there are is said.
pub const MAX_SKIPPED: usize = 10_000;
/// How long an audit looks before it says what it did not get to.
pub const MAX_TIME: Duration = Duration::from_secs(300);

/// What an audit needs to know of the vault.
pub enum Vault {
    /// It is open.
    Open(Records),
    /// There is none, so nothing can be a copy of what it holds.
    Absent,
    /// It is locked, and nothing was given to open it; the text says so.
    Sealed(String),
}

/// The records of an opened vault.
#[derive(Default)]
pub struct Records {
    /// Their names.
    pub names: Vec<RecordName>,
    /// The values that are looked for, each with its record.
    pub values: Vec<(RecordName, SecretValue)>,
    /// Records whose values could not be had, and why.
    pub withheld: Vec<(RecordName, String)>,
}

/// What is audited, and how.
pub struct Order<'a> {
    /// The folder.
    pub folder: Folder,
    /// The vault that refs point into and whose values are looked for.
    pub vault: Vault,
    /// Run the commands of `exec` providers.
    pub allow_exec: bool,
    /// Shell history files and service units of this home, if they are wanted.
    pub history: Option<&'a Path>,
    /// Service units of this home, if they are wanted.
    pub units: Option<&'a Path>,
    /// The environment that `env` refs are read from.
    pub environment: &'a (dyn Fn(&str) -> Option<OsString> + Sync),
}

/// Looks at everything.
pub fn run(order: &Order<'_>) -> Report {
    let (records, values): (Vec<_>, Vec<_>) = match &order.vault {
        Vault::Open(records) => records.values.iter().cloned().unzip(),
        Vault::Absent | Vault::Sealed(_) => (Vec::new(), Vec::new()),
    };
    let mut audit = Audit {
        records,
        ..Audit::new(order, Needles::new(&values), Instant::now())
    };
    audit.tell_vault();
    let mut found = family::places(&order.folder);
    let history = order.history.map(family::outside::history);
    let units = order.units.map(family::outside::units);
    for outside in history.into_iter().chain(units) {
        found.places.extend(outside.places);
        found.skipped.extend(outside.skipped);
    }
    for skipped in found.skipped {
        audit.skip(&skipped.path, skipped.why);
    }
    // The config first: it says what the refs of all other files mean.
    found
        .places
        .sort_by_key(|place| place.kind != PlaceKind::Config || place.backup);
    for place in &found.places {
        audit.place(place);
    }
    refs::check(&mut audit);
    around::root(&mut audit);
    audit.tell_unlisted();
    audit.report.finish();
    audit.report
}

/// An audit at work.
struct Audit<'a> {
    order: &'a Order<'a>,
    report: Report,
    needles: Needles,
    /// The record of each value that is looked for.
    records: Vec<RecordName>,
    refs: refs::Refs,
    budget: Budget,
    /// The findings of each file, by its path as it is.
    counts: BTreeMap<String, Count>,
    /// How many skipped things are over [`MAX_SKIPPED`].
    unsaid: usize,
    /// The `-wal` files that were looked at with their databases.
    logs: BTreeSet<PathBuf>,
}

/// How many findings of a file are listed, how many are not, and is there a secret among them.
#[derive(Default)]
struct Count {
    listed: usize,
    more: usize,
    secrets: bool,
}

/// Stands for a text that can't be shown.
const HIDDEN: &str = "(a name that holds a secret)";

/// The time and the bytes that an audit may still take.
struct Budget {
    until: Instant,
    left: u64,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            until: now + MAX_TIME,
            left: MAX_TOTAL,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// Counts bytes that are going to be looked at; false if they are too many.
    fn take(&mut self, bytes: u64) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

impl<'a> Audit<'a> {
    fn new(order: &'a Order<'a>, needles: Needles, now: Instant) -> Self {
        Self {
            order,
            report: Report::default(),
            needles,
            records: Vec::new(),
            refs: refs::Refs::default(),
            budget: Budget::new(now),
            counts: BTreeMap::new(),
            unsaid: 0,
            logs: BTreeSet::new(),
        }
    }
}

impl Audit<'_> {
    /// Says what of the vault can't be compared.
    fn tell_vault(&mut self) {
        match &self.order.vault {
            Vault::Absent => {}
            Vault::Sealed(why) => {
                let why = format!("copies of its secrets were not looked for: {why}");
                self.skip_text("vault", why);
            }
            Vault::Open(records) => {
                for (name, why) in &records.withheld {
                    let why = format!("copies of {name} were not looked for: {why}");
                    self.skip_text("vault", why);
                }
                let short = self.needles.left_out();
                if short > 0 {
                    let why = format!(
                        "{short} values of fewer than {} bytes, or over {}, were not looked for",
                        crate::plaintext::needles::MIN_VALUE,
                        crate::plaintext::needles::MAX_VALUES,
                    );
                    self.skip_text("vault", why);
                }
            }
        }
    }

    fn place(&mut self, place: &Place) {
        if place.kind == PlaceKind::Sealed {
            return;
        }
        if self.is_late(place) {
            return;
        }
        file::look(self, place);
        let path = place.path.display().to_string();
        if self.counts.get(&path).is_some_and(|count| count.secrets) {
            around::file(self, place);
        }
    }

    /// True, and said of the place, if the time is over. What takes long asks again and again.
    fn is_late(&mut self, place: &Place) -> bool {
        let is_over = self.budget.is_over(Instant::now());
        if is_over {
            let seconds = MAX_TIME.as_secs();
            let why = format!("not looked at, or not as a whole, within {seconds} seconds");
            self.skip(&place.path, why);
        }
        is_over
    }

    /// Counts bytes that are going to be looked at; false if they are too many.
    fn take(&mut self, place: &Place, bytes: u64) -> bool {
        let fits = self.budget.take(bytes);
        if !fits {
            let why = format!("all files together are over {MAX_TOTAL} bytes");
            self.skip(&place.path, why);
        }
        fits
    }

    /// True for a text that holds a value of the vault, the form of a key, or a password.
    fn holds_secret(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        self.needles.is_in(bytes)
            || crate::plaintext::pattern::find(bytes).next().is_some()
            || credential::has_password(text)
    }

    /// A text that may be shown, cut; it has to come here whole, since a part of a secret is not
    /// known for one.
    fn safe(&self, text: &str) -> String {
        if self.holds_secret(text) {
            return HIDDEN.to_owned();
        }
        report::cut(text)
    }

    /// A path that may be shown, whole but for the names in it that hold a secret.
    fn safe_path(&self, text: &str) -> String {
        if !self.holds_secret(text) {
            return text.to_owned();
        }
        let name = |name| {
            if self.holds_secret(name) {
                HIDDEN
            } else {
                name
            }
        };
        let shown: Vec<&str> = text.split('/').map(name).collect();
        let shown = shown.join("/");
        // A secret can have a slash in it.
        if self.holds_secret(&shown) {
            return HIDDEN.to_owned();
        }
        shown
    }

    /// Notes a file that is not looked at.
    fn skip(&mut self, path: &Path, why: impl Into<String>) {
        self.skip_text(&path.display().to_string(), why);
    }

    /// Notes something that is not looked at; a reason may name it.
    fn skip_text(&mut self, what: &str, why: impl Into<String>) {
        let shown = self.safe_path(what);
        let why = why.into();
        // Many errors begin with the path, which stands beside the reason already.
        let why = why
            .strip_prefix(what)
            .map_or(why.as_str(), |rest| rest.trim_start_matches([':', ' ']));
        let why = why.replace(what, &shown);
        let reason = if self.holds_secret(&why) {
            "(a reason that holds a secret)".to_owned()
        } else {
            why
        };
        let skipped = Skipped {
            what: shown,
            reason,
        };
        // What is true of many cells of one file is said once.
        if self.report.skipped.last() == Some(&skipped) {
            return;
        }
        if self.report.skipped.len() < MAX_SKIPPED {
            self.report.skipped.push(skipped);
        } else {
            self.unsaid += 1;
        }
    }

    /// Lists a finding, or counts it where its file or the report has as many as they may.
    fn add(&mut self, finding: Finding) {
        self.report.summary.count(finding.code);
        let file = self.safe_path(&finding.file);
        let count = self.counts.entry(finding.file.clone()).or_default();
        count.secrets |= finding.code.is_secret();
        let listed = self.report.findings.len();
        if count.listed < MAX_FINDINGS_OF_FILE && listed < MAX_FINDINGS {
            count.listed += 1;
        } else {
            count.more += 1;
            if !finding.code.is_of_whole_file() {
                return;
            }
            // What is true of the file as a whole takes the place of one of the many.
            let gives_way = |f: &Finding| f.file == file && !f.code.is_of_whole_file();
            let Some(last) = self.report.findings.iter().rposition(gives_way) else {
                return;
            };
            self.report.findings.remove(last);
        }
        let finding = Finding {
            file,
            message: self.safe(&finding.message),
            json_path: finding.json_path.map(|path| self.safe(&path)),
            table: finding.table.map(|table| self.safe(&table)),
            row: finding.row.map(|row| self.safe(&row)),
            ..finding
        };
        self.report.findings.push(finding);
    }

    /// Says how many findings and skipped things are not listed.
    fn tell_unlisted(&mut self) {
        for (file, count) in std::mem::take(&mut self.counts) {
            if count.more > 0 {
                let why = format!("{} more findings are not listed", count.more);
                self.skip_text(&file, why);
            }
        }
        if self.unsaid > 0 {
            self.report.skipped.push(Skipped {
                what: "others".to_owned(),
                reason: format!("{} more were skipped and are not listed", self.unsaid),
            });
        }
    }

    /// The record whose value this is.
    fn record_of(&self, bytes: &[u8]) -> Option<&RecordName> {
        let hit = self.needles.find(bytes, 1).pop()?;
        self.records.get(hit.value)
    }

    fn failed(&mut self, place: &Place, failure: &Failure) {
        self.skip(&place.path, failure.message.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_ends_at_its_last_byte_and_its_last_moment() {
        let now = Instant::now();
        let mut budget = Budget::new(now);
        assert!(!budget.is_over(now + MAX_TIME - Duration::from_millis(1)));
        assert!(budget.is_over(now + MAX_TIME));
        assert!(budget.take(MAX_TOTAL - 1));
        assert!(!budget.take(2), "one byte over the limit");
        assert!(budget.take(1), "a smaller file still fits");
        assert!(!budget.take(1));
    }

    #[test]
    fn the_time_is_over_inside_of_a_file_too() {
        let folder = tempfile::TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("openclaw.json"), "{").unwrap();
        let secret = "{\"password\": \"acme-canary-41d8cd98f00b\"";
        std::fs::write(at("notes.json"), secret).unwrap();
        std::fs::write(at("notes.txt"), "-----BEGIN").unwrap();
        let database = rusqlite::Connection::open(at("a.sqlite")).unwrap();
        let sql = "CREATE TABLE t (password); INSERT INTO t VALUES ('acme-canary-41d8cd98f00b')";
        database.execute_batch(sql).unwrap();
        let order = Order {
            folder: Folder::find(Some(folder.path()), &|_| None).unwrap(),
            vault: Vault::Absent,
            allow_exec: false,
            history: None,
            units: None,
            environment: &|_| None,
        };
        let seen = |now: Instant| {
            let mut audit = Audit::new(&order, Needles::new(&[]), now);
            for name in ["a.sqlite", "notes.json", "notes.txt"] {
                let places = family::places(&order.folder).places;
                let place = places.iter().find(|place| place.path == at(name));
                // Not through the check that each file as a whole has to pass.
                file::look(&mut audit, place.unwrap());
            }
            (audit.report.findings.len(), audit.report.skipped.len())
        };
        let now = Instant::now();
        assert_eq!(seen(now), (2, 0));
        let before = now.checked_sub(MAX_TIME).unwrap();
        assert_eq!(seen(before), (0, 3));
    }
}
