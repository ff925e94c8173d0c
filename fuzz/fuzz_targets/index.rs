//! The plaintext of a frame's index, and the padding of a value: what a holder of the keys may have
//! written wrongly is refused, not followed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::secret::MAX_VALUE;
use reseal::vault::op;
use reseal::vault::value::{padded_len, unpad};

/// The shortest operation: its number and the length of its body.
const OP_HEAD: usize = 5;

fuzz_target!(|data: &[u8]| {
    let Some((len, index)) = data.split_first_chunk::<4>() else {
        return;
    };
    let mut index = index.to_vec();
    index.resize(index.len().next_multiple_of(256), 0);
    if let Ok(count) = op::check(&index, u32::from_le_bytes(*len)) {
        assert!(count <= index.len() / OP_HEAD);
    }
    if let Ok(payload) = unpad(data) {
        assert!(payload.len() <= MAX_VALUE);
        assert_eq!(
            padded_len(payload.len()),
            data.len(),
            "a value has one padded length"
        );
    }
});
