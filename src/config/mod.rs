//! `reseal.json`, or another runtime's config, as types that can't be wrong.
//!
//! | what | where |
//! | --- | --- |
//! | [`Document`]: the text, edited in place (re-exported from [`crate::document`]) | `document` |
//! | [`Config::read`]: every section that we use, all errors at once | here |
//! | [`ProviderConfig`]: the sources, with their limits | [`provider`] |
//! | [`VaultSection`], [`DaemonSection`]: our own sections | [`section`] |
//! | [`Config::grants`]: who beside the daemon's user may ask it | [`grants`] |
//! | [`Config::oauth_provider`]: `oauth.providers` over what is built in | `oauth` |
//! | [`Config::secret_inputs`]: every place where a secret belongs | [`inputs`], [`target`] |
//! | [`Models`](models::Models): which models are in use, and by which names | [`models`] |
//! | [`Config::default_text`]: what `init` writes | [`starter`] |
//!
//! Invariants: every error names file, line and path, and no value; unknown keys are errors in the
//! sections that are ours (`vault`, `daemon`, `grants`, `oauth.providers.*`, `secrets.providers.*`,
//! `secrets.defaults`, `secrets.resolution`) and are left alone elsewhere; nothing typed here holds
//! plaintext except an exec provider's literal `env`, which `Debug` does not show. Precedence,
//! activation and files are not here.
#![forbid(unsafe_code)]

mod cooldowns;
pub mod grants;
pub mod inputs;
pub mod models;
mod oauth;
pub mod provider;
pub mod section;
pub mod starter;
mod surface;
pub mod target;
mod wire;

pub use crate::document::{Document, DocumentError, MAX_DEPTH, MAX_DOCUMENT, Path, Segment};
pub use inputs::{Activity, Input};
pub use provider::{
    EnvProvider, ExecProvider, FileMode, FileProvider, LiteralEnv, ProviderConfig, UserPath,
    VaultProvider,
};
pub use section::{Confirm, DaemonSection, Hook, Share, VaultSection};
pub use wire::MAX_ERRORS;

use crate::error::{Code, Coded};
use crate::grants::Policy;
use crate::name::{Alias, ProfileId, RecordName};
use crate::oauth::provider::is_provider_id;
use crate::oauth::{Provider, builtin};
use crate::profile::Cooldowns;
use crate::profile::routing::{Configured, Mode, Routing, normal_provider};
use crate::reference::plan::{BATCH_BYTES, BATCH_REFS, BatchLimits};
use crate::reference::{Defaults, SecretRef, Source};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use wire::{Errors, Fields};

/// Whose config it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The user's own.
    Own,
    /// From a project folder: may name refs, but defines no exec provider, opens no allow-list, and
    /// says nothing about the vault, the daemon and where people sign in.
    Project,
}

/// How many providers run at once, and what one of them gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// `maxProviderConcurrency`: 4, at most 16.
    pub concurrency: usize,
    /// `maxRefsPerProvider` (512, at most 4096) and `maxBatchBytes` (256 KiB, at most 5 MiB).
    pub batch: BatchLimits,
}

impl Default for Resolution {
    fn default() -> Self {
        Self {
            concurrency: 4,
            batch: BatchLimits::default(),
        }
    }
}

/// A config, read.
#[derive(Clone, Default, PartialEq)]
pub struct Config {
    /// What errors call the file; empty for no file.
    pub file: String,
    /// `secrets.defaults`.
    pub defaults: Defaults,
    /// `secrets.providers`. Ask [`Config::provider`], which knows the implied ones.
    pub providers: BTreeMap<Alias, ProviderConfig>,
    /// `secrets.resolution`.
    pub resolution: Resolution,
    /// `auth.profiles` and `auth.order`.
    pub routing: Routing,
    /// `auth.cooldowns`.
    pub cooldowns: Cooldowns,
    /// `vault`.
    pub vault: VaultSection,
    /// `daemon`.
    pub daemon: DaemonSection,
    /// `grants`.
    pub grants: Policy,
    /// `oauth.providers`. Ask [`Config::oauth_provider`], which knows those that are built in.
    pub oauth_providers: BTreeMap<String, Provider>,
    unsupported: BTreeMap<Alias, &'static str>,
    env_names: BTreeMap<String, Vec<String>>,
    inputs: Vec<Input>,
}

/// The most names that `models.providers.<id>.env` and `oauth.providers.<id>.env` may hold.
pub const MAX_ENV_NAMES: usize = 16;

