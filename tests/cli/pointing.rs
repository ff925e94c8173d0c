//! `secrets set TARGET --ref REF`.

use super::world::{World, mode};
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn profiles(world: &World) -> serde_json::Value {
    serde_json::from_slice(&fs::read(world.profiles()).unwrap()).unwrap()
}

#[test]
fn a_profile_is_made_and_pointed_at_a_record() {
    let world = World::new();
    let ran = world
        .run(&[
            "secrets",
            "set",
            "openai:default",
            "--ref",
            "vault:openai/x",
        ])
        .ok();
    assert_eq!(ran.text(), "vault:openai/x\n");
    let reference = serde_json::json!({"source": "vault", "provider": "default", "id": "openai/x"});
    assert_eq!(
        profiles(&world)["profiles"]["openai:default"],
        serde_json::json!({"type": "api_key", "provider": "openai", "keyRef": reference})
    );
    assert_eq!(mode(&world.profiles()), 0o600);
}

#[test]
fn a_value_on_stdin_is_stored_too() {
    for world in World::both() {
        let args = [
            "secrets",
            "set",
            "openai:default",
            "--ref",
            "vault:openai/x",
        ];
        world.piped_with_passphrase(&args, b"sk-1\n").ok();
        assert_eq!(world.value("openai/x"), "sk-1");
        let args = [
            "secrets",
            "set",
            "openai:default",
            "--ref",
            "env:OPENAI_API_KEY",
        ];
        world.piped_with_passphrase(&args, b"sk-2").code(2);
    }
}

#[test]
fn a_config_path_is_pointed_and_everything_else_stays() {
    let world = World::new();
    let before = r#"{
  // mine
  "zeta": 1, /* odd */
  "models": {
    "providers": {
      "openai": {"baseUrl": "https://x", }, // trailing
    },
  },
}
"#;
    fs::write(world.config(), before).unwrap();
    let target = "models.providers.openai.apiKey";
    world
        .run(&["secrets", "set", target, "--ref", "vault:openai/x"])
        .ok();
    let after = fs::read_to_string(world.config()).unwrap();
    for kept in [
        "// mine",
        "\"zeta\": 1, /* odd */",
        "// trailing",
        "https://x",
    ] {
        assert!(after.contains(kept), "{kept} is gone: {after}");
    }
    assert!(after.contains("\"apiKey\""), "{after}");
    world
        .run(&["secrets", "set", "zeta", "--ref", "vault:x"])
        .code(8);
    assert_eq!(fs::read_to_string(world.config()).unwrap(), after);
}

#[test]
fn plaintext_is_refused_and_moved_only_on_request() {
    for world in World::both() {
        let text = r#"{"version":1,"mine":7,"profiles":{"openai:old":{"type":"api_key",
            "provider":"openai","key":"sk-plain","custom":true}}}"#;
        fs::write(world.profiles(), text).unwrap();
        let args = ["secrets", "set", "openai:old", "--ref", "vault:openai/old"];
        world.with_passphrase(&args).code(5);
        world.piped_with_passphrase(&args, b"other").code(5);
        assert_eq!(fs::read_to_string(world.profiles()).unwrap(), text);

        let args = [
            "secrets",
            "set",
            "openai:old",
            "--ref",
            "vault:openai/old",
            "--move",
        ];
        world.with_passphrase(&args).ok();
        assert_eq!(world.value("openai/old"), "sk-plain");
        let after = fs::read_to_string(world.profiles()).unwrap();
        assert!(!after.contains("sk-plain"), "{after}");
        assert!(
            after.contains("\"custom\"") && after.contains("\"mine\":7"),
            "{after}"
        );
    }
}

#[test]
fn moving_never_writes_over_another_secret() {
    let world = World::new();
    world.store("taken", "precious");
    fs::write(
        world.config(),
        r#"{"models":{"providers":{"x":{"apiKey":"sk-plain"}}}}"#,
    )
    .unwrap();
    let target = [
        "secrets",
        "set",
        "models.providers.x.apiKey",
        "--ref",
        "vault:taken",
    ];
    world.with_passphrase(&target).code(5);
    let moving = [&target[..], &["--move"]].concat();
    world.with_passphrase(&moving).code(8);
    assert_eq!(world.value("taken"), "precious");
    assert!(
        fs::read_to_string(world.config())
            .unwrap()
            .contains("sk-plain")
    );
    // The same value may be there already: an earlier move was interrupted.
    world.store("taken", "sk-plain");
    world.with_passphrase(&moving).ok();
    assert!(
        !fs::read_to_string(world.config())
            .unwrap()
            .contains("sk-plain")
    );
}

