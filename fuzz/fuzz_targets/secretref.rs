//! A SecretRef that parses, prints to a text and a JSON that parse back to it, by every road; and
//! what stands where a secret belongs never shows in an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::reference::{Defaults, MAX_REF_TEXT, SecretInput, SecretRef};

fuzz_target!(|data: &[u8]| {
    let defaults = Defaults::default();
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(reference) = SecretRef::parse_text(text, &defaults) {
        assert!(text.len() <= MAX_REF_TEXT);
        round_trips(&reference, &defaults);
    }
    if let Ok(SecretInput::Ref { reference, .. }) = SecretInput::parse_text(text, &defaults) {
        round_trips(&reference, &defaults);
    }
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        let ours = SecretRef::from_json(&value, &defaults);
        if let Ok(reference) = &ours {
            round_trips(reference, &defaults);
        }
        let theirs = serde_json::from_value::<SecretRef>(value.clone());
        assert_eq!(
            ours.is_ok(),
            theirs.is_ok(),
            "two readers of one form disagree: {value}"
        );
        let _ = SecretInput::parse(&value, &defaults);
    }
});

fn round_trips(reference: &SecretRef, defaults: &Defaults) {
    let text = reference.to_string();
    assert_eq!(
        SecretRef::parse_text(&text, defaults).as_ref(),
        Ok(reference)
    );
    let json = reference.to_json();
    assert_eq!(
        SecretRef::from_json(&json, defaults).as_ref(),
        Ok(reference)
    );
    let derived = serde_json::to_value(reference).expect("a ref serialises");
    assert_eq!(derived, json, "two writers of one form disagree");
    assert!(reference.source().takes(reference.id()));
}
