//! The state folder: where everything of one installation lies.
//!
//! Invariant: the folders that hold state are owned by the user and private (0700).

use super::StoreError;
use super::disk::folder_is_private;
use crate::name::AgentId;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The state folder and the paths inside it. Making one touches no disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The state folder at `root`; a relative path is made absolute, so that a later change of
    /// the working directory does not move it.
    pub fn at(root: impl AsRef<Path>) -> Self {
        let root = root.as_ref();
        Self {
            root: std::path::absolute(root).unwrap_or_else(|_| root.to_path_buf()),
        }
    }

    /// Makes the state folder and its `agents`, `anchors` and `run` folders where they are
    /// missing, 0700, and checks those that exist.
    ///
    /// # Errors
    /// `file.permission` if a folder is not ours or not private (it is never re-moded here: the
    /// path may be a mistake); `file.io` if one can't be made.
    pub fn create(&self) -> Result<(), StoreError> {
        for folder in [self.root.clone(), self.agents(), self.anchors(), self.run()] {
            make_private_folder(&folder)?;
        }
        Ok(())
    }

    /// Makes the folders of one agent, 0700, where they are missing.
    ///
    /// # Errors
    /// As [`StateDir::create`].
    pub fn create_agent(&self, agent: &AgentId) -> Result<(), StoreError> {
        make_private_folder(&self.agents().join(agent.as_str()))?;
        make_private_folder(&self.agent_dir(agent))
    }

    /// True if the state folder exists.
    pub fn exists(&self) -> bool {
        self.root.is_dir()
    }

    /// Checks that the state folder is a folder, ours and private.
    ///
    /// # Errors
    /// `file.permission` if it is not; `file.io` if it is not there.
    pub fn check(&self) -> Result<(), StoreError> {
        folder_is_private(&self.root)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The vault file, unless the config names another.
    pub fn vault(&self) -> PathBuf {
        self.root.join("vault.reseal")
    }

    /// The config file, unless `--config` names another.
    pub fn config(&self) -> PathBuf {
        self.root.join("reseal.json")
    }

    /// The folder of all agents.
    pub fn agents(&self) -> PathBuf {
        self.root.join("agents")
    }

    /// The folder of one agent's state files.
    pub fn agent_dir(&self, agent: &AgentId) -> PathBuf {
        self.agents().join(agent.as_str()).join("agent")
    }

    /// An agent's auth profiles.
    pub fn auth_profiles(&self, agent: &AgentId) -> PathBuf {
        self.agent_dir(agent).join("auth-profiles.json")
    }

    /// An agent's auth state (order, cooldowns).
    pub fn auth_state(&self, agent: &AgentId) -> PathBuf {
        self.agent_dir(agent).join("auth-state.json")
    }

    /// What this machine remembers of the vaults it has seen.
    pub fn anchors(&self) -> PathBuf {
        self.root.join("anchors")
    }

    /// Locks and marks of token sets that lie elsewhere: in the keyring of the system, in records
    /// that a program keeps.
    pub fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }

    /// The daemon's log of decisions.
    pub fn audit(&self) -> PathBuf {
        self.root.join("audit")
    }

    /// The folder of the daemon's socket.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The daemon's socket: the same path with or without an environment.
    pub fn socket(&self) -> PathBuf {
        self.run().join("daemon.sock")
    }
}

/// Makes a folder 0700 (with its parents, if they are missing too), or checks the one there.
///
/// # Errors
/// `file.permission` if there is something that is not a folder, not ours or not private.
pub fn make_private_folder(path: &Path) -> Result<(), StoreError> {
    match fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
    {
        Ok(()) => folder_is_private(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => folder_is_private(path),
        Err(error) => Err(StoreError::io("make the folder", path)(error)),
    }
}
