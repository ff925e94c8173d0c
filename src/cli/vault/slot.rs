//! `reseal vault slot`.

use super::{credential_slot, keyring_slot, status};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::lazy::Lazy;
use crate::cli::new_slot::{self, Cost, KdfChoice, Wish};
use crate::cli::session::{self, Opened, UnlockArgs};
use crate::cli::table::Table;
use crate::error::Code;
use crate::runtime::status::opened as describe;
use crate::secret::SecretValue;
use crate::unlock::key_file;
use crate::vault::slot::RawKeyHint;
use clap::{Args, Subcommand};
use data_encoding::HEXLOWER;
use std::path::PathBuf;

/// Arguments of `vault slot`.
#[derive(Args)]
pub struct SlotArgs {
    #[command(subcommand)]
    command: SlotCommand,
}

#[derive(Subcommand)]
enum SlotCommand {
    /// List the ways to open the vault
    #[command(visible_alias = "ls")]
    List(Lazy<ListArgs>),
    /// Add a way to open the vault
    Add(Lazy<AddArgs>),
    /// Remove a way to open the vault; never the last one
    #[command(visible_alias = "rm")]
    Remove(Lazy<RemoveArgs>),
}

#[derive(Args)]
struct ListArgs {
    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Args)]
struct AddArgs {
    #[command(subcommand)]
    command: AddCommand,
}

#[derive(Subcommand)]
enum AddCommand {
    /// A passphrase
    Passphrase(Lazy<AddPassphraseArgs>),
    /// One or more age recipients, any of which opens the slot
    Recipient(Lazy<AddRecipientArgs>),
    /// A new key in the keyring of the system (Secret Service)
    Keyring(Lazy<AddKeyringArgs>),
    /// A new key that systemd decrypts for the daemon, on this machine only
    SystemdCreds(Lazy<credential_slot::AddCredentialArgs>),
    /// The same, sealed by the TPM of this machine
    Tpm(Lazy<credential_slot::AddTpmArgs>),
    /// A 32-byte key in a file
    Key(Lazy<AddKeyArgs>),
    /// A recovery code, shown once
    Recovery(Lazy<AddRecoveryArgs>),
}

#[derive(Args)]
struct AddPassphraseArgs {
    /// Read the new passphrase from a private file
    #[arg(long, value_name = "FILE", conflicts_with = "new_passphrase_fd")]
    new_passphrase_file: Option<PathBuf>,

    /// Read the new passphrase from an inherited descriptor
    #[arg(long, value_name = "N")]
    new_passphrase_fd: Option<i32>,

    /// Ask for the 32-byte key in this file besides the passphrase
    #[arg(long, value_name = "FILE")]
    with_key_file: Option<PathBuf>,

    /// What a passphrase costs to try
    #[arg(long, value_enum, default_value_t = KdfChoice::Calibrated)]
    kdf: KdfChoice,

    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Args)]
struct AddRecipientArgs {
    /// age1..., or the recipient of a plugin
    #[arg(value_name = "RECIPIENT", required = true)]
    recipients: Vec<String>,

    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Args)]
struct AddKeyArgs {
    /// The file with the key
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Make the file (0600) with a new random key
    #[arg(long)]
    generate: bool,

    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Args)]
struct AddKeyringArgs {
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Args)]
struct AddRecoveryArgs {
    #[command(flatten)]
    common: CommonArgs,
}

/// What adding any keyslot takes.
#[derive(Args)]
pub struct CommonArgs {
    /// What to call the slot; sealed with the vault
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub label: String,

    #[command(flatten)]
    pub unlock: UnlockArgs,
}

