//! The types of targets: names for the places of [`crate::config::target`].

use crate::config::target::{self, Target};
use crate::document::Segment;

/// Why a path is no target of a type.
pub(super) const NO_PLACE: &str = "no secret is known to belong at this path";
const OTHER_TYPE: &str = "the type does not fit the path";
const OTHER_PROVIDER: &str = "providerId is not the one in the path";
const OTHER_ACCOUNT: &str = "accountId is not the one in the path";

/// The groups whose type is written without wildcards.
const SHORT: &[&[&str]] = &[&["models", "providers"], &["skills", "entries"]];

/// The type that is written for a place; `None` if no secret is known to belong there.
pub(super) fn of(path: &[Segment]) -> Option<String> {
    let target = target::find(path)?;
    let steps = target.steps();
    if is_short(steps) {
        return Some(without_wildcards(steps));
    }
    // The family's own table has a row for each plugin.
    let name = |(index, step): (usize, &&str)| match (steps[0], index, *step) {
        ("plugins", 2, "*") => path[2].as_key().unwrap_or("*").to_owned(),
        (_, _, step) => step.to_owned(),
    };
    let names: Vec<String> = steps.iter().enumerate().map(name).collect();
    Some(names.join(".").replace(".[]", "[]"))
}

/// Checks that a type fits a path, and that both ids say what the path says.
pub(super) fn check(
    kind: &str,
    path: &[Segment],
    provider_id: Option<&str>,
    account_id: Option<&str>,
) -> Result<(), &'static str> {
    let target = target::find(path).ok_or(NO_PLACE)?;
    if path.last().and_then(Segment::as_key) == Some("serviceAccountRef") {
        return Err(NO_PLACE);
    }
    if !fits(kind, target, path) {
        return Err(OTHER_TYPE);
    }
    let named = |group: &str| {
        let at = target.steps().iter().position(|step| *step == group)?;
        path.get(at + 1)?.as_key()
    };
    let differs = |given: Option<&str>, named: Option<&str>| match (given, named) {
        (Some(given), Some(named)) => given != named,
        (None | Some(_), None) | (None, Some(_)) => false,
    };
    if differs(provider_id, named("providers")) {
        return Err(OTHER_PROVIDER);
    }
    if differs(account_id, named("accounts")) {
        return Err(OTHER_ACCOUNT);
    }
    Ok(())
}

/// True if the type is the place's pattern, the short form of it, or a narrower one.
fn fits(kind: &str, target: &Target, path: &[Segment]) -> bool {
    let steps = target.steps();
    if is_short(steps) && kind == without_wildcards(steps) {
        return true;
    }
    let kind = kind.replace("[]", ".[]");
    let names: Vec<&str> = kind.split('.').collect();
    let step_fits = |((name, step), segment): ((&&str, &&str), &Segment)| {
        name == step || (*step == "*" && segment.as_key() == Some(*name))
    };
    names.len() == steps.len() && names.iter().zip(steps).zip(path).all(step_fits)
}

fn is_short(steps: &[&str]) -> bool {
    SHORT.iter().any(|group| steps.starts_with(group))
}

fn without_wildcards(steps: &[&str]) -> String {
    let names: Vec<&str> = steps.iter().copied().filter(|step| *step != "*").collect();
    names.join(".")
}
