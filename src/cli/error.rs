//! How a command fails: what it was doing, what happened, and what to do about it.

use super::output::{Output, Tone, json_text, shown};
use crate::error::{Code, Failure, Kind};
use serde_json::json;

/// A failed command. Fits the sentence "failed to {doing}: {failure}".
#[derive(Debug)]
pub struct CliError {
    /// What was being done: an infinitive without "to".
    pub doing: String,
    /// What happened and where.
    pub failure: Failure,
    /// What to do about it, where that is more than the code tells.
    pub hint: Option<String>,
}

/// What a command ends with: its exit code, or why it failed.
pub type Done = Result<u8, CliError>;

impl CliError {
    /// A failure while doing something.
    pub fn new(doing: impl Into<String>, failure: Failure) -> Self {
        Self {
            doing: doing.into(),
            failure,
            hint: None,
        }
    }

    /// A failure with this code and text.
    pub fn because(doing: impl Into<String>, code: Code, message: impl Into<String>) -> Self {
        Self::new(doing, Failure::new(code, message))
    }

    /// The same with advice of its own.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// As the reason of something else: what was being done stays in the text.
    pub fn into_reason(self) -> Failure {
        let text = format!("failed to {}: {}", self.doing, self.failure.message);
        Failure::new(self.failure.code, text)
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        self.failure.kind().exit_code()
    }

    /// Shows the error: text on stderr, and with `--json` one document on stdout.
    pub fn show(&self, out: &Output) {
        let message = format!("failed to {}: {}", self.doing, self.failure.message);
        let hint = self.hint.as_deref().or(advice(self.failure.code));
        if out.json {
            let document = json!({"error": {
                "code": self.failure.code.as_str(),
                "kind": kind_name(self.failure.kind()),
                "message": message,
                "hint": hint,
            }});
            if let Ok(text) = json_text(&document) {
                // A reader that went away is told by the exit code.
                let _ = out.data(&text);
            }
        }
        let code = match out.verbose {
            true => format!(" [{}]", self.failure.code.as_str()),
            false => String::new(),
        };
        out.labelled(Tone::Bad, "error:", &shown(&format!("{message}{code}")));
        if let Some(hint) = hint {
            out.labelled(Tone::Strong, "hint:", &shown(hint));
        }
    }
}

/// Says what was being done when something failed.
pub trait Doing<T> {
    /// The error as a [`CliError`]; `what` is an infinitive without "to".
    fn doing(self, what: impl Into<String>) -> Result<T, CliError>;
}

impl<T, E: Into<Failure>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Result<T, CliError> {
        self.map_err(|error| CliError::new(what, error.into()))
    }
}

/// An operating system error at a path as a [`Failure`].
pub fn io_failure(path: &std::path::Path, error: &std::io::Error) -> Failure {
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => Code::InputInvalid,
        std::io::ErrorKind::PermissionDenied => Code::FilePermission,
        _ => Code::FileIo,
    };
    Failure::new(code, format!("{}: {error}", path.display()))
}

/// The name of a kind in JSON.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "invalid",
        Kind::Absent => "absent",
        Kind::Sealed => "sealed",
        Kind::Denied => "denied",
        Kind::Unavailable => "unavailable",
        Kind::Corrupt => "corrupt",
        Kind::Stale => "conflict",
        Kind::SignIn => "signIn",
        Kind::NotStarted => "notStarted",
        Kind::NoProgram => "noProgram",
        Kind::Cancelled => "cancelled",
        Kind::Bug => "bug",
    }
}

