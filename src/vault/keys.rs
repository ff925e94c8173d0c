//! The sub-keys of one epoch: all that reading, writing and compacting need.
//!
//! Invariant: no root key can be computed from them, so a holder can neither make nor open slots.

use super::VaultError;
use super::wire::Fields;
use crate::crypto::derive::{
    AnchorMac, HeaderMac, IndexSeal, LogMac, RemoteMac, RootKey, SubKey, ValueRoot, derive_commit,
    derive_prk, derive_sub_key,
};
use crate::secret::{Key, SecretValue};
use std::sync::Arc;

const HANDOVER_MAGIC: [u8; 8] = *b"RSSK\x01\0\0\0";
const HANDOVER_LEN: usize = 8 + 16 + 4 + 32 + 6 * 32;

/// The sub-keys of one epoch of one vault. Cheap to clone; wiped with the last clone.
#[derive(Clone, Debug)]
pub struct SubKeys(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    vault_id: [u8; 16],
    epoch: u32,
    commit: [u8; 32],
    header: Key<HeaderMac>,
    index: Key<IndexSeal>,
    values: Key<ValueRoot>,
    log: Key<LogMac>,
    anchor: Key<AnchorMac>,
    remote: Key<RemoteMac>,
}

impl SubKeys {
    /// Derives the sub-keys of an epoch.
    pub fn derive(root: &RootKey, salt: &[u8; 32], vault_id: [u8; 16], epoch: u32) -> Self {
        let prk = derive_prk(salt, root);
        Self(Arc::new(Inner {
            vault_id,
            epoch,
            commit: derive_commit(&prk, &vault_id, epoch),
            header: derive_sub_key(&prk, &vault_id, epoch),
            index: derive_sub_key(&prk, &vault_id, epoch),
            values: derive_sub_key(&prk, &vault_id, epoch),
            log: derive_sub_key(&prk, &vault_id, epoch),
            anchor: derive_sub_key(&prk, &vault_id, epoch),
            remote: derive_sub_key(&prk, &vault_id, epoch),
        }))
    }

    /// The sub-keys as bytes, for handing them to the daemon. Not a part of the file format.
    pub fn to_secret(&self) -> SecretValue {
        let keys = &*self.0;
        SecretValue::build(HANDOVER_LEN, |out| {
            let parts: [&[u8]; 10] = [
                &HANDOVER_MAGIC,
                &keys.vault_id,
                &keys.epoch.to_le_bytes(),
                &keys.commit,
                keys.header.expose(),
                keys.index.expose(),
                keys.values.expose(),
                keys.log.expose(),
                keys.anchor.expose(),
                keys.remote.expose(),
            ];
            let mut rest = out;
            for part in parts {
                let (head, tail) = rest.split_at_mut(part.len());
                head.copy_from_slice(part);
                rest = tail;
            }
        })
    }

    /// The sub-keys out of what [`SubKeys::to_secret`] made. They prove themselves only against a
    /// header: [`super::Header::verify_with`].
    pub fn from_secret(secret: &SecretValue) -> Result<Self, VaultError> {
        let mut fields = Fields(secret.expose());
        if secret.len() != HANDOVER_LEN || fields.array() != Some(HANDOVER_MAGIC) {
            return Err(VaultError::Bug("these bytes are not sub-keys"));
        }
        Self::from_fields(&mut fields).ok_or(VaultError::Bug("these bytes are not sub-keys"))
    }

    fn from_fields(fields: &mut Fields<'_>) -> Option<Self> {
        fn key<P: SubKey>(fields: &mut Fields<'_>) -> Option<Key<P>> {
            let bytes = fields.take(32)?;
            Some(Key::build(|out| out.copy_from_slice(bytes)))
        }
        Some(Self(Arc::new(Inner {
            vault_id: fields.array()?,
            epoch: fields.u32()?,
            commit: fields.array()?,
            header: key(fields)?,
            index: key(fields)?,
            values: key(fields)?,
            log: key(fields)?,
            anchor: key(fields)?,
            remote: key(fields)?,
        })))
    }

    /// The vault that the keys belong to.
    pub fn vault_id(&self) -> [u8; 16] {
        self.0.vault_id
    }

    /// The epoch that the keys belong to.
    pub fn epoch(&self) -> u32 {
        self.0.epoch
    }

    /// The public commitment to the root key that these were derived from.
    pub fn key_commit(&self) -> &[u8; 32] {
        &self.0.commit
    }

    /// K_anc: also authenticates the audit chain.
    pub fn anchor(&self) -> &Key<AnchorMac> {
        &self.0.anchor
    }

    /// K_rem: row and tenant tags of a fleet store.
    pub fn remote(&self) -> &Key<RemoteMac> {
        &self.0.remote
    }

    pub(super) fn header(&self) -> &Key<HeaderMac> {
        &self.0.header
    }

    pub(super) fn index(&self) -> &Key<IndexSeal> {
        &self.0.index
    }

    pub(super) fn values(&self) -> &Key<ValueRoot> {
        &self.0.values
    }

    pub(super) fn log(&self) -> &Key<LogMac> {
        &self.0.log
    }
}
