//! `reseal models auth order`: the stored order of one agent, per provider.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::lazy::Lazy;
use crate::cli::output::{shown, shown_path};
use crate::cli::profiles::Profiles;
use crate::cli::state_files;
use crate::error::{Code, Failure};
use crate::name::ProfileId;
use crate::profile::normal_provider;
use crate::profile::order::Basis;
use clap::{Args, Subcommand};
use serde_json::json;

#[derive(Args)]
pub(super) struct OrderArgs {
    #[command(subcommand)]
    command: OrderCommand,
}

#[derive(Subcommand)]
enum OrderCommand {
    /// Show the stored order, and the one in effect
    Get(Lazy<ProviderArgs>),
    /// Store an order; profiles that are left out are never tried
    Set(Lazy<SetArgs>),
    /// Forget the stored order
    Clear(Lazy<ProviderArgs>),
}

#[derive(Args)]
struct ProviderArgs {
    /// The provider, such as anthropic
    #[arg(long, value_name = "ID")]
    provider: String,
}

#[derive(Args)]
struct SetArgs {
    /// The provider, such as anthropic
    #[arg(long, value_name = "ID")]
    provider: String,

    /// The profiles, the first to be tried first
    #[arg(value_name = "PROFILE", required = true)]
    profiles: Vec<ProfileId>,
}

pub(super) fn run(context: &Context, args: OrderArgs) -> Done {
    match args.command {
        OrderCommand::Get(args) => {
            let profiles = Profiles::read(context)?;
            show(context, &profiles, &args.0.provider)
        }
        OrderCommand::Set(args) => set(context, &args.0.provider, args.0.profiles),
        OrderCommand::Clear(args) => change(context, &args.0.provider, &[], "clear the order"),
    }
}

fn set(context: &Context, provider: &str, mut ids: Vec<ProfileId>) -> Done {
    let doing = "store the order";
    let profiles = Profiles::read(context)?;
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    for id in &ids {
        let refused = match profiles.store.get(id) {
            None => Some((
                Code::ProfileAbsent,
                format!("there is no profile {id} in {}", profiles.store.name()),
            )),
            Some(profile) if profile.provider != normal_provider(provider) => Some((
                Code::InputInvalid,
                format!(
                    "{id} is a profile of {}, not of {provider}",
                    profile.provider
                ),
            )),
            Some(_) => None,
        };
        if let Some((code, why)) = refused {
            return Err(CliError::because(doing, code, why));
        }
    }
    change(context, provider, &ids, doing)
}

fn change(context: &Context, provider: &str, ids: &[ProfileId], doing: &str) -> Done {
    let mut profiles = Profiles::read(context)?;
    let edit = state_files::edit_state(context, &context.agent, &profiles.store, |state| {
        state.set_order(provider, ids)
    });
    profiles.state = edit.map_err(limit_in_words).doing(doing)?;
    show(context, &profiles, provider)
}

/// Too many ids are the caller's mistake, not a broken file.
fn limit_in_words(failure: Failure) -> Failure {
    match failure.code {
        Code::ProfilesInvalid if failure.message.contains("at most") => {
            Failure::new(Code::InputTooLarge, failure.message)
        }
        _ => failure,
    }
}

/// The name of a basis in JSON, and what people are told.
pub(super) fn basis_name(basis: Basis) -> (&'static str, &'static str) {
    match basis {
        Basis::Stored => ("stored", "the stored order"),
        Basis::Config => ("config", "auth.order of the config"),
        Basis::Configured => ("configured", "auth.profiles of the config"),
        Basis::Discovered => ("discovered", "what auth-profiles.json has"),
    }
}

fn show(context: &Context, profiles: &Profiles, provider: &str) -> Done {
    let out = &context.out;
    let stored = profiles.state.order(provider);
    let effective = profiles.order(provider, None);
    let (basis, basis_text) = basis_name(effective.basis);
    if out.json {
        let skipped = effective.skipped.iter();
        let skipped: Vec<_> = skipped
            .map(|(id, reason)| json!({"profileId": id, "reasonCode": reason.as_str()}))
            .collect();
        out.document(&json!({
            "agentId": context.agent,
            "agentDir": context.state.agent_dir(&context.agent),
            "authStatePath": context.state.auth_state(&context.agent),
            "provider": normal_provider(provider),
            "order": stored,
            "effective": effective.ids,
            "basis": basis,
            "skipped": skipped,
        }))?;
        return Ok(0);
    }
    let path = shown_path(&context.state.auth_state(&context.agent));
    match stored {
        Some(_) => out.say(&format!("The order is stored in {path}.")),
        None => out.say(&format!("No order is stored; it comes from {basis_text}.")),
    }
    let ids: Vec<_> = effective.ids.iter().map(ProfileId::as_str).collect();
    if !ids.is_empty() {
        out.data(&ids.join("\n"))?;
    }
    for (id, reason) in &effective.skipped {
        out.warn(&format!("{id} is left out: {}", reason.text()));
    }
    if ids.is_empty() && effective.skipped.is_empty() {
        let provider = shown(provider);
        out.say(&format!("There are no profiles of {provider}."));
    }
    Ok(0)
}
