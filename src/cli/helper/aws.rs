//! `reseal helper aws`.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::secrets::parse_record;
use crate::cli::session::{self, UnlockArgs};
use crate::cli::when;
use crate::error::Code;
use crate::helper::{aws, records};
use crate::name::RecordName;
use crate::sys::clock;
use clap::Args;

/// Arguments of `helper aws`.
///
/// For `credential_process` in the config of AWS's programs. The record holds the keys as the aws
/// command prints them (JSON of iam create-access-key, sts, configure export-credentials), or as
/// lines of a credentials file or an environment.
#[derive(Args, Debug)]
pub struct AwsArgs {
    /// The record with the keys
    #[arg(value_parser = parse_record)]
    record: RecordName,

    #[command(flatten)]
    unlock: UnlockArgs,
}

impl AwsArgs {
    /// One record, nothing else given.
    pub fn of(record: &str) -> Option<Self> {
        Some(Self {
            record: parse_record(record).ok()?,
            unlock: UnlockArgs::default(),
        })
    }
}

const DOING: &str = "give AWS's program its keys";

/// Prints the keys.
pub fn run(context: &Context, args: AwsArgs) -> Done {
    super::check_stdout(DOING)?;
    let mut vault = session::service(context, &args.unlock)?;
    let found = records::fetch(vault.as_mut(), &args.record).doing(DOING)?;
    let found = found.ok_or_else(|| {
        let why = format!("there is no record {}", args.record);
        CliError::because(DOING, Code::RecordAbsent, why)
    })?;
    found.check_expiry(clock::now()).doing(DOING)?;
    let expiry = found.expires_at().map(when::rfc3339);
    let keys = aws::credentials(&found, expiry.as_deref()).doing(DOING)?;
    context.out.secret(&keys, false)?;
    Ok(0)
}
