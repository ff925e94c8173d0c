//! A plan, and the files that it names, to the changes that carry it out.
//!
//! Everything is looked at and checked here, and nothing is written. What a place holds decides
//! what is done with it: plaintext is moved; a place that already has its ref, because an earlier
//! run was interrupted, is done, and its value is read from the vault so that copies of it are
//! still found.

mod profiles;
mod program;
mod providers;
mod stands;

pub use program::Program;

use super::edit::{Edit, Shown};
use super::site::{self, Site};
use super::{Changes, Content, FileChange, NewRecord};
use crate::config::{Config, Path as DocPath, ProviderConfig, Trust};
use crate::document::{Document, Editing, Lines};
use crate::error::{Code, Failure};
use crate::name::{AgentId, ProfileId, RecordName};
use crate::plan::{Place, Plan, Target};
use crate::profile::Profile;
use crate::reference::{SecretRef, Source};
use crate::runtime::service::{Reply, Request, Service};
use crate::secret::SecretValue;
use crate::vault::{Meta, RecordInfo, RecordKind};
use profiles::Profiles;
use stands::{OLDER, Stands, ref_field, stands_at};
use std::collections::BTreeMap;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// What is to be done, and what somebody else has to look at first.
#[derive(Debug)]
pub struct Draft {
    /// The changes.
    pub changes: Changes,
    /// The values that the plan's places hold, or held, each with its ref: copies equal them.
    pub moved: Vec<Moved>,
    /// Refs that this program's vault does not answer.
    pub outside: Vec<Outside>,
    /// The plan puts an exec provider that runs another program than this one.
    pub foreign_exec: bool,
    /// The number of refs that the plan sets.
    pub refs: usize,
    /// The config as it will be.
    pub config: Config,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// A value, and the ref that stands in its place.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The place of the plan.
    pub place: Place,
    /// The value.
    pub value: SecretValue,
    /// The ref.
    pub reference: SecretRef,
    /// The model provider whose key it is, if it is one of the config.
    pub provider: Option<String>,
}

/// A ref to a place that is not this program's vault.
#[derive(Clone, Debug)]
pub struct Outside {
    /// Where it shall stand.
    pub place: String,
    /// The ref.
    pub reference: SecretRef,
    /// What stands there: it may go only if the ref gives the same.
    pub plaintext: Option<SecretValue>,
}

/// Drafts the changes of a plan. `service` holds the vault that is moved into.
///
/// # Errors
/// `plan.invalid` naming the place that does not fit the files; `record.absent` for a ref to a
/// record that neither is there nor gets a value; `config.invalid`, `profiles.invalid`, `file.*`.
pub fn draft(
    plan: &Plan,
    site: &Site,
    program: &Program,
    service: &mut dyn Service,
) -> Result<Draft, Failure> {
    let before = site::read(&site.config)?;
    let mut document = match &before {
        Some(bytes) => site::parse(&site.config, bytes)?,
        None => Document::empty(&site.config.display().to_string()),
    };
    let old = Config::read(&document, Trust::Own)?;
    let lines = Lines::of(&document);
    let mut work = Work {
        plan,
        site,
        holders: site.holders()?,
        program,
        lines,
        records: records(service)?,
        service,
        changes: Changes::default(),
        moved: Vec::new(),
        outside: Vec::new(),
        edits: Vec::new(),
        warnings: Vec::new(),
    };
    work.providers(&mut document)?;
    let providers = Config::read(&document, Trust::Own).map_err(no_longer_valid)?;
    let mut stores: BTreeMap<AgentId, Profiles> = BTreeMap::new();
    let mut editing = Editing::of(document);
    for target in &plan.targets {
        work.target(target, &mut editing, &mut stores, &old, &providers)?;
    }
    let document = editing.document()?;
    let config = Config::read(&document, Trust::Own).map_err(no_longer_valid)?;
    if plan.options.scrub_profiles {
        work.equal_profiles(&old, &mut stores)?;
    }
    work.check_deletes(&config, &stores)?;
    let edits = std::mem::take(&mut work.edits);
    work.changed(site.config.clone(), before, document.text(), edits);
    for profiles in stores.into_values() {
        let Profiles {
            path,
            before,
            store,
            edits,
            ..
        } = profiles;
        work.changed(path, before, store.finish()?.text(), edits);
    }
    Ok(Draft {
        changes: work.changes,
        moved: work.moved,
        outside: work.outside,
        foreign_exec: plan.upserts.iter().any(|upsert| {
            let provider = config.providers.get(&upsert.alias);
            provider.is_some_and(|provider| program.is_other(provider))
        }),
        refs: plan.targets.len(),
        config,
        warnings: work.warnings,
    })
}

