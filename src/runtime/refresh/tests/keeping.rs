//! The answer is kept, whatever happens to the record and to the disk while it is on its way.

use super::issuer::{Issuer, Step};
use super::world::*;
use crate::error::Code;
use crate::oauth::SignInReason;
use crate::runtime::Runtime;
use crate::runtime::service::{Reply, Request};
use crate::store::simulated::{Act, Fault, SimulatedDisk};
use crate::vault::{Change, Expect, Outcome};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// Runs `meanwhile` while the answer to a refresh is on its way.
fn during(world: &World, meanwhile: impl FnOnce(&Runtime)) -> Result<String, Code> {
    let runtime = world.runtime();
    world.issuer.script([Step::Stall]);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&runtime));
        world.issuer.wait_for_stalled(1);
        meanwhile(&world.runtime());
        world.issuer.release();
        asking.join().unwrap()
    })
}

#[test]
fn a_record_that_is_renamed_meanwhile_gets_its_token_under_the_new_name() {
    let world = World::new(Issuer::new([]));
    let token = during(&world, |other| {
        let (from, to) = (name(ACCOUNT), name("oauth/acme/renamed"));
        other
            .call(Request::Rename { from, to }, Vec::new())
            .unwrap();
    });
    assert_eq!(token, Ok("access-1".to_owned()));
    let stored = world.stored("oauth/acme/renamed");
    assert_eq!(text(stored.refresh.unwrap().secret()), "refresh-1");
    assert_eq!(world.open_attempts(), 0);
}

#[test]
fn a_sign_in_meanwhile_wins() {
    let world = World::new(Issuer::new([]));
    let token = during(&world, |other| sign_in(other, ACCOUNT, &fresh(77)));
    assert_eq!(token, Ok("access-of-the-sign-in".to_owned()));
    let stored = world.stored(ACCOUNT);
    assert_eq!(text(stored.refresh.unwrap().secret()), "refresh-77");
    assert_eq!(world.open_attempts(), 0);
}

#[test]
fn after_a_sign_out_meanwhile_there_is_no_token() {
    let world = World::new(Issuer::new([]));
    let token = during(&world, |other| {
        let (name, expect) = (name(ACCOUNT), Expect::Any);
        other
            .call(Request::Remove { name, expect }, Vec::new())
            .unwrap();
    });
    assert_eq!(token, Err(Code::RecordAbsent));
    assert!(world.place.open().list().is_empty());
}

#[test]
fn other_writers_do_not_get_in_the_way() {
    let world = World::new(Issuer::new([]));
    let token = during(&world, |other| {
        for round in 0..5 {
            sign_in(other, "oauth/acme/other", &fresh(round));
        }
        other
            .call(
                Request::Compact {
                    keep_history: false,
                },
                Vec::new(),
            )
            .unwrap();
    });
    assert_eq!(token, Ok("access-1".to_owned()));
    assert_eq!(ask(&world.runtime()), Ok("access-1".to_owned()));
}

/// A vault on a simulated disk with an account whose token has ended.
fn simulated() -> (SimulatedDisk, Place) {
    let folder = Path::new("/f");
    let disk = SimulatedDisk::with_folder(folder);
    let place = at(&disk);
    place.create().commit(put(ACCOUNT, &ended(0))).unwrap();
    (disk, place)
}

fn at(disk: &SimulatedDisk) -> Place {
    Place {
        disk: Arc::new(disk.clone()),
        folder: "/f".into(),
    }
}

fn broken(act: Act, skip: usize, times: usize) -> Fault {
    Fault {
        act,
        skip,
        times,
        error: ErrorKind::StorageFull,
    }
}

/// Breaks the disk between the request and the answer.
struct Breaking {
    issuer: Issuer,
    disk: SimulatedDisk,
    faults: Vec<Fault>,
}

impl crate::net::Http for Breaking {
    fn send(
        &self,
        request: &crate::oauth::HttpRequest,
    ) -> Result<crate::oauth::HttpAnswer, crate::net::NetError> {
        let answer = self.issuer.send(request);
        self.faults.iter().for_each(|fault| self.disk.fail(*fault));
        answer
    }
}

#[test]
fn with_a_full_disk_nothing_is_sent() {
    for act in [Act::Reserve, Act::Write, Act::Sync] {
        let (disk, place) = simulated();
        let issuer = Arc::new(Issuer::new([]));
        disk.fail(broken(act, 0, 1000));
        assert!(ask(&place.runtime(&issuer)).is_err(), "{act:?}");
        assert!(issuer.sent().is_empty(), "{act:?}");
        disk.heal();
        assert_eq!(ask(&place.runtime(&issuer)), Ok("access-1".to_owned()));
    }
}

