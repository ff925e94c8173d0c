//! The other runtime's files while they are changed: the config, the profiles of each agent, and
//! the older files whose entries move into the profiles.

use super::entry::{self, Credential, SECRET_FIELDS};
use super::rows::Shelf;
use super::{NEW_PROFILES, Work, profile_place};
use crate::apply::row::{Row, RowChange};
use crate::apply::{Content, Draft, Edit, FileChange, Program, Shown, Site, site};
use crate::config::{Config, Path, ProviderConfig, Trust};
use crate::document::{Document, Editing};
use crate::error::Failure;
use crate::name::{AgentId, ProfileId, RecordName};
use crate::plaintext::marker;
use crate::plan::{Place, ProfileField, Upsert};
use crate::profile::{ProfileType, Store};
use crate::reference::SecretRef;
use crate::secret::SecretValue;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// A file while it is changed.
pub(super) struct Edited {
    path: PathBuf,
    before: Option<Content>,
    pub(super) document: Editing,
    edits: Vec<Edit>,
}

impl Edited {
    pub(super) fn read(path: PathBuf, empty: &str) -> Result<Self, Failure> {
        let before = site::read(&path)?;
        let name = path.display().to_string();
        let document = match &before {
            Some(bytes) => site::parse(&path, bytes)?,
            None => Document::parse(empty, &name)?,
        };
        Ok(Self {
            path,
            before,
            document: Editing::of(document),
            edits: Vec::new(),
        })
    }

    /// Profiles of their form, or of an older one that is written anew if an entry moves.
    fn profiles(path: PathBuf) -> Result<Self, Failure> {
        let mut file = Self::read(path, NEW_PROFILES)?;
        if let Some(bytes) = &file.before {
            file.document = Editing::of(site::parse_profiles(&file.path, bytes)?);
        }
        Ok(file)
    }

    fn of(change: FileChange) -> Result<Self, Failure> {
        let after = change.after.unwrap_or_default();
        Ok(Self {
            document: Editing::of(site::parse(&change.path, &after)?),
            path: change.path,
            before: change.before,
            edits: change.edits,
        })
    }

    pub(super) fn note(&mut self, place: String, before: Shown, after: Shown) {
        self.edits.push(Edit {
            place,
            line: None,
            before,
            after,
        });
    }

    pub(super) fn change(self) -> Result<Option<FileChange>, Failure> {
        if self.edits.is_empty() {
            return Ok(None);
        }
        Ok(Some(FileChange {
            after: Some(self.content()?),
            path: self.path,
            before: self.before,
            edits: self.edits,
        }))
    }

    /// What it will hold.
    fn content(&self) -> Result<Content, Failure> {
        let document = self.document.document()?;
        Ok(Zeroizing::new(document.text().as_bytes().to_vec()))
    }
}

/// Their files.
pub(super) struct Theirs<'a> {
    site: &'a Site,
    config: Edited,
    /// Which agent's profiles file an agent has: links may lead several to one.
    holders: BTreeMap<AgentId, AgentId>,
    profiles: BTreeMap<Shelf, Edited>,
    /// Rows whose database has a log, and the order and usage beside rows.
    logs: BTreeSet<Shelf>,
    states: BTreeMap<AgentId, Document>,
    /// Older files, without the entries that moved.
    sources: Vec<FileChange>,
}

impl<'a> Theirs<'a> {
    /// Takes over what a draft changes.
    pub(super) fn take(site: &'a Site, draft: &mut Draft) -> Result<Self, Failure> {
        let mut changes: BTreeMap<PathBuf, FileChange> = BTreeMap::new();
        for change in std::mem::take(&mut draft.changes.files) {
            changes.insert(change.path.clone(), change);
        }
        let config = match changes.remove(&site.config) {
            Some(change) => Edited::of(change)?,
            None => Edited::read(site.config.clone(), "{}\n")?,
        };
        let mut profiles = BTreeMap::new();
        let holders = site.holders()?;
        for agent in site.stores()? {
            let path = site.profiles(&agent);
            let file = match changes.remove(&path) {
                Some(change) => Edited::of(change)?,
                None => Edited::profiles(path)?,
            };
            profiles.insert(Shelf::file(&agent), file);
        }
        Ok(Self {
            site,
            config,
            holders,
            profiles,
            logs: BTreeSet::new(),
            states: BTreeMap::new(),
            sources: Vec::new(),
        })
    }

