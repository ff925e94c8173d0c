//! Moving in: everything that another runtime's state folder holds in plaintext goes into the
//! vault, and that runtime goes on, fed by this program.
//!
//! | what | where |
//! | --- | --- |
//! | [`draft()`]: a folder to the changes that move it | here |
//! | one credential of the family to a key, a token or an account | `entry` |
//! | the other runtime's files while they are changed | `theirs` |
//! | `auth.json` and `credentials/oauth.json`, which came before the profiles | `legacy` |
//! | the accounts of such a file in this program's own folder | [`first_use`] |
//! | logins of Codex, Claude Code and AgentOS, on request | [`logins`] |
//! | what fast-agent keeps in the keyring, on request | [`fast_agent`] |
//! | this program's own profiles, which point at the same records | `ours` |
//! | profiles in rows of databases | `rows` |
//! | the files that still hold a value afterwards | `residue` |
//! | the way back: this program's profiles in the family's plaintext form | [`export`] |
//!
//! The rule: in the other folder each value gets a ref to this program's exec provider, as
//! `secrets apply` does it; an account, whose tokens can be no refs there, becomes a token whose
//! ref gives a fresh access token. So each credential has one owner, the vault. Invariants: copies
//! of a value go first, the file that its owner reads last, so that a run which was killed finds
//! the value again and comes to the same end; what is not understood stays where it is and is
//! listed. Who is asked, and whether the runtime is stopped, is for the caller to see.
#![forbid(unsafe_code)]

mod entry;
pub mod export;
pub mod fast_agent;
pub mod first_use;
mod legacy;
pub mod logins;
mod ours;
mod residue;
mod rows;
mod theirs;

pub use fast_agent::{Entry, Moving};
pub use logins::Logins;
pub use residue::Residue;

use crate::apply::{self, Draft, NewRecord, Program, Site, draft::Moved};
use crate::config::{Config, Document, Path, ProviderConfig, Trust};
use crate::error::{Code, Failure};
use crate::family::{Era, Place as FamilyPlace, PlaceKind, Skipped};
use crate::name::{AgentId, Alias, NameError, ProfileId, RecordName};
use crate::oauth::{Account, AccountInfo};
use crate::plan::{self, Drawn, Left, LeftKind, Place, ProfileField, Upsert, Via, draw};
use crate::profile::routing::Mode;
use crate::profile::{ProfileType, Store};
use crate::reference::{SecretRef, Source};
use crate::runtime::service::{Comparison, Reply, Request, Service};
use crate::secret::SecretValue;
use crate::store::StateDir;
use crate::time::UnixMs;
use crate::vault::{Meta, RecordInfo, RecordKind};
use std::collections::BTreeMap;
use std::path::PathBuf;
use theirs::Theirs;

/// The most names that are tried for a value whose own name is taken.
const MAX_NAMES: usize = 1000;
/// What a new file of profiles holds.
const NEW_PROFILES: &str = "{\n  \"version\": 1,\n  \"profiles\": {}\n}\n";
/// Member of a record's metadata: what the account was known by where it came from.
const MARK: &str = "migrated";

/// What moves where.
pub struct Wish<'a> {
    /// The other runtime's folder.
    pub from: &'a Site,
    /// This program's own.
    pub own: &'a StateDir,
    /// This program's config: which accounts it can refresh.
    pub config: &'a Config,
    /// This program, as the other runtime starts it.
    pub program: &'a Program,
    /// The name below which new records go.
    pub prefix: Option<&'a RecordName>,
    /// Logins of other programs that come along.
    pub logins: &'a Logins,
}

/// What is to be done.
#[derive(Debug)]
pub struct Migration {
    /// The changes, and what a person should know.
    pub draft: Draft,
    /// The era of the folder; `None` if nothing in it stores credentials.
    pub era: Option<Era>,
    /// The profiles that this program has afterwards.
    pub profiles: Vec<(AgentId, ProfileId)>,
    /// Entries of the keyring that go once everything is in the vault; the caller removes them.
    pub entries: Vec<Moving>,
    /// Agents whose folder has to be made first.
    pub agents: Vec<AgentId>,
    /// What stays in plaintext because it can't be moved, or is not understood.
    pub left: Vec<Left>,
    /// Files that hold a value afterwards, whether it moved or stays.
    pub residue: Vec<Residue>,
    /// What was not looked at.
    pub skipped: Vec<Skipped>,
}

