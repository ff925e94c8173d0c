//! One past each limit, through the code that keeps it. Limits of bytes that a reader meets are
//! also tested by the hostile vectors.

use super::limits::*;
use super::*;
use crate::secret::MAX_VALUE;
use serde_json::json;

fn put_with(meta: Meta, value: SecretValue) -> Change {
    let (kind, expect) = (RecordKind::Static, Expect::Any);
    Change::Put {
        name: name("a"),
        kind,
        meta,
        value,
        expect,
    }
}

fn meta_of(len: usize) -> Meta {
    let empty = json!({"createdAt": 1, "x": ""}).to_string().len();
    serde_json::from_value(json!({"createdAt": 1, "x": "y".repeat(len - empty)})).unwrap()
}

#[test]
fn values() {
    let mut world = World::new("limits");
    let value = |len| put_with(Meta::default(), SecretValue::build(len, |out| out.fill(9)));
    for len in [0, 1, 252, 253, 4_092, 4_093, 65_532, 65_533, MAX_VALUE] {
        world.commit(vec![value(len)]).unwrap();
        assert_eq!(world.contents()["a"].1.len(), len);
    }
    let over = world.commit(vec![value(MAX_VALUE + 1)]);
    assert_eq!(over, Err(VaultError::Limit("a value of 1 MiB")));
    assert_eq!(value::blob_len(MAX_VALUE), MAX_BLOB);
    assert_eq!(value::blob_len(0), MIN_BLOB);
    world.reopen();
}

#[test]
fn metadata() {
    let mut world = World::new("limits");
    let put = |len| put_with(meta_of(len), SecretValue::copy_of(b"v"));
    world.commit(vec![put(MAX_META)]).unwrap();
    world.reopen();
    assert_eq!(
        world.commit(vec![put(MAX_META + 1)]),
        Err(VaultError::Limit("metadata of 16 KiB"))
    );
    let vault_meta = |len: usize| {
        let empty = json!({"x": ""}).to_string().len();
        let meta = json!({"x": "y".repeat(len - empty)});
        Change::VaultMeta(serde_json::from_value(meta).unwrap())
    };
    world.commit(vec![vault_meta(MAX_VAULT_META)]).unwrap();
    world.reopen();
    assert_eq!(
        world.commit(vec![vault_meta(MAX_VAULT_META + 1)]),
        Err(VaultError::Limit("vault metadata of 64 KiB"))
    );
}

#[test]
fn frames_and_file() {
    let mut world = World::new("limits");
    let base = world.vault.header().base_seq() as usize;
    assert_eq!(base, 1);
    world.vault.macs.resize(MAX_FRAMES as usize - 1, [0; 32]);
    assert!(world.prepare(&[put("a", b"1")]).is_ok());
    world.vault.macs.resize(MAX_FRAMES as usize, [0; 32]);
    assert_eq!(
        world.prepare(&[put("a", b"1")]).err(),
        Some(VaultError::Limit("65,536 frames"))
    );

    let mut world = World::new("limits");
    let len = world.prepare(&[put("a", b"1")]).unwrap().bytes.len() as u64;
    world.vault.valid_end = MAX_FILE - len;
    assert!(world.prepare(&[put("a", b"1")]).is_ok());
    world.vault.valid_end += 1;
    assert_eq!(
        world.prepare(&[put("a", b"1")]).err(),
        Some(VaultError::Limit("a file of 4 GiB"))
    );
}

