//! Profiles as commands use them: which one, under which names.

use super::context::Context;
use super::error::{CliError, Doing};
use super::state_files;
use crate::config::Config;
use crate::error::{Code, Failure};
use crate::launch::Binding;
use crate::name::ProfileId;
use crate::profile::eligibility::credential;
use crate::profile::order::{Order, Query, effective, split_pin};
use crate::profile::{self, Profile, Reason, State, Store, normal_provider};
use crate::reference::SecretRef;
use crate::store::files::Care;
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

    /// What PROFILE or MODEL@PROFILE names: the model, if one stands there, and the profile. The id
    /// of a profile may hold an `@` itself, so one that is there comes first.
    pub fn named(&self, text: &str) -> Result<(Option<String>, ProfileId), Failure> {
        let whole = text.parse::<ProfileId>();
        match (whole, split_pin(text)) {
            (Ok(id), _) if self.store.get(&id).is_some() => Ok((None, id)),
            (_, (model, Some(id))) => Ok((Some(model.to_owned()), id)),
            (Ok(id), (_, None)) => Ok((None, id)),
            (Err(error), (_, None)) => Err(error.into()),
        }
    }

    /// The profiles that may serve a model, the first to be tried first. `MODEL@PROFILE` pins one;
    /// else the order of the provider counts, which is `provider` or stands before the model's
    /// slash.
    pub fn for_model(&self, provider: Option<&str>, model: &str) -> Result<Vec<&Profile>, Failure> {
        if let (_, Some(id)) = split_pin(model) {
            let profile = self.usable(&id)?;
            if provider.is_some_and(|wanted| normal_provider(wanted) != profile.provider) {
                let why = format!("{id}: {}", Reason::ProviderMismatch.text());
                return Err(Failure::new(Code::ProfileIneligible, why));
            }
            return Ok(vec![profile]);
        }
        match provider.or(model.split_once('/').map(|(provider, _)| provider)) {
            Some(provider) => self.in_order(provider, Some(model)),
            None => {
                let why = "a model is PROVIDER/MODEL or MODEL@PROFILE, or stands beside --provider";
                Err(Failure::new(Code::Usage, why))
            }
        }
    }

    /// The profiles of a provider that may be used, the first to be tried first; never none.
    pub fn in_order(&self, provider: &str, model: Option<&str>) -> Result<Vec<&Profile>, Failure> {
        let order = self.order(provider, model);
        if order.ids.is_empty() {
            let skipped: Vec<String> = order
                .skipped
                .iter()
                .map(|(id, reason)| format!("{id}: {} ({})", reason.text(), reason.as_str()))
                .collect();
            let why = if skipped.is_empty() {
                format!("{} has no profile of {provider}", self.store.name())
            } else {
                skipped.join("; ")
            };
            return Err(Failure::new(Code::ProfileIneligible, why));
        }
        let ids = order.ids.iter();
        Ok(ids.filter_map(|id| self.store.get(id)).collect())
    }

    /// Notes which profiles are handed out, where that decides who is next. What can't be noted is
    /// no reason to hand out nothing: then the same one comes first again.
    pub fn note_use(&self, context: &Context, used: &[&Profile]) {
        let used: Vec<_> = used
            .iter()
            .filter(|profile| {
                let order = self.order(&profile.provider, None);
                order.rotates(&profile.id, &self.store)
            })
            .collect();
        if used.is_empty() {
            return;
        }
        // After a power cut the one before may come first again, which does no harm.
        let (agent, store) = (&context.agent, &self.store);
        let noted = state_files::edit_state_with(context, agent, store, Care::Whole, |state| {
            let mut used = used.iter();
            used.try_for_each(|profile| state.record_use(&profile.id, self.now))
        });
        if let Err(failure) = noted {
            let text = format!("the use of a profile was not noted: {failure}");
            context.out.detail(&super::output::shown(&text));
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

/// The variables of the named profiles, and of the profiles for the named models; of the first
/// usable one of every provider if none is named.
pub fn bindings(
    context: &Context,
    named: &[ProfileId],
    models: &[String],
) -> Result<Vec<Binding>, CliError> {
    let profiles = Profiles::read(context)?;
    let doing = "find the profiles";
    let mut chosen = Vec::new();
    for id in named {
        chosen.push(profiles.usable(id).doing(doing)?);
    }
    let mut by_order = Vec::new();
    for model in models {
        let first = profiles
            .for_model(None, model)
            .doing(doing)?
            .first()
            .copied();
        match split_pin(model) {
            (_, Some(_)) => chosen.extend(first),
            (_, None) => by_order.extend(first),
        }
    }
    if named.is_empty() && models.is_empty() {
        for provider in profiles.providers() {
            let order = profiles.order(provider, None);
            by_order.extend(order.ids.first().and_then(|id| profiles.store.get(id)));
        }
    }
    profiles.note_use(context, &by_order);
    chosen.extend(by_order);
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
