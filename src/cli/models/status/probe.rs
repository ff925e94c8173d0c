//! `models status --probe`: asks the providers whether they take the credentials.

use super::overview::{Overview, ProfileView, ProviderView};
use super::view::label_of;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing};
use crate::cli::lookup::Routed;
use crate::cli::output::{Tone, shown};
use crate::cli::session::UnlockArgs;
use crate::cli::table::{Table, cell};
use crate::config::Trust;
use crate::config::models::base_url;
use crate::error::{Code, Failure};
use crate::launch::Lookup;
use crate::name::{Alias, ProfileId};
use crate::net::http::{CONNECT_LIMIT, Client, Policy};
use crate::profile::eligibility::check_key;
use crate::profile::order::Basis;
use crate::profile::{ProfileType, Reason, normal_provider};
use crate::reference::{SecretRef, Source};
use crate::runtime::ground::trust_of;
use crate::runtime::probe::{
    Api, DEFAULT_TIMEOUT, Finding, MAX_CONCURRENCY, MAX_TIMEOUT, ProbeStatus, Target, probe_all,
};
use crate::secret::SecretValue;
use crate::sys::clock;
use crate::time::UnixMs;
use clap::Args;
use serde_json::{Value, json};
use std::time::Duration;

#[derive(Args)]
pub struct ProbeArgs {
    /// Ask each provider's API whether it takes the credential: a real request that lists models
    /// or the account, generates nothing and costs nothing
    #[arg(long)]
    pub probe: bool,

    /// Only this provider
    #[arg(long, value_name = "ID", requires = "probe")]
    probe_provider: Option<String>,

    /// Only these profiles, separated by commas; may be given more than once
    #[arg(
        long,
        value_name = "PROFILE",
        value_delimiter = ',',
        requires = "probe"
    )]
    probe_profile: Vec<ProfileId>,

    /// How long one request may take, in milliseconds [default: 8000]
    #[arg(long, value_name = "MS", requires = "probe", value_parser = timeouts())]
    probe_timeout: Option<u64>,

    /// How many requests run at once [default: 2]
    #[arg(long, value_name = "N", requires = "probe", value_parser = concurrencies())]
    probe_concurrency: Option<u64>,

    /// Accepted for scripts of other runtimes; nothing is generated
    #[arg(long, value_name = "N", requires = "probe", hide = true)]
    probe_max_tokens: Option<u32>,
}

