//! `reseal secrets reload`.

use super::resolve::{print_report, report_exit};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Done};
use crate::cli::session::{self, unexpected};
use crate::error::Code;
use crate::runtime::service::{Reply, Request, SnapshotState};
use clap::Args;

/// Arguments of `secrets reload`.
#[derive(Args)]
pub struct ReloadArgs {}

const DOING: &str = "reload the secrets";

/// Builds a new snapshot in the daemon.
pub fn run(context: &Context, _args: ReloadArgs) -> Done {
    let Some(mut client) = session::daemon(context)? else {
        let why = "no daemon runs, so there is no snapshot to reload";
        return Err(CliError::because(DOING, Code::VaultSealed, why));
    };
    let answer = session::ask(&mut client, DOING, Request::Reload, Vec::new())?;
    let Reply::Report(report) = answer.reply else {
        return Err(unexpected(DOING, &answer.reply));
    };
    print_report(context, &report)?;
    match report.snapshot.state {
        SnapshotState::Active | SnapshotState::Sealed => {}
        SnapshotState::Degraded => context
            .out
            .warn("the new snapshot could not be built; the last good one still serves (degraded)"),
        SnapshotState::Failed => context.out.warn("there is no snapshot"),
    }
    Ok(report_exit(&report))
}
