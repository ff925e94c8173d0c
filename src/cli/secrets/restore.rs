//! `reseal secrets restore`.

use super::{parse_record, ref_text};
use crate::cli::context::Context;
use crate::cli::error::Done;
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::name::RecordName;
use crate::runtime::service::{Reply, Request};
use clap::Args;

/// Arguments of `secrets restore`.
#[derive(Args)]
pub struct RestoreArgs {
    /// The record
    #[arg(value_parser = parse_record)]
    name: RecordName,

    /// The version whose value comes back, as a new version (see `secrets history`)
    #[arg(long, value_name = "N")]
    version: u64,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "restore the version";

/// Makes an older version the current one.
pub fn run(context: &Context, args: RestoreArgs) -> Done {
    let mut service = session::service(context, &args.unlock)?;
    let request = Request::Restore {
        name: args.name.clone(),
        version: args.version,
    };
    let answer = session::ask(service.as_mut(), DOING, request, Vec::new())?;
    let Reply::Committed(committed) = answer.reply else {
        return Err(unexpected(DOING, &answer.reply));
    };
    if context.out.json {
        context.out.document(&committed)?;
    } else {
        let version = committed
            .version
            .map(|v| format!(" as version {v}"))
            .unwrap_or_default();
        context.out.say(&format!(
            "Version {} of {} is back{version}.",
            args.version, args.name
        ));
        context.out.data(&ref_text(&args.name))?;
    }
    Ok(0)
}
