//! The folder whose files are changed: this program's own, or another runtime's.

use crate::document::Document;
use crate::error::Failure;
use crate::family::named::named;
use crate::family::{Folder, Found, places};
use crate::name::AgentId;
use crate::profile::{ProfileError, Store, flat};
use crate::reference::Defaults;
use crate::runtime::ground;
use crate::store::{StateDir, files};
use std::collections::{BTreeMap, BTreeSet};
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
    folder: Folder,
    /// Agents whose folder lies elsewhere.
    elsewhere: Vec<(AgentId, PathBuf)>,
}

impl Site {
    /// This program's own folder.
    pub fn own(state: &StateDir, config: PathBuf) -> Self {
        Self::of(Folder::own(state.root(), &config), true)
    }

    /// Another runtime's folder.
    ///
    /// # Errors
    /// `folder.absent` if there is no such folder.
    pub fn foreign(root: &Path) -> Result<Self, Failure> {
        let environment = |name: &str| std::env::var_os(name);
        Ok(Self::foreign_at(Folder::find(Some(root), &environment)?))
    }

    /// Another runtime's folder, which was found.
    pub fn foreign_at(folder: Folder) -> Self {
        Self::of(folder, false)
    }

    fn of(folder: Folder, own: bool) -> Self {
        let named = named(&folder).agent_dirs;
        let elsewhere = folder.agent_dirs.iter().cloned().chain(named);
        let elsewhere = elsewhere.filter_map(|(agent, dir)| Some((agent.parse().ok()?, dir)));
        Self {
            root: folder.root.clone(),
            config: folder.config.clone(),
            own,
            elsewhere: elsewhere.collect(),
            folder,
        }
    }

    /// The folder as the family lays it out.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    fn state(&self) -> StateDir {
        StateDir::at(&self.root)
    }

    /// Every file of the folder that can hold a secret, and what was not looked at.
    pub fn places(&self) -> Found {
        places(&self.folder)
    }

    /// The agents that have a folder, by id.
    ///
    /// # Errors
    /// `file.io`; `ref.limit` over the limit of agents.
    pub fn agents(&self) -> Result<Vec<AgentId>, Failure> {
        let mut agents = ground::agent_ids(&self.state())?;
        agents.extend(self.elsewhere.iter().map(|(agent, _)| agent.clone()));
        agents.sort();
        agents.dedup();
        Ok(agents)
    }

    /// Each agent with the one whose profiles file it has: itself, or, if several reach one file by
    /// links, `main` or else the first by id.
    ///
    /// # Errors
    /// Those of [`Site::agents`].
    pub fn holders(&self) -> Result<BTreeMap<AgentId, AgentId>, Failure> {
        let mut agents = self.agents()?;
        agents.sort_by_key(|agent| *agent != AgentId::main());
        let mut files: BTreeMap<PathBuf, AgentId> = BTreeMap::new();
        let holder = |agent: AgentId| {
            let file = files.entry(real(&self.profiles(&agent)));
            let holder = file.or_insert_with(|| agent.clone()).clone();
            (agent, holder)
        };
        Ok(agents.into_iter().map(holder).collect())
    }

    /// The agents that have a profiles file of their own.
    ///
    /// # Errors
    /// Those of [`Site::agents`].
    pub fn stores(&self) -> Result<BTreeSet<AgentId>, Failure> {
        Ok(self.holders()?.into_values().collect())
    }

    /// The config as a document; an empty one if there is no file.
    ///
    /// # Errors
    /// `config.invalid` with the place; `file.*`.
    pub fn config_document(&self) -> Result<Document, Failure> {
        match read(&self.config)? {
            Some(bytes) => parse(&self.config, &bytes),
            None => Ok(Document::empty(&self.config.display().to_string())),
        }
    }

    /// An agent's profiles, read; none if it has no file.
    ///
    /// # Errors
    /// `profiles.invalid` with the place; `file.*`.
    pub fn store(&self, agent: &AgentId, defaults: &Defaults) -> Result<Store, Failure> {
        let path = self.profiles(agent);
        store_of(&path, read(&path)?.as_ref(), defaults)
    }

    /// The profiles file of an agent.
    pub fn profiles(&self, agent: &AgentId) -> PathBuf {
        match self.elsewhere.iter().find(|(other, _)| other == agent) {
            Some((_, dir)) => dir.join("auth-profiles.json"),
            None => self.state().auth_profiles(agent),
        }
    }
}

/// The file that a path leads to, without links; it need not be there.
pub fn real(path: &Path) -> PathBuf {
    let whole = path.canonicalize();
    let in_folder = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    let real = whole.ok().or_else(in_folder);
    real.unwrap_or_else(|| path.to_path_buf())
}

/// A file's bytes; `None` if there is none.
///
/// # Errors
/// `file.*`, naming the file.
pub fn read(path: &Path) -> Result<Option<Content>, Failure> {
    let bytes = files::read(path, files::MAX_STATE_FILE)?;
    Ok(bytes.map(Zeroizing::new))
}

/// A file of profiles as a document, in the form of today ([`flat`]).
///
/// # Errors
/// `profiles.invalid` with the place.
pub fn parse_profiles(path: &Path, bytes: &[u8]) -> Result<Document, Failure> {
    let name = path.display().to_string();
    let document = Document::parse_bytes(bytes, &name).map_err(ProfileError::from)?;
    Ok(flat::wrapped(&document)?.unwrap_or(document))
}

/// A file's bytes as profiles.
///
/// # Errors
/// `profiles.invalid` with the place.
pub fn store_of(
    path: &Path,
    bytes: Option<&Content>,
    defaults: &Defaults,
) -> Result<Store, Failure> {
    let name = path.display().to_string();
    let Some(bytes) = bytes else {
        return Ok(Store::empty(&name)?);
    };
    let document = parse_profiles(path, bytes)?;
    Ok(Store::parse(document.text(), &name, defaults)?)
}

/// A file's bytes as a document.
///
/// # Errors
/// `config.invalid` with the place.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Document, Failure> {
    Ok(Document::parse_bytes(bytes, &path.display().to_string())?)
}
