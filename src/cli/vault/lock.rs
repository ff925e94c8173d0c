//! `reseal vault lock`.

use crate::cli::context::Context;
use crate::cli::error::Done;
use crate::cli::session;
use crate::runtime::service::Request;
use clap::Args;

/// Arguments of `vault lock`.
#[derive(Args)]
pub struct LockArgs {}

/// Ends the daemon. Nothing to do is success.
pub fn run(context: &Context, _args: LockArgs) -> Done {
    let was_unlocked = match session::daemon(context)? {
        None => false,
        Some(mut client) => {
            session::ask(&mut client, "lock the vault", Request::Lock, Vec::new())?;
            true
        }
    };
    if context.out.json {
        context.out.document(&serde_json::json!({
            "state": "locked",
            "wasUnlocked": was_unlocked,
        }))?;
    } else if was_unlocked {
        context
            .out
            .say("Locked. The daemon has wiped the keys and ended.");
    } else {
        context
            .out
            .say("The vault was locked already: no daemon runs.");
    }
    Ok(0)
}
