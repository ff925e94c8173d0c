//! A real OpenClaw, version 2026.6.1, that takes its secrets from the vault. `tests/run --openclaw`
//! runs this; plain `cargo test` does not, as it installs some 500 MB of packages.

// A test that can't go on has failed.
#![allow(clippy::unwrap_used)]

mod idp;

#[path = "programs/http.rs"]
#[allow(dead_code)] // Made for all programs, each of which uses its part.
mod http;
#[path = "cli/world.rs"]
#[allow(dead_code)] // Made for the tests of the command line, which use all of it.
mod world;

mod openclaw {
    mod account;
    mod exec_provider;
    mod migrated;
    mod model;
    mod runtime;
}
