//! `reseal auth provider`: the model providers that people sign in to, under the names of
//! fast-agent 0.10.

use super::export;
use super::status::CODEX;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Done};
use crate::cli::lazy::Lazy;
use crate::cli::models::{login, logout};
use crate::cli::output::Tone;
use crate::cli::profiles::Profiles;
use crate::cli::session::UnlockArgs;
use crate::cli::table::{Table, cell};
use crate::cli::token;
use crate::error::Code;
use crate::oauth::Provider;
use crate::oauth::provider::FlowKind;
use crate::profile::eligibility::credential;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

/// Arguments of `auth provider`.
#[derive(Args)]
pub(super) struct ProviderArgs {
    #[command(subcommand)]
    command: ProviderCommand,
}

#[derive(Subcommand)]
enum ProviderCommand {
    /// The providers that people sign in to, and whether somebody did
    #[command(visible_alias = "ls")]
    List(Lazy<ListArgs>),
    /// One provider
    Show(Lazy<NamedArgs>),
    /// Sign in to a provider
    Login(Lazy<LoginArgs>),
    /// Sign out of a provider: every profile of it
    Logout(Lazy<LogoutArgs>),
    /// Print an access token of a provider
    Token(Lazy<TokenArgs>),
    /// Write an access token into a file as fast-agent keeps it
    Export(Lazy<export::ExportArgs>),
}

#[derive(Args)]
struct ListArgs {}

#[derive(Args)]
pub(super) struct NamedArgs {
    /// The provider; `codex` is openai-codex
    #[arg(value_name = "PROVIDER")]
    provider: String,
}

#[derive(Args)]
struct LoginArgs {
    #[command(flatten)]
    named: NamedArgs,

    /// In a browser here, or with a code on another device
    #[arg(long, value_enum)]
    method: Option<Method>,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Method {
    Browser,
    Device,
}

#[derive(Args)]
struct LogoutArgs {
    #[command(flatten)]
    named: NamedArgs,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Args)]
struct TokenArgs {
    #[command(flatten)]
    named: NamedArgs,

    /// Print the token although stdout is a terminal
    #[arg(long)]
    reveal: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

impl NamedArgs {
    /// The id of the provider: fast-agent has a shorter name for one.
    pub(super) fn id(&self) -> &str {
        match self.provider.as_str() {
            "codex" => CODEX,
            other => other,
        }
    }

    /// The id in fast-agent's files.
    pub(super) fn theirs(&self) -> &str {
        match self.provider.as_str() {
            CODEX => "codex",
            other => other,
        }
    }
}

/// Runs `auth provider`.
pub(super) fn run(context: &Context, args: ProviderArgs) -> Done {
    match args.command {
        ProviderCommand::List(_) => list(context),
        ProviderCommand::Show(args) => show(context, args.0.id()),
        ProviderCommand::Login(args) => {
            let args = args.0;
            let flow = match args.method {
                Some(Method::Device) => FlowKind::Device,
                Some(Method::Browser) | None => FlowKind::Pkce,
            };
            login::sign_in_to(context, args.named.id(), flow, args.yes, &args.unlock)
        }
        ProviderCommand::Logout(args) => sign_out(context, &args.0),
        ProviderCommand::Export(args) => export::run(context, &args.0),
        ProviderCommand::Token(args) => {
            let args = args.0;
            token::of_provider(context, args.named.id(), args.reveal, args.unlock)
        }
    }
}

fn list(context: &Context) -> Done {
    let profiles = Profiles::read(context)?;
    let providers = profiles.config.all_oauth_providers();
    let found: Vec<Value> = providers.iter().map(|one| entry(&profiles, one)).collect();
    if context.out.json {
        context.out.document(&json!({"providers": found}))?;
        return Ok(0);
    }
    let mut table = Table::new(vec!["Provider", "Name", "State", "Profiles"], 3);
    for entry in &found {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let state = match entry["state"].as_str() {
            Some("ready") => cell("ready", Tone::Good),
            Some("expired") => cell("expired", Tone::Bad),
            _ => cell("not configured", Tone::Faint),
        };
        let ids = entry["profiles"].as_array().into_iter().flatten();
        let ids: Vec<&str> = ids.filter_map(Value::as_str).collect();
        table.row(vec![
            text("id").into(),
            text("name").into(),
            state,
            ids.join(", ").into(),
        ]);
    }
    table.print(&context.out)?;
    Ok(0)
}

fn show(context: &Context, id: &str) -> Done {
    let profiles = Profiles::read(context)?;
    let provider = login::find(&profiles.config, id)?;
    let entry = entry(&profiles, &provider);
    if context.out.json {
        context.out.document(&entry)?;
        return Ok(0);
    }
    Table::of_members(&entry).print(&context.out)?;
    Ok(0)
}

/// A provider as fast-agent's JSON has it, with the profiles that are ours.
fn entry(profiles: &Profiles, provider: &Provider) -> Value {
    let all = profiles.store.profiles().iter();
    let own: Vec<_> = all
        .filter(|profile| profile.provider == provider.id)
        .collect();
    let usable = own
        .iter()
        .any(|profile| credential(&profile.kind, profiles.now).is_ok());
    let state = match own.is_empty() {
        true => "not_configured",
        false if usable => "ready",
        false => "expired",
    };
    let ids: Vec<&str> = own.iter().map(|profile| profile.id.as_str()).collect();
    json!({
        "id": provider.id,
        "name": provider.label,
        "state": state,
        "source": (!own.is_empty()).then_some("vault"),
        "profiles": ids,
    })
}

fn sign_out(context: &Context, args: &LogoutArgs) -> Done {
    let id = args.named.id();
    let profiles = Profiles::read(context)?;
    let own = profiles.store.profiles().iter();
    let own: Vec<_> = own.filter(|profile| profile.provider == id).collect();
    if own.is_empty() {
        let why = format!("there is no profile of {}", id.escape_debug());
        return Err(CliError::because("sign out", Code::ProfileAbsent, why));
    }
    let question = format!("Sign out of {id}?");
    if !args.yes && !context.confirm("sign out", &question, "--yes")? {
        context.out.say("Nothing was changed.");
        return Ok(0);
    }
    for profile in own {
        logout::sign_out(context, &profile.id, &args.unlock)?;
    }
    Ok(0)
}
