//! Making keyslots: for a new vault, and for one that is open.

use super::context::Context;
use super::error::{CliError, Doing};
use super::input;
use crate::error::{Code, Failure};
use crate::keyring::Keyring;
use crate::secret::SecretValue;
use crate::sys::{clock, random};
use crate::unlock::keyring::SlotEntry;
use crate::unlock::{SHORT_PASSPHRASE, age, is_short, kdf, passphrase_notice};
use crate::vault::slot::{
    KdfParams, RawKeyHint, SlotContext, age_plaintext, new_slot_id, recovery,
};
use crate::vault::{NewSlot, RootKey, Slot, SlotNote, VaultMeta};
use clap::ValueEnum;
use std::path::{Path, PathBuf};

/// What a passphrase slot shall cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum KdfChoice {
    /// What this machine does in 0.5 to 1 second, at least 64 MiB
    #[default]
    Calibrated,
    /// 19 MiB, for tests and small containers: a guess costs an attacker 20 times less
    Minimal,
}

/// What a passphrase slot shall cost, or does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// What the person chose.
    Chosen(KdfChoice),
    /// What the slot that it replaces costs.
    Same(KdfParams),
}

/// A keyslot to be made.
pub enum Wish {
    /// A passphrase, and a key file that must come with it.
    Passphrase {
        /// The passphrase.
        passphrase: SecretValue,
        /// 32 bytes.
        key_file: Option<SecretValue>,
        /// The cost.
        cost: Cost,
    },
    /// Age recipients, any of which opens the slot.
    Recipients {
        /// As they stand on the command line.
        recipients: Vec<String>,
        /// Plugins that may be run to encrypt.
        plugins: Vec<PathBuf>,
    },
    /// A key of 32 bytes, and where it is to be found.
    Key(SecretValue, RawKeyHint),
    /// A new key in the keyring of the system.
    Keyring(Keyring),
    /// A recovery code, 20 bytes.
    Recovery(SecretValue),
}

impl Wish {
    /// What the slot is made of, and what the vault remembers of it. The entry of a keyring slot is
    /// made here: [`forget`] removes it if the vault does not take the slot.
    pub fn prepare(
        &self,
        context: &Context,
        slots: &SlotContext,
        root: &RootKey,
        label: &str,
    ) -> Result<(NewSlot, SlotNote), Failure> {
        let mut note = SlotNote {
            label: label.to_owned(),
            created_at: Some(clock::now()),
            ..SlotNote::default()
        };
        let new = match self {
            Wish::Passphrase {
                passphrase,
                key_file,
                cost,
            } => NewSlot::Passphrase {
                passphrase: passphrase.clone(),
                keyfile: key_file.clone(),
                kdf: params(context, *cost),
            },
            Wish::Key(key, hint) => NewSlot::Raw {
                secret: key.clone(),
                hint: *hint,
            },
            Wish::Keyring(keyring) => {
                let id = new_slot_id(&mut random::fill);
                let secret = SecretValue::build(32, random::fill);
                SlotEntry::of(&slots.vault_id, &id).write(keyring, &secret)?;
                NewSlot::Keyring { id, secret }
            }
            Wish::Recovery(code) => NewSlot::Raw {
                secret: code.clone(),
                hint: RawKeyHint::RecoveryCode,
            },
            Wish::Recipients {
                recipients,
                plugins,
            } => {
                note.recipients = recipients.clone();
                let id = new_slot_id(&mut random::fill);
                let parsed = parse_recipients(recipients)?;
                let plaintext = age_plaintext(slots, &id, root);
                let file = age::encrypt_to(&parsed, &plaintext, plugins)?;
                NewSlot::Age { id, file }
            }
        };
        Ok((new, note))
    }
}

/// Removes the entry that was made for a slot which did not come to be.
pub fn forget(wish: &Wish, slots: &SlotContext, new: &NewSlot) {
    if let (Wish::Keyring(keyring), NewSlot::Keyring { id, .. }) = (wish, new) {
        // It opens nothing, so one that stays is no harm.
        let _ = SlotEntry::of(&slots.vault_id, id).remove(keyring);
    }
}