#[derive(Args)]
struct RemoveArgs {
    /// The slot: its id or the start of it (see `vault slot list`)
    #[arg(value_name = "SLOT")]
    slot: String,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

/// Runs `vault slot`.
pub fn run(context: &Context, args: SlotArgs) -> Done {
    match args.command {
        SlotCommand::List(args) => list(context, &args.0.unlock),
        SlotCommand::Add(args) => match args.0.command {
            AddCommand::Passphrase(args) => add_passphrase(context, &args.0),
            AddCommand::Recipient(args) => add_recipient(context, args.0),
            AddCommand::Keyring(args) => add_keyring(context, &args.0),
            AddCommand::SystemdCreds(args) => credential_slot::add_credential(context, args.0),
            AddCommand::Tpm(args) => credential_slot::add_tpm(context, args.0),
            AddCommand::Key(args) => add_key(context, &args.0),
            AddCommand::Recovery(args) => add_recovery(context, &args.0),
        },
        SlotCommand::Remove(args) => remove(context, &args.0),
    }
}

/// Asks the daemon; without one, opens the vault with what is given, else shows what is not sealed.
fn list(context: &Context, how: &UnlockArgs) -> Done {
    context.own_folder("find the keyslots")?;
    let slots = if how.is_given() && session::daemon(context)?.is_none() {
        let mut opened = session::open(context, how)?;
        describe(&mut opened.vault)
            .doing("list the keyslots")?
            .slots
    } else {
        let status = status::read(context, how.allow_network_fs)?;
        status.vault.map(|vault| vault.slots).unwrap_or_default()
    };
    if context.out.json {
        context
            .out
            .document(&serde_json::json!({ "slots": slots }))?;
        return Ok(0);
    }
    let sealed = slots.iter().any(|slot| slot.label.is_none());
    let mut table = Table::new(vec!["SLOT", "OPENED BY", "COST", "LABEL"], 3);
    for slot in slots {
        table.row(vec![
            slot.id.into(),
            slot.kind.into(),
            slot.kdf.unwrap_or_default().into(),
            slot.label.flatten().unwrap_or_default().into(),
        ]);
    }
    table.print(&context.out)?;
    if sealed {
        context.out.say(
            "Labels are sealed: they show when the vault is unlocked, or with --passphrase-file \
             and the like.",
        );
    }
    Ok(0)
}

/// What all of them do.
pub const ADDING: &str = "add the keyslot";

fn add_passphrase(context: &Context, args: &AddPassphraseArgs) -> Done {
    let mut opened = session::open_admin(context, &args.common.unlock, ADDING)?;
    let key_file = match &args.with_key_file {
        Some(path) => Some(key_file::read_key(path).doing("read the key file")?),
        None => None,
    };
    let (file, fd) = (args.new_passphrase_file.as_deref(), args.new_passphrase_fd);
    let passphrase = new_slot::read_new_passphrase(context, file, fd)?;
    let wish = Wish::Passphrase {
        passphrase,
        key_file,
        cost: Cost::Chosen(args.kdf),
    };
    add_and_report(context, &mut opened, &wish, &args.common.label, None)
}

fn add_recipient(context: &Context, args: AddRecipientArgs) -> Done {
    new_slot::parse_recipients(&args.recipients).doing("read the recipients")?;
    let mut opened = session::open_admin(context, &args.common.unlock, ADDING)?;
    let plugins = session::plugins(context, &args.common.unlock)?;
    let wish = Wish::Recipients {
        recipients: args.recipients,
        plugins,
    };
    add_and_report(context, &mut opened, &wish, &args.common.label, None)
}

fn add_key(context: &Context, args: &AddKeyArgs) -> Done {
    let mut opened = session::open_admin(context, &args.common.unlock, ADDING)?;
    let key = if args.generate {
        new_slot::generate_key_file(&args.file)?
    } else {
        key_file::read_key(&args.file).doing("read the key file")?
    };
    add_and_report(
        context,
        &mut opened,
        &Wish::Key(key, RawKeyHint::File),
        &args.common.label,
        None,
    )
}

fn add_keyring(context: &Context, args: &AddKeyringArgs) -> Done {
    let keyring = keyring_slot::reachable(context, ADDING)?;
    let mut opened = session::open_admin(context, &args.common.unlock, ADDING)?;
    let wish = Wish::Keyring(keyring);
    add_and_report(context, &mut opened, &wish, &args.common.label, None)
}

fn add_recovery(context: &Context, args: &AddRecoveryArgs) -> Done {
    let mut opened = session::open_admin(context, &args.common.unlock, ADDING)?;
    let (code, text) = new_slot::make_recovery_code()?;
    add_and_report(
        context,
        &mut opened,
        &Wish::Recovery(code),
        &args.common.label,
        Some(&text),
    )
}

fn add_and_report(
    context: &Context,
    opened: &mut Opened,
    wish: &Wish,
    label: &str,
    recovery: Option<&SecretValue>,
) -> Done {
    let id = add(context, opened, wish, label)?;
    if context.out.json {
        context.out.secret(&added_json(&id, recovery), true)?;
        return Ok(0);
    }
    context.out.say(&format!("Added keyslot {id}."));
    if let Some(text) = recovery {
        new_slot::show_recovery_code(context, text);
    }
    Ok(0)
}

/// Adds the slot and gives the part of its id that is shown.
pub fn add(
    context: &Context,
    opened: &mut Opened,
    wish: &Wish,
    label: &str,
) -> Result<String, CliError> {
    let slots = opened.vault.slot_context();
    let (new, note) = wish
        .prepare(context, &slots, &opened.root, label)
        .doing(ADDING)?;
    let added = opened.vault.add_slot(&opened.root, &new, note);
    if added.is_err() {
        new_slot::forget(wish, &slots, &new);
    }
    Ok(short_id(&added.doing(ADDING)?))
}

fn added_json(id: &str, recovery: Option<&SecretValue>) -> SecretValue {
    use crate::secret::json::{self, Part};
    let mut members = vec![("id", Part::Text(id))];
    if let Some(text) = recovery {
        members.push(("recoveryCode", Part::Secret("", text)));
    }
    json::object(&members)
}

fn remove(context: &Context, args: &RemoveArgs) -> Done {
    let doing = "remove the keyslot";
    let mut opened = session::open_admin(context, &args.unlock, doing)?;
    let id = find(&opened, &args.slot, doing)?;
    let question = format!("Remove keyslot {}?", short_id(&id));
    if !args.yes && !context.confirm(doing, &question, "--yes")? {
        context.out.say("Nothing was removed.");
        return Ok(0);
    }
    keyring_slot::check_rest(context, &opened, &id, doing)?;
    let header = opened.vault.vault().header();
    let mut slots = header.slots().iter();
    let has_credential = slots.any(|slot| slot.id == id && credential_slot::is_one(slot.kind));
    let (vault_id, entries) = (header.vault_id(), keyring_slot::in_keyring(header.slots()));
    opened.vault.remove_slot(&opened.root, &id).doing(doing)?;
    if entries.contains(&id) {
        keyring_slot::remove_entries(context, &vault_id, &[id]);
    }
    if context.out.json {
        context
            .out
            .document(&serde_json::json!({"id": short_id(&id), "removed": true}))?;
    } else {
        context
            .out
            .say(&format!("Removed keyslot {}.", short_id(&id)));
        context.out.say(
            "Older copies of the file still open with it. If its secret is known to others, run \
             `reseal vault rekey` too.",
        );
        if has_credential {
            context
                .out
                .say("Its credential opens nothing any more: remove that file and its line.");
        }
    }
    Ok(0)
}

/// The slot whose id starts with `text`; it must be one.
pub fn find(opened: &Opened, text: &str, doing: &str) -> Result<[u8; 16], CliError> {
    let wanted = text.to_ascii_lowercase();
    let slots = opened.vault.vault().header().slots();
    let found: Vec<[u8; 16]> = slots
        .iter()
        .map(|slot| slot.id)
        .filter(|id| HEXLOWER.encode(id).starts_with(&wanted))
        .collect();
    match found.as_slice() {
        [id] if !wanted.is_empty() => Ok(*id),
        [] => Err(CliError::because(
            doing,
            Code::SlotAbsent,
            format!("there is no keyslot {text}"),
        )
        .hint("`reseal vault slot list` shows them")),
        _ => {
            let why = format!("more than one keyslot starts with {text:?}");
            Err(CliError::because(doing, Code::InputInvalid, why))
        }
    }
}

/// The part of a slot's id that commands show and take.
pub fn short_id(id: &[u8; 16]) -> String {
    HEXLOWER.encode(&id[..4])
}
