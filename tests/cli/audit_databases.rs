//! `secrets audit` on the SQLite databases of later eras: rows, what was deleted, logs, and files
//! that are no databases.

use super::audit::{Folder, KEY, OTHER, codes, profiles};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;

/// The shared database of era D, in a folder.
struct Shared {
    folder: Folder,
    database: Connection,
}

impl Shared {
    fn new() -> Self {
        let folder = Folder::new();
        folder.put("openclaw.json", "{}").put("state/x", "");
        let path = folder.root.join("state/openclaw.sqlite");
        let database = Connection::open(&path).unwrap();
        let tables = "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0;
            PRAGMA secure_delete = 0;
            CREATE TABLE config_machine_state (state_key TEXT PRIMARY KEY, value_json TEXT);
            CREATE TABLE device_identities (id TEXT PRIMARY KEY, private_key_pem TEXT);";
        database.execute_batch(tables).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        Self { folder, database }
    }

    fn write(&self, key: &str) {
        let store = profiles(json!({"type": "api_key", "provider": "acme", "key": key}));
        let sql = "INSERT OR REPLACE INTO config_machine_state VALUES ('authProfiles.store', ?1)";
        self.database.execute(sql, [store]).unwrap();
    }

    fn run(&self, sql: &str) {
        self.database.execute_batch(sql).unwrap();
    }

    /// The one finding, which has this code.
    #[track_caller]
    fn only(&self, code: &str) -> Value {
        let report = self.folder.report(&[]);
        assert_eq!(codes(&report), [code]);
        report["findings"][0].clone()
    }
}

fn has(text: &Value, part: &str) -> bool {
    text.as_str().is_some_and(|text| text.contains(part))
}

