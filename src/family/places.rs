//! Every file of a state folder that can hold a secret, with what it is.
//!
//! Invariants: the walk ends (limits on files and depth, each folder once); a link to a folder is
//! followed only where the family has one (`agents`, `credentials`, `state`), so that a link to a
//! whole disk is not a part of the folder; a file that is reached under several names is what the
//! family takes it for, whichever name comes first; what the walk leaves out is in the list of what
//! it skipped.

use super::named::named;
use super::{Folder, Runtime};
use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The most files of one state folder.
pub const MAX_FILES: usize = 100_000;
/// The deepest folder below the state folder.
pub const MAX_FOLDER_DEPTH: usize = 24;

/// A file that can hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is, or what it is a copy of.
    pub kind: PlaceKind,
    /// True for a backup, a recovery copy, or what an import left behind.
    pub backup: bool,
    /// The agent in whose folder it lies.
    pub agent: Option<String>,
}

impl Place {
    /// A place of no agent that is no copy.
    pub fn new(path: PathBuf, kind: PlaceKind) -> Self {
        Self {
            path,
            kind,
            backup: false,
            agent: None,
        }
    }
}

/// What a file of a state folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlaceKind {
    /// The config.
    Config,
    /// A file that the config takes in.
    Include,
    /// Lines of `NAME=VALUE`, for the runtime or a service manager.
    EnvFile,
    /// `auth-profiles.json`.
    AuthProfiles,
    /// `auth-state.json`.
    AuthState,
    /// `auth.json` of an agent, which came before `auth-profiles.json`.
    LegacyAuth,
    /// `credentials/oauth.json`.
    LegacyOAuth,
    /// The generated `models.json`.
    Models,
    /// The generated `catalog.json` of a plugin.
    Catalog,
    /// Other files below `credentials`.
    Credentials,
    /// Tokens of a login at an MCP server.
    McpOAuth,
    /// Keys of this device, tokens of paired ones.
    Identity,
    /// The Codex account of an agent.
    CodexHome,
    /// The database of an agent (era C, and the override of era D).
    AgentDatabase,
    /// The database of all agents (era D).
    SharedDatabase,
    /// Another SQLite database.
    Database,
    /// `-wal`, `-shm` or `-journal` of a database.
    DatabaseSide,
    /// What was said and what tools gave, a line each.
    Session,
    /// A file that holds one token, named by the config.
    TokenFile,
    /// What a shell remembers of what was typed.
    History,
    /// A unit of a service manager.
    Unit,
    /// A file of this program in which every secret is sealed.
    Sealed,
    /// Anything else.
    Other,
}

impl PlaceKind {
    /// True for the SQLite databases.
    pub const fn is_database(self) -> bool {
        matches!(
            self,
            PlaceKind::AgentDatabase | PlaceKind::SharedDatabase | PlaceKind::Database
        )
    }
}

/// A file or folder that was not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it lies.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

impl Skipped {
    /// With this reason.
    pub fn new(path: PathBuf, why: impl Into<String>) -> Self {
        Self {
            path,
            why: why.into(),
        }
    }
}

/// The files of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The files, by path.
    pub places: Vec<Place>,
    /// What was not looked at.
    pub skipped: Vec<Skipped>,
}

/// Finds every file of the folder, and those that its config and its environment name.
pub fn places(folder: &Folder) -> Found {
    let mut walk = Walk {
        folder,
        files: HashMap::new(),
        folders: HashSet::new(),
        found: Found::default(),
    };
    let named = named(folder);
    walk.single(&folder.config, PlaceKind::Config);
    for place in named.places {
        walk.single(&place.path, place.kind);
    }
    walk.found.skipped.extend(named.skipped);
    let agent = |(agent, dir)| (dir, ["agents", agent, "agent"].map(str::to_owned).to_vec());
    let agents = folder.agent_dirs.iter().chain(&named.agent_dirs);
    let agents = agents.map(|(name, dir)| agent((name.as_str(), dir)));
    let oauth = folder.oauth_dir.iter();
    let oauth = oauth.map(|dir| (dir, vec!["credentials".to_owned()]));
    // The folders of credentials first, so that no limit ends the walk before them; one that has
    // the whole folder in it must not keep the walk from the folder itself.
    let root = real(&folder.root);
    let (around, inside): (Vec<_>, Vec<_>) = agents
        .chain(oauth)
        .partition(|(dir, _)| root.starts_with(real(dir)));
    for (dir, names) in inside {
        walk.folder(dir, &names);
    }
    walk.folder(&folder.root, &[]);
    for (dir, names) in around {
        walk.folder(dir, &names);
    }
    for path in &folder.env_files {
        walk.single(path, PlaceKind::EnvFile);
    }
    let mut found = walk.found;
    found.places.sort_by(|a, b| a.path.cmp(&b.path));
    found
        .skipped
        .sort_by(|a, b| (&a.path, &a.why).cmp(&(&b.path, &b.why)));
    found.skipped.dedup();
    found
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// The metadata of what a path leads to; `None` if nothing is there.
pub(super) fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// True if an error says that nothing is there.
pub(super) fn is_absent(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What is there, but can't be read.
pub(super) fn unreadable(path: PathBuf, error: &io::Error) -> Skipped {
    Skipped::new(path, format!("can't be read: {}", error.kind()))
}

/// How sure it is what a file is, the surest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sure {
    /// Nothing is known of it.
    Not,
    /// Its folder, or the end of its name, says so.
    Around,
    /// It has the name of a copy of a known file.
    Copy,
    /// It has a known name in a known folder.
    Known,
    /// The config or the environment names it.
    Named,
}

struct Walk<'a> {
    folder: &'a Folder,
    /// Files that were seen, by device and inode: where they stand in what was found.
    files: HashMap<(u64, u64), (usize, Sure)>,
    /// Folders that were seen, by device, inode, and what they were seen as.
    folders: HashSet<(u64, u64, Role)>,
    found: Found,
}

