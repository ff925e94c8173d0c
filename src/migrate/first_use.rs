//! `credentials/oauth.json` in this program's own folder: accounts of a program of the family that
//! went before. They move into the vault when accounts are first used.
//!
//! The order is that of every move ([`apply`]): an entry goes once its account was sealed, was
//! compared, and is named by a profile. What can't be moved stays, and is said.

use super::entry::{self, Credential, SECRET_FIELDS};
use super::theirs::Edited;
use super::{NEW_PROFILES, is_of, meta, records_of};
use crate::apply::{self, Changes, Content, FileChange, NewRecord, Shown, site};
use crate::config::{Config, Path};
use crate::document::Editing;
use crate::error::Failure;
use crate::name::{AgentId, ProfileId, RecordName};
use crate::oauth::Account;
use crate::plan::Left;
use crate::profile::{Store, normal_provider};
use crate::reference::SecretRef;
use crate::runtime::service::Service;
use crate::store::StateDir;
use crate::vault::{RecordInfo, RecordKind};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// The most accounts that one file holds.
pub const MAX_ACCOUNTS: usize = 1024;

/// What the file holds.
pub struct FirstUse {
    path: PathBuf,
    before: Content,
    document: Editing,
    accounts: Vec<Older>,
    /// What can't be moved.
    pub left: Vec<Left>,
    /// The profiles of the accounts that moved.
    pub moved: Vec<ProfileId>,
}

struct Older {
    key: String,
    id: ProfileId,
    entry: Map<String, Value>,
    account: Box<Account>,
}

/// Where the accounts stand.
pub fn file(own: &StateDir) -> PathBuf {
    own.root().join("credentials/oauth.json")
}

impl FirstUse {
    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    /// `config.invalid` with the place; `file.*`.
    pub fn read(own: &StateDir, config: &Config) -> Result<Option<Self>, Failure> {
        let path = file(own);
        let Some(before) = site::read(&path)? else {
            return Ok(None);
        };
        let document = Editing::of(site::parse(&path, &before)?);
        let entries = document.value().as_object().cloned();
        let mut found = Self {
            path,
            before,
            document,
            accounts: Vec::new(),
            left: Vec::new(),
            moved: Vec::new(),
        };
        for (key, value) in entries.into_iter().flatten() {
            match older(&key, &value, config) {
                Ok(_) if found.accounts.len() == MAX_ACCOUNTS => {
                    found.leave(&key, format!("more than {MAX_ACCOUNTS} accounts"));
                }
                Ok(account) => found.accounts.push(account),
                Err(why) => found.leave(&key, why),
            }
        }
        Ok(Some(found))
    }

    /// True if nothing in it can be moved, so that no vault is needed.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    fn leave(&mut self, key: &str, why: impl Into<String>) {
        let place = format!("{}: {key}", self.path.display());
        self.left.push(Left::new(place, why));
    }

    /// Moves the accounts into the vault, with a profile of `main` for each that is missing.
    ///
    /// # Errors
    /// Those of [`apply::run`]; `profiles.invalid`.
    pub fn import(
        &mut self,
        own: &StateDir,
        config: &Config,
        service: &mut dyn Service,
    ) -> Result<(), Failure> {
        let there = records_of(service)?;
        let main = AgentId::main();
        let path = own.auth_profiles(&main);
        let mut profiles = Edited::read(path.clone(), NEW_PROFILES)?;
        let text = profiles.document.document()?;
        let store = Store::parse(text.text(), &path.display().to_string(), &config.defaults)?;
        let mut changes = Changes::default();
        for older in std::mem::take(&mut self.accounts) {
            match older.take(&store, &there, &mut changes.records, &mut profiles)? {
                Err(why) => self.leave(&older.key, why),
                Ok(()) => {
                    self.document.remove(&Path::of_keys([older.key.as_str()]))?;
                    self.moved.push(older.id);
                }
            }
        }
        if self.moved.is_empty() {
            return Ok(());
        }
        let rest = self.document.document()?;
        let is_all = rest.value().as_object().is_some_and(Map::is_empty);
        let text = Zeroizing::new(rest.text().as_bytes().to_vec());
        changes.scrubs.push(FileChange {
            after: (!is_all || self.path.is_symlink()).then_some(text),
            before: Some(self.before.clone()),
            path: self.path.clone(),
            edits: Vec::new(),
        });
        own.create_agent(&main)?;
        changes.files.extend(profiles.change()?);
        apply::run(service, &changes, &|| Ok(()), &mut |_| {})?;
        Ok(())
    }
}

