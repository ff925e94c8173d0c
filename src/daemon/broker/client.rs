//! The daemon's side: one socket for each job, and no wait without an end.

use super::{CONFIG_LIMIT, GRACE, Job, MAX_REQUEST, MAX_TOLD, Sort, Told};
use crate::config::{ExecProvider, FileProvider, Hook};
use crate::daemon::confirm::{Asker, Ends, Question, Said};
use crate::daemon::wire::timespec;
use crate::error::{Code, Failure};
use crate::source::exec::Written;
use crate::source::{Outside, Refused, Unopened};
use crate::sys::arena::LockedBytes;
use crate::sys::children::Forked;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The daemon's end of the broker.
#[derive(Debug)]
pub struct Client {
    /// Closed when the daemon ends, however it does: that ends the broker.
    control: OwnedFd,
    process: Forked,
}

/// A whole answer.
struct Answer {
    told: Told,
    file: Option<OwnedFd>,
    written: LockedBytes,
}

/// Why there is none.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// Nobody is there to ask.
    Gone,
    /// The limit passed.
    Late,
    /// What came is no answer.
    Garbled,
}

impl From<io::Error> for NoAnswer {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => NoAnswer::Late,
            _ => NoAnswer::Gone,
        }
    }
}

impl From<Errno> for NoAnswer {
    fn from(error: Errno) -> Self {
        io::Error::from(error).into()
    }
}

impl From<NoAnswer> for Failure {
    fn from(why: NoAnswer) -> Self {
        let what = match why {
            NoAnswer::Gone => "has ended: lock the vault and unlock it again",
            NoAnswer::Late => "does not answer",
            NoAnswer::Garbled => "gives no answer that could be read",
        };
        let text = format!("the process that runs commands and opens files for the daemon {what}");
        Failure::new(Code::SourceUnavailable, text)
    }
}

impl Client {
    pub(super) fn new(control: OwnedFd, process: Forked) -> io::Result<Self> {
        let limit = Some(GRACE);
        let kind = rustix::net::sockopt::Timeout::Send;
        rustix::net::sockopt::set_socket_timeout(&control, kind, limit)?;
        Ok(Self { control, process })
    }

    /// The broker's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// False once the broker has ended.
    pub fn is_alive(&self) -> bool {
        let exit = self.process.exit();
        let mut fds = [PollFd::new(&exit, PollFlags::IN)];
        let now = timespec(Duration::ZERO);
        !poll(&mut fds, Some(&now)).is_ok_and(|count| count > 0)
    }

    fn ask(&self, job: &Job, limit: Duration, max: usize) -> Result<Answer, NoAnswer> {
        let deadline = Instant::now() + limit + GRACE;
        receive(&mut self.send(job)?, deadline, max)
    }

    /// Sends a job; gives the socket for its answer. Once that is closed, the job ends.
    pub(super) fn send(&self, job: &Job) -> Result<UnixStream, NoAnswer> {
        let mut stream = self.connect(job.sort())?;
        let json = serde_json::to_vec(job).map_err(|_| NoAnswer::Garbled)?;
        let len = u32::try_from(json.len()).map_err(|_| NoAnswer::Garbled)?;
        if json.len() > MAX_REQUEST {
            return Err(NoAnswer::Garbled);
        }
        stream.set_write_timeout(Some(GRACE))?;
        let written = stream
            .write_all(&len.to_le_bytes())
            .and_then(|()| stream.write_all(&json));
        match written {
            // A refusal may be there, and the other end closed, before all is written.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(stream),
        }
    }

    /// A new socket, whose other end the broker gets.
    fn connect(&self, sort: Sort) -> Result<UnixStream, NoAnswer> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let fds = [theirs.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let byte = [sort.byte()];
        let byte = [IoSlice::new(&byte)];
        rustix::io::retry_on_intr(|| {
            sendmsg(&self.control, &byte, &mut control, SendFlags::NOSIGNAL)
        })?;
        Ok(ours.into())
    }

    /// Runs something, and gives what it wrote.
    fn run(&self, job: &Job, limit: Duration, max: u64) -> Result<LockedBytes, Refused> {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let answer = self.ask(job, limit, max).map_err(|why| Refused {
            failure: why.into(),
            may_pass: false,
        })?;
        match answer.told {
            Told::Done => Ok(answer.written),
            Told::Failed {
                code,
                message,
                may_pass,
            } => Err(Refused {
                failure: Failure::new(code, message),
                may_pass,
            }),
            Told::Declined | Told::Busy | Told::System(_) => Err(Refused {
                failure: NoAnswer::Garbled.into(),
                may_pass: false,
            }),
        }
    }

    fn opened(&self, job: &Job, limit: Duration) -> Result<OwnedFd, Unopened> {
        let answer = self.ask(job, limit, 0);
        let answer = answer.map_err(|why| Unopened::Refused(why.into()))?;
        match (answer.told, answer.file) {
            (Told::Done, Some(file)) => Ok(file),
            (Told::System(number), _) => Err(Unopened::System(Errno::from_raw_os_error(number))),
            (Told::Failed { code, message, .. }, _) => {
                Err(Unopened::Refused(Failure::new(code, message)))
            }
            (Told::Done, None) | (Told::Declined | Told::Busy, _) => {
                Err(Unopened::Refused(NoAnswer::Garbled.into()))
            }
        }
    }
}

