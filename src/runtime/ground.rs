//! The ground state as it stands in files: the config, every agent's profiles, and every ref that
//! they hold, with whether it is in use.
//!
//! Invariant: a file that can't be read or understood is an error that names it, never an empty
//! config or an empty store.

use super::service::{RefOutcome, RefReport};
use crate::config::{Activity, Config, Document, Trust};
use crate::crypto::hash::sha256;
use crate::error::{Code, Failure};
use crate::name::{AgentId, ProfileId};
use crate::profile::order::{self, Query};
use crate::profile::{Profile, State, Store};
use crate::reference::{Defaults, SecretRef};
use crate::snapshot::Wanted;
use crate::source::{Outside, Unopened};
use crate::store::{StateDir, StoreError, files};
use crate::sys::clock;
use crate::time::UnixMs;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The most agents of one state folder.
pub const MAX_AGENTS: usize = 1_024;

/// Config and profiles, read.
pub struct Ground {
    /// The config; the default one if there is no file.
    pub config: Arc<Config>,
    /// Every agent's profiles.
    pub agents: Vec<Agent>,
    /// Every ref, in the order of the files; those of the config first.
    pub places: Vec<Place>,
    origin: Origin,
}

/// What a config was read from.
struct Origin {
    file: String,
    trust: Trust,
    /// Of the text; `None` if there is no file.
    digest: Option<[u8; 32]>,
    /// How many places it has.
    places: usize,
    /// It is the state folder's own, and nobody but its user and root can change it.
    guarded: bool,
}

impl Origin {
    fn says_the_same(&self, other: &Origin) -> bool {
        (&self.file, self.trust, self.digest) == (&other.file, other.trust, other.digest)
    }
}

/// One agent's profiles and their state.
pub struct Agent {
    /// The agent.
    pub id: AgentId,
    /// Its `auth-profiles.json`.
    pub store: Store,
    /// Its `auth-state.json`.
    pub state: State,
    /// Nobody but the state folder's user and root can change the two.
    guarded: bool,
}

/// A place where a ref stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// The agent whose profile it is; `None` for a place in the config.
    pub agent: Option<AgentId>,
    /// Who wants the value.
    pub owner: Arc<str>,
    /// The file in which it stands.
    pub file: Arc<str>,
    /// The ref, or why what stands there is none.
    pub reference: Result<SecretRef, Failure>,
    /// Why it is not in use; `None` if it is.
    pub inactive: Option<String>,
    /// The owner does without.
    pub optional: bool,
}

impl Ground {
    /// Reads the config and the profiles of all agents.
    ///
    /// # Errors
    /// `config.invalid`, `profiles.invalid` with the place; `file.*`.
    pub fn read(state: &StateDir, config: &Path) -> Result<Self, Failure> {
        Self::read_again(state, config, None, None)
    }

    /// [`Ground::read`], with the config of `known` if the file still holds the same text. A config
    /// that this process may not open is opened by `outside`.
    ///
    /// # Errors
    /// As [`Ground::read`].
    pub fn read_again(
        state: &StateDir,
        path: &Path,
        known: Option<&Ground>,
        outside: Option<&dyn Outside>,
    ) -> Result<Self, Failure> {
        let text = read_config_text(path, outside)?;
        let mut origin = Origin {
            file: path.display().to_string(),
            trust: trust_of(state, path),
            digest: text.as_ref().map(|text| sha256(&[text.as_bytes()])),
            places: 0,
            guarded: is_own(state, path)
                && (text.is_none() || files::is_guarded(path, state.root())),
        };
        let known = known.filter(|known| known.origin.says_the_same(&origin));
        let (config, mut places) = match known {
            Some(known) => {
                let places = known.places[..known.origin.places].to_vec();
                (Arc::clone(&known.config), places)
            }
            None => {
                let config = parse_config(text.as_deref(), &origin.file, origin.trust)?;
                let places = config_places(&config);
                (Arc::new(config), places)
            }
        };
        origin.places = places.len();
        let mut agents = Vec::new();
        for id in agent_ids(state)? {
            agents.push(read_agent(state, &id, &config.defaults)?);
        }
        let now = clock::now();
        for agent in &agents {
            places.extend(agent_places(agent, &config, now));
        }
        Ok(Self {
            config,
            agents,
            places,
            origin,
        })
    }

    /// The places whose refs are in use; what stands there must be resolved.
    pub fn active(&self) -> impl Iterator<Item = &Place> {
        let used = |place: &&Place| place.inactive.is_none() && !place.is_plaintext();
        self.places.iter().filter(used)
    }

    /// The refs that are in use, each with its owner.
    pub fn wanted(&self) -> Vec<Wanted> {
        let wanted = |place: &Place| {
            place.reference.as_ref().ok().map(|reference| Wanted {
                reference: reference.clone(),
                owner: place.owner.clone(),
                optional: place.optional,
            })
        };
        let mut all = Vec::with_capacity(self.places.len());
        all.extend(self.active().filter_map(wanted));
        all
    }

