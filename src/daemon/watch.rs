//! Notices that a watched file changed: through inotify on its folder, or, where that is not to
//! be had, by comparing what `stat` says when somebody asks.
//!
//! Folders are watched, not files: editors and atomic writers replace the file under its name.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Quiet time after a change before it counts: one edit is often several events.
pub const QUIET: Duration = Duration::from_millis(100);
/// The longest that a stream of changes may put off the first of them.
pub const MAX_DELAY: Duration = Duration::from_secs(1);
/// The most files that are watched; the rest is noticed by `secrets reload` only.
pub const MAX_WATCHED: usize = 4096;
/// Room for inotify events; the kernel keeps what does not fit.
const EVENT_BUFFER: usize = 4096;

/// What a file looked like: device, inode, length, time of the last change in nanoseconds.
type Stamp = Option<(u64, u64, u64, i128)>;

/// Watched files.
#[derive(Debug)]
pub struct Watch {
    inotify: Option<OwnedFd>,
    /// The names that matter in each watched folder, by watch descriptor.
    names: BTreeMap<i32, BTreeSet<OsString>>,
    stamps: BTreeMap<PathBuf, Stamp>,
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> Self {
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        Self {
            inotify: inotify::init(flags).ok(),
            names: BTreeMap::new(),
            stamps: BTreeMap::new(),
        }
    }

    /// Watches these files from now on, and no others. A file, or its folder, may be missing.
    pub fn set(&mut self, files: Vec<PathBuf>) {
        let mut names: BTreeMap<i32, BTreeSet<OsString>> = BTreeMap::new();
        // What was seen before a reload stays, so that a change during the reload is found.
        let mut seen = std::mem::take(&mut self.stamps);
        for file in files.into_iter().take(MAX_WATCHED) {
            // Behind a symlink, both the link and its target may be replaced.
            let target = std::fs::canonicalize(&file).ok().filter(|t| *t != file);
            for path in std::iter::once(&file).chain(&target) {
                if let Some((watch, name)) = self.add(path) {
                    names.entry(watch).or_default().insert(name);
                }
            }
            let stamp = seen.remove(&file).unwrap_or_else(|| stamp(&file));
            self.stamps.insert(file, stamp);
        }
        for old in self.names.keys().filter(|old| !names.contains_key(old)) {
            if let Some(fd) = &self.inotify {
                let _ = inotify::remove_watch(fd, *old);
            }
        }
        self.names = names;
    }

    /// The descriptor to poll; none if changes are found by [`Watch::look`] only.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// Reads the events that are there; true if one concerns a watched file.
    pub fn drain(&self) -> bool {
        let Some(fd) = &self.inotify else {
            return false;
        };
        let mut buffer = [MaybeUninit::uninit(); EVENT_BUFFER];
        let mut reader = inotify::Reader::new(fd, &mut buffer);
        let mut concerned = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event
                        .file_name()
                        .map(|name| OsStr::from_bytes(name.to_bytes()));
                    let names = self.names.get(&event.wd());
                    let ours = name
                        .zip(names)
                        .is_some_and(|(name, names)| names.contains(name));
                    // Events that the kernel dropped may have been ours.
                    concerned |= ours || event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                }
                Err(Errno::INTR) => {}
                Err(_) => return concerned,
            }
        }
    }

    /// After a first change, waits until there were no more for [`QUIET`].
    pub fn settle(&self, interrupt: BorrowedFd<'_>) {
        let deadline = Instant::now() + MAX_DELAY;
        while let Some(fd) = self.fd() {
            let left = deadline
                .saturating_duration_since(Instant::now())
                .min(QUIET);
            let mut fds = [
                PollFd::new(&fd, PollFlags::IN),
                PollFd::new(&interrupt, PollFlags::IN),
            ];
            match poll(&mut fds, Some(&super::wire::timespec(left))) {
                Err(Errno::INTR) => {}
                Ok(count) if count > 0 && fds[1].revents().is_empty() && !left.is_zero() => {
                    self.drain();
                }
                _ => return,
            }
        }
    }

    /// True if a watched file is not what it was when it was last looked at.
    pub fn look(&mut self) -> bool {
        let mut changed = false;
        for (file, old) in &mut self.stamps {
            let now = stamp(file);
            changed |= now != *old;
            *old = now;
        }
        changed
    }

    /// True if a watched file changed at or after this time (nanoseconds since 1970).
    pub fn changed_since(&self, nanos: i128) -> bool {
        let mut stamps = self.stamps.values().flatten();
        stamps.any(|(_, _, _, changed)| *changed >= nanos)
    }

    fn add(&self, path: &Path) -> Option<(i32, OsString)> {
        let flags = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        let name = path.file_name()?.to_owned();
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty())?;
        let watch = inotify::add_watch(self.inotify.as_ref()?, folder, flags).ok()?;
        Some((watch, name))
    }
}

fn stamp(file: &Path) -> Stamp {
    let meta = std::fs::metadata(file).ok()?;
    let nanos = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
    Some((meta.dev(), meta.ino(), meta.len(), nanos))
}

#[cfg(test)]
mod tests;
