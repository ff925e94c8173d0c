//! SecretRefs: pointers to secrets, in JSON and text form, and the resolve plan.
//!
//! | what | where |
//! | --- | --- |
//! | [`SecretRef`], its JSON and text forms, [`Source`], [`Defaults`], [`RefError`] | here |
//! | [`SecretInput`]: what stands at a place where a secret belongs, older spellings | [`input`] |
//! | [`plan::ResolvePlan`]: dedupe, group by source and provider, batches | [`plan`] |
//! | [`embedded`]: refs inside env files and templates | [`embedded`] |
//!
//! Invariants: a [`SecretRef`] that exists has an id that its source takes; no error of this module
//! holds a value that stood where a ref was expected. Nothing here resolves a ref.
#![forbid(unsafe_code)]

pub mod embedded;
pub mod input;
pub mod plan;

pub use input::{SecretInput, is_env_name};

use crate::name::{Alias, RecordName, is_exec_id};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::str::FromStr;
use std::sync::{Arc, LazyLock};

/// The longest id of a `file` ref in bytes. (Ids of the other sources are shorter by pattern.)
pub const MAX_FILE_ID: usize = 1024;
/// The longest text form of a ref in bytes: source, alias and the longest id.
pub const MAX_REF_TEXT: usize = MAX_FILE_ID + crate::name::MAX_ALIAS + 8;
/// The id of a `file` ref whose provider is in mode `singleValue`.
pub const SINGLE_VALUE_ID: &str = "value";

/// The kind of place that a ref points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A record of a vault; the id is its name.
    Vault,
    /// An environment variable; the id is its name.
    Env,
    /// A file; the id is a JSON pointer, or [`SINGLE_VALUE_ID`].
    File,
    /// The output of a command; the id is what it is asked for.
    Exec,
}

impl Source {
    /// Every source.
    pub const ALL: [Source; 4] = [Source::Vault, Source::Env, Source::File, Source::Exec];

    /// The name in JSON and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Vault => "vault",
            Source::Env => "env",
            Source::File => "file",
            Source::Exec => "exec",
        }
    }

    /// The rule for the ids of this source, for messages.
    pub const fn id_rule(self) -> &'static str {
        match self {
            Source::Vault => "a record name",
            Source::Env => "an environment name, [A-Z][A-Z0-9_]{0,127}",
            Source::File => "a JSON pointer that starts with /, or the word value",
            Source::Exec => "[A-Za-z0-9][A-Za-z0-9._:/#-]{0,255} without a segment . or ..",
        }
    }

    /// True if `id` fits this source.
    pub fn takes(self, id: &str) -> bool {
        match self {
            Source::Vault | Source::Exec => is_exec_id(id),
            Source::Env => is_env_name(id),
            Source::File => id == SINGLE_VALUE_ID || is_json_pointer(id),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Source {
    type Err = RefError;
    fn from_str(text: &str) -> Result<Self, RefError> {
        Source::ALL
            .into_iter()
            .find(|source| source.as_str() == text)
            .ok_or(RefError::Source)
    }
}

/// An absolute JSON pointer (RFC 6901) without control characters, at most [`MAX_FILE_ID`] bytes.
/// The root alone (`""`) is not a secret. A key named `..` is a key like any other: a pointer walks
/// one document and can't leave it.
fn is_json_pointer(id: &str) -> bool {
    let escapes_ok = id
        .split('~')
        .skip(1)
        .all(|after| after.starts_with('0') || after.starts_with('1'));
    let chars_ok = !id.chars().any(char::is_control);
    id.starts_with('/') && id.len() <= MAX_FILE_ID && escapes_ok && chars_ok
}

/// A pointer to a secret, cheap to clone, to compare and to look up. Made only by the parsers of
/// this module, so `id` fits its source.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretRef {
    /// Of the parts: an activation looks every ref up in one table after the other.
    hash: u64,
    parts: Arc<Parts>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Parts {
    source: Source,
    provider: Alias,
    id: String,
}

impl SecretRef {
    /// Checks `id` against the rules of `source`.
    pub fn new(source: Source, provider: Alias, id: &str) -> Result<Self, RefError> {
        if source.takes(id) {
            Ok(Self::of(source, provider, id))
        } else {
            Err(RefError::Id(source))
        }
    }

    /// The ref to a record of the state folder's own vault.
    pub fn to_record(name: &RecordName) -> Self {
        Self::of(Source::Vault, Alias::default_alias(), name.as_str())
    }

    fn of(source: Source, provider: Alias, id: &str) -> Self {
        // Keyed anew in each process: nobody can write a config of refs that collide.
        static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let parts = Parts {
            source,
            provider,
            id: id.to_owned(),
        };
        Self {
            hash: KEYED.hash_one(&parts),
            parts: Arc::new(parts),
        }
    }

    /// The kind of place.
    pub fn source(&self) -> Source {
        self.parts.source
    }

    /// The alias of the configured source provider.
    pub fn provider(&self) -> &Alias {
        &self.parts.provider
    }

    /// The id within the provider.
    pub fn id(&self) -> &str {
        &self.parts.id
    }

    /// The record that a `vault` ref names; `None` for the other sources.
    pub fn record(&self) -> Option<RecordName> {
        if self.source() == Source::Vault {
            self.id().parse().ok()
        } else {
            None
        }
    }

    /// Reads the text form; a missing provider means the default of the source.
    pub fn parse_text(text: &str, defaults: &Defaults) -> Result<Self, RefError> {
        if text.len() > MAX_REF_TEXT {
            return Err(RefError::TooLong);
        }
        let (head, id) = text.split_once(':').ok_or(RefError::Form)?;
        let (source, provider) = match head.split_once('@') {
            Some((source, alias)) => (
                source.parse()?,
                alias.parse().map_err(|_| RefError::Provider)?,
            ),
            None => {
                let source: Source = head.parse()?;
                (source, defaults.alias(source).clone())
            }
        };
        Self::new(source, provider, id)
    }

    /// Reads the JSON form: an object with the keys `source`, `provider` and `id` and no other;
    /// a missing `provider` means the default of the source.
    pub fn from_json(value: &Value, defaults: &Defaults) -> Result<Self, RefError> {
        let object = value.as_object().ok_or(RefError::NotObject)?;
        let (mut source, mut provider, mut id) = (None, None, None);
        for (key, value) in object {
            match key.as_str() {
                "source" => source = Some(value),
                "provider" => provider = Some(value),
                "id" => id = Some(value),
                other => return Err(RefError::UnknownKey(shown_key(other))),
            }
        }
        let source: Source = text_member(source, "source")?.parse()?;
        let id = text_member(id, "id")?;
        let provider = match provider {
            None => defaults.alias(source).clone(),
            Some(_) => text_member(provider, "provider")?
                .parse()
                .map_err(|_| RefError::Provider)?,
        };
        Self::new(source, provider, id)
    }

    /// The JSON form: always all three keys.
    pub fn to_json(&self) -> Value {
        let mut object = Map::with_capacity(3);
        object.insert("source".to_owned(), self.source().as_str().into());
        object.insert("provider".to_owned(), self.provider().as_str().into());
        object.insert("id".to_owned(), self.id().into());
        Value::Object(object)
    }
}

/// The longest key that a message repeats, in characters.
const SHOWN_KEY: usize = 40;

/// A key as a message may show it: cut, without control characters. Keys are names, not values.
fn shown_key(key: &str) -> String {
    let shown: String = key
        .chars()
        .filter(|c| !c.is_control())
        .take(SHOWN_KEY)
        .collect();
    shown
}

fn text_member<'a>(member: Option<&'a Value>, key: &'static str) -> Result<&'a str, RefError> {
    match member {
        None => Err(RefError::MissingKey(key)),
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(RefError::NotText(key)),
    }
}

impl Hash for SecretRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Ord for SecretRef {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts.cmp(&other.parts)
    }
}

impl PartialOrd for SecretRef {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The text form, `source:id` or `source@provider:id`; without provider it means `default`.
impl FromStr for SecretRef {
    type Err = RefError;
    fn from_str(text: &str) -> Result<Self, RefError> {
        Self::parse_text(text, &Defaults::default())
    }
}

/// The text form that [`FromStr`] reads back: `@provider` is left out for the alias `default`.
impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.source().as_str())?;
        if self.provider().as_str() != "default" {
            write!(f, "@{}", self.provider())?;
        }
        write!(f, ":{}", self.id())
    }
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretRef({self})")
    }
}

