//! Help, the version, and what is wrong with a command line.
//!
//! Invariant: an argument that nothing asked for is not repeated. It may be a secret that somebody
//! took for an argument, and stderr is often kept.

use super::error::kind_name;
use super::output::{json_text, shown};
use crate::error::{Code, Failure};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::ffi::OsString;
use std::io::Write;

/// The global options that take the next argument as their value.
const WITH_VALUE: [&str; 4] = ["--state-dir", "--config", "--agent", "--socket"];
/// The commands whose stdout is for something else.
const OWN_STDOUT: [&str; 5] = ["run", "inject", "exec-provider", "helper", "daemon"];
const SEE_HELP: &str = "--help shows what the command takes";
const HINT: &str = "a secret is never an argument: it comes from stdin, a hidden prompt or a file";

/// Shows it. A reader of the help that went away is success.
pub fn show(mut error: clap::Error) -> u8 {
    let code = u8::try_from(error.exit_code()).unwrap_or(2);
    if !error.use_stderr() {
        let _ = error.print();
        let _ = std::io::stdout().flush();
        return code;
    }
    let hidden = hide(&mut error);
    let hint = hidden.then_some(HINT);
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let text = plain(&error);
    if wants_json(&args)
        && let Ok(document) = json_text(&document(&text, hint.unwrap_or(SEE_HELP)))
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

/// True if `--json` stands where the program would have read it, and stdout is for its document.
fn wants_json(args: &[OsString]) -> bool {
    let ours = || args.iter().take_while(|argument| *argument != "--");
    let mut is_value = false;
    let command = ours().find(|argument| {
        let skipped = is_value || argument.as_encoded_bytes().starts_with(b"-");
        is_value = !is_value && WITH_VALUE.iter().any(|option| *argument == option);
        !skipped
    });
    let owned = command.is_some_and(|name| OWN_STDOUT.iter().any(|own| name == own));
    !owned && ours().any(|argument| argument == "--json")
}

fn document(text: &str, hint: &str) -> serde_json::Value {
    // Without an error in front it is the help itself.
    let message = match text.strip_prefix("error: ") {
        Some(text) => text.split("\n\n").next().unwrap_or_default(),
        None => "a command is missing",
    };
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
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
