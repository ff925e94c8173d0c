//! A row of another runtime's SQLite database that holds its profiles: read, and rewritten.
//!
//! Invariants: a database that another process has open is refused before anything is written,
//! since the lock that is taken excludes every other connection; the row changes in one
//! transaction, and only if it still holds what was read. The log is emptied last, after the
//! database was built anew without what was deleted: so a log beside a row of refs says that a run
//! was interrupted, and [`read()`] gives that. Nothing is put into temporary files.

use super::{Content, FileChange};
use crate::error::{Code, Failure};
use crate::family::sqlite::Image;
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, params};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// The table that keeps the profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// `auth_profile_store`, of one agent.
    Agent,
    /// `config_machine_state`, of all agents.
    Shared,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Table::Agent => "auth_profile_store",
            Table::Shared => "config_machine_state",
        }
    }

    /// The column of the row's key, its value, and the column of the text.
    const fn columns(self) -> [&'static str; 3] {
        match self {
            Table::Agent => ["store_key", "primary", "store_json"],
            Table::Shared => ["state_key", "authProfiles.store", "value_json"],
        }
    }

    /// True for the cell that holds the profiles.
    pub fn is_at(self, table: &str, row: &str, column: &str) -> bool {
        let [key_column, key, text_column] = self.columns();
        let named = row.split_once('=') == Some((key_column, key));
        table == self.name() && named && column == text_column
    }
}

/// A row that is to be changed.
#[derive(Debug)]
pub struct RowChange {
    /// Where in the database it stands.
    pub table: Table,
    /// The database, and what the row held and shall hold. If both are the same, only what was
    /// deleted earlier is cleared away.
    pub change: FileChange,
}

/// A row as it stands.
pub struct Row {
    /// Its text.
    pub text: Content,
    /// The order and usage beside it, if its runtime keeps them so.
    pub state: Option<Content>,
    /// There is a log that was not emptied.
    pub has_log: bool,
    /// The database has a write-ahead log, as its runtime makes it. Others are not changed.
    pub writes_ahead: bool,
}

/// Reads the row without touching the database; `None` if there is none.
///
/// # Errors
/// `database.invalid`, `file.*`.
pub fn read(path: &Path, table: Table) -> Result<Option<Row>, Failure> {
    let image = Image::read(&real(path))?;
    let (mut text, mut state) = (None, None);
    image.cells(&mut |cell| {
        let content = || Some(Zeroizing::new(cell.bytes.to_vec()));
        if table.is_at(cell.table, cell.row, cell.column) {
            text = content();
        }
        let is_state = (cell.table, cell.row, cell.column)
            == ("auth_profile_state", "state_key=primary", "state_json");
        if table == Table::Agent && is_state {
            state = content();
        }
    })?;
    // Bytes 18 and 19 of the header are 2 with a write-ahead log; without a header the log is all.
    let writes_ahead = image
        .main()
        .get(18..20)
        .is_none_or(|version| version == [2, 2]);
    let has_log = !image.wal().is_empty();
    Ok(text.map(|text| Row {
        text,
        state,
        has_log,
        writes_ahead,
    }))
}

/// SQLite looks for the log beside the file itself, not beside a link to it.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

/// Refuses a database that is in use, or whose row is not as it was read.
pub(super) fn check(row: &RowChange) -> Result<(), Failure> {
    crate::store::files::check_replaceable(&row.change.path)?;
    let connection = open(&row.change.path)?;
    expect(&connection, row, row.change.before.as_ref())
}

/// Rewrites the row, clears away what was deleted, and reads the row back.
pub(super) fn rewrite(row: &RowChange) -> Result<(), Failure> {
    let FileChange {
        path,
        before,
        after,
        ..
    } = &row.change;
    let failed = |error| failure(path, &error);
    let connection = open(path)?;
    expect(&connection, row, before.as_ref())?;
    if before != after {
        set(&connection, row)?;
    }
    connection.execute_batch("COMMIT; VACUUM").map_err(failed)?;
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let busy: i64 = connection
        .query_row(checkpoint, [], |row| row.get(0))
        .map_err(failed)?;
    if busy != 0 {
        return Err(in_use(path));
    }
    expect(&connection, row, after.as_ref())?;
    // Only now: closed before, it would have emptied the log of a run that was not at its end.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        .map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    let now = read(path, row.table)?;
    if now.is_none_or(|now| Some(&now.text) != after.as_ref() || now.has_log) {
        let text = format!("{} does not hold what was written to it", path.display());
        return Err(Failure::new(Code::ConfigConflict, text));
    }
    Ok(())
}

