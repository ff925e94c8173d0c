//! The keyring of the operating system: entries read, written and removed, each call with a time
//! limit, every way to fail told apart.
//!
//! | file | what keeps the entries |
//! | --- | --- |
//! | `secret_service` | the Secret Service on the session bus, on Linux and other Unix |
//! | `native` | Keychain and Credential Manager, through `keyring-core` |
//! | `absent` | nothing: built without the feature `keyring` |
//!
//! Invariants: no call waits longer than [`CALL_LIMIT`], or [`PROMPT_LIMIT`] once the person is
//! asked to unlock; nobody is asked unless the caller said so; secrets come and go in locked
//! memory; no error repeats what the service said. What the entries mean is not here (`unlock`,
//! `token_store`).
#![forbid(unsafe_code)]

#[cfg(not(all(feature = "keyring", any(unix, windows))))]
mod absent;
mod bus;
mod fault;
#[cfg(all(feature = "keyring", any(test, target_os = "macos", windows)))]
mod native;
#[cfg(all(feature = "keyring", unix, not(target_os = "macos")))]
mod secret_service;
mod worker;

#[cfg(not(all(feature = "keyring", any(unix, windows))))]
use absent as backend;
#[cfg(all(feature = "keyring", any(target_os = "macos", windows)))]
use native as backend;
#[cfg(all(feature = "keyring", unix, not(target_os = "macos")))]
use secret_service as backend;

pub use bus::Bus;
pub use fault::Fault;

use crate::secret::SecretValue;
use crate::time::UnixMs;
use std::time::Duration;
use worker::Worker;
#[cfg(feature = "keyring")]
use zeroize::Zeroizing;

/// How long one call may take in which nobody is asked anything.
pub const CALL_LIMIT: Duration = Duration::from_secs(5);
/// How long the person may take to unlock the keyring, once the system asks.
pub const PROMPT_LIMIT: Duration = Duration::from_secs(120);
/// The largest secret of an entry in bytes.
pub const MAX_SECRET: usize = 256 * 1024;
/// The longest service, user name, label or attribute of an entry in bytes.
pub const MAX_NAME: usize = 2048;

/// What an entry is found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Whose program it is.
    pub service: String,
    /// Which of its entries.
    pub user: String,
}

impl Name {
    /// A name from its two parts.
    pub fn new(service: impl Into<String>, user: impl Into<String>) -> Self {
        let (service, user) = (service.into(), user.into());
        Self { service, user }
    }
}

/// How an entry is made, if it is not there yet. One that is there keeps its label and attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looks {
    /// What people see in their keyring program.
    pub label: String,
    /// The attribute `application`.
    pub application: String,
}

/// An entry that is there.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Its secret.
    pub secret: SecretValue,
    /// When it was last written, if the keyring tells.
    pub modified: Option<UnixMs>,
}

impl Found {
    /// What the system gave.
    #[cfg(feature = "keyring")]
    fn new(bytes: Zeroizing<Vec<u8>>, modified: Option<UnixMs>) -> Result<Self, Fault> {
        if bytes.len() > MAX_SECRET {
            return Err(Fault::TooLarge);
        }
        let secret = SecretValue::copy_of(&bytes);
        Ok(Self { secret, modified })
    }
}

/// What can be said of the keyring without an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The name of the default collection; empty if the system has no such thing.
    pub collection: String,
    /// True if it has to be unlocked before anything is read.
    pub locked: bool,
}

/// Whether the person may be asked to unlock the keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    /// By a window of the system.
    Allowed,
    /// A locked keyring is [`Fault::Locked`]. (macOS asks all the same.)
    Never,
}

/// The keyring. Nothing is opened before the first call; calls of one value use one connection, one
/// after the other.
pub struct Keyring {
    bus: Bus,
    worker: Worker,
}

impl Keyring {
    /// The keyring of the session that this process runs in.
    pub fn of_session(asking: Asking) -> Self {
        Self::on(Bus::of_session(), asking)
    }

    /// The keyring on a bus.
    pub fn on(bus: Bus, asking: Asking) -> Self {
        let worker = Worker::new(bus.clone(), asking);
        Self { bus, worker }
    }

    /// The same with a shorter limit for calls in which nobody is asked.
    #[cfg(test)]
    fn waiting_at_most(mut self, limit: Duration) -> Self {
        self.worker.wait_at_most(limit);
        self
    }

    /// False if there surely is no keyring: asked of the environment and the file system alone, so
    /// that a machine without one pays nothing.
    pub fn may_exist(&self) -> bool {
        cfg!(feature = "keyring") && self.bus.may_exist()
    }

    /// Whether the keyring answers, and is unlocked. Asks nobody.
    ///
    /// # Errors
    /// Why there is no state: no bus, no service, no collection, no answer.
    pub fn state(&self) -> Result<State, Fault> {
        self.worker.call(|session, _| session.backend()?.state())
    }

    /// An entry; `None` if it is not there.
    ///
    /// # Errors
    /// A [`Fault`].
    pub fn read(&self, name: &Name) -> Result<Option<Found>, Fault> {
        check(name)?;
        let name = name.clone();
        self.worker.call(move |session, asks| {
            session.unlock(asks)?;
            session.backend()?.read(&name)
        })
    }

    /// Gives an entry a new secret, or makes it.
    ///
    /// # Errors
    /// A [`Fault`]; the entry holds the old secret or the new one.
    pub fn write(&self, name: &Name, looks: &Looks, secret: &SecretValue) -> Result<(), Fault> {
        check(name)?;
        if secret.len() > MAX_SECRET || looks.label.len() > MAX_NAME {
            return Err(Fault::TooLarge);
        }
        let (name, looks, secret) = (name.clone(), looks.clone(), secret.clone());
        self.worker.call(move |session, asks| {
            session.unlock(asks)?;
            session.backend()?.write(&name, &looks, secret.expose())
        })
    }

    /// Removes an entry; false if it was not there.
    ///
    /// # Errors
    /// A [`Fault`]; the entry may still be there.
    pub fn remove(&self, name: &Name) -> Result<bool, Fault> {
        check(name)?;
        let name = name.clone();
        self.worker.call(move |session, asks| {
            session.unlock(asks)?;
            session.backend()?.remove(&name)
        })
    }
}

/// Whose entry [`Keyring::check_writable`] makes.
const PROBE: &str = "reseal-keyring-probe";

impl Keyring {
    /// Proves that secrets can be kept: an entry is written, read and removed.
    ///
    /// # Errors
    /// Why they can't.
    pub fn check_writable(&self) -> Result<(), Fault> {
        let mut random = [0; 8];
        crate::sys::random::fill(&mut random);
        let name = Name::new(PROBE, data_encoding::HEXLOWER.encode(&random));
        let looks = Looks {
            label: "Reseal: trial entry, to be removed".to_owned(),
            application: "reseal".to_owned(),
        };
        let secret = SecretValue::copy_of(b"trial");
        self.write(&name, &looks, &secret)?;
        let found = self.read(&name)?;
        self.remove(&name)?;
        if found.is_some_and(|found| found.secret == secret) {
            Ok(())
        } else {
            Err(Fault::NotKept)
        }
    }
}

fn check(name: &Name) -> Result<(), Fault> {
    let fits = |part: &str| (1..=MAX_NAME).contains(&part.len()) && !part.contains('\0');
    if fits(&name.service) && fits(&name.user) {
        Ok(())
    } else {
        Err(Fault::Name)
    }
}

// tests/cli takes it from here too, and more of it.
#[cfg(test)]
#[allow(dead_code)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