#[test]
fn broken_files_are_errors_and_stay_as_they_are() {
    let world = World::new();
    fs::write(world.profiles(), "{\"version\":1,\"profi").unwrap();
    let ran = world
        .run(&["secrets", "set", "openai:x", "--ref", "vault:x"])
        .code(7);
    assert!(ran.stderr.contains("auth-profiles.json"), "{}", ran.stderr);
    assert_eq!(
        fs::read_to_string(world.profiles()).unwrap(),
        "{\"version\":1,\"profi"
    );
    fs::write(world.config(), "{\"a\": }").unwrap();
    let ran = world
        .run(&["secrets", "set", "a.b", "--ref", "vault:x"])
        .code(2);
    assert!(
        ran.stderr.contains(":1:7") || ran.stderr.contains("line 1"),
        "{}",
        ran.stderr
    );
    fs::remove_file(world.config()).unwrap();
    world
        .run(&["secrets", "set", "a.b", "--ref", "vault:x"])
        .code(3);
}

#[test]
fn another_agent_has_its_own_profiles() {
    let world = World::new();
    let args = [
        "--agent", "second", "secrets", "set", "openai:x", "--ref", "vault:x",
    ];
    world.run(&args).code(3);
    world.run(&["agents", "add", "second"]).ok();
    world.run(&args).ok();
    assert!(profiles(&world)["profiles"].as_object().unwrap().is_empty());
    let path = world.state().join("agents/second/agent/auth-profiles.json");
    assert!(fs::read_to_string(path).unwrap().contains("openai:x"));
}