impl Config {
    /// Reads a document.
    ///
    /// # Errors
    /// Every error found, at most [`MAX_ERRORS`].
    pub fn read(document: &Document, trust: Trust) -> Result<Self, ConfigErrors> {
        let errors = Errors::new(document);
        let mut config = Config {
            file: document.name().to_owned(),
            ..Config::default()
        };
        if let Some(root) = Fields::new(&errors, document.value(), Path::root()) {
            config.read_secrets(&root, trust);
            config.read_auth(&root);
            config.read_env_names(&root);
            config.read_oauth(&root, trust);
            if let Some(fields) = root.object("vault") {
                config.vault = section::vault(&fields, trust);
            }
            if let Some(fields) = root.object("daemon") {
                config.daemon = section::daemon(&fields, trust);
            }
            if let Some(fields) = root.object("grants") {
                config.grants = grants::grants(&fields, trust, &config.defaults);
            }
            config.inputs = inputs::collect(document.value(), &config.defaults);
        }
        let found = errors.into_found();
        if found.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors(found))
        }
    }

    /// Parses and reads a text; `name` is what errors call the file.
    ///
    /// # Errors
    /// As [`Document::parse`] and [`Config::read`].
    pub fn parse(text: &str, name: &str, trust: Trust) -> Result<Self, ConfigErrors> {
        let document = Document::parse(text, name)?;
        Self::read(&document, trust)
    }

    /// The text of the config that `init` writes: commented, and valid as it stands.
    pub fn default_text() -> &'static str {
        starter::TEXT
    }

    /// The record of the state folder's own vault that a ref names, if it names one.
    pub fn own_record(&self, reference: &SecretRef) -> Option<RecordName> {
        if reference.source() != Source::Vault {
            return None;
        }
        let provider = self.provider(Source::Vault, reference.provider()).ok()?;
        match provider.as_ref() {
            ProviderConfig::Vault(vault) if vault.path.is_none() => reference.record(),
            _ => None,
        }
    }

    /// The provider that a ref of this source and alias goes to. `env` and `vault` refs with the
    /// default alias need no entry: they mean the whole environment and the state folder's vault.
    ///
    /// # Errors
    /// Not configured, configured with another source, or a kind that this program lacks.
    pub fn provider(
        &self,
        source: Source,
        alias: &Alias,
    ) -> Result<Cow<'_, ProviderConfig>, ConfigError> {
        if let Some(provider) = self.providers.get(alias) {
            if provider.source() == source {
                return Ok(Cow::Borrowed(provider));
            }
        } else if let Some(why) = self.unsupported.get(alias) {
            return Err(ConfigError::ProviderUnsupported {
                alias: alias.clone(),
                why,
            });
        }
        if alias == self.defaults.alias(source) || alias.as_str() == "default" {
            match source {
                Source::Env => return Ok(Cow::Owned(ProviderConfig::Env(EnvProvider::default()))),
                Source::Vault => {
                    return Ok(Cow::Owned(ProviderConfig::Vault(VaultProvider::default())));
                }
                Source::File | Source::Exec => {}
            }
        }
        Err(match self.providers.get(alias) {
            Some(provider) => ConfigError::ProviderMismatch {
                alias: alias.clone(),
                has: provider.source(),
                wants: source,
            },
            None => ConfigError::ProviderAbsent {
                alias: alias.clone(),
                wants: source,
            },
        })
    }

    /// Every place of the config where a secret belongs, in the order of the file.
    pub fn secret_inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// The variables that the config names for a provider: `oauth.providers.<id>.env`, else
    /// `models.providers.<id>.env`. `None`: the built-in table counts
    /// ([`crate::profile::env_names`]).
    pub fn env_names(&self, provider: &str) -> Option<&[String]> {
        self.env_names
            .get(&normal_provider(provider))
            .map(Vec::as_slice)
    }

    /// The OAuth provider of this id: as configured, else as built in.
    pub fn oauth_provider(&self, id: &str) -> Option<Provider> {
        let id = normal_provider(id);
        let configured = self.oauth_providers.get(&id).cloned();
        configured.or_else(|| builtin::get(&id))
    }

    /// Every OAuth provider, configured or built in, by id.
    pub fn all_oauth_providers(&self) -> Vec<Provider> {
        let built_in = builtin::all().into_iter().map(|p| (p.id.clone(), p));
        let mut all: BTreeMap<String, Provider> = built_in.collect();
        all.extend(self.oauth_providers.clone());
        all.into_values().collect()
    }

    fn read_secrets(&mut self, root: &Fields<'_>, trust: Trust) {
        let Some(secrets) = root.object("secrets") else {
            return;
        };
        if let Some(defaults) = secrets.object("defaults") {
            defaults.only(&["vault", "env", "file", "exec", "store"]);
            for source in Source::ALL {
                match defaults.text(source.as_str()).map(str::parse) {
                    Some(Ok(alias)) => self.defaults.set(source, alias),
                    Some(Err(_)) => defaults.fail(source.as_str(), "is not a provider alias"),
                    None => {}
                }
            }
        }
        if let Some(resolution) = secrets.object("resolution") {
            self.resolution = read_resolution(&resolution);
        }
        let Some(providers) = secrets.object("providers") else {
            return;
        };
        for (name, value) in providers.entries() {
            let path = providers.path().join(Segment::Key(name.as_str().into()));
            let Some(fields) = Fields::new(providers.errors(), value, path) else {
                continue;
            };
            let Ok(alias) = name.parse::<Alias>() else {
                providers.fail(name, "is not a provider alias, [a-z][a-z0-9_-]{0,63}");
                continue;
            };
            match provider::parse(&fields, trust) {
                provider::Parsed::Provider(provider) => {
                    self.providers.insert(alias, provider);
                }
                provider::Parsed::Unsupported(why) => {
                    self.unsupported.insert(alias, why);
                }
                provider::Parsed::Nothing => {}
            }
        }
    }

    fn read_auth(&mut self, root: &Fields<'_>) {
        let Some(auth) = root.object("auth") else {
            return;
        };
        if let Some(profiles) = auth.object("profiles") {
            for (name, _) in profiles.entries() {
                let Some(fields) = profiles.object(name) else {
                    continue;
                };
                let mode = fields.text("mode").and_then(|text| {
                    let mode = Mode::parse(text);
                    if mode.is_none() {
                        fields.fail("mode", "is none of api_key, token, oauth, aws-sdk");
                    }
                    mode
                });
                // An id that is no profile id can't be asked for, so nothing is lost with it.
                let Ok(id) = name.parse::<ProfileId>() else {
                    continue;
                };
                let provider = normal_provider(fields.text("provider").unwrap_or(id.provider()));
                let email = fields.text("email").map(str::to_owned);
                self.routing.profiles.push((
                    id,
                    Configured {
                        provider,
                        mode,
                        email,
                    },
                ));
            }
        }
        if let Some(fields) = auth.object("cooldowns") {
            self.cooldowns = cooldowns::read(&fields);
        }
        if let Some(order) = auth.object("order") {
            for (provider, _) in order.entries() {
                let ids = order.texts(provider, MAX_ORDER, "a string", |_| true);
                let ids = ids
                    .unwrap_or_default()
                    .into_iter()
                    .filter_map(|id| id.parse().ok());
                self.routing
                    .order
                    .insert(normal_provider(provider), ids.collect());
            }
        }
    }

    /// `models.providers.<id>.env`, where the family may have something else than a list.
    fn read_env_names(&mut self, root: &Fields<'_>) {
        let Some(providers) = root.object("models").and_then(|f| f.object("providers")) else {
            return;
        };
        for (name, value) in providers.entries().filter(|(_, value)| value.is_object()) {
            if value.get("env").is_some_and(Value::is_array) {
                let fields = providers.object(name);
                self.set_env_names(name, fields.and_then(|fields| env_names(&fields)));
            }
        }
    }

    fn read_oauth(&mut self, root: &Fields<'_>, trust: Trust) {
        let Some(providers) = root.object("oauth").and_then(|f| f.object("providers")) else {
            return;
        };
        if providers.entries().count() > MAX_OAUTH_PROVIDERS {
            let problem = format!("has more than {MAX_OAUTH_PROVIDERS} providers");
            providers.errors().add(providers.path(), problem);
        }
        for (name, _) in providers.entries().take(MAX_OAUTH_PROVIDERS) {
            let Some(fields) = providers.object(name) else {
                continue;
            };
            let id = normal_provider(name);
            if !is_provider_id(&id) {
                providers.fail(name, "is not a provider id, [a-z0-9][a-z0-9._-]{0,63}");
                continue;
            }
            self.set_env_names(name, env_names(&fields));
            let provider = oauth::provider(&fields, &id, trust, &self.defaults);
            if self.oauth_providers.insert(id, provider).is_some() {
                providers.fail(name, "is there twice, in another case");
            }
        }
    }

    fn set_env_names(&mut self, provider: &str, names: Option<Vec<String>>) {
        if let Some(names) = names {
            self.env_names.insert(normal_provider(provider), names);
        }
    }
}

