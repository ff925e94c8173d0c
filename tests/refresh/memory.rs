//! What a refresh leaves in memory: nothing outside of locked memory, and nothing at the end. While
//! an answer is on its way it is in buffers of the network, where the scanner finds it.

use super::issuer::{Issuer, PATIENCE, access, refresh};
use super::world::{Daemon, World};
use crate::scanner::{
    AtExit, Hits, NO_SECRET_MEMORY, in_arena, is_outside, may_look, now, refusing,
};
use reseal::oauth::{ClientAuth, ClientSecret};
use reseal::secret::SecretValue;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

const CLIENT_SECRET: &str = "b1946ac92492d2347c6235b4d2611184d8e8fca2dc0f896fd7cb4cb0031ba249";

/// The tokens before and after the refresh, and what the client proves itself with.
fn secrets() -> [String; 5] {
    let client = CLIENT_SECRET.to_owned();
    [access(0), refresh(0), access(1), refresh(1), client]
}

/// The proof in the body, by TLS.
fn by_tls(age: u64) -> World {
    let secret = ClientSecret::from(SecretValue::copy_of(CLIENT_SECRET.as_bytes()));
    World::of(Issuer::start_tls(3600), ClientAuth::Post(secret), age, 3600)
}

/// The proof in a header, without TLS.
fn by_http(age: u64) -> World {
    let secret = ClientSecret::from(SecretValue::copy_of(CLIENT_SECRET.as_bytes()));
    World::of(Issuer::start(3600), ClientAuth::Basic(secret), age, 3600)
}

fn without_secret_memory(command: Command) -> Command {
    refusing(&[NO_SECRET_MEMORY], &command)
}

fn look(child: &Child) -> Hits {
    let secrets = secrets();
    now(child.id(), &secrets.each_ref().map(String::as_str))
}

/// Looks until half of the answer has come, which is found where no token may stay.
fn wait_for_half(world: &World, child: &Child) {
    world.issuer.wait_for(1);
    let start = Instant::now();
    while !is_outside(&look(child), &access(1)) {
        assert!(start.elapsed() < PATIENCE, "the answer was not found");
    }
}

/// What the process leaves at its end.
fn left(at_exit: AtExit) -> Hits {
    let secrets = secrets();
    at_exit.look_for(&secrets.each_ref().map(String::as_str))
}

/// A daemon that has refreshed, and locks.
fn refreshed(world: &World, daemon: &Daemon<'_>) {
    // A further request comes after everything that the last one did.
    assert_eq!(world.ok(&["token", "acme:me"]), access(1));
    world.ok(&["vault", "status"]);
    // What the config points at is in use; all else is gone.
    assert_eq!(look(&daemon.child), in_arena(&[&access(1)]));
    let at_exit = AtExit::of(&daemon.child);
    world.ok(&["vault", "lock"]);
    assert_eq!(left(at_exit), Hits::new());
    assert_eq!(world.issuer.came(), 1);
}

#[test]
fn a_daemon_that_refreshes_at_its_start_holds_tokens_in_locked_memory_only() {
    if !may_look() {
        return;
    }
    for world in [by_tls(7200), by_http(7200)] {
        world.issuer.halve(true);
        let daemon = world.starting_daemon(without_secret_memory);
        wait_for_half(&world, &daemon.child);
        world.issuer.halve(false);
        refreshed(&world, &daemon.serving());
    }
}

#[test]
fn a_daemon_that_refreshes_when_asked_holds_tokens_in_locked_memory_only() {
    if !may_look() {
        return;
    }
    for world in [by_tls(1800), by_http(1800)] {
        let daemon = world.starting_daemon(without_secret_memory).serving();
        world.issuer.halve(true);
        let asked = ["token", "acme:me", "--min-ttl", "50m"];
        let asking = world.command(&asked).spawn().unwrap();
        wait_for_half(&world, &daemon.child);
        world.issuer.halve(false);
        assert!(asking.wait_with_output().unwrap().status.success());
        refreshed(&world, &daemon);
    }
}

#[test]
fn commands_that_refresh_leave_nothing_in_their_memory() {
    if !may_look() {
        return;
    }
    let run = ["run", "--mask", "--env", "TOKEN=vault:oauth/acme/me", "--"];
    let commands = [
        vec!["token", "acme:me"],
        vec!["--json", "token", "--provider", "acme"],
        vec!["secrets", "get", "vault:oauth/acme/me"],
        [
            &run[..],
            &["/bin/sh", "-c", "echo $TOKEN; test ${#TOKEN} = 64"],
        ]
        .concat(),
    ];
    for arguments in commands {
        for world in [by_tls(7200), by_http(7200)] {
            world.issuer.halve(true);
            let all = world.with_key(&arguments);
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let mut command = without_secret_memory(world.command(&all));
            let mut child = command.stdout(Stdio::null()).spawn().unwrap();
            wait_for_half(&world, &child);
            let at_exit = AtExit::of(&child);
            world.issuer.halve(false);
            assert_eq!(left(at_exit), Hits::new(), "{arguments:?}");
            assert!(child.wait().unwrap().success());
            assert_eq!(world.stored(), access(1));
        }
    }
}
