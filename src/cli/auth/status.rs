//! `reseal auth status` and the lists of `reseal auth mcp`.
//!
//! Nothing is asked for: without a daemon that holds the vault open, whether a server has a token
//! is not known, and the tables say so.

use super::kept;
use super::ring::Ring;
use super::servers::{ConfigArgs, Servers, identity};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Done};
use crate::cli::output::{Tone, shown};
use crate::cli::profiles::Profiles;
use crate::cli::session::{self, UnlockArgs};
use crate::cli::table::{Table, cell};
use crate::cli::when;
use crate::error::Code;
use crate::mcp::sign_in::PROVIDER;
use crate::mcp::{Identity, McpServer, Persist};
use crate::oauth::{AccountInfo, Endpoint};
use crate::runtime::service::{Reply, Request};
use crate::sys::clock;
use crate::time::UnixMs;
use crate::vault::RecordInfo;
use clap::Args;
use serde_json::{Value, json};

#[derive(Args)]
pub(super) struct StatusArgs {
    /// Only this server, or the servers and tokens of this URL
    #[arg(value_name = "TARGET")]
    target: Option<String>,

    #[command(flatten)]
    list: ListArgs,
}

#[derive(Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    config: ConfigArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Args)]
pub(super) struct ShowArgs {
    /// The name of a server
    #[arg(value_name = "SERVER")]
    server: String,

    #[command(flatten)]
    list: ListArgs,
}

#[derive(Args)]
pub(super) struct CredentialsArgs {
    #[command(flatten)]
    list: ListArgs,
}

/// The provider whose profiles are Codex's.
pub(super) const CODEX: &str = "openai-codex";
const DOING: &str = "list the servers";

/// Tokens that are kept for an identity.
pub(super) struct Kept {
    pub(super) identity: Identity,
    pub(super) place: &'static str,
    pub(super) expires_at: Option<UnixMs>,
    pub(super) refreshable: bool,
    pub(super) sign_in_needed: bool,
}

const VAULT: &str = "vault";
pub(super) const KEYRING: &str = "keyring";

/// What is known of servers and tokens.
struct Overview {
    servers: Servers,
    /// `None`: the vault is locked, so that nobody knows.
    kept: Option<Vec<Kept>>,
    ring: Ring,
    codex: Option<RecordInfo>,
    has_codex: bool,
}

impl Overview {
    fn read(context: &Context, args: &ListArgs) -> Result<Self, CliError> {
        let servers = Servers::read(context, &args.config)?;
        servers.warn(context);
        let ring = Ring::read(context, &servers);
        let records = records(context, &args.unlock)?;
        let kept = records.as_ref().map(|records| {
            let kept = records.iter().filter_map(kept);
            kept.collect::<Vec<_>>()
        });
        let profiles = Profiles::read(context)?;
        let mut codex = profiles.store.profiles().iter();
        let codex = codex.find(|profile| profile.provider == CODEX);
        let has_codex = codex.is_some();
        let reference = codex.and_then(|profile| profile.kind.credential().reference());
        let name = reference.and_then(|reference| profiles.config.own_record(reference));
        let record = records.into_iter().flatten();
        let codex = record
            .into_iter()
            .find(|record| Some(&record.name) == name.as_ref());
        Ok(Self {
            servers,
            kept,
            ring,
            codex,
            has_codex,
        })
    }

    /// What is known to be kept, in the keyring and in the vault.
    fn all_kept(&self) -> impl Iterator<Item = &Kept> {
        self.ring.kept.iter().chain(self.kept.iter().flatten())
    }

    fn has(&self, identity: &Identity, persist: Persist) -> bool {
        // Where the keyring is meant, the vault stands in for it.
        self.all_kept().any(|kept| {
            let counts = kept.place == VAULT || persist == Persist::Keyring;
            counts && kept.identity == *identity
        })
    }

    /// fast-agent's word for how a server's token stands.
    fn credential(&self, server: &McpServer, identity: &Identity) -> &'static str {
        match (server.oauth, server.persist, &self.kept) {
            (false, ..) => "not_applicable",
            (_, Persist::Memory, _) => "memory",
            (_, persist, _) if self.has(identity, persist) => "ready",
            (_, Persist::Keyring, _) if self.ring.is_unknown() => "unavailable",
            (.., None) => "unavailable",
            _ => "missing",
        }
    }
}

/// The records of a vault that is open, or that options open.
fn records(context: &Context, unlock: &UnlockArgs) -> Result<Option<Vec<RecordInfo>>, CliError> {
    let mut service = match session::daemon(context)? {
        Some(daemon) => Box::new(daemon),
        None if unlock.is_given() => session::service(context, unlock)?,
        // Without a vault there is nothing that nobody knows.
        None if !kept::has_vault(context)? => return Ok(Some(Vec::new())),
        None => return Ok(None),
    };
    match session::ask(service.as_mut(), DOING, Request::List, Vec::new())?.reply {
        Reply::Records(records) => Ok(Some(records)),
        other => Err(session::unexpected(DOING, &other)),
    }
}

