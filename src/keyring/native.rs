//! The Keychain of macOS and the Credential Manager of Windows, through `keyring-core`.
//!
//! Not here: whether the keyring is locked, and looks of entries, which these systems don't tell or
//! don't have. macOS asks the person by itself.

use super::{Bus, Fault, Found, Looks, Name, State};
use keyring_core::{CredentialStore, Entry, Error};
use std::sync::Arc;
use zeroize::{Zeroize, Zeroizing};

/// The store of the system.
pub(super) struct Backend(Arc<CredentialStore>);

impl Backend {
    pub(super) fn open(_bus: &Bus) -> Result<Self, Fault> {
        Ok(Self(store().map_err(fault)?))
    }

    pub(super) fn state(&self) -> Result<State, Fault> {
        Ok(State {
            collection: String::new(),
            locked: false,
        })
    }

    pub(super) fn unlock(&self) -> Result<(), Fault> {
        Ok(())
    }

    pub(super) fn read(&self, name: &Name) -> Result<Option<Found>, Fault> {
        match self.entry(name)?.get_secret() {
            Err(Error::NoEntry) => Ok(None),
            Err(error) => Err(fault(error)),
            Ok(secret) => Found::new(Zeroizing::new(secret), None).map(Some),
        }
    }

    pub(super) fn write(&self, name: &Name, _looks: &Looks, secret: &[u8]) -> Result<(), Fault> {
        self.entry(name)?.set_secret(secret).map_err(fault)
    }

    pub(super) fn remove(&self, name: &Name) -> Result<bool, Fault> {
        match self.entry(name)?.delete_credential() {
            Err(Error::NoEntry) => Ok(false),
            other => other.map(|()| true).map_err(fault),
        }
    }

    fn entry(&self, name: &Name) -> Result<Entry, Fault> {
        Entry::new_in_store(&self.0, &name.service, &name.user).map_err(fault)
    }
}

#[cfg(target_os = "macos")]
fn store() -> keyring_core::Result<Arc<CredentialStore>> {
    Ok(apple_native_keyring_store::keychain::Store::new()?)
}

#[cfg(windows)]
fn store() -> keyring_core::Result<Arc<CredentialStore>> {
    Ok(windows_native_keyring_store::Store::new()?)
}

/// Elsewhere this file is only tested, with a store in memory.
#[cfg(not(any(target_os = "macos", windows)))]
fn store() -> keyring_core::Result<Arc<CredentialStore>> {
    Ok(keyring_core::mock::Store::new()?)
}

fn fault(error: Error) -> Fault {
    match error {
        // It may hold what the entry holds.
        Error::BadEncoding(mut bytes) | Error::BadDataFormat(mut bytes, _) => {
            bytes.zeroize();
            Fault::failed("the entry is damaged")
        }
        Error::NoStorageAccess(_) => Fault::Refused,
        Error::NoDefaultStore => Fault::NoService,
        Error::TooLong(_, _) => Fault::TooLarge,
        Error::Invalid(_, _) => Fault::Name,
        Error::Ambiguous(_) => Fault::failed("more than one entry has the name"),
        _ => Fault::failed("the system refused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_a_store_are_written_read_and_removed() {
        let backend = Backend::open(&Bus::at("")).unwrap();
        let name = Name::new("service", "user");
        let looks = Looks {
            label: "label".to_owned(),
            application: "application".to_owned(),
        };
        assert_eq!(backend.read(&name), Ok(None));
        assert_eq!(backend.remove(&name), Ok(false));
        for secret in [b"one".as_slice(), b"\0\xff"] {
            backend.write(&name, &looks, secret).unwrap();
            let found = backend.read(&name).unwrap().unwrap();
            assert_eq!((found.secret.expose(), found.modified), (secret, None));
        }
        assert_eq!(backend.remove(&name), Ok(true));
        assert_eq!(backend.read(&name), Ok(None));
        assert!(!backend.state().unwrap().locked);
        assert_eq!(backend.unlock(), Ok(()));
    }

    #[test]
    fn errors_repeat_nothing_of_an_entry() {
        let error = fault(Error::BadEncoding(b"canary".to_vec()));
        assert!(!format!("{error} {error:?}").contains("canary"));
        assert_eq!(fault(Error::TooLong("x".to_owned(), 1)), Fault::TooLarge);
        assert_eq!(
            Fault::failed("a\nb"),
            Fault::Failed("an unnamed error".to_owned())
        );
    }
}
