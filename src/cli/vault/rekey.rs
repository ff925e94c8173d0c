//! `reseal vault rekey`.

use super::keyring_slot;
use super::slot::{find, short_id};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::new_slot::{self, Cost, Wish};
use crate::cli::output::shown;
use crate::cli::session::{self, Opened, UnlockArgs};
use crate::daemon::Unlock;
use crate::error::Code;
use crate::runtime::service::{Reply, Request};
use crate::secret::SecretValue;
use crate::sys::{random, tty};
use crate::unlock::{Given, key_file};
use crate::vault::slot::{KdfLimit, KdfParams, RawKeyHint, open_passphrase, open_raw};
use crate::vault::{Header, RootKey, Slot, SlotKind, SlotNote};
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Arguments of `vault rekey`.
///
/// Every keyslot must be wrapped anew: a passphrase or key has to be given for each slot of that
/// kind (with --slot-secret where there is more than one) or is asked for, age slots are wrapped
/// for the recipients that the vault remembers, a keyring slot gets a new key in the keyring, and a
/// recovery code is replaced by a new one. A slot that can't be carried over must be dropped with
/// --drop.
#[derive(Args)]
pub struct RekeyArgs {
    /// Drop this keyslot; may be given more than once
    #[arg(long, value_name = "SLOT")]
    drop: Vec<String>,

    /// Read the passphrase or key of one keyslot from a private file; may be given more than once
    #[arg(long, value_name = "SLOT=FILE", value_parser = parse_slot_secret)]
    slot_secret: Vec<(String, PathBuf)>,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "rekey the vault";

/// How often the secret of one keyslot may be typed.
const SECRET_TRIES: usize = 3;

fn parse_slot_secret(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((slot, file)) if !slot.is_empty() && !file.is_empty() => {
            Ok((slot.to_owned(), file.into()))
        }
        _ => Err("it is a keyslot's id, =, and a file".to_owned()),
    }
}

/// Makes a new root key and seals everything again.
pub fn run(context: &Context, args: RekeyArgs) -> Done {
    let (mut opened, given) = session::open_admin_with_given(context, &args.unlock, DOING)?;
    let mut dropped = Vec::new();
    for text in &args.drop {
        dropped.push(find(&opened, text, DOING)?);
    }
    let mut secrets = Secrets {
        context,
        given,
        files: BTreeMap::new(),
        plugins: session::plugins(context, &args.unlock)?,
    };
    for (text, path) in args.slot_secret {
        secrets.files.insert(find(&opened, &text, DOING)?, path);
    }
    let daemon = running(context)?;
    let slots = opened.vault.slot_context().next_epoch().doing(DOING)?;
    let mut wishes = Vec::new();
    let mut stuck = Vec::new();
    let mut recovery = None;
    let mut meta = opened.vault.vault().vault_meta();
    for slot in opened.vault.vault().header().slots() {
        if dropped.contains(&slot.id) {
            continue;
        }
        let note = meta.slot(&slot.id).cloned().unwrap_or_default();
        match carry_over(&opened, &secrets, slot, &note)? {
            None => stuck.push(short_id(&slot.id)),
            Some(Carried::As(wish)) => wishes.push((wish, note.label)),
            // One new code takes the place of all old ones.
            Some(Carried::NewRecovery) if recovery.is_some() => {}
            Some(Carried::NewRecovery) => {
                let (code, text) = new_slot::make_recovery_code()?;
                recovery = Some(text);
                wishes.push((Wish::Recovery(code), note.label));
            }
        }
    }
    if !stuck.is_empty() {
        let why = format!(
            "the secrets of these keyslots were not given: {}",
            stuck.join(", ")
        );
        return Err(CliError::because(DOING, Code::SlotNoMatch, why)
            .hint("give them with --slot-secret SLOT=FILE, or drop a slot with --drop SLOT"));
    }
    let header = opened.vault.vault().header();
    let (vault_id, old_entries) = (header.vault_id(), keyring_slot::in_keyring(header.slots()));
    let root = RootKey::build(|bytes| random::fill(bytes));
    meta.slots.clear();
    let wishes = wishes.iter().map(|(wish, label)| (wish, label.as_str()));
    let slots = new_slot::make_all(context, &slots, &root, wishes, &mut meta).doing(DOING)?;
    let new_entries = keyring_slot::in_keyring(&slots);
    let done = opened.vault.rekey(&opened.root, &root, slots, Some(meta));
    let useless = if done.is_ok() {
        &old_entries
    } else {
        &new_entries
    };
    keyring_slot::remove_entries(context, &vault_id, useless);
    done.doing(DOING)?;
    let keys = opened.vault.vault().keys().to_secret();
    let epoch = opened.vault.vault().header().epoch();
    let fingerprint = opened.vault.vault().header().fingerprint();
    drop(opened);
    if let Some(limits) = daemon {
        rearm(context, &limits, &keys);
    }
    report(context, epoch, &fingerprint, recovery.as_ref())
}

