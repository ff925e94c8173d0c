//! `reseal secrets migrate`.

mod entries;
mod export;
mod rest;
mod view;

use super::plan::{program, warn_of_owner};
use super::stopped;
use crate::apply::{self, Report, Site, Step};
use crate::cli::auth::moving;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::session::{self, UnlockArgs};
use crate::cli::state_files;
use crate::error::{Code, Failure};
use crate::family::{Environment, FamilyError, Folder};
use crate::migrate::logins::Of;
use crate::migrate::{self, Logins, Migration, Wish};
use crate::name::{AgentId, RecordName};
use crate::runtime::service::Service;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// Arguments of `secrets migrate`.
///
/// Moves what another runtime's state folder holds in plaintext into the vault: keys and tokens of
/// its config and profiles, accounts, older auth files, and the copies of all these in env files
/// and backups. The other runtime goes on: its files get refs that ask this program. The plan is
/// shown first. A run that was interrupted can be done again.
///
/// With --export it goes the other way: the profiles of this program are written into a folder in
/// the other runtime's plaintext form. Asks for a keyslot's secret again, even when a daemon runs.
#[derive(Args)]
pub struct MigrateArgs {
    /// The state folder, such as ~/.openclaw [default: the one that the environment leads to]
    #[arg(value_name = "FROM")]
    from: Option<PathBuf>,

    /// Show what would change, values masked, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Do it without asking
    #[arg(short, long)]
    yes: bool,

    /// Bring the logins of these programs, too; their files are only read. Without FROM and
    /// without a folder of another runtime, only these
    #[arg(
        long,
        value_name = "WHAT",
        value_delimiter = ',',
        conflicts_with = "export"
    )]
    include: Vec<Include>,

    /// Put the new records below this name, as `NAME/openai/default`: for a second folder whose
    /// places have the same names
    #[arg(long, value_name = "NAME", conflicts_with = "export")]
    prefix: Option<RecordName>,

    /// Write this program's profiles in plaintext into this folder, and change nothing else
    #[arg(long, value_name = "DIR", conflicts_with_all = ["from", "dry_run"])]
    export: Option<PathBuf>,

    /// Write into a git work tree, too
    #[arg(long, requires = "export")]
    force: bool,

    /// Export only the profiles of this agent; may be given more than once [default: all agents]
    #[arg(long, value_name = "ID", requires = "export")]
    only_agent: Vec<AgentId>,

    #[command(flatten)]
    unlock: UnlockArgs,
}

/// A program whose login is imported on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Include {
    /// The account or key in the Codex CLI's auth.json
    Codex,
    /// The account in Claude Code's .credentials.json
    Claude,
    /// The token files of AgentOS, in ~/.wunderland/auth and ~/.agentos/auth
    Agentos,
    /// What fast-agent keeps in the keyring, which goes from there: accounts of MCP servers, whose
    /// servers are asked where tokens are renewed, and of model providers; and the API keys in its
    /// config and in the secrets file beside it, which are only read
    FastAgent,
}

impl Include {
    /// The program, if its login is in a file.
    const fn of(self) -> Option<Of> {
        match self {
            Include::Codex => Some(Of::Codex),
            Include::Claude => Some(Of::Claude),
            Include::Agentos => Some(Of::AgentOs),
            Include::FastAgent => None,
        }
    }
}

const DOING: &str = "move the state folder in";

/// The folder that is meant. None has to be there if logins are asked for.
fn folder(args: &MigrateArgs, environment: Environment<'_>) -> Result<Folder, FamilyError> {
    match Folder::find(args.from.as_deref(), environment) {
        Err(FamilyError::Absent(root)) if args.from.is_none() && !args.include.is_empty() => {
            Ok(Folder::absent(&root))
        }
        found => found,
    }
}

