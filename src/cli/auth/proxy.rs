//! `reseal auth proxy`: an MCP client starts it as a child process and speaks with a protected
//! server.

use super::kept::{self, Place};
use super::login::{AllowedArgs, Terms, authenticate, client_secret};
use super::servers::{ConfigArgs, Servers, server};
use crate::cli::context::Context;
use crate::cli::error::{CliError, Doing, Done};
use crate::cli::models::login::parse_timeout;
use crate::cli::models::person::AtTerminal;
use crate::cli::session::{self, UnlockArgs};
use crate::error::{Code, Coded, Failure};
use crate::mcp::keyring::Wanted;
use crate::mcp::proxy::{self, Tokens};
use crate::mcp::sign_in::{Held, With, sign_in};
use crate::mcp::{Identity, McpServer, Persist};
use crate::name::RecordName;
use crate::net::Http;
use crate::net::http::{Client, Policy};
use crate::oauth::challenge::Challenge;
use crate::oauth::freshness::is_fresh;
use crate::oauth::provider::FlowKind;
use crate::oauth::sign_in::SignInWith;
use crate::oauth::{AccessToken, Account, Refusal, read_grant, refresh_request};
use crate::runtime::service::{Reply, Request};
use crate::sign_in::{DEFAULT_TIMEOUT, Wish};
use crate::sys::clock;
use crate::time::UnixMs;
use clap::Args;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

#[derive(Args)]
pub(super) struct ProxyArgs {
    /// The name of a server, or its URL
    #[arg(value_name = "SERVER")]
    server: String,

    /// Open no browser: say on stderr which page to open, and wait for it
    #[arg(long)]
    no_browser: bool,

    /// Never ask a person to sign in: a request without a token is an error
    #[arg(long)]
    no_sign_in: bool,

    /// How long to wait for the person: 5m unless told otherwise
    #[arg(long, value_name = "DURATION", value_parser = parse_timeout)]
    timeout: Option<Duration>,

    #[command(flatten)]
    allowed: AllowedArgs,

    #[command(flatten)]
    config: ConfigArgs,

    #[command(flatten)]
    unlock: UnlockArgs,
}

const DOING: &str = "speak with the server";
/// A token that has less left than this is asked for anew: the request still has to travel.
const SPARE: Duration = Duration::from_secs(10);

pub(super) fn run(context: &Context, args: ProxyArgs) -> Done {
    let servers = Servers::read(context, &args.config)?;
    let server = server(context, &servers, &args.server, DOING)?;
    servers.tell_origin(context, &server);
    let Some(url) = server.url.clone() else {
        let why = format!("{}: it is a child process, and wants no OAuth", server.name);
        return Err(CliError::because(DOING, Code::Usage, why));
    };
    let transport = server.transport;
    let name = Identity::of(url.as_str()).record();
    let name = name.map_err(Failure::from).doing(DOING)?;
    let stdin = std::io::stdin().lock();
    let stdout = Box::new(std::io::stdout());
    let mut context = context.clone();
    // The terminal is the client's.
    context.no_input = true;
    let keeper = Keeper {
        context,
        name,
        args,
        kept: Mutex::default(),
        told: AtomicBool::new(false),
        server,
    };
    proxy::run(&url, transport, Arc::new(keeper), stdin, stdout).doing(DOING)?;
    Ok(0)
}

/// Keeps the token of the server: in the keyring, in the vault, or in this process alone.
struct Keeper {
    context: Context,
    server: McpServer,
    name: RecordName,
    args: ProxyArgs,
    kept: Mutex<Kept>,
    /// A person knows where the tokens go.
    told: AtomicBool,
}

#[derive(Default)]
struct Kept {
    /// The token that the vault or the keyring gave, until it ends.
    token: Option<(AccessToken, Option<UnixMs>)>,
    /// The vault gave it.
    is_of_vault: bool,
    /// The account of a server with `persist: memory`, or one that has no other place.
    account: Option<Account>,
}

