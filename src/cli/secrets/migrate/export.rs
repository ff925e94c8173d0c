//! `reseal secrets migrate --export`.

use super::MigrateArgs;
use crate::cli::agents;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done, io_failure};
use crate::cli::output::{shown, shown_path};
use crate::cli::session;
use crate::cli::state_files;
use crate::cli::vault::status::plural;
use crate::error::Code;
use crate::migrate::export::{self as moving, Export};
use crate::name::{AgentId, ProfileId};
use crate::store::StateDir;
use serde_json::json;
use std::path::{Path, PathBuf};

const DOING: &str = "export the profiles";

/// Writes the profiles into a folder, in plaintext.
pub(super) fn run(context: &Context, args: &MigrateArgs, folder: &Path) -> Done {
    let chosen = chosen(context, args)?;
    let folder = real(folder)?;
    check_folder(context, &folder, args.force)?;
    let to = StateDir::at(&folder);
    moving::check_free(&to, &chosen).doing(DOING)?;
    let config = state_files::config(context).doing("read the config")?;
    if !args.yes {
        let question = format!(
            "Write keys and refresh tokens in plaintext into {}?",
            shown_path(&folder)
        );
        if !context.confirm(DOING, &question, "--yes")? {
            let why = "it was declined; nothing was written";
            return Err(CliError::because(DOING, Code::InputCancelled, why));
        }
    }
    let opened = session::open_admin(context, &args.unlock, DOING)?;
    let drafted = moving::draft(&context.state, &config, &opened.vault, &chosen, &to);
    let export = drafted.doing(DOING)?;
    export.write(&to).doing(DOING)?;
    show(context, &folder, &export)
}

/// The agents whose profiles are meant.
fn chosen(context: &Context, args: &MigrateArgs) -> Result<Vec<AgentId>, CliError> {
    if args.only_agent.is_empty() {
        if context.agent != AgentId::main() {
            let why = "--agent does not say what is exported";
            return Err(CliError::because(DOING, Code::Usage, why)
                .hint("give --only-agent ID, or neither of them for all agents"));
        }
        return agents::ids(context);
    }
    let mut chosen = args.only_agent.clone();
    chosen.sort();
    chosen.dedup();
    for agent in &chosen {
        state_files::check_agent(context, agent).doing(DOING)?;
    }
    Ok(chosen)
}

/// The folder without symlinks and `..`: what is looked at is what is written to. It need not be
/// there; the one around it must be.
fn real(folder: &Path) -> Result<PathBuf, CliError> {
    if let Ok(real) = folder.canonicalize() {
        return Ok(real);
    }
    let absolute = std::path::absolute(folder).map_err(|error| io_failure(folder, &error));
    let absolute = absolute.doing(DOING)?;
    let (Some(around), Some(name)) = (absolute.parent(), absolute.file_name()) else {
        let why = format!("{} names no folder", folder.display());
        return Err(CliError::because(DOING, Code::InputInvalid, why));
    };
    let around = around.canonicalize();
    let around = around.map_err(|error| io_failure(absolute.parent().unwrap_or(folder), &error));
    Ok(around.doing(DOING)?.join(name))
}

fn check_folder(context: &Context, folder: &Path, force: bool) -> Result<(), CliError> {
    let own = context.state.root();
    let own = own.canonicalize().unwrap_or_else(|_| own.to_path_buf());
    if folder == own {
        let why = "it is this program's own state folder";
        return Err(CliError::because(DOING, Code::Usage, why));
    }
    match moving::work_tree(folder) {
        Some(tree) if !force => {
            let why = format!(
                "{} lies in the git work tree {}, where plaintext would soon be committed; \
                 nothing was written",
                folder.display(),
                tree.display()
            );
            Err(CliError::because(DOING, Code::FilePermission, why)
                .hint("name another folder, or give --force"))
        }
        _ => Ok(()),
    }
}

/// What an account's second owner means.
const TWO_OWNERS: &str = "now has two owners, this program and whoever uses the export. The first \
     of them to refresh logs the other out, so one has to stop: sign in again in one of them, or \
     forget it here (`reseal models auth logout PROFILE --local-only`), or delete the export";

fn show(context: &Context, folder: &Path, export: &Export) -> Done {
    let out = &context.out;
    let named = |(agent, id): &(AgentId, ProfileId)| format!("{agent}: {id}");
    let list = |found: &[(AgentId, ProfileId)]| {
        let found = found.iter();
        found
            .map(|(agent, id)| json!({"agent": agent, "id": id}))
            .collect::<Vec<_>>()
    };
    for left in &export.left {
        out.warn(&shown(&format!("{}: {}", left.place, left.why)));
    }
    if !export.shared.is_empty() {
        let names: Vec<String> = export.shared.iter().map(named).collect();
        let names = names.join(", ");
        out.warn(&shown(&format!(
            "the refresh token of {names} {TWO_OWNERS}"
        )));
    }
    if out.json {
        let left = export.left.iter();
        out.document(&json!({
            "export": folder,
            "files": export.files.iter().map(|file| &file.path).collect::<Vec<_>>(),
            "profiles": list(&export.profiles),
            "twoOwners": list(&export.shared),
            "left": left.map(|l| json!({"place": l.place, "why": l.why})).collect::<Vec<_>>(),
        }))?;
        return Ok(0);
    }
    let (profiles, files) = (export.profiles.len() as u64, export.files.len() as u64);
    out.say(&format!(
        "Wrote {profiles} {} in plaintext, in {files} {}, into {}.",
        plural(profiles, "profile"),
        plural(files, "file"),
        shown_path(folder)
    ));
    Ok(0)
}