enum Carried {
    As(Wish),
    NewRecovery,
}

/// What opens the keyslots that are carried over.
struct Secrets<'a> {
    context: &'a Context,
    given: Given,
    /// `--slot-secret`, by slot.
    files: BTreeMap<[u8; 16], PathBuf>,
    plugins: Vec<PathBuf>,
}

/// How a slot comes over to the new key; `None` if its secret was not given.
fn carry_over(
    opened: &Opened,
    secrets: &Secrets<'_>,
    slot: &Slot,
    note: &SlotNote,
) -> Result<Option<Carried>, CliError> {
    let header = opened.vault.vault().header();
    let name = match note.label.as_str() {
        "" => short_id(&slot.id),
        label => format!("{} \"{}\"", short_id(&slot.id), shown(label)),
    };
    let wish = match &slot.kind {
        SlotKind::Passphrase { kdf, keyfile } => {
            secrets.passphrase(header, slot, *kdf, *keyfile, &name)?
        }
        SlotKind::RawKey {
            hint: RawKeyHint::RecoveryCode,
        } => return Ok(Some(Carried::NewRecovery)),
        SlotKind::RawKey {
            hint: RawKeyHint::Keyring,
        } => Some(Wish::Keyring(keyring_slot::reachable(
            secrets.context,
            DOING,
        )?)),
        SlotKind::RawKey { hint } => {
            let key = secrets.key(header, slot, &name)?;
            key.map(|key| Wish::Key(key, *hint))
        }
        SlotKind::Age if !note.recipients.is_empty() => Some(Wish::Recipients {
            recipients: note.recipients.clone(),
            plugins: secrets.plugins.clone(),
        }),
        SlotKind::Age | SlotKind::Shamir | SlotKind::Unknown(_) => None,
    };
    Ok(wish.map(Carried::As))
}

impl Secrets<'_> {
    /// The passphrase of a slot: what was given if it opens the slot, else what is asked for.
    fn passphrase(
        &self,
        header: &Header,
        slot: &Slot,
        kdf: KdfParams,
        keyfile: bool,
        name: &str,
    ) -> Result<Option<Wish>, CliError> {
        let mut key_file = self.given.key_file.clone().filter(|_| keyfile);
        if keyfile && key_file.is_none() {
            key_file = self.ask_key(name)?;
            if key_file.is_none() {
                return Ok(None);
            }
        }
        let limit = KdfLimit::raised_to(kdf.m_kib.div_ceil(1024));
        let wish = |passphrase: SecretValue| -> Result<Option<Wish>, CliError> {
            let opens = open_passphrase(header, slot, &passphrase, key_file.as_ref(), &limit);
            let wish = Wish::Passphrase {
                passphrase,
                key_file: key_file.clone(),
                cost: Cost::Same(kdf),
            };
            Ok(opens.doing(DOING)?.map(|_| wish))
        };
        if let Some(path) = self.files.get(&slot.id) {
            let doing = "read the keyslot's passphrase";
            return wish(key_file::read_passphrase(path).doing(doing)?);
        }
        if let Some(passphrase) = &self.given.passphrase
            && let Some(wish) = wish(passphrase.clone())?
        {
            return Ok(Some(wish));
        }
        for _ in 0..SECRET_TRIES {
            if !self.can_ask() {
                return Ok(None);
            }
            let typed =
                tty::read_hidden(&format!("Passphrase of keyslot {name}: ")).doing(DOING)?;
            if typed.is_empty() {
                return Ok(None);
            }
            if let Some(wish) = wish(typed)? {
                return Ok(Some(wish));
            }
            self.context.out.tell("That does not open it.");
        }
        Ok(None)
    }

    /// The key of a slot: what was given if it opens the slot, else from a file that is asked for.
    fn key(
        &self,
        header: &Header,
        slot: &Slot,
        name: &str,
    ) -> Result<Option<SecretValue>, CliError> {
        let keys = match self.files.get(&slot.id) {
            Some(path) => vec![key_file::read_key(path).doing("read the keyslot's key")?],
            None => self.given.raw_keys.clone(),
        };
        for key in keys {
            if open_raw(header, slot, &key).doing(DOING)?.is_some() {
                return Ok(Some(key));
            }
        }
        if self.files.contains_key(&slot.id) {
            return Ok(None);
        }
        let Some(key) = self.ask_key(name)? else {
            return Ok(None);
        };
        Ok(open_raw(header, slot, &key).doing(DOING)?.map(|_| key))
    }

    fn ask_key(&self, name: &str) -> Result<Option<SecretValue>, CliError> {
        if !self.can_ask() {
            return Ok(None);
        }
        let path = tty::read_line(&format!("Key file of keyslot {name}: ")).doing(DOING)?;
        if path.is_empty() {
            return Ok(None);
        }
        let key = key_file::read_key(std::path::Path::new(&path)).doing("read the key file")?;
        Ok(Some(key))
    }

    fn can_ask(&self) -> bool {
        !self.context.no_input && tty::can_ask()
    }
}

