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
use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

/// The largest file that is looked at, in bytes; databases have a limit of their own
/// ([`family::sqlite::MAX_DATABASE`]).
pub const MAX_FILE: usize = 64 << 20;
/// The most bytes of all files together.
pub const MAX_TOTAL: u64 = 8 << 30;
/// The most findings of a report, and the most of one file.
pub const MAX_FINDINGS: usize = 10_000;
/// The most findings of one file; more are counted in its last one.
pub const MAX_FINDINGS_OF_FILE: usize = 200;
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
    let needles = Needles::new(&values);
    let mut audit = Audit {
        order,
        report: Report::default(),
        needles,
        records,
        refs: refs::Refs::default(),
        budget: Budget::new(Instant::now()),
    };
    audit.tell_vault();
    let mut found = family::places(&order.folder);
    if let Some(home) = order.history {
        found.places.extend(family::outside::history(home));
    }
    if let Some(home) = order.units {
        let units = family::outside::units(home);
        found.places.extend(units.places);
        found.skipped.extend(units.skipped);
    }
    for skipped in found.skipped {
        audit.report.skip(&skipped.path, skipped.why);
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
}

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

impl Audit<'_> {
    /// Says what of the vault can't be compared.
    fn tell_vault(&mut self) {
        match &self.order.vault {
            Vault::Absent => {}
            Vault::Sealed(why) => {
                let why = format!("copies of its secrets were not looked for: {why}");
                self.report.skip_text("vault", why);
            }
            Vault::Open(records) => {
                for (name, why) in &records.withheld {
                    let why = format!("copies of {name} were not looked for: {why}");
                    self.report.skip_text("vault", why);
                }
                let short = self.needles.left_out();
                if short > 0 {
                    let why = format!(
                        "{short} values of fewer than {} bytes, or over {}, were not looked for",
                        crate::plaintext::needles::MIN_VALUE,
                        crate::plaintext::needles::MAX_VALUES,
                    );
                    self.report.skip_text("vault", why);
                }
            }
        }
    }

    fn place(&mut self, place: &Place) {
        if place.kind == PlaceKind::Sealed {
            return;
        }
        if self.budget.is_over(Instant::now()) {
            let why = format!("not looked at within {} seconds", MAX_TIME.as_secs());
            return self.report.skip(&place.path, why);
        }
        let before = self.report.findings.len();
        file::look(self, place);
        self.limit(place, before);
        if self.report.findings.len() > before {
            around::file(self, place, before);
        }
    }

    /// Keeps what one file adds, and the whole, within their limits.
    fn limit(&mut self, place: &Place, before: usize) {
        let most = (before + MAX_FINDINGS_OF_FILE).min(MAX_FINDINGS);
        let found = self.report.findings.len();
        if found > most {
            self.report.findings.truncate(most);
            let why = format!("{} more findings are not listed", found - most);
            self.report.skip(&place.path, why);
        }
    }

    /// Counts bytes that are going to be looked at; false if they are too many.
    fn take(&mut self, place: &Place, bytes: u64) -> bool {
        let fits = self.budget.take(bytes);
        if !fits {
            let why = format!("all files together are over {MAX_TOTAL} bytes");
            self.report.skip(&place.path, why);
        }
        fits
    }

    /// A text that may be shown: what holds a value of the vault, or looks like a key, is not.
    fn safe(&self, text: &str) -> String {
        let bytes = text.as_bytes();
        if self.needles.is_in(bytes) || !crate::plaintext::pattern::find(bytes).is_empty() {
            return "(a name that holds a secret)".to_owned();
        }
        report::cut(text)
    }

    fn add(&mut self, finding: Finding) {
        let finding = Finding {
            message: self.safe(&finding.message),
            json_path: finding.json_path.map(|path| self.safe(&path)),
            row: finding.row.map(|row| self.safe(&row)),
            ..finding
        };
        self.report.findings.push(finding);
    }

    /// The record whose value this is.
    fn record_of(&self, bytes: &[u8]) -> Option<&RecordName> {
        let hit = self.needles.find(bytes, 1).pop()?;
        self.records.get(hit.value)
    }

    fn failed(&mut self, place: &Place, failure: &Failure) {
        self.report.skip(&place.path, failure.message.clone());
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
}
