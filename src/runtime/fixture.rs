//! What tests of several layers share: a state folder with a new vault.

use super::open_vault::{Birth, OpenVault};
use crate::error::Failure;
use crate::secret::SecretValue;
use crate::store::{Options, StateDir};
use crate::sys::random;
use crate::vault::slot::{RawKeyHint, SlotContext};
use crate::vault::{NewSlot, RootKey, VaultMeta};

/// The key of the one keyslot.
pub const KEY: [u8; 32] = [7; 32];

/// A state folder `state` in a temporary one, and its new vault, open.
pub fn new_vault() -> (tempfile::TempDir, StateDir, OpenVault) {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::at(folder.path().join("state"));
    state.create().unwrap();
    let vault = OpenVault::create(
        &state.vault(),
        Options::default(),
        &state.anchors(),
        one_slot,
    );
    (folder, state, vault.unwrap())
}

/// How a vault is born that [`KEY`] opens.
pub fn one_slot(context: &SlotContext, root: &RootKey) -> Result<Birth, Failure> {
    let new = NewSlot::Raw {
        secret: SecretValue::copy_of(&KEY),
        hint: RawKeyHint::File,
    };
    Ok(Birth {
        slots: vec![new.wrap(context, root, &mut random::fill)?],
        meta: VaultMeta::default(),
    })
}
