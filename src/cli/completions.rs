//! `reseal completions`.

use super::context::Context;
use super::error::Done;
use clap::Args;
use clap_complete::Shell;

/// Arguments of `completions`.
///
/// For bash: reseal completions bash > ~/.local/share/bash-completion/completions/reseal
#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the completions of a shell to stdout.
pub fn run(context: &Context, args: CompletionsArgs) -> Done {
    let mut command = super::full_command();
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "reseal", &mut text);
    context
        .out
        .data(String::from_utf8_lossy(&text).trim_end_matches('\n'))?;
    Ok(0)
}
