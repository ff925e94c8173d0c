use super::*;
use crate::runtime::open_vault::Notice;
use crate::store::disk::{Disk, Open};
use std::fs;

const STRANGER: OpenOptions = OpenOptions {
    authenticated: false,
    expect_fingerprint: None,
    accept_rollback: false,
};
const ACCEPTING: OpenOptions = OpenOptions {
    authenticated: true,
    expect_fingerprint: None,
    accept_rollback: true,
};

/// The anchors of another machine that knows nothing yet.
fn elsewhere(world: &World) -> PathBuf {
    world.path.with_file_name("other-anchors")
}

fn rekey(open: &mut OpenVault) {
    let key = root_of(open.vault().header(), SLOT_KEY).unwrap();
    let new = RootKey::build(|key| sys::random::fill(key));
    let context = open.slot_context().next_epoch().unwrap();
    let slot = raw_slot(SLOT_KEY)
        .wrap(&context, &new, &mut sys::random::fill)
        .unwrap();
    open.rekey(&key, &new, vec![slot], None).unwrap();
}

#[test]
fn an_older_copy_is_not_opened_unless_for_reading() {
    let (world, mut open) = World::new();
    open.commit(put("key", b"old")).unwrap();
    let old = fs::read(&world.path).unwrap();
    open.commit(put("key", b"new")).unwrap();
    fs::write(&world.path, &old).unwrap();
    assert_eq!(refusal(open.catch_up()), Code::VaultRollback);
    assert_eq!(refusal(open.commit(put("key", b"x"))), Code::VaultRollback);
    assert_eq!(refusal(world.try_open(&KNOWN)), Code::VaultRollback);
    let mut reading = world.try_open(&ACCEPTING).unwrap();
    assert!(reading.is_read_only());
    assert_eq!(value(&reading, "key").unwrap(), b"old");
    assert_eq!(
        refusal(reading.commit(put("key", b"x"))),
        Code::VaultRollback
    );
    assert_eq!(refusal(reading.compact(true)), Code::VaultRollback);
    assert!(!reading.compact_superseded().unwrap());
    assert!(fs::read(&world.path).unwrap() == old);
    // Reading it did not change what the machine remembers,
    assert_eq!(refusal(world.try_open(&KNOWN)), Code::VaultRollback);
    // only saying so does.
    reading.accept_rollback().unwrap();
    reading.commit(put("key", b"again")).unwrap();
    assert_eq!(value(&world.open(), "key").unwrap(), b"again");
}

#[test]
fn a_torn_tail_on_an_older_copy_is_not_cut() {
    let (world, mut open) = World::new();
    open.commit(put("key", b"old")).unwrap();
    let mut old = fs::read(&world.path).unwrap();
    open.commit(put("key", b"new")).unwrap();
    old.extend(b"some evidence");
    fs::write(&world.path, &old).unwrap();
    assert_eq!(refusal(open.commit(put("key", b"x"))), Code::VaultRollback);
    assert!(fs::read(&world.path).unwrap() == old);
}

#[test]
fn a_copy_that_went_another_way_is_a_fork() {
    let (world, mut open) = World::new();
    open.commit(put("key", b"base")).unwrap();
    let copy = world.path.with_file_name("copy");
    fs::copy(&world.path, &copy).unwrap();
    open.commit(put("key", b"here")).unwrap();
    let mut other = open_at(&copy, &elsewhere(&world), &KNOWN).unwrap();
    for round in 0..3u8 {
        other.commit(put("key", &[round])).unwrap();
    }
    fs::copy(&copy, &world.path).unwrap();
    assert_eq!(refusal(open.catch_up()), Code::VaultFork);
    assert_eq!(refusal(world.try_open(&KNOWN)), Code::VaultFork);
    assert!(world.try_open(&ACCEPTING).unwrap().is_read_only());
}

#[test]
fn what_another_machine_wrote_and_compacted_is_followed() {
    let (world, mut open) = World::new();
    open.commit(put("key", b"one")).unwrap();
    let mut other = open_at(&world.path, &elsewhere(&world), &KNOWN).unwrap();
    for round in 0..3u8 {
        other.commit(put("key", &[round])).unwrap();
        other.compact(false).unwrap();
    }
    assert!(open.catch_up().unwrap());
    assert_eq!(value(&world.open(), "key").unwrap(), [2]);
    // Now this machine remembers it.
    let newest = fs::read(&world.path).unwrap();
    open.commit(put("key", b"two")).unwrap();
    fs::write(&world.path, &newest).unwrap();
    assert_eq!(refusal(world.try_open(&KNOWN)), Code::VaultRollback);
}

#[test]
fn opening_remembers_a_state_that_was_not_seen_before() {
    let (world, mut open) = World::new();
    let old = fs::read(&world.path).unwrap();
    open.commit(put("key", b"one")).unwrap();
    let anchors = elsewhere(&world);
    let seen = open_at(&world.path, &anchors, &KNOWN).unwrap();
    assert_eq!(seen.generation(), 2);
    fs::write(&world.path, &old).unwrap();
    assert_eq!(
        refusal(open_at(&world.path, &anchors, &KNOWN)),
        Code::VaultRollback
    );
}