impl Walk<'_> {
    fn single(&mut self, path: &Path, kind: PlaceKind) {
        match metadata(path) {
            Ok(Some(metadata)) if metadata.is_file() => {
                let place = Place::new(path.to_path_buf(), kind);
                self.file(&metadata, place, Sure::Named);
            }
            Ok(_) => {}
            Err(error) => self.unreadable(path, &error),
        }
    }

    /// Notes a file, or what it is if that was not as sure before.
    fn file(&mut self, metadata: &Metadata, place: Place, sure: Sure) {
        let next = self.found.places.len();
        let key = (metadata.dev(), metadata.ino());
        let (at, before) = *self.files.entry(key).or_insert((next, sure));
        if at == next {
            self.found.places.push(place);
        } else if before < sure {
            self.found.places[at] = place;
            self.files.insert(key, (at, sure));
        }
    }

    fn skip(&mut self, path: &Path, why: impl Into<String>) {
        self.found
            .skipped
            .push(Skipped::new(path.to_path_buf(), why));
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        let skipped = unreadable(path.to_path_buf(), error);
        self.found.skipped.push(skipped);
    }

    /// `names` is where the folder stands below the state folder, or would stand.
    fn folder(&mut self, path: &Path, names: &[String]) {
        let metadata = match metadata(path) {
            Ok(Some(metadata)) => metadata,
            Ok(None) => return,
            Err(error) => return self.unreadable(path, &error),
        };
        let key = (metadata.dev(), metadata.ino(), role(names));
        if !self.folders.insert(key) {
            return;
        }
        if names.len() > MAX_FOLDER_DEPTH {
            return self.skip(path, format!("deeper than {MAX_FOLDER_DEPTH} folders"));
        }
        let entries = match fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
            Ok(entries) => entries,
            Err(error) => return self.unreadable(path, &error),
        };
        let mut entries: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
        entries.sort();
        for entry in entries {
            if self.files.len() >= MAX_FILES {
                let why = format!("more than {MAX_FILES} files; the rest was not looked at");
                return self.skip(path, why);
            }
            self.entry(&entry, names);
        }
    }

    fn entry(&mut self, path: &Path, names: &[String]) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut names = names.to_vec();
        names.push(name.into_owned());
        let link = match fs::symlink_metadata(path) {
            Ok(link) => link,
            Err(error) => return self.unreadable(path, &error),
        };
        let metadata = match metadata(path) {
            Ok(Some(metadata)) => metadata,
            // A link that leads nowhere holds nothing.
            Ok(None) => return,
            Err(error) => return self.unreadable(path, &error),
        };
        if metadata.is_dir() {
            if link.is_symlink() && !is_family_link(&names) {
                return self.skip(path, "a link to a folder, which is not followed");
            }
            self.folder(path, &names);
        } else if metadata.is_file() {
            let (place, sure) = classify(self.folder, path, &names);
            self.file(&metadata, place, sure);
        }
    }
}

/// What a folder is to the family. One that is reached as several of them, by a link or since a
/// config puts an agent there, is walked once as each: its files have known names only in their
/// place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    Root,
    Agents,
    Agent,
    AgentDir,
    Plugins,
    Plugin,
    Credentials,
    State,
    Other,
}

fn role(names: &[String]) -> Role {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match names.as_slice() {
        [] => Role::Root,
        ["agents"] => Role::Agents,
        ["agents", _] => Role::Agent,
        ["agents", _, "agent"] => Role::AgentDir,
        ["agents", _, "agent", "plugins"] => Role::Plugins,
        ["agents", _, "agent", "plugins", _] => Role::Plugin,
        ["credentials"] => Role::Credentials,
        ["state"] => Role::State,
        _ => Role::Other,
    }
}

/// Folders of the family that people put elsewhere by a link.
fn is_family_link(names: &[String]) -> bool {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    matches!(
        names.as_slice(),
        ["agents" | "credentials" | "state" | "workspace"]
            | ["agents", _]
            | ["agents", _, "agent" | "sessions"]
    )
}

