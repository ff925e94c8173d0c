//! Logins of other programs, imported on request: Codex, Claude Code, AgentOS. Those of fast-agent
//! come from the keyring ([`super::fast_agent`]).
//!
//! The files are only ever read: these programs know no refs, and would be signed out. So a
//! refresh token that is imported has two owners, and whoever asked for it is told.

use super::entry::{self, Credential};
use super::fast_agent::{Entry, Moving, ServerLogin};
use super::ours::Own;
use super::theirs::Edited;
use super::{Left, Work};
use crate::apply::{Shown, site};
use crate::config::{Config, Path};
use crate::error::{Code, Failure};
use crate::family::Environment;
use crate::name::{AgentId, ProfileId, RecordName};
use crate::oauth::claims::Claims;
use crate::oauth::{AccessToken, Identity};
use crate::plan::ProfileField;
use crate::profile::{ProfileType, normal_provider};
use crate::reference::SecretRef;
use crate::secret::SecretValue;
use crate::time::UnixMs;
use crate::token_store::AGENTOS_FOLDERS;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

/// The most token files of AgentOS in one folder.
pub const MAX_TOKEN_FILES: usize = 256;
/// How long an access token of Codex is taken to be good for that does not say it itself.
const CODEX_LIFE: Duration = Duration::from_secs(3600);

/// A program whose login is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// `auth.json` of the Codex CLI.
    Codex,
    /// `.credentials.json` of Claude Code.
    Claude,
    /// The token files of AgentOS, in both of its folders.
    AgentOs,
}

impl Of {
    /// What people call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Of::Codex => "Codex",
            Of::Claude => "Claude Code",
            Of::AgentOs => "AgentOS",
        }
    }
}

/// The logins that were found.
#[derive(Default)]
pub struct Logins {
    pub(super) found: Vec<Login>,
    pub(super) left: Vec<Left>,
    /// Those of MCP servers.
    pub(super) servers: Vec<ServerLogin>,
}

pub(super) struct Login {
    /// Whose file it is, which stays; `None` for an entry of the keyring.
    pub(super) of: Option<Of>,
    pub(super) path: PathBuf,
    pub(super) id: ProfileId,
    pub(super) credential: Credential,
    /// The entry, which goes.
    pub(super) entry: Option<Entry>,
}

impl Logins {
    /// Reads the logins of these programs.
    ///
    /// # Errors
    /// `folder.absent` for a program that has none; `config.invalid` with the place in a file that
    /// is no JSON; `file.*`.
    pub fn read(programs: &[Of], env: Environment<'_>, config: &Config) -> Result<Self, Failure> {
        let mut logins = Self::default();
        for of in programs {
            let paths = files(*of, env);
            let there: Vec<&PathBuf> = paths.iter().filter(|path| path.exists()).collect();
            if there.is_empty() {
                let places: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
                let (of, places) = (of.as_str(), places.join(" or "));
                let text = format!(
                    "there is no login of {of}: nothing in {places} (one in a keyring is not read)"
                );
                return Err(Failure::new(Code::FolderAbsent, text));
            }
            for path in there {
                match of {
                    Of::Codex => logins.codex(path, config)?,
                    Of::Claude => logins.claude(path, config)?,
                    Of::AgentOs => logins.agentos(path, config)?,
                }
            }
        }
        Ok(logins)
    }

