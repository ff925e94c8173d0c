//! The time at which grants end, on a clock that can't be set back.

use crate::sys::clock;
use crate::time::UnixMs;
use std::time::Duration;

/// The time since a daemon's start by a clock that counts suspend, added to the time of then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    wall: UnixMs,
    boot: Duration,
}

impl Time {
    /// Starts now.
    pub fn start() -> Self {
        Self {
            wall: clock::now(),
            boot: clock::boottime(),
        }
    }

    /// Now, or later, if the system's clock was set back since the start: what has ended stays so.
    pub fn now(&self) -> UnixMs {
        self.at(clock::now(), clock::boottime())
    }

    fn at(&self, wall: UnixMs, boot: Duration) -> UnixMs {
        wall.max(self.wall.plus(boot.saturating_sub(self.boot)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_that_has_ended_stays_so_when_the_clock_is_set_back() {
        let minutes = |minutes: u64| UnixMs(minutes * 60_000);
        let since = |minutes: u64| Duration::from_secs(100 + minutes * 60);
        let time = Time {
            wall: minutes(1_000),
            boot: since(0),
        };
        for (wall, passed, now) in [
            (1_000, 0, 1_000),
            (1_030, 30, 1_030),
            // Set back, to before 1970 too.
            (500, 40, 1_040),
            (0, 50, 1_050),
            // Set ahead, and back again.
            (5_000, 60, 5_000),
            (1_070, 70, 1_070),
        ] {
            assert_eq!(
                time.at(minutes(wall), since(passed)),
                minutes(now),
                "{wall} {passed}"
            );
        }
        assert!(Time::start().now() >= clock::now());
    }
}
