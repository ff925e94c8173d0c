//! `reseal vault compact`.

use super::status::size;
use crate::cli::context::Context;
use crate::cli::error::Done;
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::runtime::service::{Reply, Request};
use clap::Args;

/// Arguments of `vault compact`.
#[derive(Args)]
pub struct CompactArgs {
    /// Keep the older versions that automatic compaction keeps
    #[arg(long)]
    keep_history: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "compact the vault";

/// Rewrites the file without what was superseded.
pub fn run(context: &Context, args: CompactArgs) -> Done {
    let mut service = session::service(context, &args.unlock)?;
    let path = session::vault_path(context)?;
    let before = file_size(&path);
    let request = Request::Compact {
        keep_history: args.keep_history,
    };
    let answer = session::ask(service.as_mut(), DOING, request, Vec::new())?;
    let Reply::Committed(committed) = answer.reply else {
        return Err(unexpected(DOING, &answer.reply));
    };
    let after = file_size(&path);
    if context.out.json {
        context.out.document(&serde_json::json!({
            "generation": committed.generation,
            "bytesBefore": before,
            "bytesAfter": after,
        }))?;
    } else {
        let kept = if args.keep_history {
            ""
        } else {
            " Older versions are gone."
        };
        context.out.say(&format!(
            "Compacted from {} to {}.{kept}",
            size(before),
            size(after)
        ));
    }
    Ok(0)
}

fn file_size(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}
