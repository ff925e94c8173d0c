//! An open vault: the file, what it says, and what this machine remembers of it.
//!
//! Invariants: an acknowledged commit is on the disk, was built on the newest commit of all
//! processes, and is never lost or doubled by another one; a file older than what this machine has
//! seen is not opened (or only read, if the user says so); a handle whose memory may differ from
//! the disk reads the disk again before it answers.
//!
//! Deliberately not here: who may ask ([`super::service`], the daemon), and keyslot secrets
//! (`unlock`): this holds sub-keys, never the root key.

mod anchoring;
mod changing;
mod create;
pub mod reading;
mod slots;
mod verify;

pub use anchoring::Notice;
pub use create::Birth;
pub use verify::damaged;

use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::runtime::service::Tail;
use crate::secret::SecretValue;
use crate::store::anchors::Anchors;
use crate::store::{RecordLocks, Seen, Spool, VaultFile};
use crate::vault::anchor::Anchor;
use crate::vault::{
    Head, Header, RecordInfo, Replay, Room, Step, SubKeys, ValueAt, Vault, VaultError, VersionInfo,
};
use std::path::Path;

/// How a vault is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The slot that gave the key proves that the vault's maker knew the same secret (see
    /// [`crate::vault::Slot::authenticates`]). Without it only a vault that this machine knows, or
    /// whose fingerprint is given, is opened.
    pub authenticated: bool,
    /// The fingerprint that the vault must have; hyphens and case don't matter.
    pub expect_fingerprint: Option<String>,
    /// Open a file that is older than, or differs from, what this machine has seen: for reading.
    pub accept_rollback: bool,
}

/// A durable commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The generation of the vault after the commit: the sequence number of its last frame.
    pub generation: u64,
}

/// An open vault.
pub struct OpenVault {
    file: VaultFile,
    vault: Vault,
    /// The state of the file that `vault` has taken in.
    seen: Seen,
    anchors: Anchors,
    /// The newest state that this handle knows to be on the disk.
    floor: Anchor,
    /// Why nothing is written, if the user opened a vault that was rolled back.
    read_only: Option<Failure>,
    /// A write failed half-way: memory may be ahead of the disk, or behind it.
    doubtful: bool,
    /// Compaction failed; the number of frames at which it is tried again.
    compact_at: u64,
    notices: Vec<Notice>,
    recent: reading::Recent,
}

impl OpenVault {
    /// Opens a vault whose header was unlocked. `anchors` is the folder in which this machine
    /// remembers the vaults that it has seen.
    ///
    /// # Errors
    /// `vault.rollback`, `vault.fork`, `vault.untrusted` by what this machine remembers;
    /// `vault.corrupt`, `vault.newer`; `vault.conflict` if another process gave the vault a new
    /// key since the header was read; `file.*`.
    pub fn open(
        file: VaultFile,
        header: Header,
        keys: SubKeys,
        anchors: &Path,
        options: &OpenOptions,
    ) -> Result<Self, Failure> {
        Self::open_with(file, &header, keys, Anchors::at(anchors), options)
    }

    /// [`OpenVault::open`] with anchors on any disk.
    ///
    /// # Errors
    /// As [`OpenVault::open`].
    pub fn open_with(
        file: VaultFile,
        header: &Header,
        keys: SubKeys,
        anchors: Anchors,
        options: &OpenOptions,
    ) -> Result<Self, Failure> {
        // The anchor first: what others commit from here on is in the file that is opened next, but
        // an anchor that is read after it could be ahead of it. Between reading the header and
        // here lies an unlock, which may take seconds, so the file is looked at anew.
        let anchor = anchors.read(&header.vault_id())?;
        let file = file.open_again()?;
        let now = Header::parse(&file.read_header()?)?;
        if (now.vault_id(), now.key_commit()) != (header.vault_id(), header.key_commit()) {
            let text = "another process gave the vault a new key while it was being unlocked";
            return Err(Failure::new(Code::VaultConflict, text));
        }
        let remembered = anchoring::remembered(&now, &keys, anchor.as_deref(), options)?;
        let vault = read_whole(&file, now, &keys)?;
        Self::start(file, vault, anchors, remembered, options)
    }

