//! `reseal vault unlock`.

use super::status;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::output::shown;
use crate::cli::secrets::resolve::{report_exit, tell_files};
use crate::cli::session::{self, UnlockArgs};
use crate::daemon::client::Client;
use crate::daemon::start::{Spawn, spawn_detached};
use crate::daemon::{DEFAULT_IDLE, DEFAULT_TTL, Unlock};
use crate::error::Code;
use crate::runtime::service::{RefOutcome, Report, SnapshotState};
use crate::secret::SecretValue;
use crate::time::parse_duration;
use clap::Args;
use std::ffi::OsString;
use std::time::Duration;

/// Arguments of `vault unlock`.
#[derive(Args)]
pub struct UnlockCommandArgs {
    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

/// How long the vault stays open, and what a failed ref means.
#[derive(Args, Clone, Debug, Default)]
pub struct LimitArgs {
    /// Lock after this time whatever happens (such as 12h), or "none" [default: 12h]
    #[arg(long, value_name = "DURATION", value_parser = parse_limit)]
    pub ttl: Option<Limit>,

    /// Lock when nobody asks anything for this time, or "none" [default: 15m]
    #[arg(long, value_name = "DURATION", value_parser = parse_limit)]
    pub idle: Option<Limit>,

    /// Fail if a required ref does not resolve
    #[arg(long)]
    pub strict: bool,

    /// Start without the owners of refs that do not resolve
    #[arg(long)]
    pub allow_degraded: bool,
}

/// A limit in time, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(Option<Duration>);

fn parse_limit(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    match parse_duration(text) {
        Ok(duration) if duration.is_zero() => Err("it must be longer than nothing".to_owned()),
        Ok(duration) => Ok(Limit(Some(duration))),
        Err(error) => Err(error.to_string()),
    }
}

impl LimitArgs {
    /// The limits for the daemon; `ttl` and `idle` are the defaults.
    pub fn unlock(&self, ttl: Option<Duration>, idle: Option<Duration>) -> Unlock {
        let ms = |limit: Option<Limit>, default: Option<Duration>| {
            let limit = limit.map_or(default, |limit| limit.0);
            limit.map_or(0, |limit| {
                u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)
            })
        };
        Unlock {
            ttl_ms: ms(self.ttl, ttl),
            idle_ms: ms(self.idle, idle),
            strict: self.strict,
            allow_degraded: self.allow_degraded,
        }
    }
}

const DOING: &str = "unlock the vault";

/// Opens the vault and hands its sub-keys to a daemon.
pub fn run(context: &Context, args: UnlockCommandArgs) -> Done {
    session::refuse_only_reading(&args.unlock, DOING)?;
    let settings = &context.settings()?.vault;
    let ttl = settings.ttl.unwrap_or(DEFAULT_TTL);
    let limits = args
        .limits
        .unlock(Some(ttl), Some(settings.idle.unwrap_or(DEFAULT_IDLE)));
    let opened = session::open(context, &args.unlock)?;
    let keys = opened.vault.vault().keys().to_secret();
    // The daemon takes the writer's side of this vault: nothing here may still hold it.
    drop(opened);
    let flags = args.unlock.allow_network_fs;
    let report = hand_over(context, &limits, &keys, flags)?;
    let status = status::read(context, flags)?;
    let memory = status.daemon.as_ref().and_then(|daemon| daemon.memory);
    if let Some((text, _)) = memory.and_then(|memory| memory.warning()) {
        context.out.warn(&format!("of the daemon: {text}"));
    }
    if context.out.json {
        context.out.document(&status)?;
    } else {
        tell(context, &report);
    }
    Ok(if args.limits.strict {
        report_exit(&report)
    } else {
        0
    })
}

/// Gives the sub-keys to the daemon that runs, or starts one.
pub fn hand_over(
    context: &Context,
    limits: &Unlock,
    keys: &SecretValue,
    allow_network_fs: bool,
) -> Result<Report, CliError> {
    if let Some(mut client) = session::daemon(context)? {
        return client.unlock(limits, keys).doing(DOING);
    }
    let args = daemon_args(context, allow_network_fs)?;
    let spawned = spawn_detached(&Spawn {
        args: &args,
        unlock: limits,
        keys,
    });
    match spawned {
        Err(failure) if failure.code == Code::DaemonRunning => {
            let client: Option<Client> = session::daemon(context)?;
            match client {
                Some(mut client) => client.unlock(limits, keys).doing(DOING),
                None => Err(CliError::new(DOING, failure)),
            }
        }
        other => other.doing(DOING),
    }
}

/// Everything that the daemon must be told, for it gets no environment to find it in.
fn daemon_args(context: &Context, allow_network_fs: bool) -> Result<Vec<OsString>, CliError> {
    let mut args: Vec<OsString> = vec![
        "--state-dir".into(),
        context.state.root().into(),
        "--socket".into(),
        context.daemon_socket()?.into(),
    ];
    if let Some(config) = &context.named_config {
        let path = std::path::absolute(config).unwrap_or_else(|_| config.clone());
        args.extend(["--config".into(), path.into_os_string()]);
    }
    args.extend(["daemon".into(), "--detached".into()]);
    if allow_network_fs {
        args.push("--allow-network-fs".into());
    }
    Ok(args)
}

/// Says what the activation found.
pub fn tell(context: &Context, report: &Report) {
    let counts = status::counts(report.snapshot.places, report.snapshot.refs);
    context
        .out
        .say(&format!("Unlocked. {counts} in the snapshot."));
    tell_files(context, report);
    for entry in &report.refs {
        if matches!(entry.outcome, RefOutcome::Error | RefOutcome::Plaintext) {
            let why = entry
                .failure
                .as_ref()
                .map_or("", |failure| failure.message.as_str());
            context.out.warn(&shown(&format!("{}: {why}", entry.owner)));
        }
    }
    if report.snapshot.state == SnapshotState::Failed {
        context.out.warn(
            "the vault is open, but a required ref did not resolve, so there is no snapshot; \
             `reseal secrets resolve` shows all refs",
        );
    }
}
