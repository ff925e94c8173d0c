//! `systemd-creds`: a key that only this machine, or its TPM, gives back to a service.
//!
//! Invariants: the program is run by its path, never searched for; the key goes in and out through
//! pipes only; every run has a time limit and bounded output, and is killed at its end. What the
//! program says is shown as text that is safe for a terminal: it holds no key. Not here: the
//! keyslot, and where the credential is written.

use super::key_file::{MAX_KEY_TEXT, parse_key};
use crate::error::{Code, Coded, failure_from};
use crate::secret::SecretValue;
use crate::sys::arena::LockedBytes;
use crate::sys::tty::printable;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The name that the credential carries, under which a service finds its key.
pub const CREDENTIAL: &str = "reseal.key";
/// How long one run may take: a TPM is slow, and may be busy.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);
/// The largest encrypted credential in bytes; one of a key has about 1 KiB.
pub const MAX_CREDENTIAL: usize = 64 << 10;

/// Where distributions put the program.
const PLACES: [&str; 2] = [
    "/usr/bin/systemd-creds",
    "/run/current-system/sw/bin/systemd-creds",
];
/// The most that is kept of what the program says, in bytes.
const MAX_SAID: usize = 4 << 10;
/// The longest text of the program that is shown, in characters.
const MAX_SHOWN: usize = 600;
/// The longest wait that `poll` is asked for at once.
const LONGEST: Timespec = Timespec {
    tv_sec: 3600,
    tv_nsec: 0,
};

/// Why there is no credential, or no key in one.
#[derive(Debug, thiserror::Error)]
pub enum CredsError {
    /// The program is nowhere.
    #[error("systemd-creds is not installed (looked for {})", PLACES.join(", "))]
    Absent,
    /// It could not be started or talked to.
    #[error("run {path}")]
    Io {
        /// The program.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It ran and failed.
    #[error("systemd-creds failed: {0}")]
    Failed(String),
    /// It ran and failed, and no TPM is there that it could have used.
    #[error("systemd finds no TPM2 that it can use ({0})")]
    NoTpm(String),
    /// It took too long.
    #[error("systemd-creds did not end within {} s", .0.as_secs())]
    Late(Duration),
    /// It gave out more than a credential has.
    #[error("systemd-creds gave out more than {0} bytes")]
    TooMuch(usize),
    /// What it decrypted is no key.
    #[error("the credential {0} holds no key of 32 bytes")]
    NotAKey(PathBuf),
}

impl Coded for CredsError {
    fn code(&self) -> Code {
        match self {
            CredsError::Absent => Code::SystemdAbsent,
            CredsError::NoTpm(_) => Code::SystemdNoTpm,
            CredsError::Io { .. }
            | CredsError::Failed(_)
            | CredsError::Late(_)
            | CredsError::TooMuch(_)
            | CredsError::NotAKey(_) => Code::SystemdFailed,
        }
    }
}

failure_from!(CredsError);

/// What encrypts a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seal {
    /// The argument of `--with-key`; `None` leaves the choice to systemd.
    pub with_key: Option<&'static str>,
    /// The TPM to use instead of the machine's own.
    pub tpm2_device: Option<String>,
    /// The registers of the TPM that must stay as they are.
    pub tpm2_pcrs: Option<String>,
}

impl Seal {
    /// True if a TPM is asked for by name.
    fn wants_tpm(&self) -> bool {
        self.with_key.is_some_and(|key| key.contains("tpm2"))
    }

    fn device(&self) -> Option<OsString> {
        let device = self.tpm2_device.as_ref()?;
        Some(format!("--tpm2-device={device}").into())
    }
}

/// The program.
#[derive(Clone, Debug)]
pub struct SystemdCreds {
    program: PathBuf,
    limit: Duration,
}

/// A credential.
#[derive(Debug)]
pub struct Sealed {
    /// The text of the credential file.
    pub text: Vec<u8>,
    /// What the program said meanwhile: warnings, for a person.
    pub said: String,
}

impl SystemdCreds {
    /// The program of this system.
    ///
    /// # Errors
    /// It is not installed.
    pub fn find() -> Result<Self, CredsError> {
        let mut places = PLACES.iter().map(Path::new);
        let program = places.find(|path| path.exists());
        Ok(Self {
            program: program.ok_or(CredsError::Absent)?.to_owned(),
            limit: TIME_LIMIT,
        })
    }

    /// Encrypts a key.
    ///
    /// # Errors
    /// A [`CredsError`].
    pub fn encrypt(&self, seal: &Seal, key: &SecretValue) -> Result<Sealed, CredsError> {
        let mut args: Vec<OsString> = vec![format!("--name={CREDENTIAL}").into()];
        args.extend(seal.with_key.map(|key| format!("--with-key={key}").into()));
        args.extend(seal.device());
        let pcrs = seal.tpm2_pcrs.as_ref();
        args.extend(pcrs.map(|pcrs| format!("--tpm2-pcrs={pcrs}").into()));
        args.extend(["encrypt".into(), "-".into(), "-".into()]);
        let ended = self.run(&args, Some(key), MAX_CREDENTIAL)?;
        if !ended.status.success() && seal.wants_tpm() && seal.tpm2_device.is_none() {
            self.check_tpm()?;
        }
        let (value, said) = ended.well()?;
        if value.is_empty() {
            return Err(CredsError::Failed("it gave out nothing".to_owned()));
        }
        let text = value.expose().to_vec();
        Ok(Sealed { text, said })
    }