    /// True if there is nothing to import and nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty() && self.left.is_empty() && self.servers.is_empty()
    }

    fn codex(&mut self, path: &FilePath, config: &Config) -> Result<(), Failure> {
        let Some(file) = json_of(path)? else {
            return Ok(());
        };
        if file["tokens"].is_object() {
            let mut entry = renamed(
                &file["tokens"],
                &[
                    ("access_token", "access"),
                    ("refresh_token", "refresh"),
                    ("id_token", "idToken"),
                    ("account_id", "accountId"),
                ],
            );
            let access = entry::text(&entry, "access").unwrap_or_default();
            let access = AccessToken::from(SecretValue::copy_of(access.as_bytes()));
            let claims = Claims::peek(access.secret());
            let ends = claims.and_then(|claims| claims.expires_at());
            let ends = ends.unwrap_or_else(|| written(path).plus(CODEX_LIFE));
            entry.insert("expires".to_owned(), ends.0.into());
            self.add(Of::Codex, path, "openai-codex:codex-cli", &entry, config);
        }
        if file["OPENAI_API_KEY"].is_string() {
            let entry = renamed(&file, &[("OPENAI_API_KEY", "key")]);
            self.add(Of::Codex, path, "openai:codex-cli", &entry, config);
        }
        for other in ["personal_access_token", "agent_identity"] {
            if !file[other].is_null() {
                let place = format!("{}: {other}", path.display());
                let why = "it is not known to this version";
                self.left.push(Left::new(place, why));
            }
        }
        Ok(())
    }

    fn claude(&mut self, path: &FilePath, config: &Config) -> Result<(), Failure> {
        let Some(file) = json_of(path)? else {
            return Ok(());
        };
        let names = [
            ("accessToken", "access"),
            ("refreshToken", "refresh"),
            ("expiresAt", "expires"),
        ];
        let entry = renamed(&file["claudeAiOauth"], &names);
        self.add(Of::Claude, path, "anthropic:claude-cli", &entry, config);
        Ok(())
    }

    /// What AgentOS itself would read: an access token and its end.
    fn agentos(&mut self, path: &FilePath, config: &Config) -> Result<(), Failure> {
        let shown = path.display().to_string();
        let file = match json_of(path) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(()),
            Err(failure) => {
                self.left.push(Left::new(shown, failure.message));
                return Ok(());
            }
        };
        if !file["accessToken"].is_string() || !file["expiresAt"].is_number() {
            let why = "it is no token file: accessToken is no text, or expiresAt no number";
            self.left.push(Left::new(shown, why));
            return Ok(());
        }
        let names = [
            ("accessToken", "access"),
            ("refreshToken", "refresh"),
            ("idToken", "idToken"),
            ("expiresAt", "expires"),
        ];
        let entry = renamed(&file, &names);
        // The name of the file has lost what AgentOS does not take into one; ours says it whole.
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let provider = file["providerId"].as_str().unwrap_or(&stem);
        let provider = normal_provider(provider);
        let same =
            |login: &&Login| login.of == Some(Of::AgentOs) && login.id.provider() == provider;
        let id = match self.found.iter().filter(same).count() {
            0 => format!("{provider}:agentos"),
            n => format!("{provider}:agentos-{}", n + 1),
        };
        self.add(Of::AgentOs, path, &id, &entry, config);
        Ok(())
    }

    fn add(
        &mut self,
        of: Of,
        path: &FilePath,
        id: &str,
        entry: &Map<String, Value>,
        config: &Config,
    ) {
        let place = format!("{}: {id}", path.display());
        let Ok(id) = id.parse::<ProfileId>() else {
            let why = "its name is that of no provider";
            return self.left.push(Left::new(place, why));
        };
        match read(&id, entry, written(path), config) {
            Ok(credential) => self.found.push(Login {
                of: Some(of),
                path: path.to_path_buf(),
                id,
                credential,
                entry: None,
            }),
            Err(why) => self.left.push(Left::new(place, why)),
        }
    }
}

/// The files that hold the logins, there or not.
fn files(of: Of, env: Environment<'_>) -> Vec<PathBuf> {
    let path = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = |below: &str| path("HOME").map(|home| home.join(below));
    let one = |dir: Option<PathBuf>, name: &str| dir.map(|dir| dir.join(name));
    match of {
        Of::Codex => {
            let dir = path("CODEX_HOME").or_else(|| home(".codex"));
            one(dir, "auth.json").into_iter().collect()
        }
        Of::Claude => {
            let dir = path("CLAUDE_SECURESTORAGE_CONFIG_DIR");
            let dir = dir.or_else(|| path("CLAUDE_CONFIG_DIR"));
            let dir = dir.or_else(|| home(".claude"));
            one(dir, ".credentials.json").into_iter().collect()
        }
        Of::AgentOs => {
            let folders = AGENTOS_FOLDERS.iter().filter_map(|folder| home(folder));
            folders.flat_map(|folder| token_files(&folder)).collect()
        }
    }
}

/// The token files of a folder of AgentOS; the folder itself if there is none.
fn token_files(folder: &FilePath) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let is_json = |path: &PathBuf| path.extension().is_some_and(|end| end == "json");
    let mut paths: Vec<PathBuf> = paths.filter(is_json).collect();
    paths.sort();
    paths.truncate(MAX_TOKEN_FILES);
    if paths.is_empty() {
        paths.push(folder.join("*.json"));
    }
    paths
}

fn json_of(path: &FilePath) -> Result<Option<Value>, Failure> {
    let bytes = site::read(path)?;
    let document = bytes.map(|bytes| site::parse(path, &bytes)).transpose()?;
    Ok(document.map(|document| document.value().clone()))
}

/// Members under the names that the family has for them.
fn renamed(value: &Value, names: &[(&str, &str)]) -> Map<String, Value> {
    let member = |(from, to): &(&str, &str)| {
        let value = value.get(*from).filter(|value| !value.is_null())?;
        Some(((*to).to_owned(), value.clone()))
    };
    names.iter().filter_map(member).collect()
}

