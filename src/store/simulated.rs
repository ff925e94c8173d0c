//! A disk for tests that forgets what was not flushed, and fails when it is told to.
//!
//! Every change is written into a journal. From any prefix of it, [`SimulatedDisk::after_crash`]
//! makes the disk that a power cut at that point could leave: everything flushed, and any subset
//! of the 512-byte sectors, lengths and names that were not. A failed flush behaves as on Linux:
//! the pages count as clean afterwards, so a later flush that succeeds does not write them.

use super::disk::{Disk, DiskFile, Open, Stat};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

const SECTOR: usize = 512;
const FOLDER: u64 = 0;

/// A change to the disk, or the moment when the code under test acknowledged something.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Link {
        path: PathBuf,
        ino: u64,
    },
    Write {
        ino: u64,
        offset: usize,
        bytes: Vec<u8>,
    },
    SetLen {
        ino: u64,
        len: usize,
    },
    Sync {
        ino: u64,
        done: bool,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        path: PathBuf,
    },
    SyncFolder {
        path: PathBuf,
    },
    Acknowledged(u64),
}

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Write,
    Sync,
    SetLen,
    Reserve,
    Rename,
    SyncFolder,
}

/// Makes an act fail: the next `skip` of its kind still work, then `times` fail.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub act: Act,
    pub skip: usize,
    pub times: usize,
    pub error: io::ErrorKind,
}

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, u64>,
    files: HashMap<u64, Vec<u8>>,
    changed: HashMap<u64, i128>,
    locks: HashSet<u64>,
    journal: Vec<Event>,
    faults: Vec<Fault>,
    last_ino: u64,
    magic: u64,
    /// What was on the disk before the first event.
    base_names: BTreeMap<PathBuf, u64>,
    base_files: HashMap<u64, Vec<u8>>,
}

#[derive(Clone, Default)]
pub(crate) struct SimulatedDisk(Arc<Mutex<State>>);

struct SimulatedFile {
    disk: SimulatedDisk,
    ino: u64,
    locked: Mutex<bool>,
}

impl SimulatedDisk {
    /// An empty disk with one folder.
    pub fn with_folder(folder: &Path) -> Self {
        let disk = Self::default();
        disk.state().names.insert(folder.to_path_buf(), FOLDER);
        disk.state().base_names.insert(folder.to_path_buf(), FOLDER);
        disk
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn acknowledge(&self, what: u64) {
        self.state().journal.push(Event::Acknowledged(what));
    }

    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    pub fn heal(&self) {
        self.state().faults.clear();
    }

    pub fn set_magic(&self, magic: u64) {
        self.state().magic = magic;
    }

    pub fn journal_len(&self) -> usize {
        self.state().journal.len()
    }

    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.files.get(state.names.get(path)?).cloned()
    }

    /// Changes a file behind the back of the code under test.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let ino = state.names[path];
        change(state.files.get_mut(&ino).unwrap());
        state.touch(ino);
    }

    pub fn names(&self) -> Vec<PathBuf> {
        self.state().names.keys().cloned().collect()
    }

    /// What was acknowledged within the first `events` events.
    pub fn acknowledged(&self, events: usize) -> Vec<u64> {
        let state = self.state();
        let acknowledged = |event: &Event| match event {
            Event::Acknowledged(what) => Some(*what),
            _ => None,
        };
        state.journal[..events]
            .iter()
            .filter_map(acknowledged)
            .collect()
    }

    /// The disk after a power cut behind the first `events` events. `keep` decides for each thing
    /// that was not flushed whether it reached the disk all the same.
    pub fn after_crash(&self, events: usize, mut keep: impl FnMut() -> bool) -> Self {
        let state = self.state();
        let mut disk = Platter::default();
        disk.live.clone_from(&state.base_names);
        disk.names.clone_from(&state.base_names);
        for (ino, bytes) in &state.base_files {
            disk.lens.insert(*ino, bytes.len());
            disk.files.insert(*ino, (bytes.clone(), bytes.len()));
        }
        for event in &state.journal[..events] {
            disk.take(event);
        }
        disk.lose_power(&mut keep);
        let after = Self::default();
        let mut survivor = after.state();
        survivor.magic = state.magic;
        survivor.last_ino = state.last_ino;
        for (path, ino) in disk.names {
            if ino != FOLDER {
                let (mut bytes, len) = disk.files.remove(&ino).unwrap_or_default();
                bytes.resize(len, 0);
                survivor.files.insert(ino, bytes);
            }
            survivor.names.insert(path, ino);
        }
        survivor.base_names = survivor.names.clone();
        survivor.base_files = survivor.files.clone();
        drop(survivor);
        after
    }
}

