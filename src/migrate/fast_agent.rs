//! What fast-agent keeps in the keyring and the API keys in its config, moved on request.
//!
//! Its files stay as they are, like those of other programs. The entries of the keyring go: a
//! server that rotates refresh tokens knows one owner only. Invariant: an entry goes only if the
//! vault holds, or is to hold, just its tokens, or newer ones of the same refresh token. Reading
//! entries, and removing them once everything is stored and compared, is for the caller: no keyring
//! is opened here.

use super::entry;
use super::logins::{Login, Logins};
use super::ours::Own;
use super::{Left, Work, meta};
use crate::apply::NewRecord;
use crate::config::Config;
use crate::error::Failure;
use crate::name::{ProfileId, RecordName};
use crate::oauth::{AccessToken, Account, TokenSet};
use crate::plaintext::marker;
use crate::profile::{ProfileType, normal_provider};
use crate::secret::SecretValue;
use crate::token_store::fast_agent::Layout;
use crate::token_store::identity::identities;
use crate::vault::RecordKind;
use std::path::{Path, PathBuf};

/// An entry of the keyring that goes once what it holds is in the vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is.
    pub layout: Layout,
    /// What the token store finds it by.
    pub id: String,
    /// What it held when it was read: another token in it is newer than what moved.
    pub access: AccessToken,
}

impl Entry {
    /// As a person sees it.
    pub fn place(&self) -> String {
        let name = match self.layout {
            Layout::Mcp => identities(&self.id).pop().unwrap_or_default(),
            Layout::Codex | Layout::Provider => self.id.clone(),
        };
        let (service, user) = (self.layout.service(), self.layout.user(&name));
        format!("keyring: {service}/{user}")
    }
}

/// An entry that goes, and the record that has what it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moving {
    /// The entry.
    pub entry: Entry,
    /// The record.
    pub record: RecordName,
}

/// The account of an MCP server.
pub(super) struct ServerLogin {
    entry: Entry,
    name: RecordName,
    account: Account,
}

impl Logins {
    /// Adds the account of a model provider.
    pub fn add_account(
        &mut self,
        provider: &str,
        entry: Entry,
        tokens: &TokenSet,
        config: &Config,
    ) {
        let place = entry.place();
        let count = self.of_provider(provider);
        let id = match count {
            0 => format!("{provider}:fast-agent"),
            n => format!("{provider}:fast-agent-{}", n + 1),
        };
        let Ok(id) = id.parse::<ProfileId>() else {
            return self.leave(place, "its name is that of no provider");
        };
        match entry::of_tokens(provider, tokens, config) {
            Ok(credential) => self.found.push(Login {
                of: None,
                path: PathBuf::from(place),
                id,
                credential,
                entry: Some(entry),
            }),
            Err(why) => self.leave(place, why),
        }
    }

    /// Adds the API keys of a file, which stays as it is. Of two keys of a provider the first one
    /// that is added counts.
    pub fn add_keys(&mut self, path: &Path, keys: Vec<(String, SecretValue)>) {
        for (provider, key) in keys {
            let text = std::str::from_utf8(key.expose()).unwrap_or_default();
            if marker::of(text).is_some() {
                continue;
            }
            let provider = normal_provider(&provider);
            let place = format!("{}: {provider}.api_key", path.display());
            let Ok(id) = format!("{provider}:fast-agent").parse::<ProfileId>() else {
                self.leave(place, "its name is that of no provider");
                continue;
            };
            let is_first = !self.found.iter().any(|login| login.id == id);
            if is_first && let Ok(credential) = entry::fixed(ProfileType::ApiKey, Some(key), None) {
                self.found.push(Login {
                    of: None,
                    path: path.to_owned(),
                    id,
                    credential,
                    entry: None,
                });
            }
            let why = match is_first {
                true => {
                    "only a copy of it moves, because fast-agent knows no refs: take it out by \
                     hand, and start fast-agent with `reseal run`, which sets its variables"
                }
                false => "another key of this provider counts, for fast-agent and here",
            };
            self.leave(place, why);
        }
    }

    /// Adds the account of an MCP server.
    pub fn add_server(&mut self, entry: Entry, name: RecordName, account: Account) {
        self.servers.push(ServerLogin {
            entry,
            name,
            account,
        });
    }

    /// Notes something that stays where it is.
    pub fn leave(&mut self, place: String, why: impl Into<String>) {
        self.left.push(Left::new(place, why));
    }

    /// How many keys and accounts of a provider came from fast-agent so far.
    fn of_provider(&self, provider: &str) -> usize {
        let same = |login: &&Login| login.of.is_none() && login.id.provider() == provider;
        self.found.iter().filter(same).count()
    }
}

impl Work<'_> {
    /// Adds the accounts of MCP servers, under the names by which `auth` finds them.
    pub(super) fn servers(&mut self, own: &mut Own) -> Result<(), Failure> {
        let logins = self.wish.logins;
        for login in &logins.servers {
            let ServerLogin {
                entry,
                name,
                account,
            } = login;
            let value = account.to_secret();
            let planned = self.will_hold(name, &value, Some(account));
            let held = match planned {
                None => self.holds(name, &value, Some(account))?,
                planned => planned,
            };
            if held == Some(false) {
                let why = match planned {
                    Some(_) => format!("{name} takes the tokens of another entry of this server"),
                    None => format!("the vault has {name} already, with other tokens"),
                };
                let why = format!("{why}: remove one of them");
                own.left.push(Left::new(entry.place(), why));
                continue;
            }
            if held.is_none() {
                let record = NewRecord {
                    name: name.clone(),
                    kind: RecordKind::OAuth,
                    meta: meta(None, Some(account)),
                    value,
                };
                self.records.insert(name.clone(), record);
            }
            own.entries.push(Moving {
                entry: entry.clone(),
                record: name.clone(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
