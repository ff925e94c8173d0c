//! From "somebody runs a command" to an opened vault: the daemon if it answers, else the file
//! itself with what was given or asked.

use super::context::Context;
use super::error::{CliError, Doing};
use super::proving::Proving;
use crate::config::Share;
use crate::daemon::capability;
use crate::daemon::client::{Client, Expected};
use crate::error::{Code, Coded, Failure};
use crate::keyring::{Asking, Keyring};
use crate::runtime::local::Local;
use crate::runtime::open_vault::{OpenOptions, OpenVault};
use crate::runtime::service::{Answer, Reply, Request, Service};
use crate::secret::SecretValue;
use crate::store::{Options, VaultFile};
use crate::sys::tty::{self, PromptError};
use crate::unlock::{self, Given, Unlocked, key_file};
use crate::vault::{Header, RootKey};
use clap::Args;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The folder in which a service manager puts credentials.
const CREDENTIALS_VARIABLE: &str = "CREDENTIALS_DIRECTORY";

/// The heading over the options of [`UnlockArgs`].
pub const UNLOCK_HEADING: &str = "Opening the vault (without a daemon)";

/// What opens the vault when no daemon has it open.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = UNLOCK_HEADING)]
pub struct UnlockArgs {
    /// Read the passphrase from a private file
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_fd")]
    pub passphrase_file: Option<PathBuf>,

    /// Read the passphrase from an inherited descriptor
    #[arg(long, value_name = "N")]
    pub passphrase_fd: Option<i32>,

    /// An age identity file, of a plugin too; may be given more than once
    #[arg(long, value_name = "FILE")]
    pub identity: Vec<PathBuf>,

    /// Read the recovery code from an inherited descriptor
    #[arg(long, value_name = "N")]
    pub recovery_code_fd: Option<i32>,

    /// Read a 32-byte key from a private file
    #[arg(long, value_name = "FILE", conflicts_with = "key_fd")]
    pub key_file: Option<PathBuf>,

    /// Read a 32-byte key from an inherited descriptor
    #[arg(long, value_name = "N")]
    pub key_fd: Option<i32>,

    /// Take the key from the keyring of the system, which may ask to be unlocked
    #[arg(long)]
    pub keyring: bool,

    /// The absolute path of an age plugin that may be run; may be given more than once
    #[arg(long, value_name = "PATH")]
    pub plugin: Vec<PathBuf>,

    /// The most memory that a passphrase slot may ask for, such as 4GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub kdf_limit: Option<u64>,

    /// Use a vault on a network file system, where locks can't be relied on
    #[arg(long)]
    pub allow_network_fs: bool,

    /// Read a vault that is older than what this machine has seen; nothing can be written
    #[arg(long)]
    pub accept_rollback: bool,
}

/// A size in bytes: a number, alone or with KiB, MiB or GiB.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim() {
        "" => 0,
        "KiB" | "K" => 10,
        "MiB" | "M" => 20,
        "GiB" | "G" => 30,
        _ => return Err("a size is a number, alone or with KiB, MiB or GiB".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "a size starts with a number".to_owned())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "the size is too large".to_owned())
}

impl UnlockArgs {
    /// True if an option says how to open the vault.
    pub fn is_given(&self) -> bool {
        self.passphrase_file.is_some()
            || self.passphrase_fd.is_some()
            || !self.identity.is_empty()
            || self.recovery_code_fd.is_some()
            || self.key_file.is_some()
            || self.key_fd.is_some()
            || self.keyring
    }

