//! `reseal auth clear` and `reseal auth mcp forget`.

use super::servers::{ConfigArgs, Servers, identity};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::session::{self, UnlockArgs};
use crate::error::{Code, Failure};
use crate::mcp::Identity;
use crate::name::RecordName;
use crate::runtime::service::{Reply, Request, Revocation, Service};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct ClearArgs {
    /// The name of a server
    #[arg(value_name = "SERVER")]
    server: Option<String>,

    /// The URL whose tokens go
    #[arg(long, value_name = "URL")]
    identity: Option<String>,

    /// The tokens of every server
    #[arg(long, conflicts_with_all = ["server", "identity"])]
    all: bool,

    #[command(flatten)]
    how: HowArgs,
}

#[derive(Args)]
pub(super) struct ForgetArgs {
    /// The name of a server
    #[arg(value_name = "SERVER", required_unless_present_any = ["resource", "all"])]
    server: Option<String>,

    /// The URL whose tokens go
    #[arg(long, value_name = "URL")]
    resource: Option<String>,

    /// The tokens of every server
    #[arg(long, conflicts_with_all = ["server", "resource"])]
    all: bool,

    #[command(flatten)]
    how: HowArgs,
}

/// What goes, and how.
#[derive(Args)]
struct HowArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// Don't ask the server's provider to revoke the tokens: forget them here only
    #[arg(long)]
    local_only: bool,

    #[command(flatten)]
    config: ConfigArgs,

    /// Without a daemon: read the passphrase from a private file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,

    /// Without a daemon: read a 32-byte key from a private file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

const DOING: &str = "remove the tokens";

pub(super) fn run(context: &Context, args: &ClearArgs) -> Done {
    if args.server.is_none() && args.identity.is_none() && !args.all {
        context
            .out
            .tell("Provide --identity, a server name, or use --all");
        return Ok(1);
    }
    clear(context, args)
}

pub(super) fn forget(context: &Context, args: ForgetArgs) -> Done {
    let args = ClearArgs {
        server: args.server,
        identity: args.resource,
        all: args.all,
        how: args.how,
    };
    clear(context, &args)
}

fn clear(context: &Context, args: &ClearArgs) -> Done {
    let how = &args.how;
    let servers = Servers::read(context, &how.config)?;
    let mut chosen: Vec<Identity> = Vec::new();
    for target in args.server.iter().chain(&args.identity) {
        chosen.push(identity(&servers, target));
    }
    if !how.yes && !context.confirm(DOING, "Remove the selected tokens?", "--yes")? {
        context.out.say("Nothing was changed.");
        return Ok(0);
    }
    // The other options of `UnlockArgs` are not here: fast-agent's `--identity` is another one.
    let unlock = UnlockArgs {
        passphrase_file: how.passphrase_file.clone(),
        key_file: how.key_file.clone(),
        ..UnlockArgs::default()
    };
    let mut service = session::service(context, &unlock)?;
    let mut names = Vec::new();
    for identity in &chosen {
        names.push(identity.record().map_err(Failure::from).doing(DOING)?);
    }
    if args.all {
        names = all(service.as_mut())?;
    }
    let mut removed = Vec::new();
    for name in names {
        if let Some(revocation) = sign_out(service.as_mut(), &name, how.local_only)? {
            removed.push((name, revocation));
        }
    }
    report(context, &removed)
}

/// The records of all servers.
fn all(service: &mut dyn Service) -> Result<Vec<RecordName>, CliError> {
    let request = Request::ListUnder {
        prefix: "mcp/".to_owned(),
    };
    match session::ask(service, DOING, request, Vec::new())?.reply {
        Reply::Records(records) => Ok(records.into_iter().map(|record| record.name).collect()),
        other => Err(session::unexpected(DOING, &other)),
    }
}

/// Revokes and forgets; `None` if there is nothing.
fn sign_out(
    service: &mut dyn Service,
    name: &RecordName,
    local_only: bool,
) -> Result<Option<Revocation>, CliError> {
    let request = Request::SignOut {
        name: name.clone(),
        local_only,
    };
    match service.call(request, Vec::new()) {
        Ok(answer) => match answer.reply {
            Reply::SignedOut(revocation) => Ok(Some(revocation)),
            other => Err(session::unexpected(DOING, &other)),
        },
        // Not there, or something of somebody else's.
        Err(failure) if matches!(failure.code, Code::RecordAbsent | Code::RefInvalid) => Ok(None),
        Err(failure) => Err(CliError::new(DOING, failure)),
    }
}

fn report(context: &Context, removed: &[(RecordName, Revocation)]) -> Done {
    let out = &context.out;
    if out.json {
        let removed = removed.iter().map(|(name, revocation)| {
            json!({"record": name, "revocation": revocation.as_str(),
                "revocationError": revocation.failure()})
        });
        out.document(&json!({"removed": removed.collect::<Vec<_>>()}))?;
        return Ok(0);
    }
    for (name, revocation) in removed {
        match revocation {
            Revocation::Revoked => out.detail(&format!("{name}: revoked.")),
            Revocation::Skipped => out.detail(&format!("{name}: forgotten here only.")),
            Revocation::NotOffered => out.detail(&format!("{name}: nobody to revoke it.")),
            Revocation::Failed(failure) => out.warn(&format!(
                "{name}: forgotten here, but not revoked: {}",
                failure.message
            )),
        }
    }
    out.say(match removed {
        [] => "No tokens found or nothing removed.",
        _ => "Tokens removed.",
    });
    Ok(0)
}