/// What is on the disk for certain, and what may be.
#[derive(Default)]
struct Platter {
    names: BTreeMap<PathBuf, u64>,
    /// Content and length; the content may be longer or shorter than the length.
    files: HashMap<u64, (Vec<u8>, usize)>,
    /// What the running system sees.
    lens: HashMap<u64, usize>,
    live: BTreeMap<PathBuf, u64>,
    pending_pieces: Vec<(u64, Piece, bool)>,
    pending_names: Vec<(PathBuf, NameChange)>,
}

enum Piece {
    Sector { offset: usize, bytes: Vec<u8> },
    Len(usize),
}

enum NameChange {
    Set(PathBuf, u64),
    Move {
        from: PathBuf,
        to: PathBuf,
        ino: u64,
    },
    Remove(PathBuf),
}

impl Platter {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Link { path, ino } => {
                self.live.insert(path.clone(), *ino);
                self.name(path, NameChange::Set(path.clone(), *ino));
            }
            Event::Write { ino, offset, bytes } => self.write(*ino, *offset, bytes),
            Event::SetLen { ino, len } => {
                self.lens.insert(*ino, *len);
                self.pending_pieces.push((*ino, Piece::Len(*len), false));
            }
            Event::Sync { ino, done: true } => {
                let mut others = Vec::new();
                for (at, piece, lost) in std::mem::take(&mut self.pending_pieces) {
                    if at == *ino && !lost {
                        self.store(at, piece);
                    } else {
                        others.push((at, piece, lost));
                    }
                }
                self.pending_pieces = others;
            }
            Event::Sync { ino, done: false } => {
                let of_file = self.pending_pieces.iter_mut().filter(|(at, ..)| at == ino);
                of_file.for_each(|(.., lost)| *lost = true);
            }
            Event::Rename { from, to } => {
                let Some(ino) = self.live.remove(from) else {
                    return;
                };
                self.live.insert(to.clone(), ino);
                self.name(
                    to,
                    NameChange::Move {
                        from: from.clone(),
                        to: to.clone(),
                        ino,
                    },
                );
            }
            Event::Remove { path } => {
                self.live.remove(path);
                self.name(path, NameChange::Remove(path.clone()));
            }
            Event::SyncFolder { path } => {
                for (folder, change) in std::mem::take(&mut self.pending_names) {
                    if folder == *path {
                        self.rename(change);
                    } else {
                        self.pending_names.push((folder, change));
                    }
                }
            }
            Event::Acknowledged(_) => {}
        }
    }

    fn lose_power(&mut self, keep: &mut impl FnMut() -> bool) {
        for (ino, piece, _) in std::mem::take(&mut self.pending_pieces) {
            if keep() {
                self.store(ino, piece);
            }
        }
        for (_, change) in std::mem::take(&mut self.pending_names) {
            if keep() {
                self.rename(change);
            }
        }
    }

    fn name(&mut self, path: &Path, change: NameChange) {
        self.pending_names
            .push((path.parent().unwrap().to_path_buf(), change));
    }

    fn write(&mut self, ino: u64, offset: usize, bytes: &[u8]) {
        let mut at = offset;
        while at < offset + bytes.len() {
            let end = (at / SECTOR * SECTOR + SECTOR).min(offset + bytes.len());
            let piece = bytes[at - offset..end - offset].to_vec();
            self.pending_pieces.push((
                ino,
                Piece::Sector {
                    offset: at,
                    bytes: piece,
                },
                false,
            ));
            at = end;
        }
        let len = self.lens.entry(ino).or_default();
        if at > *len {
            *len = at;
            self.pending_pieces.push((ino, Piece::Len(at), false));
        }
    }

    fn store(&mut self, ino: u64, piece: Piece) {
        let (content, len) = self.files.entry(ino).or_default();
        match piece {
            Piece::Sector { offset, bytes } => {
                if content.len() < offset + bytes.len() {
                    content.resize(offset + bytes.len(), 0);
                }
                content[offset..offset + bytes.len()].copy_from_slice(&bytes);
            }
            Piece::Len(new) => {
                if new < *len {
                    content.truncate(new);
                }
                *len = new;
            }
        }
    }

    fn rename(&mut self, change: NameChange) {
        match change {
            NameChange::Set(path, ino) => {
                self.names.insert(path, ino);
            }
            NameChange::Move { from, to, ino } => {
                self.names.remove(&from);
                self.names.insert(to, ino);
            }
            NameChange::Remove(path) => {
                self.names.remove(&path);
            }
        }
    }
}

impl State {
    fn touch(&mut self, ino: u64) {
        let time = self.changed.values().max().copied().unwrap_or(0) + 1;
        self.changed.insert(ino, time);
    }

