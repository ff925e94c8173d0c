//! Moving out: this program's own profiles as the family keeps them, in plaintext.
//!
//! The form: `auth-profiles.json`, version 1, and `auth-state.json` beside it, in the folders of a
//! state folder. Invariants: everything is drafted before anything is written; a value goes from
//! the vault into locked memory and from there into a file that is 0600 from its first byte; no
//! file that is there is written over; what can't be given in the family's form is named, never
//! left out silently.
//!
//! Deliberately not here: the config, whose providers and order the other runtime has of its own.

use crate::config::{Config, Document};
use crate::error::{Code, Failure};
use crate::name::{AgentId, ProfileId};
use crate::oauth::Account;
use crate::oauth::client::ClientAuth;
use crate::plan::Left;
use crate::profile::{Profile, ProfileType, Store};
use crate::reference::Source;
use crate::runtime::ground;
use crate::runtime::open_vault::OpenVault;
use crate::secret::SecretValue;
use crate::secret::json::{self, Part};
use crate::store::{StateDir, files, state_dir::make_private_folder};
use crate::vault::{RecordInfo, RecordKind};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What is to be written.
#[derive(Debug, Default)]
pub struct Export {
    /// The files, all of them new.
    pub files: Vec<NewFile>,
    /// The profiles that have their value in them.
    pub profiles: Vec<(AgentId, ProfileId)>,
    /// Those of them that are accounts with a refresh token: each has two owners afterwards.
    pub shared: Vec<(AgentId, ProfileId)>,
    /// What can't be given in the family's form, and what it has to have of its own.
    pub left: Vec<Left>,
}

/// A file that is to be made.
#[derive(Debug)]
pub struct NewFile {
    /// Whose it is.
    pub agent: AgentId,
    /// Where it goes.
    pub path: PathBuf,
    content: SecretValue,
}

/// The two files of each agent that has something to export, for the state folder `to`.
///
/// # Errors
/// `profiles.invalid` with the place; `vault.*`; `file.too_large` if a file would be.
pub fn draft(
    own: &StateDir,
    config: &Config,
    vault: &OpenVault,
    agents: &[AgentId],
    to: &StateDir,
) -> Result<Export, Failure> {
    let mut export = Export::default();
    for id in agents {
        let agent = ground::read_agent(own, id, &config.defaults)?;
        let document = Document::parse(agent.store.text(), agent.store.name())?;
        let root = document.value().as_object();
        let entries = root.and_then(|root| root.get("profiles")?.as_object());
        let mut work = Work {
            config,
            vault,
            agent: id,
            export: &mut export,
        };
        let mut profiles = Vec::new();
        for (name, value) in entries.into_iter().flatten() {
            if let Some(members) = work.profile(name, value, &agent.store)? {
                profiles.push((name.as_str(), members));
            }
        }
        if !profiles.is_empty() {
            let content = lay_out(root.unwrap_or(&Map::new()), &profiles);
            export.add(id, to.auth_profiles(id), content)?;
        }
        if !agent.state.is_empty() {
            let state = Document::parse(agent.state.text(), agent.state.name())?;
            let content = format!("{:#}\n", state.value());
            let content = SecretValue::copy_of(content.as_bytes());
            export.add(id, to.auth_state(id), content)?;
        }
    }
    Ok(export)
}

/// A member of a profile. A text is borrowed, so that plaintext which stands there already is not
/// copied.
enum Field<'a> {
    Text(&'a str),
    Json(String),
    Secret(SecretValue),
}

impl<'a> Field<'a> {
    fn of(value: &'a Value) -> Self {
        match value {
            Value::String(text) => Field::Text(text),
            other => Field::Json(format!("{other:#}")),
        }
    }

    fn part(&self) -> Part<'_> {
        match self {
            Field::Text(text) => Part::Text(text),
            Field::Json(json) => Part::Json(json),
            Field::Secret(value) => Part::Secret("", value),
        }
    }
}

type Members<'a> = Vec<(&'a str, Field<'a>)>;

