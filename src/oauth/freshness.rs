//! When a token is fresh, when it is renewed ahead of time, how long to wait after a failure.
//!
//! Pure arithmetic: `now` and the seed of the jitter are arguments. All results are bounded, so
//! that no clock and no server can make a refresh run in a loop or never.

use crate::time::UnixMs;
use std::time::Duration;

/// How long before its end a token counts as used up, at most.
pub const MARGIN: Duration = Duration::from_secs(300);
/// How far in the future a token may have been obtained: more means that the clock was set back,
/// and then its end says nothing.
pub const MAX_SKEW: Duration = Duration::from_secs(300);
/// The first wait after a failure, and the longest.
pub const FIRST_BACKOFF: Duration = Duration::from_secs(5);
/// See [`FIRST_BACKOFF`].
pub const MAX_BACKOFF: Duration = Duration::from_secs(600);
/// The longest `Retry-After` that is honoured.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// A token is renewed when this much of its lifetime is over, in millionths: 75 to 80 %, give or
/// take a tenth, so that accounts that signed in together don't refresh together.
const DUE_FROM: u64 = 675_000;
const DUE_TO: u64 = 880_000;
/// The largest part of a lifetime that a wanted remainder may take, in thousandths; with more, a
/// token would never be fresh.
const MAX_WANTED: u32 = 900;

/// How long before its end a token counts as used up: what the provider sets (at most half of the
/// lifetime), else [`MARGIN`], at most a tenth of the lifetime.
pub fn margin(lifetime: Option<Duration>, configured: Option<Duration>) -> Duration {
    let (wanted, part) = match configured {
        Some(configured) => (configured, 2),
        None => (MARGIN, 10),
    };
    lifetime.map_or(wanted, |lifetime| wanted.min(lifetime / part))
}

/// True if the token can be given out: more than the margin is left, and `wanted` (what a caller
/// asks for, at most nine tenths of the lifetime). A token whose end is not known is fresh until
/// it is refused.
pub fn is_fresh(
    obtained_at: UnixMs,
    expires_at: Option<UnixMs>,
    now: UnixMs,
    configured_margin: Option<Duration>,
    wanted: Duration,
) -> bool {
    let Some(expires_at) = expires_at else {
        return true;
    };
    if is_set_back(obtained_at, now) {
        return false;
    }
    let lifetime = obtained_at.until(expires_at);
    let wanted = wanted.min(lifetime * MAX_WANTED / 1000);
    let needed = margin(Some(lifetime), configured_margin).max(wanted);
    now.until(expires_at) > needed
}

/// True if the token is still valid, with nothing to spare: it may serve while a refresh fails.
pub fn is_alive(obtained_at: UnixMs, expires_at: Option<UnixMs>, now: UnixMs) -> bool {
    expires_at.is_none_or(|expires_at| now < expires_at) && !is_set_back(obtained_at, now)
}

/// True if the clock stands before the token was obtained, by more than [`MAX_SKEW`].
fn is_set_back(obtained_at: UnixMs, now: UnixMs) -> bool {
    now.until(obtained_at) > MAX_SKEW
}

/// When to renew a token ahead of its end: after 67.5 to 88 % of its lifetime, by the seed.
pub fn due_at(obtained_at: UnixMs, expires_at: UnixMs, seed: u64) -> UnixMs {
    let lifetime = expires_at.0.saturating_sub(obtained_at.0);
    let millionths = DUE_FROM + below(seed, DUE_TO - DUE_FROM + 1);
    let elapsed = u128::from(lifetime) * u128::from(millionths) / 1_000_000;
    UnixMs(
        obtained_at
            .0
            .saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX)),
    )
}

/// How long to wait after this many failures in a row (from 1): 5 s doubling to 10 min, of which
/// the seed takes up to half; or as long as the server asks, if that is longer, plus up to a tenth.
pub fn backoff(failures: u32, retry_after: Option<Duration>, seed: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let full = FIRST_BACKOFF
        .saturating_mul(1 << doublings)
        .min(MAX_BACKOFF);
    let own = full - part(full / 2, seed);
    match retry_after.map(|asked| asked.min(MAX_RETRY_AFTER)) {
        Some(asked) if asked > own => asked + part(asked / 10, seed),
        _ => own,
    }
}

