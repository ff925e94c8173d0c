//! The wall clock.

use crate::time::UnixMs;
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock now. A clock before 1970 reads as zero.
pub fn now() -> UnixMs {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    UnixMs(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
