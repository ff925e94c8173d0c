//! What frames may hold where, and what is left of a reading that ended in the middle.

use super::frame::{FrameBuilder, FrameKind};
use super::limits::*;
use super::*;

/// The vault of one snapshot frame with this index, behind a header that counts from `base_seq`.
fn snapshot_of(base_seq: u64, write: impl FnOnce(&mut Vec<u8>)) -> Result<Vault, VaultError> {
    let mut world = World::new("snapshot");
    let keys = world.vault.keys.clone();
    let fields = header::HeaderFields {
        base_seq,
        ..world.vault.header.fields()
    };
    let header = Header::make(fields, world.vault.header.slots(), &keys).unwrap();
    let mut bytes = header.bytes().to_vec();
    let mut frames = FrameBuilder::new(&keys, FrameKind::Snapshot, base_seq, header.mac());
    write(&mut frames.index);
    frames.values.resize(2 * MIN_BLOB, 0);
    frames.close(true, &mut world.rng, &mut bytes);
    open(&bytes, &world.root)
}

#[test]
fn a_vault_begins_with_its_ancestor_which_is_older_and_the_only_one() {
    let ancestor = |index: &mut Vec<u8>, seq| op::write_ancestor(index, seq, &[3; 32], 1);
    let vault = snapshot_of(9, |index| ancestor(index, 8)).unwrap();
    let (head, epoch) = vault.ancestor.unwrap();
    assert_eq!((head.seq, head.mac, epoch), (8, [3; 32], 1));
    let number = Some(VaultError::Corrupt("number of the ancestor"));
    assert_eq!(snapshot_of(9, |index| ancestor(index, 9)).err(), number);
    let missing = Some(VaultError::Corrupt("the ancestor is missing"));
    assert_eq!(snapshot_of(9, |_| {}).err(), missing);
    let other_first = snapshot_of(9, |index| {
        op::write_vault(index, b"{}");
        ancestor(index, 8);
    });
    assert_eq!(other_first.err(), missing);
    let second = snapshot_of(9, |index| {
        ancestor(index, 8);
        ancestor(index, 8);
    });
    let twice = Some(VaultError::Corrupt("a second ancestor"));
    assert_eq!(second.err(), twice);
}

#[test]
fn a_snapshot_deletes_nothing() {
    let bad = Some(VaultError::Corrupt("a deletion in a snapshot"));
    let deleted = snapshot_of(1, |index| {
        op::write_ancestor(index, 0, &[0; 32], 0);
        op::write_delete(index, &RecordId([1; 16]), 1);
    });
    assert_eq!(deleted.err(), bad);
    let cleared = snapshot_of(1, |index| {
        op::write_ancestor(index, 0, &[0; 32], 0);
        op::write_clear(index, &[1; 16], 1);
    });
    assert_eq!(cleared.err(), bad);
}

#[test]
fn frames_of_a_transaction_that_was_not_read_to_its_end_are_read_again() {
    let mut world = World::new("half");
    let head = world.vault.head();
    let keys = world.vault.keys.clone();
    let mut frames = FrameBuilder::new(&keys, FrameKind::Delta, head.seq + 1, head.mac);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    op::write_vault(&mut frames.index, b"{\"x\":1}");
    frames.close(false, &mut world.rng, &mut first);
    frames.close(true, &mut world.rng, &mut second);

    let start = world.vault.valid_end();
    let mut reading = world.vault.continue_from();
    let step = reading.frame(start, &first).unwrap();
    assert_eq!(step, Step::Accepted { committed: false });
    assert_eq!(reading.next_offset(), start + first.len() as u64);
    drop(reading);
    assert_eq!((world.vault.head(), world.vault.valid_end()), (head, start));
    assert_eq!(world.vault.pending.bytes, 0);
    assert_eq!(world.vault.scratch.capacity(), 0);

    let mut reading = world.vault.continue_from();
    let out_of_order = reading.frame(start + 1, &first);
    assert_eq!(
        out_of_order,
        Err(VaultError::Bug("frames are read in order"))
    );
    for (bytes, committed) in [(&first, false), (&second, true)] {
        let offset = reading.next_offset();
        let step = reading.frame(offset, bytes).unwrap();
        assert_eq!(step, Step::Accepted { committed });
    }
    drop(reading);
    assert_eq!(world.vault.head().seq, head.seq + 2);
}

