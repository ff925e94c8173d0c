//! `secrets audit`: codes, exit codes, what it says of what it did not look at, and every place of
//! a state folder that the corpus can't hold.

use super::world::{Ran, World};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

pub const KEY: &str = "sk-proj-Zq7RkW3xNp5LtB2vHdGyJ8sCZq7RkW3xNp5LtB2vHdGyJ8sCaTfE";
pub const OTHER: &str = "acme-canary-41d8cd98f00b";

pub struct Folder {
    pub world: World,
    pub root: PathBuf,
}

impl Folder {
    pub fn new() -> Self {
        Self::of(World::empty())
    }

    /// Beside a vault, which is locked.
    pub fn with_vault() -> Self {
        Self::of(World::new())
    }

    fn of(world: World) -> Self {
        let root = PathBuf::from(world.beside(".openclaw"));
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
        Self { world, root }
    }

    pub fn put(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self
    }

    pub fn audit(&self, options: &[&str]) -> Ran {
        let mut args = vec!["secrets", "audit", "--from", self.root.to_str().unwrap()];
        args.extend(options);
        let ran = self.world.run(&args);
        let shown = format!("{}{}", ran.text(), ran.stderr);
        assert!(
            !shown.contains(&KEY[8..16]) && !shown.contains(&OTHER[12..]),
            "{shown}"
        );
        ran
    }

    pub fn report(&self, options: &[&str]) -> Value {
        let mut options = options.to_vec();
        options.push("--json");
        self.audit(&options).json()
    }
}

/// Code, file (its name) and place of every finding.
fn findings(report: &Value) -> Vec<(String, String, String)> {
    let finding = |finding: &Value| {
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let file = text("file").rsplit('/').next().unwrap().to_owned();
        let line = finding["line"].as_u64().map(|line| format!("line {line}"));
        (text("code"), file, line.unwrap_or_else(|| text("jsonPath")))
    };
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(finding)
        .collect()
}

pub fn codes(report: &Value) -> Vec<String> {
    findings(report)
        .into_iter()
        .map(|(code, _, _)| code)
        .collect()
}

pub fn profiles(profile: Value) -> String {
    json!({"version": 1, "profiles": {"acme:default": profile}}).to_string()
}

#[test]
fn clean_means_that_nothing_was_found_and_nothing_skipped() {
    let folder = Folder::new();
    folder.put(
        "openclaw.json",
        "{models: {providers: {a: {apiKey: '${HOME}'}}}}",
    );
    let mut audit = folder
        .world
        .command(&["secrets", "audit", "--check", "--json"]);
    audit
        .arg("--from")
        .arg(&folder.root)
        .env("HOME", "/nowhere");
    let report = super::world::finish(audit, None).ok().json();
    let expected = json!({"refsChecked": 1, "skippedExecRefs": 0, "resolvabilityComplete": true});
    assert_eq!(report["resolution"], expected);
    assert_eq!(
        (&report["version"], &report["status"]),
        (&json!(1), &json!("clean"))
    );
    assert_eq!(
        (&report["findings"], &report["skipped"]),
        (&json!([]), &json!([]))
    );
    // The same with one file that is not looked at.
    symlink(folder.world.beside(""), folder.root.join("elsewhere")).unwrap();
    let report = folder.put("openclaw.json", "{}").report(&["--check"]);
    assert_eq!(
        (&report["status"], &report["findings"]),
        (&json!("findings"), &json!([]))
    );
    assert_eq!(report["skipped"].as_array().unwrap().len(), 1);
    folder.audit(&["--check"]).code(1);
    folder.audit(&[]).code(0);
}

