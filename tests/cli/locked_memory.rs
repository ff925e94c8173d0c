//! What is told of a daemon whose memory for secrets is not what it should be. Needs root, to
//! become a user who may not lock any.

use super::grants::{OWNER, Site, is_root, run};
use super::world::Ran;
use serde_json::json;
use std::fs;

/// A command of the daemon's user, who may lock so many bytes of memory, or as many as he likes.
fn owner(site: &Site, lock: Option<u32>, args: &[&str]) -> Ran {
    let inner = site.command(OWNER);
    let mut command = std::process::Command::new("prlimit");
    command.arg(match lock {
        Some(bytes) => format!("--memlock={bytes}:{bytes}"),
        None => "--memlock=8388608:8388608".to_owned(),
    });
    command
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear()
        .envs(
            inner
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .current_dir("/")
        .arg(site.path("reseal"))
        .arg("--state-dir")
        .arg(site.path("state"))
        .arg("--no-input")
        .args(args);
    run(command, "")
}

#[test]
fn a_daemon_says_where_its_memory_is_not_locked_or_too_small() {
    if !is_root() {
        return;
    }
    let site = Site::new(None);
    site.owner(&["vault", "lock"]).code(0);
    let passphrase = site.text("passphrase");
    let unlock = ["vault", "unlock", "--passphrase-file", &passphrase];
    let told = owner(&site, Some(0), &unlock).code(0).stderr;
    assert!(
        told.contains("of the daemon: memory can't be locked"),
        "{told}"
    );
    // Whoever looks may lock as much as he likes.
    let doctor = owner(&site, None, &["doctor"]);
    let line = "memory        of the daemon: memory can't be locked: secrets may reach swap";
    assert!(doctor.text().contains(line), "{}", doctor.text());
    let log = fs::read_to_string(site.path("state/run/daemon.log")).unwrap();
    assert!(log.contains("memory can't be locked"), "{log}");
    owner(&site, None, &["vault", "lock"]).code(0);

    // Five values of a MiB have no room in four.
    let large = "x".repeat(1 << 20);
    let mut places = serde_json::Map::new();
    for name in ["a", "b", "c", "d", "e"] {
        let mut set = site.command(OWNER);
        set.arg(site.path("reseal"))
            .arg("--state-dir")
            .arg(site.path("state"))
            .args(["--no-input", "secrets", "set", name])
            .args(["--passphrase-file", &passphrase]);
        run(set, &large).code(0);
        let key = json!({"source": "vault", "provider": "default", "id": name});
        let place = json!({"apiKey": key, "baseUrl": "https://a.example"});
        places.insert(name.to_owned(), place);
    }
    let config = json!({"models": {"providers": places}});
    fs::write(site.path("state/reseal.json"), config.to_string()).unwrap();
    let told = owner(&site, None, &unlock).code(0).stderr;
    assert!(told.contains("have no room in locked memory"), "{told}");
    let doctor = owner(&site, None, &["doctor"]);
    assert!(
        doctor.text().contains("4 MiB for those in use"),
        "{}",
        doctor.text()
    );
    let status = owner(&site, None, &["--json", "vault", "status"])
        .code(0)
        .json();
    assert!(
        status["daemon"]["memory"]["overflow"].as_u64().unwrap() > 0,
        "{status}"
    );
}
