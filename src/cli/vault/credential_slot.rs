//! `reseal vault slot add systemd-creds` and `add tpm`: a key that systemd gives to a service, and
//! that no other machine can read.
//!
//! The order loses nothing at a crash: the credential is on the disk, and was decrypted again from
//! there, before the vault takes a slot for it. One that is left over opens nothing. The host's key
//! and the TPM are root's, the vault is its owner's: where they differ, root makes the credential
//! and this program, started again as the owner, adds the slot; the key goes there by a pipe.

use super::slot::{ADDING, CommonArgs, add};
use super::vault_owner::{End, Owner};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done, io_failure};
use crate::cli::new_slot::Wish;
use crate::cli::output::shown_path;
use crate::cli::session::{self, Opened, UnlockArgs};
use crate::cli::unit_file::{self, SYSTEM_CREDENTIAL};
use crate::error::Code;
use crate::secret::SecretValue;
use crate::store::files;
use crate::sys::random;
use crate::unlock::key_file;
use crate::unlock::systemd_creds::{Seal, SystemdCreds};
use crate::vault::SlotKind;
use crate::vault::slot::RawKeyHint;
use clap::{Args, ValueEnum};
use std::fs;
use std::path::{Path, PathBuf};

const DROP_IN: &str = "write the lines for the unit";
/// The largest drop-in that is compared, in bytes.
const MAX_DROP_IN: usize = 64 << 10;

/// What encrypts a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WithKey {
    /// The host's key: a file of root's on this machine
    Host,
    /// The TPM of this machine
    Tpm2,
    /// Both
    #[value(name = "host+tpm2")]
    HostTpm2,
    /// What systemd finds best here
    Auto,
}

impl WithKey {
    fn argument(self) -> &'static str {
        match self {
            WithKey::Host => "host",
            WithKey::Tpm2 => "tpm2",
            WithKey::HostTpm2 => "host+tpm2",
            WithKey::Auto => "auto",
        }
    }
}

/// Arguments of `vault slot add systemd-creds`.
///
/// Makes a new key, encrypts it with `systemd-creds` under the name reseal.key, writes the
/// credential, decrypts it again to be sure, and adds a keyslot for it. Prints the lines of a unit
/// that hand it to the daemon. Run it as root: it acts on the vault as the vault's owner.
#[derive(Args)]
pub struct AddCredentialArgs {
    /// What encrypts the key
    #[arg(long, value_enum, default_value_t = WithKey::Auto)]
    with_key: WithKey,

    #[command(flatten)]
    rest: CredentialArgs,
}

/// Arguments of `vault slot add tpm`.
///
/// As `vault slot add systemd-creds --with-key tpm2`: no other machine opens the vault with the
/// credential, nor this one once its TPM is cleared or a register that it is bound to changes. Keep
/// another keyslot, such as the recovery code.
#[derive(Args)]
pub struct AddTpmArgs {
    /// What encrypts the key
    #[arg(long, value_enum, default_value_t = WithKey::Tpm2)]
    with_key: WithKey,

    #[command(flatten)]
    rest: CredentialArgs,
}

#[derive(Args)]
struct CredentialArgs {
    /// Where the credential goes; nothing may be there yet [default: /etc/reseal/reseal.key.cred
    /// for root, else reseal.key.cred in the state folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write the lines for the unit to this file instead of stdout, such as
    /// /etc/systemd/system/reseal.service.d/key.conf; a file with other lines stays as it is, and
    /// nothing is done
    #[arg(long, value_name = "FILE")]
    drop_in: Option<PathBuf>,

    /// The TPM to use instead of the machine's own, as systemd-creds names it
    #[arg(long, value_name = "DEVICE")]
    tpm2_device: Option<String>,

    /// The registers of the TPM that must stay as they are, such as 7 or 7+11 [default: 7]
    #[arg(long, value_name = "PCRS", value_parser = parse_pcrs)]
    tpm2_pcrs: Option<String>,

    /// Started by root as the vault's owner, with the key on stdin
    #[arg(long, hide = true)]
    key_on_stdin: bool,

    #[command(flatten)]
    common: CommonArgs,
}

/// A list of register numbers. Systemd takes an empty one when it encrypts and fails with it when
/// it decrypts.
fn parse_pcrs(text: &str) -> Result<String, String> {
    let is_number = |part: &str| part.parse::<u8>().is_ok_and(|number| number < 24);
    match text.split('+').all(is_number) {
        true => Ok(text.to_owned()),
        false => Err("it is a list of numbers from 0 to 23 with + between them".to_owned()),
    }
}

