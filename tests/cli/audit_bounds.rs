//! `secrets audit` at its limits, and what it shows of a folder whose names are secrets.

use super::audit::{Folder, KEY, OTHER, codes, profiles};
use super::world::finish;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

/// An address with a password, of which no part may be shown.
const ADDRESS: &str = "postgres://app:acme-canary-41d8cd98f00b@db/x";

fn database(folder: &Folder, name: &str, sql: &str) -> Connection {
    let path = folder.root.join(name);
    let database = Connection::open(&path).unwrap();
    database.execute_batch(sql).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    database
}

fn reasons(report: &Value) -> Vec<&str> {
    let skipped = report["skipped"].as_array().unwrap();
    let reason = |skipped: &'_ Value| skipped["reason"].as_str().unwrap_or_default().len();
    assert!(skipped.iter().all(|s| reason(s) > 0), "{report}");
    skipped
        .iter()
        .filter_map(|s| s["reason"].as_str())
        .collect()
}

#[test]
fn names_of_rows_tables_and_files_that_are_secrets_are_not_shown() {
    let folder = Folder::new();
    // The run of every audit here checks that neither KEY nor OTHER is in what it shows.
    for column in ["id", "key", "name", "server_name", "state_key", "store_key"] {
        for (i, secret) in [KEY, ADDRESS, OTHER].iter().enumerate() {
            if *secret == OTHER && column.ends_with("_key") | (column == "server_name") {
                continue;
            }
            let sql = format!(
                "CREATE TABLE t ({column} TEXT, token TEXT);
                 INSERT INTO t VALUES ('{secret}', 'abcd9876efgh'), ('{}{secret}', 'abcd9876')",
                "x ".repeat(36)
            );
            drop(database(&folder, &format!("{column}{i}.sqlite"), &sql));
        }
    }
    let sql =
        format!("CREATE TABLE \"{KEY}\" (token TEXT); INSERT INTO \"{KEY}\" VALUES ('{KEY}')");
    drop(database(&folder, "table.sqlite", &sql));
    folder
        .put(&format!("workspace/{KEY}/a.txt"), KEY)
        .put(&format!("workspace/{KEY}.sqlite"), "none")
        .put(
            &format!("workspace/{KEY}.bad.json"),
            format!("{{\"password\": \"{OTHER}\""),
        );
    let report = folder.report(&["--verbose"]);
    folder.audit(&["--verbose"]);
    let shown = |list: &str, key: &str, end: &str| {
        let all = report[list].as_array().unwrap().iter();
        let text = |v: &Value| v.get(key).unwrap_or(v).as_str().map(str::to_owned);
        all.filter_map(text).any(|text| text.ends_with(end))
    };
    assert!(shown("findings", "table", "(a name that holds a secret)"));
    assert!(shown("findings", "row", "row 2"));
    let file = "/.openclaw/workspace/(a name that holds a secret)/a.txt";
    assert!(shown("findings", "file", file), "{report}");
    assert!(shown("filesScanned", "", file), "{report}");
}

#[test]
fn ids_of_refs_into_a_locked_vault_that_are_secrets_are_not_shown() {
    let folder = Folder::with_vault();
    let id = KEY.to_lowercase();
    let reference = json!({"source": "vault", "provider": "default", "id": id});
    let config = json!({"gateway": {"auth": {"token": reference}}});
    folder.put("openclaw.json", config.to_string());
    let report = folder.report(&[]);
    assert_eq!(report["resolution"]["resolvabilityComplete"], false);
    assert!(!report.to_string().contains(&id[8..16]), "{report}");
    let what = &report["skipped"][1]["what"];
    assert_eq!(what, "(a name that holds a secret)");
}

