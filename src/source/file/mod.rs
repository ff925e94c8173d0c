//! Files: a JSON document whose strings pointers lead to, or a file that is one value.
//!
//! A file is taken only if it is regular, has a single name, belongs to the effective user of this
//! process (root reads root's files, nobody reads another's), and neither group nor others may read
//! or write it. `allowInsecurePath` skips the checks of owner and mode, no other.
//!
//! Invariant: the file is opened once, without following a symlink and without waiting, and every
//! check is made on what was opened. The content goes from `read` into locked memory.

use super::path::{self, PathError, PathProblem};
use super::{Context, Outside, Unopened};
use crate::config::{FileMode, FileProvider};
use crate::document::extract::{self as json, Miss, Place, Shape};
use crate::error::{Code, Coded, Failure};
use crate::reference::SINGLE_VALUE_ID;
use crate::secret::{MAX_VALUE, SecretValue};
use rustix::fs::{Mode, OFlags, Stat};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// The most threads of this process that may hang in the system, each in one read of a file (a
/// dead network or FUSE mount can hold a reader for ever).
pub const MAX_STUCK_READERS: usize = 16;

/// Resolves `file` refs of one provider: one read, one parse, however many ids.
pub fn resolve(
    alias: &str,
    provider: &FileProvider,
    ids: &[&str],
    ctx: &Context<'_>,
) -> Vec<Result<SecretValue, FileError>> {
    let alias_owned = || alias.to_owned();
    let refused = |problem| {
        let path = PathBuf::from(provider.path.as_str());
        FileError::Path(PathError {
            alias: alias_owned(),
            option: "path",
            path,
            problem,
        })
    };
    let path = provider.path.expand(ctx.home).ok_or(PathProblem::NoHome);
    let path = path.and_then(|path| match path.is_absolute() {
        true => Ok(path),
        false => Err(PathProblem::Relative),
    });
    let max = usize::try_from(provider.max_bytes).unwrap_or(usize::MAX);
    let content = path.map_err(refused).and_then(|path| {
        let request = Request {
            path,
            max,
            insecure: provider.allow_insecure_path,
            outside: ctx.outside.map(|outside| {
                let (alias, provider) = (alias.to_owned(), provider.clone());
                (Arc::clone(outside), alias, provider)
            }),
        };
        in_time(&STUCK, provider.timeout, move || read(&request)).map_err(|stop| match stop {
            Stop::Problem(problem) => refused(problem),
            Stop::Refused(failure) => FileError::Refused(failure),
            Stop::TooLarge => FileError::TooLarge {
                alias: alias_owned(),
                max,
            },
            Stop::Timeout => FileError::Timeout {
                alias: alias_owned(),
                millis: provider.timeout.as_millis(),
            },
            Stop::TooManyStuck => FileError::TooManyStuck,
        })
    });
    match content {
        Err(error) => ids.iter().map(|_| Err(error.clone())).collect(),
        Ok(content) => values(alias, provider.mode, &content, ids),
    }
}

/// The values of a file's content.
fn values(
    alias: &str,
    mode: FileMode,
    content: &SecretValue,
    ids: &[&str],
) -> Vec<Result<SecretValue, FileError>> {
    let alias = || alias.to_owned();
    let every = |error: FileError| ids.iter().map(|_| Err(error.clone())).collect();
    let bytes = content.expose();
    let start = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
    if mode == FileMode::SingleValue {
        let value = content.slice(start..bytes.len()).without_line_end();
        let value = |id: &str| match id {
            SINGLE_VALUE_ID => fit(value.clone(), alias(), id),
            _ => Err(FileError::WrongMode {
                alias: alias(),
                id: id.to_owned(),
            }),
        };
        return ids.iter().map(|id| value(id)).collect();
    }
    let Ok(text) = std::str::from_utf8(&bytes[start..]) else {
        return every(FileError::NotUtf8 { alias: alias() });
    };
    let found = match json::extract(text, ids) {
        Err(Place { line, column }) => {
            return every(FileError::Json {
                alias: alias(),
                line,
                column,
            });
        }
        Ok(_) if json::shape(text) != Shape::Object => {
            return every(FileError::NotObject { alias: alias() });
        }
        Ok(found) => found,
    };
    ids.iter()
        .zip(found)
        .map(|(id, value)| {
            let id_owned = || (*id).to_owned();
            match value {
                _ if *id == SINGLE_VALUE_ID => Err(FileError::WrongMode {
                    alias: alias(),
                    id: id_owned(),
                }),
                Ok(value) => fit(value, alias(), id),
                Err(Miss::Absent) => Err(FileError::Absent {
                    alias: alias(),
                    id: id_owned(),
                }),
                Err(Miss::NotText | Miss::NotUnicode) => Err(FileError::NotText {
                    alias: alias(),
                    id: id_owned(),
                }),
            }
        })
        .collect()
}