/// The document of an agent: what stands beside the profiles stays.
fn lay_out(root: &Map<String, Value>, profiles: &[(&str, Members<'_>)]) -> SecretValue {
    let inner: Vec<Vec<(&str, Part<'_>)>> = profiles
        .iter()
        .map(|(_, members)| members.iter().map(|(name, f)| (*name, f.part())).collect())
        .collect();
    let entries: Vec<(&str, Part<'_>)> = profiles
        .iter()
        .zip(&inner)
        .map(|((id, _), members)| (*id, Part::Object(members)))
        .collect();
    let others: Vec<(&str, Field<'_>)> = root
        .iter()
        .filter(|(name, _)| !["version", "profiles"].contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), Field::of(value)))
        .collect();
    let mut members = vec![("version", Part::Json("1"))];
    members.extend(others.iter().map(|(name, field)| (*name, field.part())));
    members.push(("profiles", Part::Object(&entries)));
    json::object(&members)
}

struct Work<'a> {
    config: &'a Config,
    vault: &'a OpenVault,
    agent: &'a AgentId,
    export: &'a mut Export,
}

impl Work<'_> {
    /// A profile as it goes into the file; `None` if it does not.
    fn profile<'v>(
        &mut self,
        name: &str,
        value: &'v Value,
        store: &Store,
    ) -> Result<Option<Members<'v>>, Failure> {
        let id = name.parse::<ProfileId>().ok();
        let profile = id.and_then(|id| store.get(&id));
        let (Some(profile), Some(object)) = (profile, value.as_object()) else {
            self.leave(name, "it is no profile that this version knows");
            return Ok(None);
        };
        let members = match profile.kind.credential().reference() {
            Some(reference) if reference.source() == Source::Vault => {
                let Some(record) = self.config.own_record(reference) else {
                    let why = format!("it points at {reference}, which is in another vault");
                    self.leave(name, why);
                    return Ok(None);
                };
                match self.vault.get(&record, None) {
                    Ok((info, value)) => self.filled(profile, object, &info, value)?,
                    Err(failure) if failure.code == Code::RecordAbsent => Err(failure.message),
                    Err(failure) => return Err(failure),
                }
            }
            Some(reference) => {
                if reference.source() != Source::Env {
                    let why = format!(
                        "it keeps its ref, {reference}; that runtime's config has to define the \
                         provider {}",
                        reference.provider()
                    );
                    self.leave(name, why);
                }
                return Ok(Some(carried(object, &[])));
            }
            // Plaintext that was not sealed yet, or nothing: as it stands.
            None => return Ok(Some(carried(object, &[]))),
        };
        match members {
            Ok(members) => {
                let place = (self.agent.clone(), profile.id.clone());
                self.export.profiles.push(place);
                Ok(Some(members))
            }
            Err(why) => {
                self.leave(name, why);
                Ok(None)
            }
        }
    }

    /// A profile with the value that its ref leads to; why not, if it has no such form.
    fn filled<'v>(
        &mut self,
        profile: &Profile,
        object: &'v Map<String, Value>,
        info: &RecordInfo,
        value: SecretValue,
    ) -> Result<Result<Members<'v>, String>, Failure> {
        let kind = profile.kind.profile_type();
        if (kind == ProfileType::OAuth) != (info.kind == RecordKind::OAuth) {
            let (kind, name) = (kind.as_str(), &info.name);
            return Ok(Err(format!(
                "its type is {kind}, and the record {name} is of another kind"
            )));
        }
        let mut members = vec![("type", Field::Text(kind.as_str()))];
        let (field, old): (_, &[&str]) = match kind {
            ProfileType::OAuth => {
                let account = Account::from_secret(&value)?;
                self.account(profile, account, &mut members);
                // What the tokens don't say, the profile may.
                let mut rest = carried(object, &ACCOUNT_FIELDS);
                rest.retain(|(name, _)| members.iter().all(|(there, _)| there != name));
                members.extend(rest);
                return Ok(Ok(members));
            }
            ProfileType::ApiKey => ("key", &["key", "apiKey", "keyRef"]),
            ProfileType::Token => ("token", &["token", "tokenRef"]),
        };
        if std::str::from_utf8(value.expose()).is_err() {
            return Ok(Err(format!("the record {} is no text", info.name)));
        }
        members.push((field, Field::Secret(value)));
        members.extend(carried(object, old));
        let is_token = kind == ProfileType::Token;
        if let Some(end) = info.meta.expires_at.filter(|_| is_token)
            && !object.contains_key("expires")
        {
            members.push(("expires", Field::Json(end.0.to_string())));
        }
        Ok(Ok(members))
    }

    fn account(&mut self, profile: &Profile, account: Account, members: &mut Members<'_>) {
        let mut secret = |name, value: &SecretValue| {
            members.push((name, Field::Secret(value.clone())));
        };
        secret("access", account.access.secret());
        if let Some(token) = &account.refresh {
            secret("refresh", token.secret());
            let place = (self.agent.clone(), profile.id.clone());
            self.export.shared.push(place);
        }
        if let Some(token) = &account.id_token {
            secret("idToken", token.secret());
        }
        let json = |text: String| Field::Json(Value::from(text).to_string());
        if let Some(end) = account.expires_at {
            members.push(("expires", Field::Json(end.0.to_string())));
        }
        members.push(("clientId", json(account.client.client_id)));
        let identity = account.identity;
        for (name, text) in [
            ("accountId", identity.account_id),
            ("email", identity.email),
        ] {
            members.extend(text.map(|text| (name, json(text))));
        }
        if account.client.auth != ClientAuth::None {
            let why = "its client has a secret, for which the family's form has no place";
            self.leave(profile.id.as_str(), why);
        }
    }

    fn leave(&mut self, profile: &str, why: impl Into<String>) {
        let place = format!("{}: {profile}", self.agent);
        let why = why.into();
        self.export.left.push(Left::new(place, why));
    }
}

