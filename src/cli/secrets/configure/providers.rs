//! The first step: the providers that refs lead to.

use super::ask;
use crate::apply::Site;
use crate::cli::context::Context;
use crate::cli::error::CliError;
use crate::cli::output::shown;
use crate::cli::secrets::plan::Found;
use crate::config::{ProviderConfig, Segment};
use crate::name::Alias;
use crate::plan::{Plan, PlanError, Upsert};
use serde_json::{Map, Value, json};

/// Shows the providers, and lets the person add and remove some.
pub(super) fn set_up(
    context: &Context,
    site: &Site,
    found: &Found,
    plan: &mut Plan,
) -> Result<(), CliError> {
    loop {
        show(context, found, plan);
        match ask("  a adds one, r removes one, Enter goes on: ")?
            .to_ascii_lowercase()
            .as_str()
        {
            "" => return Ok(()),
            "a" => add(context, site, plan)?,
            "r" => remove(context, found, plan)?,
            _ => context.out.tell("  Please answer a, r or Enter."),
        }
    }
}

fn show(context: &Context, found: &Found, plan: &Plan) {
    let out = &context.out;
    let mut none = true;
    for (alias, provider) in &found.config.providers {
        if plan.deletes.contains(alias) || plan.upserts.iter().any(|u| u.alias == *alias) {
            continue;
        }
        none = false;
        let what = match provider {
            ProviderConfig::Env(_) => "environment variables".to_owned(),
            ProviderConfig::File(file) => format!("the file {}", file.path),
            ProviderConfig::Exec(exec) => format!("the command {}", exec.command.display()),
            ProviderConfig::Vault(_) => "a vault".to_owned(),
        };
        out.tell(&shown(&format!("  {alias}: {what}")));
    }
    for Upsert { alias, definition } in &plan.upserts {
        none = false;
        let member = |key: &str| definition[key].as_str();
        let what = member("command").or(member("path")).or(member("source"));
        let line = format!("  {alias}: {} (new)", what.unwrap_or_default());
        out.tell(&shown(&line));
    }
    for alias in &plan.deletes {
        out.tell(&format!("  {alias}: removed"));
    }
    if none && plan.deletes.is_empty() {
        out.tell("  There is none; refs to the environment and to the vault need none.");
    }
}

fn add(context: &Context, site: &Site, plan: &mut Plan) -> Result<(), CliError> {
    let alias = ask("  Alias: ")?;
    let Ok(alias) = alias.parse::<Alias>() else {
        context
            .out
            .warn("a provider alias matches [a-z][a-z0-9_-]{0,63}");
        return Ok(());
    };
    let sources = if site.own {
        "env, file, exec or vault"
    } else {
        "env, file or exec"
    };
    let source = ask(&format!("  Source ({sources}): "))?;
    let mut definition = Map::new();
    definition.insert("source".to_owned(), source.as_str().into());
    let mut put = |key: &str, value: Value| {
        if value != json!("") && value != json!([]) {
            definition.insert(key.to_owned(), value);
        }
    };
    match source.as_str() {
        "env" => put(
            "allowlist",
            words(&ask("  Names that may be read (blank: any): ")?),
        ),
        "file" => {
            put("path", ask("  Path of the file: ")?.into());
            let mode = ask("  json (pointers into it) or singleValue (blank: json): ")?;
            put("mode", mode.into());
        }
        "exec" => {
            put("command", ask("  Absolute path of the command: ")?.into());
            put("args", words(&ask("  Arguments, separated by blanks: ")?));
        }
        "vault" if site.own => put(
            "path",
            ask("  Path of the vault (blank: our own): ")?.into(),
        ),
        _ => {
            context.out.warn(&format!("the source is one of {sources}"));
            return Ok(());
        }
    }
    let upsert = Upsert {
        alias,
        definition: definition.into(),
    };
    match check(&upsert) {
        Err(why) => context.out.warn(&shown(&why)),
        Ok(()) => {
            plan.upserts.retain(|other| other.alias != upsert.alias);
            plan.upserts.push(upsert);
        }
    }
    Ok(())
}

fn words(text: &str) -> Value {
    text.split([' ', ','])
        .filter(|word| !word.is_empty())
        .collect()
}

/// What a plan with only this provider is refused for.
fn check(upsert: &Upsert) -> Result<(), String> {
    let plan = Plan {
        upserts: vec![upsert.clone()],
        ..Plan::default()
    };
    let Err(errors) = Plan::parse(&plan.to_text(), "the provider") else {
        return Ok(());
    };
    let said = errors.all().iter().map(|error| match error {
        PlanError::Value { place, problem, .. } => {
            let key = place.last().and_then(Segment::as_key).unwrap_or("it");
            format!("{key} {problem}")
        }
        other => other.to_string(),
    });
    Err(said.collect::<Vec<_>>().join("; "))
}

fn remove(context: &Context, found: &Found, plan: &mut Plan) -> Result<(), CliError> {
    let text = ask("  Alias: ")?;
    let before = plan.upserts.len();
    plan.upserts.retain(|upsert| upsert.alias.as_str() != text);
    let known = found
        .config
        .providers
        .keys()
        .find(|alias| alias.as_str() == text);
    match known {
        Some(alias) if !plan.deletes.contains(alias) => plan.deletes.push(alias.clone()),
        Some(_) => {}
        None if plan.upserts.len() == before => {
            context
                .out
                .warn(&shown(&format!("there is no provider {text}")));
        }
        None => {}
    }
    Ok(())
}