#[test]
fn the_head_of_a_frame_keeps_to_the_limits_and_has_no_unknown_bits() {
    let head = |code: u8, flags: u8, reserved: u8, index: usize, values: usize| {
        let mut bytes = [0; FRAME_HEAD];
        bytes[..8].copy_from_slice(&[b'F', b'R', b'A', b'M', code, flags, reserved, 0]);
        bytes[8..16].copy_from_slice(&77u64.to_le_bytes());
        bytes[16..20].copy_from_slice(&(index as u32).to_le_bytes());
        bytes[20..24].copy_from_slice(&(values as u32).to_le_bytes());
        bytes
    };
    let bad = Err(VaultError::Corrupt("head of a frame"));
    for (index, values) in [(16, 0), (MAX_INDEX + 16, MAX_VALUES)] {
        let head = FrameHead::parse(&head(1, 1, 0, index, values)).unwrap();
        assert_eq!(head.seq(), 77);
        assert_eq!(head.total_len(), FRAME_HEAD + index + values + 32);
    }
    for (index, values) in [(15, 0), (MAX_INDEX + 17, 0), (16, MAX_VALUES + 1)] {
        assert_eq!(FrameHead::parse(&head(1, 1, 0, index, values)), bad);
    }
    let mut other = head(1, 1, 0, 16, 0);
    other[3] = b'N';
    assert_eq!(FrameHead::parse(&other), bad);

    let kind = |code, flags, reserved| {
        let head = FrameHead::parse(&head(code, flags, reserved, 16, 0)).unwrap();
        head.kind()
    };
    assert_eq!(kind(1, 1, 0), Ok((FrameKind::Snapshot, true)));
    assert_eq!(kind(2, 0, 0), Ok((FrameKind::Delta, false)));
    let unknown = Err(VaultError::Corrupt("reserved bits of a frame"));
    for (flags, reserved) in [(2, 0), (3, 0), (1, 1), (0, 1)] {
        assert_eq!(kind(1, flags, reserved), unknown, "{flags} {reserved}");
    }
    for code in [0, 3] {
        assert_eq!(kind(code, 1, 0), Err(VaultError::Newer("a type of frame")));
    }
}

/// A snapshot that starts as it must and goes on with versions of one record.
fn snapshot_with(
    versions: &[u64],
    more: impl FnOnce(&mut Vec<u8>, RecordId),
) -> Result<Vault, VaultError> {
    let id = RecordId([1; 16]);
    snapshot_of(1, |index| {
        op::write_ancestor(index, 0, &[0; 32], 0);
        for (i, version) in versions.iter().enumerate() {
            let put = op::Put {
                id,
                version: *version,
                kind: RecordKind::Static,
                name: "a",
                meta: b"{}",
                value_at: (i * MIN_BLOB) as u32,
                value_len: MIN_BLOB as u32,
            };
            op::write_put(index, &put);
        }
        more(index, id);
    })
}

#[test]
fn versions_in_a_snapshot_start_anywhere_and_go_up() {
    let of = |versions: &[u64]| snapshot_with(versions, |_, _| {}).map(|vault| vault.len());
    for good in [&[1][..], &[7], &[1, 2], &[3, 9]] {
        assert_eq!(of(good), Ok(1), "{good:?}");
    }
    let first = Err(VaultError::Corrupt("first version of a record"));
    assert_eq!(of(&[0]), first);
    let order = Err(VaultError::Corrupt("order of a record's versions"));
    assert_eq!(of(&[2, 2]), order);
    assert_eq!(of(&[2, 1]), order);
}

#[test]
fn an_open_attempt_is_one_on_a_version_that_there_was() {
    let open = |attempts: &[(u64, u16)]| {
        let vault = snapshot_with(&[3], |index, id| {
            for (base_version, number) in attempts {
                let mut attempt = [0; 16];
                attempt[..2].copy_from_slice(&number.to_le_bytes());
                let intent = Intent {
                    id,
                    base_version: *base_version,
                    attempt,
                    began_at: UnixMs(1),
                    tag: [2; 16],
                };
                op::write_intent(index, &intent);
            }
        });
        vault.map(|vault| vault.open_intents().len())
    };
    assert_eq!(open(&[(3, 1), (2, 2)]), Ok(2));
    let later = VaultError::Corrupt("an attempt on a record that is not there");
    assert_eq!(open(&[(4, 1)]), Err(later));
    let taken = Err(VaultError::Corrupt("open attempts"));
    assert_eq!(open(&[(3, 1), (3, 1)]), taken);
    let many: Vec<_> = (0..=MAX_INTENTS as u16).map(|i| (3, i)).collect();
    assert_eq!(open(&many[1..]), Ok(MAX_INTENTS));
    assert_eq!(open(&many), taken);
}