    /// The agents, `main` first: what several share is named after it.
    pub(super) fn agents(&self) -> Vec<AgentId> {
        let stores = self.profiles.keys().map(|shelf| &shelf.agent);
        let agents: BTreeSet<&AgentId> = stores.chain(self.holders.keys()).collect();
        let mut agents: Vec<AgentId> = agents.into_iter().cloned().collect();
        agents.sort_by_key(|agent| *agent != AgentId::main());
        agents
    }

    /// The stores of an agent: the first that has a profile wins.
    pub(super) fn shelves(&self, agent: &AgentId) -> Vec<Shelf> {
        let agent = self.holder(agent);
        let shelves = self.profiles.keys().filter(|shelf| shelf.agent == *agent);
        let mut shelves: Vec<Shelf> = shelves.cloned().collect();
        shelves.sort_by_key(|shelf| shelf.row.is_none());
        shelves
    }

    /// The store that takes new profiles.
    pub(super) fn home(&self, agent: &AgentId) -> Shelf {
        let first = self.shelves(agent).into_iter().next();
        first.unwrap_or_else(|| self.file(agent))
    }

    /// The agent whose files these are.
    pub(super) fn holder<'s>(&'s self, agent: &'s AgentId) -> &'s AgentId {
        self.holders.get(agent).unwrap_or(agent)
    }

    /// The profiles file of an agent.
    pub(super) fn file(&self, agent: &AgentId) -> Shelf {
        Shelf::file(self.holder(agent))
    }

    /// Takes in a row of a database.
    pub(super) fn add_row(&mut self, shelf: Shelf, row: Row) -> Result<(), Failure> {
        let Some((_, path)) = &shelf.row else {
            return Err(Failure::new(crate::error::Code::Bug, "it is no row"));
        };
        if let Some(state) = &row.state {
            let state = site::parse(path, state)?;
            self.states.insert(shelf.agent.clone(), state);
        }
        if row.has_log {
            self.logs.insert(shelf.clone());
        }
        let file = Edited {
            document: Editing::of(site::parse(path, &row.text)?),
            path: path.clone(),
            before: Some(row.text),
            edits: Vec::new(),
        };
        self.profiles.insert(shelf, file);
        Ok(())
    }

    /// Order and usage that an agent's database holds.
    pub(super) fn state(&self, agent: &AgentId) -> Option<&Document> {
        self.states.get(self.holder(agent))
    }

    /// The rows' changes. One that holds our refs beside a log was left so by a run that did not
    /// come to its end: it is cleared, too.
    pub(super) fn rows(&mut self, program: &Program) -> Result<Vec<RowChange>, Failure> {
        let config = self.config()?;
        let mut rows = Vec::new();
        for (shelf, file) in &self.profiles {
            let Some((table, _)) = shelf.row else {
                continue;
            };
            let store = self.store(shelf, &config)?;
            let mut refs = store.refs();
            let fed = refs.any(|(_, reference)| record_of(&config, program, reference).is_some());
            let unclear = self.logs.contains(shelf) && fed;
            if file.edits.is_empty() && !unclear {
                continue;
            }
            let mut edits = file.edits.clone();
            if edits.is_empty() {
                edits.push(Edit {
                    place: "log and free pages".to_owned(),
                    line: None,
                    before: Shown::Text("(what was deleted)".to_owned()),
                    after: Shown::Nothing,
                });
            }
            let change = FileChange {
                path: file.path.clone(),
                before: file.before.clone(),
                after: Some(file.content()?),
                edits,
            };
            rows.push(RowChange { table, change });
        }
        Ok(rows)
    }

    /// The profiles of an agent as a document.
    pub(super) fn profiles(&mut self, shelf: &Shelf) -> Result<&mut Edited, Failure> {
        if !self.profiles.contains_key(shelf) {
            let file = Edited::profiles(self.site.profiles(&shelf.agent))?;
            self.profiles.insert(shelf.clone(), file);
        }
        match self.profiles.get_mut(shelf) {
            Some(file) => Ok(file),
            None => Err(Failure::new(crate::error::Code::Bug, "the file is gone")),
        }
    }

