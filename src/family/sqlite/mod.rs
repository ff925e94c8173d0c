//! The family's SQLite databases (eras C and D), read without touching them.
//!
//! Invariants: the file is read into memory, its `-wal` applied there ([`wal`]), and SQLite works
//! on that image: no lock is taken and no file beside it is made, also while its owner writes. Only
//! plain tables are read, with the schema untrusted and a limit on the work, since a database can
//! be made to harm its reader. What a cell means is not known here.

pub mod records;
pub mod wal;

use crate::error::{Code, Coded};
use crate::store::{StoreError, files};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// The largest database, and the largest `-wal`, in bytes.
pub const MAX_DATABASE: usize = 256 << 20;
/// The largest cell in bytes.
pub const MAX_CELL: i32 = 64 << 20;
/// The most tables of a database.
pub const MAX_TABLES: usize = 4_096;
/// The most work on one database, in steps of SQLite's machine.
pub const MAX_STEPS: u64 = 200_000_000;

/// Steps between two looks at the work done so far.
const STEPS: i32 = 1_000_000;
/// What every database starts with.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// A database and its `-wal` as they lie on the disk.
pub struct Image {
    path: PathBuf,
    main: Vec<u8>,
    wal: Vec<u8>,
    log: PathBuf,
}

/// One cell of one row.
#[derive(Debug)]
pub struct Cell<'a> {
    /// The table.
    pub table: &'a str,
    /// The column.
    pub column: &'a str,
    /// What tells the row: its key as `COLUMN=KEY` where that is no secret, else its number.
    pub row: &'a str,
    /// The text or bytes.
    pub bytes: &'a [u8],
}

impl Image {
    /// Reads a database file and the `-wal` beside it.
    ///
    /// # Errors
    /// Not a database; over [`MAX_DATABASE`]; `file.*`.
    pub fn read(path: &Path) -> Result<Self, SqliteError> {
        // SQLite puts it beside the file itself, also if a link leads there.
        let real = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let mut beside = real.into_os_string();
        beside.push("-wal");
        let main = files::read(path, MAX_DATABASE)?;
        let log = PathBuf::from(beside);
        let main = main.ok_or_else(|| SqliteError::Other(path.to_path_buf()))?;
        // To SQLite an empty file is a database without tables; one that was just made may still
        // lie in its `-wal` alone.
        if !main.is_empty() && !main.starts_with(MAGIC) {
            return Err(SqliteError::Other(path.to_path_buf()));
        }
        Ok(Self {
            path: path.to_path_buf(),
            main,
            wal: files::read(&log, MAX_DATABASE)?.unwrap_or_default(),
            log,
        })
    }

    /// Where the `-wal` lies, if there is one.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The bytes of the file.
    pub fn main(&self) -> &[u8] {
        &self.main
    }

    /// The bytes of the `-wal`; none if there is no such file.
    pub fn wal(&self) -> &[u8] {
        &self.wal
    }

    /// How many bytes of a page hold content.
    pub fn usable(&self) -> usize {
        let two = |at: usize| {
            let bytes: Option<[u8; 2]> = self.main.get(at..at + 2)?.try_into().ok();
            bytes.map(u16::from_be_bytes)
        };
        let page = match two(16) {
            Some(1) => 65_536,
            Some(size) => usize::from(size),
            None => wal::page_size(&self.wal).unwrap_or_default(),
        };
        let reserved = self.main.get(20).copied().unwrap_or_default();
        page.saturating_sub(usize::from(reserved))
    }

    /// Gives every cell that holds text or bytes, as the last commit left it.
    ///
    /// # Errors
    /// [`SqliteError::Damaged`] if SQLite can't read all of it, or the work is over a limit.
    pub fn cells(&self, see: &mut dyn FnMut(&Cell<'_>)) -> Result<(), SqliteError> {
        self.cells_while(&mut |cell| {
            see(cell);
            ControlFlow::Continue(())
        })
    }

    /// The same, until `see` has had enough.
    ///
    /// # Errors
    /// Those of [`Image::cells`].
    pub fn cells_while(
        &self,
        see: &mut dyn FnMut(&Cell<'_>) -> ControlFlow<()>,
    ) -> Result<(), SqliteError> {
        let damaged = |error: rusqlite::Error| SqliteError::Damaged {
            path: self.path.clone(),
            why: kind(&error),
        };
        let image = wal::applied(&self.main, &self.wal);
        if image.is_empty() {
            return Ok(());
        }
        let connection = open(&image).map_err(damaged)?;
        let tables = tables(&connection).map_err(damaged)?;
        if tables.len() > MAX_TABLES {
            let why = format!("more than {MAX_TABLES} tables, the limit");
            let path = self.path.clone();
            return Err(SqliteError::Damaged { path, why });
        }
        for table in tables {
            if read_table(&connection, &table, see)
                .map_err(damaged)?
                .is_break()
            {
                break;
            }
        }
        Ok(())
    }
}

/// Shows the sizes only.
impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({} and {} bytes)", self.main.len(), self.wal.len())
    }
}

