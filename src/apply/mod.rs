//! Moving plaintext into the vault: the one order in which it is done.
//!
//! | what | where |
//! | --- | --- |
//! | [`Changes`], [`check()`], [`run()`]: check, store, compare, rewrite, scrub | here |
//! | [`draft()`]: a plan and the files it names to [`Changes`] | [`mod@draft`] |
//! | [`scrub()`]: further copies of the values, in the files of a folder | [`mod@scrub`] |
//! | the variables of env files that are still read, and stay | `readers` |
//! | [`Site`]: the folder that is changed | [`site`] |
//! | [`Edit`]: one change as a person sees it, values masked | [`edit`] |
//! | [`RowChange`]: profiles in a row of a database | [`row`] |
//!
//! Invariants: at any moment each value stands in its file or, flushed and read back, in the vault;
//! nothing is written unless every file is still as it was read and no record would be overwritten;
//! a file is rewritten only after all values were compared with what the vault file holds, and a
//! copy of a value is scrubbed only after all files were rewritten. A run that was interrupted
//! anywhere can be done again and ends in the same state.
//!
//! Not here: which folders there are and what stands in them (`crate::family`), and who is asked.
#![forbid(unsafe_code)]

pub mod draft;
pub mod edit;
mod readers;
pub mod row;
pub mod scrub;
pub mod site;

pub use draft::{Draft, Outside, Program, draft};
pub use edit::{Edit, Shown};
pub use row::RowChange;
pub use scrub::scrub;
pub use site::Site;

use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::runtime::service::{Comparison, Reply, Request, Service};
use crate::secret::SecretValue;
use crate::store::files;
use crate::vault::{Expect, Meta, RecordKind};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What a file holds; it may be plaintext.
pub type Content = Zeroizing<Vec<u8>>;

/// Everything that is to be done.
#[derive(Debug, Default)]
pub struct Changes {
    /// Values for the vault.
    pub records: Vec<NewRecord>,
    /// Files that get refs in place of values.
    pub files: Vec<FileChange>,
    /// Rows of databases that get refs in place of values, after the files.
    pub rows: Vec<RowChange>,
    /// Files that hold further copies of the values, after the others.
    pub scrubs: Vec<FileChange>,
}

/// A value for the vault.
#[derive(Clone, Debug)]
pub struct NewRecord {
    /// Its name. A record that holds the same value already is left as it is.
    pub name: RecordName,
    /// What it holds.
    pub kind: RecordKind,
    /// Its metadata.
    pub meta: Meta,
    /// The value; of an account its whole document.
    pub value: SecretValue,
}

/// A file that is to be changed.
pub struct FileChange {
    /// The file. No other change names it.
    pub path: PathBuf,
    /// What it held when it was read; `None`: it was not there.
    pub before: Option<Content>,
    /// What it shall hold; `None`: it shall go.
    pub after: Option<Content>,
    /// What changes in it, for a person.
    pub edits: Vec<Edit>,
}

/// Shows the path and the sizes only.
impl std::fmt::Debug for FileChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let len = |content: &Option<Content>| content.as_ref().map(|bytes| bytes.len());
        f.debug_struct("FileChange")
            .field("path", &self.path)
            .field("before", &len(&self.before))
            .field("after", &len(&self.after))
            .field("edits", &self.edits)
            .finish()
    }
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Every file and record is looked at.
    Checking,
    /// This many values go into the vault.
    Storing(usize),
    /// The vault is read again from the disk and compared.
    Comparing,
    /// A file gets its refs.
    Rewriting(&'a Path),
    /// A copy goes.
    Scrubbing(&'a Path),
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that are new.
    pub stored: Vec<RecordName>,
    /// Records that held the value already.
    pub reused: Vec<RecordName>,
    /// Files that were rewritten.
    pub rewritten: Vec<PathBuf>,
    /// Files in which copies were scrubbed, or that were removed.
    pub scrubbed: Vec<PathBuf>,
}

/// Whether the folder's runtime still does not run.
pub type Watch<'a> = &'a dyn Fn() -> Result<(), Failure>;

/// Does everything, in the order of this module. `watch` is asked before the first value is stored,
/// and again before the first file is rewritten.
///
/// # Errors
/// With nothing written: what `watch` gives; `config.conflict` if a file is not as it was read,
/// `file.*` if it can't be replaced, `record.exists` naming every record that holds another value,
/// `vault.*`. Later: whatever stopped it, with how far it came; nothing is lost, and it can be run
/// again.
pub fn run(
    service: &mut dyn Service,
    changes: &Changes,
    watch: Watch<'_>,
    progress: &mut dyn FnMut(Step<'_>),
) -> Result<Report, Failure> {
    progress(Step::Checking);
    let mut report = Report::default();
    let missing = check(service, changes, &mut report)?;
    watch().map_err(nothing_written)?;
    store(service, missing, progress, &mut report)?;
    if !changes.records.is_empty() {
        progress(Step::Comparing);
        compare_all(service, &changes.records)?;
    }
    watch().map_err(|failure| stopped(failure, &report))?;
    for change in &changes.files {
        progress(Step::Rewriting(&change.path));
        replace(change).map_err(|failure| stopped(failure, &report))?;
        report.rewritten.push(change.path.clone());
    }
    for row in &changes.rows {
        progress(Step::Rewriting(&row.change.path));
        row::rewrite(row).map_err(|failure| stopped(failure, &report))?;
        report.rewritten.push(row.change.path.clone());
    }
    for change in &changes.scrubs {
        progress(Step::Scrubbing(&change.path));
        replace(change).map_err(|failure| stopped(failure, &report))?;
        report.scrubbed.push(change.path.clone());
    }
    Ok(report)
}

impl Changes {
    /// The files that change, each by the path without links: several lead to one file.
    pub fn by_file(&self) -> BTreeMap<PathBuf, &FileChange> {
        let changes = self.files.iter().chain(&self.scrubs);
        changes
            .map(|change| (site::real(&change.path), change))
            .collect()
    }

    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let files = self.files.is_empty() && self.scrubs.is_empty();
        self.records.is_empty() && files && self.rows.is_empty()
    }
}

/// Looks whether everything could be done, and writes nothing: what [`run()`] begins with. Notes
/// the records that hold their value already, and gives those that have to be stored.
///
/// # Errors
/// Those of [`run()`] with nothing written.
pub fn check<'a>(
    service: &mut dyn Service,
    changes: &'a Changes,
    report: &mut Report,
) -> Result<Vec<&'a NewRecord>, Failure> {
    for change in changes.files.iter().chain(&changes.scrubs) {
        check_file(change)?;
    }
    for row in &changes.rows {
        row::check(row)?;
    }
    let mut seen: BTreeMap<&RecordName, &NewRecord> = BTreeMap::new();
    let (mut missing, mut taken) = (Vec::new(), Vec::new());
    for record in &changes.records {
        if let Some(other) = seen.insert(&record.name, record) {
            if other.value != record.value {
                taken.push(record.name.to_string());
            }
            continue;
        }
        match compare(service, record)? {
            Comparison::Absent => missing.push(record),
            Comparison::Same => report.reused.push(record.name.clone()),
            Comparison::Other => taken.push(record.name.to_string()),
        }
    }
    if taken.is_empty() {
        return Ok(missing);
    }
    let names = taken.join(", ");
    let text = format!("these records hold another value already: {names}; nothing was written");
    Err(Failure::new(Code::RecordExists, text))
}

