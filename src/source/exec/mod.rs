//! Exec providers: protocol version 1 over a command's stdin and stdout.
//!
//! | what | where |
//! | --- | --- |
//! | one call with its retries and its cache | here |
//! | is the command fit to be run | `command` |
//! | the running process, its limits and its end | `process` |
//! | what its answer means | [`response`] |
//!
//! Invariants: no shell; only the declared environment; no call outlives its limits, whatever the
//! command and its descendants do; nothing that the command wrote stands in an error.

mod cache;
mod command;
mod process;
pub mod response;

pub use cache::{Cache, MAX_CACHED};
pub use process::Written;

use super::path::PathError;
use super::{Context, Refused};
use crate::config::{Confirm, ExecProvider, Hook, LiteralEnv};
use crate::error::{Code, Coded};
use crate::secret::{MAX_VALUE, SecretValue};
use crate::sys::spawn::{Environment, Image, Program};
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// The only version of the protocol.
pub const PROTOCOL_VERSION: u32 = 1;
/// The pause before the first retry; each further one is twice as long.
pub const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause before a retry.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The most output of a hook in bytes; it is not kept.
pub const MAX_HOOK_OUTPUT: u64 = 1 << 20;
/// The variables of ours that a hook gets, where they are set.
pub const HOOK_ENV: [&str; 5] = ["HOME", "LANG", "PATH", "USER", "XDG_RUNTIME_DIR"];

/// What the program that asks a person gets beside those, to find a screen.
pub const CONFIRM_ENV: [&str; 5] = [
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_SESSION_TYPE",
];
/// Makes a program that follows the habit of ssh's `SSH_ASKPASS` show a yes and a no.
const ASKPASS_CONFIRM: (&str, &str) = ("SSH_ASKPASS_PROMPT", "confirm");

/// Resolves `exec` refs of one provider in one call.
pub fn resolve(
    alias: &str,
    provider: &ExecProvider,
    ids: &[&str],
    ctx: &Context<'_>,
) -> Vec<Result<SecretValue, ExecError>> {
    let cache = ctx.cache.filter(|_| !provider.cache_ttl.is_zero());
    let mut answers: Vec<Option<Result<SecretValue, ExecError>>> = match cache {
        Some(cache) => cache
            .get(alias, provider, ids)
            .into_iter()
            .map(|v| v.map(Ok))
            .collect(),
        None => vec![None; ids.len()],
    };
    let open: Vec<usize> = (0..ids.len())
        .filter(|place| answers[*place].is_none())
        .collect();
    if !open.is_empty() {
        let asked: Vec<&str> = open.iter().map(|place| ids[*place]).collect();
        let fresh = match ask(alias, provider, &asked, ctx) {
            Ok(fresh) => fresh,
            Err(error) => asked.iter().map(|_| Err(error.clone())).collect(),
        };
        if let Some(cache) = cache {
            cache.put(alias, provider, &asked, &fresh);
        }
        for (place, answer) in open.into_iter().zip(fresh) {
            answers[place] = Some(answer);
        }
    }
    let missing = |id: &str| ExecError::MissingId {
        alias: alias.to_owned(),
        id: id.to_owned(),
    };
    answers
        .into_iter()
        .zip(ids)
        .map(|(a, id)| a.unwrap_or_else(|| Err(missing(id))))
        .collect()
}

fn ask(
    alias: &str,
    provider: &ExecProvider,
    ids: &[&str],
    ctx: &Context<'_>,
) -> Result<Vec<Result<SecretValue, ExecError>>, ExecError> {
    let request = request(alias, ids, ctx)?;
    let mut pause = FIRST_PAUSE;
    let mut left = provider.retries;
    loop {
        let answer = match ctx.outside {
            Some(outside) => outside
                .exec(alias, ids, provider)
                .map_err(ExecError::Refused),
            None => call(alias, provider, request.as_bytes(), ctx),
        };
        match answer {
            Err(error) if left > 0 && error.may_pass() => {
                left -= 1;
                std::thread::sleep(pause);
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error),
            Ok(written) => return response::parse(alias, ids, written.bytes(), provider.json_only),
        }
    }
}