/// The fields of an account that its record takes the place of.
const ACCOUNT_FIELDS: [&str; 6] = [
    "oauthRef", "access", "refresh", "idToken", "expires", "clientId",
];

/// What of a profile stays as it is, known or not. Its type is written in today's spelling.
fn carried<'v>(object: &'v Map<String, Value>, replaced: &[&str]) -> Members<'v> {
    let is_replaced =
        |name: &str| replaced.contains(&name) || !replaced.is_empty() && is_type(name);
    object
        .iter()
        .filter(|(name, _)| !is_replaced(name))
        .map(|(name, value)| (name.as_str(), Field::of(value)))
        .collect()
}

fn is_type(name: &str) -> bool {
    ["type", "mode"].contains(&name)
}

impl Export {
    fn add(&mut self, agent: &AgentId, path: PathBuf, content: SecretValue) -> Result<(), Failure> {
        let max = files::MAX_STATE_FILE;
        if content.len() > max {
            let text = format!("{} would be larger than {max} bytes", path.display());
            return Err(Failure::new(Code::FileTooLarge, text));
        }
        let agent = agent.clone();
        self.files.push(NewFile {
            agent,
            path,
            content,
        });
        Ok(())
    }

    /// Writes the files, and the folders that are missing, 0700.
    ///
    /// # Errors
    /// `file.*`; `config.conflict` if somebody made a file meanwhile. Says how far it came.
    pub fn write(&self, to: &StateDir) -> Result<(), Failure> {
        for (done, file) in self.files.iter().enumerate() {
            file.write(to).map_err(|failure| {
                let text = format!(
                    "{}; {done} of {} files were written before",
                    failure.message,
                    self.files.len()
                );
                Failure::new(failure.code, text)
            })?;
        }
        Ok(())
    }
}

impl NewFile {
    fn write(&self, to: &StateDir) -> Result<(), Failure> {
        make_private_folder(to.root())?;
        make_private_folder(&to.agents())?;
        to.create_agent(&self.agent)?;
        Ok(files::write(&self.path, None, self.content.expose())?)
    }
}

/// Refuses a folder that holds a file of these agents already.
///
/// # Errors
/// `file.exists` naming the file.
pub fn check_free(to: &StateDir, agents: &[AgentId]) -> Result<(), Failure> {
    let paths = agents
        .iter()
        .flat_map(|agent| [to.auth_profiles(agent), to.auth_state(agent)]);
    for path in paths {
        if path.symlink_metadata().is_ok() {
            let text = format!("{} is there already; nothing was written", path.display());
            return Err(Failure::new(Code::FileExists, text));
        }
    }
    Ok(())
}

/// The git work tree that a folder lies in. `folder` is absolute, without symlinks and `..`.
pub fn work_tree(folder: &Path) -> Option<&Path> {
    let is_tree = |folder: &&Path| folder.join(".git").symlink_metadata().is_ok();
    folder.ancestors().find(is_tree)
}
