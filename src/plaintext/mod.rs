//! What plaintext secrets look like, in bytes of any kind.
//!
//! | what | where |
//! | --- | --- |
//! | the lines of an env file, by their places | [`dotenv`] |
//! | known values, looked for all at once | [`needles`] |
//! | what stands in a secret's place and is none: markers, placeholders, examples | [`marker`] |
//! | keys of vendors, by their form | [`pattern`] |
//!
//! Invariants: what is found is given as a place, never as text; every list and every text has a
//! named maximum. Nothing here reads a file, and nothing here knows which file it looks at.
#![forbid(unsafe_code)]

pub mod dotenv;
pub mod marker;
pub mod needles;
pub mod pattern;