const BOM: &[u8] = "\u{feff}".as_bytes();

fn fit(value: SecretValue, alias: String, id: &str) -> Result<SecretValue, FileError> {
    let id = id.to_owned();
    match value.len() {
        0 => Err(FileError::Empty { alias, id }),
        1..=MAX_VALUE => Ok(value),
        _ => Err(FileError::ValueTooLarge { alias, id }),
    }
}

/// What a reading thread takes with it.
struct Request {
    path: PathBuf,
    max: usize,
    insecure: bool,
    /// Who opens the file of which provider, if this process may not.
    outside: Option<(Arc<dyn Outside>, String, FileProvider)>,
}

/// Why there is no content.
#[derive(Debug)]
enum Stop {
    Problem(PathProblem),
    Refused(Failure),
    TooLarge,
    Timeout,
    TooManyStuck,
}

static STUCK: AtomicUsize = AtomicUsize::new(0);

/// Runs `read` in a thread of its own: no option of `open` or `read` limits the time that a mount
/// may take. A thread that is late ends by itself when the system lets it go; `stuck` counts them.
fn in_time(
    stuck: &'static AtomicUsize,
    timeout: Duration,
    read: impl FnOnce() -> Result<SecretValue, Stop> + Send + 'static,
) -> Result<SecretValue, Stop> {
    if stuck.load(Ordering::Acquire) >= MAX_STUCK_READERS {
        return Err(Stop::TooManyStuck);
    }
    let (sender, receiver) = sync_channel(1);
    // Set by whoever is first: the reader that has an answer, or the caller that gives up.
    let settled = Arc::new(AtomicBool::new(false));
    let reader_settled = Arc::clone(&settled);
    let reader = move || {
        // Nobody may be there to take the content any more: then it is wiped here.
        drop(sender.send(read()));
        if reader_settled.swap(true, Ordering::AcqRel) {
            stuck.fetch_sub(1, Ordering::AcqRel);
        }
    };
    std::thread::Builder::new()
        .name("file-source".into())
        .spawn(reader)
        .map_err(|error| Stop::Problem(PathProblem::Unreadable(super::plain(&error))))?;
    if let Ok(outcome) = receiver.recv_timeout(timeout) {
        return outcome;
    }
    stuck.fetch_add(1, Ordering::AcqRel);
    if settled.swap(true, Ordering::AcqRel) {
        stuck.fetch_sub(1, Ordering::AcqRel);
    }
    receiver.try_recv().unwrap_or(Err(Stop::Timeout))
}

/// Opens the file of a provider, without following a symlink and without waiting; checks nothing.
///
/// # Errors
/// What the system says.
pub fn open(path: &std::path::Path) -> rustix::io::Result<OwnedFd> {
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty())
}

fn opened(request: &Request) -> Result<OwnedFd, Unopened> {
    match &request.outside {
        Some((outside, alias, provider)) => outside.open(alias, provider),
        None => open(&request.path).map_err(Unopened::System),
    }
}

