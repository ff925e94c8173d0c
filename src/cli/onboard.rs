//! `reseal onboard`: a newcomer's walk from nothing to a program that gets its credential.

use super::context::Context;
use super::error::{CliError, Doing, Done};
use super::init::{self, NewVaultArgs};
use super::input::ValueArgs;
use super::models::login;
use super::models::paste::{self, Chosen};
use super::output::{Tone, shown_path};
use super::session::{self, UnlockArgs};
use super::vault::unlock;
use super::{new_slot, state_files};
use crate::config::Config;
use crate::daemon::{DEFAULT_IDLE, DEFAULT_TTL};
use crate::error::Code;
use crate::name::ProfileId;
use crate::oauth::provider::{FlowKind, Provider};
use crate::profile::setup_token;
use crate::sys::tty;
use clap::Args;

/// Arguments of `onboard`.
///
/// Makes a vault if there is none, opens it in a daemon, and signs in to a provider or takes its
/// key. Safe to run again: what is there stays, and another account can be added.
#[derive(Args)]
pub struct OnboardArgs {
    /// What to sign in with, such as openai, openai-codex, setup-token or anthropic-api-key; asked
    /// for if it is not given
    #[arg(long, value_name = "CHOICE")]
    auth_choice: Option<String>,

    /// What to call a setup token: the profile is PROVIDER:NAME
    #[arg(long, value_name = "NAME")]
    token_name: Option<String>,

    /// Answer yes to what a provider asks people to know
    #[arg(short, long)]
    yes: bool,

    #[command(flatten)]
    new: NewVaultArgs,
}

const DOING: &str = "set things up";
const STEPS: usize = 3;
/// How often the choice is asked for.
const MAX_QUESTIONS: usize = 3;
/// The name of a profile whose token was pasted.
const DEFAULT_NAME: &str = "manual";

/// One thing to sign in with.
struct Choice {
    /// What stands on the command line.
    name: String,
    /// What people read.
    text: String,
    provider: String,
    flow: FlowKind,
}

/// Goes through everything.
pub fn run(context: &Context, args: OnboardArgs) -> Done {
    let step = |number: usize, text: &str| {
        let label = format!("[{number}/{STEPS}]");
        let label = context.out.paint_err(Tone::Strong, &label);
        context.out.say(&format!("{label} {text}"));
    };
    let config = state_files::config(context).doing("read the config")?;
    let choices = choices(&config);
    // A choice that is not there is said before anything is made.
    let given = match &args.auth_choice {
        Some(name) => Some(find(&choices, name)?),
        None => None,
    };
    make_vault(context, &args, &step)?;
    open(context, &args, &step)?;
    step(3, "Signing in to a provider.");
    let choice = match given {
        Some(choice) => choice,
        None => ask(context, &choices)?,
    };
    let code = sign_in(context, &args, choice)?;
    if code == 0 {
        context.out.say("");
        context.out.say("It is all set up. Go on with:");
        context
            .out
            .say("  reseal run -- YOUR-AGENT      the program gets the credential");
        context
            .out
            .say("  reseal models status          how every account stands");
        context
            .out
            .say("  reseal vault lock             wipe the keys from memory");
    }
    Ok(code)
}

fn make_vault(
    context: &Context,
    args: &OnboardArgs,
    step: &impl Fn(usize, &str),
) -> Result<(), CliError> {
    let path = session::vault_path(context)?;
    if path.exists() {
        step(1, &format!("There is a vault: {}", shown_path(&path)));
        return Ok(());
    }
    step(1, &format!("Making a vault: {}", shown_path(&path)));
    if !args.new.is_given() && tty::can_ask() && !context.no_input {
        context
            .out
            .say("      Choose a passphrase for it. Nobody can recover it for you.");
    }
    let made = init::make(context, &args.new)?;
    if let Some(code) = &made.recovery {
        new_slot::show_recovery_code(context, code);
    }
    hand_over(context, args, &made.vault)
}

fn open(
    context: &Context,
    args: &OnboardArgs,
    step: &impl Fn(usize, &str),
) -> Result<(), CliError> {
    if session::daemon(context)?.is_some() {
        step(2, "A daemon holds it open.");
        return Ok(());
    }
    step(2, "Opening it: a daemon holds it open from now on ...");
    let opened = session::open(context, &args.new.to_unlock())?;
    hand_over(context, args, &opened.vault)
}

