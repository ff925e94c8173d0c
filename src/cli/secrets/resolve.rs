//! `reseal secrets resolve`.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::lookup::Routed;
use crate::cli::output::Tone;
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::cli::state_files;
use crate::cli::table::{Table, cell};
use crate::cli::vault::status::counts;
use crate::daemon::client::Client;
use crate::error::{Failure, Kind};
use crate::launch::Lookup;
use crate::name::AgentId;
use crate::reference::SecretRef;
use crate::runtime::ground::{Ground, Place};
use crate::runtime::service::{RefOutcome, Reply, Report, Request, Service};
use clap::Args;
use std::collections::{BTreeSet, HashMap};

/// Arguments of `secrets resolve`.
#[derive(Args)]
pub struct ResolveArgs {
    /// Only the profiles of this agent [default: all agents]
    #[arg(long, value_name = "ID")]
    only_agent: Option<AgentId>,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "resolve the refs";

/// Reports every ref.
pub fn run(context: &Context, args: ResolveArgs) -> Done {
    if let Some(agent) = &args.only_agent {
        state_files::check_agent(context, agent).doing(DOING)?;
    }
    let report = match session::daemon(context)? {
        // A daemon knows its own config only.
        Some(client) if context.has_foreign_config() => resolve_here(context, &args, client)?,
        Some(mut client) => ask(&mut client, args.only_agent)?,
        None => ask(
            session::service(context, &args.unlock)?.as_mut(),
            args.only_agent,
        )?,
    };
    print_report(context, &report)?;
    Ok(report_exit(&report))
}

fn ask(service: &mut dyn Service, agent: Option<AgentId>) -> Result<Report, CliError> {
    let answer = session::ask(service, DOING, Request::Report { agent }, Vec::new())?;
    match answer.reply {
        Reply::Report(report) => Ok(report),
        reply => Err(unexpected(DOING, &reply)),
    }
}

/// The refs of the config that `--config` names, the daemon asked for those that are its to read.
fn resolve_here(
    context: &Context,
    args: &ResolveArgs,
    mut client: Client,
) -> Result<Report, CliError> {
    let answer = session::ask(&mut client, DOING, Request::Status, Vec::new())?;
    let Reply::Status(status) = answer.reply else {
        return Err(unexpected(DOING, &answer.reply));
    };
    let mut ground = Ground::read(&context.state, &context.config()).doing(DOING)?;
    if let Some(agent) = &args.only_agent {
        let chosen = |place: &Place| place.agent.as_ref().is_none_or(|id| id == agent);
        ground.places.retain(chosen);
    }
    let refs: Vec<SecretRef> = ground
        .active()
        .filter_map(|place| place.reference.clone().ok())
        .collect();
    let mut lookup = Routed::new(context, &args.unlock)?;
    let outcomes = lookup.resolve(&refs).doing(DOING)?;
    let failed: HashMap<&SecretRef, &Failure> = refs
        .iter()
        .zip(&outcomes)
        .filter_map(|(reference, outcome)| Some((reference, outcome.as_ref().err()?)))
        .collect();
    let report = |place: &Place| {
        let reference = place.reference.as_ref().ok();
        place.report(
            reference
                .and_then(|reference| failed.get(reference))
                .copied(),
        )
    };
    Ok(Report {
        snapshot: status.snapshot,
        refs: ground.places.iter().map(report).collect(),
    })
}

/// Shows a report: every ref by name, owner and outcome.
pub fn print_report(context: &Context, report: &Report) -> Result<(), CliError> {
    if context.out.json {
        return context.out.document(report);
    }
    if report.refs.is_empty() {
        context
            .out
            .say("There are no refs in the config and the profiles.");
        return Ok(());
    }
    let mut table = Table::new(vec!["STATE", "REF", "OWNER"], 2);
    for entry in &report.refs {
        let state = match entry.outcome {
            RefOutcome::Ok => cell("ok", Tone::Good),
            RefOutcome::Error if entry.optional => cell("error", Tone::Warning),
            RefOutcome::Error => cell("error", Tone::Bad),
            RefOutcome::Inactive => cell("inactive", Tone::Faint),
            RefOutcome::Plaintext => cell("plaintext", Tone::Warning),
        };
        let reference = entry.reference.as_ref().map(ToString::to_string);
        let reference = reference.unwrap_or_else(|| "(not a ref)".to_owned());
        table.row(vec![state, reference.into(), entry.owner.as_ref().into()]);
    }
    table.print(&context.out)?;
    let refs: BTreeSet<_> = report
        .refs
        .iter()
        .filter_map(|r| r.reference.as_ref())
        .collect();
    let counts = counts(report.refs.len() as u64, refs.len() as u64);
    context.out.say(&format!("{counts}."));
    tell_files(context, report);
    for entry in &report.refs {
        let why = entry
            .failure
            .as_ref()
            .map(|failure| failure.message.as_str());
        let why = why.or(entry.reason.as_deref().filter(|_| context.out.verbose));
        if let Some(why) = why {
            let optional = if entry.optional { " (optional)" } else { "" };
            let line = format!("{}: {why}{optional}", entry.owner);
            context.out.say(&crate::cli::output::shown(&line));
        }
    }
    Ok(())
}

/// With `--verbose`: in which file each ref stands.
pub fn tell_files(context: &Context, report: &Report) {
    for entry in &report.refs {
        let line = format!("{}: in {}", entry.owner, entry.file);
        context.out.detail(&crate::cli::output::shown(&line));
    }
}

/// The exit code: that of the first required ref that failed.
pub fn report_exit(report: &Report) -> u8 {
    let failed = |entry: &&crate::runtime::service::RefReport| {
        entry.outcome == RefOutcome::Error && !entry.optional
    };
    report.refs.iter().find(failed).map_or(0, |entry| {
        entry
            .failure
            .as_ref()
            .map_or(Kind::Unavailable, |failure| failure.kind())
            .exit_code()
    })
}
