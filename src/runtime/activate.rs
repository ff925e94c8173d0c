//! All active refs to a snapshot, published in one swap.
//!
//! Invariant: the only place that publishes a snapshot. A build that fails publishes nothing: the
//! last good snapshot stays whole.

use super::ground::Place;
use super::local::{Runtime, held};
use super::refresh::Want;
use super::resolve::Outcomes;
use super::service::{RefOutcome, RefReport, Report, SnapshotState, SnapshotStatus};
use crate::error::{Code, Failure};
use crate::name::{AgentId, RecordName};
use crate::reference::{SecretRef, Source};
use crate::snapshot::{Event, Machine, RefFailure, Resolution, Snapshot, State, Wanted};
use crate::source;
use crate::sys::clock;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, TryLockError};

/// What a failed required ref means for a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tolerance {
    /// Start without the owners of failed refs.
    pub allow_degraded: bool,
}

impl Runtime {
    /// As [`Ground::in_use`](super::ground::Ground::in_use); none if they can't be read.
    pub fn in_use(&self, agent: &AgentId) -> HashSet<SecretRef> {
        self.ground()
            .map_or_else(|_| HashSet::new(), |ground| ground.in_use(agent))
    }

    /// Builds a snapshot of every active ref and publishes it; if a required ref fails, the last
    /// good snapshot stays. The report says which refs failed; only what keeps anything from being
    /// tried is an error.
    ///
    /// # Errors
    /// `config.invalid`, `profiles.invalid`, `file.*`, `vault.sealed`: the state is then degraded
    /// or failed too.
    pub fn activate(&self, tolerance: Tolerance) -> Result<Report, Failure> {
        let _turn = held(&self.building);
        match self.try_activate(tolerance) {
            Ok(report) => Ok(report),
            // A locked vault has no snapshot that could be good or bad.
            Err(failure) if failure.code == Code::VaultSealed => Err(failure),
            Err(failure) => {
                let event = held(&self.activation).failed(Vec::new(), clock::now());
                self.note(event);
                Err(failure)
            }
        }
    }

    /// [`Runtime::activate`] because somebody asked for it: with what the last start tolerated, and
    /// without the answers that commands gave before.
    ///
    /// # Errors
    /// As [`Runtime::activate`].
    pub fn reload(&self) -> Result<Report, Failure> {
        self.exec_cache.clear();
        let tolerance = *held(&self.tolerance);
        self.activate(tolerance)
    }

    /// The report of an activation that could not even be tried.
    pub fn report_of(&self, failure: Failure) -> Report {
        let entry = RefReport {
            owner: "activation".into(),
            file: self.config_path().display().to_string().into(),
            reference: None,
            outcome: RefOutcome::Error,
            failure: Some(failure),
            reason: None,
            optional: false,
        };
        Report {
            snapshot: self.snapshot_status(),
            refs: vec![entry],
        }
    }

    /// Resolves every active ref anew and reports each; publishes nothing.
    pub(super) fn dry_run(&self, agent: Option<&AgentId>) -> Result<Report, Failure> {
        let ground = self.fresh_ground()?;
        let chosen = |place: &&Place| place.is_for(agent);
        let places: Vec<&Place> = ground.places.iter().filter(chosen).collect();
        let active = places
            .iter()
            .filter(|place| place.inactive.is_none() && !place.is_plaintext());
        let refs: Vec<SecretRef> = active.filter_map(|p| p.reference.clone().ok()).collect();
        let outcomes = self.resolve_with(&ground.config, refs, Want::ALIVE)?;
        Ok(Report {
            snapshot: self.snapshot_status(),
            refs: reports(places, &outcomes),
        })
    }