/// Moves a folder in, or this program's profiles out.
pub fn run(context: &Context, args: MigrateArgs) -> Done {
    if let Some(folder) = &args.export {
        return export::run(context, &args, folder);
    }
    let environment = |name: &str| std::env::var_os(name);
    let folder = folder(&args, &environment).doing("find the state folder")?;
    check_not_own(context, &folder.root)?;
    stopped::check(&folder)
        .map_err(apply::nothing_written)
        .doing(DOING)?;
    let config = state_files::config(context).doing("read the config")?;
    let wanted: Vec<Of> = args.include.iter().filter_map(|one| one.of()).collect();
    let mut logins = Logins::read(&wanted, &environment, &config).doing("read the logins")?;
    if args.include.contains(&Include::FastAgent) {
        moving::read(context, &args.unlock, &config, &mut logins)?;
    }
    let site = Site::foreign_at(folder);
    let program = program(context)?;
    warn_of_owner(context, &program);
    let mut service = session::service(context, &args.unlock)?;
    let wish = Wish {
        from: &site,
        own: &context.state,
        config: &config,
        program: &program,
        prefix: args.prefix.as_ref(),
        logins: &logins,
    };
    let migration = migrate::draft(&wish, service.as_mut()).map_err(refused)?;
    let mut view = view::View {
        context,
        site: &site,
        migration: &migration,
        rest: None,
        removed: Vec::new(),
    };
    if args.dry_run {
        view.show_plan(true)?;
        return Ok(0);
    }
    if migration.draft.changes.is_empty() && migration.entries.is_empty() {
        view.rest = Some(rest::look(context, site.folder()));
        view.show_plan(false)?;
        return Ok(0);
    }
    if !args.yes {
        view.show_diffs()?;
        if !context.confirm(DOING, "Move all this into the vault?", "--yes")? {
            let why = "it was declined; nothing was written";
            return Err(CliError::because(DOING, Code::InputCancelled, why));
        }
    }
    let held = moving::hold(context, &migration.entries);
    let held = held.map_err(apply::nothing_written).map_err(refused)?;
    let mut report = write(context, &site, &migration, service.as_mut()).map_err(refused)?;
    // Last: everything is in the vault, and was compared.
    view.removed = entries::remove(context, &migration, service.as_mut(), &mut report);
    drop(held);
    view.rest = Some(rest::look(context, site.folder()));
    view.show(&report)?;
    let failed = view
        .removed
        .iter()
        .find_map(|(_, gone)| gone.as_ref().err());
    Ok(failed.map_or(0, |failure| failure.kind().exit_code()))
}

/// Says what to do about names that are taken, and about what changed meanwhile.
fn refused(failure: Failure) -> CliError {
    let code = failure.code;
    let error = CliError::new(DOING, failure);
    match code {
        Code::RecordExists => {
            error.hint("give --prefix NAME, which puts the new records below that name")
        }
        Code::ConfigConflict => error.hint("run this again: it takes what is there now"),
        _ => error,
    }
}

/// This program's own folder has nothing of another runtime.
fn check_not_own(context: &Context, root: &Path) -> Result<(), CliError> {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if real(root) != real(context.state.root()) {
        return Ok(());
    }
    let why = "it is this program's own state folder";
    Err(CliError::because(DOING, Code::Usage, why).hint(
        "plaintext in your own folder moves with `reseal secrets configure`, or `secrets plan` \
         and `secrets apply`",
    ))
}

fn write(
    context: &Context,
    site: &Site,
    migration: &Migration,
    service: &mut dyn Service,
) -> Result<Report, Failure> {
    for agent in &migration.agents {
        context.state.create_agent(agent)?;
    }
    let mut progress = |step: Step<'_>| {
        let text = match step {
            Step::Checking => "Checking every file ...".to_owned(),
            Step::Storing(count) => format!("Sealing values into the vault ({count}) ..."),
            Step::Comparing => "Reading the vault again and comparing ...".to_owned(),
            // The end tells of every file.
            Step::Rewriting(_) | Step::Scrubbing(_) => return,
        };
        context.out.progress(&text);
    };
    let watch = || stopped::check(site.folder());
    apply::run(service, &migration.draft.changes, &watch, &mut progress)
}
