//! A keyslot's secret, shown for what only its holder may do.
//!
//! Invariants: one secret is tried at a time, whoever shows it, for a try may take a passphrase
//! slot's memory; of wrong ones a user has [`MAX_WRONG`] in [`WRONG_STEP`], and so have all
//! together whom one grant is for; only somebody who has a grant that needs a secret may try one.

use crate::daemon::frame::Present;
use crate::error::{Code, Failure};
use crate::secret::SecretValue;
use crate::unlock::Given;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most wrong secrets of one user, and by one grant, in [`WRONG_STEP`].
pub const MAX_WRONG: u32 = 5;
/// How long wrong secrets are counted together.
pub const WRONG_STEP: Duration = Duration::from_secs(600);

/// Who has shown how many wrong secrets. Held while one is tried.
#[derive(Debug, Default)]
pub(super) struct Proofs(Mutex<BTreeMap<Whose, (Instant, u32)>>);

/// By what something is counted: wrong secrets, and questions to a person. A capability may be
/// shown by many users.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    User(u32),
    Grant(String),
}

impl Proofs {
    /// Tries a secret, if this user may try another one, and by this grant.
    pub fn attempt(
        &self,
        (uid, grant): (u32, Option<&str>),
        now: Instant,
        open: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|_, (since, _)| now.duration_since(*since) < WRONG_STEP);
        let grant = grant.map(|grant| Whose::Grant(grant.to_owned()));
        let whose: Vec<Whose> = [Whose::User(uid)].into_iter().chain(grant).collect();
        let spent = |whose| {
            wrong
                .get(whose)
                .is_some_and(|(_, count)| *count >= MAX_WRONG)
        };
        if whose.iter().any(spent) {
            let minutes = WRONG_STEP.as_secs() / 60;
            let text = format!("{MAX_WRONG} wrong secrets in {minutes} minutes: try again later");
            return Err(Failure::new(Code::DaemonBusy, text));
        }
        let outcome = open();
        match &outcome {
            Ok(()) => wrong.retain(|known, _| !whose.contains(known)),
            Err(failure) if failure.code == Code::SlotNoMatch => {
                for whose in whose {
                    wrong.entry(whose).or_insert((now, 0)).1 += 1;
                }
            }
            Err(_) => {}
        }
        outcome
    }
}

/// What is tried against the keyslots; `None` for what is no keyslot's secret.
pub(super) fn given(what: Present, secret: &SecretValue) -> Option<Given> {
    let mut given = Given {
        no_input: true,
        ..Given::default()
    };
    match what {
        Present::Passphrase => given.passphrase = Some(secret.clone()),
        Present::Key => given.raw_keys.push(secret.clone()),
        Present::RecoveryCode => given.recovery = Some(secret.clone()),
        Present::Capability => return None,
    }
    Some(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_secrets_are_counted_by_user_and_forgotten_in_time() {
        let proofs = Proofs::default();
        let start = Instant::now();
        for _ in 0..MAX_WRONG {
            let failure = proofs.attempt((1, None), start, wrong).unwrap_err();
            assert_eq!(failure.code, Code::SlotNoMatch);
        }
        let refused = proofs.attempt((1, Some("other")), start, untried);
        assert_eq!(refused.unwrap_err().code, Code::DaemonBusy);
        assert!(proofs.attempt((2, None), start, || Ok(())).is_ok());
        let later = start + WRONG_STEP;
        assert!(proofs.attempt((1, None), later, || Ok(())).is_ok());
    }

    #[test]
    fn wrong_secrets_of_many_users_are_counted_by_their_grant() {
        let proofs = Proofs::default();
        let start = Instant::now();
        for uid in 0..MAX_WRONG {
            let failure = proofs.attempt((uid, Some("g")), start, wrong).unwrap_err();
            assert_eq!(failure.code, Code::SlotNoMatch);
        }
        let refused = proofs.attempt((99, Some("g")), start, untried);
        assert_eq!(refused.unwrap_err().code, Code::DaemonBusy);
        let right = || Ok(());
        assert!(proofs.attempt((99, Some("other")), start, right).is_ok());
        let later = start + WRONG_STEP;
        assert!(proofs.attempt((99, Some("g")), later, right).is_ok());
    }

    fn wrong() -> Result<(), Failure> {
        Err(Failure::new(Code::SlotNoMatch, "wrong"))
    }

    fn untried() -> Result<(), Failure> {
        panic!("it must not be tried")
    }
}
