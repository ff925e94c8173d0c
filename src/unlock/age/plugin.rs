//! age plugins: programs that hold keys for us (<https://c2sp.org/age-plugin>).
//!
//! Invariant: a plugin is run only by an absolute path that the user allowed, after checks of the
//! file and its folders; `PATH` is never searched. It gets a short environment, no standard error,
//! a time limit for each answer, and is killed at the end. This is a client of our own because
//! that of the age crate searches `PATH`, can't be stopped, and has no limits.

use super::Talk;
use super::stanza::{Incoming, Link};
use crate::error::{Code, Coded, failure_from};
use crate::secret::SecretValue;
use crate::sys::tty::printable;
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza, is_arbitrary_string};
use age_core::secrecy::ExposeSecret;
use data_encoding::BASE64_NOPAD;
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a plugin may take for each answer: a person may have to find and touch a key.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);
/// The most commands that a plugin may send in one conversation.
const MAX_COMMANDS: usize = 256;
/// The longest text of a plugin that is shown, in characters.
const MAX_SHOWN: usize = 1024;

/// The environment that a plugin gets, besides a `PATH` of system folders.
const ENVIRONMENT: [&str; 12] = [
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TERM",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_CONFIG_HOME",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// Why a plugin did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// It is not on the allow-list.
    #[error(
        "the plugin age-plugin-{0} is not allowed: name its absolute path in `vault.plugins` or \
         with --plugin"
    )]
    NotAllowed(String),
    /// The file fails a check.
    #[error("the plugin {path} is not run: {why}")]
    Unsafe {
        /// The path on the allow-list.
        path: PathBuf,
        /// Which check.
        why: &'static str,
    },
    /// It could not be started or talked to.
    #[error("run the plugin {path}")]
    Io {
        /// The path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It broke the protocol.
    #[error("the plugin {path} failed: {why}")]
    Broke {
        /// The path.
        path: PathBuf,
        /// How.
        why: &'static str,
    },
    /// It did not answer in time.
    #[error("the plugin {path} did not answer within {} s", limit.as_secs())]
    Late {
        /// The path.
        path: PathBuf,
        /// The limit.
        limit: Duration,
    },
    /// It reported an error; its text was shown to the user.
    #[error("the plugin {0} reported an error")]
    Reported(PathBuf),
}

impl Coded for PluginError {
    fn code(&self) -> Code {
        Code::SlotPlugin
    }
}

failure_from!(PluginError);

/// The plugin that an error speaks of.
pub(super) struct Where(pub(super) PathBuf);

impl Where {
    pub(super) fn io(&self, source: io::Error) -> PluginError {
        PluginError::Io {
            path: self.0.clone(),
            source,
        }
    }

    pub(super) fn broke(&self, why: &'static str) -> PluginError {
        PluginError::Broke {
            path: self.0.clone(),
            why,
        }
    }

    pub(super) fn late(&self, limit: Duration) -> PluginError {
        PluginError::Late {
            path: self.0.clone(),
            limit,
        }
    }
}

/// True for a plugin name that recipients and identities may carry.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(allowed)
}

/// Finds a plugin on the allow-list and checks that nobody else can have put it there.
pub(super) fn locate(name: &str, allow: &[PathBuf]) -> Result<PathBuf, PluginError> {
    let file_name = format!("age-plugin-{name}");
    let named = |path: &&PathBuf| path.file_name().is_some_and(|last| *last == *file_name);
    let Some(path) = allow.iter().find(named) else {
        return Err(PluginError::NotAllowed(name.to_owned()));
    };
    match check(path) {
        Ok(None) => Ok(path.clone()),
        Ok(Some(why)) => Err(PluginError::Unsafe {
            path: path.clone(),
            why,
        }),
        Err(source) => Err(PluginError::Io {
            path: path.clone(),
            source,
        }),
    }
}

