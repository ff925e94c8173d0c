//! A keyslot's secret, shown for what only its holder may do.
//!
//! Invariants: one secret is tried at a time, whoever shows it, for a try may take a passphrase
//! slot's memory; of wrong ones a user has [`MAX_WRONG`] in [`WRONG_STEP`]; only somebody who has a
//! grant that needs a secret may try one.

use crate::daemon::frame::Present;
use crate::error::{Code, Failure};
use crate::secret::SecretValue;
use crate::unlock::Given;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The most wrong secrets of one user in [`WRONG_STEP`].
pub const MAX_WRONG: u32 = 5;
/// How long wrong secrets are counted together.
pub const WRONG_STEP: Duration = Duration::from_secs(600);

/// Who has shown how many wrong secrets. Held while one is tried.
#[derive(Debug, Default)]
pub(super) struct Proofs(Mutex<BTreeMap<u32, (Instant, u32)>>);

impl Proofs {
    /// Tries a secret, if this user may try another one.
    pub fn attempt(
        &self,
        uid: u32,
        now: Instant,
        open: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut wrong = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wrong.retain(|_, (since, _)| now.duration_since(*since) < WRONG_STEP);
        if wrong
            .get(&uid)
            .is_some_and(|(_, count)| *count >= MAX_WRONG)
        {
            let minutes = WRONG_STEP.as_secs() / 60;
            let text = format!("{MAX_WRONG} wrong secrets in {minutes} minutes: try again later");
            return Err(Failure::new(Code::DaemonBusy, text));
        }
        let outcome = open();
        match &outcome {
            Ok(()) => {
                wrong.remove(&uid);
            }
            Err(failure) if failure.code == Code::SlotNoMatch => {
                wrong.entry(uid).or_insert((now, 0)).1 += 1;
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
        let wrong = || Err(Failure::new(Code::SlotNoMatch, "wrong"));
        for _ in 0..MAX_WRONG {
            let failure = proofs.attempt(1, start, wrong).unwrap_err();
            assert_eq!(failure.code, Code::SlotNoMatch);
        }
        let right = || panic!("it must not be tried");
        assert_eq!(
            proofs.attempt(1, start, right).unwrap_err().code,
            Code::DaemonBusy
        );
        assert!(proofs.attempt(2, start, || Ok(())).is_ok());
        assert!(proofs.attempt(1, start + WRONG_STEP, || Ok(())).is_ok());
    }
}
