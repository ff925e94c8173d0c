//! No keyring: the program was built without, or for a system that has none.

use super::{Bus, Fault, Found, Looks, Name, State};

/// What can't be opened.
pub(super) enum Backend {}

impl Backend {
    pub(super) fn open(_bus: &Bus) -> Result<Self, Fault> {
        Err(Fault::NotBuilt)
    }

    pub(super) fn state(&self) -> Result<State, Fault> {
        match *self {}
    }

    pub(super) fn unlock(&self) -> Result<(), Fault> {
        match *self {}
    }

    pub(super) fn read(&self, _name: &Name) -> Result<Option<Found>, Fault> {
        match *self {}
    }

    pub(super) fn write(&self, _name: &Name, _looks: &Looks, _secret: &[u8]) -> Result<(), Fault> {
        match *self {}
    }

    pub(super) fn remove(&self, _name: &Name) -> Result<bool, Fault> {
        match *self {}
    }
}
