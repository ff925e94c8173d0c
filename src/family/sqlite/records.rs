//! Records of SQLite tables and indexes, found in bytes of any kind by how they are written: where
//! the columns of a row begin and end, also of a row that was deleted.
//!
//! After the file format that SQLite documents (<https://www.sqlite.org/fileformat2.html>, sections
//! 1.6 and 2.1): a cell has the length of its record, in a table the number of the row, and the
//! record; a record has a header with its own length and the type of each column, and the columns.
//!
//! Invariants: any bytes are read to an end, in steps that do not grow with them; text without
//! control characters is never taken for a record. Not here: a deleted row of which SQLite wrote
//! over the header has no borders.

use std::ops::Range;

/// The longest header of a record that is looked at, in bytes.
const MAX_HEADER: u64 = 1_024;

/// The records in bytes of a database.
pub struct Records<'a> {
    bytes: &'a [u8],
    /// The bytes of a page that hold content.
    usable: usize,
    at: usize,
}

/// A record.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    /// Where its cell begins.
    pub start: usize,
    /// Where its first column begins, and where each ends, as far as it lies on the page.
    pub borders: Vec<usize>,
}

impl<'a> Records<'a> {
    /// Records in these bytes, of a database whose pages have so many bytes for content.
    pub fn new(bytes: &'a [u8], usable: usize) -> Self {
        Self {
            bytes,
            usable,
            at: 0,
        }
    }

    /// The next record whose cell begins before `end`.
    pub fn next_before(&mut self, end: usize) -> Option<Record> {
        let end = end.min(self.bytes.len());
        while self.at < end {
            let start = self.at;
            self.at += 1;
            if let Some(record) = self.record(start) {
                // What was written over a deleted row can begin inside of it.
                self.at = record.borders.first().copied().unwrap_or(self.at);
                return Some(record);
            }
        }
        None
    }

    fn record(&self, start: usize) -> Option<Record> {
        let of_cell = || {
            let (len, at) = varint(self.bytes, start)?;
            // Two bytes of header and a column that is not empty.
            if len < 3 {
                return None;
            }
            let in_table = || {
                let (_, at) = varint(self.bytes, at)?;
                self.columns(at, len, self.local(len, true))
            };
            in_table().or_else(|| self.columns(at, len, self.local(len, false)))
        };
        // SQLite writes two numbers of two bytes over the start of a deleted cell, the second of
        // which is the length of all of it.
        let of_free_block = || {
            let head: [u8; 4] = self.bytes.get(start..start + 4)?.try_into().ok()?;
            let head = u32::from_be_bytes(head) as usize;
            let (next, len) = (head >> 16, head & 0xffff);
            if next >= self.usable || len >= self.usable {
                return None;
            }
            let len = (len as u64).checked_sub(4)?;
            let borders = self.columns(start + 4, len, len)?;
            // Two bytes say little: here the columns have to read as what they are, too.
            let (first, last) = (*borders.first()?, *borders.last()?);
            let is_whole = last - start == usize::try_from(len).ok()? + 4;
            let is_text = !has_control(self.bytes.get(first..last)?);
            (is_whole && is_text).then_some(borders)
        };
        let borders = of_cell().or_else(of_free_block)?;
        Some(Record { start, borders })
    }

    /// How many bytes of a record lie on the page of its cell.
    fn local(&self, len: u64, in_table: bool) -> u64 {
        let usable = self.usable as u64;
        let most = if in_table {
            usable.saturating_sub(35)
        } else {
            (usable.saturating_sub(12) * 64 / 255).saturating_sub(23)
        };
        if len <= most {
            return len;
        }
        let least = (usable.saturating_sub(12) * 32 / 255).saturating_sub(23);
        let rest = len.saturating_sub(least) % usable.saturating_sub(4).max(1);
        let local = least + rest;
        if local <= most { local } else { least }
    }

