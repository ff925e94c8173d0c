//! fast-agent itself, and the official Python SDK of MCP that it brings, as the other side of
//! `auth`. `tests/run --fast-agent` installs them and runs this; plain `cargo test` does not.

// A test that can't go on has failed.
#![allow(clippy::unwrap_used)]

mod idp;
#[path = "scanner/program.rs"]
mod program;

#[allow(dead_code)] // Made for tests/mcp.rs, which uses all of it.
mod mcp {
    pub mod client;
    pub mod server;
}

/// A desktop with a keyring.
#[path = "."] // Else its files would be looked for in a folder of its name.
mod keyring {
    use reseal::keyring::{Asking, Bus, Keyring};

    // Each user of the fixture takes what it needs.
    #[allow(dead_code)]
    #[path = "../src/keyring/fixture.rs"]
    pub mod fixture;
}

mod fast_agent {
    mod entries;
    mod lists;
    mod python;
}
