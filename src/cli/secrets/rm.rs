//! `reseal secrets rm`.

use super::parse_record;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Done};
use crate::cli::output::shown;
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::name::RecordName;
use crate::reference::{SecretRef, Source};
use crate::runtime::ground::Ground;
use crate::runtime::service::{Reply, Request};
use crate::sys::tty;
use crate::vault::Expect;
use clap::Args;

/// Arguments of `secrets rm`.
#[derive(Args)]
pub struct RmArgs {
    /// The record
    #[arg(value_parser = parse_record)]
    name: RecordName,

    /// Remove it only if it stands at this version
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,

    /// Do not ask, although profiles or the config point at the record
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "remove the record";

/// Removes a record.
pub fn run(context: &Context, args: RmArgs) -> Done {
    let mut service = session::service(context, &args.unlock)?;
    if !args.yes && !may_remove(context, &args.name)? {
        context.out.say("Nothing was removed.");
        return Ok(0);
    }
    let expect = args.if_version.map_or(Expect::Any, Expect::Version);
    let request = Request::Remove {
        name: args.name.clone(),
        expect,
    };
    let answer = session::ask(service.as_mut(), DOING, request, Vec::new())?;
    let Reply::Committed(committed) = answer.reply else {
        return Err(unexpected(DOING, &answer.reply));
    };
    if context.out.json {
        let generation = committed.generation;
        context
            .out
            .document(&serde_json::json!({"name": args.name, "generation": generation}))?;
    } else {
        context.out.say(&format!(
            "Removed {}. Its sealed bytes go with the next compaction (`reseal vault compact`).",
            args.name
        ));
    }
    Ok(0)
}

/// Asks if anything points at the record; where nobody can be asked, only warns.
fn may_remove(context: &Context, name: &RecordName) -> Result<bool, CliError> {
    let owners = match Ground::read(&context.state, &context.config()) {
        Ok(ground) => owners(&ground, name),
        // A record can be removed although a state file is broken.
        Err(failure) => {
            let why = shown(&failure.message);
            context
                .out
                .warn(&format!("what points at {name} can't be told: {why}"));
            Vec::new()
        }
    };
    if owners.is_empty() {
        return Ok(true);
    }
    let owners = shown(&owners.join(", "));
    let points = format!("These point at {name} and will fail: {owners}.");
    if context.no_input || !tty::can_ask() {
        context.out.warn(&points);
        return Ok(true);
    }
    context.out.tell(&points);
    let question = format!("Remove {name} with all its versions? It can't be brought back.");
    context.confirm(DOING, &question, "--yes")
}

/// Who points at a record of this state folder's own vault.
fn owners(ground: &Ground, name: &RecordName) -> Vec<String> {
    let points = |reference: &SecretRef| {
        reference.source() == Source::Vault && reference.id() == name.as_str()
    };
    let places = ground.places.iter();
    let places = places.filter(|place| place.reference.as_ref().is_ok_and(points));
    places.map(|place| place.owner.to_string()).collect()
}
