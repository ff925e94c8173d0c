//! Auth profiles: `auth-profiles.json`, `auth-state.json`, eligibility, order, cooldown.
//!
//! | what | where |
//! | --- | --- |
//! | [`Store`]: the profiles of one agent, in every spelling, edited in place | [`store`] |
//! | [`flat::wrapped`]: the oldest form of the file in the form of today | [`flat`] |
//! | [`Profile`], [`ProfileKind`], [`Credential`] | [`entry`] |
//! | [`State`]: order, last good, usage | [`state`] |
//! | [`Usage`]: how a profile has fared, and until when it is unusable | [`usage`] |
//! | [`cooldown::after_failure`]: what a failure does | [`cooldown`] |
//! | [`Routing`]: what the config says about profiles | [`routing`] |
//! | [`Reason`]: why a profile may not be used | [`eligibility`] |
//! | [`order::effective`]: which profiles are tried, in which order | [`order`] |
//! | [`header::header`]: how an API takes a credential | [`mod@header`] |
//! | [`health::Health`]: how a credential stands, from what is known of it | [`health`] |
//! | [`env_names`]: the variables that `run` sets | [`mod@env`] |
//! | [`setup_token`]: the rules for Anthropic's setup tokens | [`setup_token`] |
//!
//! Invariants: nothing is ever dropped from a file: unknown keys, profiles of unknown types and
//! higher versions stay byte for byte; a broken file is an error that names the place, never an
//! empty store; plaintext is reported, never used, and no type here holds it. Files, clocks and
//! values are not here.
#![forbid(unsafe_code)]

pub mod cooldown;
pub mod eligibility;
pub mod entry;
pub mod env;
pub mod flat;
pub mod header;
pub mod health;
pub mod order;
pub mod routing;
pub mod setup_token;
pub mod state;
pub mod store;
pub mod usage;

pub use cooldown::Cooldowns;
pub use eligibility::Reason;
pub use entry::{Credential, Expiry, Profile, ProfileKind, ProfileType};
pub use env::env_names;
pub use routing::{Configured, Mode, Routing, normal_provider};
pub use state::State;
pub use store::{Ignored, NewCredential, NewProfile, Plaintext, Store, StoreEditing};
pub use usage::Usage;

use crate::document::DocumentError;
use crate::error::{Code, Coded};
use crate::name::ProfileId;

/// Why a file of profiles, or an edit of one, was refused. Quotes nothing of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The text is not JSON; says where.
    #[error(transparent)]
    Broken(DocumentError),
    /// JSON, but not a file of this kind.
    #[error("{file}: {problem}")]
    Shape {
        /// The file.
        file: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The profile is not there.
    #[error("there is no profile {0}")]
    Absent(ProfileId),
    /// Something else than a static profile stands at the id, and would be lost.
    #[error("profile {0} is not an API key or a token; remove it first")]
    OtherType(ProfileId),
    /// A plaintext value stands where the ref is to go.
    #[error("profile {0} holds a plaintext value, which would be lost")]
    Plaintext(ProfileId),
}

impl Coded for ProfileError {
    fn code(&self) -> Code {
        match self {
            ProfileError::Broken(error) => match error.code() {
                Code::ConfigInvalid => Code::ProfilesInvalid,
                code => code,
            },
            ProfileError::Shape { .. } => Code::ProfilesInvalid,
            ProfileError::Absent(_) => Code::ProfileAbsent,
            ProfileError::OtherType(_) => Code::ConfigConflict,
            ProfileError::Plaintext(_) => Code::ConfigPlaintext,
        }
    }
}
crate::error::failure_from!(ProfileError);

impl From<DocumentError> for ProfileError {
    fn from(error: DocumentError) -> Self {
        ProfileError::Broken(error)
    }
}

#[cfg(test)]
mod tests;