fn older(key: &str, value: &Value, config: &Config) -> Result<Older, String> {
    let mut entry = value.as_object().cloned().ok_or("it is no entry")?;
    let provider = normal_provider(entry::text(&entry, "provider").unwrap_or(key));
    let id = format!("{provider}:default").parse::<ProfileId>();
    let id = id.map_err(|_| "its key is no provider")?;
    if !entry.contains_key("type") {
        entry.insert("type".to_owned(), "oauth".into());
    }
    let credential = entry::read(&provider, &entry, config)?;
    if let Some(field) = entry::not_in(&credential, &entry) {
        return Err(format!("its `{field}` would be lost: an account has none"));
    }
    match credential {
        Credential::Account(account) => Ok(Older {
            key: key.to_owned(),
            id,
            entry,
            account,
        }),
        Credential::Static { .. } => Err("it is no account".to_owned()),
    }
}

impl Older {
    /// Notes record and profile; why the entry stays if it does.
    fn take(
        &self,
        store: &Store,
        there: &BTreeMap<RecordName, RecordInfo>,
        records: &mut Vec<NewRecord>,
        profiles: &mut Edited,
    ) -> Result<Result<(), String>, Failure> {
        let known = there
            .iter()
            .find(|(_, info)| is_of(&info.meta, &self.account));
        let known = known.map(|(name, _)| name.clone());
        if let Some(old) = store.get(&self.id) {
            let is_it = known.is_some_and(|name| {
                old.kind.credential().reference() == Some(&SecretRef::to_record(&name))
            });
            return Ok(match is_it {
                true => Ok(()),
                false => Err(format!(
                    "profile {} is there and holds another credential; forget one of them \
                     (`reseal models auth logout`, or remove the entry)",
                    self.id
                )),
            });
        }
        let name = match known {
            Some(name) => name,
            None => {
                let name = self.free_name(there, records)?;
                records.push(NewRecord {
                    name: name.clone(),
                    kind: RecordKind::OAuth,
                    meta: meta(None, Some(&self.account)),
                    value: self.account.to_secret(),
                });
                name
            }
        };
        let reference = SecretRef::to_record(&name);
        let mut new = Map::new();
        new.insert("type".to_owned(), "oauth".into());
        new.insert("provider".to_owned(), self.id.provider().into());
        new.insert("oauthRef".to_owned(), reference.to_json());
        for (key, value) in &self.entry {
            let is_kept = !SECRET_FIELDS.contains(&key.as_str()) && key != "expires";
            if is_kept && !new.contains_key(key) {
                new.insert(key.clone(), value.clone());
            }
        }
        let at = Path::of_keys(["profiles", self.id.as_str()]);
        profiles.document.set(&at, new.into())?;
        profiles.note(self.id.to_string(), Shown::Nothing, Shown::Ref(reference));
        Ok(Ok(()))
    }

    fn free_name(
        &self,
        there: &BTreeMap<RecordName, RecordInfo>,
        records: &[NewRecord],
    ) -> Result<RecordName, Failure> {
        let base: RecordName = format!("oauth/{}", RecordName::for_profile(&self.id)?).parse()?;
        super::names(&base)
            .find(|name| {
                let is_new = records.iter().any(|record| record.name == *name);
                !is_new && !there.contains_key(name)
            })
            .ok_or_else(|| super::no_name(base.as_str()))
    }
}
