//! A new vault.

use super::frame::{FrameBuilder, FrameKind};
use super::header::HeaderFields;
use super::{Header, RootKey, Slot, SubKeys, VaultError, VaultMeta, op};
use crate::crypto::Random;

/// What a new vault is made of.
pub struct NewVault<'a> {
    /// Random.
    pub vault_id: [u8; 16],
    /// Random.
    pub salt: [u8; 32],
    /// Random.
    pub root: &'a RootKey,
    /// At least one, made in the context of this id and epoch 1.
    pub slots: Vec<Slot>,
    /// Notes of the slots, policy.
    pub meta: VaultMeta,
}

/// A new vault.
pub struct Created {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Its header.
    pub header: Header,
    /// Its sub-keys.
    pub keys: SubKeys,
}

/// The first epoch of every vault.
pub(super) const FIRST_EPOCH: u32 = 1;

/// Makes an empty vault of epoch 1.
pub fn create(new: NewVault<'_>, rng: &mut dyn Random) -> Result<Created, VaultError> {
    let NewVault {
        vault_id,
        salt,
        root,
        slots,
        mut meta,
    } = new;
    meta.retain_slots(slots.iter().map(|slot| &slot.id));
    let keys = SubKeys::derive(root, &salt, vault_id, FIRST_EPOCH);
    let fields = HeaderFields {
        vault_id,
        epoch: FIRST_EPOCH,
        flags: 0,
        rev: 1,
        base_seq: 1,
        salt,
        key_commit: *keys.key_commit(),
    };
    let header = Header::make(fields, &slots, &keys)?;
    let mut frames = FrameBuilder::new(&keys, FrameKind::Snapshot, 1, header.mac());
    op::write_ancestor(&mut frames.index, 0, &[0; 32], 0);
    if meta != VaultMeta::default() {
        op::write_vault(&mut frames.index, &meta.encode()?);
    }
    let mut bytes = header.bytes().to_vec();
    frames.close(true, rng, &mut bytes);
    Ok(Created {
        bytes,
        header,
        keys,
    })
}