#[test]
fn exit_codes_are_those_of_the_contract() {
    let folder = Folder::new();
    folder.put(
        "openclaw.json",
        format!("{{\"gateway\": {{\"auth\": {{\"token\": \"{KEY}\"}}}}}}"),
    );
    folder.audit(&[]).code(0);
    folder.audit(&["--check"]).code(1);
    folder.put(
        "openclaw.json",
        "{\"gateway\": {\"auth\": {\"token\": \"${UNSET_TOKEN}\"}}}",
    );
    let report = folder.audit(&["--json"]).code(2).json();
    assert_eq!(report["status"], "unresolved");
    assert_eq!(report["summary"]["unresolvedRefCount"], 1);
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["severity"], &finding["jsonPath"]),
        (&json!("error"), &json!("gateway.auth.token"))
    );
    let text = folder.audit(&["--check"]).code(2);
    assert!(text.text().contains("unresolved=1"), "{}", text.text());
    let absent = folder
        .world
        .run(&["secrets", "audit", "--from", "/nowhere/at/all"])
        .code(3);
    assert!(
        absent.stderr.contains("/nowhere/at/all"),
        "{}",
        absent.stderr
    );
    let own = Folder::new().world.run(&["secrets", "audit"]).code(3);
    assert!(own.stderr.contains("--from"), "{}", own.stderr);
}

#[test]
fn every_code_has_its_case() {
    let folder = Folder::new();
    let oauth = json!({"type": "oauth", "provider": "acme", "access": KEY, "refresh": OTHER});
    let config = "{models: {providers: {acme: {apiKey: '${HOME}'}}},
                   gateway: {auth: {token: '__OPENCLAW_REDACTED__'}}}";
    let key = json!({"type": "api_key", "provider": "acme", "key": OTHER});
    let reference = json!({"source": "env", "provider": "default", "id": "X"});
    let models = json!({"providers": {"a": {"apiKey": reference}}});
    folder
        .put("openclaw.json", config)
        .put("agents/main/agent/auth-profiles.json", profiles(key))
        .put("agents/b/agent/auth-profiles.json", profiles(oauth))
        .put("agents/main/agent/models.json", models.to_string())
        .put("notes.txt", format!("one\ntwo {KEY}\n"));
    let mut audit = folder
        .world
        .command(&["secrets", "audit", "--json", "--from"]);
    audit.arg(&folder.root).env("HOME", "/nowhere");
    let report = super::world::finish(audit, None).code(2).json();
    let mut found = findings(&report);
    found.sort();
    let row =
        |code: &str, file: &str, place: &str| (code.to_owned(), file.to_owned(), place.to_owned());
    assert_eq!(
        found,
        [
            row("KEY_FOUND", "notes.txt", "line 2"),
            row(
                "LEGACY_RESIDUE",
                "auth-profiles.json",
                "profiles.acme:default.access"
            ),
            row(
                "LEGACY_RESIDUE",
                "auth-profiles.json",
                "profiles.acme:default.refresh"
            ),
            row("PLACEHOLDER_VALUE", "openclaw.json", "gateway.auth.token"),
            row(
                "PLAINTEXT_FOUND",
                "auth-profiles.json",
                "profiles.acme:default.key"
            ),
            row(
                "REF_SHADOWED",
                "openclaw.json",
                "models.providers.acme.apiKey"
            ),
            row("REF_UNRESOLVED", "models.json", "providers.a.apiKey"),
        ]
    );
    for finding in report["findings"].as_array().unwrap() {
        let has = |key: &str| finding[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(
            has("file") && has("message") && has("remedy") && has("severity"),
            "{finding}"
        );
    }
    let plain = &report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["code"] == "PLAINTEXT_FOUND")
        .unwrap();
    assert_eq!(
        (&plain["profileId"], &plain["provider"]),
        (&json!("acme:default"), &json!("acme"))
    );
}

#[test]
fn malformed_json_names_file_line_and_column() {
    let folder = Folder::new();
    folder.put(
        "openclaw.json",
        format!("{{\n  \"a\": \"{KEY}\"\n  \"b\": 1\n}}"),
    );
    let report = folder.audit(&["--json"]).code(2).json();
    let found = &report["findings"][0];
    assert_eq!(
        (&found["jsonPath"], &found["line"]),
        (&json!("<root>"), &json!(2))
    );
    assert_eq!(found["column"], KEY.len() + 10);
    assert_eq!(codes(&report), ["REF_UNRESOLVED", "PLAINTEXT_FOUND"]);
    let text = folder.audit(&[]).code(2);
    assert!(text.text().contains("line 2, column 7"), "{}", text.text());
}

