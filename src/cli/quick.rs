//! The command lines that programs repeat, read without building the tree of commands, which is
//! most of what a short command would do.
//!
//! Invariant: a command line that is read here means the same to the full parser. Whatever is not
//! plainly one of these forms (another option, an option given twice, a missing word) is left to
//! that one, which alone knows errors and help.

use super::context::Global;
use super::exec_provider::ExecProviderArgs;
use super::helper::HelperArgs;
use super::lazy::Lazy;
use super::secrets::{SecretsArgs, get::GetArgs};
use super::session::UnlockArgs;
use super::{Cli, Command};
use crate::name::AgentId;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The options that take a value.
const WITH_VALUE: [&str; 5] = [
    "--state-dir",
    "--socket",
    "--config",
    "--agent",
    "--daemon-user",
];
/// The options that are there or not.
const FLAGS: [&str; 5] = [
    "--quiet",
    "--no-input",
    "--json",
    "--reveal",
    "--no-newline",
];

/// The command line after the program's name: `secrets get NAME`, `exec-provider`, or `helper` with
/// two words, with global options and those of `secrets get`.
pub(super) fn parse(args: impl Iterator<Item = OsString>) -> Option<Cli> {
    let found = Found::read(args)?;
    let flag = |name| found.flags.contains(&name);
    let words: Vec<&str> = found.words.iter().map(String::as_str).collect();
    let command = match words.as_slice() {
        ["secrets", "get", target] => Command::Secrets(Lazy(SecretsArgs::get(GetArgs {
            target: (*target).to_owned(),
            version: None,
            reveal: flag("--reveal"),
            no_newline: flag("--no-newline"),
            unlock: UnlockArgs::default(),
        }))),
        ["exec-provider"] if !flag("--reveal") && !flag("--no-newline") => {
            Command::ExecProvider(Lazy(ExecProviderArgs::default()))
        }
        ["helper", words @ ..] if !flag("--reveal") && !flag("--no-newline") => {
            Command::Helper(Lazy(HelperArgs::of_words(words)?))
        }
        _ => return None,
    };
    let agent = match found.value("--agent") {
        Some(agent) => agent.to_str()?.parse().ok()?,
        None => AgentId::main(),
    };
    let path = |name| found.value(name).map(PathBuf::from);
    let global = Global {
        state_dir: path("--state-dir"),
        config: path("--config"),
        agent,
        json: flag("--json"),
        no_input: flag("--no-input"),
        socket: path("--socket"),
        daemon_user: match found.value("--daemon-user") {
            Some(user) => Some(user.to_str()?.to_owned()),
            None => None,
        },
        verbose: false,
        quiet: flag("--quiet"),
    };
    Some(Cli { command, global })
}

/// What stands in a command line.
#[derive(Default)]
struct Found {
    words: Vec<String>,
    flags: Vec<&'static str>,
    values: Vec<(&'static str, OsString)>,
}

impl Found {
    fn read(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut found = Self::default();
        while let Some(arg) = args.next() {
            if !arg.as_bytes().starts_with(b"-") {
                found.words.push(arg.into_string().ok()?);
                continue;
            }
            let name = arg.to_str()?;
            let option = |known: &[&'static str], name| known.iter().copied().find(|k| *k == name);
            if let Some(name) = option(&WITH_VALUE, name) {
                let value = args.next()?;
                let plain = !value.is_empty() && !value.as_bytes().starts_with(b"-");
                if !plain || found.value(name).is_some() {
                    return None;
                }
                found.values.push((name, value));
                continue;
            }
            let name = match name {
                "-q" => "--quiet",
                "-n" => "--no-newline",
                name => name,
            };
            let flag = option(&FLAGS, name)?;
            // What belongs to a command stands behind it.
            let own = matches!(flag, "--reveal" | "--no-newline");
            if found.flags.contains(&flag) || own && found.words.len() < 2 {
                return None;
            }
            found.flags.push(flag);
        }
        Some(found)
    }

    fn value(&self, name: &str) -> Option<&OsStr> {
        let value = self.values.iter().find(|(known, _)| *known == name);
        value.map(|(_, value)| value.as_os_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use proptest::prelude::*;

    /// What a command line means, as text; `None` if it is another command.
    fn meaning(cli: &Cli) -> Option<String> {
        let global = &cli.global;
        match &cli.command {
            Command::Secrets(args) => Some(format!("{global:?} {:?}", args.0.as_get()?)),
            Command::ExecProvider(args) => Some(format!("{global:?} {:?}", args.0)),
            Command::Helper(args) => Some(format!("{global:?} {}", args.0.meaning())),
            _ => None,
        }
    }

    fn quickly(args: &[&str]) -> Option<String> {
        let cli = parse(args.iter().map(OsString::from))?;
        Some(meaning(&cli).unwrap())
    }

    fn fully(args: &[&str]) -> Option<String> {
        let all = std::iter::once("reseal").chain(args.iter().copied());
        meaning(&Cli::try_parse_from(all).ok()?)
    }

    #[test]
    fn the_usual_forms_are_read_here() {
        for line in [
            "secrets get openai/default",
            "-q --state-dir /s --socket x --config y --agent a secrets get vault:a -n --reveal",
            "--daemon-user reseal secrets get openai/default",
            "secrets get --json --no-input env:A --no-newline",
            "exec-provider",
            "exec-provider --state-dir / --quiet",
            "helper git get",
            "helper git --state-dir /s approve",
            "helper docker list -q",
            "helper aws vault:aws/work",
        ] {
            let args: Vec<&str> = line.split(' ').collect();
            let quickly = quickly(&args);
            assert!(quickly.is_some(), "{line}");
            assert_eq!(quickly, fully(&args), "{line}");
        }
    }

    #[test]
    fn other_forms_are_left_to_the_full_parser() {
        for line in [
            "",
            "secrets",
            "secrets get",
            "secrets get a b",
            "secrets get -- a",
            "secrets get a -q -q",
            "secrets get a --version 1",
            "secrets get a --state-dir",
            "secrets get a --state-dir=/s",
            "secrets get a --agent A",
            "-n secrets get a",
            "exec-provider -n",
            "helper git",
            "helper git get --reveal",
            "helper git --from vault:a get",
            "helper docker GET",
            "helper docker",
            "helper aws a@b",
            "secrets get a --help",
            "run -- true",
        ] {
            let args: Vec<&str> = line.split(' ').collect();
            assert_eq!(quickly(&args), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_here_means_the_same_to_the_full_parser(
            args in prop::collection::vec(prop::sample::select(vec![
                "secrets", "get", "exec-provider", "helper", "git", "docker", "aws", "a", "main",
                "-", "--", "-q", "-n", "-v",
                "--quiet", "--json", "--no-input", "--reveal", "--no-newline", "--state-dir",
                "--socket", "--config", "--agent", "--key-file", "-qn", "",
            ]), 0..9),
            at in 0..5_usize,
        ) {
            // The words of a command in their order, as chance alone seldom has them.
            let mut args = args;
            let mut at = at.min(args.len());
            for word in ["secrets", "get", "name"] {
                args.insert(at, word);
                at = (at + 1 + usize::from(word == "get" && args.len() > 6)).min(args.len());
            }
            if let Some(quickly) = quickly(&args) {
                prop_assert_eq!(Some(quickly), fully(&args), "{:?}", args);
            }
        }
    }
}
