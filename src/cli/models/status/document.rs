//! The document of `models status --json`: the members of the OpenClaw family, by its names.
//!
//! Where the family shows a part of a key, this shows where the key is.

use super::overview::{ConfigKey, Overview, ProfileView, ProviderView};
use super::probe::Probes;
use super::view::{label_of, remaining};
use crate::cli::context::Context;
use crate::profile::health::{Status, WARN_AFTER};
use crate::profile::{Credential, ProfileType};
use crate::time::UnixMs;
use serde_json::{Map, Value, json};

pub fn document(context: &Context, overview: &Overview, probes: Option<&Probes>) -> Value {
    let models = &overview.models;
    let default = models.default.as_deref();
    json!({
        "configPath": context.config(),
        "agentId": context.agent,
        "agentDir": context.state.agent_dir(&context.agent),
        "defaultModel": default,
        "resolvedDefault": default.map(|name| models.resolve(name)),
        "fallbacks": models.fallbacks,
        "imageModel": models.image,
        "imageFallbacks": models.image_fallbacks,
        "modelConfig": {
            "defaultSource": source(models.own_default),
            "fallbacksSource": source(models.own_fallbacks),
        },
        "aliases": models.aliases,
        "allowed": models.allowed,
        "auth": auth(context, overview, probes),
    })
}

fn source(own: bool) -> &'static str {
    if own { "agent" } else { "defaults" }
}

fn auth(context: &Context, overview: &Overview, probes: Option<&Probes>) -> Value {
    let store = context.state.auth_profiles(&context.agent);
    let providers = overview.providers.iter();
    let with_oauth = providers.clone().filter_map(|provider| {
        let count = with_end(provider);
        (count > 0).then(|| format!("{} ({count})", provider.id))
    });
    let missing = providers.clone().filter(|provider| {
        let has_other = provider.env.is_some() || provider.has_config_key();
        provider.in_use && provider.profiles.is_empty() && !has_other
    });
    let mut document = json!({
        "storePath": store,
        "shellEnvFallback": {"enabled": false, "appliedKeys": []},
        "providersWithOAuth": with_oauth.collect::<Vec<_>>(),
        "missingProvidersInUse": missing.map(|provider| &provider.id).collect::<Vec<_>>(),
        "runtimeAuthRoutes": [],
        "providers": providers.clone().map(|p| provider(context, overview, p)).collect::<Vec<_>>(),
        "unusableProfiles": unusable(overview),
        "oauth": {
            "warnAfterMs": WARN_AFTER.as_millis(),
            "profiles": profiles(overview),
            "providers": providers.map(|p| provider_health(overview, p)).collect::<Vec<_>>(),
        },
    });
    if let Some(probes) = probes {
        document["probes"] = probes.document(|provider| overview.models.first_of(provider));
    }
    document
}

/// How many credentials of a provider are OAuth accounts or tokens.
fn with_end(provider: &ProviderView) -> usize {
    let profiles = provider.profiles.iter();
    let types = profiles.map(|view| view.profile.kind.profile_type());
    let in_env = provider
        .env
        .as_ref()
        .is_some_and(|name| name.contains("OAUTH"));
    types.filter(|kind| *kind != ProfileType::ApiKey).count() + usize::from(in_env)
}

fn provider(context: &Context, overview: &Overview, provider: &ProviderView) -> Value {
    let count = |wanted: ProfileType| {
        let types = provider
            .profiles
            .iter()
            .map(|view| view.profile.kind.profile_type());
        types.filter(|kind| *kind == wanted).count()
    };
    let key = provider.config_key.as_ref().map(key_text);
    let (kind, detail) = if !provider.profiles.is_empty() {
        let store = context.state.auth_profiles(&context.agent);
        ("profiles", store.display().to_string())
    } else if let Some(name) = &provider.env {
        ("env", format!("env: {name}"))
    } else if let Some(key) = &key {
        ("models.json", key.clone())
    } else {
        ("missing", "missing".to_owned())
    };
    let labels: Vec<_> = provider
        .profiles
        .iter()
        .map(|view| credential_label(overview, view))
        .collect();
    let mut document = json!({
        "provider": provider.id,
        "effective": {"kind": kind, "detail": detail},
        "profiles": {
            "count": provider.profiles.len(),
            "oauth": count(ProfileType::OAuth),
            "token": count(ProfileType::Token),
            "apiKey": count(ProfileType::ApiKey),
            "labels": labels,
        },
    });
    if let Some(name) = &provider.env {
        document["env"] = json!({"value": "set", "source": format!("env: {name}")});
    }
    if let Some(key) = key {
        let source = format!("config: {}", context.config().display());
        document["modelsJson"] = json!({"value": key, "source": source});
    }
    document
}

