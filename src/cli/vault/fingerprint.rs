//! `reseal vault fingerprint`.

use crate::cli::context::Context;
use crate::cli::error::Done;
use crate::cli::session;
use clap::Args;

/// Arguments of `vault fingerprint`.
#[derive(Args)]
pub struct FingerprintArgs {
    /// Look at a vault on a network file system
    #[arg(long)]
    allow_network_fs: bool,
}

/// Shows the fingerprint; it needs no key.
pub fn run(context: &Context, args: FingerprintArgs) -> Done {
    let path = session::vault_path(context)?;
    let (_, header) = session::read_header(&path, args.allow_network_fs)?;
    if context.out.json {
        context.out.document(&serde_json::json!({
            "fingerprint": header.fingerprint(),
            "vaultId": data_encoding::HEXLOWER.encode(&header.vault_id()),
            "epoch": header.epoch(),
        }))?;
    } else {
        context.out.data(&header.fingerprint())?;
    }
    Ok(0)
}
