//! `reseal models auth list`.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Done};
use crate::cli::output::{Tone, shown_path};
use crate::cli::profiles::Profiles;
use crate::cli::table::{Table, cell};
use crate::cli::when;
use crate::profile::eligibility::credential;
use crate::profile::{Expiry, Profile, ProfileType, Reason, normal_provider};
use crate::reference::SecretRef;
use clap::Args;
use serde::Serialize;

#[derive(Args)]
pub(super) struct ListArgs {
    /// Only the profiles of this provider
    #[arg(long, value_name = "ID")]
    provider: Option<String>,
}

/// A profile as `--json` shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: String,
    provider: String,
    #[serde(rename = "type")]
    profile_type: &'static str,
    label: String,
    #[serde(rename = "ref")]
    reference: Option<SecretRef>,
    expires_at: Option<String>,
    usable: bool,
    reason: Option<&'static str>,
}

pub(super) fn run(context: &Context, args: &ListArgs) -> Done {
    let profiles = Profiles::read(context)?;
    let wanted = args.provider.as_deref().map(normal_provider);
    let chosen: Vec<&Profile> = profiles
        .store
        .profiles()
        .iter()
        .filter(|profile| {
            wanted
                .as_ref()
                .is_none_or(|wanted| profile.provider == *wanted)
        })
        .collect();
    if context.out.json {
        let entries: Vec<Entry> = chosen.iter().map(|p| entry(p, &profiles)).collect();
        context.out.document(&serde_json::json!({
            "agentId": context.agent,
            "agentDir": context.state.agent_dir(&context.agent),
            "authStatePath": context.state.auth_state(&context.agent),
            "provider": wanted,
            "profiles": entries,
        }))?;
        return Ok(0);
    }
    if chosen.is_empty() {
        context.out.say(&format!(
            "There are no profiles in {}. Make one with `reseal models auth paste-api-key`.",
            shown_path(&context.state.auth_profiles(&context.agent))
        ));
    } else {
        table(&chosen, &profiles).print(&context.out)?;
    }
    warn(context, &profiles)?;
    Ok(0)
}

fn entry(profile: &Profile, profiles: &Profiles) -> Entry {
    let verdict = credential(&profile.kind, profiles.now);
    Entry {
        id: profile.id.to_string(),
        provider: profile.provider.clone(),
        profile_type: profile.kind.profile_type().as_str(),
        label: label(profile),
        reference: profile.kind.credential().reference().cloned(),
        expires_at: match profile.kind.expires() {
            Expiry::At(at) => Some(when::rfc3339(at)),
            Expiry::Never | Expiry::Invalid => None,
        },
        usable: verdict.is_ok(),
        reason: verdict.err().map(Reason::as_str),
    }
}

fn label(profile: &Profile) -> String {
    let name = profile.display_name.as_ref().or(profile.email.as_ref());
    name.cloned()
        .unwrap_or_else(|| profile.id.name().to_owned())
}

fn table(chosen: &[&Profile], profiles: &Profiles) -> Table {
    let mut table = Table::new(vec!["PROFILE", "TYPE", "STATE", "EXPIRES", "REF"], 4);
    for profile in chosen {
        let state = match credential(&profile.kind, profiles.now) {
            Ok(()) => cell("usable", Tone::Good),
            Err(reason) => cell(reason.as_str(), Tone::Bad),
        };
        let expires = match profile.kind.expires() {
            Expiry::At(at) => when::date(at),
            Expiry::Never => String::new(),
            Expiry::Invalid => "invalid".to_owned(),
        };
        let reference = profile.kind.credential().reference();
        table.row(vec![
            profile.id.as_str().into(),
            profile.kind.profile_type().as_str().into(),
            state,
            expires.into(),
            reference
                .map(ToString::to_string)
                .unwrap_or_default()
                .into(),
        ]);
    }
    table
}

/// Says what in the file is not as it should be.
pub(super) fn warn(context: &Context, profiles: &Profiles) -> Result<(), CliError> {
    for plain in profiles.store.plaintext() {
        let is_oauth = profiles
            .store
            .get(&plain.profile)
            .is_some_and(|profile| profile.kind.profile_type() == ProfileType::OAuth);
        let advice = if is_oauth {
            let provider = crate::cli::output::shown(plain.profile.provider());
            format!("it is not used; sign in again: reseal models auth login --provider {provider}")
        } else {
            let id = &plain.profile;
            format!("seal it with `reseal secrets set {id} --ref vault:NAME --move`")
        };
        context.out.warn(&format!(
            "{} holds plaintext in \"{}\"; {advice}",
            plain.profile, plain.field
        ));
    }
    for ignored in profiles.store.ignored() {
        let id = crate::cli::output::shown(&ignored.id);
        context.out.warn(&format!(
            "the entry \"{id}\" is no profile that can be used"
        ));
    }
    Ok(())
}
