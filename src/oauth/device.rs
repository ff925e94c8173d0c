//! Signing in on another device: RFC 8628, OpenAI's variant, and OpenAI's earlier paths.
//!
//! A pure state machine: it says what to send and how long to wait, and takes what came back. Each
//! step consumes the last, so that nothing is polled after the end.
//!
//! ```text
//! start -> Starting::read -> Device: wait() and poll() -> step -> Wait(Device) | Exchange | Done
//! ```

use super::answer::Members;
use super::client::Dialect;
use super::endpoint::Endpoint;
use super::grant::code_request;
use super::pkce::Verifier;
use super::provider::{FlowKind, Provider};
use super::record::Account;
use super::refusal::{Refusal, error_code};
use super::request::{HttpAnswer, HttpRequest, Parameter};
use super::server::{Server, ServerError};
use super::sign_in::{AwaitedGrant, FlowError, SignInWith};
use super::tokens::{AuthorizationCode, DeviceCode, is_token};
use crate::time::UnixMs;
use std::time::Duration;

/// Seconds between polls where the server names none (RFC 8628 section 3.2).
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
/// The shortest and the longest interval.
pub const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// See [`MIN_INTERVAL`].
pub const MAX_INTERVAL: Duration = Duration::from_secs(120);
/// What `slow_down` adds, for this and all later polls (RFC 8628 section 3.5).
pub const SLOW_DOWN: Duration = Duration::from_secs(5);
/// How long the code is valid where the server does not say, and always at OpenAI.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(900);
/// The longest that a sign-in may take.
pub const MAX_LIFETIME: Duration = Duration::from_secs(3600);
/// The longest code that a person enters, in bytes.
pub const MAX_USER_CODE: usize = 64;

/// Where OpenAI's earlier flow has its page and its redirect, whatever the issuer.
const LEGACY_PAGE: &str = "https://platform.openai.com/device";
const LEGACY_REDIRECT: &str = "http://localhost:1455/auth/callback";

/// Begins: the request to send, and who reads the answer.
///
/// # Errors
/// The provider or its server does not have the flow.
pub fn start(
    provider: &Provider,
    server: &Server,
    with: &SignInWith,
) -> Result<(HttpRequest, Starting), FlowError> {
    if !provider.offers(FlowKind::Device) {
        return Err(ServerError::Flow(FlowKind::Device).into());
    }
    let url = server.device.clone();
    let url = url.ok_or(ServerError::Endpoint("device_authorization_endpoint"))?;
    let awaited = AwaitedGrant::new(provider, server, with);
    let client = &awaited.client;
    let (request, place) = match provider.dialect {
        Dialect::Rfc8628 => {
            let scope = provider.scopes.join(" ");
            let given = [
                ("scope", Some(scope.as_str()).filter(|s| !s.is_empty())),
                ("resource", provider.resource.as_deref()),
                ("audience", provider.audience.as_deref()),
            ];
            let parameters = given
                .into_iter()
                .filter_map(|(name, value)| Some((name, Parameter::Text(value?))));
            let parameters = parameters.collect();
            let request = client.authenticated(url, provider.token_format, parameters);
            (request, Place::Standard)
        }
        Dialect::OpenAi | Dialect::AgentosLegacy => {
            let issuer = server.issuer.as_ref();
            let issuer = issuer.ok_or(ServerError::Endpoint("issuer"))?;
            let at = |path: &str| issuer.at(path).ok_or(ServerError::Endpoint("issuer"));
            let is_legacy = provider.dialect == Dialect::AgentosLegacy;
            let place = Place::OpenAi {
                poll: sibling(&url, "token"),
                page: if is_legacy {
                    LEGACY_PAGE.parse().map_err(FlowError::Url)?
                } else {
                    at("/codex/device")?
                },
                redirect: if is_legacy {
                    LEGACY_REDIRECT.to_owned()
                } else {
                    at("/deviceauth/callback")?.as_str().to_owned()
                },
            };
            let id = [("client_id", Parameter::Text(&client.client_id))];
            (HttpRequest::json(url, &id), place)
        }
    };
    Ok((request, Starting { place, awaited }))
}

/// The path with another last segment.
fn sibling(url: &Endpoint, last: &str) -> Endpoint {
    let parent = url.path().rsplit_once('/').map_or("", |(parent, _)| parent);
    url.with_path(&format!("{parent}/{last}"))
}

