//! `reseal daemon`.

mod install;

use super::context::Context;
use super::error::{CliError, Doing, Done};
use super::lazy::Lazy;
use super::session::{self, UnlockArgs};
use super::vault::unlock::LimitArgs;
use crate::daemon::confirm::Asker;
use crate::daemon::gate::{Book, Gate, load};
use crate::daemon::opener::Opener;
use crate::daemon::sandbox::{self, Needs};
use crate::daemon::trail::Trail;
use crate::daemon::{self, Opened, Sandboxed, Site, Stopped, Unlock, backend, broker};
use crate::error::{Code, Failure};
use crate::runtime::Runtime;
use crate::runtime::ground::{read_config, trust_of};
use crate::runtime::open_vault::{OpenOptions, OpenVault};
use crate::secret::SecretValue;
use crate::store::{Options, StateDir, VaultFile};
use crate::sys::fds::close_all_but;
use crate::vault::{Header, SubKeys};
use clap::{Args, Subcommand};
use std::path::Path;
use std::sync::Arc;

/// Arguments of `daemon`.
///
/// Runs in the foreground, for a service manager: Type=notify and socket activation work. It is
/// strict: a required ref that does not resolve stops the start. There is no time limit unless one
/// is given.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(mut_arg("ttl", |arg| arg.help("Lock after this time whatever happens (such as 12h), or \
    \"none\" [default: daemon.ttlMs of the config, else none]")))]
#[command(mut_arg("idle", |arg| arg.help("Lock when nobody asks anything for this time, or \
    \"none\" [default: daemon.idleMs of the config, else none]")))]
pub struct DaemonArgs {
    #[command(subcommand)]
    command: Option<DaemonCommand>,

    #[command(flatten)]
    limits: LimitArgs,

    /// Started by `vault unlock`, which hands the keys over
    #[arg(long, hide = true)]
    detached: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Subcommand)]
enum DaemonCommand {
    /// Write the units with which systemd starts the daemon, for the machine or for a user
    Install(Lazy<install::InstallArgs>),
}

impl DaemonArgs {
    /// True if this is the resident process, and no command about it.
    pub fn serves(&self) -> bool {
        self.command.is_none()
    }
}

/// Runs the daemon until it locks.
pub fn run(context: &Context, args: DaemonArgs) -> Done {
    if let Some(DaemonCommand::Install(args)) = &args.command {
        return install::run(context, &args.0);
    }
    let doing = "run the daemon";
    let socket = context.daemon_socket()?;
    let site = Site {
        socket: &socket,
        share: context.settings()?.daemon.share,
    };
    let stopped = if args.detached {
        let sandbox = || enter_sandbox(context, site, start_broker(context)?);
        daemon::run_detached(site, sandbox, |sandboxed, unlock, keys| {
            open_handed_over(context, &args.unlock, sandboxed, unlock, keys)
        })
        .doing(doing)?
    } else {
        let settings = &context.settings()?.daemon;
        let mut limits = args.limits.unlock(settings.ttl, settings.idle);
        limits.strict = !limits.allow_degraded;
        run_here(context, site, &args.unlock, &limits).doing(doing)?
    };
    context.out.detail(match stopped {
        Stopped::Asked => "Locked: a client asked.",
        Stopped::Signal => "Locked: a signal came.",
        Stopped::Ttl => "Locked: the time is over.",
        Stopped::Idle => "Locked: nobody asked anything for too long.",
    });
    Ok(0)
}

/// In the foreground: what the service manager or the options gave, and what a person types, opens
/// the vault in a process of its own.
fn run_here(
    context: &Context,
    site: Site<'_>,
    how: &UnlockArgs,
    limits: &Unlock,
) -> Result<Stopped, Failure> {
    let opener = Opener::start(|| {
        let opened = session::open(context, how).map_err(CliError::into_reason)?;
        Ok(opened.vault.vault().keys().to_secret())
    })?;
    close_inherited(&opener)?;
    let broker = start_broker(context)?;
    daemon::run(site, limits, || {
        let sandboxed = enter_sandbox(context, site, broker)?;
        let keys = opener.keys()?;
        open_handed_over(context, how, sandboxed, limits, &keys)
    })
}

