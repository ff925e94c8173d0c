//! OAuth of MCP servers: the commands against the official SDK's server behind a real
//! authorization server.

// A test that can't go on has failed.
#![allow(clippy::unwrap_used)]

mod idp;

mod mcp {
    mod bridge;
    mod client;
    mod commands;
    mod demo;
    mod keyring;
    mod moving;
    mod older;
    mod script;
    mod server;
    mod unread;
}
