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

#[test]
fn what_is_cleared_with_the_keyring_unread_is_said_and_does_not_come_back() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let mut desk = Desk::new(With::Unlocked);
    python(&desk, &mcp, OLDER);
    let home = Home::new().on_bus(desk.address());
    home.servers(&yaml(&mcp));
    for clear in [
        &["auth", "clear", "tools", "--yes"][..],
        &["auth", "clear", "--all", "--yes"],
    ] {
        desk.lock();
        home.sign_in(&idp, &["auth", "login", "tools"]);
        let token = home.ok(&["auth", "token", "tools"]);
        let (said, code) = home.fails(clear);
        assert!(
            flat(&said).contains("in the keyring: not removed: the keyring is locked"),
            "{said}"
        );
        assert_eq!(code, 6, "{said}");
        assert_eq!(idp.introspect(token.trim())["active"], false);
        // Older tokens are not those of somebody who signed out.
        desk.restart_keyring();
        home.fails(&["auth", "token", "tools"]);
        home.ok(clear);
        assert_eq!(
            python(&desk, &mcp, "print(get('oauth:tokens:' + ID))"),
            "None"
        );
        // From here on the keyring counts again.
        python(&desk, &mcp, OLDER);
        assert_eq!(home.ok(&["auth", "token", "tools"]).trim(), "older");
    }
}

#[test]
fn who_clears_the_keyring_hears_that_nobody_looked_into_the_vault() {
    let mcp = Mcp::open();
    let desk = Desk::new(With::Unlocked);
    let home = Home::new().on_bus(desk.address());
    home.servers(&yaml(&mcp));
    python(&desk, &mcp, OLDER);
    home.ok(&["vault", "lock"]);
    let output = home.run(&["auth", "clear", "tools", "--yes", "--local-only"]);
    let said = flat(&String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let sentence = "the vault is locked, and may hold older tokens of the server";
    assert!(said.contains(sentence), "{said}");
    assert_eq!(
        python(&desk, &mcp, "print(get('oauth:tokens:' + ID))"),
        "None"
    );
}

#[test]
fn a_sign_in_that_the_keyring_did_not_take_is_in_the_vault() {
    let idp = Idp::start_with(&opaque());
    let mcp = Mcp::behind(&idp);
    let mut desk = Desk::new(With::Unlocked);
    python(&desk, &mcp, OLDER);
    let home = Home::new().on_bus(desk.address());
    home.servers(&yaml(&mcp));
    let (child, url) = home.begin(&["auth", "login", "tools"]);
    desk.lock();
    let (status, output) = Home::finish(&idp, child, &url);
    let said = flat(&String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    assert_eq!(status, 200);
    let sentence = "the keyring did not take the tokens (the keyring is locked); they are in the \
                    vault now";
    assert!(said.contains(sentence), "{said}");
    let token = home.ok(&["auth", "token", "tools"]);
    assert_eq!(idp.introspect(token.trim())["active"], true);
    desk.restart_keyring();
    assert_eq!(home.ok(&["auth", "token", "tools"]), token);
    // Where there is no vault either, that is an error.
    let home = Home::bare().on_bus(desk.address());
    home.servers(&yaml(&mcp));
    let (child, url) = home.begin(&["auth", "login", "tools"]);
    desk.lock();
    let (status, output) = Home::finish(&idp, child, &url);
    let said = flat(&String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(
            "the keyring did not take the tokens (the keyring is locked), nor did the vault"
        ),
        "{said}"
    );
    assert_ne!(status, 200);
}
