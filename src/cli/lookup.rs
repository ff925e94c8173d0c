//! Who resolves a ref: this process, or the holder of the vault.
//!
//! `env` refs read the environment of the process that asked. `vault`, `file` and `exec` refs go to
//! the daemon, or to the vault opened here. With another config than the daemon's, the `file` and
//! `exec` providers of that config are asked from here: the daemon never runs a command because a
//! client's file says so.

use super::context::Context;
use super::error::CliError;
use super::session::{self, UnlockArgs};
use crate::config::Config;
use crate::error::{Code, Failure};
use crate::launch::Lookup;
use crate::reference::{SecretRef, Source};
use crate::runtime::resolve::{Resolver, VaultValues};
use crate::runtime::service::{Answer, MAX_RESOLVE_REFS, Outcome, Reply, Request, Service};
use crate::secret::SecretValue;
use crate::source;
use std::path::PathBuf;

/// Refs resolved where they belong. The vault is opened when the first ref needs it.
pub struct Routed<'a> {
    context: &'a Context,
    unlock: &'a UnlockArgs,
    service: Option<Box<dyn Service>>,
    config: Option<Config>,
    debug_exec: bool,
}

impl<'a> Routed<'a> {
    /// A lookup that has opened nothing yet.
    pub fn new(context: &'a Context, unlock: &'a UnlockArgs) -> Result<Self, CliError> {
        Ok(Self {
            context,
            unlock,
            service: None,
            config: None,
            debug_exec: false,
        })
    }

    /// Lets the stderr of exec providers through to ours.
    pub fn debug_exec(mut self, yes: bool) -> Self {
        self.debug_exec = yes;
        self
    }

    fn is_near(&self, reference: &SecretRef) -> bool {
        match reference.source() {
            Source::Env => true,
            Source::File | Source::Exec => self.context.has_foreign_config(),
            Source::Vault => false,
        }
    }

    /// The config, read when it is first needed.
    pub fn config(&mut self) -> Result<&Config, Failure> {
        if self.config.is_none() {
            self.config = Some(super::state_files::config(self.context)?);
        }
        self.config
            .as_ref()
            .ok_or_else(|| Failure::new(Code::Bug, "the config is gone"))
    }

    fn resolve_near(
        &mut self,
        refs: &[SecretRef],
    ) -> Result<Vec<Result<SecretValue, Failure>>, Failure> {
        let debug_exec = self.debug_exec;
        resolve_here(self.config()?, refs, debug_exec)
    }

    /// The holder of the vault, which is opened if nobody has it open.
    pub fn service(&mut self) -> Result<&mut dyn Service, Failure> {
        if self.service.is_none() {
            let service = session::service(self.context, self.unlock);
            self.service = Some(service.map_err(CliError::into_reason)?);
        }
        match self.service.as_mut() {
            Some(service) => Ok(service.as_mut()),
            None => Err(Failure::new(Code::Bug, "the service is gone")),
        }
    }

    /// Asks the holder of the vault.
    pub fn ask(&mut self, request: Request) -> Result<Answer, Failure> {
        self.service()?.call(request, Vec::new())
    }

    fn resolve_far(
        &mut self,
        refs: &[SecretRef],
    ) -> Result<Vec<Result<SecretValue, Failure>>, Failure> {
        let mut results = Vec::with_capacity(refs.len());
        for refs in refs.chunks(MAX_RESOLVE_REFS) {
            let answer = self.ask(Request::Resolve {
                refs: refs.to_vec(),
            })?;
            let Reply::Resolved(outcomes) = answer.reply else {
                return Err(Failure::new(Code::Bug, "the answer is of the wrong kind"));
            };
            let mut values = answer.secrets.into_iter();
            results.extend(outcomes.into_iter().map(|outcome| match outcome {
                Outcome::Failed(failure) => Err(failure),
                Outcome::Ok => {
                    values.next().ok_or_else(|| {
                        Failure::new(Code::DaemonProtocol, "an answer lacks its value")
                    })
                }
            }));
        }
        Ok(results)
    }
}

/// Resolves refs of every source but `vault` in this process, by the providers of a config.
///
/// # Errors
/// `ref.limit` if there are more refs than a plan takes.
pub fn resolve_here(
    config: &Config,
    refs: &[SecretRef],
    debug_exec: bool,
) -> Result<Vec<Result<SecretValue, Failure>>, Failure> {
    let environment = |name: &str| std::env::var_os(name);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let resolver = Resolver {
        config,
        context: source::Context {
            debug_exec,
            batch: config.resolution.batch,
            ..source::Context::plain(&environment, home.as_deref())
        },
        vault: &NoVault,
    };
    let outcomes = resolver.resolve(refs.iter().cloned())?;
    let outcome = |reference| outcome_of(&outcomes, reference);
    Ok(refs.iter().map(outcome).collect())
}

fn outcome_of(
    outcomes: &crate::runtime::resolve::Outcomes,
    reference: &SecretRef,
) -> Result<SecretValue, Failure> {
    match outcomes.get(reference) {
        Some(Ok(value)) => Ok(value.clone()),
        Some(Err(failure)) => Err(failure.clone()),
        None => Err(Failure::new(Code::Bug, "a ref was left out")),
    }
}

impl Lookup for Routed<'_> {
    fn resolve(
        &mut self,
        refs: &[SecretRef],
    ) -> Result<Vec<Result<SecretValue, Failure>>, Failure> {
        let (near, far): (Vec<SecretRef>, Vec<SecretRef>) = refs
            .iter()
            .cloned()
            .partition(|reference| self.is_near(reference));
        let near_results = if near.is_empty() {
            Vec::new()
        } else {
            self.resolve_near(&near)?
        };
        let far_results = if far.is_empty() {
            Vec::new()
        } else {
            self.resolve_far(&far)?
        };
        let (mut near, mut far) = (near_results.into_iter(), far_results.into_iter());
        let missing = || Failure::new(Code::DaemonProtocol, "an answer lacks a ref");
        Ok(refs
            .iter()
            .map(|reference| {
                let next = if self.is_near(reference) {
                    near.next()
                } else {
                    far.next()
                };
                next.unwrap_or_else(|| Err(missing()))
            })
            .collect())
    }
}

/// Vault refs go to the service, never to the resolver of this process.
struct NoVault;

impl VaultValues for NoVault {
    fn read(
        &self,
        _provider: &crate::config::VaultProvider,
        refs: &[SecretRef],
    ) -> Vec<Result<SecretValue, Failure>> {
        let failure = Failure::new(Code::Bug, "a vault ref came to the wrong resolver");
        vec![Err(failure); refs.len()]
    }
}
