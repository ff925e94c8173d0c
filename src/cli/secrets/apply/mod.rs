//! `reseal secrets apply`.

pub(in crate::cli::secrets) mod view;

use super::plan::{program, site};
use super::stopped;
use crate::apply::draft::Outside;
use crate::apply::{self, Draft, Report, Site, Step};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::lookup;
use crate::cli::output::shown_path;
use crate::cli::session::{self, UnlockArgs};
use crate::error::{Code, Failure};
use crate::plan::{MAX_PLAN, Plan};
use crate::reference::{SecretRef, Source};
use crate::runtime::service::{Outcome, Reply, Request, Service};
use crate::secret::SecretValue;
use crate::store::files;
use clap::Args;
use std::path::{Path, PathBuf};

/// Arguments of `secrets apply`.
///
/// Everything is checked before anything is written. Then, in this order: the values are sealed
/// into the vault, the vault is read again from the disk and every value compared, the files are
/// rewritten with refs (comments, other keys, mode and owner stay), and only then further copies
/// are scrubbed. A run that was interrupted can be done again.
#[derive(Args)]
pub struct ApplyArgs {
    /// The plan (see `secrets plan`)
    #[arg(long, value_name = "PLAN")]
    from: PathBuf,

    /// Show what would change, values masked, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Run the commands of exec providers other than this program
    #[arg(long)]
    allow_exec: bool,

    /// The state folder that the plan is for [default: the one that the plan names]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    #[command(flatten)]
    unlock: UnlockArgs,
}

/// How a plan is carried out.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Write nothing.
    pub dry_run: bool,
    /// Run the commands of exec providers other than this program.
    pub allow_exec: bool,
    /// How the vault is opened.
    pub unlock: &'a UnlockArgs,
}

const DOING: &str = "apply the plan";

/// Carries out a plan.
pub fn run(context: &Context, args: ApplyArgs) -> Done {
    let plan = read(&args.from)?;
    let named = args.root.as_deref();
    let root = named.or(plan.state_dir.as_deref().map(Path::new));
    let site = site(context, root.filter(|root| !is_own(context, root)))?;
    let wish = Wish {
        dry_run: args.dry_run,
        allow_exec: args.allow_exec,
        unlock: &args.unlock,
    };
    carry_out(context, &plan, &site, &wish)
}

/// True if a path is this program's own state folder.
fn is_own(context: &Context, root: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    real(root) == real(context.state.root())
}

fn read(path: &Path) -> Result<Plan, CliError> {
    let doing = "read the plan";
    let bytes = files::read(path, MAX_PLAN).doing(doing)?;
    let bytes = bytes.ok_or_else(|| {
        let why = format!("there is no file {}", shown_path(path));
        CliError::because(doing, Code::InputInvalid, why)
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let why = format!(
            "{}: byte {} is no UTF-8",
            shown_path(path),
            error.valid_up_to()
        );
        CliError::because(doing, Code::PlanInvalid, why)
    })?;
    Plan::parse(text, &path.display().to_string()).doing(doing)
}

/// Carries out a plan on a folder, or shows what that would do.
pub fn carry_out(context: &Context, plan: &Plan, site: &Site, wish: &Wish<'_>) -> Done {
    check_stopped(site).doing(DOING)?;
    let mut service = session::service(context, wish.unlock)?;
    let program = program(context)?;
    let mut draft = apply::draft(plan, site, &program, service.as_mut()).doing(DOING)?;
    let found = site.places();
    apply::scrub(&mut draft, site, &found.places, plan.options).doing(DOING)?;
    for skipped in found.skipped {
        let text = format!(
            "{} was not looked at: {}",
            skipped.path.display(),
            skipped.why
        );
        draft.warnings.push(text);
    }
    let skipped = check_outside(&draft, wish, service.as_mut()).doing(DOING)?;
    let mut view = view::View {
        context,
        site,
        draft: &draft,
        skipped,
    };
    if wish.dry_run {
        let checked = apply::check(service.as_mut(), &draft.changes, &mut Report::default());
        checked.map_err(refused)?;
        view.show_dry_run()?;
        return Ok(0);
    }
    let report = write(context, site, &draft, service.as_mut())?;
    view.show(&report)?;
    Ok(0)
}

