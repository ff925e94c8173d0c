//! The snapshot: every value in use, immutable; and the state machine around it.
//!
//! [`Snapshot::build`] takes what was wanted and what became of it, and gives a snapshot or every
//! failure. [`Machine`] knows which snapshot is current and tells each change of state once.
//!
//! Invariants: a snapshot is never changed, only replaced by a newer one; it says where each value
//! came from and never the value: no value in `Debug`, none in anything that is serialised. Nothing
//! here resolves, and nothing here knows the time.
#![forbid(unsafe_code)]

mod machine;

pub use machine::{Event, Machine, State};

use crate::error::{Code, Coded, Failure};
use crate::name::Alias;
use crate::reference::{SecretRef, Source};
use crate::secret::SecretValue;
use crate::time::UnixMs;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// A ref that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The ref.
    pub reference: SecretRef,
    /// Who wants it, such as `models.providers.openai` or `main: openai:default`.
    pub owner: Arc<str>,
    /// The owner does without if it fails.
    pub optional: bool,
}

/// What became of each ref.
pub type Resolution = HashMap<SecretRef, Result<SecretValue, Failure>>;

/// A ref that did not resolve, and who wanted it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefFailure {
    /// The ref.
    #[serde(rename = "ref")]
    pub reference: SecretRef,
    /// Who wanted it.
    pub owners: Vec<String>,
    /// True if all of them do without.
    pub optional: bool,
    /// Why.
    pub failure: Failure,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// The kind of place.
    pub source: Source,
    /// The alias of the source provider.
    pub provider: Alias,
    /// The id within it.
    pub id: String,
    /// The generation of the vault that was current.
    pub generation: u64,
    /// When it was resolved.
    pub at: UnixMs,
}

/// Every value in use, at one generation of the vault.
#[derive(Clone)]
pub struct Snapshot {
    generation: u64,
    built_at: UnixMs,
    values: HashMap<SecretRef, SecretValue>,
    failures: Vec<RefFailure>,
}

impl Snapshot {
    /// Builds a snapshot of what is wanted. With `tolerate`, failed required refs are left out
    /// and noted instead of failing the whole.
    ///
    /// # Errors
    /// Every failure, if a required ref failed. A wanted ref without a result is a failure too.
    pub fn build(
        generation: u64,
        built_at: UnixMs,
        wanted: &[Wanted],
        mut resolution: Resolution,
        tolerate: bool,
    ) -> Result<Self, BuildError> {
        let mut values = HashMap::with_capacity(resolution.len());
        let mut failures: Vec<RefFailure> = Vec::new();
        let mut failed: HashMap<&SecretRef, usize> = HashMap::new();
        for want in wanted {
            let reference = &want.reference;
            if values.contains_key(reference) {
                continue;
            }
            if let Some(index) = failed.get(reference) {
                let failure = &mut failures[*index];
                failure.owners.push(want.owner.to_string());
                failure.optional &= want.optional;
                continue;
            }
            let outcome = resolution
                .remove(reference)
                .unwrap_or_else(|| Err(unanswered()));
            match outcome {
                Ok(value) => {
                    values.insert(reference.clone(), value);
                }
                Err(failure) => {
                    failed.insert(reference, failures.len());
                    failures.push(RefFailure {
                        reference: reference.clone(),
                        owners: vec![want.owner.to_string()],
                        optional: want.optional,
                        failure,
                    });
                }
            }
        }
        if !tolerate && failures.iter().any(|failure| !failure.optional) {
            return Err(BuildError { failures });
        }
        Ok(Self {
            generation,
            built_at,
            values,
            failures,
        })
    }

    /// The generation of the vault that it was built from.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// When it was built.
    pub fn built_at(&self) -> UnixMs {
        self.built_at
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True if there are no values.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a ref.
    pub fn get(&self, reference: &SecretRef) -> Option<&SecretValue> {
        self.values.get(reference)
    }

    /// The refs that have a value, in no order.
    pub fn refs(&self) -> impl Iterator<Item = &SecretRef> {
        self.values.keys()
    }

    /// Where the value of a ref came from.
    pub fn provenance(&self, reference: &SecretRef) -> Option<Provenance> {
        self.values.contains_key(reference).then(|| Provenance {
            source: reference.source(),
            provider: reference.provider().clone(),
            id: reference.id().to_owned(),
            generation: self.generation,
            at: self.built_at,
        })
    }

    /// The refs that failed and were done without.
    pub fn failures(&self) -> &[RefFailure] {
        &self.failures
    }

    /// True if a required ref failed and was tolerated.
    pub fn lacks_required(&self) -> bool {
        self.failures.iter().any(|failure| !failure.optional)
    }

    /// What a newer snapshot has otherwise, by ref.
    pub fn diff(&self, newer: &Snapshot) -> Diff {
        let mut diff = Diff::default();
        for (reference, value) in &newer.values {
            match self.values.get(reference) {
                None => diff.added.push(reference.clone()),
                Some(old) if old != value => diff.changed.push(reference.clone()),
                Some(_) => {}
            }
        }
        let gone = self
            .values
            .keys()
            .filter(|reference| !newer.values.contains_key(reference));
        diff.removed.extend(gone.cloned());
        for list in [&mut diff.added, &mut diff.changed, &mut diff.removed] {
            list.sort();
        }
        diff
    }
}

fn unanswered() -> Failure {
    Failure::new(Code::Bug, "no source answered for the ref")
}

/// Shows the refs and the generation, no value.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("generation", &self.generation)
            .field("built_at", &self.built_at)
            .field("refs", &self.values.keys().collect::<Vec<_>>())
            .field("failures", &self.failures)
            .finish()
    }
}

/// What differs between two snapshots; each list is sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diff {
    /// Refs that have a value now and had none.
    pub added: Vec<SecretRef>,
    /// Refs that have another value now.
    pub changed: Vec<SecretRef>,
    /// Refs that had a value and have none now.
    pub removed: Vec<SecretRef>,
}

impl Diff {
    /// True if nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// Why there is no snapshot: every failure, also the optional ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildError {
    failures: Vec<RefFailure>,
}

impl BuildError {
    /// Every failure.
    pub fn failures(&self) -> &[RefFailure] {
        &self.failures
    }

    /// Every failure, taken out.
    pub fn into_failures(self) -> Vec<RefFailure> {
        self.failures
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let required = self.failures.iter().filter(|failure| !failure.optional);
        write!(f, "{} required SecretRefs failed", required.clone().count())?;
        for (i, failure) in required.enumerate() {
            let separator = if i == 0 { ": " } else { "; " };
            let owners = failure.owners.join(", ");
            write!(
                f,
                "{separator}{} ({owners}): {}",
                failure.reference, failure.failure
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for BuildError {}

impl Coded for BuildError {
    /// The code that all required failures share, else the general one.
    fn code(&self) -> Code {
        let mut codes = self
            .failures
            .iter()
            .filter(|f| !f.optional)
            .map(|f| f.failure.code);
        let first = codes.next().unwrap_or(Code::ActivationFailed);
        if codes.all(|code| code == first) {
            first
        } else {
            Code::ActivationFailed
        }
    }
}
crate::error::failure_from!(BuildError);

#[cfg(test)]
mod tests;
