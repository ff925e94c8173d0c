//! Locked memory for keys and resolved values (stub: owner "sys").

use zeroize::Zeroize;

/// A fixed-size block of locked, zeroed memory; wiped on drop.
pub struct LockedBytes(Box<[u8]>);

impl LockedBytes {
    /// A block of `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        Self(vec![0; len].into_boxed_slice())
    }
    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }
    /// True if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
    /// The bytes, to be written in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Zeroize for LockedBytes {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        self.zeroize();
    }
}

/// How well secrets are held in memory, for `doctor` and `vault status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// `memfd_secret`: not even root reads it through `/proc`.
    SecretMemory,
    /// Anonymous pages, locked, kept out of core dumps.
    Locked,
    /// Anonymous pages that could not be locked: they may reach swap.
    Unlocked,
}

/// What backs the arena of this process, and how full it is.
#[derive(Clone, Copy, Debug)]
pub struct ArenaStatus {
    /// The best kind of memory that the kernel gave.
    pub backing: Backing,
    /// Bytes that the arena has.
    pub capacity: usize,
    /// Bytes in use.
    pub used: usize,
    /// Bytes that did not fit and lie on the wiped heap.
    pub overflow: usize,
}

/// What backs the arena of this process.
pub fn status() -> ArenaStatus {
    ArenaStatus {
        backing: Backing::Unlocked,
        capacity: 0,
        used: 0,
        overflow: 0,
    }
}
