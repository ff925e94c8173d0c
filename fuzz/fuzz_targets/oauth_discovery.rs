//! A server's description of itself: it is believed only if it names the issuer that was asked, and
//! every endpoint in it is https or of this machine; an error repeats nothing of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::oauth::discovery::read_metadata;
use reseal::oauth::{HttpAnswer, Issuer};
use reseal::secret::SecretValue;
use serde_json::Value;

const ISSUERS: [&str; 3] = [
    "https://a.example",
    "https://a.example/t",
    "http://127.0.0.1:9/",
];

fuzz_target!(|data: &[u8]| {
    let answer = HttpAnswer::new(200, SecretValue::copy_of(data));
    for asked in ISSUERS {
        let issuer: Issuer = asked.parse().expect("an issuer");
        let metadata = match read_metadata(&answer, &issuer) {
            Ok(metadata) => metadata,
            Err(error) => {
                let shown = format!("{error} {error:?}");
                assert!(!shown.contains("a.example"), "{shown}");
                continue;
            }
        };
        let tree: Value = serde_json::from_slice(data).expect("metadata is JSON");
        let named = tree["issuer"].as_str().expect("it names an issuer");
        assert_eq!(metadata.issuer.as_str(), named);
        assert_eq!(named.trim_end_matches('/'), asked.trim_end_matches('/'));
        let endpoints = [
            metadata.authorization,
            metadata.token,
            metadata.device,
            metadata.revocation,
        ];
        for endpoint in endpoints.into_iter().flatten() {
            let secure = endpoint.as_str().starts_with("https://");
            assert!(secure || endpoint.is_loopback(), "{endpoint}");
            assert!(!endpoint.as_str().contains('#'));
        }
    }
});
