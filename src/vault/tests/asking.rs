//! What a vault says of itself and of its records.

use super::*;
use serde_json::json;

fn names(infos: Vec<RecordInfo>) -> Vec<String> {
    let mut names: Vec<_> = infos.iter().map(|info| info.name.to_string()).collect();
    names.sort_unstable();
    names
}

#[test]
fn records_are_found_by_name_prefix_and_kind() {
    let mut world = World::new("asking");
    assert!(world.vault.is_empty());
    let oauth = Change::Put {
        name: name("x/token"),
        kind: RecordKind::OAuth,
        meta: Meta::default(),
        value: SecretValue::copy_of(b"t"),
        expect: Expect::Absent,
    };
    world
        .commit(vec![put("x/a", b"1"), put("x", b"2"), oauth])
        .unwrap();
    let vault = &world.vault;
    assert!(!vault.is_empty());
    assert_eq!(names(vault.infos()), ["x", "x/a", "x/token"]);
    assert_eq!(names(vault.infos_under("x/")), ["x/a", "x/token"]);
    assert_eq!(names(vault.infos_under("y")), [""; 0]);
    assert_eq!(names(vault.infos_of(RecordKind::OAuth)), ["x/token"]);
    assert_eq!(names(vault.infos_of(RecordKind::ApiKey)), ["x", "x/a"]);

    let token = name("x/token");
    let at = vault.newest("x/token").unwrap();
    assert_eq!(Some(at), vault.locate(&token, None));
    assert_eq!(vault.id_of(&token), Some(at.id));
    assert_eq!(vault.name_of(&at.id), Some(token));
    assert_eq!(vault.newest("y"), None);
    assert_eq!(vault.id_of(&name("y")), None);
}

/// For each live record what its operation and its value take in a file that was compacted.
fn bytes_of_records(vault: &Vault) -> u64 {
    let of = |info: &RecordInfo| {
        let meta = serde_json::to_vec(&info.meta).unwrap().len();
        let operation = op::OP_HEAD + op::PUT_FIXED + info.name.as_str().len() + meta;
        operation as u64 + u64::from(vault.locate(&info.name, None).unwrap().len)
    };
    vault.infos().iter().map(of).sum()
}

#[test]
fn usage_counts_what_is_live_and_what_came_since_the_snapshot() {
    let mut world = World::new("asking");
    let start = world.bytes.len() as u64;
    let steps: [(&[Change], usize); 5] = [
        (&[put("a", b"1"), put("long-name", &[1; 5_000])], 0),
        (&[put("a", &[2; 900])], 1),
        (&[rename("a", "other")], 2),
        (&[delete("long-name")], 3),
        (&[delete("other")], 4),
    ];
    for (frames, (changes, superseded)) in (1..).zip(steps) {
        let prepared = world.prepare(changes).unwrap();
        world.bytes.extend(&prepared.bytes);
        world.vault.apply(prepared).unwrap();
        let usage = world.vault.usage();
        assert_eq!(usage.live_bytes, bytes_of_records(&world.vault));
        assert_eq!(usage.delta_bytes, world.bytes.len() as u64 - start);
        assert_eq!((usage.delta_frames, usage.superseded), (frames, superseded));
    }
    assert_eq!(world.vault.usage().live_bytes, 0);
}

#[test]
fn compaction_waits_for_half_of_what_is_live() {
    let mut world = World::new("asking");
    let mut due = |delta: u64, live: u64| {
        world.vault.valid_end = world.vault.base_end + delta;
        world.vault.index.live_bytes = live;
        world.vault.usage().compaction_due
    };
    let least = limits::COMPACT_BYTES;
    assert_eq!(
        [due(least - 1, 0), due(least, 2 * least + 1)],
        [false, true]
    );
    assert_eq!(
        [due(3 * least, 6 * least + 2), due(3 * least, 6 * least)],
        [false, true]
    );
}

#[test]
fn the_head_that_a_file_replaced_is_known_by_its_number() {
    let mut world = World::new("asking");
    assert_eq!(world.vault.mac_at(0), None);
    world.commit(vec![put("a", b"1")]).unwrap();
    let old = world.vault.head();
    world.rewrite(Rewrite::Compact, 0).unwrap();
    let new = world.vault.head();
    assert_eq!(world.vault.mac_at(old.seq), Some(old.mac));
    assert_eq!(world.vault.mac_at(new.seq), Some(new.mac));
    assert_eq!(world.vault.mac_at(old.seq - 1), None);
    assert_eq!(world.vault.mac_at(new.seq + 1), None);
}

#[test]
fn a_note_is_a_text_and_the_outcomes_have_numbers() {
    let meta: Meta = serde_json::from_value(json!({"note": "x", "y": 1})).unwrap();
    assert_eq!(meta.note.as_deref(), Some("x"));
    assert_eq!(meta.other.keys().collect::<Vec<_>>(), ["y"]);
    let meta: Meta = serde_json::from_value(json!({"note": 1})).unwrap();
    assert_eq!((meta.note, meta.other["note"].as_u64()), (None, Some(1)));
    let outcomes = [
        Outcome::Stored,
        Outcome::Refused,
        Outcome::NotSent,
        Outcome::Settled,
    ];
    assert_eq!(outcomes.map(Outcome::code), [1, 2, 3, 4]);
}