/// One run of a provider's command, here: its checks, its limits, and what it wrote. For whoever
/// runs commands on behalf of others, who read the answer.
///
/// # Errors
/// The request or the command fails a check, the command can't be started, breaks a limit, or ends
/// with another code than 0.
pub fn run_once(
    alias: &str,
    provider: &ExecProvider,
    ids: &[&str],
    ctx: &Context<'_>,
) -> Result<Written, ExecError> {
    call(alias, provider, request(alias, ids, ctx)?.as_bytes(), ctx)
}

/// Runs a hook: the same checks and limits as a provider's command, `message` on its stdin, its
/// output thrown away. It gets the few variables that a program of the user needs to find its own
/// files ([`HOOK_ENV`]), and no secret.
///
/// # Errors
/// The command fails a check, can't be started, takes too long, or ends with another code than 0.
pub fn notify(hook: &Hook, message: &[u8], ctx: &Context<'_>) -> Result<(), ExecError> {
    if let Some(outside) = ctx.outside {
        return outside.hook(message, hook).map_err(ExecError::Refused);
    }
    let provider = listener(&hook.command, &hook.args, hook.timeout, &HOOK_ENV);
    call("hook", &provider, message, ctx).map(drop)
}

/// Runs the program that asks a person, with the question as its last argument, nothing on its
/// stdin, its output thrown away: the same checks and limits as a hook, and the variables that a
/// program needs to find a screen ([`CONFIRM_ENV`]).
///
/// # Errors
/// As [`notify`]. [`ExecError::ExitCode`] is a person's no; every other says that nobody answered.
pub fn confirm(asks: &Confirm, question: &str, ctx: &Context<'_>) -> Result<(), ExecError> {
    let mut provider = asker(asks);
    provider.args.push(question.to_owned());
    call("confirm", &provider, &[], ctx).map(drop)
}

/// Why the program that asks a person would not be run.
pub fn unfit(asks: &Confirm) -> Option<String> {
    match command::open("confirm", &asker(asks)).err()? {
        ExecError::Path(error) => Some(error.problem.to_string()),
        other => Some(other.to_string()),
    }
}

fn asker(asks: &Confirm) -> ExecProvider {
    let env = [&HOOK_ENV[..], &CONFIRM_ENV].concat();
    let (name, value) = ASKPASS_CONFIRM;
    ExecProvider {
        env: LiteralEnv(vec![(name.to_owned(), value.to_owned())]),
        ..listener(&asks.command, &asks.args, asks.timeout, &env)
    }
}

/// A program that is told something, and whose output is thrown away.
fn listener(command: &Path, args: &[String], timeout: Duration, env: &[&str]) -> ExecProvider {
    ExecProvider {
        command: command.to_owned(),
        args: args.to_owned(),
        timeout,
        no_output_timeout: timeout,
        max_output_bytes: MAX_HOOK_OUTPUT,
        json_only: true,
        env: LiteralEnv::default(),
        pass_env: env.iter().map(|name| (*name).to_owned()).collect(),
        trusted_dirs: Vec::new(),
        allow_symlink_command: false,
        allow_insecure_path: false,
        retries: 0,
        cache_ttl: Duration::ZERO,
    }
}

/// The request, within the limits of the config; aliases and ids need no escape, but the library
/// makes sure.
fn request(alias: &str, ids: &[&str], ctx: &Context<'_>) -> Result<String, ExecError> {
    let limits = ctx.batch;
    if ids.len() > limits.refs {
        return Err(ExecError::TooManyRefs {
            alias: alias.to_owned(),
            max: limits.refs,
        });
    }
    let request = serde_json::json!({
        "protocolVersion": PROTOCOL_VERSION, "provider": alias, "ids": ids,
    })
    .to_string();
    if request.len() > limits.bytes {
        return Err(ExecError::RequestTooLarge {
            alias: alias.to_owned(),
            max: limits.bytes,
        });
    }
    Ok(request)
}

