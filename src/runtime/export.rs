//! The payload of `vault export`: everything in a vault as one JSON document, and back.
//!
//! The form: `docs/export.md`. Invariants: what [`write()`] wrote, [`read`] and [`plan`] bring
//! back whole: names, kinds, metadata with unknown members, values byte for byte, older versions in
//! their order; a plan changes nothing that is the same already, and never writes over another
//! value unless told to.
//!
//! Deliberately not here: the age file around it ([`crate::unlock::age`]).

use super::open_vault::OpenVault;
use crate::error::{Code, Coded, Failure, failure_from};
use crate::name::RecordName;
use crate::secret::json::{self, Part};
use crate::secret::{MAX_VALUE, SecretValue};
use crate::time::UnixMs;
use crate::vault::{Change, Expect, Meta, RecordKind, limits};
use data_encoding::{BASE64, HEXLOWER};
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What `format` says.
pub const FORMAT: &str = "reseal-export";
/// The version of the payload that this program writes and reads.
pub const VERSION: u32 = 1;

/// Why a payload was refused, or a plan can't be carried out.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// Not JSON, or not this document; says where.
    #[error("it is not an export: line {line}, column {column}")]
    Form {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
    /// Another format, or a newer version.
    #[error("it is not an export of version {VERSION}")]
    Version,
    /// A record that no vault can hold.
    #[error("the record {0} is not valid")]
    Record(String),
    /// Records that are there with other content.
    #[error("these records are there with other content: {0}")]
    Conflict(String),
}

impl Coded for ExportError {
    fn code(&self) -> Code {
        match self {
            ExportError::Form { .. } | ExportError::Version | ExportError::Record(_) => {
                Code::InputInvalid
            }
            ExportError::Conflict(_) => Code::RecordExists,
        }
    }
}
failure_from!(ExportError);

/// What is exported.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Older versions too.
    pub history: bool,
    /// When.
    pub now: UnixMs,
}

/// One version of a record.
struct Version {
    number: u64,
    kind: String,
    meta: String,
    value: SecretValue,
}

/// The payload, and the number of records in it.
///
/// # Errors
/// As [`OpenVault::get`].
pub fn write(vault: &OpenVault, options: &Options) -> Result<(SecretValue, usize), Failure> {
    let mut records = Vec::new();
    for info in vault.list() {
        let mut versions = Vec::new();
        let history = vault.history(&info.name)?;
        for old in history
            .iter()
            .filter(|old| options.history || old.version == info.version)
        {
            let (info, value) = vault.get(&info.name, Some(old.version))?;
            versions.push(Version {
                number: info.version,
                kind: to_json(&info.kind)?,
                meta: to_json(&info.meta)?,
                value,
            });
        }
        records.push((info.name, versions));
    }
    let count = records.len();
    let header = vault.vault().header();
    let vault_id = HEXLOWER.encode(&header.vault_id());
    let generation = vault.generation().to_string();
    let (version, now) = (VERSION.to_string(), options.now.0.to_string());
    let payload = json::build(|sink| {
        sink(b"{");
        let head = [
            ("format", Part::Text(FORMAT)),
            ("version", Part::Json(&version)),
            ("vaultId", Part::Text(&vault_id)),
            ("generation", Part::Json(&generation)),
            ("exportedAt", Part::Json(&now)),
        ];
        for (name, part) in head {
            member(name, sink);
            part.write(sink);
            sink(b",\n");
        }
        member("records", sink);
        sink(b"[");
        for (i, (name, versions)) in records.iter().enumerate() {
            sink(if i == 0 { b"\n" } else { b",\n" });
            write_record(name, versions, sink);
        }
        sink(b"\n]}\n");
    });
    Ok((payload, count))
}

fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::new(Code::Bug, error.to_string()))
}

fn member(name: &str, sink: &mut dyn FnMut(&[u8])) {
    Part::Text(name).write(sink);
    sink(b":");
}

/// The current version comes first; older ones stand in `history`, oldest first.
fn write_record(name: &RecordName, versions: &[Version], sink: &mut dyn FnMut(&[u8])) {
    sink(b"{");
    member("name", sink);
    Part::Text(name.as_str()).write(sink);
    let Some((current, older)) = versions.split_first() else {
        return sink(b"}");
    };
    sink(b",");
    write_version(current, sink);
    if !older.is_empty() {
        sink(b",");
        member("history", sink);
        sink(b"[");
        for (i, version) in older.iter().rev().enumerate() {
            sink(if i == 0 { b"{" } else { b",{" });
            write_version(version, sink);
            sink(b"}");
        }
        sink(b"]");
    }
    sink(b"}");
}

