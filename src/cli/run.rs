//! `reseal run`.

use super::context::Context;
use super::error::{CliError, Doing, Done};
use super::input;
use super::lookup::Routed;
use super::older_accounts;
use super::profiles;
use super::session::UnlockArgs;
use crate::error::Code;
use crate::launch::{self, Binding, Launch};
use crate::name::ProfileId;
use crate::reference::Defaults;
use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// Arguments of `run`.
///
/// Without --profile, --model, --env and --env-file, the program gets the first usable profile of
/// every provider, under the provider's conventional names (such as OPENAI_API_KEY). With one of
/// them it gets only what is named. All or nothing: if a ref does not resolve, nothing is started.
#[derive(Args)]
#[command(override_usage = "reseal run [OPTIONS] -- <CMD>...")]
pub struct RunArgs {
    /// Set the names of this profile's provider; may be given more than once
    #[arg(long, value_name = "PROFILE")]
    profile: Vec<ProfileId>,

    /// The same for the profile that serves a model: PROVIDER/MODEL takes the first usable one in
    /// the effective order, MODEL@PROFILE the named one
    #[arg(long, value_name = "MODEL")]
    model: Vec<String>,

    /// Set a variable to what a ref points at (NAME=REF); may be given more than once
    #[arg(long, value_name = "NAME=REF")]
    env: Vec<String>,

    /// Set the variables of a file; values may hold secretref:REF; may be given more than once
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,

    /// Replace resolved values in the program's output by a placeholder
    #[arg(long)]
    mask: bool,

    /// Let the stderr of exec providers through
    #[arg(long)]
    debug_exec: bool,

    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,

    #[command(flatten)]
    unlock: UnlockArgs,
}

impl RunArgs {
    /// True if profiles are asked for: by name, or since nothing else is.
    fn wants_accounts(&self) -> bool {
        let named = !self.profile.is_empty() || !self.model.is_empty();
        named || (self.env.is_empty() && self.env_file.is_empty())
    }
}

/// Resolves, then becomes the program.
pub fn run(context: &Context, args: RunArgs) -> Done {
    let doing = format!(
        "run {}",
        super::output::shown(&args.command[0].to_string_lossy())
    );
    let mut lookup = Routed::new(context, &args.unlock)?.debug_exec(args.debug_exec);
    let defaults = lookup.config().doing(doing.as_str())?.defaults.clone();
    if args.wants_accounts() {
        older_accounts::import(context, &mut lookup);
    }
    let bindings = bindings(context, &args, &defaults).map_err(|mut error| {
        error.doing = format!("{doing}: {}", error.doing);
        error
    })?;
    let inherited: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    let launch = Launch {
        command: &args.command,
        inherited: &inherited,
        bindings: &bindings,
        mask: args.mask,
    };
    launch::run(&launch, &mut lookup).doing(doing)
}

fn bindings(
    context: &Context,
    args: &RunArgs,
    defaults: &Defaults,
) -> Result<Vec<Binding>, CliError> {
    let mut bindings = Vec::new();
    for path in &args.env_file {
        let doing = "read the env file";
        let bytes = input::read_text(path).doing(doing)?;
        let origin = path.display().to_string();
        bindings.extend(Binding::from_env_file(&origin, bytes, defaults).doing(doing)?);
    }
    if args.wants_accounts() {
        bindings.extend(profiles::bindings(context, &args.profile, &args.model)?);
    }
    for text in &args.env {
        bindings.push(Binding::parse(text, defaults).doing("read --env")?);
    }
    if bindings.is_empty() {
        let why = "there is no usable auth profile, and no --env or --env-file names a secret";
        return Err(
            CliError::because("find secrets", Code::ProfileIneligible, why).hint(
                "make a profile: reseal secrets set openai:default --ref vault:openai/default",
            ),
        );
    }
    Ok(bindings)
}
