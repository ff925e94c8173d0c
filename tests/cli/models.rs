//! `models auth order`, `models report`, and how profiles take turns.

use super::world::{World, mode};
use serde_json::{Value, json};
use std::path::PathBuf;

/// A world without a vault, whose profiles read the environment.
fn with_profiles(ids: &[(&str, &str)]) -> World {
    let world = World::empty();
    world.run(&["agents", "add", "main"]).ok();
    let entry = |(id, kind): &(&str, &str)| {
        let provider = id.split_once(':').unwrap().0;
        let field = if *kind == "token" {
            "tokenRef"
        } else {
            "keyRef"
        };
        let name = format!("KEY_{}", id.rsplit_once(':').unwrap().1.to_uppercase());
        let reference = json!({"source": "env", "provider": "default", "id": name});
        let profile = json!({"type": kind, "provider": provider, field: reference});
        ((*id).to_owned(), profile)
    };
    let profiles: serde_json::Map<_, _> = ids.iter().map(entry).collect();
    let text = json!({"version": 1, "profiles": profiles}).to_string();
    std::fs::write(world.profiles(), text).unwrap();
    world
}

fn state_path(world: &World) -> PathBuf {
    world.state().join("agents/main/agent/auth-state.json")
}

fn state(world: &World) -> Value {
    serde_json::from_slice(&std::fs::read(state_path(world)).unwrap()).unwrap()
}

#[test]
fn an_order_is_stored_shown_and_forgotten() {
    let world = with_profiles(&[("openai:a", "api_key"), ("openai:b", "api_key")]);
    let order = ["models", "auth", "order"];
    let of = |verb, more: &[&str]| {
        let args = [&order[..], &[verb, "--provider", "OpenAI"], more].concat();
        world.run(&args)
    };
    assert_eq!(of("get", &[]).ok().text(), "openai:a\nopenai:b\n");
    assert_eq!(
        of("set", &["openai:b", "openai:a", "openai:b"]).ok().text(),
        "openai:b\nopenai:a\n"
    );
    assert_eq!(
        state(&world)["order"],
        json!({"openai": ["openai:b", "openai:a"]})
    );
    assert_eq!(mode(&state_path(&world)), 0o600);
    let json = of("get", &["--json"]).ok().json();
    assert_eq!(json["order"], json!(["openai:b", "openai:a"]));
    assert_eq!(json["effective"], json["order"]);
    assert_eq!(json["basis"], "stored");
    assert_eq!(json["authStatePath"], state_path(&world).to_str().unwrap());
    // A profile that is left out is never tried.
    of("set", &["openai:b"]).ok();
    let json = of("get", &["--json"]).ok().json();
    assert_eq!(json["effective"], json!(["openai:b"]));
    // A file that says nothing any more is gone.
    let json = of("clear", &["--json"]).ok().json();
    assert_eq!(
        (&json["order"], &json["basis"]),
        (&Value::Null, &json!("discovered"))
    );
    assert!(!state_path(&world).exists());
    of("clear", &[]).ok();
    assert!(!state_path(&world).exists());

    of("set", &["openai:gone"]).code(3);
    of("set", &[]).code(2);
    let ran = world.run(&[
        "models",
        "auth",
        "order",
        "set",
        "--provider",
        "groq",
        "openai:a",
    ]);
    assert!(ran.code(2).stderr.contains("is a profile of openai"));
    assert!(!state_path(&world).exists());
}

#[test]
fn each_agent_has_an_order_of_its_own() {
    let world = with_profiles(&[("openai:a", "api_key")]);
    world.run(&["agents", "add", "second"]).ok();
    let args = [
        "models",
        "auth",
        "order",
        "set",
        "--provider",
        "openai",
        "openai:a",
    ];
    world
        .run(&[&args[..], &["--agent", "second"]].concat())
        .code(3);
    world
        .run(&[&args[..], &["--agent", "third"]].concat())
        .code(3);
    world.run(&args).ok();
    assert!(
        !world
            .state()
            .join("agents/second/agent/auth-state.json")
            .exists()
    );
    assert!(!world.state().join("agents/third").exists());
}