/// A part of a duration, by the seed.
fn part(of: Duration, seed: u64) -> Duration {
    let millis = u64::try_from(of.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(below(seed, millis.saturating_add(1)))
}

/// A number below `bound`, evenly spread over the seeds (the finaliser of SplitMix64).
fn below(seed: u64, bound: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    u64::try_from((u128::from(mixed) * u128::from(bound)) >> 64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: u64 = 3_600_000;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_margin_is_five_minutes_or_a_tenth() {
        assert_eq!(margin(None, None), seconds(300));
        assert_eq!(margin(Some(seconds(3600)), None), seconds(300));
        assert_eq!(margin(Some(seconds(600)), None), seconds(60));
        assert_eq!(
            margin(Some(seconds(3600)), Some(seconds(900))),
            seconds(900)
        );
        assert_eq!(margin(Some(seconds(600)), Some(seconds(900))), seconds(300));
        assert_eq!(margin(Some(seconds(0)), None), seconds(0));
    }

    #[test]
    fn fresh_until_the_margin() {
        let fresh = |now, wanted| {
            let end = Some(UnixMs(HOUR));
            is_fresh(UnixMs(0), end, UnixMs(now), None, seconds(wanted))
        };
        assert!(fresh(HOUR - 300_001, 0));
        assert!(!fresh(HOUR - 300_000, 0));
        assert!(fresh(HOUR - 600_001, 600) && !fresh(HOUR - 600_000, 600));
        assert!(is_fresh(
            UnixMs(0),
            None,
            UnixMs(u64::MAX),
            None,
            seconds(9)
        ));
        assert!(is_alive(UnixMs(0), Some(UnixMs(5)), UnixMs(4)));
        assert!(!is_alive(UnixMs(0), Some(UnixMs(5)), UnixMs(5)));
    }

    #[test]
    fn a_clock_that_was_set_back_proves_nothing() {
        let (obtained, end) = (UnixMs(10 * HOUR), Some(UnixMs(11 * HOUR)));
        let skew = u64::try_from(MAX_SKEW.as_millis()).unwrap();
        let at = |now| is_fresh(obtained, end, UnixMs(now), None, Duration::ZERO);
        assert!(at(10 * HOUR - skew));
        assert!(!at(10 * HOUR - skew - 1) && !at(0));
        assert!(!is_alive(obtained, end, UnixMs(10 * HOUR - skew - 1)));
    }

    #[test]
    fn five_hundred_tokens_of_one_moment_are_not_due_together() {
        let mut due: Vec<u64> = (0..500)
            .map(|seed| due_at(UnixMs(0), UnixMs(HOUR), seed).0)
            .collect();
        due.sort_unstable();
        // 20.5 % of an hour are 738 s; evenly spread, a window of 30 s gets 20 of the 500.
        let busiest = due
            .iter()
            .map(|start| {
                due.iter()
                    .filter(|at| (*start..start + 30_000).contains(*at))
                    .count()
            })
            .max();
        assert!(busiest.unwrap() <= 45, "{busiest:?}");
        assert!(due[499] - due[0] > 600_000);
    }

    /// The first numbers of SplitMix64 from two seeds, as its authors' program gives them.
    #[test]
    fn numbers_are_spread_by_the_finaliser_of_splitmix64() {
        assert_eq!(below(0, u64::MAX), 0xe220_a839_7b1d_cdaf - 1);
        assert_eq!(below(1_234_567, u64::MAX), 6_457_827_717_110_365_317 - 1);
        // 0.8833 of each range, both ends included.
        let due = due_at(UnixMs(0), UnixMs(1_000_000), 0);
        assert_eq!(due, UnixMs(856_079));
        assert_eq!(backoff(1, None, 0), Duration::from_millis(5_000 - 2_209));
    }

    #[test]
    fn a_server_that_asks_for_less_than_the_own_wait_changes_nothing() {
        let own = backoff(5, None, 3);
        for asked in [Duration::ZERO, own / 2, own] {
            assert_eq!(backoff(5, Some(asked), 3), own, "{asked:?}");
        }
        let longer = own + Duration::from_millis(1);
        assert!(backoff(5, Some(longer), 3) > longer);
    }

    #[test]
    fn waits_double_to_the_longest() {
        assert!((2500..=5000).contains(&backoff(1, None, 3).as_millis()));
        assert!((5000..=10_000).contains(&backoff(2, None, 3).as_millis()));
        let longest = (0..1000).map(|seed| backoff(u32::MAX, None, seed)).max();
        assert!(longest <= Some(MAX_BACKOFF));
        let asked = backoff(1, Some(seconds(120)), 7);
        assert!((seconds(120)..=seconds(132)).contains(&asked));
        let far = backoff(1, Some(seconds(1 << 40)), 7);
        assert!(far <= MAX_RETRY_AFTER + MAX_RETRY_AFTER / 10);
    }

    proptest! {
        #[test]
        fn a_token_that_is_fresh_was_fresh_before(
            obtained in 0..HOUR, lifetime in 0..100 * HOUR, now in 0..100 * HOUR,
            earlier in 0..100 * HOUR, wanted in 0u64..100_000,
            margin in proptest::option::of(0..9999u64),
        ) {
            let (obtained, end) = (UnixMs(obtained), Some(UnixMs(obtained + lifetime)));
            let fresh = |now| {
                is_fresh(obtained, end, UnixMs(now), margin.map(seconds), seconds(wanted))
            };
            let earlier = earlier.clamp(obtained.0, now.max(obtained.0));
            prop_assert!(!fresh(now) || fresh(earlier));
            prop_assert!(!fresh(now) || is_alive(obtained, end, UnixMs(now)));
            // A token that was just granted is fresh, whatever is wanted of it.
            prop_assert!(lifetime == 0 || fresh(obtained.0));
        }

        #[test]
        fn due_lies_between_the_bounds_and_before_the_margin(
            obtained in any::<u32>(), lifetime in 1..1000 * HOUR, seed in any::<u64>(),
        ) {
            let obtained = UnixMs(obtained.into());
            let end = UnixMs(obtained.0 + lifetime);
            let due = due_at(obtained, end, seed);
            prop_assert!(due.0 - obtained.0 >= lifetime * DUE_FROM / 1_000_000);
            prop_assert!(due.0 - obtained.0 <= lifetime * DUE_TO / 1_000_000);
            prop_assert!(is_fresh(obtained, Some(end), due, None, Duration::ZERO) || lifetime < 10);
        }

        #[test]
        fn waits_are_bounded_and_honour_the_server(
            failures in any::<u32>(), asked in proptest::option::of(any::<u32>()),
            seed in any::<u64>(),
        ) {
            let asked = asked.map(|asked| seconds(asked.into()));
            let wait = backoff(failures, asked, seed);
            prop_assert!(wait >= FIRST_BACKOFF / 2);
            prop_assert!(wait <= MAX_RETRY_AFTER + MAX_RETRY_AFTER / 10);
            prop_assert!(wait >= asked.unwrap_or_default().min(MAX_RETRY_AFTER));
            prop_assert!(asked.is_some() || wait <= MAX_BACKOFF);
        }

        #[test]
        fn extreme_times_do_not_overflow(
            obtained in any::<u64>(), end in any::<u64>(), now in any::<u64>(),
            seed in any::<u64>(),
        ) {
            let due = due_at(UnixMs(obtained), UnixMs(end), seed);
            prop_assert!(due.0 >= obtained);
            is_fresh(UnixMs(obtained), Some(UnixMs(end)), UnixMs(now), None, Duration::MAX);
        }
    }
}
