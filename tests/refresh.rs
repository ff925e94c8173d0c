//! Tokens refreshed by the program itself, as a user and a daemon do it, against an authorization
//! server on loopback that rotates them and stalls when it is told to.

#![allow(clippy::unwrap_used)] // A test that can not go on panics.

#[path = "faults/calls.rs"]
mod calls;
#[path = "scanner/program.rs"]
mod program;
mod scanner;

mod refresh {
    mod faults;
    mod issuer;
    mod memory;
    mod tokens;
    mod world;
}
