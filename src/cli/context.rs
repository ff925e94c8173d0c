//! What every command is told: the state folder, the config, the agent, how to talk.

use super::error::{CliError, Doing};
use super::output::Output;
use crate::config::Trust;
use crate::config::{Config, UserPath};
use crate::error::{Code, Failure};
use crate::name::AgentId;
use crate::store::StateDir;
use crate::sys::tty::{self, PromptError};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The variable that names the state folder.
pub const STATE_DIR_VARIABLE: &str = "RESEAL_STATE_DIR";
/// The variable that names the daemon's socket.
pub const SOCKET_VARIABLE: &str = "RESEAL_SOCKET";
/// The variable that names the user of a daemon that serves others too.
pub const DAEMON_USER_VARIABLE: &str = "RESEAL_DAEMON_USER";
/// Where the daemon of a system user listens, unless another socket is named.
pub const SYSTEM_SOCKET: &str = "/run/reseal/daemon.sock";

/// Options of every command.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The state folder [default: $RESEAL_STATE_DIR, else ~/.reseal]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,

    /// The config file [default: reseal.json in the state folder]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The agent whose profiles are meant
    #[arg(long, global = true, value_name = "ID", default_value = "main")]
    pub agent: AgentId,

    /// Write one JSON document to stdout instead of text
    #[arg(long, global = true)]
    pub json: bool,

    /// Never prompt: fail with the reason instead
    #[arg(long, global = true)]
    pub no_input: bool,

    /// The daemon's socket [default: $RESEAL_SOCKET, else run/daemon.sock in the state folder]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// The user (name or number) of a daemon that serves others too, at /run/reseal/daemon.sock
    /// unless --socket names another [default: $RESEAL_DAEMON_USER, else the daemon of your own]
    #[arg(long, global = true, value_name = "USER")]
    pub daemon_user: Option<String>,

    /// Say more: the code of an error, the file of each ref, the cost of a new passphrase
    #[arg(short, long, global = true)]
    pub verbose: bool,

    /// Say nothing but data and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// What a command works with.
#[derive(Clone)]
pub struct Context {
    /// The state folder.
    pub state: StateDir,
    /// The config file, if one was named.
    pub named_config: Option<PathBuf>,
    /// The agent.
    pub agent: AgentId,
    /// The two streams.
    pub out: Output,
    /// Never prompt.
    pub no_input: bool,
    /// The daemon's socket, if one was named.
    named_socket: Option<PathBuf>,
    /// The user of a daemon that serves others too, if one was named.
    daemon_user: Option<String>,
    /// The state folder's own config, once something needed it.
    settings: OnceLock<Config>,
}

impl Context {
    /// Finds the state folder.
    ///
    /// # Errors
    /// `usage` if nothing says where the state folder is.
    pub fn new(global: Global) -> Result<Self, (Output, CliError)> {
        let out = Output::new(global.json, global.quiet, global.verbose);
        let from_variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let home = || from_variable("HOME").map(|home| home.join(".reseal"));
        let named = global
            .state_dir
            .or_else(|| from_variable(STATE_DIR_VARIABLE));
        let Some(root) = named.or_else(home) else {
            let why = "neither --state-dir nor RESEAL_STATE_DIR nor HOME says where it is";
            return Err((
                out,
                CliError::because("find the state folder", Code::Usage, why),
            ));
        };
        Ok(Self {
            state: StateDir::at(root),
            named_config: global.config,
            agent: global.agent,
            out,
            no_input: global.no_input,
            settings: OnceLock::new(),
            named_socket: global.socket.or_else(|| from_variable(SOCKET_VARIABLE)),
            daemon_user: global.daemon_user.or_else(|| {
                let named = from_variable(DAEMON_USER_VARIABLE)?;
                Some(named.to_string_lossy().into_owned())
            }),
        })
    }

    /// The config file.
    pub fn config(&self) -> PathBuf {
        self.named_config
            .clone()
            .unwrap_or_else(|| self.state.config())
    }

    /// True if `--config` names another file than the one that the daemon reads.
    pub fn has_foreign_config(&self) -> bool {
        let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        match &self.named_config {
            Some(named) => resolved(named) != resolved(&self.state.config()),
            None => false,
        }
    }

    /// The user of a daemon that serves others too, if one was named.
    pub fn daemon_user(&self) -> Option<&str> {
        self.daemon_user.as_deref()
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        let usual = || match self.daemon_user {
            Some(_) => PathBuf::from(SYSTEM_SOCKET),
            None => self.state.socket(),
        };
        self.named_socket.clone().unwrap_or_else(usual)
    }

    /// The socket that the config names, if no other was named.
    pub fn configured_socket(&self) -> Result<Option<PathBuf>, CliError> {
        if self.named_socket.is_some() {
            return Ok(None);
        }
        let socket = self.settings()?.daemon.socket.as_ref();
        socket
            .map(|path| self.expand(path).doing("find the daemon's socket"))
            .transpose()
    }

    /// Checks that a command about the state folder has one, where another user's daemon is meant.
    ///
    /// # Errors
    /// `usage` if it has none.
    pub fn own_folder(&self, doing: &str) -> Result<(), CliError> {
        match self.daemon_user() {
            Some(user) if !self.state.root().exists() => {
                let root = super::output::shown_path(self.state.root());
                let why = format!("there is no state folder {root}, and this looks at one");
                let user = super::output::shown(user);
                let hint = format!("it is for {user}, at the state folder of that daemon");
                Err(CliError::because(doing, Code::Usage, why).hint(hint))
            }
            _ => Ok(()),
        }
    }

    /// The socket that a daemon shall listen on.
    pub fn daemon_socket(&self) -> Result<PathBuf, CliError> {
        Ok(self.configured_socket()?.unwrap_or_else(|| self.socket()))
    }

    /// The state folder's own config: where the vault is and how it is opened. Another runtime's
    /// config, named by `--config`, has no say in that. Read when it is first needed.
    pub fn settings(&self) -> Result<&Config, CliError> {
        if let Some(config) = self.settings.get() {
            return Ok(config);
        }
        let config = super::state_files::config_at(&self.state.config(), Trust::Own);
        let config = config.doing("read the config")?.unwrap_or_default();
        Ok(self.settings.get_or_init(|| config))
    }

    /// A path of the config, `~` expanded.
    pub fn expand(&self, path: &UserPath) -> Result<PathBuf, Failure> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        path.expand(home.as_deref()).ok_or_else(|| {
            let why = format!("{} starts with ~, but there is no home", path.as_str());
            Failure::new(Code::ConfigInvalid, why)
        })
    }

    /// Asks a yes/no question; without a terminal, says which option answers it.
    pub fn confirm(&self, doing: &str, question: &str, option: &str) -> Result<bool, CliError> {
        let refuse = |why: &str| {
            CliError::because(doing, Code::NoInput, why.to_owned())
                .hint(format!("give {option} to answer yes"))
        };
        if self.no_input {
            return Err(refuse("it must be confirmed, and --no-input was given"));
        }
        match tty::confirm(question, false) {
            Ok(answer) => Ok(answer),
            Err(PromptError::NoTerminal) => Err(refuse(
                "it must be confirmed, and there is no terminal to ask on",
            )),
            Err(error) => Err(error).doing(doing),
        }
    }
}
