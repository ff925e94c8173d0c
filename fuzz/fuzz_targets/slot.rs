//! Keyslots in an otherwise fixed header: none opens for a stranger, and none makes a reader spend
//! more than it is willing to.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::secret::SecretValue;
use reseal::vault::slot::{self, KdfLimit, KdfParams};
use reseal::vault::{Header, SlotKind};
use reseal_fuzz::sample;
use std::sync::LazyLock;

/// The fixed first 128 bytes of a valid header.
static HEAD: LazyLock<Vec<u8>> = LazyLock::new(|| sample().created.header.bytes()[..128].to_vec());

/// Less than the cheapest slot may cost: a reader with this limit never runs Argon2.
const NOTHING: KdfLimit = KdfLimit {
    max_m_kib: KdfParams::MIN_M_KIB - 1,
    max_m_t_kib: 1,
    available_kib: Some(1),
};

fuzz_target!(|data: &[u8]| {
    let Some((count, slots)) = data.split_first() else {
        return;
    };
    let mut bytes = HEAD.clone();
    bytes.extend([*count, 0, 0, 0]);
    bytes.extend(slots);
    bytes.extend([0; 32]);
    let len = u32::try_from(bytes.len()).expect("inputs are short");
    bytes[12..16].copy_from_slice(&len.to_le_bytes());
    let Ok(header) = Header::parse(&bytes) else {
        return;
    };
    assert_eq!(header.slots().len(), usize::from(*count));
    for slot in header.slots() {
        try_open(&header, slot);
    }
});

fn try_open(header: &Header, slot: &slot::Slot) {
    let stranger = SecretValue::copy_of(&[0xEE; 32]);
    let passphrase = slot::open_passphrase(header, slot, &stranger, Some(&stranger), &NOTHING);
    assert!(passphrase.is_err(), "a slot was tried beyond the limit");
    if let SlotKind::RawKey { hint } = slot.kind {
        let secret = SecretValue::copy_of(&vec![0xEE; hint.secret_len()]);
        let opened = slot::open_raw(header, slot, &secret);
        assert!(
            !matches!(opened, Ok(Some(_))),
            "a slot opens for a stranger"
        );
    }
    if slot.kind == SlotKind::Age {
        let payload = slot::age_payload(header, slot);
        assert!(payload.starts_with(b"age-encryption.org/v1\n"));
        assert!(slot::root_from_age_plaintext(header, slot, &stranger).is_err());
    }
}
