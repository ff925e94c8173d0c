//! `secrets set TARGET --ref REF`.

use super::world::{World, mode};
use std::fs;

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