#[test]
fn a_reader_stops_at_the_limits_of_a_file() {
    let mut world = World::new("limits");
    let frame_at = |world: &mut World, macs: usize, offset: u64| {
        world.vault.macs.resize(macs, [0; 32]);
        world.vault.valid_end = offset;
        let head = world.vault.head();
        let (keys, kind) = (world.vault.keys.clone(), frame::FrameKind::Delta);
        let mut frames = frame::FrameBuilder::new(&keys, kind, head.seq + 1, head.mac);
        let mut bytes = Vec::new();
        frames.close(false, &mut world.rng, &mut bytes);
        world.vault.continue_from().frame(offset, &bytes).unwrap()
    };
    let len = 80 + 16 + 32;
    assert!(matches!(
        frame_at(&mut world, 65_535, 9),
        Step::Accepted { committed: false }
    ));
    assert!(matches!(frame_at(&mut world, 65_536, 9), Step::Tail(_)));
    assert!(matches!(
        frame_at(&mut world, 9, MAX_FILE - len),
        Step::Accepted { .. }
    ));
    assert!(matches!(
        frame_at(&mut world, 9, MAX_FILE - len + 1),
        Step::Tail(_)
    ));
}

#[test]
fn records_and_attempts() {
    assert!(index::count_is_allowed(MAX_RECORDS));
    assert!(!index::count_is_allowed(MAX_RECORDS + 1));
    let mut world = World::new("limits");
    world.commit(vec![put("a", b"1")]).unwrap();
    let intent = |attempt: u16| {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&attempt.to_le_bytes());
        let refresh_token = SecretValue::copy_of(b"t");
        let expect = Expect::Any;
        Change::Intent {
            name: name("a"),
            attempt: id,
            refresh_token,
            expect,
        }
    };
    world
        .commit((0..MAX_INTENTS as u16).map(intent).collect())
        .unwrap();
    assert_eq!(world.reopen().open_intents().len(), MAX_INTENTS);
    assert_eq!(
        world.commit(vec![intent(u16::MAX)]),
        Err(VaultError::Limit("4,096 open attempts"))
    );
}

#[test]
fn a_record_that_goes_makes_room_for_another() {
    let mut world = World::new("limits");
    world.commit(vec![put("a", b"1")]).unwrap();
    let (id, old) = world.vault.index.by_name("a").unwrap();
    let (id, shared, now) = (id.0, old.name.clone(), old.now.clone());
    let now = index::Version {
        meta: Box::default(),
        ..now
    };
    world.vault.index.records.reserve(MAX_RECORDS);
    for i in 1..MAX_RECORDS as u32 {
        let mut other = id;
        other[..4].copy_from_slice(&i.to_le_bytes());
        let record = index::Record {
            name: shared.clone(),
            now: now.clone(),
            older: Vec::new(),
        };
        world.vault.index.records.insert(RecordId(other), record);
    }
    assert_eq!(world.vault.len(), MAX_RECORDS);
    let full = Some(VaultError::Limit("1,000,000 records"));
    assert_eq!(world.prepare(&[put("b", b"1")]).err(), full);
    assert!(world.prepare(&[delete("a"), put("b", b"1")]).is_ok());
    let two = [delete("a"), put("b", b"1"), put("c", b"1")];
    assert_eq!(world.prepare(&two).err(), full);
}

#[test]
fn slots_and_header() {
    let mut world = World::new("limits");
    let context = SlotContext::of(world.vault.header());
    let mut make = |new: NewSlot| new.wrap(&context, &world.root, &mut world.rng);
    let raw = || NewSlot::Raw {
        secret: raw_key(),
        hint: RawKeyHint::File,
    };
    let mut slots = Vec::new();
    for _ in 0..MAX_SLOTS {
        slots = slot::add(&slots, make(raw()).unwrap()).unwrap();
    }
    let one_more = make(raw()).unwrap();
    assert_eq!(
        slot::add(&slots, one_more),
        Err(VaultError::SlotLimit("32 keyslots"))
    );

    let passphrase = |len: usize| NewSlot::Passphrase {
        passphrase: SecretValue::build(len, |out| out.fill(b'x')),
        keyfile: None,
        kdf: slot::KdfParams::MINIMAL,
    };
    let longest = make(passphrase(MAX_PASSPHRASE)).unwrap();
    assert_eq!(
        make(passphrase(MAX_PASSPHRASE + 1)),
        Err(VaultError::Passphrase)
    );
    assert_eq!(make(passphrase(0)), Err(VaultError::Passphrase));
    let four = vec![longest.clone(); MAX_PASSPHRASE_SLOTS];
    let limit = Err(VaultError::SlotLimit("4 passphrase keyslots"));
    assert_eq!(slot::add(&four, longest), limit);

    let age = |id: u8, len: usize| {
        let mut file = b"age-encryption.org/v1\n".to_vec();
        file.resize(len, b'x');
        NewSlot::Age { id: [id; 16], file }
    };
    assert!(make(age(1, MAX_AGE_FILE + 1)).is_err());
    let large: Vec<Slot> = (0..4)
        .map(|i| make(age(i, MAX_AGE_FILE)).unwrap())
        .collect();
    let outcome = world.rewrite(Rewrite::Slots(large), 0);
    assert_eq!(outcome, Err(VaultError::SlotLimit("header of 64 KiB")));
}

