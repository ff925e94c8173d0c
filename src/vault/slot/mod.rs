//! Keyslots: each wraps the root key in its own way.
//!
//! Invariants: a slot's bytes are kept as read, so an unknown kind survives every rewrite; a slot
//! that does not fit what was given is `None` ("absent"), one that fits but fails its checks is an
//! error ("broken"); the cost of a passphrase slot is checked before memory is asked for. Not
//! here: finding passphrases and identities, and age itself (`unlock`).

mod cost;
pub mod recovery;
mod wrap;

pub use cost::{KdfLimit, KdfParams};
pub use wrap::{
    AGE_PLAINTEXT_LEN, NewSlot, SlotContext, age_payload, age_plaintext, new_slot_id,
    open_passphrase, open_raw, root_from_age_plaintext,
};

use super::VaultError;
use super::limits::{MAX_AGE_FILE, MAX_PASSPHRASE_SLOTS, MAX_SLOT_BODY, MAX_SLOTS};
use super::wire::{Fields, len32};

/// Kind, flags, body length and id, in bytes.
const SLOT_HEAD: usize = 24;
const KIND_PASSPHRASE: u16 = 1;
const KIND_AGE: u16 = 2;
const KIND_RAW_KEY: u16 = 3;
const KIND_SHAMIR: u16 = 4;
/// Flag of a passphrase slot: a key file is needed too.
const FLAG_KEYFILE: u16 = 1;
const PASSPHRASE_PARAMS: usize = 44;
const RAW_KEY_PARAMS: usize = 8;
/// Commitment, nonce, wrapped root key, tag.
const WRAP_LEN: usize = 104;
/// How every binary age file of version 1 starts.
const AGE_MAGIC: &[u8] = b"age-encryption.org/v1\n";

/// One keyslot.
#[derive(Clone, PartialEq, Eq)]
pub struct Slot {
    /// The slot's id: random, unique in the vault.
    pub id: [u8; 16],
    /// What opens it.
    pub kind: SlotKind,
    code: u16,
    flags: u16,
    body: Box<[u8]>,
}

/// What opens a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// A passphrase, stretched with Argon2id.
    Passphrase {
        /// The cost.
        kdf: KdfParams,
        /// True if a key file is needed too.
        keyfile: bool,
    },
    /// An age v1 file: X25519, SSH and plugin identities.
    Age,
    /// 32 random bytes (20 for a recovery code) from somewhere.
    RawKey {
        /// Where they are to be found.
        hint: RawKeyHint,
    },
    /// Reserved for k-of-n shares.
    Shamir,
    /// A kind that this version does not know; kept as it is.
    Unknown(u16),
}

/// Where the key of a raw-key slot is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawKeyHint {
    /// A file or file descriptor.
    File,
    /// A systemd credential.
    SystemdCredential,
    /// The keyring of the operating system.
    Keyring,
    /// A recovery code on paper.
    RecoveryCode,
    /// An external key management service.
    Kms,
    /// A TPM.
    Tpm,
    /// A place that this version does not know.
    Other(u8),
}

impl RawKeyHint {
    fn from_byte(byte: u8) -> Self {
        match byte {
            1 => RawKeyHint::File,
            2 => RawKeyHint::SystemdCredential,
            3 => RawKeyHint::Keyring,
            4 => RawKeyHint::RecoveryCode,
            5 => RawKeyHint::Kms,
            6 => RawKeyHint::Tpm,
            other => RawKeyHint::Other(other),
        }
    }

    fn byte(self) -> u8 {
        match self {
            RawKeyHint::File => 1,
            RawKeyHint::SystemdCredential => 2,
            RawKeyHint::Keyring => 3,
            RawKeyHint::RecoveryCode => 4,
            RawKeyHint::Kms => 5,
            RawKeyHint::Tpm => 6,
            RawKeyHint::Other(byte) => byte,
        }
    }

    /// The length in bytes of the secret that opens such a slot.
    pub fn secret_len(self) -> usize {
        if self == RawKeyHint::RecoveryCode {
            recovery::CODE_LEN
        } else {
            32
        }
    }
}

impl Slot {
    /// True if this version knows how to open it.
    pub fn is_usable(&self) -> bool {
        match self.kind {
            SlotKind::Passphrase { .. } | SlotKind::Age | SlotKind::RawKey { .. } => true,
            SlotKind::Shamir | SlotKind::Unknown(_) => false,
        }
    }

    /// True if who opens it knows that the vault was made by someone with the same secret. A
    /// public-key slot says nothing about its maker.
    pub fn authenticates(&self) -> bool {
        matches!(
            self.kind,
            SlotKind::Passphrase { .. } | SlotKind::RawKey { .. }
        )
    }

