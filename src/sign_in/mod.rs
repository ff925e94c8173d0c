//! Signing in: from a provider to an account, with a browser, a pasted address or another device.
//!
//! | file | what |
//! | --- | --- |
//! | here | what a sign-in needs, and what the person sees: [`Person`], [`News`] |
//! | `browser` | the code flow: the listener and the paste race, the first valid answer wins |
//! | `device` | the device flow: a code to enter elsewhere, and the polls |
//!
//! Invariants: the listener is bound before the browser opens; a code is redeemed once, whoever
//! brings it; the browser is told how it ended only after the caller stored the account. Storing it
//! is not here: the caller proves that it can before it begins.
#![forbid(unsafe_code)]

mod browser;
mod device;

pub use browser::with_browser;

use crate::error::{Code, Failure};
use crate::net::{Http, Page, Reply};
use crate::oauth::callback::CallbackError;
use crate::oauth::device::Prompt;
use crate::oauth::discovery::DiscoveryStep;
use crate::oauth::provider::{FlowKind, Provider};
use crate::oauth::server::{Endpoints, Server};
use crate::oauth::sign_in::{AwaitedGrant, SignInWith};
use crate::oauth::{Account, Endpoint, HttpRequest};
use crate::secret::SecretValue;
use crate::sys::clock;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// How long a sign-in may take unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest that it may be told to take.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

/// How to sign in.
pub struct Wish {
    /// The flow; one of those that talk to a server.
    pub flow: FlowKind,
    /// Don't listen: the address is going to be pasted.
    pub paste_only: bool,
    /// Open the browser, where there is one.
    pub open_browser: bool,
    /// How long to wait for the person.
    pub timeout: Duration,
    /// What the flow takes beside the provider.
    pub with: SignInWith,
}

/// What the person should know.
#[derive(Debug)]
pub enum News<'a> {
    /// The server is asked for its endpoints.
    Discovering(&'a str),
    /// The page to open is ready.
    Authorize {
        /// The page.
        url: &'a Endpoint,
        /// Where the browser comes back to.
        redirect_uri: &'a str,
        /// The program that was asked to open it, or why none was; `None`: none was wanted.
        browser: Option<Result<&'a str, String>>,
        /// Why nothing listens for the browser, so that its last address has to be pasted; `None`
        /// if something does.
        deaf: Option<&'a str>,
    },
    /// A code has to be entered on another device.
    Code(&'a Prompt),
    /// What was pasted does not belong to this sign-in; the person may try again.
    NotOurs(&'a CallbackError),
    /// The person is done; the tokens are asked for.
    Exchanging,
}

/// What a request for a pasted address led to.
pub enum Pasted {
    /// Something was pasted.
    Text(SecretValue),
    /// Something else was faster.
    Stopped,
    /// Nobody can paste here.
    Unable,
}

/// The person who signs in, as a program reaches them.
pub trait Person {
    /// Tells something. An error ends the sign-in.
    ///
    /// # Errors
    /// The person can't be reached.
    fn tell(&mut self, news: News<'_>) -> Result<(), Failure>;

    /// Asks for the address that the browser ended at, until `stop` becomes readable.
    ///
    /// # Errors
    /// The person gave up.
    fn paste(&mut self, stop: BorrowedFd<'_>) -> Result<Pasted, Failure>;

    /// Waits between two polls of the device flow.
    fn pause(&mut self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// An account that nobody stored yet, and the browser that waits to hear of it.
pub struct SignedIn {
    /// The account.
    pub account: Account,
    label: String,
    browser: Option<Reply>,
}

impl SignedIn {
    /// Tells the browser that the account is stored.
    pub fn stored(self) {
        if let Some(browser) = self.browser {
            browser.send(&Page::SignedIn {
                provider: &self.label,
                account: self.account.identity.email.as_deref(),
            });
        }
    }

    /// Tells the browser that it was not stored, or that no profile points at it.
    pub fn failed(self) {
        fail(
            self.browser,
            &self.label,
            "the sign-in could not be finished",
        );
    }
}

fn fail(browser: Option<Reply>, provider: &str, why: &str) {
    if let Some(browser) = browser {
        browser.send(&Page::Failed { provider, why });
    }
}

/// Signs in.
///
/// # Errors
/// `oauth.flow_absent`, `oauth.denied`, `oauth.timeout`, `oauth.callback`, `oauth.refused`,
/// `oauth.invalid`, `oauth.unavailable`, `net.denied`; `input.cancelled` if the person gave up.
pub fn sign_in(
    provider: &Provider,
    http: &dyn Http,
    person: &mut dyn Person,
    wish: &Wish,
) -> Result<SignedIn, Failure> {
    let server = find_server(provider, http, person, wish.flow)?;
    match wish.flow {
        FlowKind::Device => device::sign_in(provider, &server, http, person, wish),
        _ => browser::sign_in(provider, &server, http, person, wish),
    }
}

/// The endpoints: given, or asked for.
fn find_server(
    provider: &Provider,
    http: &dyn Http,
    person: &mut dyn Person,
    flow: FlowKind,
) -> Result<Server, Failure> {
    let mut discovery = match provider.endpoints(flow)? {
        Endpoints::Known(server) => return Ok(*server),
        Endpoints::Discover(discovery) => discovery,
    };
    let issuer = provider
        .issuer
        .as_ref()
        .map_or("", |issuer| issuer.as_str());
    person.tell(News::Discovering(issuer))?;
    loop {
        let answer = http.send(&discovery.request())?;
        match discovery.step(&answer).map_err(Failure::from)? {
            DiscoveryStep::Done(metadata) => return Ok(provider.server(flow, *metadata)?),
            DiscoveryStep::Next(next) => discovery = next,
        }
    }
}

/// Asks for the tokens, once: a code that was sent is used up, whatever came back.
fn exchange(
    http: &dyn Http,
    request: &HttpRequest,
    awaited: AwaitedGrant,
) -> Result<Account, Failure> {
    let asked_at = clock::now();
    let answer = http.send(request).map_err(|error| {
        let failure = Failure::from(error);
        let text = format!("{}; the sign-in has to start again", failure.message);
        Failure::new(failure.code, text)
    })?;
    Ok(awaited.finish(&answer, asked_at)?)
}

fn timed_out(timeout: Duration) -> Failure {
    let text = format!("nobody finished it within {} s", timeout.as_secs());
    Failure::new(Code::OAuthTimeout, text)
}

#[cfg(test)]
mod tests;
