//! `reseal models`: auth profiles of model providers.

mod list;
mod paste;

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
}

#[derive(Args)]
struct AuthArgs {
    #[command(subcommand)]
    command: AuthCommand,
}

#[derive(Subcommand)]
enum AuthCommand {
    /// Store an API key and make a profile that points at it
    PasteApiKey(Lazy<paste::ApiKeyArgs>),
    /// Store a static token and make a profile that points at it
    PasteToken(Lazy<paste::TokenArgs>),
    /// Store what `claude setup-token` printed
    SetupToken(Lazy<paste::SetupTokenArgs>),
    /// List the profiles, without any part of a secret
    #[command(visible_alias = "ls")]
    List(Lazy<list::ListArgs>),
}

/// Runs `models`.
pub fn run(context: &Context, args: ModelsArgs) -> Done {
    let ModelsCommand::Auth(args) = args.command;
    match args.0.command {
        AuthCommand::PasteApiKey(args) => paste::api_key(context, &args.0),
        AuthCommand::PasteToken(args) => paste::token(context, &args.0),
        AuthCommand::SetupToken(args) => paste::setup_token(context, &args.0),
        AuthCommand::List(args) => list::run(context, &args.0),
    }
}
