//! A plan: which places shall point at which secrets, as a JSON file without a secret in it.
//!
//! | what | where |
//! | --- | --- |
//! | [`Plan`] and its parts, [`PlanErrors`] | here |
//! | [`Plan::parse`]: the whole text checked, all errors at once | `read` |
//! | [`Plan::to_text`]: what [`Plan::parse`] reads back as the same plan | `write` |
//! | the names of target types, and which paths they fit | `kind` |
//! | [`draw()`]: a plan for every plaintext value of a config and its profiles | [`mod@draw`] |
//!
//! The format is the family's, version 1, with one member of ours that others ignore: `stateDir`,
//! the folder that the plan was drawn for. Invariants: a plan that exists has only targets whose
//! type fits their path, refs with valid ids, and definitions of providers that a config takes;
//! nothing here holds the value of a target, and `Debug` shows no definition, whose literal `env`
//! may be a secret. Files and values are not here ([`crate::apply`]).
#![forbid(unsafe_code)]

pub mod draw;
mod kind;
mod read;
mod write;

pub use draw::{Drawn, Left, LeftKind, Via, draw};

use crate::document::{DocumentError, Path};
use crate::error::{Code, Coded};
use crate::name::{AgentId, Alias, ProfileId};
use crate::reference::SecretRef;
use serde_json::Value;
use std::fmt;

/// The largest plan in bytes: 16 MiB.
pub const MAX_PLAN: usize = 16 << 20;
/// The most targets of a plan.
pub const MAX_TARGETS: usize = 16_384;
/// The most errors that one plan reports; more say nothing new.
pub const MAX_ERRORS: usize = 20;
/// The version of the plan, and of the protocol in it.
pub const VERSION: u64 = 1;

/// What shall be changed, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// `stateDir`: the folder that the plan was drawn for; absent in plans of others.
    pub state_dir: Option<String>,
    /// `providerDeletes`.
    pub deletes: Vec<Alias>,
    /// `providerUpserts`, after the deletes.
    pub upserts: Vec<Upsert>,
    /// `targets`.
    pub targets: Vec<Target>,
    /// `options`.
    pub options: Options,
}

/// A provider of secrets that the config gets.
#[derive(Clone, PartialEq, Eq)]
pub struct Upsert {
    /// Its alias.
    pub alias: Alias,
    /// Its definition, as it goes into `secrets.providers`.
    pub definition: Value,
}

impl fmt::Debug for Upsert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Upsert({})", self.alias)
    }
}

/// What is scrubbed beside the targets. All true unless the plan says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `scrubEnv`: lines of env files that hold a moved value.
    pub scrub_env: bool,
    /// `scrubAuthProfilesForProviderTargets`: profiles of a target's provider with the same value.
    pub scrub_profiles: bool,
    /// `scrubLegacyAuthJson`: entries of `auth.json` with a moved value.
    pub scrub_legacy: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scrub_env: true,
            scrub_profiles: true,
            scrub_legacy: true,
        }
    }
}

/// A place that shall point at a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `type`, as written.
    pub kind: String,
    /// `providerId`, which the path repeats.
    pub provider_id: Option<String>,
    /// `accountId`, which the path repeats.
    pub account_id: Option<String>,
    /// The place.
    pub place: Place,
    /// The ref that shall stand there.
    pub reference: SecretRef,
}

/// Where a target is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A field of the config.
    Config(Path),
    /// The key or token of an auth profile.
    Profile {
        /// `agentId`.
        agent: AgentId,
        /// The profile.
        id: ProfileId,
        /// Which field.
        field: ProfileField,
        /// `authProfileProvider`: the provider of a profile that is not there yet.
        provider: Option<String>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Config(path) => path.fmt(f),
            Place::Profile { agent, id, .. } => write!(f, "{agent}: {id}"),
        }
    }
}

/// The field of a profile that a target names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProfileField {
    /// `key` of an `api_key` profile.
    Key,
    /// `token` of a `token` profile.
    Token,
}

impl ProfileField {
    /// The field's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            ProfileField::Key => "key",
            ProfileField::Token => "token",
        }
    }

    /// The type of the target.
    pub const fn kind(self) -> &'static str {
        match self {
            ProfileField::Key => "auth-profiles.api_key.key",
            ProfileField::Token => "auth-profiles.token.token",
        }
    }
}

/// Why a plan was refused. Quotes names of the plan, which holds no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Not the JSON that is accepted.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Something that its place does not allow.
    #[error("{file}: line {line}: {place} {problem}")]
    Value {
        /// The file.
        file: String,
        /// The line, from 1; that of the object around it if nothing is there.
        line: usize,
        /// The path in the plan.
        place: Path,
        /// What is wrong.
        problem: String,
    },
    /// A target's path is none that its type allows; the family's own words, and why.
    #[error("{file}: line {line}: Invalid plan target path for {kind}: {path} ({why})")]
    Target {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The type, as written.
        kind: String,
        /// The path, as written.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
}

impl Coded for PlanError {
    fn code(&self) -> Code {
        match self {
            PlanError::Document(error) if error.code() == Code::FileTooLarge => Code::FileTooLarge,
            PlanError::Document(_) | PlanError::Value { .. } | PlanError::Target { .. } => {
                Code::PlanInvalid
            }
        }
    }
}

/// Everything that is wrong with a plan; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanErrors(Vec<PlanError>);

impl PlanErrors {
    /// The errors, in the order of the file; at least one.
    pub fn all(&self) -> &[PlanError] {
        &self.0
    }
}

impl From<DocumentError> for PlanErrors {
    fn from(error: DocumentError) -> Self {
        Self(vec![PlanError::Document(error)])
    }
}

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanErrors {}

impl Coded for PlanErrors {
    fn code(&self) -> Code {
        self.0.first().map_or(Code::Bug, Coded::code)
    }
}
crate::error::failure_from!(PlanErrors);

#[cfg(test)]
mod tests;
