//! `reseal vault trust`.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::output::shown;
use crate::cli::session::{self, UnlockArgs};
use crate::error::Code;
use clap::Args;

/// Arguments of `vault trust`.
///
/// Whoever knows your public key can make a vault that it opens. So a vault that this machine has
/// not seen, opened by a public-key slot, is trusted only after its fingerprint was compared.
///
/// With --accept-rollback: a file that is older than what this machine remembers, such as a backup
/// that was restored on purpose, becomes the one that it remembers.
#[derive(Args)]
pub struct TrustArgs {
    /// The fingerprint that the vault must have; without it, you are asked to compare
    #[arg(value_name = "FINGERPRINT")]
    fingerprint: Option<String>,

    /// Do not ask whether to go on with an older file (--accept-rollback)
    #[arg(short, long, requires = "accept_rollback")]
    yes: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "trust the vault";

/// Remembers the vault as it stands as the one that this machine trusts.
pub fn run(context: &Context, args: TrustArgs) -> Done {
    let path = session::vault_path(context)?;
    let (_, header) = session::read_header(&path, args.unlock.allow_network_fs)?;
    let fingerprint = header.fingerprint();
    match &args.fingerprint {
        Some(wanted) if plain(wanted) == plain(&fingerprint) => {}
        Some(_) => {
            let why = format!("its fingerprint is {fingerprint}");
            return Err(CliError::because(DOING, Code::VaultUntrusted, why)
                .hint("this is another vault than the one you were told of"));
        }
        // The vault is known here, or opening it fails: only its age is in question.
        None if args.unlock.accept_rollback => {}
        None => {
            context
                .out
                .tell(&format!("The vault's fingerprint is {fingerprint}"));
            let question = "Is that what the vault's owner says?";
            if !context.confirm(DOING, question, "the fingerprint")? {
                context.out.say("The vault is not trusted.");
                return Ok(1);
            }
        }
    }
    if args.unlock.accept_rollback {
        return accept_rollback(context, &args);
    }
    let opened = session::open_trusting(context, &args.unlock)?;
    if context.out.json {
        let generation = opened.vault.generation();
        let document = serde_json::json!({"fingerprint": fingerprint, "generation": generation});
        context.out.document(&document)?;
    } else {
        context
            .out
            .say("This machine trusts the vault from now on.");
    }
    Ok(0)
}

/// Makes the file as it stands the one that this machine remembers.
fn accept_rollback(context: &Context, args: &TrustArgs) -> Done {
    let doing = "accept the older vault";
    if session::daemon(context)?.is_some() {
        let why = "a daemon holds the vault open";
        let error = CliError::because(doing, Code::DaemonRunning, why);
        return Err(error.hint("run `reseal vault lock` first"));
    }
    let mut vault = session::open(context, &args.unlock)?.vault;
    if let Some(why) = vault.read_only_because() {
        context.out.tell(&format!("{}.", shown(&why.message)));
        let question = "Go on with this one? What it lacks is lost, unless another copy has it.";
        if !args.yes && !context.confirm(doing, question, "--yes")? {
            context.out.say("Nothing was changed.");
            return Ok(1);
        }
        vault.accept_rollback().doing(doing)?;
        context.out.say("This machine goes on with this vault.");
    } else {
        let same = "The vault is what this machine remembers; nothing was changed.";
        context.out.say(same);
    }
    if context.out.json {
        let fingerprint = vault.vault().header().fingerprint();
        let generation = vault.generation();
        let document = serde_json::json!({"fingerprint": fingerprint, "generation": generation});
        context.out.document(&document)?;
    }
    Ok(0)
}

fn plain(fingerprint: &str) -> String {
    fingerprint
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_lowercase()
}
