use super::provider::{
    DEFAULT_BYTES, DEFAULT_TIMEOUT, MAX_ALLOWLIST, MAX_ARG, MAX_ARGS, MAX_BYTES, MAX_PASS_ENV,
    MAX_RETRIES, MAX_TRUSTED_DIRS,
};
use super::*;
use crate::error::Failure;
use proptest::prelude::*;
use serde_json::{Map, json};
use std::path::PathBuf;
use std::time::Duration;

const CANARY: &str = "sk-canary-4f1c9a77e2";

fn read(value: Value) -> Config {
    Config::parse(&value.to_string(), "reseal.json", Trust::Own).unwrap()
}

fn errors(value: Value) -> Vec<String> {
    errors_of(&value.to_string(), Trust::Own)
}

fn errors_of(text: &str, trust: Trust) -> Vec<String> {
    let errors = Config::parse(text, "reseal.json", trust).unwrap_err();
    let texts = errors.all().iter().map(|error| match error {
        ConfigError::Value { path, problem, .. } => format!("{path}: {problem}"),
        other => other.to_string(),
    });
    texts.collect()
}

fn alias(text: &str) -> Alias {
    text.parse().unwrap()
}

fn providers(entries: Value) -> Value {
    json!({"secrets": {"providers": entries}})
}

#[test]
fn the_text_that_init_writes_is_valid_and_can_be_edited() {
    let mut document = Document::parse(Config::default_text(), "reseal.json").unwrap();
    let config = Config::read(&document, Trust::Own).unwrap();
    assert!(config.secret_inputs().is_empty() && config.providers.is_empty());
    let path = "models.providers.openai.apiKey".parse().unwrap();
    let value = json!({"source": "vault", "provider": "default", "id": "openai/default"});
    document.set(&path, value).unwrap();
    let config = Config::read(&document, Trust::Own).unwrap();
    assert_eq!(config.secret_inputs().len(), 1);
    for line in Config::default_text()
        .lines()
        .filter(|line| line.contains("//"))
    {
        assert!(document.text().contains(line), "{line} lost");
    }
    // What it shows in comments is right too.
    let shown = Config::default_text().replace("// \"", "\"");
    let config = Config::parse(&shown, "reseal.json", Trust::Own).unwrap();
    assert_eq!(config.providers.len(), 2);
    assert_eq!(config.vault.ttl, Some(Duration::from_secs(12 * 3600)));
}

#[test]
fn providers_and_their_defaults() {
    let config = read(providers(json!({
        "shell": {"source": "env", "allowlist": ["A", "B_1"]},
        "none": {"source": "env", "allowlist": []},
        "mounted": {"source": "file", "path": "~/keys.json"},
        "single": {"source": "file", "path": "/k", "mode": "singleValue", "timeoutMs": 9,
                   "maxBytes": 7, "allowInsecurePath": true},
        "op": {"source": "exec", "command": "/usr/bin/op"},
        "full": {"source": "exec", "command": "/usr/bin/op", "args": ["-x", ""],
                 "timeoutMs": 120000,
                 "noOutputTimeoutMs": 5, "maxOutputBytes": 20971520, "jsonOnly": false,
                 "env": {"A": "x", "lower": ""}, "passEnv": ["HOME"], "trustedDirs": ["/usr/bin"],
                 "allowSymlinkCommand": true, "allowInsecurePath": true, "retries": 5,
                 "cacheTtlMs": 86400000},
        "other": {"source": "vault", "path": "/v.reseal", "identity": "~/id"},
    })));
    let of = |source, name| config.provider(source, &alias(name)).unwrap().into_owned();
    let allow = |names: &[&str]| {
        let allowlist = Some(names.iter().map(|name| (*name).to_owned()).collect());
        ProviderConfig::Env(EnvProvider { allowlist })
    };
    assert_eq!(of(Source::Env, "shell"), allow(&["A", "B_1"]));
    assert_eq!(of(Source::Env, "none"), allow(&[]));
    let ProviderConfig::File(file) = of(Source::File, "mounted") else {
        panic!()
    };
    assert_eq!((file.mode, file.timeout), (FileMode::Json, DEFAULT_TIMEOUT));
    assert_eq!(
        (file.max_bytes, file.allow_insecure_path),
        (DEFAULT_BYTES, false)
    );
    let home = std::path::Path::new("/home/u");
    assert_eq!(
        file.path.expand(Some(home)),
        Some(PathBuf::from("/home/u/keys.json"))
    );
    assert_eq!(file.path.expand(None), None);
    let ProviderConfig::File(file) = of(Source::File, "single") else {
        panic!()
    };
    assert_eq!((file.mode, file.max_bytes), (FileMode::SingleValue, 7));
    assert!(file.allow_insecure_path && file.timeout == Duration::from_millis(9));
    let ProviderConfig::Exec(exec) = of(Source::Exec, "op") else {
        panic!()
    };
    assert_eq!(
        (exec.timeout, exec.no_output_timeout),
        (DEFAULT_TIMEOUT, DEFAULT_TIMEOUT)
    );
    assert!(exec.json_only && exec.args.is_empty() && exec.retries == 0);
    assert_eq!(
        (exec.max_output_bytes, exec.cache_ttl),
        (DEFAULT_BYTES, Duration::ZERO)
    );
    let ProviderConfig::Exec(exec) = of(Source::Exec, "full") else {
        panic!()
    };
    assert_eq!(
        (exec.retries, exec.args),
        (5, vec!["-x".to_owned(), String::new()])
    );
    assert_eq!(exec.no_output_timeout, Duration::from_millis(5));
    assert_eq!(exec.env.0.len(), 2);
    let ProviderConfig::Vault(vault) = of(Source::Vault, "other") else {
        panic!()
    };
    assert_eq!(vault.path.unwrap().as_str(), "/v.reseal");
}