    /// An entry of an agent's profiles.
    pub(super) fn entry(&self, shelf: &Shelf, id: &str) -> Option<Map<String, Value>> {
        let document = &self.profiles.get(shelf)?.document;
        let entry = document.get(&Path::of_keys(["profiles", id]))?;
        entry.as_object().cloned()
    }

    /// Points a profile, new or not, at a ref. What is no credential in it stays, or comes from
    /// `entry`.
    pub(super) fn feed(
        &mut self,
        shelf: &Shelf,
        id: &ProfileId,
        entry: &Map<String, Value>,
        kind: ProfileType,
        reference: &SecretRef,
    ) -> Result<(), Failure> {
        let file = self.profiles(shelf)?;
        let at = Path::of_keys(["profiles", id.as_str()]);
        let shown = Shown::Ref(reference.clone());
        let (type_name, ref_field) = match kind {
            ProfileType::ApiKey => ("api_key", "keyRef"),
            // An account can hold no ref there: its access token is a token that is always fresh.
            ProfileType::Token | ProfileType::OAuth => ("token", "tokenRef"),
        };
        let gone = gone(kind);
        if file.document.get(&at).is_none() {
            let mut new = Map::new();
            new.insert("type".to_owned(), type_name.into());
            new.insert("provider".to_owned(), id.provider().into());
            new.insert(ref_field.to_owned(), reference.to_json());
            for (key, value) in entry {
                if !gone.contains(&key.as_str()) && !new.contains_key(key) {
                    new.insert(key.clone(), value.clone());
                }
            }
            if let Some(provider) = entry::text(entry, "provider") {
                new.insert("provider".to_owned(), provider.into());
            }
            file.document.set(&at, Value::Object(new))?;
            file.note(id.to_string(), Shown::Nothing, shown);
            return Ok(());
        }
        let before = Shown::Text(match kind {
            ProfileType::OAuth => "(the tokens of an account)".to_owned(),
            ProfileType::ApiKey | ProfileType::Token => "(a plaintext value)".to_owned(),
        });
        let document = &mut file.document;
        document.set(&at.join("type"), type_name.into())?;
        document.set(&at.join(ref_field), reference.to_json())?;
        for field in gone {
            if field != ref_field && field != "type" {
                document.remove(&at.join(field))?;
            }
        }
        file.note(id.to_string(), before, shown);
        Ok(())
    }

    /// The config says `token` of a profile that it called an account.
    pub(super) fn set_mode(&mut self, id: &ProfileId) -> Result<(), Failure> {
        let at = Path::of_keys(["auth", "profiles", id.as_str(), "mode"]);
        let is_oauth = self
            .config
            .document
            .get(&at)
            .is_some_and(|mode| mode == "oauth");
        if is_oauth {
            self.config.document.set(&at, "token".into())?;
            let text = |text: &str| Shown::Text(text.to_owned());
            self.config
                .note(at.to_string(), text("\"oauth\""), text("\"token\""));
        }
        Ok(())
    }

    /// The config gets the provider that asks this program.
    pub(super) fn put_provider(&mut self, upsert: &Upsert) -> Result<(), Failure> {
        let at = Path::of_keys(["secrets", "providers", upsert.alias.as_str()]);
        if self.config.document.get(&at) == Some(&upsert.definition) {
            return Ok(());
        }
        self.config.document.set(&at, upsert.definition.clone())?;
        let shown = Shown::Text(upsert.definition.to_string());
        self.config.note(at.to_string(), Shown::Nothing, shown);
        Ok(())
    }

    /// Notes what becomes of an older file.
    pub(super) fn source(&mut self, change: FileChange) {
        self.sources.push(change);
    }

    /// The older files' changes.
    pub(super) fn sources(&mut self) -> Vec<FileChange> {
        std::mem::take(&mut self.sources)
    }

    /// Their config as it will be.
    pub(super) fn config(&self) -> Result<Config, Failure> {
        Ok(Config::read(&self.config.document.document()?, Trust::Own)?)
    }

