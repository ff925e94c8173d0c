//! The credential of a profile in a state folder, from the daemon that holds the vault.

use super::Credentials;
use super::Kind;
use crate::config::Trust;
use crate::daemon::client::Client;
use crate::error::{Code, Failure};
use crate::name::{AgentId, ProfileId};
use crate::oauth::AccessToken;
use crate::profile::{ProfileKind, Reason};
use crate::reference::SecretRef;
use crate::runtime::ground::{read_agent, read_config};
use crate::runtime::service::{Outcome, Reply, Request, Service};
use crate::store::StateDir;
use std::path::PathBuf;
use std::sync::Arc;

/// A profile and where it is asked for.
pub(super) struct OfProfile {
    id: ProfileId,
    socket: PathBuf,
    what: What,
}

/// What the daemon is asked for.
enum What {
    /// Whatever a ref gives.
    Ref(SecretRef),
    /// An OAuth record of the state folder's own vault.
    Account(crate::name::RecordName),
}

impl Credentials {
    /// The profile of an agent. The profile's file is read now; the daemon is asked at each call,
    /// on a connection of its own.
    ///
    /// # Errors
    /// `profile.absent`, `profile.ineligible` if it holds no ref; `profiles.invalid`, `file.*`.
    pub fn of_profile(state: &StateDir, agent: &AgentId, id: &ProfileId) -> Result<Self, Failure> {
        let config = read_config(&state.config(), Trust::Own)?;
        let agent = read_agent(state, agent, &config.defaults)?;
        let absent = || Failure::new(Code::ProfileAbsent, format!("there is no profile {id}"));
        let profile = agent.store.get(id).ok_or_else(absent)?;
        let ineligible = |reason: Reason| {
            Failure::new(Code::ProfileIneligible, format!("{id}: {}", reason.text()))
        };
        let reference = profile.kind.credential().reference();
        let reference = reference.ok_or_else(|| ineligible(Reason::MissingCredential))?;
        let what = match (&profile.kind, config.own_record(reference)) {
            (ProfileKind::OAuth { .. }, Some(record)) => What::Account(record),
            // What lies in another vault serves as it is.
            _ => What::Ref(reference.clone()),
        };
        Ok(Self(Arc::new(Kind::Profile(OfProfile {
            id: id.clone(),
            socket: state.socket(),
            what,
        }))))
    }
}

impl OfProfile {
    pub(super) fn access_token(&self) -> Result<AccessToken, Failure> {
        let request = match &self.what {
            What::Ref(reference) => Request::Resolve {
                refs: vec![reference.clone()],
            },
            What::Account(name) => Request::Token {
                name: name.clone(),
                min_ttl_ms: 0,
                force: false,
            },
        };
        let us = rustix::process::geteuid().as_raw();
        let sealed = || Failure::new(Code::VaultSealed, "no daemon holds the vault open");
        let mut daemon = Client::connect(&self.socket, us)?.ok_or_else(sealed)?;
        let mut answer = daemon.call(request, Vec::new())?;
        let failed = match answer.reply {
            Reply::Resolved(mut outcomes) => match outcomes.pop() {
                Some(Outcome::Failed(failure)) => Some(failure),
                Some(Outcome::Ok) | None => None,
            },
            _ => None,
        };
        match (failed, answer.secrets.pop()) {
            (Some(failure), _) => Err(failure),
            (None, Some(value)) => Ok(value.into()),
            (None, None) => {
                let text = format!("the daemon's answer lacks the credential of {}", self.id);
                Err(Failure::new(Code::DaemonProtocol, text))
            }
        }
    }

    pub(super) fn refuse_sign_in(&self) -> Result<(), Failure> {
        let text = format!(
            "{} is a profile of a state folder: sign in with `reseal models auth login`",
            self.id
        );
        Err(Failure::new(Code::Usage, text))
    }
}