/// The disk fails in every way, from every moment after the answer, for so long: the token is given
/// only if it survives a power cut at that instant, and is never lost while the process lives.
#[test]
fn an_answer_is_never_dropped_whatever_fails_and_its_predecessor_never_sent_again() {
    let acts = [Act::Write, Act::Sync, Act::Rename, Act::SyncFolder];
    let cases = acts.into_iter().flat_map(|act| {
        (0..5).flat_map(move |skip| [1, 3, 11, 1000].map(|times| (act, skip, times)))
    });
    for (act, skip, times) in cases {
        let told = format!("{act:?} fails {times} times after {skip}");
        let (disk, place) = simulated();
        let http = Arc::new(Breaking {
            issuer: Issuer::new([]),
            disk: disk.clone(),
            faults: vec![broken(act, skip, times)],
        });
        let runtime = place.runtime(&http);
        let first = ask(&runtime);
        if first.is_ok() {
            let after = at(&disk.after_crash(disk.journal_len(), || false));
            let survivor = Arc::new(Issuer::new([]));
            let found = ask(&after.runtime(&survivor));
            assert_eq!(found, Ok("access-1".to_owned()), "{told}");
            assert!(survivor.sent().is_empty(), "{told}");
        }
        disk.heal();
        assert_eq!(
            ask(&runtime),
            Ok("access-1".to_owned()),
            "{told}: {first:?}"
        );
        let other = place.runtime(&http);
        assert_eq!(ask(&other), Ok("access-1".to_owned()), "{told}");
        assert_eq!(http.issuer.sent(), ["refresh-0"], "{told}");
        let mut vault = place.open();
        let refresh = stored(&mut vault, ACCOUNT).refresh.unwrap();
        assert_eq!(text(refresh.secret()), "refresh-1", "{told}");
        assert!(vault.vault().open_intents().is_empty(), "{told}");
    }
}

#[test]
fn a_lock_makes_a_last_try_to_store_what_is_in_memory_only() {
    let (disk, place) = simulated();
    let http = Arc::new(Breaking {
        issuer: Issuer::new([]),
        disk: disk.clone(),
        faults: vec![broken(Act::Sync, 0, 1000)],
    });
    let runtime = place.runtime(&http);
    assert_eq!(ask(&runtime), Err(Code::VaultPoisoned));
    disk.heal();
    runtime.lock();
    assert_eq!(
        text(stored(&mut place.open(), ACCOUNT).access.secret()),
        "access-1"
    );
}

/// The vault can't be written, and the spool can.
fn put_by() -> (Place, Runtime) {
    for times in 1..40 {
        let (disk, place) = simulated();
        let http = Arc::new(Breaking {
            issuer: Issuer::new([]),
            disk: disk.clone(),
            faults: vec![broken(Act::Write, 0, times)],
        });
        let runtime = place.runtime(&http);
        let answer = ask(&runtime);
        disk.heal();
        let stored = text(stored(&mut place.open(), ACCOUNT).access.secret());
        if answer.is_ok() && stored == "access-of-the-sign-in" {
            return (place, runtime);
        }
    }
    panic!("the spool was never used");
}

#[test]
fn an_answer_that_was_put_by_is_taken_by_whoever_comes_next() {
    let (place, runtime) = put_by();
    drop(runtime);
    let issuer = Arc::new(Issuer::new([]));
    assert_eq!(ask(&place.runtime(&issuer)), Ok("access-1".to_owned()));
    assert_eq!(
        text(stored(&mut place.open(), ACCOUNT).access.secret()),
        "access-1"
    );
    assert!(issuer.sent().is_empty());
}

#[test]
fn a_rekey_does_not_throw_away_an_answer_that_was_put_by() {
    let (place, runtime) = put_by();
    assert_eq!(place.try_rekey(), Err(Code::VaultConflict));
    assert_eq!(ask(&runtime), Ok("access-1".to_owned()));
    assert_eq!(place.try_rekey(), Ok(()));
    assert_eq!(
        text(stored(&mut place.open(), ACCOUNT).access.secret()),
        "access-1"
    );
}

