//! `reseal helper docker`.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::input::Stdin;
use crate::cli::output::{json_text, shown};
use crate::cli::session::{self, UnlockArgs};
use crate::helper::docker;
use crate::sys::clock;
use clap::{Args, ValueEnum};

/// Arguments of `helper docker`.
///
/// Speaks the protocol of Docker's credential helpers. Secrets are records named
/// docker/ADDRESS/USER. An error goes to stdout, as that protocol asks.
#[derive(Args, Debug)]
pub struct DockerArgs {
    /// What Docker wants
    #[arg(value_enum, value_name = "OPERATION", hide_possible_values = false)]
    operation: Operation,

    #[command(flatten)]
    unlock: UnlockArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Operation {
    /// Print the credential of the address on stdin
    Get,
    /// Keep the credential on stdin
    Store,
    /// Forget the credential of the address on stdin
    Erase,
    /// Print the user of every address
    List,
    /// Print the version
    Version,
}

impl DockerArgs {
    /// One operation, nothing else given.
    pub fn of(operation: &str) -> Option<Self> {
        Some(Self {
            operation: Operation::from_str(operation, false).ok()?,
            unlock: UnlockArgs::default(),
        })
    }
}

/// Answers Docker, with the text of an error on stdout too.
pub fn run(context: &Context, args: DockerArgs) -> Done {
    match answer(context, &args) {
        Ok(()) => Ok(0),
        Err(error) => {
            let message = &error.failure.message;
            let is_protocol = [docker::NOT_FOUND, docker::NO_ADDRESS, docker::NO_USER]
                .contains(&message.as_str());
            let text = if is_protocol {
                message.clone()
            } else {
                shown(&format!("failed to {}: {message}", error.doing))
            };
            context.out.data(&text)?;
            // Docker knows no other exit code of a failure.
            Ok(1)
        }
    }
}

fn answer(context: &Context, args: &DockerArgs) -> Result<(), CliError> {
    let doing = match args.operation {
        Operation::Get => "give Docker a credential",
        Operation::Store => "keep Docker's credential",
        Operation::Erase => "forget Docker's credential",
        Operation::List => "list Docker's credentials",
        Operation::Version => {
            let version = env!("CARGO_PKG_VERSION");
            return context
                .out
                .data(&format!("docker-credential-reseal (reseal) {version}"));
        }
    };
    let mut stdin = Stdin;
    let service = || session::service(context, &args.unlock);
    match args.operation {
        Operation::Get => {
            super::check_stdout(doing)?;
            let address = docker::read_address(&mut stdin).doing(doing)?;
            let found = docker::get(&address, clock::now(), service()?.as_mut());
            context.out.secret(&found.doing(doing)?, false)
        }
        Operation::Store => docker::store(&mut stdin, service()?.as_mut()).doing(doing),
        Operation::Erase => {
            let address = docker::read_address(&mut stdin).doing(doing)?;
            docker::erase(&address, service()?.as_mut()).doing(doing)
        }
        Operation::List => {
            let users = docker::list(service()?.as_mut()).doing(doing)?;
            context.out.data(&json_text(&users)?)
        }
        Operation::Version => Ok(()),
    }
}
