//! `reseal auth token`.

use super::servers::{ConfigArgs, Servers, identity};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::session::{self, UnlockArgs};
use crate::error::{Code, Failure};
use crate::mcp::{Identity, McpServer, Persist};
use crate::runtime::service::{Reply, Request};
use crate::secret::json::{self, Part};
use crate::time::parse_duration;
use clap::Args;
use std::io::IsTerminal;
use std::time::Duration;

#[derive(Args)]
pub(super) struct TokenArgs {
    /// The name of a server, or its URL
    #[arg(value_name = "SERVER")]
    server: String,

    /// How long the token must be valid
    #[arg(long, value_name = "DURATION", value_parser = parse_ttl, default_value = "0s")]
    min_ttl: Duration,

    /// Print the token although stdout is a terminal
    #[arg(long)]
    reveal: bool,

    #[command(flatten)]
    config: ConfigArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

const DOING: &str = "get a token";

pub(super) fn run(context: &Context, args: &TokenArgs) -> Done {
    if !args.reveal && std::io::stdout().is_terminal() {
        let why = "stdout is a terminal, where the token would be seen and kept";
        return Err(CliError::because(DOING, Code::InputInvalid, why)
            .hint("give --reveal to see it, or send it to a program through a pipe"));
    }
    let servers = Servers::read(context, &args.config)?;
    let named = servers.named(&args.server)?;
    if named.is_none() && !args.server.contains("://") {
        let why = format!(
            "there is no server {} in the config",
            args.server.escape_debug()
        );
        return Err(CliError::because(DOING, Code::Usage, why));
    }
    let identity = identity(&servers, &args.server, DOING)?;
    let name = identity.record().map_err(Failure::from).doing(DOING)?;
    let mut service = session::service(context, &args.unlock)?;
    let request = Request::Token {
        name,
        min_ttl_ms: u64::try_from(args.min_ttl.as_millis()).unwrap_or(u64::MAX),
        force: false,
    };
    let answer = service.call(request, Vec::new());
    let answer = answer.map_err(|failure| explained(failure, named, &identity))?;
    let (info, value) = match (answer.reply, answer.secrets.into_iter().next()) {
        (Reply::Token(info), Some(value)) => (info, value),
        (other, _) => return Err(session::unexpected(DOING, &other)),
    };
    if !context.out.json {
        context.out.secret(&value, true)?;
        return Ok(0);
    }
    let expires = info
        .expires_at
        .map_or("null".to_owned(), |at| at.0.to_string());
    let prefix = format!("{} ", info.token_type);
    let header = [("Authorization", Part::Secret(&prefix, &value))];
    let document = json::object(&[
        ("identity", Part::Text(identity.as_str())),
        ("token", Part::Secret("", &value)),
        ("expiresAt", Part::Json(&expires)),
        ("headers", Part::Object(&header)),
    ]);
    context.out.secret(&document, true)?;
    Ok(0)
}

/// Why there is no token, and what to do. A URL is given as its identity: its query may hold a key.
fn explained(failure: Failure, named: Option<&McpServer>, identity: &Identity) -> CliError {
    if !matches!(failure.code, Code::RecordAbsent | Code::OAuthSignIn) {
        return CliError::new(DOING, failure);
    }
    if let Some(server) = named.filter(|server| server.persist == Persist::Memory) {
        let why = format!(
            "{}: its config says persist: memory, so that its tokens end with the program that \
             uses them",
            server.name
        );
        let hint = format!("speak with it through `reseal auth proxy {}`", server.name);
        return CliError::because(DOING, Code::OAuthSignIn, why).hint(hint);
    }
    let failure = match failure.code {
        Code::OAuthSignIn => failure,
        _ => Failure::new(Code::OAuthSignIn, format!("nobody signed in to {identity}")),
    };
    let target = named.map_or(identity.as_str(), |server| server.name.as_str());
    CliError::new(DOING, failure).hint(format!("reseal auth login {target}"))
}