fn env_names(fields: &Fields<'_>) -> Option<Vec<String>> {
    fields.texts("env", MAX_ENV_NAMES, "the name of a variable", is_variable)
}

/// The most entries of `oauth.providers`.
pub const MAX_OAUTH_PROVIDERS: usize = 256;

/// The most profiles that one provider's order may hold.
pub const MAX_ORDER: usize = 1024;

fn read_resolution(fields: &Fields<'_>) -> Resolution {
    fields.only(&[
        "maxProviderConcurrency",
        "maxRefsPerProvider",
        "maxBatchBytes",
    ]);
    let number = |key, max, default| {
        let value = fields
            .number(key, 1, max)
            .and_then(|n| usize::try_from(n).ok());
        value.unwrap_or(default)
    };
    Resolution {
        concurrency: number("maxProviderConcurrency", 16, 4),
        batch: BatchLimits {
            refs: number("maxRefsPerProvider", 4096, BATCH_REFS),
            bytes: number("maxBatchBytes", 5 << 20, BATCH_BYTES),
        },
    }
}

/// A name that `run` may set.
fn is_variable(name: &str) -> bool {
    let first_ok = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let rest_ok = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    first_ok && rest_ok && name.len() <= 128
}

/// Shows what can't hold a secret.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("file", &self.file)
            .field("defaults", &self.defaults)
            .field("providers", &self.providers)
            .field("routing", &self.routing)
            .field("vault", &self.vault)
            .field("daemon", &self.daemon)
            .field("inputs", &self.inputs)
            .finish_non_exhaustive()
    }
}

