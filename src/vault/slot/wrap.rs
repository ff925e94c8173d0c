//! Wrapping the root key in a slot, and getting it out again.

use super::{AGE_MAGIC, PASSPHRASE_PARAMS, RAW_KEY_PARAMS};
use super::{
    FLAG_KEYFILE, KIND_AGE, KIND_PASSPHRASE, KIND_RAW_KEY, KdfLimit, KdfParams, RawKeyHint, Slot,
    SlotKind, WRAP_LEN,
};
use crate::crypto::derive::{AGE, RootKey, SLOT, derive_stretched, derive_wrap};
use crate::crypto::hash::equal;
use crate::crypto::{Random, aead, make_bytes};
use crate::secret::SecretValue;
use crate::vault::VaultError;
use crate::vault::header::{Header, MAJOR, SUITE};
use crate::vault::limits::{MAX_AGE_FILE, MAX_PASSPHRASE};
use crate::vault::wire::len32;

/// The bytes that an age slot's file decrypts to: label, vault id, epoch, slot id, root key.
pub const AGE_PLAINTEXT_LEN: usize = 13 + 16 + 4 + 16 + 32;

/// What a slot is bound to, so that it can't be moved to another vault or epoch.
#[derive(Clone, Copy, Debug)]
pub struct SlotContext {
    /// The vault's id.
    pub vault_id: [u8; 16],
    /// The epoch of the root key.
    pub epoch: u32,
}

impl SlotContext {
    /// The context of the slots in this header.
    pub fn of(header: &Header) -> Self {
        Self {
            vault_id: header.vault_id(),
            epoch: header.epoch(),
        }
    }

    /// The context of the epoch after this one, for a rekey.
    pub fn next_epoch(self) -> Result<Self, VaultError> {
        let epoch = self
            .epoch
            .checked_add(1)
            .ok_or(VaultError::Limit("number of epochs"))?;
        Ok(Self { epoch, ..self })
    }
}

/// A slot to be made.
pub enum NewSlot {
    /// Opened by a passphrase, and a key file if there is one.
    Passphrase {
        /// 1 to 1,024 bytes.
        passphrase: SecretValue,
        /// 32 bytes.
        keyfile: Option<SecretValue>,
        /// The cost.
        kdf: KdfParams,
    },
    /// Opened by 32 random bytes, or the 20 of a recovery code.
    Raw {
        /// The bytes.
        secret: SecretValue,
        /// Where they will be found.
        hint: RawKeyHint,
    },
    /// Opened by 32 random bytes that lie in a keyring, in the entry that is named after the slot.
    /// Two steps: [`new_slot_id`], then make the entry.
    Keyring {
        /// The id that the entry is named after.
        id: [u8; 16],
        /// The bytes.
        secret: SecretValue,
    },
    /// Opened by an age identity. Two steps: [`new_slot_id`], then encrypt [`age_plaintext`] to
    /// the recipients.
    Age {
        /// The id that the plaintext names.
        id: [u8; 16],
        /// The binary age file.
        file: Vec<u8>,
    },
}

impl NewSlot {
    /// Makes the slot.
    pub fn wrap(
        &self,
        context: &SlotContext,
        root: &RootKey,
        rng: &mut dyn Random,
    ) -> Result<Slot, VaultError> {
        match self {
            NewSlot::Passphrase {
                passphrase,
                keyfile,
                kdf,
            } => wrap_passphrase(context, root, passphrase, keyfile.as_ref(), *kdf, rng),
            NewSlot::Raw { secret, hint } => {
                let id = new_slot_id(rng);
                wrap_raw(context, root, secret, *hint, id, rng)
            }
            NewSlot::Keyring { id, secret } => {
                wrap_raw(context, root, secret, RawKeyHint::Keyring, *id, rng)
            }
            NewSlot::Age { id, file } => wrap_age(id, file),
        }
    }
}

fn wrap_passphrase(
    context: &SlotContext,
    root: &RootKey,
    passphrase: &SecretValue,
    keyfile: Option<&SecretValue>,
    kdf: KdfParams,
    rng: &mut dyn Random,
) -> Result<Slot, VaultError> {
    check_passphrase(passphrase, keyfile)?;
    kdf.check(&KdfLimit::raised_to(u32::MAX / 1024))?;
    let salt: [u8; 32] = make_bytes(rng);
    let mut body = Vec::with_capacity(PASSPHRASE_PARAMS + WRAP_LEN);
    for number in [kdf.m_kib, kdf.t, kdf.p] {
        body.extend(number.to_le_bytes());
    }
    body.extend(salt);
    let secret =
        derive_stretched(passphrase, keyfile, &salt, kdf.triple()).map_err(VaultError::Stretch)?;
    let kind = SlotKind::Passphrase {
        kdf,
        keyfile: keyfile.is_some(),
    };
    let flags = if keyfile.is_some() { FLAG_KEYFILE } else { 0 };
    let id = new_slot_id(rng);
    let slot = Slot {
        id,
        kind,
        code: KIND_PASSPHRASE,
        flags,
        body: body.into(),
    };
    Ok(seal(slot, context, &secret, root, rng))
}

