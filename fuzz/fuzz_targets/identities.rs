//! Identity files and recipients of age: bounded, never a panic; what is taken is written back as
//! it stood, and an error never shows a line of the file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::secret::SecretValue;
use reseal::unlock::age::{MAX_IDENTITIES, parse_identities, parse_recipient};

/// At the end of each line of a file that is refused.
const CANARY: &[u8] = b"q7canary";

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
        // Not the lines as they are: a fuzzer learns our own words, and writes them into its file.
        Err(_) => {
            let lines = data.split(|byte| *byte == b'\n');
            let marked: Vec<u8> = lines
                .flat_map(|line| [line, CANARY, b"\n"].concat())
                .collect();
            if let Err(error) = parse_identities(&SecretValue::copy_of(&marked), "fuzz") {
                let text = error.to_string();
                assert!(
                    !text
                        .as_bytes()
                        .windows(CANARY.len())
                        .any(|part| part == CANARY)
                );
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(recipient) = parse_recipient(text) {
            assert_eq!(recipient.to_string(), text.trim());
        }
    }
});
