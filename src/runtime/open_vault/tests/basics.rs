use super::*;
use crate::runtime::open_vault::{Committed, reading};
use crate::vault::KEPT_VERSIONS;
use std::fs;

#[test]
fn what_is_committed_is_there_for_this_handle_and_for_others() {
    let (world, mut open) = World::new();
    assert_eq!(open.generation(), 1);
    let committed = open.commit(put("key", b"one")).unwrap();
    assert_eq!(committed, Committed { generation: 2 });
    assert_eq!(value(&open, "key").unwrap(), b"one");
    let mut other = world.open();
    assert_eq!(value(&other, "key").unwrap(), b"one");
    open.commit(put("key", b"two")).unwrap();
    assert_eq!(value(&other, "key").unwrap(), b"one");
    assert!(other.catch_up().unwrap());
    assert!(!other.catch_up().unwrap());
    assert_eq!(value(&other, "key").unwrap(), b"two");
    let (info, old) = other.get(&name("key"), Some(1)).unwrap();
    assert_eq!((info.version, old.expose()), (1, &b"one"[..]));
    let versions: Vec<_> = other
        .history(&name("key"))
        .unwrap()
        .iter()
        .map(|old| old.version)
        .collect();
    assert_eq!(versions, [2, 1]);
    assert_eq!(
        refusal(other.get(&name("key"), Some(3))),
        Code::RecordVersionAbsent
    );
    assert_eq!(refusal(other.get(&name("other"), None)), Code::RecordAbsent);
    assert_eq!(refusal(other.history(&name("other"))), Code::RecordAbsent);
}

#[test]
fn a_commit_takes_in_what_others_did_before_it_compares() {
    let (world, mut one) = World::new();
    let mut two = world.open();
    one.commit(vec![put_if("key", b"one", Expect::Absent)])
        .unwrap();
    let late = two.commit(vec![put_if("key", b"two", Expect::Absent)]);
    assert_eq!(refusal(late), Code::RecordExists);
    two.commit(vec![put_if("key", b"two", Expect::Version(1))])
        .unwrap();
    let late = one.commit(vec![put_if("key", b"three", Expect::Version(1))]);
    assert_eq!(refusal(late), Code::VaultConflict);
    assert_eq!(value(&one, "key").unwrap(), b"two");
    assert_eq!(world.open().generation(), 3);
}

#[test]
fn a_commit_is_all_or_nothing() {
    let (world, mut open) = World::new();
    let changes = vec![
        put_if("one", b"1", Expect::Any),
        put_if("two", b"2", Expect::Version(5)),
    ];
    assert_eq!(refusal(open.commit(changes)), Code::VaultConflict);
    assert_eq!(names(&open), [""; 0]);
    let before = fs::read(&world.path).unwrap();
    let rename = Change::Rename {
        from: name("no"),
        to: name("where"),
    };
    assert_eq!(refusal(open.commit(vec![rename])), Code::RecordAbsent);
    assert!(fs::read(&world.path).unwrap() == before);
}

#[test]
fn a_rename_and_a_delete_are_durable() {
    let (world, mut open) = World::new();
    open.commit(put("from", b"value")).unwrap();
    open.commit(vec![Change::Rename {
        from: name("from"),
        to: name("to"),
    }])
    .unwrap();
    let mut other = world.open();
    assert_eq!(names(&other), ["to"]);
    assert_eq!(value(&other, "to").unwrap(), b"value");
    other
        .commit(vec![Change::Delete {
            name: name("to"),
            expect: Expect::Version(2),
        }])
        .unwrap();
    assert_eq!(names(&world.open()), [""; 0]);
}

#[test]
fn compaction_by_one_handle_is_followed_by_others() {
    let (world, mut one) = World::new();
    let mut two = world.open();
    for round in 0..15u8 {
        one.commit(put("key", &[round])).unwrap();
        one.commit(put("other", b"value")).unwrap();
    }
    two.catch_up().unwrap();
    one.compact(true).unwrap();
    assert_eq!(one.history(&name("key")).unwrap().len(), KEPT_VERSIONS + 1);
    // Even before it looks, the other handle reads what it has opened.
    assert_eq!(value(&two, "key").unwrap(), [14]);
    assert!(two.catch_up().unwrap());
    assert_eq!(two.history(&name("key")).unwrap().len(), KEPT_VERSIONS + 1);
    assert_eq!(two.get(&name("key"), Some(8)).unwrap().1.expose(), [7]);
    two.compact(false).unwrap();
    assert_eq!(two.history(&name("key")).unwrap().len(), 1);
    one.commit(put("key", b"last")).unwrap();
    assert_eq!(value(&world.open(), "key").unwrap(), b"last");
    assert_eq!(world.open().verify_all().unwrap().values, 3);
}

