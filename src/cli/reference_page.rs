//! The text of `docs/cli.md`, from the same definitions as `--help`.

use super::session::UNLOCK_HEADING;
use std::fmt::Write;

/// The command whose section shows the options that open the vault.
const UNLOCK_COMMAND: &str = "reseal vault unlock";

/// What stands above the generated part.
const HEAD: &str = include_str!("reference_page.txt");

/// The whole page.
pub fn text() -> String {
    let mut root = super::full_command()
        .term_width(80)
        .disable_help_flag(false);
    root.build();
    let mut text = HEAD.to_owned();
    section(&mut text, &root, "reseal");
    text
}

fn section(text: &mut String, command: &clap::Command, name: &str) {
    if command.is_hide_set() {
        return;
    }
    // What every command takes is shown once.
    let shown_elsewhere = |arg: &clap::Arg| {
        (arg.is_global_set() && name != "reseal")
            || (arg.get_help_heading() == Some(UNLOCK_HEADING) && name != UNLOCK_COMMAND)
            || (arg.get_id() == "help" && name != "reseal")
    };
    let opens = command
        .get_arguments()
        .any(|arg| arg.get_help_heading() == Some(UNLOCK_HEADING));
    let help = command
        .clone()
        .bin_name(name.to_owned())
        .mut_args(|arg| {
            if shown_elsewhere(&arg) {
                arg.hide(true)
            } else {
                arg
            }
        })
        .term_width(80)
        .render_long_help()
        .to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let help = help.join("\n");
    // Writing to a String can't fail.
    let _ = write!(text, "\n## {name}\n\n```text\n{}\n```\n", help.trim());
    if opens && name != UNLOCK_COMMAND {
        text.push_str("\nTakes the options that open the vault, as `reseal vault unlock` does.\n");
    }
    for next in command
        .get_subcommands()
        .filter(|next| next.get_name() != "help")
    {
        section(text, next, &format!("{name} {}", next.get_name()));
    }
}