/// The daemon that runs, if one does, with the limits that it has left.
fn running(context: &Context) -> Result<Option<Unlock>, CliError> {
    let Some(mut client) = session::daemon(context)? else {
        return Ok(None);
    };
    let doing = "ask the daemon for its limits";
    let answer = session::ask(&mut client, doing, Request::Status, Vec::new())?;
    let Reply::Status(status) = answer.reply else {
        return Err(session::unexpected(doing, &answer.reply));
    };
    let daemon = status.daemon;
    Ok(Some(Unlock {
        ttl_ms: daemon
            .as_ref()
            .and_then(|daemon| daemon.ttl_remaining_ms)
            .unwrap_or(0),
        // Asking has just restarted the idle time, so what remains is the limit itself.
        idle_ms: daemon
            .as_ref()
            .and_then(|daemon| daemon.idle_remaining_ms)
            .unwrap_or(0),
        strict: false,
        allow_degraded: true,
    }))
}

/// Gives the daemon the new sub-keys; its limits stay as they are. The vault has its new key by
/// now, so a daemon that can't be reached is no failure of the command.
fn rearm(context: &Context, limits: &Unlock, keys: &SecretValue) {
    let armed = session::daemon(context).and_then(|client| match client {
        Some(mut client) => client
            .unlock(limits, keys)
            .doing("give the daemon the new keys"),
        None => Err(CliError::because(
            "find the daemon",
            Code::DaemonUnavailable,
            "it ended",
        )),
    });
    if let Err(error) = armed {
        let why = shown(&error.failure.message);
        context
            .out
            .warn(&format!("the daemon has not got the new key: {why}"));
        context
            .out
            .warn("run `reseal vault unlock` to go on with it");
    }
}

fn report(
    context: &Context,
    epoch: u32,
    fingerprint: &str,
    recovery: Option<&SecretValue>,
) -> Done {
    if context.out.json {
        use crate::secret::json::{self, Part};
        let epoch = epoch.to_string();
        let mut members = vec![
            ("epoch", Part::Json(&epoch)),
            ("fingerprint", Part::Text(fingerprint)),
        ];
        if let Some(text) = recovery {
            members.push(("recoveryCode", Part::Secret("", text)));
        }
        context.out.secret(&json::object(&members), true)?;
        return Ok(0);
    }
    context
        .out
        .say(&format!("The vault has a new key (epoch {epoch})."));
    context.out.say(&format!("Fingerprint  {fingerprint}"));
    if let Some(text) = recovery {
        context.out.say("No older recovery code opens it any more.");
        new_slot::show_recovery_code(context, text);
    }
    context
        .out
        .say("Older copies of the file still open with the old key; destroy them.");
    Ok(0)
}
