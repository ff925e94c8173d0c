//! The anchor: what it remembers, and what it notices.

use super::anchor::{ANCHOR_LEN, Anchor, AnchorState, Pin, check, glance, pin};
use super::*;

fn at(world: &World) -> Anchor {
    Anchor::of(&world.vault, UnixMs(77))
}

fn raw_slot() -> Vec<NewSlot> {
    vec![NewSlot::Raw {
        secret: raw_key(),
        hint: RawKeyHint::File,
    }]
}

#[test]
fn an_anchor_is_the_same_after_a_round_trip() {
    let mut world = World::new("anchor");
    world.commit(vec![put("a", b"1")]).unwrap();
    let anchor = at(&world);
    let bytes = anchor.encode();
    assert_eq!(Anchor::parse(&bytes).unwrap(), anchor);
    assert!(anchor.verify(world.vault.keys()));
    assert_eq!(anchor.seen_at, UnixMs(77));
    for i in 0..ANCHOR_LEN {
        let mut changed = bytes;
        changed[i] ^= 1;
        let accepted = Anchor::parse(&changed).is_ok_and(|a| a.verify(world.vault.keys()));
        assert!(!accepted, "byte {i}");
    }
    for len in [0, 4, 151] {
        assert!(Anchor::parse(&bytes[..len]).is_err());
    }
    assert!(Anchor::parse(&[bytes.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn going_on_is_fine_and_going_back_is_not() {
    let mut world = World::new("rollback");
    world.commit(vec![put("a", b"1")]).unwrap();
    let old = world.bytes.clone();
    let first = at(&world);
    assert_eq!(check(&world.vault, &first), Ok(AnchorState::Same));
    world.commit(vec![put("a", b"2")]).unwrap();
    assert_eq!(check(&world.vault, &first), Ok(AnchorState::Advance));
    let second = at(&world);
    let older = open(&old, &world.root).unwrap();
    assert_eq!(
        check(&older, &second),
        Err(VaultError::Rollback { found: 2, seen: 3 })
    );

    world.rewrite(Rewrite::Compact, 0).unwrap();
    for anchor in [&first, &second] {
        assert_eq!(check(&world.vault, anchor), Ok(AnchorState::Advance));
    }
    let compacted = at(&world);
    assert_eq!(
        check(&older, &compacted),
        Err(VaultError::Rollback { found: 2, seen: 4 })
    );
}

#[test]
fn two_histories_are_a_fork() {
    let mut world = World::new("fork");
    world.commit(vec![put("a", b"1")]).unwrap();
    let shared = world.bytes.clone();
    world.commit(vec![put("a", b"2")]).unwrap();
    let ours = at(&world);
    world.bytes = shared.clone();
    world.vault = open(&shared, &world.root).unwrap();
    world.commit(vec![put("a", b"3")]).unwrap();
    assert_eq!(
        check(&world.vault, &ours),
        Err(VaultError::Fork(3)),
        "same number, other mac"
    );
    world.commit(vec![put("a", b"4")]).unwrap();
    assert_eq!(
        check(&world.vault, &ours),
        Err(VaultError::Fork(3)),
        "the mac at that number"
    );

    world.vault = open(&shared, &world.root).unwrap();
    world.bytes = shared.clone();
    world.commit(vec![put("a", b"5")]).unwrap();
    world.rewrite(Rewrite::Compact, 0).unwrap();
    assert_eq!(
        check(&world.vault, &ours),
        Err(VaultError::Fork(3)),
        "the ancestor's mac"
    );

    world.vault = open(&shared, &world.root).unwrap();
    world.bytes = shared;
    world.rewrite(Rewrite::Compact, 0).unwrap();
    assert_eq!(
        check(&world.vault, &ours),
        Err(VaultError::Fork(3)),
        "compacted elsewhere"
    );
}

/// A file whose numbers jump over what the anchor saw, though its ancestor is older than that.
#[test]
fn a_jump_in_the_numbers_does_not_hide_a_rollback() {
    let mut world = World::new("jump");
    world.commit(vec![put("a", b"1")]).unwrap();
    let ours = at(&world);
    let fields = header::HeaderFields {
        base_seq: 9,
        ..world.vault.header.fields()
    };
    let keys = world.vault.keys.clone();
    for (seq, found) in [(1, 1), (0, 0)] {
        let header = Header::make(fields, world.vault.header.slots(), &keys).unwrap();
        let mut bytes = header.bytes().to_vec();
        let snapshot = frame::FrameKind::Snapshot;
        let mut frames = frame::FrameBuilder::new(&keys, snapshot, 9, header.mac());
        op::write_ancestor(&mut frames.index, seq, &[1; 32], 1);
        frames.close(true, &mut world.rng, &mut bytes);
        let vault = open(&bytes, &world.root).unwrap();
        assert_eq!(
            check(&vault, &ours),
            Err(VaultError::Rollback { found, seen: 2 })
        );
    }
}

#[test]
fn a_damaged_anchor_counts_as_none() {
    let mut world = World::new("damaged");
    world.commit(vec![put("a", b"1")]).unwrap();
    let mut bytes = at(&world).encode();
    bytes[ANCHOR_LEN - 1] ^= 1;
    let damaged = Anchor::parse(&bytes).unwrap();
    assert_eq!(check(&world.vault, &damaged), Ok(AnchorState::Damaged));
    let (header, keys) = (world.vault.header(), world.vault.keys());
    assert_eq!(
        pin(header, keys, Some(&damaged), true, None),
        Ok(Pin::Damaged)
    );
    let untrusted = VaultError::Untrusted(header.fingerprint());
    assert_eq!(
        pin(header, keys, Some(&damaged), false, None),
        Err(untrusted)
    );
    let foreign = at(&World::new("another"));
    assert_eq!(check(&world.vault, &foreign), Ok(AnchorState::Damaged));
}

#[test]
fn a_public_key_is_trusted_for_the_pinned_vault_only() {
    let mut world = World::new("pin");
    let anchor = at(&world);
    let commit = world.vault.header().key_commit();
    let ask = |world: &World, anchor: Option<&Anchor>, authenticated, pinned: Option<&[u8; 32]>| {
        pin(
            world.vault.header(),
            world.vault.keys(),
            anchor,
            authenticated,
            pinned,
        )
    };
    let untrusted = Err(VaultError::Untrusted(world.vault.header().fingerprint()));
    assert_eq!(ask(&world, Some(&anchor), false, None), Ok(Pin::Known));
    assert_eq!(ask(&world, None, true, None), Ok(Pin::FirstSeen));
    assert_eq!(ask(&world, None, false, None), untrusted);
    assert_eq!(ask(&world, None, false, Some(&[0; 32])), untrusted);
    assert_eq!(ask(&world, None, false, Some(&commit)), Ok(Pin::FirstSeen));

    let old = open(&world.bytes, &world.root).unwrap();
    world.rekey(raw_slot(), 0).unwrap();
    assert_eq!(ask(&world, Some(&anchor), true, None), Ok(Pin::NewEpoch));
    assert!(ask(&world, Some(&anchor), false, None).is_err());
    assert_eq!(check(&world.vault, &anchor), Ok(AnchorState::Advance));
    let newer = at(&world);
    let rollback = VaultError::EpochRollback { found: 1, seen: 2 };
    assert_eq!(
        pin(old.header(), old.keys(), Some(&newer), true, None),
        Err(rollback)
    );
    assert!(matches!(
        check(&old, &newer),
        Err(VaultError::EpochRollback { .. })
    ));
}

#[test]
fn another_key_in_the_same_epoch_is_a_fork() {
    let mut world = World::new("two rekeys");
    let shared = (
        world.bytes.clone(),
        RootKey::build(|out| *out = *world.root.expose()),
    );
    world.rekey(raw_slot(), 0).unwrap();
    let ours = at(&world);
    world.vault = open(&shared.0, &shared.1).unwrap();
    world.bytes = shared.0;
    world.rekey(raw_slot(), 0).unwrap();
    let outcome = pin(
        world.vault.header(),
        world.vault.keys(),
        Some(&ours),
        true,
        None,
    );
    assert_eq!(outcome, Err(VaultError::Fork(2)));
}

#[test]
fn fingerprints_are_groups_of_four() {
    let fingerprint = World::new("fingerprint").vault.header().fingerprint();
    assert_eq!(fingerprint.len(), 39);
    assert!(
        fingerprint.split('-').all(|group| group.len() == 4),
        "{fingerprint}"
    );
}

/// What can be told without a key: going back, another chain and another key; going on is fine.
#[test]
fn a_locked_vault_is_held_against_the_anchor_as_far_as_it_shows() {
    let mut world = World::new("glance");
    world.commit(vec![put("a", b"1")]).unwrap();
    let anchor = at(&world);
    let (header, seen) = (world.vault.header().clone(), anchor.head.seq);
    let same = Some(anchor.head.mac);
    for newest in [seen, seen + 1] {
        assert_eq!(glance(&header, &anchor, newest, same), Ok(()));
        assert_eq!(glance(&header, &anchor, newest, None), Ok(()));
    }
    let found = seen - 1;
    let rollback = Err(VaultError::Rollback { found, seen });
    assert_eq!(glance(&header, &anchor, found, None), rollback);
    let fork = Err(VaultError::Fork(seen));
    assert_eq!(glance(&header, &anchor, seen, Some([0; 32])), fork);
    let mut other_key = anchor.clone();
    other_key.key_commit = [1; 32];
    assert_eq!(glance(&header, &other_key, seen, same), fork);

    world.rekey(raw_slot(), 0).unwrap();
    let next = world.vault.header().clone();
    assert_eq!(glance(&next, &anchor, 0, Some([0; 32])), Ok(()));
    let back = Err(VaultError::EpochRollback { found: 1, seen: 2 });
    let newer = at(&world);
    assert_eq!(glance(&header, &newer, newer.head.seq, None), back);
}
