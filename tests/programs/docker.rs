//! The protocol of Docker's credential helpers, as Docker's client speaks it.

use super::super::world::{Ran, World};
use super::home::Home;
use serde_json::{Value, json};

fn helper(home: &Home, operation: &str, stdin: &str) -> Ran {
    home.sh_with(
        &format!("docker-credential-reseal {operation}"),
        stdin.as_bytes(),
    )
}

fn set_up() -> Home {
    let home = Home::new();
    home.set_up("Docker");
    home
}

#[test]
fn docker_is_answered_in_its_own_words() {
    let home = set_up();
    let hub = "https://index.docker.io/v1/";
    let store = |address: &str, user: &str, secret: &str| {
        let request = json!({"ServerURL": address, "Username": user, "Secret": secret});
        helper(&home, "store", &request.to_string()).ok();
    };
    store(hub, "alice", "hub \"secret\" ä");
    store("ghcr.io", "<token>", "identity");
    let got = helper(&home, "get", hub).ok().json();
    let expected = json!({"ServerURL": hub, "Username": "alice", "Secret": "hub \"secret\" ä"});
    assert_eq!(got, expected);
    let list = json!({hub: "alice", "ghcr.io": "<token>"});
    assert_eq!(helper(&home, "list", "").ok().json(), list);
    assert_eq!(home.world.value("docker/ghcr.io/#3ctoken#3e"), "identity");

    // An address has one credential.
    store("ghcr.io", "bob", "new");
    assert_eq!(
        helper(&home, "get", "ghcr.io\n").ok().json()["Username"],
        "bob"
    );
    assert_eq!(
        helper(&home, "list", "").ok().json(),
        json!({hub: "alice", "ghcr.io": "bob"})
    );

    let old = ["secrets", "get", "docker/ghcr.io/#3ctoken#3e"];
    home.world.run(&old).code(3);

    helper(&home, "erase", "ghcr.io").ok();
    helper(&home, "erase", "ghcr.io").ok();
    let gone = helper(&home, "get", "ghcr.io").code(1);
    assert_eq!(gone.text(), "credentials not found in native keychain\n");
    let version = helper(&home, "version", "").ok();
    assert!(
        version
            .text()
            .starts_with("docker-credential-reseal (reseal) ")
    );
}

#[test]
fn docker_is_told_what_is_wrong() {
    let home = set_up();
    for (operation, stdin, said) in [
        ("get", "", "no credentials server URL\n"),
        ("erase", "\n", "no credentials server URL\n"),
        ("store", "{}", "no credentials server URL\n"),
        (
            "store",
            "{\"ServerURL\":\"a\",\"Secret\":\"s\"}",
            "no credentials username\n",
        ),
        (
            "store",
            "{\"canary\"",
            "failed to keep Docker's credential: the request is not JSON: line 1, column 9\n",
        ),
    ] {
        assert_eq!(helper(&home, operation, stdin).code(1).text(), said);
    }
    assert_eq!(helper(&home, "canary", "").code(2).stdout, b"");
    home.world.run(&["vault", "lock"]).ok();
    let locked = helper(&home, "get", "a").code(1);
    assert!(locked.text().contains("it is locked"), "{locked:?}");
    assert_eq!(
        home.sh("cat .docker/config.json").ok().json()["credsStore"],
        Value::from("reseal")
    );
}

#[test]
fn without_a_daemon_the_vault_is_opened_with_what_is_given() {
    let world = World::new();
    let request = br#"{"ServerURL": "a.example", "Username": "u", "Secret": "s"}"#;
    world
        .piped_with_passphrase(&["helper", "docker", "store"], request)
        .ok();
    let got = world
        .piped_with_passphrase(&["helper", "docker", "get"], b"a.example")
        .ok();
    assert_eq!(got.json()["Secret"], "s");
    let list = world.with_passphrase(&["helper", "docker", "list"]).ok();
    assert_eq!(list.json(), json!({"a.example": "u"}));
}
