//! `run`, `inject`, `token` and `exec-provider`.

use super::world::{BIN, World, finish, mode};
use std::fs;
use std::process::Command;

fn with_profile() -> [World; 2] {
    let worlds = World::both();
    for world in &worlds {
        world.store("openai/default", "sk-openai-value");
        world
            .run(&[
                "secrets",
                "set",
                "openai:default",
                "--ref",
                "vault:openai/default",
            ])
            .ok();
    }
    worlds
}

#[test]
fn a_program_gets_the_key_of_every_provider() {
    for world in with_profile() {
        world.store("groq", "gsk-groq-value");
        world
            .run(&["secrets", "set", "groq:main", "--ref", "vault:groq"])
            .ok();
        let script = "echo $OPENAI_API_KEY $GROQ_API_KEY";
        let ran = world
            .with_passphrase(&["run", "--", "sh", "-c", script])
            .ok();
        assert_eq!(ran.text(), "sk-openai-value gsk-groq-value\n");
        // With a choice it gets only what was named.
        let args = ["run", "--profile", "groq:main", "--", "sh", "-c", script];
        assert_eq!(world.with_passphrase(&args).ok().text(), "gsk-groq-value\n");
        let args = [
            "run",
            "--env",
            "X=vault:openai/default",
            "--",
            "sh",
            "-c",
            "echo $X $GROQ_API_KEY",
        ];
        assert_eq!(
            world.with_passphrase(&args).ok().text(),
            "sk-openai-value\n"
        );
    }
}

#[test]
fn env_files_mix_plain_text_and_refs() {
    for world in with_profile() {
        let text = "# comment\nPLAIN=yes\nKEY=secretref:vault:openai/default\n";
        let file = world.private_file("vars.env", text.as_bytes());
        let args = [
            "run",
            "--env-file",
            &file,
            "--",
            "sh",
            "-c",
            "echo $PLAIN $KEY",
        ];
        assert_eq!(
            world.with_passphrase(&args).ok().text(),
            "yes sk-openai-value\n"
        );
    }
}

#[test]
fn nothing_starts_unless_everything_resolves() {
    for world in with_profile() {
        let marker = world.beside("started");
        let script = format!("touch {marker}");
        let missing = ["run", "--env", "X=vault:nope", "--", "sh", "-c", &script];
        world.with_passphrase(&missing).code(3);
        let unset = ["run", "--env", "X=env:NOT_SET", "--", "sh", "-c", &script];
        world.with_passphrase(&unset).code(3);
        let profile = ["run", "--profile", "openai:nope", "--", "sh", "-c", &script];
        world.with_passphrase(&profile).code(3);
        assert!(!std::path::Path::new(&marker).exists());
        for (program, code) in [("nosuchprog", 127), ("/no/such", 127), ("/etc/passwd", 126)] {
            // A value that is missing is not even asked for.
            let args = ["run", "--env", "X=vault:nope", "--", program];
            let ran = world.with_passphrase(&args).code(code);
            assert!(!ran.stderr.contains("again"), "{}", ran.stderr);
        }
        world.with_passphrase(&["run"]).code(2);
    }
}

#[test]
fn the_program_s_own_exit_is_passed_on() {
    for world in with_profile() {
        world
            .with_passphrase(&["run", "--", "sh", "-c", "exit 42"])
            .code(42);
        for mask in [&["run", "--mask", "--"][..], &["run", "--"]] {
            let args = [mask, &["sh", "-c", "exit 7"]].concat();
            world.with_passphrase(&args).code(7);
        }
        let args = ["run", "--mask", "--", "sh", "-c", "kill -TERM $$"];
        world.with_passphrase(&args).code(128 + 15);
        let args = [
            "run",
            "--mask",
            "--",
            "sh",
            "-c",
            "echo key: $OPENAI_API_KEY",
        ];
        assert_eq!(
            world.with_passphrase(&args).ok().text(),
            "key: [redacted]\n"
        );
    }
}

#[test]
fn env_refs_alone_need_no_vault() {
    let world = World::empty();
    let mut command = world.command(&["run", "--env", "B=env:A_KEY", "--", "sh", "-c", "echo $B"]);
    command.env("A_KEY", "from-outside");
    assert_eq!(finish(command, None).ok().text(), "from-outside\n");
}

#[test]
fn a_sealed_vault_is_exit_4_everywhere() {
    let world = World::new();
    world.store("x", "y");
    world
        .run(&["secrets", "set", "openai:default", "--ref", "vault:x"])
        .ok();
    for args in [
        &["run", "--", "true"][..],
        &["secrets", "get", "x"],
        &["secrets", "list"],
        &["token", "openai:default"],
        &["vault", "verify"],
        &["vault", "rekey"],
        &["vault", "status", "--check"],
        &["secrets", "resolve"],
    ] {
        world.run(args).code(4);
    }
    let request = br#"{"protocolVersion":1,"provider":"vault","ids":["x"]}"#;
    world.piped(&["exec-provider"], request).code(4);
    world.run(&["vault", "status"]).ok();
}

