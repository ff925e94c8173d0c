//! Answers kept for `cacheTtlMs`, in locked memory.

use super::ExecError;
use crate::config::ExecProvider;
use crate::secret::SecretValue;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The most values that a cache keeps; further ones are not kept.
pub const MAX_CACHED: usize = 4096;

/// Answers of exec providers with `cacheTtlMs`; owned by the caller, dropped with it. Only values
/// are kept, never errors. A provider whose definition changed starts empty.
#[derive(Default)]
pub struct Cache(Mutex<HashMap<String, Kept>>);

struct Kept {
    provider: ExecProvider,
    values: HashMap<String, (Instant, SecretValue)>,
}

impl Cache {
    /// Forgets (and thereby wipes) everything, as `vault lock` and `secrets reload` ask for.
    pub fn clear(&self) {
        self.lock().clear();
    }

    pub(super) fn get(
        &self,
        alias: &str,
        provider: &ExecProvider,
        ids: &[&str],
    ) -> Vec<Option<SecretValue>> {
        let now = Instant::now();
        let kept = self.lock();
        let values = kept.get(alias).filter(|kept| kept.provider == *provider);
        let fresh = |id: &&str| {
            let (until, value) = values?.values.get(*id)?;
            (now < *until).then(|| value.clone())
        };
        ids.iter().map(fresh).collect()
    }

    pub(super) fn put(
        &self,
        alias: &str,
        provider: &ExecProvider,
        ids: &[&str],
        answers: &[Result<SecretValue, ExecError>],
    ) {
        let now = Instant::now();
        let Some(until) = now.checked_add(provider.cache_ttl) else {
            return;
        };
        let mut all = self.lock();
        if all
            .get(alias)
            .is_some_and(|kept| kept.provider != *provider)
        {
            all.remove(alias);
        }
        for kept in all.values_mut() {
            kept.values.retain(|_, (until, _)| now < *until);
        }
        let mut room = MAX_CACHED.saturating_sub(all.values().map(|kept| kept.values.len()).sum());
        let kept = all.entry(alias.to_owned()).or_insert_with(|| Kept {
            provider: provider.clone(),
            values: HashMap::new(),
        });
        for (id, answer) in ids.iter().zip(answers) {
            if let Ok(value) = answer
                && room > 0
            {
                kept.values.insert((*id).to_owned(), (until, value.clone()));
                room -= 1;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache([redacted])")
    }
}
