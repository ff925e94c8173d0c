//! `reseal models`: auth profiles of model providers.

mod add;
mod list;
pub(in crate::cli) mod login;
pub(in crate::cli) mod logout;
mod order;
pub(in crate::cli) mod paste;
pub(in crate::cli) mod person;
mod report;
mod status;

use super::context::Context;
use super::error::Done;
use super::lazy::Lazy;
use clap::{Args, Subcommand};

/// Arguments of `models`.
#[derive(Args)]
pub struct ModelsArgs {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Subcommand)]
enum ModelsCommand {
    /// Credentials of model providers
    Auth(Lazy<AuthArgs>),
    /// How every credential stands: expiry, cooldown, order, where it comes from
    Status(Lazy<status::StatusArgs>),
    /// Tell how a profile fared, for runtimes that used it
    Report(Lazy<report::ReportArgs>),
}

#[derive(Args)]
struct AuthArgs {
    #[command(subcommand)]
    command: AuthCommand,
}

#[derive(Subcommand)]
enum AuthCommand {
    /// Sign in to a provider in a browser or on another device, and seal the tokens
    Login(Lazy<login::LoginArgs>),
    /// Sign out: revoke the tokens where the provider can, and forget them
    Logout(Lazy<logout::LogoutArgs>),
    /// Add an account, asking what it is
    Add(Lazy<add::AddArgs>),
    /// Store an API key and make a profile that points at it
    PasteApiKey(Lazy<paste::ApiKeyArgs>),
    /// Store a static token and make a profile that points at it
    PasteToken(Lazy<paste::TokenArgs>),
    /// Store what `claude setup-token` printed
    SetupToken(Lazy<paste::SetupTokenArgs>),
    /// List the profiles, without any part of a secret
    #[command(visible_alias = "ls")]
    List(Lazy<list::ListArgs>),
    /// The order in which an agent tries a provider's profiles
    Order(Lazy<order::OrderArgs>),
}

/// Runs `models`.
pub fn run(context: &Context, args: ModelsArgs) -> Done {
    match args.command {
        ModelsCommand::Auth(args) => auth(context, args.0.command),
        ModelsCommand::Status(args) => status::run(context, &args.0),
        ModelsCommand::Report(args) => report::run(context, &args.0),
    }
}

fn auth(context: &Context, command: AuthCommand) -> Done {
    match command {
        AuthCommand::Login(args) => login::run(context, &args.0),
        AuthCommand::Logout(args) => logout::run(context, &args.0),
        AuthCommand::Add(args) => add::run(context, args.0),
        AuthCommand::PasteApiKey(args) => paste::api_key(context, &args.0),
        AuthCommand::PasteToken(args) => paste::token(context, &args.0),
        AuthCommand::SetupToken(args) => paste::setup_token(context, &args.0),
        AuthCommand::List(args) => list::run(context, &args.0),
        AuthCommand::Order(args) => order::run(context, args.0),
    }
}