#[test]
fn a_template_is_filled_whole_or_not_at_all() {
    for world in with_profile() {
        let template = b"key = \"{{ secretref:vault:openai/default }}\"\n";
        let ran = world.piped_with_passphrase(&["inject"], template).ok();
        assert_eq!(ran.text(), "key = \"sk-openai-value\"\n");

        let (input, out) = (world.private_file("in.tpl", template), world.beside("out"));
        world
            .with_passphrase(&["inject", "-i", &input, "-o", &out])
            .ok();
        assert_eq!(fs::read(&out).unwrap(), ran.stdout);
        assert_eq!(mode(out.as_ref()), 0o600);
        let bad = world.private_file("bad.tpl", b"{{ secretref:vault:nope }}");
        world
            .with_passphrase(&["inject", "-i", &bad, "-o", &out])
            .code(3);
        assert_eq!(fs::read(&out).unwrap(), ran.stdout, "the old file stands");
        let open = world.private_file("open.tpl", b"{{ secretref:vault:x");
        let ran = world.with_passphrase(&["inject", "-i", &open]).code(2);
        assert!(ran.stderr.contains("line 1"), "{}", ran.stderr);
    }
}

#[test]
fn a_token_comes_by_profile_provider_or_pin() {
    for world in with_profile() {
        for which in [
            &["token", "openai:default"][..],
            &["token", "--provider", "openai"],
            &["token", "--model", "gpt-x@openai:default"],
        ] {
            assert_eq!(
                world.with_passphrase(which).ok().text(),
                "sk-openai-value\n"
            );
        }
        let json = world
            .with_passphrase(&["--json", "token", "openai:default"])
            .ok()
            .json();
        assert_eq!(
            json,
            serde_json::json!({
                "profileId": "openai:default", "type": "api_key", "token": "sk-openai-value",
                "expiresAt": null, "headers": {"Authorization": "Bearer sk-openai-value"},
            })
        );
        world.with_passphrase(&["token", "openai:nope"]).code(3);
        world
            .with_passphrase(&["token", "--provider", "nope"])
            .code(3);
        world
            .with_passphrase(&["token", "--model", "gpt-x"])
            .code(2);
        world.with_passphrase(&["token"]).code(2);
    }
}

#[test]
fn expired_tokens_are_not_given_out() {
    let world = World::new();
    world.store("t", "tok");
    let reference = r#"{"source":"vault","provider":"default","id":"t"}"#;
    let text = format!(
        r#"{{"version":1,"profiles":{{
            "p:old":{{"type":"token","provider":"p","tokenRef":{reference},"expires":1000}},
            "p:ok":{{"type":"token","provider":"p","tokenRef":{reference},
                "expires":4102444800000}}}}}}"#
    );
    fs::write(world.profiles(), text).unwrap();
    world.with_passphrase(&["token", "p:old"]).code(3);
    assert_eq!(
        world
            .with_passphrase(&["token", "--provider", "p"])
            .ok()
            .text(),
        "tok\n"
    );
    world
        .with_passphrase(&["token", "p:ok", "--min-ttl", "520w"])
        .ok();
}

#[test]
fn exec_provider_works_in_an_empty_environment() {
    for world in with_profile() {
        let mut command = Command::new(BIN);
        command
            .env_clear()
            .current_dir("/")
            .arg("--state-dir")
            .arg(world.state());
        command.args(["exec-provider", "--passphrase-file", &world.passphrase()]);
        let request =
            br#"{"protocolVersion":1,"provider":"vault","ids":["openai/default","nope"]}"#;
        let ran = finish(command, Some(request)).ok();
        let json = ran.json();
        assert_eq!(json["values"]["openai/default"], "sk-openai-value");
        assert_eq!(json["errors"]["nope"]["code"], "NOT_FOUND");
        assert_eq!(ran.stderr, "");
        world
            .piped_with_passphrase(&["exec-provider"], b"not json")
            .code(2);
    }
}

#[test]
fn another_config_has_its_own_providers_and_the_vault_stays_the_daemon_s() {
    let world = World::unlocked();
    world.store("openai/default", "from-the-vault");
    let keys = world.private_file("keys.json", br#"{"k":"from-the-file"}"#);
    let config =
        format!(r#"{{"secrets":{{"providers":{{"mine":{{"source":"file","path":"{keys}"}}}}}}}}"#);
    let config = world.private_file("other.json", config.as_bytes());
    let args = [
        "--config",
        &config,
        "run",
        "--env",
        "A=file@mine:/k",
        "--env",
        "B=vault:openai/default",
        "--",
        "sh",
        "-c",
        "echo $A $B",
    ];
    assert_eq!(
        world.run(&args).ok().text(),
        "from-the-file from-the-vault\n"
    );
    // The daemon's own config knows no such provider.
    world
        .run(&["run", "--env", "A=file@mine:/k", "--", "true"])
        .code(2);
}
