//! Arguments of a command that are built only when that command is the one that was asked for.
//!
//! The whole tree of commands has several hundred options; a program that lives for one
//! millisecond can't afford to build those that it will not look at.

use clap::{ArgMatches, Args, Command, FromArgMatches};

/// Arguments `T`, defined when clap first enters the command.
pub struct Lazy<T>(pub T);

impl<T: Args> Args for Lazy<T> {
    fn augment_args(command: Command) -> Command {
        command.defer(|command| describe(command, T::augment_args))
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.defer(|command| describe(command, T::augment_args_for_update))
    }
}

/// The command keeps the line that its parent lists it with; what the arguments say of themselves
/// after their first paragraph follows in the long help.
fn describe(command: Command, define: fn(Command) -> Command) -> Command {
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let command = define(command);
    let long = command
        .get_long_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let command = command.about(about.clone());
    match long.split_once("\n\n") {
        Some((_, rest)) => command.long_about(format!("{about}.\n\n{rest}")),
        None => command.long_about(None),
    }
}

impl<T: FromArgMatches> FromArgMatches for Lazy<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        T::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.update_from_arg_matches(matches)
    }
}
