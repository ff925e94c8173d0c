//! `reseal models auth login`: sign in, seal the tokens, point a profile at them.

use super::paste::{self, Chosen};
use super::person::AtTerminal;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::input::{self, ValueArgs};
use crate::cli::lookup::Routed;
use crate::cli::output::shown_path;
use crate::cli::session::{self, UnlockArgs};
use crate::cli::{state_files, when};
use crate::config::Config;
use crate::crypto::hash::sha256;
use crate::error::{Code, Failure};
use crate::launch::Lookup;
use crate::name::{AgentId, ProfileId, RecordName};
use crate::net::http::{Client, Policy};
use crate::oauth::provider::{FlowKind, ProfileIdFrom, Provider};
use crate::oauth::sign_in::SignInWith;
use crate::oauth::{Account, AccountInfo, ClientSecret};
use crate::profile::{NewCredential, NewProfile, normal_provider};
use crate::reference::SecretRef;
use crate::runtime::ground::agent_ids;
use crate::runtime::service::{Reply, Request, Service};
use crate::sign_in::{self, DEFAULT_TIMEOUT, MAX_TIMEOUT, Wish};
use crate::store::files;
use crate::time::parse_duration;
use crate::vault::{Expect, Meta, RecordInfo, RecordKind};
use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args)]
pub(super) struct LoginArgs {
    /// The provider: openai, openai-codex, anthropic, or one of oauth.providers in the config
    #[arg(long, value_name = "ID")]
    provider: String,

    /// How to sign in [default: the provider's first]
    #[arg(long, value_name = "FLOW", value_parser = parse_flow)]
    method: Option<FlowKind>,

    /// Enter a code on another device, instead of a browser on this one
    #[arg(long, visible_alias = "device-code", conflicts_with_all = ["method", "paste"])]
    device: bool,

    /// Don't listen for the browser: paste the address that it ended at, or send it on stdin
    #[arg(long, conflicts_with = "method")]
    paste: bool,

    /// Print the page's address on stdout instead of opening a browser
    #[arg(long)]
    no_browser: bool,

    /// The profile [default: PROVIDER:EMAIL, or PROVIDER:default]
    #[arg(long, value_name = "PROFILE")]
    profile_id: Option<ProfileId>,

    /// Give the other agents a profile that points at the same account
    #[arg(long)]
    sync_agents: bool,

    /// How long to wait for the person, such as 10m [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    timeout: Option<Duration>,

