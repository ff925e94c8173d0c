//! The anchor: this machine's memory of the newest state of a vault that it has seen.
//!
//! It lies outside the vault file, so that an older copy of the file is noticed. Who can write the
//! folder of the anchors can also delete them; where that matters the pin belongs elsewhere.

use super::wire::Fields;
use super::{Head, Header, SubKeys, Vault, VaultError};
use crate::crypto::derive::{derive_mac, mac_matches};
use crate::crypto::hash::equal;
use crate::time::UnixMs;

/// The length of an anchor in bytes.
pub const ANCHOR_LEN: usize = 152;
const MAGIC: [u8; 4] = *b"RSAN";
const COVERED: usize = ANCHOR_LEN - 32;

/// What is remembered. Authentic only once [`Anchor::verify`] says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The vault.
    pub vault_id: [u8; 16],
    /// Its epoch.
    pub epoch: u32,
    /// Its header's revision.
    pub header_rev: u64,
    /// Its head.
    pub head: Head,
    /// The commitment to its root key: the pin of public-key slots.
    pub key_commit: [u8; 32],
    /// When it was seen.
    pub seen_at: UnixMs,
    tag: [u8; 32],
}

/// What the anchor says about a header, before any frame is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// It is the vault and epoch that this machine knows.
    Known,
    /// It is a later epoch of the vault that this machine knows.
    NewEpoch,
    /// This machine has never seen the vault.
    FirstSeen,
    /// The anchor's MAC is wrong: treated as none, with a warning.
    Damaged,
}

/// How a vault stands to the anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorState {
    /// The newest state was seen before.
    Same,
    /// The vault went on; the anchor should be written anew.
    Advance,
    /// The anchor's MAC is wrong: treated as none, with a warning; it should be written anew.
    Damaged,
}

impl Anchor {
    /// The anchor for the vault as it stands.
    pub fn of(vault: &Vault, now: UnixMs) -> Self {
        let header = vault.header();
        let mut anchor = Self {
            vault_id: header.vault_id(),
            epoch: header.epoch(),
            header_rev: header.header_rev(),
            head: vault.head(),
            key_commit: header.key_commit(),
            seen_at: now,
            tag: [0; 32],
        };
        anchor.tag = derive_mac(vault.keys().anchor(), &[&anchor.covered()]);
        anchor
    }

    /// Parses an anchor. An error means the same as a wrong MAC: treated as none, with a warning.
    pub fn parse(bytes: &[u8]) -> Result<Anchor, VaultError> {
        let broken = VaultError::Corrupt("the anchor");
        if bytes.len() != ANCHOR_LEN {
            return Err(broken);
        }
        let mut fields = Fields(bytes);
        let mut read = || {
            let start = (fields.array::<4>()?, fields.u16()?, fields.u16()?);
            let (vault_id, epoch, reserved) = (fields.array()?, fields.u32()?, fields.u32()?);
            let header_rev = fields.u64()?;
            let head = Head {
                seq: fields.u64()?,
                mac: fields.array()?,
            };
            let (key_commit, seen_at) = (fields.array()?, UnixMs(fields.u64()?));
            let tag = fields.array()?;
            let anchor = Self {
                vault_id,
                epoch,
                header_rev,
                head,
                key_commit,
                seen_at,
                tag,
            };
            Some((start, reserved, anchor))
        };
        match read() {
            Some(((MAGIC, 1, 0), 0, anchor)) => Ok(anchor),
            _ => Err(broken),
        }
    }

    /// The bytes.
    pub fn encode(&self) -> [u8; ANCHOR_LEN] {
        let mut bytes = [0; ANCHOR_LEN];
        bytes[..COVERED].copy_from_slice(&self.covered());
        bytes[COVERED..].copy_from_slice(&self.tag);
        bytes
    }

    /// True if the anchor was made with the keys of this epoch.
    pub fn verify(&self, keys: &SubKeys) -> bool {
        let same = self.vault_id == keys.vault_id() && self.epoch == keys.epoch();
        same && mac_matches(keys.anchor(), &[&self.covered()], &self.tag)
    }

