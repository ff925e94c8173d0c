//! Step 5: the answer, kept. It is never dropped, and the token that it replaces never sent again.
//!
//! First into the vault. If that fails, again; then sealed into the room that was kept for it; then
//! it stays in memory until one of them works. An access token is given out only once its
//! successor's refresh token is durable.

use super::Runtime;
use super::attempt::Attempt;
use super::flights::Landed;
use super::held::{Held, account_of, meta_of, sign_in_needed, token_of};
use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::oauth::{Account, RefreshToken, SignIn, SignInReason};
use crate::runtime::local::held as locked;
use crate::runtime::open_vault::OpenVault;
use crate::store::LockKey;
use crate::sys::{clock, random};
use crate::vault::{Change, Expect, Intent, Outcome, RecordId, RecordKind};
use std::time::Duration;

/// The pauses before each further try to store an answer.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(200),
];

/// An answer that is in memory only.
pub(super) struct Unsaved {
    account: Account,
    /// The refresh token that it replaces.
    sent: RefreshToken,
    intent: Intent,
    key: LockKey,
}

/// What became of an answer that could not be stored when it came.
pub(super) enum PutBy {
    /// There is none.
    Nothing,
    /// The record holds it now.
    Stored(Box<Held>),
    /// It waits in the spool, durable, because the vault can't be written.
    Waits(Box<Account>, Failure),
}

/// Where an answer went.
enum Stored {
    /// Into the record of this name.
    In(RecordName),
    /// Nowhere: somebody signed in or out meanwhile, so it is of no use.
    Superseded,
}

impl Runtime {
    /// Keeps what an attempt brought, and gives it out.
    pub(super) fn keep(&self, attempt: Attempt<'_>, name: &RecordName, account: Account) -> Landed {
        let before = &attempt.account;
        if !before.identity.is_unknown() && !before.identity_matches(&account) {
            self.mark(&attempt, SignInReason::Lost);
            let text = format!("{name}: the provider answered with tokens of another account");
            return Err(Failure::new(Code::OAuthInvalid, text));
        }
        let unsaved = Unsaved {
            account,
            sent: attempt.refresh.clone(),
            intent: attempt.intent,
            key: attempt.key,
        };
        let failure = match self.store_patiently(attempt.id, &unsaved) {
            Ok(Stored::In(name)) => {
                self.refreshing.backoffs.forget(&attempt.id);
                self.publish_records(&[&name]);
                return Ok(token_of(&name, &unsaved.account));
            }
            Ok(Stored::Superseded) => return self.held_account(name).map(|held| held.token()),
            Err(failure) => failure,
        };
        let Attempt { id, mut room, .. } = attempt;
        let put_by = self
            .seal_aside(&unsaved)
            .and_then(|sealed| Ok(room.put(&sealed)?));
        let token = token_of(name, &unsaved.account);
        if put_by.is_ok() {
            return Ok(token);
        }
        locked(&self.refreshing.unsaved).insert(id, unsaved);
        let text = format!(
            "{name}: the new token can't be stored and is kept in memory; free the disk and try \
             again: {failure}"
        );
        Err(Failure::new(failure.code, text))
    }

    fn store_patiently(&self, id: RecordId, unsaved: &Unsaved) -> Result<Stored, Failure> {
        let mut outcome = self.store(id, unsaved);
        for pause in PAUSES {
            match &outcome {
                Ok(_) => return outcome,
                Err(failure) if failure.code == Code::VaultSealed => return outcome,
                Err(_) => {}
            }
            std::thread::sleep(pause);
            outcome = self.store(id, unsaved);
        }
        outcome
    }

    /// One try to store an answer: the new token set and the end of all attempts, in one commit.
    fn store(&self, id: RecordId, unsaved: &Unsaved) -> Result<Stored, Failure> {
        self.with_vault(|vault| {
            let Some(held) = sent_by(vault, id, &unsaved.sent)? else {
                clear(vault, &unsaved.intent, Outcome::Settled);
                return Ok(Stored::Superseded);
            };
            let name = held.name().clone();
            let mut changes = vec![Change::Put {
                name: name.clone(),
                kind: RecordKind::OAuth,
                meta: meta_of(&held.record.meta, &unsaved.account, None),
                value: unsaved.account.to_secret(),
                expect: Expect::Version(held.record.version),
            }];
            changes.extend(ends(vault, &name, |intent| {
                if intent.attempt == unsaved.intent.attempt {
                    Outcome::Stored
                } else {
                    Outcome::Settled
                }
            }));
            vault.commit(changes)?;
            Ok(Stored::In(name))
        })
    }

    fn seal_aside(&self, unsaved: &Unsaved) -> Result<Vec<u8>, Failure> {
        let secret = unsaved.account.to_secret();
        self.with_vault(|vault| {
            let sealed = vault.vault();
            Ok(sealed.seal_aside(&unsaved.intent, &secret, &mut random::fill)?)
        })
    }

