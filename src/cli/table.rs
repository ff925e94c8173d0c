//! Columns of text that fit the terminal.

use super::error::CliError;
use super::output::{Output, Tone};
use serde_json::Value;

/// No column is cut to less.
const LEAST_COLUMN: usize = 8;

/// A table for people; programs ask for `--json`.
pub struct Table {
    headings: Vec<&'static str>,
    flexible: usize,
    rows: Vec<Vec<Cell>>,
}

/// One cell.
pub struct Cell {
    text: String,
    tone: Tone,
}

/// A cell with a tone.
pub fn cell(text: impl Into<String>, tone: Tone) -> Cell {
    let text = text.into();
    Cell {
        text: super::output::shown(&text),
        tone,
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        cell(text, Tone::Plain)
    }
}

impl Table {
    /// A table with these headings; the column `flexible` is the first that is cut when
    /// a terminal is too narrow.
    pub fn new(headings: Vec<&'static str>, flexible: usize) -> Self {
        Self {
            headings,
            flexible,
            rows: Vec::new(),
        }
    }

    /// The members of a JSON object, one a row.
    pub fn of_members(object: &Value) -> Self {
        let mut table = Self::new(vec!["Member", "Value"], 1);
        for (key, value) in object.as_object().into_iter().flatten() {
            let text = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            table.row(vec![key.as_str().into(), text.into()]);
        }
        table
    }

    /// Adds a row; it has as many cells as there are headings.
    pub fn row(&mut self, cells: Vec<Cell>) {
        debug_assert_eq!(cells.len(), self.headings.len());
        self.rows.push(cells);
    }

    /// Writes the table to stdout.
    pub fn print(&self, out: &Output) -> Result<(), CliError> {
        let widths = self.widths(out.columns());
        let mut text = String::new();
        let headings = self.headings.iter().map(|heading| (*heading, Tone::Strong));
        line(&mut text, out, &widths, headings);
        for row in &self.rows {
            text.push('\n');
            let cells = row.iter().map(|cell| (cell.text.as_str(), cell.tone));
            line(&mut text, out, &widths, cells);
        }
        out.data(&text)
    }

    fn widths(&self, columns: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headings.iter().map(|text| text.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        if let Some(columns) = columns {
            let total = widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1);
            if let Some(width) = widths.get_mut(self.flexible) {
                let least = (*width).min(LEAST_COLUMN);
                *width = width
                    .saturating_sub(total.saturating_sub(columns))
                    .max(least);
            }
            // What is still too much comes off the widest columns.
            let gaps = 2 * widths.len().saturating_sub(1);
            while widths.iter().sum::<usize>() + gaps > columns {
                match widths.iter_mut().max() {
                    Some(widest) if *widest > LEAST_COLUMN => *widest -= 1,
                    _ => break,
                }
            }
        }
        widths
    }
}

fn line<'a>(
    text: &mut String,
    out: &Output,
    widths: &[usize],
    cells: impl Iterator<Item = (&'a str, Tone)>,
) {
    let start = text.len();
    let mut pending = 0;
    for ((content, tone), width) in cells.zip(widths) {
        let count = content.chars().count();
        text.extend(std::iter::repeat_n(' ', pending));
        let fitting = if count > *width {
            let cut: String = content.chars().take(width.saturating_sub(1)).collect();
            format!("{cut}…")
        } else {
            content.to_owned()
        };
        text.push_str(&out.paint(tone, &fitting));
        // Spaces only before a further column, so that no line ends in blanks.
        pending = width.saturating_sub(count.min(*width)) + 2;
        if content.is_empty() && text.len() == start {
            pending = width + 2;
        }
    }
    let end = text.trim_end_matches(' ').len().max(start);
    text.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_the_flexible_one_is_cut() {
        let mut table = Table::new(vec!["NAME", "KIND", "NOTE"], 2);
        table.row(vec!["a".into(), "static".into(), "x".repeat(100).into()]);
        table.row(vec!["longer".into(), "".into(), "".into()]);
        assert_eq!(table.widths(None), [6, 6, 100]);
        assert_eq!(table.widths(Some(40)), [6, 6, 24]);
        table.row(vec!["n".repeat(50).into(), "".into(), "".into()]);
        assert_eq!(table.widths(Some(40)), [22, 6, 8]);
        table.rows.pop();
        let out = Output::new(true, false, false);
        let mut text = String::new();
        let widths = table.widths(Some(40));
        line(
            &mut text,
            &out,
            &widths,
            ["a", "b", &"y".repeat(30)]
                .map(|t| (t, Tone::Plain))
                .into_iter(),
        );
        assert_eq!(text, format!("a       b       {}…", "y".repeat(23)));
        assert_eq!(text.chars().count(), 40);
        let mut text = String::new();
        line(
            &mut text,
            &out,
            &widths,
            ["a", "", ""].map(|t| (t, Tone::Plain)).into_iter(),
        );
        assert_eq!(text, "a");
    }
}
