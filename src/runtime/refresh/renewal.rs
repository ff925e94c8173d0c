//! What a daemon keeps fresh ahead of time: which accounts there are, and the renewal of one.

use super::{Runtime, Ttl, Want};
use crate::error::{Code, Failure, Kind};
use crate::name::RecordName;
use crate::oauth::AccountInfo;
use crate::time::UnixMs;
use crate::vault::{RecordInfo, RecordKind};
use std::time::Duration;

/// An account that has a refresh token and does not have to sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Its record.
    pub name: RecordName,
    /// The record's version.
    pub version: u64,
    /// Who issues its tokens.
    pub provider: String,
    /// When its access token was asked for.
    pub obtained_at: UnixMs,
    /// When it ends.
    pub expires_at: UnixMs,
}

/// What became of a renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// There is a new token, of this process or of another one.
    Done,
    /// Only a new sign-in helps. Told once.
    SignIn,
    /// Not now.
    Failed(Failure),
    /// There is nothing to renew any more, or the vault is locked.
    Gone,
}

impl Runtime {
    /// The accounts whose tokens can be renewed ahead of their end.
    ///
    /// # Errors
    /// `vault.sealed`, and whatever keeps the vault from being read.
    pub fn renewable(&self) -> Result<Vec<Due>, Failure> {
        let records = self.with_vault(|vault| {
            vault.catch_up()?;
            if vault.is_read_only() {
                return Ok(Vec::new());
            }
            Ok(vault.vault().infos_of(RecordKind::OAuth))
        })?;
        Ok(records.into_iter().filter_map(due).collect())
    }

    /// Renews the token of an account, unless the record has moved on from this version.
    pub fn renew(&self, name: &RecordName, version: u64) -> Renewal {
        let seen = match self.held_account(name) {
            Ok(seen) => seen,
            Err(failure) => return Renewal::of(failure),
        };
        if seen.record.version != version {
            return Renewal::Done;
        }
        let want = Want {
            ttl: Ttl::Fresh(Duration::ZERO),
            force: true,
        };
        match self.token(name, &want) {
            Ok(_) => Renewal::Done,
            Err(failure) => Renewal::of(failure),
        }
    }
}

impl Renewal {
    fn of(failure: Failure) -> Self {
        match failure.code {
            Code::VaultSealed | Code::RecordAbsent | Code::RefInvalid => Renewal::Gone,
            _ if failure.kind() == Kind::SignIn => Renewal::SignIn,
            _ => Renewal::Failed(failure),
        }
    }
}

fn due(record: RecordInfo) -> Option<Due> {
    let info = AccountInfo::from_json(record.meta.other.get(AccountInfo::KEY)?)?;
    if !info.refreshable || info.sign_in.is_some() {
        return None;
    }
    Some(Due {
        name: record.name,
        version: record.version,
        provider: info.provider,
        obtained_at: info.obtained_at,
        expires_at: record.meta.expires_at?,
    })
}
