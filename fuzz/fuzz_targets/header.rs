//! A header that parses is exactly the bytes that were parsed, within its limits, and verifies with
//! no key but its own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::vault::limits::{MAX_HEADER, MAX_PASSPHRASE_SLOTS, MAX_SLOTS, MIN_HEADER};
use reseal::vault::{Header, RootKey, SlotKind};

fuzz_target!(|data: &[u8]| {
    if let Some(first) = data.first_chunk::<16>()
        && let Ok(len) = Header::peek_len(first)
    {
        assert!((MIN_HEADER..=MAX_HEADER).contains(&len));
    }
    let Ok(header) = Header::parse(data) else {
        return;
    };
    assert_eq!(header.bytes(), data, "a header is kept byte for byte");
    let announced = Header::peek_len(data.first_chunk().expect("a header has 16 bytes"));
    assert_eq!(
        announced.expect("a header announces its length"),
        data.len()
    );
    let slots = header.slots();
    assert!((1..=MAX_SLOTS).contains(&slots.len()));
    let is_passphrase = |kind| matches!(kind, SlotKind::Passphrase { .. });
    let passphrases = slots.iter().filter(|slot| is_passphrase(slot.kind)).count();
    assert!(passphrases <= MAX_PASSPHRASE_SLOTS);
    for (index, slot) in slots.iter().enumerate() {
        assert!(slots[..index].iter().all(|other| other.id != slot.id));
        assert_eq!(
            header
                .slot(&slot.id)
                .expect("a slot is found by its id")
                .kind,
            slot.kind
        );
    }
    assert!(header.epoch() >= 1 && header.base_seq() >= 1);
    assert!(!header.fingerprint().is_empty());
    let stranger = RootKey::build(|key| key.fill(0xEE));
    assert!(
        header.verify(&stranger).is_err(),
        "a stranger's key verifies a header"
    );
});
