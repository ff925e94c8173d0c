//! `reseal token`.

use super::context::Context;
use super::error::{CliError, Doing, Done};
use super::lookup::Routed;
use super::older_accounts;
use super::profiles::{Profiles, ref_of};
use super::session::UnlockArgs;
use crate::error::{Code, Failure, Kind};
use crate::launch::Lookup;
use crate::name::RecordName;
use crate::profile::eligibility::check_key;
use crate::profile::header::header;
use crate::profile::order::split_pin;
use crate::profile::{Expiry, Profile, ProfileType};
use crate::reference::SecretRef;
use crate::runtime::service::{Reply, Request};
use crate::secret::SecretValue;
use crate::secret::json::{self, Part};
use crate::time::{UnixMs, parse_duration};
use clap::{ArgGroup, Args};
use std::io::IsTerminal;
use std::time::Duration;

/// Arguments of `token`.
#[derive(Args)]
#[command(group(ArgGroup::new("which").required(true).multiple(true)))]
pub struct TokenArgs {
    /// The profile, with a model before it if you like: MODEL@PROFILE
    #[arg(value_name = "PROFILE", group = "which", conflicts_with_all = ["provider", "model"])]
    profile: Option<String>,

    /// The first usable profile of this provider, in the effective order
    #[arg(long, value_name = "ID", group = "which")]
    provider: Option<String>,

    /// What this ref points at, in place of a profile: a daemon that serves others too has the
    /// profiles of its own agents only
    #[arg(long = "ref", value_name = "REF", group = "which")]
    #[arg(conflicts_with_all = ["profile", "provider", "model"])]
    reference: Option<String>,

    /// A model: PROVIDER/MODEL takes the first usable profile for it in the effective order,
    /// MODEL@PROFILE (such as opus@anthropic:work) the named one
    #[arg(long, value_name = "MODEL", group = "which")]
    model: Option<String>,

    /// How long the token must be valid: one of an account is refreshed, a static one refused
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl, default_value = "0s")]
    min_ttl: Duration,

    /// Print the token although stdout is a terminal
    #[arg(long)]
    reveal: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

const DOING: &str = "get a token";

/// Prints a credential of a provider.
pub(super) fn of_provider(
    context: &Context,
    provider: &str,
    reveal: bool,
    unlock: UnlockArgs,
) -> Done {
    let args = TokenArgs {
        profile: None,
        provider: Some(provider.to_owned()),
        model: None,
        reference: None,
        min_ttl: Duration::ZERO,
        reveal,
        unlock,
    };
    run(context, args)
}

/// Prints a credential.
pub fn run(context: &Context, args: TokenArgs) -> Done {
    if !args.reveal && std::io::stdout().is_terminal() {
        let why = "stdout is a terminal, where the token would be seen and kept";
        return Err(CliError::because(DOING, Code::InputInvalid, why)
            .hint("give --reveal to see it, or send it to a program through a pipe"));
    }
    let mut lookup = Routed::new(context, &args.unlock)?;
    if let Some(text) = &args.reference {
        return of_ref(context, text, &args, &mut lookup);
    }
    older_accounts::import(context, &mut lookup);
    let profiles = Profiles::read(context)?;
    let (candidates, by_order) = candidates(&profiles, &args).doing(DOING)?;
    let mut attempts = Vec::new();
    for profile in candidates {
        match resolve(profile, &profiles, &args, &mut lookup) {
            Ok(found) => {
                print(context, profile, &found)?;
                if by_order {
                    profiles.note_use(context, &[profile]);
                }
                return Ok(0);
            }
            // Absent or signed out: the next one may do. Broken: the person must know.
            Err(failure) if matches!(failure.kind(), Kind::Absent | Kind::SignIn) => {
                attempts.push(failure);
            }
            Err(failure) => return Err(CliError::new(DOING, failure)),
        }
    }
    if let [only] = attempts.as_slice() {
        return Err(CliError::new(DOING, only.clone()));
    }
    let tried: Vec<&str> = attempts
        .iter()
        .map(|failure| failure.message.as_str())
        .collect();
    let signed_out = attempts
        .iter()
        .all(|failure| failure.kind() == Kind::SignIn);
    let code = if signed_out {
        Code::OAuthSignIn
    } else {
        Code::ProfileIneligible
    };
    Err(CliError::because(DOING, code, tried.join("; ")))
}

/// Prints what a ref points at, as a token.
fn of_ref(context: &Context, text: &str, args: &TokenArgs, lookup: &mut Routed<'_>) -> Done {
    let config = lookup.config().doing("read the config")?.clone();
    let reference = SecretRef::parse_text(text, &config.defaults).doing("read the ref")?;
    // What is printed alone, however long it lives, is what the ref gives: one request, so that a
    // person who has to say yes is asked once.
    let is_plain = !context.out.json && args.min_ttl.is_zero();
    let account = match config.own_record(&reference) {
        Some(name) if !is_plain => account_token(&name, args, lookup).doing(DOING)?,
        _ => None,
    };
    let found = match account {
        Some(found) => found,
        None => Found {
            value: one(lookup, &reference).doing(DOING)?,
            expires_at: None,
            token_type: None,
        },
    };
    check_key(found.value.expose()).map_err(|reason| {
        let why = format!("{reference}: {} ({})", reason.text(), reason.as_str());
        CliError::because(DOING, Code::ProfileIneligible, why)
    })?;
    if !context.out.json {
        return context.out.secret(&found.value, true).map(|()| 0);
    }
    let expires = found.expires_at.map(|at| at.0.to_string());
    let document = json::object(&[
        ("ref", Part::Text(text)),
        ("token", Part::Secret("", &found.value)),
        (
            "expiresAt",
            Part::Json(expires.as_deref().unwrap_or("null")),
        ),
    ]);
    context.out.secret(&document, true)?;
    Ok(0)
}

