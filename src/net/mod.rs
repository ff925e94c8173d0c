//! The network: HTTP with limits and no surprise redirects, the loopback listener of a sign-in.
//!
//! Invariant: tokio and reqwest are named here only; everybody else makes a blocking call.
#![forbid(unsafe_code)]
