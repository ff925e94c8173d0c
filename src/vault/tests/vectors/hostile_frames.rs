//! Hostile files whose header is good: frames, operations and records that break a rule.

use super::hostile::{CORRUPT, ID, Maker, NEWER, ancestor, rng_of};
use super::raw::{RawFrame, file_of, raw_op, raw_put};

impl Maker<'_> {
    pub(super) fn frames(&mut self) {
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
        self.chain("no-frame", CORRUPT, "no frame", &[]);
        let mut cut = file_of(&self.world, |_| {}, &[good], &mut rng_of("snapshot-cut"));
        cut.pop();
        let why = "a snapshot cut by one byte";
        self.all.bad("snapshot-cut", CORRUPT, why, &self.open, cut);
    }

    pub(super) fn kinds_of_frames(&mut self) {
        let good = self.snapshot();
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
    }

    pub(super) fn first_frames(&mut self) {
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

    pub(super) fn records(&mut self) {
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
    }

    pub(super) fn deletions(&mut self) {
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
    }

    pub(super) fn places(&mut self) {
        let at = self.at();
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

    pub(super) fn put_fields(&mut self) {
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

    pub(super) fn operations(&mut self) {
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
