//! Many callers at once, in one process and in several; an issuer that stalls; a lock meanwhile.

use super::issuer::{Issuer, Step};
use super::world::*;
use crate::error::Code;
use crate::runtime::Runtime;
use crate::runtime::activate::Tolerance;
use crate::runtime::refresh::{Renewal, Want};
use crate::runtime::service::SnapshotState;
use std::sync::Barrier;

const OTHER: &str = "oauth/acme/other";

#[test]
fn of_many_callers_in_many_processes_one_refreshes_and_all_get_its_token() {
    const PROCESSES: usize = 4;
    const CALLERS: usize = 8;
    let world = World::new(Issuer::new([]));
    let runtimes: Vec<Runtime> = (0..PROCESSES).map(|_| world.runtime()).collect();
    let start = Barrier::new(PROCESSES * CALLERS);
    std::thread::scope(|scope| {
        for runtime in &runtimes {
            for _ in 0..CALLERS {
                scope.spawn(|| {
                    start.wait();
                    assert_eq!(ask(runtime), Ok("access-1".to_owned()));
                });
            }
        }
    });
    assert_eq!(world.issuer.sent(), ["refresh-0"]);
}

#[test]
fn of_two_who_force_at_once_the_second_takes_the_token_of_the_first() {
    let world = World::new(Issuer::new([Step::Stall]));
    let (first, second) = (world.runtime(), world.runtime());
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| force(&first));
        world.issuer.wait_for_stalled(1);
        let waiting = scope.spawn(|| force(&second));
        // Whether it has read the old token by now or reads the new one: see the assertions.
        world.issuer.release();
        assert_eq!(slow.join().unwrap(), Ok("access-1".to_owned()));
        let other = waiting.join().unwrap();
        let adopted = world.issuer.sent().len() == 1;
        let expected = if adopted { "access-1" } else { "access-2" };
        assert_eq!(other, Ok(expected.to_owned()));
    });
}

#[test]
fn a_stalled_issuer_delays_its_own_account_and_nothing_else() {
    let world = World::new(Issuer::new([Step::Stall]));
    let runtime = world.runtime();
    world.sign_in_as(OTHER, &ended_with("other-0"));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| ask(&runtime));
        world.issuer.wait_for_stalled(1);
        // The vault is free meanwhile: for readers, writers, and another account's refresh.
        let other = shown(runtime.token(&name(OTHER), &Want::FRESH));
        assert_eq!(other, Ok("access-2".to_owned()));
        world.sign_in_as("oauth/acme/third", &fresh(0));
        world.issuer.release();
        assert!(slow.join().unwrap().is_ok());
    });
    assert_eq!(world.issuer.sent(), ["refresh-0", "other-0"]);
}

#[test]
fn a_lock_waits_until_the_answer_is_stored_and_nothing_is_sent_or_published_after_it() {
    let world = World::new(Issuer::new([Step::Stall]));
    let runtime = world.runtime();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&runtime));
        world.issuer.wait_for_stalled(1);
        let locking = scope.spawn(|| runtime.lock());
        world.issuer.release();
        locking.join().unwrap();
        // Stored before the keys went.
        let stored = world.stored(ACCOUNT);
        assert_eq!(text(stored.access.secret()), "access-1");
        let answer = asking.join().unwrap();
        assert!(
            matches!(&answer, Ok(token) if token == "access-1"),
            "{answer:?}"
        );
    });
    assert_eq!(ask(&runtime), Err(Code::VaultSealed));
    assert_eq!(runtime.renew(&name(ACCOUNT), 2), Renewal::Gone);
    let report = runtime.activate(Tolerance::default());
    assert_eq!(report.map(|_| ()).unwrap_err().code, Code::VaultSealed);
    assert_eq!(world.issuer.sent(), ["refresh-0"]);
}

#[test]
fn a_command_that_waits_for_another_process_is_told_when_the_vault_is_locked() {
    let world = World::new(Issuer::new([Step::Stall]));
    let (first, second) = (world.runtime(), world.runtime());
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| ask(&first));
        world.issuer.wait_for_stalled(1);
        let waiting = scope.spawn(|| ask(&second));
        second.lock();
        assert_eq!(waiting.join().unwrap(), Err(Code::VaultSealed));
        world.issuer.release();
        assert!(slow.join().unwrap().is_ok());
    });
}

#[test]
fn an_activation_renews_what_has_ended_side_by_side_and_takes_what_lives_as_it_is() {
    let world = World::new(Issuer::new([Step::Stall, Step::Stall]));
    let runtime = world.runtime();
    world.sign_in_as(OTHER, &ended_with("other-0"));
    world.sign_in_as("oauth/acme/alive", &ending(9));
    let refs = [ACCOUNT, OTHER, "oauth/acme/alive"]
        .map(|name| format!(r#"{{"source":"vault","provider":"default","id":"{name}"}}"#));
    let providers: Vec<String> = refs
        .iter()
        .enumerate()
        .map(|(i, reference)| format!(r#""p{i}":{{"apiKey":{reference}}}"#))
        .collect();
    let config = format!(
        r#"{{"models":{{"providers":{{{}}}}}}}"#,
        providers.join(",")
    );
    let state = runtime.state_dir();
    state.create().unwrap();
    std::fs::write(runtime.config_path(), config).unwrap();
    std::thread::scope(|scope| {
        let activating = scope.spawn(|| runtime.activate(Tolerance::default()).unwrap());
        // Both are on their way before either is answered.
        world.issuer.wait_for_stalled(2);
        world.issuer.release();
        world.issuer.release();
        let report = activating.join().unwrap();
        assert_eq!(report.snapshot.state, SnapshotState::Active);
    });
    assert_eq!(world.issuer.sent().len(), 2);
}
