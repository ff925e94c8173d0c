//! The broker's side: takes jobs as they come, and forks a runner for each.
//!
//! Invariants: this process has one thread, and no value ever lies in it; a runner does one job,
//! with the config as it stands, and ends. Where a command fails its limits, or nobody waits for it
//! any more, everything that descends from it is killed, in whatever session it hides; what a
//! command leaves behind on success is left alone: it may have started an agent of its own.

use super::{Job, MAX_PROCESSES, MAX_REQUEST, Sort, Surroundings, Told};
use crate::config::{Config, ProviderConfig};
use crate::daemon::confirm::{self, Question};
use crate::daemon::gate::load;
use crate::error::{Code, Failure};
use crate::name::{Alias, is_exec_id};
use crate::reference::{SecretRef, Source};
use crate::runtime::ground::{read_config, trust_of};
use crate::source::exec::{self, ExecError};
use crate::source::{Context, file};
use crate::store::files;
use crate::sys::children::{self, Forked};
use crate::sys::fds::close_all_but;
use crate::unlock::key_file;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// For the daemon to send a job that it has announced, and to take its answer.
const WIRE_LIMIT: Duration = Duration::from_secs(10);

/// What a hook may be told of.
const HOOK_EVENTS: [&str; 2] = ["changed", "signInNeeded"];

