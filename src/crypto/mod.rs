//! Primitives and every label and derivation of the format (stub: owner "vault").
#![forbid(unsafe_code)]

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
