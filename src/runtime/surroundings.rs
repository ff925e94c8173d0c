//! What a runtime has around it: this process's environment, and config and profiles as they were
//! read last.

use super::ground::Ground;
use super::local::{Runtime, held};
use crate::config::Config;
use crate::error::Failure;
use crate::source;
use std::sync::Arc;

impl Runtime {
    /// Lends this process's surroundings to a source.
    pub(super) fn with_context<T>(
        &self,
        config: &Config,
        act: impl FnOnce(source::Context<'_>) -> T,
    ) -> T {
        let home = std::env::home_dir();
        let env = |name: &str| std::env::var_os(name);
        act(source::Context {
            debug_exec: self.debug_exec,
            batch: config.resolution.batch,
            cache: Some(&self.exec_cache),
            outside: self.outside.as_ref(),
            ..source::Context::plain(&env, home.as_deref())
        })
    }

    /// Config and profiles as they were read last; reads them if they were not read yet.
    pub(super) fn ground(&self) -> Result<Arc<Ground>, Failure> {
        let known = held(&self.ground).clone();
        known.map_or_else(|| self.fresh_ground(), Ok)
    }

    /// Reads config and profiles anew.
    pub(super) fn fresh_ground(&self) -> Result<Arc<Ground>, Failure> {
        let known = held(&self.ground).clone();
        let outside = self.outside.as_deref();
        let read = Ground::read_again(&self.state, &self.config, known.as_deref(), outside)?;
        let read = Arc::new(read);
        *held(&self.ground) = Some(Arc::clone(&read));
        Ok(read)
    }
}
