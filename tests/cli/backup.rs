//! `vault export` and `vault import`.

use super::world::{World, mode};
use serde_json::Value;
use std::fs;

fn filled() -> World {
    let world = World::new();
    let args = [
        "secrets",
        "set",
        "a",
        "--note",
        "a \"note\" ü",
        "--expires",
        "90d",
    ];
    world.piped_with_passphrase(&args, b"first").ok();
    let args = [
        "secrets", "set", "a", "--kind", "api-key", "--note", "newer",
    ];
    world
        .piped_with_passphrase(&args, "zweiter \u{1F511} \"x\"\n\t".as_bytes())
        .ok();
    let args = ["secrets", "set", "bin", "--raw", "--kind", "file"];
    world
        .piped_with_passphrase(&args, &[0, 159, 146, 150, 255])
        .ok();
    world
}

fn contents(world: &World) -> Value {
    let mut list = world
        .with_passphrase(&["--json", "secrets", "list"])
        .ok()
        .json();
    for record in list["records"].as_array_mut().unwrap() {
        let name = record["name"].as_str().unwrap().to_owned();
        let get = world
            .with_passphrase(&["--json", "secrets", "get", &name])
            .ok()
            .json();
        record["content"] = get;
        let history = ["--json", "secrets", "history", &name];
        record["history"] = world.with_passphrase(&history).ok().json();
    }
    list
}

#[test]
fn an_export_brings_everything_back() {
    let world = filled();
    let (file, secret) = (
        world.beside("export.age"),
        world.private_file("export-pass", b"exp\n"),
    );
    let to = [
        "vault",
        "export",
        "--export-passphrase-file",
        &secret,
        "-o",
        &file,
    ];
    let ran = world.with_passphrase(&to).ok();
    assert!(ran.stderr.contains("2 records"), "{}", ran.stderr);
    assert_eq!(mode(file.as_ref()), 0o600);
    let bytes = fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"age-encryption.org/v1\n"));
    assert!(!bytes.windows(5).any(|window| window == b"first"));

    let other = World::new();
    let from = [
        "vault",
        "import",
        &file,
        "--import-passphrase-file",
        &secret,
    ];
    let ran = other
        .with_passphrase(&[&["--json"], &from[..]].concat())
        .ok();
    assert_eq!(
        (ran.json()["added"].as_u64(), ran.json()["same"].as_u64()),
        (Some(2), Some(0))
    );
    assert_eq!(contents(&other), contents(&world));

    let again = other
        .with_passphrase(&[&["--json"], &from[..]].concat())
        .ok();
    assert_eq!(again.json()["same"], 2, "importing twice changes nothing");
}

#[test]
fn an_import_never_writes_over_another_value_unless_told() {
    let world = filled();
    let (file, secret) = (
        world.beside("export.age"),
        world.private_file("export-pass", b"exp\n"),
    );
    let to = [
        "vault",
        "export",
        "--export-passphrase-file",
        &secret,
        "-o",
        &file,
    ];
    world.with_passphrase(&to).ok();
    let other = World::new();
    other.store("bin", "mine");
    let from = [
        "vault",
        "import",
        &file,
        "--import-passphrase-file",
        &secret,
    ];
    let ran = other.with_passphrase(&from).code(8);
    assert!(ran.stderr.contains("bin"), "{}", ran.stderr);
    assert_eq!(other.value("bin"), "mine");
    other.with_passphrase(&["secrets", "get", "a"]).code(3);
    other
        .with_passphrase(&[&from[..], &["--overwrite"]].concat())
        .ok();
    let old = other
        .with_passphrase(&["secrets", "get", "bin", "--version", "1"])
        .ok();
    assert_eq!(old.text(), "mine\n");
}

#[test]
fn what_is_no_export_is_refused() {
    let world = World::new();
    let secret = world.private_file("export-pass", b"exp\n");
    let junk = world.private_file("junk", b"not an age file");
    let from = [
        "vault",
        "import",
        &junk,
        "--import-passphrase-file",
        &secret,
    ];
    assert_ne!(world.with_passphrase(&from).code, 0);
    world.with_passphrase(&["vault", "export"]).code(2);
    let bad = [
        "vault",
        "export",
        "--recipient",
        "age1nonsense",
        "-o",
        &junk,
    ];
    world.with_passphrase(&bad).code(2);
}

/// Debian's `age` reads what we write: nobody is locked in.
#[test]
fn the_age_program_opens_an_export() {
    let found = std::process::Command::new("age").arg("--version").output();
    if found.is_err() {
        // `tests/run` installs the program; a bare `cargo test` may run without it.
        return;
    }
    let world = filled();
    let identity = world.beside("identity");
    let keygen = std::process::Command::new("age-keygen")
        .args(["-o", &identity])
        .output()
        .unwrap();
    let text = String::from_utf8(keygen.stderr).unwrap();
    let recipient = text.trim().strip_prefix("Public key: ").unwrap();
    let ran = world
        .with_passphrase(&["vault", "export", "--recipient", recipient])
        .ok();
    let mut age = std::process::Command::new("age");
    age.args(["-d", "-i", &identity]);
    let opened = super::world::finish(age, Some(&ran.stdout)).ok();
    let json = opened.json();
    assert_eq!(json["format"], "reseal-export");
    let records = json["records"].as_array().unwrap();
    assert_eq!(records[0]["value"], "zweiter \u{1F511} \"x\"\n\t");
    assert_eq!(records[0]["history"][0]["value"], "first");
    assert_eq!(records[1]["valueBase64"], "AJ+Slv8=");
}