/// The broker works in `/`, so paths are made absolute here.
fn start_broker(context: &Context) -> Result<broker::Client, Failure> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    broker::start(broker::Surroundings {
        state: StateDir::at(absolute(context.state.root())),
        config: absolute(&context.config()),
    })
}

/// Closes what was meant for the opener, such as the descriptor with the passphrase.
fn close_inherited(opener: &Opener) -> Result<(), Failure> {
    let mut keep = opener.descriptors().to_vec();
    keep.extend(daemon::manager::passed_descriptor(|name| {
        std::env::var_os(name)
    }));
    close_all_but(&keep).map_err(|error| {
        let text = format!("inherited descriptors could not be closed: {error}");
        Failure::new(Code::DaemonUnavailable, text)
    })
}

/// Gives up what only the broker needs from here on. A config that can't be understood names
/// nothing; the activation tells why.
fn enter_sandbox(
    context: &Context,
    site: Site<'_>,
    broker: broker::Client,
) -> Result<Sandboxed, Failure> {
    let config = read_config(
        &context.config(),
        trust_of(&context.state, &context.config()),
    );
    let vault = session::vault_path(context).map_err(|error| error.failure)?;
    let given_up = sandbox::enter(&Needs {
        state: &context.state,
        vault: &vault,
        socket: site.socket,
        share: site.share,
        config: &config.unwrap_or_default(),
    })?;
    Ok(Sandboxed {
        given_up,
        broker: Arc::new(broker),
    })
}

/// Opens the vault with sub-keys from another process, which has checked the vault against the
/// anchor already; the root key never comes here.
fn open_handed_over(
    context: &Context,
    how: &UnlockArgs,
    sandboxed: Sandboxed,
    unlock: &Unlock,
    keys: &SecretValue,
) -> Result<Opened, Failure> {
    let keys = SubKeys::from_secret(keys)?;
    let settings = &context.settings().map_err(|error| error.failure)?.vault;
    let path = session::vault_path(context).map_err(|error| error.failure)?;
    let file = VaultFile::open(
        &path,
        Options {
            allow_network_fs: how.allow_network_fs || settings.allow_network_fs,
            ..Options::default()
        },
    )?;
    let header = Header::parse(&file.read_header()?)?;
    header.verify_with(&keys)?;
    let options = OpenOptions {
        authenticated: true,
        accept_rollback: how.accept_rollback,
        ..OpenOptions::default()
    };
    let vault = OpenVault::open(file, header, keys, &context.state.anchors(), &options)?;
    let broker: Arc<broker::Client> = Arc::clone(&sandboxed.broker);
    let gate = gate(context, &vault).asking(Arc::clone(&broker) as Arc<dyn Asker>);
    let runtime = Runtime::new(context.state.clone(), context.config(), vault);
    let runtime = runtime.outside(Some(broker));
    let report = backend::activate(&runtime, unlock)?;
    Ok(Opened {
        backend: Arc::new(runtime),
        report,
        gate,
        sandbox: Some(sandboxed),
    })
}

/// Who may ask for what, and where each decision is written down.
fn gate(context: &Context, vault: &OpenVault) -> Gate {
    let trail = Trail::open(&context.state.audit(), vault.vault().keys());
    if let Err(error) = &trail {
        let why = super::output::shown(&Failure::of(error).message);
        let text = format!("{why}: nobody but your own user and root will be answered");
        context.out.warn(&text);
    }
    let config = context.state.config();
    let book = Book::of(trail);
    let (gate, failure) = Gate::new(load::from_config(config.clone()), Some(config), book);
    if let Some(failure) = failure {
        let why = super::output::shown(&failure.message);
        let text = format!("the grants can't be read, nothing is granted: {why}");
        context.out.warn(&text);
    }
    gate
}
