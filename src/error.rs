//! Stable error codes, and the kind that decides the exit code.
//!
//! Invariant: an error never owns bytes from a credential channel; its text holds no value, no
//! response body, no argv. Every module has its own small error enum; what they share is
//! [`Coded`]: a code for programs, a kind for the exit status. Advice ("run `reseal vault
//! unlock`") lives in the CLI.
#![forbid(unsafe_code)]

use serde::{Deserialize, Serialize};

/// What sort of failure it is; decides the exit code and whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The arguments or the input are wrong: exit 2.
    Invalid,
    /// No such record, profile or ref: exit 3.
    Absent,
    /// The vault is locked and nothing was given to unlock it: exit 4.
    Sealed,
    /// Wrong passphrase, refused peer, unsafe permissions: exit 5.
    Denied,
    /// A source or the daemon can't be reached now; try again: exit 6.
    Unavailable,
    /// The vault or a state file fails its checks; nothing was overwritten: exit 7.
    Corrupt,
    /// Someone else changed it first; nothing was lost: exit 8.
    Stale,
    /// A refresh token is revoked, reused or expired: exit 9.
    SignIn,
    /// The program that `run` names can't be executed: exit 126, as of a shell.
    NotStarted,
    /// There is no such program: exit 127, as of a shell.
    NoProgram,
    /// The person cancelled a prompt: exit 130, as after an interrupt.
    Cancelled,
    /// A defect of this program: exit 70.
    Bug,
}

impl Kind {
    /// The exit code of the process.
    pub const fn exit_code(self) -> u8 {
        match self {
            Kind::Invalid => 2,
            Kind::Absent => 3,
            Kind::Sealed => 4,
            Kind::Denied => 5,
            Kind::Unavailable => 6,
            Kind::Corrupt => 7,
            Kind::Stale => 8,
            Kind::SignIn => 9,
            Kind::NotStarted => 126,
            Kind::NoProgram => 127,
            Kind::Cancelled => 130,
            Kind::Bug => 70,
        }
    }
}

macro_rules! codes {
    ($($variant:ident = $text:literal, $kind:ident, $meaning:literal;)*) => {
        /// A stable error code. `docs/errors.md` lists them all; a test keeps the two equal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $(#[doc = $meaning] #[serde(rename = $text)] $variant,)*
        }

        impl Code {
            /// Every code, in the order of `docs/errors.md`.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// The text of the code, as it stands in `--json` output and in the docs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// The kind that decides the exit code.
            pub const fn kind(self) -> Kind {
                match self { $(Code::$variant => Kind::$kind,)* }
            }

            /// One sentence for the documentation.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning,)* }
            }
        }
    };
}