fn timeouts() -> clap::builder::RangedU64ValueParser<u64> {
    let most = u64::try_from(MAX_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    clap::value_parser!(u64).range(1..=most)
}

fn concurrencies() -> clap::builder::RangedU64ValueParser<u64> {
    clap::value_parser!(u64).range(1..=MAX_CONCURRENCY as u64)
}

const DOING: &str = "ask the providers";
const DEFAULT_CONCURRENCY: u64 = 2;
/// What the family answers for a number of tokens that nobody named.
const DEFAULT_MAX_TOKENS: u32 = 8;

/// What came of a probe.
pub struct Probes {
    started: UnixMs,
    finished: UnixMs,
    options: Value,
    results: Vec<Probed>,
}

/// One credential.
struct Probed {
    provider: String,
    profile: Option<ProfileId>,
    label: String,
    source: &'static str,
    mode: ProfileType,
    finding: Finding,
    reason: Option<&'static str>,
}

/// A credential to ask about, or why it is not.
struct Candidate {
    probed: Probed,
    reference: Option<SecretRef>,
    api: Option<Api>,
}

/// Asks about what the options choose.
pub fn run(
    context: &Context,
    overview: &Overview,
    args: &ProbeArgs,
    unlock: &UnlockArgs,
) -> Result<Probes, CliError> {
    let started = clock::now();
    let mut candidates = candidates(context, overview, args)?;
    resolve(context, overview, unlock, &mut candidates)?;
    let timeout = args.probe_timeout.map(Duration::from_millis);
    let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
    let concurrency = args.probe_concurrency.unwrap_or(DEFAULT_CONCURRENCY);
    let mut chosen = Vec::new();
    let mut targets = Vec::new();
    let mut results = Vec::new();
    for (candidate, value) in candidates {
        if let (Some(api), Some(credential)) = (candidate.api, value) {
            chosen.push(results.len());
            targets.push(Target {
                api,
                profile_type: candidate.probed.mode,
                credential,
            });
        }
        results.push(candidate.probed);
    }
    let client = Client::new(&Policy {
        connect: CONNECT_LIMIT.min(timeout),
        total: timeout,
        ..Policy::default()
    });
    if !targets.is_empty() {
        let plural = if targets.len() == 1 { "" } else { "s" };
        let text = format!("Asking about {} credential{plural} ...", targets.len());
        context.out.progress(&text);
    }
    let workers = usize::try_from(concurrency).unwrap_or(MAX_CONCURRENCY);
    for (index, finding) in chosen
        .into_iter()
        .zip(probe_all(&client, &targets, workers))
    {
        results[index].finding = finding;
        results[index].reason = None;
    }
    Ok(Probes {
        started,
        finished: clock::now(),
        options: json!({
            "provider": args.probe_provider.as_deref().map(normal_provider),
            "profileIds": args.probe_profile,
            "timeoutMs": timeout.as_millis(),
            "concurrency": concurrency,
            "maxTokens": args.probe_max_tokens.unwrap_or(DEFAULT_MAX_TOKENS),
        }),
        results,
    })
}

/// Every credential that the options choose.
fn candidates(
    context: &Context,
    overview: &Overview,
    args: &ProbeArgs,
) -> Result<Vec<(Candidate, Option<SecretValue>)>, CliError> {
    for id in &args.probe_profile {
        if overview.profiles.store.get(id).is_none() {
            let why = format!("there is no profile {id}");
            return Err(CliError::because(DOING, Code::ProfileAbsent, why));
        }
    }
    let wanted = args.probe_provider.as_deref().map(normal_provider);
    // A project's config must not have the user's credentials sent anywhere.
    let is_own = trust_of(&context.state, &context.config()) == Trust::Own;
    let mut candidates = Vec::new();
    for provider in &overview.providers {
        if wanted.as_ref().is_some_and(|wanted| *wanted != provider.id) {
            continue;
        }
        let base = base_url(&overview.config, &provider.id).filter(|_| is_own);
        let api = Api::of(&provider.id, base).map_err(|error| {
            Failure::new(
                Code::ConfigInvalid,
                format!("models.providers.{}.baseUrl {error}", provider.id),
            )
        });
        let api = api.doing(DOING)?;
        for view in &provider.profiles {
            let id = &view.profile.id;
            if args.probe_profile.is_empty() || args.probe_profile.contains(id) {
                candidates.push((of_profile(provider, view, api.clone()), None));
            }
        }
        if provider.profiles.is_empty() && args.probe_profile.is_empty() {
            candidates.extend(of_variable(provider, api).map(|candidate| (candidate, None)));
        }
    }
    Ok(candidates)
}

fn of_profile(provider: &ProviderView, view: &ProfileView, api: Option<Api>) -> Candidate {
    let reason = why_not(provider, view).or(api.is_none().then_some("no_model"));
    let probed = Probed {
        provider: provider.id.clone(),
        profile: Some(view.profile.id.clone()),
        label: label_of(&view.profile),
        source: "profile",
        mode: view.profile.kind.profile_type(),
        finding: not_asked(reason),
        reason,
    };
    let reference = view.profile.kind.credential().reference();
    Candidate {
        probed,
        reference: reference.filter(|_| reason.is_none()).cloned(),
        api,
    }
}

/// A provider that has a variable and no profile.
fn of_variable(provider: &ProviderView, api: Option<Api>) -> Option<Candidate> {
    let name = provider.env.as_ref()?;
    let reference = SecretRef::new(Source::Env, Alias::default_alias(), name).ok()?;
    let mode = match name.contains("OAUTH") {
        true => ProfileType::Token,
        false => ProfileType::ApiKey,
    };
    let reason = api.is_none().then_some("no_model");
    Some(Candidate {
        probed: Probed {
            provider: provider.id.clone(),
            profile: None,
            label: format!("env: {name}"),
            source: "env",
            mode,
            finding: not_asked(reason),
            reason,
        },
        reference: Some(reference).filter(|_| reason.is_none()),
        api,
    })
}

/// The family's reason why a profile is not asked about.
fn why_not(provider: &ProviderView, view: &ProfileView) -> Option<&'static str> {
    const KNOWN: [Reason; 4] = [
        Reason::MissingCredential,
        Reason::Expired,
        Reason::InvalidExpires,
        Reason::UnresolvedRef,
    ];
    if let Some(reason) = view.verdict {
        let known = KNOWN.contains(&reason);
        return Some(if known {
            reason.as_str()
        } else {
            "ineligible_profile"
        });
    }
    let is_explicit = matches!(provider.order.basis, Basis::Stored | Basis::Config);
    (view.place.is_none() && is_explicit).then_some("excluded_by_auth_order")
}

