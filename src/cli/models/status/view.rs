//! `models status` for people, and one line a profile for scripts.

use super::overview::{ConfigKey, Overview, ProfileView, ProviderView};
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::models::list;
use crate::cli::output::{Tone, shown, shown_path};
use crate::cli::table::{Cell, Table, cell};
use crate::name::RecordName;
use crate::profile::health::Status;
use crate::profile::{Credential, Profile};
use crate::reference::SecretRef;
use crate::time::UnixMs;
use std::time::Duration;

/// Prints the table, and says what it can't show.
pub fn table(context: &Context, overview: &Overview) -> Result<(), CliError> {
    let out = &context.out;
    if let Some(default) = &overview.models.default {
        let resolved = overview.models.resolve(default);
        let alias = if resolved == default {
            String::new()
        } else {
            format!(" ({})", shown(default))
        };
        out.say(&format!("Default model: {}{alias}", shown(resolved)));
    }
    if overview.providers.is_empty() {
        let path = shown_path(&context.state.auth_profiles(&context.agent));
        out.say(&format!(
            "There are no profiles in {path}. Make one with `reseal models auth paste-api-key`."
        ));
        return list::warn(context, &overview.profiles);
    }
    let headings = vec!["PROFILE", "TYPE", "STATE", "EXPIRES", "#", "FROM"];
    let mut table = Table::new(headings, 0);
    for provider in &overview.providers {
        for view in &provider.profiles {
            let mut cells = row(overview, view);
            let from = short_credential(&view.profile);
            cells.push(fitting(from, out.columns()).into());
            table.row(cells);
        }
        if provider.profiles.is_empty() {
            table.row(row_without_profiles(provider));
        }
    }
    table.print(out)?;
    if overview.sealed {
        out.say(
            "The vault is locked, so that nobody knows how the OAuth accounts stand. Open it with\n\
             `reseal vault unlock`, or give --passphrase-file, --identity or --key-file.",
        );
    }
    for view in overview.all() {
        if let Some(model) = view
            .waiting
            .as_ref()
            .and_then(|waiting| waiting.model.as_ref())
        {
            let id = &view.profile.id;
            out.say(&shown(&format!("{id} cools down for {model} only.")));
        }
        if view.health.reason == Some("sign_in_needed") {
            let provider = shown(&view.profile.provider);
            let id = &view.profile.id;
            out.warn(&format!(
                "{id} has to sign in again: reseal models auth login --provider {provider}"
            ));
        }
    }
    list::warn(context, &overview.profiles)
}

fn row(overview: &Overview, view: &ProfileView) -> Vec<Cell> {
    let now = overview.profiles.now;
    let expires = match view.health.expires_at {
        Some(at) if at <= now => format!("{} ago", remaining(at.until(now))),
        Some(at) => format!("in {}", remaining(now.until(at))),
        None => String::new(),
    };
    vec![
        view.profile.id.as_str().into(),
        view.profile.kind.profile_type().as_str().into(),
        state(view, now),
        expires.into(),
        view.place
            .map(|place| place.to_string())
            .unwrap_or_default()
            .into(),
    ]
}

/// The widest that a ref is shown at a terminal, so that the ids have room.
const MAX_FROM: usize = 20;

fn fitting(text: String, columns: Option<usize>) -> String {
    if columns.is_none() || text.chars().count() <= MAX_FROM {
        return text;
    }
    let cut: String = text.chars().take(MAX_FROM - 1).collect();
    format!("{cut}…")
}

/// Where the credential comes from, in short: a record of the usual name needs no name.
fn short_credential(profile: &Profile) -> String {
    let usual = RecordName::for_profile(&profile.id).ok();
    let record = profile
        .kind
        .credential()
        .reference()
        .and_then(SecretRef::record);
    match (record, usual) {
        (Some(record), Some(usual))
            if record.as_str().trim_start_matches("oauth/") == usual.as_str() =>
        {
            "vault".to_owned()
        }
        _ => credential_text(profile),
    }
}

