//! Where a process has secrets, for `doctor`, `vault status` and the daemon's log.

use crate::sys::arena;
use serde::{Deserialize, Serialize};

/// Where a daemon has keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStatus {
    /// What kind of memory that is.
    pub kind: MemoryKind,
    /// Bytes that have no room in it and lie on the heap, which is wiped as well, but not locked.
    pub overflow: u64,
}

/// Kinds of memory for secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MemoryKind {
    /// Not even root reads it.
    Secret,
    /// It never reaches swap.
    Locked,
    /// It may reach swap.
    Unlocked,
}

impl MemoryStatus {
    /// Of this process.
    pub fn here() -> Self {
        let status = arena::status();
        let kind = match status.backing {
            arena::Backing::SecretMemory => MemoryKind::Secret,
            arena::Backing::Locked => MemoryKind::Locked,
            arena::Backing::Unlocked => MemoryKind::Unlocked,
        };
        let overflow = u64::try_from(status.overflow).unwrap_or(u64::MAX);
        Self { kind, overflow }
    }

    /// What is to be known of it and be done about it; `None` if all is well.
    pub fn warning(&self) -> Option<(String, &'static str)> {
        match (self.kind, self.overflow) {
            (MemoryKind::Unlocked, _) => Some((
                "memory can't be locked: secrets may reach swap".to_owned(),
                "raise the limit for locked memory (ulimit -l, LimitMEMLOCK=) to 8 MiB",
            )),
            (_, 0) => None,
            (_, overflow) => Some((
                format!("{overflow} bytes of secrets have no room in locked memory"),
                "name fewer large values in the config: there are 4 MiB for those in use",
            )),
        }
    }
}
