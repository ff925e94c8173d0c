//! How much memory and time a passphrase slot may cost on this machine.

/// The cost of a new passphrase slot: memory in KiB, passes, lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub m_kib: u32,
    /// Passes over the memory.
    pub t: u32,
    /// Lanes.
    pub p: u32,
}

/// The cost of `--kdf=minimal`.
pub const MINIMAL: Cost = Cost {
    m_kib: 19 << 10,
    t: 2,
    p: 1,
};

/// Measures this machine and picks the cost of a new passphrase slot: 0.5 to 1 second.
pub fn calibrate() -> Cost {
    todo!()
}
