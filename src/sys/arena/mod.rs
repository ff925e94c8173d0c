//! One secret arena for each process: locked memory for keys and resolved values.
//!
//! Invariants: a block is zero when it is handed out and wiped when it is given back; two blocks
//! never overlap; no page of the arena reaches a core file, swap (unless [`Backing::Unlocked`]) or
//! a forked child. What does not fit lies on the heap, wiped on drop, and is counted.
//!
//! The arena is mapped at first use and no page of it is touched before it is needed: a command
//! that holds one value pays for one page. A process that forks without exec can't use the arena
//! in the child.

mod ranges;

use super::alloc::wipe;
use ranges::Ranges;
use std::fmt;
use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use zeroize::Zeroize;

/// The size of the arena in bytes: 4 MiB, half of the usual `RLIMIT_MEMLOCK`.
pub const CAPACITY: usize = 4 << 20;

/// Every block is a multiple of this many bytes.
const GRAIN: usize = 16;

/// The smallest arena that is worth having, in bytes, where the limit on locked memory is low.
const LEAST: usize = 16 << 10;

/// How well secrets are held in memory, for `doctor` and `vault status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// `memfd_secret`: not even root reads it through `/proc`.
    SecretMemory,
    /// Anonymous pages, locked, kept out of core dumps.
    Locked,
    /// Anonymous pages that could not be locked: they may reach swap.
    Unlocked,
}

/// What backs the arena of this process, and how full it is.
#[derive(Clone, Copy, Debug)]
pub struct ArenaStatus {
    /// The best kind of memory that the kernel gave.
    pub backing: Backing,
    /// Bytes that the arena has.
    pub capacity: usize,
    /// Bytes in use.
    pub used: usize,
    /// Bytes that did not fit and lie on the wiped heap.
    pub overflow: usize,
}

/// What backs the arena of this process. Maps the arena if nothing did yet.
pub fn status() -> ArenaStatus {
    process().status()
}

