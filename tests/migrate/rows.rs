//! The databases of eras C and D, made by SQLite itself.

use super::claw::{Claw, contents, text};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

const FAR: u64 = 4_102_444_800_000;
const AGENT: &str = "agents/main/agent/openclaw-agent.sqlite";
const SHARED: &str = "state/openclaw.sqlite";

const AGENT_SCHEMA: &str = "
    CREATE TABLE auth_profile_store (store_key TEXT NOT NULL PRIMARY KEY, store_json TEXT NOT NULL,
        updated_at INTEGER NOT NULL);
    CREATE TABLE auth_profile_state (state_key TEXT NOT NULL PRIMARY KEY, state_json TEXT NOT NULL,
        updated_at INTEGER NOT NULL);";
const SHARED_SCHEMA: &str = "
    CREATE TABLE config_machine_state (state_key TEXT NOT NULL PRIMARY KEY,
        value_json TEXT NOT NULL, updated_at INTEGER NOT NULL);";

struct Rows {
    claw: Claw,
    name: &'static str,
    select: &'static str,
}

impl Rows {
    fn path(&self) -> PathBuf {
        self.claw.from().join(self.name)
    }

    /// What the row holds, read from a copy: the folder stays as it is.
    fn row(&self) -> Value {
        let copy = self.claw.beside("copy.sqlite");
        fs::copy(self.path(), &copy).unwrap();
        let connection = Connection::open(&copy).unwrap();
        let row: String = connection
            .query_row(self.select, [], |row| row.get(0))
            .unwrap();
        serde_json::from_str(&row).unwrap()
    }

    fn assert_refs(&self) {
        let row = self.row();
        assert_eq!(
            row["profiles"]["openai:default"]["keyRef"]["id"],
            "openai/default"
        );
        assert_eq!(row["profiles"]["openai:default"]["extra"], 1);
        let account = &row["profiles"]["openai-codex:default"];
        assert_eq!(account["type"], "token");
        assert_eq!(account["tokenRef"]["id"], "oauth/openai-codex/default");
        assert_eq!(row["unknown"], "kept");
        for end in ["-wal", "-shm"] {
            let beside = format!("{}{end}", self.path().display());
            // One that was killed behind its last write leaves an empty one.
            let held = fs::metadata(&beside).map_or(0, |metadata| metadata.len());
            assert_eq!(held, 0, "{beside}");
        }
    }
}

/// Values in the row, in free pages, and in a log that a killed runtime left.
fn rows(name: &'static str) -> Rows {
    let mut claw = Claw::new();
    claw.put("openclaw.json", "{}");
    let openai = claw.moves("openai/default");
    let [access, refresh] = ["accessToken", "refreshToken"]
        .map(|member| claw.moves(&format!("oauth/openai-codex/default {member}")));
    let fence = claw.stays(name, "its last refresh there did not end");
    let fence = format!("openclaw-oauth-refresh-fence:v1:{fence}");
    let store = json!({"version": 1, "unknown": "kept", "profiles": {
        "openai:default": {"type": "api_key", "provider": "openai", "key": openai, "extra": 1},
        "openai-codex:default": {"type": "oauth", "provider": "openai-codex", "access": access,
            "refresh": refresh, "expires": FAR},
        "openai-codex:fenced": {"type": "oauth", "provider": "openai-codex", "access": fence,
            "refresh": fence, "expires": 1},
    }})
    .to_string();
    let state = json!({"version": 1, "order": {"openai": ["openai:default"]}}).to_string();
    claw.put(name, "");
    let path = claw.from().join(name);
    let live = claw.beside("live.sqlite");
    let (schema, insert, select) = match name {
        AGENT => (
            AGENT_SCHEMA,
            "INSERT INTO auth_profile_store VALUES ('primary', ?1, 1)",
            "SELECT store_json FROM auth_profile_store WHERE store_key = 'primary'",
        ),
        _ => (
            SHARED_SCHEMA,
            "INSERT INTO config_machine_state VALUES ('authProfiles.store', ?1, 1)",
            "SELECT value_json FROM config_machine_state WHERE state_key = 'authProfiles.store'",
        ),
    };
    let connection = Connection::open(&live).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA secure_delete = OFF; CREATE TABLE old (a)",
        )
        .unwrap();
    connection.execute_batch(schema).unwrap();
    for _ in 0..200 {
        connection
            .execute("INSERT INTO old VALUES (?1)", [&store])
            .unwrap();
    }
    connection
        .execute_batch("DELETE FROM old; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    if name == AGENT {
        connection
            .execute(
                "INSERT INTO auth_profile_state VALUES ('primary', ?1, 1)",
                [&state],
            )
            .unwrap();
    }
    connection.execute(insert, [&store]).unwrap();
    // As a kill leaves them: with a log.
    for end in ["", "-wal"] {
        let from = format!("{}{end}", live.display());
        fs::copy(from, format!("{}{end}", path.display())).unwrap();
    }
    drop(connection);
    for end in ["", "-wal"] {
        let bytes = fs::read(format!("{}{end}", path.display())).unwrap();
        let found = bytes.windows(10).any(|window| window == b"canary001-");
        assert!(found, "no value in free pages and log");
    }
    Rows { claw, name, select }
}

fn moves_whole(rows: &Rows, era: &str) {
    let claw = &rows.claw;
    let before = contents(&claw.from());
    assert_eq!(claw.migrate(&["--dry-run"])["changed"], true);
    assert_eq!(contents(&claw.from()), before, "a dry run writes nothing");
    let report = claw.migrate(&[]);
    assert_eq!(report["era"], era);
    claw.check(&report);
    rows.assert_refs();
    let own = claw.own().join("agents/main/agent/auth-profiles.json");
    let own: Value = serde_json::from_str(&fs::read_to_string(own).unwrap()).unwrap();
    assert_eq!(
        own["profiles"]["openai:default"]["keyRef"]["source"],
        "vault"
    );
    let after = (contents(&claw.from()), contents(&claw.own()));
    let again = claw.migrate(&[]);
    assert_eq!(again["changed"], false, "{again:#}");
    assert_eq!((contents(&claw.from()), contents(&claw.own())), after);
}

