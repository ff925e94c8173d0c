//! Vault files that every version has to open.

use super::raw::{RawFrame, blob_of, file_of, raw_op, raw_put};
use super::*;
use crate::vault::anchor::Anchor;
use crate::vault::slot::{KdfParams, age_plaintext};
use secrecy::ExposeSecret;

pub(super) fn collect(all: &mut Collection) {
    each_slot_kind(all);
    other_slots(all);
    tails(all);
    histories(all);
    intents(all);
    by_hand(all);
}

fn raw_slot() -> NewSlot {
    NewSlot::Raw {
        secret: raw_key(),
        hint: RawKeyHint::File,
    }
}

fn with_raw() -> Value {
    json!({"rawKey": "raw.key"})
}

/// A vault with one slot; records of every kind.
fn world_with(seed: &'static str, make: impl FnOnce(&SlotContext, &RootKey) -> NewSlot) -> World {
    let mut rng = Seeded::new(seed);
    let (vault_id, salt, root) = (rng.bytes(), rng.bytes(), rng.root());
    let context = SlotContext { vault_id, epoch: 1 };
    let slot = make(&context, &root)
        .wrap(&context, &root, &mut rng)
        .unwrap();
    let mut world = World::with_slots(rng, vault_id, salt, root, vec![slot]);
    let kinds = [
        RecordKind::Static,
        RecordKind::ApiKey,
        RecordKind::OAuth,
        RecordKind::ClientCredential,
        RecordKind::File,
        RecordKind::KeyPair,
        RecordKind::Private(128),
        RecordKind::Private(255),
    ];
    let changes = kinds.map(|kind| Change::Put {
        name: name(&format!("kind/{}", kind.code())),
        kind,
        meta: Meta {
            note: Some(format!("{seed} ✓")),
            ..Meta::default()
        },
        value: SecretValue::copy_of(format!("value of {seed} {}", kind.code()).as_bytes()),
        expect: Expect::Absent,
    });
    world.commit(changes.into()).unwrap();
    world
}

fn each_slot_kind(all: &mut Collection) {
    let passphrase = |keyfile: Option<SecretValue>| NewSlot::Passphrase {
        passphrase: SecretValue::copy_of(PASSPHRASE.as_bytes()),
        keyfile,
        kdf: KdfParams::MINIMAL,
    };
    let mut add = |file: &str, why: &str, open: Value, world: World| {
        all.good(file, why, open, world.bytes.clone(), &world.vault);
    };
    let world = world_with("passphrase", |_, _| passphrase(None));
    let open = json!({"passphrase": "passphrase.txt"});
    add("passphrase.reseal", "a passphrase slot", open, world);

    let key = SecretValue::copy_of(&[0x17; 32]);
    let world = world_with("passphrase and key file", |_, _| passphrase(Some(key)));
    let open = json!({"passphrase": "passphrase.txt", "keyFile": "key-file.key"});
    add(
        "passphrase-key-file.reseal",
        "a passphrase slot that needs a key file",
        open,
        world,
    );

    let world = world_with("raw key", |_, _| raw_slot());
    add("raw-key.reseal", "a raw-key slot", with_raw(), world);

    let recovery = NewSlot::Raw {
        secret: recovery_code(),
        hint: RawKeyHint::RecoveryCode,
    };
    let world = world_with("recovery code", |_, _| recovery);
    let open = json!({"recoveryCode": "recovery-code.txt"});
    add("recovery-code.reseal", "a recovery-code slot", open, world);

    let world = world_with("age", |context, root| {
        let id = [0xa6; 16];
        NewSlot::Age {
            id,
            file: age_file(&age_plaintext(context, &id, root)),
        }
    });
    let open = json!({"identity": IDENTITY});
    add("age.reseal", "an age slot", open, world);
}

/// The checked-in age file. Age is not deterministic, so it is made once, with the identity that
/// is checked in too; delete both to make new ones.
fn age_file(plaintext: &SecretValue) -> Vec<u8> {
    let (file, identity) = (folder().join(AGE_FILE), folder().join(IDENTITY));
    if is_blessed() && !file.exists() {
        let fresh = age::x25519::Identity::generate();
        std::fs::write(identity, format!("{}\n", fresh.to_string().expose_secret())).unwrap();
        let sealed = age::encrypt(&fresh.to_public(), plaintext.expose()).unwrap();
        std::fs::write(&file, sealed).unwrap();
    }
    std::fs::read(file).unwrap()
}