#[test]
fn a_file_over_a_limit_is_refused_by_it_and_not_by_memory() {
    let folder = Folder::new();
    folder.put(
        "openclaw.json",
        format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)),
    );
    folder.put(".env", "");
    let env = fs::OpenOptions::new()
        .write(true)
        .open(folder.root.join(".env"))
        .unwrap();
    env.set_len(2 << 30).unwrap();
    folder.put(
        "agents/main/agent/models.json",
        format!("\"{}\"", "x".repeat(4 << 20)),
    );
    let mut audit = folder
        .world
        .command(&["secrets", "audit", "--json", "--from"]);
    audit.arg(&folder.root);
    let report = super::world::finish(audit, None).code(2).json();
    let found = findings(&report);
    let row = |file: &str| ("REF_UNRESOLVED".to_owned(), file.to_owned());
    let found: Vec<_> = found
        .into_iter()
        .map(|(code, file, _)| (code, file))
        .collect();
    assert_eq!(found, [row("openclaw.json"), row("models.json")]);
    let skipped = report["skipped"][0].clone();
    assert!(
        skipped["what"].as_str().unwrap().ends_with("/.env"),
        "{skipped}"
    );
    assert!(
        skipped["reason"].as_str().unwrap().contains("4194304"),
        "{skipped}"
    );
}

#[test]
fn copies_of_what_the_vault_holds_are_found_everywhere() {
    for world in World::both() {
        world.store("acme/key", OTHER);
        world.store("multi", "line one\n\"line two\"");
        world.store("short", "1234567");
        let folder = Folder::of(world);
        folder
            .put("notes.txt", format!("a {OTHER} b\n"))
            .put(
                "x.json",
                json!({"note": format!("it is {OTHER}"), OTHER: 1}).to_string(),
            )
            .put(
                "sandboxes/y.jsonl",
                json!({"out": "line one\n\"line two\""}).to_string(),
            );
        let root = folder.root.to_str().unwrap();
        let args = ["secrets", "audit", "--json", "--from", root];
        let report = folder.world.with_passphrase(&args).ok().json();
        let mut found = findings(&report);
        found.sort();
        let row =
            |file: &str, place: &str| ("VAULT_COPY".to_owned(), file.to_owned(), place.to_owned());
        assert_eq!(
            found,
            [
                row("notes.txt", "line 1"),
                row("x.json", "<root>"),
                row("x.json", "note"),
                row("y.jsonl", "line 1"),
            ]
        );
        assert_eq!(report["findings"][0]["record"], "acme/key");
        let skipped = report["skipped"].as_array().unwrap();
        assert!(
            skipped[0]["reason"].as_str().unwrap().contains("8 bytes"),
            "{skipped:?}"
        );
    }
}

#[test]
fn a_locked_vault_is_said_and_not_called_clean() {
    let world = World::new();
    world.store("acme/key", OTHER);
    let folder = Folder::of(world);
    folder.put("notes.txt", OTHER);
    let report = folder.report(&["--check"]);
    assert_eq!(report["status"], "findings");
    let skipped = report["skipped"].as_array().unwrap();
    assert_eq!(skipped[0]["what"], "vault");
    // Our own folder is looked at the same way, and its refs with it.
    let world = &folder.world;
    world
        .run(&["secrets", "set", "acme:default", "--ref", "vault:acme/key"])
        .ok();
    world
        .run(&["secrets", "set", "acme:two", "--ref", "vault:gone"])
        .ok();
    let locked = world.run(&["secrets", "audit", "--json"]).ok().json();
    assert_eq!(locked["resolution"]["resolvabilityComplete"], false);
    let open = world
        .with_passphrase(&["secrets", "audit", "--json"])
        .code(2)
        .json();
    assert_eq!(findings(&open).len(), 1, "{open}");
    assert!(
        open["findings"][0]["message"]
            .as_str()
            .unwrap()
            .contains("vault:gone")
    );
}

