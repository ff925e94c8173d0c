//! `reseal models status`: how every credential stands, without asking anything and without any
//! part of a secret.
//!
//! | what | where |
//! | --- | --- |
//! | [`Overview`]: what is known, gathered once | [`overview`] |
//! | the `--json` document, with the OpenClaw family's members | [`document`] |
//! | the table and `--plain` | [`view`] |
//! | `--probe` | [`probe`] |

mod document;
mod overview;
mod probe;
mod view;

use crate::cli::context::Context;
use crate::cli::error::{CliError, Done};
use crate::cli::session::UnlockArgs;
use crate::error::{Code, Kind};
use crate::profile::health::Status;
use clap::Args;
use overview::Overview;
use probe::ProbeArgs;

/// Arguments of `models status`.
///
/// Nothing is asked of a person. What a locked vault knows of an OAuth account is shown as unknown;
/// unlock it, or say how to open it.
#[derive(Args)]
pub(super) struct StatusArgs {
    /// One line a profile for scripts, fields separated by tabs: profile, type, status, reason,
    /// expiry and end of a cooldown (Unix milliseconds), place in the order, ref
    #[arg(long)]
    plain: bool,

    /// Exit 1 if a provider in use is expired or missing, 2 if it expires within 24 hours, 4 if a
    /// locked vault keeps that from being known
    #[arg(long)]
    check: bool,

    #[command(flatten)]
    probe: ProbeArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "look at the credentials";

pub(super) fn run(context: &Context, args: &StatusArgs) -> Done {
    let other = [(context.out.json, "--json"), (args.probe.probe, "--probe")];
    if let Some((_, other)) = other.iter().find(|(given, _)| args.plain && *given) {
        let why = format!("--plain and {other} exclude each other");
        return Err(CliError::because(DOING, Code::Usage, why));
    }
    let overview = Overview::read(context, &args.unlock)?;
    let probes = match args.probe.probe {
        true => Some(probe::run(context, &overview, &args.probe, &args.unlock)?),
        false => None,
    };
    if context.out.json {
        let document = document::document(context, &overview, probes.as_ref());
        context.out.document(&document)?;
    } else if args.plain {
        view::plain(context, &overview)?;
    } else {
        view::table(context, &overview)?;
        if let Some(probes) = probes {
            probes.table(context)?;
        }
    }
    Ok(if args.check { verdict(&overview) } else { 0 })
}

/// The exit code of `--check`: the worst of the providers in use.
fn verdict(overview: &Overview) -> u8 {
    let mut code = 0;
    for provider in overview.providers.iter().filter(|p| p.in_use) {
        let has_other = provider.env.is_some() || provider.has_config_key();
        match provider.status {
            Status::Expired | Status::Missing if !has_other => return 1,
            Status::Unknown => code = Kind::Sealed.exit_code(),
            Status::Expiring if code == 0 => code = 2,
            Status::Expired | Status::Missing => {}
            Status::Static | Status::Ok | Status::Expiring => {}
        }
    }
    code
}
