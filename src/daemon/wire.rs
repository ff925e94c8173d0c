//! Messages over a connected socket, blocking, with time limits; the daemon's frame writer.
//!
//! Invariants: attachments are read straight into locked memory and written straight from it; a
//! started frame has a limit for the whole of it, not for each byte.

use super::frame::{self, Ask, Frame, FrameError, HEAD, Head, MAX_FRAME, Part};
use crate::error::{Code, Coded, Failure};
use crate::runtime::service::Answer;
use crate::secret::SecretValue;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use std::io::{self, IoSlice, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Why a message did not come or go.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other side closed the connection between two messages.
    #[error("the other side closed the connection")]
    Closed,
    /// The other side closed the connection within a message.
    #[error("the other side closed the connection within a message")]
    Torn,
    /// A limit passed.
    #[error("the other side took longer than {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The operating system refused.
    #[error("the socket failed")]
    Io(#[source] io::Error),
    /// The other side does not keep to the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl Coded for WireError {
    fn code(&self) -> Code {
        match self {
            WireError::Frame(error) => error.code(),
            _ => Code::DaemonUnavailable,
        }
    }
}
crate::error::failure_from!(WireError);

impl From<Errno> for WireError {
    fn from(error: Errno) -> Self {
        WireError::Io(error.into())
    }
}

/// What a wait ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// There is something to read, or the other side has gone.
    Ready,
    /// The other descriptor became readable first.
    Interrupted,
    /// The limit passed.
    TimedOut,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    frame_limit: Duration,
}

impl Wire {
    /// Takes a connected socket. `frame_limit` is for one frame, once it has started.
    pub fn new(stream: UnixStream, frame_limit: Duration) -> io::Result<Self> {
        stream.set_read_timeout(Some(frame_limit))?;
        stream.set_write_timeout(Some(frame_limit))?;
        Ok(Self {
            stream,
            frame_limit,
        })
    }

    /// Waits until a message starts.
    pub fn wait(
        &self,
        limit: Duration,
        interrupt: Option<BorrowedFd<'_>>,
    ) -> Result<Waited, WireError> {
        let deadline = Instant::now() + limit;
        loop {
            let mut fds = vec![PollFd::new(&self.stream, PollFlags::IN)];
            if let Some(fd) = &interrupt {
                fds.push(PollFd::new(fd, PollFlags::IN));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match poll(&mut fds, Some(&timespec(left))) {
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(0) => return Ok(Waited::TimedOut),
                Ok(_) if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) => {
                    return Ok(Waited::Interrupted);
                }
                Ok(_) => return Ok(Waited::Ready),
            }
        }
    }

    /// The socket.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Reads a whole request, whose frames have at most so many bytes.
    pub fn read_request(&mut self, max: usize) -> Result<(Ask, Vec<SecretValue>), WireError> {
        let (first, mut secrets) = self.read_part(frame::parse_request, max, true)?;
        let (mut ask, mut more) = (first.body, first.more);
        let mut frames = 1;
        while more {
            frames += 1;
            if frames > frame::MAX_REQUEST_FRAMES {
                return Err(FrameError::TooLarge.into());
            }
            let (next, values) = self.read_part(frame::parse_request, max, false)?;
            frame::merge_request(&mut ask, next.body)?;
            secrets.extend(values);
            more = next.more;
        }
        Ok((ask, secrets))
    }

    /// Reads a whole answer.
    pub fn read_answer(&mut self) -> Result<Result<Answer, Failure>, WireError> {
        let (first, mut secrets) = self.read_part(frame::parse_answer, MAX_FRAME, true)?;
        let mut more = first.more;
        let mut reply = match first.body {
            Ok(reply) => reply,
            Err(_) if more => return Err(FrameError::Continuation.into()),
            Err(failure) => return Ok(Err(failure)),
        };
        let mut frames = 1;
        while more {
            frames += 1;
            if frames > frame::MAX_ANSWER_FRAMES {
                return Err(FrameError::TooLarge.into());
            }
            let (next, values) = self.read_part(frame::parse_answer, MAX_FRAME, false)?;
            let body = next.body.map_err(|_| FrameError::Continuation)?;
            frame::merge_answer(&mut reply, body)?;
            secrets.extend(values);
            more = next.more;
        }
        Ok(Ok(Answer { reply, secrets }))
    }

    /// Sends frames.
    pub fn write(&mut self, frames: &[Frame]) -> Result<(), WireError> {
        for frame in frames {
            self.write_frame(frame)?;
        }
        Ok(())
    }

    fn read_part<T>(
        &mut self,
        parse: impl FnOnce(&[u8], usize) -> Result<Part<T>, FrameError>,
        max: usize,
        first: bool,
    ) -> Result<(Part<T>, Vec<SecretValue>), WireError> {
        let deadline = Instant::now() + self.frame_limit;
        let mut head = [0; HEAD];
        self.fill(&mut head, deadline, first)?;
        let head = Head::parse(head)?;
        if head.json + head.payload > max {
            return Err(FrameError::TooLarge.into());
        }
        let mut json = vec![0; head.json];
        self.fill(&mut json, deadline, false)?;
        let part = parse(&json, head.payload)?;
        let mut secrets = Vec::with_capacity(part.lens.len());
        for len in &part.lens {
            secrets.push(SecretValue::try_receive(*len, |target| {
                self.fill(target, deadline, false)
            })?);
        }
        Ok((part, secrets))
    }

    /// Reads exactly a buffer. `first`: nothing of this message was read yet.
    fn fill(&mut self, buffer: &mut [u8], deadline: Instant, first: bool) -> Result<(), WireError> {
        let mut done = 0;
        while done < buffer.len() {
            if done > 0 && Instant::now() >= deadline {
                return Err(WireError::Timeout(self.frame_limit));
            }
            let started = !first || done > 0;
            match self.stream.read(&mut buffer[done..]) {
                Ok(0) if started => return Err(WireError::Torn),
                Ok(0) => return Err(WireError::Closed),
                Ok(count) => done += count,
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => {
                        return Err(WireError::Timeout(self.frame_limit));
                    }
                    // The other side closed with our bytes unread: it took no notice of them.
                    io::ErrorKind::ConnectionReset if !started => return Err(WireError::Closed),
                    _ => return Err(WireError::Io(error)),
                },
            }
        }
        Ok(())
    }

    fn write_frame(&mut self, frame: &Frame) -> Result<(), WireError> {
        let deadline = Instant::now() + self.frame_limit;
        let mut slices = Vec::with_capacity(1 + frame.secrets.len());
        slices.push(IoSlice::new(&frame.text));
        slices.extend(frame.secrets.iter().map(|s| IoSlice::new(s.expose())));
        let mut rest = slices.as_mut_slice();
        let mut sent = false;
        while !rest.is_empty() {
            if sent && Instant::now() >= deadline {
                return Err(WireError::Timeout(self.frame_limit));
            }
            let mut control = SendAncillaryBuffer::default();
            // A peer that has gone is an error here, never a signal.
            match sendmsg(self.stream.as_fd(), rest, &mut control, SendFlags::NOSIGNAL) {
                Ok(count) => IoSlice::advance_slices(&mut rest, count),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(WireError::Timeout(self.frame_limit)),
                Err(Errno::PIPE | Errno::CONNRESET) if !sent => return Err(WireError::Closed),
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(WireError::Torn),
                Err(error) => return Err(error.into()),
            }
            sent = true;
        }
        Ok(())
    }
}

/// A duration for `poll`.
pub fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
