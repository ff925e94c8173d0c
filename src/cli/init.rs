//! `reseal init`.

use super::context::Context;
use super::error::{CliError, Doing, Done};
use super::new_slot::{self, Cost, KdfChoice, Wish};
use super::output::shown_path;
use super::session::{self, UnlockArgs};
use super::state_files;
use crate::config::Config;
use crate::error::Code;
use crate::name::AgentId;
use crate::runtime::open_vault::{Birth, OpenVault};
use crate::secret::SecretValue;
use crate::store::{Options, files};
use crate::unlock::{Given, key_file};
use crate::vault::slot::{RawKeyHint, SlotContext};
use crate::vault::{RootKey, VaultMeta};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `init`.
///
/// Asks for a passphrase unless --passphrase-file, --passphrase-fd, --recipient, --key-file or
/// --generate-key-file says how the vault is opened, or reseal.passphrase or reseal.key lies in
/// $CREDENTIALS_DIRECTORY. Safe to run again: what is there stays.
#[derive(Args)]
pub struct InitArgs {
    #[command(flatten)]
    new: NewVaultArgs,
}

/// How a new vault is opened.
#[derive(Args, Clone, Debug, Default)]
pub struct NewVaultArgs {
    /// Read the new passphrase from a private file
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_fd")]
    pub passphrase_file: Option<PathBuf>,

    /// Read the new passphrase from an inherited descriptor
    #[arg(long, value_name = "N")]
    pub passphrase_fd: Option<i32>,

    /// What a passphrase costs to try
    #[arg(long, value_enum, default_value_t = KdfChoice::Calibrated)]
    pub kdf: KdfChoice,

    /// Let this age recipient (age1..., or of a plugin) open it; may be given more than once
    #[arg(long, value_name = "RECIPIENT")]
    pub recipient: Vec<String>,

    /// The absolute path of an age plugin that may be run; may be given more than once
    #[arg(long, value_name = "PATH")]
    pub plugin: Vec<PathBuf>,

    /// Let the 32-byte key in this file open it
    #[arg(long, value_name = "FILE", conflicts_with = "generate_key_file")]
    pub key_file: Option<PathBuf>,

    /// Make a key file (0600) that opens it; whoever can read the file can open the vault
    #[arg(long, value_name = "FILE")]
    pub generate_key_file: Option<PathBuf>,

    /// Make no recovery code
    #[arg(long)]
    pub no_recovery: bool,

    /// Make the vault on a network file system, where locks can't be relied on
    #[arg(long)]
    pub allow_network_fs: bool,
}

impl NewVaultArgs {
    /// True if an option says how the vault is opened.
    pub fn is_given(&self) -> bool {
        self.passphrase_file.is_some()
            || self.passphrase_fd.is_some()
            || !self.recipient.is_empty()
            || self.key_file.is_some()
            || self.generate_key_file.is_some()
    }

    /// The same options as the way to open a vault that exists already.
    pub fn to_unlock(&self) -> UnlockArgs {
        UnlockArgs {
            passphrase_file: self.passphrase_file.clone(),
            passphrase_fd: self.passphrase_fd,
            key_file: self
                .key_file
                .clone()
                .or_else(|| self.generate_key_file.clone()),
            allow_network_fs: self.allow_network_fs,
            ..UnlockArgs::default()
        }
    }

    fn wants_passphrase(&self) -> bool {
        self.passphrase_file.is_some() || self.passphrase_fd.is_some() || !self.is_given()
    }
}

/// A vault that was just made, open.
pub struct NewVault {
    /// The vault.
    pub vault: OpenVault,
    /// The recovery code as text, to be shown once.
    pub recovery: Option<SecretValue>,
}

/// Makes what is missing.
pub fn run(context: &Context, args: InitArgs) -> Done {
    let path = session::vault_path(context)?;
    if path.exists() {
        return run_again(context);
    }
    let made = make(context, &args.new)?;
    report(context, &made)?;
    Ok(0)
}

