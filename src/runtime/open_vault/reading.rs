//! Many values at once: each opened only if nobody holds it any more, and where there are many, on
//! several processors.
//!
//! Invariant: nothing here keeps a value alive. What is remembered of a value is where it lies
//! while somebody else holds it, under the record and version that it was sealed as.

use super::{OpenVault, Scratch};
use crate::error::Failure;
use crate::secret::{SecretValue, WeakValue};
use crate::store::VaultFile;
use crate::vault::{RecordId, RecordKind, ValueAt, Vault, VaultError};
use std::collections::HashMap;
use std::thread;

/// The fewest values for which another thread is started.
pub const SIDE_BY_SIDE: usize = 1_024;
/// The most threads that open values, the caller's included.
pub const MAX_READERS: usize = 4;
/// The most values whose place is remembered.
pub const MAX_RECENT: usize = crate::reference::plan::MAX_REFS;

/// Values that were opened and may still be held.
#[derive(Default)]
pub(super) struct Recent(HashMap<RecordId, (u64, WeakValue)>);

impl Recent {
    fn get(&self, at: &ValueAt) -> Option<SecretValue> {
        let (version, value) = self.0.get(&at.id)?;
        (*version == at.version).then(|| value.upgrade()).flatten()
    }

    fn note(&mut self, at: &ValueAt, value: &SecretValue) {
        if self.0.len() >= MAX_RECENT {
            self.0.retain(|_, (_, value)| value.is_held());
        }
        if self.0.len() < MAX_RECENT {
            self.0.insert(at.id, (at.version, value.downgrade()));
        }
    }
}

impl OpenVault {
    /// The newest values of records, in order, each with its kind, as this handle last saw them:
    /// [`OpenVault::get`] for many records, without their metadata.
    ///
    /// # Errors
    /// As [`OpenVault::get`], for each value by itself.
    pub fn values<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
    ) -> Vec<Result<(RecordKind, SecretValue), Failure>> {
        let mut values = Vec::with_capacity(names.size_hint().0);
        let mut sealed = Vec::new();
        for name in names {
            let known = self.vault.newest(name);
            values.push(match known.map(|at| (at, self.recent.get(&at))) {
                None => Err(VaultError::RecordAbsent(name.to_owned()).into()),
                Some((at, Some(value))) => Ok((at.kind, value)),
                Some((at, None)) => {
                    sealed.push((values.len(), at));
                    Err(VaultError::Bug("a value that was not read").into())
                }
            });
        }
        let opened = open_all(&self.file, &self.vault, &sealed);
        for ((index, at), opened) in sealed.iter().zip(opened) {
            if let Ok(value) = &opened {
                self.recent.note(at, value);
            }
            values[*index] = opened.map(|value| (at.kind, value));
        }
        values
    }
}

type Opened = Vec<Result<SecretValue, Failure>>;

/// Opens values on as many threads as pay for themselves; each gives its part in order.
fn open_all(file: &VaultFile, vault: &Vault, sealed: &[(usize, ValueAt)]) -> Opened {
    let open = |part: &[(usize, ValueAt)]| -> Opened {
        let mut scratch = Scratch::default();
        let open = |(_, at): &(usize, ValueAt)| super::open_at(file, vault, at, &mut scratch);
        part.iter().map(open).collect()
    };
    // How many processors there are is asked of several files of the system each time.
    if sealed.len() < 2 * SIDE_BY_SIDE {
        return open(sealed);
    }
    let (first, rest) = sealed.split_at(part_len(sealed.len(), processors()));
    let parts = rest.chunks(first.len());
    thread::scope(|scope| {
        let tasks: Vec<_> = parts
            .map(|part| {
                let task = thread::Builder::new().spawn_scoped(scope, move || open(part));
                (part, task)
            })
            .collect();
        let mut opened = open(first);
        opened.reserve(sealed.len() - opened.len());
        for (part, task) in tasks {
            match task.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(values)) => opened.extend(values),
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // A machine that gives no thread just takes longer.
                Err(_) => opened.extend(open(part)),
            }
        }
        opened
    })
}

fn processors() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// How many values one thread opens.
fn part_len(values: usize, processors: usize) -> usize {
    let readers = (values / SIDE_BY_SIDE)
        .min(processors)
        .clamp(1, MAX_READERS);
    values.div_ceil(readers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_started_only_for_many_values_and_never_more_than_the_limit() {
        let readers = |values: usize, processors| values.div_ceil(part_len(values, processors));
        assert_eq!(readers(1, 8), 1);
        assert_eq!(readers(2 * SIDE_BY_SIDE - 1, 8), 1);
        assert_eq!(readers(2 * SIDE_BY_SIDE, 8), 2);
        assert_eq!(readers(2 * SIDE_BY_SIDE, 1), 1);
        assert_eq!(readers(100 * SIDE_BY_SIDE, 64), MAX_READERS);
    }

    #[test]
    fn what_nobody_holds_is_forgotten_before_more_than_the_limit_is_remembered() {
        let at = |i: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&i.to_le_bytes());
            ValueAt {
                id: RecordId(id),
                version: 1,
                kind: RecordKind::ApiKey,
                offset: 0,
                len: 0,
            }
        };
        let kept = SecretValue::copy_of(b"held");
        let mut recent = Recent::default();
        recent.note(&at(0), &kept);
        for i in 1..MAX_RECENT as u64 {
            recent.note(&at(i), &SecretValue::copy_of(b""));
        }
        assert_eq!(recent.0.len(), MAX_RECENT);
        recent.note(&at(MAX_RECENT as u64), &kept);
        assert_eq!(recent.0.len(), 2);
        assert!(recent.get(&at(0)).is_some());
        let other = ValueAt {
            version: 2,
            ..at(0)
        };
        assert!(recent.get(&other).is_none(), "another version");
    }
}
