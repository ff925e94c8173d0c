//! HTTP to authorization servers, behind one blocking door.
//!
//! Invariants: a redirect is an answer, never followed; nothing is sent twice; every request ends
//! at a time limit; a body is read into locked memory and bounded; after the answer no part of it
//! and of the request is left in other memory; a request to this machine goes through no proxy.
//! [`NetError::NotSent`] is said only if no byte of the request can have left.
//!
//! A new connection, certificate store and runtime for each request: there is one an hour, and a
//! daemon that runs for months sees a changed store. Proxies are those of the environment
//! (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`), certificates those of the system (`SSL_CERT_FILE`).

mod connect;
mod fault;
mod stream;

pub use fault::{Denied, Fault, NetError, Peer};
pub use stream::{IDLE_LIMIT, Session, Stop, Streamed};

use crate::oauth::address::Class;
use crate::oauth::endpoint::Endpoint;
use crate::oauth::request::{HttpAnswer, HttpRequest, Method};
use crate::secret::SecretValue;
use crate::sys::{clock, registers};
use crate::time::{MAX_DURATION, UnixMs};
use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, redirect, retry};
use std::io::{self, Read};
use std::time::{Duration, UNIX_EPOCH};
use tokio::runtime::Runtime;

/// The largest body of an answer in bytes: 1 MiB.
pub const MAX_BODY: usize = 1 << 20;
/// The most bytes of `WWW-Authenticate` that are kept of an answer.
pub const MAX_CHALLENGES: usize = 16 * 1024;
/// For a connection, names and TLS included.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// For a request in all, from the look-up of the name to the last byte of the body.
pub const TOTAL_LIMIT: Duration = Duration::from_secs(30);
/// How much of the stack is overwritten after a request, in bytes. What parses headers compares 32
/// bytes at a time, with those of the body that follow; they may lie on the stack from then on.
const BLEACH: usize = 256 * 1024;
/// How this program names itself to servers.
const USER_AGENT: &str = concat!("reseal/", env!("CARGO_PKG_VERSION"));

/// What a client allows. [`Policy::default`] has the constants of this module.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// For a connection.
    pub connect: Duration,
    /// For a request in all.
    pub total: Duration,
    /// The largest body in bytes.
    pub max_body: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            connect: CONNECT_LIMIT,
            total: TOTAL_LIMIT,
            max_body: MAX_BODY,
        }
    }
}

/// Sends requests. Blocks; many threads may send at once, and none waits for another.
pub trait Http: Send + Sync {
    /// Sends the request once and reads the whole answer, whatever its status.
    fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, NetError>;
}

/// The real network.
#[derive(Clone, Debug)]
pub struct Client {
    policy: Policy,
}

impl Client {
    /// A client with these limits. Nothing is opened before the first request.
    pub fn new(policy: &Policy) -> Self {
        // Whoever uses the library may have chosen a provider already.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        Self { policy: *policy }
    }

    fn build(&self, url: &Endpoint, guard: Option<Class>) -> reqwest::Result<reqwest::Client> {
        builder(url, &self.policy, guard)
            .timeout(self.policy.total)
            .pool_max_idle_per_host(0)
            .build()
    }

    /// Sends the request and reads the answer. Never inlined, so that its stack is below the
    /// caller's.
    #[inline(never)]
    fn exchange_once(&self, request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|_| NetError::NotSent(Peer::of(&request.url), Fault::System))?;
        let outcome = self.exchange(&runtime, request);
        // A look-up of a name that hangs in the system can't be stopped and is not waited for.
        runtime.shutdown_background();
        outcome
    }

    /// The same on a runtime that is given.
    fn exchange(&self, runtime: &Runtime, request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        let peer = Peer::of(&request.url);
        let not_sent = |fault| NetError::NotSent(peer.clone(), fault);
        let guard = request.within;
        connect::check_literal(&request.url, guard)?;
        let client = self
            .build(&request.url, guard)
            .map_err(|_| not_sent(Fault::Store))?;
        let mut sending = client
            .request(method(request), request.url.as_str())
            .headers(headers(request).ok_or_else(|| not_sent(Fault::Header))?);
        if let Some(body) = &request.body {
            sending = sending.body(lent(body));
        }
        let response = runtime
            .block_on(async { sending.send().await })
            .map_err(|error| fault::of_sending(peer.clone(), &error, &self.policy))?;
        let status = response.status().as_u16();
        let date = date_of(response.headers(), &header::DATE);
        let retry_after = retry_after(response.headers(), date);
        let challenges = challenges(response.headers());
        let from = connect::class_of(&request.url, &response);
        let body = self.read_body(runtime, response, &peer)?;
        Ok(HttpAnswer {
            status,
            body,
            retry_after,
            date,
            challenges,
            from,
        })
    }

    fn read_body(
        &self,
        runtime: &Runtime,
        response: Response,
        peer: &Peer,
    ) -> Result<SecretValue, NetError> {
        let max = self.policy.max_body;
        let too_large = || NetError::TooLarge(peer.clone(), max);
        let announced = response.content_length().unwrap_or(0);
        if usize::try_from(announced).is_ok_and(|len| len > max) {
            return Err(too_large());
        }
        let mut body = Body {
            runtime,
            response,
            chunk: Bytes::new(),
            timed_out: false,
        };
        match SecretValue::read_from(&mut body, max) {
            Ok(read) => read.ok_or_else(too_large),
            Err(_) => {
                let fault = match body.timed_out {
                    true => Fault::Answer(self.policy.total),
                    false => Fault::Broken,
                };
                Err(NetError::Lost(peer.clone(), fault))
            }
        }
    }
}