#[test]
fn a_public_key_opens_only_what_is_known_or_confirmed() {
    let (world, open) = World::new();
    let anchors = elsewhere(&world);
    assert_eq!(
        refusal(open_at(&world.path, &anchors, &STRANGER)),
        Code::VaultUntrusted
    );
    let fingerprint = open.vault().header().fingerprint();
    let wrong = OpenOptions {
        expect_fingerprint: Some("AAAA-BBBB".to_owned()),
        ..KNOWN
    };
    assert_eq!(
        refusal(open_at(&world.path, &anchors, &wrong)),
        Code::VaultUntrusted
    );
    assert!(!anchors.exists());
    let spelling = fingerprint.to_lowercase().replace('-', " ");
    let confirmed = OpenOptions {
        expect_fingerprint: Some(spelling),
        ..STRANGER
    };
    open_at(&world.path, &anchors, &confirmed).unwrap();
    // From now on it is known.
    open_at(&world.path, &anchors, &STRANGER).unwrap();
    // The machine that made the vault knows it.
    world.try_open(&STRANGER).unwrap();
}

#[test]
fn a_new_epoch_is_trusted_only_from_somebody_with_the_secret() {
    let (world, mut open) = World::new();
    let first = fs::read(&world.path).unwrap();
    let mut other = open_at(&world.path, &elsewhere(&world), &KNOWN).unwrap();
    rekey(&mut other);
    assert_eq!(refusal(open.catch_up()), Code::VaultSealed);
    assert_eq!(refusal(world.try_open(&STRANGER)), Code::VaultUntrusted);
    world.try_open(&KNOWN).unwrap();
    world.try_open(&STRANGER).unwrap();
    // An older epoch is never accepted again, whatever opens it.
    fs::write(&world.path, &first).unwrap();
    assert_eq!(refusal(world.try_open(&KNOWN)), Code::VaultRollback);
    assert!(world.try_open(&ACCEPTING).unwrap().is_read_only());
}

#[test]
fn a_damaged_anchor_is_said_and_made_anew() {
    let (world, mut open) = World::new();
    open.commit(put("key", b"one")).unwrap();
    let anchor = fs::read_dir(&world.anchors)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let good = fs::read(&anchor).unwrap();
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    for bad in [flipped, good[..100].to_vec(), Vec::new()] {
        fs::write(&anchor, &bad).unwrap();
        assert_eq!(refusal(world.try_open(&STRANGER)), Code::VaultUntrusted);
        let mut again = world.open();
        assert_eq!(again.take_notices(), [Notice::AnchorDamaged]);
        assert_eq!(again.take_notices(), []);
        assert_eq!(world.open().take_notices(), []);
        world.try_open(&STRANGER).unwrap();
    }
}

#[test]
fn a_commit_stands_although_it_can_not_be_remembered() {
    let (world, mut open) = World::new();
    fs::remove_dir_all(&world.anchors).unwrap();
    fs::write(&world.anchors, b"not a folder").unwrap();
    open.commit(put("key", b"one")).unwrap();
    let notices = open.take_notices();
    assert!(
        matches!(notices[..], [Notice::AnchorNotWritten(_)]),
        "{notices:?}"
    );
    fs::remove_file(&world.anchors).unwrap();
    assert_eq!(value(&world.open(), "key").unwrap(), b"one");
}

/// A frame that its writer has not flushed yet is visible to others. If one of them remembered it,
/// and then the power went, the vault would look rolled back.
#[test]
fn a_state_is_on_the_disk_before_a_reader_remembers_it() {
    let disk = SimulatedDisk::with_folder(FOLDER.as_ref());
    drop(create_simulated(&disk));
    let flushed = disk.content(VAULT.as_ref()).unwrap().len();
    let later = disk.after_crash(disk.journal_len(), || true);
    open_simulated(&later)
        .unwrap()
        .commit(put("key", b"one"))
        .unwrap();
    let frame = later.content(VAULT.as_ref()).unwrap()[flushed..].to_vec();
    let file = disk.open(VAULT.as_ref(), Open::Write).unwrap();
    file.write_at(&frame, flushed as u64).unwrap();
    let reader = open_simulated(&disk).unwrap();
    assert_eq!(value(&reader, "key").unwrap(), b"one");
    for events in 0..=disk.journal_len() {
        // Anchors reach the disk, vaults only as far as they were flushed.
        let mut names_only = false;
        let after = disk.after_crash(events, || {
            names_only = !names_only;
            names_only
        });
        match open_simulated_if_there(&after) {
            None => assert!(events < 8, "the vault is gone after {events} events"),
            Some(open) => drop(open.unwrap()),
        }
    }
}

fn open_simulated_if_there(disk: &SimulatedDisk) -> Option<Result<OpenVault, Failure>> {
    disk.content(VAULT.as_ref())?;
    Some(open_simulated(disk))
}
