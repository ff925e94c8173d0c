//! A YAML file, of which a server of the wrong type concerns nobody but itself.
//!
//! The reader works through the file as it comes and stops at what does not fit. So it starts again
//! and skips the server at which it stopped, as long as there are few of those.

use super::ServerWire;
use crate::error::{Code, Failure};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_saphyr::Location;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

/// The most servers of the wrong type: each costs one more reading.
pub const MAX_MISTYPED: usize = 32;

/// The servers of a file.
#[derive(Default)]
pub(super) struct Read {
    /// Those that fit.
    pub(super) wires: BTreeMap<String, Option<ServerWire>>,
    /// Those that don't, and where.
    pub(super) mistyped: BTreeMap<String, Failure>,
}

/// Reads `mcp.servers`. `file` is what errors call it, `named` how a server's name may be shown.
///
/// # Errors
/// `config.invalid` if the file as a whole is not readable.
pub(super) fn read(text: &str, file: &str, named: fn(&str) -> String) -> Result<Read, Failure> {
    let invalid = |place: Option<Location>, what: &str| {
        let place = place.map_or_else(String::new, |place| {
            format!(", line {}, column {}", place.line(), place.column())
        });
        Failure::new(Code::ConfigInvalid, format!("{file}{place}: {what}"))
    };
    let mut mistyped = BTreeMap::new();
    loop {
        let at = RefCell::new(None);
        let servers = Servers {
            skipped: &mistyped,
            at: &at,
        };
        let top = Member("mcp", Member("servers", servers));
        let read = serde_saphyr::with_deserializer_from_str(text, |yaml| top.deserialize(yaml));
        let error = match read {
            Ok(wires) => return Ok(Read { wires, mistyped }),
            Err(error) => error,
        };
        match at.take() {
            Some(name) if mistyped.len() < MAX_MISTYPED => {
                let what = format!(
                    "mcp.servers.{}: a member is of the wrong type",
                    named(&name)
                );
                mistyped.insert(name, invalid(error.location(), &what));
            }
            _ => {
                let what = "not readable as YAML, or a member of the wrong type";
                return Err(invalid(error.location(), what));
            }
        }
    }
}

/// Reads one member of a mapping and skips the others; the default if there is none, or nothing in
/// its place.
struct Member<S>(&'static str, S);

impl<'de, S> DeserializeSeed<'de> for Member<S>
where
    S: DeserializeSeed<'de>,
    S::Value: Default,
{
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S> Visitor<'de> for Member<S>
where
    S: DeserializeSeed<'de>,
    S::Value: Default,
{
    type Value = S::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_none<E>(self) -> Result<S::Value, E> {
        Ok(S::Value::default())
    }

    fn visit_unit<E>(self) -> Result<S::Value, E> {
        Ok(S::Value::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<S::Value, A::Error> {
        let mut found = S::Value::default();
        let mut seed = Some(self.1);
        while let Some(name) = map.next_key::<String>()? {
            match (name == self.0, seed.take()) {
                (true, Some(seed)) => found = map.next_value_seed(seed)?,
                (true, None) => return Err(A::Error::duplicate_field(self.0)),
                (false, unused) => {
                    seed = unused;
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Reads the servers, but for those that are skipped.
struct Servers<'a> {
    skipped: &'a BTreeMap<String, Failure>,
    /// The server that is being read.
    at: &'a RefCell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Servers<'_> {
    type Value = BTreeMap<String, Option<ServerWire>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Servers<'_> {
    type Value = BTreeMap<String, Option<ServerWire>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of servers")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut wires = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if self.skipped.contains_key(&name) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            self.at.replace(Some(name.clone()));
            wires.insert(name, map.next_value()?);
            self.at.replace(None);
        }
        Ok(wires)
    }
}
