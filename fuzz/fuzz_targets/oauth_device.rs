//! A device flow with any server: what the person is shown is printable and leads to https or this
//! machine, every wait is bounded and never shortened by the server, and it ends with its lifetime.
//! The input is a byte for the dialect, the first answer and those to the polls, each a status byte
//! and a body, with a line `---` between them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reseal::oauth::device::{self, MAX_INTERVAL, MAX_LIFETIME, MIN_INTERVAL};
use reseal::oauth::{Dialect, Endpoints, FlowKind, HttpAnswer, Polled, Provider, SignInWith, Step};
use reseal::secret::SecretValue;
use reseal::time::UnixMs;
use std::time::Duration;

fuzz_target!(|data: &[u8]| {
    let Some((dialect, data)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut answers = text.split("\n---\n").map(answer);
    let provider = Provider {
        issuer: "https://a.example".parse().ok(),
        token_endpoint: "https://a.example/token".parse().ok(),
        device_authorization_endpoint: "https://a.example/device/start".parse().ok(),
        client_id: Some("client".to_owned()),
        flows: vec![FlowKind::Device],
        dialect: Dialect::ALL[usize::from(*dialect) % 3],
        ..Provider::empty("a")
    };
    let Ok(Endpoints::Known(server)) = provider.endpoints(FlowKind::Device) else {
        panic!("its endpoints are known");
    };
    let with = SignInWith::default();
    let (_request, starting) = device::start(&provider, &server, &with).expect("it starts");
    let Some(Ok(mut device)) = answers.next().map(|first| starting.read(&first)) else {
        return;
    };
    let prompt = device.prompt().clone();
    assert!(prompt.user_code.bytes().all(|b| (b' '..=b'~').contains(&b)));
    assert!(prompt.page.as_str().starts_with("https://") || prompt.page.is_loopback());
    assert!(prompt.lifetime <= MAX_LIFETIME);
    let mut elapsed = Duration::ZERO;
    for answer in answers {
        let wait = device.wait();
        assert!((MIN_INTERVAL..=MAX_INTERVAL).contains(&wait));
        elapsed += wait;
        match device.step(Polled::Answer(&answer), elapsed, UnixMs(1)) {
            Ok(Step::Wait(next)) => {
                assert!(
                    elapsed + next.wait() <= prompt.lifetime,
                    "it waits past its end"
                );
                device = *next;
            }
            Ok(Step::Exchange(exchanged)) => {
                let request = exchanged.0;
                return assert_eq!(request.url.as_str(), "https://a.example/token");
            }
            Ok(Step::Done(_)) | Err(_) => return,
        }
    }
});

fn answer(text: &str) -> HttpAnswer {
    const STATUSES: [u16; 8] = [200, 400, 401, 403, 404, 428, 429, 503];
    let status = text.bytes().next().unwrap_or_default();
    HttpAnswer {
        retry_after: Some(Duration::from_secs(u64::from(status))),
        ..HttpAnswer::new(
            STATUSES[usize::from(status) % 8],
            SecretValue::copy_of(text.get(1..).unwrap_or_default().as_bytes()),
        )
    }
}