/// Drafts the changes that move a folder. Nothing is written.
///
/// # Errors
/// `config.invalid`, `profiles.invalid` naming the place; `file.*`; `vault.*`.
pub fn draft(wish: &Wish<'_>, service: &mut dyn Service) -> Result<Migration, Failure> {
    let found = wish.from.places();
    let mut work = Work::new(wish, service)?;
    work.drawn(&found.places)?;
    let mut draft = work.apply_draft()?;
    let mut theirs = Theirs::take(wish.from, &mut draft)?;
    work.rows(&mut theirs, &found.places)?;
    work.profiles(&mut theirs)?;
    work.legacy(&mut theirs, &found.places)?;
    work.provider(&mut theirs)?;
    let mut own = work.own_profiles(&mut theirs)?;
    work.servers(&mut own)?;
    work.fed_values(&theirs)?;
    theirs.kept(&mut work.kept)?;
    let rows = theirs.rows(wish.program)?;
    let Work {
        moved,
        kept,
        records,
        mut left,
        era,
        plan,
        ..
    } = work;
    draft.changes.records.extend(records.into_values());
    draft.moved.extend(moved);
    left.extend(own.left);
    draft.warnings.extend(own.warnings);
    draft.changes.files = theirs.changes()?;
    draft.changes.rows = rows;
    draft.changes.scrubs = theirs.sources();
    let handled = draft.changes.scrubs.len();
    apply::scrub(&mut draft, wish.from, &found.places, plan.options)?;
    // Copies first: as long as the file that its owner reads holds a value, it is found again.
    let mut files = draft.changes.scrubs.split_off(handled);
    files.extend(own.files);
    files.append(&mut draft.changes.files);
    draft.changes.files = files;
    let mut kept = kept;
    residue::env_lines(&draft, &found.places, &mut left, &mut kept);
    let (residue, more) = residue::find(&draft, &kept, &found.places);
    let mut skipped = found.skipped;
    skipped.extend(more);
    Ok(Migration {
        draft,
        era,
        profiles: own.profiles,
        entries: own.entries,
        agents: own.agents,
        left,
        residue,
        skipped,
    })
}

struct Work<'a> {
    wish: &'a Wish<'a>,
    service: &'a mut dyn Service,
    /// Their config as it stands.
    config: Config,
    upsert: Upsert,
    era: Option<Era>,
    plan: plan::Plan,
    /// What the vault holds.
    there: BTreeMap<RecordName, RecordInfo>,
    /// What the plan puts into it.
    planned: BTreeMap<RecordName, SecretValue>,
    /// What else goes into it.
    records: BTreeMap<RecordName, NewRecord>,
    moved: Vec<Moved>,
    left: Vec<Left>,
    /// Values that stay.
    kept: Vec<SecretValue>,
    /// Profiles whose mode is `oauth` in the config, and that are tokens from now on.
    tokens: Vec<ProfileId>,
}

impl<'a> Work<'a> {
    fn new(wish: &'a Wish<'a>, service: &'a mut dyn Service) -> Result<Self, Failure> {
        let document = wish.from.config_document()?;
        let config = Config::read(&document, Trust::Own)?;
        let there = records_of(service)?;
        let upsert = upsert(&config, &document, wish.program)?;
        Ok(Self {
            wish,
            service,
            config,
            upsert,
            era: None,
            plan: plan::Plan::default(),
            there,
            planned: BTreeMap::new(),
            records: BTreeMap::new(),
            moved: Vec::new(),
            left: Vec::new(),
            kept: Vec::new(),
            tokens: Vec::new(),
        })
    }

