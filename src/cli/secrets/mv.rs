//! `reseal secrets mv`.

use super::{parse_record, ref_text};
use crate::cli::context::Context;
use crate::cli::error::Done;
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::name::RecordName;
use crate::runtime::service::{Reply, Request};
use clap::Args;

/// Arguments of `secrets mv`.
#[derive(Args)]
pub struct MvArgs {
    /// The record
    #[arg(value_parser = parse_record)]
    from: RecordName,

    /// Its new name, which must be free
    #[arg(value_parser = parse_record)]
    to: RecordName,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "rename the record";

/// Renames a record.
pub fn run(context: &Context, args: MvArgs) -> Done {
    let mut service = session::service(context, &args.unlock)?;
    let request = Request::Rename {
        from: args.from.clone(),
        to: args.to.clone(),
    };
    let answer = session::ask(service.as_mut(), DOING, request, Vec::new())?;
    let Reply::Committed(committed) = answer.reply else {
        return Err(unexpected(DOING, &answer.reply));
    };
    if context.out.json {
        context.out.document(&committed)?;
    } else {
        context.out.say(&format!(
            "Renamed {} to {}. Refs to the old name no longer resolve.",
            args.from, args.to
        ));
        context.out.data(&ref_text(&args.to))?;
    }
    Ok(0)
}