/// What a file is, by its place below the state folder.
fn classify(folder: &Folder, path: &Path, names: &[String]) -> (Place, Sure) {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (around, name) = match names.split_last() {
        Some((name, around)) => (around, *name),
        None => (&[][..], ""),
    };
    let agent = match around {
        ["agents", agent, ..] => Some((*agent).to_owned()),
        _ => None,
    };
    let (kind, backup, sure) = match known(folder, around, name) {
        Some((kind, false)) => (kind, false, Sure::Known),
        Some((kind, true)) => (kind, true, Sure::Copy),
        None => match in_folder(folder, around, name) {
            PlaceKind::Other => (PlaceKind::Other, is_copy_name(name), Sure::Not),
            kind => (kind, is_copy_name(name), Sure::Around),
        },
    };
    let place = Place {
        path: path.to_path_buf(),
        kind,
        backup,
        agent,
    };
    (place, sure)
}

/// A file of a known name, or a copy of one.
fn known(folder: &Folder, around: &[&str], name: &str) -> Option<(PlaceKind, bool)> {
    let config = folder.config.file_name().and_then(|name| name.to_str());
    let in_root: &[(&str, PlaceKind)] = &[
        (config.unwrap_or("openclaw.json"), PlaceKind::Config),
        (".env", PlaceKind::EnvFile),
        ("gateway.systemd.env", PlaceKind::EnvFile),
        ("node.systemd.env", PlaceKind::EnvFile),
    ];
    let in_agent: &[(&str, PlaceKind)] = &[
        ("auth-profiles.json", PlaceKind::AuthProfiles),
        ("auth-state.json", PlaceKind::AuthState),
        ("auth.json", PlaceKind::LegacyAuth),
        ("models.json", PlaceKind::Models),
        ("openclaw-agent.sqlite", PlaceKind::AgentDatabase),
    ];
    let names = match around {
        [] => in_root,
        ["agents", _, "agent"] => in_agent,
        ["agents", _, "agent", "plugins", _] => &[("catalog.json", PlaceKind::Catalog)],
        ["credentials"] => &[("oauth.json", PlaceKind::LegacyOAuth)],
        ["state"] => &[("openclaw.sqlite", PlaceKind::SharedDatabase)],
        _ => return None,
    };
    names.iter().find_map(|(known, kind)| {
        let rest = name.strip_prefix(known)?;
        match rest {
            "" => Some((*kind, false)),
            "-wal" | "-shm" | "-journal" if kind.is_database() => {
                Some((PlaceKind::DatabaseSide, false))
            }
            rest if rest.starts_with(['.', '-', '~']) && !rest.ends_with(".lock") => {
                Some((*kind, true))
            }
            _ => None,
        }
    })
}

/// What a file of another name is.
fn in_folder(folder: &Folder, around: &[&str], name: &str) -> PlaceKind {
    let own = folder.runtime == Runtime::Reseal;
    match around {
        [] if own && name.starts_with("vault.reseal") => return PlaceKind::Sealed,
        ["anchors" | "run", ..] if own => return PlaceKind::Sealed,
        ["agents", _, "agent", "codex-home", ..] => return PlaceKind::CodexHome,
        ["agents", _, "sessions", ..] => return PlaceKind::Session,
        ["credentials", ..] => return PlaceKind::Credentials,
        ["mcp-oauth", ..] => return PlaceKind::McpOAuth,
        ["identity" | "devices", ..] => return PlaceKind::Identity,
        _ => {}
    }
    let base = name.split("-wal").next().unwrap_or(name);
    let is_sqlite = |name: &str| {
        [".sqlite", ".sqlite3", ".db"]
            .iter()
            .any(|end| name.ends_with(end) || name.contains(&format!("{end}.")))
    };
    let side = ["-wal", "-shm", "-journal"]
        .iter()
        .find_map(|end| name.strip_suffix(end));
    if name == ".env" || name.starts_with(".env.") || name.ends_with(".env") {
        PlaceKind::EnvFile
    } else if side.is_some_and(is_sqlite) {
        PlaceKind::DatabaseSide
    } else if is_sqlite(base) {
        PlaceKind::Database
    } else if name.ends_with(".jsonl") || name.ends_with(".log") {
        PlaceKind::Session
    } else {
        PlaceKind::Other
    }
}

/// Names that programs and people give to copies.
fn is_copy_name(name: &str) -> bool {
    let ends = ["~", ".bak", ".backup", ".old", ".orig", ".save", ".swp"];
    let parts = [
        ".bak.",
        ".bak-",
        ".last-good",
        ".migrated-",
        ".pre-update",
        ".rejected",
        ".clobbered",
        ".sqlite-import.",
    ];
    ends.iter().any(|end| name.ends_with(end)) || parts.iter().any(|part| name.contains(part))
}