#[test]
fn era_c_moves_whole() {
    let rows = rows(AGENT);
    moves_whole(&rows, "C");
    let state = rows.claw.own().join("agents/main/agent/auth-state.json");
    let state: Value = serde_json::from_str(&fs::read_to_string(state).unwrap()).unwrap();
    assert_eq!(state["order"]["openai"], json!(["openai:default"]));
}

#[test]
fn era_d_moves_whole() {
    moves_whole(&rows(SHARED), "D");
}

#[test]
fn a_row_with_a_second_credential_stays_whole() {
    let mut claw = Claw::new();
    claw.put("openclaw.json", "{}");
    claw.put(AGENT, "");
    let [key, other] = [0, 1].map(|_| claw.stays(AGENT, "main: groq:two"));
    let store = json!({"version": 1, "profiles": {
        "groq:two": {"type": "api_key", "provider": "groq", "key": key, "apiKey": other}}});
    let connection = Connection::open(claw.from().join(AGENT)).unwrap();
    let sql = format!("PRAGMA journal_mode = WAL; {AGENT_SCHEMA}");
    connection.execute_batch(&sql).unwrap();
    let insert = "INSERT INTO auth_profile_store VALUES ('primary', ?1, 1)";
    connection.execute(insert, [store.to_string()]).unwrap();
    connection.close().unwrap();
    let before = contents(&claw.from());
    let report = claw.migrate(&[]);
    assert_eq!(contents(&claw.from()), before);
    assert_eq!(report["changed"], false);
    let why = report["left"][0]["why"].as_str().unwrap();
    assert!(why.starts_with("its `apiKey` would be lost"), "{why}");
    claw.check(&report);
}

/// What the folder holds, but for the index of a log, which holds no values.
fn held(claw: &Claw) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut held = contents(&claw.from());
    held.retain(|path, _| !path.as_os_str().as_encoded_bytes().ends_with(b"-shm"));
    held
}

/// Nothing is read here before the program runs: a file that is closed takes this process's locks
/// with it.
#[track_caller]
fn assert_refused(claw: &Claw, before: &BTreeMap<PathBuf, Vec<u8>>, why: &str) {
    let args = claw.migrate_args();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = claw.run(&args);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains(why), "{said}");
    assert_eq!(held(claw), *before);
    assert!(claw.records().is_empty());
}

#[test]
fn a_database_in_use_is_left_alone() {
    // Also one that is only open: its runtime would write the row from memory.
    for use_it in ["BEGIN IMMEDIATE", "SELECT * FROM auth_profile_store"] {
        let rows = rows(AGENT);
        let before = held(&rows.claw);
        let connection = Connection::open(rows.path()).unwrap();
        connection.execute_batch(use_it).unwrap();
        assert_refused(&rows.claw, &before, "is in use by another process");
        drop(connection);
        rows.claw.migrate(&[]);
        rows.assert_refs();
    }
}

#[test]
fn a_state_lock_that_is_held_is_found() {
    use sha2::Digest as _;
    let rows = rows(SHARED);
    let path = rows.path().canonicalize().unwrap();
    let digest = sha2::Sha256::digest(path.as_os_str().as_encoded_bytes());
    let hash = data_encoding::HEXLOWER.encode(&digest[..4]);
    let uid = rustix::process::geteuid().as_raw();
    let folder = rows
        .claw
        .beside("tmp")
        .join(format!("openclaw-state-locks-{uid}"));
    fs::create_dir_all(&folder).unwrap();
    let lock =
        Connection::open(folder.join(format!("state-lifecycle.{hash}.lock.sqlite"))).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let before = held(&rows.claw);
    assert_refused(&rows.claw, &before, "the lock of the state database");
    drop(lock);
    rows.claw.migrate(&[]);
    rows.assert_refs();
}

#[test]
fn a_migration_of_a_row_that_is_killed_loses_nothing() {
    let rows = rows(AGENT);
    let claw = &rows.claw;
    let copy = |from: PathBuf, to: PathBuf| {
        let _ = fs::remove_dir_all(&to);
        let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(status.unwrap().success());
    };
    copy(claw.from(), claw.beside("fresh-from"));
    copy(claw.own(), claw.beside("fresh-own"));
    let whole = claw.migrate(&[]);
    let args = claw.migrate_args();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut met = 0;
    for call in [
        "pwrite64",
        "fdatasync",
        "fsync",
        "rename",
        "ftruncate",
        "unlink",
    ] {
        for at in (1..).filter(|at| *at <= 3 || at % 7 == 0) {
            copy(claw.beside("fresh-from"), claw.from());
            copy(claw.beside("fresh-own"), claw.own());
            let inject = format!("inject={call}:signal=KILL:when={at}");
            let trace = format!("trace={call}");
            let log = claw.beside("calls");
            let options = ["-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject];
            let killed = !claw
                .traced(&options, &args)
                .output()
                .unwrap()
                .status
                .success();
            claw.migrate(&[]);
            claw.check(&whole);
            rows.assert_refs();
            let again = claw.migrate(&["--dry-run"]);
            assert_eq!(again["changed"], false, "{call} {at}: {again:#}");
            if !killed {
                break;
            }
            met += 1;
        }
    }
    assert!(met > 15, "only {met} crash points: is strace at work?");
}
