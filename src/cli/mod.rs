//! The command line: the composition root, one file a command.
//!
//! Invariants: data goes to stdout, talk to stderr, prompts to the terminal; a value is printed
//! only by `secrets get`, `token`, `inject`, `exec-provider` and `helper`; no command holds domain
//! logic.
//! The contract is `docs/cli.md`, generated from the definitions here.
#![forbid(unsafe_code)]

mod agents;
mod auth;
mod channels;
mod completions;
mod context;
mod daemon;
mod doctor;
mod error;
mod exec_provider;
mod grants;
mod helper;
mod init;
mod inject;
mod input;
mod lazy;
mod lookup;
mod man;
mod models;
mod new_slot;
mod older_accounts;
mod onboard;
mod output;
mod point;
mod profiles;
mod proving;
mod quick;
mod quickstart;
pub mod reference_page;
mod run;
mod secrets;
mod session;
mod state_files;
mod table;
mod token;
mod unit_file;
mod usage;
mod vault;

use crate::error::Code;
use crate::sys::{harden, start, stderr};
use crate::time::when;
use clap::{CommandFactory, Parser, Subcommand};
use context::{Context, Global};
use error::{CliError, Doing, Done};
use lazy::Lazy;

/// The exit code of a defect.
const EXIT_BUG: u8 = 70;

/// The credential vault for AI-agent runtimes.
///
/// Config files and auth-profiles.json hold only SecretRefs; the secrets themselves rest in one
/// encrypted file. `reseal run -- CMD` hands them to the program that needs them.
#[derive(Parser)]
#[command(
    name = "reseal",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(subcommand_required = true, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    #[command(flatten)]
    global: Global,
}

#[derive(Subcommand)]
enum Command {
    /// Try everything in one go: make a vault, store a key, run a program that gets it
    Quickstart(Lazy<quickstart::QuickstartArgs>),
    /// Make the state folder, the vault and the agent main
    Init(Lazy<init::InitArgs>),
    /// The vault file, its keyslots, and the daemon that holds it open
    Vault(Lazy<vault::VaultArgs>),
    /// Records of the vault, and the refs that point at them
    Secrets(Lazy<secrets::SecretsArgs>),
    /// Run a program with secrets in its environment
    Run(Lazy<run::RunArgs>),
    /// Fill the refs in a text
    Inject(Lazy<inject::InjectArgs>),
    /// Print a usable credential of a profile
    Token(Lazy<token::TokenArgs>),
    /// Answer another runtime's exec provider request (OpenClaw's protocol)
    ExecProvider(Lazy<exec_provider::ExecProviderArgs>),
    /// Be the credential helper of git, Docker or AWS's programs
    Helper(Lazy<helper::HelperArgs>),
    /// Hold the vault open in the foreground, for a service manager
    Daemon(Lazy<daemon::DaemonArgs>),
    /// Who beside you may ask the daemon, and for what
    Grants(Lazy<grants::GrantsArgs>),
    /// The agents, consumers of secrets
    Agents(Lazy<agents::AgentsArgs>),
    /// Set everything up: a vault, a daemon, a first account
    Onboard(Lazy<onboard::OnboardArgs>),
    /// Auth profiles of model providers
    Models(Lazy<models::ModelsArgs>),
    /// MCP servers behind OAuth: sign in, tokens, sign out, as in fast-agent
    Auth(Lazy<auth::AuthArgs>),
    /// Chat channels and auth profiles, as other runtimes list them
    Channels(Lazy<channels::ChannelsArgs>),
    /// Check permissions, memory, clock and daemon; each finding with its remedy
    Doctor(Lazy<doctor::DoctorArgs>),
    /// Print completions for a shell
    Completions(Lazy<completions::CompletionsArgs>),
    /// Print a manual page
    Man(Lazy<man::ManArgs>),
}

impl Command {
    /// True if stdout is for something else than what the command reports.
    fn owns_stdout(&self) -> bool {
        match self {
            Command::Auth(args) => args.0.owns_stdout(),
            Command::Run(_)
            | Command::Inject(_)
            | Command::ExecProvider(_)
            | Command::Helper(_) => true,
            Command::Daemon(args) => args.0.serves(),
            _ => false,
        }
    }

