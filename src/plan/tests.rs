use super::*;
use crate::config::{Config, Trust};
use crate::document::Document;
use crate::profile::Store;
use serde_json::json;

fn parse(plan: Value) -> Result<Plan, PlanErrors> {
    Plan::parse(&plan.to_string(), "plan.json")
}

fn one(target: Value) -> Value {
    json!({"version": 1, "protocolVersion": 1, "targets": [target]})
}

fn refusal(plan: Value) -> String {
    parse(plan).unwrap_err().to_string()
}

/// The example of the family's documentation.
fn example() -> Value {
    json!({ "version": 1, "protocolVersion": 1, "generatedAt": "2026-11-01T00:00:00Z",
      "providerDeletes": ["old_alias"],
      "providerUpserts": {"vault": {"source": "exec", "command": "/abs/reseal",
        "args": ["exec-provider"], "jsonOnly": true}},
      "targets": [
        {"type": "models.providers.apiKey", "path": "models.providers.groq.apiKey",
         "pathSegments": ["models", "providers", "groq", "apiKey"], "providerId": "groq",
         "ref": {"source": "exec", "provider": "vault", "id": "providers/groq/apiKey"}},
        {"type": "auth-profiles.api_key.key", "path": "profiles.openrouter:default.key",
         "pathSegments": ["profiles", "openrouter:default", "key"], "agentId": "main",
         "authProfileProvider": "openrouter",
         "ref": {"source": "exec", "provider": "vault", "id": "profiles/openrouter/key"}},
        {"type": "auth-profiles.token.token", "path": "profiles.anthropic:default.token",
         "agentId": "main", "authProfileProvider": "anthropic",
         "ref": {"source": "exec", "provider": "vault", "id": "profiles/anthropic/token"}}],
      "options": {"scrubEnv": true, "scrubLegacyAuthJson": false} })
}

#[test]
fn the_familys_example_is_read_and_written_back() {
    let plan = parse(example()).unwrap();
    assert_eq!(plan.deletes[0].as_str(), "old_alias");
    assert_eq!(plan.upserts[0].alias.as_str(), "vault");
    assert_eq!(plan.targets.len(), 3);
    assert_eq!(
        plan.targets[0].place.to_string(),
        "models.providers.groq.apiKey"
    );
    assert_eq!(
        plan.targets[1].place.to_string(),
        "main: openrouter:default"
    );
    assert!(plan.options.scrub_env && plan.options.scrub_profiles && !plan.options.scrub_legacy);
    let again = Plan::parse(&plan.to_text(), "again").unwrap();
    assert_eq!(again, plan);
}

fn config_target(kind: &str, path: &str) -> Value {
    json!({"type": kind, "path": path, "ref": {"source": "env", "provider": "default", "id": "K"}})
}

#[test]
fn types_and_paths_have_to_fit() {
    for (kind, path) in [
        ("models.providers.apiKey", "models.providers.groq.apiKey"),
        ("models.providers.*.apiKey", "models.providers.groq.apiKey"),
        (
            "models.providers.headers",
            "models.providers.groq.headers.x-api-key",
        ),
        (
            "models.providers.*.request.headers.*",
            "models.providers.g.request.headers.h",
        ),
        (
            "models.providers.request.tls.key",
            "models.providers.g.request.tls.key",
        ),
        ("skills.entries.apiKey", "skills.entries.image.apiKey"),
        (
            "agents.list[].memorySearch.remote.apiKey",
            "agents.list.0.memorySearch.remote.apiKey",
        ),
        (
            "channels.telegram.accounts.*.botToken",
            "channels.telegram.accounts.a.botToken",
        ),
        (
            "channels.googlechat.serviceAccount",
            "channels.googlechat.serviceAccount",
        ),
        (
            "plugins.entries.brave.config.webSearch.apiKey",
            "plugins.entries.brave.config.webSearch.apiKey",
        ),
    ] {
        assert!(
            parse(one(config_target(kind, path))).is_ok(),
            "{kind} {path}"
        );
    }
}

