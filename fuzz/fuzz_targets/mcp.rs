//! What an MCP server sends: challenges, its description, a registration, events, messages; and a
//! config of servers. Nothing panics, limits hold, and an error repeats nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::mcp::Identity;
use reseal::mcp::proxy::events::Events;
use reseal::mcp::proxy::message::{Head, agreed_revision, error, one_line};
use reseal::mcp::servers::from_yaml;
use reseal::oauth::protected::read_resource;
use reseal::oauth::registration::read_registration;
use reseal::oauth::{Challenge, Endpoint, HttpAnswer};
use reseal::secret::SecretValue;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let text = std::str::from_utf8(rest).unwrap_or_default();
    match kind % 6 {
        0 => {
            let challenge = Challenge::read(text.split('\n'));
            let named = challenge.and_then(|challenge| challenge.resource_metadata);
            assert!(
                named.is_none_or(|url| url.is_loopback() || url.as_str().starts_with("https:"))
            );
        }
        1 => {
            let server: Endpoint = "https://a.example/v1/mcp".parse().expect("a URL");
            let answer = HttpAnswer::new(200, SecretValue::copy_of(rest));
            match read_resource(&answer, &server) {
                Ok(found) => {
                    let resource: Endpoint = found.resource.parse().expect("a URL");
                    assert!(resource.same_origin(&server) && !found.issuers.is_empty());
                }
                Err(error) => assert!(!error.to_string().contains("a.example")),
            }
        }
        2 => {
            let answer = HttpAnswer::new(400, SecretValue::copy_of(rest));
            assert!(read_registration(&answer).is_err());
            let answer = HttpAnswer::new(201, SecretValue::copy_of(rest));
            let _read = read_registration(&answer);
        }
        3 => {
            // However a stream is cut, it says the same.
            let mut whole = Events::new();
            let all = whole.take(rest).expect("small events");
            let mut cut = Events::new();
            let pieces = rest
                .chunks(3)
                .flat_map(|piece| cut.take(piece).expect("small events"));
            assert_eq!(pieces.collect::<Vec<_>>(), all);
        }
        4 => {
            if let Some(line) = one_line(rest) {
                assert!(!line.contains(&b'\n'));
            }
            let _revision = agreed_revision(rest);
            if let Some(id) = Head::read(rest).and_then(|head| head.id) {
                let answer = error(&id, text);
                let _json: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
            }
        }
        _ => {
            let servers = from_yaml(text, "f", Some(&|_| None)).unwrap_or_default();
            for server in servers.servers {
                let Some(url) = server.url else { continue };
                let identity = Identity::of(url.as_str());
                // What was cut once stays as it is.
                let _record = identity.record();
            }
        }
    }
});
