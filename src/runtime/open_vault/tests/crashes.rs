//! Power cuts at every point, and disks that fail, under the real vault code.

use super::*;
use crate::store::disk::{Disk, Open};
use crate::store::simulated::{Act, Fault};
use std::collections::BTreeMap;
use std::io::ErrorKind;

type Records = BTreeMap<String, Vec<u8>>;

/// A small generator of numbers, so that a failing case comes again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

fn records(open: &OpenVault) -> Records {
    names(open)
        .into_iter()
        .map(|name| (name.clone(), value(open, &name).unwrap()))
        .collect()
}

/// Runs steps, acknowledging each one; returns what the vault held after each.
fn scenario(disk: &SimulatedDisk) -> Vec<Records> {
    let mut open = create_simulated(disk);
    let mut states = vec![records(&open)];
    disk.acknowledge(0);
    let mut step = |open: &mut OpenVault, act: &mut dyn FnMut(&mut OpenVault)| {
        act(open);
        disk.acknowledge(states.len() as u64);
        states.push(records(open));
    };
    let commit = |open: &mut OpenVault, changes| assert!(open.commit(changes).is_ok());
    step(&mut open, &mut |open| commit(open, put("one", b"1")));
    step(&mut open, &mut |open| commit(open, put("two", &[2; 3000])));
    step(&mut open, &mut |open| {
        let several = vec![
            put_if("three", &[3; 700], Expect::Absent),
            Change::Delete {
                name: name("one"),
                expect: Expect::Any,
            },
            Change::Rename {
                from: name("two"),
                to: name("zwei"),
            },
        ];
        commit(open, several);
    });
    step(&mut open, &mut |_| {
        // A writer that is killed in the middle of its write.
        let file = disk.open(VAULT.as_ref(), Open::Write).unwrap();
        let end = file.stat().unwrap().len;
        file.write_at(&[0xAA; 1500], end).unwrap();
    });
    step(&mut open, &mut |open| {
        commit(open, put("four", b"after a tail"))
    });
    step(&mut open, &mut |open| assert!(open.compact(true).is_ok()));
    step(&mut open, &mut |open| {
        commit(open, put("four", b"after a compaction"))
    });
    step(&mut open, &mut |open| {
        let key = root_of(open.vault().header(), SLOT_KEY).unwrap();
        open.add_slot(&key, &raw_slot([9; 32]), Default::default())
            .unwrap();
    });
    step(&mut open, &mut |open| {
        commit(open, put("five", b"after a slot"))
    });
    states
}

/// What a person finds after a power cut: the state that was acknowledged last, or the one that
/// was on its way; and a vault that works.
fn check_crashed(disk: &SimulatedDisk, allowed: &[&Records], told: &str) {
    let mut open = open_simulated(disk).unwrap_or_else(|failure| panic!("{told}: {failure:?}"));
    let found = records(&open);
    assert!(allowed.contains(&&found), "{told}: {:?}", found.keys());
    open.verify_all()
        .unwrap_or_else(|failure| panic!("{told}: {failure:?}"));
    open.commit(put("after", b"the crash"))
        .unwrap_or_else(|f| panic!("{told}: {f:?}"));
    disk.acknowledge(1);
    let mut expected = found;
    expected.insert("after".to_owned(), b"the crash".to_vec());
    assert_eq!(records(&open_simulated(disk).unwrap()), expected, "{told}");
}

#[test]
fn a_power_cut_at_any_point_loses_nothing_acknowledged_and_halves_nothing() {
    let disk = SimulatedDisk::with_folder(FOLDER.as_ref());
    let states = scenario(&disk);
    let mut dice = Dice(1);
    for events in 0..=disk.journal_len() {
        let last = disk
            .acknowledged(events)
            .last()
            .map(|state| usize::try_from(*state).unwrap());
        for odds in [0, 1 + events % 3, 4] {
            let after = disk.after_crash(events, || dice.roll(4) < odds);
            let told = format!("after {events} events with odds {odds}");
            let Some(last) = last else {
                // Not made yet: there is none, or a whole one.
                if after.content(VAULT.as_ref()).is_some() {
                    check_crashed(&after, &[&states[0]], &told);
                }
                continue;
            };
            let next = &states[(last + 1).min(states.len() - 1)];
            check_crashed(&after, &[&states[last], next], &told);
            if odds == 0 || odds == 2 {
                crash_again(&after, &told, &mut dice);
            }
        }
    }
}

/// The power goes a second time, while the vault was being repaired and written.
fn crash_again(disk: &SimulatedDisk, told: &str, dice: &mut Dice) {
    let whole = records(&open_simulated(disk).unwrap());
    let mut before = whole.clone();
    before.remove("after");
    let events = dice.roll(disk.journal_len() + 1);
    let acknowledged = !disk.acknowledged(events).is_empty();
    let odds = dice.roll(5);
    let again = disk.after_crash(events, || dice.roll(4) < odds);
    let told = format!("{told}, again after {events} with odds {odds}");
    let allowed: &[&Records] = if acknowledged {
        &[&whole]
    } else {
        &[&before, &whole]
    };
    check_crashed(&again, allowed, &told);
}

