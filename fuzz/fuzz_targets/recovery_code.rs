//! A recovery code that is read prints as the same code, and prints in one way only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::secret::SecretValue;
use reseal::vault::slot::recovery::{CODE_LEN, MAX_TEXT, TEXT_LEN, format, parse};

fuzz_target!(|data: &[u8]| {
    if let Ok(code) = parse(&SecretValue::copy_of(data)) {
        assert!(data.len() <= MAX_TEXT);
        assert_eq!(code.len(), CODE_LEN);
        round_trips(&code);
    }
    if let Some(code) = data.first_chunk::<CODE_LEN>() {
        round_trips(&SecretValue::copy_of(code));
    }
});

fn round_trips(code: &SecretValue) {
    let text = format(code).expect("20 bytes print");
    assert_eq!(text.len(), TEXT_LEN);
    assert!(parse(&text).expect("a printed code is read") == *code);
    let small = SecretValue::copy_of(&text.expose().to_ascii_lowercase());
    assert!(parse(&small).expect("case does not count") == *code);
}