#[test]
fn compaction_happens_by_itself_and_keeps_the_vault_small() {
    let (world, mut open) = World::new();
    let large = vec![9; 40_000];
    let mut largest = 0;
    for _ in 0..60 {
        open.commit(put("key", &large)).unwrap();
        largest = largest.max(fs::metadata(&world.path).unwrap().len());
    }
    assert!(largest < 1_300_000, "{largest}");
    assert!(open.vault().header().base_seq() > 1);
    assert_eq!(value(&world.open(), "key").unwrap(), large);
    assert_eq!(open.take_notices(), []);
}

#[test]
fn superseded_values_go_when_asked_for() {
    let (_world, mut open) = World::new();
    assert!(!open.compact_superseded().unwrap());
    open.commit(put("key", b"one")).unwrap();
    assert!(!open.compact_superseded().unwrap());
    open.commit(put("key", b"two")).unwrap();
    assert!(open.compact_superseded().unwrap());
    assert!(!open.compact_superseded().unwrap());
    assert_eq!(value(&open, "key").unwrap(), b"two");
}

#[test]
fn a_new_vault_never_replaces_one() {
    let (world, mut open) = World::new();
    open.commit(put("key", b"one")).unwrap();
    let asked = |_: &SlotContext, _: &RootKey| -> Result<Birth, Failure> {
        panic!("nobody is asked for a passphrase in vain")
    };
    let again = OpenVault::create(&world.path, Options::default(), &world.anchors, asked);
    assert_eq!(refusal(again), Code::VaultExists);
    assert_eq!(value(&world.open(), "key").unwrap(), b"one");
}

#[test]
fn a_torn_tail_is_ignored_by_readers_and_repaired_by_the_next_commit() {
    let (world, mut open) = World::new();
    open.commit(put("key", b"one")).unwrap();
    let whole = fs::read(&world.path).unwrap();
    open.commit(put("key", b"two")).unwrap();
    let longer = fs::read(&world.path).unwrap();
    let tails = world.path.with_file_name("v.reseal.d");
    drop(open);
    fs::remove_dir_all(&world.anchors).unwrap();
    for cut in [whole.len() + 1, whole.len() + 80, longer.len() - 1] {
        fs::write(&world.path, &longer[..cut]).unwrap();
        let mut reader = world.open();
        assert_eq!(value(&reader, "key").unwrap(), b"one");
        let verified = reader.verify_all().unwrap();
        assert_eq!(verified.tail_bytes, (cut - whole.len()) as u64);
        assert!(!reader.catch_up().unwrap());
        let mut writer = world.open();
        writer.commit(put("other", b"value")).unwrap();
        assert!(reader.catch_up().unwrap());
        assert_eq!(names(&reader), ["key", "other"]);
        assert_eq!(reader.verify_all().unwrap().tail_bytes, 0);
        let newest = fs::read_dir(&tails)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .max();
        assert_eq!(
            fs::read(newest.unwrap()).unwrap(),
            &longer[whole.len()..cut]
        );
        fs::remove_dir_all(&world.anchors).unwrap();
    }
}

#[test]
fn a_tail_that_is_repaired_to_the_same_length_is_noticed() {
    let disk = SimulatedDisk::with_folder(FOLDER.as_ref());
    let mut open = create_simulated(&disk);
    let mut reader = open_simulated(&disk).unwrap();
    let clean = disk.content(VAULT.as_ref()).unwrap().len();
    open.commit(put("key", b"one")).unwrap();
    let frame = disk.content(VAULT.as_ref()).unwrap()[clean..].to_vec();
    disk.tamper(VAULT.as_ref(), |bytes| bytes[clean..].fill(0));
    reader.catch_up().unwrap();
    assert_eq!(value(&reader, "key"), None);
    disk.tamper(VAULT.as_ref(), |bytes| {
        bytes[clean..].copy_from_slice(&frame)
    });
    assert!(reader.catch_up().unwrap());
    assert_eq!(value(&reader, "key").unwrap(), b"one");
}