/// A fixed-size block of locked, zeroed memory; wiped on drop.
pub struct LockedBytes {
    start: NonNull<u8>,
    len: usize,
    arena: &'static Arena,
    home: Home,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Home {
    Arena,
    Heap,
}

// SAFETY: a block is owned memory, used through `&self` and `&mut self` like a `Box<[u8]>`; the
// arena that it goes back to is `Sync`.
unsafe impl Send for LockedBytes {}
// SAFETY: as above; `&LockedBytes` gives only shared reads.
unsafe impl Sync for LockedBytes {}

impl LockedBytes {
    /// A block of `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        if len == 0 {
            // Empty values are common in tests and harmless; they need no arena.
            return Self {
                start: NonNull::dangling(),
                len,
                arena: process(),
                home: Home::Arena,
            };
        }
        Self::zeroed_in(process(), len)
    }

    fn zeroed_in(arena: &'static Arena, len: usize) -> Self {
        if let Some(start) = arena.take(len) {
            return Self {
                start,
                len,
                arena,
                home: Home::Arena,
            };
        }
        arena.overflow.fetch_add(len, Ordering::Relaxed);
        let block: *mut [u8] = Box::into_raw(vec![0; len].into_boxed_slice());
        let start = NonNull::new(block.cast()).expect("a box is never at address zero");
        Self {
            start,
            len,
            arena,
            home: Home::Heap,
        }
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` points at `len` initialised bytes that belong to this block alone until
        // it is dropped (or is dangling and `len` is zero).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes, to be written in place.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Zeroize for LockedBytes {
    fn zeroize(&mut self) {
        // SAFETY: the block is this one's alone; all of it may be written.
        unsafe { wipe(self.start.as_ptr(), self.len) };
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        self.zeroize();
        match self.home {
            Home::Arena => self.arena.give_back(self.start, self.len),
            Home::Heap => {
                self.arena.overflow.fetch_sub(self.len, Ordering::Relaxed);
                let block = ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.len);
                // SAFETY: `zeroed_in` made this pointer from a box of exactly this slice, and
                // nothing uses it after this drop.
                drop(unsafe { Box::from_raw(block) });
            }
        }
    }
}

impl fmt::Debug for LockedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockedBytes({} bytes)", self.len)
    }
}

/// True once anything of this process lay in locked memory: a fork without exec comes too late.
pub fn is_mapped() -> bool {
    ARENA.get().is_some()
}

static ARENA: OnceLock<Arena> = OnceLock::new();

fn process() -> &'static Arena {
    ARENA.get_or_init(|| Arena::map(CAPACITY, Backing::SecretMemory))
}

/// A mapping with a guard page on both sides, and which parts of it are free.
struct Arena {
    start: NonNull<u8>,
    capacity: usize,
    backing: Backing,
    free: Mutex<Ranges>,
    overflow: AtomicUsize,
}

// SAFETY: the mapping lives as long as the process (arenas are never unmapped); who may use which
// part of it is decided under the mutex.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps an arena of `capacity` bytes, or less where the limit on locked memory asks for it,
    /// with the best backing that the kernel gives, `best` or worse. Where there is no memory at
    /// all, an empty one: everything then lies on the heap.
    fn map(capacity: usize, best: Backing) -> Self {
        let mut sizes = vec![capacity];
        if let Some(limit) = lockable().filter(|limit| (LEAST..capacity).contains(limit)) {
            sizes.push(limit);
        }
        let tries = [Backing::SecretMemory, Backing::Locked].into_iter();
        for backing in tries.skip_while(|backing| *backing != best) {
            for &size in &sizes {
                if let Ok(start) = map_guarded(size, backing) {
                    return Self::over(start, size, backing);
                }
            }
        }
        match map_guarded(capacity, Backing::Unlocked) {
            Ok(start) => Self::over(start, capacity, Backing::Unlocked),
            Err(_) => Self::over(NonNull::dangling(), 0, Backing::Unlocked),
        }
    }

    fn over(start: NonNull<u8>, capacity: usize, backing: Backing) -> Self {
        let free = Mutex::new(Ranges::all(capacity / GRAIN));
        Self {
            start,
            capacity,
            backing,
            free,
            overflow: AtomicUsize::new(0),
        }
    }

    fn status(&self) -> ArenaStatus {
        ArenaStatus {
            backing: self.backing,
            capacity: self.capacity,
            used: self.capacity - self.ranges().free() * GRAIN,
            overflow: self.overflow.load(Ordering::Relaxed),
        }
    }

    fn take(&self, len: usize) -> Option<NonNull<u8>> {
        let at = self.ranges().take(len.div_ceil(GRAIN))?;
        // SAFETY: the ranges cover `capacity / GRAIN` grains, so the offset lies in the mapping.
        Some(unsafe { self.start.add(at * GRAIN) })
    }

    /// Takes back a block that [`Arena::take`] gave for the same `len`, already wiped.
    fn give_back(&self, start: NonNull<u8>, len: usize) {
        // SAFETY: the block is a part of this mapping.
        let offset = unsafe { start.byte_offset_from_unsigned(self.start) };
        self.ranges().give_back(offset / GRAIN, len.div_ceil(GRAIN));
    }

    fn ranges(&self) -> MutexGuard<'_, Ranges> {
        // The ranges are whole at every point where a panic could leave the lock.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many bytes this process may lock, in whole pages; `None` where there is no limit.
fn lockable() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current?;
    let page = page_size();
    Some(usize::try_from(limit).ok()? / page * page)
}

/// As the C library knows it from its start: rustix would read all that the kernel told the
/// process.
fn page_size() -> usize {
    // SAFETY: the call only looks up a number.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).expect("pages have a size")
}

/// Maps `len` bytes of the wanted backing between two pages that can't be touched.
fn map_guarded(len: usize, backing: Backing) -> io::Result<NonNull<u8>> {
    let page = page_size();
    let whole = len + 2 * page;
    // SAFETY: an anonymous mapping at an address of the kernel's choice aliases nothing.
    let reserved = unsafe { libc::mmap(ptr::null_mut(), whole, libc::PROT_NONE, RESERVE, -1, 0) };
    if reserved == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let inside = reserved.wrapping_byte_add(page);
    let mapped = match backing {
        Backing::SecretMemory => map_secret(inside, len),
        Backing::Locked => map_anonymous(inside, len).and_then(|()| lock(inside, len)),
        Backing::Unlocked => map_anonymous(inside, len),
    };
    if let Err(error) = mapped {
        // SAFETY: the range is the reservation made above; nothing else uses it.
        unsafe { libc::munmap(reserved, whole) };
        return Err(error);
    }
    advise(inside, len, backing);
    Ok(NonNull::new(inside.cast()).expect("the kernel maps nothing at address zero"))
}

const RESERVE: libc::c_int = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;

fn map_secret(at: *mut libc::c_void, len: usize) -> io::Result<()> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
    // SAFETY: the call takes one flag and returns a descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave this descriptor to us alone.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::fs::ftruncate(&fd, len as u64)?;
    map_over(at, len, libc::MAP_SHARED, fd.as_raw_fd())
}

fn map_anonymous(at: *mut libc::c_void, len: usize) -> io::Result<()> {
    map_over(at, len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
}

fn map_over(
    at: *mut libc::c_void,
    len: usize,
    flags: libc::c_int,
    fd: libc::c_int,
) -> io::Result<()> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: `at .. at + len` lies inside the reservation of `map_guarded`, which nothing else
    // uses; MAP_FIXED replaces exactly that part of it.
    let got = unsafe { libc::mmap(at, len, access, flags | libc::MAP_FIXED, fd, 0) };
    if got == libc::MAP_FAILED {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn lock(at: *mut libc::c_void, len: usize) -> io::Result<()> {
    // SAFETY: locking changes no content; the range is mapped. ONFAULT: pages are locked when they
    // are first touched, not brought in now.
    let on_fault = unsafe { libc::mlock2(at, len, libc::MLOCK_ONFAULT) };
    // SAFETY: as above, for kernels without mlock2.
    if on_fault == 0 || unsafe { libc::mlock(at, len) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// Keeps the pages out of core files and forked children. A kernel that refuses one of these
/// still gives a usable arena, so failures are let pass.
fn advise(at: *mut libc::c_void, len: usize, backing: Backing) {
    let advices: &[libc::c_int] = match backing {
        // WIPEONFORK is for private mappings; a shared one is kept from the child altogether. The
        // kernel itself keeps this kind out of core files.
        Backing::SecretMemory => &[libc::MADV_DONTFORK],
        Backing::Locked | Backing::Unlocked => &[libc::MADV_DONTDUMP, libc::MADV_WIPEONFORK],
    };
    for &advice in advices {
        // SAFETY: none advice changes what this process sees in the mapped range.
        unsafe { libc::madvise(at, len, advice) };
    }
}

#[cfg(test)]
mod tests;
