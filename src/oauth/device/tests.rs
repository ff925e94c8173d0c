use super::*;
use crate::oauth::builtin;
use crate::oauth::fixture::{acme, answer, form, json, openai, server};
use crate::oauth::refusal::PermanentReason;
use proptest::prelude::*;

const NOW: UnixMs = UnixMs(1000);

fn begin(provider: &Provider) -> (HttpRequest, Starting) {
    let server = server(provider, FlowKind::Device);
    start(provider, &server, &SignInWith::default()).unwrap()
}

fn device(provider: &Provider, body: &str) -> Device {
    begin(provider).1.read(&answer(200, body)).unwrap()
}

const STARTED: &str = r#"{"device_code":"d","user_code":"ABCD-EFGH","expires_in":600,
    "verification_uri":"https://acme.example/enter",
    "verification_uri_complete":"https://acme.example/enter?c=ABCD-EFGH"}"#;
const OPENAI_STARTED: &str = r#"{"device_auth_id":"d","usercode":"ABCD","interval":"7"}"#;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Steps once, with time to spare.
fn step(device: Device, status: u16, body: &str) -> Result<Step, FlowError> {
    device.step(Polled::Answer(&answer(status, body)), Duration::ZERO, NOW)
}

fn waits(step: Result<Step, FlowError>) -> Device {
    match step {
        Ok(Step::Wait(device)) => *device,
        other => panic!("does not wait: {other:?}"),
    }
}