#[test]
fn a_damaged_value_names_its_record_and_changes_nothing() {
    let (world, mut open) = World::new();
    open.commit(put("good", b"one")).unwrap();
    open.commit(put("bad", b"two")).unwrap();
    open.compact(true).unwrap();
    let at = open.vault().locate(&name("bad"), None).unwrap();
    let mut bytes = fs::read(&world.path).unwrap();
    bytes[usize::try_from(at.offset).unwrap() + 30] ^= 1;
    fs::write(&world.path, &bytes).unwrap();
    // Frames are checked as a whole, so a new reader refuses the file,
    assert_eq!(refusal(world.try_open(&KNOWN)), Code::VaultCorrupt);
    assert_eq!(refusal(open.verify_all()), Code::VaultCorrupt);
    // and one that had it open sees the damage when it comes to the value.
    assert_eq!(refusal(open.get(&name("bad"), None)), Code::VaultCorrupt);
    assert!(fs::read(&world.path).unwrap() == bytes);
}

#[test]
fn a_vault_that_vanishes_or_is_replaced_is_told() {
    let (world, mut open) = World::new();
    open.commit(put("key", b"one")).unwrap();
    let aside = world.path.with_extension("aside");
    fs::rename(&world.path, &aside).unwrap();
    assert_eq!(refusal(open.catch_up()), Code::VaultAbsent);
    assert_eq!(refusal(open.commit(put("key", b"two"))), Code::VaultAbsent);
    let (other, _) = World::new();
    fs::copy(&other.path, &world.path).unwrap();
    assert_eq!(refusal(open.catch_up()), Code::VaultConflict);
    fs::write(&world.path, b"something else").unwrap();
    assert_eq!(refusal(open.catch_up()), Code::VaultCorrupt);
    fs::rename(&aside, &world.path).unwrap();
    open.commit(put("key", b"two")).unwrap();
    assert_eq!(value(&world.open(), "key").unwrap(), b"two");
}

#[test]
fn verifying_counts_everything() {
    let (_world, mut open) = World::new();
    for round in 0..3u8 {
        open.commit(put("key", &[round])).unwrap();
    }
    let verified = open.verify_all().unwrap();
    assert_eq!(
        (verified.generation, verified.frames, verified.values),
        (4, 4, 3)
    );
    assert_eq!((verified.bytes, verified.tail_bytes), (open.bytes(), 0));
}

fn values(open: &mut OpenVault, names: &[&str]) -> Vec<Option<SecretValue>> {
    let values = open.values(names.iter().copied()).into_iter();
    values
        .map(|value| value.ok().map(|(_, value)| value))
        .collect()
}

#[test]
fn many_values_come_in_order_whatever_number_of_threads_opens_them() {
    let count = 3 * reading::SIDE_BY_SIDE;
    let (_world, mut open) = World::new();
    let names: Vec<String> = (0..count).map(|i| format!("key/{i}")).collect();
    for part in names.chunks(reading::SIDE_BY_SIDE) {
        let changes = part.iter().flat_map(|name| put(name, name.as_bytes()));
        open.commit(changes.collect()).unwrap();
    }
    let mut wanted: Vec<&str> = names.iter().rev().map(String::as_str).collect();
    wanted.insert(7, "not/there");
    let values = values(&mut open, &wanted);
    assert_eq!(values.len(), count + 1);
    for (name, value) in wanted.iter().zip(values) {
        let value = value.map(|value| value.expose().to_vec());
        let expected = (*name != "not/there").then(|| name.as_bytes().to_vec());
        assert_eq!(value, expected, "{name}");
    }
}

#[test]
fn a_value_that_is_held_is_not_opened_again_and_a_newer_one_is() {
    let (world, mut open) = World::new();
    open.commit(put("key", b"one")).unwrap();
    let held = values(&mut open, &["key"]);
    // What lies in the file is not looked at while the value is at hand.
    let at = open.vault().locate(&name("key"), None).unwrap();
    let mut bytes = fs::read(&world.path).unwrap();
    bytes[usize::try_from(at.offset).unwrap() + 30] ^= 1;
    fs::write(&world.path, &bytes).unwrap();
    assert_eq!(values(&mut open, &["key"]), held);
    // Nothing but its holders keeps a value.
    drop(held);
    assert_eq!(values(&mut open, &["key"]), [None]);
    bytes[usize::try_from(at.offset).unwrap() + 30] ^= 1;
    fs::write(&world.path, &bytes).unwrap();
    let held = values(&mut open, &["key"]);
    open.commit(put("key", b"two")).unwrap();
    assert_eq!(held[0].as_ref().unwrap().expose(), b"one");
    assert_eq!(
        values(&mut open, &["key"])[0].as_ref().unwrap().expose(),
        b"two"
    );
}