/// What is wrong with a plugin's file, if anything.
fn check(path: &Path) -> io::Result<Option<&'static str>> {
    if !path.is_absolute() || path.components().any(|part| part.as_os_str() == "..") {
        return Ok(Some("the path is not absolute"));
    }
    let us = rustix::process::geteuid().as_raw();
    let ours = |uid: u32| uid == 0 || uid == us;
    let file = path.symlink_metadata()?;
    if file.is_symlink() {
        return Ok(Some("it is a symlink"));
    }
    if !file.is_file() {
        return Ok(Some("it is not a regular file"));
    }
    if !ours(file.uid()) {
        return Ok(Some("it belongs to another user"));
    }
    if file.mode() & 0o022 != 0 {
        return Ok(Some("others may write to it"));
    }
    if file.mode() & 0o111 == 0 {
        return Ok(Some("it is not executable"));
    }
    for folder in path.ancestors().skip(1) {
        let folder = folder.metadata()?;
        let sticky = folder.mode() & 0o1000 != 0;
        if !ours(folder.uid()) || (folder.mode() & 0o022 != 0 && !sticky) {
            return Ok(Some("others may write to a folder that it lies in"));
        }
    }
    Ok(None)
}

/// Lets a plugin wrap a file key for its recipients.
pub(super) fn wrap(
    path: &Path,
    recipients: &[&str],
    file_key: &FileKey,
    talk: &mut dyn Talk,
) -> Result<(Vec<Stanza>, HashSet<String>), PluginError> {
    let mut conversation = Conversation::start(path, "recipient-v1")?;
    for recipient in recipients {
        conversation
            .link
            .send("add-recipient", &[recipient.as_bytes()], &[])?;
    }
    conversation.link.send("extension-labels", &[], &[])?;
    conversation
        .link
        .send("wrap-file-key", &[], file_key.expose_secret())?;
    conversation.link.send("done", &[], &[])?;

    let mut stanzas = Vec::new();
    let mut labels: Option<HashSet<String>> = None;
    conversation.listen(talk, |command| match command.tag.as_str() {
        "recipient-stanza" => {
            let [file, tag, args @ ..] = command.args.as_slice() else {
                return Heard::Broken;
            };
            if file != "0" || !command.args.iter().all(is_arbitrary_string) {
                return Heard::Broken;
            }
            let body = command.body.expose().to_vec();
            stanzas.push(Stanza {
                tag: tag.clone(),
                args: args.to_vec(),
                body,
            });
            Heard::Taken
        }
        "labels" => {
            let set: HashSet<String> = command.args.iter().cloned().collect();
            if labels.is_some() || set.len() != command.args.len() {
                return Heard::Broken;
            }
            labels = Some(set);
            Heard::Taken
        }
        _ => Heard::Unknown,
    })?;
    if stanzas.is_empty() {
        return Err(conversation.place.broke("it wrapped nothing"));
    }
    Ok((stanzas, labels.unwrap_or_default()))
}

/// Lets a plugin unwrap a file key. `None` if no stanza is for this identity.
pub(super) fn unwrap(
    path: &Path,
    identity: &SecretValue,
    stanzas: &[Stanza],
    talk: &mut dyn Talk,
) -> Result<Option<FileKey>, PluginError> {
    let mut conversation = Conversation::start(path, "identity-v1")?;
    conversation
        .link
        .send("add-identity", &[identity.expose()], &[])?;
    for stanza in stanzas {
        let mut args = vec![&b"0"[..], stanza.tag.as_bytes()];
        args.extend(stanza.args.iter().map(String::as_bytes));
        conversation
            .link
            .send("recipient-stanza", &args, &stanza.body)?;
    }
    conversation.link.send("done", &[], &[])?;

    let mut file_key: Option<FileKey> = None;
    let heard = conversation.listen(talk, |command| match command.tag.as_str() {
        "file-key" => {
            let body = command.body.expose();
            if command.args != ["0"] || file_key.is_some() || body.len() != FILE_KEY_BYTES {
                return Heard::Broken;
            }
            file_key = Some(FileKey::init_with_mut(|key| key.copy_from_slice(body)));
            Heard::Taken
        }
        _ => Heard::Unknown,
    });
    match (heard, file_key) {
        // One stanza that it could not unwrap does not matter if another one gave the key.
        (Err(PluginError::Reported(_)) | Ok(()), Some(key)) => Ok(Some(key)),
        (Err(fault), _) => Err(fault),
        (Ok(()), None) => Ok(None),
    }
}

