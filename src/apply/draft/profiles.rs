//! The auth profiles that a plan points at refs.

use super::{Moved, OLDER, Stands, Work};
use crate::apply::Content;
use crate::apply::edit::{Edit, Shown};
use crate::apply::site::{self, Site};
use crate::config::{Config, Path};
use crate::document::Lines;
use crate::error::Failure;
use crate::name::{AgentId, ProfileId};
use crate::plan::{Place, ProfileField, Target};
use crate::profile::routing::Mode;
use crate::profile::{
    Credential, Expiry, NewCredential, NewProfile, Profile, ProfileKind, ProfileType, StoreEditing,
};
use crate::vault::{Meta, RecordKind};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One agent's profiles while they are edited.
pub(super) struct Profiles {
    pub(super) path: PathBuf,
    pub(super) before: Option<Content>,
    pub(super) store: StoreEditing,
    pub(super) edits: Vec<Edit>,
    /// The lines of the file as it stands.
    lines: Lines,
}

impl Profiles {
    pub(super) fn read(site: &Site, agent: &AgentId, config: &Config) -> Result<Self, Failure> {
        let path = site.profiles(agent);
        let before = site::read(&path)?;
        let store = site::store_of(&path, before.as_ref(), &config.defaults)?;
        Ok(Self {
            path,
            before,
            lines: store.lines(),
            store: StoreEditing::of(store),
            edits: Vec::new(),
        })
    }
}

impl Work<'_> {
    pub(super) fn profile_target(
        &mut self,
        target: &Target,
        profiles: &mut Profiles,
        config: &Config,
    ) -> Result<(), Failure> {
        let Place::Profile {
            id,
            field,
            provider,
            ..
        } = &target.place
        else {
            return Ok(());
        };
        self.check_mode(target, id, config)?;
        let now = profiles.store.get(id).cloned();
        let (kind, meta) = now
            .as_ref()
            .map_or((RecordKind::ApiKey, Meta::default()), sort_of);
        let stands = match &now {
            None => {
                let provider = provider.clone().ok_or_else(|| {
                    let why = "there is no such profile, and no authProfileProvider to make it";
                    self.misfit(&target.place, why.to_owned())
                })?;
                profiles
                    .store
                    .put(id, &new_profile(provider, *field, target))?;
                Stands::Free(Shown::Nothing)
            }
            Some(profile) => {
                check_type(profile.kind.profile_type(), *field)
                    .map_err(|why| self.misfit(&target.place, why))?;
                let credential = profile.kind.credential();
                let is_older = matches!(credential, Credential::Ref { older: true, .. });
                let reference = credential.reference().cloned();
                match profiles.store.plaintext_value(id) {
                    Some(value) => Stands::Value(value),
                    None if reference.as_ref() != Some(&target.reference) => {
                        Stands::Free(reference.map_or(Shown::Nothing, Shown::Ref))
                    }
                    None if is_older => Stands::Respelled,
                    None => Stands::Done,
                }
            }
        };
        self.take(target, &stands, config, kind, meta, None)?;
        let (before, value) = match stands {
            Stands::Done => return Ok(()),
            Stands::Respelled => (Shown::Text(OLDER.to_owned()), None),
            Stands::Value(value) => (Shown::masked(value.len()), Some(value)),
            Stands::Free(shown) => (shown, None),
        };
        let line = line_of(profiles, id);
        profiles
            .store
            .set_ref(id, &target.reference, value.as_ref())?;
        profiles.edits.push(Edit {
            place: format!("{id} ({})", field.as_str()),
            line,
            before,
            after: Shown::Ref(target.reference.clone()),
        });
        Ok(())
    }

    /// The family refuses refs on a profile that its config calls an OAuth one.
    fn check_mode(&self, target: &Target, id: &ProfileId, config: &Config) -> Result<(), Failure> {
        let mut configured = config.routing.profiles.iter();
        let configured = configured.find(|(other, _)| other == id);
        if configured.is_some_and(|(_, profile)| profile.mode == Some(Mode::OAuth)) {
            let why = format!("SecretRef is not allowed when auth.profiles.{id}.mode is \"oauth\"");
            return Err(self.misfit(&target.place, why));
        }
        Ok(())
    }

    /// Profiles of a target's provider that hold the same value point at the same ref: the family
    /// would use them before the config.
    pub(super) fn equal_profiles(
        &mut self,
        config: &Config,
        stores: &mut BTreeMap<AgentId, Profiles>,
    ) -> Result<(), Failure> {
        if self.moved.is_empty() {
            return Ok(());
        }
        for agent in self.site.stores()? {
            if !stores.contains_key(&agent) {
                stores.insert(agent.clone(), Profiles::read(self.site, &agent, config)?);
            }
            let Some(profiles) = stores.get_mut(&agent) else {
                continue;
            };
            for found in profiles.store.plaintext() {
                let id = found.profile;
                let Some(value) = profiles.store.plaintext_value(&id) else {
                    continue;
                };
                let provider = profiles.store.get(&id).map(|p| p.provider.clone());
                let of_provider = |moved: &&Moved| moved.provider == provider;
                let mut of_provider = self.moved.iter().filter(of_provider).peekable();
                if of_provider.peek().is_none() {
                    continue;
                }
                let Some(moved) = of_provider.find(|moved| moved.value == value) else {
                    let text = format!("{agent}: {id} holds another value, and keeps it");
                    self.warnings.push(text);
                    continue;
                };
                let line = line_of(profiles, &id);
                let before = Shown::masked(value.len());
                profiles
                    .store
                    .set_ref(&id, &moved.reference, Some(&value))?;
                profiles.edits.push(Edit {
                    place: format!("{id} ({})", found.field),
                    line,
                    before,
                    after: Shown::Ref(moved.reference.clone()),
                });
            }
        }
        Ok(())
    }
}

/// What the record of a profile is, and what is noted beside its value.
fn sort_of(profile: &Profile) -> (RecordKind, Meta) {
    let kind = match profile.kind {
        ProfileKind::ApiKey { .. } => RecordKind::ApiKey,
        ProfileKind::Token { .. } | ProfileKind::OAuth { .. } => RecordKind::Static,
    };
    let expires_at = match profile.kind.expires() {
        Expiry::At(at) => Some(at),
        Expiry::Never | Expiry::Invalid => None,
    };
    let meta = Meta {
        expires_at,
        ..Meta::default()
    };
    (kind, meta)
}

fn line_of(profiles: &Profiles, id: &ProfileId) -> Option<usize> {
    profiles
        .lines
        .get(&Path::of_keys(["profiles", id.as_str()]))
}

fn new_profile(provider: String, field: ProfileField, target: &Target) -> NewProfile {
    let reference = target.reference.clone();
    NewProfile {
        provider,
        credential: match field {
            ProfileField::Key => NewCredential::ApiKey(reference),
            ProfileField::Token => NewCredential::Token {
                reference,
                expires: None,
            },
        },
        email: None,
    }
}

fn check_type(there: ProfileType, field: ProfileField) -> Result<(), String> {
    let expected = match field {
        ProfileField::Key => ProfileType::ApiKey,
        ProfileField::Token => ProfileType::Token,
    };
    if there == expected {
        return Ok(());
    }
    let (expected, there) = (expected.as_str(), there.as_str());
    Err(format!(
        "type mismatch: expected \"{expected}\", got \"{there}\""
    ))
}