#[test]
fn exec_refs_are_run_only_if_that_is_allowed() {
    let folder = Folder::new();
    let program = folder.world.private_file(
        "provider",
        b"#!/bin/sh\ntouch \"$0.ran\"\nprintf '{\"protocolVersion\":1,\"values\":{\"a\":\"x\"}}'\n",
    );
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let exec = |id: &str, provider: &str| json!({"source": "exec", "provider": provider, "id": id});
    let config = json!({
        "secrets": {"providers": {
            "p": {"source": "exec", "command": program, "passEnv": ["PATH"]},
        }},
        "gateway": {"auth": {"token": exec("a", "p")}},
        "talk": {"providers": {
            "x": {"apiKey": exec("b", "p")},
            "y": {"apiKey": exec("c", "gone")},
        }},
    });
    folder.put("openclaw.json", config.to_string());
    let report = folder.audit(&["--json"]).code(2).json();
    assert_eq!(report["resolution"]["skippedExecRefs"], 2);
    assert_eq!(report["resolution"]["resolvabilityComplete"], false);
    assert_eq!(findings(&report)[0].2, "talk.providers.y.apiKey");
    assert!(
        report["skipped"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("--allow-exec")
    );
    assert!(!Path::new(&format!("{program}.ran")).exists());
    let report = folder.audit(&["--json", "--allow-exec"]).code(2).json();
    assert!(Path::new(&format!("{program}.ran")).exists());
    let places: Vec<_> = findings(&report)
        .into_iter()
        .map(|(_, _, place)| place)
        .collect();
    assert_eq!(
        places,
        ["talk.providers.x.apiKey", "talk.providers.y.apiKey"]
    );
}

#[test]
fn env_refs_see_what_the_runtime_sees() {
    let folder = Folder::new();
    let config = "{env: {vars: {IN_CONFIG: 'x'}},
                   gateway: {auth: {token: '$IN_FILE', password: '$IN_CONFIG'},
                             remote: {token: '$NOWHERE'}}}";
    folder
        .put("openclaw.json", config)
        .put(".env", "IN_FILE=${HOME}\n");
    let report = folder.report(&[]);
    let places: Vec<_> = findings(&report)
        .into_iter()
        .map(|(_, _, place)| place)
        .collect();
    // What the env file has in place of a value is a ref as well, and HOME is not set here.
    assert_eq!(places, ["gateway.remote.token", "line 1"]);
}