#[test]
fn failures_make_a_profile_wait_and_success_ends_it() {
    let world = with_profiles(&[("openai:a", "api_key"), ("openai:b", "api_key")]);
    let report = |args: &[&str]| {
        let args = [&["--json", "models", "report"], args].concat();
        world.run(&args)
    };
    let json = report(&["openai:a", "--failure", "rate_limit", "--model", "gpt"]);
    let json = json.ok().json();
    let remaining = json["remainingMs"].as_u64().unwrap();
    assert_eq!(remaining, 30_000);
    assert_eq!(json["usage"]["cooldownModel"], "gpt");
    let first = state(&world)["usageStats"]["openai:a"].clone();
    assert_eq!(first["cooldownReason"], "rate_limit");
    // It comes last for that model, and first for others.
    let token = |args: &[&str]| {
        let mut command = world.command(&[&["token"], args].concat());
        command.env("KEY_A", "key-a").env("KEY_B", "key-b");
        super::world::finish(command, None).ok().text().to_owned()
    };
    assert_eq!(
        token(&["--model", "openai/gpt", "--provider", "openai"]),
        "key-a\n"
    );
    assert_eq!(
        token(&["--model", "gpt", "--provider", "openai"]),
        "key-b\n"
    );
    assert_eq!(token(&["--model", "gpt@openai:a"]), "key-a\n", "a pin wins");
    assert_eq!(token(&["gpt@openai:b"]), "key-b\n");

    // A further failure does not move the end of the window.
    report(&["openai:a", "--failure", "timeout", "--retry-after", "3600"]).ok();
    let second = state(&world)["usageStats"]["openai:a"].clone();
    assert_eq!(second["cooldownUntil"], first["cooldownUntil"]);
    assert_eq!(second["errorCount"], 2);
    assert_eq!(
        second["failureCounts"],
        json!({"rate_limit": 1, "timeout": 1})
    );
    assert_eq!(second.get("cooldownModel"), None);

    let json = report(&["openai:a", "--failure", "billing"]).ok().json();
    assert_eq!(json["remainingMs"], 5 * 3_600_000);
    let text = world
        .run(&["models", "report", "openai:a", "--failure", "billing"])
        .ok();
    assert!(
        text.stderr
            .contains("openai:a: is disabled for another 4 h 59 min."),
        "{}",
        text.stderr
    );
    let json = report(&["openai:a", "--ok"]).ok().json();
    assert_eq!(
        (&json["unusableUntil"], &json["usage"]["errorCount"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(state(&world)["lastGood"], json!({"openai": "openai:a"}));
}

#[test]
fn a_new_key_is_tried_although_the_old_one_failed() {
    let world = World::new();
    let mut paste = vec!["models", "auth", "paste-api-key", "--provider", "openai"];
    paste.extend(["--profile-id", "openai:a"]);
    world.piped_with_passphrase(&paste, b"sk-old-key").ok();
    assert!(!state_path(&world).exists(), "there was nothing to note");
    let failed = [
        "models",
        "report",
        "openai:a",
        "--failure",
        "auth_permanent",
    ];
    world.run(&failed).ok();
    world.piped_with_passphrase(&paste, b"sk-new-key").ok();
    assert_eq!(state(&world)["usageStats"]["openai:a"], json!({}));
}

#[test]
fn reports_that_say_nothing_clear_are_refused() {
    let world = with_profiles(&[("openai:a", "api_key"), ("openai:b", "api_key")]);
    let report = |args: &[&str]| {
        let args = [&["--json", "models", "report"], args].concat();
        world.run(&args)
    };
    let json = report(&[
        "openai:b",
        "--failure",
        "auth",
        "--era",
        "a",
        "--retry-after",
        "30s",
    ]);
    assert_eq!(json.ok().json()["remainingMs"], 60_000);
    report(&["openai:gone", "--ok"]).code(3);
    report(&["openai:a"]).code(2);
    report(&["openai:a", "--ok", "--failure", "auth"]).code(2);
    report(&["openai:a", "--ok", "--model", "m"]).code(2);
    report(&["openai:a", "--failure", "no_such_reason"]).code(2);
    report(&["openai:a", "--failure", "auth", "--model", ""]).code(2);
}

#[test]
fn the_config_says_how_long() {
    let world = with_profiles(&[("openai:a", "api_key"), ("groq:a", "api_key")]);
    let cooldowns = json!({"auth": {"cooldowns": {
        "billingBackoffHours": 1, "billingBackoffHoursByProvider": {"GROQ": 2},
    }}});
    std::fs::write(world.config(), cooldowns.to_string()).unwrap();
    for (id, hours) in [("openai:a", 1), ("groq:a", 2)] {
        let args = ["--json", "models", "report", id, "--failure", "billing"];
        let json = world.run(&args).ok().json();
        assert_eq!(json["remainingMs"], hours * 3_600_000);
    }
}

#[test]
fn profiles_of_one_type_take_turns() {
    let world = with_profiles(&[
        ("openai:a", "api_key"),
        ("openai:b", "api_key"),
        ("openai:c", "api_key"),
        ("groq:t", "token"),
        ("groq:k", "api_key"),
    ]);
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        for name in ["a", "b", "c", "t", "k"] {
            command.env(
                format!("KEY_{}", name.to_uppercase()),
                format!("key-{name}"),
            );
        }
        super::world::finish(command, None).ok().text().to_owned()
    };
    let turns: Vec<_> = (0..6)
        .map(|_| run(&["token", "--provider", "openai"]))
        .collect();
    assert_eq!(
        turns,
        [
            "key-a\n", "key-b\n", "key-c\n", "key-a\n", "key-b\n", "key-c\n"
        ]
    );
    let script = "echo $OPENAI_API_KEY $GROQ_API_KEY";
    let turns: Vec<_> = (0..3)
        .map(|_| run(&["run", "--", "sh", "-c", script]))
        .collect();
    assert_eq!(turns, ["key-a key-t\n", "key-b key-t\n", "key-c key-t\n"]);
    // Where nobody is waiting for a turn, nothing is written; nor where a profile is named.
    let before = std::fs::read(state_path(&world)).unwrap();
    run(&["token", "--provider", "groq"]);
    run(&["token", "openai:b"]);
    run(&["token", "--model", "m@openai:b"]);
    run(&["run", "--profile", "openai:b", "--", "true"]);
    run(&["run", "--model", "m@openai:b", "--", "true"]);
    assert_eq!(std::fs::read(state_path(&world)).unwrap(), before);
    let script = "echo $OPENAI_API_KEY $GROQ_API_KEY";
    assert_eq!(
        run(&["run", "--model", "openai/m", "--", "sh", "-c", script]),
        "key-a\n"
    );
    world
        .run(&[
            "models",
            "auth",
            "order",
            "set",
            "--provider",
            "openai",
            "openai:c",
        ])
        .ok();
    let before = std::fs::read(state_path(&world)).unwrap();
    assert_eq!(run(&["token", "--provider", "openai"]), "key-c\n");
    assert_eq!(std::fs::read(state_path(&world)).unwrap(), before);
}

#[test]
fn a_token_is_given_although_its_use_can_not_be_noted() {
    let world = with_profiles(&[("openai:a", "api_key"), ("openai:b", "api_key")]);
    std::fs::write(state_path(&world), r#"{"usageStats": {"openai:a": 1}}"#).unwrap();
    let mut command = world.command(&["-v", "token", "--provider", "openai"]);
    command.env("KEY_A", "key-a");
    let ran = super::world::finish(command, None).ok();
    assert_eq!(ran.text(), "key-a\n");
    assert!(
        ran.stderr.contains("the use of a profile was not noted"),
        "{}",
        ran.stderr
    );
}

#[test]
fn reports_at_the_same_time_all_count() {
    const WRITERS: usize = 24;
    let world = with_profiles(&[("openai:a", "api_key")]);
    let start = |_| {
        let args = ["models", "report", "openai:a", "--failure", "unknown"];
        world.command(&args).spawn().unwrap()
    };
    let running: Vec<_> = (0..WRITERS).map(start).collect();
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(
        state(&world)["usageStats"]["openai:a"]["errorCount"],
        WRITERS
    );
    let folder = state_path(&world).parent().unwrap().to_owned();
    let files = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(files, 2, "no temporary file is left");
}

#[test]
fn a_state_file_that_others_can_read_is_made_private() {
    use std::os::unix::fs::PermissionsExt;
    let world = with_profiles(&[("openai:a", "api_key")]);
    let path = state_path(&world);
    let text = "{\"order\": {\"openai\": [\"openai:a\"]}}";
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let args = [
        "models",
        "auth",
        "order",
        "set",
        "--provider",
        "openai",
        "openai:a",
    ];
    world.run(&args).ok();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[test]
fn waits_and_names_have_an_end() {
    let world = with_profiles(&[("openai:a", "api_key")]);
    for timeout in ["0s", "3601s", "2h"] {
        let login = [
            "models",
            "auth",
            "login",
            "--provider",
            "openai",
            "--timeout",
            timeout,
        ];
        let ran = world.run(&login).code(2);
        assert!(ran.stderr.contains("from 1s to 3600s"), "{}", ran.stderr);
    }
    for (option, least, most) in [
        ("--probe-timeout", 1, 120_000),
        ("--probe-concurrency", 1, 16),
    ] {
        for past in [least - 1, most + 1] {
            let status = ["models", "status", "--probe", option, &past.to_string()];
            let ran = world.run(&status).code(2);
            let range = format!("{least}..={most}");
            assert!(ran.stderr.contains(&range), "{}", ran.stderr);
        }
    }
    let report = |model: &str| {
        let failed = ["models", "report", "openai:a", "--failure", "rate_limit"];
        world.run(&[&failed[..], &["--model", model]].concat())
    };
    report(&"m".repeat(512)).ok();
    report(&"m".repeat(513)).code(2);
}