#[test]
fn an_answer_that_was_put_by_for_a_token_that_is_gone_is_not_taken() {
    let (place, _runtime) = put_by();
    let issuer = Arc::new(Issuer::new([]));
    sign_in(&place.runtime(&issuer), ACCOUNT, &ended_with("new-0"));
    assert_eq!(ask(&place.runtime(&issuer)), Ok("access-1".to_owned()));
    assert_eq!(issuer.sent(), ["new-0"]);
}

#[test]
fn a_vault_that_is_open_for_reading_only_refreshes_nothing() {
    let world = World::new(Issuer::new([]));
    let path = world.place.folder.join("v.reseal");
    let before = std::fs::read(&path).unwrap();
    world.sign_in_as("oauth/acme/later", &fresh(1));
    std::fs::write(&path, before).unwrap();
    let vault = world.place.open_with(true);
    let state = crate::store::StateDir::at(world.place.folder.join("state"));
    let config = state.config();
    let runtime = Runtime::new(state, config, vault).http(world.issuer.clone());
    assert_eq!(ask(&runtime), Err(Code::VaultRollback));
    assert_eq!(runtime.renewable().unwrap(), []);
    assert_eq!(
        call(&runtime, Request::CheckWritable),
        Err(Code::VaultRollback)
    );
    assert!(world.issuer.sent().is_empty());
}

/// After a rekey nobody can tell which token an attempt sent, so it counts.
#[test]
fn an_attempt_from_before_a_rekey_counts() {
    let world = World::new(Issuer::new([Step::LoseRequest]));
    assert_eq!(ask(&world.runtime()), Err(Code::OAuthUnavailable));
    world.place.try_rekey().unwrap();
    assert_eq!(world.open_attempts(), 1);
    world.issuer.script([Step::LoseRequest]);
    assert_eq!(ask(&world.runtime()), Err(Code::OAuthSignIn));
    assert_eq!(world.issuer.sent().len(), 2);
    assert_eq!(world.reason(), Some(SignInReason::Lost));
}

#[test]
fn no_request_gives_out_a_refresh_token() {
    let world = World::new(Issuer::new([]));
    let runtime = world.runtime();
    let name = name(ACCOUNT);
    let (version, reference) = (None, format!("vault:{ACCOUNT}"));
    let get = Request::Get {
        name: name.clone(),
        version,
    };
    let token = Request::Token {
        name: name.clone(),
        min_ttl_ms: 0,
        force: false,
    };
    let resolve = Request::Resolve {
        refs: vec![reference.parse().unwrap()],
    };
    for request in [get, token, resolve] {
        let (reply, values) = call(&runtime, request).unwrap();
        assert_eq!(values, ["access-1"]);
        let json = serde_json::to_string(&reply).unwrap();
        assert!(
            !json.contains("refresh-") && !json.contains("access-"),
            "{json}"
        );
        if let Reply::Token(info) = reply {
            assert_eq!(
                (info.name.as_str(), info.token_type.as_str()),
                (ACCOUNT, "Bearer")
            );
            assert!(info.expires_at.is_some());
        }
    }
    // Nor does it come back by way of history: it is used up.
    for request in [
        Request::Get {
            name: name.clone(),
            version: Some(1),
        },
        Request::Restore {
            name: name.clone(),
            version: 1,
        },
    ] {
        assert_eq!(call(&runtime, request), Err(Code::InputInvalid));
    }
    let token = Request::Token {
        name: "absent".parse().unwrap(),
        min_ttl_ms: 0,
        force: false,
    };
    assert_eq!(call(&runtime, token), Err(Code::RecordAbsent));
    assert_eq!(
        call(&runtime, Request::CheckWritable),
        Ok((Reply::Done, Vec::new()))
    );
}

/// Attempts of a record that ended in some other way don't pile up.
#[test]
fn a_stored_successor_ends_all_attempts() {
    let world = World::new(Issuer::new([]));
    let mut vault = world.place.open();
    for attempt in 0..5 {
        let other = crate::secret::SecretValue::copy_of(b"a token of long ago");
        vault
            .commit(vec![Change::Intent {
                name: name(ACCOUNT),
                attempt: [attempt; 16],
                refresh_token: other,
                expect: Expect::Any,
            }])
            .unwrap();
    }
    let (attempt, outcome) = ([0; 16], Outcome::NotSent);
    vault
        .commit(vec![Change::Clear { attempt, outcome }])
        .unwrap();
    assert_eq!(world.open_attempts(), 4);
    assert_eq!(ask(&world.runtime()), Ok("access-1".to_owned()));
    assert_eq!(world.open_attempts(), 0);
}