#[test]
fn the_silence_limit_follows_the_time_limit() {
    let entry = json!({"op": {"source": "exec", "command": "/op", "timeoutMs": 70}});
    let config = read(providers(entry));
    let ProviderConfig::Exec(exec) = &config.providers[&alias("op")] else {
        panic!()
    };
    assert_eq!(exec.no_output_timeout, Duration::from_millis(70));
}

#[test]
fn each_limit_of_a_provider_at_and_past() {
    let exec = |key: &str, value: Value| {
        let mut entry = json!({"source": "exec", "command": "/op"});
        entry[key] = value;
        providers(json!({"p": entry}))
    };
    let names = |count| (0..count).map(|i| format!("N{i}")).collect::<Vec<_>>();
    let dirs = |count| (0..count).map(|i| format!("/d{i}")).collect::<Vec<_>>();
    let map = |count| {
        names(count)
            .into_iter()
            .map(|n| (n, json!("")))
            .collect::<Map<_, _>>()
    };
    let pairs = [
        (
            "args",
            json!(vec!["x"; MAX_ARGS]),
            json!(vec!["x"; MAX_ARGS + 1]),
        ),
        (
            "args",
            json!(["ä".repeat(MAX_ARG)]),
            json!(["ä".repeat(MAX_ARG + 1)]),
        ),
        ("timeoutMs", json!(120_000), json!(120_001)),
        ("noOutputTimeoutMs", json!(1), json!(0)),
        ("maxOutputBytes", json!(MAX_BYTES), json!(MAX_BYTES + 1)),
        (
            "passEnv",
            json!(names(MAX_PASS_ENV)),
            json!(names(MAX_PASS_ENV + 1)),
        ),
        ("passEnv", json!(["HTTP_PROXY"]), json!(["http_proxy"])),
        (
            "env",
            json!(map(MAX_PASS_ENV)),
            json!(map(MAX_PASS_ENV + 1)),
        ),
        (
            "env",
            json!({"A": ""}),
            json!({"A": {"source": "env", "provider": "d", "id": "A"}}),
        ),
        (
            "trustedDirs",
            json!(dirs(MAX_TRUSTED_DIRS)),
            json!(dirs(MAX_TRUSTED_DIRS + 1)),
        ),
        ("trustedDirs", json!(["/a"]), json!(["a"])),
        ("retries", json!(MAX_RETRIES), json!(MAX_RETRIES + 1)),
        ("cacheTtlMs", json!(86_400_000), json!(86_400_001)),
        ("jsonOnly", json!(true), json!("true")),
        ("command", json!("/a b/c"), json!("a/c")),
        ("command", json!("/a"), json!("/a;b")),
        ("command", json!("/a"), json!("/a`b")),
        ("command", json!("/a"), json!("/a'b")),
        ("command", json!("/a"), json!("/a\nb")),
    ];
    for (key, good, bad) in pairs {
        read(exec(key, good));
        let found = errors(exec(key, bad));
        assert_eq!(found.len(), 1, "{key}: {found:?}");
        assert!(
            found[0].starts_with(&format!("secrets.providers.p.{key}")),
            "{found:?}"
        );
    }
}

