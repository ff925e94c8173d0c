//! Raw bytes of a database: whatever they are, they come apart into pieces without a gap, and text
//! stays whole. The input is two bytes for the size of a page, and the bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::family::sqlite::records::Pieces;

fuzz_target!(|data: &[u8]| {
    let Some((size, bytes)) = data.split_first_chunk::<2>() else {
        return;
    };
    let mut pieces = Pieces::new(bytes, usize::from(u16::from_le_bytes(*size)));
    let (mut at, mut count) = (0, 0);
    while at < bytes.len() {
        let piece = pieces.at(at);
        assert!(piece.start == at && piece.end > at && piece.end <= bytes.len());
        at = piece.end;
        count += 1;
    }
    if bytes.iter().all(|b| *b >= 0x20) {
        assert!(count <= 1, "text that was cut");
    }
});