    /// The refs that are in use in the config and in the profiles of an agent, as far as only the
    /// state folder's user and root can say so: none with another config than the state folder's
    /// own, or if others could change it; those of the config alone if they could change the
    /// agent's files.
    pub fn in_use(&self, agent: &AgentId) -> HashSet<SecretRef> {
        if !self.origin.guarded {
            return HashSet::new();
        }
        let is_it = |known: &&Agent| known.id == *agent && known.guarded;
        let agent = self.agents.iter().find(is_it).map(|known| &known.id);
        self.active()
            .filter(|place| place.agent.is_none() || place.agent.as_ref() == agent)
            .filter_map(|place| place.reference.as_ref().ok().cloned())
            .collect()
    }

    /// True if a snapshot built from `other` would be built from this one in the same way.
    pub fn says_the_same(&self, other: &Ground) -> bool {
        self.config == other.config && self.places == other.places
    }

    /// The files whose change calls for a new snapshot.
    pub fn files(&self) -> Vec<std::path::PathBuf> {
        let config = Some(&self.config.file).filter(|file| !file.is_empty());
        let agents = self
            .agents
            .iter()
            .flat_map(|a| [a.store.name(), a.state.name()]);
        config
            .map(String::as_str)
            .into_iter()
            .chain(agents)
            .map(Into::into)
            .collect()
    }
}

impl Place {
    /// True if it stands in the config, or in the profiles of this agent; of any if it is `None`.
    pub fn is_for(&self, agent: Option<&AgentId>) -> bool {
        agent.is_none_or(|id| self.agent.as_ref().is_none_or(|whose| whose == id))
    }

    /// True if a value stands there itself.
    pub fn is_plaintext(&self) -> bool {
        let code = self.reference.as_ref().err().map(|failure| failure.code);
        code == Some(Code::ConfigPlaintext)
    }

    /// The report of a place whose ref was resolved, or not.
    pub fn report(&self, outcome: Option<&Failure>) -> RefReport {
        let failure = self.reference.as_ref().err().or(outcome).cloned();
        let (outcome, failure) = match (&self.inactive, failure) {
            (_, failure) if self.is_plaintext() => (RefOutcome::Plaintext, failure),
            (Some(_), failure) => (RefOutcome::Inactive, failure),
            (None, None) => (RefOutcome::Ok, None),
            (None, failure) => (RefOutcome::Error, failure),
        };
        RefReport {
            owner: self.owner.clone(),
            file: self.file.clone(),
            reference: self.reference.clone().ok(),
            outcome,
            failure,
            reason: self.inactive.clone(),
            optional: self.optional,
        }
    }
}

/// Whose config a file is. The state folder's own is the user's; any other is a project's if it
/// lies in a git work tree, where others' commits come in. The home folder itself does not count:
/// people keep their dotfiles in git.
pub fn trust_of(state: &StateDir, config: &Path) -> Trust {
    if config == state.config() {
        return Trust::Own;
    }
    let place = std::fs::canonicalize(config).unwrap_or_else(|_| config.to_path_buf());
    let home = std::env::home_dir();
    let below_home = |folder: &&Path| home.as_deref().is_none_or(|home| !home.starts_with(folder));
    let mut folders = place.ancestors().skip(1).take_while(below_home);
    let in_work_tree = folders.any(|folder| folder.join(".git").symlink_metadata().is_ok());
    if in_work_tree {
        Trust::Project
    } else {
        Trust::Own
    }
}

/// True if this is the state folder's own config, however it is named.
fn is_own(state: &StateDir, config: &Path) -> bool {
    let own = state.config();
    let same = || Some(config.canonicalize().ok()? == own.canonicalize().ok()?);
    config == own || same() == Some(true)
}

/// Reads a config file; the default config if there is none.
///
/// # Errors
/// `config.invalid` with line and path; `file.*`.
pub fn read_config(path: &Path, trust: Trust) -> Result<Config, Failure> {
    let text = read_text(path)?;
    parse_config(text.as_deref(), &path.display().to_string(), trust)
}

/// The text of the config; one that this process may not open is opened by `outside`.
fn read_config_text(path: &Path, outside: Option<&dyn Outside>) -> Result<Option<String>, Failure> {
    let bytes = match (files::read(path, files::MAX_STATE_FILE), outside) {
        (Err(StoreError::Io { source, .. }), Some(outside))
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            match outside.open_config() {
                Ok(file) => Some(files::read_opened(file, path, files::MAX_STATE_FILE)?),
                Err(Unopened::System(error)) => return Err(unreadable(path, &error.into())),
                Err(Unopened::Refused(failure)) => return Err(failure),
            }
        }
        (read, _) => read?,
    };
    bytes.map(|bytes| text_of(bytes, path)).transpose()
}

fn parse_config(text: Option<&str>, file: &str, trust: Trust) -> Result<Config, Failure> {
    let Some(text) = text else {
        return Ok(Config::default());
    };
    let document = Document::parse(text, file).map_err(crate::config::ConfigErrors::from)?;
    Ok(Config::read(&document, trust)?)
}

