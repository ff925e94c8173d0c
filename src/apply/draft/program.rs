//! Which exec providers run this very program.

use crate::config::{ExecProvider, ProviderConfig};
use std::path::{Path, PathBuf};

/// This program, as an exec provider of another runtime names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The program file, symlinks resolved.
    pub path: PathBuf,
    /// The state folder whose vault it answers from.
    pub state_dir: PathBuf,
}

impl Program {
    /// True if a provider runs a command that is not this program.
    pub fn is_other(&self, provider: &ProviderConfig) -> bool {
        match provider {
            ProviderConfig::Exec(exec) => !self.is_run_by(exec),
            ProviderConfig::Env(_) | ProviderConfig::File(_) | ProviderConfig::Vault(_) => false,
        }
    }

    /// True if a provider runs this program on this state folder: its ids are our records.
    pub fn is_run_by(&self, provider: &ExecProvider) -> bool {
        let same = |path: &Path, other: &Path| {
            path == other || std::fs::canonicalize(path).is_ok_and(|path| path == other)
        };
        let args: Vec<&str> = provider.args.iter().map(String::as_str).collect();
        let folder = args.iter().enumerate().find_map(|(i, arg)| match *arg {
            "--state-dir" => args.get(i + 1).copied(),
            arg => arg.strip_prefix("--state-dir="),
        });
        let state_dir = std::fs::canonicalize(&self.state_dir);
        let state_dir = state_dir.as_deref().unwrap_or(&self.state_dir);
        same(&provider.command, &self.path)
            && args.contains(&"exec-provider")
            && folder.is_some_and(|folder| same(Path::new(folder), state_dir))
    }
}
