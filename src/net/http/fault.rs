//! Why there is no answer, told so that a caller knows whether the request can have arrived.
//!
//! Invariant: a text names host and port, never path, query, header or body; nothing that a server
//! sent gets into it.

use super::{Class, Policy};
use crate::error::{Code, Coded};
use crate::oauth::endpoint::Endpoint;
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// Host and port, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer(String);

impl Peer {
    /// Where the URL leads.
    pub fn of(url: &Endpoint) -> Self {
        Self(format!("{}:{}", url.host(), url.port()))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// No byte of the request can have left: it may be sent again.
    #[error("cannot reach {0}: {1}")]
    NotSent(Peer, Fault),
    /// The request was sent, or may have been, and there is no whole answer: whether the server
    /// acted on it is not known.
    #[error("no whole answer from {0}: {1}")]
    Lost(Peer, Fault),
    /// The answer is larger than allowed; the server has acted on the request.
    #[error("the answer of {0} is larger than {1} bytes")]
    TooLarge(Peer, usize),
    /// The address is not allowed; nothing was sent.
    #[error("{0}")]
    Denied(Denied),
}

impl NetError {
    /// True if no byte of the request can have left.
    pub fn nothing_sent(&self) -> bool {
        matches!(self, NetError::NotSent(..) | NetError::Denied(_))
    }
}

impl Coded for NetError {
    fn code(&self) -> Code {
        match self {
            NetError::NotSent(..) | NetError::Lost(..) => Code::OAuthUnavailable,
            NetError::TooLarge(..) => Code::OAuthInvalid,
            NetError::Denied(_) => Code::NetDenied,
        }
    }
}

crate::error::failure_from!(NetError);

/// An address that the guard refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{peer} is {class}, which a server elsewhere must not send us to")]
pub struct Denied {
    /// Where the request was to go.
    pub peer: Peer,
    /// What stands there.
    pub class: Class,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The name has no address.
    #[error("the name has no address (or there is no network)")]
    Name,
    /// Nobody listens there.
    #[error("the connection was refused")]
    Refused,
    /// No route.
    #[error("there is no route to it")]
    Unreachable,
    /// No connection in time.
    #[error("no connection within {} ms", .0.as_millis())]
    Connect(Duration),
    /// The certificate is signed by nobody whom this system trusts.
    #[error("its certificate is signed by no authority that this system trusts")]
    Issuer,
    /// The certificate is not valid now.
    #[error("its certificate is not valid now (expired, or this machine's clock is wrong)")]
    Expired,
    /// The certificate is for another host.
    #[error("its certificate is for another host")]
    OtherHost,
    /// Another problem of TLS.
    #[error("the TLS handshake failed")]
    Tls,
    /// A connection that failed in another way, or a proxy that refused.
    #[error("the connection failed, or the proxy refused it")]
    Connection,
    /// The system's certificates can't be read.
    #[error("this system has no certificate authorities (install `ca-certificates`)")]
    Store,
    /// A header holds bytes that no header may.
    #[error("a credential holds bytes that HTTP can't carry")]
    Header,
    /// The operating system refused.
    #[error("the operating system refused")]
    System,
    /// No whole answer in time.
    #[error("it did not answer within {} ms", .0.as_millis())]
    Answer(Duration),
    /// The connection ended early, or what came is not HTTP.
    #[error("the connection ended early, or what came is not HTTP")]
    Broken,
}

/// Reads an error of the HTTP library. What it does not clearly call a failure to connect counts as
/// sent.
pub(super) fn of_sending(peer: Peer, error: &reqwest::Error, policy: &Policy) -> NetError {
    if let Some(denied) = chain(error).find_map(|inner| inner.downcast_ref::<Denied>()) {
        return NetError::Denied(denied.clone());
    }
    if error.is_builder() {
        return NetError::NotSent(peer, Fault::System);
    }
    if error.is_connect() {
        return NetError::NotSent(peer, of_connecting(error, policy));
    }
    let fault = match error.is_timeout() {
        true => Fault::Answer(policy.total),
        false => Fault::Broken,
    };
    NetError::Lost(peer, fault)
}

fn of_connecting(error: &reqwest::Error, policy: &Policy) -> Fault {
    for inner in chain(error) {
        if inner.is::<super::connect::NoAddress>() {
            return Fault::Name;
        }
        if let Some(fault) = inner.downcast_ref().and_then(of_io) {
            return fault;
        }
    }
    match error.is_timeout() {
        true => Fault::Connect(policy.connect),
        false => Fault::Connection,
    }
}

/// `source` passes over what an error of the system wraps, so this looks inside.
fn of_io(error: &io::Error) -> Option<Fault> {
    if let Some(inner) = error.get_ref() {
        if let Some(tls) = inner.downcast_ref() {
            return Some(of_tls(tls));
        }
        if let Some(fault) = inner.downcast_ref().and_then(of_io) {
            return Some(fault);
        }
    }
    match error.kind() {
        ErrorKind::ConnectionRefused => Some(Fault::Refused),
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => Some(Fault::Unreachable),
        // Once there is a connection, only a handshake is left that it can end in.
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => Some(Fault::Tls),
        _ => None,
    }
}

fn of_tls(error: &rustls::Error) -> Fault {
    use rustls::CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::Expired | Bad::ExpiredContext { .. } => Fault::Expired,
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => Fault::Expired,
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Fault::OtherHost,
            // The second: an authority of the same name with another key.
            Bad::UnknownIssuer | Bad::BadSignature => Fault::Issuer,
            _ => Fault::Tls,
        },
        _ => Fault::Tls,
    }
}

/// The error and its sources, outermost first.
fn chain<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&inner| Error::source(inner))
}