/// Where polls go and how they end.
#[derive(Clone, Debug)]
enum Place {
    Standard,
    OpenAi {
        poll: Endpoint,
        page: Endpoint,
        redirect: String,
    },
}

/// A flow whose first request is on its way.
#[derive(Debug)]
pub struct Starting {
    place: Place,
    awaited: AwaitedGrant,
}

const START_KEYS: &[&str] = &[
    "device_code",
    "user_code",
    "verification_uri",
    "verification_url",
    "verification_uri_complete",
    "expires_in",
    "interval",
    "device_auth_id",
    "usercode",
];

impl Starting {
    /// Reads the first answer: the code for the person, and where to enter it.
    ///
    /// # Errors
    /// Refused, or an answer that lacks something.
    pub fn read(self, answer: &HttpAnswer) -> Result<Device, FlowError> {
        let dialect = self.awaited.client.dialect;
        let disabled = dialect != Dialect::Rfc8628 && answer.status == 404;
        if disabled {
            return Err(FlowError::DeviceDisabled);
        }
        let text = answer.text().unwrap_or_default();
        if !answer.is_success() || error_code(text).is_some() {
            return Err(Refusal::of(answer, dialect).into());
        }
        let members = Members::read(text, START_KEYS).ok_or(FlowError::Device("JSON object"))?;
        let user_code = |key| members.text(key, MAX_USER_CODE);
        let user_code = user_code("user_code").or_else(|| user_code("usercode"));
        let user_code = user_code.filter(|code| code.bytes().all(|b| (b' '..=b'~').contains(&b)));
        let code_key = match &self.place {
            Place::Standard => "device_code",
            Place::OpenAi { .. } => "device_auth_id",
        };
        let code = members.secret(code_key).filter(is_token);
        let endpoint = |key| members.text(key, super::endpoint::MAX_URL)?.parse().ok();
        let (page, complete, lifetime) = match &self.place {
            Place::Standard => (
                endpoint("verification_uri").or_else(|| endpoint("verification_url")),
                endpoint("verification_uri_complete"),
                members.seconds("expires_in"),
            ),
            Place::OpenAi { page, .. } => (Some(page.clone()), None, None),
        };
        Ok(Device {
            prompt: Prompt {
                user_code: user_code.ok_or(FlowError::Device("user code"))?,
                page: page.ok_or(FlowError::Device("verification address"))?,
                complete,
                lifetime: lifetime.unwrap_or(DEFAULT_LIFETIME).min(MAX_LIFETIME),
            },
            code: code.ok_or(FlowError::Device("device code"))?.into(),
            interval: members
                .seconds("interval")
                .unwrap_or(DEFAULT_INTERVAL)
                .clamp(MIN_INTERVAL, MAX_INTERVAL),
            failures: 0,
            place: self.place,
            awaited: self.awaited,
        })
    }
}

/// What a person is told. Show with it that a code is never to be entered for somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The code to enter; printable ASCII.
    pub user_code: String,
    /// Where to enter it.
    pub page: Endpoint,
    /// The same with the code in it, for a QR code.
    pub complete: Option<Endpoint>,
    /// How long that is possible, from the answer on.
    pub lifetime: Duration,
}

/// A flow that waits for the person.
#[derive(Debug)]
pub struct Device {
    prompt: Prompt,
    code: DeviceCode,
    interval: Duration,
    failures: u32,
    place: Place,
    awaited: AwaitedGrant,
}

/// What a poll brought.
#[derive(Clone, Copy, Debug)]
pub enum Polled<'a> {
    /// An answer.
    Answer(&'a HttpAnswer),
    /// None: the network failed.
    Nothing,
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// Wait as long as [`Device::wait`] says, and poll again.
    Wait(Box<Device>),
    /// Send this request, once; its answer goes to [`AwaitedGrant::finish`].
    Exchange(Box<(HttpRequest, AwaitedGrant)>),
    /// Signed in.
    Done(Box<Account>),
}

impl Device {
    /// What the person is told.
    pub fn prompt(&self) -> &Prompt {
        &self.prompt
    }

    /// How long to wait before the next poll, also before the first: the interval, doubled for each
    /// failure of the network in a row (RFC 8628 section 3.5), and at most [`MAX_INTERVAL`].
    pub fn wait(&self) -> Duration {
        let factor = 1u32 << self.failures.min(7);
        self.interval.saturating_mul(factor).min(MAX_INTERVAL)
    }