    /// True if a config that was named has to be there. `doctor` finds that it is not.
    fn uses_config(&self) -> bool {
        !matches!(
            self,
            Command::Doctor(_) | Command::Completions(_) | Command::Man(_)
        )
    }
}

/// Runs the program; returns its exit status.
pub fn main() -> u8 {
    report_panics();
    let words = helper::words(std::env::args_os());
    let quickly = quick::parse(words.iter().skip(1).cloned());
    let cli = match quickly.map_or_else(|| Cli::try_parse_from(words), Ok) {
        Ok(cli) => cli,
        Err(error) => return usage::show(error),
    };
    let Cli { command, global } = cli;
    // No secret was touched so far.
    match &command {
        Command::Daemon(args) if args.0.serves() => harden::daemon(),
        _ => harden::command(),
    }
    let owns_stdout = command.owns_stdout();
    let (mut out, done) = match Context::new(global) {
        Ok(context) => {
            let done = dispatch(&context, command).map_err(|error| advised(&context, error));
            (context.out, done)
        }
        Err((out, error)) => (out, Err(error)),
    };
    out.json &= !owns_stdout;
    match done {
        Ok(code) => code,
        Err(error) => {
            error.show(&out);
            error.exit_code()
        }
    }
}

/// What a state folder that is open to others asks for, if that is what was refused.
fn advised(context: &Context, error: CliError) -> CliError {
    let root = context.state.root();
    let names_root = error
        .failure
        .message
        .starts_with(&format!("{} can be", root.display()));
    if error.failure.code == Code::FilePermission && error.hint.is_none() && names_root {
        return error.hint(format!("chmod 700 {}", root.display()));
    }
    error
}

fn dispatch(context: &Context, command: Command) -> Done {
    if command.uses_config() {
        state_files::check_named_config(context).doing("read the config")?;
    }
    match command {
        Command::Quickstart(args) => apart(quickstart::run, context, args.0),
        Command::Init(args) => apart(init::run, context, args.0),
        Command::Onboard(args) => apart(onboard::run, context, args.0),
        Command::Vault(args) => apart(vault::run, context, args.0),
        Command::Secrets(args) => apart(secrets::run, context, args.0),
        Command::Run(args) => apart(run::run, context, args.0),
        Command::Inject(args) => apart(inject::run, context, args.0),
        Command::Token(args) => apart(token::run, context, args.0),
        Command::ExecProvider(args) => apart(exec_provider::run, context, args.0),
        Command::Helper(args) => apart(helper::run, context, args.0),
        Command::Daemon(args) => apart(daemon::run, context, args.0),
        Command::Grants(args) => apart(grants::run, context, args.0),
        Command::Agents(args) => apart(agents::run, context, args.0),
        Command::Models(args) => apart(models::run, context, args.0),
        Command::Auth(args) => apart(auth::run, context, args.0),
        Command::Channels(args) => apart(channels::run, context, args.0),
        Command::Doctor(args) => apart(doctor::run, context, args.0),
        Command::Completions(args) => apart(completions::run, context, args.0),
        Command::Man(args) => apart(man::run, context, args.0),
    }
}

/// Calls a command in a frame of its own: in one with all others, it would touch the stack that
/// these need, and its code would lie among theirs.
#[inline(never)]
fn apart<A>(run: fn(&Context, A) -> Done, context: &Context, args: A) -> Done {
    run(context, args)
}

/// The whole tree of commands, for completions, manual pages and the docs.
fn full_command() -> clap::Command {
    Cli::command()
}

/// A panic is a defect: it says where, never what was in its message, which might quote a value.
/// It waits for nobody who reads that, nor for a thread that is about to write.
fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map_or_else(
            || "an unknown place".to_owned(),
            |location| format!("{}:{}", location.file(), location.line()),
        );
        let _ = stderr::stderr().line(&format!(
            "error: failed to go on: this is a defect of reseal {} at {place}\n\
             hint: please report it",
            env!("CARGO_PKG_VERSION"),
        ));
        if start::on_main_thread() {
            std::process::exit(i32::from(EXIT_BUG));
        }
    }));
}

#[cfg(test)]
mod tests;