    /// What [`Runtime::dry_run`] would tell, from what the last activation found: reads nothing,
    /// asks no source, renews no token, whoever asks however often.
    ///
    /// # Errors
    /// `vault.sealed`; as reading the config, if it was not read yet.
    pub fn published(&self, agent: Option<&AgentId>) -> Result<Report, Failure> {
        self.with_vault(|_| Ok(()))?;
        let ground = self.ground()?;
        let (snapshot, failures) = {
            let machine = held(&self.activation);
            (machine.snapshot().cloned(), machine.failures().to_vec())
        };
        let failures: HashMap<&SecretRef, &Failure> = failures
            .iter()
            .map(|failed| (&failed.reference, &failed.failure))
            .collect();
        let absent = Failure::new(Code::ActivationFailed, "the snapshot has no value for it");
        let outcome = |reference: &SecretRef| match failures.get(reference) {
            Some(failure) => Some(*failure),
            None => {
                let serves = |snapshot: &Arc<Snapshot>| snapshot.get(reference).is_some();
                (!snapshot.as_ref().is_some_and(serves)).then_some(&absent)
            }
        };
        let report = |place: &Place| {
            let wanted = place.reference.as_ref().ok();
            let wanted = wanted.filter(|_| place.inactive.is_none());
            place.report(wanted.and_then(outcome))
        };
        let places = ground.places.iter().filter(|place| place.is_for(agent));
        Ok(Report {
            snapshot: self.snapshot_status(),
            refs: places.map(report).collect(),
        })
    }

    /// What `vault status` says of the snapshot.
    pub(super) fn snapshot_status(&self) -> SnapshotStatus {
        let failures = held(&self.activation).failures().to_vec();
        let failures = self.failure_reports(&failures);
        let snapshot = held(&self.activation).snapshot().cloned();
        let ground = snapshot.as_ref().and_then(|_| self.ground().ok());
        let places = ground.iter().flat_map(|ground| ground.active());
        let held_ready = |place: &&Place| {
            let reference = place.reference.as_ref().ok();
            let snapshot = snapshot.as_ref();
            reference.is_some_and(|r| snapshot.is_some_and(|s| s.get(r).is_some()))
        };
        let places = places.filter(held_ready).count() as u64;
        let machine = held(&self.activation);
        let snapshot = machine.snapshot();
        SnapshotStatus {
            places,
            state: match machine.state() {
                State::Sealed => SnapshotState::Sealed,
                State::Active => SnapshotState::Active,
                State::Degraded => SnapshotState::Degraded,
                State::Failed => SnapshotState::Failed,
            },
            generation: snapshot.map(|snapshot| snapshot.generation()),
            refs: snapshot.map_or(0, |snapshot| snapshot.len() as u64),
            since: Some(machine.since()).filter(|since| since.0 > 0),
            failures,
        }
    }

    /// One report for each owner of a ref that failed.
    fn failure_reports(&self, failures: &[RefFailure]) -> Vec<RefReport> {
        if failures.is_empty() {
            return Vec::new();
        }
        let ground = self.ground().ok();
        let places = ground.iter().flat_map(|ground| &ground.places);
        let files: HashMap<&str, &Arc<str>> =
            places.map(|place| (&*place.owner, &place.file)).collect();
        let file = |owner: &String| {
            files
                .get(owner.as_str())
                .map_or("".into(), |f| (*f).clone())
        };
        let report = |failure: &RefFailure, owner: &String| RefReport {
            owner: owner.as_str().into(),
            file: file(owner),
            reference: Some(failure.reference.clone()),
            outcome: RefOutcome::Error,
            failure: Some(failure.failure.clone()),
            reason: None,
            optional: failure.optional,
        };
        let mut reports = Vec::new();
        for failure in failures {
            reports.extend(failure.owners.iter().map(|owner| report(failure, owner)));
        }
        reports
    }

    /// After a file changed: a full activation if config or profiles say something else now, or
    /// the last one failed; only the vault's own values if nothing but the vault went on. Files
    /// and commands are not asked again for a change that can't concern them.
    ///
    /// # Errors
    /// As [`Runtime::activate`].
    pub fn refresh(&self) -> Result<SnapshotState, Failure> {
        let known = self.ground().ok();
        let active = held(&self.activation).state() == State::Active;
        if active
            && let Some(known) = known
            && let Ok(fresh) = self.fresh_ground()
            && fresh.says_the_same(&known)
        {
            let _turn = held(&self.building);
            let generation = self.generation()?;
            let names = |reference: &SecretRef| reference.source() == Source::Vault;
            self.take_anew(generation, names);
            return Ok(self.snapshot_status().state);
        }
        let tolerance = *held(&self.tolerance);
        self.activate(tolerance).map(|report| report.snapshot.state)
    }

