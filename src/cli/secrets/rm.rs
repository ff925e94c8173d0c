//! `reseal secrets rm`.

use super::parse_record;
use crate::cli::context::Context;
use crate::cli::error::Done;
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::name::RecordName;
use crate::runtime::service::{Reply, Request};
use crate::vault::Expect;
use clap::Args;

/// Arguments of `secrets rm`.
#[derive(Args)]
pub struct RmArgs {
    /// The record
    #[arg(value_parser = parse_record)]
    name: RecordName,

    /// Remove it only if it stands at this version
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "remove the record";

/// Removes a record.
pub fn run(context: &Context, args: RmArgs) -> Done {
    let mut service = session::service(context, &args.unlock)?;
    let expect = args.if_version.map_or(Expect::Any, Expect::Version);
    let request = Request::Remove {
        name: args.name.clone(),
        expect,
    };
    let answer = session::ask(service.as_mut(), DOING, request, Vec::new())?;
    let Reply::Committed(committed) = answer.reply else {
        return Err(unexpected(DOING, &answer.reply));
    };
    if context.out.json {
        context.out.document(&committed)?;
    } else {
        context.out.say(&format!(
            "Removed {}. Its sealed bytes go with the next compaction (`reseal vault compact`).",
            args.name
        ));
    }
    Ok(0)
}
