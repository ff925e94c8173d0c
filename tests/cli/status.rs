//! `models status` and `channels list`.

use super::world::{World, finish};
use reseal::daemon::client::Client;
use reseal::oauth::{Account, ClientOf, Grant};
use reseal::runtime::service::{Request, Service};
use reseal::secret::SecretValue;
use reseal::sys::clock;
use reseal::time::UnixMs;
use reseal::vault::{Expect, Meta, RecordKind};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const CANARY: &str = "sk-canary-1f0b6f9e31c7";

fn write_profiles(world: &World, profiles: &Value) {
    let text = json!({"version": 1, "profiles": profiles}).to_string();
    std::fs::write(world.profiles(), text).unwrap();
}

fn vault_ref(name: &str) -> Value {
    json!({"source": "vault", "provider": "default", "id": name})
}

fn oauth(name: &str) -> Value {
    json!({"type": "oauth", "provider": "openai-codex", "oauthRef": vault_ref(name),
        "email": "me@example.com"})
}

/// Stores an account in the vault that the daemon holds, as a sign-in does.
fn put_account(world: &World, name: &str, endpoint: &str, ends_in: i64, refreshable: bool) {
    let secret = |text: &str| SecretValue::copy_of(text.as_bytes());
    let client = ClientOf::public("openai-codex", endpoint.parse().unwrap(), "id");
    let grant = Grant::bearer(
        secret(CANARY).into(),
        refreshable.then(|| secret(CANARY).into()),
        Some(24 * HOUR),
    );
    let day = 24 * 3_600_000;
    let obtained = clock::now().0.checked_add_signed(ends_in - day).unwrap();
    let account = Account::new(client, grant, None, UnixMs(obtained));
    let socket = world.state().join("run/daemon.sock");
    let uid = rustix::process::geteuid().as_raw();
    let mut vault = Client::connect(&socket, uid).unwrap().unwrap();
    let request = Request::Put {
        name: name.parse().unwrap(),
        kind: RecordKind::OAuth,
        meta: Meta::default(),
        expect: Expect::Any,
    };
    vault.call(request, vec![account.to_secret()]).unwrap();
}

/// An authorization server that has revoked everything. Serves until the test ends.
fn revoked() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/token", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let body = r#"{"error":"invalid_grant"}"#;
            let answer = format!(
                "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    endpoint
}

/// The entry of `auth.oauth.profiles` for a profile.
fn health<'a>(document: &'a Value, id: &str) -> &'a Value {
    let profiles = document["auth"]["oauth"]["profiles"].as_array().unwrap();
    let mut profiles = profiles.iter();
    profiles.find(|profile| profile["profileId"] == id).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// What `models status --json` says of a world with everything in it, and when its token ends.
fn full_house() -> (World, Value, UnixMs) {
    let world = World::new();
    let config = json!({
        "agents": {"defaults": {
            "model": {"primary": "opus", "fallbacks": ["openai/gpt"]},
            "models": {"anthropic/claude-opus": {"alias": "Opus"}},
        }},
        "models": {"providers": {"groq": {"apiKey": vault_ref("groq")},
            "local": {"apiKey": CANARY}}},
    });
    std::fs::write(world.config(), config.to_string()).unwrap();
    world.store("a", CANARY);
    let soon = clock::now().plus(3 * HOUR);
    write_profiles(
        &world,
        &json!({
            "anthropic:work": {"type": "token", "provider": "anthropic", "tokenRef": vault_ref("a"),
                "expires": soon},
            "anthropic:key": {"type": "api_key", "provider": "anthropic", "keyRef": vault_ref("a"),
                "email": "me@example.com"},
            "anthropic:plain": {"type": "api_key", "provider": "anthropic", "key": CANARY},
            "openai-codex:me": oauth("oauth/me"),
        }),
    );
    let report = ["models", "report", "anthropic:key", "--failure", "billing"];
    world.run(&report).ok();
    let mut command = world.command(&["--json", "models", "status"]);
    command.env("OPENAI_API_KEY", CANARY);
    let ran = finish(command, None).ok();
    assert!(!ran.text().contains(CANARY) && !ran.text().contains(&CANARY[..8]));
    (world, ran.json(), soon)
}

#[test]
fn the_document_has_the_family_s_members_and_no_part_of_a_secret() {
    let (world, status, _) = full_house();
    let names = "configPath agentId agentDir defaultModel resolvedDefault fallbacks imageModel \
                 imageFallbacks modelConfig aliases allowed auth";
    assert_eq!(keys(&status), Vec::from_iter(names.split_whitespace()));
    assert_eq!(status["defaultModel"], "opus");
    assert_eq!(status["resolvedDefault"], "anthropic/claude-opus");
    assert_eq!(status["aliases"], json!({"Opus": "anthropic/claude-opus"}));
    assert_eq!(status["imageModel"], Value::Null);
    let auth = &status["auth"];
    let names = "storePath shellEnvFallback providersWithOAuth missingProvidersInUse \
                 runtimeAuthRoutes providers unusableProfiles oauth";
    assert_eq!(keys(auth), Vec::from_iter(names.split_whitespace()));
    assert_eq!(auth["storePath"], world.profiles().to_str().unwrap());
    let with_oauth = json!(["anthropic (1)", "openai-codex (1)"]);
    assert_eq!(auth["providersWithOAuth"], with_oauth);
}

