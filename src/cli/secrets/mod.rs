//! `reseal secrets`: records of the vault, and the refs that point at them.

pub mod apply;
pub mod audit;
pub mod configure;
pub mod get;
pub mod history;
pub mod list;
pub mod migrate;
pub mod mv;
pub mod plan;
pub mod reload;
pub mod resolve;
pub mod restore;
pub mod rm;
pub mod set;
mod stopped;

use super::apart;
use super::context::Context;
use super::error::Done;
use super::lazy::Lazy;
use crate::name::RecordName;
use clap::{Args, Subcommand};

/// Arguments of `secrets`.
#[derive(Args)]
pub struct SecretsArgs {
    #[command(subcommand)]
    command: SecretsCommand,
}

impl SecretsArgs {
    /// `secrets get` with these arguments.
    pub fn get(args: get::GetArgs) -> Self {
        Self {
            command: SecretsCommand::Get(Lazy(args)),
        }
    }

    #[cfg(test)]
    pub(super) fn as_get(&self) -> Option<&get::GetArgs> {
        match &self.command {
            SecretsCommand::Get(args) => Some(&args.0),
            _ => None,
        }
    }
}

#[derive(Subcommand)]
enum SecretsCommand {
    /// Store a secret, or point a profile or a config path at one
    Set(Lazy<set::SetArgs>),
    /// Print a secret
    Get(Lazy<get::GetArgs>),
    /// List the records of the vault, without their values
    #[command(visible_alias = "ls")]
    List(Lazy<list::ListArgs>),
    /// Remove a record
    #[command(visible_alias = "remove")]
    Rm(Lazy<rm::RmArgs>),
    /// Rename a record
    #[command(visible_alias = "rename")]
    Mv(Lazy<mv::MvArgs>),
    /// List the versions of a record that the vault still holds
    History(Lazy<history::HistoryArgs>),
    /// Make an older version of a record the current one
    Restore(Lazy<restore::RestoreArgs>),
    /// Resolve every ref that is in use and report each by name
    Resolve(Lazy<resolve::ResolveArgs>),
    /// Walk through providers and plaintext at a terminal, and move what shall move
    Configure(Lazy<configure::ConfigureArgs>),
    /// Draw a plan that moves plaintext into the vault
    Plan(Lazy<plan::PlanArgs>),
    /// Carry out a plan: seal the values, compare, rewrite the files, scrub the copies
    Apply(Lazy<apply::ApplyArgs>),
    /// Find plaintext secrets and dead refs, here or in another runtime's state folder
    Audit(Lazy<audit::AuditArgs>),
    /// Move a whole state folder of another runtime into the vault
    Migrate(Lazy<migrate::MigrateArgs>),
    /// Build a new snapshot from the vault, the config and the profiles
    Reload(Lazy<reload::ReloadArgs>),
}

/// Runs `secrets`.
pub fn run(context: &Context, args: SecretsArgs) -> Done {
    match args.command {
        SecretsCommand::Set(args) => apart(set::run, context, args.0),
        SecretsCommand::Get(args) => apart(get::run, context, args.0),
        SecretsCommand::List(args) => apart(list::run, context, args.0),
        SecretsCommand::Rm(args) => apart(rm::run, context, args.0),
        SecretsCommand::Mv(args) => apart(mv::run, context, args.0),
        SecretsCommand::History(args) => apart(history::run, context, args.0),
        SecretsCommand::Restore(args) => apart(restore::run, context, args.0),
        SecretsCommand::Resolve(args) => apart(resolve::run, context, args.0),
        SecretsCommand::Configure(args) => apart(configure::run, context, args.0),
        SecretsCommand::Plan(args) => apart(plan::run, context, args.0),
        SecretsCommand::Apply(args) => apart(apply::run, context, args.0),
        SecretsCommand::Audit(args) => apart(audit::run, context, args.0),
        SecretsCommand::Migrate(args) => apart(migrate::run, context, args.0),
        SecretsCommand::Reload(args) => apart(reload::run, context, args.0),
    }
}

/// A record as a person names it: its name, or the ref that points at it.
pub fn parse_record(text: &str) -> Result<RecordName, String> {
    if let Some(rest) = text.strip_prefix("vault:") {
        return rest
            .parse()
            .map_err(|error: crate::name::NameError| error.to_string());
    }
    text.parse()
        .map_err(|error: crate::name::NameError| error.to_string())
}

/// The text form of the ref to a record.
pub fn ref_text(name: &RecordName) -> String {
    format!("vault:{name}")
}