    /// Takes in an answer that could not be stored when it came, from memory or from the spool.
    /// The lock of the record is held.
    ///
    /// # Errors
    /// Why an answer that is in memory only can be stored nowhere.
    pub(super) fn adopt_put_by(&self, now: &Held, key: LockKey) -> Result<PutBy, Failure> {
        let in_memory = locked(&self.refreshing.unsaved).remove(&now.id);
        if let Some(unsaved) = in_memory
            && let Err(failure) = self.store_anywhere(now.id, &unsaved)
        {
            locked(&self.refreshing.unsaved).insert(now.id, unsaved);
            return Err(failure);
        }
        let spool = self.with_vault(|vault| Ok(vault.spool()))?;
        if let Some(sealed) = spool.read(key)? {
            if let Some(unsaved) = self.put_by_for(now, key, &sealed)?
                && let Err(failure) = self.store(now.id, &unsaved)
            {
                // The spool is durable, so it may be used; nothing may be sent.
                return Ok(PutBy::Waits(Box::new(unsaved.account), failure));
            }
            // Stored, or of an attempt that ended otherwise.
            spool.forget(key);
        }
        let newest = self.held_account(now.name())?;
        if newest.record.version == now.record.version {
            return Ok(PutBy::Nothing);
        }
        self.publish_records(&[newest.name()]);
        Ok(PutBy::Stored(Box::new(newest)))
    }

    /// The answer in a spool, if it is that of an attempt with the token that the record holds.
    fn put_by_for(
        &self,
        now: &Held,
        key: LockKey,
        sealed: &[u8],
    ) -> Result<Option<Unsaved>, Failure> {
        let opened = self.with_vault(|vault| Ok(vault.vault().open_aside(sealed)))?;
        let found = opened.ok().filter(|(intent, _)| {
            let known = |open: &Intent| open.attempt == intent.attempt;
            intent.id == now.id && now.unanswered.iter().any(known)
        });
        let (Some((intent, secret)), Some(sent)) = (found, &now.account.refresh) else {
            return Ok(None);
        };
        Ok(Some(Unsaved {
            account: account_of(now.name(), &secret)?,
            sent: sent.clone(),
            intent,
            key,
        }))
    }

    /// Into the vault, else into the spool.
    fn store_anywhere(&self, id: RecordId, unsaved: &Unsaved) -> Result<(), Failure> {
        let Err(failure) = self.store(id, unsaved) else {
            return Ok(());
        };
        let spool = self.with_vault(|vault| Ok(vault.spool()))?;
        let sealed = self.seal_aside(unsaved)?;
        let put_by = spool
            .reserve(unsaved.key)
            .and_then(|mut room| room.put(&sealed));
        put_by.map_err(|_| failure)
    }

    /// Stores what is in memory only, before the keys are wiped: the last chance.
    pub(super) fn save_what_is_unsaved(&self) {
        let all = std::mem::take(&mut *locked(&self.refreshing.unsaved));
        for (id, unsaved) in all {
            // If this fails too, the open intent tells the next holder that an answer is lost.
            let _ = self.store_anywhere(id, &unsaved);
        }
    }

    /// Ends an attempt that changed nothing. If that can't be stored, the attempt counts as
    /// unanswered, which errs on the safe side.
    pub(super) fn end(&self, attempt: &Attempt<'_>, outcome: Outcome) {
        let _ = self.with_vault(|vault| {
            clear(vault, &attempt.intent, outcome);
            Ok(())
        });
    }

    /// Marks the account of an attempt: only a new sign-in can help.
    pub(super) fn mark(&self, attempt: &Attempt<'_>, reason: SignInReason) {
        self.mark_account(attempt.id, &attempt.refresh, reason);
    }

    /// [`Runtime::mark`] without an attempt.
    pub(super) fn give_up(&self, now: &Held, reason: SignInReason) -> Failure {
        if let Some(refresh) = &now.account.refresh {
            self.mark_account(now.id, refresh, reason);
        }
        sign_in_needed(now.name(), reason)
    }

    /// If the mark can't be stored, the open intents stay, and the next holder comes to the same
    /// end.
    fn mark_account(&self, id: RecordId, sent: &RefreshToken, reason: SignInReason) {
        let since = clock::now();
        let marked = self.with_vault(|vault| {
            let Some(held) = sent_by(vault, id, sent)? else {
                return Ok(None);
            };
            let name = held.name().clone();
            let sign_in = SignIn { reason, since };
            let mut changes = vec![Change::Put {
                name: name.clone(),
                kind: RecordKind::OAuth,
                meta: meta_of(&held.record.meta, &held.account, Some(sign_in)),
                value: held.account.to_secret(),
                expect: Expect::Version(held.record.version),
            }];
            changes.extend(ends(vault, &name, |_| Outcome::Refused));
            vault.commit(changes)?;
            Ok(Some(name))
        });
        if let Ok(Some(name)) = marked {
            self.publish_records(&[&name]);
        }
    }
}

/// The record, if it still holds the refresh token that was sent: under whatever name.
fn sent_by(
    vault: &mut OpenVault,
    id: RecordId,
    sent: &RefreshToken,
) -> Result<Option<Held>, Failure> {
    vault.catch_up()?;
    let Some(name) = vault.vault().name_of(&id) else {
        return Ok(None);
    };
    let held = match Held::read(vault, &name) {
        // Something else stands there by now.
        Err(failure) if failure.code == Code::RefInvalid => return Ok(None),
        held => held?,
    };
    Ok(Some(held).filter(|held| held.account.refresh.as_ref() == Some(sent)))
}

/// The ends of all attempts on a record.
pub(super) fn ends(
    vault: &OpenVault,
    name: &RecordName,
    outcome: impl Fn(&Intent) -> Outcome,
) -> Vec<Change> {
    let open = vault.vault().intents_of(name).into_iter();
    open.map(|intent| Change::Clear {
        attempt: intent.attempt,
        outcome: outcome(&intent),
    })
    .collect()
}

fn clear(vault: &mut OpenVault, intent: &Intent, outcome: Outcome) {
    let attempt = intent.attempt;
    // It may have ended with the record. An attempt that stays open counts as unanswered.
    let _ = vault.commit(vec![Change::Clear { attempt, outcome }]);
}