#[test]
fn many_at_once_lose_nothing() {
    let world = World::new();
    let children: Vec<_> = (0..12)
        .map(|i| {
            let (target, reference) = (format!("openai:p{i}"), format!("vault:openai/p{i}"));
            world
                .command(&["secrets", "set", &target, "--ref", &reference])
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(profiles(&world)["profiles"].as_object().unwrap().len(), 12);
}

#[test]
fn an_edit_that_would_break_the_config_is_refused() {
    let world = World::new();
    let before = r#"{"vault":{"ttl":"8h"},"daemon":{}}"#;
    fs::write(world.config(), before).unwrap();
    let unset = ["secrets", "set", "vault.idleTtl", "--ref", "env:X"];
    let ran = world.run(&unset).code(2);
    assert!(ran.stderr.contains("vault.idleTtl"), "{}", ran.stderr);
    // A value that is moved is not sealed either.
    let moving = [
        "secrets",
        "set",
        "vault.ttl",
        "--ref",
        "vault:new",
        "--move",
    ];
    world.with_passphrase(&moving).code(2);
    world.with_passphrase(&["secrets", "get", "new"]).code(3);
    assert_eq!(fs::read_to_string(world.config()).unwrap(), before);
}

#[test]
fn a_ref_that_leads_nowhere_is_warned_of() {
    let world = World::unlocked();
    fs::write(world.config(), "{}").unwrap();
    let set = |target: &str, reference: &str| {
        let ran = world
            .run(&["secrets", "set", target, "--ref", reference])
            .ok();
        ran.stderr
    };
    let said = set("models.providers.openai.apiKey", "vault:openai/x");
    assert!(said.contains("no record openai/x"), "{said}");
    world.store("openai/x", "sk-1");
    let said = set("models.providers.openai.apiKey", "vault:openai/x");
    assert!(!said.contains("warning"), "{said}");
    let said = set("models.providers.openai.apiKeey", "env:OPENAI_API_KEY");
    assert!(said.contains("apiKeey is not a place"), "{said}");
}

#[test]
fn an_agent_or_config_that_was_named_must_be_there() {
    for world in World::both() {
        for args in [
            &["models", "auth", "list"][..],
            &["token", "openai:x"],
            &["run", "--", "true"],
            &["secrets", "set", "openai:x", "--ref", "vault:x"],
            &["models", "auth", "paste-api-key", "--provider", "openai"],
        ] {
            let args = [&["--json", "--agent", "nobody"], args].concat();
            let ran = world.piped(&args, b"").code(3);
            assert!(ran.stderr.contains("no agent nobody"), "{}", ran.stderr);
        }
        let args = ["secrets", "resolve", "--only-agent", "nobody"];
        world.with_passphrase(&args).code(3);
        let absent = world.beside("absent.json");
        for args in [&["secrets", "resolve"][..], &["secrets", "list"]] {
            let args = [&["--json", "--config", &absent], args].concat();
            let ran = world.with_passphrase(&args).code(3);
            assert_eq!(ran.json()["error"]["code"], "config.absent");
        }
    }
}

#[test]
fn what_is_missing_in_the_config_has_a_line() {
    let world = World::new();
    let text = "{\n  \"secrets\": {\"providers\": {\n    \"x\": {\"source\": \"exec\"}\n  }}\n}";
    fs::write(world.config(), text).unwrap();
    let ran = world.run(&["models", "auth", "list"]).code(2);
    assert!(
        ran.stderr.contains("line 3: secrets.providers.x.command"),
        "{}",
        ran.stderr
    );
}

#[test]
fn folders_that_others_can_enter_get_the_right_advice() {
    let world = World::new();
    let socket = world.beside("open/zz");
    let open = std::path::Path::new(&socket).parent().unwrap();
    fs::create_dir(open).unwrap();
    fs::set_permissions(open, fs::Permissions::from_mode(0o755)).unwrap();
    let ran = world.run(&["--socket", &socket, "vault", "lock"]).code(5);
    assert!(!ran.stderr.contains("chmod"), "{}", ran.stderr);
    assert!(ran.stderr.contains("private folder"), "{}", ran.stderr);
    let empty = World::empty();
    fs::create_dir(empty.state()).unwrap();
    fs::set_permissions(empty.state(), fs::Permissions::from_mode(0o755)).unwrap();
    let ran = empty
        .with_passphrase(&["init", "--kdf", "minimal", "--no-recovery"])
        .code(5);
    let hint = format!("chmod 700 {}", empty.state().display());
    assert!(ran.stderr.contains(&hint), "{}", ran.stderr);
}

/// A config that knows another vault under the alias `team`.
fn with_another_vault() -> World {
    let world = World::unlocked();
    let provider = serde_json::json!({"source": "vault", "path": world.beside("other.reseal")});
    let config = serde_json::json!({"secrets": {"providers": {"team": provider}}});
    fs::write(world.config(), config.to_string()).unwrap();
    world.store("openai/default", "ours");
    world
}

#[test]
fn a_value_for_another_vault_is_not_put_into_ours() {
    let world = with_another_vault();
    let set = [
        "secrets",
        "set",
        "openai:y",
        "--ref",
        "vault@team:openai/default",
    ];
    world.piped(&set, b"theirs").code(2);
    assert_eq!(world.value("openai/default"), "ours");
    let plain = serde_json::json!({"version": 1, "profiles": {"openai:x":
        {"type": "api_key", "provider": "openai", "key": "only-here"}}});
    let plain = plain.to_string();
    fs::write(world.profiles(), &plain).unwrap();
    let moved = [
        "secrets",
        "set",
        "openai:x",
        "--ref",
        "vault@team:only/there",
        "--move",
    ];
    world.run(&moved).code(2);
    assert_eq!(fs::read_to_string(world.profiles()).unwrap(), plain);
}

#[test]
fn signing_out_of_a_profile_of_another_vault_leaves_our_record() {
    let world = with_another_vault();
    let point = [
        "secrets",
        "set",
        "openai:team",
        "--ref",
        "vault@team:openai/default",
    ];
    world.run(&point).ok();
    world
        .run(&["models", "auth", "logout", "openai:team", "--yes"])
        .ok();
    assert_eq!(world.value("openai/default"), "ours");
    assert_eq!(profiles(&world)["profiles"], serde_json::json!({}));
}
