//! `reseal models auth add`: asks for the provider and the kind of credential, then for it.

use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::input::ValueArgs;
use crate::cli::models::login;
use crate::cli::models::paste::{self, Chosen};
use crate::cli::session::UnlockArgs;
use crate::cli::state_files;
use crate::error::Code;
use crate::oauth::provider::FlowKind;
use crate::profile::{normal_provider, setup_token};
use crate::sys::tty;
use clap::Args;

#[derive(Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "add an account";
/// How often an answer that is not understood is asked for again.
const MAX_QUESTIONS: usize = 3;
/// The name of a profile whose credential was pasted.
const DEFAULT_NAME: &str = "manual";
/// What a provider takes that nobody described.
const USUAL_FLOWS: [FlowKind; 2] = [FlowKind::ApiKey, FlowKind::Paste];

pub(super) fn run(context: &Context, args: AddArgs) -> Done {
    let refuse = |why: &str| {
        let hint = "without a terminal: reseal models auth paste-api-key, paste-token, setup-token \
                    or login";
        let why = format!("it asks what to add, and {why}");
        Err(CliError::because(DOING, Code::NoInput, why).hint(hint))
    };
    if context.no_input {
        return refuse("--no-input was given");
    }
    if !tty::can_ask() {
        return refuse("there is no terminal to ask on");
    }
    let config = state_files::config(context).doing("read the config")?;
    let provider = answer("Provider (such as openai or anthropic): ", |text| {
        let provider = normal_provider(text);
        let id = setup_token::profile_id(&provider, None, DEFAULT_NAME).ok()?;
        (id.provider() == provider).then_some(provider)
    })?;
    let mut known = config.all_oauth_providers().into_iter();
    let known = known.find(|known| normal_provider(&known.id) == provider);
    let flows = known.map_or(USUAL_FLOWS.to_vec(), |known| known.flows.clone());
    let flow = choose(&flows)?;
    if flow.is_oauth() {
        return login::sign_in_to(context, &provider, flow, false, &args.unlock);
    }
    let question = format!("What to call it: {provider}:NAME [default {DEFAULT_NAME}] ");
    let id = answer(&question, |text| {
        let name = Some(text).filter(|text| !text.is_empty());
        setup_token::profile_id(&provider, name, DEFAULT_NAME).ok()
    })?;
    let chosen = Chosen {
        provider,
        id: Some(id),
        value: ValueArgs::default(),
        unlock: args.unlock,
    };
    paste::take(context, flow, chosen)
}

/// What people read of a flow.
fn text(flow: FlowKind) -> &'static str {
    match flow {
        FlowKind::Pkce => "sign in with a browser",
        FlowKind::Device => "sign in on another device",
        FlowKind::Paste => "paste a token",
        FlowKind::SetupToken => "paste what `claude setup-token` prints",
        FlowKind::ApiKey => "paste an API key",
    }
}

fn choose(flows: &[FlowKind]) -> Result<FlowKind, CliError> {
    for (index, flow) in flows.iter().enumerate() {
        tty::show(&format!("  {}  {}", index + 1, text(*flow)));
    }
    let question = format!("Which one? [1-{}, default 1] ", flows.len());
    answer(&question, |text| {
        let number = if text.is_empty() { "1" } else { text };
        let index = number.parse::<usize>().ok()?.checked_sub(1)?;
        flows.get(index).copied()
    })
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
    let why = format!("there was no answer in {MAX_QUESTIONS} tries");
    Err(CliError::because(DOING, Code::InputInvalid, why))
}
