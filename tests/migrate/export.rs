//! The way back: what moved in comes out again in the family's plaintext form.

use super::claw::{Claw, contents, text};
use super::eras::{era_a, era_b};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

const PROFILES: &str = "agents/main/agent/auth-profiles.json";

fn export(claw: &Claw, to: &Path, more: &[&str]) -> Output {
    let to = to.to_str().unwrap();
    let args = ["secrets", "migrate", "--export", to, "--json"];
    let output = claw.run(&[&args[..], more].concat());
    for canary in claw.moved.keys().chain(claw.stays.keys()) {
        let said = [&output.stdout[..], &output.stderr].concat();
        let escaped = serde_json::to_string(canary).unwrap();
        let forms = [canary.as_str(), &escaped[1..escaped.len() - 1]];
        for form in forms {
            let found = said.windows(form.len()).any(|w| w == form.as_bytes());
            assert!(!found, "{form} was said");
        }
    }
    output
}

#[track_caller]
fn refused(output: &Output, exit: i32, words: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{said}");
    assert!(said.contains(words), "{said}");
}

fn read(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn edit_own(claw: &Claw, edit: impl FnOnce(&mut Value)) {
    let path = claw.own().join(PROFILES);
    let mut document = read(path.clone());
    edit(&mut document);
    fs::write(path, document.to_string()).unwrap();
}

#[test]
fn what_moved_in_comes_out_the_same() {
    let claw = era_b();
    let originals = [PROFILES, "agents/coder/agent/auth-profiles.json"];
    let before = originals.map(|name| read(claw.from().join(name)));
    let state_before = read(claw.from().join("agents/main/agent/auth-state.json"));
    let older = read(claw.from().join("credentials/oauth.json"));
    claw.migrate(&[]);
    let own = contents(&claw.own());
    let to = claw.beside("out");
    let output = export(&claw, &to, &["--yes"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(contents(&claw.own()), own, "an export changes nothing here");
    let mut compared = 0;
    for (name, before) in originals.iter().zip(before) {
        let after = read(to.join(name));
        assert_eq!(after["version"], 1);
        for (id, old) in before["profiles"].as_object().unwrap() {
            let new = &after["profiles"][id];
            if ["google:me", "odd:one"].contains(&id.as_str()) {
                assert!(new.is_null(), "{id} never moved in");
                continue;
            }
            // A key that this program does not know stays with the other runtime.
            for (member, value) in old.as_object().unwrap() {
                if member != "extra" {
                    assert_eq!(new[member], *value, "{name} {id} {member}");
                    compared += 1;
                }
            }
            for gone in ["keyRef", "tokenRef", "oauthRef"] {
                assert!(new.get(gone).is_none(), "{id} {gone}");
            }
        }
    }
    assert!(compared > 20, "{compared}");
    let main = read(to.join(PROFILES));
    let account = &main["profiles"]["openai-codex:default"];
    for member in ["access", "refresh", "expires"] {
        assert_eq!(account[member], older["openai-codex"][member], "{member}");
    }
    assert!(account["clientId"].is_string());
    let state = read(to.join("agents/main/agent/auth-state.json"));
    for table in ["order", "lastGood", "usageStats"] {
        assert_eq!(state[table], state_before[table], "{table}");
    }
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["twoOwners"].as_array().unwrap().len(), 3);
    let said = text(&output.stderr).replace(['\n', ' '], "");
    assert!(said.contains("twoowners") && said.contains("main:openai-codex:me@x.example"));
}

#[test]
fn an_export_moves_in_again() {
    let claw = era_b();
    claw.migrate(&[]);
    let to = claw.beside("out");
    assert!(export(&claw, &to, &["--yes"]).status.success());
    let other = Claw::new();
    let from = to.to_str().unwrap();
    let output = other.run(&["secrets", "migrate", from, "--yes"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let ours = claw.records();
    let theirs = other.records();
    let mut compared = 0;
    for (name, value) in ours.iter().filter(|(name, _)| !name.starts_with("config/")) {
        assert_eq!(theirs.get(name), Some(value), "{name}");
        compared += 1;
    }
    assert!(compared >= 7, "{compared}");
}

#[test]
fn only_the_owner_can_ever_read_an_export() {
    let claw = era_b();
    claw.migrate(&[]);
    let to = claw.beside("out");
    let log = claw.beside("trace");
    let options = [
        "-e",
        "trace=openat,open,creat,mkdir,mkdirat,chmod,fchmod,fchmodat,umask",
        "-o",
        log.to_str().unwrap(),
    ];
    let out = to.to_str().unwrap();
    let args = ["secrets", "migrate", "--export", out, "--yes"];
    let output = claw.traced(&options, &args).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut made = 0;
    for line in fs::read_to_string(&log).unwrap().lines() {
        if !line.contains(out) {
            continue;
        }
        assert!(!line.contains("chmod"), "{line}");
        if line.contains("O_CREAT") || line.contains("O_TMPFILE") {
            assert!(line.contains("0600"), "{line}");
            made += 1;
        } else if line.contains("mkdir") {
            assert!(line.contains("0700"), "{line}");
        }
    }
    assert_eq!(made, 3, "two profile files and a state file");
    let mut paths: Vec<PathBuf> = contents(&to).into_keys().collect();
    assert_eq!(paths.len(), 3);
    for path in paths.drain(..) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        for folder in path.ancestors().skip(1).take(4) {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_git_work_tree_gets_no_plaintext() {
    let claw = era_a();
    claw.migrate(&[]);
    let repo = claw.beside("repo");
    fs::create_dir_all(repo.join(".git")).unwrap();
    fs::create_dir(repo.join("sub")).unwrap();
    let link = claw.beside("link");
    std::os::unix::fs::symlink(repo.join("sub"), &link).unwrap();
    for to in [
        repo.join("out"),
        repo.join("sub"),
        link.join("out"),
        link.clone(),
    ] {
        refused(&export(&claw, &to, &["--yes"]), 5, "git work tree");
    }
    assert_eq!(contents(&repo).len(), 0);
    let to = repo.join("out");
    let forced = export(&claw, &to, &["--yes", "--force"]);
    assert!(forced.status.success(), "{}", text(&forced.stderr));
    assert!(to.join(PROFILES).exists());
}

#[test]
fn an_export_writes_over_nothing() {
    let claw = era_a();
    claw.migrate(&[]);
    for name in [PROFILES, "agents/main/agent/auth-state.json"] {
        let to = claw.beside(&name.replace('/', "-"));
        let there = to.join(name);
        fs::create_dir_all(there.parent().unwrap()).unwrap();
        fs::write(&there, "{}").unwrap();
        let output = export(&claw, &to, &["--yes", "--force"]);
        refused(&output, 8, name);
        assert_eq!(contents(&to).len(), 1);
        assert_eq!(fs::read(&there).unwrap(), b"{}");
    }
    let own = claw.own();
    refused(&export(&claw, &own, &["--yes"]), 2, "own state folder");
}

#[test]
fn an_export_wants_to_be_told_and_a_keyslot() {
    let claw = era_a();
    claw.migrate(&[]);
    let to = claw.beside("out");
    refused(&export(&claw, &to, &[]), 4, "--yes");
    assert!(!to.exists());
    let unlocked = claw.run(&["vault", "unlock"]);
    assert!(unlocked.status.success(), "{}", text(&unlocked.stderr));
    let fed = claw.without_key(&["secrets", "get", "openai/default", "--reveal"]);
    let out = to.to_str().unwrap();
    let output = claw.without_key(&["secrets", "migrate", "--export", out, "--yes"]);
    claw.without_key(&["vault", "lock"]);
    assert!(fed.status.success(), "the daemon gives values");
    refused(&output, 4, "");
    assert!(!to.exists());
}

#[test]
fn what_has_no_plaintext_form_is_named() {
    let claw = era_a();
    claw.migrate(&[]);
    let env = json!({"source": "env", "provider": "default", "id": "GROQ_API_KEY"});
    let exec = json!({"source": "exec", "provider": "pass", "id": "groq"});
    let gone = json!({"source": "vault", "provider": "default", "id": "no/such"});
    let extra = json!({"a": [1]});
    let key = |reference: &Value| {
        let kind = "api_key";
        json!({"type": kind, "provider": "groq", "keyRef": reference, "extra": extra})
    };
    edit_own(&claw, |document| {
        document["profiles"]["groq:env"] = key(&env);
        document["profiles"]["groq:exec"] = key(&exec);
        document["profiles"]["groq:gone"] = key(&gone);
        document["profiles"]["openai:default"]["extra"] = json!({"kept": ["a", 1]});
        document["profiles"]["openai:default"]["displayName"] = "Mine".into();
        document["other"] = json!({"kept": true});
    });
    fs::create_dir_all(claw.own().join("agents/idle/agent")).unwrap();
    let to = claw.beside("out");
    let output = export(&claw, &to, &["--yes", "--only-agent", "main"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document = read(to.join(PROFILES));
    let profiles = &document["profiles"];
    assert_eq!(profiles["groq:env"], key(&env));
    assert_eq!(profiles["groq:exec"], key(&exec));
    assert!(profiles["groq:gone"].is_null());
    assert_eq!(
        profiles["openai:default"]["extra"],
        json!({"kept": ["a", 1]})
    );
    assert_eq!(profiles["openai:default"]["displayName"], "Mine");
    assert_eq!(document["other"], json!({"kept": true}));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let left = report["left"].to_string();
    assert!(left.contains("groq:gone") && left.contains("no/such"));
    assert!(left.contains("groq:exec") && left.contains("provider pass"));
    assert!(!left.contains("groq:env"));
    let none = export(
        &claw,
        &claw.beside("b"),
        &["--yes", "--only-agent", "nobody"],
    );
    refused(&none, 3, "nobody");
    let other = export(&claw, &claw.beside("b"), &["--yes", "--agent", "idle"]);
    refused(&other, 2, "--only-agent");
    assert!(!claw.beside("b").exists());
}

#[test]
fn a_file_over_the_limit_stops_the_whole_export() {
    const MAX: usize = 4 << 20;
    let claw = era_a();
    claw.migrate(&[]);
    let to = claw.beside("out");
    assert!(export(&claw, &to, &["--yes"]).status.success());
    let len = fs::metadata(to.join(PROFILES)).unwrap().len() as usize;
    // As long as the member's name, quotes, colon, comma and layout are.
    let around = "  \"pad\": \"\",\n".len();
    for (room, fits) in [(MAX - len - around, true), (MAX - len - around + 1, false)] {
        edit_own(&claw, |document| document["pad"] = "x".repeat(room).into());
        let to = claw.beside(if fits { "fits" } else { "over" });
        let output = export(&claw, &to, &["--yes"]);
        if fits {
            assert!(output.status.success(), "{}", text(&output.stderr));
            let len = fs::metadata(to.join(PROFILES)).unwrap().len();
            assert_eq!(len, MAX as u64);
        } else {
            refused(&output, 2, "larger than");
            assert!(!to.exists());
        }
    }
}
