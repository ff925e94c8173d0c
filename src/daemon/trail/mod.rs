//! The daemon's log of decisions: who asked for what, and what came of it; never a value.
//!
//! | what | where |
//! | --- | --- |
//! | [`Trail`]: appends lines, starts new files, drops the oldest | here |
//! | [`Line`]: one line as JSON, and its MAC over all lines before it | [`line`] |
//! | [`check`](check::check): is every line there that was written | [`check`] |
//!
//! Invariants: every line's MAC covers the MAC of the line before it, also from one file to the
//! next; the newest MAC and number stand in a second file, so that lines cut off at the end are
//! missed; every file names the digest of the one before, so that lines of an older vault key count
//! as well; files and bytes are bounded. A line is written, not flushed, before the request is
//! answered: a killed daemon loses none, a power cut may lose the last ones, which the next check
//! shows.

pub mod check;
pub mod line;

pub use line::{Kind, Line, Outcome};

use crate::crypto::derive::{TrailMac, derive_trail};
use crate::crypto::hash::sha256;
use crate::error::{Code, Coded};
use crate::secret::Key;
use crate::store::StoreError;
use crate::store::state_dir::make_private_folder;
use crate::sys::clock;
use crate::time::when::rfc3339;
use crate::vault::SubKeys;
use line::{HEAD_LEN, Head, Mac};
use rustix::fs::{CWD, Mode, OFlags};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The longest file of lines in bytes, but for its last line.
pub const MAX_FILE: u64 = 4 << 20;
/// The most files; the oldest goes when there is one more.
pub const MAX_FILES: usize = 8;
/// The most refs that one line names; more go into further lines.
pub const MAX_REFS: usize = 32;
/// The largest file of lines that is read, in bytes: [`MAX_FILE`] and the longest line.
pub const MAX_READ: usize = (MAX_FILE as usize) + (128 << 10);

const HEAD: &str = "head";
const ENDING: &str = ".jsonl";

/// Why a line was not written, or the log can't be read.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// The operating system refused.
    #[error("the log of decisions: {what} {}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What came of it.
        #[source]
        source: io::Error,
    },
    /// The folder or a file is not as it must be.
    #[error("the log of decisions")]
    Store(#[from] StoreError),
    /// A file does not end with a line that could be gone on from.
    #[error("the log of decisions: the last line of {0} is none")]
    NoLine(PathBuf),
}

impl Coded for TrailError {
    fn code(&self) -> Code {
        Code::AuditUnavailable
    }
}
crate::error::failure_from!(TrailError);

/// The log of one state folder, being written.
#[derive(Debug)]
pub struct Trail {
    folder: PathBuf,
    keys: SubKeys,
    key: Key<TrailMac>,
    files: VecDeque<PathBuf>,
    file: File,
    len: u64,
    head: File,
    seq: u64,
    last: Mac,
}

impl Trail {
    /// Opens the log in a folder, which is made if need be, and notes that the daemon starts. What
    /// a killed daemon left half written is dropped; what is missing against the head is noted.
    ///
    /// # Errors
    /// If it can't be read or written.
    pub fn open(folder: &Path, keys: &SubKeys) -> Result<Self, TrailError> {
        make_private_folder(folder)?;
        let files: VecDeque<PathBuf> = files(folder)?.into();
        let key = derive_trail(keys.anchor());
        let head_path = folder.join(HEAD);
        let head = open_private(&head_path, OFlags::CREATE | OFlags::RDWR)?;
        let known = read_head(&head).and_then(|bytes| Head::open(&bytes, &key, keys.epoch()));
        let (seq, last, same_key) = match files.back() {
            None => (0, [0; 32], false),
            Some(path) => end_of(path, keys)?,
        };
        let (file, len) = match files.back() {
            Some(path) if same_key => {
                let file = open_private(path, OFlags::APPEND | OFlags::WRONLY)?;
                let len = file.metadata().map_err(failed("look at", path))?.len();
                (file, len)
            }
            // Replaced at once by the first file of this key.
            _ => (head.try_clone().map_err(failed("open", &head_path))?, 0),
        };
        let mut trail = Self {
            folder: folder.to_owned(),
            keys: keys.clone(),
            key,
            files,
            file,
            len,
            head,
            seq,
            last,
        };
        let missing = known.map_or(0, |head| head.seq).saturating_sub(seq);
        trail.seq += missing;
        if !same_key {
            trail.start_file()?;
        }
        if missing > 0 {
            trail.append(Line {
                missing: Some(missing),
                ..Line::of(Kind::Gap)
            })?;
        }
        trail.append(Line::of(Kind::Start))?;
        Ok(trail)
    }

    /// Goes on with the keys of another epoch, in a new file.
    ///
    /// # Errors
    /// If that can't be written.
    pub fn rearm(&mut self, keys: &SubKeys) -> Result<(), TrailError> {
        if keys.epoch() == self.keys.epoch() && keys.vault_id() == self.keys.vault_id() {
            return Ok(());
        }
        self.keys = keys.clone();
        self.key = derive_trail(keys.anchor());
        self.start_file()
    }

