//! `reseal exec-provider`.

use super::context::Context;
use super::error::{Doing, Done};
use super::lookup::Routed;
use super::session::UnlockArgs;
use crate::helper::exec_provider;
use clap::Args;

/// Arguments of `exec-provider`.
///
/// Speaks OpenClaw's exec protocol, version 1: one JSON request on stdin, one JSON answer on
/// stdout. Needs no environment. Ids are record names.
#[derive(Args)]
pub struct ExecProviderArgs {
    #[command(flatten)]
    unlock: UnlockArgs,
}

/// Answers one request.
pub fn run(context: &Context, args: ExecProviderArgs) -> Done {
    let mut lookup = Routed::new(context, &args.unlock)?;
    let mut input = std::io::stdin().lock();
    let mut output = super::output::RawStdout;
    exec_provider::serve(&mut input, &mut output, &mut lookup).doing("answer the exec request")?;
    Ok(0)
}
