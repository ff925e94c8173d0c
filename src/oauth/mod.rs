//! The OAuth protocol without the network: providers as data, requests and answers, refresh rules.
#![forbid(unsafe_code)]