    /// Reads what the options name, else what the service manager left.
    pub fn read(&self, context: &Context) -> Result<Given, CliError> {
        let mut given = if self.is_given() {
            Given::default()
        } else {
            credentials()?
        };
        given.identities = self.identity.clone();
        given.allow_plugins = plugins(context, self)?;
        given.kdf_memory = self.kdf_limit;
        given.no_input = context.no_input;
        given.keyring = self.keyring.then(|| asking(context));
        let passphrase = "read the passphrase";
        if let Some(path) = &self.passphrase_file {
            given.passphrase = Some(key_file::read_passphrase(path).doing(passphrase)?);
        } else if let Some(fd) = self.passphrase_fd {
            given.passphrase = Some(key_file::read_passphrase_fd(fd).doing(passphrase)?);
        }
        if let Some(path) = &self.key_file {
            add_key(
                &mut given,
                key_file::read_key(path).doing("read the key file")?,
            );
        } else if let Some(fd) = self.key_fd {
            add_key(&mut given, key_file::read_key_fd(fd).doing("read the key")?);
        }
        if let Some(fd) = self.recovery_code_fd {
            let code = key_file::read_recovery_code_fd(fd).doing("read the recovery code")?;
            given.recovery = Some(code);
        }
        Ok(given)
    }
}

/// Whether the keyring may ask the person to unlock it.
pub fn asking(context: &Context) -> Asking {
    if context.no_input {
        Asking::Never
    } else {
        Asking::Allowed
    }
}

/// What a service manager left.
pub fn credentials() -> Result<Given, CliError> {
    match std::env::var_os(CREDENTIALS_VARIABLE) {
        Some(folder) if !folder.is_empty() => Given::from_credentials_dir(Path::new(&folder))
            .doing("read the service manager's credentials"),
        _ => Ok(Given::default()),
    }
}

/// A raw key opens its own slot and completes a passphrase that asks for a key file.
fn add_key(given: &mut Given, key: SecretValue) {
    given.key_file = Some(key.clone());
    given.raw_keys.push(key);
}

/// Something that answers: the daemon, or the vault opened in this process.
pub fn service(context: &Context, how: &UnlockArgs) -> Result<Box<dyn Service>, CliError> {
    if let Some(client) = daemon(context)? {
        if context.daemon_user().is_none() {
            return Ok(Box::new(client));
        }
        return Ok(Box::new(Proving {
            client,
            context: context.clone(),
            how: how.clone(),
        }));
    }
    let opened = open(context, how)?;
    Ok(Box::new(local(context, opened.vault)))
}

/// The daemon, if one runs.
pub fn daemon(context: &Context) -> Result<Option<Client>, CliError> {
    let doing = "ask the daemon";
    let capability = capability()?;
    if let Some(user) = context.daemon_user() {
        return of_user(context, user, capability).map(Some);
    }
    let expected = Expected {
        capability,
        ..Expected::own(rustix::process::geteuid().as_raw())
    };
    let socket = context.socket();
    let found = match Client::connect_to(&socket, expected.clone()) {
        // Our own, shared with others as the config says.
        Err(failure) if failure.code == Code::DaemonUnsafe && is_shared(context) => {
            Client::connect_to(&socket, shared(&expected))
        }
        other => other,
    };
    if let Some(client) =
        found.map_err(|failure| explained(context, CliError::new(doing, failure), &socket))?
    {
        return Ok(Some(client));
    }
    // The config is read only now: a daemon at the usual place is found without it.
    match context.configured_socket()? {
        Some(socket) if is_shared(context) => {
            Client::connect_to(&socket, shared(&expected)).doing(doing)
        }
        Some(socket) => Client::connect_to(&socket, expected).doing(doing),
        None => Ok(None),
    }
}

/// An error with whose the folder of a socket is, or what to do about our own.
fn explained(context: &Context, mut error: CliError, socket: &Path) -> CliError {
    let folder = match socket.parent() {
        Some(folder) if error.failure.code == Code::DaemonUnsafe => folder,
        _ => return error,
    };
    match std::fs::metadata(folder).map(|found| found.uid()) {
        Ok(owner) if owner != rustix::process::geteuid().as_raw() => {
            let name = crate::sys::users::name_of(owner).ok().flatten();
            let user = name.unwrap_or_else(|| owner.to_string());
            let whose = format!("; it is a folder of user {user}");
            error.failure.message.push_str(&whose);
            error
        }
        // Only a folder that is ours for nothing else may be made private without a thought.
        _ if folder == context.state.run() => error.hint(format!(
            "chmod 700 {}, or set daemon.share in the config if others are to reach it",
            folder.display()
        )),
        _ => error,
    }
}