#[test]
fn refs_and_what_is_true_of_a_file_stay_within_the_limits_too() {
    let folder = Folder::new();
    let providers: serde_json::Map<String, Value> = (0..201)
        .map(|i| (format!("p{i}"), json!({"apiKey": format!("$NOPE_{i}")})))
        .collect();
    let config = json!({"models": {"providers": providers}});
    folder.put("openclaw.json", config.to_string());
    let report = folder.report(&[]);
    assert_eq!(codes(&report), vec!["REF_UNRESOLVED"; 200]);
    assert_eq!(report["summary"]["unresolvedRefCount"], 201);
    assert_eq!(reasons(&report), ["1 more findings are not listed"]);

    let folder = Folder::new();
    let keys: String = (0..200).map(|i| format!("A_TOKEN_{i}={OTHER}\n")).collect();
    folder.put(".env", keys);
    let git = |args: &[&str]| {
        let git = Command::new("git")
            .current_dir(&folder.root)
            .args(args)
            .status();
        assert!(git.unwrap().success(), "{args:?}");
    };
    git(&["init", "-q"]);
    git(&["add", ".env"]);
    let env = folder.root.join(".env");
    fs::set_permissions(env, fs::Permissions::from_mode(0o644)).unwrap();
    let report = folder.report(&[]);
    let found = codes(&report);
    assert_eq!(found.len(), 200);
    assert_eq!(found[198..], ["PERMISSIONS_LOOSE", "GIT_TRACKED"]);
    assert_eq!(report["summary"]["plaintextCount"], 200);
    assert_eq!(reasons(&report), ["2 more findings are not listed"]);
}

#[test]
fn refs_over_the_limit_of_a_report_still_make_it_unresolved() {
    let folder = Folder::new();
    let keys: String = (0..200).map(|i| format!("A_TOKEN_{i}={OTHER}\n")).collect();
    for i in 0..50 {
        folder.put(&format!("workspace/{i:02}/.env"), &keys);
    }
    folder.put("openclaw.json", "{gateway: {auth: {token: '$NOPE'}}}");
    let report = folder.report(&[]);
    assert_eq!(report["findings"].as_array().unwrap().len(), 10_000);
    assert_eq!(report["summary"]["unresolvedRefCount"], 1);
    assert_eq!(report["status"], "unresolved");
}

/// A database whose last row was deleted, behind so many others with what may be secrets.
fn with_a_deleted_row(folder: &Folder, rows: usize) {
    let sql = format!(
        "PRAGMA secure_delete = 0; CREATE TABLE a (v TEXT); CREATE TABLE b (v TEXT);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO a SELECT '{{\"key\": \"agent:main:' || i || '\"}}' FROM n;
         INSERT INTO b VALUES ('{{\"key\": \"{OTHER}\"}}'); DELETE FROM b;"
    );
    drop(database(folder, "many.sqlite", &sql));
}

#[test]
fn no_number_of_look_alikes_hides_what_follows_them() {
    let folder = Folder::new();
    with_a_deleted_row(&folder, 5_000);
    folder.put("many.txt", format!("{KEY}\n").repeat(5_000));
    let report = folder.report(&[]);
    assert_eq!(report["summary"]["storeResidueCount"], 1, "{report}");
    assert_eq!(report["summary"]["keyCount"], 5_000);
    assert_eq!(reasons(&report), ["4800 more findings are not listed"]);
    // One value over what can be compared with the cells.
    let folder = Folder::new();
    with_a_deleted_row(&folder, 16_384);
    let report = folder.report(&[]);
    assert!(reasons(&report)[0].starts_with("over 16384 different values"));
    assert_eq!(report["status"], "findings");
}

#[test]
fn one_skipped_thing_too_many_is_counted_and_said() {
    let folder = Folder::new();
    for i in 0..10_001 {
        symlink("..", folder.root.join(i.to_string())).unwrap();
    }
    let report = folder.report(&[]);
    let reasons = reasons(&report);
    assert_eq!(reasons.len(), 10_001);
    assert_eq!(reasons[10_000], "1 more were skipped and are not listed");
}

#[test]
fn what_is_there_and_cannot_be_read_is_skipped_and_said() {
    let folder = Folder::new();
    folder.put("openclaw.json", "{}");
    // Links to themselves can't be followed, whoever asks.
    let home = folder.root.parent().unwrap();
    for path in [
        ".bash_history",
        ".config/systemd/user",
        ".config/environment.d/a.conf",
    ] {
        let path = home.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(path.file_name().unwrap(), &path).unwrap();
    }
    let home = home.to_str().unwrap().to_owned();
    let audit = |options: &[&str]| {
        let from = folder.root.to_str().unwrap();
        let mut audit = ["secrets", "audit", "--json", "--from", from].to_vec();
        audit.extend(options);
        let mut audit = folder.world.command(&audit);
        audit.env("HOME", &home);
        finish(audit, None).ok().json()
    };
    assert_eq!(audit(&[])["status"], "clean");
    let report = audit(&["--include", "history,units"]);
    assert_eq!(report["status"], "findings", "{report}");
    let reasons = reasons(&report);
    assert_eq!(reasons.len(), 3, "{report}");
    assert!(reasons.iter().all(|r| r.starts_with("can't be read: ")));
}

