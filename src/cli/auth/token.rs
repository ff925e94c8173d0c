//! `reseal auth token`.

use super::kept;
use super::servers::{ConfigArgs, Servers, identity, server};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::session::{self, UnlockArgs};
use crate::error::{Code, Failure};
use crate::mcp::keyring::Wanted;
use crate::mcp::{Identity, McpServer, Persist};
use crate::oauth::TokenSet;
use crate::runtime::service::{Reply, Request};
use crate::secret::SecretValue;
use crate::secret::json::{self, Part};
use crate::time::{UnixMs, parse_duration};
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
    let server = server(context, &servers, &args.server, DOING)?;
    let identity = identity(&servers, &args.server, DOING)?;
    let (value, kind, expires_at) = match in_keyring(context, args, &server, named, &identity)? {
        Some(tokens) => (
            tokens.access.secret().clone(),
            "Bearer".to_owned(),
            tokens.expires_at,
        ),
        None => in_vault(context, args, &server, named, &identity)?,
    };
    if !context.out.json {
        context.out.secret(&value, true)?;
        return Ok(0);
    }
    let expires = expires_at.map_or("null".to_owned(), |at| at.0.to_string());
    let prefix = format!("{kind} ");
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

fn in_keyring(
    context: &Context,
    args: &TokenArgs,
    server: &McpServer,
    named: Option<&McpServer>,
    identity: &Identity,
) -> Result<Option<TokenSet>, CliError> {
    let wanted = Wanted {
        min_ttl: args.min_ttl,
        refused: None,
    };
    let tokens = kept::token(context, server, &args.unlock, &wanted);
    tokens.map_err(|failure| explained(failure, named, identity))
}

/// The token, what stands before it in a header, and when it ends.
fn in_vault(
    context: &Context,
    args: &TokenArgs,
    server: &McpServer,
    named: Option<&McpServer>,
    identity: &Identity,
) -> Result<(SecretValue, String, Option<UnixMs>), CliError> {
    if server.persist == Persist::Keyring && !kept::has_vault(context)? {
        let text = format!("nobody signed in to {identity}{}", kept::why(context));
        let failure = Failure::new(Code::OAuthSignIn, text);
        return Err(explained(failure, named, identity));
    }
    let name = identity.record().map_err(Failure::from).doing(DOING)?;
    let mut service = session::service(context, &args.unlock)?;
    let request = Request::Token {
        name,
        min_ttl_ms: u64::try_from(args.min_ttl.as_millis()).unwrap_or(u64::MAX),
        force: false,
    };
    let answer = service.call(request, Vec::new());
    let answer = answer.map_err(|failure| explained(failure, named, identity))?;
    match (answer.reply, answer.secrets.into_iter().next()) {
        (Reply::Token(info), Some(value)) => Ok((value, info.token_type, info.expires_at)),
        (other, _) => Err(session::unexpected(DOING, &other)),
    }
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
    let target = named.map_or_else(|| identity.target(), |server| server.name.clone());
    CliError::new(DOING, failure).hint(format!("reseal auth login {target}"))
}