    /// The plan for what stands in plaintext at places that take a ref.
    fn drawn(&mut self, places: &[FamilyPlace]) -> Result<(), Failure> {
        self.era = Era::of(places);
        let (mut agents, mut files) = (Vec::new(), BTreeMap::new());
        for agent in self.wish.from.stores()? {
            let store = self.wish.from.store(&agent, &self.config.defaults)?;
            let file = Document::parse(store.text(), store.name())?;
            files.insert(agent.clone(), file);
            agents.push((agent, store));
        }
        let agents: Vec<(&AgentId, &Store)> = agents.iter().map(|(a, s)| (a, s)).collect();
        let via = Via::Exec(self.upsert.clone());
        let mut drawn = draw(&self.config, &agents, &via);
        if let Some(prefix) = self.wish.prefix {
            drawn.put_below(prefix);
        }
        let Drawn { mut plan, left, .. } = drawn;
        // Accounts are moved here; an entry that the config calls one takes no ref until then. What
        // holds more than one credential is for `profiles` to list.
        let routing = &self.config.routing;
        plan.targets.retain(|target| match &target.place {
            Place::Profile { agent, id, .. } => {
                let mode = routing.profile(id).and_then(|configured| configured.mode);
                let at = Path::of_keys(["profiles", id.as_str()]);
                let entry = files.get(agent).and_then(|file| file.get(&at)?.as_object());
                let is_whole = entry.is_none_or(|entry| {
                    let read = entry::read(id.provider(), entry, self.wish.config);
                    read.is_ok_and(|credential| entry::not_in(&credential, entry).is_none())
                });
                mode != Some(Mode::OAuth) && is_whole
            }
            Place::Config(_) => true,
        });
        // `profiles` moves or lists them.
        let is_other = |left: &Left| left.kind == LeftKind::Other;
        self.left = left.into_iter().filter(is_other).collect();
        self.plan = plan;
        Ok(())
    }

    /// The draft of the plan, once each of its records has a name that is free or holds the value.
    fn apply_draft(&mut self) -> Result<Draft, Failure> {
        let wish = self.wish;
        let draft = apply::draft(&self.plan, wish.from, wish.program, self.service)?;
        let mut renamed = BTreeMap::new();
        for record in &draft.changes.records {
            let name = self.free_name(&record.name, &record.value, None)?;
            if name != record.name {
                renamed.insert(record.name.to_string(), name);
            }
        }
        let draft = match renamed.is_empty() {
            true => draft,
            false => self.renamed(&renamed)?,
        };
        let records = draft.changes.records.iter();
        let planned = records.map(|record| (record.name.clone(), record.value.clone()));
        self.planned = planned.collect();
        Ok(draft)
    }

    fn renamed(&mut self, renamed: &BTreeMap<String, RecordName>) -> Result<Draft, Failure> {
        let wish = self.wish;
        let alias = self.upsert.alias.clone();
        for target in &mut self.plan.targets {
            if let Some(name) = renamed.get(target.reference.id()) {
                target.reference = exec_ref(&alias, name)?;
            }
        }
        apply::draft(&self.plan, wish.from, wish.program, self.service)
    }

    /// Notes a record for the vault; gives the ref that asks this program for it.
    fn seal(
        &mut self,
        base: &RecordName,
        place: Place,
        credential: entry::Credential,
    ) -> Result<SecretRef, Failure> {
        let (value, account, kind, expires_at) = match credential {
            entry::Credential::Static {
                kind,
                value,
                expires,
            } => {
                let kind = match kind {
                    ProfileType::ApiKey => RecordKind::ApiKey,
                    ProfileType::Token | ProfileType::OAuth => RecordKind::Static,
                };
                (value, None, kind, expires)
            }
            entry::Credential::Account(account) => {
                (account.to_secret(), Some(account), RecordKind::OAuth, None)
            }
        };
        let name = self.free_name(base, &value, account.as_deref())?;
        let reference = exec_ref(&self.upsert.alias, &name)?;
        let mut note = |value: &SecretValue| {
            self.moved.push(Moved {
                place: place.clone(),
                value: value.clone(),
                reference: reference.clone(),
                provider: None,
            });
        };
        match &account {
            None => note(&value),
            Some(account) => {
                note(account.access.secret());
                account
                    .refresh
                    .iter()
                    .for_each(|token| note(token.secret()));
                account
                    .id_token
                    .iter()
                    .for_each(|token| note(token.secret()));
            }
        }
        // Refreshed since an earlier run sealed it: the newer one is the one to keep.
        let known = account.as_deref().is_some_and(|a| self.is_known(&name, a));
        // Another copy of an account adds nothing to the first.
        if !known && !self.records.contains_key(&name) {
            let meta = meta(expires_at, account.as_deref());
            let record = NewRecord {
                name: name.clone(),
                kind,
                meta,
                value,
            };
            self.records.insert(name, record);
        }
        Ok(reference)
    }