/// Whether the config lets others reach the socket. With a config that can't be read, as if it did:
/// the daemon is to be locked all the same, and is checked to be our own in any case.
fn is_shared(context: &Context) -> bool {
    context
        .settings()
        .map_or(true, |settings| settings.daemon.share != Share::Own)
}

fn shared(expected: &Expected) -> Expected {
    Expected {
        share: Share::Everyone,
        ..expected.clone()
    }
}

/// The daemon of another user, who shares it. There is nothing else to ask then: no vault of one's
/// own is meant.
fn of_user(
    context: &Context,
    user: &str,
    capability: Option<SecretValue>,
) -> Result<Client, CliError> {
    let doing = "ask the daemon";
    let uid = crate::sys::users::uid_of(user).map_err(|error| {
        let why = format!("/etc/passwd can't be read: {error}");
        CliError::because("find the daemon's user", Code::FileIo, why)
    })?;
    let Some(uid) = uid else {
        let why = format!("there is no user {user} in /etc/passwd");
        return Err(
            CliError::because("find the daemon's user", Code::InputInvalid, why)
                .hint("name a user of this machine, or a number, with --daemon-user"),
        );
    };
    let expected = Expected {
        uid,
        share: Share::Everyone,
        capability,
    };
    let socket = context.socket();
    match Client::connect_to(&socket, expected).doing(doing)? {
        Some(client) => Ok(client),
        None => {
            // In the message, as some commands keep no hint: it is what a person needs.
            let why = format!(
                "nobody listens at {}: the daemon may be locked or not started, which its operator \
                 knows",
                socket.display()
            );
            Err(CliError::because(doing, Code::DaemonUnavailable, why))
        }
    }
}

/// The capability that a variable names a file for.
fn capability() -> Result<Option<SecretValue>, CliError> {
    let path = std::env::var_os(capability::FILE_VARIABLE).filter(|path| !path.is_empty());
    let read = |path| capability::read(Path::new(&path)).doing("read the capability");
    path.map(read).transpose()
}

/// The vault opened in this process, as a service.
pub fn local(context: &Context, vault: OpenVault) -> Local {
    Local::new(context.state.clone(), context.config(), vault)
}

/// Asks a service one thing.
pub fn ask(
    service: &mut dyn Service,
    doing: &str,
    request: Request,
    secrets: Vec<SecretValue>,
) -> Result<Answer, CliError> {
    service.call(request, secrets).doing(doing)
}

/// A reply of another kind than the request's: a defect.
pub fn unexpected(doing: &str, reply: &Reply) -> CliError {
    let name = match reply {
        Reply::Status(_) => "status",
        Reply::Value(_) => "value",
        Reply::Token(_) => "token",
        Reply::SignedOut(_) => "signed out",
        Reply::Records(_) => "records",
        Reply::Versions(_) => "versions",
        Reply::Committed(_) => "committed",
        Reply::Compared(_) => "compared",
        Reply::Resolved(_) => "resolved",
        Reply::Report(_) => "report",
        Reply::Verified(_) => "verified",
        Reply::Done => "done",
    };
    CliError::because(
        doing,
        Code::Bug,
        format!("the answer is of the wrong kind ({name})"),
    )
}

/// A vault opened in this process.
pub struct Opened {
    /// The vault.
    pub vault: OpenVault,
    /// Its root key: only slot operations, rekey and the hand-over to a daemon need it.
    pub root: RootKey,
}

/// Opens the vault file with what was given, or with what a person types.
pub fn open(context: &Context, how: &UnlockArgs) -> Result<Opened, CliError> {
    let mut given = how.read(context)?;
    open_file(context, how, &mut given, Purpose::Use)
}

