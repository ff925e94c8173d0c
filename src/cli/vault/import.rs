//! `reseal vault import`.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done, io_failure};
use crate::cli::session::{self, UnlockArgs};
use crate::error::{Code, Failure};
use crate::runtime::export;
use crate::secret::SecretValue;
use crate::store::files;
use crate::sys::tty::{self, PromptError};
use crate::unlock::age::MAX_EXPORT;
use crate::unlock::{age, key_file};
use clap::Args;
use std::path::{Path, PathBuf};

/// Arguments of `vault import`.
///
/// Records that are there already with the same content are left alone. A record that is there with
/// other content stops the import, unless --overwrite is given. All or nothing.
#[derive(Args)]
pub struct ImportArgs {
    /// The export
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// An age identity file that decrypts it; may be given more than once
    #[arg(long, value_name = "FILE", conflicts_with = "import_passphrase_file")]
    import_identity: Vec<PathBuf>,

    /// The private file with the passphrase that decrypts it
    #[arg(long, value_name = "FILE")]
    import_passphrase_file: Option<PathBuf>,

    /// Write over records that are there with other content; their old values stay in the history
    #[arg(long)]
    overwrite: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "import into the vault";
const HOW_TO_DECRYPT: &str =
    "give --import-identity or --import-passphrase-file, or run it at a terminal";

/// Reads an export into the vault.
pub fn run(context: &Context, args: ImportArgs) -> Done {
    let payload = decrypt(context, &args)?;
    let export = export::read(&payload).doing(DOING)?;
    drop(payload);
    let mut opened = session::open_admin(context, &args.unlock, DOING)?;
    let plan = export::plan(&opened.vault, export, args.overwrite).doing(DOING)?;
    let (added, replaced, same) = (plan.added, plan.replaced, plan.same);
    let generation = if plan.changes.is_empty() {
        opened.vault.generation()
    } else {
        opened.vault.commit(plan.changes).doing(DOING)?.generation
    };
    if context.out.json {
        context.out.document(&serde_json::json!({
            "added": added,
            "replaced": replaced,
            "same": same,
            "generation": generation,
        }))?;
    } else {
        context.out.say(&format!(
            "Imported: {added} new, {replaced} replaced, {same} the same."
        ));
    }
    Ok(0)
}

fn decrypt(context: &Context, args: &ImportArgs) -> Result<SecretValue, CliError> {
    let file = read(&args.file).doing("read the export")?;
    let doing = "decrypt the export";
    if !args.import_identity.is_empty() {
        let mut identities = Vec::new();
        for path in &args.import_identity {
            let mut prompt = |text: &str| session::prompt(context, text);
            identities.extend(age::load_identity_file(path, &mut prompt).doing(doing)?);
        }
        let plugins = session::plugins(context, &args.unlock)?;
        context.out.progress("Decrypting the export ...");
        return age::decrypt(&file, &identities, &plugins, MAX_EXPORT).doing(doing);
    }
    let passphrase = match &args.import_passphrase_file {
        Some(path) => key_file::read_passphrase(path).doing("read --import-passphrase-file")?,
        None if context.no_input => {
            let why = "neither --import-identity nor --import-passphrase-file was given";
            return Err(CliError::because(doing, Code::NoInput, why).hint(HOW_TO_DECRYPT));
        }
        None => tty::read_hidden("Passphrase of the export: ").map_err(|error| {
            let absent = matches!(error, PromptError::NoTerminal);
            let error = CliError::new(doing, error.into());
            if absent {
                error.hint(HOW_TO_DECRYPT)
            } else {
                error
            }
        })?,
    };
    context.out.progress("Decrypting the export ...");
    age::decrypt_with_passphrase(&file, &passphrase, MAX_EXPORT).doing(doing)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    match files::read(path, MAX_EXPORT + (1 << 20)) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(io_failure(path, &std::io::ErrorKind::NotFound.into())),
        Err(error) => Err(error.into()),
    }
}