    fn check(&mut self, act: Act) -> io::Result<()> {
        let due = self
            .faults
            .iter_mut()
            .find(|fault| fault.act == act && fault.times > 0);
        match due {
            Some(fault) if fault.skip > 0 => fault.skip -= 1,
            Some(fault) => {
                fault.times -= 1;
                return Err(fault.error.into());
            }
            None => {}
        }
        Ok(())
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn stat(&self, ino: u64) -> Stat {
        let folder = ino == FOLDER;
        Stat {
            dev: 1,
            ino,
            len: self.files.get(&ino).map_or(0, |bytes| bytes.len() as u64),
            modified_ns: self.changed.get(&ino).copied().unwrap_or(0),
            uid: rustix::process::geteuid().as_raw(),
            mode: if folder {
                libc::S_IFDIR | 0o700
            } else {
                libc::S_IFREG | 0o600
            },
        }
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let found = state.find(path);
        let ino = match (how, found) {
            (Open::Create, Ok(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (_, Ok(ino)) => ino,
            (Open::Read | Open::Write, Err(error)) => return Err(error),
            (Open::Ensure | Open::Create, Err(_)) => {
                state.find(path.parent().unwrap())?;
                state.last_ino += 1;
                let ino = state.last_ino;
                state.names.insert(path.to_path_buf(), ino);
                state.files.insert(ino, Vec::new());
                state.touch(ino);
                state.journal.push(Event::Link {
                    path: path.to_path_buf(),
                    ino,
                });
                ino
            }
        };
        Ok(Box::new(SimulatedFile {
            disk: self.clone(),
            ino,
            locked: Mutex::new(false),
        }))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let state = self.state();
        Ok(state.stat(state.find(path)?))
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        self.state().find(path)?;
        Ok(path.to_path_buf())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check(Act::Rename)?;
        let ino = state.find(from)?;
        state.names.remove(from);
        state.names.insert(to.to_path_buf(), ino);
        state.journal.push(Event::Rename {
            from: from.to_path_buf(),
            to: to.to_path_buf(),
        });
        Ok(())
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.state().find(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.find(path)?;
        state.names.remove(path);
        state.journal.push(Event::Remove {
            path: path.to_path_buf(),
        });
        Ok(())
    }

    fn ensure_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.find(path).is_err() {
            state.names.insert(path.to_path_buf(), FOLDER);
            state.journal.push(Event::Link {
                path: path.to_path_buf(),
                ino: FOLDER,
            });
        }
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(OsString, SystemTime)>> {
        let state = self.state();
        let inside = state
            .names
            .keys()
            .filter(|path| path.parent() == Some(folder));
        // As old as can be: every temporary file here is a stale one.
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        Ok(inside
            .map(|path| (path.file_name().unwrap().to_owned(), time))
            .collect())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check(Act::SyncFolder)?;
        state.journal.push(Event::SyncFolder {
            path: folder.to_path_buf(),
        });
        Ok(())
    }

    fn fs_magic(&self, _folder: &Path) -> io::Result<u64> {
        Ok(self.state().magic)
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = &state.files[&self.ino];
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        let count = buffer.len().min(bytes.len() - from);
        buffer[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = state.check(Act::Write);
        // A write that fails may have written a part.
        let bytes = if outcome.is_err() {
            &bytes[..bytes.len() / 2]
        } else {
            bytes
        };
        let offset = usize::try_from(offset).unwrap();
        let content = state.files.get_mut(&self.ino).unwrap();
        if content.len() < offset + bytes.len() {
            content.resize(offset + bytes.len(), 0);
        }
        content[offset..offset + bytes.len()].copy_from_slice(bytes);
        state.touch(self.ino);
        state.journal.push(Event::Write {
            ino: self.ino,
            offset,
            bytes: bytes.to_vec(),
        });
        outcome
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.check(Act::SetLen)?;
        let len = usize::try_from(len).unwrap();
        state.files.get_mut(&self.ino).unwrap().resize(len, 0);
        state.touch(self.ino);
        state.journal.push(Event::SetLen { ino: self.ino, len });
        Ok(())
    }

    fn reserve(&self, _len: u64) -> io::Result<()> {
        self.disk.state().check(Act::Reserve)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let outcome = state.check(Act::Sync);
        state.journal.push(Event::Sync {
            ino: self.ino,
            done: outcome.is_ok(),
        });
        outcome
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn stat(&self) -> io::Result<Stat> {
        Ok(self.disk.state().stat(self.ino))
    }

    fn try_lock(&self) -> io::Result<bool> {
        let mut locked = self.locked.lock().unwrap();
        if *locked {
            return Ok(true);
        }
        *locked = self.disk.state().locks.insert(self.ino);
        Ok(*locked)
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        if *self.locked.lock().unwrap() {
            self.disk.state().locks.remove(&self.ino);
        }
    }
}