    /// The profiles as they will be.
    pub(super) fn store(&self, shelf: &Shelf, config: &Config) -> Result<Store, Failure> {
        match self.profiles.get(shelf) {
            Some(file) => {
                let name = file.path.display().to_string();
                let document = file.document.document()?;
                Ok(Store::parse(document.text(), &name, &config.defaults)?)
            }
            None => Ok(Store::empty("")?),
        }
    }

    /// Every ref to this program's vault, as the files will be.
    pub(super) fn fed(&self, program: &Program) -> Result<Vec<(Place, SecretRef)>, Failure> {
        let config = self.config()?;
        let inputs = config.secret_inputs().iter();
        let mut fed: Vec<(Place, SecretRef)> = inputs
            .filter_map(|input| {
                let reference = input.reference()?;
                let ours = record_of(&config, program, reference).is_some();
                ours.then(|| (Place::Config(input.path.clone()), reference.clone()))
            })
            .collect();
        for shelf in self.profiles.keys() {
            let store = self.store(shelf, &config)?;
            for (profile, reference) in store.refs() {
                if record_of(&config, program, reference).is_some() {
                    let place = profile_place(&shelf.agent, &profile.id, ProfileField::Key);
                    fed.push((place, reference.clone()));
                }
            }
        }
        Ok(fed)
    }

    /// Notes the values that stay in config and profiles.
    pub(super) fn kept(&self, kept: &mut Vec<SecretValue>) -> Result<(), Failure> {
        let config = self.config()?;
        for input in config.secret_inputs().iter().filter(|i| i.is_plaintext()) {
            let value = self.config.document.get(&input.path);
            value.iter().for_each(|value| strings(value, kept));
        }
        for shelf in self.profiles.keys() {
            let store = self.store(shelf, &config)?;
            let plain = store.plaintext().into_iter();
            let plain = plain.map(|found| found.profile.as_str().to_owned());
            let ignored = store.ignored().iter().map(|ignored| ignored.id.clone());
            for id in plain.chain(ignored) {
                let entry = self.entry(shelf, &id);
                entry
                    .iter()
                    .for_each(|entry| strings(&entry.clone().into(), kept));
            }
        }
        Ok(())
    }

    /// The changes of config and profiles. The config comes first: it has the provider that the
    /// refs of the profiles name.
    pub(super) fn changes(&mut self) -> Result<Vec<FileChange>, Failure> {
        let empty = Edited {
            path: PathBuf::new(),
            before: None,
            document: Editing::of(Document::empty("")),
            edits: Vec::new(),
        };
        let config = std::mem::replace(&mut self.config, empty).change()?;
        let profiles = std::mem::take(&mut self.profiles).into_iter();
        let files = profiles.filter(|(shelf, _)| shelf.row.is_none());
        let profiles = files.filter_map(|(_, file)| file.change().transpose());
        config.into_iter().map(Ok).chain(profiles).collect()
    }
}

/// The shortest text that is taken for a secret where nothing says what it is, in bytes.
const MIN_SECRET: usize = 16;

/// The texts in a value that may be secrets.
pub(super) fn strings(value: &Value, found: &mut Vec<SecretValue>) {
    match value {
        Value::String(text) if text.len() >= MIN_SECRET && marker::of(text).is_none() => {
            found.push(SecretValue::copy_of(text.as_bytes()));
        }
        // Documents are not nested deeper than they may be.
        Value::Object(object) => object.values().for_each(|value| strings(value, found)),
        Value::Array(array) => array.iter().for_each(|value| strings(value, found)),
        _ => {}
    }
}

/// The record of this program's vault that a ref of another runtime asks for.
pub(super) fn record_of(
    config: &Config,
    program: &Program,
    reference: &SecretRef,
) -> Option<RecordName> {
    let provider = config.provider(reference.source(), reference.provider());
    match provider.ok()?.as_ref() {
        ProviderConfig::Exec(exec) if program.is_run_by(exec) => reference.id().parse().ok(),
        _ => None,
    }
}

/// The fields of a credential that its ref takes the place of. A token that has an end of its own
/// keeps it; that of an account moves with every refresh.
fn gone(kind: ProfileType) -> Vec<&'static str> {
    let mut gone = SECRET_FIELDS.to_vec();
    gone.extend(["type", "mode", "keyRef", "tokenRef", "oauthRef"]);
    if kind == ProfileType::OAuth {
        gone.push("expires");
    }
    gone
}

