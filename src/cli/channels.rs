//! `reseal channels list`: the chat channels of the config and the auth profiles, as the family
//! lists them.

use super::context::Context;
use super::error::{CliError, Done};
use super::lazy::Lazy;
use super::profiles::Profiles;
use super::state_files;
use super::table::Table;
use crate::error::Code;
use crate::profile::eligibility::credential;
use crate::profile::{Profile, Reason};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Arguments of `channels`.
#[derive(Args)]
pub struct ChannelsArgs {
    #[command(subcommand)]
    command: ChannelsCommand,
}

#[derive(Subcommand)]
enum ChannelsCommand {
    /// List the chat channels of the config, and the auth profiles by id
    #[command(visible_alias = "ls")]
    List(Lazy<ListArgs>),
}

#[derive(Args)]
struct ListArgs {}

/// The most channels, and the most accounts of one, that are listed.
const MAX_ENTRIES: usize = 1024;
/// The account of a channel that names none.
const DEFAULT_ACCOUNT: &str = "default";

/// Runs `channels`.
pub fn run(context: &Context, args: ChannelsArgs) -> Done {
    let ChannelsCommand::List(_) = args.command;
    let profiles = Profiles::read(context)?;
    let config = match state_files::config_document(context) {
        Ok(document) => document.value().clone(),
        Err(failure) if failure.code == Code::ConfigAbsent => Value::Null,
        Err(failure) => return Err(CliError::new("list the channels", failure)),
    };
    let chat = chat(&config);
    if context.out.json {
        let auth = profiles.store.profiles().iter();
        let auth: Vec<_> = auth.map(|profile| entry(profile, &profiles)).collect();
        context.out.document(&json!({"chat": chat, "auth": auth}))?;
        return Ok(0);
    }
    if chat.is_empty() && profiles.store.profiles().is_empty() {
        context
            .out
            .say("There are no channels and no auth profiles.");
        return Ok(0);
    }
    let mut table = Table::new(vec!["KIND", "ID", "PROVIDER", "TYPE"], 1);
    for (channel, accounts) in &chat {
        for account in accounts {
            let id = account.as_str().into();
            table.row(vec!["chat".into(), id, channel.as_str().into(), "".into()]);
        }
    }
    for profile in profiles.store.profiles() {
        table.row(vec![
            "auth".into(),
            profile.id.as_str().into(),
            profile.provider.as_str().into(),
            profile.kind.profile_type().as_str().into(),
        ]);
    }
    table.print(&context.out)?;
    Ok(0)
}

/// The accounts of each channel of the config. What does not have the expected shape is another
/// runtime's matter.
fn chat(config: &Value) -> BTreeMap<String, Vec<String>> {
    let channels = config["channels"].as_object();
    let channels = channels.into_iter().flatten().take(MAX_ENTRIES);
    let named = channels.filter(|(id, entry)| *id != "defaults" && entry.is_object());
    let accounts = |entry: &Value| -> Vec<String> {
        let accounts = entry["accounts"].as_object();
        let accounts = accounts.into_iter().flatten().take(MAX_ENTRIES);
        accounts.map(|(id, _)| id.clone()).collect()
    };
    let or_default = |accounts: Vec<String>| match accounts.is_empty() {
        true => vec![DEFAULT_ACCOUNT.to_owned()],
        false => accounts,
    };
    named
        .map(|(id, entry)| (id.clone(), or_default(accounts(entry))))
        .collect()
}

fn entry(profile: &Profile, profiles: &Profiles) -> Value {
    let verdict = credential(&profile.kind, profiles.now);
    json!({
        "id": profile.id,
        "provider": profile.provider,
        "type": profile.kind.profile_type().as_str(),
        "isExternal": false,
        "email": profile.email,
        "usable": verdict.is_ok(),
        "reasonCode": verdict.err().map(Reason::as_str),
    })
}
