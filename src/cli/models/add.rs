//! `reseal models auth add`: asks for the provider and the kind of credential, then for it.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::input::ValueArgs;
use crate::cli::models::paste;
use crate::cli::session::UnlockArgs;
use crate::error::Code;
use crate::profile::{normal_provider, setup_token};
use crate::sys::tty::{self, PromptError};
use clap::Args;

#[derive(Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    unlock: UnlockArgs,
}

/// What can be stored, as it is offered.
#[derive(Clone, Copy)]
enum Kind {
    ApiKey,
    Token,
    SetupToken,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Kind::ApiKey => "an API key",
            Kind::Token => "a static token",
            Kind::SetupToken => "what `claude setup-token` prints",
        }
    }
}

const DOING: &str = "add an account";
/// How often an answer that is not understood is asked for again.
const MAX_QUESTIONS: usize = 3;

pub(super) fn run(context: &Context, args: AddArgs) -> Done {
    if context.no_input || !tty::can_ask() {
        let why = if context.no_input {
            "it asks what to add, and --no-input was given"
        } else {
            "it asks what to add, and there is no terminal to ask on"
        };
        return Err(CliError::because(DOING, Code::NoInput, why).hint(
            "without a terminal: reseal models auth paste-api-key, paste-token or setup-token",
        ));
    }
    let provider = answer("Provider (such as openai or anthropic): ", |text| {
        let provider = normal_provider(text);
        let id = setup_token::profile_id(&provider, None, "default").ok()?;
        (id.provider() == provider).then_some(provider)
    })?;
    let kinds: &[Kind] = match provider.as_str() {
        "anthropic" => &[Kind::ApiKey, Kind::SetupToken, Kind::Token],
        _ => &[Kind::ApiKey, Kind::Token],
    };
    for (index, kind) in kinds.iter().enumerate() {
        tty::show(&format!("  {}  {}", index + 1, kind.text()));
    }
    let question = format!("Which one? [1-{}, default 1] ", kinds.len());
    let kind = answer(&question, |text| match text {
        "" => Some(kinds[0]),
        number => kinds
            .get(number.parse::<usize>().ok()?.checked_sub(1)?)
            .copied(),
    })?;
    let question = format!("What to call it: {provider}:NAME [default manual] ");
    let id = answer(&question, |text| {
        let name = Some(text).filter(|text| !text.is_empty());
        setup_token::profile_id(&provider, name, "manual").ok()
    })?;
    let new = paste::Chosen {
        provider,
        id: Some(id),
        value: ValueArgs::default(),
        unlock: args.unlock,
    };
    match kind {
        Kind::ApiKey => paste::api_key(context, &new.into()),
        Kind::Token => paste::token(context, &new.into()),
        Kind::SetupToken => paste::setup_token(context, &new.into()),
    }
}

/// Asks until the answer is understood, at most [`MAX_QUESTIONS`] times.
fn answer<T>(question: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, CliError> {
    for _ in 0..MAX_QUESTIONS {
        let text = tty::read_line(question).doing(DOING)?;
        if let Some(found) = read(text.trim()) {
            return Ok(found);
        }
        tty::show("That is none of the answers.");
    }
    Err(PromptError::Cancelled).doing(DOING)
}
