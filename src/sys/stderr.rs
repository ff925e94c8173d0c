//! Standard error for what must never wait: the daemon's log, and what a panic says.
//!
//! Whoever reads it may have stopped. `O_NONBLOCK` would help, but belongs to what was opened: all
//! who share it with this process would suddenly get errors. So a pipe or a terminal is opened a
//! second time, for this process alone. Where that is not possible (a socket, a pipe of another
//! user, a sandbox), it is asked first whether there is room.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// The most bytes of one line: what a pipe takes whole, or not at all.
pub const MAX_LINE: usize = 4096;

/// A stream that is written to without waiting.
#[derive(Debug)]
pub struct Prompt<F> {
    stream: F,
    /// The same, opened once more.
    own: Option<OwnedFd>,
}

/// Standard error.
#[must_use]
pub fn stderr() -> Prompt<BorrowedFd<'static>> {
    Prompt::new(rustix::stdio::stderr())
}

impl<F: AsFd> Prompt<F> {
    /// This stream, and whatever it is later.
    pub fn new(stream: F) -> Self {
        let own = opened_again(stream.as_fd());
        Self { stream, own }
    }

    /// Writes a line, with its end, if there is room for it now; what is too long is cut.
    ///
    /// # Errors
    /// `WouldBlock` if there is no room, `WriteZero` if a part of it was written.
    pub fn line(&self, text: &str) -> io::Result<()> {
        let text = &text[..text.floor_char_boundary(MAX_LINE - 1)];
        let line = [text.as_bytes(), b"\n"].concat();
        let written = self.write(&line)?;
        if written == line.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    fn write(&self, line: &[u8]) -> io::Result<usize> {
        if let Some(own) = &self.own {
            return Ok(rustix::io::write(own, line)?);
        }
        match send(
            &self.stream,
            line,
            SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        ) {
            Err(Errno::NOTSOCK) => {}
            sent => return Ok(sent?),
        }
        // A pipe that has room has it for a line.
        let mut asked = [PollFd::new(&self.stream, PollFlags::OUT)];
        if poll(&mut asked, Some(&Timespec::default()))? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(rustix::io::write(&self.stream, line)?)
    }
}

/// A pipe or a terminal, opened anew so that writing to it does not wait.
fn opened_again(stream: BorrowedFd<'_>) -> Option<OwnedFd> {
    let kind = FileType::from_raw_mode(fstat(stream).ok()?.st_mode);
    // A file never waits, and opened anew it would be written from its beginning.
    if !matches!(kind, FileType::Fifo | FileType::CharacterDevice) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, PipeWriter, Read};
    use std::os::unix::net::UnixStream;

    /// As many lines as there is room for.
    fn fill<F: AsFd>(stream: &Prompt<F>) -> usize {
        let long = "x".repeat(2 * MAX_LINE);
        let written = (0..1000).take_while(|_| stream.line(&long).is_ok()).count();
        assert!((1..1000).contains(&written), "{written}");
        let full = stream.line("one more").unwrap_err().kind();
        assert!(matches!(full, io::ErrorKind::WouldBlock), "{full}");
        written
    }

    fn reads_on(mut reader: PipeReader, stream: &Prompt<&PipeWriter>, written: usize) {
        let mut lines = vec![0; written * MAX_LINE];
        reader.read_exact(&mut lines).unwrap();
        let line = &lines[..MAX_LINE];
        assert!(line.starts_with(b"xxx") && line.ends_with(b"x\n"));
        stream.line("now").unwrap();
        let mut now = [0; 4];
        reader.read_exact(&mut now).unwrap();
        assert_eq!(&now, b"now\n");
    }

    fn waits(stream: impl AsFd) -> bool {
        !rustix::fs::fcntl_getfl(stream)
            .unwrap()
            .contains(OFlags::NONBLOCK)
    }

    #[test]
    fn a_full_pipe_is_not_waited_for_and_its_other_writers_still_wait() {
        let (reader, writer) = io::pipe().unwrap();
        let stream = Prompt::new(&writer);
        assert!(stream.own.is_some());
        let written = fill(&stream);
        assert!(waits(&writer));
        reads_on(reader, &stream, written);
    }

    #[test]
    fn a_pipe_that_can_not_be_opened_again_is_not_waited_for_either() {
        let (reader, writer) = io::pipe().unwrap();
        let stream = Prompt {
            stream: &writer,
            own: None,
        };
        let written = fill(&stream);
        reads_on(reader, &stream, written);
    }

    #[test]
    fn a_full_socket_is_not_waited_for() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let stream = Prompt::new(&ours);
        assert!(stream.own.is_none());
        fill(&stream);
        assert!(waits(&ours));
        theirs.set_nonblocking(true).unwrap();
        let mut all = Vec::new();
        // To the point where there is no more.
        theirs.read_to_end(&mut all).unwrap_err();
        assert_eq!(all.len() % MAX_LINE, 0);
        stream.line("now").unwrap();
    }

    #[test]
    fn a_stopped_terminal_is_not_waited_for() {
        let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let terminal = rustix::fs::openat(CWD, name, flags, Mode::empty()).unwrap();
        let stream = Prompt::new(&terminal);
        stream.line("goes on").unwrap();
        rustix::termios::tcflow(&terminal, rustix::termios::Action::OOff).unwrap();
        let stopped = stream.line("stopped").unwrap_err();
        assert_eq!(stopped.kind(), io::ErrorKind::WouldBlock);
        rustix::termios::tcflow(&terminal, rustix::termios::Action::OOn).unwrap();
        // Nobody reads what is written: it takes a part of a line at last, and waits for no room.
        let long = "x".repeat(2 * MAX_LINE);
        let refused = (0..1000).find_map(|_| stream.line(&long).err()).unwrap();
        let kind = refused.kind();
        assert!(
            matches!(kind, io::ErrorKind::WriteZero | io::ErrorKind::WouldBlock),
            "{kind}"
        );
        assert!(waits(&terminal));
    }

    #[test]
    fn a_file_is_written_where_it_ends() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"before\n").unwrap();
        Prompt::new(&file).line("after").unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before\nafter\n");
    }
}