impl Asker for Client {
    fn confirm(&self, question: &Question, limit: Duration, ends: &Ends<'_>) -> Said {
        let deadline = Instant::now() + limit + GRACE;
        let question = question.clone();
        let Ok(mut stream) = self.send(&Job::Confirm { question }) else {
            return Said::Nobody;
        };
        if let Some(early) = wait_for_person(&stream, deadline, ends) {
            return early;
        }
        match receive(&mut stream, deadline, 0).map(|answer| answer.told) {
            Ok(Told::Done) => Said::Yes,
            Ok(Told::Declined) => Said::No,
            Ok(Told::Busy) => Said::Busy,
            Ok(Told::Failed { .. } | Told::System(_)) | Err(_) => Said::Nobody,
        }
    }
}

/// Waits until an answer starts; else what there is instead.
fn wait_for_person(stream: &UnixStream, deadline: Instant, ends: &Ends<'_>) -> Option<Said> {
    loop {
        let mut fds = vec![PollFd::new(stream, PollFlags::IN)];
        // A client that has no more to say may still listen; one that is gone does not.
        let client = ends.client.iter();
        fds.extend(client.map(|fd| PollFd::new(fd, PollFlags::empty())));
        let lock = ends.lock.iter();
        fds.extend(lock.map(|fd| PollFd::new(fd, PollFlags::IN)));
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut fds, Some(&timespec(left))) {
            Err(Errno::INTR) => continue,
            Err(_) | Ok(0) => return Some(Said::Nobody),
            Ok(_) => {}
        }
        let happened = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let client = usize::from(ends.client.is_some());
        return match fds.iter().position(happened) {
            _ if ends.lock.is_some() && fds.last().is_some_and(happened) => Some(Said::Locked),
            Some(0) => None,
            Some(at) if at == client => Some(Said::Left),
            _ => Some(Said::Nobody),
        };
    }
}

impl Outside for Client {
    fn exec(&self, alias: &str, ids: &[&str], provider: &ExecProvider) -> Result<Written, Refused> {
        let job = Job::Exec {
            alias: alias.to_owned(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        };
        let written = self.run(&job, provider.timeout, provider.max_output_bytes);
        written.map(Written::whole)
    }

    fn hook(&self, message: &[u8], hook: &Hook) -> Result<(), Refused> {
        let message = String::from_utf8_lossy(message).into_owned();
        self.run(&Job::Hook { message }, hook.timeout, 0).map(drop)
    }

    fn open(&self, alias: &str, provider: &FileProvider) -> Result<OwnedFd, Unopened> {
        let alias = alias.to_owned();
        self.opened(&Job::Open { alias }, provider.timeout)
    }

    fn open_identity(&self, alias: &str) -> Result<OwnedFd, Unopened> {
        let alias = alias.to_owned();
        self.opened(&Job::Identity { alias }, CONFIG_LIMIT)
    }

    fn open_config(&self) -> Result<OwnedFd, Unopened> {
        self.opened(&Job::Config, CONFIG_LIMIT)
    }
}

/// Reads an answer; what a command wrote goes from the socket into locked memory.
fn receive(stream: &mut UnixStream, deadline: Instant, max: usize) -> Result<Answer, NoAnswer> {
    let mut head = [0; 8];
    let file = fill_with_file(stream, &mut head, deadline)?;
    let [a, b, c, d, e, f, g, h] = head;
    let json = u32::from_le_bytes([a, b, c, d]) as usize;
    let written = u32::from_le_bytes([e, f, g, h]) as usize;
    if json > MAX_TOLD || written > max {
        return Err(NoAnswer::Garbled);
    }
    let mut text = vec![0; json];
    fill(stream, &mut text, deadline)?;
    let told = serde_json::from_slice(&text).map_err(|_| NoAnswer::Garbled)?;
    let mut bytes = LockedBytes::zeroed(written);
    fill(stream, bytes.as_mut_slice(), deadline)?;
    Ok(Answer {
        told,
        file,
        written: bytes,
    })
}

/// Fills a buffer, and takes the descriptor that comes with its first byte, if one does.
fn fill_with_file(
    stream: &mut UnixStream,
    buffer: &mut [u8],
    deadline: Instant,
) -> Result<Option<OwnedFd>, NoAnswer> {
    limit(stream, deadline)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = {
        let mut slices = [IoSliceMut::new(buffer)];
        rustix::io::retry_on_intr(|| {
            let flags = RecvFlags::CMSG_CLOEXEC;
            recvmsg(&*stream, &mut slices, &mut control, flags)
        })?
    };
    let mut file = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(files) = message {
            file = files.last();
        }
    }
    match got.bytes {
        0 => Err(NoAnswer::Gone),
        done => fill(stream, &mut buffer[done..], deadline).map(|()| file),
    }
}

fn fill(stream: &mut UnixStream, buffer: &mut [u8], deadline: Instant) -> Result<(), NoAnswer> {
    let mut done = 0;
    while done < buffer.len() {
        limit(stream, deadline)?;
        match stream.read(&mut buffer[done..]) {
            Ok(0) => return Err(NoAnswer::Gone),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Lets the next read take as long as is left.
fn limit(stream: &UnixStream, deadline: Instant) -> Result<(), NoAnswer> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(NoAnswer::Late);
    }
    Ok(stream.set_read_timeout(Some(left))?)
}
