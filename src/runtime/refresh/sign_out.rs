//! Signing out: the tokens are revoked where the provider can, and forgotten either way.

use super::held::Held;
use super::{MAX_ROUNDS, Runtime, settled};
use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::oauth::{Account, Revoked, read_revocation, revoke_request};
use crate::runtime::service::Revocation;
use crate::store::RecordLock;
use crate::vault::{Change, Expect};

impl Runtime {
    /// Takes an account out of the vault. Its lock is held for it: a refresh that is under way
    /// would store tokens that nobody revokes.
    ///
    /// Revoked first: tokens that are forgotten and still valid are worse than a record whose
    /// tokens are revoked, which a crash in between leaves, and which the next refresh reports.
    ///
    /// # Errors
    /// `record.absent`; `ref.invalid` if the record holds no account; `vault.busy`, `vault.*`. That
    /// the provider did not revoke is in the answer, and no error.
    pub fn sign_out(&self, name: &RecordName, local_only: bool) -> Result<Revocation, Failure> {
        for _ in 0..MAX_ROUNDS {
            let (now, lock) = self.lock_current(name)?;
            let revocation = if local_only {
                Revocation::Skipped
            } else {
                self.revoke(&now.account)
            };
            let expect = Expect::Version(now.record.version);
            let outcome = self.with_vault(|vault| {
                let mut changes = settled(vault, name);
                changes.push(Change::Delete {
                    name: name.clone(),
                    expect,
                });
                vault.commit(changes)
            });
            drop(lock);
            match outcome {
                // Somebody signed in anew meanwhile; those tokens are meant too.
                Err(failure) if failure.code == Code::VaultConflict => {}
                Err(failure) => return Err(failure),
                Ok(_) => {
                    self.publish_records(&[name]);
                    return Ok(revocation);
                }
            }
        }
        let text = format!("{name}: it keeps changing while it is signed out");
        Err(Failure::new(Code::VaultConflict, text))
    }

    /// The account with its lock held.
    fn lock_current(&self, name: &RecordName) -> Result<(Held, RecordLock), Failure> {
        for _ in 0..MAX_ROUNDS {
            let key = self.held_account(name)?.lock_key();
            let lock = self.lock_account(key)?;
            let now = self.held_account(name)?;
            if now.lock_key() == key {
                return Ok((now, lock));
            }
        }
        let text = format!("{name}: its account keeps changing");
        Err(Failure::new(Code::VaultConflict, text))
    }

    /// The refresh token first (RFC 7009 section 2.1: its access tokens go with it); without one,
    /// the access token.
    fn revoke(&self, account: &Account) -> Revocation {
        let token = match &account.refresh {
            Some(refresh) => Revoked::Refresh(refresh),
            None => Revoked::Access(&account.access),
        };
        let Some(request) = revoke_request(&account.client, token) else {
            return Revocation::NotOffered;
        };
        let failure = match self.refreshing.http.send(&request) {
            Ok(answer) => match read_revocation(&answer, account.client.dialect) {
                Ok(()) => return Revocation::Revoked,
                Err(refusal) => Failure::from(refusal),
            },
            Err(error) => Failure::from(error),
        };
        Revocation::Failed(failure)
    }
}
