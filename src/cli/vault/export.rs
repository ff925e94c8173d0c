//! `reseal vault export`.

use super::status::plural;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::new_slot;
use crate::cli::output::shown_path;
use crate::cli::session::{self, UnlockArgs};
use crate::error::Code;
use crate::runtime::export;
use crate::store::files;
use crate::sys::clock;
use crate::unlock::{age, key_file};
use clap::{ArgGroup, Args};
use std::io::IsTerminal;
use std::path::PathBuf;

/// Arguments of `vault export`.
///
/// The file is a standard age file: `age -d` and `rage -d` decrypt it to the JSON that
/// docs/export.md describes. Asks for a keyslot's secret again, even when a daemon runs.
#[derive(Args)]
#[command(group(ArgGroup::new("to").required(true)))]
pub struct ExportArgs {
    /// Encrypt to this age recipient; may be given more than once
    #[arg(long, value_name = "RECIPIENT", group = "to")]
    recipient: Vec<String>,

    /// Encrypt with the passphrase in this private file
    #[arg(long, value_name = "FILE", group = "to")]
    export_passphrase_file: Option<PathBuf>,

    /// Where it goes, mode 0600 [default: stdout]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    /// Leave out the older versions of records
    #[arg(long)]
    no_history: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "export the vault";

/// Writes everything to an age file.
pub fn run(context: &Context, args: ExportArgs) -> Done {
    if args.output.is_none() && std::io::stdout().is_terminal() {
        let why = "the export is binary, and stdout is a terminal";
        return Err(CliError::because(DOING, Code::InputInvalid, why)
            .hint("give -o FILE, or send it to a program through a pipe"));
    }
    let recipients = new_slot::parse_recipients(&args.recipient).doing("read --recipient")?;
    let passphrase = match &args.export_passphrase_file {
        Some(path) => Some(key_file::read_passphrase(path).doing("read --export-passphrase-file")?),
        None => None,
    };
    let opened = session::open_admin(context, &args.unlock, DOING)?;
    let options = export::Options {
        history: !args.no_history,
        now: clock::now(),
    };
    let (payload, records) = export::write(&opened.vault, &options).doing(DOING)?;
    let plugins = session::plugins(context, &args.unlock)?;
    context.out.progress("Encrypting the export ...");
    let file = match &passphrase {
        Some(passphrase) => age::encrypt_with_passphrase(passphrase, &payload).doing(DOING)?,
        None => age::encrypt_to(&recipients, &payload, &plugins).doing(DOING)?,
    };
    match &args.output {
        Some(path) => files::overwrite(path, &file).doing(DOING)?,
        None => context.out.bytes(&file)?,
    }
    if context.out.json && args.output.is_some() {
        context.out.document(&serde_json::json!({
            "file": args.output,
            "records": records,
            "bytes": file.len(),
        }))?;
    } else if let Some(path) = &args.output {
        context.out.say(&format!(
            "Exported {records} {} to {}.",
            plural(records as u64, "record"),
            shown_path(path)
        ));
    }
    Ok(0)
}