/// JSON: `{"source","provider","id"}`, exactly these keys; `provider` may be missing on reading.
impl Serialize for SecretRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut object = serializer.serialize_struct("SecretRef", 3)?;
        object.serialize_field("source", &self.source())?;
        object.serialize_field("provider", self.provider())?;
        object.serialize_field("id", self.id())?;
        object.end()
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Wire {
            source: Source,
            provider: Option<Alias>,
            id: String,
        }
        let wire = Wire::deserialize(deserializer)?;
        let provider = wire.provider.unwrap_or_else(Alias::default_alias);
        Self::new(wire.source, provider, &wire.id).map_err(serde::de::Error::custom)
    }
}

/// The alias that a ref without `provider` means, per source (`secrets.defaults` of the config).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults([Alias; 4]);

impl Default for Defaults {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Alias::default_alias()))
    }
}

impl Defaults {
    /// The default alias of a source.
    pub fn alias(&self, source: Source) -> &Alias {
        &self.0[source as usize]
    }

    /// Sets the default alias of a source.
    pub fn set(&mut self, source: Source, alias: Alias) {
        self.0[source as usize] = alias;
    }
}

/// Why something is not a ref. Holds no value that stood there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefError {
    /// The text has no `source:id` form.
    #[error("a SecretRef is SOURCE:ID or SOURCE@PROVIDER:ID with source vault, env, file or exec")]
    Form,
    /// The source is none of the four.
    #[error("the source of a SecretRef is vault, env, file or exec")]
    Source,
    /// The provider is no alias.
    #[error("the provider of a SecretRef matches [a-z][a-z0-9_-]{{0,63}}")]
    Provider,
    /// The id does not fit the source.
    #[error("the id of a ref with source {0} is {rule}", rule = .0.id_rule())]
    Id(Source),
    /// The text is longer than any ref.
    #[error("a SecretRef has at most {MAX_REF_TEXT} bytes")]
    TooLong,
    /// Neither an object nor a string.
    #[error("neither a SecretRef object nor a string")]
    NotObject,
    /// The object has a fourth key.
    #[error("not a SecretRef: it has exactly the keys source, provider and id, but there is {0:?}")]
    UnknownKey(String),
    /// The object lacks a key.
    #[error("not a SecretRef: the key {0} is missing")]
    MissingKey(&'static str),
    /// A member is not a non-empty string.
    #[error("not a SecretRef: {0} is not a non-empty string")]
    NotText(&'static str),
    /// The placeholder that a runtime shows instead of a value.
    #[error("a redaction placeholder stands where a secret belongs")]
    Redacted,
}

impl crate::error::Coded for RefError {
    fn code(&self) -> crate::error::Code {
        crate::error::Code::RefInvalid
    }
}
crate::error::failure_from!(RefError);

#[cfg(test)]
mod tests;
