//! Identity files and recipients of age: bounded, never a panic; what is taken is written back as
//! it stood, and an error never shows a line of the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::secret::SecretValue;
use reseal::unlock::age::{MAX_IDENTITIES, parse_identities, parse_recipient};

fuzz_target!(|data: &[u8]| {
    match parse_identities(&SecretValue::copy_of(data), "fuzz") {
        Ok(identities) => {
            assert!((1..=MAX_IDENTITIES).contains(&identities.len()));
            for identity in identities {
                let native = identity.recipient().map(|text| {
                    let recipient = parse_recipient(&text).expect("its own recipient is valid");
                    assert_eq!(recipient.to_string(), text);
                });
                assert_eq!(native.is_none(), identity.plugin().is_some());
            }
        }
        Err(error) => {
            let text = error.to_string();
            for line in data
                .split(|byte| *byte == b'\n')
                .filter(|line| line.len() > 60)
            {
                if let Ok(line) = std::str::from_utf8(line) {
                    assert!(!text.contains(line), "an error shows a line of the file");
                }
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(recipient) = parse_recipient(text) {
            assert_eq!(recipient.to_string(), text.trim());
        }
    }
});
