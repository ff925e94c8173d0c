//! SHA-256 (FIPS 180-4), HMAC (RFC 2104), HKDF (RFC 5869), and comparing in constant time.

use super::bleach;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// The length of a digest and of a MAC in bytes. MACs are never truncated unless a field says so.
pub const MAC_LEN: usize = 32;

/// True if both are equal; the time depends on the lengths only.
pub fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

/// SHA-256 over the concatenation of public parts.
pub fn sha256(parts: &[&[u8]]) -> [u8; MAC_LEN] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// HMAC-SHA-256 over the concatenation of the parts.
pub fn mac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; MAC_LEN] {
    let tag = mac_unbleached(key, parts);
    bleach();
    tag
}

/// HKDF-Extract: fills `prk`.
pub fn extract(salt: &[u8], secret: &[u8], prk: &mut [u8; 32]) {
    extract_unbleached(salt, secret, prk);
    bleach();
}

/// HKDF-Expand over the concatenation of `info`: fills `out`.
///
/// # Panics
/// If `out` is longer than 255 digests.
pub fn expand(prk: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
    expand_unbleached(prk, info, out);
    bleach();
}

#[inline(never)]
fn mac_unbleached(key: &[u8; 32], parts: &[&[u8]]) -> [u8; MAC_LEN] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).expect("HMAC takes any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[inline(never)]
fn extract_unbleached(salt: &[u8], secret: &[u8], prk: &mut [u8; 32]) {
    let (mut output, _) = Hkdf::<Sha256>::extract(Some(salt), secret);
    prk.copy_from_slice(&output);
    output.as_mut_slice().zeroize();
}

#[inline(never)]
fn expand_unbleached(prk: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
    Hkdf::<Sha256>::from_prk(prk)
        .expect("a key of 32 bytes is as long as the digest")
        .expand_multi_info(info, out)
        .expect("the output is shorter than 255 digests");
}
