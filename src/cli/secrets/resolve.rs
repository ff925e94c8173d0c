//! `reseal secrets resolve`.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Done};
use crate::cli::output::Tone;
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::cli::table::{Table, cell};
use crate::error::Kind;
use crate::name::AgentId;
use crate::runtime::service::{RefOutcome, Reply, Report, Request};
use clap::Args;

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
    let mut service = session::service(context, &args.unlock)?;
    let request = Request::Report {
        agent: args.only_agent,
    };
    let answer = session::ask(service.as_mut(), DOING, request, Vec::new())?;
    let Reply::Report(report) = answer.reply else {
        return Err(unexpected(DOING, &answer.reply));
    };
    print_report(context, &report)?;
    Ok(report_exit(&report))
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
        table.row(vec![state, reference.into(), entry.owner.as_str().into()]);
    }
    table.print(&context.out)?;
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
