//! `reseal inject`.

use super::context::Context;
use super::error::{CliError, Doing, Done};
use super::input;
use super::lookup::Routed;
use super::session::UnlockArgs;
use crate::error::Code;
use crate::launch;
use clap::Args;
use std::io::IsTerminal;
use std::path::PathBuf;

/// Arguments of `inject`.
///
/// A template is a text with {{ secretref:vault:openai/default }} and the like in it. All or
/// nothing: if a ref does not resolve, nothing is written.
#[derive(Args)]
pub struct InjectArgs {
    /// The template, or - for stdin
    #[arg(short, long, value_name = "TEMPLATE", default_value = "-")]
    input: PathBuf,

    /// Where the filled text goes, mode 0600, replaced in one step [default: stdout]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,

    /// Print the filled text although stdout is a terminal
    #[arg(long)]
    reveal: bool,

    /// Let the stderr of exec providers through
    #[arg(long)]
    debug_exec: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "fill the template";

/// Fills a template.
pub fn run(context: &Context, args: InjectArgs) -> Done {
    if args.output.is_none() && !args.reveal && std::io::stdout().is_terminal() {
        let why = "stdout is a terminal, where the values would be seen and kept";
        return Err(CliError::because(DOING, Code::InputInvalid, why)
            .hint("give -o FILE, or --reveal to see them"));
    }
    let template = input::read_text(&args.input).doing(DOING)?;
    let origin = if args.input.as_os_str() == "-" {
        "stdin".to_owned()
    } else {
        args.input.display().to_string()
    };
    let mut lookup = Routed::new(context, &args.unlock)?.debug_exec(args.debug_exec);
    let defaults = lookup.config().doing(DOING)?.defaults.clone();
    let filled = launch::inject(&origin, &template, &defaults, &mut lookup).doing(DOING)?;
    match &args.output {
        Some(path) => {
            launch::write_private(path, &filled).doing(DOING)?;
            context.out.detail(&format!(
                "Wrote {} (0600).",
                super::output::shown_path(path)
            ));
        }
        None => context.out.secret(&filled, false)?,
    }
    Ok(0)
}