/// What became of a command.
enum Heard {
    Taken,
    Unknown,
    Broken,
}

struct Conversation {
    link: Link,
    place: Where,
}

impl Conversation {
    fn start(path: &Path, state_machine: &str) -> Result<Self, PluginError> {
        Self::start_within(path, state_machine, TIME_LIMIT)
    }

    fn start_within(
        path: &Path,
        state_machine: &str,
        limit: Duration,
    ) -> Result<Self, PluginError> {
        let place = Where(path.to_owned());
        let inherited = ENVIRONMENT
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)));
        let child = Command::new(path)
            .arg(format!("--age-plugin={state_machine}"))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .envs(inherited)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| place.io(error))?;
        let link = Link::new(child, Where(path.to_owned()), limit)?;
        Ok(Self { link, place })
    }

    /// Answers a plugin's commands until it is done; `take` gets those that are not talk.
    fn listen(
        &mut self,
        talk: &mut dyn Talk,
        mut take: impl FnMut(&Incoming) -> Heard,
    ) -> Result<(), PluginError> {
        let mut reported = false;
        for _ in 0..MAX_COMMANDS {
            let command = self.link.receive()?;
            match command.tag.as_str() {
                "done" if reported => return Err(PluginError::Reported(self.place.0.clone())),
                "done" => return Ok(()),
                "error" => {
                    reported = true;
                    talk.message(&self.shown(&command));
                    self.link.send("ok", &[], &[])?;
                }
                "msg" => {
                    talk.message(&self.shown(&command));
                    self.link.send("ok", &[], &[])?;
                }
                "request-secret" => match talk.secret(&self.shown(&command)) {
                    Ok(secret) => self.link.send("ok", &[], secret.expose())?,
                    Err(_) => self.link.send("fail", &[], &[])?,
                },
                "request-public" => match talk.line(&self.shown(&command)) {
                    Ok(text) => self.link.send("ok", &[], text.as_bytes())?,
                    Err(_) => self.link.send("fail", &[], &[])?,
                },
                "confirm" => self.confirm(&command, talk)?,
                _ => match take(&command) {
                    Heard::Taken => self.link.send("ok", &[], &[])?,
                    Heard::Unknown => self.link.send("unsupported", &[], &[])?,
                    Heard::Broken => return Err(self.place.broke("it sent a malformed command")),
                },
            }
        }
        Err(self.place.broke("it sent more than 256 commands"))
    }

    fn confirm(&mut self, command: &Incoming, talk: &mut dyn Talk) -> Result<(), PluginError> {
        let label = |arg: &String| {
            let bytes = BASE64_NOPAD.decode(arg.as_bytes()).ok()?;
            Some(printable(&String::from_utf8(bytes).ok()?))
        };
        let labels: Option<Vec<String>> = command.args.iter().map(label).collect();
        let answer = match labels.as_deref() {
            Some([yes]) => talk.decide(&self.shown(command), yes, None),
            Some([yes, no]) => talk.decide(&self.shown(command), yes, Some(no)),
            _ => return Err(self.place.broke("it asked a malformed question")),
        };
        match answer {
            Ok(true) => self.link.send("ok", &[b"yes"], &[]),
            Ok(false) => self.link.send("ok", &[b"no"], &[]),
            Err(_) => self.link.send("fail", &[], &[]),
        }
    }

    /// A plugin's text, marked as such, safe for a terminal.
    fn shown(&self, command: &Incoming) -> String {
        let name = self
            .place
            .0
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let text: String = printable(&command.text()).chars().take(MAX_SHOWN).collect();
        format!("{name}: {text}")
    }
}

#[cfg(test)]
mod tests;
