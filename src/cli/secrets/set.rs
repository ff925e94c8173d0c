//! `reseal secrets set`.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::input::ValueArgs;
use crate::cli::point;
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::cli::state_files;
use crate::cli::vault::status::plural;
use crate::cli::when;
use crate::error::Code;
use crate::name::RecordName;
use crate::reference::SecretRef;
use crate::runtime::service::{Committed, Reply, Request, Service};
use crate::secret::SecretValue;
use crate::sys::clock;
use crate::time::UnixMs;
use crate::vault::{Expect, Meta, RecordKind};
use clap::{Args, ValueEnum};

/// Arguments of `secrets set`.
///
/// Without --ref, NAME is a record of the vault: its value comes from stdin when piped, else from
/// a hidden prompt, --from-file or --from-env. Prints the ref to it.
///
/// With --ref, TARGET is what shall point at a secret: an auth profile when it has a colon
/// (openai:default), else a dotted path in the config (models.providers.openai.apiKey).
#[derive(Args)]
pub struct SetArgs {
    /// The record, or with --ref the profile or config path
    #[arg(value_name = "NAME|TARGET")]
    target: String,

    /// Point TARGET at this SecretRef; with a value on stdin, store it there too
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,

    /// Seal the plaintext that stands at TARGET into the vault first
    #[arg(long = "move", requires = "reference")]
    move_plaintext: bool,

    /// When the value stops being valid: a duration (90d, 12h) or a date (2027-01-31)
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,

    /// A note for people; sealed, but not secret
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,

    /// What the record holds
    #[arg(long, value_enum, default_value_t = KindName::Static)]
    kind: KindName,

    /// Write it only if the record stands at this version; 0: if there is none
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,

    #[command(flatten)]
    value: ValueArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

/// The kinds that a person may give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindName {
    /// Any secret
    Static,
    /// An API key
    ApiKey,
    /// A client id and secret
    Client,
    /// A file
    File,
    /// A key pair
    KeyPair,
}

impl KindName {
    fn kind(self) -> RecordKind {
        match self {
            KindName::Static => RecordKind::Static,
            KindName::ApiKey => RecordKind::ApiKey,
            KindName::Client => RecordKind::ClientCredential,
            KindName::File => RecordKind::File,
            KindName::KeyPair => RecordKind::KeyPair,
        }
    }
}

const DOING: &str = "store the secret";

/// Stores a secret, or points something at one.
pub fn run(context: &Context, args: SetArgs) -> Done {
    let now = clock::now();
    let expires_at = args
        .expires
        .as_deref()
        .map(|text| parse_expiry(text, now))
        .transpose()?;
    let record = Record {
        kind: args.kind.kind(),
        meta: Meta {
            expires_at,
            note: args.note,
            ..Meta::default()
        },
        expect: match args.if_version {
            None => Expect::Any,
            Some(0) => Expect::Absent,
            Some(version) => Expect::Version(version),
        },
    };
    if let Some(reference) = &args.reference {
        let defaults = state_files::config(context)
            .doing("read the config")?
            .defaults;
        let reference = SecretRef::parse_text(reference, &defaults).doing("read --ref")?;
        let wish = point::Wish {
            target: &args.target,
            reference,
            move_plaintext: args.move_plaintext,
            value: &args.value,
            record,
            unlock: &args.unlock,
        };
        return point::run(context, wish);
    }
    let name = super::parse_record(&args.target)
        .map_err(|why| CliError::because(DOING, Code::NameInvalid, why))?;
    let mut service = session::service(context, &args.unlock)?;
    let value = args
        .value
        .read(context, &format!("Value of {name} (hidden): "))?;
    let len = value.len();
    let committed = put(service.as_mut(), DOING, name.clone(), record, value)?;
    if context.out.json {
        context.out.document(&serde_json::json!({
            "ref": super::ref_text(&name),
            "name": name,
            "version": committed.version,
            "generation": committed.generation,
        }))?;
    } else {
        // What was typed was not seen: its length tells a slip of the fingers.
        context
            .out
            .say(&format!("Sealed {len} {}.", plural(len as u64, "byte")));
        context.out.data(&super::ref_text(&name))?;
    }
    Ok(0)
}

/// What is written beside a value.
#[derive(Clone)]
pub struct Record {
    /// What it holds.
    pub kind: RecordKind,
    /// Its metadata.
    pub meta: Meta,
    /// What must be there before.
    pub expect: Expect,
}

/// Writes one record.
pub fn put(
    service: &mut dyn Service,
    doing: &str,
    name: RecordName,
    record: Record,
    value: SecretValue,
) -> Result<Committed, CliError> {
    let request = Request::Put {
        name,
        kind: record.kind,
        meta: record.meta,
        expect: record.expect,
    };
    let answer = session::ask(service, doing, request, vec![value])?;
    match answer.reply {
        Reply::Committed(committed) => Ok(committed),
        reply => Err(unexpected(doing, &reply)),
    }
}

/// A point in time: from now on for a duration, or a date.
pub fn parse_expiry(text: &str, now: UnixMs) -> Result<UnixMs, CliError> {
    when::parse(text, now).doing("read the expiry")
}
