//! What the daemon tells: one line an event, to stderr or to a bounded file.
//!
//! Logged: start, end and its reason, reloads and their outcome, refused peers (user and process
//! id), connections that broke the protocol (an error text of ours, no byte of what they sent).
//! Never logged: requests, names, values, anything received.
//!
//! Invariant: there is a limit for the lines that clients cause in a minute, and a line is left out
//! where nobody reads on. What was left out is counted, and told with the next line. (A terminal
//! that can't be opened a second time, and takes a part of a line, can still be waited for.)

use crate::sys::clock;
use crate::sys::stderr::{self, Prompt};
use crate::time::UnixMs;
use rustix::fd::BorrowedFd;
use rustix::fs::{CWD, Mode, OFlags};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The longest log file in bytes. When a line would not fit, the file starts anew.
pub const MAX_LOG: u64 = 256 << 10;

/// The most lines that clients cause in one [`WINDOW`].
pub const MAX_LINES: u32 = 256;
/// For how long lines are counted.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Where lines go.
#[derive(Debug)]
pub struct Log(Mutex<Lines>);

#[derive(Debug)]
struct Lines {
    sink: Sink,
    /// When the window began, and how many lines it has.
    window: Option<(Instant, u32)>,
    /// Lines that were left out since the last that was written.
    left_out: u64,
}

#[derive(Debug)]
enum Sink {
    /// The service manager keeps the time and the size.
    Stderr {
        stderr: Prompt<BorrowedFd<'static>>,
        /// The last line has no end.
        torn: bool,
    },
    File {
        file: File,
        len: u64,
    },
}

impl Log {
    /// Lines without a time, to stderr. To be called before the sandbox is entered, which lets
    /// nobody open a terminal.
    pub fn stderr() -> Self {
        Self::to(Sink::Stderr {
            stderr: stderr::stderr(),
            torn: false,
        })
    }

    /// Lines with a time, appended to a file of mode 0600.
    pub fn file(path: &Path) -> io::Result<Self> {
        let flags = OFlags::CREATE | OFlags::APPEND | OFlags::WRONLY | OFlags::NOFOLLOW;
        let mode = Mode::RUSR | Mode::WUSR;
        let fd = rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, mode)?;
        let file = File::from(fd);
        rustix::fs::fchmod(&file, mode)?;
        let len = file.metadata()?.len();
        Ok(Self::to(Sink::File { file, len }))
    }

    fn to(sink: Sink) -> Self {
        Self(Mutex::new(Lines {
            sink,
            window: None,
            left_out: 0,
        }))
    }

    /// Writes one line. A log that can't be written, or a pipe that nobody reads, stops nothing.
    pub fn line(&self, message: fmt::Arguments<'_>) {
        self.lines().write(message);
    }

    /// Writes one line that a client caused, if there is room for such lines now.
    pub fn line_of_client(&self, message: fmt::Arguments<'_>) {
        self.line_of_client_at(message, Instant::now());
    }

    fn line_of_client_at(&self, message: fmt::Arguments<'_>, now: Instant) {
        let mut lines = self.lines();
        if lines.has_room(now) {
            lines.write(message);
        } else {
            lines.left_out += 1;
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Writes a line, after how many were left out before it.
    fn write(&mut self, message: fmt::Arguments<'_>) {
        if self.left_out > 0 {
            let left_out = self.left_out;
            let told = self.sink.write(format_args!("{left_out} lines left out"));
            if told.is_ok() {
                self.left_out = 0;
            }
        }
        if self.sink.write(message).is_err() {
            self.left_out += 1;
        }
    }

    /// Counts a line; false if the window has as many as it takes.
    fn has_room(&mut self, now: Instant) -> bool {
        let window = self
            .window
            .filter(|(since, _)| now.duration_since(*since) < WINDOW);
        let (since, count) = window.unwrap_or((now, 0));
        self.window = Some((since, count.saturating_add(1)));
        count < MAX_LINES
    }
}

impl Sink {
    fn write(&mut self, message: fmt::Arguments<'_>) -> io::Result<()> {
        match self {
            Sink::Stderr { stderr, torn } => {
                let end = if *torn { "\n" } else { "" };
                let written = stderr.line(&format!("{end}reseal: {message}"));
                *torn = match &written {
                    Ok(()) => false,
                    Err(error) => *torn || error.kind() == io::ErrorKind::WriteZero,
                };
                written
            }
            Sink::File { file, len } => append(file, len, message),
        }
    }
}

fn append(file: &mut File, len: &mut u64, message: fmt::Arguments<'_>) -> io::Result<()> {
    let line = format!("{} {message}\n", Utc(clock::now()));
    if *len + line.len() as u64 > MAX_LOG {
        file.set_len(0)?;
        *len = 0;
    }
    file.write_all(line.as_bytes())?;
    *len += line.len() as u64;
    Ok(())
}

/// A point in time as `2026-01-31T23:59:59Z`.
struct Utc(UnixMs);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.0 / 1000;
        let (days, time) = (seconds / 86_400, seconds % 86_400);
        // Days to a date as in Howard Hinnant's `civil_from_days`: years start in March, eras
        // have 400 years. The clock is never before 1970.
        let days = days + 719_468;
        let (era, day) = (days / 146_097, days % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let date = day - (153 * month + 2) / 5 + 1;
        let (month, carry) = if month < 10 {
            (month + 3, 0)
        } else {
            (month - 9, 1)
        };
        let year = era * 400 + year + carry;
        let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
        write!(
            f,
            "{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_769_903_999, "2026-01-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Utc(UnixMs(seconds * 1000)).to_string(), text);
        }
    }

    #[test]
    fn the_file_is_private_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.log");
        let log = Log::file(&path).unwrap();
        let long = "x".repeat(100_000);
        for _ in 0..7 {
            log.line(format_args!("{long}"));
            let meta = std::fs::metadata(&path).unwrap();
            assert!(meta.len() > 0 && meta.len() <= MAX_LOG);
            assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        }
        drop(log);
        // The length that is already there counts.
        let log = Log::file(&path).unwrap();
        log.line(format_args!("{long}"));
        log.line(format_args!("{long}"));
        assert!(std::fs::metadata(&path).unwrap().len() <= MAX_LOG);
    }

    #[test]
    fn lines_of_clients_over_the_limit_of_a_minute_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = Log::file(&path).unwrap();
        let start = Instant::now();
        for n in 0..MAX_LINES + 3 {
            log.line_of_client_at(format_args!("line {n}."), start);
        }
        let written = || std::fs::read_to_string(&path).unwrap();
        assert!(written().contains(&format!("line {}.", MAX_LINES - 1)));
        assert!(!written().contains(&format!("line {MAX_LINES}.")));
        log.line(format_args!("its own"));
        assert!(written().contains(" 3 lines left out\n") && written().contains(" its own\n"));
        log.line_of_client_at(format_args!("and one"), start);
        log.line_of_client_at(format_args!("later"), start + WINDOW);
        let end: Vec<String> = written().lines().rev().take(2).map(str::to_owned).collect();
        assert!(
            end[0].ends_with(" later") && end[1].ends_with(" 1 lines left out"),
            "{end:?}"
        );
    }
}