fn call(
    alias: &str,
    provider: &ExecProvider,
    request: &[u8],
    ctx: &Context<'_>,
) -> Result<Written, ExecError> {
    let alias_owned = || alias.to_owned();
    let not_started = |error: &std::io::Error| ExecError::NotStarted {
        alias: alias_owned(),
        reason: super::plain(error),
    };
    let command = command::open(alias, provider)?;
    let folder = command.path.parent().unwrap_or(Path::new("/")).to_owned();
    let args: Vec<OsString> = std::iter::once(command.path.clone().into_os_string())
        .chain(provider.args.iter().map(OsString::from))
        .collect();
    let image = environment(alias, provider, ctx).and_then(|env| {
        Program::opened(&command.path, command.file)
            .and_then(|program| Image::new(program, &args, env))
            .map_err(|error| not_started(&error))
    })?;
    let max = usize::try_from(provider.max_output_bytes).unwrap_or(usize::MAX);
    let limits = process::Limits {
        timeout: provider.timeout,
        silence: provider.no_output_timeout,
        output: max,
        show_stderr: ctx.debug_exec,
        asker: ctx.asker,
    };
    let output = process::exchange(image, folder, request, &limits).map_err(|stop| match stop {
        process::Stop::System(error) => not_started(&error),
        process::Stop::TooMuch => ExecError::TooMuchOutput { max },
        process::Stop::Timeout => ExecError::Timeout {
            alias: alias_owned(),
            millis: provider.timeout.as_millis(),
        },
        process::Stop::Silence => ExecError::Silence {
            alias: alias_owned(),
            millis: provider.no_output_timeout.as_millis(),
        },
        process::Stop::Abandoned => ExecError::NotStarted {
            alias: alias_owned(),
            reason: "nobody waits for its answer any more".to_owned(),
        },
    })?;
    match output.end() {
        process::End::Code(0) => Ok(output.written),
        process::End::Code(code) => Err(ExecError::ExitCode {
            alias: alias_owned(),
            code,
        }),
        process::End::Signal(signal) => Err(ExecError::Killed {
            alias: alias_owned(),
            signal,
        }),
    }
}

/// The command's environment: `passEnv` (those that are set), then `env`, and nothing else.
fn environment(
    alias: &str,
    provider: &ExecProvider,
    ctx: &Context<'_>,
) -> Result<Environment, ExecError> {
    let declared = |name: &String| provider.env.0.iter().any(|(declared, _)| declared == name);
    let passed: Vec<(&str, Zeroizing<Vec<u8>>)> = provider
        .pass_env
        .iter()
        .filter(|name| !declared(name))
        .filter_map(|name| Some((name.as_str(), (ctx.env)(name)?)))
        .map(|(name, value)| (name, Zeroizing::new(value.into_vec())))
        .collect();
    let variables: Vec<(&[u8], Vec<&[u8]>)> = passed
        .iter()
        .map(|(name, value)| (name.as_bytes(), vec![value.as_slice()]))
        .chain(provider.env.0.iter().map(|(name, value)| {
            (
                name.as_bytes(),
                vec![OsStrExt::as_bytes(std::ffi::OsStr::new(value))],
            )
        }))
        .collect();
    Environment::new(&variables).map_err(|_| ExecError::NotStarted {
        alias: alias.to_owned(),
        reason: "a variable of its environment has a NUL byte or is too long".to_owned(),
    })
}

