//! `reseal vault verify`.

use super::status::{plural, size};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::error::Code;
use crate::runtime::open_vault::damaged;
use crate::runtime::service::{Reply, Request, Verified};
use clap::Args;

/// Arguments of `vault verify`.
#[derive(Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "verify the vault";

fn verify(context: &Context, mut how: UnlockArgs) -> Result<Verified, CliError> {
    if let Some(mut client) = session::daemon(context)? {
        let answer = session::ask(&mut client, DOING, Request::Verify, Vec::new())?;
        return match answer.reply {
            Reply::Verified(verified) => Ok(verified),
            reply => Err(unexpected(DOING, &reply)),
        };
    }
    // A damaged frame makes the file look like an older copy: it is opened all the same, to say
    // where.
    let accepted = std::mem::replace(&mut how.accept_rollback, true);
    let vault = session::open(context, &how)?.vault;
    let verified = vault.verify_all().doing(DOING)?;
    match vault.read_only_because() {
        Some(why) if !accepted => Err(damaged(why.clone(), verified.tail.as_ref())).doing(DOING),
        _ => Ok(verified),
    }
}

/// Checks the file.
pub fn run(context: &Context, args: VerifyArgs) -> Done {
    let verified = verify(context, args.unlock).map_err(|error| match error.failure.code {
        Code::VaultCorrupt => error.hint(
            "nothing was changed; put a backup copy of the file in its place. What stands before \
             a damaged frame can be read with --accept-rollback",
        ),
        _ => error,
    })?;
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
