//! Who gets which token, and when it is refreshed.

use super::issuer::{Issuer, access, refresh};
use super::world::World;
use reseal::credentials::Credentials;
use reseal::error::Code;
use reseal::name::AgentId;
use reseal::store::StateDir;
use reseal::sys::clock;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn every_command_that_takes_a_credential_gives_a_fresh_one() {
    let reference = "vault:oauth/acme/me";
    let env = format!("TOKEN={reference}");
    let commands: [&[&str]; 4] = [
        &["token", "acme:me"],
        &["token", "--provider", "acme"],
        &["secrets", "get", reference],
        &["run", "--env", &env, "--", "sh", "-c", "echo $TOKEN"],
    ];
    for command in commands {
        let world = World::new(Issuer::start(3600), 7200, 3600);
        assert_eq!(world.alone(command), access(1), "{command:?}");
        assert_eq!(world.alone(command), access(1), "{command:?}");
        assert_eq!(world.issuer.came(), 1, "{command:?}");
        let daemon = world.daemon();
        assert_eq!(world.ok(command), access(1), "{command:?}");
        drop(daemon);
        assert_eq!(world.issuer.came(), 1, "{command:?}");
    }
}

#[test]
fn a_token_says_when_it_ends_and_is_refreshed_if_less_than_asked_is_left() {
    let world = World::new(Issuer::start(3600), 1800, 3600);
    let token = |min: &str| {
        let json = world.alone(&["--json", "token", "acme:me", "--min-ttl", min]);
        serde_json::from_str::<serde_json::Value>(&json).unwrap()
    };
    let before = clock::now().0;
    let half = token("20m");
    assert_eq!(half["token"], access(0));
    assert_eq!(
        half["headers"]["Authorization"],
        format!("Bearer {}", access(0))
    );
    let ends = half["expiresAt"].as_u64().unwrap();
    assert!(
        ends > before + 1_700_000 && ends <= before + 1_800_000,
        "{ends}"
    );
    let full = token("40m");
    assert_eq!(full["token"], access(1));
    assert!(full["expiresAt"].as_u64().unwrap() > before + 3_500_000);
    assert_eq!(
        (&full["profileId"], &full["type"]),
        (&"acme:me".into(), &"oauth".into())
    );
}

#[test]
fn an_account_that_has_to_sign_in_ends_with_code_nine_and_asks_nobody_twice() {
    let world = World::new(Issuer::start(3600), 7200, 3600);
    // Somebody used the token elsewhere.
    world.issuer.state().generation = 5;
    let key = world.key_path();
    for _ in 0..2 {
        let output = world.run(&["token", "acme:me", "--key-file", &key]);
        assert_eq!(output.status.code(), Some(9));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            told.contains("sign in again") && told.contains("invalid_grant"),
            "{told}"
        );
        assert!(
            output.stdout.is_empty() && !told.contains(&refresh(0)),
            "{told}"
        );
    }
    assert_eq!(world.issuer.came(), 1);
}

#[test]
fn the_library_gives_the_token_of_a_profile_from_the_daemon() {
    let world = World::new(Issuer::start(3600), 7200, 3600);
    let state = StateDir::at(&world.state);
    let (agent, id) = (AgentId::main(), "acme:me".parse().unwrap());
    let of_profile = || Credentials::of_profile(&state, &agent, &id);
    let token = |credentials: &Credentials| {
        let token = credentials.access_token();
        token.map(|token| String::from_utf8(token.secret().expose().to_vec()).unwrap())
    };
    let credentials = of_profile().unwrap();
    assert_eq!(token(&credentials).unwrap_err().code, Code::VaultSealed);
    let daemon = world.daemon();
    assert_eq!(token(&credentials).unwrap(), access(1));
    // An alias of another vault is not an alias of ours.
    let provider = serde_json::json!({"source": "vault", "path": "/nowhere/other.reseal"});
    let config = serde_json::json!({"secrets": {"defaults": {"vault": "team"},
        "providers": {"team": provider}}});
    std::fs::write(state.config(), config.to_string()).unwrap();
    let profiles = world.state.join("agents/main/agent/auth-profiles.json");
    let text = std::fs::read_to_string(&profiles).unwrap();
    let elsewhere = text.replace(r#""provider":"default""#, r#""provider":"team""#);
    assert_ne!(elsewhere, text);
    std::fs::write(&profiles, elsewhere).unwrap();
    assert!(token(&of_profile().unwrap()).is_err());
    drop(daemon);
}

/// The answer comes after the signal, and is stored all the same.
#[test]
fn a_signal_ends_a_command_only_after_the_answer_is_stored() {
    use rustix::process::Signal;
    for (which, number) in [
        (Signal::TERM, libc::SIGTERM),
        (Signal::INT, libc::SIGINT),
        (Signal::HUP, libc::SIGHUP),
    ] {
        let world = World::new(Issuer::start(3600), 7200, 3600);
        world.issuer.stall(true);
        let key = world.key_path();
        let child = world
            .command(&["token", "acme:me", "--key-file", &key])
            .spawn()
            .unwrap();
        world.issuer.wait_for(1);
        signal(&child, which);
        world.issuer.stall(false);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(number));
        assert_eq!(world.stored(), access(1));
        assert_eq!(world.alone(&["token", "acme:me"]), access(1));
        assert_eq!(world.issuer.came(), 1);
    }
}

#[test]
fn a_daemon_that_is_stopped_waits_for_the_answer_and_stores_it() {
    let world = World::new(Issuer::start(3600), 1800, 3600);
    let mut daemon = world.daemon();
    world.issuer.stall(true);
    let asking = world
        .command(&["token", "acme:me", "--min-ttl", "50m"])
        .spawn()
        .unwrap();
    world.issuer.wait_for(1);
    signal(&daemon.child, rustix::process::Signal::TERM);
    // The caller goes away as well.
    signal(&asking, rustix::process::Signal::KILL);
    asking.wait_with_output().unwrap();
    world.issuer.stall(false);
    assert!(daemon.child.wait().unwrap().success());
    assert_eq!(world.stored(), access(1));
    drop(daemon);
    assert_eq!(world.issuer.came(), 1);
}

#[test]
fn a_daemon_renews_ahead_of_the_end_and_again_and_again() {
    let world = World::new(Issuer::start(2), 0, 2);
    let daemon = world.daemon();
    // Nobody asks.
    world.issuer.wait_for(3);
    let token = world.ok(&["token", "acme:me"]);
    assert!((1..10).any(|n| token == access(n)), "{token}");
    drop(daemon);
    // Each token was sent once: a second time would have been refused.
    let state = world.issuer.state();
    assert_eq!(state.generation, state.came as u64);
}
