//! Is every line of the log of decisions there that was written, as it was written?

use super::line::{Head, Kind, Line, Mac};
use super::{HEAD, TrailError, digest_of, files, read_head, read_lines};
use crate::crypto::derive::{TrailMac, derive_trail};
use crate::secret::Key;
use crate::vault::SubKeys;
use rustix::fs::OFlags;
use serde::Serialize;
use std::path::Path;

/// How often a log that is being written meanwhile is looked at anew.
const TRIES: usize = 4;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Files that were read.
    pub files: u64,
    /// Lines that are right.
    pub lines: u64,
    /// Lines of a vault key before `vault rekey`, checked by the digests in later files.
    pub of_older_keys: u64,
    /// The time of the first line that is there.
    pub first: Option<String>,
    /// The time of the last.
    pub last: Option<String>,
    /// Lines that the daemon missed when it started, by its own notes.
    pub missing: u64,
    /// How often it missed lines, or could not tell whether any are missing.
    pub gaps: u64,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
}

/// Where the log is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// The file, by its name.
    pub file: String,
    /// The line in it, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: &'static str,
}

/// Checks the log in a folder; a log that was never written is whole.
///
/// # Errors
/// If it can't be read.
pub fn check(folder: &Path, keys: &SubKeys) -> Result<Checked, TrailError> {
    let key = derive_trail(keys.anchor());
    let mut seen = None;
    for _ in 1..TRIES {
        let head = head_of(folder, &key, keys)?;
        let checked = check_once(folder, keys, &key, head)?;
        // A daemon that writes meanwhile starts new files and removes old ones.
        if checked.fault.is_none() || seen == Some(head) {
            return Ok(checked);
        }
        seen = Some(head);
    }
    let head = head_of(folder, &key, keys)?;
    check_once(folder, keys, &key, head)
}

/// All lines that are there, as they stand; not verified.
///
/// # Errors
/// If they can't be read.
pub fn lines(folder: &Path) -> Result<Vec<Line>, TrailError> {
    let mut all = Vec::new();
    if !folder.exists() {
        return Ok(all);
    }
    for path in files(folder)? {
        let text = read_lines(&path)?.unwrap_or_default();
        let lines = text.split_inclusive(|b| *b == b'\n');
        all.extend(lines.filter_map(Line::parse).map(|(line, _)| line));
    }
    Ok(all)
}

fn head_of(folder: &Path, key: &Key<TrailMac>, keys: &SubKeys) -> Result<Option<Head>, TrailError> {
    let path = folder.join(HEAD);
    if !path.exists() {
        return Ok(None);
    }
    let file = super::open_private(&path, OFlags::RDONLY)?;
    Ok(read_head(&file).and_then(|bytes| Head::open(&bytes, key, keys.epoch())))
}

fn check_once(
    folder: &Path,
    keys: &SubKeys,
    key: &Key<TrailMac>,
    head: Option<Head>,
) -> Result<Checked, TrailError> {
    let mut walk = Walk {
        keys,
        key,
        found: Checked::default(),
        at: None,
        is_ours: false,
        number: 0,
        before: None,
        first: None,
        oldest: None,
    };
    if !folder.exists() {
        return Ok(walk.found);
    }
    let mut name = String::new();
    let mut first_name = None;
    for path in files(folder)? {
        let text = read_lines(&path)?.unwrap_or_default();
        name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        first_name.get_or_insert_with(|| name.clone());
        walk.found.files += 1;
        if let Err((line, why)) = walk.file(&text) {
            walk.found.fault = Some(Fault {
                file: name,
                line,
                why,
            });
            return Ok(walk.found);
        }
    }
    if walk.is_ours
        && let (Some(file), Some(first), Some(oldest)) = (first_name, walk.first, walk.oldest)
        && first > oldest
    {
        let (line, why) = (1, "files before it are gone that the last one knows of");
        walk.found.fault = Some(Fault { file, line, why });
        return Ok(walk.found);
    }
    let why = walk.against(head);
    walk.found.fault = why.map(|why| Fault {
        file: name,
        line: walk.number,
        why,
    });
    Ok(walk.found)
}

