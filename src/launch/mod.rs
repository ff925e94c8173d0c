//! Handing values over: [`run()`] to a program's environment, [`inject()`] to a text.
//!
//! | what | where |
//! | --- | --- |
//! | [`Lookup`], resolving all or nothing | here |
//! | [`Binding`]: one variable and what it is made of | `binding` |
//! | [`run()`] | `run` |
//! | replacing values in a program's output | [`mask`], `pump` |
//! | [`inject()`], [`write_private`] | `inject` |
//!
//! Invariant: all or nothing: no program starts and no byte is written unless every SecretRef
//! resolved. Values never lie in argv, in a temporary file, or in a `String`.
#![forbid(unsafe_code)]

mod binding;
mod inject;
pub mod mask;
mod pump;
mod run;

pub use binding::Binding;
pub use inject::{inject, write_private};
pub use run::{Launch, run};

use crate::error::{Code, Failure};
use crate::reference::SecretRef;
use crate::secret::SecretValue;
use std::collections::HashMap;

/// The most failures that one message lists.
pub const MAX_LISTED: usize = 32;

/// Where values come from: the vault opened here, or the daemon.
pub trait Lookup {
    /// Resolves refs in one round trip; answers are in the order of `refs`. The outer error means
    /// that nothing could be asked at all (sealed, corrupt, unreachable).
    fn resolve(&mut self, refs: &[SecretRef])
    -> Result<Vec<Result<SecretValue, Failure>>, Failure>;
}

/// A ref, and where it stands ("OPENAI_API_KEY", "line 3") for messages.
type Mention<'a> = (&'a SecretRef, String);

/// Resolves every ref once, in one round trip.
///
/// # Errors
/// If any fails: the code is that of the first, the message lists all, each with its place.
fn resolve_all(
    lookup: &mut dyn Lookup,
    mentions: &[Mention<'_>],
) -> Result<HashMap<SecretRef, SecretValue>, Failure> {
    let mut refs: Vec<SecretRef> = Vec::new();
    let mut places: HashMap<&SecretRef, usize> = HashMap::new();
    for (reference, _) in mentions {
        places.entry(reference).or_insert_with(|| {
            refs.push((*reference).clone());
            refs.len() - 1
        });
    }
    if refs.is_empty() {
        return Ok(HashMap::new());
    }
    let answers = lookup.resolve(&refs)?;
    if answers.len() != refs.len() {
        return Err(Failure::new(
            Code::Bug,
            "a lookup gave another number of answers than refs",
        ));
    }
    let mut failed = mentions.iter().filter_map(|(reference, place)| {
        let failure = answers[places[reference]].as_ref().err()?;
        Some((
            failure.code,
            format!("{place}: {reference}: {}", failure.message),
        ))
    });
    if let Some((code, first)) = failed.next() {
        let mut lines = vec![first];
        lines.extend(failed.by_ref().take(MAX_LISTED - 1).map(|(_, line)| line));
        match failed.count() {
            0 => {}
            more => lines.push(format!("and {more} more")),
        }
        return Err(Failure::new(code, lines.join("; ")));
    }
    Ok(refs
        .into_iter()
        .zip(answers.into_iter().flatten())
        .collect())
}

#[cfg(test)]
mod tests;
