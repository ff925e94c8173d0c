//! Frames and operations byte by byte, as the specification draws them, so that they can also be
//! wrong. Only the primitives are shared with the code under test.

use super::*;
use crate::crypto::aead;
use crate::crypto::derive::derive_mac;

/// A frame to be sealed; the numbers may be wrong.
#[derive(Clone)]
pub(super) struct RawFrame {
    pub kind: u8,
    pub flags: u8,
    pub reserved: u16,
    pub index: Vec<u8>,
    pub values: Vec<u8>,
    /// Fill the index up to a multiple of 256 bytes.
    pub pad: bool,
    /// Write these lengths into the head instead of the true ones.
    pub lens: Option<(u32, u32)>,
    /// Added to the number.
    pub skip: u64,
}

impl RawFrame {
    pub(super) fn snapshot() -> Self {
        let (index, values) = (Vec::new(), Vec::new());
        Self {
            kind: 1,
            flags: 1,
            reserved: 0,
            index,
            values,
            pad: true,
            lens: None,
            skip: 0,
        }
    }

    pub(super) fn delta() -> Self {
        Self {
            kind: 2,
            ..Self::snapshot()
        }
    }

    fn seal(&self, keys: &SubKeys, seq: u64, prev: [u8; 32], rng: &mut Seeded) -> Vec<u8> {
        let mut index = self.index.clone();
        if self.pad {
            index.resize(index.len().next_multiple_of(256), 0);
        }
        let nonce: [u8; 24] = rng.bytes();
        let true_lens = (index.len() as u32 + 16, self.values.len() as u32);
        let (index_len, values_len) = self.lens.unwrap_or(true_lens);
        let mut frame = b"FRAM".to_vec();
        frame.extend([self.kind, self.flags]);
        frame.extend(self.reserved.to_le_bytes());
        frame.extend((seq + self.skip).to_le_bytes());
        frame.extend(index_len.to_le_bytes());
        frame.extend(values_len.to_le_bytes());
        frame.extend(nonce);
        frame.extend(prev);
        let tag = aead::seal(keys.index(), &nonce, &frame, &mut index);
        frame.extend(index);
        frame.extend(tag);
        frame.extend(&self.values);
        let mac = derive_mac(keys.log(), &[&frame]);
        frame.extend(mac);
        frame
    }
}

/// A whole file: the world's header, changed and sealed again, and these frames.
pub(super) fn file_of(
    world: &World,
    change: impl FnOnce(&mut Vec<u8>),
    frames: &[RawFrame],
    rng: &mut Seeded,
) -> Vec<u8> {
    let keys = world.vault.keys();
    let mut header = world.vault.header().bytes().to_vec();
    header.truncate(header.len() - 32);
    header.extend([0; 32]);
    change(&mut header);
    let end = header.len() - 32;
    let mut prev = derive_mac(keys.header(), &[&header[..end]]);
    header[end..].copy_from_slice(&prev);
    let mut file = header;
    for (number, frame) in frames.iter().enumerate() {
        let sealed = frame.seal(keys, number as u64 + 1, prev, rng);
        prev = *sealed.last_chunk().unwrap();
        file.extend(sealed);
    }
    file
}

pub(super) fn raw_op(code: u8, body: &[u8]) -> Vec<u8> {
    [&[code], (body.len() as u32).to_le_bytes().as_slice(), body].concat()
}

pub(super) fn raw_put(
    id: [u8; 16],
    version: u64,
    kind: u8,
    name: &[u8],
    meta: &[u8],
    (value_at, value_len): (u32, u32),
) -> Vec<u8> {
    let mut body = id.to_vec();
    body.extend(version.to_le_bytes());
    body.extend([kind, 0]);
    body.extend((name.len() as u16).to_le_bytes());
    body.extend((meta.len() as u32).to_le_bytes());
    body.extend(value_at.to_le_bytes());
    body.extend(value_len.to_le_bytes());
    body.extend(name);
    body.extend(meta);
    raw_op(1, &body)
}

/// A sealed value of kind 1 (or 2 for the record with id 3).
pub(super) fn blob_of(
    keys: &SubKeys,
    id: [u8; 16],
    version: u64,
    payload: &[u8],
    rng: &mut Seeded,
) -> Vec<u8> {
    let kind = if id[0] == 3 {
        RecordKind::ApiKey
    } else {
        RecordKind::Static
    };
    let mut out = Vec::new();
    let payload = SecretValue::copy_of(payload);
    value::seal(
        keys,
        (&RecordId(id), version, kind),
        &payload,
        rng,
        &mut out,
    );
    out
}
