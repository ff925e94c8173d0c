//! `secrets.providers.<alias>`: the configured sources, with every option and limit of the family.

use super::Trust;
use super::wire::{Fields, MAX_TEXT, is_absolute};
use crate::reference::{Source, is_env_name};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most names in the `allowlist` of an `env` provider.
pub const MAX_ALLOWLIST: usize = 256;
/// The longest `timeoutMs` and `noOutputTimeoutMs`.
pub const MAX_TIMEOUT: Duration = Duration::from_millis(120_000);
/// `timeoutMs` unless the config says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_millis(5000);
/// The largest `maxBytes` and `maxOutputBytes`.
pub const MAX_BYTES: u64 = 20 << 20;
/// `maxBytes` and `maxOutputBytes` unless the config says otherwise.
pub const DEFAULT_BYTES: u64 = 1 << 20;
/// The most `args` of an exec provider.
pub const MAX_ARGS: usize = 128;
/// The longest of them in characters.
pub const MAX_ARG: usize = 1024;
/// The most names in `passEnv`, and entries in `env`.
pub const MAX_PASS_ENV: usize = 128;
/// The most folders in `trustedDirs`.
pub const MAX_TRUSTED_DIRS: usize = 64;
/// The most `retries` of an exec provider.
pub const MAX_RETRIES: u64 = 5;
/// The longest `cacheTtlMs` of an exec provider: a day.
pub const MAX_CACHE_TTL: Duration = Duration::from_secs(86_400);

/// A configured source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderConfig {
    /// `"source": "env"`.
    Env(EnvProvider),
    /// `"source": "file"`.
    File(FileProvider),
    /// `"source": "exec"`.
    Exec(ExecProvider),
    /// `"source": "vault"`.
    Vault(VaultProvider),
}

impl ProviderConfig {
    /// The kind of place.
    pub fn source(&self) -> Source {
        match self {
            ProviderConfig::Env(_) => Source::Env,
            ProviderConfig::File(_) => Source::File,
            ProviderConfig::Exec(_) => Source::Exec,
            ProviderConfig::Vault(_) => Source::Vault,
        }
    }
}

/// The environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvProvider {
    /// The names that may be read; `None` = any.
    pub allowlist: Option<Vec<String>>,
}

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileMode {
    /// A JSON object; ids are pointers into it.
    Json,
    /// The whole file is the value; the id is `value`. One trailing line end is dropped.
    SingleValue,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProvider {
    /// The file.
    pub path: UserPath,
    /// How it is read.
    pub mode: FileMode,
    /// The longest that reading may take.
    pub timeout: Duration,
    /// The largest file in bytes.
    pub max_bytes: u64,
    /// Skips the mode and owner checks.
    pub allow_insecure_path: bool,
}

/// A command that speaks the exec protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecProvider {
    /// The program; absolute.
    pub command: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The longest that one run may take.
    pub timeout: Duration,
    /// The longest silence on stdout and stderr.
    pub no_output_timeout: Duration,
    /// The most bytes of stdout and stderr together.
    pub max_output_bytes: u64,
    /// False: with exactly one id, raw output is the value.
    pub json_only: bool,
    /// Variables with literal values.
    pub env: LiteralEnv,
    /// Variables passed on from our environment, where set.
    pub pass_env: Vec<String>,
    /// The folders that the command must lie in; empty = anywhere.
    pub trusted_dirs: Vec<PathBuf>,
    /// Checks the target of a symlink instead of refusing it.
    pub allow_symlink_command: bool,
    /// Skips the mode and owner checks.
    pub allow_insecure_path: bool,
    /// How often a failed run is tried again.
    pub retries: u32,
    /// How long the daemon may use an answer again; zero = not at all.
    pub cache_ttl: Duration,
}

/// A vault file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaultProvider {
    /// The file; `None` = the state folder's own vault.
    pub path: Option<UserPath>,
    /// The age identity file that opens it.
    pub identity: Option<UserPath>,
}

/// Names and literal values of variables. `Debug` shows the names only: a value may be a secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LiteralEnv(pub Vec<(String, String)>);

impl fmt::Debug for LiteralEnv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// A path as written: absolute, or `~/…` in the home of whoever uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserPath(String);

