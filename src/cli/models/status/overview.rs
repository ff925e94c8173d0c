//! What is known of an agent's providers and profiles, gathered from the config, the profiles and,
//! if it is open, the vault.

use super::DOING;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::older_accounts;
use crate::cli::profiles::Profiles;
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::cli::state_files;
use crate::config::models::Models;
use crate::document::Path;
use crate::error::Code;
use crate::name::RecordName;
use crate::oauth::AccountInfo;
use crate::profile::eligibility::eligibility;
use crate::profile::health::{Health, Held, Status, worst};
use crate::profile::order::Order;
use crate::profile::{Profile, ProfileType, Reason, Usage, env_names, normal_provider};
use crate::reference::{SecretInput, SecretRef, Source};
use crate::runtime::service::{Reply, Request};
use crate::time::UnixMs;
use crate::vault::RecordInfo;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// Everything that is known.
pub struct Overview {
    /// Config, profiles, state, clock.
    pub profiles: Profiles,
    /// Which models are in use.
    pub models: Models,
    /// By provider.
    pub providers: Vec<ProviderView>,
    /// True if something is unknown because the vault is locked.
    pub sealed: bool,
    /// True if refs can be resolved without asking a person.
    pub can_open: bool,
    /// The config, as it stands.
    pub config: Value,
}

/// One provider.
pub struct ProviderView {
    /// The id.
    pub id: String,
    /// True if a model of it is in use; if no model is configured, every provider with profiles is.
    pub in_use: bool,
    /// Its profiles: those that are tried, in order, then the others by id.
    pub profiles: Vec<ProfileView>,
    /// As the worst of the profiles that are tried.
    pub status: Status,
    /// The order.
    pub order: Order,
    /// The variable that holds a credential, if one is set.
    pub env: Option<String>,
    /// What stands at `models.providers.<id>.apiKey`.
    pub config_key: Option<ConfigKey>,
}

/// What stands in the config where a provider's key belongs.
pub enum ConfigKey {
    /// A ref.
    Ref(SecretRef),
    /// A value, which is never used.
    Plaintext,
    /// The family's word for "managed elsewhere".
    Managed,
    /// Neither.
    Invalid,
}

/// One profile.
pub struct ProfileView {
    /// The profile.
    pub profile: Profile,
    /// How its credential stands.
    pub health: Health,
    /// What speaks against the profile, if anything.
    pub verdict: Option<Reason>,
    /// Its place in the order, from 1.
    pub place: Option<usize>,
    /// What is unusable until when.
    pub waiting: Option<Waiting>,
}

/// A profile that can't be used for a while.
pub struct Waiting {
    /// Until then.
    pub until: UnixMs,
    /// The reason, if it is disabled; else it cools down.
    pub disabled: Option<String>,
    /// The only model that it holds for.
    pub model: Option<String>,
}

impl ProviderView {
    /// True if the config holds a ref to a key.
    pub fn has_config_key(&self) -> bool {
        matches!(self.config_key, Some(ConfigKey::Ref(_)))
    }
}

impl Overview {
    /// Gathers everything. Asks nothing of a person: the vault is looked at if a daemon holds it
    /// open, or if an option or the service manager says how to open it.
    pub fn read(context: &Context, unlock: &UnlockArgs) -> Result<Self, CliError> {
        older_accounts::tell(context);
        let profiles = Profiles::read(context)?;
        let document = match state_files::config_document(context) {
            Ok(document) => document.value().clone(),
            Err(failure) if failure.code == Code::ConfigAbsent => Value::Null,
            Err(failure) => return Err(CliError::new(DOING, failure)),
        };
        let models = Models::read(&document, &context.agent);
        let vault = Vault::look(context, unlock, &profiles)?;
        let in_use = models.providers_in_use();
        let mut ids: BTreeSet<String> = profiles.providers().into_iter().map(Into::into).collect();
        let in_use = if in_use.is_empty() {
            ids.clone()
        } else {
            in_use
        };
        let configured = profiles.config.routing.profiles.iter();
        ids.extend(configured.map(|(_, configured)| configured.provider.clone()));
        ids.extend(models.providers.iter().cloned());
        ids.extend(in_use.iter().cloned());
        let providers: Vec<_> = ids
            .into_iter()
            .map(|id| provider(&profiles, &vault, in_use.contains(&id), id))
            .collect();
        let mut shown = providers.iter().flat_map(|provider| &provider.profiles);
        let sealed = shown.any(|view| view.health.status == Status::Unknown);
        Ok(Self {
            profiles,
            models,
            providers,
            sealed,
            can_open: vault.can_open,
            config: document,
        })
    }

    /// Every profile.
    pub fn all(&self) -> impl Iterator<Item = &ProfileView> {
        self.providers
            .iter()
            .flat_map(|provider| &provider.profiles)
    }
}

/// The vault, as far as it can be looked at.
struct Vault {
    records: Option<HashMap<RecordName, RecordInfo>>,
    can_open: bool,
}

