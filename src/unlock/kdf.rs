//! How much memory and time a passphrase slot may cost on this machine.
//!
//! Invariant: what decides is pure ([`choose`], [`smallest`]); what measures is small. Not here:
//! the bounds of the format, which [`KdfParams::check`] holds.

use crate::crypto::passphrase::stretch;
use crate::vault::slot::{KdfLimit, KdfParams};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The memory that calibration chooses from, in KiB.
pub const STEPS_KIB: [u32; 5] = [64 << 10, 128 << 10, 256 << 10, 512 << 10, 1024 << 10];
/// The least time that opening a passphrase slot should take.
pub const LEAST_TIME: Duration = Duration::from_millis(500);
/// The part of the available memory that calibration stays under: one in this many.
const MEMORY_SHARE: u64 = 4;
/// How often the measurement is repeated; the fastest counts, the others were disturbed.
const MEASUREMENTS: usize = 2;
/// The most of a file of the kernel that is read, in bytes.
const MAX_KERNEL_FILE: u64 = 64 << 10;
/// The deepest control group that is looked at.
const MAX_DEPTH: usize = 32;

/// Measures this machine and picks the cost of a new passphrase slot: 0.5 to 1 second, at most a
/// quarter of the available memory, never less than 64 MiB and 3 passes.
pub fn calibrate() -> KdfParams {
    let measured = (0..MEASUREMENTS)
        .filter_map(|_| measure(KdfParams::FLOOR))
        .min();
    choose(measured, available_kib())
}

/// Picks the smallest memory that takes [`LEAST_TIME`], given how long the floor took: time grows
/// with memory. `None` for a measurement that failed.
pub fn choose(floor_took: Option<Duration>, available_kib: Option<u64>) -> KdfParams {
    let floor = KdfParams::FLOOR;
    let Some(took) = floor_took else { return floor };
    let cap = available_kib.map_or(u64::MAX, |kib| kib / MEMORY_SHARE);
    let allowed = STEPS_KIB.iter().filter(|m_kib| u64::from(**m_kib) <= cap);
    let mut chosen = floor.m_kib;
    for m_kib in allowed {
        chosen = *m_kib;
        if took * (m_kib / floor.m_kib) >= LEAST_TIME {
            break;
        }
    }
    KdfParams {
        m_kib: chosen,
        ..floor
    }
}

/// What opening a vault may cost: the format's limits and half of the available memory, or what
/// `--kdf-limit` raises it to (in bytes).
pub fn limit(raised: Option<u64>) -> KdfLimit {
    match raised {
        Some(bytes) => KdfLimit::raised_to((bytes >> 20).try_into().unwrap_or(u32::MAX)),
        None => KdfLimit {
            available_kib: available_kib(),
            ..KdfLimit::DEFAULT
        },
    }
}

/// The memory that this process can get, in KiB: what the machine has left, and the limits of
/// the control groups that it is in. `None` if neither is known.
pub fn available_kib() -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| mem_available(&text));
    let groups = read(Path::new("/proc/self/cgroup"))
        .map(|text| limit_files(&text))
        .unwrap_or_default();
    let limits = groups
        .iter()
        .filter_map(|path| read(path))
        .map(|text| group_limit(&text));
    smallest(std::iter::once(machine).chain(limits))
}

/// The smallest of the limits that are known.
fn smallest(limits: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    limits.flatten().min()
}

/// `MemAvailable` of `/proc/meminfo`, in KiB.
fn mem_available(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// A control group's limit in KiB; `max`, and the huge number of version 1, are none.
fn group_limit(text: &str) -> Option<u64> {
    let bytes: u64 = text.trim().parse().ok()?;
    (bytes < 1 << 62).then_some(bytes / 1024)
}

/// The files with the memory limits of the control groups that `/proc/self/cgroup` names, and of
/// the groups around them, for version 2 and version 1.
fn limit_files(text: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next(), fields.next(), fields.next());
        let (root, names): (_, &[&str]) = match controllers {
            Some("") => ("/sys/fs/cgroup", &["memory.max", "memory.high"]),
            Some(list) if list.split(',').any(|name| name == "memory") => {
                ("/sys/fs/cgroup/memory", &["memory.limit_in_bytes"])
            }
            _ => continue,
        };
        let inside = Path::new(path.unwrap_or_default().trim_start_matches('/'));
        if inside.components().any(|part| part.as_os_str() == "..") {
            continue;
        }
        for group in inside.ancestors().take(MAX_DEPTH) {
            files.extend(
                names
                    .iter()
                    .map(|name| Path::new(root).join(group).join(name)),
            );
        }
    }
    files
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(MAX_KERNEL_FILE)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

fn measure(cost: KdfParams) -> Option<Duration> {
    let start = Instant::now();
    let mut out = [0; 32];
    stretch(
        b"calibration",
        &[0; 32],
        (cost.m_kib, cost.t, cost.p),
        &mut out,
    )
    .ok()?;
    Some(start.elapsed())
}

#[cfg(test)]
mod tests;