/// Refuses a file that changed since it was read, or that could not be replaced.
fn check_file(change: &FileChange) -> Result<(), Failure> {
    let now = files::read(&change.path, files::MAX_STATE_FILE)?.map(Zeroizing::new);
    if now != change.before {
        let text = format!(
            "{} changed since it was read; nothing was written",
            change.path.display()
        );
        return Err(Failure::new(Code::ConfigConflict, text));
    }
    if let Some(after) = &change.after
        && after.len() > files::MAX_STATE_FILE
    {
        let max = files::MAX_STATE_FILE;
        let text = format!("{} would be larger than {max} bytes", change.path.display());
        return Err(Failure::new(Code::FileTooLarge, text));
    }
    Ok(files::check_replaceable(&change.path)?)
}

/// Stores what the vault does not hold yet.
fn store(
    service: &mut dyn Service,
    missing: Vec<&NewRecord>,
    progress: &mut dyn FnMut(Step<'_>),
    report: &mut Report,
) -> Result<(), Failure> {
    if !missing.is_empty() {
        progress(Step::Storing(missing.len()));
    }
    for record in missing {
        let request = Request::Put {
            name: record.name.clone(),
            kind: record.kind,
            meta: record.meta.clone(),
            expect: Expect::Absent,
        };
        let stored = service.call(request, vec![record.value.clone()]);
        stored.map_err(|failure| stopped(failure, report))?;
        report.stored.push(record.name.clone());
    }
    Ok(())
}

/// Has the vault file read from its first byte to its last, then compares every value with it.
fn compare_all(service: &mut dyn Service, records: &[NewRecord]) -> Result<(), Failure> {
    service.call(Request::Verify, Vec::new())?;
    for record in records {
        if compare(service, record)? != Comparison::Same {
            let text = format!(
                "the vault does not hold what was sealed as {}; no file was changed",
                record.name
            );
            return Err(Failure::new(Code::VaultConflict, text));
        }
    }
    Ok(())
}

fn compare(service: &mut dyn Service, record: &NewRecord) -> Result<Comparison, Failure> {
    let name = record.name.clone();
    let answer = service.call(Request::Compare { name }, vec![record.value.clone()])?;
    match answer.reply {
        Reply::Compared(comparison) => Ok(comparison),
        _ => Err(Failure::new(Code::Bug, "the answer is of the wrong kind")),
    }
}

/// Puts the new content in place and reads it back.
fn replace(change: &FileChange) -> Result<(), Failure> {
    let path = &change.path;
    let before = change.before.as_ref().map(|bytes| bytes.as_slice());
    let Some(after) = &change.after else {
        if let Some(before) = before
            && !files::remove(path, before)?
        {
            let text = format!("{} is a link, which is not removed", path.display());
            return Err(Failure::new(Code::ConfigConflict, text));
        }
        return Ok(());
    };
    files::write(path, before, after)?;
    let now = files::read(path, files::MAX_STATE_FILE)?.map(Zeroizing::new);
    if now.as_ref() != Some(after) {
        let text = format!("{} does not hold what was written to it", path.display());
        return Err(Failure::new(Code::ConfigConflict, text));
    }
    files::clear_leftovers(path, after)?;
    Ok(())
}

/// Says that it did not begin.
pub fn nothing_written(failure: Failure) -> Failure {
    let text = format!("{}{NOTHING_WRITTEN}", failure.message);
    Failure::new(failure.code, text)
}

const NOTHING_WRITTEN: &str = "; nothing was written";

/// Says how far it came.
fn stopped(failure: Failure, report: &Report) -> Failure {
    // True of the file that stopped it, but not of the whole run.
    let why = failure.message.trim_end_matches(NOTHING_WRITTEN);
    let text = format!(
        "{why}; nothing is lost: {} of the values went into the vault and {} of the files were \
         rewritten before it stopped, so run it again",
        report.stored.len() + report.reused.len(),
        report.rewritten.len() + report.scrubbed.len(),
    );
    Failure::new(failure.code, text)
}

#[cfg(test)]
mod tests;