impl Work<'_> {
    /// The accounts of all profiles, and the tokens that the config calls accounts.
    pub(super) fn profiles(&mut self, theirs: &mut Theirs<'_>) -> Result<(), Failure> {
        let agents = theirs.agents().into_iter();
        let mut shelves: Vec<Shelf> = agents.flat_map(|agent| theirs.shelves(&agent)).collect();
        let mut seen = BTreeSet::new();
        shelves.retain(|shelf| seen.insert(shelf.clone()));
        for shelf in shelves {
            let store = theirs.store(&shelf, &self.config)?;
            for found in store.plaintext() {
                let Some(entry) = theirs.entry(&shelf, found.profile.as_str()) else {
                    continue;
                };
                let id = found.profile;
                // One field after the other is found; the first moves the whole entry.
                let still = SECRET_FIELDS.iter().any(|field| entry.contains_key(*field));
                match found.shadowed {
                    true => self.shadowed(&shelf, &id, found.field),
                    false if still => self.profile(theirs, &shelf, &id, &entry)?,
                    false => {}
                }
            }
        }
        Ok(())
    }

    /// Plaintext beside a ref may be the only copy of a value that nothing uses any more.
    fn shadowed(&mut self, shelf: &Shelf, id: &ProfileId, field: &str) {
        let place = format!("{}: {id}", shelf.agent);
        // The plan lists those of static profiles in files, by their field.
        let with_field = format!("{place} ({field})");
        if self.left.iter().all(|left| left.place != with_field) {
            let why = "a ref beside it is used instead; remove it if it is not the only copy";
            self.leave_once(place, why.to_owned());
        }
    }

    fn profile(
        &mut self,
        theirs: &mut Theirs<'_>,
        shelf: &Shelf,
        id: &ProfileId,
        entry: &Map<String, Value>,
    ) -> Result<(), Failure> {
        let provider = entry::text(entry, "provider").unwrap_or(id.provider());
        let credential = match entry::read(provider, entry, self.wish.config) {
            Ok(credential) => credential,
            Err(why) => {
                self.leave_once(format!("{}: {id}", shelf.agent), why);
                return Ok(());
            }
        };
        if let Err(why) = self.move_in(theirs, shelf, id, entry, credential)? {
            self.leave_once(format!("{}: {id}", shelf.agent), why);
        }
        Ok(())
    }

    /// Seals a credential and points the profile at it; why the entry stays if it does.
    pub(super) fn move_in(
        &mut self,
        theirs: &mut Theirs<'_>,
        shelf: &Shelf,
        id: &ProfileId,
        entry: &Map<String, Value>,
        credential: Credential,
    ) -> Result<Result<(), String>, Failure> {
        // One ref takes the place of all these fields.
        if let Some(field) = entry::not_in(&credential, entry) {
            return Ok(Err(format!(
                "its `{field}` would be lost: its type has no such value; make that a profile of \
                 its own, or remove it, and run this again"
            )));
        }
        let agent = &shelf.agent;
        let (name, kind, field) = match &credential {
            Credential::Static { kind, .. } => {
                let name = RecordName::for_agent_profile(agent, id);
                let name = name.and_then(|name| self.below_prefix(name));
                (name, *kind, ProfileField::Key)
            }
            Credential::Account(account) => {
                let name = self.account_name(agent, id, account);
                (name, ProfileType::OAuth, ProfileField::Token)
            }
        };
        let Ok(name) = name else {
            return Ok(Err("its name is too long for a record".to_owned()));
        };
        let place = profile_place(agent, id, field);
        let reference = self.seal(&name, place, credential)?;
        theirs.feed(shelf, id, entry, kind, &reference)?;
        if kind != ProfileType::ApiKey {
            self.tokens.push(id.clone());
        }
        Ok(Ok(()))
    }

    /// One field after the other may be found; an entry is listed once.
    fn leave_once(&mut self, place: String, why: String) {
        if self.left.iter().all(|left| left.place != place) {
            self.leave(place, why);
        }
    }
}
