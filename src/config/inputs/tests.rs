use super::*;
use crate::config::{Config, Trust};
use serde_json::json;

const CANARY: &str = "sk-canary-4f1c9a77e2";

fn read(value: Value) -> Config {
    Config::parse(&value.to_string(), "reseal.json", Trust::Own).unwrap()
}

fn inputs(value: Value) -> Vec<(String, String, String)> {
    let config = read(value);
    let row = |input: &Input| {
        let what = match &input.input {
            Ok(SecretInput::Ref { reference, .. }) => reference.to_string(),
            Ok(other) => format!("{other:?}"),
            Err(_) => "error".to_owned(),
        };
        let activity = match &input.activity {
            Activity::Active => String::new(),
            Activity::Inactive(why) => why.clone(),
        };
        let optional = if input.optional { "?" } else { "" };
        (
            input.path.to_string(),
            format!("{what}{optional}"),
            activity,
        )
    };
    config.secret_inputs().iter().map(row).collect()
}

fn reference(id: &str) -> Value {
    json!({"source": "vault", "provider": "default", "id": id})
}

fn rows(expected: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    let row = |(a, b, c): &(&str, &str, &str)| ((*a).into(), (*b).into(), (*c).into());
    expected.iter().map(row).collect()
}

#[test]
fn inputs_are_found_where_they_stand() {
    let found = inputs(json!({
        "secrets": {"defaults": {"env": "shell"}, "providers": {}},
        "models": {"providers": {
            "openai": {"apiKey": reference("o"), "optional": true},
            "plain": {"apiKey": CANARY, "baseUrl": "https://x"},
            "old": {"apiKey": "${OLD}",
                    "headers": {"X-Api-Key": CANARY, "X-Trace": "1", "B": "$B_1"}},
            "four": {"apiKey": {"source": "env", "provider": "d", "id": "A", "x": 1}},
            "gone": {"apiKey": {"source": "env", "id": "A"}, "enabled": false},
            "none": {"apiKey": "", "request": {"tls": {"key": reference("tls")}}},
        }},
        "mcp": {"servers": {
            "s": {"env": {"LOG": "1", "S_TOKEN": reference("t")}, "disabled": true},
        }},
        "agents": {"list": [{"tts": {"providers": {"x": {"apiKey": "secretref-env:TTS"}}}}]},
        "ours": {"deep": [{"x": reference("deep")}], "text": "${NOT_A_TARGET}",
                 "pair": {"source": "vault", "id": "no"},
                 "odd": {"source": "a", "provider": "b", "id": "c"}},
    }));
    let gone = "models.providers.gone is disabled";
    assert_eq!(
        found,
        rows(&[
            ("models.providers.openai.apiKey", "vault:o?", ""),
            ("models.providers.plain.apiKey", "Plaintext", ""),
            ("models.providers.old.apiKey", "env@shell:OLD", ""),
            ("models.providers.old.headers.X-Api-Key", "Plaintext", ""),
            ("models.providers.old.headers.B", "env@shell:B_1", ""),
            ("models.providers.four.apiKey", "error", ""),
            ("models.providers.gone.apiKey", "env@shell:A", gone),
            ("models.providers.none.request.tls.key", "vault:tls", ""),
            (
                "mcp.servers.s.env.S_TOKEN",
                "vault:t",
                "mcp.servers.s is disabled"
            ),
            ("agents.list[0].tts.providers.x.apiKey", "env@shell:TTS", ""),
            ("ours.deep[0].x", "vault:deep", ""),
        ])
    );
}

#[test]
fn owners_and_debug() {
    let config = read(json!({
        "models": {"providers": {"a.b": {"request": {"tls": {"key": reference("x")}}}}},
        "channels": {"irc": {"password": CANARY, "accounts": {"w": {"password": reference("p")}}}},
        "ours": {"deep": {"x": reference("y")}},
    }));
    let owners: Vec<_> = config
        .secret_inputs()
        .iter()
        .map(|i| i.owner().to_string())
        .collect();
    let expected = [
        "models.providers.\"a.b\"",
        "channels.irc",
        "channels.irc.accounts.w",
        "ours.deep",
    ];
    assert_eq!(owners, expected);
    assert!(!format!("{config:?}").contains("canary"));
    assert_eq!(config.secret_inputs()[1].input, Ok(SecretInput::Plaintext));
}

#[test]
fn literal_env_is_not_shown() {
    let entry = json!({"p": {"source": "exec", "command": "/op", "env": {"TOKEN": CANARY}}});
    let config = read(json!({"secrets": {"providers": entry}}));
    let shown = format!("{config:?}");
    assert!(
        shown.contains("TOKEN") && !shown.contains("canary"),
        "{shown}"
    );
    assert!(config.secret_inputs().is_empty());
}

#[test]
fn channel_surfaces() {
    let found = inputs(json!({"channels": {
        "telegram": {"enabled": false, "botToken": reference("tg")},
        "slack": {"botToken": reference("top"), "appToken": reference("app"), "accounts": {
            "a": {"botToken": reference("a")},
            "b": {"botToken": reference("b"), "appToken": reference("bapp"), "enabled": false},
        }},
        "irc": {"nickserv": {"password": reference("nick")}, "accounts": {"x": {"enabled": false}}},
        "googlechat": {"serviceAccount": {"type": "service_account"},
                       "serviceAccountRef": reference("sa")},
    }}));
    assert_eq!(
        found,
        rows(&[
            (
                "channels.telegram.botToken",
                "vault:tg",
                "channels.telegram is disabled"
            ),
            (
                "channels.slack.botToken",
                "vault:top",
                "no enabled account of channels.slack inherits it"
            ),
            ("channels.slack.appToken", "vault:app", ""),
            ("channels.slack.accounts.a.botToken", "vault:a", ""),
            (
                "channels.slack.accounts.b.botToken",
                "vault:b",
                "channels.slack.accounts.b is disabled"
            ),
            (
                "channels.slack.accounts.b.appToken",
                "vault:bapp",
                "channels.slack.accounts.b is disabled"
            ),
            (
                "channels.irc.nickserv.password",
                "vault:nick",
                "no enabled account of channels.irc inherits it"
            ),
            ("channels.googlechat.serviceAccount", "Plaintext", ""),
            ("channels.googlechat.serviceAccountRef", "vault:sa", ""),
        ])
    );
}

