//! Databases made by SQLite itself, read as they lie on the disk.

use super::*;
use std::fs;
use tempfile::TempDir;

fn cells(path: &Path) -> Vec<String> {
    let image = Image::read(path).unwrap();
    let mut found = Vec::new();
    image
        .cells(&mut |cell| {
            let text = String::from_utf8_lossy(cell.bytes);
            found.push(format!(
                "{} {} {} {text}",
                cell.table, cell.row, cell.column
            ));
        })
        .unwrap();
    found
}

fn database(folder: &TempDir, mode: &str) -> (PathBuf, Connection) {
    let path = folder.path().join("x.sqlite");
    let connection = Connection::open(&path).unwrap();
    connection
        .pragma_update(None, "journal_mode", mode)
        .unwrap();
    connection
        .execute_batch(
            "PRAGMA wal_autocheckpoint = 0;
             CREATE TABLE store (store_key TEXT PRIMARY KEY, json TEXT, n INTEGER) WITHOUT ROWID;
             CREATE TABLE plain (a TEXT, b BLOB);
             CREATE VIEW v AS SELECT json FROM store;
             INSERT INTO store VALUES ('primary', '{}', 7);
             INSERT INTO plain VALUES ('text', x'00ff'), (NULL, NULL);",
        )
        .unwrap();
    (path, connection)
}

#[test]
fn a_database_is_read_with_and_without_a_log() {
    for mode in ["delete", "wal"] {
        let folder = TempDir::new().unwrap();
        let (path, _open) = database(&folder, mode);
        let expected = [
            "store store_key=primary store_key primary",
            "store store_key=primary json {}",
            "plain row 1 a text",
            "plain row 1 b \u{0}\u{fffd}",
        ];
        assert_eq!(cells(&path), expected, "{mode}");
    }
}

#[test]
fn only_what_was_committed_counts() {
    let folder = TempDir::new().unwrap();
    let (path, open) = database(&folder, "wal");
    let wal = folder.path().join("x.sqlite-wal");
    let before = cells(&path);
    let committed = fs::read(&wal).unwrap();
    open.execute_batch("INSERT INTO plain VALUES ('more', NULL)")
        .unwrap();
    assert_eq!(cells(&path).len(), before.len() + 1);
    let whole = fs::read(&wal).unwrap();
    // A log that was cut in a frame, or changed in one, ends before it.
    fs::write(&wal, &whole[..whole.len() - 1]).unwrap();
    assert_eq!(cells(&path), before);
    let mut changed = whole.clone();
    changed[committed.len() + FIRST_BYTE_OF_PAGE] ^= 1;
    fs::write(&wal, &changed).unwrap();
    assert_eq!(cells(&path), before);
}

/// Behind the header of a frame.
const FIRST_BYTE_OF_PAGE: usize = 24;

#[test]
fn reading_leaves_the_folder_as_it_is() {
    let folder = TempDir::new().unwrap();
    let (path, open) = database(&folder, "wal");
    drop(open);
    let names = || {
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let (before, bytes) = (names(), fs::read(&path).unwrap());
    assert_eq!(cells(&path).len(), 4);
    assert_eq!(names(), before);
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn what_is_no_database_is_an_error_that_names_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.sqlite");
    fs::write(&path, b"canary-in-no-database").unwrap();
    let error = Image::read(&path).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("x.sqlite is no SQLite database")
    );
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&[7; 4000]);
    fs::write(&path, bytes).unwrap();
    let error = Image::read(&path).unwrap().cells(&mut |_| {}).unwrap_err();
    assert!(matches!(error, SqliteError::Damaged { .. }), "{error}");
}

#[test]
fn work_without_end_is_stopped() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.sqlite");
    // A query that never ends shows that the limit stops one.
    let image = {
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE t (a)").unwrap();
        fs::read(&path).unwrap()
    };
    let connection = open(&image).unwrap();
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) \
                   SELECT count(*) FROM c";
    let error = connection
        .query_row(endless, [], |row| row.get::<_, i64>(0))
        .unwrap_err();
    assert!(kind(&error).contains("steps of work"), "{error}");
}

#[test]
fn a_log_of_any_bytes_gives_an_image_within_bounds() {
    let folder = TempDir::new().unwrap();
    let (path, _open) = database(&folder, "wal");
    let main = fs::read(&path).unwrap();
    let log = fs::read(folder.path().join("x.sqlite-wal")).unwrap();
    for at in 0..log.len().min(4_000) {
        let mut hostile = log.clone();
        hostile[at] ^= 0xff;
        assert!(wal::applied(&main, &hostile).len() <= MAX_DATABASE);
        assert!(wal::applied(&main, &log[..at]).len() <= MAX_DATABASE);
    }
    assert_eq!(wal::applied(&[], &[]), Vec::<u8>::new());
}

fn made_by(sql: &str) -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.sqlite");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(sql).unwrap();
    (folder, path)
}

#[test]
fn one_table_too_many_is_an_error_and_no_silence() {
    let tables = |count: usize| -> String {
        let tables = (0..count).map(|i| format!("CREATE TABLE t{i} (a);"));
        format!("BEGIN; {} COMMIT", tables.collect::<String>())
    };
    let (_folder, path) = made_by(&tables(MAX_TABLES));
    assert!(Image::read(&path).unwrap().cells(&mut |_| {}).is_ok());
    let (_folder, path) = made_by(&tables(MAX_TABLES + 1));
    let error = Image::read(&path).unwrap().cells(&mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("4096 tables"), "{error}");
}

#[test]
fn a_cell_and_a_database_over_their_limits_are_refused() {
    let cell = |len: i32| format!("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob({len}))");
    let (_folder, path) = made_by(&cell(MAX_CELL));
    assert!(Image::read(&path).unwrap().cells(&mut |_| {}).is_ok());
    let (_folder, path) = made_by(&cell(MAX_CELL + 1));
    let error = Image::read(&path).unwrap().cells(&mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("TooBig"), "{error}");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(MAX_DATABASE as u64 + 1).unwrap();
    let error = Image::read(&path).unwrap_err();
    assert!(matches!(error, SqliteError::File(_)), "{error}");
}
