//! `reseal grants`.

use super::context::Context;
use super::error::{CliError, Doing, Done};
use super::lazy::Lazy;
use super::output::shown_path;
use super::session;
use super::state_files;
use super::table::Table;
use super::when;
use crate::config::Share;
use crate::daemon::capability;
use crate::document::Path;
use crate::error::{Code, Failure};
use crate::grants::{Digest, Grant, Holder, Scope, Verb, is_grant_name};
use crate::runtime::service::{Request, Service};
use crate::secret::SecretValue;
use crate::store::files;
use crate::sys::{clock, users};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Arguments of `grants`.
#[derive(Args)]
pub struct GrantsArgs {
    #[command(subcommand)]
    command: GrantsCommand,
}

#[derive(Subcommand)]
enum GrantsCommand {
    /// Let another user, a unit or a bearer of a capability ask the daemon
    Add(Lazy<AddArgs>),
    /// List the grants
    #[command(visible_alias = "ls")]
    List(Lazy<ListArgs>),
    /// Take a grant back
    #[command(visible_alias = "rm")]
    Remove(Lazy<RemoveArgs>),
}

/// Arguments of `grants add`.
///
/// Without --ref, the grant is over the refs that are in use: in the config, and in the profiles of
/// the agent that --agent names. Writes the section `grants` of the state folder's config; a daemon
/// that runs takes it up at once.
#[derive(Args)]
#[command(group(ArgGroup::new("to").required(true)))]
struct AddArgs {
    /// A name for the grant: a-z, 0-9 and . _ -
    name: String,

    /// To the user of this number
    #[arg(long, value_name = "N", group = "to")]
    uid: Option<u32>,

    /// To the user of this name
    #[arg(long, value_name = "NAME", group = "to")]
    user: Option<String>,

    /// To the processes of this systemd unit of the system
    #[arg(long, value_name = "UNIT", group = "to")]
    unit: Option<String>,

    /// To whoever has the capability that is written to this new file
    #[arg(long, value_name = "FILE", group = "to")]
    capability_file: Option<PathBuf>,

    /// A ref, or all below a name: vault:openai/*; may be given more than once
    #[arg(long = "ref", value_name = "REF")]
    refs: Vec<String>,

    /// What may be done [default: use]; may be given more than once
    #[arg(long = "verb", value_name = "VERB", value_enum)]
    verbs: Vec<VerbName>,

    /// When it ends: a duration (90d, 12h) or a date (2027-01-31)
    #[arg(long, value_name = "WHEN")]
    until: Option<String>,

    /// Only with a person's yes: daemon.confirm in the config names the program that asks
    #[arg(long)]
    confirm: bool,
}

#[derive(Args)]
struct ListArgs {}

#[derive(Args)]
struct RemoveArgs {
    /// The grant
    name: String,
}

/// The verbs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VerbName {
    /// Resolve refs, get access tokens
    Use,
    /// Get and list records
    Read,
    /// Have a token renewed before its time
    Refresh,
    /// Change what the vault holds, with a keyslot's secret
    Admin,
}

impl VerbName {
    fn verb(self) -> Verb {
        match self {
            VerbName::Use => Verb::Use,
            VerbName::Read => Verb::Read,
            VerbName::Refresh => Verb::Refresh,
            VerbName::Admin => Verb::Admin,
        }
    }
}

/// Runs `grants`.
pub fn run(context: &Context, args: GrantsArgs) -> Done {
    if context.has_foreign_config() {
        let why = "grants stand in the state folder's own config only";
        return Err(
            CliError::because("find the grants", Code::Usage, why).hint("leave out --config")
        );
    }
    context.own_folder("find the grants")?;
    match args.command {
        GrantsCommand::Add(args) => add(context, &args.0),
        GrantsCommand::List(_) => list(context),
        GrantsCommand::Remove(args) => remove(context, &args.0),
    }
}

fn place(name: &str) -> Path {
    Path::of_keys(["grants", name])
}