#[test]
fn search_surfaces() {
    let config = |search: Value| {
        let plugin = |id| json!({"config": {"webSearch": {"apiKey": reference(id)}}});
        let mut search = search;
        search["apiKey"] = reference("brave");
        inputs(json!({
            "tools": {"web": {"search": search}},
            "plugins": {"entries": {"google": plugin("g"), "tavily": plugin("t")}},
        }))
    };
    let active = |search: Value| -> Vec<String> {
        let found = config(search)
            .into_iter()
            .filter(|(_, _, why)| why.is_empty());
        found.map(|(_, what, _)| what).collect()
    };
    assert_eq!(active(json!({})), ["vault:brave"]);
    assert_eq!(active(json!({"provider": "gemini"})), ["vault:g"]);
    assert_eq!(active(json!({"provider": "tavily"})), ["vault:t"]);
    assert_eq!(active(json!({"provider": "google"})), ["vault:g"]);
    assert_eq!(active(json!({"enabled": false})), Vec::<String>::new());
}

#[test]
fn sandbox_and_gateway_surfaces() {
    let sandbox = |defaults: &str, own: Value| {
        let mut agent = json!({"sandbox": {"ssh": {"identityData": reference("i")}}});
        if !own.is_null() {
            agent["sandbox"]["backend"] = own;
        }
        let agents = json!({"defaults": {"sandbox": {"backend": defaults}}, "list": [agent]});
        inputs(json!({"agents": agents})).remove(0).2
    };
    assert_eq!(sandbox("ssh", json!(null)), "");
    assert_eq!(sandbox("docker", json!("ssh")), "");
    assert_eq!(
        sandbox("ssh", json!("docker")),
        "the sandbox backend is not ssh"
    );
    let gateway = |gateway: Value| {
        let mut gateway = gateway;
        gateway["remote"]["token"] = reference("r");
        gateway["auth"]["token"] = reference("a");
        let found = inputs(json!({"gateway": gateway}));
        let why = |path: &str| found.iter().find(|row| row.0 == path).unwrap().2.clone();
        (why("gateway.remote.token"), why("gateway.auth.token"))
    };
    let local = || "the gateway is local".to_owned();
    assert_eq!(gateway(json!({})), (local(), String::new()));
    assert_eq!(gateway(json!({"mode": "remote"})).0, "");
    assert_eq!(gateway(json!({"remote": {"url": "ws://x"}})).0, "");
    assert_eq!(gateway(json!({"tailscale": {"mode": "serve"}})).0, "");
    let other = gateway(json!({"auth": {"mode": "password"}})).1;
    assert_eq!(other, "gateway.auth.mode is password");
    assert_eq!(gateway(json!({"auth": {"mode": "token"}})).1, "");
}

#[test]
fn every_target_pattern_is_found() {
    for (path, hit) in [
        ("models.providers.x.apiKey", true),
        ("models.providers.x.request.proxy.tls.passphrase", true),
        ("skills.entries.x.apiKey", true),
        (
            "plugins.entries.voice-call.config.realtime.providers.p.apiKey",
            true,
        ),
        ("plugins.entries.acpx.config.mcpServers.s.env.K", true),
        (
            "channels.discord.accounts.a.voice.tts.providers.p.apiKey",
            true,
        ),
        ("channels.matrix.accounts.a.accessToken", true),
        ("channels.msteams.appPassword", true),
        ("gateway.auth.password", true),
        ("cron.webhookToken", true),
        ("agents.list[3].memorySearch.remote.apiKey", true),
        ("hooks.token", false),
        ("models.providers.x.baseUrl", false),
        ("channels.discord.threadBindings.webhookToken", false),
        ("models.providers.x.y.apiKey", false),
    ] {
        let path: Path = path.parse().unwrap();
        assert_eq!(target::find(path.segments()).is_some(), hit, "{path}");
    }
    let headers: Path = "models.providers.x.headers.h".parse().unwrap();
    let target = target::find(headers.segments()).unwrap();
    assert!(target.by_name && target.pattern() == "models.providers.*.headers.*");
    for (name, sensitive) in [
        ("Authorization", true),
        ("X-API-Key", true),
        ("MY_SECRET", true),
        ("PGPASSWORD", true),
        ("X-Request-Id", false),
        ("NODE_ENV", false),
    ] {
        assert_eq!(target::is_sensitive_name(name), sensitive, "{name}");
    }
}

#[test]
fn a_large_config_is_read() {
    let entry = |i: usize| {
        (
            format!("p{i}"),
            json!({"apiKey": reference(&format!("r{i}"))}),
        )
    };
    let entries: Map<_, _> = (0..10_000).map(entry).collect();
    assert_eq!(
        inputs(json!({"models": {"providers": entries}})).len(),
        10_000
    );
}

#[test]
fn a_redaction_placeholder_is_an_error() {
    let config = read(json!({"models": {"providers": {"x": {"apiKey": "__OPENCLAW_REDACTED__"}}}}));
    assert_eq!(config.secret_inputs()[0].input, Err(RefError::Redacted));
}
