//! Credential protocols of other programs, answered from the vault.
#![forbid(unsafe_code)]

pub mod aws;
pub mod docker;
pub mod exec_provider;
pub mod git;
pub mod records;