    /// The first of `base`, `base.2`, `base.3`, … that is free or holds the value already.
    fn free_name(
        &mut self,
        base: &RecordName,
        value: &SecretValue,
        account: Option<&Account>,
    ) -> Result<RecordName, Failure> {
        // Era A's exec ids have no `#`.
        let base = match self.era {
            Some(Era::A) => base.as_str().replace('#', "."),
            _ => base.to_string(),
        };
        let base: RecordName = base.parse()?;
        for name in names(&base) {
            match self.will_hold(&name, value, account) {
                Some(true) => return Ok(name),
                Some(false) => continue,
                None => {}
            }
            if self.holds(&name, value, account)? != Some(false) {
                return Ok(name);
            }
        }
        Err(no_name(base.as_str()))
    }

    /// Whether a record of the vault holds this value, or this account; `None` if there is none.
    fn holds(
        &mut self,
        name: &RecordName,
        value: &SecretValue,
        account: Option<&Account>,
    ) -> Result<Option<bool>, Failure> {
        let compare = Request::Compare { name: name.clone() };
        match self.service.call(compare, vec![value.clone()])?.reply {
            Reply::Compared(Comparison::Absent) => Ok(None),
            Reply::Compared(Comparison::Same) => Ok(Some(true)),
            Reply::Compared(Comparison::Other) => Ok(Some(
                account.is_some_and(|account| self.is_known(name, account)),
            )),
            _ => Err(Failure::new(Code::Bug, "the answer is of the wrong kind")),
        }
    }

    /// Whether a record that is new will hold this value, or this account; `None` if it is not
    /// new.
    fn will_hold(
        &self,
        name: &RecordName,
        value: &SecretValue,
        account: Option<&Account>,
    ) -> Option<bool> {
        if let Some(record) = self.records.get(name) {
            let same = account.is_some_and(|account| is_of(&record.meta, account));
            return Some(same || record.value == *value);
        }
        self.planned.get(name).map(|planned| planned == value)
    }

    /// True if an earlier run sealed this account under the name.
    fn is_known(&self, name: &RecordName, account: &Account) -> bool {
        let info = self.there.get(name);
        info.is_some_and(|info| is_of(&info.meta, account))
    }

    /// What an account is called, so that agents which share one share its record.
    fn account_name(
        &self,
        agent: &AgentId,
        id: &ProfileId,
        account: &Account,
    ) -> Result<RecordName, NameError> {
        // By the refresh token: their access tokens may be of different times.
        let mut new = self.records.values();
        if let Some(same) = new.find(|record| is_of(&record.meta, account)) {
            return Ok(same.name.clone());
        }
        // An earlier run, which did not come to its end, may have named it after another agent.
        let mut there = self.there.keys();
        if let Some(same) = there.find(|name| self.is_known(name, account)) {
            return Ok(same.clone());
        }
        let name = RecordName::for_agent_profile(agent, id)?;
        self.below_prefix(format!("oauth/{name}").parse()?)
    }

    fn below_prefix(&self, name: RecordName) -> Result<RecordName, NameError> {
        match self.wish.prefix {
            Some(prefix) => name.below(prefix),
            None => Ok(name),
        }
    }

    fn leave(&mut self, place: String, why: impl Into<String>) {
        self.left.push(Left::new(place, why));
    }

    /// The provider, if only accounts and legacy entries need it.
    fn provider(&mut self, theirs: &mut Theirs<'_>) -> Result<(), Failure> {
        for id in std::mem::take(&mut self.tokens) {
            theirs.set_mode(&id)?;
        }
        self.put_provider(theirs)
    }

    fn put_provider(&self, theirs: &mut Theirs<'_>) -> Result<(), Failure> {
        match self.moved.is_empty() {
            true => Ok(()),
            false => theirs.put_provider(&self.upsert),
        }
    }

