//! Sources: a group of SecretRefs of one provider to values.
//!
//! Invariant: a value goes from the kernel straight into locked memory; an error names the place,
//! never a byte of what was read. `vault` refs are not resolved here: the runtime asks the opened
//! vault itself.
#![forbid(unsafe_code)]

pub mod exec;

use std::ffi::OsString;
use std::path::Path;

/// What the caller lends to the sources: its environment, its home, its settings.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Looks up a variable of the environment that `env` refs and `passEnv` read.
    pub env: &'a (dyn Fn(&str) -> Option<OsString> + Sync),
    /// What `~` in a `file` provider's path stands for; `None` if the caller has no home.
    pub home: Option<&'a Path>,
    /// Lets the stderr of exec providers through to ours.
    pub debug_exec: bool,
    /// Where answers of exec providers with `cacheTtlMs` are kept; `None` keeps nothing.
    pub cache: Option<&'a exec::Cache>,
}
