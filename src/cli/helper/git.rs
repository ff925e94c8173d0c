//! `reseal helper git`.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::input::Stdin;
use crate::cli::lookup::Routed;
use crate::cli::session::{self, UnlockArgs};
use crate::error::{Code, Failure};
use crate::helper::git::{self, Place, Question};
use crate::helper::records;
use crate::launch::Lookup;
use crate::name::RecordName;
use crate::reference::SecretRef;
use crate::runtime::service::{Answer, Request, Service};
use crate::secret::SecretValue;
use crate::sys::clock;
use clap::Args;

/// Arguments of `helper git`.
///
/// Reads git's question on stdin. Passwords are records named git/PROTOCOL/HOST/USER, kept and
/// forgotten as git says. With --from it gives out one secret for one place instead, and keeps and
/// forgets nothing.
#[derive(Args, Debug)]
pub struct GitArgs {
    /// What git wants: get, store or erase; others are ignored, as git asks
    #[arg(value_name = "OPERATION")]
    operation: String,

    /// Give out what this ref points at, such as vault:gitlab/me, instead of a kept password
    #[arg(long, value_name = "REF", requires = "only_for")]
    from: Option<String>,

    /// The only place that gets it, by scheme and host
    #[arg(long = "for", id = "only_for", value_name = "URL", requires = "from")]
    only_for: Option<Place>,

    /// The user that goes with it, unless git names one
    #[arg(long, value_name = "USER", requires = "from")]
    username: Option<String>,

    #[command(flatten)]
    unlock: UnlockArgs,
}

impl GitArgs {
    /// One operation, nothing else given.
    pub fn of(operation: &str) -> Self {
        Self {
            operation: operation.to_owned(),
            from: None,
            only_for: None,
            username: None,
            unlock: UnlockArgs::default(),
        }
    }
}

/// Answers git.
pub fn run(context: &Context, args: GitArgs) -> Done {
    let doing = match args.operation.as_str() {
        "get" => "give git a password",
        "store" => "keep git's password",
        "erase" => "forget git's password",
        _ => return Ok(0),
    };
    if args.operation == "get" {
        super::check_stdout(doing)?;
    }
    let question = Question::read(&mut Stdin).doing(doing)?;
    let answer = match (args.operation.as_str(), &args.from) {
        ("get", Some(from)) => from_ref(context, &args, from, &question)?,
        (_, Some(_)) => None,
        (operation, None) => {
            let mut vault = session::service(context, &args.unlock)?;
            let vault = vault.as_mut();
            match operation {
                "get" => git::get(&question, clock::now(), vault).doing(doing)?,
                "store" => git::store(question, vault).map(|()| None).doing(doing)?,
                _ => git::erase(&question, vault).map(|()| None).doing(doing)?,
            }
        }
    };
    if let Some(answer) = answer {
        context.out.secret(&answer, false)?;
    }
    Ok(0)
}

/// The secret of `--from`, if git asks for its place.
fn from_ref(
    context: &Context,
    args: &GitArgs,
    from: &str,
    question: &Question,
) -> Result<Option<SecretValue>, CliError> {
    let doing = "give git a secret";
    if !args
        .only_for
        .as_ref()
        .is_some_and(|place| question.is_about(place))
    {
        return Ok(None);
    }
    let username = question.username().or(args.username.as_deref());
    let username = username.ok_or_else(|| {
        let why = "git names no user";
        CliError::because(doing, Code::InputInvalid, why).hint("give --username")
    })?;
    let mut lookup = Routed::new(context, &args.unlock)?;
    let config = lookup.config().doing("read the config")?;
    let reference = SecretRef::parse_text(from, &config.defaults).doing("read --from")?;
    let answer = match config.own_record(&reference) {
        Some(name) => from_record(&name, &mut lookup, username),
        None => from_anywhere(&reference, &mut lookup, username),
    };
    answer.map(Some).doing(doing)
}

/// A record of the vault tells when its value ends.
fn from_record(
    name: &RecordName,
    lookup: &mut Routed<'_>,
    username: &str,
) -> Result<SecretValue, Failure> {
    let found = records::fetch(&mut Asked(lookup), name)?;
    let found = found.ok_or_else(|| {
        let why = format!("there is no record {name}");
        Failure::new(Code::RecordAbsent, why)
    })?;
    found.check_expiry(clock::now())?;
    git::answer(username, &found.value, found.expires_at(), name.as_str())
}

fn from_anywhere(
    reference: &SecretRef,
    lookup: &mut Routed<'_>,
    username: &str,
) -> Result<SecretValue, Failure> {
    let value = lookup.resolve(std::slice::from_ref(reference))?.pop();
    let value = value.unwrap_or_else(|| Err(Failure::new(Code::Bug, "no answer")))?;
    git::answer(username, &value, None, &reference.to_string())
}

/// Whoever a lookup asks, as a service.
struct Asked<'a, 'b>(&'a mut Routed<'b>);

impl Service for Asked<'_, '_> {
    fn call(&mut self, request: Request, _secrets: Vec<SecretValue>) -> Result<Answer, Failure> {
        self.0.ask(request)
    }
}
