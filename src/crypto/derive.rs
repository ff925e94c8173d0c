//! Every label and every derivation of the vault format, on one screen.
//!
//! `Ext` and `Exp` are HKDF-Extract and HKDF-Expand with SHA-256 (RFC 5869). A label is ASCII and
//! ends in one zero byte; what follows it has a fixed length, so no two inputs can be confused.
//! `derive_` is deterministic; what is random is made by the caller (`make_`).

use super::bleach;
use super::hash::{MAC_LEN, equal, expand, extract, mac, sha256};
use super::passphrase::{StretchError, stretch};
use crate::secret::{Key, Purpose, SecretValue};

/// The label of the slot context, and of the wrapping keys derived from it.
pub const SLOT: &[u8] = b"reseal/1/slot\0";
/// The label of the value AEAD's associated data.
pub const VALUE_AAD: &[u8] = b"reseal/1/value\0";
/// The label that starts the plaintext of an age slot.
pub const AGE: &[u8] = b"reseal/1/age\0";
const COMMIT: &[u8] = b"reseal/1/commit\0";
const RECORD: &[u8] = b"reseal/1/record\0";
const FINGERPRINT: &[u8] = b"reseal/1/fp\0";
const RECOVERY: &[u8] = b"reseal/1/recovery\0";

macro_rules! purposes {
    ($($(#[$doc:meta])* $purpose:ident = $name:literal;)*) => {$(
        $(#[$doc])*
        pub enum $purpose {}
        impl Purpose for $purpose {
            const NAME: &'static str = $name;
        }
    )*};
}
macro_rules! sub_keys {
    ($($(#[$doc:meta])* $purpose:ident = $label:literal;)*) => {$(
        purposes! { $(#[$doc])* $purpose = $label; }
        impl SubKey for $purpose {
            const LABEL: &'static [u8] = concat!($label, "\0").as_bytes();
        }
    )*};
}

/// A key derived from the root key of an epoch.
pub trait SubKey: Purpose {
    /// The label, with its zero byte.
    const LABEL: &'static [u8];
}

purposes! {
    /// RK: 32 random bytes, new in every epoch; wrapped in every slot.
    Root = "root";
    /// `Ext(salt, RK)`; lives only while the sub-keys are derived.
    Pseudorandom = "pseudorandom";
    /// The AEAD key of one value.
    Record = "record";
    /// The first half of a slot's output: the AEAD key that wraps RK.
    Wrap = "wrap";
    /// Argon2id's output, followed by the key file's key if there is one.
    Stretched = "stretched";
}
sub_keys! {
    /// K_hdr: the MAC of the header.
    HeaderMac = "reseal/1/header-mac";
    /// K_idx: the AEAD of the frames' indexes.
    IndexSeal = "reseal/1/index";
    /// K_val: the pseudorandom key of the record keys.
    ValueRoot = "reseal/1/value";
    /// K_log: the MAC of the frames.
    LogMac = "reseal/1/log-mac";
    /// K_anc: the MAC of the anchor, of the audit chain, of intent tags.
    AnchorMac = "reseal/1/anchor";
    /// K_rem: row and tenant tags of a fleet store.
    RemoteMac = "reseal/1/remote";
    /// K_trail, from K_anc: the MAC of the lines of the daemon's log of decisions.
    TrailMac = "reseal/1/trail";
}

/// The root key (RK) of one epoch. Only slot and rekey operations need it.
pub type RootKey = Key<Root>;

/// `PRK = Ext(salt, RK)`.
pub fn derive_prk(salt: &[u8; 32], root: &RootKey) -> Key<Pseudorandom> {
    Key::build(|out| extract(salt, root.expose(), out))
}

/// `K_x = Exp(PRK, label ‖ vault_id ‖ u32 epoch, 32)`.
pub fn derive_sub_key<P: SubKey>(prk: &Key<Pseudorandom>, vault: &[u8; 16], epoch: u32) -> Key<P> {
    Key::build(|out| expand(prk.expose(), &[P::LABEL, vault, &epoch.to_le_bytes()], out))
}

/// `key_commit = Exp(PRK, "reseal/1/commit" ‖ 00 ‖ vault_id ‖ u32 epoch, 32)`: public. Finding two
/// root keys with one commitment means finding a collision of SHA-256.
pub fn derive_commit(prk: &Key<Pseudorandom>, vault: &[u8; 16], epoch: u32) -> [u8; 32] {
    let mut out = [0; 32];
    expand(
        prk.expose(),
        &[COMMIT, vault, &epoch.to_le_bytes()],
        &mut out,
    );
    out
}

/// `Exp(K_val, "reseal/1/record" ‖ 00 ‖ record_id ‖ u64 version ‖ nonce, 32)`: one message a key.
pub fn derive_record(
    values: &Key<ValueRoot>,
    id: &[u8; 16],
    version: u64,
    nonce: &[u8; 24],
) -> Key<Record> {
    Key::build(|out| derive_record_into(values, id, version, nonce, out))
}

/// [`derive_record`] in place of the key of another record.
pub fn derive_record_into(
    values: &Key<ValueRoot>,
    id: &[u8; 16],
    version: u64,
    nonce: &[u8; 24],
    out: &mut [u8; 32],
) {
    let version = version.to_le_bytes();
    expand(values.expose(), &[RECORD, id, &version, nonce], out);
}

/// `okm = Exp(Ext(vault_id ‖ slot_id, secret), ctx, 64)`: the wrapping key and the slot's public
/// commitment. `context` starts with [`SLOT`].
pub fn derive_wrap(
    vault: &[u8; 16],
    slot: &[u8; 16],
    secret: &[u8],
    context: &[u8],
) -> (Key<Wrap>, [u8; 32]) {
    let mut salt = [0; 32];
    salt[..16].copy_from_slice(vault);
    salt[16..].copy_from_slice(slot);
    let prk: Key<Pseudorandom> = Key::build(|out| extract(&salt, secret, out));
    let okm = SecretValue::build(64, |out| expand(prk.expose(), &[context], out));
    let mut commit = [0; 32];
    commit.copy_from_slice(&okm.expose()[32..]);
    (
        Key::build(|out| out.copy_from_slice(&okm.expose()[..32])),
        commit,
    )
}

/// `Argon2id(v0x13, passphrase, salt, m, t, p, 32) ‖ keyfile_key` (RFC 9106). The caller has
/// checked the cost.
pub fn derive_stretched(
    passphrase: &SecretValue,
    keyfile: Option<&SecretValue>,
    salt: &[u8; 32],
    cost: (u32, u32, u32),
) -> Result<SecretValue, StretchError> {
    let key: Key<Stretched> = Key::try_build(|out| stretch(passphrase.expose(), salt, cost, out))?;
    let keyfile = keyfile.map_or(&[] as &[u8], SecretValue::expose);
    Ok(SecretValue::build(32 + keyfile.len(), |out| {
        out[..32].copy_from_slice(key.expose());
        out[32..].copy_from_slice(keyfile);
    }))
}

/// `MAC(K_anc, refresh_token)[0..16]`: tells whether a token is the one of an intent.
pub fn derive_intent_tag(key: &Key<AnchorMac>, token: &SecretValue) -> [u8; 16] {
    let mut tag = [0; 16];
    tag.copy_from_slice(&mac(key.expose(), &[token.expose()])[..16]);
    tag
}

/// `SHA-256(capability)`: public; what the config of a daemon knows of a bearer's secret.
pub fn derive_capability_digest(capability: &SecretValue) -> [u8; 32] {
    let digest = sha256(&[capability.expose()]);
    bleach();
    digest
}

/// `Exp(K_anc, "reseal/1/trail" ‖ 00, 32)`: the MAC of the daemon's log of decisions.
pub fn derive_trail(key: &Key<AnchorMac>) -> Key<TrailMac> {
    Key::build(|out| expand(key.expose(), &[TrailMac::LABEL], out))
}

/// The MAC of this purpose over the parts (HMAC-SHA-256).
pub fn derive_mac<P: SubKey>(key: &Key<P>, parts: &[&[u8]]) -> [u8; MAC_LEN] {
    mac(key.expose(), parts)
}

/// True if `tag` is the MAC of this purpose over the parts; compared in constant time.
pub fn mac_matches<P: SubKey>(key: &Key<P>, parts: &[&[u8]], tag: &[u8]) -> bool {
    equal(&derive_mac(key, parts), tag)
}

/// The first 20 bytes of `SHA-256("reseal/1/fp" ‖ 00 ‖ vault_id ‖ key_commit)`: public.
pub fn derive_fingerprint(vault: &[u8; 16], commit: &[u8; 32]) -> [u8; 20] {
    let mut out = [0; 20];
    out.copy_from_slice(&sha256(&[FINGERPRINT, vault, commit])[..20]);
    out
}

/// The first 20 bits of `SHA-256("reseal/1/recovery" ‖ 00 ‖ code)`: finds typing errors, keeps
/// nothing from anyone who has the code.
pub fn derive_recovery_check(code: &[u8]) -> u32 {
    let hash = sha256(&[RECOVERY, code]);
    bleach();
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) >> 12
}