/// Every write, flush, cut and rename of a commit and of a compaction fails in turn, once and
/// several times.
#[test]
fn a_disk_that_fails_loses_nothing_acknowledged() {
    let acts = [
        Act::Write,
        Act::Sync,
        Act::SetLen,
        Act::Rename,
        Act::SyncFolder,
    ];
    let cases = acts
        .into_iter()
        .flat_map(|act| (0..6).flat_map(move |skip| [1, 2, 3, 9].map(|times| (act, skip, times))));
    for (act, skip, times) in cases {
        let told = format!("{act:?} fails {times} times after {skip}");
        let disk = SimulatedDisk::with_folder(FOLDER.as_ref());
        let mut open = create_simulated(&disk);
        let mut reader = open_simulated(&disk).unwrap();
        let mut model = Records::new();
        disk.fail(Fault {
            act,
            skip,
            times,
            error: ErrorKind::StorageFull,
        });
        disk.fail(Fault {
            act: Act::SetLen,
            skip: 0,
            times: skip % 2,
            error: ErrorKind::Other,
        });
        for round in 0..4u8 {
            let key = format!("key{round}");
            let outcome = open.commit(put(&key, &[round; 600]));
            let mut with = model.clone();
            with.insert(key, vec![round; 600]);
            disk.acknowledge(u64::from(round));
            if outcome.is_ok() {
                model = with;
            } else {
                // Nowhere or everywhere; whichever it is, it stays.
                let found = records(&open_simulated(&disk).unwrap());
                assert!(found == model || found == with, "{told}, {outcome:?}");
                model = found;
            }
            let after = disk.after_crash(disk.journal_len(), || false);
            let durable = records(&open_simulated(&after).unwrap());
            assert!(
                outcome.is_err() || durable == model,
                "{told}, round {round}"
            );
            reader
                .catch_up()
                .unwrap_or_else(|failure| panic!("{told}: {failure:?}"));
            assert_eq!(records(&reader), model, "{told}, round {round}");
            if round == 2 {
                let _ = open.compact(true);
            }
        }
        disk.heal();
        open.commit(put("last", b"works"))
            .unwrap_or_else(|f| panic!("{told}: {f:?}"));
        model.insert("last".to_owned(), b"works".to_vec());
        assert_eq!(records(&open), model, "{told}");
        let after = disk.after_crash(disk.journal_len(), || false);
        assert_eq!(records(&open_simulated(&after).unwrap()), model, "{told}");
        reader
            .catch_up()
            .unwrap_or_else(|failure| panic!("{told}: {failure:?}"));
        assert_eq!(records(&reader), model, "{told}");
    }
}

#[test]
fn a_failed_flush_is_made_good_by_a_new_file() {
    let disk = SimulatedDisk::with_folder(FOLDER.as_ref());
    let mut open = create_simulated(&disk);
    open.commit(put("key", b"one")).unwrap();
    let base = open.vault().header().base_seq();
    disk.fail(Fault {
        act: Act::Sync,
        skip: 0,
        times: 1,
        error: ErrorKind::Other,
    });
    open.commit(put("key", b"two")).unwrap();
    assert!(
        open.vault().header().base_seq() > base,
        "the vault was written anew"
    );
    let after = disk.after_crash(disk.journal_len(), || false);
    assert_eq!(
        value(&open_simulated(&after).unwrap(), "key").unwrap(),
        b"two"
    );
    // The new file takes appends again.
    let base = open.vault().header().base_seq();
    open.commit(put("key", b"three")).unwrap();
    assert_eq!(open.vault().header().base_seq(), base);
}

#[test]
fn a_disk_that_stays_broken_is_told_and_the_vault_goes_on_when_it_heals() {
    let disk = SimulatedDisk::with_folder(FOLDER.as_ref());
    let mut open = create_simulated(&disk);
    open.commit(put("key", b"one")).unwrap();
    disk.fail(Fault {
        act: Act::Sync,
        skip: 0,
        times: 100,
        error: ErrorKind::Other,
    });
    assert_eq!(
        refusal(open.commit(put("key", b"two"))),
        Code::VaultPoisoned
    );
    assert_eq!(refusal(open.get(&name("key"), None)), Code::VaultPoisoned);
    open.catch_up().unwrap();
    assert_eq!(value(&open, "key").unwrap(), b"one");
    assert_eq!(
        refusal(open.commit(put("key", b"two"))),
        Code::VaultPoisoned
    );
    disk.heal();
    open.commit(put("key", b"three")).unwrap();
    let after = disk.after_crash(disk.journal_len(), || false);
    assert_eq!(
        value(&open_simulated(&after).unwrap(), "key").unwrap(),
        b"three"
    );
}

/// A reader takes in a frame whose writer then can't make it durable and cuts it off.
#[test]
fn a_reader_goes_back_with_a_commit_that_was_never_acknowledged() {
    let disk = SimulatedDisk::with_folder(FOLDER.as_ref());
    let mut open = create_simulated(&disk);
    open.commit(put("key", b"one")).unwrap();
    let mut reader = open_simulated(&disk).unwrap();
    let flushed = disk.content(VAULT.as_ref()).unwrap();
    let frame = {
        let elsewhere = disk.after_crash(disk.journal_len(), || true);
        open_simulated(&elsewhere)
            .unwrap()
            .commit(put("key", b"two"))
            .unwrap();
        elsewhere.content(VAULT.as_ref()).unwrap()[flushed.len()..].to_vec()
    };
    disk.tamper(VAULT.as_ref(), |bytes| bytes.extend(&frame));
    assert!(reader.catch_up().unwrap());
    assert_eq!(value(&reader, "key").unwrap(), b"two");
    disk.tamper(VAULT.as_ref(), |bytes| bytes.truncate(flushed.len()));
    // A frame of the same length takes its place before the reader looks again.
    open.commit(put("key", b"3rd")).unwrap();
    assert!(reader.catch_up().unwrap());
    assert_eq!(value(&reader, "key").unwrap(), b"3rd");
}
