//! What `vault` refs give: values as they are, and of an OAuth record an access token.
//!
//! Invariant: no ref gives out a refresh token. Accounts whose token has to be renewed are renewed
//! side by side, with the vault free for everybody else.

use super::local::{Runtime, held};
use super::open_vault::OpenVault;
use super::refresh::Want;
use super::resolve::VaultValues;
use crate::config::VaultProvider;
use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::oauth::Account;
use crate::oauth::freshness::is_alive;
use crate::reference::SecretRef;
use crate::secret::SecretValue;
use crate::sys::clock;
use crate::vault::RecordKind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most accounts that one request renews at the same time.
pub const MAX_AT_ONCE: usize = 8;

/// The `vault` refs of a runtime, with access tokens as they are wanted.
pub(super) struct Values<'a> {
    pub runtime: &'a Runtime,
    pub want: Want,
}

/// What a `vault` ref points at.
pub(super) enum Found {
    /// The value itself.
    Value(SecretValue),
    /// An OAuth record, sealed in it more than a ref gives.
    Account(RecordName, SecretValue),
}

impl VaultValues for Values<'_> {
    fn read(
        &self,
        provider: &VaultProvider,
        refs: &[SecretRef],
    ) -> Vec<Result<SecretValue, Failure>> {
        if provider.path.is_some() {
            let outside = self.runtime.outside.as_deref();
            return self.runtime.others.read(provider, refs, outside);
        }
        let found = self
            .runtime
            .with_vault(|vault| Ok(read_records(vault, refs)));
        let found = found.unwrap_or_else(|failure| {
            let failed = |_: &SecretRef| Err(failure.clone());
            refs.iter().map(failed).collect()
        });
        let mut accounts = Vec::new();
        let mut values = Vec::with_capacity(found.len());
        for (i, found) in found.into_iter().enumerate() {
            values.push(match found {
                Ok(Found::Value(value)) => Ok(value),
                Ok(Found::Account(name, _)) => {
                    accounts.push((i, name));
                    Err(Failure::new(Code::Bug, "an account without an answer"))
                }
                Err(failure) => Err(failure),
            });
        }
        for (i, token) in self.tokens(accounts) {
            values[i] = token;
        }
        values
    }
}

type Answers = Vec<(usize, Result<SecretValue, Failure>)>;

impl Values<'_> {
    /// The access tokens of accounts: those at hand first, then all others side by side.
    fn tokens(&self, accounts: Vec<(usize, RecordName)>) -> Answers {
        let mut answers = Answers::new();
        let mut others = Vec::new();
        for (i, name) in accounts {
            match self.runtime.token_at_hand(&name, &self.want) {
                Some(outcome) => answers.push((i, access(outcome))),
                None => others.push((i, name)),
            }
        }
        match others.as_slice() {
            [] => {}
            [(i, name)] => answers.push((*i, access(self.runtime.token(name, &self.want)))),
            others => answers.extend(self.renew_side_by_side(others)),
        }
        answers
    }

    fn renew_side_by_side(&self, accounts: &[(usize, RecordName)]) -> Answers {
        let next = AtomicUsize::new(0);
        let gathered = Mutex::new(Answers::new());
        std::thread::scope(|scope| {
            for _ in 0..workers(accounts.len()) {
                scope.spawn(|| {
                    while let Some((i, name)) = accounts.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let answer = access(self.runtime.token(name, &self.want));
                        held(&gathered).push((*i, answer));
                    }
                });
            }
        });
        gathered.into_inner().unwrap_or_else(|e| e.into_inner())
    }
}

/// How many threads renew so many accounts.
fn workers(accounts: usize) -> usize {
    accounts.min(MAX_AT_ONCE)
}

fn access(outcome: Result<super::refresh::Token, Failure>) -> Result<SecretValue, Failure> {
    outcome.map(|token| token.access.secret().clone())
}

/// Reads the records that `vault` refs name.
pub(super) fn read_records(
    vault: &mut OpenVault,
    refs: &[SecretRef],
) -> Vec<Result<Found, Failure>> {
    if let Err(failure) = vault.catch_up() {
        return refs.iter().map(|_| Err(failure.clone())).collect();
    }
    let values = vault.values(refs.iter().map(SecretRef::id));
    let found = |(reference, value): (&SecretRef, Result<_, Failure>)| {
        let (kind, value) = value.map_err(|failure| match failure.code {
            Code::RecordAbsent => Failure::new(Code::RefAbsent, failure.message),
            _ => failure,
        })?;
        match kind {
            RecordKind::OAuth => Ok(Found::Account(reference.id().parse()?, value)),
            _ => Ok(Found::Value(value)),
        }
    };
    refs.iter().zip(values).map(found).collect()
}

/// What a ref to another vault gives: there nothing is renewed, so an access token serves while it
/// lives.
pub(super) fn value_elsewhere(found: Found) -> Result<SecretValue, Failure> {
    let (name, value) = match found {
        Found::Value(value) => return Ok(value),
        Found::Account(name, value) => (name, value),
    };
    let account = Account::from_secret(&value)?;
    if is_alive(account.obtained_at, account.expires_at, clock::now()) {
        return Ok(account.access.secret().clone());
    }
    let text = format!(
        "{name}: its access token has ended, and tokens of another vault are not renewed from here"
    );
    Err(Failure::new(Code::OAuthUnavailable, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_over_the_limit_wait_for_their_turn() {
        assert_eq!(workers(2), 2);
        assert_eq!(workers(MAX_AT_ONCE), MAX_AT_ONCE);
        assert_eq!(workers(MAX_AT_ONCE + 1), MAX_AT_ONCE);
    }
}
