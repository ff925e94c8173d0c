//! Reading frames: from the start of a file, or from where an open vault stands.
//!
//! What is not a frame of the chain is a tail and ends the reading. What is one (its MAC is right)
//! but breaks a rule was written by someone with the key, and is an error.

use super::frame::{FRAME_HEAD, FrameHead, FrameKind, check_mac, open_index};
use super::index::{Entry, Index, Version};
use super::limits::{MAX_FILE, MAX_FRAMES};
use super::op::{self, Op, Put};
use super::state::Pending;
use super::{Head, Header, SubKeys, Vault, VaultError, VaultMeta};
use crate::crypto::hash::equal;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is part of the chain.
    Accepted {
        /// True if it ended a transaction, so that everything up to here counts.
        committed: bool,
    },
    /// It is not: the file's valid part ends before it. Says why.
    Tail(&'static str),
}

/// Opening a vault: takes the frames of a file one by one, in order.
pub struct Replay(Vault);

/// An open vault that reads on. Frames of a transaction that is not complete when this is dropped
/// do not count and are read again next time.
pub struct CatchUp<'a>(&'a mut Vault);

impl Replay {
    /// Starts behind the header. Checks the header with the keys.
    pub fn new(header: Header, keys: SubKeys) -> Result<Self, VaultError> {
        header.verify_with(&keys)?;
        let valid_end = header.bytes().len() as u64;
        Ok(Self(Vault {
            header,
            keys,
            index: Index::default(),
            ancestor: None,
            macs: Vec::new(),
            valid_end,
            base_end: 0,
            base_frames: 0,
            pending: Pending::default(),
            scratch: Vec::new(),
            broken: false,
        }))
    }

    /// Where the next frame starts, in bytes from the start of the file.
    pub fn next_offset(&self) -> u64 {
        self.0.next_offset()
    }

    /// Takes the whole frame that starts at `offset`, which must be [`Replay::next_offset`].
    pub fn frame(&mut self, offset: u64, bytes: &[u8]) -> Result<Step, VaultError> {
        self.0.take_frame(offset, bytes)
    }

    /// The vault at its last commit. Fails if not even the snapshot was complete.
    pub fn finish(mut self) -> Result<Vault, VaultError> {
        self.0.check_whole()?;
        if self.0.base_end == 0 {
            return Err(VaultError::Corrupt("the first snapshot is not complete"));
        }
        self.0.pending = Pending::default();
        self.0.scratch = Vec::new();
        Ok(self.0)
    }

    /// Opens a vault whose whole file is in memory: for tests, imports and fuzzing.
    pub fn read_all(header: Header, keys: SubKeys, file: &[u8]) -> Result<Vault, VaultError> {
        let mut replay = Self::new(header, keys)?;
        loop {
            let offset = replay.next_offset();
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let rest = file.get(start..).unwrap_or(&[]);
            let Some(head) = rest.first_chunk::<FRAME_HEAD>() else {
                break;
            };
            let Ok(head) = FrameHead::parse(head) else {
                break;
            };
            let Some(frame) = rest.get(..head.total_len()) else {
                break;
            };
            if let Step::Tail(_) = replay.frame(offset, frame)? {
                break;
            }
        }
        replay.finish()
    }
}

impl CatchUp<'_> {
    /// Where the next frame starts, in bytes from the start of the file.
    pub fn next_offset(&self) -> u64 {
        self.0.next_offset()
    }

    /// Takes the whole frame that starts at `offset`, which must be [`CatchUp::next_offset`].
    pub fn frame(&mut self, offset: u64, bytes: &[u8]) -> Result<Step, VaultError> {
        self.0.take_frame(offset, bytes)
    }
}

impl Drop for CatchUp<'_> {
    fn drop(&mut self) {
        self.0.pending = Pending::default();
        self.0.scratch = Vec::new();
    }
}