/// Makes the state folder with everything in it, the vault last.
pub fn make(context: &Context, args: &NewVaultArgs) -> Result<NewVault, CliError> {
    // Everything that can be refused or asked comes before anything is made.
    new_slot::parse_recipients(&args.recipient).doing("read --recipient")?;
    let left = if args.is_given() {
        Given::default()
    } else {
        session::credentials()?
    };
    let key = match &args.key_file {
        Some(path) => Some(key_file::read_key(path).doing("read the key file")?),
        None => left.raw_keys.into_iter().next(),
    };
    let passphrase = if left.passphrase.is_some() || (key.is_some() && !args.is_given()) {
        left.passphrase
    } else if args.wants_passphrase() {
        let (file, fd) = (args.passphrase_file.as_deref(), args.passphrase_fd);
        Some(new_slot::read_new_passphrase(context, file, fd)?)
    } else {
        None
    };
    make_state_files(context)?;
    let key = match &args.generate_key_file {
        Some(path) => Some(new_slot::generate_key_file(path)?),
        None => key,
    };
    let mut wishes = Vec::new();
    if let Some(passphrase) = passphrase {
        let cost = Cost::Chosen(args.kdf);
        wishes.push(Wish::Passphrase {
            passphrase,
            key_file: None,
            cost,
        });
    }
    if !args.recipient.is_empty() {
        let (recipients, plugins) = (args.recipient.clone(), args.plugin.clone());
        wishes.push(Wish::Recipients {
            recipients,
            plugins,
        });
    }
    wishes.extend(key.map(|key| Wish::Key(key, RawKeyHint::File)));
    let mut recovery = None;
    if !args.no_recovery {
        let (code, text) = new_slot::make_recovery_code()?;
        wishes.push(Wish::Recovery(code));
        recovery = Some(text);
    }
    let vault = create(context, args, &wishes)?;
    Ok(NewVault { vault, recovery })
}

fn create(context: &Context, args: &NewVaultArgs, wishes: &[Wish]) -> Result<OpenVault, CliError> {
    let options = Options {
        allow_network_fs: args.allow_network_fs,
        ..Options::default()
    };
    let path = session::vault_path(context)?;
    let birth = |slots: &SlotContext, root: &RootKey| {
        let mut meta = VaultMeta::default();
        let wishes = wishes.iter().map(|wish| (wish, ""));
        let slots = new_slot::make_all(context, slots, root, wishes, &mut meta)?;
        Ok(Birth { slots, meta })
    };
    OpenVault::create(&path, options, &context.state.anchors(), birth).doing("make the vault")
}

/// The state folder, the config and the agent main, as far as they are missing; what was made.
fn make_state_files(context: &Context) -> Result<Vec<PathBuf>, CliError> {
    let doing = "make the state folder";
    let mut made = Vec::new();
    if !context.state.exists() {
        made.push(context.state.root().to_path_buf());
    }
    context.state.create().doing(doing)?;
    let config = context.state.config();
    if !config.exists() {
        let text = Config::default_text();
        files::write(&config, None, text.as_bytes()).doing("make the config")?;
        made.push(config);
    }
    let main = AgentId::main();
    if !context.state.auth_profiles(&main).exists() {
        made.push(state_files::make_agent(context, &main).doing("make the agent main")?);
    }
    Ok(made)
}

fn run_again(context: &Context) -> Done {
    let path = session::vault_path(context)?;
    // Whatever stands there must be a vault; init never overwrites anything.
    let (_, header) = session::read_header(&path, true)?;
    let made = make_state_files(context)?;
    if context.out.json {
        context.out.document(&serde_json::json!({
            "created": false,
            "stateDir": context.state.root(),
            "vault": path,
            "fingerprint": header.fingerprint(),
            "made": made,
        }))?;
        return Ok(0);
    }
    context
        .out
        .say(&format!("There is a vault already: {}", shown_path(&path)));
    if made.is_empty() {
        context.out.say("Nothing was changed.");
    }
    for path in made {
        context
            .out
            .say(&format!("Made what was missing: {}", shown_path(&path)));
    }
    Ok(0)
}

fn report(context: &Context, made: &NewVault) -> Result<(), CliError> {
    let fingerprint = made.vault.vault().header().fingerprint();
    if context.out.json {
        return context
            .out
            .secret(&as_json(context, made, &fingerprint)?, true);
    }
    context.out.say(&format!(
        "Made {}",
        shown_path(&session::vault_path(context)?)
    ));
    context.out.say(&format!("Fingerprint  {fingerprint}"));
    if let Some(code) = &made.recovery {
        new_slot::show_recovery_code(context, code);
    }
    context.out.say("Next: reseal secrets set openai/default");
    Ok(())
}

fn as_json(context: &Context, made: &NewVault, fingerprint: &str) -> Result<SecretValue, CliError> {
    use crate::secret::json::{self, Part};
    let text = |value: &dyn AsRef<std::path::Path>| {
        serde_json::to_string(value.as_ref())
            .map_err(|_| CliError::because("report", Code::InputInvalid, "a path is no UTF-8"))
    };
    let state = text(&context.state.root())?;
    let vault = text(&session::vault_path(context)?)?;
    let config = text(&context.state.config())?;
    let mut members = vec![
        ("created", Part::Json("true")),
        ("stateDir", Part::Json(&state)),
        ("vault", Part::Json(&vault)),
        ("config", Part::Json(&config)),
        ("fingerprint", Part::Text(fingerprint)),
    ];
    if let Some(code) = &made.recovery {
        members.push(("recoveryCode", Part::Secret("", code)));
    }
    Ok(json::object(&members))
}