/// Reads one agent's profiles; an agent without files has none.
///
/// # Errors
/// `profiles.invalid` with the place; `file.*`.
pub fn read_agent(state: &StateDir, id: &AgentId, defaults: &Defaults) -> Result<Agent, Failure> {
    let path = state.auth_profiles(id);
    let name = path.display().to_string();
    let mut guarded = true;
    let store = match read_text(&path)? {
        Some(text) => {
            guarded &= files::is_guarded(&path, state.root());
            Store::parse(&text, &name, defaults)?
        }
        None => Store::empty(&name)?,
    };
    let path = state.auth_state(id);
    let name = path.display().to_string();
    let auth_state = match read_text(&path)? {
        Some(text) => {
            guarded &= files::is_guarded(&path, state.root());
            State::parse(&text, &name, &store)?
        }
        None => State::empty(&name, &store)?,
    };
    Ok(Agent {
        id: id.clone(),
        store,
        state: auth_state,
        guarded,
    })
}

/// The agents of a state folder, by id. Folders whose name is no agent id are left alone.
///
/// # Errors
/// `file.io`; `ref.limit` over [`MAX_AGENTS`].
pub fn agent_ids(state: &StateDir) -> Result<Vec<AgentId>, Failure> {
    let folder = state.agents();
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&folder, &error)),
    };
    let mut ids = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(|error| unreadable(&folder, &error))?;
        if let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            ids.insert(id);
        }
        if ids.len() > MAX_AGENTS {
            let text = format!("more than {MAX_AGENTS} agents in {}", folder.display());
            return Err(Failure::new(Code::RefLimit, text));
        }
    }
    Ok(ids.into_iter().collect())
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Code::FileIo,
        format!("can't read {}: {error}", path.display()),
    )
}

fn read_text(path: &Path) -> Result<Option<String>, Failure> {
    let bytes = files::read(path, files::MAX_STATE_FILE)?;
    bytes.map(|bytes| text_of(bytes, path)).transpose()
}

fn text_of(bytes: Vec<u8>, path: &Path) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let text = format!("{} is not UTF-8 text (byte {at})", path.display());
        Failure::new(Code::ProfilesInvalid, text)
    })
}

fn config_places(config: &Config) -> Vec<Place> {
    let inputs = config.secret_inputs();
    let file: Arc<str> = config.file.as_str().into();
    let mut places = Vec::with_capacity(inputs.len());
    places.extend(inputs.iter().filter_map(|input| {
        let reference = match &input.input {
            Ok(found) if input.is_plaintext() => Err(plaintext(found.reference().is_some())),
            Ok(found) => Ok(found.reference()?.clone()),
            Err(error) => Err(Failure::of(error)),
        };
        Some(Place {
            agent: None,
            owner: input.path.to_text().into(),
            file: file.clone(),
            reference,
            inactive: match &input.activity {
                Activity::Active => None,
                Activity::Inactive(why) => Some(why.clone()),
            },
            optional: input.optional,
        })
    }));
    places
}

/// What is said of a value that stands where a ref belongs.
fn plaintext(shadowed: bool) -> Failure {
    let text = if shadowed {
        "a plaintext value stands beside the ref; it is not used"
    } else {
        "a plaintext value stands where a ref belongs; it is not used"
    };
    Failure::new(Code::ConfigPlaintext, text)
}

/// A profile's ref is in use if the profile is in the effective order of its provider.
fn agent_places(agent: &Agent, config: &Config, now: UnixMs) -> Vec<Place> {
    let providers: BTreeSet<&str> = agent
        .store
        .profiles()
        .iter()
        .map(|profile| profile.provider.as_str())
        .collect();
    let mut used: BTreeSet<ProfileId> = BTreeSet::new();
    let mut skipped: Vec<(ProfileId, String)> = Vec::new();
    for provider in providers {
        let order = order::effective(&Query {
            provider,
            model: None,
            preferred: None,
            store: &agent.store,
            state: &agent.state,
            routing: &config.routing,
            now,
        });
        used.extend(order.ids);
        skipped.extend(
            order
                .skipped
                .into_iter()
                .map(|(id, why)| (id, why.text().to_owned())),
        );
    }
    let inactive = |profile: &Profile| {
        if used.contains(&profile.id) {
            return None;
        }
        let why = skipped
            .iter()
            .find(|(id, _)| *id == profile.id)
            .map(|(_, why)| why.clone());
        Some(why.unwrap_or_else(|| "the profile is not in the order of its provider".to_owned()))
    };
    let file: Arc<str> = agent.store.name().into();
    let place = |(profile, reference): (&Profile, &SecretRef)| Place {
        agent: Some(agent.id.clone()),
        owner: format!("{}: {}", agent.id, profile.id).into(),
        file: file.clone(),
        reference: Ok(reference.clone()),
        inactive: inactive(profile),
        optional: profile.optional,
    };
    let plain = agent.store.plaintext().into_iter().map(|found| Place {
        agent: Some(agent.id.clone()),
        owner: format!("{}: {} ({})", agent.id, found.profile, found.field).into(),
        file: file.clone(),
        reference: Err(plaintext(found.shadowed)),
        inactive: None,
        optional: true,
    });
    agent.store.refs().map(place).chain(plain).collect()
}

#[cfg(test)]
mod tests;
