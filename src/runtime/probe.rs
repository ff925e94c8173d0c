//! One real, small request to a provider's API, to see whether it takes a credential.
//!
//! It asks for the list of models or the account, so that nothing is generated and nothing is
//! charged. Invariant: a credential goes only to the address that is built in for its provider, or
//! that the user's own config names; a redirect is not followed; what a server answers is read for
//! its status only.

use crate::net::http::{Fault, Http, NetError};
use crate::oauth::{Endpoint, EndpointError, HttpRequest};
use crate::profile::ProfileType;
use crate::profile::header::header;
use crate::secret::SecretValue;
use crate::secret::json::build;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The most requests that run at once.
pub const MAX_CONCURRENCY: usize = 16;
/// How long one request may take unless somebody says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(8);
/// The longest that one request may be allowed.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(120);
/// The version of Anthropic's API, which it wants in a header.
const ANTHROPIC_VERSION: &[u8] = b"2023-06-01";
/// What Anthropic's API wants beside a token instead of a key.
const ANTHROPIC_TOKENS: &[u8] = b"oauth-2025-04-20";

/// What came of a request, by the family's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeStatus {
    /// The credential was taken.
    Ok,
    /// It was refused.
    Auth,
    /// Too many requests.
    RateLimit,
    /// The account has no money or quota left.
    Billing,
    /// No answer in time.
    Timeout,
    /// The request was not understood.
    Format,
    /// Something else.
    Unknown,
    /// No API to ask is known, or no credential could be taken there.
    NoModel,
}

impl ProbeStatus {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            ProbeStatus::Ok => "ok",
            ProbeStatus::Auth => "auth",
            ProbeStatus::RateLimit => "rate_limit",
            ProbeStatus::Billing => "billing",
            ProbeStatus::Timeout => "timeout",
            ProbeStatus::Format => "format",
            ProbeStatus::Unknown => "unknown",
            ProbeStatus::NoModel => "no_model",
        }
    }
}

/// A provider's API, as far as one question needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api {
    provider: String,
    url: Endpoint,
}

/// Where a question costs nothing and needs a credential. Lists of models that anybody may read
/// prove nothing, so the account is asked for there.
const BUILT_IN: &[(&str, &str)] = &[
    ("openai", "https://api.openai.com/v1/models"),
    ("anthropic", "https://api.anthropic.com/v1/models?limit=1"),
    (
        "google",
        "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1",
    ),
    (
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta/models?pageSize=1",
    ),
    ("openai-codex", "https://chatgpt.com/backend-api/wham/usage"),
    ("openrouter", "https://openrouter.ai/api/v1/key"),
    ("groq", "https://api.groq.com/openai/v1/models"),
    ("mistral", "https://api.mistral.ai/v1/models"),
    ("xai", "https://api.x.ai/v1/models"),
    ("deepseek", "https://api.deepseek.com/models"),
    ("together", "https://api.together.xyz/v1/models"),
    ("cerebras", "https://api.cerebras.ai/v1/models"),
    ("fireworks", "https://api.fireworks.ai/inference/v1/models"),
    ("moonshot", "https://api.moonshot.ai/v1/models"),
    ("huggingface", "https://huggingface.co/api/whoami-v2"),
    ("github", "https://api.github.com/user"),
];

impl Api {
    /// The API of a provider: at `base_url` if the config names one, else the built-in one; `None`
    /// if there is neither.
    ///
    /// # Errors
    /// A `base_url` that no credential may be sent to: not https (but on this machine), or with a
    /// user name, password or fragment.
    pub fn of(provider: &str, base_url: Option<&str>) -> Result<Option<Self>, EndpointError> {
        let url = match base_url {
            Some(base) => {
                let base = base.trim_end_matches('/');
                let question = match provider {
                    "anthropic" if !base.ends_with("/v1") => "/v1/models",
                    "openrouter" => "/key",
                    _ => "/models",
                };
                format!("{base}{question}")
            }
            None => match BUILT_IN.iter().find(|(id, _)| *id == provider) {
                Some((_, url)) => (*url).to_owned(),
                None => return Ok(None),
            },
        };
        let provider = provider.to_owned();
        Ok(Some(Self {
            provider,
            url: url.parse()?,
        }))
    }

