//! The network: HTTP with limits and no surprise redirects, the loopback listener of a sign-in.
//!
//! Invariant: tokio and reqwest are named here only; everybody else makes a blocking call.
#![forbid(unsafe_code)]

pub mod browser;
pub mod http;
pub mod listener;
pub mod page;
pub mod qr;

pub use browser::open_browser;
pub use http::{Client, Http, NetError, Policy};
pub use listener::{Cancel, ListenError, Listener, Reply, Verdict};
pub use page::Page;