fn write_version(version: &Version, sink: &mut dyn FnMut(&[u8])) {
    let number = version.number.to_string();
    let members = [
        ("version", Part::Json(&number)),
        ("kind", Part::Json(&version.kind)),
        ("meta", Part::Json(&version.meta)),
        json::member_of(&version.value),
    ];
    for (i, (name, part)) in members.iter().enumerate() {
        if i > 0 {
            sink(b",");
        }
        member(name, sink);
        part.write(sink);
    }
}

/// An export, read.
#[derive(Deserialize)]
pub struct Export {
    format: String,
    version: u32,
    #[serde(default)]
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    name: RecordName,
    #[serde(flatten)]
    current: Stored,
    #[serde(default)]
    history: Vec<Stored>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    kind: RecordKind,
    #[serde(default)]
    meta: Meta,
    #[serde(default)]
    value: Option<Text>,
    #[serde(default)]
    value_base64: Option<Base64>,
}

impl Stored {
    fn into_value(self, name: &RecordName) -> Result<(RecordKind, Meta, SecretValue), ExportError> {
        let value = match (self.value, self.value_base64) {
            (Some(value), None) => value.0,
            (None, Some(value)) => value.0,
            (None, None) | (Some(_), Some(_)) => {
                return Err(ExportError::Record(name.to_string()));
            }
        };
        if value.len() > MAX_VALUE {
            return Err(ExportError::Record(name.to_string()));
        }
        Ok((self.kind, self.meta, value))
    }
}

/// A JSON string, straight into locked memory.
struct Text(SecretValue);
/// A JSON string in base64, straight into locked memory.
struct Base64(SecretValue);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keep;
        impl Visitor<'_> for Keep {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(SecretValue::copy_of(text.as_bytes())))
            }
        }
        deserializer.deserialize_str(Keep)
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        let encoded = text.0.expose();
        let longest = BASE64
            .decode_len(encoded.len())
            .map_err(|_| D::Error::custom("base64"))?;
        let mut len = 0;
        let decoded = SecretValue::try_build(longest, |target| {
            len = BASE64
                .decode_mut(encoded, target)
                .map_err(|_| D::Error::custom("base64"))?;
            Ok::<(), D::Error>(())
        })?;
        Ok(Base64(decoded.slice(0..len)))
    }
}

/// Reads a payload.
///
/// # Errors
/// Never with a byte of the payload in it.
pub fn read(payload: &SecretValue) -> Result<Export, ExportError> {
    let export: Export =
        serde_json::from_slice(payload.expose()).map_err(|error| ExportError::Form {
            line: error.line(),
            column: error.column(),
        })?;
    if export.format != FORMAT || export.version != VERSION {
        return Err(ExportError::Version);
    }
    if export.records.len() > limits::MAX_RECORDS {
        return Err(ExportError::Record("(too many)".to_owned()));
    }
    Ok(export)
}

/// What an import does.
pub struct Plan {
    /// The changes; one commit.
    pub changes: Vec<Change>,
    /// Records that are new.
    pub added: usize,
    /// Records that get other content.
    pub replaced: usize,
    /// Records that are the same already.
    pub same: usize,
}

/// Compares an export with a vault.
///
/// # Errors
/// [`ExportError::Conflict`] naming every record that is there with other content, unless
/// `overwrite`.
pub fn plan(vault: &OpenVault, export: Export, overwrite: bool) -> Result<Plan, Failure> {
    let mut plan = Plan {
        changes: Vec::new(),
        added: 0,
        replaced: 0,
        same: 0,
    };
    let mut conflicts = Vec::new();
    for record in export.records {
        let name = record.name;
        let (kind, meta, value) = record.current.into_value(&name)?;
        let there = match vault.get(&name, None) {
            Ok(there) => Some(there),
            Err(failure) if failure.code == Code::RecordAbsent => None,
            Err(failure) => return Err(failure),
        };
        match there {
            Some((info, old)) if old == value && info.kind == kind && info.meta == meta => {
                plan.same += 1;
                continue;
            }
            Some((info, _)) if overwrite => {
                plan.replaced += 1;
                let expect = Expect::Version(info.version);
                plan.changes.push(Change::Put {
                    name,
                    kind,
                    meta,
                    value,
                    expect,
                });
                continue;
            }
            Some(_) => {
                conflicts.push(name.to_string());
                continue;
            }
            None => plan.added += 1,
        }
        let mut expect = Expect::Absent;
        for old in record.history {
            let (kind, meta, value) = old.into_value(&name)?;
            plan.changes.push(Change::Put {
                name: name.clone(),
                kind,
                meta,
                value,
                expect,
            });
            expect = Expect::Any;
        }
        plan.changes.push(Change::Put {
            name,
            kind,
            meta,
            value,
            expect,
        });
    }
    if conflicts.is_empty() {
        return Ok(plan);
    }
    Err(ExportError::Conflict(conflicts.join(", ")).into())
}