/// What every client of this module has in common.
fn builder(url: &Endpoint, policy: &Policy, guard: Option<Class>) -> reqwest::ClientBuilder {
    let mut builder = reqwest::Client::builder()
        .http1_only()
        .redirect(redirect::Policy::none())
        .retry(retry::never())
        .referer(false)
        .user_agent(USER_AGENT)
        .connect_timeout(policy.connect)
        .dns_resolver(connect::Resolver::new(url, guard));
    if url.is_loopback() {
        builder = builder.no_proxy();
    }
    if url.as_str().starts_with("http:") {
        // Saves reading the system's certificates, and works where there are none.
        builder = builder.tls_certs_only([]);
    }
    builder
}

impl Http for Client {
    /// # Panics
    /// Inside an asynchronous task, whose thread must not block: use a thread that may.
    fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        let outcome = self.exchange_once(request);
        bleach();
        outcome
    }
}

/// Overwrites the stack below the caller, and the vector registers.
#[inline(never)]
fn bleach() {
    let mut below = [0u8; BLEACH];
    std::hint::black_box(&mut below);
    registers::wipe();
}

/// What the server wants to be shown, as far as it is text and within the limit.
fn challenges(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter();
    let mut left = MAX_CHALLENGES;
    let texts = values.filter_map(|value| value.to_str().ok());
    let fits = |text: &&str| {
        let fits = text.len() <= left;
        left = left.saturating_sub(text.len());
        fits
    };
    texts.take_while(fits).map(str::to_owned).collect()
}

fn method(request: &HttpRequest) -> reqwest::Method {
    match request.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Delete => reqwest::Method::DELETE,
    }
}

/// A secret as a buffer of the HTTP library, without a copy.
struct Lent(SecretValue);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

fn lent(value: &SecretValue) -> Bytes {
    Bytes::from_owner(Lent(value.clone()))
}

/// The headers of a request; `None` if one holds bytes that no header may.
fn headers(request: &HttpRequest) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    let accept = match request.accept_json {
        true => "application/json",
        false => "*/*",
    };
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    if let Some(kind) = request.content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    if let Some(value) = &request.authorization {
        let mut value = HeaderValue::from_maybe_shared(lent(value)).ok()?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let mut value = HeaderValue::from_maybe_shared(lent(value)).ok()?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Some(headers)
}

fn date_of(headers: &HeaderMap, name: &HeaderName) -> Option<UnixMs> {
    let date = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
    let since = date.duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok().map(UnixMs)
}

/// `Retry-After`: seconds, or a date, which counts from the answer's own `Date` because the clocks
/// may be apart (RFC 9110 section 10.2.3). At most [`MAX_DURATION`].
fn retry_after(headers: &HeaderMap, date: Option<UnixMs>) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let at = date_of(headers, &header::RETRY_AFTER)?;
        date.unwrap_or_else(clock::now).until(at)
    };
    Some(wait.min(MAX_DURATION))
}

/// The body of an answer as a stream of bytes.
struct Body<'a> {
    runtime: &'a Runtime,
    response: Response,
    chunk: Bytes,
    timed_out: bool,
}

impl Read for Body<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.response.chunk()) {
                Ok(Some(chunk)) => self.chunk = chunk,
                Ok(None) => return Ok(0),
                Err(error) => {
                    self.timed_out = error.is_timeout();
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
        let count = self.chunk.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
