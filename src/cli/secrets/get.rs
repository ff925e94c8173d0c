//! `reseal secrets get`.

use super::parse_record;
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::lookup;
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::error::Code;
use crate::launch::Lookup;
use crate::name::RecordName;
use crate::reference::{SecretRef, Source};
use crate::runtime::service::{Reply, Request};
use crate::secret::{SecretValue, json};
use clap::Args;
use std::io::IsTerminal;

/// Arguments of `secrets get`.
#[derive(Args, Debug)]
pub struct GetArgs {
    /// The record, or a ref such as env:OPENAI_API_KEY or file@mounted:/openai/apiKey
    #[arg(value_name = "NAME|REF")]
    pub target: String,

    /// An older version of the record
    #[arg(long, value_name = "N")]
    pub version: Option<u64>,

    /// Print the value although stdout is a terminal
    #[arg(long)]
    pub reveal: bool,

    /// Print the value's bytes only, without a newline at the end
    #[arg(short = 'n', long)]
    pub no_newline: bool,

    #[command(flatten)]
    pub unlock: UnlockArgs,
}

const DOING: &str = "get the secret";

/// Prints a value.
pub fn run(context: &Context, args: GetArgs) -> Done {
    if !args.reveal && std::io::stdout().is_terminal() {
        let why = "stdout is a terminal, where the value would be seen and kept";
        return Err(CliError::because(DOING, Code::InputInvalid, why)
            .hint("give --reveal to see it, or send it to a program through a pipe"));
    }
    let value = match record(&args.target)? {
        Some(name) => get_record(context, &args, name)?,
        None => get_ref(context, &args)?,
    };
    if context.out.json {
        context.out.secret(&as_json(&value), true)?;
    } else {
        context.out.secret(&value, !args.no_newline)?;
    }
    Ok(0)
}

/// The record that is meant; `None` for a ref to something else. A record's name may look like a
/// ref (`env:X`); `vault:env:X` names that record.
fn record(text: &str) -> Result<Option<RecordName>, CliError> {
    let source = text.split([':', '@']).next().unwrap_or_default();
    let is_source = Source::ALL.iter().any(|known| known.as_str() == source);
    if is_source && text != source && !text.starts_with("vault:") {
        return Ok(None);
    }
    match parse_record(text) {
        Ok(name) => Ok(Some(name)),
        Err(why) => Err(CliError::because(DOING, Code::NameInvalid, why)),
    }
}

fn get_ref(context: &Context, args: &GetArgs) -> Result<SecretValue, CliError> {
    if args.version.is_some() {
        let why = "only records of the vault have versions";
        return Err(CliError::because(DOING, Code::Usage, why));
    }
    let mut lookup = lookup::Routed::new(context, &args.unlock)?;
    let defaults = lookup.config().doing("read the config")?.defaults.clone();
    let reference = SecretRef::parse_text(&args.target, &defaults).doing("read the ref")?;
    match lookup.resolve(&[reference]).doing(DOING)?.pop() {
        Some(value) => value.doing(DOING),
        None => Err(CliError::because(DOING, Code::Bug, "no answer")),
    }
}

fn get_record(
    context: &Context,
    args: &GetArgs,
    name: RecordName,
) -> Result<SecretValue, CliError> {
    let mut service = session::service(context, &args.unlock)?;
    let request = Request::Get {
        name,
        version: args.version,
    };
    let mut answer = session::ask(service.as_mut(), DOING, request, Vec::new())?;
    match (&answer.reply, answer.secrets.pop()) {
        (Reply::Value(_), Some(value)) => Ok(value),
        (reply, _) => Err(unexpected(DOING, reply)),
    }
}

/// `{"value": "…"}`, or `{"valueBase64": "…"}` for bytes that are no text, in locked memory.
fn as_json(value: &SecretValue) -> SecretValue {
    json::object(&[json::member_of(value)])
}
