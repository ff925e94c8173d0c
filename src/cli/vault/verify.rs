//! `reseal vault verify`.

use super::status::{plural, size};
use crate::cli::context::Context;
use crate::cli::error::Done;
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::runtime::service::{Reply, Request};
use clap::Args;

/// Arguments of `vault verify`.
#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "verify the vault";

/// Checks the file.
pub fn run(context: &Context, args: VerifyArgs) -> Done {
    let mut service = session::service(context, &args.unlock)?;
    let answer = session::ask(service.as_mut(), DOING, Request::Verify, Vec::new())?;
    let Reply::Verified(verified) = answer.reply else {
        return Err(unexpected(DOING, &answer.reply));
    };
    if context.out.json {
        context.out.document(&verified)?;
        return Ok(0);
    }
    context.out.data(&format!(
        "The vault is whole: {}, {} {} and {} {} checked at generation {}.",
        size(verified.bytes),
        verified.frames,
        plural(verified.frames, "frame"),
        verified.values,
        plural(verified.values, "value"),
        verified.generation,
    ))?;
    if verified.tail_bytes > 0 {
        context.out.say(&format!(
            "{} after the last commit are an interrupted write; the next commit removes them.",
            size(verified.tail_bytes)
        ));
    }
    Ok(0)
}
