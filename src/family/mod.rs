//! The state folders of the OpenClaw family: where they lie, which era they are of, and every file
//! of theirs that can hold a secret.
//!
//! | what | where |
//! | --- | --- |
//! | [`Folder`], [`Era`] | here |
//! | [`Place`], [`PlaceKind`]: the files, found by a walk with limits | [`mod@places`] |
//! | databases of eras C and D, read without touching them | [`sqlite`] |
//! | shell histories and service units | [`outside`] |
//! | whether the runtime whose folder it is runs | [`lock`] |
//! | what a config names outside of the folder: includes, agents, token files | [`named`] |
//! | a config with what it includes | [`includes`] |
//!
//! Invariants: nothing here writes; what is not looked at is said ([`places::Skipped`]), never left
//! out silently. What the files hold is read elsewhere.
#![forbid(unsafe_code)]

pub mod includes;
pub mod lock;
pub mod named;
pub mod outside;
pub mod places;
pub mod sqlite;

pub use places::{Found, Place, PlaceKind, Skipped, places};

use crate::error::{Code, Coded};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A runtime whose state folder this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Runtime {
    /// OpenClaw.
    OpenClaw,
    /// OpenClaw under its older name.
    Clawdbot,
    /// The fork Fased.
    Fased,
    /// The fork JARVIS.
    Jarvis,
    /// The fork CoderClaw.
    CoderClaw,
    /// This program.
    Reseal,
}

impl Runtime {
    /// Every runtime, in the order in which its config is looked for.
    pub const ALL: [Runtime; 6] = [
        Runtime::OpenClaw,
        Runtime::Clawdbot,
        Runtime::Fased,
        Runtime::Jarvis,
        Runtime::CoderClaw,
        Runtime::Reseal,
    ];

    /// The name in files and folders.
    pub const fn as_str(self) -> &'static str {
        match self {
            Runtime::OpenClaw => "openclaw",
            Runtime::Clawdbot => "clawdbot",
            Runtime::Fased => "fased",
            Runtime::Jarvis => "jarvis",
            Runtime::CoderClaw => "coderclaw",
            Runtime::Reseal => "reseal",
        }
    }

    /// The name of its config file.
    pub fn config_name(self) -> String {
        format!("{}.json", self.as_str())
    }

    /// The name of its state folder in a home.
    pub fn folder_name(self) -> String {
        format!(".{}", self.as_str())
    }
}

/// Which generation of credential stores a folder holds. The borders are those of OpenClaw's
/// versions; forks are of the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Era {
    /// Credentials, order and usage in one `auth-profiles.json` (2026.2 to about 2026.4).
    A,
    /// Order and usage in `auth-state.json` beside it (to 2026.6.1).
    B,
    /// A SQLite database per agent (2026.6.5 to 2026.7).
    C,
    /// A shared SQLite database, agents' own as override (from about 2026.8.1).
    D,
}

impl Era {
    /// The letter.
    pub const fn as_str(self) -> &'static str {
        match self {
            Era::A => "A",
            Era::B => "B",
            Era::C => "C",
            Era::D => "D",
        }
    }

    /// The era of a folder with these places; `None` if nothing in it stores credentials. Files of
    /// an older era that lie beside a newer store do not count: they are what a move left behind.
    pub fn of(places: &[Place]) -> Option<Era> {
        let has = |kind| places.iter().any(|p| p.kind == kind && !p.backup);
        if has(PlaceKind::SharedDatabase) {
            Some(Era::D)
        } else if has(PlaceKind::AgentDatabase) {
            Some(Era::C)
        } else if has(PlaceKind::AuthState) {
            Some(Era::B)
        } else if has(PlaceKind::AuthProfiles) || has(PlaceKind::LegacyAuth) {
            Some(Era::A)
        } else {
            None
        }
    }
}

/// The environment, as a function: the wall between this and the process.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The state folder of a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// The folder, absolute.
    pub root: PathBuf,
    /// Whose it is.
    pub runtime: Runtime,
    /// The config file, which may not be there.
    pub config: PathBuf,
    /// Folders outside of `root` whose files belong to it, each as the agent whose folder it is.
    pub agent_dirs: Vec<(String, PathBuf)>,
    /// The folder of legacy OAuth files, if it lies outside of `root`.
    pub oauth_dir: Option<PathBuf>,
    /// Folders, beside the config's own, from which `$include` may read.
    pub include_roots: Vec<PathBuf>,
    /// Env files outside of `root` that the runtime reads.
    pub env_files: Vec<PathBuf>,
}