fn other_slots(all: &mut Collection) {
    let mut world = world_with("other slots", |_, _| raw_slot());
    let mut slots = world.vault.header().slots().to_vec();
    for (code, body) in [
        (9u16, b"a later kind".as_slice()),
        (4, b"shares"),
        (0xffff, b""),
    ] {
        let mut bytes = [code.to_le_bytes(), [0xff, 0xff]].concat();
        bytes.extend((body.len() as u32).to_le_bytes());
        bytes.extend([code as u8; 16]);
        bytes.extend(body);
        slots.insert(0, Slot::parse(&mut wire::Fields(&bytes)).unwrap());
    }
    world.rewrite(Rewrite::Slots(slots), 0).unwrap();
    let why = "slots of unknown and reserved kinds, skipped and kept";
    all.good(
        "other-slots.reseal",
        why,
        with_raw(),
        world.bytes.clone(),
        &world.vault,
    );
}

fn tails(all: &mut Collection) {
    let mut world = world_with("tails", |_, _| raw_slot());
    let next = world
        .prepare(&[put("kind/1", b"never committed")])
        .unwrap()
        .bytes;
    let torn = [world.bytes.as_slice(), &next[..next.len() - 1]].concat();
    all.good(
        "torn-tail.reseal",
        "a frame cut off by one byte",
        with_raw(),
        torn,
        &world.vault,
    );
    let zeros = [world.bytes.as_slice(), &[0; 512]].concat();
    all.good(
        "zero-tail.reseal",
        "zeros behind the last frame",
        with_raw(),
        zeros,
        &world.vault,
    );

    let head = world.vault.head();
    let keys = world.vault.keys.clone();
    let delta = frame::FrameKind::Delta;
    let mut frames = frame::FrameBuilder::new(&keys, delta, head.seq + 1, head.mac);
    op::write_delete(&mut frames.index, &world.vault.values()[0].id, 2);
    let mut open = world.bytes.clone();
    frames.close(false, &mut world.rng, &mut open);
    let why = "a whole frame of a transaction that has no COMMIT";
    all.good(
        "open-transaction.reseal",
        why,
        with_raw(),
        open,
        &world.vault,
    );
}

fn histories(all: &mut Collection) {
    let mut world = world_with("history", |_, _| raw_slot());
    let older = world.bytes.clone();
    world
        .commit(vec![put("kind/1", b"second"), put("kind/2", b"second")])
        .unwrap();
    world
        .commit(vec![put("kind/1", b"third"), rename("kind/2", "renamed")])
        .unwrap();
    world
        .commit(vec![delete("kind/3"), rename("renamed", "kind/3")])
        .unwrap();
    let id = world.vault.header().slots()[0].id;
    let mut meta = VaultMeta::default();
    meta.other.insert("later".into(), json!([1, {"x": null}]));
    let note = SlotNote {
        label: "desk".into(),
        created_at: Some(UnixMs(5)),
        ..SlotNote::default()
    };
    meta.set_slot(&id, note);
    world.commit(vec![Change::VaultMeta(meta)]).unwrap();
    let why = "versions, a rename, a deletion, a name used again, vault metadata";
    all.good(
        "history.reseal",
        why,
        with_raw(),
        world.bytes.clone(),
        &world.vault,
    );
    anchors(all, &mut world, older);

    world.rewrite(Rewrite::Compact, 2).unwrap();
    let why = "compacted, with superseded versions kept";
    all.good(
        "compacted.reseal",
        why,
        with_raw(),
        world.bytes.clone(),
        &world.vault,
    );
    world.commit(vec![put("kind/1", b"after")]).unwrap();
    world.rekey(vec![raw_slot()], 1).unwrap();
    world.commit(vec![put("new", b"in epoch 2")]).unwrap();
    let why = "the second epoch: another root key, everything sealed again";
    all.good(
        "two-epochs.reseal",
        why,
        with_raw(),
        world.bytes.clone(),
        &world.vault,
    );
}

