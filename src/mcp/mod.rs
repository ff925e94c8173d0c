//! MCP servers behind OAuth: which there are, how to sign in, and whose tokens are whose.
//!
//! | file | what |
//! | --- | --- |
//! | [`identity`] | which servers share their tokens, and the record that holds them |
//! | [`servers`] | the servers of a config: fast-agent's, and ours |
//! | [`find`] | where fast-agent's config is |
//! | [`api_keys`] | the API keys in it, for who moves in |
//! | [`discovery`] | from a server to who grants its tokens, and how to be a client there |
//! | [`sign_in`] | from there to an account |
//! | [`keyring`] | an account in the keyring, as fast-agent keeps it |
//! | [`proxy`] | a bridge to a server for clients that know no OAuth |
//!
//! Invariants: of what a server names, only public addresses and those of the class at which it
//! answered itself are asked, so that it can't lead further inside (`HttpRequest::within`); a token
//! goes to the server that it was granted
//! for and to no other; PKCE is required. Keeping an account in the vault is not here: its record
//! is named by [`identity`], and `runtime` renews it there like any other.
#![forbid(unsafe_code)]

pub mod api_keys;
pub mod discovery;
pub mod find;
pub mod identity;
pub mod keyring;
pub mod proxy;
pub mod servers;
pub mod sign_in;

pub use identity::Identity;
pub use servers::{McpServer, Persist, Transport};