fn add(context: &Context, args: &AddArgs) -> Done {
    let doing = "add the grant";
    if !is_grant_name(&args.name) {
        let why = "the name of a grant has a-z, 0-9 and . _ -, at most 64 of them";
        return Err(CliError::because(doing, Code::NameInvalid, why));
    }
    let until = match &args.until {
        Some(text) => Some(when::parse(text, clock::now()).doing("read --until")?),
        None => None,
    };
    let made = args.capability_file.as_ref().map(|_| capability::make());
    let digest = made.as_ref().map(|(_, digest)| *digest);
    let mut grant = Map::new();
    grant.insert("to".to_owned(), holder(args, digest));
    if args.refs.is_empty() {
        grant.insert("agent".to_owned(), context.agent.as_str().into());
    } else {
        grant.insert("refs".to_owned(), args.refs.clone().into());
    }
    let verbs = args.verbs.iter().map(|verb| verb.verb());
    let verbs: Vec<&str> = verbs.map(Verb::as_str).collect();
    if !verbs.is_empty() {
        grant.insert("verbs".to_owned(), verbs.into());
    }
    if let Some(at) = until {
        grant.insert("until".to_owned(), when::rfc3339(at).into());
    }
    if args.confirm {
        grant.insert("confirm".to_owned(), true.into());
    }
    let mut put = |document: &mut crate::document::Document| {
        if document.get(&place(&args.name)).is_some() {
            let why = format!("there is a grant {} already", args.name);
            return Err(Failure::new(Code::ConfigConflict, why));
        }
        Ok(document.set(&place(&args.name), Value::Object(grant.clone()))?)
    };
    // What would be refused is refused before there is a file that opens nothing.
    let tried = state_files::try_edit_config(context, &mut put).doing(doing);
    tried.map_err(|error| match error.failure.code {
        Code::ConfigConflict => {
            let take = format!("take it back first: reseal grants remove {}", args.name);
            error.hint(take)
        }
        _ => error,
    })?;
    if let (Some(path), Some((text, _))) = (&args.capability_file, &made) {
        write_capability(path, text)?;
    }
    state_files::edit_config(context, put).doing(doing)?;
    take_up(context);
    told(context, args)
}

fn write_capability(path: &std::path::Path, text: &SecretValue) -> Result<(), CliError> {
    let doing = "write the capability";
    if path.symlink_metadata().is_ok() {
        let why = format!("{} exists already", shown_path(path));
        return Err(CliError::because(doing, Code::FileExists, why).hint("name a new file"));
    }
    files::write_secret(path, None, &with_line_end(text)).doing(doing)
}

/// Has a daemon that runs read the grants now: it would anyway, a moment later.
fn take_up(context: &Context) {
    if let Ok(Some(mut daemon)) = session::daemon(context) {
        // What can't be resolved has nothing to do with the grants, and is told elsewhere.
        let _ = daemon.call(Request::Reload, Vec::new());
    }
}

fn told(context: &Context, args: &AddArgs) -> Done {
    let daemon = &context.settings()?.daemon;
    if args.confirm && daemon.confirm.is_none() {
        context.out.warn(NOBODY_ASKS);
    }
    if daemon.share == Share::Own {
        context.out.warn(NOBODY_REACHES);
    }
    if let Some(user) = &args.user
        && let Ok(None) = users::uid_of(user)
    {
        let user = super::output::shown(user);
        let text = format!("there is no user {user} in /etc/passwd: nobody has the grant yet");
        context.out.warn(&text);
    }
    if context.out.json {
        context
            .out
            .document(&json!({"name": args.name, "added": true}))?;
        return Ok(0);
    }
    context.out.say(&format!("Granted {}.", args.name));
    if let Some(path) = &args.capability_file {
        let path = shown_path(path);
        context.out.say(&format!(
            "{path} opens it, for the program that {} names it to.",
            capability::FILE_VARIABLE
        ));
    }
    Ok(0)
}

fn holder(args: &AddArgs, digest: Option<Digest>) -> Value {
    if let Some(digest) = digest {
        let hex = data_encoding::HEXLOWER.encode(&digest);
        return json!({"capability": format!("sha256:{hex}")});
    }
    match (&args.uid, &args.user, &args.unit) {
        (Some(uid), _, _) => json!({"uid": uid}),
        (None, Some(user), _) => json!({"user": user}),
        (None, None, unit) => json!({"unit": unit}),
    }
}