fn read(
    id: &ProfileId,
    entry: &Map<String, Value>,
    written: UnixMs,
    config: &Config,
) -> Result<Credential, String> {
    let mut entry = entry.clone();
    // Without a refresh token it is a token that ends.
    if !entry.contains_key("refresh")
        && let Some(access) = entry.remove("access")
    {
        entry.insert("token".to_owned(), access);
        entry.remove("idToken");
    }
    let mut credential = entry::read(id.provider(), &entry, config)?;
    if let Credential::Account(account) = &mut credential {
        // Not due before its time: a refresh would sign the other program out.
        account.obtained_at = written;
    }
    Ok(credential)
}

/// When a file was last written; 1970 if nobody knows.
fn written(path: &FilePath) -> UnixMs {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    let since = modified
        .ok()
        .and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    UnixMs(0).plus(since.unwrap_or_default())
}

impl Login {
    /// The type of its profile, and the member that holds the ref.
    fn kind(&self) -> (ProfileType, &'static str) {
        match &self.credential {
            Credential::Account(_) => (ProfileType::OAuth, "oauthRef"),
            Credential::Static { kind, .. } if *kind == ProfileType::ApiKey => (*kind, "keyRef"),
            Credential::Static { kind, .. } => (*kind, "tokenRef"),
        }
    }

    fn profile(&self, kind: ProfileType, field: &str, reference: &SecretRef) -> Value {
        let mut new = json!({"type": kind.as_str(), "provider": self.id.provider()});
        new[field] = reference.to_json();
        match &self.credential {
            Credential::Static { expires, .. } => {
                if let Some(end) = expires {
                    new["expires"] = end.0.into();
                }
            }
            Credential::Account(account) => {
                let Identity {
                    email, account_id, ..
                } = &account.identity;
                for (key, text) in [("email", email), ("accountId", account_id)] {
                    if let Some(text) = text {
                        new[key] = text.as_str().into();
                    }
                }
            }
        }
        new
    }

    /// What its second owner means.
    fn owners(&self, of: Of) -> String {
        format!(
            "{} keeps this login of {}, and is never written: its refresh token has two owners \
             now, and the first of them to refresh signs the other out; stop using one of them",
            self.path.display(),
            of.as_str()
        )
    }
}

impl Work<'_> {
    /// Adds the logins to this program's profiles of `main`.
    pub(super) fn logins(&mut self, file: &mut Edited, own: &mut Own) -> Result<(), Failure> {
        let logins = self.wish.logins;
        own.left.extend(logins.left.iter().cloned());
        for login in &logins.found {
            match self.login(login, file, own)? {
                Ok(record) => {
                    let entry = login.entry.clone();
                    own.entries
                        .extend(entry.map(|entry| Moving { entry, record }));
                }
                Err(why) => {
                    let place = format!("{}: {}", login.path.display(), login.id);
                    own.left.push(Left::new(place, why));
                }
            }
        }
        Ok(())
    }

    /// The record that has it; in words, why it stays.
    fn login(
        &mut self,
        login: &Login,
        file: &mut Edited,
        own: &mut Own,
    ) -> Result<Result<RecordName, String>, Failure> {
        let (main, id) = (AgentId::main(), &login.id);
        let (name, account) = match &login.credential {
            Credential::Static { .. } => (RecordName::for_profile(id), None),
            Credential::Account(account) => (
                self.account_name(&main, id, account),
                Some(account.as_ref()),
            ),
        };
        let Ok(base) = name else {
            return Ok(Err("its name is too long for a record".to_owned()));
        };
        let value = match &login.credential {
            Credential::Static { value, .. } => value.clone(),
            Credential::Account(account) => account.to_secret(),
        };
        let name = self.free_name(&base, &value, account)?;
        let reference = SecretRef::to_record(&name);
        let at = Path::of_keys(["profiles", id.as_str()]);
        let (kind, field) = login.kind();
        let old = file.document.get(&at);
        let is_there = old.is_some();
        if old.is_some_and(|old| old.get(field) != Some(&reference.to_json())) {
            return Ok(Err(format!(
                "profile {id} is there and holds another credential; forget it first \
                 (`reseal models auth logout {id} --local-only`)"
            )));
        }
        if is_there && self.there.contains_key(&name) {
            return Ok(Ok(name));
        }
        // No copy of it in the other runtime's folder becomes a ref: its owner stays as it is.
        let before = self.moved.len();
        let place = super::profile_place(&main, id, ProfileField::Token);
        self.seal(&base, place, login.credential.clone())?;
        let values = self.moved.split_off(before);
        self.kept
            .extend(values.into_iter().map(|moved| moved.value));
        if let (Some(_), Some(of)) = (account, login.of) {
            own.warnings.push(login.owners(of));
        }
        if !is_there {
            let new = login.profile(kind, field, &reference);
            file.document.set(&at, new)?;
            file.note(id.to_string(), Shown::Nothing, Shown::Ref(reference));
        }
        own.profiles.push((main, id.clone()));
        Ok(Ok(name))
    }
}
