//! `reseal auth`: OAuth of MCP servers, as fast-agent's `auth` has it.
//!
//! The six commands of fast-agent 0.4.40 to 0.8.3 keep their words and exit codes; the spellings of
//! 0.10 (`auth mcp …`, `auth provider …`) lead to the same.

mod clear;
mod codex;
mod export;
mod kept;
mod login;
pub mod moving;
mod provider;
mod proxy;
mod ring;
mod servers;
mod status;
mod token;

use super::context::Context;
use super::error::Done;
use super::lazy::Lazy;
use clap::{Args, Subcommand};

/// Arguments of `auth`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct AuthArgs {
    #[command(subcommand)]
    command: Option<AuthCommand>,

    #[command(flatten)]
    status: status::StatusArgs,
}

#[derive(Subcommand)]
enum AuthCommand {
    /// Which servers there are, and which have a token
    Status(Lazy<status::StatusArgs>),
    /// Sign in to a server in a browser, and seal the tokens
    Login(Lazy<login::LoginArgs>),
    /// Revoke and forget the tokens of a server
    Clear(Lazy<clear::ClearArgs>),
    /// Print an access token of a server, renewed if need be
    Token(Lazy<token::TokenArgs>),
    /// Speak with a server for an MCP client that knows no OAuth: stdio here, HTTP there
    Proxy(Lazy<proxy::ProxyArgs>),
    /// Sign in with ChatGPT (Codex) in a browser
    CodexLogin(Lazy<codex::CodexArgs>),
    /// Sign in with ChatGPT (Codex) unless somebody has
    Codexplan(Lazy<codex::CodexArgs>),
    /// Sign out of ChatGPT (Codex)
    CodexClear(Lazy<codex::CodexArgs>),
    /// The same under the names of fast-agent 0.10: servers
    Mcp(Lazy<McpArgs>),
    /// The same under the names of fast-agent 0.10: model providers
    Provider(Lazy<provider::ProviderArgs>),
}

#[derive(Args)]
struct McpArgs {
    #[command(subcommand)]
    command: McpCommand,
}

#[derive(Subcommand)]
enum McpCommand {
    /// Which servers there are, and which have a token
    #[command(visible_alias = "ls")]
    List(Lazy<status::ListArgs>),
    /// One server
    Show(Lazy<status::ShowArgs>),
    /// The tokens that are kept, also those of servers that are in no config
    Credentials(Lazy<status::CredentialsArgs>),
    /// Sign in to a server
    Login(Lazy<login::McpLoginArgs>),
    /// Revoke and forget the tokens of a server
    Forget(Lazy<clear::ForgetArgs>),
}

impl AuthArgs {
    /// True if stdout is for something else than what the command reports.
    pub fn owns_stdout(&self) -> bool {
        matches!(self.command, Some(AuthCommand::Proxy(_)))
    }
}

/// Runs `auth`.
pub fn run(context: &Context, args: AuthArgs) -> Done {
    match args.command {
        None => status::run(context, &args.status),
        Some(AuthCommand::Status(args)) => status::run(context, &args.0),
        Some(AuthCommand::Login(args)) => login::run(context, &args.0),
        Some(AuthCommand::Clear(args)) => clear::run(context, &args.0),
        Some(AuthCommand::Token(args)) => token::run(context, &args.0),
        Some(AuthCommand::Proxy(args)) => proxy::run(context, args.0),
        Some(AuthCommand::CodexLogin(args)) => codex::login(context, &args.0),
        Some(AuthCommand::Codexplan(args)) => codex::plan(context, &args.0),
        Some(AuthCommand::CodexClear(args)) => codex::clear(context, &args.0),
        Some(AuthCommand::Mcp(args)) => match args.0.command {
            McpCommand::List(args) => status::list(context, &args.0),
            McpCommand::Show(args) => status::show(context, &args.0),
            McpCommand::Credentials(args) => status::credentials(context, &args.0),
            McpCommand::Login(args) => login::mcp(context, args.0),
            McpCommand::Forget(args) => clear::forget(context, args.0),
        },
        Some(AuthCommand::Provider(args)) => provider::run(context, args.0),
    }
}
