//! What each answer of a server means, and each answer that never comes.

use super::issuer::{Issuer, Step};
use super::world::*;
use crate::error::Code;
use crate::oauth::{Account, PermanentReason, SignInReason};
use crate::runtime::refresh::{MAX_SENDS, Ttl, Want};
use std::time::Duration;

const NOT_NOW: Result<String, Code> = Err(Code::OAuthUnavailable);
const SIGN_IN: Result<String, Code> = Err(Code::OAuthSignIn);

fn got(text: &str) -> Result<String, Code> {
    Ok(text.to_owned())
}

#[test]
fn a_fresh_token_is_given_without_the_network() {
    let world = World::new(Issuer::new([]));
    world.sign_in(&fresh(0));
    assert_eq!(ask(&world.runtime()), got("access-of-the-sign-in"));
    assert!(world.issuer.sent().is_empty());
}

#[test]
fn an_ended_token_is_refreshed_once_and_its_successor_is_stored() {
    let world = World::new(Issuer::new([]));
    let runtime = world.runtime();
    assert_eq!(ask(&runtime), got("access-1"));
    assert_eq!(ask(&runtime), got("access-1"));
    assert_eq!(ask(&world.runtime()), got("access-1"));
    assert_eq!(world.issuer.sent(), ["refresh-0"]);
    let stored = world.stored(ACCOUNT);
    assert_eq!(text(stored.refresh.unwrap().secret()), "refresh-1");
    assert_eq!((world.open_attempts(), world.reason()), (0, None));
    let info = world.place.open().vault().find(&name(ACCOUNT)).unwrap();
    assert_eq!(info.meta.expires_at, stored.expires_at);
}

#[test]
fn who_wants_more_than_is_left_or_another_token_gets_a_new_one() {
    let world = World::new(Issuer::new([]));
    let half = account(0, Duration::from_secs(1800), Duration::from_secs(3600));
    world.sign_in(&half);
    let runtime = world.runtime();
    let want = |seconds| Want {
        ttl: Ttl::Fresh(Duration::from_secs(seconds)),
        force: false,
    };
    let token = |seconds| shown(runtime.token(&name(ACCOUNT), &want(seconds)));
    assert_eq!(token(1700), got("access-of-the-sign-in"));
    assert_eq!(token(1900), got("access-1"));
    // More than any token of this issuer has: a new one is the best there is.
    assert_eq!(token(36_000), got("access-1"));
    assert_eq!(force(&runtime), got("access-2"));
    assert_eq!(world.issuer.sent(), ["refresh-0", "refresh-1"]);
}

#[test]
fn a_refresh_token_that_does_not_rotate_stays() {
    let world = World::new(Issuer::new([Step::Keep, Step::Keep]));
    let runtime = world.runtime();
    assert_eq!(ask(&runtime), got("access-1"));
    assert_eq!(force(&runtime), got("access-2"));
    assert_eq!(world.issuer.sent(), ["refresh-0", "refresh-0"]);
    assert_eq!(world.open_attempts(), 0);
}

#[test]
fn a_lost_answer_is_found_by_the_next_who_tries_once_more_and_says_the_truth() {
    let world = World::new(Issuer::new([Step::LoseAnswer]));
    assert_eq!(ask(&world.runtime()), NOT_NOW);
    assert_eq!(world.open_attempts(), 1);
    assert_eq!(ask(&world.runtime()), SIGN_IN);
    assert_eq!(world.reason(), Some(SignInReason::Lost));
    assert_eq!(world.open_attempts(), 0);
    // From now on without the network, until somebody signs in.
    for _ in 0..3 {
        assert_eq!(ask(&world.runtime()), SIGN_IN);
        assert_eq!(force(&world.runtime()), SIGN_IN);
    }
    assert_eq!(world.issuer.sent(), ["refresh-0", "refresh-0"]);
    let generation = world.issuer.sign_in();
    world.sign_in(&ended(generation));
    assert_eq!(ask(&world.runtime()), got("access-3"));
    assert_eq!(world.reason(), None);
}

