//! `reseal secrets configure`: a walk at a terminal, from the providers of secrets over the
//! plaintext that was found to a plan that is carried out.
//!
//! Invariant: nothing is written before the person has seen the whole plan and said yes.

mod providers;
mod values;

use super::apply::{self, Wish};
use super::plan::{self, Found};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::output::{Tone, shown, shown_path};
use crate::cli::session::UnlockArgs;
use crate::cli::vault::status::plural;
use crate::error::Code;
use crate::name::RecordName;
use crate::plan::{Drawn, Plan};
use crate::store::files;
use crate::sys::tty;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Arguments of `secrets configure`.
///
/// Walks through the providers of secrets and the plaintext values of the config and of the agent's
/// profiles, and asks what shall be done with each. Nothing is written before the end. Needs a
/// terminal; in a script, use `secrets plan` and `secrets apply`.
#[derive(Args)]
pub struct ConfigureArgs {
    /// Another runtime's state folder, such as ~/.openclaw [default: this state folder]
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,

    /// Write the plan to a file
    #[arg(long, value_name = "FILE")]
    plan_out: Option<PathBuf>,

    /// Carry the plan out without being asked whether to
    #[arg(long)]
    apply: bool,

    /// With --apply: don't ask for a last yes
    #[arg(long, requires = "apply")]
    yes: bool,

    /// Only set up providers; leave the values where they are
    #[arg(long, conflicts_with = "skip_provider_setup")]
    providers_only: bool,

    /// Leave the providers as they are
    #[arg(long)]
    skip_provider_setup: bool,

    /// Put the new records below this name, as `NAME/openai/default`: for a second folder whose
    /// places have the same names
    #[arg(long, value_name = "NAME")]
    prefix: Option<RecordName>,

    /// Run the commands of exec providers other than this program
    #[arg(long)]
    allow_exec: bool,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "configure the secrets";

impl ConfigureArgs {
    /// True unless only a plan is wanted.
    fn may_carry_out(&self) -> bool {
        self.apply || self.plan_out.is_none()
    }
}

/// Walks through everything.
pub fn run(context: &Context, args: ConfigureArgs) -> Done {
    check_terminal(context)?;
    let site = plan::site(context, args.from.as_deref())?;
    if args.may_carry_out() {
        // Rather before the questions than after them; it is looked at again then.
        apply::check_stopped(&site).doing(DOING)?;
    }
    let found = Found::read(&site).doing(DOING)?;
    let via = plan::via(context, &site, &found)?;
    let mut drawn = found.draw(&via, |agent| *agent == context.agent);
    if let Some(prefix) = &args.prefix {
        drawn.put_below(prefix);
    }
    let out = &context.out;
    out.tell(&out.paint_err(
        Tone::Strong,
        &format!("The secrets of {}", shown_path(&site.root)),
    ));
    out.explain("Nothing is written before you say so at the end. Ctrl-C leaves all as it is.");
    if args.providers_only {
        drawn.plan.targets.clear();
        drawn.plan.upserts.clear();
        drawn.left.clear();
    }
    let steps = 3 - usize::from(args.skip_provider_setup) - usize::from(args.providers_only);
    let mut step = 0;
    let mut head = |text: &str| {
        step += 1;
        let label = out.paint_err(Tone::Strong, &format!("[{step}/{steps}]"));
        out.tell(&format!("\n{label} {text}"));
    };
    if !args.skip_provider_setup {
        head("Providers: where refs lead");
        providers::set_up(context, &site, &found, &mut drawn.plan)?;
    }
    if !args.providers_only {
        let count = (drawn.plan.targets.len() - drawn.respelled) as u64;
        head(&format!(
            "{count} {} found",
            plural(count, "plaintext value")
        ));
        values::ask_each(context, &site, &found, &mut drawn)?;
        tell_of_other_agents(context, &found);
    }
    head("The plan");
    if !site.own {
        drawn.plan.state_dir = site.root.to_str().map(str::to_owned);
    }
    finish(context, &args, &site, &drawn)
}

fn check_terminal(context: &Context) -> Result<(), CliError> {
    let why = if context.no_input {
        "it is a walk with questions, and --no-input was given"
    } else if !tty::can_ask() {
        "it is a walk with questions, and there is no terminal to ask on"
    } else {
        return Ok(());
    };
    Err(CliError::because(DOING, Code::NoInput, why)
        .hint("`reseal secrets plan` and `reseal secrets apply` do the same without questions"))
}

fn tell_of_other_agents(context: &Context, found: &Found) {
    for agent in found.other_agents(&context.agent) {
        context.out.explain(&format!(
            "The agent {agent} has plaintext in its profiles too: run this again with --agent \
             {agent}."
        ));
    }
}

/// Shows the plan, writes it where asked, and carries it out if that is wanted.
fn finish(
    context: &Context,
    args: &ConfigureArgs,
    site: &crate::apply::Site,
    drawn: &Drawn,
) -> Done {
    let out = &context.out;
    let plan = &drawn.plan;
    show(context, drawn);
    let nothing = plan.targets.is_empty() && plan.upserts.is_empty() && plan.deletes.is_empty();
    if let Some(path) = &args.plan_out {
        let doing = format!("write {}", shown_path(path));
        files::overwrite(path, plan.to_text().as_bytes()).doing(doing)?;
        out.say(&format!("The plan is in {}.", shown_path(path)));
    }
    let wanted = !nothing && args.may_carry_out();
    let question = "Carry it out now?";
    if wanted && (args.yes || tty::confirm(question, false).doing(DOING)?) {
        let wish = Wish {
            dry_run: false,
            allow_exec: args.allow_exec,
            unlock: &args.unlock,
        };
        return apply::carry_out(context, plan, site, &wish);
    }
    if nothing {
        out.say("There is nothing to do.");
    } else if args.plan_out.is_none() {
        out.say("Nothing was written.");
    }
    if out.json {
        let file = args.plan_out.as_ref();
        out.document(&json!({"applied": false, "planFile": file, "plan": plan.to_json()}))?;
    }
    Ok(0)
}

fn show(context: &Context, drawn: &Drawn) {
    let out = &context.out;
    let Plan {
        deletes,
        upserts,
        targets,
        ..
    } = &drawn.plan;
    for alias in deletes {
        out.tell(&format!("  remove the provider {alias}"));
    }
    for upsert in upserts {
        let command = upsert.definition["command"].as_str();
        let source = upsert.definition["source"].as_str().unwrap_or_default();
        let what = command.map_or_else(|| source.to_owned(), |command| format!("runs {command}"));
        out.tell(&shown(&format!(
            "  set the provider {} ({what})",
            upsert.alias
        )));
    }
    for target in targets {
        out.tell(&shown(&format!(
            "  {} -> {}",
            target.place, target.reference
        )));
    }
    for left in &drawn.left {
        out.warn(&shown(&format!("{} stays: {}", left.place, left.why)));
    }
}

/// A line that the person types, trimmed.
fn ask(prompt: &str) -> Result<String, CliError> {
    let line = tty::read_line(prompt).doing(DOING)?;
    Ok(line.trim().to_owned())
}
