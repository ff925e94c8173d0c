//! The daemon's log of decisions: who asked for what, and what came of it; never a value.
//!
//! | what | where |
//! | --- | --- |
//! | [`Trail`]: appends lines, starts new files, drops the oldest | here |
//! | [`Line`]: one line as JSON, and its MAC over all lines before it | [`mod@line`] |
//! | [`check`](check::check): is every line there that was written | [`check`] |
//!
//! Invariants: every line's MAC covers the MAC of the line before it, also from one file to the
//! next; the newest MAC and number stand in a second file, so that lines cut off at the end are
//! missed; every file names the digest of the one before, so that lines of an older vault key count
//! as well, and the oldest line that is kept; files and bytes are bounded; one process writes it at
//! a time. A file stands under its name with its first line, or not at all. A line is written, not
//! flushed, before the request is answered: a killed daemon loses none, a power cut may lose the
//! last ones, which the next check shows.

pub mod check;
pub mod line;

pub use line::{Answer, Answered, Kind, Line, Outcome};

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
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
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
/// A file before it has its first line.
const NEW: &str = "new";
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
    /// Two that write would break each other's chain.
    #[error("the log of decisions: another daemon writes in {0}")]
    Busy(PathBuf),
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
    /// The file may have more than `len` bytes, which are to be cut off.
    torn: bool,
}

impl Trail {
    /// Opens the log in a folder, which is made if need be, and notes that the daemon starts. What
    /// a killed daemon left half written is dropped; what is missing against the head is noted, and
    /// that the head itself is, or does not go with the last file.
    ///
    /// # Errors
    /// If it can't be read or written, or another process writes it.
    pub fn open(folder: &Path, keys: &SubKeys) -> Result<Self, TrailError> {
        make_private_folder(folder)?;
        let key = derive_trail(keys.anchor());
        let head_path = folder.join(HEAD);
        let head = open_private(&head_path, OFlags::CREATE | OFlags::RDWR)?;
        lock(&head, folder)?;
        let head_bytes = read_head(&head);
        let known = head_bytes.and_then(|bytes| Head::open(&bytes, &key, keys.epoch()));
        let mut files: VecDeque<PathBuf> = files(folder)?.into();
        let end = last_line(&mut files, keys)?;
        let (seq, last) = (end.seq, end.last);
        let (file, len) = match files.back() {
            Some(path) if end.whose == Whose::Ours => {
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
            torn: false,
        };
        let missing = known.map_or(0, |head| head.seq).saturating_sub(seq);
        trail.seq += missing;
        if end.whose != Whose::Ours {
            trail.start_file(keys)?;
        }
        let is_broken = match known {
            Some(head) => end.whose != Whose::Ours || (head.seq == seq && head.last != last),
            None => !end.may_have(head_bytes.and_then(|bytes| Head::epoch_of(&bytes)), keys),
        };
        if missing > 0 || is_broken {
            trail.append(Line {
                missing: Some(missing).filter(|missing| *missing > 0),
                ..Line::of(Kind::Gap)
            })?;
        }
        trail.append(Line::of(Kind::Start))?;
        Ok(trail)
    }

    /// Goes on with the keys of another epoch, in a new file.
    ///
    /// # Errors
    /// If that can't be written; it goes on with the keys that it has then.
    pub fn rearm(&mut self, keys: &SubKeys) -> Result<(), TrailError> {
        if keys.epoch() == self.keys.epoch() && keys.vault_id() == self.keys.vault_id() {
            return Ok(());
        }
        self.start_file(keys)
    }

    /// Writes one line, whose number and time are set here; gives the number.
    ///
    /// # Errors
    /// If it can't be written. Nothing of it is left then.
    pub fn note(&mut self, line: Line) -> Result<u64, TrailError> {
        if self.len >= MAX_FILE {
            self.start_file(&self.keys.clone())?;
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

    fn append(&mut self, mut line: Line) -> Result<u64, TrailError> {
        if self.torn {
            self.cut_torn()?;
        }
        line.seq = self.seq + 1;
        line.time = rfc3339(clock::now());
        let (text, mac) = line.seal(&self.key, &self.last);
        let written = self.file.write_all(&text);
        let written = written.map_err(failed("write", &self.folder));
        if let Err(error) = written.and_then(|()| self.write_head(line.seq, mac)) {
            // Half a line would make the next one unreadable, and a whole one would say of a
            // request that it was answered.
            let _ = self.cut_torn();
            return Err(error);
        }
        self.len += text.len() as u64;
        (self.seq, self.last) = (line.seq, mac);
        Ok(self.seq)
    }

    fn cut_torn(&mut self) -> Result<(), TrailError> {
        self.torn = true;
        let cut = self.file.set_len(self.len);
        cut.map_err(failed("repair", &self.folder))?;
        self.torn = false;
        Ok(())
    }

    fn write_head(&self, seq: u64, last: Mac) -> Result<(), TrailError> {
        let epoch = self.keys.epoch();
        let head = Head { epoch, seq, last }.seal(&self.key);
        let written = self.head.write_all_at(&head, 0);
        written.map_err(failed("write", &self.folder.join(HEAD)))
    }

    /// Starts a new file, whose first line says with which vault's keys it goes on from where, and
    /// which lines are still kept. Waits for the disk. On an error all stays as it is.
    fn start_file(&mut self, keys: &SubKeys) -> Result<(), TrailError> {
        if !self.files.is_empty() {
            self.sync()?;
        }
        let file_before = match self.files.back() {
            Some(path) => read_lines(path)?.map(|text| digest_of(&text)),
            None => None,
        };
        let seq = self.seq + 1;
        let path = self.folder.join(format!("{seq:020}{ENDING}"));
        let going = (self.files.len() + 1).saturating_sub(MAX_FILES);
        let number = |at: usize| self.files.get(at).and_then(|path| number_of(path));
        let oldest = number(going).unwrap_or(seq);
        let dropped = oldest.saturating_sub(number(0).unwrap_or(oldest));
        let line = Line {
            seq,
            time: rfc3339(clock::now()),
            vault: Some(data_encoding::HEXLOWER.encode(&keys.vault_id())),
            epoch: Some(keys.epoch()),
            previous: Some(data_encoding::HEXLOWER.encode(&self.last)),
            file_before,
            oldest: Some(oldest),
            dropped: Some(dropped).filter(|dropped| *dropped > 0),
            ..Line::of(Kind::File)
        };
        let key = derive_trail(keys.anchor());
        let (text, mac) = line.seal(&key, &self.last);
        self.file = new_file(&self.folder, &path, &text)?;
        (self.len, self.torn) = (text.len() as u64, false);
        (self.seq, self.last) = (seq, mac);
        (self.keys, self.key) = (keys.clone(), key);
        self.files.push_back(path);
        // The next line is not written without a head that knows of both.
        let _ = self.write_head(seq, mac);
        while self.files.len() > MAX_FILES {
            match self.files.front().map(std::fs::remove_file) {
                Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => break,
                // One that can't be removed now is tried again beside the next.
                _ => drop(self.files.pop_front()),
            }
        }
        Ok(())
    }
}

/// Makes a file with its first line, durable before it has its name.
fn new_file(folder: &Path, path: &Path, line: &[u8]) -> Result<File, TrailError> {
    let new = folder.join(NEW);
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::APPEND | OFlags::WRONLY;
    let mut file = open_private(&new, flags)?;
    let written = file.write_all(line).and_then(|()| file.sync_all());
    written.map_err(failed("write", &new))?;
    if path.exists() {
        return Err(failed("make", path)(io::ErrorKind::AlreadyExists.into()));
    }
    std::fs::rename(&new, path).map_err(failed("make", path))?;
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed("flush", folder))?;
    Ok(file)
}

/// Keeps other daemons out while the head is open.
fn lock(head: &File, folder: &Path) -> Result<(), TrailError> {
    match rustix::fs::flock(head, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(TrailError::Busy(folder.to_owned())),
        Err(error) => Err(failed("lock", &folder.join(HEAD))(error.into())),
    }
}

/// The files of lines in a folder, the oldest first.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, TrailError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed("list", folder))? {
        let path = entry.map_err(failed("list", folder))?.path();
        if number_of(&path).is_some() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The number of a file's first line, from its name; `None` if it is no file of lines.
fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let digits = name.strip_suffix(ENDING)?;
    let whole = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    whole.then(|| digits.parse().ok())?
}

/// The last line.
struct End {
    seq: u64,
    last: Mac,
    whose: Whose,
}

/// With which keys the last file says that it was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// There is no file.
    Nobodys,
    Ours,
    /// Those of another epoch of this vault.
    OfEpoch(u32),
    /// Those of another vault.
    OfAnother,
}