impl Kept {
    /// The token, if it is no other that is needed.
    fn good(&self, refused: Option<&AccessToken>) -> Option<AccessToken> {
        let (token, expires_at) = self.token.as_ref()?;
        let now = clock::now();
        let lasts = expires_at.is_none_or(|at| now.until(at) > SPARE);
        (lasts && Some(token) != refused).then(|| token.clone())
    }
}

impl Tokens for Keeper {
    fn token(&self, refused: Option<&AccessToken>) -> Result<Option<AccessToken>, Failure> {
        if !self.server.oauth {
            return Ok(None);
        }
        let mut kept = self.kept();
        let token = match self.server.persist {
            Persist::Memory => self.of_memory(&mut kept, refused)?,
            // Signed in where neither was there.
            Persist::Keyring if kept.account.is_some() => self.of_memory(&mut kept, refused)?,
            Persist::Keyring => self.of_keyring(&mut kept, refused)?,
            Persist::Vault => self.of_vault(&mut kept, refused)?,
        };
        Ok(Some(token))
    }

    fn sign_in(&self, challenge: &Challenge) -> Result<(), Failure> {
        if self.args.no_sign_in {
            let text = format!(
                "{} wants somebody to sign in: reseal auth login {}",
                self.server.name, self.server.name
            );
            return Err(Failure::new(Code::OAuthSignIn, text));
        }
        let label = self.server.label();
        let mut person = AtTerminal::new(&self.context, &label);
        // stdin and the terminal are the client's.
        person.may_ask = false;
        let challenge = Some(challenge.clone());
        let challenge = challenge.filter(|known| *known != Challenge::default());
        let wish = Wish {
            flow: FlowKind::Pkce,
            paste_only: false,
            open_browser: !self.args.no_browser,
            timeout: self.args.timeout.unwrap_or(DEFAULT_TIMEOUT),
            with: SignInWith::default(),
        };
        if self.server.persist == Persist::Memory {
            return self.sign_in_for_now(&mut person, &wish, challenge);
        }
        let place = kept::to_write(&self.context, self.server.persist);
        let place = place.map_err(CliError::into_reason)?;
        if !self.told.swap(true, Ordering::Relaxed) {
            kept::tell(&self.context, &place);
        }
        if let Place::Memory(_) = place {
            return self.sign_in_for_now(&mut person, &wish, challenge);
        }
        let terms = Terms {
            allowed: self.args.allowed.into(),
            wish,
            unlock: &self.args.unlock,
            challenge,
        };
        let done = authenticate(&self.context, &self.server, &place, &mut person, terms);
        *self.kept() = Kept::default();
        done.map_err(CliError::into_reason)
    }
}

impl Keeper {
    /// No panic leaves it half changed: each change is one assignment.
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the keyring, else from the vault if there is one.
    fn of_keyring(
        &self,
        kept: &mut Kept,
        refused: Option<&AccessToken>,
    ) -> Result<AccessToken, Failure> {
        if let Some(token) = kept.good(refused) {
            return Ok(token);
        }
        let wanted = Wanted {
            min_ttl: SPARE,
            refused,
        };
        let unlock = &self.args.unlock;
        if let Some(tokens) = kept::token(&self.context, &self.server, unlock, &wanted)? {
            kept.token = Some((tokens.access.clone(), tokens.expires_at));
            kept.is_of_vault = false;
            return Ok(tokens.access);
        }
        let found = match kept::has_vault(&self.context).map_err(CliError::into_reason)? {
            true => self.of_vault(kept, refused),
            false => Err(self.nobody()),
        };
        found.map_err(|failure| self.without_keyring(kept, failure))
    }