#[test]
fn a_header_of_64_kib_with_four_passphrase_slots() {
    let world = World::new("limits");
    let make = |slots: &[Slot]| {
        let fields = world.vault.header().fields();
        Header::make(fields, slots, &world.vault.keys).map(|header| header.bytes().len())
    };
    let age = |i: u8, len: usize| {
        let mut file = b"age-encryption.org/v1\n".to_vec();
        file.resize(len, b'x');
        let new = NewSlot::Age { id: [i; 16], file };
        let context = SlotContext::of(world.vault.header());
        let wrapped = new.wrap(&context, &world.root, &mut Seeded::new("age"));
        wrapped.unwrap()
    };
    let last = MAX_HEADER - MIN_HEADER - 4 * 28 - 3 * MAX_AGE_FILE;
    let of = |last| [MAX_AGE_FILE, MAX_AGE_FILE, MAX_AGE_FILE, last];
    let slots =
        |lens: [usize; 4]| -> Vec<Slot> { (1..).zip(lens).map(|(i, n)| age(i, n)).collect() };
    assert_eq!(make(&slots(of(last))), Ok(MAX_HEADER));
    let over = Err(VaultError::SlotLimit("header of 64 KiB"));
    assert_eq!(make(&slots(of(last + 1))), over);

    let passphrase = |id: u8| {
        let bytes = [&[1, 0, 0, 0, 148, 0, 0, 0][..], &[id; 16], &[0; 148]].concat();
        Slot::parse(&mut wire::Fields(&bytes)).unwrap()
    };
    let five: Vec<_> = (1..=5).map(passphrase).collect();
    assert!(make(&five[..MAX_PASSPHRASE_SLOTS]).is_ok());
    let over = VaultError::Corrupt("more than four passphrase keyslots");
    assert_eq!(make(&five), Err(over));
    // Reserved bytes, one place at a time.
    for at in [56, 63, 130, 131] {
        let mut bytes = world.vault.header().bytes().to_vec();
        bytes[at] = 1;
        let reserved = VaultError::Corrupt("reserved bytes of the header");
        assert_eq!(Header::parse(&bytes).err(), Some(reserved), "{at}");
    }
}

fn put_as(text: &str, meta: Meta) -> Change {
    Change::Put {
        name: name(text),
        kind: RecordKind::Static,
        meta,
        value: SecretValue::copy_of(b"v"),
        expect: Expect::Any,
    }
}

/// New records from `f10` on, whose operations fill an index up to this many bytes.
fn records_of(len: usize) -> Vec<Change> {
    let fixed = op::OP_HEAD + op::PUT_FIXED + "f10".len();
    let count = len / MAX_META + 2;
    let record = |i: usize| {
        let rest = if i == 0 { len % count } else { 0 };
        put_as(&format!("f{}", 10 + i), meta_of(len / count + rest - fixed))
    };
    (0..count).map(record).collect()
}

fn attempt_on(record: &str, attempt: u8) -> Change {
    Change::Intent {
        name: name(record),
        attempt: [attempt; 16],
        refresh_token: SecretValue::copy_of(b"t"),
        expect: Expect::Any,
    }
}

