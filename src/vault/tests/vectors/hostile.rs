//! Vault files that every version has to refuse, each wrong in one place only: MACs, tags and
//! chains are right, as if someone with the key had made them, unless they are what is wrong.

use super::raw::{RawFrame, blob_of, file_of, raw_op, raw_put};
use super::*;
use crate::vault::slot::KdfParams;

const CORRUPT: &str = "vault.corrupt";
const NEWER: &str = "vault.newer";

pub(super) fn collect(all: &mut Collection) {
    let mut maker = Maker::new(all);
    maker.headers();
    maker.slot_tables();
    maker.slot_bodies();
    maker.keys();
    maker.passphrase_costs();
    maker.frames();
    maker.first_frames();
    maker.records();
    maker.put_fields();
    maker.operations();
}

struct Maker<'a> {
    all: &'a mut Collection,
    world: World,
    rng: Seeded,
    open: Value,
    blob: Vec<u8>,
}

/// Where the slots start, and how long the raw-key slot there is.
const SLOTS: usize = 132;
const RAW_SLOT: usize = 24 + 8 + 104;

const ID: [u8; 16] = [1; 16];

fn ancestor() -> Vec<u8> {
    raw_op(4, &[0; 44])
}

impl<'a> Maker<'a> {
    fn new(all: &'a mut Collection) -> Self {
        let world = World::new("hostile");
        let mut rng = Seeded::new("hostile, frames");
        let blob = blob_of(world.vault.keys(), ID, 1, b"value", &mut rng);
        Self {
            all,
            world,
            rng,
            open: json!({"rawKey": "raw.key"}),
            blob,
        }
    }

    fn at(&self) -> (u32, u32) {
        (0, self.blob.len() as u32)
    }

    /// A good snapshot: an ancestor and one record.
    fn snapshot(&self) -> RawFrame {
        let put = raw_put(ID, 1, 1, b"a", b"{}", self.at());
        let index = [ancestor(), put].concat();
        RawFrame {
            index,
            values: self.blob.clone(),
            ..RawFrame::snapshot()
        }
    }

    fn header(&mut self, name: &str, error: &str, why: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let frames = [self.snapshot()];
        let bytes = file_of(&self.world, change, &frames, &mut self.rng);
        self.all.bad(name, error, why, &self.open, bytes);
    }

    fn chain(&mut self, name: &str, error: &str, why: &str, frames: &[RawFrame]) {
        let bytes = file_of(&self.world, |_| {}, frames, &mut self.rng);
        self.all.bad(name, error, why, &self.open, bytes);
    }

    /// A snapshot with this operation behind the good ones.
    fn in_snapshot(&mut self, name: &str, error: &str, why: &str, op: Vec<u8>) {
        let mut frame = self.snapshot();
        frame.index.extend(op);
        self.chain(name, error, why, &[frame]);
    }

    /// A good snapshot and a delta of these operations.
    fn in_delta(&mut self, name: &str, error: &str, why: &str, ops: Vec<u8>) {
        let values = self.blob.clone();
        let delta = RawFrame {
            index: ops,
            values,
            ..RawFrame::delta()
        };
        self.chain(name, error, why, &[self.snapshot(), delta]);
    }