codes! {
    Usage = "usage", Invalid, "The command line is not understood.";
    InputInvalid = "input.invalid", Invalid, "A value given to the command is not acceptable.";
    InputTooLarge = "input.too_large", Invalid, "A value given to the command is over its limit.";
    NameInvalid = "name.invalid", Invalid,
        "A record name, profile id, agent id or alias has a form that is not allowed.";
    NoInput = "input.none", Sealed,
        "Something must be asked, but there is no terminal or `--no-input` was given.";
    InputCancelled = "input.cancelled", Cancelled, "A prompt was cancelled (Ctrl-C, Ctrl-D).";

    VaultAbsent = "vault.absent", Absent, "There is no vault file at the path.";
    VaultExists = "vault.exists", Stale, "A vault file already stands at the path.";
    VaultSealed = "vault.sealed", Sealed, "The vault is locked and nothing was given to unlock it.";
    VaultCorrupt = "vault.corrupt", Corrupt, "The vault file fails its checks.";
    VaultNewer = "vault.newer", Corrupt,
        "The vault file was written by a newer version of the format.";
    VaultLimit = "vault.limit", Invalid, "A change would take the vault over one of its limits.";
    VaultRollback = "vault.rollback", Corrupt,
        "The vault file is older than the newest state that this machine has seen.";
    VaultFork = "vault.fork", Corrupt,
        "The vault file and this machine's anchor went different ways.";
    VaultUntrusted = "vault.untrusted", Denied,
        "A vault opened by a public-key slot is not the one that this machine trusts.";
    VaultConflict = "vault.conflict", Stale, "Someone else changed the record or the vault first.";
    VaultBusy = "vault.busy", Unavailable,
        "Another process holds the writer lock, or the lock of an account, for too long.";
    VaultPoisoned = "vault.poisoned", Unavailable,
        "A write to the vault failed earlier; this handle no longer writes.";
    VaultNetworkFs = "vault.network_fs", Denied, "The vault lies on a network file system.";
    RecordAbsent = "record.absent", Absent, "There is no record of that name.";
    RecordVersionAbsent = "record.version_absent", Absent,
        "The record has no such version in the file any more.";
    RecordExpired = "record.expired", Absent, "The value of a record is past its end.";
    RecordExists = "record.exists", Stale, "A record of that name already exists.";

    SlotWrongPassphrase = "slot.wrong_passphrase", Denied,
        "No passphrase slot opens with the passphrase.";
    SlotNoMatch = "slot.no_match", Denied, "No keyslot opens with what was given.";
    SlotKdfLimit = "slot.kdf_limit", Denied,
        "A keyslot asks for more memory or time than is allowed.";
    SlotLast = "slot.last", Denied, "The last usable keyslot can't be removed.";
    SlotAbsent = "slot.absent", Absent, "There is no such keyslot.";
    SlotLimit = "slot.limit", Invalid, "The vault has no room for another keyslot of this kind.";
    SlotIdentity = "slot.identity", Invalid, "An age identity or recipient is not understood.";
    SlotPlugin = "slot.plugin", Denied,
        "An age plugin is not on the allow-list, unsafe, or failed.";

    KeyringNoBus = "keyring.no_bus", Unavailable, "There is no session bus to find a keyring on.";
    KeyringNoService = "keyring.no_service", Unavailable,
        "No program on the session bus keeps secrets.";
    KeyringNoCollection = "keyring.no_collection", Unavailable,
        "The keyring has no default collection.";
    KeyringLocked = "keyring.locked", Unavailable,
        "The keyring is locked, and nobody may be asked to unlock it.";
    KeyringRefused = "keyring.refused", Denied,
        "Unlocking the keyring was refused, or could not be asked for.";
    KeyringEntryAbsent = "keyring.entry_absent", Absent, "The keyring has no such entry.";
    KeyringTimeout = "keyring.timeout", Unavailable, "The keyring did not answer in time.";
    KeyringFailed = "keyring.failed", Unavailable, "The keyring failed in some other way.";
    KeyringNotBuilt = "keyring.not_built", Invalid,
        "The program was built without support for keyrings.";

    SystemdAbsent = "systemd.absent", Invalid, "The program `systemd-creds` is not installed.";
    SystemdNoTpm = "systemd.no_tpm", Unavailable, "systemd finds no TPM2 that it can use.";
    SystemdFailed = "systemd.failed", Unavailable,
        "`systemd-creds` refused, failed, or gave out something else than a credential.";

    RefInvalid = "ref.invalid", Invalid, "A SecretRef has a form that is not allowed.";
    RefAbsent = "ref.absent", Absent, "A SecretRef points at something that does not exist.";
    RefDenied = "ref.denied", Denied, "A SecretRef points at something that is not allowed.";
    RefEmpty = "ref.empty", Absent, "A SecretRef resolves to an empty value.";
    RefProviderAbsent = "ref.provider_absent", Invalid,
        "A SecretRef names a source provider that is not configured.";
    RefProviderMismatch = "ref.provider_mismatch", Invalid,
        "A SecretRef's source differs from its provider's.";
    RefLimit = "ref.limit", Invalid, "More refs, or a larger batch, than a source takes.";
    SourceUnavailable = "source.unavailable", Unavailable,
        "A source can't be reached or did not answer in time.";
    SourceUnsafe = "source.unsafe", Denied,
        "A file or command of a source fails its permission checks.";
    SourceInvalid = "source.invalid", Unavailable,
        "A source answered with something that its protocol does not allow.";
    SourceTooLarge = "source.too_large", Invalid, "A source holds or sends more than its limit.";

    ConfigInvalid = "config.invalid", Invalid,
        "The config file is not valid; the message names the place.";
    ConfigAbsent = "config.absent", Absent, "There is no config file at the path.";
    ConfigPathAbsent = "config.path_absent", Absent, "The config has nothing at that path.";
    ConfigConflict = "config.conflict", Stale,
        "The file changed while it was being edited; nothing was written.";
    ConfigPlaintext = "config.plaintext", Denied,
        "A plaintext value stands where a SecretRef belongs.";
    PlanInvalid = "plan.invalid", Invalid,
        "A plan is not valid, or does not fit the files; the message names the place.";
    ProfilesInvalid = "profiles.invalid", Corrupt,
        "An auth-profiles.json or auth-state.json file can't be read; nothing was overwritten.";
    ProfileAbsent = "profile.absent", Absent, "There is no such auth profile.";
    ProfileIneligible = "profile.ineligible", Absent,
        "No auth profile of the provider can be used now.";
    AgentAbsent = "agent.absent", Absent, "There is no such agent.";
    AgentExists = "agent.exists", Stale, "An agent of that id already exists.";

    OAuthSignIn = "oauth.sign_in_needed", SignIn,
        "The account has to sign in again: its refresh token is revoked, used up or expired.";
    OAuthUnavailable = "oauth.unavailable", Unavailable,
        "The authorization server can't be reached, did not answer in time, or asks to wait.";
    OAuthRefused = "oauth.refused", Denied, "The authorization server refused the request.";
    OAuthInvalid = "oauth.invalid", Unavailable,
        "The authorization server answered with something that its protocol does not allow.";
    OAuthCallback = "oauth.callback", Denied,
        "What came back from the browser fails its checks (state, issuer, redirect).";
    OAuthDenied = "oauth.denied", Denied, "The person at the browser said no.";
    OAuthTimeout = "oauth.timeout", Unavailable, "The sign-in was not finished in time.";
    OAuthProviderAbsent = "oauth.provider_absent", Absent,
        "No OAuth provider of that name is built in or configured.";
    OAuthFlowAbsent = "oauth.flow_absent", Invalid,
        "The OAuth provider does not offer the way of signing in that was asked for.";
    NetDenied = "net.denied", Denied,
        "A network request was not made or not followed: its address is not allowed.";

    ActivationFailed = "activation.failed", Unavailable,
        "A required SecretRef could not be resolved.";

    DaemonUnavailable = "daemon.unavailable", Unavailable,
        "The daemon can't be reached or did not answer in time.";
    DaemonBusy = "daemon.busy", Unavailable,
        "The daemon has no room now for another connection, or for more requests.";
    DaemonProtocol = "daemon.protocol", Unavailable,
        "The daemon or its client sent something that the protocol does not allow.";
    DaemonVersion = "daemon.version", Unavailable,
        "The daemon speaks another version of the protocol.";
    DaemonRunning = "daemon.running", Stale, "A daemon already serves the state folder.";
    DaemonPeer = "daemon.peer", Denied,
        "The process at the other end of the socket is not the expected user.";
    DaemonUnsafe = "daemon.unsafe", Denied, "The socket's folder is not private.";
    GrantRefused = "grant.refused", Denied, "No grant of the daemon's config allows it.";
    GrantExpired = "grant.expired", Denied, "The grant that allowed it has ended.";
    GrantConfirm = "grant.confirm", Denied,
        "The grant wants a person's yes, and the daemon can ask nobody that.";
    GrantDeclined = "grant.declined", Denied,
        "The grant wants a person's yes, and a person said no, just now or a while ago.";
    GrantUnanswered = "grant.unanswered", Denied,
        "The grant wants a person's yes, and nobody answered, just now or a while ago.";
    GrantSecretNeeded = "grant.secret_needed", Denied,
        "The grant allows it only together with a keyslot's secret.";
    AuditUnavailable = "audit.unavailable", Unavailable,
        "The log of decisions can't be written or read.";
    AuditBroken = "audit.broken", Corrupt, "The log of decisions is not as it was written.";

    FilePermission = "file.permission", Denied,
        "A file or folder is not readable, not writable, or not private.";
    FileIo = "file.io", Unavailable, "The operating system refused a file operation.";
    FileExists = "file.exists", Stale, "A file that was to be made is there already.";
    FileTooLarge = "file.too_large", Invalid, "A file is over its size limit.";
    DatabaseInvalid = "database.invalid", Corrupt,
        "A SQLite database can't be read; nothing was changed.";
    FolderAbsent = "folder.absent", Absent, "There is no state folder at the path.";
    FolderBusy = "folder.busy", Stale,
        "The program whose state folder it is runs, and would write over what is changed.";
    ExecAbsent = "exec.absent", NoProgram, "There is no such program to run.";
    ExecFailed = "exec.failed", NotStarted, "The program can't be executed.";
    TemplateInvalid = "template.invalid", Invalid,
        "A template or env file is not understood; the message names the line.";
    Bug = "bug", Bug, "A defect of this program.";
}

/// An error with a stable code.
pub trait Coded: std::error::Error {
    /// The stable code.
    fn code(&self) -> Code;
}

/// An error flattened to what may cross a process border or be shown to a person: its code and
/// its text (a lowercase fragment that fits "failed to …: …").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The stable code.
    pub code: Code,
    /// What happened and where; no values.
    pub message: String,
}

impl Failure {
    /// A failure with this code and text.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Flattens an error and the chain of its sources into one text.
    pub fn of(error: &dyn Coded) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(inner) = source {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            source = inner.source();
        }
        Self {
            code: error.code(),
            message,
        }
    }

    /// The kind that decides the exit code.
    pub fn kind(&self) -> Kind {
        self.code.kind()
    }
}

impl Coded for Failure {
    fn code(&self) -> Code {
        self.code
    }
}

/// Lets `?` turn any module's error into a [`Failure`] at the border of a layer.
macro_rules! failure_from {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for $crate::error::Failure {
            fn from(error: $error) -> Self {
                $crate::error::Failure::of(&error)
            }
        })*
    };
}
pub(crate) use failure_from;