#[test]
fn providers_show_where_their_credentials_are() {
    let (_world, status, _) = full_house();
    let provider = |id: &str| {
        let mut all = status["auth"]["providers"].as_array().unwrap().iter();
        all.find(|provider| provider["provider"] == id).unwrap()
    };
    assert_eq!(provider("anthropic")["effective"]["kind"], "profiles");
    assert_eq!(
        provider("anthropic")["profiles"],
        json!({"count": 3, "oauth": 0, "token": 1, "apiKey": 2, "labels": [
            "anthropic:work=token:ref(vault:a)",
            "anthropic:key=ref(vault:a) [disabled:billing 5h]",
            "anthropic:plain=plaintext",
        ]})
    );
    let labels = json!(["openai-codex:me=OAuth (me@example.com)"]);
    assert_eq!(provider("openai-codex")["profiles"]["labels"], labels);
    let env = json!({"value": "set", "source": "env: OPENAI_API_KEY"});
    assert_eq!(provider("openai")["env"], env);
    assert_eq!(provider("openai")["effective"]["kind"], "env");
    assert_eq!(provider("groq")["modelsJson"]["value"], "ref(vault:groq)");
    assert_eq!(provider("groq")["effective"]["kind"], "models.json");
    assert_eq!(provider("local")["modelsJson"]["value"], "plaintext");
}

#[test]
fn profiles_show_how_they_stand() {
    let (_world, status, soon) = full_house();
    let unusable = &status["auth"]["unusableProfiles"][0];
    assert_eq!(unusable["profileId"], "anthropic:key");
    assert_eq!(unusable["kind"], "disabled");
    assert_eq!(unusable["reason"], "billing");
    let remaining = unusable["remainingMs"].as_u64().unwrap();
    assert!(remaining <= 5 * 3_600_000, "{remaining}");
    assert_eq!(status["auth"]["oauth"]["warnAfterMs"], 86_400_000);
    let work = health(&status, "anthropic:work");
    assert_eq!(
        (&work["status"], &work["source"]),
        (&json!("expiring"), &json!("store"))
    );
    assert_eq!(work["expiresAt"], json!(soon));
    let key = health(&status, "anthropic:key");
    assert_eq!(key["label"], "anthropic:key (me@example.com)");
    assert_eq!(key["status"], "static");
    let plain = health(&status, "anthropic:plain");
    assert_eq!(
        (&plain["status"], &plain["reasonCode"]),
        (&json!("missing"), &json!("plaintext"))
    );
}

#[test]
fn what_a_locked_vault_keeps_is_unknown_and_nothing_is_asked() {
    let world = World::new();
    write_profiles(&world, &json!({"openai-codex:me": oauth("oauth/me")}));
    // With a prompt this would hang or fail: there is no terminal, and --no-input is left out.
    let args: Vec<_> = ["--json", "models", "status", "--check"].to_vec();
    let ran = world.run(&args).code(4);
    let me = health(&ran.json(), "openai-codex:me").clone();
    assert_eq!(
        (&me["status"], &me["reasonCode"]),
        (&json!("unknown"), &json!("sealed"))
    );
    let ran = world.run(&["models", "status"]).ok();
    assert!(ran.text().contains("unknown (sealed)"), "{}", ran.text());
    assert!(ran.stderr.contains("reseal vault unlock"), "{}", ran.stderr);
    // Somebody who says how to open it is told more.
    let ran = world
        .with_passphrase(&["--json", "models", "status", "--check"])
        .code(1);
    let me = health(&ran.json(), "openai-codex:me").clone();
    assert_eq!(
        (&me["status"], &me["reasonCode"]),
        (&json!("missing"), &json!("unresolved_ref"))
    );
}