    fn covered(&self) -> [u8; COVERED] {
        let mut bytes = [0; COVERED];
        let parts: [&[u8]; 10] = [
            &MAGIC,
            &[1, 0, 0, 0],
            &self.vault_id,
            &self.epoch.to_le_bytes(),
            &[0; 4],
            &self.header_rev.to_le_bytes(),
            &self.head.seq.to_le_bytes(),
            &self.head.mac,
            &self.key_commit,
            &self.seen_at.0.to_le_bytes(),
        ];
        let mut at = 0;
        for part in parts {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        bytes
    }
}

/// Checks epoch and commitment of a header that was unlocked, before its frames are read.
///
/// `authenticated` says that a symmetric slot gave the root key (see
/// [`super::Slot::authenticates`]); a public-key slot is trusted only for the commitment that is
/// pinned. `pinned` is a commitment that a person confirmed by its fingerprint.
pub fn pin(
    header: &Header,
    keys: &SubKeys,
    anchor: Option<&Anchor>,
    authenticated: bool,
    pinned: Option<&[u8; 32]>,
) -> Result<Pin, VaultError> {
    let confirmed = pinned.is_some_and(|commit| equal(commit, &header.key_commit()));
    let trust = |pin| {
        if authenticated || confirmed {
            Ok(pin)
        } else {
            Err(VaultError::Untrusted(header.fingerprint()))
        }
    };
    let Some(anchor) = anchor.filter(|anchor| anchor.vault_id == header.vault_id()) else {
        return trust(Pin::FirstSeen);
    };
    if header.epoch() < anchor.epoch {
        let (found, seen) = (header.epoch(), anchor.epoch);
        return Err(VaultError::EpochRollback { found, seen });
    }
    if header.epoch() > anchor.epoch {
        return trust(Pin::NewEpoch);
    }
    if !equal(&header.key_commit(), &anchor.key_commit) {
        return Err(VaultError::Fork(anchor.head.seq));
    }
    if anchor.verify(keys) {
        Ok(Pin::Known)
    } else {
        trust(Pin::Damaged)
    }
}

/// Holds what a locked vault shows against the anchor: its newest frame, and the MAC of the frame
/// that the anchor remembers, if the file has one of that number. Nothing of this is authentic, so
/// only an error says something; [`check`] is for trust.
pub fn glance(
    header: &Header,
    anchor: &Anchor,
    newest: u64,
    mac_at_seen: Option<[u8; 32]>,
) -> Result<(), VaultError> {
    if header.epoch() < anchor.epoch {
        let (found, seen) = (header.epoch(), anchor.epoch);
        return Err(VaultError::EpochRollback { found, seen });
    }
    if header.epoch() > anchor.epoch {
        return Ok(());
    }
    let seen = anchor.head.seq;
    let forked = mac_at_seen.is_some_and(|mac| !equal(&mac, &anchor.head.mac));
    if forked || !equal(&header.key_commit(), &anchor.key_commit) {
        return Err(VaultError::Fork(seen));
    }
    if newest < seen {
        return Err(VaultError::Rollback {
            found: newest,
            seen,
        });
    }
    Ok(())
}

/// Checks an open vault against the anchor: notices older copies and forks.
pub fn check(vault: &Vault, anchor: &Anchor) -> Result<AnchorState, VaultError> {
    let header = vault.header();
    if anchor.vault_id != header.vault_id() {
        return Ok(AnchorState::Damaged);
    }
    if header.epoch() < anchor.epoch {
        let (found, seen) = (header.epoch(), anchor.epoch);
        return Err(VaultError::EpochRollback { found, seen });
    }
    if header.epoch() == anchor.epoch && !anchor.verify(vault.keys()) {
        return Ok(AnchorState::Damaged);
    }
    let (head, seen) = (vault.head(), anchor.head);
    if head.seq < seen.seq {
        return Err(VaultError::Rollback {
            found: head.seq,
            seen: seen.seq,
        });
    }
    if header.base_seq() <= seen.seq {
        return match vault.mac_at(seen.seq) {
            Some(mac) if !equal(&mac, &seen.mac) => Err(VaultError::Fork(seen.seq)),
            None => Err(VaultError::Fork(seen.seq)),
            Some(_) if head == seen => Ok(AnchorState::Same),
            Some(_) => Ok(AnchorState::Advance),
        };
    }
    match vault.ancestor() {
        None => Err(VaultError::Rollback {
            found: 0,
            seen: seen.seq,
        }),
        Some((ancestor, _)) if ancestor.seq < seen.seq => Err(VaultError::Rollback {
            found: ancestor.seq,
            seen: seen.seq,
        }),
        Some((ancestor, _)) if ancestor.seq == seen.seq && !equal(&ancestor.mac, &seen.mac) => {
            Err(VaultError::Fork(seen.seq))
        }
        Some(_) => Ok(AnchorState::Advance),
    }
}