    /// The poll to send.
    pub fn poll(&self) -> HttpRequest {
        let code = Parameter::Secret(self.code.secret());
        match &self.place {
            Place::Standard => self.awaited.client.token_request(&[
                ("grant_type", Parameter::Text(GRANT_TYPE)),
                ("device_code", code),
            ]),
            Place::OpenAi { poll, .. } => {
                let user_code = Parameter::Text(&self.prompt.user_code);
                let parameters = [("device_auth_id", code), ("user_code", user_code)];
                HttpRequest::json(poll.clone(), &parameters)
            }
        }
    }

    /// Takes what a poll brought. `elapsed` counts from the first answer on a clock that does not
    /// jump; `now` is the moment before the poll was sent.
    ///
    /// # Errors
    /// Declined, too late, or refused.
    pub fn step(
        mut self,
        polled: Polled<'_>,
        elapsed: Duration,
        now: UnixMs,
    ) -> Result<Step, FlowError> {
        let refusal = match polled {
            Polled::Nothing => Refusal::Transient {
                retry_after: None,
                status: 0,
            },
            Polled::Answer(answer) => match self.outcome(answer) {
                Ok(Outcome::Granted) => {
                    let account = self.awaited.finish(answer, now)?;
                    return Ok(Step::Done(Box::new(account)));
                }
                Ok(Outcome::Code(code, verifier, redirect)) => {
                    let request = code_request(&self.awaited.client, &code, &redirect, verifier);
                    return Ok(Step::Exchange(Box::new((request, self.awaited))));
                }
                Err(refusal) => refusal,
            },
        };
        self.slow_down(refusal)?;
        if elapsed.saturating_add(self.wait()) > self.prompt.lifetime {
            return Err(Refusal::Expired.into());
        }
        Ok(Step::Wait(Box::new(self)))
    }

    /// Sets the next wait, or gives up.
    fn slow_down(&mut self, refusal: Refusal) -> Result<(), FlowError> {
        let at_least = match refusal {
            Refusal::Pending => {
                self.failures = 0;
                return Ok(());
            }
            Refusal::SlowDown(asked) => asked,
            // A rate limit by another name.
            Refusal::Transient {
                retry_after,
                status: 429,
            } => retry_after,
            Refusal::Transient { retry_after, .. } => {
                self.failures = self.failures.saturating_add(1);
                let asked = retry_after.unwrap_or_default().min(MAX_INTERVAL);
                self.interval = self.interval.max(asked);
                return Ok(());
            }
            refusal => return Err(refusal.into()),
        };
        self.failures = 0;
        self.interval = (self.interval + SLOW_DOWN)
            .max(at_least.unwrap_or_default())
            .min(MAX_INTERVAL);
        Ok(())
    }

    fn outcome(&self, answer: &HttpAnswer) -> Result<Outcome, Refusal> {
        let text = answer.text().unwrap_or_default();
        let dialect = self.awaited.client.dialect;
        let Place::OpenAi { redirect, .. } = &self.place else {
            let granted = answer.is_success() && error_code(text).is_none();
            return if granted {
                Ok(Outcome::Granted)
            } else {
                Err(Refusal::of(answer, dialect))
            };
        };
        if answer.is_success() {
            let members = Members::read(text, &["authorization_code", "code_verifier"]);
            let members = members.ok_or(Refusal::Invalid("something other than a JSON object"))?;
            // AgentOS goes on polling on a success without a code.
            let code = members.secret("authorization_code").filter(is_token);
            let code = code.ok_or(Refusal::Pending)?;
            let verifier = members
                .secret("code_verifier")
                .and_then(Verifier::from_server);
            if verifier.is_none() && dialect == Dialect::OpenAi {
                return Err(Refusal::Invalid("no code verifier"));
            }
            return Ok(Outcome::Code(code.into(), verifier, redirect.clone()));
        }
        let second = match dialect {
            Dialect::AgentosLegacy => 428,
            Dialect::OpenAi | Dialect::Rfc8628 => 404,
        };
        Err(match Refusal::of(answer, dialect) {
            Refusal::Other { status, .. } if status == 403 || status == second => Refusal::Pending,
            refusal => refusal,
        })
    }
}

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What an answer grants.
enum Outcome {
    Granted,
    Code(AuthorizationCode, Option<Verifier>, String),
}

#[cfg(test)]
mod tests;
