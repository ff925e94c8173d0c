//! XChaCha20-Poly1305 in place, the tag apart (draft-irtf-cfrg-xchacha-03, RFC 8439).
//!
//! Invariant: nothing is decrypted before the tag is checked.

use super::bleach;
use crate::secret::{Key, Purpose};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};

/// The length of a nonce in bytes; random, so that no counter has to be kept.
pub const NONCE_LEN: usize = 24;
/// The length of an authentication tag in bytes.
pub const TAG_LEN: usize = 16;

/// The ciphertext, the nonce, the associated data or the key is not the one that was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authentication tag does not match")]
pub struct Forged;

/// Encrypts `buffer` in place and returns the tag.
///
/// # Panics
/// If the buffer is longer than 256 GiB, the limit of ChaCha20.
pub fn seal<P: Purpose>(
    key: &Key<P>,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    buffer: &mut [u8],
) -> [u8; TAG_LEN] {
    let tag = seal_unbleached(key.expose(), nonce, aad, buffer);
    bleach();
    tag
}

/// Checks the tag, then decrypts `buffer` in place. On [`Forged`] the buffer is unchanged.
pub fn open<P: Purpose>(
    key: &Key<P>,
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Forged> {
    let outcome = open_unbleached(key.expose(), nonce, aad, buffer, tag);
    bleach();
    outcome
}

#[inline(never)]
fn seal_unbleached(
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    buffer: &mut [u8],
) -> [u8; TAG_LEN] {
    XChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(nonce.into(), aad, buffer.into())
        .expect("a buffer in memory is shorter than 256 GiB")
        .into()
}

#[inline(never)]
fn open_unbleached(
    key: &[u8; 32],
    nonce: &[u8; NONCE_LEN],
    aad: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Forged> {
    XChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(nonce.into(), aad, buffer.into(), tag.into())
        .map_err(|_| Forged)
}