#[test]
fn a_frame_is_full_when_one_more_would_pass_a_target() {
    let keys = World::new("limits").vault.keys;
    let mut frames = frame::FrameBuilder::new(&keys, frame::FrameKind::Delta, 2, [0; 32]);
    let (index, values) = (FRAME_INDEX_TARGET - 10, FRAME_VALUES_TARGET - 20);
    assert!(
        !frames.is_full(usize::MAX, usize::MAX),
        "a first one always fits"
    );
    frames.index.resize(10, 0);
    frames.values.resize(20, 0);
    assert!(!frames.is_full(index, values));
    assert!(frames.is_full(index + 1, 0));
    assert!(frames.is_full(0, values + 1));
    // It is written in one piece of memory, which does not grow while the index is not sealed yet.
    let mut out = Vec::new();
    frames.close(true, &mut Seeded::new("frame"), &mut out);
    assert_eq!(out.capacity(), out.len());
}

#[test]
fn a_transaction_goes_on_in_another_frame_where_one_is_full() {
    let mut world = World::new("limits");
    world
        .commit(vec![put("a", b"v"), attempt_on("a", 1)])
        .unwrap();
    let vault_meta = |len: usize| {
        let json = json!({"x": "y".repeat(len - json!({"x": ""}).to_string().len())});
        Change::VaultMeta(serde_json::from_value(json).unwrap())
    };
    let largest = op::OP_HEAD + MAX_VAULT_META;
    let count = FRAME_INDEX_TARGET / largest;
    let mut changes: Vec<_> = (0..count).map(|_| vault_meta(MAX_VAULT_META)).collect();
    let rest = FRAME_INDEX_TARGET - count * largest;
    let (attempt, outcome) = ([1; 16], Outcome::Stored);
    let operations = [
        (46 + 100, put_as("a", meta_of(100))),
        (5 + 24, delete("a")),
        (5 + 200, vault_meta(200)),
        (5 + 64, attempt_on("a", 2)),
        (5 + 17, Change::Clear { attempt, outcome }),
    ];
    let mut frames = |changes: &[Change]| {
        let prepared = world.prepare(changes).unwrap();
        prepared.head.seq - prepared.builds_on.seq
    };
    for (len, operation) in operations {
        changes.truncate(count);
        changes.extend([vault_meta(rest - len - op::OP_HEAD), operation]);
        assert_eq!(frames(&changes), 1, "{len}");
    }
    changes[count + 1] = put_as("a", meta_of(100));
    changes[count] = vault_meta(rest - (46 + 100) - op::OP_HEAD + 1);
    assert_eq!(frames(&changes), 2);
}

#[test]
fn a_snapshot_goes_on_in_another_frame_where_one_is_full() {
    let mut world = World::new("limits");
    let ancestor = op::OP_HEAD + 44;
    world
        .commit(records_of(FRAME_INDEX_TARGET - ancestor - 100))
        .unwrap();
    let meta = world.vault.find(&name("f10")).unwrap().meta;
    let len = serde_json::to_vec(&meta).unwrap().len();
    let mut frames_with = |more: usize, change: Option<Change>| {
        let longer = put_as("f10", meta_of(len + more));
        world
            .commit(change.into_iter().chain([longer]).collect())
            .unwrap();
        world.rewrite(Rewrite::Compact, 0).unwrap();
        world.vault.macs.len()
    };
    assert_eq!([frames_with(100, None), frames_with(101, None)], [1, 2]);
    // The last operation is that of an attempt.
    let begun = Some(attempt_on("f10", 1));
    let rest = 100 - (5 + 64);
    assert_eq!(
        [frames_with(rest, begun), frames_with(rest + 1, None)],
        [1, 2]
    );
}

