//! OAuth against a real authorization server: sign-in, renewal, revocation, and what goes wrong on
//! the way. The server's reuse detection is the witness that no refresh token is sent twice.

// A test that can't go on has failed.
#![allow(clippy::unwrap_used)]

mod idp;
#[path = "scanner/program.rs"]
mod program;
mod scanner;

mod oauth {
    mod app;
    mod callback;
    mod chromium;
    mod commands;
    mod device;
    mod memory;
    mod tokens;
}
