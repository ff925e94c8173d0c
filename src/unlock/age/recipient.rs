//! Whom a file is encrypted to.

use super::{AgeError, Session, plugin};
use ::age::{EncryptError, tag, tagpq, x25519};
use age_core::format::{FileKey, Stanza};
use age_core::primitives::bech32_decode;
use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;

/// The longest recipient in characters; a post-quantum one has about 2,000.
pub const MAX_RECIPIENT: usize = 8192;

/// Somebody that a file can be encrypted to. `Display` gives the text that it was parsed from.
#[derive(Clone)]
pub struct Recipient {
    text: String,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    X25519(x25519::Recipient),
    /// A hardware key (P-256) of the kind whose owner can be recognised.
    Tag(tag::Recipient),
    /// The same with ML-KEM-768.
    TagPq(Box<tagpq::Recipient>),
    Plugin(String),
}

impl Recipient {
    /// The plugin that it needs, if any.
    pub fn plugin(&self) -> Option<&str> {
        match &self.kind {
            Kind::Plugin(name) => Some(name),
            Kind::X25519(_) | Kind::Tag(_) | Kind::TagPq(_) => None,
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({})", self.text)
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Recipient {}

/// Parses a recipient as it stands on a command line: `age1…` (X25519), `age1tag1…`,
/// `age1tagpq1…` (hardware keys), or `age1NAME1…` (a plugin's).
///
/// # Errors
/// [`AgeError::Recipient`] for anything else; SSH keys are named as what they are.
pub fn parse_recipient(text: &str) -> Result<Recipient, AgeError> {
    let text = text.trim();
    if text.len() > MAX_RECIPIENT {
        return Err(AgeError::Recipient("it is longer than 8192 characters"));
    }
    if text.starts_with("ssh-") {
        return Err(AgeError::Recipient(
            "SSH keys are not supported, use an age1… recipient",
        ));
    }
    if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        return Err(AgeError::Recipient(
            "it is a secret key, the recipient starts with age1",
        ));
    }
    let kind = if let Ok(recipient) = text.parse() {
        Kind::X25519(recipient)
    } else if let Ok(recipient) = text.parse() {
        Kind::Tag(recipient)
    } else if let Ok(recipient) = text.parse() {
        Kind::TagPq(Box::new(recipient))
    } else {
        Kind::Plugin(plugin_name(text)?)
    };
    Ok(Recipient {
        text: text.to_owned(),
        kind,
    })
}

fn plugin_name(text: &str) -> Result<String, AgeError> {
    bech32_decode(
        text,
        |_| AgeError::Recipient("it does not start with age1, or has a typing error"),
        |_| Ok(()),
        |hrp, _| match hrp.as_str().strip_prefix("age1") {
            // These are ours: a text that got here has a key that is not valid.
            Some("tag" | "tagpq") => Err(AgeError::Recipient("its key is not valid")),
            Some(name) if plugin::is_name(name) => Ok(name.to_owned()),
            Some(_) => Err(AgeError::Recipient("it names no valid plugin")),
            None if hrp.as_str() == "age" => Err(AgeError::Recipient("its key is not valid")),
            None => Err(AgeError::Recipient("it does not start with age1")),
        },
    )
}

/// The age crate's form of recipients; those of one plugin go to it together.
pub(super) fn wrappers<'a>(
    recipients: &'a [Recipient],
    session: &Rc<Session<'a>>,
) -> Vec<Box<dyn ::age::Recipient + 'a>> {
    let mut wrappers: Vec<Box<dyn ::age::Recipient + 'a>> = Vec::new();
    let mut plugins: Vec<&str> = Vec::new();
    for recipient in recipients {
        match &recipient.kind {
            Kind::X25519(key) => wrappers.push(Box::new(key.clone())),
            Kind::Tag(key) => wrappers.push(Box::new(key.clone())),
            Kind::TagPq(key) => wrappers.push(Box::new(key.as_ref().clone())),
            Kind::Plugin(name) if plugins.contains(&name.as_str()) => {}
            Kind::Plugin(name) => {
                plugins.push(name);
                let theirs = recipients
                    .iter()
                    .filter(|other| other.plugin() == Some(name));
                let texts = theirs.map(|other| other.text.as_str()).collect();
                let session = Rc::clone(session);
                wrappers.push(Box::new(ThroughPlugin {
                    name,
                    texts,
                    session,
                }));
            }
        }
    }
    wrappers
}

/// All recipients of one plugin.
struct ThroughPlugin<'a> {
    name: &'a str,
    texts: Vec<&'a str>,
    session: Rc<Session<'a>>,
}

impl ::age::Recipient for ThroughPlugin<'_> {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let mut talk = self.session.talk.borrow_mut();
        plugin::locate(self.name, self.session.allow)
            .and_then(|path| plugin::wrap(&path, &self.texts, file_key, &mut **talk))
            .map_err(|fault| {
                self.session.set_fault(fault);
                // The session holds what really happened.
                EncryptError::MissingRecipients
            })
    }
}