/// True for a slot whose key is a credential of systemd's.
pub fn is_one(kind: SlotKind) -> bool {
    let hint = |hint| matches!(hint, RawKeyHint::SystemdCredential | RawKeyHint::Tpm);
    matches!(kind, SlotKind::RawKey { hint: found } if hint(found))
}

/// Runs `vault slot add systemd-creds`.
pub fn add_credential(context: &Context, args: AddCredentialArgs) -> Done {
    let hint = RawKeyHint::SystemdCredential;
    run(context, args.with_key, &args.rest, hint)
}

/// Runs `vault slot add tpm`.
pub fn add_tpm(context: &Context, args: AddTpmArgs) -> Done {
    if !matches!(args.with_key, WithKey::Tpm2 | WithKey::HostTpm2) {
        let why = format!("--with-key {} uses no TPM", args.with_key.argument());
        return Err(CliError::because(ADDING, Code::Usage, why)
            .hint("use `reseal vault slot add systemd-creds` for that"));
    }
    run(context, args.with_key, &args.rest, RawKeyHint::Tpm)
}

fn run(context: &Context, with_key: WithKey, args: &CredentialArgs, hint: RawKeyHint) -> Done {
    if args.key_on_stdin {
        return add_as_owner(context, args, hint);
    }
    let owner = Owner::other_than_root(context)?;
    if owner.is_some() {
        refuse_stdin(&args.common.unlock)?;
    }
    let place = Place::choose(context, args)?;
    let creds = SystemdCreds::find().doing(ADDING)?;
    let seal = Seal {
        with_key: Some(with_key.argument()),
        tpm2_device: args.tpm2_device.clone(),
        tpm2_pcrs: args.tpm2_pcrs.clone(),
    };
    let credential = Credential::make(context, &creds, &seal, &place)?;
    let id = match owner {
        Some(owner) => match owner.add_slot(context, &credential.key)? {
            End::Added(id) => id,
            // It has said why.
            End::Refused(code) => return Ok(code),
            End::Unclear(how) => {
                credential.keep();
                return Err(unclear(&how, &place.file));
            }
        },
        None => {
            let mut opened = session::open_admin(context, &args.common.unlock, ADDING)?;
            let wish = Wish::Key(credential.key.clone(), hint);
            let id = add(context, &mut opened, &wish, &args.common.label)?;
            warn_if_bound(context, &opened);
            id
        }
    };
    credential.keep();
    let lines = place.unit_lines();
    if let Some(path) = &args.drop_in {
        unit_file::make_folder_of(path, DROP_IN)?;
        let there = files::read(path, MAX_DROP_IN).doing(DROP_IN)?;
        if there.as_deref() != Some(lines.as_bytes()) {
            files::write_public(path, None, lines.as_bytes()).doing(DROP_IN)?;
        }
    }
    report(context, &id, &place, args.drop_in.as_deref(), &lines)
}

/// The owner's process has the key on stdin: nothing else can come from there.
fn refuse_stdin(how: &UnlockArgs) -> Result<(), CliError> {
    let fds = [how.passphrase_fd, how.key_fd, how.recovery_code_fd];
    if !fds.contains(&Some(0)) {
        return Ok(());
    }
    let why = "stdin can't be read by the vault's owner, as whom this adds the slot";
    Err(CliError::because(ADDING, Code::Usage, why).hint("use another descriptor: `3<&0`"))
}

fn unclear(how: &str, file: &Path) -> CliError {
    let why = format!(
        "adding it as the vault's owner ended unclearly ({how}); {} stays, for the vault may have \
         the slot already",
        file.display()
    );
    CliError::because(ADDING, Code::FileIo, why)
        .hint("if `reseal vault slot list` shows no new slot, remove the file and try again")
}

/// Says so where nothing but this machine opens the vault: no person can, once it is gone.
fn warn_if_bound(context: &Context, opened: &Opened) {
    let by_person = |kind| match kind {
        SlotKind::Passphrase { .. } => true,
        SlotKind::RawKey { hint } => hint == RawKeyHint::RecoveryCode,
        _ => false,
    };
    let slots = opened.vault.vault().header().slots();
    if !slots.iter().any(|slot| by_person(slot.kind)) {
        context.out.warn(
            "the vault has neither a recovery code nor a passphrase: the credential is lost with \
             this machine, its TPM or its host's key; `reseal vault slot add recovery` makes one",
        );
    }
}

