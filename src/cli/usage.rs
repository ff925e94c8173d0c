//! Help, the version, and what is wrong with a command line.
//!
//! Invariant: an argument that nothing asked for is not repeated. It may be a secret that somebody
//! took for an argument, and stderr is often kept.

use super::error::kind_name;
use super::output::{json_text, shown};
use crate::error::{Code, Failure};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::io::Write;
use std::process::ExitCode;

const HINT: &str = "a secret is never an argument: it comes from stdin, a hidden prompt or a file";

/// Shows it. A reader of the help that went away is success.
pub fn show(mut error: clap::Error) -> ExitCode {
    let code = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
    if !error.use_stderr() {
        let _ = error.print();
        let _ = std::io::stdout().flush();
        return code;
    }
    let hidden = hide(&mut error);
    let hint = hidden.then_some(HINT);
    let text = plain(&error);
    if wants_json()
        && let Ok(document) = json_text(&document(&text, hint))
    {
        let _ = writeln!(std::io::stdout(), "{document}");
    }
    if text == error.render().to_string() {
        let _ = error.print();
    } else {
        let _ = write!(std::io::stderr(), "{text}");
    }
    if let Some(hint) = hint {
        let _ = writeln!(std::io::stderr(), "hint: {hint}");
    }
    code
}

/// Takes out an argument that nothing asked for, unless it looks like an option.
fn hide(error: &mut clap::Error) -> bool {
    let place = match error.kind() {
        ErrorKind::UnknownArgument => ContextKind::InvalidArg,
        ErrorKind::TooManyValues => ContextKind::InvalidValue,
        _ => return false,
    };
    match error.get(place) {
        Some(ContextValue::String(argument)) if argument.starts_with('-') => false,
        Some(_) => {
            error.insert(place, ContextValue::String("(not repeated)".to_owned()));
            error.remove(ContextKind::Suggested);
            true
        }
        None => false,
    }
}

/// The text without colours, safe to be shown.
fn plain(error: &clap::Error) -> String {
    let text = error.render().to_string();
    text.split('\n').map(shown).collect::<Vec<_>>().join("\n")
}

/// True if `--json` stands where the program would have read it.
fn wants_json() -> bool {
    std::env::args_os()
        .take_while(|argument| argument != "--")
        .any(|argument| argument == "--json")
}

fn document(text: &str, hint: Option<&str>) -> serde_json::Value {
    let first = text.lines().next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first);
    let failure = Failure::new(
        Code::Usage,
        format!("failed to read the command line: {message}"),
    );
    serde_json::json!({"error": {
        "code": failure.code.as_str(),
        "kind": kind_name(failure.kind()),
        "message": failure.message,
        "hint": hint,
    }})
}
