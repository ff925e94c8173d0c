//! SecretRefs: pointers to secrets, in JSON and text form, and the resolve plan
//! (stub: owner "reference").
#![forbid(unsafe_code)]

use crate::name::Alias;
use serde::{Deserialize, Serialize};

/// The kind of place that a ref points into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Source {
    Vault,
    Env,
    File,
    Exec,
}

/// A pointer to a secret. Made only by the parsers of this module, so `id` fits its source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretRef {
    source: Source,
    provider: Alias,
    id: String,
}

impl SecretRef {
    /// The kind of place.
    pub fn source(&self) -> Source {
        self.source
    }
    /// The alias of the configured source provider.
    pub fn provider(&self) -> &Alias {
        &self.provider
    }
    /// The id within the provider.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// Checks `id` against the rules of `source`.
    pub fn new(_source: Source, _provider: Alias, _id: &str) -> Result<Self, RefError> {
        todo!()
    }
}

/// The text form, `source:id` or `source@provider:id`.
impl std::str::FromStr for SecretRef {
    type Err = RefError;
    fn from_str(_text: &str) -> Result<Self, RefError> {
        todo!()
    }
}

impl std::fmt::Display for SecretRef {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}

/// JSON: `{"source","provider","id"}`, exactly these keys; `provider` may be missing on reading.
impl Serialize for SecretRef {
    fn serialize<S: serde::Serializer>(&self, _serializer: S) -> Result<S::Ok, S::Error> {
        todo!()
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: serde::Deserializer<'de>>(_deserializer: D) -> Result<Self, D::Error> {
        todo!()
    }
}

/// Why a ref was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefError {
    /// Not a ref at all.
    #[error("a SecretRef is SOURCE:ID or SOURCE@PROVIDER:ID with source vault, env, file or exec")]
    Form,
}

impl crate::error::Coded for RefError {
    fn code(&self) -> crate::error::Code {
        crate::error::Code::RefInvalid
    }
}
crate::error::failure_from!(RefError);