fn intents(all: &mut Collection) {
    let intent = |record: &str, attempt: u8| Change::Intent {
        name: name(record),
        attempt: [attempt; 16],
        refresh_token: SecretValue::copy_of(b"refresh-token"),
        expect: Expect::Any,
    };
    let mut world = world_with("intents", |_, _| raw_slot());
    world.commit(vec![intent("kind/3", 1)]).unwrap();
    world.commit(vec![intent("kind/4", 2)]).unwrap();
    let clear = Change::Clear {
        attempt: [1; 16],
        outcome: Outcome::Stored,
    };
    world
        .commit(vec![put("kind/3", b"rotated"), clear])
        .unwrap();
    let why = "two attempts, one of them still open";
    all.good(
        "intents.reseal",
        why,
        with_raw(),
        world.bytes.clone(),
        &world.vault,
    );
}

/// Anchors beside `history.reseal`: of its head, of an older head, of another history.
fn anchors(all: &mut Collection, world: &mut World, older: Vec<u8>) {
    let mut add = |file: &str, anchor: &str, outcome: &str| {
        all.anchors
            .push(json!({"file": file, "anchor": anchor, "outcome": outcome}));
    };
    add("history.reseal", "head.anchor", "same");
    add("history.reseal", "older.anchor", "advance");
    add("history-older.reseal", "head.anchor", "vault.rollback");
    add("history.reseal", "fork.anchor", "vault.fork");
    add("history.reseal", "damaged.anchor", "damaged");
    let (bytes, now) = (world.bytes.clone(), UnixMs(1_790_000_000_000));
    let head = Anchor::of(&world.vault, now).encode();
    let mut damaged = head;
    damaged[119] ^= 1;
    world.vault = open(&older, &world.root).unwrap();
    world.bytes = older.clone();
    let before = Anchor::of(&world.vault, now).encode();
    world
        .commit(vec![put("kind/1", b"another history")])
        .unwrap();
    let fork = Anchor::of(&world.vault, now).encode();
    world.vault = open(&bytes, &world.root).unwrap();
    world.bytes = bytes;
    for (file, bytes) in [
        ("head", head),
        ("older", before),
        ("fork", fork),
        ("damaged", damaged),
    ] {
        all.files.insert(format!("{file}.anchor"), bytes.to_vec());
    }
    all.files.insert("history-older.reseal".into(), older);
}

/// Files that our own writer would not make, but that follow the rules.
fn by_hand(all: &mut Collection) {
    let world = World::new("by hand");
    let (keys, root) = (world.vault.keys(), &world.root);
    let mut rng = Seeded::new("by hand, values");
    let id = |n: u8| [n; 16];
    let first = blob_of(keys, id(1), 7, b"first", &mut rng);
    let second = blob_of(keys, id(2), 1, b"second", &mut rng);
    let values = [second.as_slice(), b"a gap", &first].concat();
    let (second_at, first_at) = (0, second.len() as u32 + 5);
    let mut snapshot = raw_op(4, &[0; 44]);
    snapshot.extend(raw_op(0x80, b"an operation of a later version"));
    let meta = br#"{"note":"kept","later":{"x":[1,2.5,null]}}"#;
    snapshot.extend(raw_put(
        id(1),
        7,
        1,
        b"first",
        meta,
        (first_at, first.len() as u32),
    ));
    let utf8 = "café au lait".as_bytes();
    snapshot.extend(raw_put(
        id(2),
        1,
        1,
        utf8,
        b"{}",
        (second_at, second.len() as u32),
    ));
    snapshot.extend(raw_op(0xff, b""));
    let third = blob_of(keys, id(3), 1, b"third", &mut rng);
    let at = (0, third.len() as u32);
    let opening = raw_put(id(3), 1, 2, b"third", b"{}", at);
    let closing = raw_op(0x81, b"nothing that is known");
    let frames = [
        RawFrame {
            index: snapshot,
            values,
            ..RawFrame::snapshot()
        },
        RawFrame {
            flags: 0,
            index: opening,
            values: third,
            ..RawFrame::delta()
        },
        RawFrame {
            index: closing,
            ..RawFrame::delta()
        },
    ];
    let ignorable_flag = |header: &mut Vec<u8>| header[38] = 1;
    let bytes = file_of(&world, ignorable_flag, &frames, &mut rng);
    let vault = open(&bytes, root).unwrap();
    let why = "values out of order with a gap, operations and flags that may be ignored, a name \
               that is no record name (kept, not shown), a transaction of two frames";
    all.good("by-hand.reseal", why, with_raw(), bytes, &vault);
}