#[test]
fn an_index_of_git_that_does_not_answer_is_said() {
    let git = |folder: &Folder, args: &[&str]| {
        let mut git = Command::new("git");
        let git = git.current_dir(&folder.root).args(args);
        assert!(git.status().unwrap().success(), "{args:?}");
    };
    let index = |folder: &Folder| folder.root.join(".git/index");
    type Spoil<'a> = &'a dyn Fn(&Folder);
    let cases: [(&str, Spoil<'_>); 6] = [
        ("larger than 67108864 bytes", &|folder| {
            let file = fs::File::options().write(true).open(index(folder));
            file.unwrap().set_len((64 << 20) + 1).unwrap();
        }),
        ("split", &|folder| {
            git(folder, &["update-index", "--split-index"]);
        }),
        ("not known", &|folder| {
            let mut bytes = fs::read(index(folder)).unwrap();
            bytes[7] = 5;
            fs::write(index(folder), bytes).unwrap();
        }),
        ("not known", &|folder| {
            let bytes = fs::read(index(folder)).unwrap();
            fs::write(index(folder), &bytes[..bytes.len() - 21]).unwrap();
        }),
        ("regular file", &|folder| {
            fs::remove_file(index(folder)).unwrap();
            fs::create_dir(index(folder)).unwrap();
        }),
        ("names no folder", &|folder| {
            fs::remove_dir_all(folder.root.join(".git")).unwrap();
            folder.put(".git", "gitdir: ../nowhere\n");
        }),
    ];
    for (why, spoil) in cases {
        let folder = Folder::new();
        folder.put(".env", format!("A_TOKEN={OTHER}\n"));
        folder.put("safe.txt", "");
        git(&folder, &["init", "-q"]);
        git(&folder, &["add", "safe.txt"]);
        assert_eq!(reasons(&folder.report(&[])), Vec::<&str>::new());
        spoil(&folder);
        let report = folder.report(&[]);
        let reasons = reasons(&report);
        let is_said = |r: &&str| r.starts_with("not known whether git") && r.contains(why);
        assert!(reasons.iter().any(is_said), "{why}: {report}");
    }
}

#[test]
fn providers_that_an_include_brings_are_known() {
    let folder = Folder::new();
    let reference = |id: &str| json!({"source": "file", "provider": "mine", "id": id});
    let provider =
        |secrets: Value| json!({"providers": {"mine": {"source": "file", "path": secrets}}});
    let path = folder.root.join("payload.json");
    folder.put("payload.json", "{\"a\": \"${HOME}\"}");
    let refs =
        json!({"gateway": {"auth": {"token": reference("/a"), "password": reference("/b")}}});
    let profile = json!({"type": "api_key", "provider": "acme", "keyRef": reference("/a")});
    folder.put("agents/main/agent/auth-profiles.json", profiles(profile));
    for include in ["secrets.json", "sub/all.json"] {
        let mut config = refs.clone();
        match include {
            "secrets.json" => config["secrets"] = json!({"$include": include}),
            _ => config["$include"] = json!([include]),
        }
        folder
            .put("openclaw.json", config.to_string())
            .put("secrets.json", provider(json!(path)).to_string())
            .put(
                "sub/all.json",
                json!({"secrets": {"$include": "../secrets.json"}}).to_string(),
            );
        let report = folder.report(&[]);
        assert_eq!(codes(&report), ["REF_UNRESOLVED"], "{report}");
        assert_eq!(report["findings"][0]["jsonPath"], "gateway.auth.password");
        assert_eq!(report["resolution"]["refsChecked"], 3);
        // Without the file nothing is known of them.
        fs::remove_file(folder.root.join(include)).unwrap();
        let report = folder.report(&[]);
        assert_eq!(report["status"], "findings", "{report}");
        assert_eq!(report["findings"], json!([]));
        assert_eq!(report["resolution"]["resolvabilityComplete"], false);
        let may = "not resolved: its provider may be in an include that is not read";
        assert_eq!(reasons(&report), ["an include that is not there", may, may]);
    }
}