#[test]
fn accounts_are_judged_by_what_the_vault_knows() {
    let world = World::unlocked();
    let names = ["renews", "ends", "ended", "out"];
    let profiles = names.map(|name| (format!("openai-codex:{name}"), oauth(name)));
    write_profiles(&world, &Value::Object(profiles.into_iter().collect()));
    let nobody = "http://127.0.0.1:1/token";
    put_account(&world, "renews", nobody, 3_600_000, true);
    put_account(&world, "ends", nobody, 3_600_000, false);
    put_account(&world, "ended", nobody, -1000, false);
    put_account(&world, "out", &revoked(), -1000, true);
    world.run(&["token", "openai-codex:out"]).code(9);
    let ran = world.run(&["--json", "models", "status"]).ok();
    assert!(!ran.text().contains(CANARY));
    let status = ran.json();
    let of = |name: &str| {
        let found = health(&status, &format!("openai-codex:{name}"));
        (found["status"].clone(), found["reasonCode"].clone())
    };
    assert_eq!(of("renews"), (json!("ok"), Value::Null));
    assert_eq!(of("ends"), (json!("expiring"), Value::Null));
    assert_eq!(of("ended"), (json!("expired"), Value::Null));
    assert_eq!(of("out"), (json!("expired"), json!("sign_in_needed")));
    let provider = &status["auth"]["oauth"]["providers"][0];
    assert_eq!(provider["status"], "expired");
    assert_eq!(provider["effectiveProfiles"].as_array().unwrap().len(), 4);
    let ran = world.run(&["models", "status"]).ok();
    assert!(
        ran.stderr
            .contains("models auth login --provider openai-codex"),
        "{}",
        ran.stderr
    );

    let order = |names: &[&str]| {
        let ids: Vec<_> = names
            .iter()
            .map(|name| format!("openai-codex:{name}"))
            .collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        let set = [
            "models",
            "auth",
            "order",
            "set",
            "--provider",
            "openai-codex",
        ];
        world.run(&[&set[..], &ids].concat()).ok();
        world.run(&["models", "status", "--check"])
    };
    order(&["renews"]).ok();
    order(&["renews", "ends"]).code(2);
    order(&["renews", "out"]).code(1);
}

#[test]
fn the_check_is_about_providers_in_use() {
    let world = World::new();
    let check = |variable: Option<&str>| {
        let mut command = world.command(&["models", "status", "--check"]);
        if let Some(variable) = variable {
            command.env(variable, "x");
        }
        finish(command, None)
    };
    let config = |model: &str| {
        let config = json!({"agents": {"defaults": {"model": model}}});
        std::fs::write(world.config(), config.to_string()).unwrap();
    };
    write_profiles(
        &world,
        &json!({
            "p:old": {"type": "token", "provider": "p", "tokenRef": "$A", "expires": 1000},
            "q:key": {"type": "api_key", "provider": "q", "keyRef": "$A"},
        }),
    );
    check(None).code(1);
    config("q/m");
    check(None).ok();
    config("p/m");
    check(None).code(1);
    check(Some("P_API_KEY")).ok();
    config("r/m");
    let ran = check(None).code(1);
    assert!(ran.text().contains("(r)"), "{}", ran.text());
    let json = world.run(&["--json", "models", "status"]).ok().json();
    assert_eq!(json["auth"]["missingProvidersInUse"], json!(["r"]));
    let key = json!({"models": {"providers": {"r": {"apiKey": "$A"}}},
        "agents": {"defaults": {"model": "r/m"}}});
    std::fs::write(world.config(), key.to_string()).unwrap();
    check(None).ok();
}

#[test]
fn plain_lines_have_one_field_after_the_other() {
    let world = World::new();
    write_profiles(
        &world,
        &json!({
            "p:b": {"type": "token", "provider": "p", "tokenRef": "$A",
                "expires": 4102444800000_u64},
            "p:a": {"type": "api_key", "provider": "p", "keyRef": "$A"},
        }),
    );
    let ran = world.run(&["models", "status", "--plain"]).ok();
    assert_eq!(
        ran.text(),
        "p:b\ttoken\tok\t\t4102444800000\t\t1\tenv:A\np:a\tapi_key\tstatic\t\t\t\t2\tenv:A\n"
    );
    world
        .run(&["--json", "models", "status", "--plain"])
        .code(2);
    write_profiles(&world, &json!({}));
    assert_eq!(world.run(&["models", "status", "--plain"]).ok().text(), "");
}

#[test]
fn channels_list_the_profiles_by_id() {
    let world = World::new();
    let config = json!({"channels": {"telegram": {"accounts": {"bot": {}}}, "irc": {},
        "defaults": {}}});
    std::fs::write(world.config(), config.to_string()).unwrap();
    write_profiles(
        &world,
        &json!({
            "openai-codex:me": oauth("oauth/me"),
            "p:gone": {"type": "api_key", "provider": "p"},
        }),
    );
    let list = world.run(&["--json", "channels", "list"]).ok().json();
    assert_eq!(
        list["chat"],
        json!({"telegram": ["bot"], "irc": ["default"]})
    );
    assert_eq!(
        list["auth"],
        json!([
            {"id": "openai-codex:me", "provider": "openai-codex", "type": "oauth",
                "isExternal": false, "email": "me@example.com", "usable": true,
                "reasonCode": null},
            {"id": "p:gone", "provider": "p", "type": "api_key", "isExternal": false,
                "email": null, "usable": false, "reasonCode": "missing_credential"},
        ])
    );
    let text = world.run(&["channels", "list"]).ok();
    assert!(text.text().contains("openai-codex:me"), "{}", text.text());
}