impl Folder {
    /// The state folder at `path`, or the one that the environment leads to. The environment's
    /// overrides count only for the latter, also if `path` names it: a copy of a folder that lies
    /// elsewhere stands for itself.
    ///
    /// # Errors
    /// `folder.absent` if there is no such folder.
    pub fn find(path: Option<&Path>, env: Environment<'_>) -> Result<Self, FamilyError> {
        let own = live(env);
        let root = match (path, &own) {
            (Some(path), _) => absolute(path),
            (None, Some(own)) => own.clone(),
            (None, None) => return Err(FamilyError::NoHome),
        };
        if !root.is_dir() {
            return Err(FamilyError::Absent(root));
        }
        let mut folder = Self::at(&root);
        let same = |own: &Path| own == root || same_folder(own, &root);
        if own.as_deref().is_some_and(same) {
            folder.apply(env);
        }
        Ok(folder)
    }

    /// A folder that is not there: nothing lies in it.
    pub fn absent(root: &Path) -> Self {
        Self::at(root)
    }

    /// The state folder of this program, whose config may lie elsewhere.
    pub fn own(root: &Path, config: &Path) -> Self {
        Self {
            runtime: Runtime::Reseal,
            config: config.to_path_buf(),
            ..Self::at(root)
        }
    }

    /// A folder that no environment has a say in.
    fn at(root: &Path) -> Self {
        let named = root.file_name().and_then(|name| name.to_str());
        let named = Runtime::ALL
            .into_iter()
            .find(|runtime| named == Some(&runtime.folder_name()));
        let configured = Runtime::ALL
            .into_iter()
            .find(|runtime| root.join(runtime.config_name()).exists());
        let runtime = named.or(configured).unwrap_or(Runtime::OpenClaw);
        Self {
            root: root.to_path_buf(),
            runtime,
            // A fork may go on with the name that OpenClaw gave the file.
            config: root.join(configured.unwrap_or(runtime).config_name()),
            agent_dirs: Vec::new(),
            oauth_dir: None,
            include_roots: Vec::new(),
            env_files: Vec::new(),
        }
    }

    fn apply(&mut self, env: Environment<'_>) {
        let path = |name: &str| set(env, name).map(|path| absolute(Path::new(&path)));
        if let Some(config) = path("OPENCLAW_CONFIG_PATH") {
            self.env_files
                .extend(config.parent().map(|p| p.join(".env")));
            self.config = config;
        }
        self.oauth_dir = path("OPENCLAW_OAUTH_DIR");
        let agent = path("OPENCLAW_AGENT_DIR").or_else(|| path("PI_CODING_AGENT_DIR"));
        self.agent_dirs
            .extend(agent.map(|dir| ("main".to_owned(), dir)));
        if let Some(roots) = set(env, "OPENCLAW_INCLUDE_ROOTS") {
            self.include_roots.extend(std::env::split_paths(&roots));
        }
        if let Some(home) = home(env) {
            self.env_files.push(home.join(".openclaw/.env"));
            self.env_files
                .push(home.join(".config/openclaw/gateway.env"));
        }
    }
}

/// The folder that a runtime started in this environment would use.
fn live(env: Environment<'_>) -> Option<PathBuf> {
    if let Some(named) = set(env, "OPENCLAW_STATE_DIR") {
        return Some(absolute(Path::new(&named)));
    }
    let home = home(env)?;
    let older = home.join(".clawdbot");
    let newer = home.join(".openclaw");
    Some(if !newer.is_dir() && older.is_dir() {
        older
    } else {
        newer
    })
}

fn home(env: Environment<'_>) -> Option<PathBuf> {
    let home = set(env, "OPENCLAW_HOME").or_else(|| set(env, "HOME"))?;
    Some(absolute(Path::new(&home)))
}

fn set(env: Environment<'_>, name: &str) -> Option<OsString> {
    env(name).filter(|value| !value.is_empty())
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn same_folder(left: &Path, right: &Path) -> bool {
    match (left.canonicalize(), right.canonicalize()) {
        (Ok(left), Ok(right)) => left == right,
        _ => false,
    }
}

/// Why there is no folder to look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FamilyError {
    /// No folder there.
    #[error("there is no folder {}", .0.display())]
    Absent(PathBuf),
    /// Nothing says where the folder is.
    #[error("neither a path nor OPENCLAW_STATE_DIR nor HOME says where the state folder is")]
    NoHome,
}

impl Coded for FamilyError {
    fn code(&self) -> Code {
        Code::FolderAbsent
    }
}
crate::error::failure_from!(FamilyError);

#[cfg(test)]
mod tests;