fn with_line_end(text: &SecretValue) -> SecretValue {
    let len = text.len();
    SecretValue::build(len + 1, |out| {
        out[..len].copy_from_slice(text.expose());
        out[len] = b'\n';
    })
}

/// What is said of grants that want a person's yes.
const NOBODY_ASKS: &str = "what wants a person's yes is refused until daemon.confirm in the config \
     names a program that asks";

/// What is said of grants where the daemon's socket is for its own user.
const NOBODY_REACHES: &str = "no other user reaches the daemon's socket until daemon.share in the \
     config is \"everyone\" or \"group\"";

fn list(context: &Context) -> Done {
    let settings = context.settings()?;
    let grants = &settings.grants.grants;
    let asks = settings.daemon.confirm.as_ref().map(|asks| &asks.command);
    if context.out.json {
        let all: Vec<Value> = grants.iter().map(as_json).collect();
        context
            .out
            .document(&json!({"grants": all, "confirmedBy": asks}))?;
        return Ok(0);
    }
    if grants.is_empty() {
        context
            .out
            .say("Nothing is granted: the daemon answers its own user and root.");
        return Ok(0);
    }
    let mut table = Table::new(vec!["GRANT", "TO", "VERBS", "REFS", "UNTIL"], 3);
    for grant in grants {
        let verbs: Vec<&str> = grant.verbs.iter().map(|verb| verb.as_str()).collect();
        let mut until = grant
            .until
            .map_or_else(|| "-".to_owned(), when::date_and_time);
        if grant.until.is_some_and(|until| until <= clock::now()) {
            until.push_str(", ended");
        }
        if grant.confirm {
            until.push_str(", confirm");
        }
        table.row(vec![
            grant.name.as_str().into(),
            grant.to.to_string().into(),
            verbs.join(" ").into(),
            scope_text(&grant.scope).into(),
            until.into(),
        ]);
    }
    table.print(&context.out)?;
    if grants.iter().any(|grant| grant.confirm) {
        match asks {
            Some(program) => {
                let program = shown_path(program);
                context.out.say(&format!("A person is asked by {program}."));
            }
            None => context.out.warn(NOBODY_ASKS),
        }
    }
    Ok(0)
}

fn scope_text(scope: &Scope) -> String {
    match scope {
        Scope::InUse(agent) => format!("in use for agent {agent}"),
        Scope::Refs(patterns) => {
            let texts: Vec<String> = patterns.iter().map(ToString::to_string).collect();
            texts.join(" ")
        }
    }
}

fn as_json(grant: &Grant) -> Value {
    let to = match &grant.to {
        Holder::Uid(uid) => json!({"uid": uid}),
        Holder::User(user) => json!({"user": user}),
        Holder::Unit(unit) => json!({"unit": unit}),
        Holder::Capability(digest) => {
            let hex = data_encoding::HEXLOWER.encode(digest);
            json!({"capability": format!("sha256:{hex}")})
        }
    };
    let verbs: Vec<&str> = grant.verbs.iter().map(|verb| verb.as_str()).collect();
    let (refs, agent) = match &grant.scope {
        Scope::InUse(agent) => (Value::Null, Some(agent.as_str())),
        Scope::Refs(patterns) => {
            let texts: Vec<String> = patterns.iter().map(ToString::to_string).collect();
            (json!(texts), None)
        }
    };
    json!({
        "name": grant.name,
        "to": to,
        "refs": refs,
        "agent": agent,
        "verbs": verbs,
        "until": grant.until.map(when::rfc3339),
        "confirm": grant.confirm,
    })
}

fn remove(context: &Context, args: &RemoveArgs) -> Done {
    let doing = "remove the grant";
    let take = |document: &mut crate::document::Document| {
        if !is_grant_name(&args.name) || !document.remove(&place(&args.name))? {
            let why = format!("there is no grant {}", args.name);
            return Err(Failure::new(Code::ConfigPathAbsent, why));
        }
        Ok(())
    };
    state_files::edit_config(context, take).doing(doing)?;
    take_up(context);
    if context.out.json {
        context
            .out
            .document(&json!({"name": args.name, "removed": true}))?;
    } else {
        context
            .out
            .say(&format!("Took the grant {} back.", args.name));
    }
    Ok(0)
}
