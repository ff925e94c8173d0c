//! The system edge: the only module with `unsafe`.
//!
//! Locked memory, process hardening and confinement, child processes, peer credentials,
//! descriptors, the terminal. Nothing here knows what a vault is.

pub mod alloc;
pub mod arena;
pub mod children;
pub mod clock;
pub mod defer;
pub mod detach;
pub mod fds;
pub mod forward;
pub mod harden;
pub mod landlock;
pub mod peer;
pub mod random;
pub mod registers;
pub mod seccomp;
pub mod signals;
pub mod spawn;
pub mod start;
pub mod stderr;
pub mod tty;
mod unwind;
pub mod users;