fn key_text(key: &ConfigKey) -> String {
    match key {
        ConfigKey::Ref(reference) => format!("ref({}:{})", reference.source(), reference.id()),
        ConfigKey::Plaintext => "plaintext".to_owned(),
        ConfigKey::Managed => "marker(secretref-managed)".to_owned(),
        ConfigKey::Invalid => "invalid".to_owned(),
    }
}

/// `anthropic:work=token:ref(vault:anthropic/work) [cooldown 5m]`.
fn credential_label(overview: &Overview, view: &ProfileView) -> String {
    let profile = &view.profile;
    let held = match profile.kind.credential() {
        Credential::Ref { reference, .. } => {
            format!("ref({}:{})", reference.source(), reference.id())
        }
        Credential::Plaintext => "plaintext".to_owned(),
        Credential::Invalid(_) => "invalid".to_owned(),
        Credential::Missing => "missing".to_owned(),
    };
    let held = match profile.kind.profile_type() {
        ProfileType::ApiKey => held,
        ProfileType::Token => format!("token:{held}"),
        ProfileType::OAuth => {
            let account = profile.email.as_ref().or(profile.display_name.as_ref());
            let account = account.map(|account| format!(" ({account})"));
            format!("OAuth{}", account.unwrap_or_default())
        }
    };
    let now = overview.profiles.now;
    let waiting = view.waiting.as_ref().map(|waiting| {
        let left = remaining(now.until(waiting.until));
        match &waiting.disabled {
            Some(reason) => format!(" [disabled:{reason} {left}]"),
            None => format!(" [cooldown {left}]"),
        }
    });
    format!("{}={held}{}", profile.id, waiting.unwrap_or_default())
}

fn unusable(overview: &Overview) -> Vec<Value> {
    let now = overview.profiles.now;
    let all = overview.all();
    let mut waiting: Vec<_> = all
        .filter_map(|view| Some((view, view.waiting.as_ref()?)))
        .collect();
    waiting.sort_by_key(|(_, waiting)| waiting.until);
    let entry = |(view, waiting): (&ProfileView, &super::overview::Waiting)| {
        let kind = if waiting.disabled.is_some() {
            "disabled"
        } else {
            "cooldown"
        };
        let mut entry = json!({
            "profileId": view.profile.id,
            "provider": view.profile.provider,
            "kind": kind,
            "until": waiting.until,
            "remainingMs": signed_distance(now, waiting.until),
        });
        if let Some(reason) = &waiting.disabled {
            entry["reason"] = reason.as_str().into();
        }
        entry
    };
    waiting.into_iter().map(entry).collect()
}

fn profiles(overview: &Overview) -> Vec<Value> {
    let mut all: Vec<_> = overview.all().collect();
    all.sort_by_key(|view| (&view.profile.provider, &view.profile.id));
    let entry = |view: &ProfileView| {
        let mut entry = json!({
            "profileId": view.profile.id,
            "provider": view.profile.provider,
            "type": view.profile.kind.profile_type().as_str(),
            "status": view.health.status.as_str(),
        });
        if let Some(reason) = view.health.reason {
            entry["reasonCode"] = reason.into();
        }
        add_end(&mut entry, view.health.expires_at, overview.profiles.now);
        entry["source"] = "store".into();
        entry["label"] = label_of(&view.profile).into();
        entry
    };
    all.into_iter().map(entry).collect()
}

fn provider_health(overview: &Overview, provider: &ProviderView) -> Value {
    let mut entry = json!({"provider": provider.id, "status": provider.status.as_str()});
    let tried = provider.profiles.iter().filter(|view| view.place.is_some());
    let ends = tried.filter(|view| view.health.status != Status::Static);
    let soonest = ends.filter_map(|view| view.health.expires_at).min();
    add_end(&mut entry, soonest, overview.profiles.now);
    let ids = provider.profiles.iter().map(|view| &view.profile.id);
    entry["profiles"] = json!(ids.collect::<Vec<_>>());
    entry["effectiveProfiles"] = json!(provider.order.ids);
    entry
}

fn add_end(entry: &mut Value, at: Option<UnixMs>, now: UnixMs) {
    let Some(at) = at else { return };
    let members: Option<&mut Map<_, _>> = entry.as_object_mut();
    if let Some(members) = members {
        members.insert("expiresAt".to_owned(), json!(at));
        members.insert("remainingMs".to_owned(), signed_distance(now, at).into());
    }
}

/// Milliseconds from `now` to `at`; below zero if it has passed.
fn signed_distance(now: UnixMs, at: UnixMs) -> i64 {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    signed(at.0).saturating_sub(signed(now.0))
}
