//! The exec protocol, version 1, as its server: one request on stdin, one answer on stdout.

use crate::error::Failure;
use crate::launch::Lookup;
use std::io::{Read, Write};

/// Reads one request, resolves its ids in one round trip, writes one answer.
pub fn serve(
    _input: &mut dyn Read,
    _output: &mut dyn Write,
    _lookup: &mut dyn Lookup,
) -> Result<(), Failure> {
    todo!()
}
