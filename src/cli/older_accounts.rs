//! Accounts of an older program in `credentials/oauth.json` of our own folder: imported when
//! accounts are used, by whatever command does that first.
//!
//! What goes wrong is told and stops nobody: the account that was asked for may be another one.

use super::context::Context;
use super::lookup::Routed;
use super::output::shown;
use crate::error::Failure;
use crate::migrate::first_use::{self, FirstUse};
use crate::store::take_file_lock;
use std::time::Duration;

/// How long one command waits for another that imports.
const PATIENCE: Duration = Duration::from_secs(10);

/// Imports the accounts, if there is such a file. Costs one look for it otherwise.
pub(super) fn import(context: &Context, lookup: &mut Routed<'_>) {
    let path = first_use::file(&context.state);
    if !path.exists() {
        return;
    }
    if let Err(failure) = try_import(context, lookup) {
        let path = path.display();
        let text = format!(
            "the accounts in {path} were not imported: {}",
            failure.message
        );
        context.out.warn(&shown(&text));
    }
}

/// Tells of the file, for a command that opens no vault.
pub(super) fn tell(context: &Context) {
    let path = first_use::file(&context.state);
    if path.exists() {
        let path = path.display();
        let text = format!(
            "{path} holds accounts in plaintext, which are not used; the next `reseal token` or \
             `reseal run` moves them into the vault"
        );
        context.out.warn(&shown(&text));
    }
}

fn try_import(context: &Context, lookup: &mut Routed<'_>) -> Result<(), Failure> {
    let path = first_use::file(&context.state);
    let _lock = take_file_lock(&path.with_extension("json.lock"), PATIENCE)?;
    let config = lookup.config()?.clone();
    let Some(mut found) = FirstUse::read(&context.state, &config)? else {
        return Ok(());
    };
    if !found.is_empty() {
        found.import(&context.state, &config, lookup.service()?)?;
    }
    for id in &found.moved {
        let text = format!(
            "Moved the account {id} from {} into the vault.",
            path.display()
        );
        context.out.say(&shown(&text));
    }
    for left in &found.left {
        let text = format!(
            "{} stays in plaintext, and is not used: {}",
            left.place, left.why
        );
        context.out.warn(&shown(&text));
    }
    Ok(())
}
