//! `reseal auth clear` and `reseal auth mcp forget`.

use super::kept;
use super::servers::{ConfigArgs, Servers, at_base, identity};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::output::{Tone, shown};
use crate::cli::session::{self, UnlockArgs, asking};
use crate::error::{Code, Failure};
use crate::mcp::keyring::InKeyring;
use crate::mcp::{Identity, McpServer, Persist, Transport};
use crate::name::RecordName;
use crate::runtime::service::{Reply, Request, Revocation, Service};
use crate::token_store::fast_agent::Layout;
use crate::token_store::{Keyring, TokenStore};
use clap::Args;
use serde_json::json;
use std::fmt;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct ClearArgs {
    /// The name of a server
    #[arg(value_name = "SERVER")]
    server: Option<String>,

    /// The URL whose tokens go
    #[arg(long, value_name = "URL")]
    identity: Option<String>,

    /// The tokens of every server
    #[arg(long, conflicts_with_all = ["server", "identity"])]
    all: bool,

    #[command(flatten)]
    how: HowArgs,
}

#[derive(Args)]
pub(super) struct ForgetArgs {
    /// The name of a server
    #[arg(value_name = "SERVER", required_unless_present_any = ["resource", "all"])]
    server: Option<String>,

    /// The URL whose tokens go
    #[arg(long, value_name = "URL")]
    resource: Option<String>,

    /// The tokens of every server
    #[arg(long, conflicts_with_all = ["server", "resource"])]
    all: bool,

    #[command(flatten)]
    how: HowArgs,
}

/// What goes, and how.
#[derive(Args)]
struct HowArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// Don't ask the server's provider to revoke the tokens: forget them here only
    #[arg(long)]
    local_only: bool,

    #[command(flatten)]
    config: ConfigArgs,

    /// Without a daemon: read the passphrase from a private file
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,

    /// Without a daemon: read a 32-byte key from a private file
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

const DOING: &str = "remove the tokens";

pub(super) fn run(context: &Context, args: &ClearArgs) -> Done {
    if args.server.is_none() && args.identity.is_none() && !args.all {
        context
            .out
            .tell("Provide --identity, a server name, or use --all");
        return Ok(1);
    }
    clear(context, args)
}

pub(super) fn forget(context: &Context, args: ForgetArgs) -> Done {
    let args = ClearArgs {
        server: args.server,
        identity: args.resource,
        all: args.all,
        how: args.how,
    };
    match clear(context, &args) {
        // fast-agent's sentence and exit code.
        Err(error) if error.failure.code == Code::NoInput && !args.how.yes => {
            let out = &context.out;
            out.tell("Non-interactive credential removal requires --yes.");
            Ok(2)
        }
        outcome => outcome,
    }
}

fn clear(context: &Context, args: &ClearArgs) -> Done {
    let how = &args.how;
    let servers = Servers::read(context, &how.config)?;
    if let Some(name) = &args.server
        && servers.named(name)?.is_none()
        && !name.contains("://")
    {
        let name = shown(name);
        context
            .out
            .tell(&format!("Server '{name}' not found in config"));
        return Ok(1);
    }
    let mut chosen: Vec<Target> = Vec::new();
    for target in args.server.iter().chain(&args.identity) {
        let server = servers.named(target)?;
        let legacy = server.map_or_else(|| Identity::legacy(target), |one| one.legacy.clone());
        let key = legacy.key();
        chosen.push((identity(&servers, target, DOING)?, key));
    }
    if !how.yes && !context.confirm(DOING, &question(&chosen), "--yes")? {
        context.out.say("Nothing was changed.");
        return Ok(0);
    }
    // The other options of `UnlockArgs` are not here: fast-agent's `--identity` is another one.
    let unlock = UnlockArgs {
        passphrase_file: how.passphrase_file.clone(),
        key_file: how.key_file.clone(),
        ..UnlockArgs::default()
    };
    let work = Work {
        context,
        servers: &servers,
        unlock: &unlock,
        local_only: how.local_only,
    };
    report(context, &work.remove(chosen, args.all)?)
}

