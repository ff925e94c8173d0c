//! How a secret comes in: from a pipe, a file, a variable or a hidden prompt; never from argv.

use super::context::Context;
use super::error::{CliError, Doing, io_failure};
use crate::error::{Code, Failure};
use crate::secret::{MAX_VALUE, SecretValue};
use crate::sys::tty;
use clap::Args;
use std::io::{self, IsTerminal, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where the value comes from when not from stdin or a prompt.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "The value")]
pub struct ValueArgs {
    /// Read the value from a file instead of stdin or a prompt
    #[arg(long, value_name = "FILE", conflicts_with = "from_env")]
    pub from_file: Option<PathBuf>,

    /// Read the value from an environment variable
    #[arg(long, value_name = "VARIABLE")]
    pub from_env: Option<String>,

    /// Keep the bytes as they are: no trailing newline is dropped
    #[arg(long)]
    pub raw: bool,
}

impl ValueArgs {
    /// Reads stdin; `None` if nothing is on it.
    pub fn read_stdin(&self) -> Result<Option<SecretValue>, CliError> {
        let value = read_stream(&mut Stdin, "stdin").doing("read the value")?;
        let value = if self.raw {
            value
        } else {
            value.without_line_end()
        };
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    /// Reads the value: from the option, else from stdin if it is no terminal, else hidden.
    pub fn read(&self, context: &Context, prompt: &str) -> Result<SecretValue, CliError> {
        let doing = "read the value";
        let value = if let Some(path) = &self.from_file {
            read_file(path).doing(doing)?
        } else if let Some(name) = &self.from_env {
            read_variable(name).doing(doing)?
        } else if io::stdin().is_terminal() {
            return checked(ask(context, doing, prompt)?, doing);
        } else {
            read_stream(&mut Stdin, "stdin").doing(doing)?
        };
        let value = if self.raw {
            value
        } else {
            value.without_line_end()
        };
        if value.is_empty() && self.from_file.is_none() && self.from_env.is_none() {
            return Err(empty_stdin(context, doing));
        }
        checked(value, doing)
    }
}

/// Stdin without the standard library's buffer, which would keep what went through it until the
/// process ends.
pub struct Stdin;

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(rustix::stdio::stdin(), buffer)?)
    }
}

/// True if stdin is a pipe or a file (and not a terminal or `/dev/null`).
pub fn stdin_brings_data() -> bool {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return false;
    }
    rustix::fs::fstat(&stdin).is_ok_and(|stat| {
        use rustix::fs::FileType;
        matches!(
            FileType::from_raw_mode(stat.st_mode),
            FileType::Fifo | FileType::Socket | FileType::RegularFile
        )
    })
}

/// An empty stdin that nobody meant as a value: a service's `/dev/null`, a closed pipe.
fn empty_stdin(context: &Context, doing: &str) -> CliError {
    if stdin_brings_data() || !context.no_input {
        let why = "the value on stdin is empty";
        return CliError::because(doing, Code::InputInvalid, why);
    }
    let why = "nothing is on stdin, and --no-input was given";
    CliError::because(doing, Code::NoInput, why)
}

fn checked(value: SecretValue, doing: &str) -> Result<SecretValue, CliError> {
    if value.is_empty() {
        return Err(CliError::because(
            doing,
            Code::InputInvalid,
            "the value is empty",
        ));
    }
    if value.len() > MAX_VALUE {
        let why = format!("the value has more than {MAX_VALUE} bytes");
        return Err(CliError::because(doing, Code::InputTooLarge, why));
    }
    Ok(value)
}

/// Reads a stream of at most [`MAX_VALUE`] bytes, and one line end.
fn read_stream(reader: &mut impl Read, origin: &str) -> Result<SecretValue, Failure> {
    match SecretValue::read_from(reader, MAX_VALUE + 2) {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Failure::new(
            Code::InputTooLarge,
            format!("{origin} holds more than {MAX_VALUE} bytes"),
        )),
        Err(error) => Err(io_failure(Path::new(origin), &error)),
    }
}

fn read_file(path: &Path) -> Result<SecretValue, Failure> {
    let mut file = std::fs::File::open(path).map_err(|error| io_failure(path, &error))?;
    read_stream(&mut file, &path.display().to_string())
}

fn read_variable(name: &str) -> Result<SecretValue, Failure> {
    let absent = |why: &str| Failure::new(Code::InputInvalid, format!("the variable {name} {why}"));
    let text = std::env::var_os(name).ok_or_else(|| absent("is not set"))?;
    let value = SecretValue::copy_of(text.as_bytes());
    if value.len() > MAX_VALUE {
        let message = format!("the variable {name} holds more than {MAX_VALUE} bytes");
        return Err(Failure::new(Code::InputTooLarge, message));
    }
    Ok(value)
}

/// One line of stdin without its end, read byte by byte so that what follows stays there; `None` at
/// the end of the input.
pub fn read_line(max: usize) -> Result<Option<SecretValue>, Failure> {
    let mut line = zeroize::Zeroizing::new(Vec::with_capacity(max));
    loop {
        let mut byte = [0];
        match rustix::io::read(rustix::stdio::stdin(), &mut byte) {
            Ok(0) if line.is_empty() => return Ok(None),
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => break,
            Ok(_) if line.len() == max => {
                let text = format!("a line of stdin has more than {max} bytes");
                return Err(Failure::new(Code::InputTooLarge, text));
            }
            Ok(_) => line.push(byte[0]),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Failure::new(Code::FileIo, format!("stdin: {error}"))),
        }
    }
    Ok(Some(SecretValue::copy_of(&line).without_line_end()))
}

/// Asks with echo off, unless that is not wanted or possible.
pub fn ask(context: &Context, doing: &str, prompt: &str) -> Result<SecretValue, CliError> {
    if context.no_input {
        let why = "it must be asked, and --no-input was given";
        return Err(CliError::because(doing, Code::NoInput, why));
    }
    tty::read_hidden(prompt).doing(doing)
}

/// How often a new passphrase may be typed before the command gives up.
const NEW_PASSPHRASE_TRIES: usize = 3;

/// Asks for a new passphrase twice, until both are the same.
pub fn ask_new_passphrase(context: &Context, what: &str) -> Result<SecretValue, CliError> {
    let doing = format!("ask for {what}");
    for _ in 0..NEW_PASSPHRASE_TRIES {
        let first = ask(context, &doing, &format!("{}: ", capital(what)))?;
        if first.is_empty() {
            context.out.tell("A passphrase has at least one character.");
            continue;
        }
        let second = ask(context, &doing, "The same once more: ")?;
        if first == second {
            return Ok(first);
        }
        context.out.tell("The two are not the same.");
    }
    let why = format!("no passphrase was typed twice the same in {NEW_PASSPHRASE_TRIES} tries");
    Err(CliError::because(doing, Code::InputInvalid, why))
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().collect::<String>() + chars.as_str()
    })
}

/// Reads a template or an env file: a path, or stdin for `-`.
pub fn read_text(path: &Path) -> Result<SecretValue, Failure> {
    if path == Path::new("-") {
        return read_stream(&mut Stdin, "stdin");
    }
    read_file(path)
}