fn wrap_raw(
    context: &SlotContext,
    root: &RootKey,
    secret: &SecretValue,
    hint: RawKeyHint,
    id: [u8; 16],
    rng: &mut dyn Random,
) -> Result<Slot, VaultError> {
    check_raw(secret, hint)?;
    let mut params = [0; RAW_KEY_PARAMS];
    params[0] = hint.byte();
    let kind = SlotKind::RawKey { hint };
    let slot = Slot {
        id,
        kind,
        code: KIND_RAW_KEY,
        flags: 0,
        body: Box::new(params),
    };
    Ok(seal(slot, context, secret, root, rng))
}

fn wrap_age(id: &[u8; 16], file: &[u8]) -> Result<Slot, VaultError> {
    if file.len() > MAX_AGE_FILE {
        return Err(VaultError::SlotLimit("16 KiB for an age file"));
    }
    if !file.starts_with(AGE_MAGIC) {
        return Err(VaultError::Bug("an age slot needs a binary age file"));
    }
    let mut body = Vec::with_capacity(4 + file.len());
    body.extend(len32(file.len()));
    body.extend(file);
    let kind = SlotKind::Age;
    Ok(Slot {
        id: *id,
        kind,
        code: KIND_AGE,
        flags: 0,
        body: body.into(),
    })
}

/// A random id for a slot.
pub fn new_slot_id(rng: &mut dyn Random) -> [u8; 16] {
    make_bytes(rng)
}

/// Tries a passphrase, and a key file if the slot takes one. `None`: it is not the one of this
/// slot. The cost is checked against `limit` before memory is asked for.
pub fn open_passphrase(
    header: &Header,
    slot: &Slot,
    passphrase: &SecretValue,
    keyfile: Option<&SecretValue>,
    limit: &KdfLimit,
) -> Result<Option<RootKey>, VaultError> {
    let SlotKind::Passphrase {
        kdf,
        keyfile: needs_keyfile,
    } = slot.kind
    else {
        return Err(VaultError::SlotKind);
    };
    kdf.check(limit)?;
    if needs_keyfile && keyfile.is_none() {
        return Err(VaultError::KeyFile);
    }
    let keyfile = keyfile.filter(|_| needs_keyfile);
    check_passphrase(passphrase, keyfile)?;
    let salt = slot.body[12..]
        .first_chunk::<32>()
        .ok_or(VaultError::SlotKind)?;
    let secret =
        derive_stretched(passphrase, keyfile, salt, kdf.triple()).map_err(VaultError::Stretch)?;
    open(&SlotContext::of(header), slot, PASSPHRASE_PARAMS, &secret)
}

/// Tries a raw key or the bytes of a recovery code. `None`: it is not the one of this slot.
pub fn open_raw(
    header: &Header,
    slot: &Slot,
    secret: &SecretValue,
) -> Result<Option<RootKey>, VaultError> {
    let SlotKind::RawKey { hint } = slot.kind else {
        return Err(VaultError::SlotKind);
    };
    check_raw(secret, hint)?;
    open(&SlotContext::of(header), slot, RAW_KEY_PARAMS, secret)
}

/// The age file of an age slot; empty for a slot of another kind.
pub fn age_payload<'a>(_header: &Header, slot: &'a Slot) -> &'a [u8] {
    if slot.kind == SlotKind::Age {
        slot.body.get(4..).unwrap_or(&[])
    } else {
        &[]
    }
}

/// What an age slot's file has to hold.
pub fn age_plaintext(context: &SlotContext, slot_id: &[u8; 16], root: &RootKey) -> SecretValue {
    SecretValue::build(AGE_PLAINTEXT_LEN, |out| {
        let (public, key) = out.split_at_mut(AGE_PLAINTEXT_LEN - 32);
        public.copy_from_slice(&age_prefix(context, slot_id));
        key.copy_from_slice(root.expose());
    })
}

