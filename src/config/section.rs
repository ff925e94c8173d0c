//! Our own sections, `vault` and `daemon`: strict, every unknown key is an error that names it.

use super::Trust;
use super::provider::{UserPath, arguments, command, timeout, user_path};
use super::wire::Fields;
use crate::time::{MAX_DURATION, parse_duration};
use std::path::PathBuf;
use std::time::Duration;

/// The most age plugins on the allow-list.
pub const MAX_PLUGINS: usize = 32;
/// The longest that a hook may run unless the config says otherwise.
pub const DEFAULT_HOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a person may think about a question unless the config says otherwise.
pub const DEFAULT_CONFIRM_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest that the config may say: clients wait for twice that.
pub const MAX_CONFIRM_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest that a yes may count again.
pub const MAX_CONFIRM_KEEP: Duration = Duration::from_secs(3600);

/// `vault`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaultSection {
    /// `path`: another vault file than the state folder's.
    pub path: Option<UserPath>,
    /// `autoSeal`: plaintext found in profiles is sealed at activation.
    pub auto_seal: bool,
    /// `expectFingerprint`: the fingerprint that the vault must have.
    pub expect_fingerprint: Option<String>,
    /// `allowNetworkFs`: the vault may lie on a network file system.
    pub allow_network_fs: bool,
    /// `plugins`: absolute paths of the age plugins that may be run.
    pub plugins: Vec<PathBuf>,
    /// `ttl` (like `12h`): how long `vault unlock` keeps the vault open.
    pub ttl: Option<Duration>,
    /// `idle` (like `30m`): after how long without a request it is locked.
    pub idle: Option<Duration>,
}

/// `daemon`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DaemonSection {
    /// `ttlMs`: the same as `vault.ttl`, for the daemon that a service manager starts.
    pub ttl: Option<Duration>,
    /// `idleMs`: the same as `vault.idle`, for that daemon.
    pub idle: Option<Duration>,
    /// `socket`: another path than the state folder's.
    pub socket: Option<UserPath>,
    /// `share`: who can reach the socket.
    pub share: Share,
    /// `hooks.onChange`: run after a value in use changed.
    pub on_change: Option<Hook>,
    /// `confirm`: asks a person where a grant wants that.
    pub confirm: Option<Confirm>,
}

/// Who can reach the daemon's socket. What they get there, the grants decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// The daemon's own user.
    #[default]
    Own,
    /// The group of the socket's folder too.
    Group,
    /// Every user of the machine.
    Everyone,
}

/// A command that is run after something happened. It gets no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The program; absolute.
    pub command: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The longest that it may run.
    pub timeout: Duration,
}

/// A program that asks a person a question, and says yes by its exit status 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confirm {
    /// The program; absolute.
    pub command: PathBuf,
    /// Its arguments before the question.
    pub args: Vec<String>,
    /// How long a person may think.
    pub timeout: Duration,
    /// How long a yes counts for the same process and refs; zero = for that one request.
    pub keep: Duration,
}

pub(super) fn vault(fields: &Fields<'_>, trust: Trust) -> VaultSection {
    refuse_project(fields, trust);
    fields.only(&[
        "path",
        "autoSeal",
        "expectFingerprint",
        "allowNetworkFs",
        "plugins",
        "ttl",
        "idle",
    ]);
    VaultSection {
        path: user_path(fields, "path"),
        auto_seal: fields.flag("autoSeal").unwrap_or(false),
        expect_fingerprint: fields.text("expectFingerprint").map(str::to_owned),
        allow_network_fs: fields.flag("allowNetworkFs").unwrap_or(false),
        plugins: fields
            .absolute_paths("plugins", MAX_PLUGINS)
            .unwrap_or_default(),
        ttl: duration(fields, "ttl"),
        idle: duration(fields, "idle"),
    }
}

pub(super) fn daemon(fields: &Fields<'_>, trust: Trust) -> DaemonSection {
    refuse_project(fields, trust);
    fields.only(&["ttlMs", "idleMs", "socket", "share", "hooks", "confirm"]);
    let hooks = fields.object("hooks");
    if let Some(hooks) = &hooks {
        hooks.only(&["onChange"]);
    }
    DaemonSection {
        ttl: millis(fields, "ttlMs"),
        idle: millis(fields, "idleMs"),
        socket: user_path(fields, "socket"),
        share: share(fields),
        on_change: hooks
            .and_then(|hooks| hooks.object("onChange"))
            .and_then(|f| hook(&f)),
        confirm: fields.object("confirm").and_then(|f| confirm(&f)),
    }
}

fn share(fields: &Fields<'_>) -> Share {
    match fields.text("share") {
        None | Some("own") => Share::Own,
        Some("group") => Share::Group,
        Some("everyone") => Share::Everyone,
        Some(_) => {
            fields.fail("share", "is none of own, group, everyone");
            Share::Own
        }
    }
}

fn hook(fields: &Fields<'_>) -> Option<Hook> {
    fields.only(&["command", "args", "timeoutMs"]);
    Some(Hook {
        command: command(fields)?,
        args: arguments(fields),
        timeout: timeout(fields, "timeoutMs").unwrap_or(DEFAULT_HOOK_TIMEOUT),
    })
}

fn confirm(fields: &Fields<'_>) -> Option<Confirm> {
    fields.only(&["command", "args", "timeoutMs", "keepMs"]);
    let limited = |key, least, most: Duration| {
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        fields.number(key, least, most).map(Duration::from_millis)
    };
    Some(Confirm {
        command: command(fields)?,
        args: arguments(fields),
        timeout: limited("timeoutMs", 1, MAX_CONFIRM_TIMEOUT).unwrap_or(DEFAULT_CONFIRM_TIMEOUT),
        keep: limited("keepMs", 0, MAX_CONFIRM_KEEP).unwrap_or_default(),
    })
}

/// A project's config says nothing about the user's vault and daemon.
pub(super) fn refuse_project(fields: &Fields<'_>, trust: Trust) {
    if trust == Trust::Project {
        fields
            .errors()
            .add(fields.path(), "is not allowed in a project's config");
    }
}

fn duration(fields: &Fields<'_>, key: &str) -> Option<Duration> {
    match parse_duration(fields.text(key)?) {
        Ok(duration) if !duration.is_zero() => Some(duration),
        Ok(_) => {
            fields.fail(key, "is zero");
            None
        }
        Err(error) => {
            fields.fail(key, format!("is not a duration: {error}"));
            None
        }
    }
}

fn millis(fields: &Fields<'_>, key: &str) -> Option<Duration> {
    let max = u64::try_from(MAX_DURATION.as_millis()).unwrap_or(u64::MAX);
    fields.number(key, 1, max).map(Duration::from_millis)
}