fn kept(record: &RecordInfo) -> Option<Kept> {
    let info = AccountInfo::from_json(record.meta.other.get(AccountInfo::KEY)?)?;
    let server = info
        .server
        .as_deref()
        .filter(|_| info.provider == PROVIDER)?;
    Some(Kept {
        identity: Identity::of(server),
        place: VAULT,
        expires_at: record.meta.expires_at,
        refreshable: info.refreshable,
        sign_in_needed: info.sign_in.is_some(),
    })
}

pub(super) fn run(context: &Context, args: &StatusArgs) -> Done {
    let overview = Overview::read(context, &args.list)?;
    let out = &context.out;
    let only = args.target.as_deref().map(|target| {
        if overview.servers.named(target)?.is_none() && !target.contains("://") {
            let target = shown(target);
            out.warn(&format!(
                "Server '{target}' not found in config; treating as identity"
            ));
        }
        identity(&overview.servers, target, DOING)
    });
    let only = only.transpose()?;
    let wanted = |identity: &Identity| only.as_ref().is_none_or(|only| only == identity);
    if out.json {
        out.document(&json!({
            "providers": [codex_json(&overview)],
            "mcp": {
                "keyring": overview.ring.to_json(),
                "vault": {"open": overview.kept.is_some()},
                "servers": servers_json(&overview, wanted),
                "credentials": credentials_json(&overview, wanted),
            },
        }))?;
        return Ok(0);
    }
    if overview.kept.is_none() {
        out.explain(
            "The vault is locked, so it is not known which servers have a token: \
                     reseal vault unlock",
        );
    }
    let backend = match &overview.ring.missing {
        None => overview.ring.name,
        Some(_) => "not available",
    };
    out.data(&format!("keyring backend: {backend}"))?;
    if let Some(why) = &overview.ring.missing {
        out.detail(&format!("The keyring can't be used: {why}"));
    }
    stored_table(context, &overview, wanted)?;
    out.data("")?;
    servers_table(context, &overview, wanted)?;
    if only.is_none() {
        out.data("")?;
        codex_table(context, &overview)?;
    }
    out.explain(
        "Sign in with `reseal auth login SERVER`, out with `reseal auth clear SERVER`; Codex: \
         `reseal auth codexplan` and `reseal auth codex-clear`.",
    );
    Ok(0)
}

pub(super) fn list(context: &Context, args: &ListArgs) -> Done {
    let overview = Overview::read(context, args)?;
    if context.out.json {
        context
            .out
            .document(&json!({"servers": servers_json(&overview, |_| true)}))?;
    } else {
        servers_table(context, &overview, |_| true)?;
    }
    Ok(0)
}

pub(super) fn show(context: &Context, args: &ShowArgs) -> Done {
    let overview = Overview::read(context, &args.list)?;
    overview.servers.named(&args.server)?;
    let named = overview.servers.remote();
    let found = named
        .into_iter()
        .find(|(server, _)| server.name == args.server);
    let Some((server, url)) = found else {
        let why = format!(
            "there is no server {} in the config",
            args.server.escape_debug()
        );
        return Err(CliError::because(DOING, Code::Usage, why));
    };
    let document = server_json(&overview, server, url);
    if context.out.json {
        context.out.document(&document)?;
        return Ok(0);
    }
    Table::of_members(&document).print(&context.out)?;
    Ok(0)
}

pub(super) fn credentials(context: &Context, args: &CredentialsArgs) -> Done {
    let overview = Overview::read(context, &args.list)?;
    if context.out.json {
        let credentials = credentials_json(&overview, |_| true);
        context.out.document(&json!({"credentials": credentials}))?;
    } else {
        stored_table(context, &overview, |_| true)?;
    }
    Ok(0)
}

fn stored_table(
    context: &Context,
    overview: &Overview,
    wanted: impl Fn(&Identity) -> bool,
) -> Result<(), CliError> {
    let headings = vec!["Stored Tokens (Identity)", "Present", "In", "Servers"];
    let mut table = Table::new(headings, 0);
    let mut rows = 0;
    for kept in overview.all_kept().filter(|kept| wanted(&kept.identity)) {
        let servers = overview.servers.of(&kept.identity).join(", ");
        let identity = kept.identity.as_str();
        table.row(vec![
            identity.into(),
            cell("✓", Tone::Good),
            kept.place.into(),
            servers.into(),
        ]);
        rows += 1;
    }
    if rows == 0 {
        let none = match overview.kept {
            Some(_) => ("None", "✗"),
            None => ("not available", "-"),
        };
        table.row(vec![
            none.0.into(),
            cell(none.1, Tone::Faint),
            "".into(),
            "".into(),
        ]);
    }
    table.print(&context.out)
}