#[test]
fn the_standard_flow_to_its_end() {
    let mut provider = acme();
    provider.audience = Some("aud".to_owned());
    let (request, starting) = begin(&provider);
    assert_eq!(request.url.as_str(), "https://acme.example/device");
    let sent = form(&request);
    assert_eq!(
        (sent["client_id"].as_str(), sent["scope"].as_str()),
        ("client", "a b")
    );
    assert_eq!(sent["audience"], "aud");
    let device = starting.read(&answer(200, STARTED)).unwrap();
    let prompt = device.prompt().clone();
    assert_eq!(prompt.user_code, "ABCD-EFGH");
    assert_eq!(prompt.page.as_str(), "https://acme.example/enter");
    assert!(prompt.complete.unwrap().as_str().ends_with("?c=ABCD-EFGH"));
    assert_eq!(
        (prompt.lifetime, device.wait()),
        (seconds(600), DEFAULT_INTERVAL)
    );
    let poll = device.poll();
    assert_eq!(poll.url.as_str(), "https://acme.example/token");
    let sent = form(&poll);
    assert_eq!(sent["grant_type"], GRANT_TYPE);
    assert_eq!(
        (sent["device_code"].as_str(), sent["client_id"].as_str()),
        ("d", "client")
    );
    let device = waits(step(device, 400, r#"{"error":"authorization_pending"}"#));
    // GitHub: pending with status 200.
    let device = waits(step(device, 200, r#"{"error":"authorization_pending"}"#));
    assert_eq!(device.wait(), DEFAULT_INTERVAL);
    match step(device, 200, r#"{"access_token":"a","expires_in":60}"#) {
        Ok(Step::Done(account)) => assert_eq!(account.expires_at, Some(UnixMs(61_000))),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_flow_of_openai_to_its_exchange() {
    let provider = openai(Dialect::OpenAi);
    let (request, starting) = begin(&provider);
    let start = "http://127.0.0.1:9/api/accounts/deviceauth/usercode";
    assert_eq!(request.url.as_str(), start);
    assert_eq!(json(&request), serde_json::json!({"client_id": "app"}));
    let device = starting.read(&answer(200, OPENAI_STARTED)).unwrap();
    assert_eq!(
        device.prompt().page.as_str(),
        "http://127.0.0.1:9/codex/device"
    );
    assert_eq!(device.prompt().lifetime, seconds(900));
    assert_eq!(device.wait(), seconds(7));
    let poll = device.poll();
    let at = "http://127.0.0.1:9/api/accounts/deviceauth/token";
    assert_eq!(poll.url.as_str(), at);
    let expected = serde_json::json!({"device_auth_id": "d", "user_code": "ABCD"});
    assert_eq!(json(&poll), expected);
    let mut device = device;
    for (status, body) in [
        (403, ""),
        (404, "<html>"),
        (
            400,
            r#"{"error":{"code":"deviceauth_authorization_pending"}}"#,
        ),
        (200, "{}"),
    ] {
        device = waits(step(device, status, body));
    }
    let granted = r#"{"authorization_code":"c","code_challenge":"x","code_verifier":"v"}"#;
    let Ok(Step::Exchange(exchanged)) = step(device, 200, granted) else {
        panic!("no exchange");
    };
    let (request, awaited) = *exchanged;
    let sent = form(&request);
    assert_eq!(request.url.as_str(), "http://127.0.0.1:9/oauth/token");
    assert_eq!(
        (sent["code"].as_str(), sent["code_verifier"].as_str()),
        ("c", "v")
    );
    assert_eq!(
        sent["redirect_uri"],
        "http://127.0.0.1:9/deviceauth/callback"
    );
    let account = awaited.finish(&answer(200, r#"{"access_token":"a"}"#), NOW);
    assert_eq!(account.unwrap().client.client_id, "app");
}

#[test]
fn the_legacy_paths_of_agentos() {
    let provider = openai(Dialect::AgentosLegacy);
    let (request, starting) = begin(&provider);
    assert_eq!(
        request.url.as_str(),
        "http://127.0.0.1:9/deviceauth/usercode"
    );
    let device = starting.read(&answer(200, OPENAI_STARTED)).unwrap();
    assert_eq!(
        device.prompt().page.as_str(),
        "https://platform.openai.com/device"
    );
    assert_eq!(
        device.poll().url.as_str(),
        "http://127.0.0.1:9/deviceauth/token"
    );
    let device = waits(step(device, 403, ""));
    let device = waits(step(device, 428, ""));
    let Ok(Step::Exchange(exchanged)) = step(device, 200, r#"{"authorization_code":"c"}"#) else {
        panic!("no exchange");
    };
    let sent = form(&exchanged.0);
    assert_eq!(sent["redirect_uri"], "http://localhost:1455/auth/callback");
    assert!(!sent.contains_key("code_verifier"));
    let device = self::device(&provider, OPENAI_STARTED);
    let other = Refusal::Other {
        status: 404,
        code: None,
    };
    assert_eq!(
        step(device, 404, "").unwrap_err(),
        FlowError::Refused(other)
    );
}

#[test]
fn an_account_without_device_codes_is_told_so() {
    let starting = begin(&openai(Dialect::OpenAi)).1;
    let error = starting.read(&answer(404, "")).unwrap_err();
    assert_eq!(error, FlowError::DeviceDisabled);
    let anthropic = builtin::get("anthropic").unwrap();
    let server = server(&acme(), FlowKind::Device);
    let refused = start(&anthropic, &server, &SignInWith::default()).map(|_| ());
    let expected = FlowError::Server(ServerError::Flow(FlowKind::Device));
    assert_eq!(refused.unwrap_err(), expected);
}

#[test]
fn slow_down_is_for_good() {
    let device = device(&acme(), STARTED);
    let device = waits(step(device, 400, r#"{"error":"slow_down"}"#));
    assert_eq!(device.wait(), seconds(10));
    let device = waits(step(device, 400, r#"{"error":"authorization_pending"}"#));
    assert_eq!(device.wait(), seconds(10));
    let device = waits(step(device, 429, ""));
    assert_eq!(device.wait(), seconds(15));
    let mut limited = answer(429, "");
    limited.retry_after = Some(seconds(40));
    let device = waits(device.step(Polled::Answer(&limited), Duration::ZERO, NOW));
    assert_eq!(device.wait(), seconds(40));
    let device = waits(step(device, 400, r#"{"error":"slow_down","interval":3}"#));
    assert_eq!(device.wait(), seconds(45));
}

#[test]
fn a_failing_network_doubles_the_wait_until_it_answers() {
    let lost = |device: Device| waits(device.step(Polled::Nothing, Duration::ZERO, NOW));
    let device = lost(lost(device(&acme(), STARTED)));
    assert_eq!(device.wait(), seconds(20));
    let device = waits(step(device, 503, ""));
    assert_eq!(device.wait(), seconds(40));
    let device = lost(lost(lost(lost(device))));
    assert_eq!(device.wait(), MAX_INTERVAL);
    let device = waits(step(device, 400, r#"{"error":"authorization_pending"}"#));
    assert_eq!(device.wait(), DEFAULT_INTERVAL);
}

#[test]
fn every_end() {
    let end = |status, body| step(device(&acme(), STARTED), status, body).unwrap_err();
    let denied = end(400, r#"{"error":"access_denied"}"#);
    assert_eq!(denied, FlowError::Refused(Refusal::AccessDenied));
    let expired = end(400, r#"{"error":"expired_token"}"#);
    assert_eq!(expired, FlowError::Refused(Refusal::Expired));
    let replayed = Refusal::Permanent(PermanentReason::InvalidGrant);
    assert_eq!(
        end(400, r#"{"error":"invalid_grant"}"#),
        FlowError::Refused(replayed)
    );
    let pending = answer(400, r#"{"error":"authorization_pending"}"#);
    let at = |elapsed| {
        let device = device(&acme(), STARTED);
        device.step(Polled::Answer(&pending), seconds(elapsed), NOW)
    };
    // The next poll would be at 600 s, which is still in time.
    waits(at(595));
    assert_eq!(at(596).unwrap_err(), FlowError::Refused(Refusal::Expired));
}

#[test]
fn a_first_answer_lacks_nothing_and_is_bounded() {
    let read = |body: &str| begin(&acme()).1.read(&answer(200, body));
    let lacks = |body: &str| match read(body) {
        Err(FlowError::Device(what)) => what,
        other => panic!("{body}: {other:?}"),
    };
    let with = |page: &str, code: &str| {
        format!(r#"{{"device_code":"d","user_code":"{code}","verification_uri":"{page}"}}"#)
    };
    assert_eq!(lacks("[]"), "JSON object");
    assert_eq!(lacks(r#"{"device_code":"d"}"#), "user code");
    assert_eq!(lacks(r#"{"user_code":"u"}"#), "verification address");
    for page in [
        "http://acme.example",
        "javascript:alert(1)",
        "https://u@a.example",
    ] {
        assert_eq!(lacks(&with(page, "u")), "verification address", "{page}");
    }
    assert_eq!(lacks(&with("https://a.example", "\\u001b[2J")), "user code");
    let code = "u".repeat(MAX_USER_CODE);
    assert!(read(&with("https://a.example", &code)).is_ok());
    assert_eq!(
        lacks(&with("https://a.example", &format!("{code}u"))),
        "user code"
    );
    let refused = begin(&acme())
        .1
        .read(&answer(400, r#"{"error":"unauthorized_client"}"#));
    assert!(matches!(
        refused,
        Err(FlowError::Refused(Refusal::Other { .. }))
    ));
    // An error is a refusal whatever the status, and so is a status without one.
    for (status, body) in [(200, r#"{"error":"access_denied"}"#), (503, "{}")] {
        let answer = begin(&acme()).1.read(&answer(status, body));
        assert!(matches!(answer, Err(FlowError::Refused(_))), "{status}");
    }
    let body = |interval: &str| {
        format!(
            r#"{{"device_code":"d","user_code":"u","verification_url":"https://a.example",
            "expires_in":1e9,"interval":{interval}}}"#
        )
    };
    let bounds = [
        ("0", MIN_INTERVAL),
        ("9999", MAX_INTERVAL),
        ("\"x\"", DEFAULT_INTERVAL),
    ];
    for (interval, expected) in bounds {
        let device = read(&body(interval)).unwrap();
        assert_eq!(
            (device.wait(), device.prompt().lifetime),
            (expected, MAX_LIFETIME)
        );
    }
}

#[test]
fn debug_shows_no_code() {
    let started = STARTED.replace("\"d\"", "\"canary\"");
    let shown = format!("{:?}", device(&acme(), &started));
    assert!(!shown.contains("canary"), "{shown}");
}

proptest! {
    /// Whatever a server says, the wait is bounded, never shrinks by a request to slow down, and
    /// the flow ends with its lifetime.
    #[test]
    fn any_run_of_answers_ends_in_time(
        answers in proptest::collection::vec((0usize..7, 0u64..400), 0..80),
    ) {
        const BODIES: [(u16, &str); 6] = [
            (400, r#"{"error":"authorization_pending"}"#),
            (400, r#"{"error":"slow_down"}"#),
            (429, ""),
            (503, ""),
            (200, r#"{"error":"authorization_pending"}"#),
            (200, r#"{"error":"slow_down","interval":9}"#),
        ];
        let mut device = device(&acme(), STARTED);
        let mut elapsed = Duration::ZERO;
        for (which, retry_after) in answers {
            let (before, wait) = (device.interval, device.wait());
            prop_assert!((MIN_INTERVAL..=MAX_INTERVAL).contains(&wait));
            elapsed += wait;
            prop_assert!(elapsed <= device.prompt().lifetime);
            let said = BODIES.get(which).map(|(status, body)| {
                let mut said = answer(*status, body);
                said.retry_after = Some(Duration::from_secs(retry_after));
                said
            });
            let polled = said.as_ref().map_or(Polled::Nothing, Polled::Answer);
            match device.step(polled, elapsed, NOW) {
                Ok(Step::Wait(next)) => device = *next,
                Ok(_) => return Err(TestCaseError::fail("granted")),
                Err(error) => {
                    prop_assert_eq!(error, FlowError::Refused(Refusal::Expired));
                    return Ok(());
                }
            }
            prop_assert!(device.interval >= before);
        }
    }
}