    /// After a commit: the values of the records that changed, taken anew; everything else stands.
    /// A snapshot that does not name them is only as old as it was. A build that is under way is
    /// not waited for: `vault` refs are read from the vault itself, and [`Runtime::refresh`]
    /// follows every commit.
    pub(super) fn publish_records(&self, touched: &[&RecordName]) {
        let _turn = match self.building.try_lock() {
            Ok(turn) => turn,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let names = |reference: &SecretRef| {
            reference.source() == Source::Vault
                && touched.iter().any(|name| name.as_str() == reference.id())
        };
        if let Ok(generation) = self.generation() {
            self.take_anew(generation, names);
        }
    }

    /// Publishes a snapshot of this generation in which the chosen refs are resolved anew and all
    /// others stand as they were. Nothing happens if there is none to go on from, or no such ref.
    fn take_anew(&self, generation: u64, chosen: impl Fn(&SecretRef) -> bool) {
        let old = held(&self.activation).snapshot().cloned();
        let Some(old) = old.filter(|old| old.generation() != generation) else {
            return;
        };
        let Ok(ground) = self.ground() else {
            return;
        };
        let wanted = ground.wanted();
        let refs = wanted.iter().map(|want| &want.reference);
        let refs: Vec<SecretRef> = refs.filter(|r| chosen(r)).cloned().collect();
        if refs.is_empty() {
            return;
        }
        // Nothing waits for the network here: what has ended is renewed by somebody else.
        if let Ok(fresh) = self.resolve_with(&ground.config, refs, Want::ANY) {
            let resolution = carried_over(&old, &wanted, fresh);
            let tolerance = *held(&self.tolerance);
            self.publish(generation, &wanted, resolution, tolerance);
        }
    }

    fn try_activate(&self, tolerance: Tolerance) -> Result<Report, Failure> {
        *held(&self.tolerance) = tolerance;
        let mut ground = self.fresh_ground()?;
        if self.auto_seal(&ground)? {
            ground = self.fresh_ground()?;
        }
        let generation = self.generation()?;
        let wanted = ground.wanted();
        let refs = wanted.iter().map(|want| want.reference.clone());
        let outcomes = self.resolve_with(&ground.config, refs, Want::ALIVE)?;
        let refs = reports(ground.places.iter(), &outcomes);
        // A place whose ref has no valid form fails like one whose ref does not resolve.
        let malformed = refs.iter().filter(|report| {
            report.reference.is_none() && report.outcome == RefOutcome::Error && !report.optional
        });
        if malformed.count() > 0 && !tolerance.allow_degraded {
            let failures = all_failures(&wanted, &outcomes);
            let event = held(&self.activation).failed(failures, clock::now());
            self.note(event);
        } else {
            self.publish(generation, &wanted, outcomes, tolerance);
        }
        Ok(Report {
            snapshot: self.snapshot_status(),
            refs,
        })
    }

    pub(super) fn publish(
        &self,
        generation: u64,
        wanted: &[Wanted],
        resolution: Resolution,
        tolerance: Tolerance,
    ) {
        let now = clock::now();
        let built = Snapshot::build(
            generation,
            now,
            wanted,
            resolution,
            tolerance.allow_degraded,
        );
        let event = {
            let mut machine = held(&self.activation);
            // Sources may have taken longer than the vault stayed open: values that come after the
            // lock are for nobody. A lock that comes only now waits for `machine`, then wipes.
            if self.is_locked() {
                return;
            }
            match built {
                Ok(snapshot) => {
                    self.remember_changes(machine.snapshot(), &snapshot);
                    machine.published(snapshot, now)
                }
                Err(error) => machine.failed(error.into_failures(), now),
            }
        };
        self.note(event);
    }

    /// Notes which values differ, for the change hook. The first snapshot changes nothing.
    fn remember_changes(&self, old: Option<&Arc<Snapshot>>, new: &Snapshot) {
        if let Some(old) = old {
            let diff = old.diff(new);
            let refs = diff
                .added
                .into_iter()
                .chain(diff.changed)
                .chain(diff.removed);
            held(&self.changed).extend(refs);
        }
    }

    /// Tells the change hook that an account has to sign in again:
    /// `{"event":"signInNeeded","refs":["vault:oauth/…"]}`.
    ///
    /// # Errors
    /// Why the hook failed.
    pub fn tell_sign_in(&self, name: &RecordName) -> Result<(), Failure> {
        let refs = [SecretRef::to_record(name)];
        self.tell_hook("signInNeeded", &refs)
    }

    /// Runs the change hook if a value in use changed since it ran last: the hook gets the names
    /// of the refs on its stdin, `{"event":"changed","refs":["vault:openai/default"]}`.
    ///
    /// # Errors
    /// Why the hook failed. It is not run again for the same change.
    pub fn tell_changes(&self) -> Result<(), Failure> {
        let changed = std::mem::take(&mut *held(&self.changed));
        if changed.is_empty() {
            return Ok(());
        }
        let changed: Vec<SecretRef> = changed.into_iter().collect();
        self.tell_hook("changed", &changed)
    }

    fn tell_hook(&self, event: &str, refs: &[SecretRef]) -> Result<(), Failure> {
        let ground = self.ground()?;
        let Some(hook) = &ground.config.daemon.on_change else {
            return Ok(());
        };
        let names: Vec<String> = refs.iter().map(SecretRef::to_string).collect();
        let message = serde_json::json!({"event": event, "refs": names}).to_string();
        self.with_context(&ground.config, |context| {
            let told = source::exec::notify(hook, message.as_bytes(), &context);
            told.map_err(|error| Failure::of(&error))
        })
    }

    fn note(&self, event: Option<Event>) {
        if let Some(event) = event {
            held(&self.events).push(event);
        }
    }

    /// The changes of state since the last call, each once, oldest first.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *held(&self.events))
    }
}

