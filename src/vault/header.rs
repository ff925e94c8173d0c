//! The header: what stands before the first frame, readable without a key.
//!
//! Invariant: a [`Header`] has passed every structural rule, but nothing in it is authentic before
//! [`Header::verify`] or [`Header::verify_with`]; the latter return what opening the frames needs.
//! Its bytes are kept as read, so MACs cover what is in the file, not a new encoding of it.

use super::limits::{MAX_HEADER, MAX_PASSPHRASE_SLOTS, MAX_SLOTS, MIN_HEADER};
use super::slot::{Slot, SlotKind};
use super::wire::{Fields, len32};
use super::{SubKeys, VaultError};
use crate::crypto::derive::{RootKey, derive_fingerprint, derive_mac, mac_matches};
use crate::crypto::hash::equal;
use data_encoding::BASE32_NOPAD;

/// The first eight bytes of every vault file.
pub const MAGIC: [u8; 8] = *b"\x89RSLV\r\n\x1a";
/// The format version.
pub const MAJOR: u16 = 1;
/// The one suite of algorithms.
pub const SUITE: u16 = 1;
/// Where the slots start.
const FIXED: usize = 132;
/// The flags that a reader may ignore; none of the others has a meaning yet.
const IGNORABLE_FLAGS: u32 = 0xffff_0000;

/// A structurally valid header.
#[derive(Clone, Debug)]
pub struct Header {
    bytes: Box<[u8]>,
    fields: HeaderFields,
    slots: Vec<Slot>,
}

/// The fixed fields of a header, as a writer chooses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeaderFields {
    pub vault_id: [u8; 16],
    pub epoch: u32,
    pub flags: u32,
    pub rev: u64,
    pub base_seq: u64,
    pub salt: [u8; 32],
    pub key_commit: [u8; 32],
}

impl Header {
    /// The length of the whole header, from the first 16 bytes of a file.
    pub fn peek_len(first16: &[u8; 16]) -> Result<usize, VaultError> {
        let mut fields = Fields(first16);
        if fields.array() != Some(MAGIC) {
            return Err(VaultError::NotAVault);
        }
        match fields.u16() {
            Some(MAJOR) => {}
            Some(0) | None => return Err(VaultError::Corrupt("format version 0")),
            Some(_) => return Err(VaultError::Newer("format version")),
        }
        match fields.u16() {
            Some(SUITE) => {}
            Some(0) | None => return Err(VaultError::Corrupt("suite 0")),
            Some(_) => return Err(VaultError::Newer("suite of algorithms")),
        }
        let len = fields
            .u32()
            .and_then(|len| usize::try_from(len).ok())
            .unwrap_or(0);
        if (MIN_HEADER..=MAX_HEADER).contains(&len) {
            Ok(len)
        } else {
            Err(VaultError::Corrupt("header length"))
        }
    }

    /// Parses a whole header: exactly the bytes that [`Header::peek_len`] announced.
    pub fn parse(bytes: &[u8]) -> Result<Header, VaultError> {
        let first = bytes.first_chunk::<16>().ok_or(VaultError::NotAVault)?;
        if Self::peek_len(first)? != bytes.len() {
            return Err(VaultError::Corrupt("header length"));
        }
        let (fields, slot_count) = parse_fixed(&bytes[16..FIXED])?;
        let slots = parse_slots(&bytes[FIXED..bytes.len() - 32], slot_count)?;
        Ok(Header {
            bytes: bytes.into(),
            fields,
            slots,
        })
    }

    /// The vault's id: random, constant for its life.
    pub fn vault_id(&self) -> [u8; 16] {
        self.fields.vault_id
    }

    /// The epoch: 1, +1 at every rekey.
    pub fn epoch(&self) -> u32 {
        self.fields.epoch
    }

    /// +1 at every change of the header.
    pub fn header_rev(&self) -> u64 {
        self.fields.rev
    }

    /// The sequence number of the first frame in the file.
    pub fn base_seq(&self) -> u64 {
        self.fields.base_seq
    }

    /// The commitment to the root key.
    pub fn key_commit(&self) -> [u8; 32] {
        self.fields.key_commit
    }

    /// The slots, in file order.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot with this id.
    pub fn slot(&self, id: &[u8; 16]) -> Result<&Slot, VaultError> {
        self.slots
            .iter()
            .find(|slot| slot.id == *id)
            .ok_or(VaultError::SlotAbsent)
    }

    /// The bytes as they stand in the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The fingerprint of this epoch as people compare it: base32 in groups of four.
    pub fn fingerprint(&self) -> String {
        let hash = derive_fingerprint(&self.fields.vault_id, &self.fields.key_commit);
        let text = BASE32_NOPAD.encode(&hash);
        let mut grouped = String::with_capacity(text.len() + text.len() / 4);
        for (i, letter) in text.chars().enumerate() {
            if i > 0 && i % 4 == 0 {
                grouped.push('-');
            }
            grouped.push(letter);
        }
        grouped
    }

