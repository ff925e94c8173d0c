//! Where OAuth token sets rest when a program brings its own flow: the interface, memory, files of
//! AgentOS's layout, the keyring of the system in fast-agent's. The store in a vault, which asks
//! whoever holds it open, is [`VaultStore`](crate::credentials::VaultStore).
//!
//! Accounts that Reseal itself signs in rest in the vault, and `runtime` refreshes them there.
#![forbid(unsafe_code)]

pub mod agentos;
mod fallback;
pub mod fast_agent;
mod file;
pub mod identity;
mod keyring;
mod memory;

pub use fallback::{Chosen, choose};
pub use file::{AGENTOS_FOLDERS, File};
pub use keyring::Keyring;
pub use memory::Memory;

use crate::error::Failure;
use crate::oauth::TokenSet;

/// Something that was passed over, and why. It holds no part of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file or entry.
    pub place: String,
    /// What is wrong with it: the rest of a sentence that starts with the place.
    pub why: String,
}

/// Keeps token sets by provider id.
pub trait TokenStore: Send + Sync {
    /// The token set of a provider; `None` if there is none.
    ///
    /// # Errors
    /// The store can't be read. A broken entry is an error or `None`, never a wrong token set.
    fn load(&self, provider_id: &str) -> Result<Option<TokenSet>, Failure>;

    /// Keeps a token set in the place of any other. When this returns `Ok` it survives whatever the
    /// store survives: a refresh token that was used up is worth nothing, so nobody gets the access
    /// token before.
    ///
    /// # Errors
    /// Nothing was kept.
    fn save(&self, provider_id: &str, tokens: &TokenSet) -> Result<(), Failure>;

    /// Forgets a token set; false if there was none.
    ///
    /// # Errors
    /// It may still be there.
    fn clear(&self, provider_id: &str) -> Result<bool, Failure>;

    /// Held while a token set is renewed, so that of several processes with one store only one
    /// sends the refresh token. A store that one process has to itself needs none.
    ///
    /// # Errors
    /// Somebody else holds it for too long.
    fn refresh_guard(&self, _provider_id: &str) -> Result<Box<dyn Send>, Failure> {
        Ok(Box::new(()))
    }
}
