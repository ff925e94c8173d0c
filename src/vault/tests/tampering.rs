//! Whatever is done to the bytes is noticed, or leaves an earlier state; never another one.

use super::*;
use proptest::prelude::*;

/// The version and value of each record.
type Contents = BTreeMap<String, (u64, Vec<u8>)>;

/// A small vault, and its contents at the end of each commit.
fn history() -> (World, Vec<(usize, Contents)>) {
    let mut world = World::new("tampering");
    let mut states = vec![(world.bytes.len(), world.contents())];
    let commits = [
        vec![put("a", b"one"), put("b", b"two")],
        vec![put("a", b"three"), rename("b", "c")],
        vec![delete("a")],
    ];
    for changes in commits {
        world.commit(changes).unwrap();
        states.push((world.bytes.len(), world.contents()));
    }
    (world, states)
}

#[test]
fn a_cut_leaves_the_last_commit_before_it() {
    let (world, states) = history();
    for cut in 0..=world.bytes.len() {
        let opened = open(&world.bytes[..cut], &world.root);
        match states.iter().rev().find(|(end, _)| *end <= cut) {
            None => assert!(opened.is_err(), "cut at {cut}"),
            Some((end, expected)) => {
                let vault = opened.unwrap();
                assert_eq!(vault.valid_end(), *end as u64);
                assert_eq!(contents(&vault, &world.bytes), *expected);
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_an_error_or_a_shorter_history() {
    let (world, states) = history();
    for at in 0..world.bytes.len() {
        for mask in [1, 0x80] {
            let mut bytes = world.bytes.clone();
            bytes[at] ^= mask;
            let Ok(vault) = open(&bytes, &world.root) else {
                continue;
            };
            let end = vault.valid_end() as usize;
            assert!(end <= at, "byte {at} was not noticed");
            let (_, expected) = states.iter().find(|(known, _)| *known == end).unwrap();
            assert_eq!(contents(&vault, &bytes), *expected);
        }
    }
}

#[test]
fn any_tail_is_ignored() {
    let (world, _) = history();
    let start = world.vault.header().bytes().len();
    let replayed = world.bytes[start..].to_vec();
    let mut other = World::new("another");
    other.commit(vec![put("a", b"stolen")]).unwrap();
    let foreign = other.bytes[other.vault.header().bytes().len()..].to_vec();
    for tail in [
        vec![0; 4_096],
        vec![0xff; 100],
        b"FRAM".to_vec(),
        replayed,
        foreign,
    ] {
        let bytes = [world.bytes.clone(), tail].concat();
        let vault = open(&bytes, &world.root).unwrap();
        assert_eq!(vault.head(), world.vault.head());
    }
}

#[test]
fn frames_that_change_places_are_not_taken() {
    let (world, states) = history();
    let ends: Vec<usize> = states.iter().map(|(end, _)| *end).collect();
    let (second, third) = (ends[0]..ends[1], ends[1]..ends[2]);
    let mut bytes = world.bytes[..ends[0]].to_vec();
    bytes.extend(&world.bytes[third.clone()]);
    bytes.extend(&world.bytes[second.clone()]);
    assert_eq!(
        open(&bytes, &world.root).unwrap().valid_end() as usize,
        ends[0]
    );
    let mut bytes = world.bytes[..ends[1]].to_vec();
    bytes.extend(&world.bytes[second]);
    assert_eq!(
        open(&bytes, &world.root).unwrap().valid_end() as usize,
        ends[1]
    );
    let dropped = [&world.bytes[..ends[0]], &world.bytes[third]].concat();
    assert_eq!(
        open(&dropped, &world.root).unwrap().valid_end() as usize,
        ends[0]
    );
}

#[test]
fn a_value_opens_in_its_own_place_only() {
    let mut world = World::new("values");
    world
        .commit(vec![put("a", b"one"), put("b", b"two")])
        .unwrap();
    world.commit(vec![put("a", b"three")]).unwrap();
    let vault = &world.vault;
    let a = vault.locate(&name("a"), None).unwrap();
    let a1 = vault.locate(&name("a"), Some(1)).unwrap();
    let b = vault.locate(&name("b"), None).unwrap();
    let read = |at: &ValueAt, from: &ValueAt| vault.open_value(at, blob(&world.bytes, from));
    assert!(read(&a, &a).is_ok() && read(&a1, &a1).is_ok() && read(&b, &b).is_ok());
    let broken = |at: ValueAt, from: &ValueAt| assert!(read(&at, from).is_err());
    broken(a, &b);
    broken(a, &a1);
    broken(ValueAt { version: 3, ..a }, &a);
    broken(
        ValueAt {
            kind: RecordKind::OAuth,
            ..a
        },
        &a,
    );
    broken(ValueAt { id: b.id, ..a }, &a);
    for len in [0, 1, 23, 24, 39, 40, blob(&world.bytes, &a).len() - 1] {
        assert!(
            vault
                .open_value(&a, &blob(&world.bytes, &a)[..len])
                .is_err(),
            "{len}"
        );
    }
    let mut other = World::new("other values");
    other.commit(vec![put("a", b"one")]).unwrap();
    assert!(
        other
            .vault
            .open_value(&a1, blob(&world.bytes, &a1))
            .is_err()
    );
}

#[test]
fn a_vault_opens_with_its_own_key_only() {
    let (world, _) = history();
    let other = World::new("another");
    let not_its_key = Err(VaultError::Corrupt(
        "the key is not the one the header commits to",
    ));
    assert_eq!(open(&world.bytes, &other.root).map(drop), not_its_key);
    // Keys that were handed over are of its own vault and of its epoch.
    let header = world.vault.header();
    let anchor = anchor::Anchor::of(&world.vault, world.now);
    let keys = world.vault.keys().to_secret();
    let with = |at: usize| {
        let mut bytes = keys.expose().to_vec();
        bytes[at] ^= 1;
        SubKeys::from_secret(&SecretValue::copy_of(&bytes)).unwrap()
    };
    for at in [8, 24] {
        assert_eq!(header.verify_with(&with(at)), not_its_key, "{at}");
        assert!(!anchor.verify(&with(at)), "{at}");
    }
    let frames_start = world.vault.header().bytes().len();
    let mixed = [other.vault.header().bytes(), &world.bytes[frames_start..]].concat();
    assert!(open(&mixed, &other.root).is_err());
    assert!(open(&mixed, &world.root).is_err());
}

#[test]
fn an_old_header_does_not_fit_new_frames() {
    let (mut world, _) = history();
    let old = world.vault.header().bytes().to_vec();
    world.rewrite(Rewrite::Compact, 0).unwrap();
    let start = world.vault.header().bytes().len();
    let mixed = [&old, &world.bytes[start..]].concat();
    assert_eq!(
        open(&mixed, &world.root).err(),
        Some(VaultError::Corrupt("the first snapshot is not complete"))
    );
}

#[test]
fn a_vault_that_met_a_broken_frame_says_no_more() {
    let mut world = World::new("broken");
    let mut frames = frame::FrameBuilder::new(
        &world.vault.keys,
        frame::FrameKind::Delta,
        2,
        world.vault.head().mac,
    );
    op::write_delete(&mut frames.index, &RecordId([1; 16]), 2);
    let mut bytes = Vec::new();
    frames.close(true, &mut world.rng, &mut bytes);
    let offset = world.bytes.len() as u64;
    let mut reading = world.vault.continue_from();
    assert!(reading.frame(offset, &bytes).is_err());
    assert!(reading.frame(offset, &bytes).is_err());
    drop(reading);
    assert!(world.prepare(&[put("a", b"1")]).is_err());
    assert!(
        world
            .vault
            .snapshot_writer(Rewrite::Compact, None, 0)
            .is_err()
    );
}

#[test]
fn a_payload_is_padded_in_one_way_only() {
    let plaintext = |len: usize, padded: usize| {
        let mut bytes = (len as u32).to_le_bytes().to_vec();
        bytes.resize(padded, 0);
        bytes
    };
    let bad = Err(VaultError::Corrupt("padding of a value"));
    assert_eq!(value::unpad(&plaintext(3, 256)).unwrap(), [0; 3]);
    for (len, padded) in [(3, 512), (253, 256), (600, 256), (3, 3)] {
        assert_eq!(value::unpad(&plaintext(len, padded)), bad, "{len}");
    }
    let longest = crate::secret::MAX_VALUE;
    let of = |len| plaintext(len, value::padded_len(len));
    assert_eq!(value::unpad(&of(longest)).unwrap().len(), longest);
    assert_eq!(value::unpad(&of(longest + 1)), bad);
    for places in [&[255][..], &[254, 255], &[7]] {
        let mut dirty = plaintext(3, 256);
        for at in places {
            dirty[*at] = 1;
        }
        assert_eq!(value::unpad(&dirty), bad, "{places:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn parsers_take_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Header::parse(&bytes);
        let _ = anchor::Anchor::parse(&bytes);
        let _ = value::unpad(&bytes);
        let _ = op::check(&bytes, 1_000);
        let _ = slot::recovery::parse(&SecretValue::copy_of(&bytes));
        let _ = SubKeys::from_secret(&SecretValue::copy_of(&bytes));
        if let Some(head) = bytes.first_chunk::<FRAME_HEAD>()
            && let Ok(head) = FrameHead::parse(head)
        {
            prop_assert!(head.total_len() <= limits::MAX_FRAME);
        }
    }

    #[test]
    fn index_parsers_take_any_operation(
        ops in prop::collection::vec((0..10u8, prop::collection::vec(any::<u8>(), 0..80)), 0..6),
    ) {
        let mut index = Vec::new();
        for (code, body) in ops {
            index.push(code);
            index.extend((body.len() as u32).to_le_bytes());
            index.extend(body);
        }
        index.resize(index.len().next_multiple_of(256), 0);
        let _ = op::check(&index, 10_000);
    }

    #[test]
    fn padding_hides_small_lengths(len in 0..5_000usize) {
        let padded = value::padded_len(len);
        prop_assert!(padded >= len + 4 && padded.is_multiple_of(256));
        let mut plaintext = (len as u32).to_le_bytes().to_vec();
        plaintext.resize(4 + len, 7);
        plaintext.resize(padded, 0);
        prop_assert_eq!(value::unpad(&plaintext).unwrap().len(), len);
        if padded > len + 4 {
            plaintext[padded - 1] = 1;
            prop_assert!(value::unpad(&plaintext).is_err());
        }
    }
}