#[test]
fn a_snapshot_ends_at_4_gib() {
    let world = World::new("limits");
    let end = |len: u64| {
        let mut sink = snapshot::Sink {
            frames: frame::FrameBuilder::new(
                world.vault.keys(),
                frame::FrameKind::Snapshot,
                1,
                [0; 32],
            ),
            buffer: Vec::new(),
            out: &mut |_| Ok::<(), VaultError>(()),
            head: world.vault.head(),
            len,
        };
        sink.close(true, &mut Seeded::new("frame"))
            .map(|()| sink.len)
    };
    let most = MAX_FILE - (80 + 16 + 32);
    assert_eq!(end(most), Ok(MAX_FILE));
    assert_eq!(end(most + 1), Err(VaultError::Limit("a file of 4 GiB")));
}

#[test]
fn the_frame_that_a_reader_must_hold() {
    assert_eq!(MAX_FRAME, 80 + MAX_INDEX + 16 + MAX_VALUES + 32);
    const { assert!(FRAME_INDEX_TARGET + MAX_META + MAX_NAME + MAX_VAULT_META < MAX_INDEX) };
    const { assert!(FRAME_VALUES_TARGET + MAX_BLOB < MAX_VALUES) };
}

#[test]
fn values_are_padded_in_steps_that_grow() {
    let steps = [
        (0, 256),
        (252, 256),
        (253, 512),
        (4_092, 4_096),
        (4_093, 5_120),
        (5_116, 5_120),
        (65_532, 65_536),
        (65_533, 69_632),
        (69_628, 69_632),
        (69_629, 73_728),
    ];
    for (payload, padded) in steps {
        assert_eq!(value::padded_len(payload), padded, "{payload}");
    }
}

#[test]
fn the_cost_of_a_passphrase_slot() {
    use slot::{KdfLimit, KdfParams};
    let default = KdfLimit::DEFAULT;
    let rule = |m_kib, t, p, limit: &KdfLimit| match (KdfParams { m_kib, t, p }).check(limit) {
        Ok(()) => "",
        Err(VaultError::KdfLimit { rule, .. }) => rule,
        Err(other) => panic!("{other}"),
    };
    let least = KdfParams::MIN_M_KIB;
    for (t, p) in [(1, 1), (16, 1), (1, 16), (16, 16)] {
        assert_eq!(rule(least, t, p, &default), "", "{t} {p}");
    }
    for t in [0, 17] {
        assert_eq!(rule(least, t, 1, &default), "there are 1 to 16 passes");
    }
    for p in [0, 17] {
        assert_eq!(rule(least, 1, p, &default), "there are 1 to 16 lanes");
    }
    assert_eq!(rule(least - 1, 1, 1, &default), "19 MiB is the least");

    let most = 2 << 20;
    assert_eq!(rule(most, 3, 1, &default), "");
    let too_much = "2 GiB is the most, unless --kdf-limit allows more";
    assert_eq!(rule(most + 1, 1, 1, &default), too_much);
    let too_long = "memory times passes is at most 6 GiB, unless --kdf-limit allows more";
    assert_eq!(rule(most, 4, 1, &default), too_long);
    assert_eq!(rule((6 << 20) / 4, 4, 1, &default), "");
    assert_eq!(rule((6 << 20) / 4 + 1, 4, 1, &default), too_long);

    let available = KdfLimit {
        available_kib: Some(2 * u64::from(least)),
        ..default
    };
    assert_eq!(rule(least, 1, 1, &available), "");
    let half = "that is over half of the memory that is available";
    assert_eq!(rule(least + 1, 1, 1, &available), half);

    let raised = KdfLimit::raised_to(4_096);
    assert_eq!((raised.max_m_kib, raised.max_m_t_kib), (4 << 20, 12 << 20));
    assert_eq!(raised.available_kib, None);
    assert_eq!(KdfLimit::raised_to(1), default);
    assert_eq!(KdfLimit::raised_to(u32::MAX).max_m_kib, u32::MAX);
    let error = KdfParams {
        m_kib: 1_025,
        t: 2,
        p: 3,
    }
    .check(&default);
    let shown = error.unwrap_err().to_string();
    assert!(shown.contains("2 MiB"), "{shown}");
}
