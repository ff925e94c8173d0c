//! `reseal models auth logout`: revoke where the provider can, then forget.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::session::{self, UnlockArgs};
use crate::cli::state_files;
use crate::config::Config;
use crate::error::{Code, Failure};
use crate::name::{AgentId, ProfileId, RecordName};
use crate::runtime::ground::agent_ids;
use crate::runtime::service::{Reply, Request, Revocation, Service};
use crate::vault::Expect;
use clap::Args;
use serde_json::json;

#[derive(Args)]
pub(super) struct LogoutArgs {
    /// The profile
    #[arg(value_name = "PROFILE")]
    profile: ProfileId,

    /// Don't ask the provider to revoke the tokens: forget them here only
    #[arg(long)]
    local_only: bool,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "sign out";

/// `models auth logout` of a profile, after the person agreed.
pub(in crate::cli) fn sign_out(
    context: &Context,
    profile: &ProfileId,
    unlock: &UnlockArgs,
) -> Done {
    let args = LogoutArgs {
        profile: profile.clone(),
        local_only: false,
        yes: true,
        unlock: unlock.clone(),
    };
    run(context, &args)
}

pub(super) fn run(context: &Context, args: &LogoutArgs) -> Done {
    let store = state_files::profiles(context, &context.agent).doing("read the profiles")?;
    let absent = || {
        let why = format!("{} has no profile {}", store.name(), args.profile);
        CliError::because(DOING, Code::ProfileAbsent, why)
    };
    let profile = store.get(&args.profile).ok_or_else(absent)?;
    let reference = profile.kind.credential().reference().cloned();
    let config = state_files::config(context).doing("read the config")?;
    // What lies in another vault is its owner's.
    let record = reference
        .as_ref()
        .and_then(|reference| config.own_record(reference));
    let users = users(context, &config, record.as_ref(), &args.profile)?;
    if !args.yes && !context.confirm(DOING, &question(args, &users, record.as_ref()), "--yes")? {
        context.out.say("Nothing was changed.");
        return Ok(0);
    }
    // The tokens first: a profile without them is only untidy, tokens without a profile would be
    // forgotten and still valid.
    let revoked = match &record {
        Some(name) => {
            let mut service = session::service(context, &args.unlock)?;
            forget(service.as_mut(), name, args.local_only)?
        }
        None => None,
    };
    for (agent, id) in &users {
        let doing = format!("remove the profile {id} of agent {agent}");
        state_files::edit_profiles(context, agent, |store| store.remove(id).map(|_| ()))
            .doing(doing)?;
    }
    report(context, args, &users, revoked.as_ref())
}

/// Every profile that points at the same record, of any agent.
fn users(
    context: &Context,
    config: &Config,
    record: Option<&RecordName>,
    id: &ProfileId,
) -> Result<Vec<(AgentId, ProfileId)>, CliError> {
    let mut users = vec![(context.agent.clone(), id.clone())];
    let Some(record) = record else {
        return Ok(users);
    };
    for agent in agent_ids(&context.state).doing("list the agents")? {
        let store = state_files::profiles(context, &agent).doing("read the profiles")?;
        for (profile, used) in store.refs() {
            let user = (agent.clone(), profile.id.clone());
            if config.own_record(used).as_ref() == Some(record) && !users.contains(&user) {
                users.push(user);
            }
        }
    }
    Ok(users)
}

fn question(
    args: &LogoutArgs,
    users: &[(AgentId, ProfileId)],
    record: Option<&RecordName>,
) -> String {
    let mut text = match record {
        Some(record) => format!(
            "Sign out {} and remove {record} from the vault",
            args.profile
        ),
        None => format!("Remove the profile {}", args.profile),
    };
    let others: Vec<String> = users[1..]
        .iter()
        .map(|(agent, id)| format!("{id} of agent {agent}"))
        .collect();
    if !others.is_empty() {
        text.push_str(&format!(" (also used by {})", others.join(", ")));
    }
    text.push('?');
    text
}

/// Takes the record out of the vault; an account is revoked before. What the record holds counts,
/// not what the profile calls it: a `token` profile may give out an account's token.
fn forget(
    service: &mut dyn Service,
    name: &RecordName,
    local_only: bool,
) -> Result<Option<Revocation>, CliError> {
    let sign_out = Request::SignOut {
        name: name.clone(),
        local_only,
    };
    let mut outcome = service.call(sign_out, Vec::new());
    if let Err(failure) = &outcome
        && failure.code == Code::RefInvalid
    {
        let remove = Request::Remove {
            name: name.clone(),
            expect: Expect::Any,
        };
        outcome = service.call(remove, Vec::new());
    }
    match outcome {
        Ok(answer) => match answer.reply {
            Reply::SignedOut(revocation) => Ok(Some(revocation)),
            Reply::Committed(_) => Ok(None),
            other => Err(session::unexpected(DOING, &other)),
        },
        // Somebody removed it before: what is wanted is done.
        Err(Failure {
            code: Code::RecordAbsent,
            ..
        }) => Ok(None),
        Err(failure) => Err(CliError::new(DOING, failure)),
    }
}

fn report(
    context: &Context,
    args: &LogoutArgs,
    users: &[(AgentId, ProfileId)],
    revoked: Option<&Revocation>,
) -> Done {
    if context.out.json {
        let removed: Vec<_> = users
            .iter()
            .map(|(agent, id)| json!({"agentId": agent, "profileId": id}))
            .collect();
        context.out.document(&json!({
            "profileId": args.profile,
            "removed": removed,
            "revocation": revoked.map(Revocation::as_str),
            "revocationError": revoked.and_then(Revocation::failure),
        }))?;
        return Ok(0);
    }
    let what = match revoked {
        None => "removed",
        Some(Revocation::Revoked) => "signed out; the provider revoked the tokens",
        Some(Revocation::Skipped) => "forgotten here; the provider was not asked to revoke it",
        Some(Revocation::NotOffered) => "forgotten here; the provider has no way to revoke tokens",
        Some(Revocation::Failed(_)) => "forgotten here",
    };
    context.out.say(&format!("{}: {what}.", args.profile));
    if let Some(Revocation::Failed(failure)) = revoked {
        context.out.warn(&format!(
            "the provider did not revoke the tokens: {}. They end by themselves; to end them now, \
             sign out in your account there.",
            failure.message
        ));
    }
    Ok(0)
}
