//! What a person or a program sees: data on stdout, talk on stderr.
//!
//! Invariants: text that came from outside (names, notes, paths) has its control characters
//! escaped before it is shown; a reader that went away is success; a value goes out in one write
//! from locked memory and never through a `String`.

use super::error::CliError;
use crate::error::{Code, Failure};
use crate::secret::SecretValue;
use serde::Serialize;
use std::io::{self, IoSlice, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The width that text is made for when stdout is no terminal.
pub const DEFAULT_WIDTH: usize = 80;

/// Where and how a command shows things. Clones share whether the reader is gone.
#[derive(Clone)]
pub struct Output {
    /// One JSON document on stdout instead of text.
    pub json: bool,
    /// No talk.
    pub quiet: bool,
    /// More talk.
    pub verbose: bool,
    colour_out: bool,
    colour_err: bool,
    err_columns: Option<usize>,
    closed: Arc<AtomicBool>,
}

/// What a piece of text means; decides its colour on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// Column headings, the thing that the eye should find.
    Strong,
    /// It works.
    Good,
    /// It may not work for long.
    Warning,
    /// It does not work.
    Bad,
    /// Less important.
    Faint,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Tone::Plain => "",
            Tone::Strong => "\x1b[1m",
            Tone::Good => "\x1b[32m",
            Tone::Warning => "\x1b[33m",
            Tone::Bad => "\x1b[31m",
            Tone::Faint => "\x1b[2m",
        }
    }
}

impl Output {
    /// Looks at the two streams and at `NO_COLOR`, `TERM` and `CLICOLOR_FORCE`.
    pub fn new(json: bool, quiet: bool, verbose: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let wanted = !set("NO_COLOR") && !dumb;
        let forced = !set("NO_COLOR") && set("CLICOLOR_FORCE");
        let err_columns = columns(&io::stderr());
        Self {
            json,
            quiet,
            verbose,
            colour_out: forced || (wanted && !json && io::stdout().is_terminal()),
            colour_err: forced || (wanted && err_columns.is_some()),
            err_columns,
            closed: Arc::default(),
        }
    }

    /// Writes lines of data to stdout; a line end is added.
    pub fn data(&self, text: &str) -> Result<(), CliError> {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(b'\n');
        self.write_out(&[&bytes])
    }

    /// Writes one JSON document to stdout.
    pub fn document(&self, value: &impl Serialize) -> Result<(), CliError> {
        self.data(&json_text(value)?)
    }

    /// Writes a value to stdout in one write, with a line end if asked and not there already.
    pub fn secret(&self, value: &SecretValue, line_end: bool) -> Result<(), CliError> {
        let ended = !line_end || value.expose().ends_with(b"\n");
        let line_end: &[u8] = if ended { b"" } else { b"\n" };
        self.write_out(&[value.expose(), line_end])
    }

    /// Writes bytes to stdout as they are.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        self.write_out(&[bytes])
    }

    fn write_out(&self, parts: &[&[u8]]) -> Result<(), CliError> {
        if self.closed.load(Ordering::Relaxed) {
            return Ok(());
        }
        // Not through `io::stdout()`: its buffer would keep a copy of a value.
        let written = write_all(rustix::stdio::stdout(), parts);
        match written {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::PIPE) => {
                self.closed.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(errno) => {
                let text = format!("stdout: {}", io::Error::from(errno));
                let failure = Failure::new(Code::FileIo, text);
                Err(CliError::new("write the output", failure))
            }
        }
    }

    /// Talks to the person, unless `--quiet`.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.tell(text);
        }
    }

    /// Talks to the person when `--verbose`.
    pub fn detail(&self, text: &str) {
        if self.verbose && !self.quiet {
            self.tell(text);
        }
    }

    /// Tells somebody at a terminal what takes its time, unless `--quiet`.
    pub fn progress(&self, text: &str) {
        if self.err_columns.is_some() {
            self.say(text);
        }
    }

    /// Tells the person something that `--quiet` must not hide.
    pub fn tell(&self, text: &str) {
        // Nothing can be said about a stderr that does not take text.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Tells the person a paragraph, folded at the terminal's width.
    pub fn explain(&self, text: &str) {
        self.tell(&fold(text, self.err_columns, 0, 0));
    }

    /// Tells the person a secret, in one write to stderr.
    pub fn tell_secret(&self, before: &str, value: &SecretValue) {
        let (start, len) = (before.len(), value.len());
        let line = SecretValue::build(start + len + 1, |target| {
            target[..start].copy_from_slice(before.as_bytes());
            target[start..start + len].copy_from_slice(value.expose());
            target[start + len] = b'\n';
        });
        // Nothing can be said about a stderr that does not take text.
        let _ = write_all(rustix::stdio::stderr(), &[line.expose()]);
    }

    /// Warns; shown with `--quiet` too.
    pub fn warn(&self, text: &str) {
        self.labelled(Tone::Warning, "warning:", text);
    }

    /// Tells something after a coloured label; long text is folded at the terminal's width.
    pub fn labelled(&self, tone: Tone, label: &str, text: &str) {
        let text = fold(text, self.err_columns, label.len() + 1, 2);
        self.tell(&format!("{} {text}", self.paint_err(tone, label)));
    }

    /// Text in the colour of its tone, if stdout takes colour.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        paint(self.colour_out, tone, text)
    }

    /// True if stderr takes colour.
    pub fn stderr_has_colour(&self) -> bool {
        self.colour_err
    }

    /// Text in the colour of its tone, if stderr takes colour.
    pub fn paint_err(&self, tone: Tone, text: &str) -> String {
        paint(self.colour_err, tone, text)
    }

    /// The columns of the terminal at stdout, if it is one.
    pub fn columns(&self) -> Option<usize> {
        columns(&io::stdout())
    }
}