    fn headers(&mut self) {
        self.header("magic", CORRUPT, "another magic", |h| h[0] = 0x88);
        self.header("major-0", CORRUPT, "major 0", |h| h[8] = 0);
        self.header("major-2", NEWER, "major 2", |h| h[8] = 2);
        self.header("suite-0", CORRUPT, "suite 0", |h| h[10] = 0);
        self.header("suite-2", NEWER, "suite 2", |h| h[10] = 2);
        let set_len = |h: &mut Vec<u8>, len: u32| h[12..16].copy_from_slice(&len.to_le_bytes());
        self.header("header-small", CORRUPT, "H of 163", |h| set_len(h, 163));
        self.header("header-large", CORRUPT, "H of 65,537", |h| {
            set_len(h, 65_537)
        });
        self.header("header-past-end", CORRUPT, "H past the file's end", |h| {
            set_len(h, 65_536)
        });
        self.header("epoch-0", CORRUPT, "epoch 0", |h| h[32..36].fill(0));
        self.header("critical-flag", NEWER, "an unknown critical flag", |h| {
            h[37] = 0x80
        });
        self.header("base-seq-0", CORRUPT, "first frame number 0", |h| {
            h[48..56].fill(0)
        });
        self.header("reserved-56", CORRUPT, "reserved bytes at 56", |h| {
            h[56] = 1
        });
        self.header("reserved-63", CORRUPT, "reserved bytes at 63", |h| {
            h[63] = 1
        });
        self.header("reserved-130", CORRUPT, "reserved bytes at 130", |h| {
            h[130] = 1
        });
        let short = self.world.bytes[..100].to_vec();
        self.all.bad(
            "header-cut",
            CORRUPT,
            "a file of 100 bytes",
            &self.open,
            short,
        );
        self.all
            .bad("empty", CORRUPT, "an empty file", &self.open, Vec::new());
    }

    fn slot_tables(&mut self) {
        let slot = self.world.vault.header().bytes()[SLOTS..SLOTS + RAW_SLOT].to_vec();
        let set = |h: &mut Vec<u8>, slots: &[Vec<u8>]| {
            h.splice(SLOTS..h.len() - 32, slots.concat());
            let len = h.len() as u32;
            h[12..16].copy_from_slice(&len.to_le_bytes());
            h[128..130].copy_from_slice(&(slots.len() as u16).to_le_bytes());
        };
        let numbered = |n: u8| {
            let mut slot = slot.clone();
            slot[8] = n;
            slot
        };
        self.header("no-slot", CORRUPT, "no slot", |h| set(h, &[]));
        let many: Vec<_> = (0..33).map(numbered).collect();
        self.header("slots-33", CORRUPT, "33 slots", |h| set(h, &many));
        let twins = [slot.clone(), slot.clone()];
        self.header("slot-twins", CORRUPT, "two slots with one id", |h| {
            set(h, &twins)
        });
        self.header(
            "slot-count-less",
            CORRUPT,
            "bytes behind the last slot",
            |h| {
                set(h, &[numbered(1), numbered(2)]);
                h[128] = 1;
            },
        );
        self.header(
            "slot-count-more",
            CORRUPT,
            "fewer slots than announced",
            |h| h[128] = 2,
        );
        let mut over = [[9, 0, 0, 0], 16_641u32.to_le_bytes()].concat();
        over.resize(24 + 16_641, 7);
        let over = [numbered(1), over];
        self.header("slot-body-large", CORRUPT, "a slot body of 16,641", |h| {
            set(h, &over)
        });
        let mut passphrase = [[1, 0, 0, 0], 148u32.to_le_bytes()].concat();
        passphrase.resize(24 + 148, 0);
        for (at, cost) in [19_456u32, 2, 1].into_iter().enumerate() {
            passphrase[24 + 4 * at..][..4].copy_from_slice(&cost.to_le_bytes());
        }
        let five: Vec<_> = (0..5u8)
            .map(|n| {
                let mut slot = passphrase.clone();
                slot[8] = n;
                slot
            })
            .collect();
        self.header("passphrases-5", CORRUPT, "five passphrase slots", |h| {
            set(h, &five)
        });
    }