    /// The key in a credential file.
    ///
    /// # Errors
    /// A [`CredsError`].
    pub fn decrypt(&self, seal: &Seal, file: &Path) -> Result<SecretValue, CredsError> {
        let mut args: Vec<OsString> = vec![format!("--name={CREDENTIAL}").into()];
        args.extend(seal.device());
        let path = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        args.push("--newline=no".into());
        args.extend(["decrypt".into(), path.into_os_string(), "-".into()]);
        let (value, _) = self.run(&args, None, MAX_KEY_TEXT)?.well()?;
        parse_key(&value).ok_or_else(|| CredsError::NotAKey(file.to_owned()))
    }

    /// Fails with what systemd lacks for a TPM, if it lacks the device itself.
    fn check_tpm(&self) -> Result<(), CredsError> {
        let ended = self.run(&["has-tpm2".into()], None, MAX_SAID)?;
        let found = shown(ended.value.expose());
        match found.contains("-driver") {
            true => Err(CredsError::NoTpm(found)),
            false => Ok(()),
        }
    }

    fn run(
        &self,
        args: &[OsString],
        input: Option<&SecretValue>,
        max: usize,
    ) -> Result<Ended, CredsError> {
        let io = |source| CredsError::Io {
            path: self.program.clone(),
            source,
        };
        let child = Command::new(&self.program)
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            // The TPM's libraries write their own diary to stderr.
            .env("TSS2_LOG", "all+NONE")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(io)?;
        let mut running = Running::new(child).map_err(io)?;
        if let (Some(input), Some(mut pipe)) = (input, running.child.stdin.take()) {
            // A key fits an empty pipe. A program that does not read it says itself why.
            let _ = pipe.write_all(input.expose());
        }
        drop(running.child.stdin.take());
        running.listen(max, self.limit)
    }
}

/// A run that has ended.
struct Ended {
    /// What it gave out.
    value: SecretValue,
    /// What it said.
    said: Vec<u8>,
    status: ExitStatus,
}

impl Ended {
    /// What it gave out and said, if it ended well.
    fn well(self) -> Result<(SecretValue, String), CredsError> {
        let said = shown(&self.said);
        match self.status.success() {
            true => Ok((self.value, said)),
            false if said.is_empty() => Err(CredsError::Failed(self.status.to_string())),
            false => Err(CredsError::Failed(said)),
        }
    }
}

/// A run; killed and reaped when this is dropped.
struct Running {
    child: Child,
    exit: OwnedFd,
}

impl Running {
    fn new(mut child: Child) -> io::Result<Self> {
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(exit) => Ok(Self { child, exit }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error.into())
            }
        }
    }

    /// Reads both streams until the program has ended.
    fn listen(&mut self, max: usize, limit: Duration) -> Result<Ended, CredsError> {
        let io = |source| CredsError::Io {
            path: PathBuf::from("systemd-creds"),
            source,
        };
        let until = Instant::now() + limit;
        let (out, err) = (self.child.stdout.take(), self.child.stderr.take());
        let (Some(out), Some(err)) = (out, err) else {
            return Err(io(io::ErrorKind::BrokenPipe.into()));
        };
        for fd in [out.as_fd(), err.as_fd()] {
            rustix::io::ioctl_fionbio(fd, true).map_err(|error| io(error.into()))?;
        }
        let mut value = LockedBytes::zeroed(max + 1);
        let mut said = [0; MAX_SAID];
        let (mut len, mut heard) = (0, 0);
        let (mut out_open, mut err_open) = (true, true);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(CredsError::Late(limit));
            }
            let mut fds = vec![PollFd::new(&self.exit, PollFlags::IN)];
            fds.extend(out_open.then(|| PollFd::new(&out, PollFlags::IN)));
            fds.extend(err_open.then(|| PollFd::new(&err, PollFlags::IN)));
            let wait = Timespec::try_from(left).unwrap_or(LONGEST);
            match poll(&mut fds, Some(&wait)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(io(error.into())),
            }
            let ended = !fds[0].revents().is_empty();
            drop(fds);
            out_open = fill(&out, value.as_mut_slice(), &mut len).map_err(io)?;
            err_open = fill(&err, &mut said, &mut heard).map_err(io)?;
            if len > max {
                return Err(CredsError::TooMuch(max));
            }
            if ended {
                break;
            }
        }
        Ok(Ended {
            value: SecretValue::copy_of(&value.as_slice()[..len]),
            said: said[..heard].to_vec(),
            status: self.child.wait().map_err(io)?,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless something went wrong.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads what is there; false at the end of the stream, or if there is no room for more.
fn fill(from: &impl AsFd, buffer: &mut [u8], len: &mut usize) -> io::Result<bool> {
    while *len < buffer.len() {
        match rustix::io::read(from, &mut buffer[*len..]) {
            Ok(0) => return Ok(false),
            Ok(count) => *len += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// What the program said, on one line.
fn shown(bytes: &[u8]) -> String {
    let text = printable(&String::from_utf8_lossy(bytes));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.collect::<Vec<_>>().join("; ");
    line.chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests;