#[test]
fn files_that_others_can_read_and_that_git_tracks() {
    let folder = Folder::new();
    folder
        .put(".env", format!("OPENAI_API_KEY={KEY}\n"))
        .put("untracked.txt", KEY)
        .put("safe.txt", "x");
    fs::set_permissions(folder.root.join(".env"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::set_permissions(
        folder.root.join("safe.txt"),
        fs::Permissions::from_mode(0o644),
    )
    .unwrap();
    for version in ["2", "4"] {
        let git = |args: &[&str]| {
            let mut git = Command::new("git");
            let git = git
                .current_dir(&folder.root)
                .env("HOME", &folder.root)
                .args(args);
            assert!(git.status().unwrap().success(), "{args:?}");
        };
        git(&["init", "-q"]);
        git(&["add", ".env", "safe.txt"]);
        git(&["update-index", "--index-version", version]);
        let report = folder.report(&[]);
        let found: Vec<_> = findings(&report)
            .into_iter()
            .map(|(code, file, _)| (code, file))
            .collect();
        let row = |code: &str, file: &str| (code.to_owned(), file.to_owned());
        let expected = [
            row("PLAINTEXT_FOUND", ".env"),
            row("PERMISSIONS_LOOSE", ".env"),
            row("GIT_TRACKED", ".env"),
            row("KEY_FOUND", "untracked.txt"),
        ];
        assert_eq!(found, expected, "index version {version}");
    }
    fs::set_permissions(&folder.root, fs::Permissions::from_mode(0o777)).unwrap();
    let report = folder.report(&[]);
    assert_eq!(codes(&report).last().unwrap(), "PERMISSIONS_LOOSE");
}

#[test]
fn histories_and_units_are_looked_at_on_request() {
    let folder = Folder::new();
    let home = folder.world.beside("home");
    let put = |path: &str, text: String| {
        let path = Path::new(&home).join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    put(
        ".bash_history",
        format!("ls\nexport ACME_TOKEN={OTHER}\ncurl -H 'x: {KEY}'\nexport A_KEY=$B\n"),
    );
    put(
        ".config/systemd/user/x.service",
        format!("[Service]\nEnvironment=\"ACME_TOKEN={OTHER}\"\nEnvironment=PORT=1\n"),
    );
    put(
        ".config/systemd/user/x.service.d/y.conf",
        format!("[Service]\nEnvironment=ACME_TOKEN={OTHER}\n"),
    );
    let audit = |options: &[&str]| {
        let mut audit = folder
            .world
            .command(&["secrets", "audit", "--json", "--from"]);
        audit.arg(&folder.root).args(options).env("HOME", &home);
        findings(&super::world::finish(audit, None).ok().json())
    };
    assert_eq!(audit(&[]), []);
    let places = |found: Vec<(String, String, String)>| {
        let place = |(_, file, place): (String, String, String)| format!("{file} {place}");
        found.into_iter().map(place).collect::<Vec<_>>()
    };
    assert_eq!(
        places(audit(&["--include", "history"])),
        [".bash_history line 2", ".bash_history line 3"]
    );
    let both = audit(&["--include", "units,history"]);
    assert_eq!(places(both).len(), 4);
}

#[test]
fn a_secret_as_a_name_is_not_shown() {
    let folder = Folder::new();
    folder.put("x.json", json!({KEY: {"password": OTHER}}).to_string());
    folder.put(
        "openclaw.json",
        json!({"models": {"providers": {KEY: {"apiKey": OTHER}}}}).to_string(),
    );
    assert_eq!(folder.report(&[])["findings"].as_array().unwrap().len(), 4);
    folder.audit(&["--verbose"]);
}

#[test]
fn text_fits_eighty_columns_and_colour_is_only_for_terminals() {
    let folder = Folder::new();
    folder
        .put(
            "openclaw.json",
            format!(
                "{{\"gateway\": {{\"auth\": {{\"token\": \"{KEY}\", \"password\": \"$GONE\"}}}}}}"
            ),
        )
        .put(
            "openclaw.json.bak",
            format!("{{\"gateway\": {{\"auth\": {{\"token\": \"{KEY}\"}}}}}}"),
        );
    let plain = folder.audit(&[]).code(2);
    assert!(!plain.text().contains('\u{1b}'), "{}", plain.text());
    for line in plain.text().lines().filter(|line| !line.contains('/')) {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let start =
        "Secrets audit: unresolved.\nplaintext=1, unresolved=1, shadowed=0, legacy=0, backups=1\n";
    assert!(plain.text().starts_with(start), "{}", plain.text());
    assert!(plain.text().contains("→ "), "each kind has its remedy");
    let mut coloured = folder.world.command(&["secrets", "audit", "--from"]);
    coloured.arg(&folder.root).env("CLICOLOR_FORCE", "1");
    let coloured = super::world::finish(coloured, None);
    assert!(
        coloured.text().contains("\u{1b}[31munresolved"),
        "{}",
        coloured.text()
    );
}

#[test]
fn what_is_over_the_limits_of_a_report_is_counted_and_said() {
    let folder = Folder::new();
    let keys = |count: usize| -> String {
        let line = |i: usize| format!("ACME_TOKEN_{i}={OTHER}\n");
        (0..count).map(line).collect()
    };
    folder.put(".env", keys(201));
    let report = folder.report(&[]);
    assert_eq!(report["findings"].as_array().unwrap().len(), 200);
    let reason = &report["skipped"][0]["reason"];
    assert_eq!(reason, "1 more findings are not listed");
    for i in 0..50 {
        folder.put(&format!("workspace/{i:02}/.env"), keys(200));
    }
    let report = folder.report(&[]);
    assert_eq!(report["findings"].as_array().unwrap().len(), 10_000);
    assert_eq!(report["skipped"].as_array().unwrap().len(), 2);
    assert_eq!(report["status"], "findings");
}
