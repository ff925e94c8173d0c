//! The vault's own metadata (op 5): policy, and what people call the slots. Sealed in the index.

use super::VaultError;
use super::limits::MAX_VAULT_META;
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The vault's own metadata: a JSON object of at most 64 KiB; unknown members are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VaultMeta {
    /// Policy: not yet used by this version, kept as it is.
    #[serde(skip_serializing_if = "Map::is_empty", default)]
    pub policy: Map<String, Value>,
    /// What is known of the slots, by the slot's id in lower-case hex.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub slots: BTreeMap<String, SlotNote>,
    /// Members that this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What is known of one slot beyond what the header says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotNote {
    /// What people call it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub label: String,
    /// The recipients of an age slot, so that a rekey can wrap it again.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub recipients: Vec<String>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_at: Option<UnixMs>,
    /// Members that this version does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl VaultMeta {
    /// The note of a slot.
    pub fn slot(&self, id: &[u8; 16]) -> Option<&SlotNote> {
        self.slots.get(&hex(id))
    }

    /// Sets the note of a slot.
    pub fn set_slot(&mut self, id: &[u8; 16], note: SlotNote) {
        self.slots.insert(hex(id), note);
    }

    /// Forgets the notes of slots that are not in the list.
    pub fn retain_slots<'a>(&mut self, ids: impl Iterator<Item = &'a [u8; 16]>) {
        let kept: Vec<String> = ids.map(hex).collect();
        self.slots.retain(|id, _| kept.contains(id));
    }

    pub(super) fn parse(json: &[u8]) -> Result<Self, VaultError> {
        serde_json::from_slice(json).map_err(|_| VaultError::Corrupt("vault metadata"))
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, VaultError> {
        let json = serde_json::to_vec(self).map_err(|_| VaultError::Bug("metadata is not JSON"))?;
        if json.len() > MAX_VAULT_META {
            return Err(VaultError::Limit("vault metadata of 64 KiB"));
        }
        Ok(json)
    }
}

fn hex(id: &[u8; 16]) -> String {
    data_encoding::HEXLOWER.encode(id)
}
