//! Vault files that every version has to refuse, each wrong in one place only: MACs, tags and
//! chains are right, as if someone with the key had made them, unless they are what is wrong.

use super::raw::{RawFrame, blob_of, file_of, raw_op, raw_put};
use super::*;
use crate::vault::slot::KdfParams;

pub(super) const CORRUPT: &str = "vault.corrupt";
pub(super) const NEWER: &str = "vault.newer";

pub(super) fn collect(all: &mut Collection) {
    let mut maker = Maker::new(all);
    maker.headers();
    maker.slot_tables();
    maker.slot_bodies();
    maker.keys();
    maker.passphrase_costs();
    maker.frames();
    maker.kinds_of_frames();
    maker.first_frames();
    maker.records();
    maker.deletions();
    maker.places();
    maker.put_fields();
    maker.operations();
}

pub(super) struct Maker<'a> {
    pub all: &'a mut Collection,
    pub world: World,
    pub open: Value,
    pub blob: Vec<u8>,
}

/// Where the slots start, and how long the raw-key slot there is.
const SLOTS: usize = 132;
const RAW_SLOT: usize = 24 + 8 + 104;

pub(super) const ID: [u8; 16] = [1; 16];

pub(super) fn ancestor() -> Vec<u8> {
    raw_op(4, &[0; 44])
}

/// Each file has randomness of its own, so that it does not depend on those before it.
pub(super) fn rng_of(name: &str) -> Seeded {
    Seeded::new(format!("hostile {name}"))
}

impl<'a> Maker<'a> {
    fn new(all: &'a mut Collection) -> Self {
        let world = World::new("hostile");
        let mut rng = rng_of("value");
        let blob = blob_of(world.vault.keys(), ID, 1, b"value", &mut rng);
        Self {
            all,
            world,
            open: json!({"rawKey": "raw.key"}),
            blob,
        }
    }

    pub(super) fn at(&self) -> (u32, u32) {
        (0, self.blob.len() as u32)
    }

    /// A good snapshot: an ancestor and one record.
    pub(super) fn snapshot(&self) -> RawFrame {
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
        let bytes = file_of(&self.world, change, &frames, &mut rng_of(name));
        self.all.bad(name, error, why, &self.open, bytes);
    }

    pub(super) fn chain(&mut self, name: &str, error: &str, why: &str, frames: &[RawFrame]) {
        let bytes = file_of(&self.world, |_| {}, frames, &mut rng_of(name));
        self.all.bad(name, error, why, &self.open, bytes);
    }

    /// A snapshot with this operation behind the good ones.
    pub(super) fn in_snapshot(&mut self, name: &str, error: &str, why: &str, op: Vec<u8>) {
        let mut frame = self.snapshot();
        frame.index.extend(op);
        self.chain(name, error, why, &[frame]);
    }

    /// A good snapshot and a delta of these operations.
    pub(super) fn in_delta(&mut self, name: &str, error: &str, why: &str, ops: Vec<u8>) {
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
}
