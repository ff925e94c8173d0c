//! `reseal auth clear` and `reseal auth mcp forget`.

use super::servers::{ConfigArgs, Servers, identity};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::output::{Tone, shown};
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
    match clear(context, &args) {
        // fast-agent's sentence and exit code.
        Err(error) if error.failure.code == Code::NoInput && !args.how.yes => {
            let out = &context.out;
            out.tell("Non-interactive credential removal requires --yes.");
            Ok(2)
        }
        outcome => outcome,
    }
}

fn clear(context: &Context, args: &ClearArgs) -> Done {
    let how = &args.how;
    let servers = Servers::read(context, &how.config)?;
    if let Some(name) = &args.server
        && servers.named(name)?.is_none()
        && !name.contains("://")
    {
        let name = shown(name);
        context
            .out
            .tell(&format!("Server '{name}' not found in config"));
        return Ok(1);
    }
    let mut chosen: Vec<Identity> = Vec::new();
    for target in args.server.iter().chain(&args.identity) {
        chosen.push(identity(&servers, target, DOING)?);
    }
    if !how.yes && !context.confirm(DOING, &question(&chosen), "--yes")? {
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
    report(
        context,
        &sign_out_all(service.as_mut(), names, how.local_only),
    )
}

/// What a person agrees to: where the tokens are for, whatever the config calls it.
fn question(chosen: &[Identity]) -> String {
    let names: Vec<String> = chosen.iter().map(|one| shown(one.as_str())).collect();
    match names.as_slice() {
        [] => "Remove the tokens of all servers?".to_owned(),
        names => format!("Remove the tokens of {}?", names.join(" and ")),
    }
}

/// What was removed, and what could not be.
#[derive(Default)]
struct Outcome {
    removed: Vec<(RecordName, Revocation)>,
    failed: Vec<(RecordName, CliError)>,
}

/// Signs out of all; one that can't be removed does not keep the others.
fn sign_out_all(service: &mut dyn Service, names: Vec<RecordName>, local_only: bool) -> Outcome {
    let mut outcome = Outcome::default();
    for name in names {
        match sign_out(service, &name, local_only) {
            Ok(None) => {}
            Ok(Some(revocation)) => outcome.removed.push((name, revocation)),
            Err(error) => outcome.failed.push((name, error)),
        }
    }
    outcome
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

/// Reports; the exit code is that of the first failure.
fn report(context: &Context, outcome: &Outcome) -> Done {
    let out = &context.out;
    let Outcome { removed, failed } = outcome;
    let exit = failed.first().map_or(0, |(_, error)| error.exit_code());
    if out.json {
        let removed = removed.iter().map(|(name, revocation)| {
            json!({"record": name, "revocation": revocation.as_str(),
                "revocationError": revocation.failure()})
        });
        let failed = failed
            .iter()
            .map(|(name, error)| json!({"record": name, "error": error.failure}));
        out.document(&json!({"removed": removed.collect::<Vec<_>>(),
            "failed": failed.collect::<Vec<_>>()}))?;
        return Ok(exit);
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
    for (name, error) in failed {
        let why = &error.failure.message;
        out.labelled(Tone::Bad, "error:", &format!("{name}: not removed: {why}"));
    }
    match (removed.as_slice(), failed.as_slice()) {
        ([], []) => out.say("No tokens found or nothing removed."),
        ([], _) => {}
        (_, []) => out.say("Tokens removed."),
        (some, rest) => out.tell(&format!(
            "Tokens of {} removed, of {} not.",
            some.len(),
            rest.len()
        )),
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::service::Answer;
    use crate::secret::SecretValue;

    /// The record in the middle can't be removed: no real vault refuses one and takes the next.
    struct OneFails;

    impl Service for OneFails {
        fn call(&mut self, request: Request, _: Vec<SecretValue>) -> Result<Answer, Failure> {
            match request {
                Request::SignOut { name, .. } if name.to_string().ends_with('b') => {
                    Err(Failure::new(Code::FileIo, "the disk is full"))
                }
                Request::SignOut { .. } => Ok(Answer::plain(Reply::SignedOut(Revocation::Skipped))),
                _ => Err(Failure::new(Code::Bug, "nothing else is asked")),
            }
        }
    }

    #[test]
    fn one_that_can_not_be_removed_does_not_keep_the_others() {
        let names = ["mcp/https/a", "mcp/https/b", "mcp/https/c"].map(|name| name.parse().unwrap());
        let outcome = sign_out_all(&mut OneFails, names.to_vec(), true);
        let removed: Vec<String> = outcome.removed.iter().map(|(n, _)| n.to_string()).collect();
        assert_eq!(removed, ["mcp/https/a", "mcp/https/c"]);
        assert_eq!(outcome.failed.len(), 1);
        assert_eq!(outcome.failed[0].0.to_string(), "mcp/https/b");
        assert_eq!(outcome.failed[0].1.failure.code, Code::FileIo);
    }

    #[test]
    fn the_question_names_the_identities() {
        let one = Identity::of("https://h.example/mcp?key=S");
        assert_eq!(question(&[one]), "Remove the tokens of https://h.example?");
        assert_eq!(question(&[]), "Remove the tokens of all servers?");
    }
}