    /// The borders of the columns of a record of `len` bytes, of which `local` are here.
    fn columns(&self, at: usize, len: u64, local: u64) -> Option<Vec<usize>> {
        let (header, mut next) = varint(self.bytes, at)?;
        if !(2..=MAX_HEADER.min(len)).contains(&header) {
            return None;
        }
        let body = at + usize::try_from(header).ok()?;
        let mut left = len - header;
        let mut sizes = Vec::new();
        while next < body {
            let (kind, after) = varint(self.bytes, next)?;
            let size = size(kind)?;
            left = left.checked_sub(size)?;
            sizes.push(size);
            next = after;
        }
        let is_whole = next == body && left == 0;
        if !is_whole || !has_control(self.bytes.get(at..body)?) {
            return None;
        }
        let here = at.saturating_add(usize::try_from(local).ok()?);
        let here = here.min(self.bytes.len());
        let mut borders = vec![body];
        let mut end = body;
        for size in sizes {
            end = end.saturating_add(usize::try_from(size).ok()?);
            if end > here {
                break;
            }
            borders.push(end);
        }
        borders.dedup();
        Some(borders)
    }
}

/// A number of one to nine bytes, and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for i in 0..8 {
        let byte = *bytes.get(at + i)?;
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + i + 1));
        }
    }
    let byte = *bytes.get(at + 8)?;
    Some((value << 8 | u64::from(byte), at + 9))
}

/// The bytes of a column of this type; `None` for the types that no file has.
fn size(kind: u64) -> Option<u64> {
    match kind {
        0 | 8 | 9 => Some(0),
        1..=4 => Some(kind),
        5 => Some(6),
        6 | 7 => Some(8),
        10 | 11 => None,
        kind => Some((kind - 12) / 2),
    }
}

/// True if the bytes have a control character that text does not have.
fn has_control(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .any(|b| *b < 0x20 && !matches!(b, b'\t' | b'\n' | b'\r'))
}

/// The columns of a database's bytes, and what lies between records, one after the other.
pub struct Pieces<'a> {
    records: Records<'a>,
    borders: std::collections::VecDeque<usize>,
    from: usize,
}

/// How far ahead of a piece records are looked for, in bytes: no value is as long.
const AHEAD: usize = 1 << 16;

impl<'a> Pieces<'a> {
    /// Of all these bytes.
    pub fn new(bytes: &'a [u8], usable: usize) -> Self {
        Self {
            records: Records::new(bytes, usable),
            borders: std::collections::VecDeque::new(),
            from: 0,
        }
    }

