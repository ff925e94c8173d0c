//! The Secret Service of freedesktop.org, over the session bus.
//!
//! Entries are those of the default collection with the attributes `service` and `username`, as
//! Python's `keyring` and most others lay them out. Secrets cross the bus encrypted
//! (`dh-ietf1024-sha256-aes128-cbc-pkcs7`).

use super::{Bus, Fault, Found, Looks, Name, State};
use crate::time::UnixMs;
use secret_service::blocking::{Collection, Item, SecretService};
use secret_service::{EncryptionType, Error};
use std::collections::HashMap;
use zbus::blocking::connection::Builder;
use zeroize::Zeroizing;

/// What our entries hold is text; programs on libsecret read only what says so.
const CONTENT_TYPE: &str = "text/plain";

/// A connection with a session for secrets.
pub(super) struct Backend(SecretService<'static>);

impl Backend {
    pub(super) fn open(bus: &Bus) -> Result<Self, Fault> {
        let no_bus = |_| Fault::NoBus("it can't be connected to");
        let connection = Builder::address(bus.address()?)
            .and_then(Builder::build)
            .map_err(no_bus)?;
        let service = SecretService::connect_with_existing(EncryptionType::Dh, connection);
        service.map(Self).map_err(fault)
    }

    pub(super) fn state(&self) -> Result<State, Fault> {
        let collection = self.collection()?;
        Ok(State {
            collection: collection.get_label().map_err(fault)?,
            locked: collection.is_locked().map_err(fault)?,
        })
    }

    /// Asks the person, if need be.
    pub(super) fn unlock(&self) -> Result<(), Fault> {
        self.collection()?.unlock().map_err(fault)
    }

    pub(super) fn read(&self, name: &Name) -> Result<Option<Found>, Fault> {
        let collection = self.collection()?;
        let Some(item) = first(&collection, name)? else {
            return Ok(None);
        };
        let secret = match item.get_secret() {
            Err(error) if is_gone(&error) => return Ok(None),
            other => Zeroizing::new(other.map_err(fault)?),
        };
        let modified = item.get_modified().ok().filter(|seconds| *seconds > 0);
        let modified = modified.map(|seconds| UnixMs(seconds.saturating_mul(1000)));
        Found::new(secret, modified).map(Some)
    }

    pub(super) fn write(&self, name: &Name, looks: &Looks, secret: &[u8]) -> Result<(), Fault> {
        let collection = self.collection()?;
        if let Some(item) = first(&collection, name)? {
            match item.set_secret(secret, CONTENT_TYPE) {
                // Somebody removed it meanwhile.
                Err(error) if is_gone(&error) => {}
                other => return other.map_err(fault),
            }
        }
        let mut attributes = attributes(name);
        attributes.insert("application", &looks.application);
        let made = collection.create_item(&looks.label, attributes, secret, true, CONTENT_TYPE);
        made.map(|_| ()).map_err(fault)
    }

    pub(super) fn remove(&self, name: &Name) -> Result<bool, Fault> {
        let collection = self.collection()?;
        let mut any = false;
        // More than one can have the name; none of them may be left.
        for item in collection.search_items(attributes(name)).map_err(fault)? {
            match item.delete() {
                Err(error) if is_gone(&error) => {}
                other => {
                    other.map_err(fault)?;
                    any = true;
                }
            }
        }
        Ok(any)
    }

    fn collection(&self) -> Result<Collection<'_>, Fault> {
        self.0.get_default_collection().map_err(fault)
    }
}

fn attributes(name: &Name) -> HashMap<&str, &str> {
    HashMap::from([("service", name.service.as_str()), ("username", &name.user)])
}

/// The entry of a name; the first of several, as Python's `keyring` takes it.
fn first<'a>(collection: &'a Collection<'a>, name: &Name) -> Result<Option<Item<'a>>, Fault> {
    let found = collection.search_items(attributes(name)).map_err(fault)?;
    Ok(found.into_iter().next())
}

/// True if an entry was removed between finding it and using it.
fn is_gone(error: &Error) -> bool {
    const GONE: [&str; 3] = [
        "org.freedesktop.Secret.Error.NoSuchObject",
        "org.freedesktop.DBus.Error.UnknownObject",
        "org.freedesktop.DBus.Error.UnknownMethod",
    ];
    name_of(error).is_some_and(|name| GONE.contains(&name.as_str()))
}

/// The name of a D-Bus error.
fn name_of(error: &Error) -> Option<String> {
    use zbus::DBusError as _;
    match error {
        Error::Zbus(zbus::Error::MethodError(name, _, _)) => Some(name.to_string()),
        Error::Zbus(zbus::Error::FDO(error)) => Some(error.name().to_string()),
        Error::ZbusFdo(error) => Some(error.name().to_string()),
        _ => None,
    }
}

fn fault(error: Error) -> Fault {
    if let Some(name) = name_of(&error) {
        let last = name.rsplit('.').next().unwrap_or_default();
        return match last {
            "ServiceUnknown" | "NameHasNoOwner" => Fault::NoService,
            _ if name.starts_with("org.freedesktop.DBus.Error.Spawn.") => Fault::NoService,
            "IsLocked" => Fault::Locked,
            "Disconnected" => Fault::NoBus("it went away"),
            _ => Fault::failed(&name),
        };
    }
    match error {
        Error::Unavailable => Fault::NoBus("it can't be connected to"),
        Error::Locked => Fault::Locked,
        Error::NoResult => Fault::NoCollection,
        Error::Prompt | Error::PromptDisconnected => Fault::Refused,
        Error::Zbus(zbus::Error::InputOutput(_)) => Fault::NoBus("it went away"),
        Error::Crypto(_) => Fault::failed("its session is broken"),
        _ => Fault::failed("the answer is not understood"),
    }
}
