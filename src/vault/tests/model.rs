//! Sequences of operations against a plain map, and what single operations promise.

use super::*;
use proptest::prelude::*;
use serde_json::json;

#[derive(Clone, Debug)]
enum Step {
    Put(u8, usize),
    PutIfAbsent(u8),
    PutAtVersion(u8, u64),
    Delete(u8),
    Rename(u8, u8),
    Batch(Vec<(u8, bool)>),
    Compact(usize),
    Rekey,
    AddSlot,
    RemoveSlot,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..6u8;
    prop_oneof![
        6 => (key.clone(), prop_oneof![0..40usize, 240..260usize, 4_080..4_100usize])
            .prop_map(|(key, len)| Step::Put(key, len)),
        1 => key.clone().prop_map(Step::PutIfAbsent),
        2 => (key.clone(), 1..4u64).prop_map(|(key, version)| Step::PutAtVersion(key, version)),
        2 => key.clone().prop_map(Step::Delete),
        2 => (key.clone(), key.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => prop::collection::vec((key, any::<bool>()), 1..5).prop_map(Step::Batch),
        1 => (0..3usize).prop_map(Step::Compact),
        1 => Just(Step::Rekey),
        1 => Just(Step::AddSlot),
        1 => Just(Step::RemoveSlot),
    ]
}

type Model = BTreeMap<String, (u64, Vec<u8>)>;

fn model_put(model: &mut Model, key: &str, value: &[u8]) {
    let version = model.get(key).map_or(0, |(version, _)| *version) + 1;
    model.insert(key.to_owned(), (version, value.to_vec()));
}

fn run(world: &mut World, model: &mut Model, step: Step, serial: usize) {
    let label = |key: u8| format!("record/{key}");
    let value = |len: usize| vec![(serial % 251) as u8; len];
    match step {
        Step::Put(key, len) => {
            world.commit(vec![put(&label(key), &value(len))]).unwrap();
            model_put(model, &label(key), &value(len));
        }
        Step::PutIfAbsent(key) => put_expecting(world, model, &label(key), Expect::Absent),
        Step::PutAtVersion(key, version) => {
            put_expecting(world, model, &label(key), Expect::Version(version));
        }
        Step::Delete(key) => {
            let outcome = world.commit(vec![delete(&label(key))]);
            assert_eq!(outcome.is_ok(), model.remove(&label(key)).is_some());
        }
        Step::Rename(from, to) => {
            let (from, to) = (label(from), label(to));
            let outcome = world.commit(vec![rename(&from, &to)]);
            let allowed = model.contains_key(&from) && !model.contains_key(&to);
            assert_eq!(outcome.is_ok(), allowed, "{outcome:?}");
            if allowed && let Some((version, value)) = model.remove(&from) {
                model.insert(to, (version + 1, value));
            }
        }
        Step::Batch(items) => commit_batch(world, model, &items),
        Step::Compact(keep) => world.rewrite(Rewrite::Compact, keep).unwrap(),
        Step::Rekey => {
            let slot = NewSlot::Raw {
                secret: raw_key(),
                hint: RawKeyHint::Keyring,
            };
            world.rekey(vec![slot], 1).unwrap();
        }
        Step::AddSlot => {
            let context = SlotContext::of(world.vault.header());
            let new = NewSlot::Raw {
                secret: raw_key(),
                hint: RawKeyHint::File,
            };
            let new = new.wrap(&context, &world.root, &mut world.rng).unwrap();
            let slots = slot::add(world.vault.header().slots(), new).unwrap();
            world.rewrite(Rewrite::Slots(slots), 1).unwrap();
        }
        Step::RemoveSlot => {
            let slots = world.vault.header().slots();
            let rest = slot::remove(slots, &slots[0].id);
            assert_eq!(rest.is_ok(), slots.len() > 1);
            if let Ok(rest) = rest {
                world.rewrite(Rewrite::Slots(rest), 1).unwrap();
            }
        }
    }
}

/// Several changes in one transaction: all of them, or none.
fn commit_batch(world: &mut World, model: &mut Model, items: &[(u8, bool)]) {
    let mut next = model.clone();
    let mut allowed = true;
    let changes = items.iter().map(|(key, keep)| {
        let key = format!("record/{key}");
        if *keep {
            model_put(&mut next, &key, b"batch");
            put(&key, b"batch")
        } else {
            allowed &= next.remove(&key).is_some();
            delete(&key)
        }
    });
    let changes: Vec<_> = changes.collect();
    assert_eq!(world.commit(changes).is_ok(), allowed);
    if allowed {
        *model = next;
    }
}

fn put_expecting(world: &mut World, model: &mut Model, key: &str, expect: Expect) {
    let change = Change::Put {
        name: name(key),
        kind: RecordKind::ApiKey,
        meta: Meta::default(),
        value: SecretValue::copy_of(b"expected"),
        expect,
    };
    let found = model.get(key).map(|(version, _)| *version);
    let allowed = match expect {
        Expect::Any => true,
        Expect::Absent => found.is_none(),
        Expect::Version(version) => found == Some(version),
    };
    let outcome = world.commit(vec![change]);
    assert_eq!(outcome.is_ok(), allowed, "{outcome:?}");
    if allowed {
        model_put(model, key, b"expected");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_vault_is_a_map(steps in prop::collection::vec(step(), 1..24)) {
        let mut world = World::new("model");
        let mut model = Model::new();
        for (serial, step) in steps.into_iter().enumerate() {
            run(&mut world, &mut model, step, serial);
            prop_assert_eq!(&world.contents(), &model);
        }
        world.reopen();
        let mut other = World::new("model");
        let unlocked = slot::open_raw(
            world.vault.header(), &world.vault.header().slots()[0], &raw_key(),
        );
        other.root = unlocked.unwrap().unwrap();
        prop_assert_eq!(contents(&open(&world.bytes, &other.root).unwrap(), &world.bytes), model);
    }
}

#[test]
fn another_process_reads_on_from_where_it_stands() {
    let mut world = World::new("catch-up");
    world.commit(vec![put("a", b"1")]).unwrap();
    let mut reader = world.reopen();
    for i in 0..5 {
        world
            .commit(vec![put("a", &[i; 10]), put(&format!("b{i}"), b"x")])
            .unwrap();
    }
    let mut reading = reader.continue_from();
    loop {
        let offset = reading.next_offset();
        let rest = &world.bytes[offset as usize..];
        let Some(head) = rest.first_chunk::<FRAME_HEAD>() else {
            break;
        };
        let len = FrameHead::parse(head).unwrap().total_len();
        let step = reading.frame(offset, &rest[..len]).unwrap();
        assert_eq!(step, super::Step::Accepted { committed: true });
    }
    drop(reading);
    assert_eq!(reader.head(), world.vault.head());
    assert_eq!(contents(&reader, &world.bytes), world.contents());
}

#[test]
fn frames_of_an_open_transaction_do_not_count() {
    let mut world = World::new("open transaction");
    let large = vec![7; crate::secret::MAX_VALUE];
    let changes: Vec<_> = (0..10)
        .map(|i| put(&format!("large/{i}"), &large))
        .collect();
    let before = world.bytes.len();
    world.commit(changes).unwrap();
    assert_eq!(
        world.vault.head().seq,
        3,
        "ten values of 1 MiB take two frames"
    );
    let first = FrameHead::parse(world.bytes[before..].first_chunk().unwrap()).unwrap();
    let cut = before + first.total_len();
    for end in [cut - 1, cut, cut + 1, world.bytes.len() - 1] {
        let vault = open(&world.bytes[..end], &world.root).unwrap();
        assert_eq!((vault.len(), vault.valid_end()), (0, before as u64));
    }
    world.reopen();
}

#[test]
fn a_prepared_change_is_good_for_one_head_only() {
    let mut world = World::new("stale");
    let first = world.prepare(&[put("a", b"1")]).unwrap();
    let second = world.prepare(&[put("a", b"2")]).unwrap();
    world.vault.apply(first).unwrap();
    assert_eq!(world.vault.apply(second), Err(VaultError::Stale));
    assert_eq!(world.vault.find(&name("a")).unwrap().version, 1);
}

#[test]
fn metadata_keeps_what_it_does_not_know() {
    let mut world = World::new("metadata");
    let text = json!({"createdAt": "yesterday", "expiresAt": 5, "note": 7, "x": {"y": [1, null]}});
    let meta: Meta = serde_json::from_value(text.clone()).unwrap();
    assert_eq!((meta.created_at, meta.expires_at), (None, Some(UnixMs(5))));
    let change = |meta: Meta| Change::Put {
        name: name("a"),
        kind: RecordKind::Private(200),
        meta,
        value: SecretValue::copy_of(b"v"),
        expect: Expect::Any,
    };
    world
        .commit(vec![change(Meta {
            created_at: Some(UnixMs(3)),
            ..Meta::default()
        })])
        .unwrap();
    world
        .commit(vec![rename("a", "b"), rename("b", "a")])
        .unwrap();
    let info = world.vault.find(&name("a")).unwrap();
    assert_eq!((info.meta.created_at, info.version), (Some(UnixMs(3)), 3));
    assert_eq!(info.kind, RecordKind::Private(200));

    let mut other = meta.other.clone();
    other.shift_remove("createdAt");
    world.commit(vec![change(Meta { other, ..meta })]).unwrap();
    let info = world.reopen().find(&name("a")).unwrap();
    assert_eq!(info.meta.created_at, Some(world.now));
    assert_eq!(info.meta.other["x"], text["x"]);
    assert_eq!(info.meta.other["note"], json!(7));
}

#[test]
fn history_survives_what_should_keep_it() {
    let mut world = World::new("history");
    let oauth = |value: &[u8]| Change::Put {
        name: name("token"),
        kind: RecordKind::OAuth,
        meta: Meta::default(),
        value: SecretValue::copy_of(value),
        expect: Expect::Any,
    };
    for i in 0..15u8 {
        world.commit(vec![put("key", &[i]), oauth(&[i])]).unwrap();
    }
    world.commit(vec![rename("key", "renamed")]).unwrap();
    assert_eq!(world.vault.usage().superseded, 29);
    world.rewrite(Rewrite::Compact, KEPT_VERSIONS).unwrap();
    let versions: Vec<_> = world
        .vault
        .history(&name("renamed"))
        .iter()
        .map(|v| (v.version, v.current))
        .collect();
    let expected: Vec<_> = (6..=15).map(|v| (v, false)).chain([(16, true)]).collect();
    assert_eq!(versions, expected);
    assert_eq!(world.vault.history(&name("token")).len(), 1);
    let at = world.vault.locate(&name("renamed"), Some(9)).unwrap();
    let value = world
        .vault
        .open_value(&at, blob(&world.bytes, &at))
        .unwrap();
    assert_eq!(value.expose(), [8]);
    assert!(world.vault.locate(&name("renamed"), Some(5)).is_none());

    let slot = NewSlot::Raw {
        secret: raw_key(),
        hint: RawKeyHint::File,
    };
    world.rekey(vec![slot], 2).unwrap();
    let versions: Vec<_> = world
        .vault
        .history(&name("renamed"))
        .iter()
        .map(|v| v.version)
        .collect();
    assert_eq!(versions, [14, 15, 16]);
    let at = world.vault.locate(&name("renamed"), Some(14)).unwrap();
    assert!(world.vault.open_value(&at, blob(&world.bytes, &at)).is_ok());
    world.reopen();
    world.rewrite(Rewrite::Compact, 0).unwrap();
    assert_eq!(world.vault.usage().superseded, 0);
    world.commit(vec![put("renamed", b"on")]).unwrap();
    assert_eq!(world.reopen().find(&name("renamed")).unwrap().version, 17);
}

#[test]
fn two_records_can_exchange_names() {
    let mut world = World::new("exchange");
    world.commit(vec![put("a", b"1"), put("b", b"2")]).unwrap();
    world
        .commit(vec![rename("a", "t"), rename("b", "a"), rename("t", "b")])
        .unwrap();
    assert_eq!(world.contents()["a"].1, b"2");
    assert_eq!(world.contents()["b"].1, b"1");
    world
        .commit(vec![put("c", b"3"), rename("c", "d"), delete("a")])
        .unwrap();
    assert_eq!(world.contents().keys().collect::<Vec<_>>(), ["b", "d"]);
    world.reopen();
}

#[test]
fn an_intent_stays_open_until_it_is_cleared() {
    let mut world = World::new("intents");
    let token = SecretValue::copy_of(b"refresh-token");
    world.commit(vec![put("a", b"1"), put("b", b"1")]).unwrap();
    let intent = |record: &str, attempt: u8| Change::Intent {
        name: name(record),
        attempt: [attempt; 16],
        refresh_token: token.clone(),
        expect: Expect::Version(1),
    };
    let clear = |attempt: u8| Change::Clear {
        attempt: [attempt; 16],
        outcome: Outcome::Stored,
    };
    world.commit(vec![intent("a", 1), intent("b", 2)]).unwrap();
    world.commit(vec![put("a", b"2"), clear(1)]).unwrap();
    assert_eq!(
        world.prepare(&[clear(1)]).err(),
        Some(VaultError::IntentAbsent)
    );
    assert_eq!(
        world.prepare(&[intent("a", 3)]).err(),
        Some(VaultError::Conflict("a".into()))
    );
    world.rewrite(Rewrite::Compact, 0).unwrap();
    let open = world.reopen().open_intents()[0];
    assert_eq!(world.vault.open_intents().len(), 1);
    assert_eq!((open.attempt, open.base_version), ([2; 16], 1));
    assert_eq!(world.vault.name_of(&open.id), Some(name("b")));
    let tag = crate::crypto::derive::derive_intent_tag(world.vault.keys().anchor(), &token);
    assert_eq!(open.tag, tag);

    let slot = NewSlot::Raw {
        secret: raw_key(),
        hint: RawKeyHint::File,
    };
    world.rekey(vec![slot], 0).unwrap();
    assert_eq!(world.vault.open_intents()[0].tag, [0; 16]);
    world.commit(vec![delete("b")]).unwrap();
    assert!(
        world.reopen().open_intents().is_empty(),
        "its record is gone"
    );
}

#[test]
fn the_vaults_own_metadata_is_kept() {
    let mut world = World::new("vault metadata");
    let id = world.vault.header().slots()[0].id;
    let mut meta: VaultMeta =
        serde_json::from_value(json!({"policy": {"p": 1}, "later": true})).unwrap();
    meta.set_slot(
        &id,
        SlotNote {
            label: "desk".into(),
            ..SlotNote::default()
        },
    );
    meta.set_slot(&[9; 16], SlotNote::default());
    world.commit(vec![Change::VaultMeta(meta.clone())]).unwrap();
    assert_eq!(world.reopen().vault_meta(), meta);
    world.rewrite(Rewrite::Compact, 0).unwrap();
    meta.retain_slots([id].iter());
    assert_eq!(world.reopen().vault_meta(), meta);
    assert_eq!(meta.slot(&id).unwrap().label, "desk");
    assert!(meta.slot(&[9; 16]).is_none());
}

#[test]
fn compaction_is_due_by_size_and_by_number() {
    let mut world = World::new("due");
    assert!(!world.vault.usage().compaction_due);
    for _ in 0..3 {
        world.commit(vec![put("a", &vec![1; 80_000])]).unwrap();
    }
    assert!(
        !world.vault.usage().compaction_due,
        "{:?}",
        world.vault.usage()
    );
    world.commit(vec![put("a", &vec![1; 80_000])]).unwrap();
    assert!(world.vault.usage().compaction_due);
    world.rewrite(Rewrite::Compact, 0).unwrap();
    assert_eq!(world.vault.usage().delta_frames, 0);
    world
        .vault
        .macs
        .resize(1 + limits::COMPACT_FRAMES as usize, [0; 32]);
    assert!(world.vault.usage().compaction_due);
}

#[test]
fn compaction_works_with_sub_keys_that_were_handed_over() {
    let mut world = World::new("handover");
    world.commit(vec![put("a", b"1")]).unwrap();
    let handed_over = world.vault.keys().to_secret();
    assert_eq!(handed_over.len(), 8 + 16 + 4 + 32 + 6 * 32);
    let keys = SubKeys::from_secret(&handed_over).unwrap();
    let header = open_header(&world.bytes).unwrap();
    world.vault = Replay::read_all(header, keys, &world.bytes).unwrap();
    world.rewrite(Rewrite::Compact, 0).unwrap();
    world.reopen();
    let other = World::new("another").vault.keys().to_secret();
    let other = SubKeys::from_secret(&other).unwrap();
    assert!(
        open_header(&world.bytes)
            .unwrap()
            .verify_with(&other)
            .is_err()
    );
    let short = world.vault.keys().to_secret().slice(0..200);
    assert!(SubKeys::from_secret(&short).is_err());
}
