//! Frames: a sealed index, sealed values, and a MAC that chains each frame to the one before.

use super::limits::{FRAME_INDEX_TARGET, FRAME_VALUES_TARGET, MAX_INDEX, MAX_VALUES};
use super::op::INDEX_STEP;
use super::wire::{Fields, len32};
use super::{SubKeys, VaultError};
use crate::crypto::derive::{derive_mac, mac_matches};
use crate::crypto::{Random, aead, make_bytes};

/// The length of a frame's head in bytes: what has to be read to know the frame's length.
pub const FRAME_HEAD: usize = 80;
const FRAME_MAGIC: [u8; 4] = *b"FRAM";
const MAC_LEN: usize = 32;
const FLAG_COMMIT: u8 = 1;

/// What a frame belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Snapshot,
    Delta,
}

/// The head of a frame. Nothing in it is authentic before the whole frame's MAC is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    kind: u8,
    flags: u8,
    reserved: u16,
    pub(super) seq: u64,
    index_len: u32,
    pub(super) values_len: u32,
    nonce: [u8; 24],
    pub(super) prev: [u8; 32],
}

impl FrameHead {
    /// Parses a head. An error means that no frame stands here: the bytes are a tail.
    pub fn parse(bytes: &[u8; FRAME_HEAD]) -> Result<FrameHead, VaultError> {
        let mut fields = Fields(bytes);
        let mut read = || {
            let magic = fields.array()?;
            Some((
                magic,
                FrameHead {
                    kind: fields.u8()?,
                    flags: fields.u8()?,
                    reserved: fields.u16()?,
                    seq: fields.u64()?,
                    index_len: fields.u32()?,
                    values_len: fields.u32()?,
                    nonce: fields.array()?,
                    prev: fields.array()?,
                },
            ))
        };
        let Some((magic, head)) = read() else {
            return Err(VaultError::Corrupt("head of a frame"));
        };
        let index_ok = (16..=MAX_INDEX + 16).contains(&wide(head.index_len));
        if magic != FRAME_MAGIC || !index_ok || wide(head.values_len) > MAX_VALUES {
            return Err(VaultError::Corrupt("head of a frame"));
        }
        Ok(head)
    }

    /// The frame's number.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The length of the whole frame in bytes, at most [`super::limits::MAX_FRAME`].
    pub fn total_len(&self) -> usize {
        FRAME_HEAD + wide(self.index_len) + wide(self.values_len) + MAC_LEN
    }

    /// Where the values start, from the start of the frame.
    pub(super) fn values_at(&self) -> usize {
        FRAME_HEAD + wide(self.index_len)
    }

    /// The kind and whether the frame ends a transaction; only once the MAC has been checked, as
    /// what is unknown here comes from a newer version.
    pub(super) fn kind(&self) -> Result<(FrameKind, bool), VaultError> {
        if self.flags & !FLAG_COMMIT != 0 || self.reserved != 0 {
            return Err(VaultError::Corrupt("reserved bits of a frame"));
        }
        let kind = match self.kind {
            1 => FrameKind::Snapshot,
            2 => FrameKind::Delta,
            _ => return Err(VaultError::Newer("a type of frame")),
        };
        Ok((kind, self.flags & FLAG_COMMIT != 0))
    }
}

/// The MAC of a whole frame, if it is right.
pub(super) fn check_mac(keys: &SubKeys, frame: &[u8]) -> Option<[u8; 32]> {
    let (covered, tag) = frame.split_last_chunk::<MAC_LEN>()?;
    mac_matches(keys.log(), &[covered], tag).then_some(*tag)
}

/// Decrypts the index of a frame whose MAC is right into `scratch`.
pub(super) fn open_index(
    keys: &SubKeys,
    head: &FrameHead,
    frame: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<(), VaultError> {
    let broken = VaultError::Corrupt("a sealed index");
    let (aad, rest) = frame.split_at(FRAME_HEAD);
    let Some((ct, tag)) = rest[..wide(head.index_len)].split_last_chunk::<16>() else {
        return Err(broken);
    };
    scratch.clear();
    scratch.extend_from_slice(ct);
    aead::open(keys.index(), &head.nonce, aad, scratch, tag).map_err(|_| broken)
}

/// Builds the frames of one transaction, one after the other.
pub(super) struct FrameBuilder {
    keys: SubKeys,
    kind: FrameKind,
    seq: u64,
    prev: [u8; 32],
    pub(super) index: Vec<u8>,
    pub(super) values: Vec<u8>,
}

/// A frame that was appended to a buffer.
pub(super) struct Closed {
    pub mac: [u8; 32],
    /// Where its values start, from the start of the frame.
    pub values_at: usize,
}

impl FrameBuilder {
    /// The first frame gets number `seq` and follows the frame (or header) with the MAC `prev`.
    pub(super) fn new(keys: &SubKeys, kind: FrameKind, seq: u64, prev: [u8; 32]) -> Self {
        Self {
            keys: keys.clone(),
            kind,
            seq,
            prev,
            index: Vec::new(),
            values: Vec::new(),
        }
    }

    /// True if the frame should be closed before this much more is put into it.
    pub(super) fn is_full(&self, index: usize, values: usize) -> bool {
        let (index, values) = (self.index.len() + index, self.values.len() + values);
        !self.index.is_empty() && (index > FRAME_INDEX_TARGET || values > FRAME_VALUES_TARGET)
    }

    /// Seals what was collected and appends the frame to `out`.
    pub(super) fn close(
        &mut self,
        commit: bool,
        rng: &mut dyn Random,
        out: &mut Vec<u8>,
    ) -> Closed {
        self.index
            .resize(self.index.len().next_multiple_of(INDEX_STEP), 0);
        let index_len = self.index.len() + aead::TAG_LEN;
        let nonce: [u8; aead::NONCE_LEN] = make_bytes(rng);
        out.reserve(FRAME_HEAD + index_len + self.values.len() + MAC_LEN);
        let start = out.len();
        out.extend(FRAME_MAGIC);
        out.push(match self.kind {
            FrameKind::Snapshot => 1,
            FrameKind::Delta => 2,
        });
        out.push(if commit { FLAG_COMMIT } else { 0 });
        out.extend([0; 2]);
        out.extend(self.seq.to_le_bytes());
        out.extend(len32(index_len));
        out.extend(len32(self.values.len()));
        out.extend(nonce);
        out.extend(self.prev);
        out.extend(&self.index);
        let (head, index) = out[start..].split_at_mut(FRAME_HEAD);
        let tag = aead::seal(self.keys.index(), &nonce, head, index);
        out.extend(tag);
        out.extend(&self.values);
        let mac = derive_mac(self.keys.log(), &[&out[start..]]);
        out.extend(mac);
        self.seq += 1;
        self.prev = mac;
        self.index.clear();
        self.values.clear();
        Closed {
            mac,
            values_at: FRAME_HEAD + index_len,
        }
    }
}

fn wide(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
