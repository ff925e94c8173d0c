//! `reseal auth login` and `reseal auth mcp login`.

use super::kept::{self, Place};
use super::servers::{ConfigArgs, Servers, address, at_base, at_url};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done, advice};
use crate::cli::input;
use crate::cli::lookup::Routed;
use crate::cli::models::login::parse_timeout;
use crate::cli::models::person::AtTerminal;
use crate::cli::session::{self, UnlockArgs};
use crate::error::{Code, Failure};
use crate::launch::Lookup;
use crate::mcp::discovery::Allowed;
use crate::mcp::keyring::InKeyring;
use crate::mcp::sign_in::{Held, With, sign_in};
use crate::mcp::{Identity, McpServer, Persist, Transport};
use crate::name::RecordName;
use crate::net::http::{Client, Policy};
use crate::oauth::challenge::Challenge;
use crate::oauth::provider::FlowKind;
use crate::oauth::sign_in::SignInWith;
use crate::oauth::{Account, AccountInfo, ClientSecret};
use crate::runtime::service::{Reply, Request, Service};
use crate::sign_in::{DEFAULT_TIMEOUT, SignedIn, Wish};
use crate::token_store::fast_agent::Layout;
use crate::vault::{Expect, Meta, RecordKind};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::time::Duration;

/// How often an account is put where somebody else just put one.
const MAX_ATTEMPTS: usize = 5;
const DOING: &str = "sign in";

#[derive(Args)]
pub(super) struct LoginArgs {
    /// The name of a server, or its URL: the path of the transport is put behind its base
    #[arg(value_name = "TARGET")]
    target: Option<String>,

    /// The transport of a URL that is in no config
    #[arg(long, value_enum, default_value = "http")]
    transport: TransportArg,

    #[command(flatten)]
    config: ConfigArgs,

    #[command(flatten)]
    how: HowArgs,
}

#[derive(Args)]
pub(super) struct McpLoginArgs {
    /// The name of a server
    #[arg(value_name = "SERVER", required_unless_present = "endpoint")]
    server: Option<String>,

    /// The URL of a server, exactly as it is
    #[arg(long, value_name = "URL", conflicts_with = "server")]
    endpoint: Option<String>,

    /// The transport of that URL
    #[arg(long, value_enum, default_value = "http")]
    transport: TransportArg,

    #[command(flatten)]
    config: ConfigArgs,

    #[command(flatten)]
    how: HowArgs,
}

/// How to sign in.
#[derive(Args)]
struct HowArgs {
    /// Paste the address that the browser ended at, instead of listening for it
    #[arg(long)]
    paste: bool,

    /// Print the page's address alone on stdout, and open no browser
    #[arg(long)]
    no_browser: bool,

    /// How long to wait for the person: 5m unless told otherwise
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    timeout: Option<Duration>,

    #[command(flatten)]
    allowed: AllowedArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

/// What goes beyond the specification.
#[derive(Args, Clone, Copy)]
pub(super) struct AllowedArgs {
    /// Also sign in to a server that does not say who grants its tokens (MCP before June 2025)
    #[arg(long)]
    allow_old_servers: bool,