fn one(lookup: &mut Routed<'_>, reference: &SecretRef) -> Result<SecretValue, Failure> {
    let value = lookup.resolve(std::slice::from_ref(reference))?.pop();
    value.unwrap_or_else(|| Err(Failure::new(Code::Bug, "no answer")))
}

/// A credential, and when it ends if that is known.
struct Found {
    value: SecretValue,
    expires_at: Option<UnixMs>,
    /// What stands before it in an `Authorization` header, as the server said.
    token_type: Option<String>,
}

/// The profiles to try, and whether the order of a provider chose them.
fn candidates<'a>(
    profiles: &'a Profiles,
    args: &TokenArgs,
) -> Result<(Vec<&'a Profile>, bool), Failure> {
    if let Some(text) = &args.profile {
        let (_, id) = profiles.named(text)?;
        return Ok((vec![profiles.usable(&id)?], false));
    }
    let provider = args.provider.as_deref();
    match &args.model {
        Some(model) => {
            let pinned = split_pin(model).1.is_some();
            Ok((profiles.for_model(provider, model)?, !pinned))
        }
        None => Ok((profiles.in_order(provider.unwrap_or_default(), None)?, true)),
    }
}

fn resolve(
    profile: &Profile,
    profiles: &Profiles,
    args: &TokenArgs,
    lookup: &mut Routed<'_>,
) -> Result<Found, Failure> {
    let reference = ref_of(profile)?;
    if profile.kind.profile_type() == ProfileType::OAuth
        && let Some(name) = profiles.config.own_record(reference)
        && let Some(found) = account_token(&name, args, lookup)?
    {
        return Ok(found);
    }
    let expires_at = match profile.kind.expires() {
        Expiry::At(at) => Some(at),
        Expiry::Never | Expiry::Invalid => None,
    };
    if let Some(at) = expires_at
        && profiles.now.until(at) < args.min_ttl
    {
        let why = format!(
            "{}: it expires {}",
            profile.id,
            super::when::date_and_time(at)
        );
        return Err(Failure::new(Code::ProfileIneligible, why));
    }
    let value = one(lookup, reference)?;
    check_key(value.expose()).map_err(|reason| {
        let why = format!("{}: {} ({})", profile.id, reason.text(), reason.as_str());
        Failure::new(Code::ProfileIneligible, why)
    })?;
    Ok(Found {
        value,
        expires_at,
        token_type: None,
    })
}

/// An access token of an account in the vault; `None` if the record holds no account.
fn account_token(
    name: &RecordName,
    args: &TokenArgs,
    lookup: &mut Routed<'_>,
) -> Result<Option<Found>, Failure> {
    let request = Request::Token {
        name: name.clone(),
        min_ttl_ms: u64::try_from(args.min_ttl.as_millis()).unwrap_or(u64::MAX),
        force: false,
    };
    let answer = match lookup.ask(request) {
        Err(failure) if failure.code == Code::RefInvalid => return Ok(None),
        other => other?,
    };
    let mut values = answer.secrets.into_iter();
    match (answer.reply, values.next()) {
        (Reply::Token(info), Some(value)) => Ok(Some(Found {
            value,
            expires_at: info.expires_at,
            token_type: Some(info.token_type),
        })),
        _ => Err(Failure::new(Code::Bug, "the answer is of the wrong kind")),
    }
}

fn print(context: &Context, profile: &Profile, found: &Found) -> Result<(), CliError> {
    let value = &found.value;
    if !context.out.json {
        return context.out.secret(value, true);
    }
    let expires = match found.expires_at {
        Some(at) => at.0.to_string(),
        None => "null".to_owned(),
    };
    let (name, prefix) = header(&profile.provider, profile.kind.profile_type());
    // Servers answer `bearer` and `Bearer`; the header's scheme is one of them in any case.
    let prefix = match found.token_type.as_deref() {
        Some(other) if !other.eq_ignore_ascii_case("bearer") => format!("{other} "),
        _ => prefix.to_owned(),
    };
    let header = [(name, Part::Secret(&prefix, value))];
    let document = json::object(&[
        ("profileId", Part::Text(profile.id.as_str())),
        ("type", Part::Text(profile.kind.profile_type().as_str())),
        ("token", Part::Secret("", value)),
        ("expiresAt", Part::Json(&expires)),
        ("headers", Part::Object(&header)),
    ]);
    context.out.secret(&document, true)
}