    /// Why there is no token, where the keyring gave none and the vault failed with this.
    fn without_keyring(&self, kept: &Kept, failure: Failure) -> Failure {
        if !matches!(failure.code, Code::OAuthSignIn | Code::VaultSealed) {
            return failure;
        }
        let url = self.server.url.as_ref().map_or("", |url| url.as_str());
        match kept::to_read(&self.context, Persist::Keyring, &Identity::of(url)) {
            // It may well hold tokens: a sign-in would only hide that.
            Place::Vault(Some(why)) if !why.is_absence() => {
                let name = &self.server.name;
                let text = format!(
                    "{why}, and may hold tokens of {name}: unlock it, or sign in with \
                     `reseal auth login {name}`"
                );
                Failure::new(why.code(), text)
            }
            // Nothing says that there are tokens in the vault, and new ones do not go there.
            Place::Keyring(_) if !kept.is_of_vault => self.nobody(),
            _ => failure,
        }
    }

    fn nobody(&self) -> Failure {
        let text = format!("nobody signed in to {}", self.server.name);
        Failure::new(Code::OAuthSignIn, text)
    }

    fn of_vault(
        &self,
        kept: &mut Kept,
        refused: Option<&AccessToken>,
    ) -> Result<AccessToken, Failure> {
        if let Some(token) = kept.good(refused) {
            return Ok(token);
        }
        let mut force = false;
        loop {
            let (token, expires_at) = self.ask(force)?;
            // Another process may have renewed it since: only the very token is refused.
            if Some(&token) == refused && !force {
                force = true;
                continue;
            }
            kept.token = Some((token.clone(), expires_at));
            kept.is_of_vault = true;
            return Ok(token);
        }
    }

    fn ask(&self, force: bool) -> Result<(AccessToken, Option<UnixMs>), Failure> {
        let service = session::service(&self.context, &self.args.unlock);
        let request = Request::Token {
            name: self.name.clone(),
            min_ttl_ms: 0,
            force,
        };
        let answer = service
            .map_err(CliError::into_reason)?
            .call(request, Vec::new());
        let answer = answer.map_err(|failure| match failure.code {
            Code::RecordAbsent => self.nobody(),
            _ => failure,
        })?;
        match (answer.reply, answer.secrets.into_iter().next()) {
            (Reply::Token(info), Some(token)) => Ok((token.into(), info.expires_at)),
            _ => Err(Failure::new(Code::Bug, "the answer is of the wrong kind")),
        }
    }

    /// The token of an account that no other process knows.
    fn of_memory(
        &self,
        kept: &mut Kept,
        refused: Option<&AccessToken>,
    ) -> Result<AccessToken, Failure> {
        let nobody = || {
            let text = format!("nobody signed in to {} here", self.server.name);
            Failure::new(Code::OAuthSignIn, text)
        };
        let account = kept.account.as_ref().ok_or_else(nobody)?;
        let now = clock::now();
        let fresh = is_fresh(account.obtained_at, account.expires_at, now, None, SPARE);
        if fresh && Some(&account.access) != refused {
            return Ok(account.access.clone());
        }
        let refresh = account.refresh.as_ref().ok_or_else(nobody)?;
        let request = refresh_request(&account.client, refresh);
        let answer = Client::new(&Policy::default()).send(&request)?;
        let grant = match read_grant(&answer, account.client.dialect) {
            Err(Refusal::Permanent(_)) => {
                kept.account = None;
                return Err(nobody());
            }
            other => other?,
        };
        let renewed = account.renewed(grant, now);
        let token = renewed.access.clone();
        kept.account = Some(renewed);
        Ok(token)
    }

    fn sign_in_for_now(
        &self,
        person: &mut AtTerminal<'_>,
        wish: &Wish,
        challenge: Option<Challenge>,
    ) -> Result<(), Failure> {
        let secret = client_secret(&self.context, &self.server, &self.args.unlock);
        let held =
            |account: &Account| Held::of(account.client.issuer.clone(), account.scope.as_deref());
        let held = self.kept().account.as_ref().map(held);
        let with = With {
            challenge,
            held: held.unwrap_or_default(),
            client_secret: secret.map_err(CliError::into_reason)?,
            allowed: self.args.allowed.into(),
        };
        let client = Client::new(&Policy::default());
        let signed_in = sign_in(&self.server, &client, person, wish, with)?;
        self.kept().account = Some(signed_in.account.clone());
        signed_in.stored();
        Ok(())
    }
}