    /// Also sign in where the authorization server does not say that it supports PKCE
    #[arg(long)]
    allow_missing_pkce_metadata: bool,
}

impl From<AllowedArgs> for Allowed {
    fn from(args: AllowedArgs) -> Self {
        Allowed {
            old_servers: args.allow_old_servers,
            unsaid_pkce: args.allow_missing_pkce_metadata,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum TransportArg {
    Http,
    Sse,
}

impl From<TransportArg> for Transport {
    fn from(transport: TransportArg) -> Self {
        match transport {
            TransportArg::Http => Transport::Http,
            TransportArg::Sse => Transport::Sse,
        }
    }
}

/// `auth login`: with the words and exit codes of fast-agent.
pub(super) fn run(context: &Context, args: &LoginArgs) -> Done {
    let out = &context.out;
    let Some(target) = &args.target else {
        out.tell("Give the name of a server, or its URL: reseal auth login TARGET");
        return Ok(1);
    };
    let servers = Servers::read(context, &args.config)?;
    let server = match servers.named(target)? {
        Some(server) => server.clone(),
        None if target.contains("://") => {
            let transport = args.transport.into();
            let url = at_base(target, transport).doing(DOING)?;
            at_url(context, &servers, target, &url, transport)
        }
        None => {
            out.tell(&format!(
                "Server '{}' not found in config",
                crate::cli::output::shown(target)
            ));
            return Ok(1);
        }
    };
    servers.tell_origin(context, &server);
    if server.url.is_none() {
        out.tell("STDIO servers do not support OAuth");
        return Ok(1);
    }
    match store(context, &server, &args.how) {
        Err(error) if !out.json => {
            out.tell(&format!("Login failed: {}", error.failure.message));
            if let Some(hint) = error.hint.as_deref().or(advice(error.failure.code)) {
                out.explain(hint);
            }
            Ok(1)
        }
        outcome => outcome,
    }
}

/// `auth mcp login`: a URL is used exactly.
pub(super) fn mcp(context: &Context, args: McpLoginArgs) -> Done {
    let servers = Servers::read(context, &args.config)?;
    let server = match (args.server, args.endpoint) {
        (_, Some(target)) => {
            let url = address(&target).doing(DOING)?;
            at_url(context, &servers, &target, &url, args.transport.into())
        }
        (name, None) => {
            let name = name.unwrap_or_default();
            let absent = || {
                let why = format!("there is no server {} in the config", name.escape_debug());
                CliError::because(DOING, Code::Usage, why)
            };
            servers.named(&name)?.ok_or_else(absent)?.clone()
        }
    };
    servers.tell_origin(context, &server);
    store(context, &server, &args.how)
}

/// Signs in and seals the account.
fn store(context: &Context, server: &McpServer, how: &HowArgs) -> Done {
    if server.persist == Persist::Memory {
        let why = format!(
            "{}: its config says persist: memory, so that its tokens end with the program that \
             uses them",
            server.name
        );
        return Err(CliError::because(DOING, Code::Usage, why));
    }
    let url = server.url.as_ref().map_or("", |url| url.as_str());
    let identity = Identity::of(url);
    let label = server.label();
    let mut person = AtTerminal::new(context, &label);
    person.address_to_stdout = how.no_browser;
    person.paste_from_stdin = how.paste && input::stdin_brings_data();
    let terms = Terms {
        allowed: how.allowed.into(),
        wish: Wish {
            flow: FlowKind::Pkce,
            paste_only: how.paste,
            open_browser: !how.no_browser && !how.paste && !context.out.json,
            timeout: how.timeout.unwrap_or(DEFAULT_TIMEOUT),
            with: SignInWith::default(),
        },
        unlock: &how.unlock,
        challenge: None,
    };
    let place = kept::to_write(context, server.persist)?;
    if let Place::Memory(why) = &place {
        let why = format!("there is nowhere to keep the tokens: {why}, and there is no vault");
        let advice = "make a vault with `reseal init`";
        return Err(CliError::because(DOING, Code::VaultAbsent, why).hint(advice));
    }
    kept::tell(context, &place);
    authenticate(context, server, &place, &mut person, terms)?;
    report(context, &person, server, &identity, &place)
}

/// How a sign-in goes.
pub(super) struct Terms<'a> {
    pub(super) allowed: Allowed,
    pub(super) wish: Wish,
    pub(super) unlock: &'a UnlockArgs,
    /// What the server said, if it was asked before.
    pub(super) challenge: Option<Challenge>,
}

/// Signs in and keeps the account.
pub(super) fn authenticate(
    context: &Context,
    server: &McpServer,
    place: &Place,
    person: &mut AtTerminal<'_>,
    terms: Terms<'_>,
) -> Result<(), CliError> {
    let url = server.url.as_ref().map_or("", |url| url.as_str());
    let identity = Identity::of(url);
    if let Place::Keyring(store) = place {
        let unlock = terms.unlock;
        kept::with(context, server, unlock, store, |kept| {
            let signed_in = browse(context, server, person, terms, kept.held()?)?;
            keep(context, kept, &identity, unlock, signed_in)
        })
        .doing(format!("sign in to {}", server.name))?;
        return Ok(());
    }
    let name = identity.record().map_err(Failure::from).doing(DOING)?;
    let mut service = session::service(context, terms.unlock)?;
    session::ask(
        service.as_mut(),
        "store anything",
        Request::CheckWritable,
        Vec::new(),
    )?;
    let held = match there(service.as_mut(), &name)? {
        Some((_, Some(info))) => Held::of(info.issuer, info.scope.as_deref()),
        _ => Held::default(),
    };
    let signed_in = browse(context, server, person, terms, held)
        .doing(format!("sign in to {}", server.name))?;
    match seal(service.as_mut(), &name, &signed_in.account) {
        Ok(()) => signed_in.stored(),
        Err(error) => {
            signed_in.failed();
            return Err(error);
        }
    }
    // Here and not in the keyring, whatever that holds.
    match kept::is_instead(context, server, place) {
        true => kept::set_in_vault(context, &identity, true).doing("store the tokens"),
        false => Ok(()),
    }
}

/// Keeps an account in the keyring, or in the vault if the keyring does not take it after all: a
/// person was at it, and what was there before may have ended with it.
fn keep(
    context: &Context,
    kept: &InKeyring<'_>,
    identity: &Identity,
    unlock: &UnlockArgs,
    signed_in: SignedIn,
) -> Result<(), Failure> {
    let Err(why) = kept.keep(&signed_in.account) else {
        signed_in.stored();
        return kept::set_in_vault(context, identity, false);
    };
    let why_not = format!("the keyring did not take the tokens ({})", why.message);
    match kept::rescue(context, identity, unlock, &signed_in.account) {
        Ok(place) => {
            signed_in.stored();
            context.out.warn(&format!("{why_not}; they are {place}"));
            Ok(())
        }
        Err(other) => {
            signed_in.failed();
            let text = format!("{why_not}, nor did the vault ({})", other.message);
            Err(Failure::new(why.code, text))
        }
    }
}

/// Signs in: the account, which nobody stored yet. `held` is what the one before has.
fn browse(
    context: &Context,
    server: &McpServer,
    person: &mut AtTerminal<'_>,
    terms: Terms<'_>,
    held: Held,
) -> Result<SignedIn, Failure> {
    let secret = client_secret(context, server, terms.unlock);
    let with = With {
        held,
        client_secret: secret.map_err(CliError::into_reason)?,
        allowed: terms.allowed,
        challenge: terms.challenge,
    };
    let client = Client::new(&Policy::default());
    context
        .out
        .progress(&format!("Asking {} how to sign in ...", server.label()));
    sign_in(server, &client, person, &terms.wish, with)
}

/// The secret of a client that was registered beforehand.
pub(super) fn client_secret(
    context: &Context,
    server: &McpServer,
    unlock: &UnlockArgs,
) -> Result<Option<ClientSecret>, CliError> {
    let Some(reference) = &server.client_secret else {
        return Ok(None);
    };
    let doing = "read the client secret";
    let found = Routed::new(context, unlock)?.resolve(std::slice::from_ref(reference));
    let absent = || Err(Failure::new(Code::Bug, "no answer"));
    let value = found.doing(doing)?.pop().unwrap_or_else(absent);
    Ok(Some(ClientSecret::from(value.doing(doing)?)))
}

/// The version of the record, and whose account it is if it is one; `None` if there is none.
fn there(
    service: &mut dyn Service,
    name: &RecordName,
) -> Result<Option<(u64, Option<AccountInfo>)>, CliError> {
    let request = Request::ListUnder {
        prefix: name.to_string(),
    };
    let records = match session::ask(service, DOING, request, Vec::new())?.reply {
        Reply::Records(records) => records,
        other => return Err(session::unexpected(DOING, &other)),
    };
    let record = records.into_iter().find(|record| record.name == *name);
    Ok(record.map(|record| {
        let info = record.meta.other.get(AccountInfo::KEY);
        let info = info.filter(|_| record.kind == RecordKind::OAuth);
        (record.version, info.and_then(AccountInfo::from_json))
    }))
}

/// Puts the account in the place of the one before, and of nothing else.
pub(super) fn seal(
    service: &mut dyn Service,
    name: &RecordName,
    account: &Account,
) -> Result<(), CliError> {
    let doing = "store the tokens";
    let mut attempts = 0..MAX_ATTEMPTS;
    loop {
        let expect = match there(service, name)? {
            None => Expect::Absent,
            Some((version, Some(_))) => Expect::Version(version),
            Some((_, None)) => {
                let why = format!("{name} holds something else than the tokens of a server");
                return Err(CliError::because(doing, Code::RecordExists, why));
            }
        };
        let request = Request::Put {
            name: name.clone(),
            kind: RecordKind::OAuth,
            meta: Meta::default(),
            expect,
        };
        match service.call(request, vec![account.to_secret()]) {
            Err(failure)
                if matches!(failure.code, Code::VaultConflict | Code::RecordExists)
                    && attempts.next().is_some() => {}
            outcome => return outcome.map(|_| ()).doing(doing),
        }
    }
}

fn report(
    context: &Context,
    person: &AtTerminal<'_>,
    server: &McpServer,
    identity: &Identity,
    place: &Place,
) -> Done {
    let out = &context.out;
    let is_in_keyring = matches!(place, Place::Keyring(_)) && !kept::is_in_vault(context, identity);
    if out.json {
        let mut event = json!({"event": "stored", "identity": identity.as_str()});
        if is_in_keyring {
            let layout = Layout::Mcp;
            let name = Identity::of(&server.legacy.key());
            event["keyring"] = json!({"service": layout.service(),
                "username": layout.user(name.as_str())});
        } else {
            let name = identity.record().map_err(Failure::from).doing("report")?;
            event["ref"] = json!({"source": "vault", "provider": "default", "id": name});
        }
        person.event(&event).doing("report")?;
        return Ok(0);
    }
    out.say(&format!(
        "Authenticated. Tokens stored for identity: {identity}"
    ));
    Ok(0)
}
