//! OAuth of MCP servers: the commands against the official SDK's server behind a real
//! authorization server.

// A test that can't go on has failed.
#![allow(clippy::unwrap_used)]

mod idp;
#[path = "scanner/program.rs"]
mod program;
mod scanner;

mod mcp {
    mod bridge;
    mod client;
    mod commands;
    mod demo;
    mod keyring;
    mod memory;
    mod moving;
    mod older;
    mod script;
    mod server;
    mod unread;
}