/// The activation's machine as a runtime starts with it.
pub(super) fn machine() -> Machine {
    Machine::new(clock::now())
}

/// The report that a strict start fails with: every required ref that failed.
///
/// # Errors
/// The code that all failures share, else `activation.failed`; the text lists them all.
pub fn require(report: &Report) -> Result<(), Failure> {
    let failed: Vec<&RefReport> = report
        .refs
        .iter()
        .filter(|entry| entry.outcome == RefOutcome::Error && !entry.optional)
        .collect();
    let codes: Vec<Code> = failed
        .iter()
        .filter_map(|entry| entry.failure.as_ref())
        .map(|f| f.code)
        .collect();
    let Some(first) = codes.first() else {
        return Ok(());
    };
    let shared = codes.iter().all(|code| code == first);
    let code = if shared {
        *first
    } else {
        Code::ActivationFailed
    };
    let lines = failed.iter().map(|entry| {
        let why = entry
            .failure
            .as_ref()
            .map_or("", |failure| failure.message.as_str());
        format!("{}: {why}", entry.owner)
    });
    let text = lines.collect::<Vec<_>>().join("; ");
    Err(Failure::new(
        code,
        format!("{} required refs failed: {text}", failed.len()),
    ))
}

fn reports<'a>(places: impl IntoIterator<Item = &'a Place>, outcomes: &Outcomes) -> Vec<RefReport> {
    let report = |place: &Place| {
        let outcome = place.reference.as_ref().ok().and_then(|r| outcomes.get(r));
        place.report(outcome.and_then(|outcome| outcome.as_ref().err()))
    };
    places.into_iter().map(report).collect()
}

fn all_failures(wanted: &[Wanted], outcomes: &Outcomes) -> Vec<RefFailure> {
    let failed = |want: &Wanted| {
        let failure = outcomes.get(&want.reference)?.as_ref().err()?.clone();
        Some(RefFailure {
            reference: want.reference.clone(),
            owners: vec![want.owner.to_string()],
            optional: want.optional,
            failure,
        })
    };
    wanted.iter().filter_map(failed).collect()
}

/// Values of an older snapshot, with those in `fresh` taking their place.
fn carried_over(old: &Arc<Snapshot>, wanted: &[Wanted], fresh: Outcomes) -> Resolution {
    let mut resolution: Resolution = HashMap::with_capacity(wanted.len());
    for want in wanted {
        let reference = &want.reference;
        if fresh.contains_key(reference) || resolution.contains_key(reference) {
            continue;
        }
        if let Some(value) = old.get(reference) {
            resolution.insert(reference.clone(), Ok(value.clone()));
            continue;
        }
        let known = old
            .failures()
            .iter()
            .find(|failure| failure.reference == *reference);
        if let Some(failure) = known {
            resolution.insert(reference.clone(), Err(failure.failure.clone()));
        }
    }
    resolution.extend(fresh);
    resolution
}
