//! The resolve plan: every ref once, grouped by source and provider, within limits.
//!
//! Invariants: no ref stands in two groups or twice in one; the order of first mention is kept, so
//! that the same config gives the same plan; what goes in comes out.

use super::{SecretRef, Source};
use crate::error::{Code, Coded};
use crate::name::Alias;
use std::collections::{HashMap, HashSet};

/// The most refs of one plan.
pub const MAX_REFS: usize = 65_536;
/// The most refs of one run of an exec provider, unless the config says otherwise.
pub const BATCH_REFS: usize = 512;
/// The largest request of one run in bytes, unless the config says otherwise.
pub const BATCH_BYTES: usize = 256 * 1024;

/// What one run of an exec provider gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// The most refs.
    pub refs: usize,
    /// The largest request in bytes.
    pub bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self {
            refs: BATCH_REFS,
            bytes: BATCH_BYTES,
        }
    }
}

/// The refs of one source and provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The kind of place.
    pub source: Source,
    /// The alias of the provider.
    pub provider: Alias,
    /// The refs, each once, in the order of first mention.
    pub refs: Vec<SecretRef>,
}

/// Every ref that is to be resolved, once, by source and provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvePlan {
    groups: Vec<Group>,
}

impl ResolvePlan {
    /// Collects, removes duplicates and groups.
    pub fn new(refs: impl IntoIterator<Item = SecretRef>) -> Result<Self, PlanError> {
        let refs = refs.into_iter();
        let mut seen = HashSet::with_capacity(refs.size_hint().0.min(MAX_REFS));
        let mut place: HashMap<(Source, Alias), usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for reference in refs {
            if !seen.insert(reference.clone()) {
                continue;
            }
            if seen.len() > MAX_REFS {
                return Err(PlanError::TooMany);
            }
            // Most refs go where the one before them went.
            if let Some(last) = groups.last_mut()
                && last.source == reference.source()
                && last.provider == *reference.provider()
            {
                last.refs.push(reference);
                continue;
            }
            let key = (reference.source(), reference.provider().clone());
            let index = *place.entry(key).or_insert_with(|| {
                groups.push(Group {
                    source: reference.source(),
                    provider: reference.provider().clone(),
                    refs: Vec::new(),
                });
                groups.len() - 1
            });
            groups[index].refs.push(reference);
        }
        Ok(Self { groups })
    }

    /// The groups, in the order of first mention.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The number of refs.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|group| group.refs.len()).sum()
    }

    /// True if there is nothing to resolve.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

/// Why there is no plan.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Over [`MAX_REFS`].
    #[error("more than {MAX_REFS} different SecretRefs")]
    TooMany,
}

impl Coded for PlanError {
    fn code(&self) -> Code {
        Code::RefLimit
    }
}
crate::error::failure_from!(PlanError);