impl Vault {
    /// Reads on from the last commit: frames that other processes appended.
    pub fn continue_from(&mut self) -> CatchUp<'_> {
        self.pending = Pending::default();
        CatchUp(self)
    }

    fn next_offset(&self) -> u64 {
        self.valid_end + self.pending.bytes
    }

    fn take_frame(&mut self, offset: u64, bytes: &[u8]) -> Result<Step, VaultError> {
        self.check_whole()?;
        if offset != self.next_offset() {
            return Err(VaultError::Bug("frames are read in order"));
        }
        let (head, mac) = match self.check_chain(bytes) {
            Ok(checked) => checked,
            Err(why) => return Ok(Step::Tail(why)),
        };
        let outcome = self.take_authentic(&head, offset, bytes);
        match outcome {
            Ok(commit) => {
                self.pending.macs.push(mac);
                self.pending.bytes += bytes.len() as u64;
                if commit {
                    self.commit_pending()?;
                }
                Ok(Step::Accepted { committed: commit })
            }
            Err(error) => {
                self.broken = true;
                Err(error)
            }
        }
    }

    /// The head and the MAC of the next frame of the chain, or why the bytes are not it.
    fn check_chain(&self, bytes: &[u8]) -> Result<(FrameHead, [u8; 32]), &'static str> {
        let head = bytes
            .first_chunk::<FRAME_HEAD>()
            .ok_or("a frame that is cut off")?;
        let head = FrameHead::parse(head).map_err(|_| "bytes that are not a frame")?;
        if head.total_len() != bytes.len() {
            return Err("a frame that is cut off");
        }
        let last = self
            .pending
            .macs
            .last()
            .copied()
            .unwrap_or_else(|| self.head().mac);
        let number = (self.macs.len() + self.pending.macs.len()) as u64;
        if head.seq.checked_sub(self.header.base_seq()) != Some(number) {
            return Err("a frame with another number");
        }
        if number >= MAX_FRAMES || self.next_offset() + bytes.len() as u64 > MAX_FILE {
            return Err("a frame over the limits of a file");
        }
        if !equal(&head.prev, &last) {
            return Err("a frame of another chain");
        }
        let mac = check_mac(&self.keys, bytes).ok_or("a frame whose MAC is wrong")?;
        Ok((head, mac))
    }

    /// Collects the entries of a frame; true if it ends a transaction.
    fn take_authentic(
        &mut self,
        head: &FrameHead,
        offset: u64,
        bytes: &[u8],
    ) -> Result<bool, VaultError> {
        let (kind, commit) = head.kind()?;
        let is_first = self.macs.is_empty() && self.pending.macs.is_empty();
        match (kind, self.base_end == 0) {
            (FrameKind::Snapshot, true) | (FrameKind::Delta, false) => {}
            (FrameKind::Delta, true) => {
                return Err(VaultError::Corrupt("the first frames are not a snapshot"));
            }
            (FrameKind::Snapshot, false) => {
                return Err(VaultError::Corrupt("a snapshot after the first"));
            }
        }
        open_index(&self.keys, head, bytes, &mut self.scratch)?;
        let values_at = offset + head.values_at() as u64;
        let mut ops = op::read(&self.scratch, head.values_len)?;
        if is_first {
            self.ancestor = Some(take_ancestor(ops.next(), self.header.base_seq())?);
        }
        for op in ops {
            if let Some(entry) = take_op(op?, kind, values_at)? {
                self.pending.entries.push(entry);
            }
        }
        Ok(commit)
    }
}

/// The mandatory first operation of the first frame.
fn take_ancestor(
    first: Option<Result<Op<'_>, VaultError>>,
    base_seq: u64,
) -> Result<(Head, u32), VaultError> {
    match first.transpose()? {
        Some(Op::Ancestor { seq, mac, epoch }) if seq < base_seq => Ok((Head { seq, mac }, epoch)),
        Some(Op::Ancestor { .. }) => Err(VaultError::Corrupt("number of the ancestor")),
        _ => Err(VaultError::Corrupt("the ancestor is missing")),
    }
}

fn take_op(op: Op<'_>, kind: FrameKind, values_at: u64) -> Result<Option<Entry>, VaultError> {
    let in_snapshot = kind == FrameKind::Snapshot;
    Ok(Some(match op {
        Op::Put(Put {
            id,
            version,
            kind,
            name,
            meta,
            value_at,
            value_len,
        }) => Entry::Put {
            id,
            name: name.into(),
            version: Version {
                number: version,
                offset: values_at + u64::from(value_at),
                len: value_len,
                kind,
                meta: meta.into(),
            },
        },
        Op::Delete { .. } | Op::Clear { .. } if in_snapshot => {
            return Err(VaultError::Corrupt("a deletion in a snapshot"));
        }
        Op::Delete { id, version } => Entry::Delete { id, version },
        Op::Clear { attempt } => Entry::Clear { attempt },
        Op::Ancestor { .. } => return Err(VaultError::Corrupt("a second ancestor")),
        Op::Vault(json) => {
            VaultMeta::parse(json)?;
            Entry::Vault(json.into())
        }
        Op::Intent(intent) => Entry::Intent(intent),
        Op::Ignored => return Ok(None),
    }))
}