    /// The vault as this handle last saw it.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// The path of the vault file, symlinks followed.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The size of the vault file in bytes when it was last looked at.
    pub fn bytes(&self) -> u64 {
        self.seen.len
    }

    /// The generation: the sequence number of the last commit's last frame.
    pub fn generation(&self) -> u64 {
        self.vault.head().seq
    }

    /// True if the vault was rolled back and is open for reading only.
    pub fn is_read_only(&self) -> bool {
        self.read_only.is_some()
    }

    /// Why the vault is open for reading only, if it is.
    pub fn read_only_because(&self) -> Option<&Failure> {
        self.read_only.as_ref()
    }

    /// The locks of records that are being refreshed.
    pub fn record_locks(&self) -> RecordLocks {
        self.file.record_locks()
    }

    /// Where answers are put by that the vault can't take.
    pub fn spool(&self) -> Spool {
        self.file.spool()
    }

    /// What went wrong without making anything fail, since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// All records, by name, as this handle last saw them.
    pub fn list(&self) -> Vec<RecordInfo> {
        self.vault.infos()
    }

    /// The records whose names start with `prefix`, by name, as this handle last saw them.
    pub fn list_under(&self, prefix: &str) -> Vec<RecordInfo> {
        let mut infos = self.vault.infos_under(prefix);
        infos.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        infos
    }

    /// Takes in what other processes committed: one `stat`, and the new tail only where there is
    /// one. True if the vault went on. Call it before answering a request.
    ///
    /// # Errors
    /// `vault.absent` if the file is gone; `vault.rollback`, `vault.fork`, `vault.corrupt` if
    /// something else stands in its place; `vault.sealed` if another process gave it a new key:
    /// unlock it again; `file.io`.
    pub fn catch_up(&mut self) -> Result<bool, Failure> {
        if self.doubtful {
            return self.reload();
        }
        match self.file.changed(&self.seen)? {
            // With a tail, the same length may come about again with other bytes.
            None if self.seen.len == self.vault.valid_end() => Ok(false),
            None => self.read_on(self.seen),
            Some(now) if now.same_file(&self.seen) && now.len >= self.vault.valid_end() => {
                self.read_on(now)
            }
            Some(_) => self.reload(),
        }
    }

    /// A record with its value, or an older version of both, as this handle last saw it.
    ///
    /// # Errors
    /// `record.absent`, `record.version_absent`; `vault.corrupt` if the value's bytes are not what
    /// was sealed; `file.io`.
    pub fn get(
        &self,
        name: &RecordName,
        version: Option<u64>,
    ) -> Result<(RecordInfo, SecretValue), Failure> {
        if self.doubtful {
            let text = "a write failed, and the vault was not read again since";
            return Err(Failure::new(Code::VaultPoisoned, text));
        }
        let absent = || VaultError::RecordAbsent(name.to_string());
        let mut info = self.vault.find(name).ok_or_else(absent)?;
        if let Some(version) = version.filter(|version| *version != info.version) {
            let gone = || VaultError::VersionAbsent(name.to_string(), version);
            let mut versions = self.vault.history(name).into_iter();
            let old = versions
                .find(|old| old.version == version)
                .ok_or_else(gone)?;
            info = RecordInfo {
                version,
                kind: old.kind,
                meta: old.meta,
                ..info
            };
        }
        let at = self
            .vault
            .locate(name, Some(info.version))
            .ok_or_else(absent)?;
        let value = open_at(&self.file, &self.vault, &at, &mut Scratch::default())?;
        Ok((info, value))
    }

    /// The versions of a record that the file still holds, newest first.
    ///
    /// # Errors
    /// `record.absent`.
    pub fn history(&self, name: &RecordName) -> Result<Vec<VersionInfo>, Failure> {
        let mut versions = self.vault.history(name);
        if versions.is_empty() {
            return Err(VaultError::RecordAbsent(name.to_string()).into());
        }
        versions.reverse();
        Ok(versions)
    }

    /// Reads the frames behind the last commit that was taken in.
    fn read_on(&mut self, now: Seen) -> Result<bool, Failure> {
        self.file.advance(now);
        let before = self.vault.head();
        if !self.still_stands(&before)? {
            return self.reload();
        }
        let outcome = self.take_frames();
        // An error leaves the vault in the middle of a transaction.
        self.doubtful = outcome.is_err();
        outcome?;
        self.seen = now;
        Ok(self.vault.head() != before)
    }

