//! `reseal models auth paste-api-key`, `paste-token` and `setup-token`.
//!
//! The value is checked, sealed into the vault, and only then does the profile point at it.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::input::ValueArgs;
use crate::cli::output::shown_path;
use crate::cli::point;
use crate::cli::secrets::set::{self, Record, parse_expiry};
use crate::cli::session::{self, UnlockArgs};
use crate::cli::state_files;
use crate::error::{Code, Failure};
use crate::name::{ProfileId, RecordName};
use crate::oauth::provider::FlowKind;
use crate::profile::eligibility::check_key;
use crate::profile::{ProfileType, normal_provider, setup_token};
use crate::reference::SecretRef;
use crate::secret::SecretValue;
use crate::sys::clock;
use crate::time::UnixMs;
use crate::vault::{Expect, Meta, RecordKind};
use clap::Args;

#[derive(Args)]
pub(super) struct ApiKeyArgs {
    /// The provider, such as openai
    #[arg(long, value_name = "ID")]
    provider: String,

    /// The profile [default: PROVIDER:manual]
    #[arg(long, value_name = "PROFILE")]
    profile_id: Option<ProfileId>,

    #[command(flatten)]
    value: ValueArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Args)]
pub(super) struct TokenArgs {
    /// The provider, such as anthropic
    #[arg(long, value_name = "ID")]
    provider: String,

    /// The profile [default: PROVIDER:manual]
    #[arg(long, value_name = "PROFILE")]
    profile_id: Option<ProfileId>,

    /// How long the token is valid from now: a duration (365d, 12h) or a date
    #[arg(long, value_name = "WHEN")]
    expires_in: Option<String>,

    #[command(flatten)]
    value: ValueArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Args)]
pub(super) struct SetupTokenArgs {
    /// The provider
    #[arg(long, value_name = "ID", default_value = "anthropic")]
    provider: String,

    /// What to call the profile: PROVIDER:NAME [default: PROVIDER:manual]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The profile, instead of --name
    #[arg(long, value_name = "PROFILE", conflicts_with = "name")]
    profile_id: Option<ProfileId>,

    /// When the token stops being valid: a duration from now or a date [default: 365d]
    #[arg(long, value_name = "WHEN")]
    expires_in: Option<String>,