/// Advice by code; most codes need none, because their text says it.
pub fn advice(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::VaultAbsent => "make a vault with `reseal init`, or name its folder with --state-dir",
        Code::VaultSealed => {
            "run `reseal vault unlock`, or give --passphrase-file, --identity or --key-file"
        }
        Code::NoInput => "give the answer with an option (see --help), or run it at a terminal",
        Code::VaultCorrupt => "nothing was changed; `reseal vault verify` says where it is damaged",
        Code::VaultRollback => {
            "a backup was restored, the disk lied about flushing, or a sync tool (or an attacker) \
             put an older copy there. Read it with --accept-rollback; to go on with it: `reseal \
             vault trust --accept-rollback`"
        }
        Code::VaultFork => {
            "two machines or a sync tool wrote the file at once; keep both copies and read each \
             with --accept-rollback; to go on with one: `reseal vault trust --accept-rollback`"
        }
        Code::VaultUntrusted => {
            "compare `reseal vault fingerprint` with what the vault's owner says, then run \
             `reseal vault trust`"
        }
        Code::VaultNewer => "use a newer version of reseal",
        Code::VaultNetworkFs => {
            "locks are not reliable there; move the vault, or give --allow-network-fs"
        }
        Code::VaultBusy => "try again; the message names the process that holds the lock",
        Code::VaultConflict | Code::ConfigConflict => {
            "nothing was lost; look at it and run it again"
        }
        Code::SlotWrongPassphrase => {
            "try again, or use another keyslot (--identity, --key-file, --recovery-code-fd)"
        }
        Code::SlotNoMatch => "`reseal vault slot list` shows what opens this vault",
        Code::SlotKdfLimit => "if you trust this vault, give --kdf-limit",
        Code::SlotLast => "add another keyslot first",
        Code::SlotPlugin => "name the plugin by its absolute path with --plugin",
        Code::RecordAbsent => "`reseal secrets list` shows what there is",
        Code::ProfileAbsent => "`reseal models auth list` shows what there is",
        Code::AgentAbsent => "`reseal agents list` shows what there is",
        Code::ConfigPlaintext => {
            "`reseal secrets set TARGET --ref vault:NAME --move` seals it into the vault; TARGET \
             is the profile or the config path"
        }
        Code::ConfigAbsent => "make one with `reseal init`, or name it with --config",
        Code::ActivationFailed => "`reseal secrets resolve` shows every ref and why it failed",
        Code::DaemonVersion => "stop the other version with `reseal vault lock` and unlock again",
        Code::DaemonUnsafe => {
            "if another user's daemon is meant, name the user with --daemon-user; your own wants a \
             socket in a private folder (yours, mode 0700): --socket or RESEAL_SOCKET"
        }
        Code::GrantRefused => "the user whose daemon it is can grant it: `reseal grants add`",
        Code::VaultPoisoned => "make room, or mend the disk, and run it again",
        Code::SystemdAbsent => "install systemd 250 or newer, or use a key file (`add key`)",
        Code::SystemdNoTpm => {
            "use the key of the host: `vault slot add systemd-creds --with-key host`"
        }
        Code::SystemdFailed => {
            "the key of the host and the TPM are root's: run it as root, and the vault is opened \
             as its owner all the same"
        }
        Code::Bug => "please report it",
        _ => return keyring_advice(code),
    })
}

/// Advice for each way in which the keyring of the system can fail.
fn keyring_advice(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::KeyringNoBus => {
            "log in to a desktop session, or start one with `dbus-run-session`; a server does \
             better with another keyslot (`reseal vault slot add --help`)"
        }
        Code::KeyringNoService => {
            "start a program that keeps secrets: gnome-keyring, KWallet or KeePassXC"
        }
        Code::KeyringNoCollection => {
            "make a default keyring in the desktop's program for passwords (Seahorse, \
             KWalletManager)"
        }
        Code::KeyringLocked => {
            "unlock it in the desktop's program for passwords, or give --keyring at a desktop to \
             be asked"
        }
        Code::KeyringRefused => {
            "run it again at a desktop and answer the question, or unlock the keyring first"
        }
        Code::KeyringEntryAbsent => {
            "it was removed from the keyring: open the vault in another way, remove this keyslot \
             and add a new one"
        }
        Code::KeyringTimeout => "look for its window on the desktop, or restart the keyring",
        Code::KeyringNotBuilt => "build it with the feature `keyring`",
        _ => return None,
    })
}
