//! `models status --probe`, with a provider's API on this machine.

use super::world::{World, finish};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

const CANARY: &str = "sk-canary-77aa03c1d2";

/// An API that takes the key of [`CANARY`], and what it was asked.
struct Provider {
    base: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
                let status = match head.contains(&format!("Bearer {CANARY}\r\n")) {
                    true => "200 OK",
                    false => "401 Unauthorized",
                };
                seen.lock().unwrap().push(head);
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n{{}}");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { base, heads }
    }

    fn asked(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

fn key(variable: &str) -> Value {
    let reference = json!({"source": "env", "provider": "default", "id": variable});
    json!({"type": "api_key", "provider": "acme", "keyRef": reference})
}

fn world(provider: &Provider) -> World {
    let world = World::new();
    let config = json!({"models": {"providers": {"acme": {"baseUrl": provider.base}}}});
    std::fs::write(world.config(), config.to_string()).unwrap();
    let profiles = json!({
        "acme:good": key("GOOD"),
        "acme:bad": key("BAD"),
        "acme:unset": key("UNSET"),
        "acme:plain": {"type": "api_key", "provider": "acme", "key": CANARY},
        "acme:old": {"type": "token", "provider": "acme", "tokenRef": "$GOOD", "expires": 1000},
        "nobody:a": {"type": "api_key", "provider": "nobody", "keyRef": "$GOOD"},
    });
    let text = json!({"version": 1, "profiles": profiles}).to_string();
    std::fs::write(world.profiles(), text).unwrap();
    world
}

fn probe(world: &World, args: &[&str]) -> super::world::Ran {
    let args = [&["models", "status", "--probe"], args].concat();
    let mut command = world.command(&args);
    command.env("GOOD", CANARY).env("BAD", "sk-other");
    finish(command, None)
}

/// Profile, status and reason of every result.
fn results(document: &Value) -> Vec<(String, String, Value)> {
    let results = document["auth"]["probes"]["results"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    results
        .iter()
        .map(|r| {
            (
                text(&r["profileId"]),
                text(&r["status"]),
                r["reasonCode"].clone(),
            )
        })
        .collect()
}

#[test]
fn a_probe_asks_the_provider_and_says_why_it_does_not() {
    let provider = Provider::start();
    let world = world(&provider);
    world
        .run(&[
            "models",
            "auth",
            "order",
            "set",
            "--provider",
            "acme",
            "acme:good",
            "acme:bad",
            "acme:unset",
            "acme:plain",
        ])
        .ok();
    let ran = probe(&world, &["--json"]).ok();
    assert!(!ran.text().contains(CANARY), "{}", ran.text());
    let document = ran.json();
    let expect = |id: &str, status: &str, reason: Value| (id.to_owned(), status.to_owned(), reason);
    assert_eq!(
        results(&document),
        [
            expect("acme:good", "ok", Value::Null),
            expect("acme:bad", "auth", Value::Null),
            expect("acme:unset", "unknown", json!("unresolved_ref")),
            expect("acme:old", "unknown", json!("expired")),
            expect("acme:plain", "unknown", json!("ineligible_profile")),
            expect("nobody:a", "no_model", json!("no_model")),
        ]
    );
    let probes = &document["auth"]["probes"];
    assert_eq!(probes["totalTargets"], 6);
    assert_eq!(
        probes["options"],
        json!({"provider": null, "profileIds": [], "timeoutMs": 8000, "concurrency": 2,
            "maxTokens": 8})
    );
    let error = probes["results"][3]["error"].as_str().unwrap();
    let first = "Auth profile credentials are missing or expired.\n↳ Auth reason [expired]: ";
    assert!(error.starts_with(first), "{error}");
    assert_eq!(provider.asked(), 2);
    for head in provider.heads.lock().unwrap().iter() {
        assert!(head.starts_with("GET /v1/models HTTP/1.1\r\n"), "{head}");
    }
    let ran = probe(&world, &[]).ok();
    assert!(
        ran.text().contains("127.0.0.1 answered with status 401"),
        "{}",
        ran.text()
    );
}

#[test]
fn a_probe_is_narrowed_down() {
    let provider = Provider::start();
    let world = world(&provider);
    let ids = |args: &[&str]| {
        let document = probe(&world, &[&["--json"], args].concat()).ok().json();
        let ids = results(&document).into_iter().map(|(id, ..)| id);
        ids.collect::<Vec<_>>()
    };
    assert_eq!(ids(&["--probe-provider", "Nobody"]), ["nobody:a"]);
    assert_eq!(
        ids(&["--probe-profile", "acme:bad,acme:good"]),
        ["acme:bad", "acme:good"]
    );
    probe(&world, &["--probe-profile", "acme:gone"]).code(3);
    probe(&world, &["--plain"]).code(2);
    probe(&world, &["--probe-concurrency", "17"]).code(2);
    probe(&world, &["--probe-timeout", "120001"]).code(2);
    world
        .run(&["models", "status", "--probe-provider", "acme"])
        .code(2);
    // Excluded is only who an order leaves out.
    world
        .run(&[
            "models",
            "auth",
            "order",
            "set",
            "--provider",
            "acme",
            "acme:bad",
        ])
        .ok();
    let document = probe(&world, &["--json", "--probe-profile", "acme:good"])
        .ok()
        .json();
    assert_eq!(results(&document)[0].2, "excluded_by_auth_order");
}

#[test]
fn a_provider_that_does_not_answer_ends_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let world = world(&Provider::start());
    let base = format!("http://{}", silent.local_addr().unwrap());
    let config = json!({"models": {"providers": {"acme": {"baseUrl": base}}}});
    std::fs::write(world.config(), config.to_string()).unwrap();
    let args = [
        "--json",
        "--probe-profile",
        "acme:good",
        "--probe-timeout",
        "50",
    ];
    let document = probe(&world, &args).ok().json();
    assert_eq!(results(&document)[0].1, "timeout");
}

#[test]
fn a_project_s_config_gets_no_credential_sent_anywhere() {
    let provider = Provider::start();
    let world = world(&provider);
    let project = world.beside("project");
    std::fs::create_dir_all(format!("{project}/.git")).unwrap();
    let config = format!("{project}/reseal.json");
    std::fs::copy(world.config(), &config).unwrap();
    let args = [
        "--json",
        "--config",
        &config,
        "--probe-profile",
        "acme:good",
    ];
    let document = probe(&world, &args).ok().json();
    assert_eq!(results(&document)[0].1, "no_model");
    assert_eq!(provider.asked(), 0);
}

#[test]
fn an_address_that_no_credential_may_go_to_is_refused() {
    let world = world(&Provider::start());
    let config = json!({"models": {"providers": {"acme": {"baseUrl": "http://api.example/v1"}}}});
    std::fs::write(world.config(), config.to_string()).unwrap();
    let ran = probe(&world, &[]).code(2);
    assert!(
        ran.stderr.contains("models.providers.acme.baseUrl"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_locked_vault_is_no_reason_to_ask_a_person() {
    let provider = Provider::start();
    let world = world(&provider);
    world.store("acme/sealed", CANARY);
    let reference = json!({"source": "vault", "provider": "default", "id": "acme/sealed"});
    let profile = json!({"type": "api_key", "provider": "acme", "keyRef": reference});
    let text = json!({"version": 1, "profiles": {"acme:sealed": profile}}).to_string();
    std::fs::write(world.profiles(), text).unwrap();
    let document = probe(&world, &["--json"]).ok().json();
    assert_eq!(results(&document)[0].2, "unresolved_ref");
    assert_eq!(provider.asked(), 0);
    let passphrase = world.passphrase();
    let args = ["--json", "--passphrase-file", &passphrase];
    let document = probe(&world, &args).ok().json();
    assert_eq!(results(&document)[0].1, "ok");
}