/// Opens a database that nobody else has open, and begins a transaction.
fn open(path: &Path) -> Result<Connection, Failure> {
    let failed = |error| failure(path, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(real(path), flags).map_err(failed)?;
    connection.busy_timeout(Duration::ZERO).map_err(failed)?;
    for (setting, on) in [
        (DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
    ] {
        connection.set_db_config(setting, on).map_err(failed)?;
    }
    // In exclusive mode any other connection is in the way, also one that does nothing; and the
    // index of the log stays in memory.
    connection
        .execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = MEMORY;
             PRAGMA secure_delete = ON; PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = 0; BEGIN IMMEDIATE",
        )
        .map_err(failed)?;
    Ok(connection)
}

/// Refuses a row that holds something else.
fn expect(
    connection: &Connection,
    row: &RowChange,
    expected: Option<&Content>,
) -> Result<(), Failure> {
    let [key_column, key, column] = row.table.columns();
    let table = row.table.name();
    let sql = format!("SELECT {column} FROM {table} WHERE {key_column} = ?1");
    let path = &row.change.path;
    let same = connection
        .query_row(&sql, [key], |found| match found.get_ref(0)? {
            ValueRef::Text(text) => Ok(expected.is_some_and(|bytes| bytes.as_slice() == text)),
            _ => Ok(false),
        })
        .optional()
        .map_err(|error| failure(path, &error))?;
    if same == Some(true) {
        return Ok(());
    }
    let text = format!(
        "{}: the row {key} of {table} changed since it was read; it was not written",
        path.display()
    );
    Err(Failure::new(Code::ConfigConflict, text))
}

fn set(connection: &Connection, row: &RowChange) -> Result<(), Failure> {
    let [key_column, key, column] = row.table.columns();
    let table = row.table.name();
    let sql = format!("UPDATE {table} SET {column} = ?1 WHERE {key_column} = ?2");
    let path = &row.change.path;
    let bytes = row.change.after.as_ref().map(|bytes| bytes.as_slice());
    let text = std::str::from_utf8(bytes.unwrap_or_default());
    let text = text.map_err(|_| Failure::new(Code::Bug, "profiles that are no UTF-8"))?;
    let rows = connection.execute(&sql, params![text, key]);
    match rows.map_err(|error| failure(path, &error))? {
        1 => Ok(()),
        rows => {
            let text = format!("{}: {rows} rows of {table} are {key}", path.display());
            Err(Failure::new(Code::DatabaseInvalid, text))
        }
    }
}

fn in_use(path: &Path) -> Failure {
    let text = format!(
        "{} is in use by another process; stop it and run this again",
        path.display()
    );
    Failure::new(Code::FolderBusy, text)
}

/// By SQLite's name of the error; its text can quote the database.
fn failure(path: &Path, error: &rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => in_use(path),
        Some(code) => {
            let text = format!("{} can't be changed: {code:?}", path.display());
            Failure::new(Code::DatabaseInvalid, text)
        }
        None => {
            let text = format!("{} is not as expected", path.display());
            Failure::new(Code::DatabaseInvalid, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &Path, before: &str, after: &str) -> RowChange {
        let content = |text: &str| Some(Zeroizing::new(text.as_bytes().to_vec()));
        RowChange {
            table: Table::Shared,
            change: FileChange {
                path: path.to_path_buf(),
                before: content(before),
                after: content(after),
                edits: Vec::new(),
            },
        }
    }

    fn database(folder: &Path, mode: &str) -> PathBuf {
        let path = folder.join("x.sqlite");
        let connection = Connection::open(&path).unwrap();
        let sql = format!(
            "PRAGMA journal_mode = {mode};
             CREATE TABLE config_machine_state (state_key TEXT PRIMARY KEY, value_json TEXT);
             INSERT INTO config_machine_state VALUES ('authProfiles.store', 'there'), ('x', 'y')"
        );
        connection.execute_batch(&sql).unwrap();
        path
    }

    #[test]
    fn a_row_that_changed_since_it_was_read_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path(), "wal");
        let bytes = fs::read(&path).unwrap();
        let stale = row(&path, "other", "new");
        for failure in [check(&stale).unwrap_err(), rewrite(&stale).unwrap_err()] {
            assert_eq!(failure.code, Code::ConfigConflict);
            assert_eq!(failure.code.kind().exit_code(), 8);
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
        let fitting = row(&path, "there", "new");
        check(&fitting).unwrap();
        rewrite(&fitting).unwrap();
        let now = read(&path, Table::Shared).unwrap().unwrap();
        assert_eq!(now.text.as_slice(), b"new");
    }

    #[test]
    fn a_database_without_a_log_is_known() {
        for (mode, ahead) in [("wal", true), ("delete", false)] {
            let folder = tempfile::tempdir().unwrap();
            let path = database(folder.path(), mode);
            let row = read(&path, Table::Shared).unwrap().unwrap();
            assert_eq!((row.writes_ahead, row.has_log), (ahead, false));
            assert!(read(&path, Table::Agent).unwrap().is_none());
        }
    }
}