impl UserPath {
    /// `None` if the text is neither absolute nor starts with `~/`.
    pub fn new(text: &str) -> Option<Self> {
        let absolute = text.strip_prefix('~').unwrap_or(text);
        is_absolute(absolute).then(|| Self(text.to_owned()))
    }

    /// The path, with `~` replaced; `None` if that needs a home and there is none.
    pub fn expand(&self, home: Option<&Path>) -> Option<PathBuf> {
        match self.0.strip_prefix("~/") {
            Some(rest) => home.map(|home| home.join(rest.trim_start_matches('/'))),
            None => Some(PathBuf::from(&self.0)),
        }
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an entry of `secrets.providers` gave.
pub(super) enum Parsed {
    Provider(ProviderConfig),
    /// A family source that this program does not have.
    Unsupported(&'static str),
    /// Errors were noted.
    Nothing,
}

pub(super) fn parse(fields: &Fields<'_>, trust: Trust) -> Parsed {
    let parsed = match fields.text("source") {
        Some("env") => env(fields, trust).map(ProviderConfig::Env),
        Some("file") => file(fields, trust).map(ProviderConfig::File),
        Some("vault") => vault(fields, trust).map(ProviderConfig::Vault),
        Some("exec") if fields.value("pluginIntegration").is_some() => {
            return Parsed::Unsupported("it runs a plugin of another runtime");
        }
        Some("exec") => exec(fields, trust).map(ProviderConfig::Exec),
        Some("store") => return Parsed::Unsupported("its source is another runtime's own store"),
        Some(_) => {
            fields.fail("source", "is none of vault, env, file, exec");
            None
        }
        None => {
            if fields.value("source").is_none() {
                fields.fail("source", "is missing");
            }
            None
        }
    };
    parsed.map_or(Parsed::Nothing, Parsed::Provider)
}

fn env(fields: &Fields<'_>, trust: Trust) -> Option<EnvProvider> {
    fields.only(&["source", "allowlist"]);
    if trust == Trust::Project && fields.value("allowlist").is_none() {
        fields.fail(
            "allowlist",
            "is missing; a project's config can't open the whole environment",
        );
    }
    let allowlist = fields.texts("allowlist", MAX_ALLOWLIST, "an env name", is_env_name);
    Some(EnvProvider { allowlist })
}

fn file(fields: &Fields<'_>, trust: Trust) -> Option<FileProvider> {
    fields.only(&[
        "source",
        "path",
        "mode",
        "timeoutMs",
        "maxBytes",
        "allowInsecurePath",
    ]);
    let mode = match fields.text("mode") {
        None | Some("json") => FileMode::Json,
        Some("singleValue") => FileMode::SingleValue,
        Some(_) => {
            fields.fail("mode", "is neither json nor singleValue");
            return None;
        }
    };
    let allow_insecure_path = fields.flag("allowInsecurePath").unwrap_or(false);
    if trust == Trust::Project && allow_insecure_path {
        fields.fail("allowInsecurePath", "is not allowed in a project's config");
    }
    if fields.value("path").is_none() {
        fields.fail("path", "is missing");
    }
    Some(FileProvider {
        path: user_path(fields, "path")?,
        mode,
        timeout: timeout(fields, "timeoutMs").unwrap_or(DEFAULT_TIMEOUT),
        max_bytes: fields
            .number("maxBytes", 1, MAX_BYTES)
            .unwrap_or(DEFAULT_BYTES),
        allow_insecure_path,
    })
}

fn vault(fields: &Fields<'_>, trust: Trust) -> Option<VaultProvider> {
    fields.only(&["source", "path", "identity"]);
    if trust == Trust::Project && fields.value("identity").is_some() {
        fields.fail("identity", "is not allowed in a project's config");
    }
    Some(VaultProvider {
        path: user_path(fields, "path"),
        identity: user_path(fields, "identity"),
    })
}

const EXEC_KEYS: &[&str] = &[
    "source",
    "command",
    "args",
    "timeoutMs",
    "noOutputTimeoutMs",
    "maxOutputBytes",
    "jsonOnly",
    "env",
    "passEnv",
    "trustedDirs",
    "allowSymlinkCommand",
    "allowInsecurePath",
    "retries",
    "cacheTtlMs",
];

fn exec(fields: &Fields<'_>, trust: Trust) -> Option<ExecProvider> {
    fields.only(EXEC_KEYS);
    if trust == Trust::Project {
        fields.fail(
            "command",
            "is not allowed: a project's config defines no exec provider",
        );
        return None;
    }
    let timeout_of_run = timeout(fields, "timeoutMs").unwrap_or(DEFAULT_TIMEOUT);
    let cache_max = u64::try_from(MAX_CACHE_TTL.as_millis()).unwrap_or(u64::MAX);
    let retries = fields.number("retries", 0, MAX_RETRIES).unwrap_or(0);
    Some(ExecProvider {
        command: command(fields)?,
        args: arguments(fields),
        timeout: timeout_of_run,
        no_output_timeout: timeout(fields, "noOutputTimeoutMs").unwrap_or(timeout_of_run),
        max_output_bytes: fields
            .number("maxOutputBytes", 1, MAX_BYTES)
            .unwrap_or(DEFAULT_BYTES),
        json_only: fields.flag("jsonOnly").unwrap_or(true),
        env: literal_env(fields),
        pass_env: fields
            .texts("passEnv", MAX_PASS_ENV, "an env name", is_env_name)
            .unwrap_or_default(),
        trusted_dirs: fields
            .absolute_paths("trustedDirs", MAX_TRUSTED_DIRS)
            .unwrap_or_default(),
        allow_symlink_command: fields.flag("allowSymlinkCommand").unwrap_or(false),
        allow_insecure_path: fields.flag("allowInsecurePath").unwrap_or(false),
        retries: u32::try_from(retries).unwrap_or(0),
        cache_ttl: Duration::from_millis(fields.number("cacheTtlMs", 0, cache_max).unwrap_or(0)),
    })
}

/// The `command` of an exec provider or a hook: absolute, without a character that a shell or a
/// log could take for more than a path.
pub(super) fn command(fields: &Fields<'_>) -> Option<PathBuf> {
    if fields.value("command").is_none() {
        fields.fail("command", "is missing");
        return None;
    }
    let text = fields.text("command")?;
    if text.contains([';', '&', '|', '$', '<', '>', '`', '"', '\'']) {
        fields.fail("command", "is unsafe: none of ; & | $ < > ` and no quotes");
        return None;
    }
    if !is_absolute(text) {
        fields.fail("command", "is not an absolute path");
        return None;
    }
    Some(PathBuf::from(text))
}

/// The `args` of an exec provider or a hook.
pub(super) fn arguments(fields: &Fields<'_>) -> Vec<String> {
    let rule = "a string of at most 1024 characters without NUL";
    let fits = |text: &str| text.chars().count() <= MAX_ARG && !text.contains('\0');
    fields
        .texts("args", MAX_ARGS, rule, fits)
        .unwrap_or_default()
}

fn literal_env(fields: &Fields<'_>) -> LiteralEnv {
    let Some(env) = fields.object("env") else {
        return LiteralEnv::default();
    };
    if env.entries().count() > MAX_PASS_ENV {
        fields.fail("env", format!("has more than {MAX_PASS_ENV} entries"));
    }
    let mut literal = Vec::new();
    for (name, value) in env.entries().take(MAX_PASS_ENV) {
        let name_ok = !name.is_empty() && !name.contains(['=', '\0']);
        let value = value
            .as_str()
            .filter(|value| value.len() <= MAX_TEXT && !value.contains('\0'));
        match value {
            Some(value) if name_ok => literal.push((name.clone(), value.to_owned())),
            _ => env.fail(name, format!("is not a string of at most {MAX_TEXT} bytes")),
        }
    }
    LiteralEnv(literal)
}

/// A whole number of milliseconds from 1 to [`MAX_TIMEOUT`].
pub(super) fn timeout(fields: &Fields<'_>, key: &str) -> Option<Duration> {
    let max = u64::try_from(MAX_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
    fields.number(key, 1, max).map(Duration::from_millis)
}

pub(super) fn user_path(fields: &Fields<'_>, key: &str) -> Option<UserPath> {
    let path = UserPath::new(fields.text(key)?);
    if path.is_none() {
        fields.fail(key, "is not an absolute path (~/ is allowed)");
    }
    path
}