#[test]
fn each_limit_of_the_other_providers_at_and_past() {
    let names = |count| (0..count).map(|i| format!("N{i}")).collect::<Vec<_>>();
    let env = |count| providers(json!({"p": {"source": "env", "allowlist": names(count)}}));
    read(env(MAX_ALLOWLIST));
    assert_eq!(errors(env(MAX_ALLOWLIST + 1)).len(), 1);
    let file = |max| providers(json!({"p": {"source": "file", "path": "/f", "maxBytes": max}}));
    read(file(MAX_BYTES));
    assert_eq!(errors(file(MAX_BYTES + 1)).len(), 1);
}

#[test]
fn unknown_keys_are_errors_in_our_sections_only() {
    let found = errors(json!({
        "vault": {"pth": "/x"},
        "daemon": {"ttl": 1, "hooks": {"onchange": {}}},
        "secrets": {
            "providers": {"p": {"source": "env", "allow": []}, "Bad": {"source": "env"}},
            "defaults": {"envs": "x"},
            "resolution": {"max": 1},
        },
    }));
    let starts = [
        "secrets.defaults.envs: is not a known key; known are vault, env, file, exec, store",
        "secrets.resolution.max: is not a known key",
        "secrets.providers.p.allow: is not a known key",
        "secrets.providers.Bad: is not a provider alias",
        "vault.pth: is not a known key",
        "daemon.ttl: is not a known key",
        "daemon.hooks.onchange: is not a known key",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}");
    }
    // Another runtime's sections are its own business.
    read(
        json!({"gateway": {"port": 1}, "agents": {"x": []}, "secrets": {"egress": {}}, "meta": 1}),
    );
}

#[test]
fn every_error_is_reported_with_its_line_and_no_value() {
    let text = format!(
        "{{\n\"vault\": {{\n\"path\": \"{CANARY}\",\n\"autoSeal\": \"{CANARY}\",\n\
         \"plugins\": [\"{CANARY}\"],\n\"ttl\": \"{CANARY}\"\n}}}}"
    );
    let errors = Config::parse(&text, "reseal.json", Trust::Own).unwrap_err();
    let lines = errors.all().iter().map(|e| match e {
        ConfigError::Value { line, .. } => *line,
        _ => 0,
    });
    assert_eq!(lines.collect::<Vec<_>>(), [3, 4, 5, 6]);
    assert!(
        !format!("{errors} {errors:?}").contains("canary"),
        "{errors}"
    );
    assert!(
        errors
            .to_string()
            .starts_with("reseal.json: line 3: vault.path is not an absolute")
    );
    assert_eq!(Failure::from(errors).code, Code::ConfigInvalid);
}

#[test]
fn not_more_errors_than_the_limit() {
    let entries: Map<_, _> = (0..=MAX_ERRORS)
        .map(|i| (format!("k{i}"), json!(1)))
        .collect();
    assert_eq!(errors(json!({"vault": entries})).len(), MAX_ERRORS);
}

#[test]
fn our_own_sections() {
    let config = read(json!({
        "vault": {"path": "~/v", "autoSeal": true, "expectFingerprint": "ab12", "plugins": ["/p"],
                  "allowNetworkFs": true, "ttl": "12h", "idle": "30m"},
        "daemon": {"ttlMs": 5, "idleMs": 6, "socket": "/run/s",
                   "hooks": {"onChange": {"command": "/bin/hook", "args": ["x"]}},
                   "confirm": {"command": "/bin/ask", "args": ["-q"], "keepMs": 7}},
        "oauth": {"providers": {"acme": {"clientId": "c", "env": ["ACME_TOKEN"]}}},
    }));
    assert!(config.vault.auto_seal && config.vault.allow_network_fs);
    assert_eq!(config.vault.plugins, [PathBuf::from("/p")]);
    assert_eq!(config.vault.expect_fingerprint.as_deref(), Some("ab12"));
    assert_eq!(config.vault.idle, Some(Duration::from_secs(1800)));
    assert_eq!(config.daemon.idle, Some(Duration::from_millis(6)));
    let hook = config.daemon.on_change.as_ref().unwrap();
    assert_eq!(
        (hook.command.to_str(), hook.args.len()),
        (Some("/bin/hook"), 1)
    );
    let confirm = config.daemon.confirm.as_ref().unwrap();
    assert_eq!(confirm.command, PathBuf::from("/bin/ask"));
    assert_eq!(confirm.timeout, section::DEFAULT_CONFIRM_TIMEOUT);
    assert_eq!(confirm.keep, Duration::from_millis(7));
    let acme = config.oauth_provider("Acme").unwrap();
    assert_eq!(acme.client_id.as_deref(), Some("c"));
    assert_eq!(
        config.env_names("Acme"),
        Some(["ACME_TOKEN".to_owned()].as_slice())
    );
    assert_eq!(config.env_names("other"), None);
    assert_eq!(errors(json!({"vault": {"ttl": "0s"}})).len(), 1);
    assert_eq!(errors(json!({"vault": []})), ["vault: is not an object"]);
    assert_eq!(errors(json!([])), [": is not an object"]);
}