fn open(image: &[u8]) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    connection.deserialize_read_exact("main", image, image.len(), true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_CELL)?;
    let mut done = 0_u64;
    let is_over = move || {
        done += u64::from(STEPS.unsigned_abs());
        done > MAX_STEPS
    };
    connection.progress_handler(STEPS, Some(is_over))?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

fn tables(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    // The tables behind a virtual one are plain tables and read as such.
    let mut statement = connection.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' \
         ESCAPE '\\' AND sql NOT LIKE 'CREATE VIRTUAL%' LIMIT ?1",
    )?;
    let names = statement.query_map([MAX_TABLES as i64 + 1], |row| row.get(0))?;
    names.collect()
}

fn read_table(
    connection: &Connection,
    table: &str,
    see: &mut dyn FnMut(&Cell<'_>) -> ControlFlow<()>,
) -> rusqlite::Result<ControlFlow<()>> {
    let quoted = table.replace('"', "\"\"");
    let mut statement = connection.prepare(&format!("SELECT * FROM \"{quoted}\""))?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let keys: Vec<usize> = KEYS
        .iter()
        .filter_map(|key| columns.iter().position(|name| name == key))
        .collect();
    let mut rows = statement.query([])?;
    let mut number = 0_u64;
    while let Some(row) = rows.next()? {
        number += 1;
        let label = label(row, &keys, &columns, number);
        for (i, column) in columns.iter().enumerate() {
            if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = row.get_ref(i)? {
                let cell = Cell {
                    table,
                    column,
                    row: &label,
                    bytes,
                };
                if see(&cell).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Columns that name a row, the plainest first.
const KEYS: [&str; 6] = ["state_key", "store_key", "server_name", "id", "key", "name"];
/// Those of them whose text is the family's own name for the row; text in others can be anything.
const TEXTS: usize = 3;

/// The longest key that a label repeats, in bytes; a longer one is no name, and a part of it would
/// hide from its reader what the whole is.
const MAX_LABEL: usize = 320;

fn label(row: &Row<'_>, keys: &[usize], columns: &[String], number: u64) -> String {
    let named = keys.iter().find_map(|i| match row.get_ref(*i) {
        Ok(ValueRef::Text(text))
            if text.len() <= MAX_LABEL && KEYS[..TEXTS].contains(&columns[*i].as_str()) =>
        {
            let text = String::from_utf8_lossy(text);
            Some(format!("{}={text}", columns[*i]))
        }
        Ok(ValueRef::Integer(id)) => Some(format!("{}={id}", columns[*i])),
        _ => None,
    });
    named.unwrap_or_else(|| format!("row {number}"))
}

/// SQLite's name of an error, without its text, which can quote the database.
fn kind(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => {
            format!("more than {MAX_STEPS} steps of work, the limit")
        }
        Some(code) => format!("{code:?}"),
        None => "a value of another type than expected".to_owned(),
    }
}

/// Why a database is not read, or not as a whole. Holds nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// Not readable, or too large.
    #[error(transparent)]
    File(#[from] StoreError),
    /// No SQLite database.
    #[error("{} is no SQLite database", .0.display())]
    Other(PathBuf),
    /// SQLite can't read it.
    #[error("{} can't be read as a whole: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's name of the error.
        why: String,
    },
}

impl Coded for SqliteError {
    fn code(&self) -> Code {
        match self {
            SqliteError::File(error) => error.code(),
            SqliteError::Other(_) | SqliteError::Damaged { .. } => Code::DatabaseInvalid,
        }
    }
}
crate::error::failure_from!(SqliteError);

#[cfg(test)]
mod tests;
