//! Profiles as commands use them: which one, under which names.

use super::context::Context;
use super::error::{CliError, Doing};
use super::state_files;
use crate::config::Config;
use crate::error::{Code, Failure};
use crate::launch::Binding;
use crate::name::ProfileId;
use crate::profile::eligibility::credential;
use crate::profile::order::{Order, Query, effective};
use crate::profile::{self, Profile, Reason, State, Store};
use crate::reference::SecretRef;
use crate::sys::clock;
use crate::time::UnixMs;
use std::collections::BTreeSet;

/// What an agent's profiles are judged by.
pub struct Profiles {
    /// The config.
    pub config: Config,
    /// The profiles.
    pub store: Store,
    /// Stored order and usage.
    pub state: State,
    /// The clock.
    pub now: UnixMs,
}

impl Profiles {
    /// Reads the config and the agent's files.
    pub fn read(context: &Context) -> Result<Self, CliError> {
        let config = state_files::config(context).doing("read the config")?;
        let doing = "read the profiles";
        let store = state_files::profiles_with(context, &context.agent, &config.defaults);
        let store = store.doing(doing)?;
        let state = state_files::state(context, &context.agent, &store).doing(doing)?;
        Ok(Self {
            config,
            store,
            state,
            now: clock::now(),
        })
    }

    /// The profiles of a provider that are tried, in order.
    pub fn order(&self, provider: &str, model: Option<&str>) -> Order {
        effective(&Query {
            provider,
            model,
            preferred: None,
            store: &self.store,
            state: &self.state,
            routing: &self.config.routing,
            now: self.now,
        })
    }

    /// A profile by its id, if it can be used now.
    pub fn usable(&self, id: &ProfileId) -> Result<&Profile, Failure> {
        let Some(profile) = self.store.get(id) else {
            let ignored = self
                .store
                .ignored()
                .iter()
                .find(|entry| entry.id == id.as_str());
            let why = match ignored {
                Some(_) => format!("the entry {id} in {} is no profile", self.store.name()),
                None => format!("there is no profile {id} in {}", self.store.name()),
            };
            return Err(Failure::new(Code::ProfileAbsent, why));
        };
        match credential(&profile.kind, self.now) {
            Ok(()) => Ok(profile),
            Err(Reason::NotUsableYet) => {
                let why = format!("{id}: {}", Reason::NotUsableYet.text());
                Err(Failure::new(Code::ProfileNotUsable, why))
            }
            Err(Reason::Plaintext) => {
                let why = format!("{id}: {}", Reason::Plaintext.text());
                Err(Failure::new(Code::ConfigPlaintext, why))
            }
            Err(reason) => {
                let why = format!("{id}: {} ({})", reason.text(), reason.as_str());
                Err(Failure::new(Code::ProfileIneligible, why))
            }
        }
    }

    /// The providers that have profiles, sorted.
    pub fn providers(&self) -> BTreeSet<&str> {
        self.store
            .profiles()
            .iter()
            .map(|profile| profile.provider.as_str())
            .collect()
    }

    /// The variables for a profile.
    fn env_names(&self, profile: &Profile) -> Vec<String> {
        match self.config.env_names(&profile.provider) {
            Some(names) => names.to_vec(),
            None => profile::env_names(&profile.provider, profile.kind.profile_type()),
        }
    }
}

/// The ref of a usable profile.
pub fn ref_of(profile: &Profile) -> Result<&SecretRef, Failure> {
    profile.kind.credential().reference().ok_or_else(|| {
        let why = format!("{}: {}", profile.id, Reason::MissingCredential.text());
        Failure::new(Code::ProfileIneligible, why)
    })
}

/// The variables of the named profiles; of the first usable one of every provider if none is named.
pub fn bindings(context: &Context, named: &[ProfileId]) -> Result<Vec<Binding>, CliError> {
    let profiles = Profiles::read(context)?;
    let doing = "find the profiles";
    let mut chosen = Vec::new();
    for id in named {
        chosen.push(profiles.usable(id).doing(doing)?);
    }
    if named.is_empty() {
        for provider in profiles.providers() {
            let order = profiles.order(provider, None);
            chosen.extend(order.ids.first().and_then(|id| profiles.store.get(id)));
        }
    }
    let mut bindings = Vec::new();
    for profile in chosen {
        let reference = ref_of(profile).doing(doing)?;
        let names = profiles.env_names(profile);
        if names.is_empty() {
            let why = format!("the provider of {} has no environment names", profile.id);
            return Err(CliError::because(doing, Code::ProfileIneligible, why)
                .hint("name one: reseal run --env NAME=REF, or models.providers.ID.env"));
        }
        for name in names {
            bindings.push(Binding::of(&name, reference.clone()).doing(doing)?);
        }
    }
    Ok(bindings)
}
