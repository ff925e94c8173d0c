use super::*;
use crate::oauth::HttpAnswer;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

fn secret(text: &str) -> SecretValue {
    SecretValue::copy_of(text.as_bytes())
}

fn api(provider: &str) -> Api {
    Api::of(provider, None).unwrap().unwrap()
}

fn lines(provider: &str, profile_type: ProfileType) -> Vec<String> {
    let request = api(provider).request(profile_type, &secret("KEY"));
    let text = |value: &SecretValue| String::from_utf8(value.expose().to_vec()).unwrap();
    let first = request
        .authorization
        .iter()
        .map(|value| ("authorization", text(value)));
    let others = request
        .headers
        .iter()
        .map(|(name, value)| (*name, text(value)));
    first
        .chain(others)
        .map(|(name, value)| format!("{name}: {value}"))
        .collect()
}

#[test]
fn each_api_gets_the_credential_as_it_takes_it() {
    assert_eq!(
        lines("openai", ProfileType::ApiKey),
        ["authorization: Bearer KEY"]
    );
    assert_eq!(
        lines("anthropic", ProfileType::ApiKey),
        ["x-api-key: KEY", "anthropic-version: 2023-06-01"]
    );
    assert_eq!(
        lines("anthropic", ProfileType::Token),
        [
            "authorization: Bearer KEY",
            "anthropic-version: 2023-06-01",
            "anthropic-beta: oauth-2025-04-20"
        ]
    );
    assert_eq!(
        lines("google", ProfileType::ApiKey),
        ["x-goog-api-key: KEY"]
    );
    assert_eq!(
        lines("google", ProfileType::OAuth),
        ["authorization: Bearer KEY"]
    );
}

#[test]
fn every_built_in_address_is_one() {
    for (provider, url) in BUILT_IN {
        assert_eq!(api(provider).url.as_str(), *url);
        assert!(url.starts_with("https://"));
    }
}

#[test]
fn a_configured_address_comes_first() {
    let url =
        |provider, base| Api::of(provider, Some(base)).map(|api| api.unwrap().url.to_string());
    let local = "http://127.0.0.1:8080/v1/";
    assert_eq!(
        url("openai", local).unwrap(),
        "http://127.0.0.1:8080/v1/models"
    );
    let proxy = "https://proxy.example";
    assert_eq!(
        url("anthropic", proxy).unwrap(),
        "https://proxy.example/v1/models"
    );
    assert_eq!(
        url("anthropic", "https://p/v1").unwrap(),
        "https://p/v1/models"
    );
    assert_eq!(
        url("openrouter", "https://p/v1").unwrap(),
        "https://p/v1/key"
    );
    for bad in [
        "http://api.example/v1",
        "https://user:hunter2@api.example",
        "ftp://x",
        "x",
    ] {
        let error = url("openai", bad).unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
    assert_eq!(Api::of("nobody", None), Ok(None));
}

/// Answers every request with a status, and lets a test see how many come at once.
struct Statuses {
    statuses: Vec<u16>,
    asked: AtomicUsize,
}

impl Http for Statuses {
    fn send(&self, _request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        let index = self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(HttpAnswer::new(
            self.statuses[index],
            secret("{\"error\": \"canary-of-the-server\"}"),
        ))
    }
}

fn target(provider: &str) -> Target {
    Target {
        api: api(provider),
        profile_type: ProfileType::ApiKey,
        credential: secret("KEY"),
    }
}

#[test]
fn answers_are_told_by_their_status_alone() {
    let of = |provider, status| {
        let http = Statuses {
            statuses: vec![status],
            asked: AtomicUsize::new(0),
        };
        probe(&http, &target(provider))
    };
    let table = [
        (200, ProbeStatus::Ok),
        (401, ProbeStatus::Auth),
        (403, ProbeStatus::Auth),
        (402, ProbeStatus::Billing),
        (429, ProbeStatus::RateLimit),
        (408, ProbeStatus::Timeout),
        (404, ProbeStatus::Format),
        (302, ProbeStatus::Unknown),
        (503, ProbeStatus::Unknown),
    ];
    for (status, expected) in table {
        let finding = of("openai", status);
        assert_eq!(finding.status, expected, "{status}");
        assert_eq!(finding.error.is_none(), status == 200);
        let error = finding.error.unwrap_or_default();
        assert!(
            !error.contains("canary") && !error.contains("KEY"),
            "{error}"
        );
    }
    assert_eq!(of("google", 400).status, ProbeStatus::Auth);
    assert_eq!(of("openai-codex", 403).status, ProbeStatus::Unknown);
}

/// Holds every request until so many are under way, and counts them.
struct Gate {
    all_here: Barrier,
    running: Mutex<(usize, usize)>,
}

impl Http for Gate {
    fn send(&self, _request: &HttpRequest) -> Result<HttpAnswer, NetError> {
        let mut running = self.running.lock().unwrap();
        running.0 += 1;
        running.1 = running.1.max(running.0);
        drop(running);
        self.all_here.wait();
        self.running.lock().unwrap().0 -= 1;
        Ok(HttpAnswer::new(200, secret("")))
    }
}

#[test]
fn so_many_run_at_once_and_no_more() {
    let http = Gate {
        all_here: Barrier::new(3),
        running: Mutex::new((0, 0)),
    };
    let targets: Vec<_> = (0..9).map(|_| target("openai")).collect();
    let findings = probe_all(&http, &targets, 3);
    assert_eq!(findings.len(), 9);
    assert_eq!(http.running.lock().unwrap().1, 3);
    assert_eq!(probe_all(&http, &[], 3), []);
}

#[test]
fn findings_keep_the_order_of_the_targets() {
    let statuses = vec![200, 401, 429, 402];
    let http = Statuses {
        statuses,
        asked: AtomicUsize::new(0),
    };
    let targets: Vec<_> = (0..4).map(|_| target("openai")).collect();
    // One after the other, so that the answers are known.
    let found = probe_all(&http, &targets, 1);
    let found: Vec<_> = found
        .into_iter()
        .map(|finding| finding.status.as_str())
        .collect();
    assert_eq!(found, ["ok", "auth", "rate_limit", "billing"]);
}
