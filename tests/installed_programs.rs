//! Programs that people have already, taking their key from the vault: those that have to be
//! installed first. `tests/run --programs` does that and runs this; plain `cargo test` does not.

// A test that can't go on has failed.
#![allow(clippy::unwrap_used)]

#[path = "cli/world.rs"]
#[allow(dead_code)] // Made for the tests of the command line, which use all of it.
mod world;

mod programs {
    #[allow(dead_code)] // Each test file uses its part.
    mod home;
    #[allow(dead_code)]
    mod http;
    mod installed;
    mod models;
}
