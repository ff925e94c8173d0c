//! Suite 1: XChaCha20-Poly1305, HKDF-SHA-256, HMAC-SHA-256, SHA-256 and Argon2id, nothing else.
//!
//! Invariants: no choice of algorithms; all labels and derivations stand in [`mod@derive`];
//! every call that touches a key runs in a function that is never inlined and is followed by
//! [`bleach`], and no cipher, hash or MAC object outlives its call; keys are made in place in
//! [`crate::secret::Key`]. Deliberately not here: the file format (`vault`), age (`unlock`).
#![forbid(unsafe_code)]

pub mod aead;
pub mod derive;
pub mod hash;
pub mod passphrase;

use crate::sys::registers;

/// Randomness as an argument of the pure core.
pub trait Random {
    /// Fills a buffer with random bytes.
    fn fill(&mut self, buffer: &mut [u8]);
}

impl<F: FnMut(&mut [u8])> Random for F {
    fn fill(&mut self, buffer: &mut [u8]) {
        self(buffer);
    }
}

/// Random bytes of a fixed size: ids, nonces and salts, never keys (see `Key::build`).
pub fn make_bytes<const N: usize>(rng: &mut dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes);
    bytes
}

/// How much of the stack is overwritten after a call that had a key on it, in bytes.
const BLEACH: usize = 16 * 1024;

/// Overwrites the stack below the caller and the vector registers, where the call before left
/// copies of its key and of what it decrypted.
#[inline(never)]
pub(crate) fn bleach() {
    let mut below = [0u8; BLEACH];
    std::hint::black_box(&mut below);
    registers::wipe();
}

#[cfg(test)]
mod tests;
