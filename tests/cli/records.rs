//! `secrets`: records of the vault, with a daemon and without one.

use super::world::World;
use serde_json::json;

#[test]
fn a_record_goes_through_its_life() {
    for world in World::both() {
        let ran = world
            .piped_with_passphrase(&["secrets", "set", "a/b"], b"one\n")
            .ok();
        assert_eq!(ran.text(), "vault:a/b\n");
        assert_eq!(world.value("a/b"), "one");
        let ran = world.with_passphrase(&["secrets", "get", "vault:a/b"]).ok();
        assert_eq!(ran.text(), "one\n");

        world.store("a/b", "two");
        let ran = world
            .with_passphrase(&["--json", "secrets", "history", "a/b"])
            .ok();
        let versions: Vec<_> = ran.json()["versions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| v["version"].as_u64())
            .collect();
        assert_eq!(versions, [Some(2), Some(1)], "newest first");
        let old = world
            .with_passphrase(&["secrets", "get", "a/b", "--version", "1"])
            .ok();
        assert_eq!(old.text(), "one\n");

        world
            .with_passphrase(&["secrets", "restore", "a/b", "--version", "1"])
            .ok();
        assert_eq!(world.value("a/b"), "one");
        let ran = world.with_passphrase(&["secrets", "mv", "a/b", "c"]).ok();
        assert_eq!(ran.text(), "vault:c\n");
        world.with_passphrase(&["secrets", "get", "a/b"]).code(3);
        assert_eq!(world.value("c"), "one");
        let ran = world
            .with_passphrase(&["--json", "secrets", "rm", "c"])
            .ok();
        assert_eq!(ran.json()["name"], "c");
        world.with_passphrase(&["secrets", "get", "c"]).code(3);
        let ran = world.with_passphrase(&["--json", "secrets", "list"]).ok();
        assert_eq!(ran.json(), json!({"records": []}));
    }
}

#[test]
fn counts_tell_places_and_refs_apart() {
    let world = World::new();
    world.store("a", "value");
    world.run(&["agents", "add", "second"]).ok();
    let point = ["secrets", "set", "openai:default", "--ref", "vault:a"];
    world.run(&point).ok();
    world
        .run(&[&["--agent", "second"], &point[..]].concat())
        .ok();
    let unlocked = world.unlock();
    assert!(
        unlocked.stderr.contains("2 places, 1 ref "),
        "{}",
        unlocked.stderr
    );
    let report = world.run(&["secrets", "resolve"]).ok();
    assert!(
        report.stderr.contains("2 places, 1 ref."),
        "{}",
        report.stderr
    );
    let status = world.run(&["vault", "status"]).ok();
    assert!(
        status.text().contains("2 places, 1 ref,"),
        "{}",
        status.text()
    );
}

#[test]
fn without_a_terminal_removing_a_record_names_who_points_at_it() {
    let world = World::unlocked();
    world.store("a", "value");
    let point = ["secrets", "set", "openai:default", "--ref", "vault:a"];
    world.run(&point).ok();
    let ran = world.run(&["secrets", "rm", "a"]).ok();
    assert!(
        ran.stderr.contains("main: openai:default"),
        "{}",
        ran.stderr
    );
    world.store("a", "value");
    let ran = world.run(&["secrets", "rm", "a", "--yes"]).ok();
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
}

#[test]
fn metadata_is_listed_and_values_are_not() {
    for world in World::both() {
        let args = [
            "secrets",
            "set",
            "k",
            "--note",
            "why",
            "--expires",
            "90d",
            "--kind",
            "api-key",
        ];
        world.piped_with_passphrase(&args, b"the-secret-value").ok();
        let ran = world.with_passphrase(&["--json", "secrets", "list"]).ok();
        let record = &ran.json()["records"][0];
        assert_eq!(record["name"], "k");
        assert_eq!(record["kind"], "apiKey");
        assert_eq!(record["meta"]["note"], "why");
        let (from, to) = (&record["meta"]["createdAt"], &record["meta"]["expiresAt"]);
        let lifetime = to.as_u64().unwrap() - from.as_u64().unwrap();
        assert!(
            (90 * 86_400_000 - 60_000..=90 * 86_400_000).contains(&lifetime),
            "{lifetime}"
        );
        for args in [&["secrets", "list"][..], &["secrets", "history", "k"]] {
            let ran = world.with_passphrase(args).ok();
            assert!(!ran.text().contains("the-secret-value"));
        }
    }
}

#[test]
fn values_keep_their_bytes() {
    let world = World::new();
    let bytes: Vec<u8> = (0..=255u8).cycle().take(5000).collect();
    let raw = ["secrets", "set", "bin", "--raw"];
    world.piped_with_passphrase(&raw, &bytes).ok();
    let ran = world.with_passphrase(&["secrets", "get", "-n", "bin"]).ok();
    assert_eq!(ran.stdout, bytes);

    world
        .piped_with_passphrase(&["secrets", "set", "line"], b"x\n\n")
        .ok();
    assert_eq!(
        world.value("line"),
        "x\n",
        "one line end is dropped, not two"
    );
    world
        .piped_with_passphrase(&["secrets", "set", "line"], b"x\r\n")
        .ok();
    assert_eq!(world.value("line"), "x");
    world
        .piped_with_passphrase(&["secrets", "set", "line", "--raw"], b"x\n")
        .ok();
    assert_eq!(world.value("line"), "x\n");
}

#[test]
fn values_come_from_files_and_variables_too() {
    let world = World::new();
    let file = world.private_file("value", b"from a file\n");
    world
        .with_passphrase(&["secrets", "set", "f", "--from-file", &file])
        .ok();
    assert_eq!(world.value("f"), "from a file");
    let passphrase = world.passphrase();
    let args = [
        "secrets",
        "set",
        "e",
        "--from-env",
        "SRC",
        "--passphrase-file",
        &passphrase,
    ];
    let mut command = world.command(&args);
    command.env("SRC", "from a variable");
    super::world::finish(command, None).ok();
    assert_eq!(world.value("e"), "from a variable");
    world.run(&args).code(2);
}

#[test]
fn empty_and_oversized_values_are_refused() {
    for world in World::both() {
        world
            .piped_with_passphrase(&["secrets", "set", "e"], b"")
            .code(2);
        world
            .piped_with_passphrase(&["secrets", "set", "e"], b"\n")
            .code(2);
        let largest = vec![b'a'; 1 << 20];
        world
            .piped_with_passphrase(&["secrets", "set", "big", "--raw"], &largest)
            .ok();
        assert_eq!(world.value("big").len(), 1 << 20);
        let over = vec![b'a'; (1 << 20) + 1];
        world
            .piped_with_passphrase(&["secrets", "set", "big", "--raw"], &over)
            .code(2);
        assert_eq!(world.value("big").len(), 1 << 20);
    }
}

#[test]
fn a_change_that_expects_another_state_is_a_conflict() {
    for world in World::both() {
        let first = ["secrets", "set", "r", "--if-version", "0"];
        world.piped_with_passphrase(&first, b"a").ok();
        world.piped_with_passphrase(&first, b"b").code(8);
        let third = ["secrets", "set", "r", "--if-version", "2"];
        world.piped_with_passphrase(&third, b"b").code(8);
        world
            .with_passphrase(&["secrets", "rm", "r", "--if-version", "7"])
            .code(8);
        world.store("other", "x");
        world
            .with_passphrase(&["secrets", "mv", "r", "other"])
            .code(8);
        assert_eq!(
            (world.value("r").as_str(), world.value("other").as_str()),
            ("a", "x")
        );
    }
}

#[test]
fn what_is_absent_or_malformed_has_its_exit_code() {
    for world in World::both() {
        for args in [
            &["secrets", "get", "no"][..],
            &["secrets", "rm", "no"],
            &["secrets", "mv", "no", "x"],
            &["secrets", "history", "no"],
            &["secrets", "restore", "no", "--version", "1"],
            &["secrets", "get", "env:NOT_SET_ANYWHERE"],
        ] {
            world.with_passphrase(args).code(3);
        }
        for args in [
            &["secrets", "get", "../x"][..],
            &["secrets", "set", "a b"],
            &["secrets", "get", "x", "--nope"],
            &["secrets", "set", "x", "--expires", "yesterday"],
            &["secrets", "set", "x", "--expires", "2001-01-01"],
        ] {
            world.with_passphrase(args).code(2);
        }
    }
}

#[test]
fn refs_of_every_source_are_got() {
    for world in World::both() {
        let file = world.private_file("keys.json", br#"{"openai":{"key":"from-file"}}"#);
        let config = format!(
            r#"{{"secrets":{{"providers":{{"mounted":{{"source":"file","path":"{file}"}}}}}}}}"#
        );
        std::fs::write(world.config(), config).unwrap();
        // A daemon takes in a changed config by itself, but not at once.
        world.run(&["secrets", "reload"]);
        let got = world
            .with_passphrase(&["secrets", "get", "file@mounted:/openai/key"])
            .ok();
        assert_eq!(got.text(), "from-file\n");
        let passphrase = world.passphrase();
        let args = [
            "secrets",
            "get",
            "env:SOME_KEY",
            "--passphrase-file",
            &passphrase,
        ];
        let mut command = world.command(&args);
        command.env("SOME_KEY", "from-env");
        assert_eq!(
            super::world::finish(command, None).ok().text(),
            "from-env\n"
        );
    }
}

#[test]
fn resolve_and_reload_report_every_ref_by_name() {
    let world = World::unlocked();
    world.store("openai/default", "value-of-the-key");
    world
        .run(&[
            "secrets",
            "set",
            "openai:default",
            "--ref",
            "vault:openai/default",
        ])
        .ok();
    let ran = world.run(&["--json", "secrets", "resolve"]).ok();
    assert_eq!(ran.json()["refs"][0]["outcome"], "ok");
    assert!(!ran.text().contains("value-of-the-key"));
    let ran = world.run(&["--json", "secrets", "reload"]).ok();
    assert_eq!(ran.json()["snapshot"]["state"], "active");

    // What worked once goes on working: degraded, and said so.
    world.run(&["secrets", "rm", "openai/default"]).ok();
    let ran = world.run(&["secrets", "reload"]).code(3);
    assert!(ran.stderr.contains("openai/default"), "{}", ran.stderr);
    let status = world.run(&["--json", "vault", "status"]).ok();
    assert_eq!(status.json()["snapshot"]["state"], "degraded");
    world.store("openai/default", "again");
    world.run(&["secrets", "reload"]).ok();
    let status = world.run(&["--json", "vault", "status"]).ok();
    assert_eq!(status.json()["snapshot"]["state"], "active");
}

#[test]
fn reload_without_a_daemon_says_that_there_is_nothing_to_reload() {
    World::new().run(&["secrets", "reload"]).code(4);
}

#[test]
fn a_prefix_shows_only_what_starts_with_it() {
    for world in World::both() {
        for name in ["b/2", "a/1", "b/1", "bb", "B/1"] {
            world.store(name, "x");
        }
        let names = |prefix: &str| -> Vec<String> {
            let ran = world.with_passphrase(&["--json", "secrets", "list", prefix]);
            let records = ran.ok().json()["records"].as_array().unwrap().clone();
            let name = |record: &serde_json::Value| record["name"].as_str().unwrap().to_owned();
            records.iter().map(name).collect()
        };
        assert_eq!(names("b/"), ["b/1", "b/2"]);
        assert_eq!(names("c"), Vec::<String>::new());
        assert_eq!(names("").len(), 5);
    }
}