    #[command(flatten)]
    value: ValueArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

/// What was chosen by answering questions, or by naming a provider without a sign-in.
pub(in crate::cli) struct Chosen {
    pub provider: String,
    pub id: Option<ProfileId>,
    pub value: ValueArgs,
    pub unlock: UnlockArgs,
}

impl From<Chosen> for ApiKeyArgs {
    fn from(chosen: Chosen) -> Self {
        Self {
            provider: chosen.provider,
            profile_id: chosen.id,
            value: chosen.value,
            unlock: chosen.unlock,
        }
    }
}

impl From<Chosen> for TokenArgs {
    fn from(chosen: Chosen) -> Self {
        Self {
            provider: chosen.provider,
            profile_id: chosen.id,
            expires_in: None,
            value: chosen.value,
            unlock: chosen.unlock,
        }
    }
}

impl From<Chosen> for SetupTokenArgs {
    fn from(chosen: Chosen) -> Self {
        Self {
            provider: chosen.provider,
            name: None,
            profile_id: chosen.id,
            expires_in: None,
            value: chosen.value,
            unlock: chosen.unlock,
        }
    }
}

/// Takes a value that the person has already, where a provider has no sign-in: it comes as with the
/// commands of their own.
pub(in crate::cli) fn take(context: &Context, flow: FlowKind, chosen: Chosen) -> Done {
    match flow {
        FlowKind::ApiKey => api_key(context, &chosen.into()),
        FlowKind::SetupToken => setup_token(context, &chosen.into()),
        FlowKind::Paste | FlowKind::Pkce | FlowKind::Device => token(context, &chosen.into()),
    }
}

const DOING: &str = "store the credential";
/// The name of a profile whose credential was pasted.
const DEFAULT_NAME: &str = "manual";

pub(super) fn api_key(context: &Context, args: &ApiKeyArgs) -> Done {
    let id = profile_id(&args.provider, None, args.profile_id.as_ref())?;
    state_files::check_agent(context, &context.agent).doing(DOING)?;
    let value = args
        .value
        .read(context, &format!("API key for {id} (hidden): "))?;
    let new = New {
        id,
        value: trimmed(&value)?,
        profile_type: ProfileType::ApiKey,
        expires: None,
    };
    store(context, new, &args.unlock)
}

pub(super) fn token(context: &Context, args: &TokenArgs) -> Done {
    let id = profile_id(&args.provider, None, args.profile_id.as_ref())?;
    let expires = expiry(args.expires_in.as_deref())?;
    state_files::check_agent(context, &context.agent).doing(DOING)?;
    let value = args
        .value
        .read(context, &format!("Token for {id} (hidden): "))?;
    let new = New {
        id,
        value: trimmed(&value)?,
        profile_type: ProfileType::Token,
        expires,
    };
    store(context, new, &args.unlock)
}

pub(super) fn setup_token(context: &Context, args: &SetupTokenArgs) -> Done {
    if normal_provider(&args.provider) != "anthropic" {
        let why = "setup tokens are Anthropic's; for another provider use paste-token";
        return Err(CliError::because(DOING, Code::Usage, why));
    }
    let id = profile_id(
        &args.provider,
        args.name.as_deref(),
        args.profile_id.as_ref(),
    )?;
    let expires = match expiry(args.expires_in.as_deref())? {
        Some(at) => at,
        None => clock::now().plus(setup_token::LIFETIME),
    };
    if context.out.verbose {
        context
            .out
            .say("Run `claude setup-token` and paste what it prints.");
    }
    state_files::check_agent(context, &context.agent).doing(DOING)?;
    let value = args
        .value
        .read(context, &format!("Setup token for {id} (hidden): "))?;
    let range = setup_token::check(value.expose()).doing("read the setup token")?;
    let new = New {
        id,
        value: value.slice(range),
        profile_type: ProfileType::Token,
        expires: Some(expires),
    };
    store(context, new, &args.unlock)
}

fn profile_id(
    provider: &str,
    name: Option<&str>,
    given: Option<&ProfileId>,
) -> Result<ProfileId, CliError> {
    let doing = "name the profile";
    let Some(id) = given else {
        return setup_token::profile_id(provider, name, DEFAULT_NAME).doing(doing);
    };
    if normal_provider(id.provider()) != normal_provider(provider) {
        let why = format!("{id} is not a profile of {provider}");
        return Err(CliError::because(doing, Code::Usage, why));
    }
    Ok(id.clone())
}

fn expiry(text: Option<&str>) -> Result<Option<UnixMs>, CliError> {
    text.map(|text| parse_expiry(text, clock::now()))
        .transpose()
}

/// The value without white space around it, if it can be a key.
fn trimmed(value: &SecretValue) -> Result<SecretValue, CliError> {
    let bytes = value.expose();
    let start = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    let len = bytes.trim_ascii().len();
    let value = value.slice(start..start + len);
    check_key(value.expose()).map_err(|reason| {
        let failure = Failure::new(Code::InputInvalid, reason.text());
        CliError::new("read the value", failure)
    })?;
    Ok(value)
}

struct New {
    id: ProfileId,
    value: SecretValue,
    profile_type: ProfileType,
    expires: Option<UnixMs>,
}

fn store(context: &Context, new: New, unlock: &UnlockArgs) -> Done {
    let name = RecordName::for_profile(&new.id).doing(DOING)?;
    let reference = SecretRef::to_record(&name);
    let mut service = session::service(context, unlock)?;
    let record = Record {
        kind: match new.profile_type {
            ProfileType::ApiKey => RecordKind::ApiKey,
            ProfileType::Token | ProfileType::OAuth => RecordKind::Static,
        },
        meta: Meta {
            expires_at: new.expires,
            ..Meta::default()
        },
        expect: Expect::Any,
    };
    set::put(service.as_mut(), DOING, name, record, new.value)?;
    let path = point::write_profile(context, &new.id, &reference, new.profile_type, new.expires)?;
    state_files::forget_failures(context, &context.agent, &new.id)
        .doing("note that the profile has a new credential")?;
    if context.out.json {
        context.out.document(&serde_json::json!({
            "profileId": new.id,
            "type": new.profile_type.as_str(),
            "ref": reference,
            "expiresAt": new.expires,
            "file": path,
        }))?;
    } else {
        context
            .out
            .say(&format!("Profile {} in {}", new.id, shown_path(&path)));
        context.out.data(&reference.to_string())?;
    }
    Ok(0)
}
