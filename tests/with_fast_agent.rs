//! fast-agent itself, and the official Python SDK of MCP that it brings, as the other side of
//! `auth`. `tests/run --fast-agent` installs them and runs this; plain `cargo test` does not.

// A test that can't go on has failed.
#![allow(clippy::unwrap_used)]

mod idp;

#[allow(dead_code)] // Made for tests/mcp.rs, which uses all of it.
mod mcp {
    pub mod client;
    pub mod server;
}

mod fast_agent {
    mod lists;
    mod python;
}
