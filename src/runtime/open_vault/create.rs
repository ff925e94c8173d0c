//! A new vault: made whole, on the disk, remembered, never over something that is there.

use super::{OpenOptions, OpenVault};
use crate::crypto::Random;
use crate::error::Failure;
use crate::store::anchors::Anchors;
use crate::store::{self, Options, StoreError};
use crate::sys;
use crate::vault::slot::SlotContext;
use crate::vault::{Header, NewVault, RootKey, Slot, VaultMeta};
use std::path::Path;

/// The keyslots of a new vault, and what people call them.
pub struct Birth {
    /// At least one.
    pub slots: Vec<Slot>,
    /// Notes of the slots; policy.
    pub meta: VaultMeta,
}

impl OpenVault {
    /// Makes a new vault at a path where nothing stands, and opens it. `slots` gets the new
    /// vault's id and root key and wraps the key in the slots; the root key is wiped afterwards.
    ///
    /// # Errors
    /// `vault.exists`; those of `slots`; `vault.network_fs`; `file.*`.
    pub fn create(
        path: &Path,
        options: Options,
        anchors: &Path,
        slots: impl FnOnce(&SlotContext, &RootKey) -> Result<Birth, Failure>,
    ) -> Result<Self, Failure> {
        // Wrapping may take seconds and a person's typing; the real check is in the store.
        if path.symlink_metadata().is_ok() {
            return Err(StoreError::VaultExists(path.to_path_buf()).into());
        }
        let store = |bytes: &[u8]| store::create(path, options, bytes);
        Self::create_with(store, Anchors::at(anchors), slots)
    }

    /// [`OpenVault::create`] on any disk.
    ///
    /// # Errors
    /// As [`OpenVault::create`].
    pub(in crate::runtime) fn create_with(
        store: impl FnOnce(&[u8]) -> Result<store::VaultFile, StoreError>,
        anchors: Anchors,
        slots: impl FnOnce(&SlotContext, &RootKey) -> Result<Birth, Failure>,
    ) -> Result<Self, Failure> {
        let rng: &mut dyn Random = &mut sys::random::fill;
        let (mut vault_id, mut salt) = ([0; 16], [0; 32]);
        rng.fill(&mut vault_id);
        rng.fill(&mut salt);
        let root = RootKey::build(|key| rng.fill(key));
        let Birth { slots, meta } = slots(&SlotContext { vault_id, epoch: 1 }, &root)?;
        let new = NewVault {
            vault_id,
            salt,
            root: &root,
            slots,
            meta,
        };
        let created = crate::vault::create(new, rng)?;
        let file = store(&created.bytes)?;
        let header: &Header = &created.header;
        // Who makes a vault knows who made it, whatever kind of slot opens it later.
        let options = OpenOptions {
            authenticated: true,
            ..OpenOptions::default()
        };
        Self::open_with(file, header, created.keys, anchors, &options)
    }
}