/// Makes keyslots for a root key, each with its label, and adds their notes to `meta`.
pub fn make_all<'a>(
    context: &Context,
    slots: &SlotContext,
    root: &RootKey,
    wishes: impl Iterator<Item = (&'a Wish, &'a str)>,
    meta: &mut VaultMeta,
) -> Result<Vec<Slot>, Failure> {
    let mut made = Vec::new();
    for (wish, label) in wishes {
        let (new, note) = wish.prepare(context, slots, root, label)?;
        let slot = new.wrap(slots, root, &mut random::fill)?;
        meta.set_slot(&slot.id, note);
        made.push(slot);
    }
    Ok(made)
}

/// Checks recipients before anything is made.
pub fn parse_recipients(texts: &[String]) -> Result<Vec<age::Recipient>, Failure> {
    texts
        .iter()
        .map(|text| age::parse_recipient(text).map_err(Failure::from))
        .collect()
}

fn params(context: &Context, cost: Cost) -> KdfParams {
    let params = match cost {
        Cost::Same(params) => return params,
        Cost::Chosen(KdfChoice::Minimal) => KdfParams::MINIMAL,
        Cost::Chosen(KdfChoice::Calibrated) => {
            context
                .out
                .say("Measuring how much a passphrase may cost on this machine ...");
            kdf::calibrate()
        }
    };
    context.out.detail(&format!(
        "Argon2id with {} MiB, {} passes, {} lanes.",
        params.m_kib / 1024,
        params.t,
        params.p
    ));
    params
}

/// A new recovery code: its bytes, and its text for the person.
pub fn make_recovery_code() -> Result<(SecretValue, SecretValue), CliError> {
    let code = recovery::generate(&mut random::fill);
    let text = recovery::format(&code).doing("make the recovery code")?;
    Ok((code, text))
}

/// Shows a recovery code once, on stderr.
pub fn show_recovery_code(context: &Context, text: &SecretValue) {
    context.out.tell("");
    context
        .out
        .tell("Recovery code (shown once; write it down and keep it away from this machine):");
    context.out.tell_secret("    ", text);
    context.out.tell("");
}

/// Writes a new random 32-byte key to a file that does not exist yet, 0600, in hexadecimal.
pub fn generate_key_file(path: &Path) -> Result<SecretValue, CliError> {
    let doing = "make the key file";
    if path.exists() {
        let why = format!("{} exists already", path.display());
        return Err(CliError::because(doing, Code::FileExists, why).hint(
            "name a new file; a key that is there already is given without making one (see --help)",
        ));
    }
    let key = SecretValue::build(32, random::fill);
    let line = SecretValue::build(65, |out| {
        data_encoding::HEXLOWER.encode_mut(key.expose(), &mut out[..64]);
        out[64] = b'\n';
    });
    crate::store::files::write(path, None, line.expose()).doing(doing)?;
    Ok(key)
}

/// Reads a new passphrase: from a file, a descriptor, or typed twice.
pub fn read_new_passphrase(
    context: &Context,
    file: Option<&Path>,
    fd: Option<i32>,
) -> Result<SecretValue, CliError> {
    use crate::unlock::key_file;
    let doing = "read the new passphrase";
    let passphrase = match (file, fd) {
        (Some(path), _) => key_file::read_passphrase(path).doing(doing)?,
        (None, Some(fd)) => key_file::read_passphrase_fd(fd).doing(doing)?,
        (None, None) => input::ask_new_passphrase(context, "a new passphrase")?,
    };
    if is_short(&passphrase) {
        context.out.warn(&format!(
            "The passphrase has fewer than {SHORT_PASSPHRASE} characters: whoever gets the file \
             can try them all."
        ));
    }
    if let Some(notice) = passphrase_notice(&passphrase) {
        context.out.warn(notice.text());
    }
    Ok(passphrase)
}
