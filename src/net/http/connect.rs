//! From a name to the addresses that may be connected to.
//!
//! Invariant: what is checked is what is connected to: there is one look-up, and its checked result
//! goes to the connector.

use super::{Denied, NetError, Peer};
use crate::oauth::address::Class;
use crate::oauth::endpoint::Endpoint;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

/// A name without an address.
#[derive(Debug, thiserror::Error)]
#[error("the name has no address")]
pub(super) struct NoAddress;

/// Looks names up for one request.
pub(super) struct Resolver {
    host: String,
    peer: Peer,
    guard: Option<Class>,
}

impl Resolver {
    /// For a request to this URL.
    pub fn new(url: &Endpoint, guard: Option<Class>) -> Arc<Self> {
        Arc::new(Self {
            host: url.host().to_owned(),
            peer: Peer::of(url),
            guard,
        })
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        // Another name is that of a proxy, which a person configured.
        let guard = self.guard.filter(|_| name.eq_ignore_ascii_case(&self.host));
        let peer = self.peer.clone();
        Box::pin(async move {
            let found = look_up(&name).await?;
            if let Some(guard) = guard {
                check(found.iter().map(SocketAddr::ip), guard, &peer)?;
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// The addresses of a name; the port is put in later. `localhost` is this machine whatever a name
/// server says (RFC 6761).
async fn look_up(name: &str) -> Result<Vec<SocketAddr>, NoAddress> {
    if name.eq_ignore_ascii_case("localhost") {
        return Ok(vec![
            SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
        ]);
    }
    let found = tokio::net::lookup_host((name, 0)).await;
    let found: Vec<_> = found.map_err(|_| NoAddress)?.collect();
    if found.is_empty() {
        return Err(NoAddress);
    }
    Ok(found)
}

/// All addresses must be allowed: one that is not says that somebody plays with names.
fn check(addresses: impl Iterator<Item = IpAddr>, guard: Class, peer: &Peer) -> Result<(), Denied> {
    for address in addresses {
        let class = Class::of(address);
        if class != Class::Public && class != guard {
            return Err(Denied {
                peer: peer.clone(),
                class,
            });
        }
    }
    Ok(())
}

/// The address in a URL that has one instead of a name.
fn literal(url: &Endpoint) -> Option<IpAddr> {
    let host = url.host();
    host.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

/// Checks an address in the URL itself, which is connected to without a look-up.
pub(super) fn check_literal(url: &Endpoint, guard: Option<Class>) -> Result<(), NetError> {
    let (Some(guard), Some(address)) = (guard, literal(url)) else {
        return Ok(());
    };
    check(std::iter::once(address), guard, &Peer::of(url)).map_err(NetError::Denied)
}

/// What the address reaches that an answer came from. Behind a proxy nobody here knows it.
pub(super) fn class_of(url: &Endpoint, response: &reqwest::Response) -> Option<Class> {
    let proxied = !url.is_loopback() && is_proxied(&|name| std::env::var_os(name).is_some());
    let peer = response.remote_addr().filter(|_| !proxied);
    peer.map(|peer| Class::of(peer.ip()))
}

/// True if the environment names a proxy for anything.
fn is_proxied(is_set: &dyn Fn(&str) -> bool) -> bool {
    let names = [
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
        "HTTP_PROXY",
        "http_proxy",
    ];
    names.into_iter().any(is_set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_for_anything_hides_where_an_answer_comes_from() {
        assert!(!is_proxied(&|_| false));
        for set in ["HTTPS_PROXY", "all_proxy", "http_proxy"] {
            assert!(is_proxied(&|name| name == set), "{set}");
        }
        assert!(!is_proxied(&|name| name == "NO_PROXY"));
    }
}
