//! Credential protocols of other programs, answered from the vault.
#![forbid(unsafe_code)]

pub mod exec_provider;