#[test]
fn a_type_that_does_not_fit_its_path_is_refused() {
    for (kind, path) in [
        ("models.providers.apiKey", "models.providers.groq.baseUrl"),
        ("models.providers.apiKey", "skills.entries.image.apiKey"),
        ("models.providers.nothing", "models.providers.groq.apiKey"),
        ("no.such.type", "models.providers.groq.apiKey"),
        ("models.providers.apiKey", "models.providers.a.b.apiKey"),
        ("models.providers.apiKey", "models.providers..apiKey"),
        (
            "models.providers.apiKey",
            "models.providers.__proto__.apiKey",
        ),
        (
            "models.providers.apiKey",
            "models.providers.constructor.apiKey",
        ),
        (
            "models.providers.apiKey",
            "models.providers.prototype.apiKey",
        ),
        (
            "plugins.entries.exa.config.webSearch.apiKey",
            "plugins.entries.brave.config.webSearch.apiKey",
        ),
        (
            "channels.googlechat.serviceAccountRef",
            "channels.googlechat.serviceAccountRef",
        ),
        ("auth-profiles.api_key.key", "profiles.a:b.token"),
        ("auth-profiles.token.token", "profiles.a:b.key"),
        ("auth-profiles.api_key.key", "profiles.noColon.key"),
        ("auth-profiles.api_key.key", "models.providers.groq.apiKey"),
    ] {
        let mut target = config_target(kind, path);
        target["agentId"] = "main".into();
        let text = refusal(one(target));
        let expected = format!("Invalid plan target path for {kind}: {path}");
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn ids_beside_the_path_have_to_say_what_it_says() {
    let with = |key: &str, value: &str| {
        let path = "channels.slack.accounts.work.botToken";
        let mut target = config_target("channels.slack.accounts.*.botToken", path);
        target[key] = value.into();
        parse(one(target))
    };
    assert!(with("accountId", "work").is_ok());
    let text = with("accountId", "home").unwrap_err().to_string();
    assert!(
        text.contains("accountId is not the one in the path"),
        "{text}"
    );
    let mut target = config_target("models.providers.apiKey", "models.providers.groq.apiKey");
    target["providerId"] = "openai".into();
    let text = refusal(one(target));
    assert!(
        text.contains("providerId is not the one in the path"),
        "{text}"
    );
}

#[test]
fn segments_make_a_dot_part_of_a_key() {
    let mut target = config_target("models.providers.apiKey", "models.providers.a.b.apiKey");
    target["pathSegments"] = json!(["models", "providers", "a.b", "apiKey"]);
    let plan = parse(one(target.clone())).unwrap();
    assert_eq!(
        plan.targets[0].place.to_string(),
        "models.providers.\"a.b\".apiKey"
    );
    target["pathSegments"] = json!(["models", "providers", "c", "apiKey"]);
    let text = refusal(one(target));
    assert!(text.contains("pathSegments say something else"), "{text}");
}

#[test]
fn every_error_is_told_with_its_line() {
    let text = r#"{
  "version": 2,
  "protocolVersion": 1,
  "providerDeletes": ["Bad"],
  "providerUpserts": {
    "vault": {"source": "exec", "command": "relative"},
    "UPPER": {"source": "env"}
  },
  "targets": [
    {"type": "auth-profiles.api_key.key", "path": "profiles.a:b.key",
     "ref": {"source": "exec", "provider": "vault", "id": "_bad"}},
    7
  ],
  "options": {"scrubEnv": "yes"}
}"#;
    let errors = Plan::parse(text, "plan.json").unwrap_err();
    assert_eq!(errors.code(), Code::PlanInvalid);
    let all: Vec<String> = errors.all().iter().map(ToString::to_string).collect();
    let expected = [
        "plan.json: line 2: version is not 1",
        "plan.json: line 4: providerDeletes[0] is not a provider alias",
        "plan.json: line 6: providerUpserts.vault.command is not an absolute path",
        "plan.json: line 7: providerUpserts.UPPER is not a provider alias",
        "plan.json: line 11: targets[0].ref is not a ref: the id of a ref with source exec",
        "plan.json: line 10: targets[0].agentId is missing",
        "plan.json: line 12: targets[1] is not an object",
        "plan.json: line 14: options.scrubEnv is not true or false",
    ];
    for (text, expected) in all.iter().zip(expected) {
        assert!(text.starts_with(expected), "{text}\n{expected}");
    }
    assert_eq!(all.len(), expected.len(), "{all:#?}");
}

#[test]
fn broken_json_names_line_and_column() {
    let error = Plan::parse("{\"version\": 1,\n  oops", "plan.json").unwrap_err();
    assert!(
        error.to_string().starts_with("plan.json: line 2, column"),
        "{error}"
    );
    assert_eq!(error.code(), Code::PlanInvalid);
}

#[test]
fn the_limits_of_a_plan() {
    let text = parse(example()).unwrap().to_text();
    let padded = |len: usize| format!("{text}{}", " ".repeat(len - text.len()));
    assert!(Plan::parse(&padded(MAX_PLAN), "p").is_ok());
    let error = Plan::parse(&padded(MAX_PLAN + 1), "p").unwrap_err();
    assert_eq!(error.code(), Code::FileTooLarge);
    let many = |count: usize| {
        let target = |i| {
            let path = format!("models.providers.p{i}.apiKey");
            config_target("models.providers.apiKey", &path)
        };
        let targets: Vec<Value> = (0..count).map(target).collect();
        parse(json!({"version": 1, "protocolVersion": 1, "targets": targets}))
    };
    assert_eq!(many(MAX_TARGETS).unwrap().targets.len(), MAX_TARGETS);
    let text = many(MAX_TARGETS + 1).unwrap_err().to_string();
    assert!(text.contains("more than 16384 entries"), "{text}");
    let errors = parse(json!({"version": 1, "protocolVersion": 1, "targets": vec![0; 100]}));
    assert_eq!(errors.unwrap_err().all().len(), MAX_ERRORS);
}

#[test]
fn one_place_has_one_ref() {
    let target = config_target("models.providers.apiKey", "models.providers.groq.apiKey");
    let mut other = target.clone();
    let plan =
        |other: &Value| json!({"version": 1, "protocolVersion": 1, "targets": [target, other]});
    assert_eq!(parse(plan(&other)).unwrap().targets.len(), 1);
    other["ref"]["id"] = "OTHER".into();
    let text = refusal(plan(&other));
    assert!(text.contains("another target points elsewhere"), "{text}");
}

const CANARY: &str = "canary-77d1";

fn drawn(via: &Via) -> Drawn {
    let config = json!({
        "models": {"providers": {
            "groq": {"apiKey": CANARY, "headers": {"x-api-key": CANARY, "accept": "x"}},
            "env": {"apiKey": "${KEY}"}}},
        "auth": {"profiles": {"x:o": {"provider": "x", "mode": "oauth"}}},
        "agents": {"list": [{"memorySearch": {"remote": {"apiKey": CANARY}}}]},
        "plugins": {"entries": {"brave": {"config": {"webSearch": {"apiKey": CANARY}}}}},
        "channels": {"slack": {"accounts": {"work": {"botToken": CANARY}}}},
        "mcp": {"servers": {"s": {"env": {"API_TOKEN": CANARY}}}},
    });
    let document = Document::parse(&config.to_string(), "c").unwrap();
    let config = Config::read(&document, Trust::Own).unwrap();
    let profiles = json!({"version": 1, "profiles": {
        "openai:me@x.y": {"type": "api_key", "provider": "openai", "key": CANARY},
        "anthropic:work": {"type": "token", "provider": "anthropic", "token": CANARY},
        "codex:a": {"type": "oauth", "provider": "codex", "access": CANARY, "refresh": CANARY},
        "x:o": {"type": "token", "provider": "x", "token": CANARY},
        "old:ref": {"type": "api_key", "provider": "old", "key": "$OLD_KEY"},
        "flat": {"apiKey": CANARY},
    }});
    let store = Store::parse(&profiles.to_string(), "s", &config.defaults).unwrap();
    let (main, other) = (AgentId::main(), "coder".parse().unwrap());
    draw(&config, &[(&main, &store), (&other, &store)], via)
}

#[test]
fn a_drawn_plan_names_every_value_and_none_of_their_texts() {
    let config = Config::default();
    let definition = draw::exec_definition("/usr/bin/reseal", "/home/u/.reseal");
    let upsert = draw::exec_upsert(&config, &json!({}), definition);
    for via in [Via::Vault, Via::Exec(upsert)] {
        let drawn = drawn(&via);
        let text = drawn.plan.to_text();
        assert!(!text.contains(CANARY) && !format!("{drawn:?}").contains(CANARY));
        assert_eq!(Plan::parse(&text, "p").unwrap(), drawn.plan);
        let names: std::collections::BTreeSet<&str> = drawn
            .plan
            .targets
            .iter()
            .map(|t| t.reference.id())
            .collect();
        // Our own folder: its MCP servers too, and three refs in an older spelling.
        let (expected, respelled) = if via == Via::Vault { (10, 3) } else { (9, 0) };
        assert_eq!(drawn.plan.targets.len(), expected + respelled);
        assert_eq!(drawn.respelled, respelled);
        // Both agents read the same variable.
        assert_eq!(names.len(), expected + respelled.min(2), "{names:?}");
        assert!(names.contains("config/models/providers/groq/headers/x-api-key"));
        assert!(names.contains("config/agents/list/0/memorySearch/remote/apiKey"));
        assert!(
            names.contains("openai/me#40x.y") && names.contains("agents/coder/openai/me#40x.y")
        );
        let left: Vec<&str> = drawn.left.iter().map(|left| left.place.as_str()).collect();
        assert!(left.contains(&"main: codex:a") && left.contains(&"coder: flat"));
        assert!(left.contains(&"main: x:o (token)"));
    }
}

#[test]
fn the_providers_alias_is_one_that_nothing_else_has() {
    let config = Config::default();
    let same = draw::exec_definition("/r", "/s");
    let alias = |root: Value| {
        let upsert = draw::exec_upsert(&config, &root, same.clone());
        upsert.alias.to_string()
    };
    assert_eq!(alias(json!({})), "reseal");
    let other = json!({"source": "env"});
    let root = json!({"secrets": {"providers": {"reseal": other, "reseal-2": other}}});
    assert_eq!(alias(root), "reseal-3");
    let root = json!({"secrets": {"providers": {"reseal": same}}});
    assert_eq!(alias(root), "reseal");
}
