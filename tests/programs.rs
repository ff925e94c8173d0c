//! Programs that people have already, taking their key from the vault: the real git, and the
//! protocols of the others. The other programs themselves are in `tests/installed_programs.rs`.

// A test that can't go on has failed.
#![allow(clippy::unwrap_used)]

#[path = "cli/world.rs"]
#[allow(dead_code)] // Made for the tests of the command line, which use all of it.
mod world;

mod programs {
    mod aws;
    mod docker;
    mod git;
    mod home;
    mod http;
}