    /// Derives the sub-keys from a root key that a slot gave, and checks the commitment and the
    /// header's MAC.
    pub fn verify(&self, root: &RootKey) -> Result<SubKeys, VaultError> {
        let fields = &self.fields;
        let keys = SubKeys::derive(root, &fields.salt, fields.vault_id, fields.epoch);
        self.verify_with(&keys)?;
        Ok(keys)
    }

    /// Checks the commitment and the header's MAC with sub-keys that were handed over.
    pub fn verify_with(&self, keys: &SubKeys) -> Result<(), VaultError> {
        let same_vault = keys.vault_id() == self.vault_id() && keys.epoch() == self.epoch();
        if !same_vault || !equal(keys.key_commit(), &self.fields.key_commit) {
            return Err(VaultError::Corrupt(
                "the key is not the one the header commits to",
            ));
        }
        let (covered, tag) = self.bytes.split_at(self.bytes.len() - 32);
        if !mac_matches(keys.header(), &[covered], tag) {
            return Err(VaultError::Corrupt("header MAC"));
        }
        Ok(())
    }

    /// The MAC of the header: what the first frame's `prev` field holds.
    pub(super) fn mac(&self) -> [u8; 32] {
        *self
            .bytes
            .last_chunk()
            .expect("a header is longer than its MAC")
    }

    pub(super) fn fields(&self) -> HeaderFields {
        self.fields
    }

    /// Encodes a header and seals it with its MAC. Fails if the slots break a rule.
    pub(super) fn make(
        fields: HeaderFields,
        slots: &[Slot],
        keys: &SubKeys,
    ) -> Result<Header, VaultError> {
        let len = MIN_HEADER + slots.iter().map(Slot::encoded_len).sum::<usize>();
        if len > MAX_HEADER {
            return Err(VaultError::SlotLimit("header of 64 KiB"));
        }
        let mut bytes = Vec::with_capacity(len);
        bytes.extend(MAGIC);
        bytes.extend(MAJOR.to_le_bytes());
        bytes.extend(SUITE.to_le_bytes());
        bytes.extend(len32(len));
        bytes.extend(fields.vault_id);
        bytes.extend(fields.epoch.to_le_bytes());
        bytes.extend(fields.flags.to_le_bytes());
        bytes.extend(fields.rev.to_le_bytes());
        bytes.extend(fields.base_seq.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(fields.salt);
        bytes.extend(fields.key_commit);
        bytes.extend(u16::try_from(slots.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend([0; 2]);
        for slot in slots {
            slot.encode(&mut bytes);
        }
        let tag = derive_mac(keys.header(), &[&bytes]);
        bytes.extend(tag);
        Header::parse(&bytes)
    }
}

fn parse_fixed(bytes: &[u8]) -> Result<(HeaderFields, usize), VaultError> {
    let short = VaultError::Corrupt("header length");
    let mut fields = Fields(bytes);
    let mut read = || {
        let parsed = HeaderFields {
            vault_id: fields.array()?,
            epoch: fields.u32()?,
            flags: fields.u32()?,
            rev: fields.u64()?,
            base_seq: fields.u64()?,
            salt: [0; 32],
            key_commit: [0; 32],
        };
        let reserved = fields.u64()?;
        let (salt, key_commit) = (fields.array()?, fields.array()?);
        let (count, reserved2) = (fields.u16()?, fields.u16()?);
        Some((
            HeaderFields {
                salt,
                key_commit,
                ..parsed
            },
            reserved,
            count,
            reserved2,
        ))
    };
    let (parsed, reserved, count, reserved2) = read().ok_or(short)?;
    if parsed.epoch == 0 {
        return Err(VaultError::Corrupt("epoch 0"));
    }
    if parsed.flags & !IGNORABLE_FLAGS != 0 {
        return Err(VaultError::Newer("a critical flag in the header"));
    }
    if parsed.base_seq == 0 {
        return Err(VaultError::Corrupt("first frame number 0"));
    }
    if reserved != 0 || reserved2 != 0 {
        return Err(VaultError::Corrupt("reserved bytes of the header"));
    }
    let count = usize::from(count);
    if !(1..=MAX_SLOTS).contains(&count) {
        return Err(VaultError::Corrupt("number of keyslots"));
    }
    Ok((parsed, count))
}

fn parse_slots(bytes: &[u8], count: usize) -> Result<Vec<Slot>, VaultError> {
    let mut fields = Fields(bytes);
    let mut slots: Vec<Slot> = Vec::with_capacity(count);
    let mut passphrases = 0;
    for _ in 0..count {
        let slot = Slot::parse(&mut fields)?;
        if slots.iter().any(|other| other.id == slot.id) {
            return Err(VaultError::Corrupt("two keyslots with one id"));
        }
        if matches!(slot.kind, SlotKind::Passphrase { .. }) {
            passphrases += 1;
        }
        slots.push(slot);
    }
    if !fields.is_empty() {
        return Err(VaultError::Corrupt("keyslot sizes"));
    }
    if passphrases > MAX_PASSPHRASE_SLOTS {
        return Err(VaultError::Corrupt("more than four passphrase keyslots"));
    }
    Ok(slots)
}