fn report(context: &Context, id: &str, place: &Place, drop_in: Option<&Path>, lines: &str) -> Done {
    let out = &context.out;
    if out.json {
        out.document(&serde_json::json!({
            "id": id,
            "credential": place.file,
            "unit": lines,
            "dropIn": drop_in,
        }))?;
        return Ok(0);
    }
    out.say(&format!("Added keyslot {id}."));
    out.say(&format!("Wrote {}", shown_path(&place.file)));
    match drop_in {
        Some(path) => out.say(&format!("Wrote {}", shown_path(path))),
        None => {
            let installed = Path::new(SYSTEM_CREDENTIAL) == place.file;
            out.say(match installed {
                true => "`reseal daemon install` hands it to the daemon; for a unit of your own:",
                false => "For the unit of the daemon:",
            });
            out.data(lines.trim_end())?;
        }
    }
    Ok(0)
}

/// Where the credential goes.
struct Place {
    file: PathBuf,
}

impl Place {
    fn choose(context: &Context, args: &CredentialArgs) -> Result<Self, CliError> {
        let file = match &args.output {
            Some(file) => file.clone(),
            None if rustix::process::geteuid().is_root() => SYSTEM_CREDENTIAL.into(),
            None => context.state.root().join("reseal.key.cred"),
        };
        let file = std::path::absolute(&file).unwrap_or(file);
        unit_file::check_path(&file, ADDING)?;
        if file.symlink_metadata().is_ok() {
            let why = format!("{} exists already", file.display());
            return Err(CliError::because(ADDING, Code::FileExists, why).hint(
                "name another file with -o, or remove this one if no keyslot needs it any more",
            ));
        }
        let place = Self { file };
        if let Some(path) = &args.drop_in {
            place.check_drop_in(path)?;
        }
        Ok(place)
    }

    /// Before anything is made: a file that holds something else stays, and so stops it all.
    fn check_drop_in(&self, path: &Path) -> Result<(), CliError> {
        let there = files::read(path, MAX_DROP_IN).doing(DROP_IN)?;
        match there {
            Some(text) if text != self.unit_lines().as_bytes() => {
                let why = format!("{} exists already and holds other lines", path.display());
                let hint = "name another file, or leave --drop-in out and add the lines yourself";
                Err(CliError::because(ADDING, Code::FileExists, why).hint(hint))
            }
            _ => Ok(()),
        }
    }

    fn unit_lines(&self) -> String {
        let line = unit_file::encrypted_credential(&self.file);
        format!("[Service]\n{line}\n")
    }
}

/// A credential file that is removed again unless the vault has a slot for it.
struct Credential<'a> {
    key: SecretValue,
    text: Vec<u8>,
    file: &'a Path,
    keep: bool,
}

impl<'a> Credential<'a> {
    fn make(
        context: &Context,
        creds: &SystemdCreds,
        seal: &Seal,
        place: &'a Place,
    ) -> Result<Self, CliError> {
        let key = SecretValue::build(key_file::KEY_LEN, random::fill);
        let sealed = creds.encrypt(seal, &key).doing("encrypt the key")?;
        if !sealed.said.is_empty() {
            context
                .out
                .explain(&format!("systemd-creds: {}", sealed.said));
        }
        let doing = "write the credential";
        unit_file::make_folder_of(&place.file, doing)?;
        files::write(&place.file, None, &sealed.text).doing(doing)?;
        let made = Self {
            key,
            text: sealed.text,
            file: &place.file,
            keep: false,
        };
        let again = creds
            .decrypt(seal, &place.file)
            .doing("decrypt the credential again")?;
        if again != made.key {
            let why = "the credential gives another key than was put in";
            return Err(CliError::because(ADDING, Code::SystemdFailed, why));
        }
        Ok(made)
    }

    fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Credential<'_> {
    fn drop(&mut self) {
        if !self.keep {
            // It opens nothing, so one that stays is no harm.
            let _ = files::remove(self.file, &self.text);
        }
    }
}

/// The owner's part: the key comes on stdin, the slot's id goes to stdout.
fn add_as_owner(context: &Context, args: &CredentialArgs, hint: RawKeyHint) -> Done {
    let mut stdin = fs::File::from(
        rustix::io::dup(rustix::stdio::stdin())
            .map_err(std::io::Error::from)
            .map_err(|error| CliError::new(ADDING, io_failure(Path::new("stdin"), &error)))?,
    );
    let key = SecretValue::read_from(&mut stdin, key_file::KEY_LEN)
        .map_err(|error| CliError::new(ADDING, io_failure(Path::new("stdin"), &error)))?;
    let key = key.filter(|key| key.len() == key_file::KEY_LEN);
    let Some(key) = key else {
        let why = "stdin holds no key of 32 bytes";
        return Err(CliError::because(ADDING, Code::InputInvalid, why));
    };
    let mut opened = session::open_admin(context, &args.common.unlock, ADDING)?;
    let id = add(
        context,
        &mut opened,
        &Wish::Key(key, hint),
        &args.common.label,
    )?;
    warn_if_bound(context, &opened);
    context.out.data(&id)?;
    Ok(0)
}