/// An identity, and what its entries in the keyring are found by.
type Target = (Identity, String);

/// A removal.
struct Work<'a> {
    context: &'a Context,
    servers: &'a Servers,
    unlock: &'a UnlockArgs,
    local_only: bool,
}

impl Work<'_> {
    /// Removes tokens from the keyring and from the vault. Who has them in the keyring is not asked
    /// to open the vault, but told that nobody looked into it.
    fn remove(&self, chosen: Vec<Target>, every: bool) -> Result<Outcome, CliError> {
        let context = self.context;
        let mut outcome = Outcome::default();
        let seen = match kept::readable(context, asking(context)) {
            Ok(store) => self
                .held(&store, &chosen, every)
                .map(|held| (Some(store), held)),
            Err(why) if why.is_absence() => Ok((None, Vec::new())),
            Err(why) => Err(Failure::from(why)),
        };
        let (ring, held) = seen.unwrap_or_else(|failure| {
            outcome.failed = self.unseen(&chosen, every, &failure);
            (None, Vec::new())
        });
        let is_elsewhere = |(identity, _): &&Target| {
            let is_held = held.iter().any(|(held, _)| held == identity);
            !is_held || kept::is_in_vault(context, identity)
        };
        let in_question = every || chosen.iter().any(|target| is_elsewhere(&target));
        let is_open = session::daemon(context)?.is_some() || self.unlock.is_given();
        let service = match kept::has_vault(context)? {
            true if in_question || is_open => Some(session::service(context, self.unlock)?),
            true => {
                let text = "the vault is locked, and may hold older tokens of the server";
                context.out.warn(text);
                None
            }
            // Says that there is none.
            false if ring.is_none() && outcome.failed.is_empty() => {
                Some(session::service(context, self.unlock)?)
            }
            false => None,
        };
        if let Some(store) = &ring {
            self.clear_keyring(store, &held, &mut outcome);
        }
        if let Some(mut service) = service {
            let mut names = Vec::new();
            for (identity, _) in &chosen {
                names.push(identity.record().map_err(Failure::from).doing(DOING)?);
            }
            if every {
                names = all(service.as_mut())?;
            }
            sign_out_all(service.as_mut(), names, self.local_only, &mut outcome);
        }
        // Without its mark, what an unread keyring holds would be used again.
        if outcome.failed.is_empty() && ring.is_some() {
            for (identity, _) in chosen.iter().chain(&held) {
                kept::set_in_vault(context, identity, false).doing(DOING)?;
            }
            if every {
                kept::remove_marks(context).doing(DOING)?;
            }
        }
        Ok(outcome)
    }

    /// What may be in a keyring that can't be read.
    fn unseen(&self, chosen: &[Target], every: bool, why: &Failure) -> Vec<(From, CliError)> {
        let may_hold = |(identity, _): &&Target| {
            let meant = self.servers.persist_of(identity);
            meant.is_empty() || meant.contains(&Persist::Keyring)
        };
        let some = chosen.iter().filter(may_hold);
        let some = some.map(|(identity, _)| From::Keyring(identity.clone()));
        some.chain(every.then_some(From::Service))
            .map(|from| (from, CliError::new(DOING, why.clone())))
            .collect()
    }

    /// Those of the chosen that have something in the keyring.
    fn held(
        &self,
        store: &Keyring,
        chosen: &[Target],
        every: bool,
    ) -> Result<Vec<Target>, Failure> {
        let listed = if every {
            store.servers()?
        } else {
            Default::default()
        };
        let listed = listed.into_iter().map(|key| (Identity::of(&key), key));
        let mut held = Vec::new();
        for target in chosen.iter().cloned().chain(listed) {
            if store.load(&target.1)?.is_some() || store.client_info(&target.1)?.is_some() {
                held.push(target);
            }
        }
        Ok(held)
    }

    fn clear_keyring(&self, store: &Keyring, held: &[Target], outcome: &mut Outcome) {
        for (identity, key) in held {
            let from = From::Keyring(identity.clone());
            match self.sign_out_of(store, identity, key) {
                Ok(None) => {}
                Ok(Some(revocation)) => outcome.removed.push((from, revocation)),
                Err(failure) => outcome.failed.push((from, CliError::new(DOING, failure))),
            }
        }
    }

    /// Revokes at the server of the config with this identity, else at the one that fast-agent's
    /// rule gives for its name.
    fn sign_out_of(
        &self,
        store: &Keyring,
        identity: &Identity,
        key: &str,
    ) -> Result<Option<Revocation>, Failure> {
        let mut remote = self.servers.remote();
        let known = remote.find(|(_, url)| Identity::of(url.as_str()) == *identity);
        let server = match known {
            Some((server, _)) => server.clone(),
            None => match at_base(key, Transport::Http) {
                Ok(url) => McpServer::at(&url, Transport::Http, Persist::Keyring),
                // Something else than a URL: nobody to ask.
                Err(_) => {
                    let any = store.clear(key)?;
                    return Ok(any.then_some(Revocation::NotOffered));
                }
            },
        };
        kept::with(self.context, &server, self.unlock, store, |kept| {
            InKeyring { id: key, ..*kept }.sign_out(self.local_only)
        })
    }
}

