//! `reseal man`.

use super::context::Context;
use super::error::{CliError, Doing, Done, io_failure};
use crate::error::{Code, Failure};
use clap::Args;
use clap_mangen::Man;
use std::path::{Path, PathBuf};

/// Arguments of `man`.
///
/// To read a page: reseal man secrets set | man -l -
#[derive(Args)]
pub struct ManArgs {
    /// The command, such as `secrets set` [default: the page of reseal itself]
    #[arg(value_name = "COMMAND")]
    command: Vec<String>,

    /// Write the pages of all commands into a folder
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    out_dir: Option<PathBuf>,
}

const DOING: &str = "write the manual page";

/// Writes manual pages.
pub fn run(context: &Context, args: ManArgs) -> Done {
    let mut root = super::full_command();
    root.build();
    if let Some(folder) = &args.out_dir {
        std::fs::create_dir_all(folder)
            .map_err(|error| io_failure(folder, &error))
            .doing(DOING)?;
        let mut count = 0;
        write_all(&root, "reseal", folder, &mut count).doing(DOING)?;
        let folder = super::output::shown_path(folder);
        context
            .out
            .say(&format!("Wrote {count} pages to {folder}."));
        return Ok(0);
    }
    let mut command = &root;
    let mut name = "reseal".to_owned();
    for step in &args.command {
        let Some(next) = command.find_subcommand(step) else {
            let why = format!(
                "there is no command `{name} {}`",
                super::output::shown(step)
            );
            return Err(CliError::because(DOING, Code::Usage, why));
        };
        command = next;
        name = format!("{name}-{}", next.get_name());
    }
    let page = page(command, &name).doing(DOING)?;
    context
        .out
        .data(String::from_utf8_lossy(&page).trim_end_matches('\n'))?;
    Ok(0)
}

fn write_all(
    command: &clap::Command,
    name: &str,
    folder: &Path,
    count: &mut usize,
) -> Result<(), Failure> {
    let path = folder.join(format!("{name}.1"));
    std::fs::write(&path, page(command, name)?).map_err(|error| io_failure(&path, &error))?;
    *count += 1;
    for next in command
        .get_subcommands()
        .filter(|next| next.get_name() != "help")
    {
        write_all(next, &format!("{name}-{}", next.get_name()), folder, count)?;
    }
    Ok(())
}

fn page(command: &clap::Command, name: &str) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    // The usage line of the help, where the options stand with their values or as [OPTIONS].
    let mut command = command.clone();
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").to_owned();
    // The long title of a command three levels deep would leave no room in the header.
    let title = name.rsplit('-').next().unwrap_or(name);
    Man::new(command.override_usage(usage))
        .title(format!("reseal {title}"))
        .render(&mut page)
        .map_err(|error| Failure::new(Code::Bug, error.to_string()))?;
    Ok(page)
}