#[test]
fn a_lost_request_costs_nothing_but_time() {
    let world = World::new(Issuer::new([Step::LoseRequest]));
    let runtime = world.runtime();
    assert_eq!(ask(&runtime), NOT_NOW);
    // In this process the server is given time to recover; another one knows nothing of it.
    assert_eq!(ask(&runtime), NOT_NOW);
    assert_eq!(world.issuer.sent().len(), 1);
    assert_eq!(ask(&world.runtime()), got("access-2"));
    assert_eq!((world.open_attempts(), world.reason()), (0, None));
}

#[test]
fn two_lost_answers_are_the_most() {
    let world = World::new(Issuer::new([Step::LoseRequest, Step::LoseRequest]));
    assert_eq!(ask(&world.runtime()), NOT_NOW);
    assert_eq!(ask(&world.runtime()), SIGN_IN);
    assert_eq!(ask(&world.runtime()), SIGN_IN);
    assert_eq!(world.issuer.sent().len(), MAX_SENDS);
    assert_eq!(world.reason(), Some(SignInReason::Lost));
}

#[test]
fn an_answer_that_can_not_be_read_is_a_lost_one() {
    for body in ["<html>", r#"{"token_type":"Bearer"}"#, ""] {
        let world = World::new(Issuer::new([Step::Garble(body)]));
        assert_eq!(ask(&world.runtime()), NOT_NOW, "{body}");
        assert_eq!(world.open_attempts(), 1, "{body}");
    }
}

#[test]
fn a_token_that_others_may_hold_is_never_sent_again() {
    let world = World::new(Issuer::new([Step::LoseRequest]));
    world.sign_in(&Account {
        owned: false,
        ..ended(0)
    });
    assert_eq!(ask(&world.runtime()), SIGN_IN);
    assert_eq!(ask(&world.runtime()), SIGN_IN);
    assert_eq!(world.issuer.sent(), ["refresh-0"]);
}

#[test]
fn a_refusal_for_good_is_remembered_with_its_reason() {
    for (body, reason) in [
        (
            r#"{"error":"invalid_grant"}"#,
            PermanentReason::InvalidGrant,
        ),
        (
            r#"{"error":"refresh_token_reused"}"#,
            PermanentReason::Reused,
        ),
        (
            r#"{"error":{"code":"token_revoked"}}"#,
            PermanentReason::Revoked,
        ),
    ] {
        let world = World::new(Issuer::new([Step::Status(400, body)]));
        assert_eq!(ask(&world.runtime()), SIGN_IN, "{body}");
        assert_eq!(world.reason(), Some(SignInReason::Refused(reason)));
        assert_eq!(ask(&world.runtime()), SIGN_IN, "{body}");
        assert_eq!(world.issuer.sent().len(), 1, "{body}");
        assert_eq!(world.open_attempts(), 0);
    }
}