/// What a person agrees to: where the tokens are for, whatever the config calls it.
fn question(chosen: &[Target]) -> String {
    let names = chosen.iter().map(|(one, _)| shown(one.as_str()));
    let names: Vec<String> = names.collect();
    match names.as_slice() {
        [] => "Remove the tokens of all servers?".to_owned(),
        names => format!("Remove the tokens of {}?", names.join(" and ")),
    }
}

/// What was removed, and what could not be.
#[derive(Default)]
struct Outcome {
    removed: Vec<(From, Revocation)>,
    failed: Vec<(From, CliError)>,
}

/// Where tokens were.
#[derive(Clone, Debug, PartialEq, Eq)]
enum From {
    Vault(RecordName),
    Keyring(Identity),
    /// All that fast-agent's service in the keyring may have.
    Service,
}

impl From {
    /// As JSON has it: the name of the member, and its value.
    fn member(&self) -> (&'static str, String) {
        match self {
            From::Vault(name) => ("record", name.to_string()),
            From::Keyring(identity) => ("keyring", identity.to_string()),
            From::Service => ("service", Layout::Mcp.service().to_owned()),
        }
    }
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            From::Vault(name) => name.fmt(f),
            From::Keyring(identity) => write!(f, "{} in the keyring", shown(identity.as_str())),
            From::Service => write!(f, "{} in the keyring", Layout::Mcp.service()),
        }
    }
}

/// Signs out of all; one that can't be removed does not keep the others.
fn sign_out_all(
    service: &mut dyn Service,
    names: Vec<RecordName>,
    local_only: bool,
    outcome: &mut Outcome,
) {
    for name in names {
        match sign_out(service, &name, local_only) {
            Ok(None) => {}
            Ok(Some(revocation)) => outcome.removed.push((From::Vault(name), revocation)),
            Err(error) => outcome.failed.push((From::Vault(name), error)),
        }
    }
}

/// The records of all servers.
fn all(service: &mut dyn Service) -> Result<Vec<RecordName>, CliError> {
    let request = Request::ListUnder {
        prefix: "mcp/".to_owned(),
    };
    match session::ask(service, DOING, request, Vec::new())?.reply {
        Reply::Records(records) => Ok(records.into_iter().map(|record| record.name).collect()),
        other => Err(session::unexpected(DOING, &other)),
    }
}

