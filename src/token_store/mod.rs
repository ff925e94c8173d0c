//! Where OAuth token sets rest: the vault, a file, memory.
#![forbid(unsafe_code)]
