//! Handing values over: [`run`] to a program's environment, [`inject`] to a text.
//!
//! Invariant: all or nothing: no program starts and no byte is written unless every SecretRef
//! resolved. Values never lie in argv, in a temporary file, or in a `String`.
#![forbid(unsafe_code)]

use crate::error::Failure;
use crate::reference::SecretRef;
use crate::secret::SecretValue;
use std::ffi::OsString;
use std::path::Path;

/// Where values come from: the vault opened here, or the daemon.
pub trait Lookup {
    /// Resolves refs in one round trip; answers are in the order of `refs`. The outer error means
    /// that nothing could be asked at all (sealed, corrupt, unreachable).
    fn resolve(&mut self, refs: &[SecretRef])
    -> Result<Vec<Result<SecretValue, Failure>>, Failure>;
}

/// One variable of the program's environment: a name, and text with refs in it.
#[derive(Debug)]
pub struct Binding {}

impl Binding {
    /// A variable that is one ref.
    pub fn of(_name: &str, _reference: SecretRef) -> Result<Self, Failure> {
        todo!()
    }

    /// Parses `NAME=REF`, the argument of `--env`.
    pub fn parse(_text: &str) -> Result<Self, Failure> {
        todo!()
    }

    /// Parses the lines of an env file; `origin` names it in errors.
    pub fn from_env_file(_origin: &str, _bytes: SecretValue) -> Result<Vec<Self>, Failure> {
        todo!()
    }
}

/// What [`run`] starts.
pub struct Launch<'a> {
    /// The program and its arguments; not empty.
    pub command: &'a [OsString],
    /// The environment that the program inherits.
    pub inherited: &'a [(OsString, OsString)],
    /// What is set in it, in order: a later binding of a name wins.
    pub bindings: &'a [Binding],
    /// Replaces resolved values in the program's output by `[redacted]`.
    pub mask: bool,
}

/// Resolves, then becomes the program; returns only on failure, or with `mask`, which keeps this
/// process as the parent and returns the exit code to pass on (128+n for a signal).
pub fn run(_launch: &Launch<'_>, _lookup: &mut dyn Lookup) -> Result<u8, Failure> {
    todo!()
}

/// Fills the `{{ secretref:… }}` of a template; `origin` names it in errors.
pub fn inject(
    _origin: &str,
    _template: &SecretValue,
    _lookup: &mut dyn Lookup,
) -> Result<SecretValue, Failure> {
    todo!()
}

/// Writes a filled template to a file: mode 0600, replaced in one step.
pub fn write_private(_out: &Path, _filled: &SecretValue) -> Result<(), Failure> {
    todo!()
}
