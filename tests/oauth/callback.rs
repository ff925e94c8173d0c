//! What comes back from the browser: only the right answer ends the wait.

use super::app::{End, SignIn, open, provider};
use crate::idp::{CALLBACK, Consent, Fault, Idp, Walker};
use reseal::oauth::SignInWith;
use serde_json::json;

/// Sends a browser through the pages with this fault on its way back: what it is shown.
fn astray(idp: &Idp, sign_in: &SignIn, fault: Fault) -> String {
    idp.proxy.plan(CALLBACK, fault);
    idp.sign_in(sign_in.flow.url().as_str(), sign_in.flow.redirect_uri())
}

#[test]
fn a_wrong_state_or_issuer_changes_nothing_and_the_right_answer_still_counts() {
    let idp = Idp::start();
    let sign_in = SignIn::begin(&provider(&idp, json!({})), &SignInWith::default());
    let faults = [
        Fault::in_redirect("state", Some("wrong")),
        Fault::in_redirect("state", None),
        Fault::in_redirect("iss", Some("https://evil.example")),
        // The server's metadata promises it, so it must be there (RFC 9207).
        Fault::in_redirect("iss", None),
        Fault::in_redirect("code", None),
    ];
    let wrong: Vec<String> = faults.map(|fault| astray(&idp, &sign_in, fault)).into();
    let right = idp.sign_in(sign_in.flow.url().as_str(), sign_in.flow.redirect_uri());
    let browser = std::thread::spawn(move || {
        let pages: Vec<String> = wrong
            .into_iter()
            .map(|to| open(to).join().unwrap())
            .collect();
        (pages, open(right).join().unwrap())
    });
    let account = sign_in.finish().unwrap();
    assert_eq!(account.identity.subject.as_deref(), Some("alice"));
    let (wrong, right) = browser.join().unwrap();
    for page in wrong {
        assert!(page.contains("not the answer Reseal waits for"), "{page}");
    }
    assert!(right.contains("You are signed in"), "{right}");
    assert_eq!(idp.events(), ["granted authorization_code"]);
}

#[test]
fn a_person_who_cancels_is_told_so_and_so_is_the_program() {
    let idp = Idp::start();
    let sign_in = SignIn::begin(&provider(&idp, json!({})), &SignInWith::default());
    let (address, stop) = (sign_in.flow.url().as_str(), sign_in.flow.redirect_uri());
    let callback = Walker::new("alice").sign_in(address, stop, Consent::Cancel);
    let browser = open(callback);
    match sign_in.finish() {
        Err(End::SaidNo(no)) => assert!(no.denied, "{no:?}"),
        other => panic!("{other:?}"),
    }
    assert!(browser.join().unwrap().contains("Sign-in was declined"));
    assert!(idp.events().is_empty());
}

#[test]
fn a_redirect_address_on_localhost_and_on_the_other_address_work_too() {
    let idp = Idp::start();
    let mut hosts = vec![("localhost", "/auth/callback")];
    // A machine may have no IPv6.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        hosts.push(("::1", "/callback"));
    }
    for (host, path) in hosts {
        let redirect = json!({"redirect": {"host": host, "port": 0, "path": path}});
        let provider = provider(&idp, redirect);
        let sign_in = SignIn::begin(&provider, &SignInWith::default());
        let uri = sign_in.flow.redirect_uri().to_owned();
        let callback = idp.sign_in(sign_in.flow.url().as_str(), &uri);
        let browser = open(callback);
        assert!(sign_in.finish().is_ok(), "{host}");
        assert!(
            browser.join().unwrap().contains("You are signed in"),
            "{host}"
        );
    }
}
