//! What opens age files: identities and the files that they stand in.

use super::{AgeError, Session, decrypt_with_passphrase, plugin};
use crate::secret::SecretValue;
use crate::sys::tty::PromptError;
use crate::unlock::key_file;
use ::age::{DecryptError, x25519};
use age_core::format::{FileKey, Stanza};
use age_core::primitives::bech32_decode;
use std::fmt;
use std::path::Path;
use std::rc::Rc;

/// The largest identity file, in bytes.
pub const MAX_IDENTITY_FILE: usize = 256 << 10;
/// The most identities in one file.
pub const MAX_IDENTITIES: usize = 64;

const NEEDS_PQ_PLUGIN: &str =
    "post-quantum keys are opened by age-plugin-pq: convert it to an AGE-PLUGIN-PQ-1… identity";
const SSH: &str = "SSH keys are not supported, make an identity with age-keygen";

/// Something that opens age files.
#[derive(Clone)]
pub struct Identity(Kind);

#[derive(Clone)]
enum Kind {
    X25519(x25519::Identity),
    /// The text may hold a secret: what is in it is between the user and the plugin.
    Plugin {
        name: String,
        text: SecretValue,
    },
}

impl Identity {
    /// The plugin that it needs, if any.
    pub fn plugin(&self) -> Option<&str> {
        match &self.0 {
            Kind::X25519(_) => None,
            Kind::Plugin { name, .. } => Some(name),
        }
    }

    /// The recipient that this identity opens, if that is known without a plugin.
    pub fn recipient(&self) -> Option<String> {
        match &self.0 {
            Kind::X25519(key) => Some(key.to_public().to_string()),
            Kind::Plugin { .. } => None,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plugin = self.plugin().unwrap_or("x25519");
        write!(f, "Identity({plugin}, [redacted])")
    }
}

/// Loads an identity file: comments, `AGE-SECRET-KEY-1…`, `AGE-PLUGIN-NAME-1…`; or all that
/// encrypted with a passphrase, which `prompt` is asked for. The file must be private.
pub fn load_identity_file(
    path: &Path,
    prompt: &mut dyn FnMut(&str) -> Result<SecretValue, PromptError>,
) -> Result<Vec<Identity>, AgeError> {
    let data = key_file::read_private(path, MAX_IDENTITY_FILE)?;
    load_identity_data(&data, &path.display().to_string(), prompt)
}

/// Like [`load_identity_file`] for content that was read already; `place` names it in errors.
pub fn load_identity_data(
    data: &SecretValue,
    place: &str,
    prompt: &mut dyn FnMut(&str) -> Result<SecretValue, PromptError>,
) -> Result<Vec<Identity>, AgeError> {
    if !is_age_file(data.expose()) {
        return parse_identities(data, place);
    }
    let passphrase =
        prompt(&format!("Passphrase of {place}: ")).map_err(|source| AgeError::Prompt {
            place: place.to_owned(),
            source,
        })?;
    let inner = decrypt_with_passphrase(data.expose(), &passphrase, MAX_IDENTITY_FILE)?;
    parse_identities(&inner, place)
}

fn is_age_file(data: &[u8]) -> bool {
    let text = data.trim_ascii_start();
    text.starts_with(b"age-encryption.org/") || text.starts_with(b"-----BEGIN AGE ENCRYPTED FILE")
}

/// Parses the text of an identity file; `place` names it in errors.
pub fn parse_identities(data: &SecretValue, place: &str) -> Result<Vec<Identity>, AgeError> {
    let whole = |why| AgeError::IdentityFile {
        place: place.to_owned(),
        why,
    };
    if data.len() > MAX_IDENTITY_FILE {
        return Err(whole("more than 256 KiB"));
    }
    let mut identities = Vec::new();
    for (number, line) in data.expose().split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if identities.len() == MAX_IDENTITIES {
            return Err(whole("more than 64 identities"));
        }
        let identity = parse_line(line).map_err(|why| AgeError::Identity {
            place: place.to_owned(),
            line: number + 1,
            why,
        })?;
        identities.push(identity);
    }
    if identities.is_empty() {
        Err(whole("no identity"))
    } else {
        Ok(identities)
    }
}

fn parse_line(line: &[u8]) -> Result<Identity, &'static str> {
    let text = std::str::from_utf8(line).map_err(|_| "it is not text")?;
    let starts = |start: &str| {
        line.get(..start.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
    };
    if starts("AGE-SECRET-KEY-PQ-") {
        Err(NEEDS_PQ_PLUGIN)
    } else if starts("AGE-SECRET-KEY-") {
        let key = text
            .parse()
            .map_err(|_| "it has a typing error, or is cut short")?;
        Ok(Identity(Kind::X25519(key)))
    } else if starts("AGE-PLUGIN-") {
        let name = plugin_name(text)?;
        Ok(Identity(Kind::Plugin {
            name,
            text: SecretValue::copy_of(line),
        }))
    } else if starts("-----BEGIN OPENSSH") || starts("-----BEGIN RSA") || starts("ssh-") {
        Err(SSH)
    } else if starts("age1") {
        Err("it is a recipient, the identity is the secret part")
    } else {
        Err("it starts with neither AGE-SECRET-KEY-1 nor AGE-PLUGIN-")
    }
}

fn plugin_name(text: &str) -> Result<String, &'static str> {
    bech32_decode(
        text,
        |_| "it has a typing error, or is cut short",
        |_| Ok(()),
        |hrp, _| {
            let name = hrp.as_str().to_ascii_lowercase();
            let name = name
                .strip_prefix("age-plugin-")
                .and_then(|name| name.strip_suffix('-'));
            match name {
                Some(name) if plugin::is_name(name) => Ok(name.to_owned()),
                _ => Err("it names no valid plugin"),
            }
        },
    )
}

/// All identities of one operation, tried in order. One whose plugin may not run or fails leaves a
/// fault in the session and the next is tried: the fault counts only if nothing else fits.
pub(super) struct Set<'a> {
    identities: &'a [Identity],
    session: Rc<Session<'a>>,
}

impl<'a> Set<'a> {
    pub(super) fn new(identities: &'a [Identity], session: &Rc<Session<'a>>) -> Self {
        Self {
            identities,
            session: Rc::clone(session),
        }
    }

    fn through_plugin(
        &self,
        name: &str,
        text: &SecretValue,
        stanzas: &[Stanza],
    ) -> Option<FileKey> {
        let mut talk = self.session.talk.borrow_mut();
        plugin::locate(name, self.session.allow)
            .and_then(|path| plugin::unwrap(&path, text, stanzas, &mut **talk))
            .unwrap_or_else(|fault| {
                self.session.set_fault(fault);
                None
            })
    }
}

impl ::age::Identity for Set<'_> {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        self.unwrap_stanzas(std::slice::from_ref(stanza))
    }

    fn unwrap_stanzas(&self, stanzas: &[Stanza]) -> Option<Result<FileKey, DecryptError>> {
        self.identities
            .iter()
            .find_map(|identity| match &identity.0 {
                Kind::X25519(key) => ::age::Identity::unwrap_stanzas(key, stanzas),
                Kind::Plugin { name, text } => self.through_plugin(name, text, stanzas).map(Ok),
            })
    }
}
