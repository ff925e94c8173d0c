//! What a vault file shows of itself, with the key and without.

use super::local::Runtime;
use super::open_vault::OpenVault;
use super::service::{
    LockState, Rollback, SlotStatus, SnapshotState, SnapshotStatus, Status, VaultStatus,
};
use crate::error::Failure;
use crate::store::anchors::Anchors;
use crate::store::{Options, VaultFile};
use crate::vault::anchor::{self, Anchor};
use crate::vault::slot::RawKeyHint;
use crate::vault::{FrameHead, Header, Slot, SlotKind, VaultMeta};
use data_encoding::HEXLOWER;
use std::path::Path;

/// The number of bytes of a slot's id that are shown: enough to name it in commands.
const SHOWN_SLOT_ID: usize = 4;
/// The most bytes of a locked vault that are looked through for a rollback.
const MAX_LOOKED_THROUGH: u64 = 16 << 20;

/// The status of a vault that nobody holds open. `anchors` is where this machine remembers vaults.
pub fn locked(file: &VaultFile, header: &Header, anchors: &Path) -> Status {
    let mut vault = describe(file.path(), file.seen().len, header, None);
    vault.rollback = rollback(file, header, anchors);
    Status {
        state: LockState::Locked,
        vault: Some(vault),
        daemon: None,
        snapshot: SnapshotStatus {
            state: SnapshotState::Sealed,
            generation: None,
            refs: 0,
            places: 0,
            since: None,
            failures: Vec::new(),
        },
    }
}

/// Looks for a rollback or a fork as far as that shows without a key.
///
/// # Errors
/// `vault.rollback`, `vault.fork`; `vault.*` and `file.*` if the file or the anchor can't be read.
pub fn glance(path: &Path, options: Options, anchors: &Path) -> Result<(), Failure> {
    let open = || -> Result<(VaultFile, Header), Failure> {
        let file = VaultFile::open(path, options)?;
        let header = Header::parse(&file.read_header()?)?;
        Ok((file, header))
    };
    let vault_id = open()?.1.vault_id();
    let anchor = Anchors::at(anchors).read(&vault_id)?;
    let Some(anchor) = anchor.and_then(|bytes| Anchor::parse(&bytes).ok()) else {
        return Ok(());
    };
    // The anchor first, then the file: commits of others make both go on.
    let (file, header) = open()?;
    let (newest, mac_at_seen) = look_through(&file, &header, &anchor)?;
    Ok(anchor::glance(&header, &anchor, newest, mac_at_seen)?)
}

/// The number of the newest frame, and the MAC of the frame with the number that the anchor
/// remembers, if there is one. Without the key neither is proven.
fn look_through(
    file: &VaultFile,
    header: &Header,
    anchor: &Anchor,
) -> Result<(u64, Option<[u8; 32]>), Failure> {
    let (mut newest, mut mac_at_seen) = (header.base_seq(), None);
    let mut frames = file.frames_from(header.bytes().len() as u64);
    while let Some((_, frame)) = frames.next_frame()? {
        let Some(head) = frame.first_chunk().and_then(|h| FrameHead::parse(h).ok()) else {
            break;
        };
        newest = newest.max(head.seq());
        if head.seq() == anchor.head.seq {
            mac_at_seen = frame.last_chunk().copied();
        }
    }
    Ok((newest, mac_at_seen))
}

/// The status of an opened vault.
///
/// # Errors
/// As [`OpenVault::catch_up`].
pub fn opened(vault: &mut OpenVault) -> Result<VaultStatus, Failure> {
    vault.catch_up()?;
    let inner = vault.vault();
    let meta = inner.vault_meta();
    let mut status = describe(vault.path(), vault.bytes(), inner.header(), Some(&meta));
    status.generation = Some(vault.generation());
    status.records = Some(inner.len() as u64);
    Ok(status)
}

/// The id of a slot as people see and name it.
pub fn shown_slot_id(slot: &Slot) -> String {
    HEXLOWER.encode(&slot.id[..SHOWN_SLOT_ID])
}

/// The name of a slot's kind, as `vault slot list` shows it.
pub fn slot_kind_name(kind: SlotKind) -> &'static str {
    match kind {
        SlotKind::Passphrase { keyfile: false, .. } => "passphrase",
        SlotKind::Passphrase { keyfile: true, .. } => "passphrase+key",
        SlotKind::Age => "age",
        SlotKind::RawKey {
            hint: RawKeyHint::File,
        } => "key",
        SlotKind::RawKey {
            hint: RawKeyHint::SystemdCredential,
        } => "systemd",
        SlotKind::RawKey {
            hint: RawKeyHint::Keyring,
        } => "keyring",
        SlotKind::RawKey {
            hint: RawKeyHint::RecoveryCode,
        } => "recovery",
        SlotKind::RawKey {
            hint: RawKeyHint::Kms,
        } => "kms",
        SlotKind::RawKey {
            hint: RawKeyHint::Tpm,
        } => "tpm",
        SlotKind::RawKey {
            hint: RawKeyHint::Other(_),
        } => "other key",
        SlotKind::Shamir => "shamir",
        SlotKind::Unknown(_) => "unknown",
    }
}

fn describe(path: &Path, bytes: u64, header: &Header, meta: Option<&VaultMeta>) -> VaultStatus {
    VaultStatus {
        id: HEXLOWER.encode(&header.vault_id()),
        path: path.display().to_string(),
        fingerprint: header.fingerprint(),
        epoch: header.epoch(),
        generation: None,
        records: None,
        bytes,
        rollback: None,
        slots: header
            .slots()
            .iter()
            .map(|slot| describe_slot(slot, meta))
            .collect(),
    }
}

/// A rollback that is worth showing; whoever opens the vault checks file and anchor.
fn rollback(file: &VaultFile, header: &Header, anchors: &Path) -> Option<Rollback> {
    let bytes = Anchors::at(anchors).read(&header.vault_id()).ok()??;
    let anchor = Anchor::parse(&bytes).ok()?;
    if file.seen().len > MAX_LOOKED_THROUGH || header.epoch() > anchor.epoch {
        return None;
    }
    let (generation, _) = look_through(file, header, &anchor).ok()?;
    let remembered = anchor.head.seq;
    (generation < remembered).then_some(Rollback {
        generation,
        remembered,
    })
}

fn describe_slot(slot: &Slot, meta: Option<&VaultMeta>) -> SlotStatus {
    let label = |meta: &VaultMeta| {
        let note = meta.slots.get(&HEXLOWER.encode(&slot.id));
        let label = note.map(|note| note.label.clone());
        label.filter(|label| !label.is_empty())
    };
    let kdf = match slot.kind {
        SlotKind::Passphrase { kdf, .. } => Some(format!(
            "argon2id {} MiB, {} passes",
            kdf.m_kib / 1024,
            kdf.t
        )),
        SlotKind::Age | SlotKind::RawKey { .. } | SlotKind::Shamir | SlotKind::Unknown(_) => None,
    };
    SlotStatus {
        id: shown_slot_id(slot),
        kind: slot_kind_name(slot.kind).to_owned(),
        label: meta.map(label),
        kdf,
    }
}

impl Runtime {
    /// How things stand; `daemon` is left to the daemon.
    ///
    /// # Errors
    /// As [`OpenVault::catch_up`].
    pub fn status(&self) -> Result<Status, Failure> {
        let vault = self.vault_status()?;
        let state = if vault.is_some() {
            LockState::Unlocked
        } else {
            LockState::Locked
        };
        Ok(Status {
            state,
            vault,
            daemon: None,
            snapshot: self.snapshot_status(),
        })
    }
}