#[test]
fn what_asks_a_person_has_limits() {
    let asking = |key: &str, value: Value| {
        let mut confirm = json!({"command": "/bin/ask"});
        confirm[key] = value;
        json!({"daemon": {"confirm": confirm}})
    };
    let longest = section::MAX_CONFIRM_TIMEOUT.as_millis();
    let kept = section::MAX_CONFIRM_KEEP.as_millis();
    for (key, most) in [("timeoutMs", longest), ("keepMs", kept)] {
        let most = u64::try_from(most).unwrap();
        read(asking(key, most.into()));
        assert_eq!(errors(asking(key, (most + 1).into())).len(), 1, "{key}");
    }
    for (key, value) in [
        ("command", json!("ask")),
        ("command", json!("/bin/ask; true")),
        ("timeoutMs", json!(0)),
        ("env", json!({})),
    ] {
        assert_eq!(errors(asking(key, value)).len(), 1, "{key}");
    }
    assert_eq!(errors(json!({"daemon": {"confirm": {}}})).len(), 1);
}

#[test]
fn a_projects_config_is_not_trusted() {
    let refused = json!({
        "vault": {"plugins": ["/p"]},
        "daemon": {},
        "secrets": {"providers": {
            "op": {"source": "exec", "command": "/op"},
            "all": {"source": "env"},
            "file": {"source": "file", "path": "/f", "allowInsecurePath": true},
            "v": {"source": "vault", "identity": "/id"},
        }},
    });
    let found = errors_of(&refused.to_string(), Trust::Project);
    let paths: Vec<_> = found
        .iter()
        .map(|e| e.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        paths,
        [
            "secrets.providers.op.command",
            "secrets.providers.all.allowlist",
            "secrets.providers.file.allowInsecurePath",
            "secrets.providers.v.identity",
            "vault",
            "daemon",
        ]
    );
    let fine = json!({
        "ours": {"source": "vault", "provider": "default", "id": "a"},
        "secrets": {"providers": {"few": {"source": "env", "allowlist": ["A"]}}},
    });
    let config = Config::parse(&fine.to_string(), "p.json", Trust::Project).unwrap();
    assert_eq!(config.secret_inputs().len(), 1);
}

#[test]
fn a_ref_finds_its_provider() {
    let config = read(json!({"secrets": {
        "defaults": {"env": "shell", "exec": "op"},
        "providers": {
            "f": {"source": "file", "path": "/f"},
            "st": {"source": "store"},
            "pl": {"source": "exec", "pluginIntegration": {"pluginId": "a", "integrationId": "b"}},
        },
    }}));
    let ask = |source, name| config.provider(source, &alias(name)).map(|p| p.source());
    assert_eq!(ask(Source::File, "f"), Ok(Source::File));
    assert_eq!(ask(Source::Env, "shell"), Ok(Source::Env));
    assert_eq!(ask(Source::Env, "default"), Ok(Source::Env));
    assert_eq!(ask(Source::Vault, "default"), Ok(Source::Vault));
    let absent = ask(Source::Exec, "op").unwrap_err();
    assert_eq!(
        absent.to_string(),
        "secret provider \"op\" is not configured (source exec)"
    );
    assert_eq!(Failure::from(absent).code, Code::RefProviderAbsent);
    let mismatch = ask(Source::Exec, "f").unwrap_err();
    let text = "secret provider \"f\" has source file but the ref asks for exec";
    assert_eq!(mismatch.to_string(), text);
    assert_eq!(Failure::from(mismatch).code, Code::RefProviderMismatch);
    for name in ["st", "pl"] {
        let error = ask(Source::Exec, name).unwrap_err();
        assert!(
            matches!(error, ConfigError::ProviderUnsupported { .. }),
            "{error}"
        );
    }
}

