//! `reseal secrets list`.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::output::Tone;
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::cli::table::{Table, cell};
use crate::cli::when;
use crate::error::{Code, Failure};
use crate::runtime::service::{Reply, Request};
use crate::sys::clock;
use crate::vault::{RecordInfo, RecordKind};
use clap::Args;
use serde_json::{Value, json};

/// Arguments of `secrets list`.
#[derive(Args)]
pub struct ListArgs {
    /// Only records whose name starts with this
    #[arg(value_name = "PREFIX")]
    prefix: Option<String>,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "list the records";

/// Lists records.
pub fn run(context: &Context, args: ListArgs) -> Done {
    let mut service = session::service(context, &args.unlock)?;
    let request = match args.prefix {
        Some(prefix) => Request::ListUnder { prefix },
        None => Request::List,
    };
    let answer = session::ask(service.as_mut(), DOING, request, Vec::new())?;
    let Reply::Records(records) = answer.reply else {
        return Err(unexpected(DOING, &answer.reply));
    };
    if context.out.json {
        context.out.document(&document(&records)?)?;
        return Ok(0);
    }
    if records.is_empty() {
        context
            .out
            .say("There are no records. Store one with `reseal secrets set NAME`.");
        return Ok(0);
    }
    table(&records).print(&context.out)?;
    Ok(0)
}

/// Metadata that a record does not have is `null` here; the vault leaves it out.
fn document(records: &[RecordInfo]) -> Result<Value, CliError> {
    let mut shown = Vec::with_capacity(records.len());
    for record in records {
        let bug = |error: serde_json::Error| Failure::new(Code::Bug, error.to_string());
        let mut value = serde_json::to_value(record).map_err(bug).doing(DOING)?;
        if let Some(meta) = value["meta"].as_object_mut() {
            for name in ["createdAt", "expiresAt", "note"] {
                meta.entry(name).or_insert(Value::Null);
            }
        }
        shown.push(value);
    }
    Ok(json!({"records": shown}))
}

fn table(records: &[RecordInfo]) -> Table {
    let now = clock::now();
    let mut table = Table::new(
        vec!["NAME", "KIND", "VERSION", "WRITTEN", "EXPIRES", "NOTE"],
        5,
    );
    for record in records {
        let expires = match record.meta.expires_at {
            None => cell("", Tone::Plain),
            Some(at) if at <= now => cell("expired", Tone::Bad),
            Some(at) => cell(when::date(at), Tone::Plain),
        };
        table.row(vec![
            record.name.as_str().into(),
            kind_name(record.kind).into(),
            record.version.to_string().into(),
            record
                .meta
                .created_at
                .map(when::date)
                .unwrap_or_default()
                .into(),
            expires,
            record.meta.note.clone().unwrap_or_default().into(),
        ]);
    }
    table
}

/// The name of a kind on the command line.
pub fn kind_name(kind: RecordKind) -> String {
    match kind {
        RecordKind::Static => "static".to_owned(),
        RecordKind::ApiKey => "api-key".to_owned(),
        RecordKind::OAuth => "oauth".to_owned(),
        RecordKind::ClientCredential => "client".to_owned(),
        RecordKind::File => "file".to_owned(),
        RecordKind::KeyPair => "key-pair".to_owned(),
        RecordKind::Private(number) => format!("private-{number}"),
    }
}