    /// Writes one line; its number and time are set here.
    ///
    /// # Errors
    /// If it can't be written. Nothing of it is left then.
    pub fn note(&mut self, line: Line) -> Result<(), TrailError> {
        if self.len >= MAX_FILE {
            self.start_file()?;
        }
        self.append(line)
    }

    /// Notes that the daemon ends, and waits for the disk.
    ///
    /// # Errors
    /// If that can't be written.
    pub fn stop(&mut self) -> Result<(), TrailError> {
        self.append(Line::of(Kind::Stop))?;
        self.sync()
    }

    fn sync(&self) -> Result<(), TrailError> {
        let synced = self.file.sync_data().and_then(|()| self.head.sync_data());
        synced.map_err(failed("flush", &self.folder))
    }

    fn append(&mut self, mut line: Line) -> Result<(), TrailError> {
        line.seq = self.seq + 1;
        line.time = rfc3339(clock::now());
        let (text, mac) = line.seal(&self.key, &self.last);
        if let Err(error) = self.file.write_all(&text) {
            // What is there of it would make the next line unreadable.
            let _ = self.file.set_len(self.len);
            return Err(failed("write", &self.folder)(error));
        }
        self.len += text.len() as u64;
        (self.seq, self.last) = (line.seq, mac);
        let head = Head {
            epoch: self.keys.epoch(),
            seq: self.seq,
            last: self.last,
        };
        let head = head.seal(&self.key);
        self.head
            .write_all_at(&head, 0)
            .map_err(failed("write", &self.folder.join(HEAD)))
    }

    /// Starts a new file, whose first line says with which vault's keys it goes on from where.
    fn start_file(&mut self) -> Result<(), TrailError> {
        if !self.files.is_empty() {
            self.sync()?;
        }
        let file_before = match self.files.back() {
            Some(path) => read_lines(path)?.map(|text| digest_of(&text)),
            None => None,
        };
        let path = self.folder.join(format!("{:020}{ENDING}", self.seq + 1));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::APPEND | OFlags::WRONLY;
        self.file = open_private(&path, flags)?;
        self.len = 0;
        self.files.push_back(path);
        while self.files.len() > MAX_FILES {
            if let Some(oldest) = self.files.pop_front() {
                std::fs::remove_file(&oldest).map_err(failed("remove", &oldest))?;
            }
        }
        self.append(Line {
            vault: Some(data_encoding::HEXLOWER.encode(&self.keys.vault_id())),
            epoch: Some(self.keys.epoch()),
            previous: Some(data_encoding::HEXLOWER.encode(&self.last)),
            file_before,
            ..Line::of(Kind::File)
        })
    }
}

/// The files of lines in a folder, the oldest first.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, TrailError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed("list", folder))? {
        let path = entry.map_err(failed("list", folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(ENDING));
        if number.is_some_and(|n| n.len() == 20 && n.bytes().all(|b| b.is_ascii_digit())) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Number and MAC of the last line of a file, which loses what stands behind that; and whether the
/// file was begun with these keys.
fn end_of(path: &Path, keys: &SubKeys) -> Result<(u64, Mac, bool), TrailError> {
    let text = read_lines(path)?.unwrap_or_default();
    let whole = text
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    if whole < text.len() {
        let file = open_private(path, OFlags::WRONLY)?;
        file.set_len(whole as u64).map_err(failed("repair", path))?;
    }
    let mut lines = text[..whole].split_inclusive(|b| *b == b'\n');
    let first = lines.next().and_then(Line::parse);
    let last = text[..whole].split_inclusive(|b| *b == b'\n').next_back();
    let (Some((first, _)), Some((last, mac))) = (first, last.and_then(Line::parse)) else {
        return Err(TrailError::NoLine(path.to_owned()));
    };
    Ok((last.seq, mac, first.is_of(keys)))
}

pub(super) fn read_lines(path: &Path) -> Result<Option<Vec<u8>>, TrailError> {
    Ok(crate::store::files::read(path, MAX_READ)?)
}

/// The SHA-256 of a file's bytes, in hex.
pub(super) fn digest_of(text: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&sha256(&[text]))
}

fn read_head(file: &File) -> Option<[u8; HEAD_LEN]> {
    let mut bytes = [0; HEAD_LEN];
    file.read_exact_at(&mut bytes, 0).ok()?;
    Some(bytes)
}

fn open_private(path: &Path, flags: OFlags) -> Result<File, TrailError> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, path, flags, Mode::RUSR | Mode::WUSR);
    fd.map(File::from)
        .map_err(|error| failed("open", path)(error.into()))
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TrailError {
    let path = path.to_owned();
    move |source| TrailError::Io { what, path, source }
}

#[cfg(test)]
mod tests;
