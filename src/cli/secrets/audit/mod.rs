//! `reseal secrets audit`.

mod view;

use crate::audit::{self, Order, Records, Vault};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::session::{self, UnlockArgs, unexpected};
use crate::daemon::client::Client;
use crate::error::Code;
use crate::family::{FamilyError, Folder};
use crate::name::RecordName;
use crate::oauth::Account;
use crate::runtime::open_vault::OpenVault;
use crate::runtime::service::{Reply, Request};
use crate::secret::SecretValue;
use crate::vault::RecordKind;
use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// Arguments of `secrets audit`.
///
/// Looks at every file of the state folder, its backups and databases, and changes nothing. Shows
/// no value and no part of one. It is clean only if nothing was found, nothing was skipped, and
/// every ref resolves. Exits 2 if a ref does not resolve; with --check 1 if it is not clean.
#[derive(Args)]
pub struct AuditArgs {
    /// The state folder of another runtime, such as ~/.openclaw, instead of our own
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,

    /// Exit 1 if anything was found or skipped
    #[arg(long)]
    check: bool,

    /// Run the commands of exec providers, to see whether their refs resolve
    #[arg(long)]
    allow_exec: bool,

    /// Look outside of the state folder too
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    include: Vec<Include>,

    #[command(flatten)]
    unlock: UnlockArgs,
}

/// What lies outside of a state folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Include {
    /// What shells remember of what was typed
    History,
    /// Units of service managers
    Units,
}

const DOING: &str = "audit the state folder";

/// Looks, and reports.
pub fn run(context: &Context, args: AuditArgs) -> Done {
    let environment = |name: &str| std::env::var_os(name);
    let folder = folder(context, &args, &environment)?;
    let vault = vault(context, &args.unlock)?;
    let home = environment("HOME").map(PathBuf::from);
    if home.is_none() && !args.include.is_empty() {
        let why = "HOME is not set, so --include has nowhere to look";
        return Err(CliError::because(DOING, Code::Usage, why));
    }
    let wanted = |what| home.as_deref().filter(|_| args.include.contains(&what));
    context.out.progress("Looking at every file ...");
    let report = audit::run(&Order {
        folder,
        vault,
        allow_exec: args.allow_exec,
        history: wanted(Include::History),
        units: wanted(Include::Units),
        environment: &environment,
    });
    if context.out.json {
        context.out.document(&report)?;
    } else {
        view::print(&context.out, &report)?;
    }
    Ok(report.exit_code(args.check))
}

fn folder(
    context: &Context,
    args: &AuditArgs,
    environment: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Folder, CliError> {
    if args.from.is_some() {
        return Folder::find(args.from.as_deref(), environment).doing(DOING);
    }
    if !context.state.exists() {
        let absent = FamilyError::Absent(context.state.root().to_path_buf());
        return Err(CliError::new(DOING, absent.into()).hint(
            "make one with `reseal init`, or name another runtime's folder with --from DIR",
        ));
    }
    Ok(Folder::own(context.state.root(), &context.config()))
}

/// What the vault holds, as far as it is open or can be opened.
fn vault(context: &Context, how: &UnlockArgs) -> Result<Vault, CliError> {
    if !how.is_given()
        && let Some(client) = session::daemon(context)?
    {
        return of_daemon(client).map(Vault::Open);
    }
    if !session::vault_path(context)?.exists() {
        return Ok(Vault::Absent);
    }
    match session::open(context, how) {
        Ok(mut opened) => of_vault(&mut opened.vault).map(Vault::Open),
        Err(error) if matches!(error.failure.code, Code::VaultSealed | Code::NoInput) => Ok(
            Vault::Sealed("the vault is locked, and nothing was given to open it".to_owned()),
        ),
        Err(error) => Err(error),
    }
}

fn of_daemon(mut client: Client) -> Result<Records, CliError> {
    let mut records = Records::default();
    let answer = session::ask(&mut client, DOING, Request::List, Vec::new())?;
    let Reply::Records(list) = answer.reply else {
        return Err(unexpected(DOING, &answer.reply));
    };
    for info in list {
        records.names.push(info.name.clone());
        if info.kind == RecordKind::OAuth {
            let why = "a daemon gives no account's tokens out; give --passphrase-file or another \
                       way to open the vault here";
            records.withheld.push((info.name, why.to_owned()));
            continue;
        }
        let request = Request::Get {
            name: info.name.clone(),
            version: None,
        };
        let mut answer = session::ask(&mut client, DOING, request, Vec::new())?;
        let value = answer.secrets.pop();
        let value = value.ok_or_else(|| unexpected(DOING, &answer.reply))?;
        records.values.push((info.name, value));
    }
    Ok(records)
}

fn of_vault(vault: &mut OpenVault) -> Result<Records, CliError> {
    let mut records = Records {
        names: vault.list().into_iter().map(|info| info.name).collect(),
        ..Records::default()
    };
    let values = vault.values(records.names.iter().map(RecordName::as_str));
    for (name, value) in records.names.iter().zip(values) {
        let (kind, value) = value.doing(DOING)?;
        if kind != RecordKind::OAuth {
            records.values.push((name.clone(), value));
            continue;
        }
        match tokens(&value) {
            Ok(tokens) => {
                let named = |token| (name.clone(), token);
                records.values.extend(tokens.into_iter().map(named));
            }
            Err(why) => records.withheld.push((name.clone(), why)),
        }
    }
    Ok(records)
}

/// The tokens of an account.
fn tokens(value: &SecretValue) -> Result<Vec<SecretValue>, String> {
    let account = Account::from_secret(value).map_err(|error| error.to_string())?;
    let refresh = account.refresh.as_ref().map(|token| token.secret().clone());
    let id = account
        .id_token
        .as_ref()
        .map(|token| token.secret().clone());
    let access = account.access.secret().clone();
    Ok([Some(access), refresh, id].into_iter().flatten().collect())
}
