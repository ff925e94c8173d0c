//! How often a server may have something done once more: a person asked, a stream opened.

use crate::error::{Code, Failure};
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// How often a person is asked within [`A_WHILE`].
const MAX_SIGN_INS_A_WHILE: usize = 5;
/// See [`MAX_SIGN_INS_A_WHILE`].
const A_WHILE: Duration = Duration::from_secs(600);
/// A server that refuses tokens so soon after somebody signed in would refuse the next one too.
const JUST_NOW: Duration = Duration::from_secs(60);
/// The first wait before a stream is opened again, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// See [`FIRST_WAIT`].
const MAX_WAIT: Duration = Duration::from_secs(60);
/// How often in a row a stream is opened again in vain.
const MAX_REOPENINGS: u32 = 10;

/// What is known of earlier sign-ins.
#[derive(Default)]
pub(super) struct SignIns {
    /// The latest.
    at: VecDeque<Instant>,
    /// When the last one gave a token.
    granted: Option<Instant>,
    /// The scopes that a person was asked for and that did not come: nobody is asked twice.
    in_vain: BTreeSet<Vec<String>>,
}

impl SignIns {
    /// A person is about to be asked, unless that can't help.
    pub(super) fn begin(&mut self, wanted: &Vec<String>, for_more: bool) -> Result<(), Failure> {
        let refuse = |text: &str| Err(Failure::new(Code::OAuthSignIn, text));
        let useless = self.granted.is_some_and(|at| at.elapsed() < JUST_NOW);
        if useless && !for_more {
            return refuse("the server refuses the token that somebody just signed in for");
        }
        if self.in_vain.contains(wanted) {
            return refuse("a person was asked for this before, and it did not come");
        }
        while self.at.front().is_some_and(|at| at.elapsed() > A_WHILE) {
            self.at.pop_front();
        }
        if self.at.len() >= MAX_SIGN_INS_A_WHILE {
            return refuse("the server asks for sign-ins again and again; try later");
        }
        self.at.push_back(Instant::now());
        Ok(())
    }

    /// These scopes did not come, or are not known to have come.
    pub(super) fn was_in_vain(&mut self, wanted: Vec<String>) {
        self.in_vain.insert(wanted);
    }

    /// There is a token from it.
    pub(super) fn was_granted(&mut self) {
        self.granted = Some(Instant::now());
    }
}

/// The times that a stream was opened again since it brought something.
#[derive(Default)]
pub(super) struct Reopenings(u32);

impl Reopenings {
    /// It brought something.
    pub(super) fn begin_anew(&mut self) {
        self.0 = 0;
    }

    /// How long to wait before it is opened again: what the server asks for, within bounds; `None`:
    /// it was in vain too often.
    pub(super) fn wait(&mut self, asked_ms: Option<u64>) -> Option<Duration> {
        if self.0 >= MAX_REOPENINGS {
            return None;
        }
        let own = FIRST_WAIT.saturating_mul(1 << self.0.min(6));
        self.0 += 1;
        let wait = asked_ms.map_or(own, Duration::from_millis);
        Some(wait.clamp(FIRST_WAIT, MAX_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_not_asked_for_what_can_not_help() {
        let mut earlier = SignIns::default();
        let (one, none) = (vec!["a".to_owned()], Vec::new());
        assert!(earlier.begin(&none, false).is_ok());
        earlier.was_in_vain(one.clone());
        assert!(earlier.begin(&one, true).is_err());
        assert!(earlier.begin(&none, false).is_ok());
        earlier.was_granted();
        assert!(earlier.begin(&none, false).is_err());
        assert!(earlier.begin(&none, true).is_ok(), "more scopes may help");
        let mut often = SignIns::default();
        for _ in 0..MAX_SIGN_INS_A_WHILE {
            assert!(often.begin(&none, false).is_ok());
        }
        assert!(often.begin(&none, false).is_err());
    }

    #[test]
    fn a_server_has_no_say_in_a_hot_loop() {
        let wait = |ms| Reopenings::default().wait(Some(ms));
        assert_eq!(wait(0), Some(FIRST_WAIT));
        assert_eq!(wait(2500), Some(Duration::from_millis(2500)));
        assert_eq!(wait(3_600_000), Some(MAX_WAIT));
    }

    #[test]
    fn a_stream_that_brings_nothing_is_opened_again_so_often() {
        let mut reopenings = Reopenings::default();
        let own: Vec<_> = (0..MAX_REOPENINGS).map(|_| reopenings.wait(None)).collect();
        assert_eq!(own[..2], [Some(FIRST_WAIT), Some(FIRST_WAIT * 2)]);
        assert_eq!(own.last(), Some(&Some(MAX_WAIT)));
        assert_eq!(reopenings.wait(None), None);
        reopenings.begin_anew();
        assert_eq!(reopenings.wait(None), Some(FIRST_WAIT));
    }
}
