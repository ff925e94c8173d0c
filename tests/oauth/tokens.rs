//! Tokens: granted, renewed, revoked, and the faults that decide what may be sent again.

use super::app::{SignIn, open, provider, refresh, send, sign_in, sign_in_with};
use crate::idp::{CLIENT_SECRET, Fault, Gate, Idp, Options, TOKEN};
use data_encoding::BASE64URL_NOPAD;
use reseal::net::http::{Fault as NetFault, NetError};
use reseal::oauth::{
    Account, Answer, ClientSecret, PermanentReason, Refusal, Revoked, SignInWith, read_grant,
    read_revocation, revoke_request,
};
use reseal::secret::SecretValue;
use reseal::sys::clock;
use serde_json::{Value, json};
use std::time::Duration;

const REFUSED: Refusal = Refusal::Permanent(PermanentReason::InvalidGrant);
const GRANTED: &str = "granted refresh_token";

#[test]
fn a_sign_in_knows_whose_account_it_is_and_renews_with_rotation() {
    let idp = Idp::start();
    let account = sign_in(&idp);
    assert_eq!(account.identity.email.as_deref(), Some("alice@example.com"));
    assert_eq!(
        account.identity.account_id.as_deref(),
        Some("account-alice")
    );
    assert_eq!(
        account.client.issuer.as_deref(),
        Some(idp.issuer().as_str())
    );
    assert_eq!(idp.events(), ["granted authorization_code"]);

    let grant = refresh(&account).unwrap().unwrap();
    assert_eq!(grant.expires_in, Some(Duration::from_secs(3600)));
    let renewed = account.renewed(grant, clock::now());
    assert_ne!(renewed.refresh, account.refresh);
    assert_ne!(renewed.access, account.access);
    assert!(renewed.identity_matches(&account));
    assert!(refresh(&renewed).unwrap().is_ok());
}

#[test]
fn a_refresh_token_that_is_sent_twice_ends_the_session() {
    let idp = Idp::start();
    let account = sign_in(&idp);
    let renewed = account.renewed(refresh(&account).unwrap().unwrap(), clock::now());
    assert_eq!(refresh(&account).unwrap(), Err(REFUSED));
    assert_eq!(refresh(&renewed).unwrap(), Err(REFUSED));
    let refused = "refused refresh_token invalid_grant";
    let expected = [
        "granted authorization_code",
        GRANTED,
        "revoked",
        refused,
        refused,
    ];
    let mut events = idp.events();
    // The server tells of the revocation before or after the refusal that goes with it.
    events[2..4].sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(events, expected);
}

#[test]
fn without_rotation_the_token_stays() {
    let idp = Idp::start_with(&Options {
        rotate: false,
        ..Options::default()
    });
    let account = sign_in(&idp);
    let renewed = account.renewed(refresh(&account).unwrap().unwrap(), clock::now());
    assert_eq!(renewed.refresh, account.refresh);
    assert!(refresh(&renewed).unwrap().is_ok());
}

#[test]
fn confidential_clients_prove_themselves_in_header_and_body() {
    let idp = Idp::start();
    for kind in ["basic", "post"] {
        let provider = provider(
            &idp,
            json!({"clientId": kind, "clientSecretIn": kind,
                "clientSecretRef": {"source": "vault", "provider": "default", "id": "acme/s"}}),
        );
        let with = |secret: &str| SignInWith {
            client_secret: Some(ClientSecret::from(SecretValue::copy_of(secret.as_bytes()))),
            ..SignInWith::default()
        };
        let account = sign_in_with(&idp, &provider, &with(CLIENT_SECRET));
        assert!(refresh(&account).unwrap().is_ok(), "{kind}");

        let mut wrong = account;
        let impostor = with("wrong").client_secret;
        wrong.client = provider.client(
            &super::app::server(&provider, reseal::oauth::FlowKind::Pkce),
            None,
            impostor,
        );
        assert_eq!(
            refresh(&wrong).unwrap(),
            Err(Refusal::ClientInvalid),
            "{kind}"
        );
    }
}

#[test]
fn tokens_are_for_the_resource_that_was_named() {
    let idp = Idp::start();
    let audience = |account: &Account| {
        let token = account.access.secret().expose();
        let claims = token.split(|byte| *byte == b'.').nth(1).unwrap();
        let claims = BASE64URL_NOPAD.decode(claims).unwrap();
        serde_json::from_slice::<Value>(&claims).unwrap()["aud"].clone()
    };
    let resource = format!("{}/mcp", idp.issuer());
    let provider = provider(&idp, json!({"resource": resource}));
    let account = sign_in_with(&idp, &provider, &SignInWith::default());
    assert_eq!(audience(&account), json!(resource));
    let renewed = account.renewed(refresh(&account).unwrap().unwrap(), clock::now());
    assert_eq!(audience(&renewed), json!(resource));
    assert_eq!(
        audience(&sign_in(&idp)),
        json!(format!("{}/api", idp.issuer()))
    );
}