#[test]
fn routing() {
    let config = read(json!({"auth": {
        "profiles": {
            "Anthropic:work": {"provider": " Anthropic ", "mode": "token", "email": "a@b"},
            "openai:default": {"provider": "openai", "mode": "api_key", "more": 1},
            "no-colon": {"provider": "x"},
        },
        "order": {"OpenAI": ["openai:default", "bad", "openai:b"]},
        "cooldowns": {},
    }}));
    let ids: Vec<_> = config
        .routing
        .profiles
        .iter()
        .map(|(id, _)| id.as_str())
        .collect();
    assert_eq!(ids, ["Anthropic:work", "openai:default"]);
    let configured = config
        .routing
        .profile(&"Anthropic:work".parse().unwrap())
        .unwrap();
    assert_eq!(
        (configured.provider.as_str(), configured.mode),
        ("anthropic", Some(Mode::Token))
    );
    let order: Vec<_> = config.routing.order["openai"]
        .iter()
        .map(|id| id.as_str())
        .collect();
    assert_eq!(order, ["openai:default", "openai:b"]);
    let found = errors(json!({"auth": {"profiles": {"a:b": {"mode": "magic"}}}}));
    assert_eq!(
        found,
        ["auth.profiles.a:b.mode: is none of api_key, token, oauth, aws-sdk"]
    );
}

#[test]
fn env_names_have_a_limit() {
    let names = |count| vec!["A"; count];
    let config = |count| json!({"models": {"providers": {"x": {"env": names(count)}}}});
    assert_eq!(
        read(config(MAX_ENV_NAMES)).env_names("x").unwrap().len(),
        MAX_ENV_NAMES
    );
    assert_eq!(errors(config(MAX_ENV_NAMES + 1)).len(), 1);
    let bad = errors(json!({"oauth": {"providers": {"x": {"env": ["A=B"]}}}}));
    assert_eq!(
        bad,
        ["oauth.providers.x.env[0]: is not the name of a variable"]
    );
}

proptest! {
    #[test]
    fn any_config_is_read_or_refused(
        section in "(secrets|vault|daemon|grants|auth|models|channels|oauth)",
        key in "(providers|defaults|profiles|order|path|ttl|hooks|telegram|resolution)",
        inner in "(a|default|p:q)", field in "(source|apiKey|env|mode|botToken|enabled)",
        value in prop_oneof![
            Just(json!(null)), Just(json!(1)), Just(json!("exec")), Just(json!([])),
            Just(json!({"source": "env", "provider": "d", "id": "A"})), Just(json!(CANARY))],
    ) {
        let text = json!({section: {key: {inner: {field: value}}}}).to_string();
        for trust in [Trust::Own, Trust::Project] {
            let shown = match Config::parse(&text, "t", trust) {
                Ok(config) => format!("{config:?}"),
                Err(errors) => format!("{errors} {errors:?}"),
            };
            prop_assert!(!shown.contains("canary"), "{}", shown);
        }
    }
}

#[test]
fn cooldowns_are_read_in_the_family_s_units() {
    let text = r#"{"auth": {"cooldowns": {"billingBackoffHours": 0.5, "billingMaxHours": 48,
        "billingBackoffHoursByProvider": {" OpenAI ": 2}, "authPermanentBackoffMinutes": 1.5,
        "failureWindowHours": 12, "overloadedBackoffMs": 5}}}"#;
    let cooldowns = Config::parse(text, "c", Trust::Own).unwrap().cooldowns;
    let minutes = |count: u64| Duration::from_secs(count * 60);
    let expected = Cooldowns {
        billing: minutes(30),
        billing_by_provider: [("openai".to_owned(), minutes(120))].into(),
        billing_max: minutes(48 * 60),
        auth_permanent: Duration::from_secs(90),
        failure_window: minutes(12 * 60),
        ..Default::default()
    };
    assert_eq!(cooldowns, expected);
    for bad in ["0", "-1", "\"5\"", "8760.001"] {
        let text = format!(r#"{{"auth": {{"cooldowns": {{"billingMaxHours": {bad}}}}}}}"#);
        let error = Config::parse(&text, "c", Trust::Own).unwrap_err();
        let place = "auth.cooldowns.billingMaxHours is not a number above 0, at most 8760";
        assert!(error.to_string().contains(place), "{error}");
    }
    let most = r#"{"auth": {"cooldowns": {"billingMaxHours": 8760}}}"#;
    assert!(Config::parse(most, "c", Trust::Own).is_ok());
}