    fn request(&self, profile_type: ProfileType, credential: &SecretValue) -> HttpRequest {
        let (name, prefix) = header(&self.provider, profile_type);
        let value = build(|sink| {
            sink(prefix.as_bytes());
            sink(credential.expose());
        });
        let mut request = HttpRequest::get(self.url.clone());
        if name.eq_ignore_ascii_case("authorization") {
            request.authorization = Some(value);
        } else {
            request.headers.push((name, value));
        }
        if self.provider == "anthropic" {
            let mut add = |name, text| request.headers.push((name, SecretValue::copy_of(text)));
            add("anthropic-version", ANTHROPIC_VERSION);
            if profile_type != ProfileType::ApiKey {
                add("anthropic-beta", ANTHROPIC_TOKENS);
            }
        }
        request
    }

    fn status_of(&self, status: u16) -> ProbeStatus {
        match (status, self.provider.as_str()) {
            (200..=299, _) => ProbeStatus::Ok,
            // Google says so of a bad key; a gate before the service says 403 to any program.
            (400, "google" | "gemini") => ProbeStatus::Auth,
            (403, "openai-codex") => ProbeStatus::Unknown,
            (401 | 403, _) => ProbeStatus::Auth,
            (402, _) => ProbeStatus::Billing,
            (429, _) => ProbeStatus::RateLimit,
            (408 | 504, _) => ProbeStatus::Timeout,
            (400 | 404 | 405 | 422, _) => ProbeStatus::Format,
            _ => ProbeStatus::Unknown,
        }
    }
}

/// A credential, and whom to ask about it.
pub struct Target {
    /// Whom.
    pub api: Api,
    /// What it is.
    pub profile_type: ProfileType,
    /// The credential.
    pub credential: SecretValue,
}

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// In a word.
    pub status: ProbeStatus,
    /// How long it took.
    pub latency: Duration,
    /// What went wrong; nothing that a server sent.
    pub error: Option<String>,
}

/// Asks once.
pub fn probe(http: &dyn Http, target: &Target) -> Finding {
    let request = target.api.request(target.profile_type, &target.credential);
    let started = Instant::now();
    let answer = http.send(&request);
    let latency = started.elapsed();
    let (status, error) = match answer {
        Ok(answer) => {
            let status = target.api.status_of(answer.status);
            let host = target.api.url.host();
            let error = format!("{host} answered with status {}", answer.status);
            (status, (status != ProbeStatus::Ok).then_some(error))
        }
        Err(error) => (status_of_error(&error), Some(error.to_string())),
    };
    Finding {
        status,
        latency,
        error,
    }
}

fn status_of_error(error: &NetError) -> ProbeStatus {
    match error {
        NetError::NotSent(_, Fault::Connect(_)) | NetError::Lost(_, Fault::Answer(_)) => {
            ProbeStatus::Timeout
        }
        // A credential that HTTP can't carry.
        NetError::NotSent(_, Fault::Header) => ProbeStatus::Auth,
        NetError::NotSent(..) | NetError::Lost(..) => ProbeStatus::Unknown,
        // So much of an answer is no refusal, but nobody knows what it is.
        NetError::TooLarge(..) | NetError::Denied(_) => ProbeStatus::Unknown,
    }
}

/// Asks about all of them, at most `concurrency` at once (1 to [`MAX_CONCURRENCY`]); the findings
/// are in the order of the targets.
pub fn probe_all(http: &dyn Http, targets: &[Target], concurrency: usize) -> Vec<Finding> {
    let workers = concurrency.clamp(1, MAX_CONCURRENCY).min(targets.len());
    let waiting = Mutex::new(targets.iter().enumerate());
    let found = Mutex::new(Vec::with_capacity(targets.len()));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((index, target)) = next(&waiting) {
                    let finding = probe(http, target);
                    let mut found = found.lock().unwrap_or_else(|broken| broken.into_inner());
                    found.push((index, finding));
                }
            });
        }
    });
    let mut found = found
        .into_inner()
        .unwrap_or_else(|broken| broken.into_inner());
    found.sort_by_key(|(index, _)| *index);
    found.into_iter().map(|(_, finding)| finding).collect()
}

fn next<T>(waiting: &Mutex<impl Iterator<Item = T>>) -> Option<T> {
    let mut waiting = waiting.lock().unwrap_or_else(|broken| broken.into_inner());
    waiting.next()
}

#[cfg(test)]
mod tests;