fn hand_over(
    context: &Context,
    args: &OnboardArgs,
    vault: &crate::runtime::open_vault::OpenVault,
) -> Result<(), CliError> {
    let keys = vault.vault().keys().to_secret();
    let limits = unlock::LimitArgs::default().unlock(Some(DEFAULT_TTL), Some(DEFAULT_IDLE));
    unlock::hand_over(context, &limits, &keys, args.new.allow_network_fs).map(|_| ())
}

/// Everything that can be signed in with: each flow of each provider that is known.
fn choices(config: &Config) -> Vec<Choice> {
    let mut choices = Vec::new();
    for provider in config.all_oauth_providers() {
        for (i, flow) in provider.flows.iter().enumerate() {
            // Of the flows with a server one is enough to choose from: `login` has the others.
            if flow.is_oauth() && i > 0 {
                continue;
            }
            choices.push(choice(&provider, *flow));
        }
    }
    choices
}

fn choice(provider: &Provider, flow: FlowKind) -> Choice {
    let (id, label) = (&provider.id, &provider.label);
    // What a label says in brackets is about the sign-in.
    let vendor = label.split(" (").next().unwrap_or(label);
    let (name, text) = match flow {
        FlowKind::Pkce | FlowKind::Device => (id.clone(), format!("{label}: sign in")),
        FlowKind::ApiKey => (
            format!("{id}-api-key"),
            format!("{vendor}: paste an API key"),
        ),
        FlowKind::SetupToken => (
            "setup-token".to_owned(),
            format!("{vendor}: paste what `claude setup-token` prints"),
        ),
        FlowKind::Paste => (format!("{id}-token"), format!("{vendor}: paste a token")),
    };
    Choice {
        name,
        text,
        provider: id.clone(),
        flow,
    }
}

fn find<'a>(choices: &'a [Choice], name: &str) -> Result<&'a Choice, CliError> {
    choices
        .iter()
        .find(|choice| choice.name == name)
        .ok_or_else(|| {
            let known: Vec<&str> = choices.iter().map(|choice| choice.name.as_str()).collect();
            let why = format!("there is no choice {name}; there are {}", known.join(", "));
            CliError::because(DOING, Code::OAuthProviderAbsent, why)
        })
}

fn ask<'a>(context: &Context, choices: &'a [Choice]) -> Result<&'a Choice, CliError> {
    if context.no_input {
        let why = "what to sign in with must be asked, and --no-input was given";
        return Err(CliError::because(DOING, Code::NoInput, why).hint("give --auth-choice"));
    }
    for (i, choice) in choices.iter().enumerate() {
        context
            .out
            .tell(&format!("  {:>2}  {}", i + 1, choice.text));
    }
    let prompt = format!("Which one? [1-{}] ", choices.len());
    for _ in 0..MAX_QUESTIONS {
        let answer = tty::read_line(&prompt).doing(DOING)?;
        let number = answer.trim().parse::<usize>().ok();
        let chosen = number.and_then(|number| choices.get(number.checked_sub(1)?));
        let chosen = chosen.or_else(|| choices.iter().find(|choice| choice.name == answer.trim()));
        if let Some(choice) = chosen {
            return Ok(choice);
        }
    }
    let why = format!("no choice was made in {MAX_QUESTIONS} tries");
    Err(CliError::because(DOING, Code::InputInvalid, why))
}

fn sign_in(context: &Context, args: &OnboardArgs, choice: &Choice) -> Done {
    if choice.flow.is_oauth() {
        return login::sign_in_to(
            context,
            &choice.provider,
            choice.flow,
            args.yes,
            &UnlockArgs::default(),
        );
    }
    let name = match choice.flow {
        FlowKind::SetupToken => token_name(context, args)?,
        _ => None,
    };
    let chosen = Chosen {
        provider: choice.provider.clone(),
        id: name,
        value: ValueArgs::default(),
        unlock: UnlockArgs::default(),
    };
    paste::take(context, choice.flow, chosen)
}

/// The profile of a setup token: named on request.
fn token_name(context: &Context, args: &OnboardArgs) -> Result<Option<ProfileId>, CliError> {
    let asked = match &args.token_name {
        Some(name) => name.clone(),
        None if context.no_input || !tty::can_ask() => return Ok(None),
        None => tty::read_line(&format!("A name for it [{DEFAULT_NAME}]: ")).doing(DOING)?,
    };
    let id = setup_token::profile_id("anthropic", Some(&asked), DEFAULT_NAME);
    id.doing("name the profile").map(Some)
}
