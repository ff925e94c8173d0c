//! An OAuth record as it stands in the vault, and what it gives without a refresh.

use super::{Token, Ttl, Want};
use crate::error::{Code, Failure};
use crate::name::RecordName;
use crate::oauth::freshness::{is_alive, is_fresh};
use crate::oauth::{Account, AccountInfo, RefreshToken, SignIn, SignInReason};
use crate::runtime::open_vault::OpenVault;
use crate::runtime::service::TokenInfo;
use crate::secret::SecretValue;
use crate::store::LockKey;
use crate::time::UnixMs;
use crate::vault::{Intent, Meta, RecordId, RecordInfo, RecordKind};
use std::time::Duration;

/// An OAuth record, read and understood.
#[derive(Clone)]
pub(super) struct Held {
    pub id: RecordId,
    pub record: RecordInfo,
    pub account: Account,
    /// The attempts whose end is not recorded and that may have used its refresh token.
    pub unanswered: Vec<Intent>,
    /// Why the vault takes no change, if it was opened for reading only.
    pub read_only: Option<Failure>,
}

impl Held {
    /// Reads a record, as the vault was last looked at.
    ///
    /// # Errors
    /// `record.absent`; `ref.invalid` if it is of another kind; `vault.corrupt`, `vault.newer`.
    pub fn read(vault: &OpenVault, name: &RecordName) -> Result<Self, Failure> {
        let (record, value) = vault.get(name, None)?;
        if record.kind != RecordKind::OAuth {
            let text = format!("{name} holds no OAuth account");
            return Err(Failure::new(Code::RefInvalid, text));
        }
        let id = vault
            .vault()
            .id_of(name)
            .ok_or_else(|| Failure::new(Code::Bug, "a record without an identity"))?;
        let account = account_of(name, &value)?;
        let mut unanswered = vault.vault().intents_of(name);
        unanswered.retain(|intent| match &account.refresh {
            Some(token) => vault.vault().may_have_sent(intent, token.secret()),
            None => false,
        });
        Ok(Self {
            id,
            record,
            account,
            unanswered,
            read_only: vault.read_only_because().cloned(),
        })
    }

    pub fn name(&self) -> &RecordName {
        &self.record.name
    }

    /// What profiles of one account share; else what this record has alone.
    pub fn lock_key(&self) -> LockKey {
        let own = || {
            let mut key = [0; 8];
            key.copy_from_slice(&self.id.0[..8]);
            key
        };
        LockKey(self.account.lock_key().unwrap_or_else(own))
    }

    /// Since when, and why, only a new sign-in helps.
    pub fn sign_in(&self) -> Option<SignIn> {
        let json = self.record.meta.other.get(AccountInfo::KEY)?;
        AccountInfo::from_json(json)?.sign_in
    }

    /// True if its access token is what is wanted.
    pub fn suits(&self, ttl: Ttl, now: UnixMs) -> bool {
        let account = &self.account;
        match ttl {
            Ttl::Any => true,
            Ttl::Alive => self.is_alive(Duration::ZERO, now),
            Ttl::Fresh(wanted) => {
                let margin = account.client.refresh_margin;
                is_fresh(account.obtained_at, account.expires_at, now, margin, wanted)
            }
        }
    }

    /// True if its access token may serve while it can't be renewed.
    pub fn may_serve(&self, ttl: Ttl, now: UnixMs) -> bool {
        match ttl {
            Ttl::Any => true,
            Ttl::Alive => self.is_alive(Duration::ZERO, now),
            // What the caller asks for is not negotiable; our own margin is.
            Ttl::Fresh(wanted) => self.is_alive(wanted, now),
        }
    }

    fn is_alive(&self, left: Duration, now: UnixMs) -> bool {
        let (obtained, ends) = (self.account.obtained_at, self.account.expires_at);
        is_alive(obtained, ends, now) && is_alive(obtained, ends, now.plus(left))
    }

    /// The refresh token, if one may be sent at all.
    ///
    /// # Errors
    /// `oauth.sign_in_needed` if the account has to sign in again; whatever keeps the vault from
    /// being written.
    pub fn refresh_token(&self) -> Result<&RefreshToken, Failure> {
        if let Some(sign_in) = self.sign_in() {
            return Err(sign_in_needed(self.name(), sign_in.reason));
        }
        let Some(token) = &self.account.refresh else {
            let text = format!("{}: it has no refresh token; sign in again", self.name());
            return Err(Failure::new(Code::OAuthSignIn, text));
        };
        match &self.read_only {
            Some(why) => {
                let text = format!("{}: no token can be renewed: {why}", self.name());
                Err(Failure::new(why.code, text))
            }
            None => Ok(token),
        }
    }

    /// The access token, whatever its age.
    pub fn token(&self) -> Token {
        token_of(self.name(), &self.account)
    }

    /// What is answered without the network; `None` if it takes a refresh.
    pub fn at_hand(&self, want: &Want, now: UnixMs) -> Option<Result<Token, Failure>> {
        if !want.force && self.suits(want.ttl, now) {
            return Some(Ok(self.token()));
        }
        match self.refresh_token() {
            Ok(_) => None,
            Err(_) if !want.force && self.may_serve(want.ttl, now) => Some(Ok(self.token())),
            Err(failure) => Some(Err(failure)),
        }
    }
}

/// The value of an OAuth record, understood.
pub(super) fn account_of(name: &RecordName, value: &SecretValue) -> Result<Account, Failure> {
    Account::from_secret(value).map_err(|error| {
        let failure = Failure::from(error);
        Failure::new(failure.code, format!("{name}: {}", failure.message))
    })
}

/// The access token of an account.
pub(super) fn token_of(name: &RecordName, account: &Account) -> Token {
    let identity = account.identity.clone();
    Token {
        access: account.access.clone(),
        info: TokenInfo {
            name: name.clone(),
            expires_at: account.expires_at,
            account_id: identity.account_id,
            email: identity.email,
            token_type: account.token_type.clone(),
        },
    }
}

/// The metadata of a record that holds this account now.
pub(super) fn meta_of(old: &Meta, account: &Account, sign_in: Option<SignIn>) -> Meta {
    let mut meta = old.clone();
    let mut info = account.info();
    info.sign_in = sign_in;
    meta.created_at = None;
    meta.expires_at = account.expires_at;
    meta.other
        .insert(AccountInfo::KEY.to_owned(), info.to_json());
    meta
}

/// Why an account has to sign in again, honestly.
pub(super) fn sign_in_needed(name: &RecordName, reason: SignInReason) -> Failure {
    let why = match reason {
        SignInReason::Refused(reason) => {
            format!(
                "the provider refused its refresh token for good ({})",
                reason.as_str()
            )
        }
        SignInReason::Lost => "a refresh was sent and its answer was lost, so the old refresh \
            token is used up and the new one is not known (answer_lost)"
            .to_owned(),
    };
    let text = format!("{name}: the account has to sign in again: {why}");
    Failure::new(Code::OAuthSignIn, text)
}
