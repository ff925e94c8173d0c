//! A program with values in its environment.

use super::{Binding, Lookup, mask, pump, resolve_all};
use crate::error::{Code, Failure};
use crate::reference::SecretRef;
use crate::reference::embedded::EnvPiece;
use crate::secret::SecretValue;
use crate::sys::spawn::{self, Environment, Image, MAX_VARIABLE, Program, Unfit, Variable};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

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
///
/// The program is looked for in the `PATH` of the inherited environment, before anything is
/// resolved.
///
/// # Errors
/// `exec.absent` if there is no such program; `exec.failed` if it can't be executed; what
/// [`Lookup`] says of refs; `input.invalid` for a value that no environment can hold. In each case
/// nothing was started.
pub fn run(launch: &Launch<'_>, lookup: &mut dyn Lookup) -> Result<u8, Failure> {
    let Some(name) = launch.command.first() else {
        return Err(Failure::new(Code::Usage, "no program is given"));
    };
    let path = find(name, launch.inherited)?;
    let bindings = effective(launch.bindings);
    let mentions: Vec<_> = bindings
        .iter()
        .flat_map(|binding| {
            binding
                .refs()
                .map(|reference| (reference, binding.name().to_owned()))
        })
        .collect();
    let values = resolve_all(lookup, &mentions)?;
    let environment = environment(launch.inherited, &bindings, &values)?;
    let image = Program::at(&path)
        .and_then(|program| Image::new(program, launch.command, environment))
        .map_err(|error| not_started(name, &error))?;
    if launch.mask {
        let patterns = mask::Patterns::new(values.values());
        drop(values);
        pump::run(image, &patterns).map_err(|error| not_started(name, &error))
    } else {
        Err(not_started(name, &spawn::replace(&image)))
    }
}

/// The last binding of each name, in order.
fn effective(bindings: &[Binding]) -> Vec<&Binding> {
    let mut seen = HashSet::new();
    let mut kept: Vec<&Binding> = bindings
        .iter()
        .rev()
        .filter(|binding| seen.insert(binding.name()))
        .collect();
    kept.reverse();
    kept
}

/// The inherited environment with the bindings in it.
fn environment(
    inherited: &[(OsString, OsString)],
    bindings: &[&Binding],
    values: &HashMap<SecretRef, SecretValue>,
) -> Result<Environment, Failure> {
    let bound: HashSet<&[u8]> = bindings
        .iter()
        .map(|binding| binding.name().as_bytes())
        .collect();
    let mut variables: Vec<Variable<'_>> = inherited
        .iter()
        .filter(|(name, _)| !bound.contains(name.as_bytes()))
        .map(|(name, value)| (name.as_bytes(), vec![value.as_bytes()]))
        .collect();
    for binding in bindings {
        let parts = binding.pieces().iter().map(|piece| match piece {
            EnvPiece::Text(text) => text.as_bytes(),
            EnvPiece::Ref(reference) => values.get(reference).map_or(&[][..], |v| v.expose()),
        });
        variables.push((binding.name().as_bytes(), parts.collect()));
    }
    Environment::new(&variables).map_err(|unfit| {
        let (place, problem) = match unfit {
            Unfit::Form(place) => (
                place,
                "has a NUL byte, which no environment can hold".into(),
            ),
            Unfit::TooLong(place) => (place, format!("is longer than {MAX_VARIABLE} bytes")),
        };
        let name = String::from_utf8_lossy(variables[place].0);
        Failure::new(Code::InputInvalid, format!("the variable {name} {problem}"))
    })
}

/// Where a program without `PATH` looks.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The program's file: itself if its name has a slash, else the first that may be executed in a
/// folder of `PATH`.
fn find(name: &OsStr, inherited: &[(OsString, OsString)]) -> Result<PathBuf, Failure> {
    if name.as_bytes().contains(&b'/') {
        return fit(name, PathBuf::from(name));
    }
    let path = inherited
        .iter()
        .find(|(name, _)| name == "PATH")
        .map(|(_, value)| value.as_os_str());
    let path = path.unwrap_or(OsStr::new(DEFAULT_PATH));
    let mut refused = None;
    for folder in std::env::split_paths(path).filter(|_| !name.is_empty()) {
        match fit(name, folder.join(name)) {
            Ok(file) => return Ok(file),
            Err(failure) if failure.code == Code::ExecFailed => refused = refused.or(Some(failure)),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| {
        let text = format!("{}: no such program in PATH", name.to_string_lossy());
        Failure::new(Code::ExecAbsent, text)
    }))
}

/// The file, if it can be executed: what a shell tells by 126 and 127.
fn fit(name: &OsStr, file: PathBuf) -> Result<PathBuf, Failure> {
    let refuse = |code, why: &str| {
        Err(Failure::new(
            code,
            format!("{}: {why}", name.to_string_lossy()),
        ))
    };
    if !file.exists() {
        refuse(Code::ExecAbsent, "no such program")
    } else if !file.is_file() {
        refuse(Code::ExecFailed, "it is no file")
    } else if accessat(CWD, &file, Access::EXEC_OK, AtFlags::EACCESS).is_err() {
        refuse(Code::ExecFailed, "it is not executable")
    } else {
        Ok(file)
    }
}

fn not_started(name: &OsStr, error: &std::io::Error) -> Failure {
    Failure::new(
        Code::ExecFailed,
        format!("{}: {error}", name.to_string_lossy()),
    )
}
