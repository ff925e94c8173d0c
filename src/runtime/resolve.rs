//! Resolves refs of every source: grouped, in parallel, each with an outcome of its own.
//!
//! Invariant: one failure never hides another; the outcomes come back in the order of the refs.

use crate::config::{Config, ProviderConfig, VaultProvider};
use crate::error::Failure;
use crate::reference::plan::{Group, ResolvePlan};
use crate::reference::{SecretRef, Source};
use crate::secret::SecretValue;
use crate::source;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The outcomes of a plan, by ref.
pub type Outcomes = HashMap<SecretRef, Result<SecretValue, Failure>>;

type Outcome = (SecretRef, Result<SecretValue, Failure>);

/// Something that reads records of opened vaults.
pub trait VaultValues {
    /// The values of `vault` refs of one provider, in order.
    fn read(
        &self,
        provider: &VaultProvider,
        refs: &[SecretRef],
    ) -> Vec<Result<SecretValue, Failure>>;
}

/// What refs are resolved with.
#[derive(Clone, Copy)]
pub struct Resolver<'a> {
    /// Where the providers are configured.
    pub config: &'a Config,
    /// What the sources may use of this process.
    pub context: source::Context<'a>,
    /// Where `vault` refs are read.
    pub vault: &'a (dyn VaultValues + Sync),
}

impl Resolver<'_> {
    /// Resolves each ref once, whatever its source, and gathers every outcome.
    ///
    /// # Errors
    /// `ref.limit` if there are more refs than a plan takes.
    pub fn resolve(&self, refs: impl IntoIterator<Item = SecretRef>) -> Result<Outcomes, Failure> {
        let plan = ResolvePlan::new(refs)?;
        let mut outcomes = Outcomes::with_capacity(plan.len());
        // The vault answers from memory and one read each: a thread would cost more than it.
        let (near, far): (Vec<&Group>, Vec<&Group>) =
            plan.groups().iter().partition(|group| self.is_near(group));
        for group in near {
            outcomes.extend(self.resolve_group(group));
        }
        match far.as_slice() {
            [] => {}
            [group] => outcomes.extend(self.resolve_group(group)),
            groups => outcomes.extend(self.resolve_in_parallel(groups)),
        }
        Ok(outcomes)
    }

    fn is_near(&self, group: &Group) -> bool {
        match group.source {
            Source::Vault | Source::Env => true,
            Source::File | Source::Exec => false,
        }
    }

    fn resolve_in_parallel(&self, groups: &[&Group]) -> Outcomes {
        let next = AtomicUsize::new(0);
        let gathered = Mutex::new(Outcomes::new());
        std::thread::scope(|scope| {
            for _ in 0..groups.len().min(self.config.resolution.concurrency) {
                scope.spawn(|| {
                    while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let outcomes = self.resolve_group(group);
                        gathered
                            .lock()
                            .unwrap_or_else(|e| e.into_inner())
                            .extend(outcomes);
                    }
                });
            }
        });
        gathered.into_inner().unwrap_or_else(|e| e.into_inner())
    }

    fn resolve_group(&self, group: &Group) -> Vec<Outcome> {
        let refs = group.refs.as_slice();
        let results = match self.config.provider(group.source, &group.provider) {
            Err(error) => vec![Err(error.into()); refs.len()],
            Ok(provider) => self.ask(&provider, group),
        };
        refs.iter().cloned().zip(results).collect()
    }

    fn ask(&self, provider: &ProviderConfig, group: &Group) -> Vec<Result<SecretValue, Failure>> {
        match provider {
            ProviderConfig::Vault(vault) => self.vault.read(vault, &group.refs),
            ProviderConfig::Env(_) | ProviderConfig::File(_) | ProviderConfig::Exec(_) => {
                source::resolve_group(provider, &group.provider, &group.refs, &self.context)
                    .into_iter()
                    .map(|result| result.map_err(Failure::from))
                    .collect()
            }
        }
    }
}
