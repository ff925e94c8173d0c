//! Every limit of format version 1. Each has a test one past it.

use crate::secret::MAX_VALUE;

/// The largest vault file in bytes: 4 GiB.
pub const MAX_FILE: u64 = 4 << 30;
/// The largest header in bytes, its MAC included: 64 KiB.
pub const MAX_HEADER: usize = 65_536;
/// The smallest header in bytes: the fixed part, no slot, the MAC. (One slot is required; the
/// slot count says so.)
pub const MIN_HEADER: usize = 164;
/// The most keyslots.
pub const MAX_SLOTS: usize = 32;
/// The most passphrase slots: each one costs a reader an Argon2id run.
pub const MAX_PASSPHRASE_SLOTS: usize = 4;
/// The largest body of a slot in bytes.
pub const MAX_SLOT_BODY: usize = 16_640;
/// The largest age file in a slot in bytes.
pub const MAX_AGE_FILE: usize = 16_384;
/// The longest passphrase in bytes; the shortest has one.
pub const MAX_PASSPHRASE: usize = 1_024;
/// The most live records.
pub const MAX_RECORDS: usize = 1_000_000;
/// The longest name of a record in bytes.
pub const MAX_NAME: usize = 512;
/// The largest metadata of a record in bytes of JSON.
pub const MAX_META: usize = 16_384;
/// The largest vault metadata (op 5) in bytes of JSON.
pub const MAX_VAULT_META: usize = 65_536;
/// The most open intents.
pub const MAX_INTENTS: usize = 4_096;
/// The largest index plaintext of a frame in bytes: 4 MiB.
pub const MAX_INDEX: usize = 4 << 20;
/// The most value bytes in a frame: 64 MiB.
pub const MAX_VALUES: usize = 64 << 20;
/// The most frames since the file was last rewritten.
pub const MAX_FRAMES: u64 = 65_536;
/// The largest frame in bytes; what a reader's buffer must be able to hold.
pub const MAX_FRAME: usize = crate::vault::FRAME_HEAD + MAX_INDEX + 16 + MAX_VALUES + 32;
/// The largest sealed value in bytes: nonce, padded plaintext, tag.
pub const MAX_BLOB: usize = 24 + crate::vault::value::padded_len(MAX_VALUE) + 16;
/// The smallest sealed value in bytes.
pub const MIN_BLOB: usize = 24 + 256 + 16;
/// The number of superseded versions that automatic compaction keeps of a record.
pub const KEPT_VERSIONS: usize = 10;
/// A frame that a writer makes is closed when its index passes this, in bytes; a reader then needs
/// no more than a few MiB for it.
pub const FRAME_INDEX_TARGET: usize = 1 << 20;
/// A frame that a writer makes is closed when its values pass this, in bytes.
pub const FRAME_VALUES_TARGET: usize = 8 << 20;
/// Compaction is due when the frames after the snapshot have at least this many bytes, and half of
/// the live bytes.
pub const COMPACT_BYTES: u64 = 256 << 10;
/// Compaction is due when there are this many frames after the snapshot.
pub const COMPACT_FRAMES: u64 = 4_096;