    fn slot_bodies(&mut self) {
        let grow = |h: &mut Vec<u8>| {
            h.insert(SLOTS + RAW_SLOT, 0);
            let len = h.len() as u32;
            h[12..16].copy_from_slice(&len.to_le_bytes());
            h[SLOTS + 4] += 1;
        };
        self.header("raw-size", CORRUPT, "a raw-key slot of 113 bytes", grow);
        self.header("raw-flags", CORRUPT, "flags of a raw-key slot", |h| {
            h[SLOTS + 2] = 1
        });
        self.header(
            "raw-reserved",
            CORRUPT,
            "reserved bytes of a raw-key slot",
            |h| {
                h[SLOTS + 24 + 7] = 1;
            },
        );
        self.header(
            "passphrase-size",
            CORRUPT,
            "a passphrase slot of 112 bytes",
            |h| {
                h[SLOTS] = 1;
            },
        );
        let as_age = |h: &mut Vec<u8>, len: u32, start: &[u8]| {
            h[SLOTS] = 2;
            h[SLOTS + 24..SLOTS + 28].copy_from_slice(&len.to_le_bytes());
            h[SLOTS + 28..SLOTS + 28 + start.len()].copy_from_slice(start);
        };
        let magic = b"age-encryption.org/v1\n";
        self.header(
            "age-size",
            CORRUPT,
            "an age file longer than its slot",
            |h| {
                as_age(h, 109, magic);
            },
        );
        self.header("age-magic", CORRUPT, "a slot whose age file is none", |h| {
            as_age(h, 108, b"-----BEGIN AGE");
        });
        self.header("age-flags", CORRUPT, "flags of an age slot", |h| {
            as_age(h, 108, magic);
            h[SLOTS + 2] = 1;
        });
    }

    fn keys(&mut self) {
        let no_match = "slot.no_match";
        let commit = SLOTS + 24 + 8;
        self.header("slot-commit", no_match, "another slot commitment", |h| {
            h[commit] ^= 1
        });
        self.header("slot-moved", no_match, "another slot id", |h| {
            h[SLOTS + 8] ^= 1
        });
        self.header("slot-hint", no_match, "another hint", |h| h[SLOTS + 24] = 2);
        self.header(
            "slot-wrap",
            CORRUPT,
            "a wrapped key that does not open",
            |h| {
                h[commit + 60] ^= 1;
            },
        );
        self.header("vault-id", no_match, "another vault id", |h| h[16] ^= 1);
        self.header("epoch", no_match, "another epoch", |h| h[32] = 2);
        self.header(
            "salt",
            CORRUPT,
            "another salt: the key is not committed to",
            |h| {
                h[64] ^= 1;
            },
        );
        self.header("key-commit", CORRUPT, "another key commitment", |h| {
            h[96] ^= 1
        });
        let mut bytes = self.world.bytes.clone();
        bytes[SLOTS + RAW_SLOT] ^= 1;
        self.all.bad(
            "header-mac",
            CORRUPT,
            "another header MAC",
            &self.open,
            bytes,
        );
    }

    fn passphrase_costs(&mut self) {
        let mut rng = Seeded::new("costs");
        let context = SlotContext::of(self.world.vault.header());
        let new = NewSlot::Passphrase {
            passphrase: SecretValue::copy_of(PASSPHRASE.as_bytes()),
            keyfile: None,
            kdf: KdfParams::MINIMAL,
        };
        let slot = new.wrap(&context, &self.world.root, &mut rng).unwrap();
        self.world.rewrite(Rewrite::Slots(vec![slot]), 0).unwrap();
        let raw = std::mem::replace(&mut self.open, json!({"passphrase": "passphrase.txt"}));
        let limit = "slot.kdf_limit";
        let mut cost = |name: &str, error: &str, (m, t, p): (u32, u32, u32)| {
            let why = format!("Argon2id of {m} KiB, {t} passes, {p} lanes");
            self.header(name, error, &why, |h| {
                for (at, number) in [m, t, p].into_iter().enumerate() {
                    h[SLOTS + 24 + 4 * at..][..4].copy_from_slice(&number.to_le_bytes());
                }
            });
        };
        cost("kdf-m-small", limit, (19_455, 2, 1));
        cost("kdf-m-large", limit, ((2 << 20) + 1, 1, 4));
        cost("kdf-m-huge", limit, (u32::MAX, 1, 1));
        cost("kdf-t-0", limit, (19_456, 0, 1));
        cost("kdf-t-17", limit, (19_456, 17, 1));
        cost("kdf-p-0", limit, (19_456, 2, 0));
        cost("kdf-p-17", limit, (19_456, 2, 17));
        cost("kdf-product", limit, (2 << 20, 4, 4));
        cost("kdf-lowered", "slot.no_match", (19_456, 1, 1));
        self.header(
            "passphrase-flags",
            CORRUPT,
            "flags of a passphrase slot",
            |h| {
                h[SLOTS + 2] = 2;
            },
        );
        self.open = raw;
        self.world = World::new("hostile");
    }

