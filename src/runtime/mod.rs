//! The only place where both flows meet: refs become a snapshot, changes become a commit.
//!
//! | file | what |
//! | --- | --- |
//! | `service` | what can be asked: requests, replies, values beside them |
//! | `local` | [`Runtime`]: answers requests; [`local::Local`] does for one command |
//! | `open_vault` | the vault file, the opened vault and the anchor, held together |
//! | `surroundings` | what a runtime has around it |
//! | `ground` | what is read from config and profiles: every ref, active or not |
//! | `resolve` | refs to values, grouped and in parallel |
//! | `refresh` | a fresh access token of an OAuth record; the only sender of refresh tokens |
//! | `probe` | does a provider's API take a credential |
//! | `prove` | does somebody know a keyslot's secret |
//! | `values` | what `vault` refs give |
//! | `activate` | all active refs to a snapshot, published in one swap |
//! | `export` | everything in a vault as one document, and back |
//!
//! Invariant: persist, publish, acknowledge. A change is durable in the vault before a snapshot
//! shows it, and a snapshot shows it before the caller hears of success.
#![forbid(unsafe_code)]

pub mod activate;
mod auto_seal;
pub mod export;
#[cfg(test)]
pub(crate) mod fixture;
pub mod ground;
pub mod local;
pub mod memory;
pub mod open_vault;
mod other_vaults;
pub mod probe;
mod prove;
pub mod refresh;
pub mod resolve;
pub mod service;
pub mod status;
mod surroundings;
mod values;

pub use local::Runtime;

#[cfg(test)]
mod tests;