    /// The piece that a byte lies in; `at` must not lie before the one that was asked for last.
    pub fn at(&mut self, at: usize) -> Range<usize> {
        let end = at.saturating_add(AHEAD);
        while let Some(record) = self.records.next_before(end) {
            // Of what was written over, no border counts any more.
            while self.borders.back().is_some_and(|b| *b > record.start) {
                self.borders.pop_back();
            }
            self.borders.push_back(record.start);
            self.borders.extend(record.borders);
        }
        while let Some(border) = self.borders.front().copied().filter(|b| *b <= at) {
            self.from = border;
            self.borders.pop_front();
        }
        let until = self.borders.front().copied();
        self.from..until.unwrap_or(self.records.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rusqlite::Connection;

    /// Every piece of these bytes.
    fn pieces(bytes: &[u8], usable: usize) -> Vec<Range<usize>> {
        let mut pieces = Pieces::new(bytes, usable);
        let mut found: Vec<Range<usize>> = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let piece = pieces.at(at);
            at = piece.end;
            found.push(piece);
        }
        found
    }

    fn made_by(sql: &str) -> Vec<u8> {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("x.sqlite");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("PRAGMA page_size = 4096; PRAGMA secure_delete = 0;")
            .unwrap();
        connection.execute_batch(sql).unwrap();
        std::fs::read(&path).unwrap()
    }

    /// True if a piece is exactly this text.
    fn is_piece(bytes: &[u8], text: &str) -> bool {
        let found = pieces(bytes, 4_096);
        found
            .into_iter()
            .any(|piece| bytes[piece] == *text.as_bytes())
    }

    #[test]
    fn a_header_over_its_limit_is_no_header() {
        // Its length in two bytes, and a type of one byte for each column.
        let most = usize::try_from(MAX_HEADER).unwrap() - 2;
        let is_found = |count: usize| {
            let columns: Vec<String> = (0..count).map(|n| format!("c{n}")).collect();
            let last = &columns[count - 1];
            let sql = format!(
                "CREATE TABLE t ({}); INSERT INTO t ({last}) VALUES ('the last column');",
                columns.join(", ")
            );
            is_piece(&made_by(&sql), "the last column")
        };
        assert_eq!([is_found(most), is_found(most + 1)], [true, false]);
    }

    #[test]
    fn columns_are_told_apart_in_tables_and_indexes() {
        let rows = "VALUES ('first', 'second', 7, 'third'), ('fourth', 'fifth', NULL, 'sixth');";
        for columns in [
            "(a TEXT, b TEXT, c, d)",
            "(a TEXT PRIMARY KEY, b TEXT, c, d) WITHOUT ROWID",
        ] {
            let sql = format!("CREATE TABLE t {columns}; INSERT INTO t {rows}");
            let bytes = made_by(&sql);
            for text in ["first", "second", "third", "fourth", "fifth", "sixth"] {
                assert!(is_piece(&bytes, text), "{columns} {text}");
            }
            let sql = format!("{sql}; CREATE INDEX i ON t (d, b); DROP INDEX i;");
            assert!(is_piece(&made_by(&sql), "third"), "{columns}");
        }
    }

    #[test]
    fn columns_of_deleted_rows_and_of_long_rows_are_told_apart() {
        let long = "x".repeat(9_000);
        let sql = format!(
            "CREATE TABLE t (a TEXT, b TEXT); CREATE TABLE u (a TEXT, b TEXT);
             INSERT INTO t VALUES ('first', 'second'), ('third', '{long}');
             INSERT INTO u (rowid, a, b) VALUES (1000, 'fourth', '{0}'), (1001, 'x', 'y');
             DELETE FROM u WHERE rowid = 1000; DROP TABLE t;",
            "y".repeat(200)
        );
        let bytes = made_by(&sql);
        for text in ["first", "second", "third", "fourth"] {
            assert!(is_piece(&bytes, text), "{text}");
        }
        let part = bytes.windows(5).position(|w| w == b"third").unwrap() + 5;
        let piece = Pieces::new(&bytes, 4_096).at(part);
        assert!(bytes[piece.start..].starts_with(b"xxxx"));
    }

    #[test]
    fn what_was_written_over_has_no_borders() {
        // A record of two columns of twelve bytes, and one of two of three inside of it.
        let inside = [9, 1, 3, 19, 19, b'a', b'a', b'a', b'b', b'b', b'b'];
        let mut bytes = vec![27, 1, 3, 37, 37];
        bytes.extend(*b"first column");
        bytes.truncate(10);
        bytes.extend(inside);
        bytes.extend([b'z'; 40]);
        let found: Vec<_> = pieces(&bytes, 4_096);
        let starts: Vec<usize> = found.iter().map(|piece| piece.start).collect();
        assert_eq!(starts, [0, 5, 10, 15, 18, 21]);
    }

    proptest! {
        #[test]
        fn text_has_no_records(text in "[ -~\n\té]{0,400}") {
            prop_assert!(pieces(text.as_bytes(), 4_096).len() <= 1);
        }

        #[test]
        fn any_bytes_are_pieces_without_a_gap(
            bytes in proptest::collection::vec(prop_oneof![0..40_u8, any::<u8>()], 0..600),
            usable in 0..70_000_usize,
        ) {
            let mut end = 0;
            for piece in pieces(&bytes, usable) {
                prop_assert!(piece.start == end && piece.end > piece.start);
                end = piece.end;
            }
            prop_assert_eq!(end, bytes.len());
        }
    }
}