#[test]
fn rows_are_found_with_table_row_and_path() {
    let shared = Shared::new();
    shared.write(OTHER);
    let found = shared.only("PLAINTEXT_FOUND");
    assert_eq!(found["table"], "config_machine_state");
    assert_eq!(found["row"], "state_key=authProfiles.store");
    assert_eq!(found["jsonPath"], "profiles.acme:default.key");
    assert_eq!(found["profileId"], "acme:default");
    // A ref in a row has to resolve like any other.
    shared.write("${UNSET_ACME_KEY}");
    shared.run("PRAGMA wal_checkpoint(TRUNCATE); VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
    let found = shared.only("REF_UNRESOLVED");
    assert_eq!(found["jsonPath"], "profiles.acme:default.keyRef");
    // Other tables, by the name of a column.
    shared.run("DELETE FROM config_machine_state");
    let sql = "INSERT INTO device_identities VALUES ('a', ?1)";
    shared.database.execute(sql, [OTHER]).unwrap();
    assert_eq!(shared.only("PLAINTEXT_FOUND")["table"], "device_identities");
}

#[test]
fn databases_rows_free_pages_and_logs() {
    let shared = Shared::new();
    shared.write(OTHER);
    // Replaced in the table, the value is still in the log.
    shared.write("${PATH}");
    let found = shared.only("STORE_PLAINTEXT_RESIDUE");
    assert!(has(&found["message"], "the -wal still has"), "{found}");
    // Brought into the file by a checkpoint, it is where a deleted row was.
    shared.write(OTHER);
    shared.run("PRAGMA wal_checkpoint(TRUNCATE); DELETE FROM config_machine_state");
    shared.run("PRAGMA wal_checkpoint(TRUNCATE)");
    let found = shared.only("STORE_PLAINTEXT_RESIDUE");
    assert!(
        has(&found["message"], "the file still has one credential"),
        "{found}"
    );
    // On a page that is free.
    shared.run("DROP TABLE config_machine_state; PRAGMA wal_checkpoint(TRUNCATE)");
    shared.only("STORE_PLAINTEXT_RESIDUE");
    shared.run("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)");
    assert_eq!(shared.folder.report(&[])["status"], "clean");
}

#[test]
fn a_database_of_any_bytes_is_skipped_and_said() {
    let folder = Folder::new();
    let keys = format!("{KEY} ").repeat(60);
    folder.put("state/openclaw.sqlite", format!("SQLite format 3\0{keys}"));
    let report = folder.report(&[]);
    assert_eq!(codes(&report), ["STORE_PLAINTEXT_RESIDUE"]);
    let skipped = &report["skipped"][0]["reason"];
    assert!(has(skipped, "can't be read as a whole"), "{skipped}");
    // What SQLite can't read is looked at as bytes, and said where it may be an encrypted database.
    folder.put("state/openclaw.sqlite", format!("\0\x01\u{fffd} {KEY}"));
    let report = folder.report(&[]);
    assert_eq!(codes(&report), ["PLAINTEXT_FOUND"]);
    let skipped = &report["skipped"][0]["reason"];
    assert_eq!(skipped, "is no SQLite database");
}

#[test]
fn what_only_has_the_name_of_a_database_is_a_file_like_any_other() {
    let folder = Folder::new();
    folder
        .put("openclaw.json", "{}")
        .put("state/openclaw.sqlite", "")
        .put("empty.sqlite", "")
        .put("text.sqlite", "x")
        .put("other.db", "\0\x01\x02\u{fffd}")
        .put("settings.db.json", "{\"note\": \"nothing\"}");
    let report = folder.report(&[]);
    assert_eq!(report["status"], "clean", "{report}");
    assert_eq!(report["filesScanned"].as_array().unwrap().len(), 6);
    let settings = json!({ "apiKey": OTHER }).to_string();
    folder
        .put("settings.db.json", settings)
        .put("text.sqlite", KEY);
    let report = folder.report(&[]);
    let files = report["findings"].as_array().unwrap().iter();
    let paths: Vec<_> = files.map(|f| (&f["jsonPath"], &f["line"])).collect();
    let (path, line) = (json!("apiKey"), json!(1));
    assert_eq!(paths, [(&path, &Value::Null), (&Value::Null, &line)]);
    assert_eq!(report["skipped"], json!([]));
}

#[test]
fn a_log_is_looked_at_with_its_database_or_without_it() {
    let shared = Shared::new();
    shared.write(OTHER);
    let path = |end: &str| {
        shared
            .folder
            .root
            .join(format!("state/openclaw.sqlite{end}"))
    };
    let scanned = |report: &Value| report["filesScanned"].to_string();
    let report = shared.folder.report(&[]);
    assert_eq!(codes(&report), ["PLAINTEXT_FOUND"]);
    assert!(scanned(&report).contains("sqlite-wal"));
    // Its database is gone, or is none.
    let log = fs::read(path("-wal")).unwrap();
    for spoilt in [false, true] {
        let folder = Folder::new();
        folder.put("state/openclaw.sqlite-wal", &log);
        if spoilt {
            folder.put("state/openclaw.sqlite", "\0 no database");
        }
        let report = folder.report(&[]);
        assert_eq!(codes(&report), ["STORE_PLAINTEXT_RESIDUE"], "{report}");
        let found = &report["findings"][0];
        assert!(has(&found["file"], "-wal") && has(&found["message"], "beside a database"));
        assert_eq!(reasons_of(&report).len(), usize::from(spoilt));
    }
}

fn reasons_of(report: &Value) -> &Vec<Value> {
    report["skipped"].as_array().unwrap()
}

/// What an audit says of a database made by these statements.
fn codes_of(sql: &str) -> Vec<String> {
    let folder = Folder::new();
    let path = folder.root.join("a.sqlite");
    let database = Connection::open(&path).unwrap();
    let plain = "PRAGMA secure_delete = 0; PRAGMA wal_autocheckpoint = 0;";
    database.execute_batch(plain).unwrap();
    database.execute_batch(sql).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    codes(&folder.report(&[]))
}

#[test]
fn no_value_is_read_over_the_border_of_a_column() {
    // In a row, the copies of it that are left of older states, and where another row was.
    for mode in ["wal", "delete"] {
        let sql = format!(
            "PRAGMA journal_mode = {mode}; CREATE TABLE t (a TEXT, b TEXT, c TEXT);
             INSERT INTO t VALUES ('{KEY}', 'tail', 'a1'), ('x', 'y', 'z');
             UPDATE t SET b = 'other-tail' WHERE c = 'a1'; UPDATE t SET b = 'third-' || rowid;"
        );
        assert_eq!(codes_of(&sql), ["PLAINTEXT_FOUND"], "{mode}");
    }
    // Two columns that are a key only together.
    let half = "Zq7RkW3xNp5LtB2vHdGyJ8sCZq7RkW3xNp5LtB2vHdGyJ8sCZq7R";
    let sql = format!("CREATE TABLE t (a TEXT, b TEXT); INSERT INTO t VALUES ('gsk_', '{half}')");
    assert_eq!(codes_of(&sql), Vec::<String>::new());
    // A deleted key behind the text of another column, on a page that is free, and one in a page
    // that is in use.
    for end in ["DROP TABLE t", "DELETE FROM t WHERE b <> 'x'"] {
        let sql = format!(
            "CREATE TABLE t (a TEXT, b TEXT); CREATE TABLE u (a);
             INSERT INTO t (rowid, a, b)
             VALUES (200, 'a', 'x'), (201, 'openai', '{KEY}{half}{half}');
             {end}"
        );
        assert_eq!(codes_of(&sql), ["STORE_PLAINTEXT_RESIDUE"], "{end}");
    }
}

#[test]
fn a_value_that_the_end_of_a_page_cuts_is_not_called_deleted() {
    let sql = format!(
        "CREATE TABLE t (a TEXT); INSERT INTO t VALUES ('{0} {KEY} {0}')",
        " ".repeat(482)
    );
    for i in 0..60 {
        let sql = format!(
            "PRAGMA page_size = 512; {}",
            sql.replace("('", &format!("('{}", " ".repeat(i)))
        );
        assert_eq!(codes_of(&sql), ["PLAINTEXT_FOUND"], "{i}");
    }
}