    pub(super) fn parse(fields: &mut Fields<'_>) -> Result<Slot, VaultError> {
        let sizes = VaultError::Corrupt("keyslot sizes");
        let head = |fields: &mut Fields<'_>| {
            Some((
                fields.u16()?,
                fields.u16()?,
                fields.u32()?,
                fields.array::<16>()?,
            ))
        };
        let Some((code, flags, len, id)) = head(fields) else {
            return Err(sizes);
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > MAX_SLOT_BODY {
            return Err(VaultError::Corrupt("keyslot body over its limit"));
        }
        let body = fields.take(len).ok_or(sizes)?;
        let kind = parse_kind(code, flags, body)?;
        Ok(Slot {
            id,
            kind,
            code,
            flags,
            body: body.into(),
        })
    }

    pub(super) fn encoded_len(&self) -> usize {
        SLOT_HEAD + self.body.len()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.code.to_le_bytes());
        out.extend(self.flags.to_le_bytes());
        out.extend(len32(self.body.len()));
        out.extend(self.id);
        out.extend(&self.body);
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .finish()
    }
}

fn parse_kind(code: u16, flags: u16, body: &[u8]) -> Result<SlotKind, VaultError> {
    let sizes = VaultError::Corrupt("keyslot sizes");
    let kind = match code {
        KIND_PASSPHRASE => {
            if body.len() != PASSPHRASE_PARAMS + WRAP_LEN {
                return Err(sizes);
            }
            let kdf = KdfParams::parse(body).ok_or(sizes)?;
            SlotKind::Passphrase {
                kdf,
                keyfile: flags & FLAG_KEYFILE != 0,
            }
        }
        KIND_AGE => {
            let (len, file) = body.split_first_chunk::<4>().ok_or(sizes)?;
            let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
            if len != file.len() || len > MAX_AGE_FILE {
                return Err(VaultError::Corrupt("keyslot sizes"));
            }
            if !file.starts_with(AGE_MAGIC) {
                return Err(VaultError::Corrupt("age keyslot"));
            }
            SlotKind::Age
        }
        KIND_RAW_KEY => {
            if body.len() != RAW_KEY_PARAMS + WRAP_LEN {
                return Err(sizes);
            }
            if body[1..RAW_KEY_PARAMS].iter().any(|byte| *byte != 0) {
                return Err(VaultError::Corrupt("reserved bytes of a keyslot"));
            }
            SlotKind::RawKey {
                hint: RawKeyHint::from_byte(body[0]),
            }
        }
        KIND_SHAMIR => return Ok(SlotKind::Shamir),
        unknown => return Ok(SlotKind::Unknown(unknown)),
    };
    let known = if code == KIND_PASSPHRASE {
        FLAG_KEYFILE
    } else {
        0
    };
    if flags & !known != 0 {
        return Err(VaultError::Corrupt("reserved flags of a keyslot"));
    }
    Ok(kind)
}

/// The slots with one more.
pub fn add(slots: &[Slot], new: Slot) -> Result<Vec<Slot>, VaultError> {
    let is_passphrase = |slot: &&Slot| matches!(slot.kind, SlotKind::Passphrase { .. });
    if slots.len() >= MAX_SLOTS {
        return Err(VaultError::SlotLimit("32 keyslots"));
    }
    let passphrases = slots.iter().filter(is_passphrase).count();
    if is_passphrase(&&new) && passphrases >= MAX_PASSPHRASE_SLOTS {
        return Err(VaultError::SlotLimit("4 passphrase keyslots"));
    }
    Ok(slots.iter().cloned().chain([new]).collect())
}

/// The slots without one. The last usable one stays.
pub fn remove(slots: &[Slot], id: &[u8; 16]) -> Result<Vec<Slot>, VaultError> {
    let rest: Vec<Slot> = slots
        .iter()
        .filter(|slot| slot.id != *id)
        .cloned()
        .collect();
    if rest.len() == slots.len() {
        return Err(VaultError::SlotAbsent);
    }
    if rest.iter().any(Slot::is_usable) {
        Ok(rest)
    } else {
        Err(VaultError::SlotLast)
    }
}

/// The slots with one exchanged for a new one, in its place.
pub fn replace(slots: &[Slot], id: &[u8; 16], new: Slot) -> Result<Vec<Slot>, VaultError> {
    let at = slots
        .iter()
        .position(|slot| slot.id == *id)
        .ok_or(VaultError::SlotAbsent)?;
    let mut rest = slots.to_vec();
    rest.remove(at);
    let mut all = add(&rest, new)?;
    let new = all.pop().ok_or(VaultError::SlotAbsent)?;
    all.insert(at, new);
    Ok(all)
}