    fn frames(&mut self) {
        let good = self.snapshot();
        let why = "a first frame longer than 4 MiB of index";
        let lens = Some((4 * 1_048_576 + 17, 0));
        self.chain(
            "index-large",
            CORRUPT,
            why,
            &[RawFrame {
                lens,
                ..good.clone()
            }],
        );
        let why = "a first frame with more than 64 MiB of values";
        let lens = Some((272, 64 * 1_048_576 + 1));
        self.chain(
            "values-large",
            CORRUPT,
            why,
            &[RawFrame {
                lens,
                ..good.clone()
            }],
        );
        let lens = Some((15, 0));
        let why = "a first frame whose index has no room for its tag";
        self.chain(
            "index-small",
            CORRUPT,
            why,
            &[RawFrame {
                lens,
                ..good.clone()
            }],
        );
        let why = "a first frame with another number";
        self.chain(
            "seq",
            CORRUPT,
            why,
            &[RawFrame {
                skip: 1,
                ..good.clone()
            }],
        );
        let delta = RawFrame {
            kind: 2,
            ..good.clone()
        };
        self.chain(
            "no-snapshot",
            CORRUPT,
            "the first frame is a delta",
            &[delta],
        );
        let open = RawFrame {
            flags: 0,
            ..good.clone()
        };
        let why = "a snapshot without COMMIT";
        self.chain("open-snapshot", CORRUPT, why, std::slice::from_ref(&open));
        let why = "a snapshot that goes on as a delta";
        self.chain("mixed-snapshot", CORRUPT, why, &[open, RawFrame::delta()]);
        self.chain("no-frame", CORRUPT, "no frame", &[]);
        let again = RawFrame::snapshot();
        self.chain(
            "second-snapshot",
            CORRUPT,
            "two snapshots",
            &[good.clone(), again],
        );
        let kind = RawFrame {
            kind: 3,
            ..good.clone()
        };
        self.chain(
            "frame-type",
            NEWER,
            "a type of frame of a later version",
            &[kind],
        );
        let flags = RawFrame {
            flags: 3,
            ..good.clone()
        };
        self.chain(
            "frame-flags",
            CORRUPT,
            "reserved flags of a frame",
            &[flags],
        );
        let reserved = RawFrame {
            reserved: 0x100,
            ..good.clone()
        };
        self.chain(
            "frame-reserved",
            CORRUPT,
            "reserved bytes of a frame",
            &[reserved],
        );
        let mut cut = file_of(&self.world, |_| {}, &[good], &mut self.rng);
        cut.pop();
        self.all.bad(
            "snapshot-cut",
            CORRUPT,
            "a snapshot cut by one byte",
            &self.open,
            cut,
        );
    }

