//! The only place where both flows meet: refs become a snapshot, changes become a commit.
//!
//! Invariant: persist, publish, acknowledge. A change is durable in the vault before a snapshot
//! shows it, and a snapshot shows it before the caller hears of success.
#![forbid(unsafe_code)]

pub mod open_vault;
pub mod service;
