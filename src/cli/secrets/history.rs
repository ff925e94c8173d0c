//! `reseal secrets history`.

use super::parse_record;
use crate::cli::context::Context;
use crate::cli::error::Done;
use crate::cli::output::Tone;
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::cli::table::{Table, cell};
use crate::cli::when;
use crate::name::RecordName;
use crate::runtime::service::{Reply, Request};
use clap::Args;

/// Arguments of `secrets history`.
#[derive(Args)]
pub struct HistoryArgs {
    /// The record
    #[arg(value_parser = parse_record)]
    name: RecordName,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "list the versions";

/// Lists the versions of a record.
pub fn run(context: &Context, args: HistoryArgs) -> Done {
    let mut service = session::service(context, &args.unlock)?;
    let name = args.name.clone();
    let request = Request::History { name };
    let answer = session::ask(service.as_mut(), DOING, request, Vec::new())?;
    let Reply::Versions(versions) = answer.reply else {
        return Err(unexpected(DOING, &answer.reply));
    };
    if context.out.json {
        let document = serde_json::json!({"name": args.name, "versions": versions});
        context.out.document(&document)?;
        return Ok(0);
    }
    let mut table = Table::new(vec!["VERSION", "", "WRITTEN", "NOTE"], 3);
    for version in versions {
        let current = if version.current { "current" } else { "" };
        table.row(vec![
            version.version.to_string().into(),
            cell(current, Tone::Good),
            version
                .created_at
                .map(when::date_and_time)
                .unwrap_or_default()
                .into(),
            version.note.unwrap_or_default().into(),
        ]);
    }
    table.print(&context.out)?;
    Ok(0)
}