#[test]
fn a_revoked_token_renews_nothing() {
    let idp = Idp::start_with(&Options {
        opaque: true,
        ..Options::default()
    });
    let account = sign_in(&idp);
    let token = std::str::from_utf8(account.access.secret().expose())
        .unwrap()
        .to_owned();
    assert_eq!(idp.introspect(&token)["active"], json!(true));
    let refresh_token = account.refresh.as_ref().unwrap();
    let request = revoke_request(&account.client, Revoked::Refresh(refresh_token)).unwrap();
    let answer = send(&request).unwrap();
    assert_eq!(read_revocation(&answer, account.client.dialect), Ok(()));
    assert_eq!(refresh(&account).unwrap(), Err(REFUSED));
    assert_eq!(idp.introspect(&token)["active"], json!(false));
}

#[test]
fn a_code_that_is_replayed_takes_the_session_with_it() {
    let idp = Idp::start();
    let SignIn { flow, .. } = SignIn::begin(&provider(&idp, json!({})), &SignInWith::default());
    let callback = idp.sign_in(flow.url().as_str(), flow.redirect_uri());
    let pasted = SecretValue::copy_of(callback.as_bytes());
    let Ok(Answer::Accepted(accepted)) = flow.read_paste(&pasted) else {
        panic!("{callback}");
    };
    let (request, awaited) = flow.redeem(accepted).unwrap();
    let account = awaited
        .finish(&send(&request).unwrap(), clock::now())
        .unwrap();
    let again = send(&request).unwrap();
    assert_eq!(read_grant(&again, account.client.dialect), Err(REFUSED));
    assert_eq!(refresh(&account).unwrap(), Err(REFUSED));
}

#[test]
fn a_lost_answer_is_told_apart_from_a_request_that_never_left() {
    let idp = Idp::start();
    // The server acted, and nobody got the answer: the token is used up.
    for fault in [Fault::Lose, Fault::Halve] {
        let account = sign_in(&idp);
        let before = idp.events().len();
        idp.proxy.plan(TOKEN, fault);
        let lost = refresh(&account).unwrap_err();
        assert!(
            matches!(lost, NetError::Lost(_, NetFault::Broken)),
            "{lost}"
        );
        assert_eq!(idp.events()[before..], [GRANTED]);
        assert_eq!(refresh(&account).unwrap(), Err(REFUSED));
    }
    // The connection was cut before the server saw it: from here it looks the same.
    let account = sign_in(&idp);
    let before = idp.events().len();
    idp.proxy.plan(TOKEN, Fault::Cut);
    let lost = refresh(&account).unwrap_err();
    assert!(
        matches!(lost, NetError::Lost(_, NetFault::Broken)),
        "{lost}"
    );
    assert!(!lost.nothing_sent());
    assert!(idp.events()[before..].is_empty());
    assert!(refresh(&account).unwrap().is_ok());
}

#[test]
fn a_server_that_is_busy_is_asked_later() {
    let idp = Idp::start();
    let account = sign_in(&idp);
    let transient = |status, seconds: Option<u64>| Refusal::Transient {
        retry_after: seconds.map(Duration::from_secs),
        status,
    };
    idp.proxy.plan(TOKEN, Fault::json(503, "{}"));
    idp.proxy.plan(TOKEN, Fault::too_many(17));
    idp.proxy
        .plan(TOKEN, Fault::json(500, "<html>invalid_grant</html>"));
    assert_eq!(refresh(&account).unwrap(), Err(transient(503, None)));
    assert_eq!(refresh(&account).unwrap(), Err(transient(429, Some(17))));
    assert_eq!(refresh(&account).unwrap(), Err(transient(500, None)));
    assert!(refresh(&account).unwrap().is_ok());
}

#[test]
fn a_stalled_issuer_holds_up_its_own_requests_only() {
    let (slow, quick) = (Idp::start(), Idp::start());
    let (stalled, other) = (sign_in(&slow), sign_in(&quick));
    let gate = Gate::default();
    slow.proxy.plan(TOKEN, Fault::HoldAnswer(gate.clone()));
    let seen = slow.proxy.seen(TOKEN);
    let waiting = std::thread::spawn(move || refresh(&stalled).unwrap());
    slow.proxy.wait_for(TOKEN, seen + 1);
    assert!(refresh(&other).unwrap().is_ok());
    assert!(!waiting.is_finished());
    gate.open();
    assert!(waiting.join().unwrap().is_ok());
}

#[test]
fn a_lost_answer_at_the_sign_in_is_told_to_the_browser() {
    let idp = Idp::start();
    let sign_in = SignIn::begin(&provider(&idp, json!({})), &SignInWith::default());
    let callback = idp.sign_in(sign_in.flow.url().as_str(), sign_in.flow.redirect_uri());
    idp.proxy.plan(TOKEN, Fault::Lose);
    let browser = open(callback);
    let end = sign_in.finish().unwrap_err();
    assert!(
        matches!(end, super::app::End::Net(NetError::Lost(..))),
        "{end:?}"
    );
    assert!(browser.join().unwrap().contains("Sign-in did not finish"));
}
