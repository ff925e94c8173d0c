//! The cost of a passphrase slot, and its bounds: checked before any memory is asked for, so that
//! a hostile header can't make a reader run out of memory.

use super::VaultError;
use crate::vault::wire::Fields;

/// The cost of Argon2id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdfParams {
    /// Memory in KiB.
    pub m_kib: u32,
    /// Passes over the memory.
    pub t: u32,
    /// Lanes.
    pub p: u32,
}

impl KdfParams {
    /// The default: 256 MiB, 3 passes, 4 lanes; about 0.3 s on two cores.
    pub const DEFAULT: KdfParams = KdfParams {
        m_kib: 256 << 10,
        t: 3,
        p: 4,
    };
    /// The least that calibration chooses: 64 MiB, 3 passes, 4 lanes (RFC 9106, second choice).
    pub const FLOOR: KdfParams = KdfParams {
        m_kib: 64 << 10,
        t: 3,
        p: 4,
    };
    /// The least that the format allows: 19 MiB, 2 passes, 1 lane (the OWASP minimum).
    pub const MINIMAL: KdfParams = KdfParams {
        m_kib: KdfParams::MIN_M_KIB,
        t: 2,
        p: 1,
    };
    /// The least memory in KiB; far more than the 8 KiB for each lane that Argon2 asks for.
    pub const MIN_M_KIB: u32 = 19_456;
    /// The most passes.
    pub const MAX_T: u32 = 16;
    /// The most lanes.
    pub const MAX_P: u32 = 16;

    /// Checks the bounds of the format and those of this reader.
    pub fn check(&self, limit: &KdfLimit) -> Result<(), VaultError> {
        let KdfParams { m_kib, t, p } = *self;
        let refuse = |rule| {
            Err(VaultError::KdfLimit {
                mib: m_kib.div_ceil(1024),
                t,
                p,
                rule,
            })
        };
        if !(1..=Self::MAX_T).contains(&t) {
            return refuse("there are 1 to 16 passes");
        }
        if !(1..=Self::MAX_P).contains(&p) {
            return refuse("there are 1 to 16 lanes");
        }
        if m_kib < Self::MIN_M_KIB {
            return refuse("19 MiB is the least");
        }
        if m_kib > limit.max_m_kib {
            return refuse("2 GiB is the most, unless --kdf-limit allows more");
        }
        if u64::from(m_kib) * u64::from(t) > limit.max_m_t_kib {
            return refuse("memory times passes is at most 6 GiB, unless --kdf-limit allows more");
        }
        if limit
            .available_kib
            .is_some_and(|available| u64::from(m_kib) > available / 2)
        {
            return refuse("that is over half of the memory that is available");
        }
        Ok(())
    }

    pub(super) fn parse(params: &[u8]) -> Option<Self> {
        let mut fields = Fields(params);
        Some(Self {
            m_kib: fields.u32()?,
            t: fields.u32()?,
            p: fields.u32()?,
        })
    }

    pub(super) fn triple(self) -> (u32, u32, u32) {
        (self.m_kib, self.t, self.p)
    }
}

/// What a reader is willing to spend on one passphrase slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KdfLimit {
    /// The most memory in KiB.
    pub max_m_kib: u32,
    /// The most memory times passes in KiB.
    pub max_m_t_kib: u64,
    /// The memory that is available in KiB, if known; a slot may ask for half of it.
    pub available_kib: Option<u64>,
}

impl KdfLimit {
    /// The limits of a reader that was told nothing else: 2 GiB, 6 GiB of memory times passes.
    pub const DEFAULT: KdfLimit = KdfLimit {
        max_m_kib: 2 << 20,
        max_m_t_kib: 6 << 20,
        available_kib: None,
    };

    /// The limits that `--kdf-limit` raises to `mib` MiB: that much memory, three times that in
    /// memory times passes, never below the default, and no look at what is available.
    pub fn raised_to(mib: u32) -> Self {
        let m_kib = mib.saturating_mul(1024).max(Self::DEFAULT.max_m_kib);
        let max_m_t_kib = (u64::from(m_kib) * 3).max(Self::DEFAULT.max_m_t_kib);
        Self {
            max_m_kib: m_kib,
            max_m_t_kib,
            available_kib: None,
        }
    }
}