#[test]
fn a_valid_token_serves_while_it_can_not_be_renewed_but_no_longer_than_was_asked_for() {
    let steps = [
        Step::Status(503, ""),
        Step::Status(400, r#"{"error":"invalid_grant"}"#),
    ];
    for step in steps {
        let world = World::new(Issuer::new([step]));
        world.sign_in(&ending(0));
        let runtime = world.runtime();
        for _ in 0..3 {
            assert_eq!(ask(&runtime), got("access-of-the-sign-in"));
        }
        assert_eq!(world.issuer.sent().len(), 1);
        let long = Want {
            ttl: Ttl::Fresh(Duration::from_secs(300)),
            force: false,
        };
        assert!(runtime.token(&name(ACCOUNT), &long).is_err());
        assert!(force(&runtime).is_err());
        assert_eq!(world.issuer.sent().len(), 1);
    }
}

#[test]
fn a_failure_that_may_pass_is_waited_out_and_leaves_the_token_as_it_was() {
    let steps = [
        Step::NotSent,
        Step::Status(500, ""),
        Step::Status(503, r#"{"error":"invalid_grant"}"#),
        Step::Status(408, ""),
        Step::Wait(Duration::from_secs(3600)),
        Step::Status(400, r#"{"error":"temporarily_unavailable"}"#),
    ];
    for step in steps {
        let world = World::new(Issuer::new([step.clone()]));
        let runtime = world.runtime();
        let failure = runtime.token(&name(ACCOUNT), &Want::FRESH).unwrap_err();
        assert_eq!(failure.code, Code::OAuthUnavailable, "{step:?}");
        assert_eq!(world.open_attempts(), 0, "{step:?}");
        let sent = world.issuer.sent().len();
        assert_eq!(ask(&runtime), NOT_NOW, "{step:?}");
        assert_eq!(force(&runtime), NOT_NOW, "{step:?}");
        assert_eq!(world.issuer.sent().len(), sent, "{step:?}");
        // Another process does not know, and finds a server that works.
        let answer = ask(&world.runtime());
        assert!(
            answer.is_ok_and(|token| token.starts_with("access-")),
            "{step:?}"
        );
        // A new sign-in counts at once.
        world.sign_in(&ended(world.issuer.generation()));
        assert!(ask(&runtime).is_ok(), "{step:?}");
    }
}

#[test]
fn what_the_server_does_not_accept_is_no_reason_to_sign_in() {
    for (status, body) in [
        (401, r#"{"error":"invalid_client"}"#),
        (400, r#"{"error":"invalid_scope"}"#),
        (302, ""),
    ] {
        let world = World::new(Issuer::new([Step::Status(status, body)]));
        let code = ask(&world.runtime()).unwrap_err();
        let known = [Code::OAuthRefused, Code::OAuthInvalid].contains(&code);
        assert!(known, "{body}: {code:?}");
        assert_eq!((world.open_attempts(), world.reason()), (0, None), "{body}");
        assert_eq!(ask(&world.runtime()), got("access-2"), "{body}");
    }
}

#[test]
fn an_account_without_a_refresh_token_serves_until_it_ends() {
    let world = World::new(Issuer::new([]));
    let without = |account: Account| Account {
        refresh: None,
        ..account
    };
    world.sign_in(&without(ending(0)));
    assert_eq!(ask(&world.runtime()), got("access-of-the-sign-in"));
    world.sign_in(&without(ended(0)));
    assert_eq!(ask(&world.runtime()), SIGN_IN);
    assert!(world.issuer.sent().is_empty());
}

#[test]
fn failures_show_no_token() {
    let steps = [
        Step::LoseAnswer,
        Step::Status(
            400,
            r#"{"error":"refresh-0","error_description":"refresh-0"}"#,
        ),
        Step::Status(400, r#"{"error":"invalid_grant"}"#),
    ];
    let world = World::new(Issuer::new(steps));
    for _ in 0..3 {
        let runtime = world.runtime();
        let failure = runtime.token(&name(ACCOUNT), &Want::FRESH).unwrap_err();
        let shown = format!("{failure} {failure:?}");
        assert!(
            !shown.contains("refresh-") && !shown.contains("access-"),
            "{shown}"
        );
    }
}

#[test]
fn a_client_secret_that_changed_is_read_anew_once() {
    let refused = || Step::Status(401, r#"{"error":"invalid_client"}"#);
    let world = World::new(Issuer::new([refused(), Step::Grant, refused(), refused()]));
    let runtime = world.runtime();
    runtime.state_dir().create().unwrap();
    let config = r#"{"oauth":{"providers":{"acme":{
        "authorizationEndpoint":"http://127.0.0.1:1/auth",
        "tokenEndpoint":"http://127.0.0.1:1/token","clientId":"id","scopes":["x"],
        "clientSecretRef":{"source":"vault","provider":"default","id":"acme/secret"}}}}}"#;
    std::fs::write(runtime.config_path(), config).unwrap();
    let request = crate::runtime::service::Request::Put {
        name: name("acme/secret"),
        kind: crate::vault::RecordKind::ClientCredential,
        meta: Default::default(),
        expect: crate::vault::Expect::Any,
    };
    let secret = crate::secret::SecretValue::copy_of(b"new-secret");
    runtime.call(request, vec![secret.clone()]).unwrap();
    assert_eq!(ask(&runtime), got("access-2"));
    let auth = world.stored(ACCOUNT).client.auth;
    assert_eq!(auth, crate::oauth::ClientAuth::Basic(secret.into()));
    // The record holds it now: refused again, there is nothing else to try.
    assert_eq!(force(&runtime), Err(Code::OAuthRefused));
    assert_eq!(world.issuer.sent().len(), 3);
    assert_eq!((world.open_attempts(), world.reason()), (0, None));
}