/// On the way through all files.
struct Walk<'a> {
    keys: &'a SubKeys,
    key: &'a Key<TrailMac>,
    found: Checked,
    /// Number and MAC of the line before.
    at: Option<(u64, Mac)>,
    /// The file was begun with the keys that there are.
    is_ours: bool,
    /// The line before, in its file.
    number: u64,
    /// The digest of the file before.
    before: Option<String>,
    /// The number of the first line that is there.
    first: Option<u64>,
    /// The number of the oldest line that was kept, as the last file says.
    oldest: Option<u64>,
}

impl Walk<'_> {
    /// What is wrong with the end of all that, of which the head knows.
    fn against(&self, head: Option<Head>) -> Option<&'static str> {
        match (head, self.at) {
            (None, None) => None,
            (_, Some(_)) if !self.is_ours => Some(
                "its last file is of another vault key; the daemon starts one of the present key",
            ),
            (None, Some(_)) => Some("the head, which says where the log ends, is gone or changed"),
            (Some(_), None) => Some("all lines are gone"),
            (Some(head), Some((seq, _))) if head.seq > seq => Some("the lines behind it are gone"),
            (Some(head), Some((seq, last))) if head.seq == seq && head.last != last => {
                Some("is not the line that the head knows of")
            }
            (Some(_), Some(_)) => None,
        }
    }

    /// Goes through one file; gives the first line that is wrong.
    fn file(&mut self, text: &[u8]) -> Result<(), (u64, &'static str)> {
        for (number, bytes) in (1..).zip(text.split_inclusive(|b| *b == b'\n')) {
            // Half a line at the end of the last file: the daemon is writing it, or was killed.
            if !bytes.ends_with(b"\n") && number > 1 {
                break;
            }
            self.line(number, bytes).map_err(|why| (number, why))?;
        }
        self.before = Some(digest_of(text));
        Ok(())
    }

    fn line(&mut self, number: u64, bytes: &[u8]) -> Result<(), &'static str> {
        const NO_LINE: &str = "is not a line of the log";
        if number == 1 {
            let (first, _) = Line::parse(bytes).ok_or(NO_LINE)?;
            let previous = first.previous().filter(|_| first.event == Kind::File);
            let previous = previous.ok_or("is not the first line of a file")?;
            self.is_ours = first.is_of(self.keys);
            match self.at {
                Some((_, last)) if last != previous => {
                    return Err("does not follow the last line of the file before");
                }
                Some(_) if self.before != first.file_before => {
                    return Err("follows another file than the one before, or that was changed");
                }
                Some(_) => {}
                None => self.at = Some((first.seq.saturating_sub(1), previous)),
            }
        }
        let (seq, before) = self.at.ok_or(NO_LINE)?;
        let (line, mac) = if self.is_ours {
            let verified = Line::verify(bytes, self.key, &before);
            verified.ok_or("was changed, or the line before it was")?
        } else {
            Line::parse(bytes).ok_or(NO_LINE)?
        };
        let is_gap = line.event == Kind::Gap;
        let missing = line.missing.filter(|_| is_gap).unwrap_or(0);
        // A gap before a file's first line is told by the line behind that.
        if line.seq != seq + 1 + missing && line.seq != seq + 1 {
            return Err("has another number than the next");
        }
        self.at = Some((line.seq, mac));
        self.number = number;
        if line.event == Kind::File {
            self.oldest = line.oldest;
        }
        self.first.get_or_insert(line.seq);
        self.found.missing += missing;
        self.found.gaps += u64::from(is_gap);
        self.found.first.get_or_insert_with(|| line.time.clone());
        self.found.last = Some(line.time);
        if self.is_ours {
            self.found.lines += 1;
        } else {
            self.found.of_older_keys += 1;
        }
        Ok(())
    }
}