fn not_asked(reason: Option<&'static str>) -> Finding {
    let (status, error) = match reason {
        Some("no_model") => (
            ProbeStatus::NoModel,
            "no API to ask is known; name it in models.providers.<id>.baseUrl".to_owned(),
        ),
        reason => (
            ProbeStatus::Unknown,
            auth_error(reason.unwrap_or("unresolved_ref"), ""),
        ),
    };
    Finding {
        status,
        latency: Duration::ZERO,
        error: Some(error),
    }
}

/// The family's text: its first line is stable.
fn auth_error(code: &str, detail: &str) -> String {
    let detail = match (detail, code) {
        ("", "excluded_by_auth_order") => "the order leaves the profile out",
        ("", "missing_credential") => "the profile holds no credential",
        ("", "expired") => "the credential has expired",
        ("", "invalid_expires") => "its expiry is not a time",
        ("", "unresolved_ref") => "its ref does not resolve",
        ("", _) => "the profile can't be used",
        (detail, _) => detail,
    };
    let first = "Auth profile credentials are missing or expired.";
    format!("{first}\n↳ Auth reason [{code}]: {detail}")
}

/// Resolves what is to be asked about. Asks nothing of a person: what needs a vault that nobody
/// opens is left out.
fn resolve(
    context: &Context,
    overview: &Overview,
    unlock: &UnlockArgs,
    candidates: &mut [(Candidate, Option<SecretValue>)],
) -> Result<(), CliError> {
    let mut lookup = Routed::new(context, unlock)?;
    for (candidate, value) in candidates {
        let Some(reference) = candidate.reference.clone() else {
            continue;
        };
        let outcome = if reference.source() == Source::Env || overview.can_open {
            let mut outcomes = lookup
                .resolve(std::slice::from_ref(&reference))
                .doing(DOING)?;
            outcomes.pop()
        } else {
            Some(Err(Failure::new(Code::VaultSealed, "the vault is locked")))
        };
        let missing = || Err(Failure::new(Code::Bug, "no answer"));
        let checked = outcome.unwrap_or_else(missing).and_then(|found| {
            let malformed = |reason: Reason| Failure::new(Code::ProfileIneligible, reason.text());
            check_key(found.expose()).map_err(malformed)?;
            Ok(found)
        });
        match checked {
            Ok(found) => *value = Some(found),
            Err(failure) => {
                candidate.probed.reason = Some("unresolved_ref");
                let error = auth_error("unresolved_ref", &failure.message);
                candidate.probed.finding.error = Some(error);
            }
        }
    }
    Ok(())
}

impl Probes {
    /// `auth.probes` of the document.
    pub fn document(&self, model: impl Fn(&str) -> Option<String>) -> Value {
        let duration = self.started.until(self.finished);
        let result = |probed: &Probed| {
            let mut result = json!({
                "provider": probed.provider,
                "model": model(&probed.provider),
                "profileId": probed.profile,
                "label": probed.label,
                "source": probed.source,
                "mode": probed.mode.as_str(),
                "status": probed.finding.status.as_str(),
                "latencyMs": probed.finding.latency.as_millis(),
            });
            if let Some(error) = &probed.finding.error {
                result["error"] = error.as_str().into();
            }
            if let Some(reason) = probed.reason {
                result["reasonCode"] = reason.into();
            }
            result
        };
        json!({
            "startedAt": self.started,
            "finishedAt": self.finished,
            "durationMs": duration.as_millis(),
            "totalTargets": self.results.len(),
            "options": self.options,
            "results": self.results.iter().map(result).collect::<Vec<_>>(),
        })
    }

    /// A table for people.
    pub fn table(&self, context: &Context) -> Result<(), CliError> {
        if self.results.is_empty() {
            context.out.say("There is no credential to ask about.");
            return Ok(());
        }
        let mut table = Table::new(vec!["ASKED", "ANSWER", "TIME", "WHY"], 3);
        for probed in &self.results {
            let status = probed.finding.status;
            let tone = match status {
                ProbeStatus::Ok => Tone::Good,
                ProbeStatus::NoModel | ProbeStatus::RateLimit => Tone::Warning,
                _ => Tone::Bad,
            };
            let time = match probed.finding.latency {
                Duration::ZERO => String::new(),
                latency => format!("{} ms", latency.as_millis()),
            };
            let word = probed.reason.unwrap_or(status.as_str()).replace('_', " ");
            let why = probed.finding.error.as_deref().unwrap_or_default();
            let why = why.rsplit("]: ").next().unwrap_or_default();
            let id = probed.profile.as_ref().map(ProfileId::to_string);
            table.row(vec![
                id.unwrap_or_else(|| probed.label.clone()).into(),
                cell(word, tone),
                time.into(),
                shown(why).into(),
            ]);
        }
        context.out.data("")?;
        table.print(&context.out)
    }
}
