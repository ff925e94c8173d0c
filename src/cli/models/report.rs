//! `reseal models report`: a runtime tells how a profile fared, so that others are tried.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::profiles::Profiles;
use crate::cli::{state_files, when};
use crate::error::Code;
use crate::name::ProfileId;
use crate::profile::Usage;
use crate::profile::cooldown::{Era, FailureReason, FailureReport};
use crate::profile::usage::never_cools;
use crate::time::{UnixMs, parse_duration};
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, ValueEnum};
use serde_json::{Map, json};
use std::time::Duration;

/// The longest name of a model.
const MAX_MODEL: usize = 512;

/// Arguments of `models report`.
///
/// A failure makes the profile cool down (30 s, 1 min, 5 min by the number of failures that were
/// counted), `billing` and `auth_permanent` disable it for longer (5 h doubling to 24 h, 10 min to
/// 60 min; `auth.cooldowns` in the config). A failure never moves the end of a window that is open.
/// --ok clears everything.
#[derive(Args)]
#[command(group(ArgGroup::new("outcome").required(true)))]
pub(super) struct ReportArgs {
    /// The profile that was used; PROVIDER/MODEL@PROFILE names the model too
    #[arg(value_name = "PROFILE")]
    profile: String,

    /// It worked
    #[arg(long, group = "outcome")]
    ok: bool,

    /// It failed, and why
    #[arg(long, value_name = "REASON", group = "outcome", value_parser = reasons())]
    failure: Option<String>,

    /// The model that was asked for: a rate limit or timeout then holds for it alone
    #[arg(long, value_name = "MODEL", conflicts_with = "ok")]
    model: Option<String>,

    /// How long the provider asks to wait: a duration, or seconds as in the Retry-After header
    #[arg(long, value_name = "DURATION", conflicts_with = "ok", value_parser = parse_wait)]
    retry_after: Option<Duration>,

    /// The numbers to go by: b is OpenClaw from 2026.4 on, a the one before (1, 5, 25, 60 min)
    #[arg(long, value_name = "ERA", conflicts_with = "ok", default_value = "b")]
    era: EraArg,
}

#[derive(Clone, Copy, ValueEnum)]
enum EraArg {
    A,
    B,
}

fn reasons() -> PossibleValuesParser {
    PossibleValuesParser::new(FailureReason::ALL.map(FailureReason::as_str))
}

fn parse_wait(text: &str) -> Result<Duration, String> {
    let seconds = text.trim().parse().map(Duration::from_secs);
    seconds.or_else(|_| parse_duration(text).map_err(|error| error.to_string()))
}

const DOING: &str = "note how the profile fared";

pub(super) fn run(context: &Context, args: &ReportArgs) -> Done {
    let mut profiles = Profiles::read(context)?;
    let (named_model, id) = profiles.named(&args.profile).doing(DOING)?;
    let model = args.model.clone().or(named_model);
    check_model(model.as_deref())?;
    let Some(profile) = profiles.store.get(&id) else {
        let why = format!("there is no profile {id} in {}", profiles.store.name());
        return Err(CliError::because(DOING, Code::ProfileAbsent, why));
    };
    let provider = profile.provider.clone();
    let reason = args.failure.as_deref().and_then(|name| {
        let mut reasons = FailureReason::ALL.into_iter();
        reasons.find(|reason| reason.as_str() == name)
    });
    let now = profiles.now;
    let rules = &profiles.config.cooldowns;
    let edit = state_files::edit_state(context, &context.agent, &profiles.store, |state| {
        let Some(reason) = reason else {
            return state.record_success(&provider, &id, now);
        };
        let report = FailureReport {
            reason,
            model: model.as_deref(),
            retry_after: args.retry_after,
            era: match args.era {
                EraArg::A => Era::A,
                EraArg::B => Era::B,
            },
        };
        state.record_failure(&provider, &id, &report, rules, now)
    });
    profiles.state = edit.doing(DOING)?;
    let usage = profiles.state.usage(&id).cloned().unwrap_or_default();
    tell(context, &id, &provider, args, &usage, now)?;
    Ok(0)
}

fn check_model(model: Option<&str>) -> Result<(), CliError> {
    if model.is_some_and(|model| {
        model.is_empty() || model.len() > MAX_MODEL || model.chars().any(char::is_control)
    }) {
        let why = format!("a model is a text of 1 to {MAX_MODEL} printable bytes");
        return Err(CliError::because(DOING, Code::InputInvalid, why));
    }
    Ok(())
}

fn tell(
    context: &Context,
    id: &ProfileId,
    provider: &str,
    args: &ReportArgs,
    usage: &Usage,
    now: UnixMs,
) -> Result<(), CliError> {
    let until = usage.unusable_until(provider, None, now);
    if context.out.json {
        let members = usage.members().into_iter();
        let members: Map<_, _> = members
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        let remaining = until.map(|until| u64::try_from(now.until(until).as_millis()));
        return context.out.document(&json!({
            "agentId": context.agent,
            "profileId": id,
            "provider": provider,
            "outcome": if args.ok { "ok" } else { "failure" },
            "reason": args.failure,
            "unusableUntil": until,
            "remainingMs": remaining.and_then(Result::ok),
            "usage": members,
        }));
    }
    let text = match until {
        None if args.ok => format!("{id}: worked; it may be used."),
        None if never_cools(provider) => format!("{id}: profiles of {provider} never cool down."),
        None => format!("{id}: it may be used."),
        Some(until) => {
            let verb = if usage.is_disabled(now) {
                "is disabled"
            } else {
                "cools down"
            };
            let only = usage
                .cooldown_model
                .as_deref()
                .filter(|_| !usage.is_disabled(now));
            let only = only.map_or(String::new(), |model| format!(" for {model}"));
            let only = crate::cli::output::shown(&only);
            let span = when::span(now.until(until));
            format!("{id}: {verb}{only} for another {span}.")
        }
    };
    context.out.say(&text);
    Ok(())
}