impl Vault {
    fn look(context: &Context, unlock: &UnlockArgs, profiles: &Profiles) -> Result<Self, CliError> {
        let given = || -> Result<bool, CliError> {
            Ok(unlock.is_given() || !session::credentials()?.is_empty())
        };
        let client = session::daemon(context)?;
        let can_open = client.is_some() || given()?;
        let is_vault = |(_, reference): (_, &SecretRef)| reference.source() == Source::Vault;
        if !can_open || !profiles.store.refs().any(is_vault) {
            return Ok(Self {
                records: None,
                can_open,
            });
        }
        let mut service = match client {
            Some(client) => Box::new(client),
            None => session::service(context, unlock)?,
        };
        let answer = session::ask(service.as_mut(), DOING, Request::List, Vec::new())?;
        let Reply::Records(records) = answer.reply else {
            return Err(unexpected(DOING, &answer.reply));
        };
        let by_name = records
            .into_iter()
            .map(|record| (record.name.clone(), record));
        Ok(Self {
            records: Some(by_name.collect()),
            can_open,
        })
    }

    /// What a ref points at.
    fn held(&self, reference: Option<&SecretRef>, profiles: &Profiles) -> Held {
        let Some(name) = reference.and_then(|found| profiles.config.own_record(found)) else {
            return Held::Elsewhere;
        };
        let Some(records) = &self.records else {
            return Held::Sealed;
        };
        let Some(record) = records.get(&name) else {
            return Held::Absent;
        };
        let info = record.meta.other.get(AccountInfo::KEY);
        match info.and_then(AccountInfo::from_json) {
            None => Held::Value,
            Some(info) => Held::Account {
                expires_at: record.meta.expires_at,
                refreshable: info.refreshable,
                needs_sign_in: info.sign_in.is_some(),
            },
        }
    }
}

fn provider(profiles: &Profiles, vault: &Vault, in_use: bool, id: String) -> ProviderView {
    let order = profiles.order(&id, None);
    let of_provider = profiles.store.profiles().iter();
    let of_provider = of_provider.filter(|profile| profile.provider == id);
    let mut views: Vec<_> = of_provider
        .map(|found| profile(profiles, vault, &order, found))
        .collect();
    views.sort_by_key(|view| (view.place.unwrap_or(usize::MAX), view.profile.id.clone()));
    let tried = views.iter().filter(|view| view.place.is_some());
    let mut statuses: Vec<_> = tried.map(|view| view.health.status).collect();
    if statuses.is_empty() {
        statuses = views.iter().map(|view| view.health.status).collect();
    }
    ProviderView {
        in_use,
        status: worst(statuses),
        env: variable(profiles, &id),
        config_key: config_key(profiles, &id),
        profiles: views,
        order,
        id,
    }
}

fn profile(profiles: &Profiles, vault: &Vault, order: &Order, found: &Profile) -> ProfileView {
    let (id, now) = (&found.id, profiles.now);
    let routing = &profiles.config.routing;
    let verdict = eligibility(id, &found.provider, &profiles.store, routing, now);
    let verdict = verdict.map(|_| ());
    let held = vault.held(found.kind.credential().reference(), profiles);
    ProfileView {
        health: Health::of(&found.kind, verdict, &held, now),
        verdict: verdict.err(),
        place: order
            .ids
            .iter()
            .position(|other| other == id)
            .map(|i| i + 1),
        waiting: waiting(profiles.state.usage(id), &found.provider, now),
        profile: found.clone(),
    }
}

fn waiting(usage: Option<&Usage>, provider: &str, now: UnixMs) -> Option<Waiting> {
    let usage = usage?;
    let until = usage.unusable_until(provider, None, now)?;
    let is_disabled = usage.is_disabled(now);
    let disabled = usage.disabled_reason.clone();
    Some(Waiting {
        until,
        disabled: is_disabled.then(|| disabled.unwrap_or_else(|| "unknown".to_owned())),
        model: usage.cooldown_model.clone().filter(|_| !is_disabled),
    })
}

/// The first variable of a provider that is set to something.
fn variable(profiles: &Profiles, provider: &str) -> Option<String> {
    let mut names = match profiles.config.env_names(provider) {
        Some(names) => names.to_vec(),
        None => env_names(provider, ProfileType::ApiKey),
    };
    names.extend(env_names(provider, ProfileType::Token));
    let is_set = |name: &String| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    names.into_iter().find(is_set)
}

fn config_key(profiles: &Profiles, provider: &str) -> Option<ConfigKey> {
    let at = |id: &str| Path::of_keys(["models", "providers", id, "apiKey"]);
    let inputs = profiles.config.secret_inputs().iter();
    let mut inputs = inputs.filter(|input| {
        let id = input.path.segments().get(2).and_then(|id| id.as_key());
        id.is_some_and(|id| normal_provider(id) == provider && input.path == at(id))
    });
    let input = inputs.next()?;
    match &input.input {
        Ok(SecretInput::Ref { reference, .. }) => Some(ConfigKey::Ref(reference.clone())),
        Ok(SecretInput::Plaintext) => Some(ConfigKey::Plaintext),
        Ok(SecretInput::Managed) => Some(ConfigKey::Managed),
        Ok(SecretInput::Empty) => None,
        Err(_) => Some(ConfigKey::Invalid),
    }
}