    fn first_frames(&mut self) {
        let frame = |index: Vec<u8>| {
            [RawFrame {
                index,
                ..RawFrame::snapshot()
            }]
        };
        self.chain("no-ancestor", CORRUPT, "no ancestor", &frame(Vec::new()));
        let late = [raw_op(5, b"{}"), ancestor()].concat();
        self.chain(
            "late-ancestor",
            CORRUPT,
            "an ancestor that is not first",
            &frame(late),
        );
        let two = [ancestor(), ancestor()].concat();
        self.chain("two-ancestors", CORRUPT, "two ancestors", &frame(two));
        let mut own = vec![0; 44];
        own[0] = 1;
        let why = "an ancestor with the number of the first frame";
        self.chain("ancestor-seq", CORRUPT, why, &frame(raw_op(4, &own)));
        let long = raw_op(4, &[0; 45]);
        self.chain(
            "ancestor-size",
            CORRUPT,
            "an ancestor of 45 bytes",
            &frame(long),
        );
    }

    fn records(&mut self) {
        let at = self.at();
        let other = raw_put([2; 16], 1, 1, b"a", b"{}", at);
        self.in_delta("name-twice", CORRUPT, "two records with one name", other);
        let jump = raw_put(ID, 3, 1, b"a", b"{}", at);
        self.in_delta("version-jump", CORRUPT, "version 3 after version 1", jump);
        let same = raw_put(ID, 1, 1, b"a", b"{}", at);
        self.in_delta("version-same", CORRUPT, "version 1 after version 1", same);
        let first = raw_put([2; 16], 2, 1, b"b", b"{}", at);
        self.in_delta(
            "version-first",
            CORRUPT,
            "a new record with version 2",
            first,
        );
        let mut frame = self.snapshot();
        let zero = raw_put([2; 16], 0, 1, b"b", b"{}", at);
        frame.index = [ancestor(), zero].concat();
        self.chain("version-0", CORRUPT, "version 0", &[frame.clone()]);
        let falling = [
            ancestor(),
            raw_put(ID, 2, 1, b"a", b"{}", at),
            raw_put(ID, 1, 1, b"a", b"{}", (at.1, at.1)),
        ];
        frame.index = falling.concat();
        frame.values = [self.blob.clone(), self.blob.clone()].concat();
        let why = "a snapshot with version 1 after version 2";
        self.chain("version-falling", CORRUPT, why, &[frame]);
        let delete =
            |id: u8, version: u64| raw_op(2, &[&[id; 16][..], &version.to_le_bytes()].concat());
        self.in_delta(
            "delete-absent",
            CORRUPT,
            "a deletion of no record",
            delete(9, 2),
        );
        self.in_delta(
            "delete-version",
            CORRUPT,
            "a deletion as version 3",
            delete(1, 3),
        );
        self.in_snapshot(
            "delete-in-snapshot",
            CORRUPT,
            "a deletion in a snapshot",
            delete(1, 2),
        );
        let overlap = [
            raw_put([2; 16], 1, 1, b"b", b"{}", at),
            raw_put([3; 16], 1, 1, b"c", b"{}", at),
        ];
        self.in_delta(
            "value-overlap",
            CORRUPT,
            "two values that overlap",
            overlap.concat(),
        );
        let outside = raw_put([2; 16], 1, 1, b"b", b"{}", (1, at.1));
        self.in_delta(
            "value-outside",
            CORRUPT,
            "a value that ends outside",
            outside,
        );
        let far = raw_put([2; 16], 1, 1, b"b", b"{}", (u32::MAX, at.1));
        self.in_delta("value-far", CORRUPT, "a value whose end overflows", far);
        let short = raw_put([2; 16], 1, 1, b"b", b"{}", (0, 295));
        self.in_delta("value-short", CORRUPT, "a sealed value of 295 bytes", short);
    }

