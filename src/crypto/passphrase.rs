//! Argon2id version 0x13 (RFC 9106) with a memory matrix of our own, wiped after use.
//!
//! `argon2::hash_password_into` is never called: it leaves its matrix, whose last block yields the
//! key, unwiped on the heap. Bounds of the cost are the caller's (`vault::slot`).

use super::bleach;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroize;

/// Why no key could be derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StretchError {
    /// The memory for the matrix is not there.
    #[error("there is not enough memory for the key derivation")]
    Memory,
    /// The cost parameters are none that Argon2 knows.
    #[error("the key derivation's cost is not one that Argon2id allows")]
    Cost,
}

/// Fills `out` with Argon2id(v0x13) of the passphrase; `m_kib` KiB of memory, `t` passes, `p`
/// lanes, computed on as many threads as there are cores.
pub fn stretch(
    passphrase: &[u8],
    salt: &[u8; 32],
    (m_kib, t, p): (u32, u32, u32),
    out: &mut [u8; 32],
) -> Result<(), StretchError> {
    let params = Params::new(m_kib, t, p, Some(out.len())).map_err(|_| StretchError::Cost)?;
    let mut matrix = Matrix::new(params.block_count())?;
    let outcome = stretch_unbleached(passphrase, salt, params, matrix.0.as_mut_slice(), out);
    bleach();
    outcome
}

#[inline(never)]
fn stretch_unbleached(
    passphrase: &[u8],
    salt: &[u8; 32],
    params: Params,
    matrix: &mut [Block],
    out: &mut [u8; 32],
) -> Result<(), StretchError> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(passphrase, salt, out, matrix)
        .map_err(|_| StretchError::Cost)
}

/// The memory matrix, wiped on drop.
struct Matrix(Vec<Block>);

impl Matrix {
    fn new(blocks: usize) -> Result<Self, StretchError> {
        let mut matrix = Vec::new();
        matrix
            .try_reserve_exact(blocks)
            .map_err(|_| StretchError::Memory)?;
        matrix.resize(blocks, Block::new());
        Ok(Self(matrix))
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        self.0.iter_mut().for_each(Zeroize::zeroize);
    }
}
