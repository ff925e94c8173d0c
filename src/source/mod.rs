//! Sources: a group of SecretRefs of one provider to values.
//!
//! Invariant: a value goes from the kernel straight into locked memory; an error names the place,
//! never a byte of what was read. `vault` refs are not resolved here: the runtime asks the opened
//! vault itself.
#![forbid(unsafe_code)]

pub mod env;
pub mod exec;
pub mod file;
mod outside;
pub mod path;

pub use outside::{Outside, Refused, Unopened};

use crate::config::ProviderConfig;
use crate::error::{Code, Coded};
use crate::name::Alias;
use crate::reference::plan::BatchLimits;
use crate::reference::{SecretRef, Source};
use crate::secret::SecretValue;
use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

/// What the caller lends to the sources: its environment, its home, its settings.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Looks up a variable of the environment that `env` refs and `passEnv` read.
    pub env: &'a (dyn Fn(&str) -> Option<OsString> + Sync),
    /// What `~` in a `file` provider's path stands for; `None` if the caller has no home.
    pub home: Option<&'a Path>,
    /// Lets the stderr of exec providers through to ours.
    pub debug_exec: bool,
    /// How many refs, and how large a request, one run of an exec provider gets.
    pub batch: BatchLimits,
    /// Where answers of exec providers with `cacheTtlMs` are kept; `None` keeps nothing.
    pub cache: Option<&'a exec::Cache>,
    /// Who starts commands and opens files, if this process may not do so itself.
    pub outside: Option<&'a Arc<dyn Outside>>,
    /// The socket of whoever waits for a command's answer; once its other end is closed, nobody
    /// does.
    pub asker: Option<BorrowedFd<'a>>,
}

impl<'a> Context<'a> {
    /// Sources in the caller's own process, with nothing but its environment and its home.
    pub fn plain(
        env: &'a (dyn Fn(&str) -> Option<OsString> + Sync),
        home: Option<&'a Path>,
    ) -> Self {
        Self {
            env,
            home,
            debug_exec: false,
            batch: BatchLimits::default(),
            cache: None,
            outside: None,
            asker: None,
        }
    }
}

/// Resolves the refs of one provider together; answers are in their order. `alias` names the
/// provider in messages and in the exec protocol.
pub fn resolve_group(
    provider: &ProviderConfig,
    alias: &Alias,
    refs: &[SecretRef],
    ctx: &Context<'_>,
) -> Vec<Result<SecretValue, SourceError>> {
    if let Some(stray) = refs
        .iter()
        .find(|reference| reference.source() != provider.source())
    {
        let error = SourceError::Mismatch {
            alias: alias.to_string(),
            has: provider.source(),
            requested: stray.source(),
        };
        return refs.iter().map(|_| Err(error.clone())).collect();
    }
    let ids: Vec<&str> = refs.iter().map(SecretRef::id).collect();
    match provider {
        ProviderConfig::Env(provider) => {
            let allowlist = provider.allowlist.as_deref();
            let value = |id: &&str| Ok(env::resolve(id, allowlist, ctx.env)?);
            ids.iter().map(value).collect()
        }
        ProviderConfig::File(provider) => {
            let values = file::resolve(alias.as_str(), provider, &ids, ctx);
            values.into_iter().map(|value| Ok(value?)).collect()
        }
        ProviderConfig::Exec(provider) => {
            let values = exec::resolve(alias.as_str(), provider, &ids, ctx);
            values.into_iter().map(|value| Ok(value?)).collect()
        }
        ProviderConfig::Vault(_) => ids.iter().map(|_| Err(SourceError::Vault)).collect(),
    }
}

/// Why a ref of an outside source gives no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum SourceError {
    /// An `env` ref.
    #[error(transparent)]
    Env(#[from] env::EnvError),
    /// A `file` ref.
    #[error(transparent)]
    File(#[from] file::FileError),
    /// An `exec` ref.
    #[error(transparent)]
    Exec(#[from] exec::ExecError),
    /// The refs are for another source than the provider's.
    #[error("Secret provider \"{alias}\" has source \"{has}\" but ref requests \"{requested}\".")]
    Mismatch {
        alias: String,
        has: Source,
        requested: Source,
    },
    /// A `vault` ref came here instead of to the opened vault.
    #[error("a vault ref was given to the outside sources")]
    Vault,
}

impl Coded for SourceError {
    fn code(&self) -> Code {
        match self {
            SourceError::Env(error) => error.code(),
            SourceError::File(error) => error.code(),
            SourceError::Exec(error) => error.code(),
            SourceError::Mismatch { .. } => Code::RefProviderMismatch,
            SourceError::Vault => Code::Bug,
        }
    }
}
crate::error::failure_from!(SourceError);

/// The text of a system error without "(os error N)".
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}