    fn put_fields(&mut self) {
        let at = self.at();
        let put = |name: &[u8], meta: &[u8]| raw_put([2; 16], 1, 1, name, meta, at);
        self.in_delta(
            "name-utf8",
            CORRUPT,
            "a name that is not UTF-8",
            put(b"\xc3\x28", b"{}"),
        );
        self.in_delta("name-empty", CORRUPT, "an empty name", put(b"", b"{}"));
        self.in_delta(
            "name-long",
            CORRUPT,
            "a name of 513 bytes",
            put(&[b'n'; 513], b"{}"),
        );
        let long = format!("{{\"x\":\"{}\"}}", "y".repeat(16_385 - 8));
        self.in_delta(
            "meta-long",
            CORRUPT,
            "metadata of 16,385 bytes",
            put(b"b", long.as_bytes()),
        );
        self.in_delta(
            "meta-array",
            CORRUPT,
            "metadata that is an array",
            put(b"b", b"[]"),
        );
        self.in_delta(
            "meta-broken",
            CORRUPT,
            "metadata that is cut off",
            put(b"b", b"{\"a\":1"),
        );
        self.in_delta("meta-empty", CORRUPT, "no metadata", put(b"b", b""));
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(200), "]".repeat(200));
        self.in_delta(
            "meta-deep",
            CORRUPT,
            "metadata 201 deep",
            put(b"b", deep.as_bytes()),
        );
        let mut flags = put(b"b", b"{}");
        flags[5 + 25] = 1;
        self.in_delta("put-flags", CORRUPT, "reserved flags of a record", flags);
        for kind in [0, 7, 127] {
            let op = raw_put([2; 16], 1, kind, b"b", b"{}", at);
            self.in_delta(
                &format!("kind-{kind}"),
                NEWER,
                "a kind of a later version",
                op,
            );
        }
        let mut short = put(b"b", b"{}");
        short[1] -= 1;
        short.pop();
        self.in_delta(
            "put-short",
            CORRUPT,
            "a PUT shorter than its fields say",
            short,
        );
    }

    fn operations(&mut self) {
        for code in [3, 8, 0x7f] {
            let why = "an operation of a later version";
            self.in_delta(&format!("op-{code}"), NEWER, why, raw_op(code, b"?"));
        }
        let mut past = raw_op(2, &[0; 24]);
        past[1..5].copy_from_slice(&9_999u32.to_le_bytes());
        self.in_delta(
            "op-past-end",
            CORRUPT,
            "an operation that ends outside",
            past,
        );
        self.in_delta(
            "padding",
            CORRUPT,
            "padding that is not zero",
            vec![0, 0, 0, 1],
        );
        let why = "an index that is not a multiple of 256 bytes";
        let index = [ancestor(), vec![0; 206]].concat();
        let frame = RawFrame {
            index,
            pad: false,
            ..RawFrame::snapshot()
        };
        self.chain("index-step", CORRUPT, why, &[frame]);
        self.in_delta(
            "vault-json",
            CORRUPT,
            "vault metadata that is no object",
            raw_op(5, b"7"),
        );
        let long = format!("{{\"x\":\"{}\"}}", "y".repeat(65_537 - 8));
        let why = "vault metadata of 65,537 bytes";
        self.in_delta("vault-long", CORRUPT, why, raw_op(5, long.as_bytes()));
        let intent = |id: u8, base: u64| {
            let parts: [&[u8]; 5] = [&[id; 16], &base.to_le_bytes(), &[5; 16], &[0; 8], &[6; 16]];
            raw_op(6, &parts.concat())
        };
        self.in_delta(
            "intent-absent",
            CORRUPT,
            "an attempt on no record",
            intent(9, 1),
        );
        self.in_delta(
            "intent-version",
            CORRUPT,
            "an attempt on a later version",
            intent(1, 2),
        );
        let twice = [intent(1, 1), intent(1, 1)].concat();
        self.in_delta("intent-twice", CORRUPT, "two attempts with one id", twice);
        let clear = raw_op(7, &[5; 17]);
        self.in_snapshot("clear-in-snapshot", CORRUPT, "a CLEAR in a snapshot", clear);
        self.in_delta(
            "clear-size",
            CORRUPT,
            "a CLEAR of 18 bytes",
            raw_op(7, &[5; 18]),
        );
    }
}