/// Revokes and forgets; `None` if there is nothing.
fn sign_out(
    service: &mut dyn Service,
    name: &RecordName,
    local_only: bool,
) -> Result<Option<Revocation>, CliError> {
    let request = Request::SignOut {
        name: name.clone(),
        local_only,
    };
    match service.call(request, Vec::new()) {
        Ok(answer) => match answer.reply {
            Reply::SignedOut(revocation) => Ok(Some(revocation)),
            other => Err(session::unexpected(DOING, &other)),
        },
        // Not there, or something of somebody else's.
        Err(failure) if matches!(failure.code, Code::RecordAbsent | Code::RefInvalid) => Ok(None),
        Err(failure) => Err(CliError::new(DOING, failure)),
    }
}

/// Reports; the exit code is that of the first failure.
fn report(context: &Context, outcome: &Outcome) -> Done {
    let out = &context.out;
    let Outcome { removed, failed } = outcome;
    let exit = failed.first().map_or(0, |(_, error)| error.exit_code());
    if out.json {
        let removed = removed.iter().map(|(from, revocation)| {
            let (member, name) = from.member();
            json!({member: name, "revocation": revocation.as_str(),
                "revocationError": revocation.failure()})
        });
        let failed = failed.iter().map(|(from, error)| {
            let (member, name) = from.member();
            json!({member: name, "error": error.failure})
        });
        out.document(&json!({"removed": removed.collect::<Vec<_>>(),
            "failed": failed.collect::<Vec<_>>()}))?;
        return Ok(exit);
    }
    for (name, revocation) in removed {
        match revocation {
            Revocation::Revoked => out.detail(&format!("{name}: revoked.")),
            Revocation::Skipped => out.detail(&format!("{name}: forgotten here only.")),
            Revocation::NotOffered => out.detail(&format!("{name}: nobody to revoke it.")),
            Revocation::Failed(failure) => out.warn(&format!(
                "{name}: forgotten here, but not revoked: {}",
                failure.message
            )),
        }
    }
    for (name, error) in failed {
        let why = &error.failure.message;
        out.labelled(Tone::Bad, "error:", &format!("{name}: not removed: {why}"));
    }
    match (removed.as_slice(), failed.as_slice()) {
        ([], []) => out.say("No tokens found or nothing removed."),
        ([], _) => {}
        (_, []) => out.say("Tokens removed."),
        (some, rest) => out.tell(&format!(
            "Tokens of {} removed, of {} not.",
            some.len(),
            rest.len()
        )),
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::service::Answer;
    use crate::secret::SecretValue;

    /// The record in the middle can't be removed: no real vault refuses one and takes the next.
    struct OneFails;

    impl Service for OneFails {
        fn call(&mut self, request: Request, _: Vec<SecretValue>) -> Result<Answer, Failure> {
            match request {
                Request::SignOut { name, .. } if name.to_string().ends_with('b') => {
                    Err(Failure::new(Code::FileIo, "the disk is full"))
                }
                Request::SignOut { .. } => Ok(Answer::plain(Reply::SignedOut(Revocation::Skipped))),
                _ => Err(Failure::new(Code::Bug, "nothing else is asked")),
            }
        }
    }

    #[test]
    fn one_that_can_not_be_removed_does_not_keep_the_others() {
        let names = ["mcp/https/a", "mcp/https/b", "mcp/https/c"].map(|name| name.parse().unwrap());
        let mut outcome = Outcome::default();
        sign_out_all(&mut OneFails, names.to_vec(), true, &mut outcome);
        let removed: Vec<String> = outcome.removed.iter().map(|(n, _)| n.to_string()).collect();
        assert_eq!(removed, ["mcp/https/a", "mcp/https/c"]);
        assert_eq!(outcome.failed.len(), 1);
        assert_eq!(outcome.failed[0].0.to_string(), "mcp/https/b");
        assert_eq!(outcome.failed[0].1.failure.code, Code::FileIo);
    }

    #[test]
    fn the_question_names_the_identities() {
        let one = Identity::of("https://h.example/mcp?key=S");
        let one = (one, "https://h.example/mcp?key=S".to_owned());
        assert_eq!(question(&[one]), "Remove the tokens of https://h.example?");
        assert_eq!(question(&[]), "Remove the tokens of all servers?");
    }
}