impl End {
    /// True if the last line may go with a head that the present key did not seal, of which only
    /// the epoch is known that it names itself: of lines of ours there is one, and of those of an
    /// older key the head is of that key. (Both can be forged; nothing vouches for older keys.)
    fn may_have(&self, head: Option<u32>, keys: &SubKeys) -> bool {
        match self.whose {
            Whose::Nobodys => true,
            Whose::Ours => false,
            Whose::OfEpoch(epoch) => head == Some(epoch) && (1..keys.epoch()).contains(&epoch),
            Whose::OfAnother => head.is_some(),
        }
    }
}

/// The last line of the last file. Files at the end without a line, as a power cut leaves them, are
/// removed.
fn last_line(files: &mut VecDeque<PathBuf>, keys: &SubKeys) -> Result<End, TrailError> {
    while let Some(path) = files.back() {
        if let Some(end) = end_of(path, keys)? {
            return Ok(end);
        }
        std::fs::remove_file(path).map_err(failed("remove", path))?;
        files.pop_back();
    }
    Ok(End {
        seq: 0,
        last: [0; 32],
        whose: Whose::Nobodys,
    })
}

/// As [`last_line`], of one file, which loses what stands behind its last line; `None` if it has no
/// line.
fn end_of(path: &Path, keys: &SubKeys) -> Result<Option<End>, TrailError> {
    let text = read_lines(path)?.unwrap_or_default();
    let whole = text
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    if whole == 0 {
        return Ok(None);
    }
    if whole < text.len() {
        let file = open_private(path, OFlags::WRONLY)?;
        file.set_len(whole as u64).map_err(failed("repair", path))?;
    }
    let mut lines = text[..whole].split_inclusive(|b| *b == b'\n');
    let first = lines.next().and_then(Line::parse);
    let last = text[..whole].split_inclusive(|b| *b == b'\n').next_back();
    let (Some((first, _)), Some((line, last))) = (first, last.and_then(Line::parse)) else {
        return Err(TrailError::NoLine(path.to_owned()));
    };
    let whose = match first.epoch {
        _ if first.is_of(keys) => Whose::Ours,
        Some(epoch) if first.is_of_vault(keys) => Whose::OfEpoch(epoch),
        _ => Whose::OfAnother,
    };
    let seq = line.seq;
    Ok(Some(End { seq, last, whose }))
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