/// The narrowest terminal that text is made for.
const LEAST_WIDTH: usize = 40;

fn columns(stream: &(impl IsTerminal + std::os::fd::AsFd)) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let columns = rustix::termios::tcgetwinsize(stream).map_or(0, |size| usize::from(size.ws_col));
    Some(if columns < LEAST_WIDTH {
        DEFAULT_WIDTH
    } else {
        columns
    })
}

/// Text folded between words: the first line starts at column `first`, the others are indented by
/// `indent`. Without a width the text stays as it is.
pub fn fold(text: &str, width: Option<usize>, first: usize, indent: usize) -> String {
    let Some(width) = width else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(text.len() + 16);
    let mut column = first;
    for (i, word) in text.split(' ').enumerate() {
        let len = word.chars().count();
        if i > 0 && column + 1 + len > width {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if i > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += len;
    }
    out
}

fn paint(on: bool, tone: Tone, text: &str) -> String {
    if on && tone != Tone::Plain {
        format!("{}{text}\x1b[0m", tone.code())
    } else {
        text.to_owned()
    }
}

/// Writes all parts, in one call if the system takes them so.
fn write_all(fd: impl std::os::fd::AsFd, parts: &[&[u8]]) -> rustix::io::Result<()> {
    let mut parts: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut rest = parts.as_mut_slice();
    // Parts without a byte would count as written by a call that writes nothing.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match rustix::io::writev(&fd, rest) {
            Ok(count) => IoSlice::advance_slices(&mut rest, count),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Stdout without a buffer of our own, for writers that bring values.
pub struct RawStdout;

impl Write for RawStdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match write_all(rustix::stdio::stdout(), &[bytes]) {
            // A reader that went away has all it wanted.
            Ok(()) | Err(rustix::io::Errno::PIPE) => Ok(bytes.len()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// True for characters that move the cursor, change the direction of text or are invisible.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Text that may be shown: control characters as `\u{1b}` and the like.
pub fn shown(text: &str) -> String {
    if !text.chars().any(is_unsafe) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// A path that may be shown.
pub fn shown_path(path: &std::path::Path) -> String {
    shown(&path.to_string_lossy())
}

/// One JSON document as text, two spaces of indent, unsafe characters escaped.
pub fn json_text(value: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string_pretty(value)
        .map(|text| {
            let mut out = String::with_capacity(text.len());
            for c in text.chars() {
                // The line ends of the layout; those inside strings are escaped already.
                if is_unsafe(c) && c != '\n' {
                    let mut units = [0u16; 2];
                    for unit in c.encode_utf16(&mut units) {
                        out.push_str(&format!("\\u{unit:04x}"));
                    }
                } else {
                    out.push(c);
                }
            }
            out
        })
        .map_err(|error| {
            CliError::new(
                "write the output",
                Failure::new(Code::Bug, error.to_string()),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_move_the_cursor_is_escaped() {
        assert_eq!(shown("plain ä €"), "plain ä €");
        assert_eq!(shown("a\x1b[2Jb\r\n"), "a\\u{1b}[2Jb\\r\\n");
        assert_eq!(shown("\u{202e}txt\u{9b}"), "\\u{202e}txt\\u{9b}");
    }

    #[test]
    fn long_text_is_folded_between_words() {
        assert_eq!(fold("aaa bbb ccc", None, 7, 2), "aaa bbb ccc");
        assert_eq!(fold("aaa bbb ccc", Some(11), 4, 2), "aaa bbb\n  ccc");
        assert_eq!(fold("aaaaaaaaaaaa b", Some(8), 4, 2), "aaaaaaaaaaaa\n  b");
    }

    #[test]
    fn documents_stay_json_when_escaped() {
        let value = serde_json::json!({"note": "a\x1b\u{9b}\u{202e}\u{feff}ä"});
        let text = json_text(&value).map_err(|_| ()).unwrap();
        assert!(text.chars().all(|c| !is_unsafe(c) || c == '\n'), "{text}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            value
        );
    }
}