/// Opens the vault for a command that needs its root key: a keyslot's secret is asked for even when
/// a daemon holds the vault open.
pub fn open_admin(context: &Context, how: &UnlockArgs, doing: &str) -> Result<Opened, CliError> {
    open_admin_with_given(context, how, doing).map(|(opened, _)| opened)
}

/// [`open_admin`], and what opened the vault, typed passphrase included.
pub fn open_admin_with_given(
    context: &Context,
    how: &UnlockArgs,
    doing: &str,
) -> Result<(Opened, Given), CliError> {
    refuse_only_reading(how, doing)?;
    let mut given = how.read(context)?;
    let opened = open_file(context, how, &mut given, Purpose::Admin)?;
    Ok((opened, given))
}

/// Refuses an older file where more than reading it is wanted.
///
/// # Errors
/// `usage` with `--accept-rollback`.
pub fn refuse_only_reading(how: &UnlockArgs, doing: &str) -> Result<(), CliError> {
    if !how.accept_rollback {
        return Ok(());
    }
    let why = "with --accept-rollback the vault is only read";
    let hint = "to go on with an older file: `reseal vault trust --accept-rollback`";
    Err(CliError::because(doing, Code::Usage, why).hint(hint))
}

/// Opens the vault and remembers it as the one that this machine trusts.
pub fn open_trusting(context: &Context, how: &UnlockArgs) -> Result<Opened, CliError> {
    let mut given = how.read(context)?;
    open_file(context, how, &mut given, Purpose::Trust)
}

/// What the vault is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To read and write records.
    Use,
    /// For what needs its root key, daemon or not.
    Admin,
    /// To be trusted from now on.
    Trust,
}

/// How often a passphrase may be typed before a command gives up.
const PASSPHRASE_TRIES: usize = 3;

fn open_file(
    context: &Context,
    how: &UnlockArgs,
    given: &mut Given,
    purpose: Purpose,
) -> Result<Opened, CliError> {
    let doing = "open the vault";
    let allow_network_fs = how.allow_network_fs || context.settings()?.vault.allow_network_fs;
    let (file, header) = read_header(&vault_path(context)?, allow_network_fs)?;
    let Unlocked {
        root,
        authenticated,
        notices,
        ..
    } = unlock(context, &header, given).map_err(|error| sealed(context, given, purpose, error))?;
    for notice in notices {
        context.out.warn(notice.text());
    }
    let keys = header.verify(&root).doing(doing)?;
    let configured = context.settings()?.vault.expect_fingerprint.clone();
    let options = OpenOptions {
        accept_rollback: how.accept_rollback,
        authenticated,
        expect_fingerprint: if purpose == Purpose::Trust {
            Some(header.fingerprint())
        } else {
            configured
        },
    };
    let anchors = context.state.anchors();
    let mut vault = OpenVault::open(file, header, keys, &anchors, &options).doing(doing)?;
    for notice in vault.take_notices() {
        context.out.warn(&super::output::shown(&notice.to_string()));
    }
    Ok(Opened { vault, root })
}

/// Opens the header; a passphrase that is typed wrong is asked for again, and one that opens is
/// added to what was given.
fn unlock(context: &Context, header: &Header, given: &mut Given) -> Result<Unlocked, Failure> {
    const OPENING: &str = "Opening the vault ...";
    if given.passphrase.is_some() {
        context.out.progress(OPENING);
    }
    if let Some(opened) = from_unlocked_keyring(context, header, given) {
        return Ok(opened);
    }
    for left in (0..PASSPHRASE_TRIES).rev() {
        let mut typed = None;
        let mut prompt = |text: &str| {
            let answer = prompt(context, text)?;
            context.out.progress(OPENING);
            typed = Some(answer.clone());
            Ok(answer)
        };
        match unlock::open(header, given, &mut prompt) {
            Ok(opened) => {
                given.passphrase = given.passphrase.take().or(typed);
                return Ok(opened);
            }
            Err(error) => {
                let again = left > 0 && given.is_empty() && typed.is_some();
                if !again || error.code() != Code::SlotWrongPassphrase {
                    return Err(error.into());
                }
                context.out.tell("Wrong passphrase, try again.");
            }
        }
    }
    Err(Failure::new(Code::Bug, "the last try did not end"))
}

