//! A handle that gives a fresh access token: for authors of agent runtimes.
//!
//! [`Credentials::of_profile`] asks the daemon of a state folder, which holds the vault and renews
//! tokens there. [`Credentials::with`] puts a flow and a store of one's own together; the store
//! that is a vault is [`VaultStore`], the others are in [`crate::token_store`]. Either way
//! [`Credentials::access_token`] blocks, [`Credentials::access_token_async`] does not, and a handle
//! never waits for another account's slow server.
//!
//! A provider that brings its own flow, complete:
//!
//! ```
//! use reseal::credentials::Credentials;
//! use reseal::error::Failure;
//! use reseal::oauth::{OAuthFlow, TokenSet};
//! use reseal::secret::SecretValue;
//! use reseal::time::UnixMs;
//! use reseal::token_store::Memory;
//! use std::sync::Arc;
//!
//! /// A provider whose tokens last an hour.
//! struct Acme;
//!
//! fn granted(access: &str) -> TokenSet {
//!     let now = reseal::sys::clock::now();
//!     TokenSet {
//!         access: SecretValue::copy_of(access.as_bytes()).into(),
//!         refresh: Some(SecretValue::copy_of(b"renews it").into()),
//!         id_token: None,
//!         obtained_at: now,
//!         expires_at: Some(UnixMs(now.0 + 3_600_000)),
//!         metadata: Default::default(),
//!     }
//! }
//!
//! impl OAuthFlow for Acme {
//!     fn provider_id(&self) -> &str {
//!         "acme"
//!     }
//!     fn authenticate(&self) -> Result<TokenSet, Failure> {
//!         Ok(granted("first")) // Here a person would sign in.
//!     }
//!     fn refresh(&self, _tokens: &TokenSet) -> Result<TokenSet, Failure> {
//!         Ok(granted("second")) // Here the token endpoint would be asked.
//!     }
//! }
//!
//! # fn main() -> Result<(), Failure> {
//! let credentials = Credentials::with(Arc::new(Acme), Arc::new(Memory::new()));
//! credentials.sign_in()?;
//! let token = credentials.access_token()?;
//! assert_eq!(token.secret().len(), "first".len());
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod pending;
mod profile;
mod vault;

pub use pending::Pending;
pub use vault::VaultStore;

use crate::error::{Code, Failure};
use crate::oauth::{AccessToken, OAuthFlow};
use crate::sys::clock;
use crate::token_store::TokenStore;
use profile::OfProfile;

use std::sync::{Arc, Mutex, PoisonError};

/// A handle to the access token of one account. Clones share their work.
#[derive(Clone)]
pub struct Credentials(Arc<Kind>);

enum Kind {
    Profile(OfProfile),
    Own(Own),
}

impl Credentials {
    /// The account of a flow, kept in a store under the flow's provider id.
    pub fn with(flow: Arc<dyn OAuthFlow>, store: Arc<dyn TokenStore>) -> Self {
        let turn = Mutex::new(());
        Self(Arc::new(Kind::Own(Own { flow, store, turn })))
    }

    /// Signs in and keeps the tokens. Accounts of a state folder sign in with `reseal models auth
    /// login`.
    ///
    /// # Errors
    /// What the flow or the store fails with; `usage` for an account of a state folder.
    pub fn sign_in(&self) -> Result<(), Failure> {
        match &*self.0 {
            Kind::Own(own) => own.sign_in(),
            Kind::Profile(profile) => profile.refuse_sign_in(),
        }
    }

    /// A fresh access token; renews it first if need be. Blocks while the server is asked, but
    /// never for another account's.
    ///
    /// # Errors
    /// `oauth.sign_in_needed` if nobody signed in, or the refresh token was refused for good;
    /// `oauth.unavailable` if the server can't be reached and the old token is used up; for a
    /// profile also `vault.sealed`, `profile.absent`, `daemon.*`.
    pub fn access_token(&self) -> Result<AccessToken, Failure> {
        match &*self.0 {
            Kind::Own(own) => own.access_token(),
            Kind::Profile(profile) => profile.access_token(),
        }
    }

    /// [`Credentials::access_token`] as a future, for any executor: the work runs on a thread of
    /// its own. Dropping the future gives up waiting; a refresh that was begun still ends, and its
    /// result is kept.
    pub fn access_token_async(&self) -> Pending<Result<AccessToken, Failure>> {
        let credentials = self.clone();
        Pending::run(
            move || credentials.access_token(),
            |error| {
                let text = format!("no thread to ask for an access token: {error}");
                Err(Failure::new(Code::OAuthUnavailable, text))
            },
        )
    }
}

/// A flow and a store of one's own.
struct Own {
    flow: Arc<dyn OAuthFlow>,
    store: Arc<dyn TokenStore>,
    /// Held while the tokens are renewed, so that threads don't send one refresh token twice.
    turn: Mutex<()>,
}

impl Own {
    fn sign_in(&self) -> Result<(), Failure> {
        let tokens = self.flow.authenticate()?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let id = self.flow.provider_id();
        let _guard = self.store.refresh_guard(id)?;
        self.store.save(id, &tokens)
    }

    fn access_token(&self) -> Result<AccessToken, Failure> {
        if let Some(access) = self.valid()? {
            return Ok(access);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let id = self.flow.provider_id();
        let _guard = self.store.refresh_guard(id)?;
        // Somebody else may have renewed them meanwhile: theirs count.
        if let Some(access) = self.valid()? {
            return Ok(access);
        }
        let absent = || Failure::new(Code::OAuthSignIn, format!("nobody signed in to {id}"));
        let old = self.store.load(id)?.ok_or_else(absent)?;
        let renewed = self.flow.refresh(&old)?;
        self.store.save(id, &renewed)?;
        Ok(renewed.access)
    }

    /// The access token, if it needs no renewing.
    fn valid(&self) -> Result<Option<AccessToken>, Failure> {
        let tokens = self.store.load(self.flow.provider_id())?;
        let valid = tokens.filter(|tokens| self.flow.is_valid(tokens, clock::now()));
        Ok(valid.map(|tokens| tokens.access))
    }
}

#[cfg(test)]
mod tests;