/// Why an `exec` ref gives no value. The texts are the family's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum ExecError {
    /// The command fails a check.
    #[error(transparent)]
    Path(PathError),
    /// Whoever runs commands for this process says why it has no answer.
    #[error(transparent)]
    Refused(Refused),
    /// Over `maxRefsPerProvider`.
    #[error("Exec provider \"{alias}\" exceeded maxRefsPerProvider ({max}).")]
    TooManyRefs { alias: String, max: usize },
    /// Over `maxBatchBytes`.
    #[error("Exec provider \"{alias}\" request exceeded maxBatchBytes ({max}).")]
    RequestTooLarge { alias: String, max: usize },
    /// The system did not start it.
    #[error("Exec provider \"{alias}\" could not be started ({reason}).")]
    NotStarted { alias: String, reason: String },
    /// Over `maxOutputBytes`.
    #[error("Exec provider output exceeded maxOutputBytes ({max}).")]
    TooMuchOutput { max: usize },
    /// Over `timeoutMs`.
    #[error("Exec provider \"{alias}\" timed out after {millis}ms.")]
    Timeout { alias: String, millis: u128 },
    /// Over `noOutputTimeoutMs`.
    #[error("Exec provider \"{alias}\" produced no output for {millis}ms.")]
    Silence { alias: String, millis: u128 },
    /// An exit code other than 0.
    #[error("Exec provider \"{alias}\" exited with code {code}.")]
    ExitCode { alias: String, code: i32 },
    /// Ended by a signal.
    #[error("Exec provider \"{alias}\" was ended by signal {signal}.")]
    Killed { alias: String, signal: i32 },
    /// Nothing on stdout.
    #[error("Exec provider \"{alias}\" returned empty stdout.")]
    Empty { alias: String },
    /// Not JSON, or not UTF-8.
    #[error("Exec provider \"{alias}\" returned invalid JSON.")]
    InvalidJson { alias: String },
    /// JSON, but no object.
    #[error("Exec provider \"{alias}\" response must be an object.")]
    NotObject { alias: String },
    /// Another version.
    #[error("Exec provider \"{alias}\" protocolVersion must be 1.")]
    Version { alias: String },
    /// No object of values.
    #[error("Exec provider \"{alias}\" response missing \"values\".")]
    NoValues { alias: String },
    /// The provider says that the id does not exist.
    #[error("Exec provider \"{alias}\" failed for id \"{id}\" (NOT_FOUND).")]
    NotFound { alias: String, id: String },
    /// The provider says that a key exists twice.
    #[error("Exec provider \"{alias}\" failed for id \"{id}\" (AMBIGUOUS_DUPLICATE_KEY).")]
    Ambiguous { alias: String, id: String },
    /// Any other error of the provider; its text is not repeated, it may hold a secret.
    #[error("Exec provider \"{alias}\" failed for id \"{id}\".")]
    Failed { alias: String, id: String },
    /// Neither a value nor an error.
    #[error("Exec provider \"{alias}\" response missing id \"{id}\".")]
    MissingId { alias: String, id: String },
    /// The value is no string, or an empty one.
    #[error("Exec provider \"{alias}\" id \"{id}\": resolved value is not a non-empty string.")]
    NotText { alias: String, id: String },
    /// Over [`MAX_VALUE`].
    #[error("Exec provider \"{alias}\" id \"{id}\": resolved value is over {MAX_VALUE} bytes.")]
    ValueTooLarge { alias: String, id: String },
}

impl ExecError {
    /// True if the same call may succeed a moment later.
    pub fn may_pass(&self) -> bool {
        match self {
            ExecError::Refused(refused) => refused.may_pass,
            ExecError::NotStarted { .. }
            | ExecError::Timeout { .. }
            | ExecError::Silence { .. } => true,
            _ => false,
        }
    }
}

impl Coded for ExecError {
    fn code(&self) -> Code {
        match self {
            ExecError::Path(error) => error.code(),
            ExecError::Refused(refused) => refused.failure.code,
            ExecError::TooManyRefs { .. } | ExecError::RequestTooLarge { .. } => Code::RefLimit,
            ExecError::NotStarted { .. }
            | ExecError::Timeout { .. }
            | ExecError::Silence { .. }
            | ExecError::ExitCode { .. }
            | ExecError::Killed { .. }
            | ExecError::Failed { .. } => Code::SourceUnavailable,
            ExecError::TooMuchOutput { .. } | ExecError::ValueTooLarge { .. } => {
                Code::SourceTooLarge
            }
            ExecError::Empty { .. }
            | ExecError::InvalidJson { .. }
            | ExecError::NotObject { .. }
            | ExecError::Version { .. }
            | ExecError::NoValues { .. }
            | ExecError::Ambiguous { .. }
            | ExecError::MissingId { .. }
            | ExecError::NotText { .. } => Code::SourceInvalid,
            ExecError::NotFound { .. } => Code::RefAbsent,
        }
    }
}

#[cfg(test)]
mod tests;
