//! How often others than the daemon's own user and root are served: each user has a pace, so that
//! one who asks without end leaves the processor to the rest.
//!
//! Whoever is faster waits instead of being refused: a refusal costs as much as a cheap answer, and
//! a client that meant no harm would have to try again. A connection counts like a request; it is
//! refused, as the thread that accepts must not wait. The algorithm is GCRA (ITU-T I.371): of each
//! user only the time is kept at which all that he asked would have come at an even pace.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The time for one request of a user at an even pace: a thousand a second.
pub const PACE: Duration = Duration::from_millis(1);
/// Requests of a user that are served at once after he has been quiet.
pub const BURST: u32 = 2_000;
/// Users whose pace is known at once; beyond that, that of the quietest is forgotten.
pub const MAX_PACED: usize = 1_024;

/// The pace of each user.
#[derive(Debug)]
pub(super) struct Pace {
    each: Duration,
    burst: Duration,
    /// When the last request of a user would have come at an even pace.
    users: Mutex<BTreeMap<u32, Duration>>,
}

impl Pace {
    /// Nobody has asked yet; a request takes `each`, and so many are served at once.
    pub fn new(each: Duration, burst: u32) -> Self {
        Self {
            each,
            burst: each.saturating_mul(burst),
            users: Mutex::default(),
        }
    }

    /// Counts a request of a user. Returns the time at which it may be served.
    pub fn request(&self, uid: u32, now: Duration) -> Duration {
        let mut users = self.users();
        self.count(&mut users, uid, now)
    }

    /// Counts a connection of a user, if there is room for it.
    pub fn connection(&self, uid: u32, now: Duration) -> bool {
        let mut users = self.users();
        let behind = users.get(&uid).map_or(now, |at| *at);
        let has_room = behind < now + self.burst;
        if has_room {
            self.count(&mut users, uid, now);
        }
        has_room
    }

    fn count(&self, users: &mut BTreeMap<u32, Duration>, uid: u32, now: Duration) -> Duration {
        if users.len() >= MAX_PACED && !users.contains_key(&uid) {
            users.retain(|_, at| *at > now);
            let quietest = users.iter().min_by_key(|(_, at)| **at);
            let quietest = quietest.map(|(uid, _)| *uid);
            if let Some(quietest) = quietest
                && users.len() >= MAX_PACED
            {
                users.remove(&quietest);
            }
        }
        let at = users.entry(uid).or_insert(now);
        *at = now.max(*at) + self.each;
        at.saturating_sub(self.burst)
    }

    fn users(&self) -> MutexGuard<'_, BTreeMap<u32, Duration>> {
        // Each change is complete by itself, also if a thread panics later.
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    /// How many requests of a user in a row are served without waiting.
    fn at_once(pace: &Pace, uid: u32, now: Duration) -> usize {
        (0..).take_while(|_| pace.request(uid, now) <= now).count()
    }

    #[test]
    fn a_user_is_served_as_often_as_the_pace_allows_and_then_waits() {
        let pace = Pace::new(PACE, BURST);
        assert_eq!(at_once(&pace, 1, NOW), BURST as usize);
        // The one that was counted over the limit waits for its turn, and the next for its own.
        assert_eq!(pace.request(1, NOW), NOW + 2 * PACE);
        assert_eq!(at_once(&pace, 2, NOW), BURST as usize);
        let later = NOW + 100 * PACE;
        assert_eq!(at_once(&pace, 1, later), 100 - 2);
        let rested = later + BURST * PACE + PACE;
        assert_eq!(at_once(&pace, 1, rested), BURST as usize);
    }

    #[test]
    fn a_connection_counts_and_has_to_have_room() {
        let pace = Pace::new(PACE, 3);
        for _ in 0..3 {
            assert!(pace.connection(1, NOW));
        }
        assert!(!pace.connection(1, NOW));
        assert!(pace.connection(2, NOW));
        // One that was refused does not count.
        assert_eq!(pace.request(1, NOW), NOW + PACE);
        assert!(!pace.connection(1, NOW + PACE));
        assert!(pace.connection(1, NOW + 2 * PACE));
    }

    #[test]
    fn of_many_users_the_quietest_is_forgotten() {
        let pace = Pace::new(PACE, 1);
        let known = |uid| pace.users().contains_key(&uid);
        pace.request(0, NOW);
        for uid in 0..MAX_PACED as u32 {
            pace.request(uid, NOW);
        }
        assert!(known(1));
        pace.request(MAX_PACED as u32, NOW);
        assert!(known(0) && !known(1) && known(MAX_PACED as u32));
        assert_eq!(pace.users().len(), MAX_PACED);
        // Who has kept the pace needs not be known.
        pace.request(7_777, NOW + PACE);
        assert_eq!(pace.users().keys().copied().collect::<Vec<_>>(), [0, 7_777]);
    }
}
