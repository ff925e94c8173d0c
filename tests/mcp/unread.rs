//! A keyring that is locked, or not there, while it is needed: what counts later, and what is said.

use super::keyring::fixture::{Desk, With};
use super::keyring::{opaque, python, yaml};
use super::server::{Home, Mcp};
use crate::idp::Idp;

/// What fast-agent left of the server.
const OLDER: &str = "put('oauth:tokens:' + ID, json.dumps({'access_token': 'older'}))\n\
    put('oauth:index', json.dumps([ID]))";

/// The words, wherever the lines were broken.
fn flat(said: &str) -> String {
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn who_signs_in_by_url_without_the_keyring_counts_later() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let mut desk = Desk::new(With::Unlocked);
    python(&desk, &mcp, OLDER);
    let login = ["auth", "login", &mcp.url()];
    let token = |home: &Home| home.ok(&["auth", "token", &mcp.url()]);

    let home = Home::new();
    home.sign_in(&idp, &login);
    let newest = token(&home);
    assert_eq!(token(&home.on_bus(desk.address())), newest);

    desk.lock();
    let home = Home::new().on_bus(desk.address());
    let (said, _) = home.sign_in(&idp, &login);
    let sentence = "tokens are kept in the vault: the keyring is locked";
    assert!(flat(&said).contains(sentence), "{said}");
    let newest = token(&home);
    desk.restart_keyring();
    assert_eq!(token(&home), newest);
    let theirs = python(&desk, &mcp, "print(tokens()['access_token'])");
    assert_eq!(theirs, "older");
}