    /// The values of places that have their ref from an earlier run: copies equal them.
    fn fed_values(&mut self, theirs: &Theirs<'_>) -> Result<(), Failure> {
        for (place, reference) in theirs.fed(self.wish.program)? {
            let Ok(name) = reference.id().parse::<RecordName>() else {
                continue;
            };
            let is_static = self.there.get(&name).map(|info| info.kind) != Some(RecordKind::OAuth);
            if !is_static || !self.there.contains_key(&name) {
                continue;
            }
            let get = Request::Get {
                name,
                version: None,
            };
            let answer = self.service.call(get, Vec::new())?;
            self.moved
                .extend(answer.secrets.into_iter().map(|value| Moved {
                    place: place.clone(),
                    value,
                    reference: reference.clone(),
                    provider: None,
                }));
        }
        Ok(())
    }

    /// The kind of a record, as it will be.
    fn kind_of(&self, name: &RecordName) -> Option<RecordKind> {
        let planned = self.records.get(name).map(|record| record.kind);
        planned.or_else(|| self.there.get(name).map(|info| info.kind))
    }
}

/// What the vault holds, by name.
fn records_of(service: &mut dyn Service) -> Result<BTreeMap<RecordName, RecordInfo>, Failure> {
    let records = match service.call(Request::List, Vec::new())?.reply {
        Reply::Records(records) => records.into_iter(),
        _ => return Err(Failure::new(Code::Bug, "the answer is of the wrong kind")),
    };
    Ok(records.map(|info| (info.name.clone(), info)).collect())
}

/// `base`, `base.2`, `base.3`, … as long as they are names.
fn names(base: &RecordName) -> impl Iterator<Item = RecordName> {
    let more = (2..=MAX_NAMES).map_while(move |n| format!("{base}.{n}").parse().ok());
    std::iter::once(base.clone()).chain(more)
}

fn no_name(base: &str) -> Failure {
    let text = format!("{base}: {MAX_NAMES} records of that name hold other values");
    Failure::new(Code::RecordExists, text)
}

fn exec_ref(alias: &Alias, name: &RecordName) -> Result<SecretRef, Failure> {
    Ok(SecretRef::new(Source::Exec, alias.clone(), name.as_str())?)
}

/// True if it is the metadata of a record of this account, refreshed since or not.
fn is_of(meta: &Meta, account: &Account) -> bool {
    let mark = meta.other.get(MARK).and_then(|mark| mark.as_str());
    mark.is_some() && mark == entry::mark(account).as_deref()
}

fn meta(expires_at: Option<UnixMs>, account: Option<&Account>) -> Meta {
    let mut meta = Meta {
        expires_at: account.map_or(expires_at, |account| account.expires_at),
        ..Meta::default()
    };
    if let Some(account) = account {
        let other = &mut meta.other;
        other.extend(entry::mark(account).map(|mark| (MARK.to_owned(), mark.into())));
        other.insert(AccountInfo::KEY.to_owned(), account.info().to_json());
    }
    meta
}

/// The provider that asks this program: one that is there already, else a new one.
fn upsert(config: &Config, document: &Document, program: &Program) -> Result<Upsert, Failure> {
    let root = document.value();
    let wired = config.providers.iter().find_map(|(alias, provider)| {
        let ProviderConfig::Exec(exec) = provider else {
            return None;
        };
        let definition = root["secrets"]["providers"].get(alias.as_str())?;
        program.is_run_by(exec).then(|| Upsert {
            alias: alias.clone(),
            definition: definition.clone(),
        })
    });
    if let Some(wired) = wired {
        return Ok(wired);
    }
    let text = |path: &PathBuf| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| {
            let why = format!("{} is not UTF-8", path.display());
            Failure::new(Code::InputInvalid, why)
        })
    };
    let definition = draw::exec_definition(&text(&program.path)?, &text(&program.state_dir)?);
    Ok(draw::exec_upsert(config, root, definition))
}

/// The profile of an agent, as a place of a plan.
fn profile_place(agent: &AgentId, id: &ProfileId, field: ProfileField) -> Place {
    Place::Profile {
        agent: agent.clone(),
        id: id.clone(),
        field,
        provider: None,
    }
}

/// True for the databases in which newer versions keep their credentials.
fn is_store(place: &FamilyPlace) -> bool {
    let kinds = [PlaceKind::AgentDatabase, PlaceKind::SharedDatabase];
    kinds.contains(&place.kind)
}

/// True for the files that are imported here, not scrubbed.
fn is_source(place: &FamilyPlace) -> bool {
    let kinds = [PlaceKind::LegacyAuth, PlaceKind::LegacyOAuth];
    kinds.contains(&place.kind) && !place.backup
}
