//! What a token endpoint answers: a grant means what a reader of the whole JSON tree says it means;
//! only a success grants; a failure repeats nothing of the body; a gateway's failure never ends a
//! session. The input is a status (two bytes) and a body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::oauth::refusal::KNOWN;
use reseal::oauth::{Dialect, Grant, HttpAnswer, PermanentReason, Refusal, read_grant};
use reseal::secret::SecretValue;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((status, body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let status = 100 + u16::from_le_bytes(*status) % 500;
    for dialect in Dialect::ALL {
        let answer = HttpAnswer::new(status, SecretValue::copy_of(body));
        match read_grant(&answer, dialect) {
            Ok(grant) => {
                assert!((200..300).contains(&status));
                means_what_it_says(&grant, body);
            }
            Err(refusal) => {
                let transient = matches!(status, 408 | 429 | 500..);
                assert!(!(transient && refusal.is_permanent()));
                repeats_nothing(refusal, body);
            }
        }
    }
});

fn means_what_it_says(grant: &Grant, body: &[u8]) {
    let Ok(tree) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let said = |key: &str| tree.get(key).and_then(Value::as_str);
    assert_eq!(
        said("access_token").map(str::as_bytes),
        Some(grant.access.secret().expose())
    );
    if let Some(refresh) = &grant.refresh {
        let refresh = Some(refresh.secret().expose());
        assert_eq!(said("refresh_token").map(str::as_bytes), refresh);
    }
    if let Some(scope) = &grant.scope {
        assert_eq!(said("scope"), Some(scope.as_str()));
    }
    let shown = format!("{grant:?}");
    let token = said("access_token").unwrap_or_default();
    let elsewhere = [said("scope"), said("token_type")].into_iter().flatten();
    let mut elsewhere = elsewhere.chain(["access", "refresh", "redacted"]);
    if token.len() >= 12 && !elsewhere.any(|text| text.contains(token)) {
        assert!(!shown.contains(token), "a token shows");
    }
}

fn repeats_nothing(refusal: Refusal, body: &[u8]) {
    let shown = format!("{refusal} {refusal:?}");
    let body = String::from_utf8_lossy(body);
    let words = body.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
    let ours: Vec<&str> = PermanentReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    let own_text = "the authorization server refused for good (InvalidGrant) answered with";
    for word in words.filter(|word| word.len() >= 12) {
        let known = KNOWN.iter().chain(&ours).any(|known| known.contains(word));
        let own = known || own_text.contains(word) || "Invalidated Unauthorized".contains(word);
        let own = own || "something other than a JSON object no access token".contains(word);
        let own = own || "ClientInvalid AccessDenied retry_after Transient".contains(word);
        assert!(own || !shown.contains(word), "{word} shows: {shown}");
    }
}