    /// Answer yes: to what the provider asks people to know, and to the place of another account
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

fn parse_flow(text: &str) -> Result<FlowKind, String> {
    FlowKind::parse(text).ok_or_else(|| {
        let known: Vec<&str> = FlowKind::ALL.iter().map(|flow| flow.as_str()).collect();
        format!("the ways to sign in are {}", known.join(", "))
    })
}

pub(in crate::cli) fn parse_timeout(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() || duration > MAX_TIMEOUT {
        return Err(format!("from 1s to {}s", MAX_TIMEOUT.as_secs()));
    }
    Ok(duration)
}

const DOING: &str = "sign in";
/// How often an account is put where somebody else just put one.
const MAX_ATTEMPTS: usize = 5;

/// `models auth login` for a provider and flow that were chosen, everything else as usual.
pub(in crate::cli) fn sign_in_to(
    context: &Context,
    provider: &str,
    flow: FlowKind,
    yes: bool,
    unlock: &UnlockArgs,
) -> Done {
    let args = LoginArgs {
        provider: provider.to_owned(),
        method: Some(flow),
        device: false,
        paste: false,
        no_browser: false,
        profile_id: None,
        sync_agents: false,
        timeout: None,
        yes,
        unlock: unlock.clone(),
    };
    run(context, &args)
}

pub(super) fn run(context: &Context, args: &LoginArgs) -> Done {
    let config = state_files::config(context).doing("read the config")?;
    let provider = find(&config, &args.provider)?;
    let flow = choose(&provider, args)?;
    state_files::check_agent(context, &context.agent).doing(DOING)?;
    if !flow.is_oauth() {
        let chosen = Chosen {
            provider: provider.id,
            id: args.profile_id.clone(),
            value: ValueArgs::default(),
            unlock: args.unlock.clone(),
        };
        return paste::take(context, flow, chosen);
    }
    agree(context, &provider, args)?;
    let mut service = session::service(context, &args.unlock)?;
    // A sign-in that can't be stored is worse than none: some servers end the old session.
    session::ask(
        service.as_mut(),
        "store anything",
        Request::CheckWritable,
        Vec::new(),
    )?;
    check_profiles(context, args)?;
    let known = Known::read(service.as_mut())?;
    let wish = Wish {
        flow,
        paste_only: args.paste,
        open_browser: !args.no_browser && !args.paste && !context.out.json,
        timeout: args.timeout.unwrap_or(DEFAULT_TIMEOUT),
        with: with(context, &provider, args, &known)?,
    };
    let mut person = AtTerminal::new(context, &provider.label);
    person.address_to_stdout = args.no_browser;
    person.paste_from_stdin = args.paste && input::stdin_brings_data();
    let client = Client::new(&Policy::default());
    let signed_in =
        sign_in::sign_in(&provider, &client, &mut person, &wish).map_err(|failure| {
            let hint = hint(failure.code, &provider);
            let error = CliError::new(format!("sign in to {}", provider.label), failure);
            match hint {
                Some(hint) => error.hint(hint),
                None => error,
            }
        })?;
    let stored = store(
        context,
        &provider,
        args,
        service.as_mut(),
        &signed_in.account,
    );
    match stored {
        Ok(stored) => {
            let account = signed_in.account.clone();
            signed_in.stored();
            report(context, &person, &stored, &account)
        }
        Err(error) => {
            signed_in.failed();
            Err(error)
        }
    }
}

/// The provider of this id: configured, else built in.
pub(in crate::cli) fn find(config: &Config, id: &str) -> Result<Provider, CliError> {
    let id = normal_provider(id);
    config.oauth_provider(&id).ok_or_else(|| {
        let known: Vec<String> = config
            .all_oauth_providers()
            .into_iter()
            .map(|provider| provider.id)
            .collect();
        let known = known.join(", ");
        let why = format!("there is no OAuth provider {id}; there are {known}");
        CliError::because(DOING, Code::OAuthProviderAbsent, why).hint(
            "describe it in oauth.providers of the config, or store its key with `reseal models \
             auth paste-api-key`",
        )
    })
}

fn choose(provider: &Provider, args: &LoginArgs) -> Result<FlowKind, CliError> {
    let asked = if args.device {
        Some(FlowKind::Device)
    } else if args.paste {
        Some(FlowKind::Pkce)
    } else {
        args.method
    };
    let flow = asked.or(provider.flows.first().copied());
    match flow.filter(|flow| provider.offers(*flow)) {
        Some(flow) => Ok(flow),
        None => {
            let offered: Vec<&str> = provider.flows.iter().map(|flow| flow.as_str()).collect();
            let why = format!(
                "{} does not offer that; it offers {}",
                provider.label,
                offered.join(", ")
            );
            Err(CliError::because(DOING, Code::OAuthFlowAbsent, why))
        }
    }
}

/// Shows what the provider's vendor leaves open, and asks.
fn agree(context: &Context, provider: &Provider, args: &LoginArgs) -> Result<(), CliError> {
    let Some(notice) = provider.notice.filter(|_| !args.yes) else {
        return Ok(());
    };
    context.out.explain(notice);
    if context.confirm(DOING, "Go on?", "--yes")? {
        return Ok(());
    }
    Err(CliError::because(
        DOING,
        Code::InputCancelled,
        "it was declined",
    ))
}

/// What the vault holds already.
struct Known {
    vault_id: String,
    records: Vec<(RecordName, Stands)>,
}

/// A record that stands where an account may go.
struct Stands {
    version: u64,
    /// Whose account it holds; `None`: it holds something else.
    account: Option<AccountInfo>,
}

impl Known {
    fn read(service: &mut dyn Service) -> Result<Self, CliError> {
        let status = session::ask(service, DOING, Request::Status, Vec::new())?;
        let vault_id = match status.reply {
            Reply::Status(status) => status.vault.map(|vault| vault.id).unwrap_or_default(),
            other => return Err(session::unexpected(DOING, &other)),
        };
        let list = session::ask(service, DOING, Request::List, Vec::new())?;
        let records = match list.reply {
            Reply::Records(records) => records,
            other => return Err(session::unexpected(DOING, &other)),
        };
        let stands = |record: RecordInfo| {
            let is_account = record.kind == RecordKind::OAuth;
            let info = record
                .meta
                .other
                .get(AccountInfo::KEY)
                .filter(|_| is_account);
            let stands = Stands {
                version: record.version,
                account: info.and_then(AccountInfo::from_json),
            };
            (record.name, stands)
        };
        Ok(Self {
            vault_id,
            records: records.into_iter().map(stands).collect(),
        })
    }

