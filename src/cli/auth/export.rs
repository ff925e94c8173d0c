//! `reseal auth provider export`: an access token in the file of fast-agent 0.9 and later.
//!
//! Without the refresh token: with two owners the first to renew logs the other out.

use super::provider::NamedArgs;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done, io_failure};
use crate::cli::output::shown_path;
use crate::cli::profiles::{Profiles, ref_of};
use crate::cli::session::{self, UnlockArgs};
use crate::cli::when;
use crate::error::{Code, Failure};
use crate::migrate::export::work_tree;
use crate::runtime::service::{Reply, Request};
use crate::secret::json::{self, Part};
use crate::store::files;
use clap::Args;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    named: NamedArgs,

    /// The file to write, such as ~/.fast-agent/auth.json
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Write also over a file, and into a git work tree
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "export the token";

pub(super) fn run(context: &Context, args: &ExportArgs) -> Done {
    let profiles = Profiles::read(context)?;
    let candidates = profiles.in_order(args.named.id(), None).doing(DOING)?;
    let name = candidates.iter().find_map(|profile| {
        let reference = ref_of(profile).ok()?;
        profiles.config.own_record(reference)
    });
    let absent = || {
        let why = format!(
            "no account of {} is in the vault",
            args.named.id().escape_debug()
        );
        CliError::because(DOING, Code::ProfileAbsent, why)
    };
    let name = name.ok_or_else(absent)?;
    check(&args.file, args.force)?;
    let mut service = session::service(context, &args.unlock)?;
    let request = Request::Token {
        name,
        min_ttl_ms: 0,
        force: false,
    };
    let answer = session::ask(service.as_mut(), DOING, request, Vec::new())?;
    let (info, token) = match (answer.reply, answer.secrets.into_iter().next()) {
        (Reply::Token(info), Some(token)) => (info, token),
        (other, _) => return Err(session::unexpected(DOING, &other)),
    };
    let ends = info.expires_at.map_or("null".to_owned(), |at| {
        format!("{}.{:03}", at.0 / 1000, at.0 % 1000)
    });
    let entry = [
        ("type", Part::Text("oauth")),
        ("access_token", Part::Secret("", &token)),
        ("refresh_token", Part::Json("null")),
        ("expires_at", Part::Json(&ends)),
        ("token_type", Part::Text(&info.token_type)),
        ("scope", Part::Json("null")),
    ];
    let providers = [(args.named.theirs(), Part::Object(&entry))];
    let document = json::object(&[
        ("version", Part::Json("1")),
        ("providers", Part::Object(&providers)),
    ]);
    let before = files::read(&args.file, files::MAX_STATE_FILE).doing(DOING)?;
    if before.is_some() {
        files::make_private(&args.file).doing(DOING)?;
    }
    files::write_secret(&args.file, before.as_deref(), &document).doing(DOING)?;
    context.out.say(&format!(
        "{}: an access token, without a refresh token",
        shown_path(&args.file)
    ));
    if let Some(at) = info.expires_at {
        context
            .out
            .detail(&format!("It ends {}.", when::date_and_time(at)));
    }
    Ok(0)
}

/// Refuses what would be lost, or be committed.
fn check(file: &Path, force: bool) -> Result<(), CliError> {
    let absolute = std::path::absolute(file).map_err(|error| io_failure(file, &error));
    let absolute = absolute.doing(DOING)?;
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let folder = folder
        .canonicalize()
        .map_err(|error| io_failure(folder, &error));
    let folder = folder.doing(DOING)?;
    let refuse = |code, why: String| {
        let error = CliError::new(DOING, Failure::new(code, why));
        Err(error.hint("name another file, or give --force"))
    };
    if force {
        return Ok(());
    }
    if let Some(tree) = work_tree(&folder) {
        let why = format!(
            "{} lies in the git work tree {}, where the token would soon be committed",
            file.display(),
            tree.display()
        );
        return refuse(Code::FilePermission, why);
    }
    if file.symlink_metadata().is_ok() {
        return refuse(
            Code::FileExists,
            format!("{} is there already", file.display()),
        );
    }
    Ok(())
}