/// The root key out of the decrypted age file of a slot; every other field is checked.
pub fn root_from_age_plaintext(
    header: &Header,
    slot: &Slot,
    plaintext: &SecretValue,
) -> Result<RootKey, VaultError> {
    if slot.kind != SlotKind::Age {
        return Err(VaultError::SlotKind);
    }
    let prefix = age_prefix(&SlotContext::of(header), &slot.id);
    match plaintext.expose().split_at_checked(prefix.len()) {
        Some((public, key)) if public == prefix && key.len() == 32 => {
            Ok(RootKey::build(|out| out.copy_from_slice(key)))
        }
        _ => Err(VaultError::Corrupt(
            "the age keyslot is of another vault, epoch or slot",
        )),
    }
}

fn age_prefix(context: &SlotContext, slot_id: &[u8; 16]) -> Vec<u8> {
    let epoch = context.epoch.to_le_bytes();
    [AGE, &context.vault_id, &epoch, slot_id.as_slice()].concat()
}

fn check_passphrase(
    passphrase: &SecretValue,
    keyfile: Option<&SecretValue>,
) -> Result<(), VaultError> {
    if !(1..=MAX_PASSPHRASE).contains(&passphrase.len()) {
        return Err(VaultError::Passphrase);
    }
    if keyfile.is_some_and(|key| key.len() != 32) {
        return Err(VaultError::RawKey);
    }
    Ok(())
}

fn check_raw(secret: &SecretValue, hint: RawKeyHint) -> Result<(), VaultError> {
    if secret.len() == hint.secret_len() {
        Ok(())
    } else if hint == RawKeyHint::RecoveryCode {
        Err(VaultError::RecoveryCode)
    } else {
        Err(VaultError::RawKey)
    }
}

/// `ctx`: info of the key derivation and associated data of the wrap.
fn slot_context(context: &SlotContext, slot: &Slot, params: &[u8]) -> Vec<u8> {
    let mut ctx = Vec::with_capacity(64 + params.len());
    ctx.extend(SLOT);
    ctx.extend(MAJOR.to_le_bytes());
    ctx.extend(SUITE.to_le_bytes());
    ctx.extend(context.vault_id);
    ctx.extend(context.epoch.to_le_bytes());
    ctx.extend(slot.code.to_le_bytes());
    ctx.extend(slot.flags.to_le_bytes());
    ctx.extend(slot.id);
    ctx.extend(params);
    ctx
}

/// Appends the wrap to a slot whose body holds its parameters.
fn seal(
    slot: Slot,
    context: &SlotContext,
    secret: &SecretValue,
    root: &RootKey,
    rng: &mut dyn Random,
) -> Slot {
    let ctx = slot_context(context, &slot, &slot.body);
    let (key, commit) = derive_wrap(&context.vault_id, &slot.id, secret.expose(), &ctx);
    let nonce: [u8; aead::NONCE_LEN] = make_bytes(rng);
    let wrapped = SecretValue::build(32 + aead::TAG_LEN, |out| {
        let (ct, tag) = out.split_at_mut(32);
        ct.copy_from_slice(root.expose());
        tag.copy_from_slice(&aead::seal(&key, &nonce, &ctx, ct));
    });
    let body = [&*slot.body, &commit, &nonce, wrapped.expose()].concat();
    Slot {
        body: body.into(),
        ..slot
    }
}

/// Compares the commitment, then opens the wrap.
fn open(
    context: &SlotContext,
    slot: &Slot,
    params_len: usize,
    secret: &SecretValue,
) -> Result<Option<RootKey>, VaultError> {
    let broken = VaultError::Corrupt("keyslot sizes");
    let Some((params, wrap)) = slot.body.split_at_checked(params_len) else {
        return Err(broken);
    };
    let Some((slot_commit, wrap)) = wrap.split_first_chunk::<32>() else {
        return Err(broken);
    };
    let Some((nonce, wrap)) = wrap.split_first_chunk::<24>() else {
        return Err(broken);
    };
    let Some((ct, tag)) = wrap.split_first_chunk::<32>() else {
        return Err(broken);
    };
    let tag: &[u8; 16] = tag.try_into().map_err(|_| broken)?;
    let ctx = slot_context(context, slot, params);
    let (key, commit) = derive_wrap(&context.vault_id, &slot.id, secret.expose(), &ctx);
    if !equal(&commit, slot_commit) {
        return Ok(None);
    }
    RootKey::try_build(|out| {
        out.copy_from_slice(ct);
        aead::open(&key, nonce, &ctx, out, tag)
    })
    .map(Some)
    .map_err(|_| VaultError::Corrupt("the keyslot's wrapped key"))
}
