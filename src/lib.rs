//! Reseal: the credential vault for AI-agent runtimes.
//!
//! Config files and `auth-profiles.json` hold only [`reference::SecretRef`]s; the secrets
//! themselves rest in one encrypted vault file (or in the environment, a file, or the output of a
//! command). The layers below import downwards only; `tests/tidy.rs` checks it.
//!
//! ```text
//!  9  cli
//!  8  apply  audit  migrate  daemon  launch  helper  sign_in  credentials  mcp
//!  7  runtime
//!  6  unlock  store  source  net  token_store  family  keyring
//! == purity wall == (no fs, env, clock, process, network, OS randomness, unsafe below)
//!  5  snapshot  plan   4  config   3  profile  oauth  grants
//!  2  vault  reference  document  plaintext   1  crypto
//!  0  secret  name  time  error
//! -1  sys
//! ```

pub mod apply;
pub mod audit;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod crypto;
pub mod daemon;
pub mod document;
pub mod error;
pub mod family;
pub mod grants;
pub mod helper;
pub mod keyring;
pub mod launch;
pub mod mcp;
pub mod migrate;
pub mod name;
pub mod net;
pub mod oauth;
pub mod plaintext;
pub mod plan;
pub mod profile;
pub mod reference;
pub mod runtime;
pub mod secret;
pub mod sign_in;
pub mod snapshot;
pub mod source;
pub mod store;
pub mod sys;
pub mod time;
pub mod token_store;
pub mod unlock;
pub mod vault;
