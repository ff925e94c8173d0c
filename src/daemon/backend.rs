//! The runtime as what the daemon serves.

use super::{Backend, Cause, Reloaded, Unlock};
use crate::error::Failure;
use crate::name::{AgentId, RecordName};
use crate::reference::SecretRef;
use crate::runtime::Runtime;
use crate::runtime::activate::{Tolerance, require};
use crate::runtime::refresh::{Due, Renewal};
use crate::runtime::service::{Answer, Report, Request};
use crate::secret::SecretValue;
use crate::sys::peer::Peer;
use crate::unlock::Given;
use crate::vault::SubKeys;
use std::collections::HashSet;
use std::path::PathBuf;

impl Backend for Runtime {
    fn call(
        &self,
        _peer: Peer,
        request: Request,
        secrets: Vec<SecretValue>,
    ) -> Result<Answer, Failure> {
        Runtime::call(self, request, secrets)
    }

    fn unlock(&self, _peer: Peer, unlock: &Unlock, keys: &SecretValue) -> Result<Report, Failure> {
        self.rearm(SubKeys::from_secret(keys)?)?;
        activate(self, unlock)
    }

    fn lock(&self) {
        Runtime::lock(self);
    }

    fn reload(&self, cause: Cause) -> Reloaded {
        let state = match cause {
            Cause::Signal => Runtime::reload(self).map(|report| report.snapshot.state),
            Cause::Changed => self.refresh(),
        };
        let hook = self.tell_changes().err();
        Reloaded {
            state,
            events: self.take_events(),
            hook,
        }
    }

    fn watched(&self) -> Vec<PathBuf> {
        self.watched_files()
    }

    fn published(&self, agent: Option<&AgentId>) -> Result<Report, Failure> {
        Runtime::published(self, agent)
    }

    fn in_use(&self, agent: &AgentId) -> HashSet<SecretRef> {
        Runtime::in_use(self, agent)
    }

    fn prove(&self, given: &Given) -> Result<(), Failure> {
        Runtime::prove(self, given)
    }

    fn renewable(&self) -> Vec<Due> {
        Runtime::renewable(self).unwrap_or_default()
    }

    fn renew(&self, name: &RecordName, version: u64) -> Renewal {
        Runtime::renew(self, name, version)
    }

    fn tell_sign_in(&self, name: &RecordName) -> Result<(), Failure> {
        Runtime::tell_sign_in(self, name)
    }
}

/// Builds the first snapshot of a start. With `strict`, a required ref that fails stops it.
///
/// # Errors
/// With `strict`: every required failure, unless `allow_degraded`; else only what keeps a start
/// from being tried is in the state that `vault status` shows, and no error.
pub fn activate(runtime: &Runtime, unlock: &Unlock) -> Result<Report, Failure> {
    let tolerance = Tolerance {
        allow_degraded: unlock.allow_degraded,
    };
    match runtime.activate(tolerance) {
        Ok(report) if unlock.strict && !unlock.allow_degraded => {
            require(&report)?;
            Ok(report)
        }
        Ok(report) => Ok(report),
        Err(failure) if unlock.strict => Err(failure),
        Err(failure) => Ok(runtime.report_of(failure)),
    }
}
