//! What frames may hold where, and what is left of a reading that ended in the middle.

use super::frame::{FrameBuilder, FrameKind};
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
