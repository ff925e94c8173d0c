//! What is told to whoever grants something, and to whoever was granted nothing. Needs root, to
//! become other users.

use super::confirm::Asking;
use super::grants::{CLIENT, OTHER, OWNER, Site, is_root, run};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const GET: [&str; 3] = ["secrets", "get", "other/key"];

#[test]
fn a_grant_counts_from_when_the_command_says_so_until_it_says_otherwise() {
    if !is_root() {
        return;
    }
    let site = Site::new(Some("everyone"));
    let uid = OTHER.to_string();
    for _ in 0..5 {
        let add = [
            "grants",
            "add",
            "brief",
            "--uid",
            &uid,
            "--ref",
            "vault:other/*",
            "--verb",
            "read",
        ];
        site.owner(&add).code(0);
        site.client(OTHER, &GET).code(0);
        site.owner(&["grants", "remove", "brief"]).code(0);
        site.client(OTHER, &GET).code(5);
    }
}

#[test]
fn a_person_is_asked_once_for_what_a_ref_gives() {
    if !is_root() {
        return;
    }
    let asking = Asking::new("exit 0", &json!({}));
    let mut set = asking.site.command(OWNER);
    set.arg(asking.site.path("reseal"))
        .arg("--state-dir")
        .arg(asking.site.path("state"))
        .args(["secrets", "set", "agent/token"]);
    run(set, "a-token").code(0);
    let token = ["token", "--ref", "vault:agent/token"];
    let got = asking.site.client(CLIENT, &token).code(0);
    assert_eq!(got.text(), "a-token\n");
    assert_eq!(asking.log().len(), 1);
}

#[test]
fn a_vault_is_locked_whatever_stands_in_the_config() {
    if !is_root() {
        return;
    }
    let site = Site::new(Some("everyone"));
    let config = site.path("state/reseal.json");
    let good = fs::read(&config).unwrap();
    fs::write(&config, "{").unwrap();
    let socket = site.text("run/daemon.sock");
    site.owner(&["--socket", &socket, "vault", "lock"]).code(0);
    fs::write(&config, good).unwrap();
    site.client(CLIENT, &["token", "--ref", "vault:agent/key"])
        .code(6);
}

#[test]
fn whoever_forgot_whose_daemon_it_is_is_told() {
    if !is_root() {
        return;
    }
    let site = Site::new(Some("everyone"));
    let socket = site.text("run/daemon.sock");
    let mut command = site.command(CLIENT);
    command.arg(site.path("reseal")).args([
        "--no-input",
        "--socket",
        &socket,
        "token",
        "--ref",
        "vault:agent/key",
    ]);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let whose = format!("it is a folder of user {OWNER}");
    assert!(
        said.contains(&whose) && said.contains("--daemon-user"),
        "{said}"
    );
    // A refusal says who can change it.
    let refused = site.client(CLIENT, &GET).code(5);
    assert!(
        refused.stderr.contains("reseal grants add"),
        "{}",
        refused.stderr
    );
}

#[test]
fn grants_that_reach_nobody_are_told() {
    if !is_root() {
        return;
    }
    let site = Site::new(None);
    let add = [
        "grants",
        "add",
        "a",
        "--user",
        "no-such-user",
        "--ref",
        "vault:other/*",
    ];
    let told = site.owner(&add).code(0).stderr;
    assert!(told.contains("daemon.share"), "{told}");
    assert!(told.contains("there is no user no-such-user"), "{told}");
    let config = json!({"daemon": {"share": "everyone"}, "grants": {
        "old": {"to": {"uid": OTHER}, "refs": ["vault:a"], "until": "2001-01-01"},
        "new": {"to": {"uid": OTHER}, "refs": ["vault:a"], "until": "2999-01-01"},
    }});
    fs::write(site.path("state/reseal.json"), config.to_string()).unwrap();
    let listed = site.owner(&["grants", "list"]).code(0);
    let listed = listed.text();
    let ended: Vec<&str> = listed
        .lines()
        .filter(|line| line.contains("ended"))
        .collect();
    assert!(ended.len() == 1 && ended[0].contains("old"), "{listed}");
    fs::write(site.path("state/reseal.json"), "{}").unwrap();
}

#[test]
fn a_daemon_in_the_background_says_in_its_log_that_nothing_is_granted() {
    if !is_root() {
        return;
    }
    let site = Site::new(Some("everyone"));
    let config = site.path("state/reseal.json");
    site.owner(&["vault", "lock"]).code(0);
    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    let passphrase = site.text("passphrase");
    site.owner(&["vault", "unlock", "--passphrase-file", &passphrase])
        .code(0);
    let log = fs::read_to_string(site.path("run/daemon.log")).unwrap();
    assert!(log.contains("nothing is granted: "), "{log}");
    site.client(CLIENT, &["token", "--ref", "vault:agent/key"])
        .code(5);
}

#[test]
fn checking_the_log_wants_a_secret_and_says_so() {
    if !is_root() {
        return;
    }
    let site = Site::new(None);
    let told = site.owner(&["vault", "audit", "verify"]).code(4).stderr;
    assert!(told.contains("also when the vault is unlocked"), "{told}");
}

#[test]
fn a_client_without_a_state_folder_is_not_told_that_there_is_nothing() {
    if !is_root() {
        return;
    }
    let site = Site::new(Some("everyone"));
    for words in [
        &["grants", "list"][..],
        &["vault", "audit", "show"],
        &["vault", "slot", "list"],
    ] {
        let refused = site.client(CLIENT, words).code(2).stderr;
        let told = format!("it is for {OWNER}, at the state folder of that daemon");
        assert!(refused.contains(&told), "{words:?} {refused}");
    }
}