fn no_longer_valid(errors: crate::config::ConfigErrors) -> Failure {
    let why = format!("the config would no longer be valid: {errors}");
    Failure::new(Code::PlanInvalid, why)
}

/// What the vault holds, by name.
fn records(service: &mut dyn Service) -> Result<BTreeMap<RecordName, RecordInfo>, Failure> {
    match service.call(Request::List, Vec::new())?.reply {
        Reply::Records(records) => {
            let by_name = records
                .into_iter()
                .map(|record| (record.name.clone(), record));
            Ok(by_name.collect())
        }
        _ => Err(Failure::new(Code::Bug, "the answer is of the wrong kind")),
    }
}

struct Work<'a> {
    plan: &'a Plan,
    site: &'a Site,
    /// Which agent's profiles file an agent has.
    holders: BTreeMap<AgentId, AgentId>,
    program: &'a Program,
    /// The lines of the config as it stands.
    lines: Lines,
    records: BTreeMap<RecordName, RecordInfo>,
    service: &'a mut dyn Service,
    changes: Changes,
    moved: Vec<Moved>,
    outside: Vec<Outside>,
    edits: Vec<Edit>,
    warnings: Vec<String>,
}

impl Work<'_> {
    /// One target; `old` is the config as it stands, `config` with the providers of the plan.
    fn target(
        &mut self,
        target: &Target,
        document: &mut Editing,
        stores: &mut BTreeMap<AgentId, Profiles>,
        old: &Config,
        config: &Config,
    ) -> Result<(), Failure> {
        match &target.place {
            Place::Config(path) => self.config_target(target, path, document, config),
            Place::Profile { agent, .. } => {
                let agent = self.holders.get(agent).unwrap_or(agent);
                if !stores.contains_key(agent) {
                    stores.insert(agent.clone(), Profiles::read(self.site, agent, old)?);
                }
                match stores.get_mut(agent) {
                    Some(profiles) => self.profile_target(target, profiles, config),
                    None => Err(Failure::new(Code::Bug, "the profiles are gone")),
                }
            }
        }
    }

    fn config_target(
        &mut self,
        target: &Target,
        path: &DocPath,
        document: &mut Editing,
        config: &Config,
    ) -> Result<(), Failure> {
        let field = ref_field(path);
        let line = self.line(path);
        let stands = match stands_at(document, path, &field, &target.reference, config) {
            Ok(stands) => stands,
            Err(why) => return Err(self.misfit(&target.place, why)),
        };
        let provider = target.provider_id.clone().or_else(|| model_provider(path));
        self.take(
            target,
            &stands,
            config,
            RecordKind::ApiKey,
            Meta::default(),
            provider,
        )?;
        let before = match stands {
            Stands::Done => return Ok(()),
            Stands::Respelled => Shown::Text(OLDER.to_owned()),
            Stands::Value(value) => Shown::masked(value.len()),
            Stands::Free(shown) => shown,
        };
        document.set(&field, target.reference.to_json())?;
        if field != *path {
            document.remove(path)?;
        }
        let after = Shown::Ref(target.reference.clone());
        self.edits.push(edit(path, line, before, after));
        Ok(())
    }

    /// Notes what happens with the value of a target, and checks that its ref will give one.
    fn take(
        &mut self,
        target: &Target,
        stands: &Stands,
        config: &Config,
        kind: RecordKind,
        meta: Meta,
        provider: Option<String>,
    ) -> Result<(), Failure> {
        let reference = &target.reference;
        if matches!(stands, Stands::Respelled) {
            return Ok(());
        }
        let Some(name) = self.own_record(target, config)? else {
            let plaintext = match stands {
                Stands::Value(value) => Some(value.clone()),
                Stands::Done | Stands::Respelled | Stands::Free(_) => None,
            };
            self.outside.push(Outside {
                place: target.place.to_string(),
                reference: reference.clone(),
                plaintext,
            });
            return Ok(());
        };
        let value = match stands {
            Stands::Value(value) => {
                self.changes.records.push(NewRecord {
                    name,
                    kind,
                    meta,
                    value: value.clone(),
                });
                Some(value.clone())
            }
            Stands::Done | Stands::Respelled | Stands::Free(_) => {
                self.sealed(&name, &target.place)?
            }
        };
        if let Some(value) = value {
            let reference = reference.clone();
            self.moved.push(Moved {
                place: target.place.clone(),
                value,
                reference,
                provider,
            });
        }
        Ok(())
    }

    /// The record of this program's vault that a ref names, by the config as it will be.
    fn own_record(&self, target: &Target, config: &Config) -> Result<Option<RecordName>, Failure> {
        let reference = &target.reference;
        if !self.site.own && reference.source() == Source::Vault {
            let why = "another runtime knows no refs with source vault".to_owned();
            return Err(self.misfit(&target.place, why));
        }
        let provider = config.provider(reference.source(), reference.provider());
        let provider = provider.map_err(|error| self.misfit(&target.place, error.to_string()))?;
        Ok(match provider.as_ref() {
            ProviderConfig::Vault(vault) if vault.path.is_none() => reference.record(),
            ProviderConfig::Exec(exec) if self.program.is_run_by(exec) => {
                reference.id().parse().ok()
            }
            ProviderConfig::Vault(_)
            | ProviderConfig::Exec(_)
            | ProviderConfig::Env(_)
            | ProviderConfig::File(_) => None,
        })
    }

    /// What a record holds that a place points at already. An account gives no value: its tokens
    /// change, so nothing is equal to them.
    fn sealed(&mut self, name: &RecordName, place: &Place) -> Result<Option<SecretValue>, Failure> {
        let planned = self
            .changes
            .records
            .iter()
            .find(|record| record.name == *name);
        if let Some(record) = planned {
            return Ok(Some(record.value.clone()));
        }
        let Some(info) = self.records.get(name) else {
            let text =
                format!("{place}: no value stands there, and the vault has no record {name}");
            return Err(Failure::new(Code::RecordAbsent, text));
        };
        if info.kind == RecordKind::OAuth {
            return Ok(None);
        }
        let request = Request::Get {
            name: name.clone(),
            version: None,
        };
        let answer = self.service.call(request, Vec::new())?;
        Ok(answer.secrets.into_iter().next())
    }

    /// A provider that is deleted may not be needed any more.
    fn check_deletes(
        &self,
        config: &Config,
        stores: &BTreeMap<AgentId, Profiles>,
    ) -> Result<(), Failure> {
        let gone = |reference: &SecretRef| {
            let alias = reference.provider();
            self.plan.deletes.contains(alias) && config.provider(reference.source(), alias).is_err()
        };
        let inputs = config.secret_inputs().iter();
        let mut inputs = inputs.filter(|input| input.reference().is_some_and(gone));
        let mut needed = inputs.next().map(|input| input.path.to_string());
        for agent in self.site.stores()? {
            let id = match stores.get(&agent) {
                Some(profiles) => first_profile(profiles.store.refs(), gone),
                None => {
                    let store = self.site.store(&agent, &config.defaults)?;
                    first_profile(store.refs(), gone)
                }
            };
            needed = needed.or(id.map(|id| format!("{agent}: {id}")));
        }
        match needed {
            None => Ok(()),
            Some(place) => {
                let text = format!("{place} needs a provider that the plan deletes");
                Err(Failure::new(Code::PlanInvalid, text))
            }
        }
    }

    fn line(&self, path: &DocPath) -> Option<usize> {
        self.lines.get(path)
    }

    fn misfit(&self, place: &Place, why: String) -> Failure {
        Failure::new(Code::PlanInvalid, format!("{place}: {why}"))
    }

    fn changed(&mut self, path: PathBuf, before: Option<Content>, text: &str, edits: Vec<Edit>) {
        let same = before
            .as_ref()
            .is_some_and(|bytes| bytes.as_slice() == text.as_bytes());
        if edits.is_empty() || same {
            return;
        }
        self.changes.files.push(FileChange {
            path,
            before,
            after: Some(Zeroizing::new(text.as_bytes().to_vec())),
            edits,
        });
    }
}

/// The first profile whose ref is one of these.
fn first_profile<'a>(
    mut refs: impl Iterator<Item = (&'a Profile, &'a SecretRef)>,
    is_one: impl Fn(&SecretRef) -> bool,
) -> Option<ProfileId> {
    let found = refs.find(|(_, reference)| is_one(reference));
    found.map(|(profile, _)| profile.id.clone())
}

fn edit(path: &DocPath, line: Option<usize>, before: Shown, after: Shown) -> Edit {
    Edit {
        place: path.to_string(),
        line,
        before,
        after,
    }
}

/// The id of the model provider whose key or header a place holds.
fn model_provider(path: &DocPath) -> Option<String> {
    let keys: Vec<&str> = path.segments().iter().filter_map(|s| s.as_key()).collect();
    match keys.as_slice() {
        ["models", "providers", id, ..] => Some(crate::profile::normal_provider(id)),
        _ => None,
    }
}