    fn at(&self, name: &RecordName) -> Option<&Stands> {
        let found = self.records.iter().find(|(known, _)| known == name);
        found.map(|(_, stands)| stands)
    }
}

fn with(
    context: &Context,
    provider: &Provider,
    args: &LoginArgs,
    known: &Known,
) -> Result<SignInWith, CliError> {
    let client_secret = match &provider.client_secret {
        Some(reference) => {
            let mut lookup = Routed::new(context, &args.unlock)?;
            let found = lookup.resolve(std::slice::from_ref(reference));
            let value = found.doing("read the client secret")?.pop();
            let absent = || Err(Failure::new(Code::Bug, "no answer"));
            let value = value
                .unwrap_or_else(absent)
                .doing("read the client secret")?;
            Some(ClientSecret::from(value))
        }
        None => None,
    };
    // Whoever signs in to a profile again comes as the client that its account knows.
    let record = args.profile_id.as_ref().map(record_name).transpose()?;
    let account = record.and_then(|name| known.at(&name)?.account.as_ref());
    let issued_client_id = account
        .filter(|info| provider.dynamic_client.is_some() && !info.client_id.is_empty())
        .map(|info| info.client_id.clone());
    let mut install_id = [0; 16];
    let digest = sha256(&[b"reseal/install\0", known.vault_id.as_bytes()]);
    install_id.copy_from_slice(&digest[..16]);
    Ok(SignInWith {
        client_secret,
        issued_client_id,
        install_id,
        // Standard of OpenID Connect (core section 3.1.2.1), of nobody else.
        login_hint: account
            .filter(|info| provider.is_oidc() && info.provider == provider.id)
            .and_then(|info| info.identity.email.clone()),
    })
}

/// The agents that get the profile, the chosen one first.
fn agents(context: &Context, args: &LoginArgs) -> Result<Vec<AgentId>, CliError> {
    let mut agents = vec![context.agent.clone()];
    if args.sync_agents {
        let others = agent_ids(&context.state).doing("list the agents")?;
        agents.extend(others.into_iter().filter(|id| *id != context.agent));
    }
    Ok(agents)
}

/// Proves that the profile can be written, as far as that can be known before it is.
fn check_profiles(context: &Context, args: &LoginArgs) -> Result<(), CliError> {
    for agent in agents(context, args)? {
        let path = context.state.auth_profiles(&agent);
        let store = state_files::profiles(context, &agent);
        let checked = store.and_then(|_| {
            if path.exists() {
                files::check_replaceable(&path)?;
            }
            Ok(())
        });
        checked.doing(format!("write the profiles of agent {agent}"))?;
    }
    Ok(())
}

/// Where the account of a profile rests.
pub(super) fn record_name(id: &ProfileId) -> Result<RecordName, CliError> {
    let doing = "name the record";
    let name = RecordName::for_profile(id).doing(doing)?;
    format!("oauth/{name}").parse().doing(doing)
}

/// What a sign-in left.
struct Stored {
    profile: ProfileId,
    reference: SecretRef,
    file: PathBuf,
    agents: Vec<AgentId>,
}

fn store(
    context: &Context,
    provider: &Provider,
    args: &LoginArgs,
    service: &mut dyn Service,
    account: &Account,
) -> Result<Stored, CliError> {
    let profile = match &args.profile_id {
        Some(id) => id.clone(),
        None => default_profile(provider, account)?,
    };
    let name = record_name(&profile)?;
    seal(context, args, service, &profile, &name, account)?;
    let new = NewProfile {
        provider: provider.id.clone(),
        credential: NewCredential::OAuth {
            reference: SecretRef::to_record(&name),
            account_id: account.identity.account_id.clone(),
        },
        email: account.identity.email.clone(),
    };
    let agents = agents(context, args)?;
    for agent in &agents {
        let doing = format!("write the profile {profile} of agent {agent}");
        state_files::edit_profiles(context, agent, |store| store.put(&profile, &new))
            .and_then(|_| state_files::forget_failures(context, agent, &profile))
            .doing(doing)
            .map_err(|error| {
                error.hint(format!(
                    "the account is sealed as vault:{name}; mend the file and sign in again, which \
                     takes its place"
                ))
            })?;
    }
    Ok(Stored {
        reference: SecretRef::to_record(&name),
        file: context.state.auth_profiles(&context.agent),
        profile,
        agents,
    })
}

/// Puts the account in the place of what was there when the person was asked, and of nothing else:
/// a sign-in takes minutes, and somebody else may have signed in meanwhile.
fn seal(
    context: &Context,
    args: &LoginArgs,
    service: &mut dyn Service,
    profile: &ProfileId,
    name: &RecordName,
    account: &Account,
) -> Result<(), CliError> {
    let doing = "store the tokens";
    let mut attempts = 0..MAX_ATTEMPTS;
    loop {
        let known = Known::read(service)?;
        let there = known.at(name);
        replace(context, args, profile, there, account)?;
        // What stands beside the tokens is read from them by whoever holds the vault.
        let request = Request::Put {
            name: name.clone(),
            kind: RecordKind::OAuth,
            meta: Meta::default(),
            expect: there.map_or(Expect::Absent, |there| Expect::Version(there.version)),
        };
        match service.call(request, vec![account.to_secret()]) {
            Err(failure)
                if matches!(failure.code, Code::VaultConflict | Code::RecordExists)
                    && attempts.next().is_some() => {}
            outcome => return outcome.map(|_| ()).doing(doing),
        }
    }
}

fn default_profile(provider: &Provider, account: &Account) -> Result<ProfileId, CliError> {
    let name = match provider.profile_id_from {
        ProfileIdFrom::Email => account.identity.email.as_deref(),
        ProfileIdFrom::Subject => account.identity.subject.as_deref(),
        ProfileIdFrom::Default => None,
    };
    let id = |name: &str| format!("{}:{name}", provider.id).parse::<ProfileId>();
    // An address that no profile id can hold is not worth failing for.
    let named = name.and_then(|name| id(name).ok());
    named.map_or_else(|| id("default").doing("name the profile"), Ok)
}

/// Another account in the same place would be lost.
fn replace(
    context: &Context,
    args: &LoginArgs,
    profile: &ProfileId,
    there: Option<&Stands>,
    account: &Account,
) -> Result<(), CliError> {
    let is_same = |old: &AccountInfo| {
        old.provider == account.client.provider && old.identity.matches(&account.identity)
    };
    let same = there.is_none_or(|there| there.account.as_ref().is_some_and(is_same));
    if same || args.yes {
        return Ok(());
    }
    let question = format!("{profile} holds another account, which would be lost. Replace it?");
    if context.confirm(
        "store the tokens",
        &question,
        "--yes or another --profile-id",
    )? {
        return Ok(());
    }
    let why = "it was declined; the new tokens were not stored";
    Err(CliError::because(
        "store the tokens",
        Code::InputCancelled,
        why,
    ))
}

fn report(context: &Context, person: &AtTerminal<'_>, stored: &Stored, account: &Account) -> Done {
    let others = &stored.agents[1..];
    if context.out.json {
        let event = json!({
            "event": "stored",
            "profileId": stored.profile,
            "provider": account.client.provider,
            "ref": stored.reference,
            "expiresAt": account.expires_at,
            "email": account.identity.email,
            "accountId": account.identity.account_id,
            "file": stored.file,
            "agents": stored.agents,
        });
        person.event(&event).doing("write the output")?;
        return Ok(0);
    }
    let who = account.identity.email.as_deref().unwrap_or("signed in");
    context.out.say(&format!(
        "{}: {}, in {}",
        stored.profile,
        crate::cli::output::shown(who),
        shown_path(&stored.file)
    ));
    if let Some(at) = account.expires_at {
        let renewed = match account.refresh {
            Some(_) => "renewed by itself",
            None => "the provider gave nothing to renew it with",
        };
        let at = when::date_and_time(at);
        context
            .out
            .detail(&format!("The access token ends {at}; {renewed}."));
    }
    if !others.is_empty() {
        let others: Vec<&str> = others.iter().map(AgentId::as_str).collect();
        context
            .out
            .say(&format!("Also for the agents {}.", others.join(", ")));
    }
    if !context.out.quiet {
        context.out.data(&stored.reference.to_string())?;
    }
    Ok(0)
}

fn hint(code: Code, provider: &Provider) -> Option<String> {
    Some(match code {
        Code::OAuthTimeout => "run it again; --timeout waits longer".to_owned(),
        Code::OAuthUnavailable => {
            "look at the network and try again; nothing was stored".to_owned()
        }
        Code::OAuthDenied => "run it again and agree in the browser".to_owned(),
        Code::OAuthFlowAbsent if provider.offers(FlowKind::Pkce) => {
            "sign in with a browser: leave out --device".to_owned()
        }
        _ => return None,
    })
}