    /// True if the last frame is still where it was read. It is not if its writer could not make
    /// it durable and cut it off again: it was never acknowledged.
    fn still_stands(&self, head: &Head) -> Result<bool, Failure> {
        let mut mac = [0; 32];
        let at = self.vault.valid_end() - mac.len() as u64;
        self.file.read_at(&mut mac, at)?;
        Ok(mac == head.mac)
    }

    fn take_frames(&mut self) -> Result<(), Failure> {
        let mut reader = self.vault.continue_from();
        let mut frames = self.file.frames_from(reader.next_offset());
        while let Some((offset, bytes)) = frames.next_frame()? {
            if let Step::Tail(_) = reader.frame(offset, bytes)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads the file at the path anew, whole. On an error this handle stays as it was.
    fn reload(&mut self) -> Result<bool, Failure> {
        let keys = self.vault.keys();
        let anchor = self.anchor()?;
        let file = self.file.open_again()?;
        let header = Header::parse(&file.read_header()?)?;
        if header.vault_id() != keys.vault_id() {
            let text = "another vault stands in the place of the one that was opened";
            return Err(Failure::new(Code::VaultConflict, text));
        }
        if header.epoch() > keys.epoch() {
            let text = "the vault has a new key; unlock it again";
            return Err(Failure::new(Code::VaultSealed, text));
        }
        let vault = read_whole(&file, header, keys)?;
        self.check_history(&vault, anchor.as_ref())?;
        let before = self.vault.head();
        self.seen = file.seen();
        self.file = file;
        self.vault = vault;
        // A version that was never made durable may have come about again with another value.
        self.recent = reading::Recent::default();
        self.doubtful = false;
        Ok(self.vault.head() != before)
    }
}

/// What values are read and opened in, one after the other.
#[derive(Default)]
struct Scratch {
    blob: Vec<u8>,
    room: Room,
}

/// Reads and opens a value.
fn open_at(
    file: &VaultFile,
    vault: &Vault,
    at: &ValueAt,
    scratch: &mut Scratch,
) -> Result<SecretValue, Failure> {
    let Scratch { blob, room } = scratch;
    blob.resize(usize::try_from(at.len).unwrap_or(0), 0);
    file.read_at(blob, at.offset)?;
    Ok(vault.open_value_in(room, at, blob)?)
}

/// Reads a vault from its first frame to its last commit.
fn read_whole(file: &VaultFile, header: Header, keys: &SubKeys) -> Result<Vault, Failure> {
    read_frames(file, header, keys).map(|read| read.vault)
}

/// A vault as its file was read.
struct Read {
    vault: Vault,
    frames: u64,
    tail: Option<Tail>,
}

/// Reads a vault, counts its frames, and says where and why the reading ended before the file.
fn read_frames(file: &VaultFile, header: Header, keys: &SubKeys) -> Result<Read, Failure> {
    let mut replay = Replay::new(header, keys.clone())?;
    let mut frames = file.frames_from(replay.next_offset());
    let (mut count, mut tail) = (0, None);
    while let Some((offset, bytes)) = frames.next_frame()? {
        let step = replay.frame(offset, bytes);
        match step.map_err(|error| at_byte(offset, error.into()))? {
            Step::Accepted { .. } => count += 1,
            Step::Tail(why) => {
                let why = why.to_owned();
                tail = Some(Tail { offset, why });
                break;
            }
        }
    }
    let offset = replay.next_offset();
    if tail.is_none() && offset < file.seen().len {
        let why = "bytes that are not a whole frame".to_owned();
        tail = Some(Tail { offset, why });
    }
    let vault = replay.finish().map_err(|error| match &tail {
        Some(tail) => at_byte(tail.offset, error.into()),
        None => error.into(),
    })?;
    Ok(Read {
        vault,
        frames: count,
        tail,
    })
}

/// Says where a vault is damaged.
fn at_byte(offset: u64, failure: Failure) -> Failure {
    match failure.code {
        Code::VaultCorrupt => {
            let text = format!("{} (the frame at byte {offset})", failure.message);
            Failure::new(failure.code, text)
        }
        _ => failure,
    }
}

#[cfg(test)]
mod tests;
