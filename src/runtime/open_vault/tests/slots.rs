use super::*;
use crate::vault::SlotNote;

const OTHER_KEY: [u8; 32] = [8; 32];

fn note(label: &str) -> SlotNote {
    SlotNote {
        label: label.to_owned(),
        ..SlotNote::default()
    }
}

fn root(open: &OpenVault, key: [u8; 32]) -> Option<RootKey> {
    root_of(open.vault().header(), key)
}

#[test]
fn slots_come_and_go_and_records_stay() {
    let (world, mut open) = World::new();
    open.commit(put("key", b"one")).unwrap();
    let mut reader = world.open();
    let first = open.vault().header().slots()[0].id;
    let key = root(&open, SLOT_KEY).unwrap();
    let second = open
        .add_slot(&key, &raw_slot(OTHER_KEY), note("spare"))
        .unwrap();
    assert_eq!(
        open.vault().vault_meta().slot(&second).unwrap().label,
        "spare"
    );
    assert!(root(&open, OTHER_KEY).is_some());
    reader.catch_up().unwrap();
    assert_eq!(reader.vault().header().slots().len(), 2);
    open.remove_slot(&key, &first).unwrap();
    assert!(root(&open, SLOT_KEY).is_none());
    assert_eq!(refusal(open.remove_slot(&key, &second)), Code::SlotLast);
    assert_eq!(refusal(open.remove_slot(&key, &first)), Code::SlotAbsent);
    let third = open
        .replace_slot(&key, &second, &raw_slot(SLOT_KEY), note("new"))
        .unwrap();
    assert_eq!(open.vault().header().slots()[0].id, third);
    assert_eq!(open.vault().vault_meta().slot(&second), None);
    assert_eq!(value(&world.open(), "key").unwrap(), b"one");
    assert_eq!(value(&reader, "key").unwrap(), b"one");
    reader.commit(put("key", b"two")).unwrap();
}

#[test]
fn slots_need_the_root_key_of_this_vault() {
    let (_world, mut open) = World::new();
    let wrong = RootKey::build(|key| key.fill(1));
    let added = open.add_slot(&wrong, &raw_slot(OTHER_KEY), note("x"));
    assert_eq!(refusal(added), Code::VaultCorrupt);
    assert_eq!(open.vault().header().slots().len(), 1);
}

#[test]
fn a_rekey_seals_everything_anew_and_shuts_the_others_out() {
    let (world, mut open) = World::new();
    for round in 0..3u8 {
        open.commit(put("key", &[round])).unwrap();
    }
    let mut reader = world.open();
    let mut stale = world.open();
    let key = root(&open, SLOT_KEY).unwrap();
    let new = RootKey::build(|key| key.fill(3));
    let context = open.slot_context().next_epoch().unwrap();
    let slot = raw_slot(SLOT_KEY)
        .wrap(&context, &new, &mut sys::random::fill)
        .unwrap();
    open.rekey(&key, &new, vec![slot.clone()], None).unwrap();
    assert_eq!(open.vault().header().epoch(), 2);
    assert_eq!(value(&open, "key").unwrap(), [2]);
    assert_eq!(open.get(&name("key"), Some(1)).unwrap().1.expose(), [0]);
    open.commit(put("key", b"new")).unwrap();
    assert_eq!(refusal(reader.catch_up()), Code::VaultSealed);
    assert_eq!(
        refusal(reader.commit(put("key", b"old"))),
        Code::VaultSealed
    );
    assert_eq!(
        refusal(stale.rekey(&key, &new, vec![slot], None)),
        Code::VaultSealed
    );
    // What it has read stays readable until it lets go.
    assert_eq!(value(&reader, "key").unwrap(), [2]);
    let again = world.open();
    assert_eq!(value(&again, "key").unwrap(), b"new");
    assert_eq!(again.verify_all().unwrap().values, 4);
}

#[test]
fn a_key_changed_during_an_unlock_is_a_conflict() {
    let (world, mut open) = World::new();
    let file = VaultFile::open(&world.path, Options::default()).unwrap();
    let (header, keys) = unlock(&file, SLOT_KEY);
    let key = root(&open, SLOT_KEY).unwrap();
    // A change of slots in between does no harm,
    open.add_slot(&key, &raw_slot(OTHER_KEY), note("x"))
        .unwrap();
    let file2 = VaultFile::open(&world.path, Options::default()).unwrap();
    OpenVault::open(file2, header.clone(), keys.clone(), &world.anchors, &KNOWN).unwrap();
    // a change of the key does.
    let new = RootKey::build(|key| key.fill(3));
    let context = open.slot_context().next_epoch().unwrap();
    let slot = raw_slot(SLOT_KEY)
        .wrap(&context, &new, &mut sys::random::fill)
        .unwrap();
    open.rekey(&key, &new, vec![slot], None).unwrap();
    let opened = OpenVault::open(file, header, keys, &world.anchors, &KNOWN);
    assert_eq!(refusal(opened), Code::VaultConflict);
}

#[test]
fn a_passphrase_slot_is_wrapped_without_the_lock() {
    let (world, mut open) = World::new();
    let key = root(&open, SLOT_KEY).unwrap();
    let kdf = KdfParams {
        m_kib: 19_456,
        t: 2,
        p: 1,
    };
    let passphrase = SecretValue::copy_of(b"correct horse");
    let new = NewSlot::Passphrase {
        passphrase,
        keyfile: None,
        kdf,
    };
    open.add_slot(&key, &new, note("words")).unwrap();
    assert_eq!(world.open().vault().header().slots().len(), 2);
}
