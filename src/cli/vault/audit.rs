//! `reseal vault audit`.

use super::status::plural;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::lazy::Lazy;
use crate::cli::session::{self, UnlockArgs};
use crate::cli::table::Table;
use crate::daemon::trail::check::{self, Checked};
use crate::daemon::trail::{Answer, Kind, Line, Outcome};
use crate::error::Code;
use clap::{Args, Subcommand};
use serde_json::json;

/// Arguments of `vault audit`.
#[derive(Args)]
pub struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Check that the daemon's log of decisions is as it was written
    Verify(Lazy<VerifyArgs>),
    /// Show who asked the daemon for what, and what came of it
    Show(Lazy<ShowArgs>),
}

/// Arguments of `vault audit verify`.
///
/// Opens the vault, whose key the lines are chained with. Exits with 7 if a line was changed, or
/// lines are missing.
#[derive(Args)]
struct VerifyArgs {
    #[command(flatten)]
    unlock: UnlockArgs,
}

/// Arguments of `vault audit show`.
///
/// Shows the log as it stands; whether it is whole says `vault audit verify`.
#[derive(Args)]
struct ShowArgs {
    /// How many of the last lines; 0 for all
    #[arg(long, value_name = "N", default_value_t = 50)]
    last: usize,
}

/// Runs `vault audit`.
pub fn run(context: &Context, args: AuditArgs) -> Done {
    context.own_folder("find the log of decisions")?;
    match args.command {
        AuditCommand::Verify(args) => verify(context, &args.0),
        AuditCommand::Show(args) => show(context, &args.0),
    }
}

fn verify(context: &Context, args: &VerifyArgs) -> Done {
    let doing = "verify the log of decisions";
    let opened =
        session::open(context, &args.unlock).map_err(|error| match error.failure.code {
            Code::VaultSealed => error.hint(
                "this command asks for a keyslot's secret, also when the vault is unlocked: give \
             --passphrase-file, --identity or --key-file",
            ),
            _ => error,
        })?;
    let folder = context.state.audit();
    let checked = check::check(&folder, opened.vault.vault().keys()).doing(doing)?;
    if let Some(fault) = &checked.fault {
        let (file, line, why) = (folder.join(&fault.file), fault.line, fault.why);
        let why = format!("{} line {line}: {why}", file.display());
        return Err(CliError::because(doing, Code::AuditBroken, why)
            .hint("somebody changed the log, or the disk lost the end of it in a power cut"));
    }
    if checked.gaps > 0 {
        let why = match checked.missing {
            0 => "when the daemon started the head was gone, or was not of these lines, which may \
                  be fewer or changed"
                .to_owned(),
            1 => "1 line is missing, which the daemon noticed when it started".to_owned(),
            n => format!("{n} lines are missing, which the daemon noticed when it started"),
        };
        return Err(CliError::because(doing, Code::AuditBroken, why)
            .hint("somebody cut the log, or the disk lost the end of it in a power cut"));
    }
    if context.out.json {
        context.out.document(&checked)?;
        return Ok(0);
    }
    context.out.data(&summary(&checked))?;
    Ok(0)
}

fn summary(checked: &Checked) -> String {
    let (Some(first), Some(last)) = (&checked.first, &checked.last) else {
        return "There is no log of decisions yet.".to_owned();
    };
    let lines = checked.lines + checked.of_older_keys;
    format!(
        "The log is whole: {lines} {}, from {first} to {last}.",
        plural(lines, "line")
    )
}

fn show(context: &Context, args: &ShowArgs) -> Done {
    let doing = "show the log of decisions";
    let mut lines = check::lines(&context.state.audit()).doing(doing)?;
    if args.last > 0 && lines.len() > args.last {
        lines.drain(..lines.len() - args.last);
    }
    if context.out.json {
        context.out.document(&json!({"lines": lines}))?;
        return Ok(0);
    }
    if lines.is_empty() {
        context.out.say("There is no log of decisions yet.");
        return Ok(0);
    }
    let mut table = Table::new(vec!["TIME", "WHO", "OUTCOME", "OP", "REFS"], 4);
    for line in lines {
        let refs = about(&line);
        table.row(vec![
            line.time.clone().into(),
            who(&line).into(),
            outcome(&line).into(),
            line.op.unwrap_or_default().into(),
            refs.into(),
        ]);
    }
    table.print(&context.out)?;
    Ok(0)
}

fn about(line: &Line) -> String {
    if let (Some(of), Some(times)) = (line.of, line.times) {
        return format!("as line {of}, {times} times more");
    }
    if let Some(dropped) = line.dropped {
        return format!("the oldest {dropped} lines went to make room");
    }
    let refs = line.refs.join(" ");
    match (line.more, line.untold) {
        (Some(more), _) => format!("{refs} and {more} more"),
        (None, Some(untold)) => format!("{untold} times, no line of their own"),
        (None, None) => refs,
    }
}

fn who(line: &Line) -> String {
    let Some(uid) = line.uid else {
        return "daemon".to_owned();
    };
    match &line.unit {
        Some(unit) => format!("user {uid}, {unit}"),
        None => format!("user {uid}"),
    }
}

fn outcome(line: &Line) -> String {
    let word = match (line.event, line.outcome) {
        (Kind::File, _) => "new file",
        (Kind::Start, _) => "started",
        (Kind::Stop, _) => "ended",
        (Kind::Gap, _) => "lines missing",
        (Kind::Repeated, _) => "repeated",
        (Kind::Untold, _) => "too many",
        (Kind::Decision, Some(Outcome::Allowed)) => "allowed",
        (Kind::Decision, _) => "refused",
    };
    let answer = line.answer.map(|answer| match answer {
        Answer::Confirmed => ", confirmed",
        Answer::Kept => ", confirmed before",
        // Why it was refused says the same.
        Answer::Declined | Answer::Unanswered => "",
    });
    match line.grant.as_ref().or(line.why.as_ref()) {
        Some(more) => format!("{word} ({more}{})", answer.unwrap_or_default()),
        None => word.to_owned(),
    }
}
