//! Signing out: what is asked of the provider, and what is left in the vault.

use super::issuer::Issuer;
use super::world::*;
use crate::error::Code;
use crate::net::http::{Fault, Peer};
use crate::net::{Http, NetError};
use crate::oauth::{HttpAnswer, HttpRequest};
use crate::runtime::service::Revocation;
use crate::secret::SecretValue;
use std::sync::{Arc, Mutex};

/// A provider that answers a revocation with this status, or not at all, and keeps what it was
/// sent.
struct Revoker {
    status: Option<u16>,
    sent: Mutex<Vec<String>>,
}

impl Http for Revoker {
    fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        let body = request.body.as_ref().unwrap();
        let line = format!("{} {}", request.url.path(), text(body));
        self.sent.lock().unwrap().push(line);
        match self.status {
            Some(status) => Ok(HttpAnswer::new(status, SecretValue::copy_of(b""))),
            None => Err(NetError::NotSent(Peer::of(&request.url), Fault::Refused)),
        }
    }
}

/// A world whose account has a place to be revoked at, and what became of signing out.
fn sign_out(status: Option<u16>, local_only: bool) -> (World, Vec<String>, Revocation) {
    let world = World::new(Issuer::new([]));
    let mut account = fresh(0);
    account.client.revocation_endpoint = "http://127.0.0.1:1/revoke".parse().ok();
    world.sign_in(&account);
    let sent = Mutex::default();
    let revoker = Arc::new(Revoker { status, sent });
    let runtime = world.place.runtime(&revoker);
    let revocation = runtime.sign_out(&name(ACCOUNT), local_only).unwrap();
    let sent = revoker.sent.lock().unwrap().clone();
    (world, sent, revocation)
}

#[track_caller]
fn is_gone(world: &World) {
    assert!(world.place.open().vault().find(&name(ACCOUNT)).is_none());
}

#[test]
fn the_refresh_token_is_revoked_and_the_record_goes() {
    let (world, sent, revocation) = sign_out(Some(200), false);
    assert_eq!(revocation, Revocation::Revoked);
    assert_eq!(
        sent,
        ["/revoke token=refresh-0&token_type_hint=refresh_token&client_id=id"]
    );
    is_gone(&world);
}

#[test]
fn whatever_the_provider_says_the_tokens_are_forgotten() {
    for status in [Some(503), Some(400), None] {
        let (world, sent, revocation) = sign_out(status, false);
        assert!(matches!(revocation, Revocation::Failed(_)), "{status:?}");
        assert_eq!(sent.len(), 1);
        is_gone(&world);
    }
    let (world, sent, revocation) = sign_out(Some(200), true);
    assert_eq!((revocation, sent.len()), (Revocation::Skipped, 0));
    is_gone(&world);
}

#[test]
fn a_provider_without_a_place_to_revoke_is_not_asked() {
    let world = World::new(Issuer::new([]));
    let revocation = world.runtime().sign_out(&name(ACCOUNT), false);
    assert_eq!(revocation, Ok(Revocation::NotOffered));
    assert!(world.issuer.sent().is_empty());
    is_gone(&world);
    let again = world.runtime().sign_out(&name(ACCOUNT), false).unwrap_err();
    assert_eq!(again.code, Code::RecordAbsent);
}
