//! `vault`: keyslots, keys, the daemon, and what stands in the file.

use super::world::{PASSPHRASE, World};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

fn slots(world: &World) -> Vec<(String, String)> {
    let ran = world.run(&["--json", "vault", "slot", "list"]).ok();
    let text = |slot: &Value, name: &str| slot[name].as_str().unwrap().to_owned();
    ran.json()["slots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (text(s, "id"), text(s, "kind")))
        .collect()
}

#[test]
fn unlock_and_lock_start_and_end_a_daemon() {
    let world = World::new();
    let status = world.run(&["--json", "vault", "status"]).ok().json();
    assert_eq!(status["state"], "locked");
    assert!(status["daemon"].is_null() && status["vault"]["generation"].is_null());

    let ran =
        world.with_passphrase(&["--json", "vault", "unlock", "--ttl", "1h", "--idle", "none"]);
    let status = ran.ok().json();
    assert_eq!(status["state"], "unlocked");
    let ttl = status["daemon"]["ttlRemainingMs"].as_u64().unwrap();
    assert!((3_000_000..=3_600_000).contains(&ttl), "{ttl}");
    assert!(status["daemon"]["idleRemainingMs"].is_null());
    let pid = status["daemon"]["pid"].as_u64().unwrap();

    // Unlocking again goes to the same daemon, with new limits.
    let again = world
        .with_passphrase(&["--json", "vault", "unlock", "--ttl", "2h"])
        .ok()
        .json();
    assert_eq!(again["daemon"]["pid"].as_u64(), Some(pid));
    assert!(again["daemon"]["ttlRemainingMs"].as_u64().unwrap() > 3_700_000);

    assert_eq!(
        world.run(&["--json", "vault", "lock"]).ok().json()["wasUnlocked"],
        true
    );
    assert_eq!(
        world.run(&["--json", "vault", "lock"]).ok().json()["wasUnlocked"],
        false
    );
    world.run(&["secrets", "list"]).code(4);
}

#[test]
fn a_wrong_passphrase_is_denied() {
    let world = World::new();
    let wrong = world.private_file("wrong", b"wrong\n");
    let ran = world
        .run(&["secrets", "list", "--passphrase-file", &wrong])
        .code(5);
    assert!(!ran.stderr.contains("wrong\n"), "{}", ran.stderr);
    world
        .run(&["vault", "unlock", "--passphrase-file", &wrong])
        .code(5);
    world
        .run(&["vault", "unlock", "--passphrase-file", "/no/such/file"])
        .code(2);
    fs::set_permissions(&wrong, Permissions::from_mode(0o644)).unwrap();
    world
        .run(&["vault", "unlock", "--passphrase-file", &wrong])
        .code(5);
}

#[test]
fn unlock_reports_refs_that_fail_and_strict_makes_them_count() {
    let world = World::new();
    world
        .run(&["secrets", "set", "openai:default", "--ref", "vault:nope"])
        .ok();
    let ran = world.with_passphrase(&["vault", "unlock"]).ok();
    assert!(
        ran.stderr.contains("vault:nope") || ran.stderr.contains("nope"),
        "{}",
        ran.stderr
    );
    let status = world.run(&["--json", "vault", "status"]).ok().json();
    assert_eq!(status["snapshot"]["state"], "failed");
    let failure = &status["snapshot"]["failures"][0];
    assert_eq!(failure["file"].as_str(), world.profiles().to_str());
    world.run(&["vault", "lock"]).ok();
    let ran = world.with_passphrase(&["vault", "unlock", "--strict"]);
    assert_ne!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn slots_are_added_used_and_removed_but_never_the_last() {
    let world = World::new();
    let second = world.private_file("second", b"another passphrase\n");
    let key = world.beside("key");
    let add = [
        "vault",
        "slot",
        "add",
        "passphrase",
        "--new-passphrase-file",
        &second,
    ];
    let add = [&add[..], &["--kdf", "minimal", "--label", "laptop"]].concat();
    world.with_passphrase(&add).ok();
    world
        .with_passphrase(&["vault", "slot", "add", "key", &key, "--generate"])
        .ok();
    let kinds: Vec<String> = slots(&world).into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(kinds, ["passphrase", "passphrase", "key"]);
    world
        .run(&["secrets", "list", "--passphrase-file", &second])
        .ok();
    world.run(&["secrets", "list", "--key-file", &key]).ok();

    let ids: Vec<String> = slots(&world).into_iter().map(|(id, _)| id).collect();
    world
        .with_passphrase(&["vault", "slot", "remove", "zzzz", "--yes"])
        .code(3);
    world
        .with_passphrase(&["vault", "slot", "remove", &ids[0]])
        .code(4);
    let by_key = ["--key-file", &key];
    for id in &ids[..2] {
        world
            .run(&[&["vault", "slot", "remove", id, "--yes"], &by_key[..]].concat())
            .ok();
    }
    world.with_passphrase(&["secrets", "list"]).code(5);
    let last = [&["vault", "slot", "remove", &ids[2], "--yes"], &by_key[..]].concat();
    world.run(&last).code(5);
    assert_eq!(slots(&world).len(), 1);
}

#[test]
fn labels_show_with_a_daemon_or_a_secret_and_are_absent_while_sealed() {
    for world in World::both() {
        let add = ["vault", "slot", "add", "recovery", "--label", "paper"];
        world.with_passphrase(&add).ok();
        let open = world
            .with_passphrase(&["--json", "vault", "slot", "list"])
            .ok()
            .json();
        assert_eq!(open["slots"][0]["label"], Value::Null);
        assert!(open["slots"][0].get("label").is_some(), "there is none");
        assert_eq!(open["slots"][1]["label"], "paper");
        world.run(&["vault", "lock"]).ok();
        let sealed = world.run(&["--json", "vault", "slot", "list"]).ok().json();
        assert!(sealed["slots"][1].get("label").is_none(), "it is sealed");
        let text = world.run(&["vault", "slot", "list"]).ok();
        assert!(!text.text().contains("(sealed)"), "{}", text.text());
    }
}

#[test]
fn admin_commands_ask_for_a_keyslot_even_with_a_daemon() {
    let world = World::unlocked();
    for args in [
        &["vault", "slot", "add", "recovery"][..],
        &["vault", "slot", "remove", "00", "--yes"],
        &["vault", "rekey"],
        &[
            "vault",
            "export",
            "--export-passphrase-file",
            &world.passphrase(),
        ],
    ] {
        world.run(args).code(4);
    }
}

#[test]
fn rekey_gives_a_new_key_and_the_daemon_goes_on_with_it() {
    for world in World::both() {
        world.store("a", "value");
        let before = world.run(&["vault", "fingerprint"]).ok();
        let args = [
            "--json", "vault", "slot", "add", "recovery", "--label", "paper",
        ];
        let old = world.with_passphrase(&args).ok().json()["recoveryCode"].clone();
        let json = world
            .with_passphrase(&["--json", "vault", "rekey"])
            .ok()
            .json();
        assert_eq!(json["epoch"], 2);
        let new = json["recoveryCode"].clone();
        assert!(
            new.is_string() && new != old,
            "an old recovery code never opens the new key"
        );
        let after = world.run(&["vault", "fingerprint"]).ok();
        assert_ne!(before.stdout, after.stdout);
        assert_eq!(world.value("a"), "value");
        world.store("a", "next");
        world.with_passphrase(&["vault", "verify"]).ok();
    }
}

#[test]
fn rekey_refuses_to_lose_a_slot_silently() {
    let world = World::new();
    let key = world.beside("key");
    world
        .with_passphrase(&["vault", "slot", "add", "key", &key, "--generate"])
        .ok();
    let id = &slots(&world)[1].0;
    let before = fs::read(world.vault()).unwrap();
    let ran = world.with_passphrase(&["vault", "rekey"]).code(5);
    assert!(ran.stderr.contains(id.as_str()), "{}", ran.stderr);
    assert_eq!(fs::read(world.vault()).unwrap(), before);
    world
        .with_passphrase(&["vault", "rekey", "--drop", id])
        .ok();
    assert_eq!(slots(&world).len(), 1);
}

#[test]
fn rekey_takes_the_secret_of_each_slot() {
    let world = World::new();
    let second = world.private_file("second", b"another passphrase\n");
    let key = world.beside("key");
    let add = ["vault", "slot", "add", "passphrase", "--kdf", "minimal"];
    let add = [&add[..], &["--new-passphrase-file", &second]].concat();
    world.with_passphrase(&add).ok();
    let add = ["vault", "slot", "add", "key", &key, "--generate"];
    world.with_passphrase(&add).ok();
    let ids: Vec<String> = slots(&world).into_iter().map(|(id, _)| id).collect();
    let of = |id: &String, file: &String| format!("--slot-secret={id}={file}");
    let (wrong, right) = (of(&ids[1], &world.passphrase()), of(&ids[1], &second));
    let key_of = of(&ids[2], &key);
    let ran = world.with_passphrase(&["vault", "rekey", &wrong, &key_of]);
    assert!(ran.code(5).stderr.contains(ids[1].as_str()));
    world
        .with_passphrase(&["vault", "rekey", &right, &key_of])
        .ok();
    assert_eq!(slots(&world).len(), 3);
    for args in [["--passphrase-file", &second], ["--key-file", &key]] {
        world.run(&[&["secrets", "list"], &args[..]].concat()).ok();
    }
    world.with_passphrase(&["secrets", "list"]).ok();
}

#[test]
fn compaction_drops_history_unless_told_otherwise() {
    for world in World::both() {
        world.store("a", "one");
        world.store("a", "two");
        world
            .with_passphrase(&["vault", "compact", "--keep-history"])
            .ok();
        world
            .with_passphrase(&["secrets", "get", "a", "--version", "1"])
            .ok();
        world.with_passphrase(&["vault", "compact"]).ok();
        world
            .with_passphrase(&["secrets", "get", "a", "--version", "1"])
            .code(3);
        assert_eq!(world.value("a"), "two");
    }
}

#[test]
fn damage_is_said_and_nothing_is_overwritten() {
    let world = World::new();
    world.store("a", "one");
    world.store("b", "two");
    let whole = fs::read(world.vault()).unwrap();
    let mut damaged = whole.clone();
    // In the header: nothing opens any more.
    damaged[100] ^= 1;
    fs::write(world.vault(), &damaged).unwrap();
    assert_ne!(world.with_passphrase(&["secrets", "list"]).code, 0);
    // The last frame is gone: the file is older than what this machine has seen.
    damaged = whole.clone();
    let last = damaged.len() - 10;
    damaged[last] ^= 1;
    fs::write(world.vault(), &damaged).unwrap();
    let ran = world.with_passphrase(&["vault", "verify"]).code(7);
    let at = format!("damaged at byte {}", frame_before(&whole));
    assert!(ran.stderr.contains(&at), "{}: {at}", ran.stderr);
    assert!(!ran.stderr.contains("vault verify"), "{}", ran.stderr);
    let ran = world.with_passphrase(&["secrets", "list"]).code(7);
    assert!(ran.stderr.contains("older"), "{}", ran.stderr);
    world
        .piped_with_passphrase(&["secrets", "set", "c"], b"x")
        .code(7);
    assert_eq!(fs::read(world.vault()).unwrap(), damaged);
    let read = world
        .with_passphrase(&["secrets", "get", "a", "--accept-rollback"])
        .ok();
    assert_eq!(read.text(), "one\n");
    let args = ["secrets", "set", "c", "--accept-rollback"];
    world.piped_with_passphrase(&args, b"x").code(7);
    fs::write(world.vault(), &whole).unwrap();
    world.with_passphrase(&["vault", "verify"]).ok();
}

/// Where the last frame of a vault starts: behind the last magic of a frame.
fn frame_before(vault: &[u8]) -> usize {
    vault.windows(4).rposition(|four| four == b"FRAM").unwrap()
}

#[test]
fn a_rollback_is_shown_and_can_be_accepted_for_good() {
    let world = World::new();
    world.store("a", "one");
    let old = fs::read(world.vault()).unwrap();
    world.store("a", "two");
    fs::write(world.vault(), &old).unwrap();
    let status = world.run(&["--json", "vault", "status"]).ok().json();
    let rollback = &status["vault"]["rollback"];
    let seen = rollback["remembered"].as_u64().unwrap();
    assert_eq!(rollback["generation"].as_u64(), Some(seen - 1));
    let ran = world.with_passphrase(&["secrets", "list"]).code(7);
    for word in ["generation", "backup", "flush", "sync", "vault trust"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    // A daemon would write to it.
    let unlock = world
        .with_passphrase(&["vault", "unlock", "--accept-rollback"])
        .code(2);
    assert!(unlock.stderr.contains("vault trust"), "{}", unlock.stderr);
    let trust = ["vault", "trust", "--accept-rollback"];
    world.with_passphrase(&trust).code(4);
    world.with_passphrase(&["secrets", "list"]).code(7);
    world
        .with_passphrase(&[&trust[..], &["--yes"]].concat())
        .ok();
    assert_eq!(world.value("a"), "one");
    world.store("a", "three");
    let status = world.run(&["--json", "vault", "status"]).ok().json();
    assert!(status["vault"]["rollback"].is_null());
}

#[test]
fn a_daemon_writes_nothing_to_a_vault_that_took_the_place_of_its_own() {
    let (world, other) = (World::new(), World::new());
    world.store("a", "one");
    other.store("a", "of another vault");
    world.unlock();
    let theirs = fs::read(other.vault()).unwrap();
    let beside = world.beside("theirs");
    fs::write(&beside, &theirs).unwrap();
    fs::set_permissions(&beside, Permissions::from_mode(0o600)).unwrap();
    fs::rename(&beside, world.vault()).unwrap();
    for (args, input) in [
        (["secrets", "get", "a"], ""),
        (["secrets", "set", "b"], "two"),
    ] {
        let ran = world.piped(&args, input.as_bytes());
        assert!(
            ran.code != 0 && !ran.text().contains("another"),
            "{args:?} {}",
            ran.stderr
        );
    }
    assert!(
        fs::read(world.vault()).unwrap() == theirs,
        "it was written to"
    );
    world.run(&["vault", "lock"]).ok();
}

#[test]
fn without_a_vault_every_command_says_so() {
    let world = World::empty();
    for args in [
        &["vault", "status"][..],
        &["secrets", "list"],
        &["vault", "fingerprint"],
    ] {
        let ran = world.with_passphrase(args);
        let ran = if ran.code == 2 { world.run(args) } else { ran };
        let ran = ran.code(3);
        assert!(ran.stderr.contains("reseal init"), "{}", ran.stderr);
    }
}

#[test]
fn a_vault_of_a_public_key_is_trusted_only_after_its_fingerprint() {
    let keys = age_keys();
    let world = World::empty();
    let args = ["init", "--no-recovery", "--recipient", &keys.recipient];
    world.run(&args).ok();
    let identity = world.private_file("identity", keys.identity.as_bytes());
    // Who made it trusts it.
    world
        .run(&["secrets", "list", "--identity", &identity])
        .ok();
    // Another machine has never seen it.
    fs::remove_dir_all(world.state().join("anchors")).unwrap();
    world
        .run(&["secrets", "list", "--identity", &identity])
        .code(5);
    world
        .run(&["vault", "trust", "AAAA-BBBB", "--identity", &identity])
        .code(5);
    world
        .run(&["vault", "trust", "--identity", &identity])
        .code(4);
    let fingerprint = world.run(&["vault", "fingerprint"]).ok();
    let fingerprint = fingerprint.text().trim();
    world
        .run(&["vault", "trust", fingerprint, "--identity", &identity])
        .ok();
    world
        .run(&["secrets", "list", "--identity", &identity])
        .ok();
}

struct AgeKeys {
    recipient: String,
    identity: String,
}

/// A key pair as `age-keygen` prints it.
fn age_keys() -> AgeKeys {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    AgeKeys {
        recipient: identity.to_public().to_string(),
        identity: identity.to_string().expose_secret().to_owned(),
    }
}

#[test]
fn the_daemon_runs_in_the_foreground_for_a_service_manager() {
    let world = World::new();
    world.store("a", "value");
    let passphrase = world.passphrase();
    let mut child = world
        .command(&["daemon", "--passphrase-file", &passphrase])
        .spawn()
        .unwrap();
    let socket = world.state().join("run/daemon.sock");
    while !socket.exists() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the daemon ended before it served"
        );
        std::thread::yield_now();
    }
    assert_eq!(world.run(&["secrets", "get", "a"]).ok().text(), "value\n");
    let status = world.run(&["--json", "vault", "status"]).ok().json();
    assert!(
        status["daemon"]["ttlRemainingMs"].is_null(),
        "no limit unless one is given"
    );
    world.run(&["vault", "lock"]).ok();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_strict_daemon_does_not_start_half_configured() {
    let world = World::new();
    world
        .run(&["secrets", "set", "openai:default", "--ref", "vault:nope"])
        .ok();
    let ran = world.with_passphrase(&["daemon"]);
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("nope"), "{}", ran.stderr);
    assert!(!ran.stderr.contains(PASSPHRASE));
}

#[test]
fn commands_that_ask_for_a_keyslot_s_secret_say_so_when_unlocked() {
    let world = World::unlocked();
    let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    for args in [
        &["vault", "export", "--recipient", recipient][..],
        &["vault", "slot", "add", "recovery"],
        &["vault", "rekey"],
    ] {
        let ran = world.run(args).code(4);
        assert!(
            ran.stderr.contains("keyslot's secret again"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("--passphrase-file"), "{}", ran.stderr);
        assert!(!ran.stderr.contains("vault unlock"), "{}", ran.stderr);
    }
}

#[test]
fn an_import_without_a_key_names_the_options_that_give_it() {
    let world = World::unlocked();
    let file = world.private_file("export.age", b"not looked at");
    let ran = world.run(&["vault", "import", &file]).code(4);
    let hint = ran.stderr.split("hint: ").nth(1).unwrap();
    assert!(
        hint.contains("--import-identity") && hint.contains("--import-passphrase-file"),
        "{hint}"
    );
}

#[test]
fn a_short_new_passphrase_is_warned_about() {
    for (passphrase, warned) in [("seven77", true), ("äöüäöüä", true), ("eight888", false)] {
        let world = World::empty();
        let file = world.private_file("new", passphrase.as_bytes());
        let args = [
            "init",
            "--kdf",
            "minimal",
            "--no-recovery",
            "--passphrase-file",
            &file,
        ];
        let ran = world.run(&args).ok();
        assert_eq!(
            ran.stderr.contains("fewer than 8 characters"),
            warned,
            "{passphrase}"
        );
    }
}

#[test]
fn the_daemon_is_called_reseal_in_a_process_list() {
    let world = World::unlocked();
    let status = world.run(&["--json", "vault", "status"]).ok().json();
    let pid = status["daemon"]["pid"].as_u64().unwrap();
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(line.starts_with(b"reseal\0--state-dir\0"), "{line:?}");
}
