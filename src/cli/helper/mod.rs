//! `reseal helper`: the credential helpers of git, Docker and AWS's programs.
//!
//! git and Docker look for a program of a certain name. Called by one of [`LINKS`] (a link to this
//! program), it is that helper.

pub mod aws;
pub mod docker;
pub mod git;

use super::context::Context;
use super::error::{CliError, Done};
use super::lazy::Lazy;
use crate::error::Code;
use clap::{Args, Subcommand};
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::path::Path;

/// The names of links to this program, and the helper that each stands for.
pub const LINKS: [(&str, &str); 2] = [
    ("git-credential-reseal", "git"),
    ("docker-credential-reseal", "docker"),
];

/// Arguments of `helper`.
///
/// A link named git-credential-reseal or docker-credential-reseal that leads to this program is
/// `reseal helper git` or `reseal helper docker`, as these programs look for such a name. Answers
/// are for programs: to a terminal none is written.
#[derive(Args)]
pub struct HelperArgs {
    #[command(subcommand)]
    command: HelperCommand,
}

#[derive(Subcommand)]
enum HelperCommand {
    /// Be git's credential helper
    Git(Lazy<git::GitArgs>),
    /// Be Docker's credential helper
    Docker(Lazy<docker::DockerArgs>),
    /// Print the keys of a record as an AWS credential_process
    Aws(Lazy<aws::AwsArgs>),
}

impl HelperArgs {
    /// The helper of these words, where they are one of the usual command lines.
    pub fn of_words(words: &[&str]) -> Option<Self> {
        let command = match words {
            ["git", operation] => HelperCommand::Git(Lazy(git::GitArgs::of(operation))),
            ["docker", operation] => {
                let args = docker::DockerArgs::of(operation)?;
                HelperCommand::Docker(Lazy(args))
            }
            ["aws", record] => HelperCommand::Aws(Lazy(aws::AwsArgs::of(record)?)),
            _ => return None,
        };
        Some(Self { command })
    }

    #[cfg(test)]
    pub(super) fn meaning(&self) -> String {
        match &self.command {
            HelperCommand::Git(args) => format!("{:?}", args.0),
            HelperCommand::Docker(args) => format!("{:?}", args.0),
            HelperCommand::Aws(args) => format!("{:?}", args.0),
        }
    }
}

/// The command line as it is meant: called by the name of a helper, the program is that helper.
pub fn words(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = args.collect();
    let name = words.first().and_then(|name| Path::new(name).file_name());
    let link = LINKS
        .iter()
        .find(|(link, _)| name == Some(OsStr::new(link)));
    if let Some((_, helper)) = link {
        let own = ["reseal", "helper", helper].map(OsString::from);
        words.splice(0..1, own);
    }
    words
}

/// Runs `helper`.
pub fn run(context: &Context, args: HelperArgs) -> Done {
    match args.command {
        HelperCommand::Git(args) => git::run(context, args.0),
        HelperCommand::Docker(args) => docker::run(context, args.0),
        HelperCommand::Aws(args) => aws::run(context, args.0),
    }
}

/// An error if the answer would stand on a terminal.
fn check_stdout(doing: &str) -> Result<(), CliError> {
    if std::io::stdout().is_terminal() {
        let why = "stdout is a terminal, where the value would be seen and kept";
        return Err(CliError::because(doing, Code::InputInvalid, why)
            .hint("another program runs this, with pipes at both ends"));
    }
    Ok(())
}
