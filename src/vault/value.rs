//! Sealed values: one key for each version of each record, and padding that hides small lengths.

use super::VaultError;
use super::record::ValueAt;
use super::{RecordId, RecordKind, SubKeys};
use crate::crypto::derive::{Record, VALUE_AAD, derive_record, derive_record_into};
use crate::crypto::{Random, aead, make_bytes};
use crate::secret::{Key, MAX_VALUE, SecretValue};
use crate::sys::arena::LockedBytes;
use zeroize::Zeroize;

/// The length in bytes of the padded plaintext of a payload: four bytes of length and the payload,
/// filled up to steps of 256 bytes (to 4 KiB), 1 KiB (to 64 KiB) or 4 KiB (above).
pub const fn padded_len(payload: usize) -> usize {
    let total = payload + 4;
    let step = if total <= 4_096 {
        256
    } else if total <= 65_536 {
        1_024
    } else {
        4_096
    };
    total.div_ceil(step) * step
}

/// The length in bytes of the sealed value of a payload.
pub(super) const fn blob_len(payload: usize) -> usize {
    aead::NONCE_LEN + padded_len(payload) + aead::TAG_LEN
}

/// The payload inside a padded plaintext. Fails if the length or the padding is not what the
/// format says; there is one encoding only.
pub fn unpad(plaintext: &[u8]) -> Result<&[u8], VaultError> {
    let broken = VaultError::Corrupt("padding of a value");
    let Some((len, rest)) = plaintext.split_first_chunk::<4>() else {
        return Err(broken);
    };
    let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
    if len > MAX_VALUE || padded_len(len) != plaintext.len() {
        return Err(broken);
    }
    let (payload, padding) = rest.split_at(len);
    if padding.iter().fold(0, |all, byte| all | byte) == 0 {
        Ok(payload)
    } else {
        Err(broken)
    }
}

/// What a value's ciphertext is bound to.
fn associated_data(
    keys: &SubKeys,
    id: &RecordId,
    version: u64,
    kind: RecordKind,
) -> [u8; VALUE_AAD.len() + 45] {
    let mut aad = [0; VALUE_AAD.len() + 45];
    let epoch = keys.epoch().to_le_bytes();
    let parts: [&[u8]; 6] = [
        VALUE_AAD,
        &keys.vault_id(),
        &epoch,
        &id.0,
        &version.to_le_bytes(),
        &[kind.code()],
    ];
    let mut at = 0;
    for part in parts {
        aad[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    aad
}

/// Seals a payload and appends `nonce ‖ ct ‖ tag`. The plaintext is encrypted where it is written,
/// in memory that does not move: the room is reserved first.
pub(super) fn seal(
    keys: &SubKeys,
    (id, version, kind): (&RecordId, u64, RecordKind),
    payload: &SecretValue,
    rng: &mut dyn Random,
    out: &mut Vec<u8>,
) {
    out.reserve(blob_len(payload.len()));
    let nonce: [u8; aead::NONCE_LEN] = make_bytes(rng);
    out.extend(nonce);
    let start = out.len();
    out.extend(super::wire::len32(payload.len()));
    out.extend(payload.expose());
    out.resize(start + padded_len(payload.len()), 0);
    let key = derive_record(keys.values(), &id.0, version, &nonce);
    let aad = associated_data(keys, id, version, kind);
    let tag = aead::seal(&key, &nonce, &aad, &mut out[start..]);
    out.extend(tag);
}

/// Room in locked memory in which values are opened one after the other. What an opening left in it
/// is wiped before the next, or with the room.
pub struct Room {
    key: Key<Record>,
    plaintext: LockedBytes,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            key: Key::build(|_| {}),
            plaintext: LockedBytes::zeroed(0),
        }
    }
}

impl Room {
    /// Zero bytes, in memory that is kept if it is large enough.
    fn plaintext(&mut self, len: usize) -> &mut [u8] {
        if self.plaintext.len() < len {
            self.plaintext = LockedBytes::zeroed(len);
        }
        &mut self.plaintext.as_mut_slice()[..len]
    }
}

/// Opens a sealed value into locked memory.
pub(super) fn open(
    keys: &SubKeys,
    at: &ValueAt,
    blob: &[u8],
    room: &mut Room,
) -> Result<SecretValue, VaultError> {
    let short = VaultError::Corrupt("length of a sealed value");
    let Some((nonce, rest)) = blob.split_first_chunk::<{ aead::NONCE_LEN }>() else {
        return Err(short);
    };
    let Some((ct, tag)) = rest.split_last_chunk::<{ aead::TAG_LEN }>() else {
        return Err(short);
    };
    let aad = associated_data(keys, &at.id, at.version, at.kind);
    room.plaintext(ct.len()).copy_from_slice(ct);
    let Room { key, plaintext } = room;
    let plaintext = &mut plaintext.as_mut_slice()[..ct.len()];
    key.rebuild(|key| derive_record_into(keys.values(), &at.id.0, at.version, nonce, key));
    let opened = aead::open(key, nonce, &aad, plaintext, tag)
        .map_err(|_| VaultError::Corrupt("a sealed value"))
        .and_then(|()| Ok(SecretValue::copy_of(unpad(plaintext)?)));
    plaintext.zeroize();
    opened
}
