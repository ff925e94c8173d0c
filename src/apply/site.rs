//! The folder whose files are changed: this program's own, or another runtime's.

use crate::document::Document;
use crate::error::{Code, Failure};
use crate::name::AgentId;
use crate::runtime::ground;
use crate::store::{StateDir, files};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

use super::Content;

/// A state folder: its config and its agents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The folder.
    pub root: PathBuf,
    /// The config file.
    pub config: PathBuf,
    /// True if it is this program's own: then `vault` refs mean its vault.
    pub own: bool,
}

/// The names that the config of another runtime may have, the first one first.
const CONFIG_NAMES: &[&str] = &["openclaw.json", "clawdbot.json"];

impl Site {
    /// This program's own folder.
    pub fn own(state: &StateDir, config: PathBuf) -> Self {
        Self {
            root: state.root().to_path_buf(),
            config,
            own: true,
        }
    }

    /// Another runtime's folder.
    ///
    /// # Errors
    /// `input.invalid` if there is no such folder, or no config in it.
    pub fn foreign(root: &Path) -> Result<Self, Failure> {
        let invalid = |text: String| Failure::new(Code::InputInvalid, text);
        let root = std::fs::canonicalize(root)
            .map_err(|error| invalid(format!("{}: {error}", root.display())))?;
        let mut names = CONFIG_NAMES.iter().map(|name| root.join(name));
        let config = names.find(|path| path.is_file());
        let config = config.ok_or_else(|| {
            let text = format!("there is no {} in {}", CONFIG_NAMES[0], root.display());
            invalid(text)
        })?;
        Ok(Self {
            root,
            config,
            own: false,
        })
    }

    fn state(&self) -> StateDir {
        StateDir::at(&self.root)
    }

    /// The agents that have a folder, by id.
    ///
    /// # Errors
    /// `file.io`; `ref.limit` over the limit of agents.
    pub fn agents(&self) -> Result<Vec<AgentId>, Failure> {
        ground::agent_ids(&self.state())
    }

    /// The profiles of an agent.
    pub fn profiles(&self, agent: &AgentId) -> PathBuf {
        self.state().auth_profiles(agent)
    }
}

/// A file's bytes; `None` if there is none.
///
/// # Errors
/// `file.*`, naming the file.
pub(super) fn read(path: &Path) -> Result<Option<Content>, Failure> {
    let bytes = files::read(path, files::MAX_STATE_FILE)?;
    Ok(bytes.map(Zeroizing::new))
}

/// A file's bytes as a document.
pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Document, Failure> {
    Ok(Document::parse_bytes(bytes, &path.display().to_string())?)
}
