//! `reseal exec-provider`.

use super::context::Context;
use super::error::{CliError, Doing, Done};
use super::lookup::Routed;
use super::session::UnlockArgs;
use crate::error::Code;
use crate::helper::exec_provider;
use clap::Args;
use std::io::IsTerminal;

/// Arguments of `exec-provider`.
///
/// Speaks OpenClaw's exec protocol, version 1: one JSON request on stdin, one JSON answer on
/// stdout. Needs no environment. Ids are record names.
#[derive(Args, Debug, Default)]
pub struct ExecProviderArgs {
    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "answer the exec request";

/// Answers one request.
pub fn run(context: &Context, args: ExecProviderArgs) -> Done {
    if std::io::stdout().is_terminal() {
        let why = "stdout is a terminal, where the values would be seen and kept";
        return Err(CliError::because(DOING, Code::InputInvalid, why)
            .hint("another runtime runs this, with pipes at both ends"));
    }
    let mut lookup = Routed::new(context, &args.unlock)?;
    let mut input = std::io::stdin().lock();
    let mut output = super::output::RawStdout;
    exec_provider::serve(&mut input, &mut output, &mut lookup).doing(DOING)?;
    Ok(0)
}
