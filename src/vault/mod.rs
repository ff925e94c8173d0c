//! The vault file, format version 1: bytes in, types out. No I/O.
//!
//! Specification: `docs/vault-format.md`; its vectors: `tests/vectors/vault`. Invariants: a
//! [`Vault`] exists only behind a verified [`Header`]; every frame that took part passed its MAC
//! in an unbroken chain; values stay sealed until [`Vault::open_value`]; a change is bytes first
//! ([`Vault::prepare`]), made durable by someone else, and only then state ([`Vault::apply`]).
//!
//! Three decisions that the specification leaves to an implementation:
//! * A **rename** seals the value again, because version and kind are bound into its ciphertext;
//!   `prepare` asks for the old ciphertext through a function that the caller gives.
//! * A **transaction** larger than a frame is split over DELTA frames; only the last has COMMIT.
//! * **Compaction needs no root key**: the header's MAC is made with K_hdr, a sub-key; slots are
//!   copied verbatim. Only changing slots and rekeying need the root key.
//!
//! Deliberately not here: files and locks (`store`), prompts and identities (`unlock`), the clock
//! and randomness (arguments).
#![forbid(unsafe_code)]

pub mod anchor;
mod aside;
mod create;
mod error;
mod frame;
mod header;
mod index;
mod keys;
pub mod limits;
mod meta;
pub mod op;
mod prepare;
mod record;
mod replay;
pub mod slot;
mod snapshot;
mod state;
pub mod value;
mod wire;

pub use crate::crypto::derive::{Root, RootKey};
pub use create::{Created, NewVault, create};
pub use error::VaultError;
pub use frame::{FRAME_HEAD, FrameHead};
pub use header::{Header, MAGIC, MAJOR, SUITE};
pub use keys::SubKeys;
pub use limits::KEPT_VERSIONS;
pub use meta::{SlotNote, VaultMeta};
pub use prepare::Prepared;
pub use record::{
    Change, Expect, Head, Intent, Meta, Outcome, ReadValue, RecordId, RecordInfo, RecordKind,
    ValueAt, VersionInfo,
};
pub use replay::{CatchUp, Replay, Step};
pub use slot::{NewSlot, Slot, SlotKind};
pub use snapshot::{Rewrite, Rewritten, SnapshotWriter};
pub use state::{Usage, Vault};
pub use value::Room;

#[cfg(test)]
mod tests;