fn state(view: &ProfileView, now: UnixMs) -> Cell {
    let bad = |text: &str| cell(text.replace('_', " "), Tone::Bad);
    match (view.health.status, &view.waiting) {
        (Status::Missing | Status::Expired, _) => bad(view.health.reason.unwrap_or("expired")),
        (_, Some(waiting)) => {
            let left = remaining(now.until(waiting.until));
            match &waiting.disabled {
                Some(reason) => cell(format!("disabled:{reason} {left}"), Tone::Bad),
                None => cell(format!("cooldown {left}"), Tone::Warning),
            }
        }
        (Status::Unknown, None) => cell("unknown (sealed)", Tone::Warning),
        (Status::Expiring, None) => cell("expiring", Tone::Warning),
        (Status::Ok | Status::Static, None) if view.place.is_none() => {
            cell("not in the order", Tone::Faint)
        }
        (Status::Ok | Status::Static, None) => cell("ok", Tone::Good),
    }
}

/// A provider without profiles: in the environment, in the config, or nowhere.
fn row_without_profiles(provider: &ProviderView) -> Vec<Cell> {
    let (state, credential) = match (&provider.env, &provider.config_key) {
        (Some(name), _) => (cell("ok", Tone::Good), format!("env:{name}")),
        (None, Some(ConfigKey::Ref(reference))) => (cell("ok", Tone::Good), reference.to_string()),
        (None, Some(ConfigKey::Plaintext)) => (cell("plaintext", Tone::Bad), String::new()),
        (None, Some(ConfigKey::Managed)) => (cell("managed", Tone::Faint), String::new()),
        (None, Some(ConfigKey::Invalid)) => (cell("unresolved ref", Tone::Bad), String::new()),
        (None, None) if provider.in_use => (cell("missing", Tone::Bad), String::new()),
        (None, None) => (cell("no credential", Tone::Faint), String::new()),
    };
    let name = format!("({})", provider.id);
    vec![
        cell(name, Tone::Faint),
        "".into(),
        state,
        "".into(),
        "".into(),
        credential.into(),
    ]
}

/// Prints one line a profile, fields separated by tabs; what is not there is empty.
pub fn plain(context: &Context, overview: &Overview) -> Result<(), CliError> {
    let ms = |at: Option<UnixMs>| at.map(|at| at.0.to_string()).unwrap_or_default();
    let line = |view: &ProfileView| {
        let fields = [
            shown(view.profile.id.as_str()),
            view.profile.kind.profile_type().as_str().to_owned(),
            view.health.status.as_str().to_owned(),
            view.health.reason.unwrap_or_default().to_owned(),
            ms(view.health.expires_at),
            ms(view.waiting.as_ref().map(|waiting| waiting.until)),
            view.place
                .map(|place| place.to_string())
                .unwrap_or_default(),
            shown(&credential_text(&view.profile)),
        ];
        fields.join("\t")
    };
    let lines: Vec<_> = overview.all().map(line).collect();
    if lines.is_empty() {
        return Ok(());
    }
    context.out.data(&lines.join("\n"))
}

/// Where the credential comes from.
fn credential_text(profile: &Profile) -> String {
    match profile.kind.credential() {
        Credential::Ref { reference, .. } => reference.to_string(),
        Credential::Plaintext => "(plaintext)".to_owned(),
        Credential::Invalid(_) => "(no valid ref)".to_owned(),
        Credential::Missing if !profile.plaintext.is_empty() => "(plaintext)".to_owned(),
        Credential::Missing => String::new(),
    }
}

/// The id of a profile, with its account.
pub fn label_of(profile: &Profile) -> String {
    let name = profile.email.as_ref().or(profile.display_name.as_ref());
    match name {
        Some(name) => format!("{} ({name})", profile.id),
        None => profile.id.to_string(),
    }
}

/// As the family writes a remaining time: minutes below 60, hours below 48, else days; rounded, at
/// least `1m`.
pub fn remaining(left: Duration) -> String {
    let rounded = |unit: u64| (left.as_secs() + unit / 2) / unit;
    let (minutes, hours) = (rounded(60), rounded(3600));
    if minutes < 60 {
        format!("{}m", minutes.max(1))
    } else if hours < 48 {
        format!("{hours}h")
    } else {
        format!("{}d", rounded(86_400))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_times_are_short() {
        let text = |seconds| remaining(Duration::from_secs(seconds));
        assert_eq!(text(0), "1m");
        assert_eq!(text(89), "1m");
        assert_eq!(text(90), "2m");
        assert_eq!(text(3569), "59m");
        assert_eq!(text(3570), "1h");
        assert_eq!(text(47 * 3600), "47h");
        assert_eq!(text(48 * 3600), "2d");
        assert_eq!(text(90 * 86_400), "90d");
    }
}