/// With nothing given: the key in the keyring, if the vault has a slot for it and nobody need be
/// asked. What goes wrong is said, and the person is asked for the passphrase.
fn from_unlocked_keyring(context: &Context, header: &Header, given: &Given) -> Option<Unlocked> {
    let has_slot = header
        .slots()
        .iter()
        .any(|slot| unlock::is_in_keyring(slot.kind));
    if !given.is_empty() || !has_slot || !Keyring::of_session(Asking::Never).may_exist() {
        return None;
    }
    let given = Given {
        keyring: Some(Asking::Never),
        ..given.clone()
    };
    let opened = unlock::open(header, &given, &mut |_| Err(PromptError::NoTerminal));
    opened
        .inspect_err(|error| {
            let why = super::output::shown(&Failure::of(error).message);
            context
                .out
                .say(&format!("Not opened with the keyring: {why}."));
        })
        .ok()
}

/// The age plugins that may be run: those of the command line and of the config.
pub fn plugins(context: &Context, how: &UnlockArgs) -> Result<Vec<PathBuf>, CliError> {
    let mut plugins = how.plugin.clone();
    plugins.extend(context.settings()?.vault.plugins.iter().cloned());
    Ok(plugins)
}

/// The vault of this state folder, unless the config names another.
pub fn vault_path(context: &Context) -> Result<PathBuf, CliError> {
    let Some(path) = &context.settings()?.vault.path else {
        return Ok(context.state.vault());
    };
    context.expand(path).doing("find the vault")
}

/// The header of the vault file, as far as it can be read without a key.
pub fn read_header(path: &Path, allow_network_fs: bool) -> Result<(VaultFile, Header), CliError> {
    let doing = "read the vault's header";
    let file = VaultFile::open(
        path,
        Options {
            allow_network_fs,
            ..Options::default()
        },
    )
    .doing(doing)?;
    let bytes = file.read_header().doing(doing)?;
    let header = Header::parse(&bytes).map_err(|error| {
        let failure = Failure::from(error);
        let text = format!("{} (in bytes 0 to {})", failure.message, bytes.len() - 1);
        CliError::because(doing, failure.code, text)
    })?;
    Ok((file, header))
}

/// Asks with echo off, unless that is not wanted.
pub fn prompt(context: &Context, text: &str) -> Result<SecretValue, PromptError> {
    if context.no_input {
        return Err(PromptError::NoTerminal);
    }
    tty::read_hidden(text)
}

/// Says why nothing could be asked, when nothing was given.
fn sealed(context: &Context, given: &Given, purpose: Purpose, failure: Failure) -> CliError {
    if !given.is_empty() || !matches!(failure.code, Code::NoInput | Code::VaultSealed) {
        return CliError::new("open the vault", failure);
    }
    let nobody = if context.no_input {
        "--no-input was given"
    } else {
        "there is no terminal to ask on"
    };
    if purpose == Purpose::Admin {
        let why = format!(
            "this command asks for a keyslot's secret again, even when the vault is unlocked; none \
             was given, and {nobody}"
        );
        return CliError::because("open the vault", Code::VaultSealed, why).hint(
            "give --passphrase-file, --passphrase-fd, --identity, --key-file, --key-fd, --keyring \
             or --recovery-code-fd, or run it at a terminal",
        );
    }
    let why = format!("it is locked, nothing was given to open it with, and {nobody}");
    CliError::because("open the vault", Code::VaultSealed, why)
}
