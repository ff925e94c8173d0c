//! `reseal auth codex-login`, `codexplan` and `codex-clear`: fast-agent's words for signing in with
//! ChatGPT. The account is that of the profiles of `openai-codex`.

use super::status::CODEX;
use crate::cli::context::Context;
use crate::cli::error::Done;
use crate::cli::models::{login, logout};
use crate::cli::profiles::Profiles;
use crate::cli::session::UnlockArgs;
use crate::name::ProfileId;
use crate::oauth::provider::FlowKind;
use clap::Args;

#[derive(Args)]
pub(super) struct CodexArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

pub(super) fn login(context: &Context, args: &CodexArgs) -> Done {
    let code = login::sign_in_to(context, CODEX, FlowKind::Pkce, args.yes, &args.unlock)?;
    context
        .out
        .say("Codex OAuth login complete. Tokens stored in the vault.");
    Ok(code)
}

pub(super) fn plan(context: &Context, args: &CodexArgs) -> Done {
    if !profiles(context)?.is_empty() {
        context
            .out
            .say("Codex OAuth token already present in the vault.");
        return Ok(0);
    }
    let question = "No Codex OAuth token found. Start OAuth login flow now?";
    if !args.yes && !context.confirm("sign in", question, "--yes")? {
        context.out.say("Nothing was changed.");
        return Ok(0);
    }
    login(context, args)
}

pub(super) fn clear(context: &Context, args: &CodexArgs) -> Done {
    let profiles = profiles(context)?;
    if profiles.is_empty() {
        context.out.say("No tokens found or nothing removed.");
        return Ok(0);
    }
    let question = "Remove Codex OAuth tokens from the vault?";
    if !args.yes && !context.confirm("sign out", question, "--yes")? {
        context.out.say("Nothing was changed.");
        return Ok(0);
    }
    for profile in profiles {
        logout::sign_out(context, &profile, &args.unlock)?;
    }
    Ok(0)
}

/// The profiles of Codex.
fn profiles(context: &Context) -> Result<Vec<ProfileId>, crate::cli::error::CliError> {
    let profiles = Profiles::read(context)?;
    let codex = profiles.store.profiles().iter();
    let codex = codex.filter(|profile| profile.provider == CODEX);
    Ok(codex.map(|profile| profile.id.clone()).collect())
}
