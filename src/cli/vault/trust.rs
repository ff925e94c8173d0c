//! `reseal vault trust`.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Done};
use crate::cli::session::{self, UnlockArgs};
use crate::error::Code;
use clap::Args;

/// Arguments of `vault trust`.
///
/// Whoever knows your public key can make a vault that it opens. So a vault that this machine has
/// not seen, opened by a public-key slot, is trusted only after its fingerprint was compared.
#[derive(Args)]
pub struct TrustArgs {
    /// The fingerprint that the vault must have; without it, you are asked to compare
    #[arg(value_name = "FINGERPRINT")]
    fingerprint: Option<String>,

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

fn plain(fingerprint: &str) -> String {
    fingerprint
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_lowercase()
}
