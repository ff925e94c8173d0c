//! The second step: what shall be done with each plaintext value.

use super::{DOING, ask};
use crate::apply::Site;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing};
use crate::cli::output::{Tone, shown};
use crate::cli::secrets::plan::Found;
use crate::error::Code;
use crate::name::{Alias, NameError, RecordName};
use crate::plan::{Drawn, Left, Target};
use crate::reference::{SecretRef, Source};

/// What is done with one value.
enum Choice {
    Move,
    Skip,
    MoveRest,
    SkipRest,
}

/// How often an answer may be unclear before that counts as leaving.
const MAX_TRIES: usize = 5;

/// Goes through the values; what is skipped leaves the plan.
pub(super) fn ask_each(
    context: &Context,
    site: &Site,
    found: &Found,
    drawn: &mut Drawn,
) -> Result<(), CliError> {
    let mut targets = std::mem::take(&mut drawn.plan.targets);
    // What a ref means stays when it is written anew: there is nothing to ask.
    let respelled = targets.split_off(targets.len() - drawn.respelled);
    if targets.is_empty() {
        context.out.tell("  There is none that can be moved.");
        drawn.plan.targets = respelled;
        return Ok(());
    }
    context.out.explain(
        "For each: Enter moves it into the vault, s leaves it where it is, n gives its record \
         another name, r points the place at a ref that exists instead, a moves this and all the \
         rest, q leaves this and all the rest.",
    );
    let count = targets.len();
    let mut rest = None;
    for (index, mut target) in targets.into_iter().enumerate() {
        let choice = match rest {
            Some(moves) => moves,
            None => {
                let label = format!("({}/{count})", index + 1);
                let label = context.out.paint_err(Tone::Faint, &label);
                let place = shown(&target.place.to_string());
                context.out.tell(&format!("\n{label} {place}"));
                match ask_one(context, site, found, &mut target)? {
                    Choice::Move => true,
                    Choice::Skip => false,
                    Choice::MoveRest => *rest.insert(true),
                    Choice::SkipRest => *rest.insert(false),
                }
            }
        };
        if choice {
            drawn.plan.targets.push(target);
        } else {
            let place = target.place.to_string();
            let why = "you left it".to_owned();
            drawn.left.push(Left::new(place, why));
        }
    }
    drawn.plan.targets.extend(respelled);
    drop_unused_provider(drawn);
    Ok(())
}

/// The provider that runs this program is of no use without a ref to it.
fn drop_unused_provider(drawn: &mut Drawn) {
    let targets = &drawn.plan.targets;
    let is_used = |alias: &Alias| targets.iter().any(|t| t.reference.provider() == alias);
    let is_ours = |definition: &serde_json::Value| is_exec_provider(definition);
    let keep =
        |upsert: &crate::plan::Upsert| is_used(&upsert.alias) || !is_ours(&upsert.definition);
    drawn.plan.upserts.retain(keep);
}

fn is_exec_provider(definition: &serde_json::Value) -> bool {
    let args = definition["args"].as_array();
    args.is_some_and(|args| args.iter().any(|arg| arg == "exec-provider"))
}

fn ask_one(
    context: &Context,
    site: &Site,
    found: &Found,
    target: &mut Target,
) -> Result<Choice, CliError> {
    for _ in 0..MAX_TRIES {
        let prompt = format!("  -> {}  [Enter/s/n/r/a/q] ", target.reference);
        match ask(&prompt)?.to_ascii_lowercase().as_str() {
            "" | "m" => return Ok(Choice::Move),
            "s" => return Ok(Choice::Skip),
            "a" => return Ok(Choice::MoveRest),
            "q" => return Ok(Choice::SkipRest),
            "n" => {
                let name = ask("  Name of the record: ")?;
                match renamed(target, &name) {
                    Ok(reference) => target.reference = reference,
                    Err(why) => context.out.warn(&why),
                }
            }
            "r" => {
                let text = ask("  The ref, SOURCE:ID or SOURCE@PROVIDER:ID: ")?;
                match SecretRef::parse_text(&text, &found.config.defaults) {
                    Ok(reference) if !site.own && reference.source() == Source::Vault => {
                        context
                            .out
                            .warn("another runtime knows no refs with source vault");
                    }
                    Ok(reference) => target.reference = reference,
                    Err(why) => context.out.warn(&why.to_string()),
                }
            }
            _ => context.out.tell("  Please answer Enter, s, n, r, a or q."),
        }
    }
    let failure = crate::error::Failure::new(Code::InputCancelled, "no clear answer");
    Err(failure).doing(DOING)
}

/// The same source and provider with another record.
fn renamed(target: &Target, name: &str) -> Result<SecretRef, String> {
    let name: RecordName = name.parse().map_err(|error: NameError| error.to_string())?;
    let reference = &target.reference;
    SecretRef::new(
        reference.source(),
        reference.provider().clone(),
        name.as_str(),
    )
    .map_err(|error| error.to_string())
}