/// Why a config, or one place in it, was refused. Holds no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The text is not the JSON that is accepted.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Something that its place does not allow.
    #[error("{file}: line {line}: {} {problem}", shown(path))]
    Value {
        /// The file.
        file: String,
        /// The line, from 1; that of the object around it if nothing is there.
        line: usize,
        /// The path.
        path: Path,
        /// What is wrong.
        problem: String,
    },
    /// A ref names a provider that is not there.
    #[error("secret provider {:?} is not configured (source {wants})", alias.as_str())]
    ProviderAbsent {
        /// The alias.
        alias: Alias,
        /// The source of the ref.
        wants: Source,
    },
    /// A ref's source differs from its provider's.
    #[error("secret provider {:?} has source {has} but the ref asks for {wants}", alias.as_str())]
    ProviderMismatch {
        /// The alias.
        alias: Alias,
        /// What is configured.
        has: Source,
        /// The source of the ref.
        wants: Source,
    },
    /// A provider of a kind that only another runtime has.
    #[error("secret provider {:?} can't be used here: {why}", alias.as_str())]
    ProviderUnsupported {
        /// The alias.
        alias: Alias,
        /// What it is.
        why: &'static str,
    },
}

fn shown(path: &Path) -> String {
    if path.segments().is_empty() {
        "the whole".to_owned()
    } else {
        path.to_string()
    }
}

impl Coded for ConfigError {
    fn code(&self) -> Code {
        match self {
            ConfigError::Document(error) => error.code(),
            ConfigError::Value { .. } => Code::ConfigInvalid,
            ConfigError::ProviderAbsent { .. } | ConfigError::ProviderUnsupported { .. } => {
                Code::RefProviderAbsent
            }
            ConfigError::ProviderMismatch { .. } => Code::RefProviderMismatch,
        }
    }
}
crate::error::failure_from!(ConfigError);

/// Everything that is wrong with a config; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The errors, in the order of the sections; at least one.
    pub fn all(&self) -> &[ConfigError] {
        &self.0
    }
}

impl From<DocumentError> for ConfigErrors {
    fn from(error: DocumentError) -> Self {
        Self(vec![ConfigError::Document(error)])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if i > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl Coded for ConfigErrors {
    fn code(&self) -> Code {
        self.0.first().map_or(Code::Bug, Coded::code)
    }
}
crate::error::failure_from!(ConfigErrors);

#[cfg(test)]
mod tests;