/// Refuses another runtime's folder while that runs; nothing is written yet.
pub(in crate::cli::secrets) fn check_stopped(site: &Site) -> Result<(), Failure> {
    still_stopped(site).map_err(apply::nothing_written)
}

fn still_stopped(site: &Site) -> Result<(), Failure> {
    match site.own {
        true => Ok(()),
        false => stopped::check(site.folder()),
    }
}

fn write(
    context: &Context,
    site: &Site,
    draft: &Draft,
    service: &mut dyn Service,
) -> Result<Report, CliError> {
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
    let watch = || still_stopped(site);
    apply::run(service, &draft.changes, &watch, &mut progress).map_err(refused)
}

/// Says what to do about names that are taken.
fn refused(failure: Failure) -> CliError {
    let is_taken = failure.code == Code::RecordExists;
    let error = CliError::new(DOING, failure);
    if is_taken {
        return error.hint(
            "give the places other names: draw the plan with `reseal secrets plan --prefix NAME`, \
             change `id` in it, or give `--prefix NAME` or the answer n to `reseal secrets \
             configure`",
        );
    }
    error
}

/// Looks at the refs that this program's vault does not answer: each has to resolve, and to give
/// what stands in its place. Gives the number of exec refs that were not looked at.
fn check_outside(
    draft: &Draft,
    wish: &Wish<'_>,
    service: &mut dyn Service,
) -> Result<usize, Failure> {
    let is_exec = |outside: &&Outside| outside.reference.source() == Source::Exec;
    let exec = draft.outside.iter().filter(is_exec).count();
    let foreign = exec > 0 || draft.foreign_exec;
    if foreign && !wish.allow_exec && !wish.dry_run {
        let text = "Plan contains exec SecretRefs/providers. Re-run with --allow-exec.";
        return Err(Failure::new(Code::Usage, text));
    }
    let looked_at = |outside: &&Outside| wish.allow_exec || !is_exec(outside);
    let outside: Vec<&Outside> = draft.outside.iter().filter(looked_at).collect();
    let refs: Vec<SecretRef> = outside.iter().map(|o| o.reference.clone()).collect();
    let mut failures = Vec::new();
    for (outside, outcome) in outside.iter().zip(resolve(draft, &refs, service)?) {
        let Outside {
            place, reference, ..
        } = outside;
        match (outcome, &outside.plaintext) {
            (Err(failure), _) => {
                failures.push(format!("{place}: {reference}: {}", failure.message));
            }
            (Ok(value), Some(plaintext)) if value != *plaintext => failures.push(format!(
                "{place}: {reference} gives another value than the one that stands there, which \
                 would be lost"
            )),
            (Ok(_), _) => {}
        }
    }
    if failures.is_empty() {
        return Ok(draft.outside.len() - outside.len());
    }
    Err(Failure::new(Code::ActivationFailed, failures.join("; ")))
}

fn resolve(
    draft: &Draft,
    refs: &[SecretRef],
    service: &mut dyn Service,
) -> Result<Vec<Result<SecretValue, Failure>>, Failure> {
    let is_vault = |reference: &&SecretRef| reference.source() == Source::Vault;
    let far: Vec<SecretRef> = refs.iter().filter(is_vault).cloned().collect();
    let near: Vec<SecretRef> = refs.iter().filter(|r| !is_vault(r)).cloned().collect();
    let mut near_results = lookup::resolve_here(&draft.config, &near, false)?.into_iter();
    let mut far_results = Vec::new();
    if !far.is_empty() {
        let answer = service.call(Request::Resolve { refs: far }, Vec::new())?;
        let Reply::Resolved(outcomes) = answer.reply else {
            return Err(Failure::new(Code::Bug, "the answer is of the wrong kind"));
        };
        let mut values = answer.secrets.into_iter();
        far_results.extend(outcomes.into_iter().map(|outcome| match outcome {
            Outcome::Failed(failure) => Err(failure),
            Outcome::Ok => values.next().ok_or_else(lacking),
        }));
    }
    let mut far_results = far_results.into_iter();
    let result = |reference: &SecretRef| {
        let next = match reference.source() {
            Source::Vault => far_results.next(),
            Source::Env | Source::File | Source::Exec => near_results.next(),
        };
        next.unwrap_or_else(|| Err(lacking()))
    };
    Ok(refs.iter().map(result).collect())
}

fn lacking() -> Failure {
    Failure::new(Code::DaemonProtocol, "an answer lacks its value")
}