/// Does jobs until the daemon has ended.
pub(super) fn serve(control: &OwnedFd, surroundings: Surroundings) {
    let mut known = Known::new(surroundings);
    let mut runners: Vec<Runner> = Vec::new();
    loop {
        let Ok(()) = wait(control, &runners) else {
            return;
        };
        runners.retain_mut(|runner| {
            runner.end_if_left();
            let ended = is_ready(&runner.process.exit(), PollFlags::IN);
            if ended {
                runner.process.reap();
            }
            !ended
        });
        match next_job(control) {
            Ok(None) => return,
            Ok(Some((socket, sort))) => begin(socket, sort, &mut known, &mut runners),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// A process that does one job.
struct Runner {
    process: Forked,
    sort: Sort,
    /// The socket of whoever waits for it, of a runner that can't look for itself: opening a file
    /// may hang in the kernel. One that runs a command looks, and ends what that has started.
    asker: Option<UnixStream>,
}

impl Runner {
    /// Kills it if nobody waits for it any more.
    fn end_if_left(&mut self) {
        if self
            .asker
            .as_ref()
            .is_some_and(|asker| is_ready(asker, PollFlags::empty()))
        {
            self.process.kill();
            self.asker = None;
        }
    }
}

fn wait(control: &OwnedFd, runners: &[Runner]) -> Result<(), Errno> {
    let exits: Vec<_> = runners.iter().map(|runner| runner.process.exit()).collect();
    let askers = runners.iter().filter_map(|runner| runner.asker.as_ref());
    let mut fds = vec![PollFd::new(control, PollFlags::IN)];
    fds.extend(exits.iter().map(|exit| PollFd::new(exit, PollFlags::IN)));
    fds.extend(askers.map(|asker| PollFd::new(asker, PollFlags::empty())));
    rustix::io::retry_on_intr(|| poll(&mut fds, None)).map(drop)
}

fn is_ready(fd: &impl AsFd, what: PollFlags) -> bool {
    let now = crate::daemon::wire::timespec(Duration::ZERO);
    poll(&mut [PollFd::new(fd, what)], Some(&now)).is_ok_and(|count| count > 0)
}

/// The socket of the next job, and what sort it is; `None` once the daemon is gone.
fn next_job(control: &OwnedFd) -> Result<Option<(UnixStream, Sort)>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut rights = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let got = recvmsg(
        control,
        &mut [IoSliceMut::new(&mut byte)],
        &mut rights,
        flags,
    )?;
    if got.bytes == 0 {
        return Ok(None);
    }
    for message in rights.drain() {
        if let RecvAncillaryMessage::ScmRights(mut sockets) = message
            && let Some(socket) = sockets.next()
            && let Some(sort) = Sort::of(byte[0])
        {
            return Ok(Some((socket.into(), sort)));
        }
    }
    Err(Errno::AGAIN)
}

fn begin(socket: UnixStream, sort: Sort, known: &mut Known, runners: &mut Vec<Runner>) {
    let busy = |text: String| match sort {
        Sort::Question => Told::Busy,
        Sort::Command | Sort::Open => {
            Told::failed(Failure::new(Code::SourceUnavailable, text), true)
        }
    };
    let (places, what) = sort.places();
    if runners.iter().filter(|runner| runner.sort == sort).count() >= places {
        let text = format!("{places} {what} are being waited for already");
        return tell(&socket, &busy(text), None, &[]);
    }
    known.look();
    let forked = children::fork(|| {
        if close_all_but(&[socket.as_raw_fd()]).is_ok() {
            run(&socket, sort, known);
        }
        libc::EXIT_SUCCESS
    });
    match forked {
        Ok(process) => runners.push(Runner {
            process,
            sort,
            asker: (sort == Sort::Open).then_some(socket),
        }),
        Err(error) => tell(
            &socket,
            &busy(format!("no process for a command: {error}")),
            None,
            &[],
        ),
    }
}

/// The config as it was read last, and could be understood.
struct Known {
    surroundings: Surroundings,
    stamp: Option<Stamp>,
    config: Result<Config, Failure>,
}

/// What a file looked like: device, inode, length, times of the last changes in nanoseconds.
type Stamp = (u64, u64, u64, i64, i64, i64, i64);

impl Known {
    fn new(surroundings: Surroundings) -> Self {
        let unread = Failure::new(Code::Bug, "the config was not read");
        let mut known = Self {
            surroundings,
            stamp: None,
            config: Err(unread),
        };
        known.read();
        known
    }

    /// Reads the config anew if it changed. One that can't be understood changes nothing, as in the
    /// daemon.
    fn look(&mut self) {
        if stamp(&self.surroundings.config) != self.stamp {
            self.read();
        }
    }

    fn read(&mut self) {
        let Surroundings { state, config } = &self.surroundings;
        // Before it is read: a change meanwhile is then seen by the next look.
        self.stamp = stamp(config);
        match read_config(config, trust_of(state, config)) {
            Ok(config) => self.config = Ok(config),
            Err(failure) if self.config.is_err() => self.config = Err(failure),
            Err(_) => {}
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let at = std::fs::metadata(path).ok()?;
    Some((
        at.dev(),
        at.ino(),
        at.len(),
        at.mtime(),
        at.mtime_nsec(),
        at.ctime(),
        at.ctime_nsec(),
    ))
}

/// One job, from its request to its answer.
fn run(socket: &UnixStream, sort: Sort, known: &Known) {
    let limits = socket
        .set_read_timeout(Some(WIRE_LIMIT))
        .and_then(|()| socket.set_write_timeout(Some(WIRE_LIMIT)));
    let Ok(job) = limits.and_then(|()| read_job(socket)) else {
        return;
    };
    // It has the place of another sort.
    if job.sort() != sort {
        return;
    }
    match job {
        Job::Exec { alias, ids } => exec(socket, known, &alias, &ids),
        Job::Hook { message } => hook(socket, known, &message),
        Job::Confirm { question } => ask_person(socket, known, &question),
        Job::Open { alias } => answer_file(socket, open(known, &alias)),
        Job::Identity { alias } => answer_file(socket, open_identity(known, &alias)),
        Job::Config => {
            let opened = files::open(&known.surroundings.config);
            let told = |error: io::Error| Told::System(error.raw_os_error().unwrap_or(libc::EIO));
            answer_file(socket, opened.map_err(told));
        }
    }
}

fn read_job(mut socket: &UnixStream) -> io::Result<Job> {
    let mut len = [0; 4];
    socket.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len) as usize;
    if len > MAX_REQUEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut json = vec![0; len];
    socket.read_exact(&mut json)?;
    serde_json::from_slice(&json).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// The provider of an alias in the config, if it is of this source.
fn provider(known: &Known, source: Source, alias: &str) -> Result<ProviderConfig, Failure> {
    let alias: Alias = alias.parse()?;
    let config = known.config.as_ref().map_err(Clone::clone)?;
    let provider = config.provider(source, &alias)?;
    Ok(provider.into_owned())
}

fn exec(socket: &UnixStream, known: &Known, alias: &str, ids: &[String]) {
    let provider = match provider(known, Source::Exec, alias) {
        Ok(ProviderConfig::Exec(provider)) => provider,
        Ok(_) => return,
        Err(failure) => return tell(socket, &Told::failed(failure, false), None, &[]),
    };
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    if !ids.iter().all(|id| is_exec_id(id)) {
        let failure = Failure::new(Code::RefInvalid, "an id has a form that is not allowed");
        return tell(socket, &Told::failed(failure, false), None, &[]);
    }
    let outcome = contained(socket, known, |context| {
        exec::run_once(alias, &provider, &ids, context)
    });
    match outcome {
        Ok(written) => tell(socket, &Told::Done, None, written.bytes()),
        Err(told) => tell(socket, &told, None, &[]),
    }
}

fn hook(socket: &UnixStream, known: &Known, message: &str) {
    let hook = match &known.config {
        Ok(config) => config.daemon.on_change.as_ref(),
        Err(_) => None,
    };
    let message = match hook_message(message) {
        Ok(message) => message,
        Err(failure) => return tell(socket, &Told::failed(failure, false), None, &[]),
    };
    let outcome = match hook {
        Some(hook) => contained(socket, known, |context| {
            exec::notify(hook, message.as_bytes(), context)
        }),
        // The config has none any more, so there is nobody to tell.
        None => Ok(()),
    };
    tell(socket, &outcome.err().unwrap_or(Told::Done), None, &[]);
}

/// Puts a question to a person, with the program that the state folder's own config names: where
/// the grants stand too, whatever other config the daemon was started with.
fn ask_person(socket: &UnixStream, known: &Known, question: &Question) {
    let failed = |failure| tell(socket, &Told::failed(failure, false), None, &[]);
    let asks = match load::read(&known.surroundings.state.config()) {
        Ok(rules) => rules.confirm,
        Err(failure) => return failed(failure),
    };
    let Some((asks, text)) = asks.zip(confirm::text(question)) else {
        let text = "no program asks a person, or this is no question";
        return failed(Failure::new(Code::GrantConfirm, text));
    };
    let mut declined = false;
    let outcome = contained(socket, known, |context| {
        let asked = exec::confirm(&asks, &text, context);
        declined = matches!(asked, Err(ExecError::ExitCode { .. }));
        asked
    });
    let told = match outcome {
        Ok(()) => Told::Done,
        Err(_) if declined => Told::Declined,
        Err(told) => told,
    };
    tell(socket, &told, None, &[]);
}

/// What a hook is told.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HookMessage {
    event: String,
    refs: Vec<String>,
}

/// The message of a hook, written anew: an event that there is, and refs.
fn hook_message(text: &str) -> Result<String, Failure> {
    let unfit = || Failure::new(Code::Bug, "a hook's message has a form that is not allowed");
    let message: HookMessage = serde_json::from_str(text).map_err(|_| unfit())?;
    let refs_parse = message
        .refs
        .iter()
        .all(|text| text.parse::<SecretRef>().is_ok());
    if !HOOK_EVENTS.contains(&message.event.as_str()) || !refs_parse {
        return Err(unfit());
    }
    serde_json::to_string(&message).map_err(|_| unfit())
}

/// Runs a command with whatever it starts in reach, and ends all of that if it fails.
fn contained<T>(
    socket: &UnixStream,
    known: &Known,
    run: impl FnOnce(&Context<'_>) -> Result<T, ExecError>,
) -> Result<T, Told> {
    let system = |error: io::Error| {
        let text = format!("a command can't be contained: {error}");
        Told::failed(Failure::new(Code::SourceUnavailable, text), false)
    };
    children::adopt_orphans().map_err(system)?;
    // A service manager that refuses it has a limit of its own (`TasksMax=`), and where the kernel
    // counts what nobody here sees, there is none.
    let _refused = children::limit_processes(MAX_PROCESSES);
    let home = std::env::home_dir();
    let environment = |name: &str| std::env::var_os(name);
    let context = Context {
        asker: Some(socket.as_fd()),
        batch: known
            .config
            .as_ref()
            .map_or_else(|_| Default::default(), |c| c.resolution.batch),
        ..Context::plain(&environment, home.as_deref())
    };
    run(&context).map_err(|error| {
        children::end_descendants();
        Told::failed(Failure::of(&error), error.may_pass())
    })
}

fn open(known: &Known, alias: &str) -> Result<OwnedFd, Told> {
    let failed = |failure| Told::failed(failure, false);
    let provider = match provider(known, Source::File, alias).map_err(failed)? {
        ProviderConfig::File(provider) => provider,
        _ => return Err(Told::System(libc::EINVAL)),
    };
    let Some(path) = provider.path.expand(std::env::home_dir().as_deref()) else {
        return Err(Told::System(libc::ENOENT));
    };
    file::open(&path).map_err(|error| Told::System(error.raw_os_error()))
}

fn open_identity(known: &Known, alias: &str) -> Result<OwnedFd, Told> {
    let failed = |failure| Told::failed(failure, false);
    let identity = match provider(known, Source::Vault, alias).map_err(failed)? {
        ProviderConfig::Vault(provider) => provider.identity,
        _ => return Err(Told::System(libc::EINVAL)),
    };
    let path = identity.and_then(|path| path.expand(std::env::home_dir().as_deref()));
    let Some(path) = path else {
        return Err(Told::System(libc::ENOENT));
    };
    let opened = key_file::open(&path);
    opened.map_err(|error| Told::System(error.raw_os_error().unwrap_or(libc::EIO)))
}

fn answer_file(socket: &UnixStream, opened: Result<OwnedFd, Told>) {
    match opened {
        Ok(file) => tell(socket, &Told::Done, Some(&file), &[]),
        Err(told) => tell(socket, &told, None, &[]),
    }
}

/// Answers. If the daemon has gone, nobody is there to be told.
fn tell(socket: &UnixStream, told: &Told, file: Option<&OwnedFd>, written: &[u8]) {
    let Ok(json) = serde_json::to_vec(told) else {
        return;
    };
    let mut head = [0; 8];
    head[..4].copy_from_slice(&length(json.len()));
    head[4..].copy_from_slice(&length(written.len()));
    let file: Vec<_> = file.iter().map(|file| file.as_fd()).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !file.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&file));
    }
    let sent = sendmsg(
        socket,
        &[IoSlice::new(&head)],
        &mut control,
        SendFlags::NOSIGNAL,
    );
    // Eight bytes fit into an empty socket, all or none of them.
    if sent == Ok(head.len()) {
        let mut socket = socket;
        let _gone = socket
            .write_all(&json)
            .and_then(|()| socket.write_all(written));
    }
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}
