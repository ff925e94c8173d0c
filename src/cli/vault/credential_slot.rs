//! `reseal vault slot add systemd-creds` and `add tpm`: a key that systemd gives to a service, and
//! that no other machine can read.
//!
//! The order loses nothing at a crash: the credential is on the disk, and was decrypted again from
//! there, before the vault takes a slot for it. One that is left over opens nothing. The host's key
//! and the TPM are root's, the vault is its owner's: where they differ, root makes the credential
//! and this program, started again as the owner, adds the slot; the key goes there by a pipe.

use super::slot::{ADDING, CommonArgs, add};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done, io_failure};
use crate::cli::new_slot::Wish;
use crate::cli::output::shown_path;
use crate::cli::session;
use crate::cli::unit_file::{self, SYSTEM_CREDENTIAL};
use crate::error::{Code, Failure};
use crate::secret::SecretValue;
use crate::store::files;
use crate::sys::random;
use crate::unlock::key_file;
use crate::unlock::systemd_creds::{Seal, SystemdCreds};
use crate::vault::SlotKind;
use crate::vault::slot::RawKeyHint;
use clap::{Args, ValueEnum};
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
    /// /etc/systemd/system/reseal.service.d/key.conf
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
    let owner = other_owner(context)?;
    let place = Place::choose(context, args)?;
    let creds = SystemdCreds::find().doing(ADDING)?;
    let seal = Seal {
        with_key: Some(with_key.argument()),
        tpm2_device: args.tpm2_device.clone(),
        tpm2_pcrs: args.tpm2_pcrs.clone(),
    };
    let credential = Credential::make(context, &creds, &seal, &place)?;
    let id = match owner {
        Some(owner) => match start_as_owner(context, owner, &credential.key)? {
            Ok(id) => id,
            // It has said why.
            Err(code) => return Ok(code),
        },
        None => {
            let mut opened = session::open_admin(context, &args.common.unlock, ADDING)?;
            let wish = Wish::Key(credential.key.clone(), hint);
            add(context, &mut opened, &wish, &args.common.label)?
        }
    };
    credential.keep();
    let lines = place.unit_lines();
    if let Some(path) = &args.drop_in {
        let doing = "write the lines for the unit";
        unit_file::make_folder_of(path, doing)?;
        files::overwrite(path, lines.as_bytes()).doing(doing)?;
        unit_file::make_readable(path, doing)?;
    }
    report(context, &id, &place, args.drop_in.as_deref(), &lines)
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

/// The state folder's owner, if this is root and the folder is another's.
fn other_owner(context: &Context) -> Result<Option<(u32, u32)>, CliError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let root = context.state.root();
    match fs::metadata(root) {
        Ok(facts) if facts.uid() != 0 => Ok(Some((facts.uid(), facts.gid()))),
        Ok(_) => Ok(None),
        Err(error) => Err(CliError::new(ADDING, io_failure(root, &error))),
    }
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
        Ok(Self { file })
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

/// Starts this program again as the vault's owner, with the same arguments and the key on stdin.
/// Gives the new slot's id, or the exit code of a run that has said why it failed.
fn start_as_owner(
    context: &Context,
    owner: (u32, u32),
    key: &SecretValue,
) -> Result<Result<String, u8>, CliError> {
    let failed = |error: std::io::Error| {
        let text = format!("this program as user {}: {error}", owner.0);
        CliError::new(ADDING, Failure::new(Code::ExecFailed, text))
    };
    let program = std::env::current_exe().map_err(failed)?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--key-on-stdin")
        .uid(owner.0)
        .gid(owner.1)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut pipe) = child.stdin.take() {
        // It fits an empty pipe; a process that ended early says itself why.
        let _ = pipe.write_all(key.expose());
    }
    let output = child.wait_with_output().map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() {
        return Ok(Ok(said));
    }
    if !said.is_empty() {
        // With --json, the document that says why.
        context.out.data(&said)?;
    }
    let code = output
        .status
        .code()
        .and_then(|code| u8::try_from(code).ok());
    Ok(Err(code.unwrap_or(Code::Bug.kind().exit_code())))
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
    context.out.data(&id)?;
    Ok(0)
}
