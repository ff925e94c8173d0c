//! `reseal daemon`.

mod install;

use super::context::Context;
use super::error::{CliError, Doing, Done};
use super::lazy::Lazy;
use super::session::{self, UnlockArgs};
use super::vault::unlock::LimitArgs;
use crate::daemon::backend;
use crate::daemon::gate::{Book, Gate, load};
use crate::daemon::trail::Trail;
use crate::daemon::{self, Opened, Site, Stopped, Unlock};
use crate::error::Failure;
use crate::runtime::Runtime;
use crate::runtime::open_vault::{OpenOptions, OpenVault};
use crate::secret::SecretValue;
use crate::store::{Options, VaultFile};
use crate::vault::{Header, SubKeys};
use clap::{Args, Subcommand};
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
        let allow_network_fs = args.unlock.allow_network_fs;
        daemon::run_detached(site, |unlock, keys| {
            open_handed_over(context, allow_network_fs, unlock, keys)
        })
        .doing(doing)?
    } else {
        let settings = &context.settings()?.daemon;
        let mut limits = args.limits.unlock(settings.ttl, settings.idle);
        limits.strict = !limits.allow_degraded;
        daemon::run(site, &limits, || open_here(context, &args, &limits)).doing(doing)?
    };
    context.out.detail(match stopped {
        Stopped::Asked => "Locked: a client asked.",
        Stopped::Signal => "Locked: a signal came.",
        Stopped::Ttl => "Locked: the time is over.",
        Stopped::Idle => "Locked: nobody asked anything for too long.",
    });
    Ok(0)
}

/// Opens the vault with sub-keys from `vault unlock`; the root key never comes here.
fn open_handed_over(
    context: &Context,
    allow_network_fs: bool,
    unlock: &Unlock,
    keys: &SecretValue,
) -> Result<Opened, Failure> {
    let keys = SubKeys::from_secret(keys)?;
    let path = session::vault_path(context).map_err(|error| error.failure)?;
    let file = VaultFile::open(
        &path,
        Options {
            allow_network_fs,
            ..Options::default()
        },
    )?;
    let header = Header::parse(&file.read_header()?)?;
    header.verify_with(&keys)?;
    // The process that handed the keys over has checked the vault against the anchor already.
    let options = OpenOptions {
        authenticated: true,
        ..OpenOptions::default()
    };
    let vault = OpenVault::open(file, header, keys, &context.state.anchors(), &options)?;
    serve(context, vault, unlock)
}

/// Opens the vault with what the service manager or the options gave; the root key is dropped.
fn open_here(context: &Context, args: &DaemonArgs, limits: &Unlock) -> Result<Opened, Failure> {
    let opened = session::open(context, &args.unlock).map_err(CliError::into_reason)?;
    serve(context, opened.vault, limits)
}

fn serve(context: &Context, vault: OpenVault, unlock: &Unlock) -> Result<Opened, Failure> {
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
    let runtime = Runtime::new(context.state.clone(), context.config(), vault);
    let report = backend::activate(&runtime, unlock)?;
    Ok(Opened {
        backend: Arc::new(runtime),
        report,
        gate,
    })
}