fn read(request: &Request) -> Result<SecretValue, Stop> {
    let opened = opened(request).map_err(|why| match why {
        Unopened::System(error) => Stop::Problem(PathProblem::of_open(error)),
        Unopened::Refused(failure) => Stop::Refused(failure),
    })?;
    let unreadable =
        |error: std::io::Error| Stop::Problem(PathProblem::Unreadable(super::plain(&error)));
    let stat = rustix::fs::fstat(&opened).map_err(|error| unreadable(error.into()))?;
    checked(&stat, request.insecure).map_err(Stop::Problem)?;
    let content = SecretValue::read_from(&mut File::from(opened), request.max);
    content.map_err(unreadable)?.ok_or(Stop::TooLarge)
}

fn checked(stat: &Stat, insecure: bool) -> Result<(), PathProblem> {
    path::check_regular(stat)?;
    if !insecure {
        path::check_owner(stat, &[])?;
        path::check_mode(stat, 0o066)?;
    }
    if stat.st_nlink > 1 {
        Err(PathProblem::Hardlink)
    } else {
        Ok(())
    }
}

/// Why a `file` ref gives no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum FileError {
    /// The path fails a check.
    #[error(transparent)]
    Path(PathError),
    /// Whoever opens files for this process says why it did not.
    #[error("{0}")]
    Refused(Failure),
    /// Over `maxBytes`.
    #[error("file provider \"{alias}\" exceeded maxBytes ({max})")]
    TooLarge { alias: String, max: usize },
    /// Opening or reading took longer than `timeoutMs`.
    #[error("file provider \"{alias}\" timed out after {millis}ms")]
    Timeout { alias: String, millis: u128 },
    /// Over [`MAX_STUCK_READERS`].
    #[error("{MAX_STUCK_READERS} earlier reads of file providers still hang in the system")]
    TooManyStuck,
    /// Mode `json`: not UTF-8.
    #[error("file provider \"{alias}\" holds invalid JSON: it is not UTF-8")]
    NotUtf8 { alias: String },
    /// Mode `json`: not JSON.
    #[error("file provider \"{alias}\" holds invalid JSON at line {line}, column {column}")]
    Json {
        alias: String,
        line: usize,
        column: usize,
    },
    /// Mode `json`: no object at the root.
    #[error("file provider \"{alias}\" must hold a JSON object")]
    NotObject { alias: String },
    /// A pointer for a provider in mode `singleValue`, or the other way round.
    #[error("file provider \"{alias}\" takes no id \"{id}\" in its mode")]
    WrongMode { alias: String, id: String },
    /// The pointer leads nowhere.
    #[error("file provider \"{alias}\" has nothing at \"{id}\"")]
    Absent { alias: String, id: String },
    /// What stands there is no string.
    #[error("file provider \"{alias}\" id \"{id}\": resolved value is not a non-empty string")]
    NotText { alias: String, id: String },
    /// The value is empty.
    #[error("file provider \"{alias}\" id \"{id}\": resolved value is empty")]
    Empty { alias: String, id: String },
    /// Over [`MAX_VALUE`].
    #[error("file provider \"{alias}\" id \"{id}\": resolved value is over {MAX_VALUE} bytes")]
    ValueTooLarge { alias: String, id: String },
}

impl Coded for FileError {
    fn code(&self) -> Code {
        match self {
            FileError::Path(error) => error.code(),
            FileError::Refused(failure) => failure.code,
            FileError::TooLarge { .. } | FileError::ValueTooLarge { .. } => Code::SourceTooLarge,
            FileError::Timeout { .. } | FileError::TooManyStuck => Code::SourceUnavailable,
            FileError::NotUtf8 { .. }
            | FileError::Json { .. }
            | FileError::NotObject { .. }
            | FileError::NotText { .. } => Code::SourceInvalid,
            FileError::WrongMode { .. } => Code::RefInvalid,
            FileError::Absent { .. } => Code::RefAbsent,
            FileError::Empty { .. } => Code::RefEmpty,
        }
    }
}

#[cfg(test)]
mod tests;