fn servers_table(
    context: &Context,
    overview: &Overview,
    wanted: impl Fn(&Identity) -> bool,
) -> Result<(), CliError> {
    let headings = vec![
        "Server",
        "Transport",
        "OAuth",
        "Persist",
        "Token",
        "Identity",
    ];
    let mut table = Table::new(headings, 5);
    let mut rows = 0;
    for (server, url) in overview.servers.remote() {
        let identity = Identity::of(url.as_str());
        if !wanted(&identity) {
            continue;
        }
        let token = match overview.credential(server, &identity) {
            "ready" => cell("✓", Tone::Good),
            "missing" => cell("✗", Tone::Faint),
            "memory" => cell("memory", Tone::Plain),
            "unavailable" => cell("not available", Tone::Faint),
            _ => cell("-", Tone::Faint),
        };
        table.row(vec![
            server.name.as_str().into(),
            server.transport.as_str().to_uppercase().into(),
            if server.oauth { "on" } else { "off" }.into(),
            server.persist.as_str().into(),
            token,
            identity.as_str().into(),
        ]);
        rows += 1;
    }
    if rows == 0 {
        context.out.say("No server over HTTP is in the config.");
        return Ok(());
    }
    table.print(&context.out)
}

fn codex_table(context: &Context, overview: &Overview) -> Result<(), CliError> {
    let mut table = Table::new(vec!["Codex OAuth", "Token", "Source", "Expires"], 0);
    let expires = overview
        .codex
        .as_ref()
        .and_then(|record| record.meta.expires_at);
    let expires = expires.map_or_else(|| "-".to_owned(), when::date_and_time);
    let row = match overview.has_codex {
        true => ["Token", "✓", "vault", &expires],
        false => ["Token", "Not configured", "-", "-"],
    };
    table.row(row.map(Into::into).into());
    table.print(&context.out)
}

fn codex_json(overview: &Overview) -> Value {
    let expires_at = overview
        .codex
        .as_ref()
        .and_then(|record| record.meta.expires_at);
    let info = overview.codex.as_ref().and_then(|record| {
        let info = record.meta.other.get(AccountInfo::KEY)?;
        AccountInfo::from_json(info)
    });
    let over = expires_at.is_some_and(|at| at <= clock::now());
    let can_renew = info.is_none_or(|info| info.refreshable && info.sign_in.is_none());
    let state = match overview.has_codex {
        false => "not_configured",
        true if over && !can_renew => "expired",
        true => "ready",
    };
    json!({
        "id": "codex",
        "name": "Codex",
        "state": state,
        "source": overview.has_codex.then_some("vault"),
        "expires_at": expires_at.map(|at| at.0 / 1000),
    })
}

fn servers_json(overview: &Overview, wanted: impl Fn(&Identity) -> bool) -> Vec<Value> {
    let servers = overview.servers.remote();
    let servers = servers.filter(|(_, url)| wanted(&Identity::of(url.as_str())));
    servers
        .map(|(server, url)| server_json(overview, server, url))
        .collect()
}

fn server_json(overview: &Overview, server: &McpServer, url: &Endpoint) -> Value {
    let identity = Identity::of(url.as_str());
    let mut shared = overview.servers.of(&identity);
    shared.retain(|name| *name != server.name);
    json!({
        "name": server.name,
        "management": "client",
        "transport": server.transport.as_str(),
        "endpoint": without_values(url),
        "auth_mode": if server.oauth { "oauth" } else { "none" },
        "persistence": server.persist.as_str(),
        "credential": overview.credential(server, &identity),
        "resource": identity.as_str(),
        "shared_with": shared,
    })
}

fn credentials_json(overview: &Overview, wanted: impl Fn(&Identity) -> bool) -> Vec<Value> {
    let kept = overview.all_kept().filter(|kept| wanted(&kept.identity));
    let one = |kept: &Kept| {
        let servers = overview.servers.of(&kept.identity);
        json!({
            "resource": kept.identity.as_str(),
            "configured_servers": servers,
            "orphaned": servers.is_empty(),
            "expires_at": kept.expires_at.map(|at| at.0 / 1000),
            "refreshable": kept.refreshable,
            "sign_in_needed": kept.sign_in_needed,
            "kept_in": kept.place,
        })
    };
    kept.map(one).collect()
}

/// A URL whose query shows its names and no value; what has no `=` may be a value.
fn without_values(url: &Endpoint) -> String {
    let text = url.as_str();
    let Some((base, query)) = text.split_once('?') else {
        return text.to_owned();
    };
    let hidden = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) => format!("{name}=%5BREDACTED%5D"),
        None => "%5BREDACTED%5D".to_owned(),
    });
    format!("{base}?{}", hidden.collect::<Vec<_>>().join("&"))
}
